"""How often the shipped checkpoints find photos of the demo city, which no training saw.

    python -m benchmarks.demo_recall [--photos 100]

Photos of the city are rendered, then located in the shipped
galleries with an unknown heading. Peers in the same run: chance, and the same network with its
ImageNet weights only, on a gallery that those describe.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from app.engine.checkpoints import Checkpoint, load_checkpoint
from app.engine.demo_case import DIFFICULTY, GSD_M, OVERLAP, SEED, SIZE_M
from app.engine.evaluation import Evaluation, evaluate_photos
from app.engine.gallery import open_gallery
from app.engine.gallery_build import build_gallery
from app.engine.importers import imagenet_lite0_checkpoint
from app.engine.world_files import write_world
from app.messages import BuildGallery
from app.paths import demo, demo_checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=100, help="of each view (100)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        city = Path(scratch) / "city"
        write_world(
            city,
            seed=SEED,
            size_m=SIZE_M,
            gsd_m=GSD_M,
            difficulty=DIFFICULTY,
            drone_photos=args.photos,
            panoramas=args.photos,
        )
        for view in ("drone", "street"):
            shipped = load_checkpoint(demo_checkpoint(view))
            _tell(_measured(shipped, demo() / "galleries" / view, city / view))
            weights = Path(scratch) / f"imagenet-{view}.safetensors"
            imagenet_lite0_checkpoint(weights, query_view="drone" if view == "drone" else "street")
            baseline = load_checkpoint(weights)
            gallery = Path(scratch) / f"gallery-{view}"
            size = shipped.card.tile_size_m
            city_tif = demo() / "galleries" / "city.tif"
            request = BuildGallery(city_tif, weights, gallery, tile_size_m=size, overlap=OVERLAP)
            build_gallery(request, baseline)
            print(f"the same with {baseline.card.title}:")
            _tell(_measured(baseline, gallery, city / view))
    return 0


def _measured(checkpoint: Checkpoint, gallery: Path, photos: Path) -> Evaluation:
    return evaluate_photos(checkpoint, open_gallery(gallery), photos)


def _tell(measured: Evaluation) -> None:
    print(measured.table(), end="\n\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
