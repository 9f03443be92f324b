"""From a photo's file to its ranks, against the bare forward pass of its rotations.

    python -m benchmarks.photo_latency [--checkpoint C] [--rounds 15]

Goal: at most 1.3 times. The bare pass takes all rotations in one batch. Both are timed in turn in
one process; the median of the rounds counts.
Nothing is remembered between rounds: each reads a file never seen (JPEG decoding, preview, and
descriptors included), only checkpoint and gallery are loaded. Weights do not change the time, so
that fresh ones serve without a checkpoint.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from app.card import Card
from app.engine.checkpoints import Checkpoint, save_checkpoint, to_images
from app.engine.gallery_build import build_gallery
from app.engine.locate import locate
from app.engine.shelf import Shelf
from app.messages import BuildGallery, Locate
from app.models.build import create, preset_config

GOAL = 1.3
PHOTOS = {"1600 x 900 JPEG": (900, 1600), "4000 x 3000 JPEG": (3000, 4000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="skyfix-latency-") as work:
        folder = Path(work)
        path = args.checkpoint or _fresh_checkpoint(folder / "fresh.safetensors")
        shelf = Shelf(args.device, folder / "cache", max_descriptors=0)
        checkpoint = shelf.checkpoint(path)
        gallery = _gallery(folder, path, checkpoint)
        card = checkpoint.card
        print(
            f"{card.title}, {card.turns} turns, {len(shelf.gallery(gallery).ids)} tiles, "
            f"{checkpoint.device.name}, {torch.get_num_threads()} threads"
        )
        print(f"{'photo':<18}{'file to ranks':>15}{'forward pass':>15}{'ratio':>8}   goal {GOAL}")
        for name, size in PHOTOS.items():
            content = _photo(size)
            whole, bare = [], []
            for turn in range(args.rounds + 2):  # the first two warm up
                photo = folder / f"{size[0]}-{turn}.jpg"
                photo.write_bytes(content)
                bare.append(_forward_s(checkpoint))
                whole.append(_locate_s(Locate(photo, gallery, path), shelf))
            answer, forward = (1e3 * statistics.median(times[2:]) for times in (whole, bare))
            print(f"{name:<18}{answer:>12.1f} ms{forward:>12.1f} ms{answer / forward:>8.2f}")


def _locate_s(request: Locate, shelf: Shelf) -> float:
    started = time.perf_counter()
    locate(request, shelf)
    return time.perf_counter() - started


@torch.inference_mode()
def _forward_s(checkpoint: Checkpoint) -> float:
    """The network alone, its input ready in memory."""
    view = checkpoint.card.query_view
    height, width = checkpoint.card.sizes[view]
    pictures = torch.zeros(checkpoint.card.turns, height, width, 3, dtype=torch.uint8)
    images = checkpoint.network.preprocess(to_images(pictures, checkpoint.device.name), view)
    started = time.perf_counter()
    checkpoint.network.describe(images, view).cpu()
    return time.perf_counter() - started


def _photo(size: tuple[int, int]) -> bytes:
    """Detail at every scale; 0.38 bytes a pixel (30 real drone photos of a town: 0.35)."""
    dice = np.random.default_rng(0)
    image = np.zeros((*size, 3), np.float32)
    for pitch in (200, 40, 8, 3):  # px
        cells = (size[0] // pitch, size[1] // pitch, 3)
        coarse = dice.normal(0, 25, cells).astype(np.float32)
        image += cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    pixels = (image + 128).clip(0, 255).astype(np.uint8)
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    content: bytes = encoded.tobytes()
    return content


def _gallery(folder: Path, path: Path, checkpoint: Checkpoint) -> Path:
    """A town of noise, 1000 x 1000 m at 2 m a pixel."""
    raster, gallery = folder / "town.tif", folder / "gallery"
    pixels = np.random.default_rng(0).integers(0, 255, (3, 500, 500), dtype=np.uint8)
    with rasterio.open(
        raster, "w", driver="GTiff", width=500, height=500, count=3, dtype="uint8",
        crs="EPSG:32631", transform=from_origin(500_000, 5_500_000, 2, 2),
    ) as file:  # fmt: skip
        file.write(pixels)
    build_gallery(BuildGallery(raster, path, gallery, tile_size_m=80.0, overlap=0.5), checkpoint)
    return gallery


def _fresh_checkpoint(path: Path) -> Path:
    config = preset_config("sample4geo", "tiny-drone")
    network = create("sample4geo", config)
    card = Card(
        network="sample4geo",
        config=config,
        title="fresh weights",
        task="retrieval",
        query_view="drone",
        sizes={view: network.input_size(view) for view in ("drone", "satellite")},
        descriptor=network.descriptor,
        tile_size_m=80.0,
    )
    save_checkpoint(path, network, card)
    return path


if __name__ == "__main__":
    main()
