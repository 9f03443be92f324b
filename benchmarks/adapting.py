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
from benchmarks.real_drone import RADII_M, Area, Row, add_area_options, print_head, read_truth

DRAWS = 10_000


def main() -> None:
    args = _arguments()
    truth = read_truth(args.data)
    after: list[list[Row]] = []
    with tempfile.TemporaryDirectory(prefix="skyfix-adapting-") as work:
        shelf = Shelf(args.device, Path(work) / "cache", max_descriptors=0)

        def measured(checkpoint: Path, name: str, *, head: bool = False) -> list[Row]:
            area = Area(args.data, truth, Path(work) / name, shelf)
            area.build(checkpoint, tile_size_m=args.tile_size_m, overlap=args.overlap)
            if head:
                print_head(area)
            rows = list(area.rows(f"{args.checkpoint.stem}, {name}", checkpoint))
            print("\n".join(map(str, rows)), flush=True)
            return rows

        before = measured(args.checkpoint, "as it is", head=True)
        for seed in range(args.seeds):
            run_dir = args.work / f"{args.checkpoint.stem}-seed{seed}"
            if not args.report_only:
                _adapt(args, run_dir, seed)
            if (best := run_dir / "best.safetensors").is_file():
                after.append(measured(best, f"adapted, seed {seed}"))
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
    add_area_options(parser)
    parser.add_argument("--work", type=Path, required=True, help="runs are kept there")
    parser.add_argument("--checkpoint", type=Path, default=shipped)
    parser.add_argument("--surface", type=Path, help="a surface model of the map; none: flat")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--views", type=int, default=1000)
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except (UserError, OSError) as error:
        sys.exit(f"{error} {getattr(error, 'hint', '')}".rstrip())
