"""Make ``resources/demo`` anew: the demo city's imagery, its photos, a gallery for each view.

    python -m app.engine.demo_case [--galleries-only]

The city's seed is one that no training saw (training: 1000 and up; held out: 900 to 999). Galleries
are described by ``paths.demo_checkpoint``: a gallery belongs to one checkpoint.
"""

import argparse
import csv
import shutil
import sys
import tempfile
from pathlib import Path

from app.engine.checkpoints import load_checkpoint
from app.engine.gallery_build import build_gallery
from app.engine.world_files import write_world
from app.messages import BuildGallery
from app.paths import DEMO_NETWORK, demo, demo_checkpoint

SEED = 42
SIZE_M, GSD_M, DIFFICULTY = 1000.0, 0.4, 0.5
PHOTOS = 12
OVERLAP = 0.5
LICENCE = "Procedural city, made by Skyfix"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--galleries-only", action="store_true", help="keep imagery and photos")
    args = parser.parse_args()
    if not args.galleries_only:
        with tempfile.TemporaryDirectory() as scratch:
            _copy_city(Path(scratch) / "city")
    for kind in DEMO_NETWORK:
        shutil.rmtree(demo() / "galleries" / kind, ignore_errors=True)
        checkpoint = demo_checkpoint(kind)
        request = BuildGallery(
            demo() / "galleries" / "city.tif",
            checkpoint,
            demo() / "galleries" / kind,
            overlap=OVERLAP,
            licence=LICENCE,
            name=f"Demo city ({kind})",
        )
        build_gallery(request, load_checkpoint(checkpoint))
    return 0


def _copy_city(city: Path) -> None:
    write_world(
        city,
        seed=SEED,
        size_m=SIZE_M,
        gsd_m=GSD_M,
        difficulty=DIFFICULTY,
        drone_photos=PHOTOS,
        panoramas=PHOTOS,
        with_claims=True,
    )
    shutil.rmtree(demo(), ignore_errors=True)
    (demo() / "galleries").mkdir(parents=True)
    shutil.copyfile(city / "ortho.tif", demo() / "galleries" / "city.tif")
    for view in ("drone", "street"):
        photos = demo() / view / "photos"
        photos.mkdir(parents=True)
        for photo in sorted((city / view).glob("*.jpg")):
            shutil.copyfile(photo, photos / photo.name)
        _copy_truth(city / view / "truth.csv", demo() / view / "truth.csv")


def _copy_truth(source: Path, target: Path) -> None:
    """Beside the photos' folder, not in it: who opens that folder opens photos alone."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with target.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows({**row, "file": f"photos/{row['file']}"} for row in rows)


if __name__ == "__main__":
    sys.exit(main())
