"""Real drone photos on a real satellite map: how often is the place found?

    python -m benchmarks.real_drone --data DIR [--checkpoint C] [--tile-size-m 100]

DIR holds ``map.tif``, ``photos/`` and ``truth.csv`` (file, lat, lon). Each photo is located with
its heading unknown and with the heading of its own metadata. Peers in the same table: chance
(a tile drawn at random) and an ImageNet backbone without any training on pairs.
"""

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.engine.gallery_build import build_gallery
from app.engine.importers import imagenet_lite0_checkpoint
from app.engine.locate import locate
from app.engine.shelf import Shelf
from app.geo import LatLon
from app.messages import BuildGallery, Locate, UserError

RADII_M = (25.0, 50.0, 100.0)
NEAR_M = 50.0  # a tile whose centre is so near counts as the right one


@dataclass(frozen=True)
class Row:
    """One line of the table; ``errors_m`` one a photo, or one a photo and tile for chance."""

    method: str
    heading: str
    errors_m: np.ndarray
    reciprocal: np.ndarray  # 1 / rank of the first near tile, 0 if none is listed; empty for chance
    seconds: float | None = None

    def __str__(self) -> str:
        shares = "".join(f"{(self.errors_m <= r).mean():>8.1%}" for r in RADII_M)
        found = f"{self.reciprocal.mean():>7.3f}" if len(self.reciprocal) else " " * 7
        pace = "" if self.seconds is None else f"{self.seconds:>9.2f}"
        middle = f"{np.median(self.errors_m):>10.0f}"
        return f"{self.method:<34}{self.heading:<9}{shares}{found}{middle}{pace}"


def main() -> None:
    args = _arguments()
    truth = read_truth(args.data)
    with tempfile.TemporaryDirectory(prefix="skyfix-real-") as work:
        imagenet = Path(work) / "imagenet.safetensors"
        imagenet_lite0_checkpoint(imagenet)
        checkpoints = [("ImageNet backbone, no training", imagenet)]
        if args.checkpoint is not None:
            checkpoints.append((args.checkpoint.stem, args.checkpoint))
        shelf = Shelf(args.device, Path(work) / "cache", max_descriptors=0)
        for number, (method, checkpoint) in enumerate(checkpoints):
            area = Area(args.data, truth, Path(work) / f"gallery{number}", shelf)
            area.build(checkpoint, tile_size_m=args.tile_size_m, overlap=args.overlap)
            if number == 0:
                print_head(area)
            for row in area.rows(method, checkpoint):
                print(row, flush=True)


@dataclass(frozen=True)
class Area:
    """Real photos whose places are known, and the gallery of the map that they are sought in."""

    data: Path
    truth: dict[str, LatLon]  # by the photo's file name
    gallery: Path
    shelf: Shelf

    def build(self, checkpoint: Path, *, tile_size_m: float, overlap: float) -> None:
        request = BuildGallery(
            source=self.data / "map.tif",
            checkpoint=checkpoint,
            gallery=self.gallery,
            tile_size_m=tile_size_m,
            overlap=overlap,
        )
        build_gallery(request, self.shelf.checkpoint(checkpoint))

    def rows(self, method: str, checkpoint: Path) -> Iterator[Row]:
        """One with the headings unknown, one with those of the photos' own metadata."""
        for heading, use_heading in (("unknown", False), ("known", True)):
            errors, found, started = [], [], time.perf_counter()
            for name, place in self.truth.items():
                photo = self.data / "photos" / name
                request = Locate(photo, self.gallery, checkpoint, use_heading=use_heading)
                listed = locate(request, self.shelf).candidates
                away = [place.metres_to(candidate.position) for candidate in listed]
                errors.append(away[0])
                found.append(next((1 / n for n, m in enumerate(away, 1) if m <= NEAR_M), 0.0))
            seconds = (time.perf_counter() - started) / len(self.truth)
            yield Row(method, heading, np.array(errors), np.array(found), seconds)


def print_head(area: Area) -> None:
    """What is measured, the table's head, and chance."""
    tiles = area.shelf.gallery(area.gallery)
    made = tiles.manifest
    print(
        f"{area.data.name}: {len(area.truth)} photos, {len(tiles.ids)} tiles of "
        f"{made.tile_size_m:g} m with overlap {made.overlap:g}; "
        "error = rank 1's centre to the truth of truth.csv; MRR: mean of 1 / rank of the first "
        f"tile whose centre is within {NEAR_M:.0f} m"
    )
    radii = "".join(f"{f'<{r:.0f} m':>8}" for r in RADII_M)
    print(f"{'method':<34}{'heading':<9}{radii}{'MRR':>7}{'median m':>10}{'s/photo':>9}")
    centres = [LatLon(float(lat), float(lon)) for lat, lon in tiles.latlon]
    chance = np.array([[place.metres_to(c) for c in centres] for place in area.truth.values()])
    print(Row("chance (a tile at random)", "-", chance.ravel(), np.empty(0)))


def read_truth(data: Path) -> dict[str, LatLon]:
    with (data / "truth.csv").open(encoding="utf-8-sig", newline="") as file:
        return {
            row["file"]: LatLon(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(file)
        }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_area_options(parser)
    parser.add_argument("--checkpoint", type=Path, help="beside the two peers")
    return parser.parse_args()


def add_area_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="map.tif, photos/ and truth.csv")
    parser.add_argument("--tile-size-m", type=float, default=100.0)
    parser.add_argument("--overlap", type=float, default=0.75)
    parser.add_argument("--device", default="auto")


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"{error} {getattr(error, 'hint', '')}".rstrip())
