"""What recipe ``adapt`` brings: real photos sought before and after a checkpoint saw their map.

    python -m benchmarks.adapting --data DIR --work DIR [--checkpoint C] [--seeds 3] [--report-only]

DIR holds ``map.tif``, ``photos/`` and ``truth.csv`` (file, lat, lon). The checkpoint is fine-tuned
as the recipe says on views rendered from the map, of which no photo is part; then each photo is
located with the checkpoint as it was and with each seed's, headings unknown and known. The
difference of the mean over the seeds stands with its 95 % interval over photos. A run that was
stopped goes on.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.engine.recipes import make_train
from app.engine.shelf import Shelf
from app.engine.training import train
from app.errors import UserError
from app.paths import resources
from benchmarks.real_drone import RADII_M, Area, Row, print_head, read_truth

DRAWS = 10_000


def main() -> None:
    args = _arguments()
    truth = read_truth(args.data)
    before: list[Row] = []
    after: list[list[Row]] = []
    with tempfile.TemporaryDirectory(prefix="skyfix-adapting-") as work:
        shelf = Shelf(args.device, Path(work) / "cache", max_descriptors=0)
        for seed in range(-1, args.seeds):
            run_dir = args.work / f"{args.checkpoint.stem}-seed{seed}"
            if seed >= 0 and not args.report_only:
                _adapt(args, run_dir, seed)
            checkpoint = args.checkpoint if seed < 0 else run_dir / "best.safetensors"
            if not checkpoint.is_file():
                continue
            area = Area(args.data, truth, Path(work) / f"gallery{seed}", shelf)
            area.build(checkpoint, tile_size_m=args.tile_size_m, overlap=args.overlap)
            if seed < 0:
                print_head(area)
            name = "as it is" if seed < 0 else f"adapted, seed {seed}"
            rows = list(area.rows(f"{args.checkpoint.stem}, {name}", checkpoint))
            print("\n".join(map(str, rows)), flush=True)
            before, after = (rows, after) if seed < 0 else (before, [*after, rows])
    if after:
        _print_gain(before, after)


def _adapt(args: argparse.Namespace, run_dir: Path, seed: int) -> None:
    given = {} if args.epochs is None else {"epochs": args.epochs}
    run = make_train(
        run_dir,
        recipe="adapt",
        imagery=args.data / "map.tif",
        surface=args.surface,
        init=args.checkpoint,
        tile_size_m=args.tile_size_m,
        views=args.views,
        seed=seed,
        device=args.device,
        **given,
    )
    train(run)


def _print_gain(before: Sequence[Row], after: Sequence[Sequence[Row]]) -> None:
    rng = np.random.default_rng(0)
    print("difference (95 % interval over photos)")
    for column, first in enumerate(before):
        now = [rows[column] for rows in after]
        cells = []
        for radius in RADII_M:
            share = np.mean([row.errors_m <= radius for row in now], axis=0)
            told = _interval(100 * (share - (first.errors_m <= radius)), rng, digits=1)
            cells.append(f"<{radius:.0f} m {told} points")
        gain = np.mean([row.reciprocal for row in now], axis=0) - first.reciprocal
        cells.append(f"MRR {_interval(gain, rng, digits=3)}")
        print(f"  heading {first.heading:<9}" + "   ".join(cells))


def _interval(gain: np.ndarray, rng: np.random.Generator, *, digits: int) -> str:
    drawn = rng.choice(gain, (DRAWS, len(gain))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{gain.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    shipped = resources() / "checkpoints" / "sample4geo-drone.safetensors"
    parser.add_argument("--data", type=Path, required=True, help="map.tif, photos/ and truth.csv")
    parser.add_argument("--work", type=Path, required=True, help="runs are kept there")
    parser.add_argument("--checkpoint", type=Path, default=shipped)
    parser.add_argument("--surface", type=Path, help="a surface model of the map; none: flat")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--tile-size-m", type=float, default=100.0)
    parser.add_argument("--overlap", type=float, default=0.75)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"{error} {getattr(error, 'hint', '')}".rstrip())
