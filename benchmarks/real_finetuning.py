"""Fine-tuning on real drone and satellite pictures: what does each start bring?

    python -m benchmarks.real_finetuning --data FOLDER --work FOLDER [--report-only]

FOLDER holds ``{train,val}/{drone,satellite}/ID.jpg``, one picture of each a place. One network is
trained on its train part with the app's own training: from fresh weights, from ImageNet's, and
from the checkpoint that is shipped, which has seen procedural cities only. Of each stand R@1, R@5
and R@10 on the val part in both directions, before and after, headings unknown; chance beside
them. ``--leave-out`` names pictures of the train part that show ground of the val part (``skyfix
train --check`` finds them). A run that was stopped goes on.
"""

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app.engine.evaluation_run import evaluate
from app.engine.importers import imagenet_lite0_checkpoint
from app.engine.shelf import Shelf
from app.engine.training import train
from app.messages import Evaluate
from app.paths import resources
from app.results import EvaluationResult
from app.train_request import Train

DIRECTIONS = ("drone to satellite", "satellite to drone")
FIGURES = ("R@1", "R@5", "R@10")
COLUMNS = ("query", "satellite", "split", "place", "lat", "lon", "heading_deg", "view", "kind")
STARTS = ("scratch", "ImageNet", "procedural cities")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="runs and figures are kept there")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS)
    parser.add_argument("--leave-out", nargs="*", default=["0418"], help="of train (0418)")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=6e-4, help="(6e-4; scratch: twice that)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    args = parser.parse_args()
    pairs = args.work / "pairs"
    count = write_table(args.data, pairs, leave_out=args.leave_out)
    print(f"{count['train']} pairs to learn from, {count['val']} to measure on")
    print(f"{'':<34}" + "".join(f"{one:>26}" for one in DIRECTIONS))
    print(f"{'':<34}" + 2 * "".join(f"{name:>8}{'':>{2 * (name == 'R@10')}}" for name in FIGURES))
    shelf = Shelf(args.device)
    for number, name in enumerate(args.starts):
        run = request(name, args, pairs)
        if run.init is not None:
            told = row(measured(run.init, pairs, args.work / f"{run.run_dir.name}-before", shelf))
            print(f"{name + ', as it is':<34}{told}", flush=True)
        if not args.report_only:
            train(run)
        best = run.run_dir / "best.safetensors"
        if best.is_file():
            after = measured(best, pairs, args.work / f"{run.run_dir.name}-after", shelf)
            if number == 0:
                print(f"{'chance':<34}{row(after, chance=True)}")
            print(f"{name + f', {args.epochs} epochs':<34}{row(after)}", flush=True)
    return 0


def request(start: str, args: argparse.Namespace, pairs: Path) -> Train:
    """One network, one schedule; only the start differs, and the rate of fresh weights."""
    run = Train(
        run_dir=args.work / start.replace(" ", "-"),
        data=pairs,
        epochs=args.epochs,
        lr=args.lr,
        batch_size=32,
        validate_every=5,
        amp=True,
        device=args.device,
        licence="research use; not to be passed on",
    )
    if start == "scratch":
        # What a network with pretrained weights keeps as it is, fresh weights must learn.
        fresh = {"freeze_bn": False, "frozen_stages": 0}
        return replace(run, lr=2 * args.lr, overrides=fresh)
    if start == "ImageNet":
        init = args.work / "imagenet.safetensors"
        if not init.is_file():
            imagenet_lite0_checkpoint(init)
        return replace(run, init=init)
    return replace(run, init=resources() / "checkpoints" / "sample4geo-drone.safetensors")


def write_table(data: Path, folder: Path, *, leave_out: Sequence[str]) -> dict[str, int]:
    """``data`` as a pair folder that points at its pictures; how many pairs each split has."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[object, ...]] = []
    count = {"train": 0, "val": 0}
    for split in count:
        for query in sorted((data / split / "drone").glob("*.jpg")):
            if split == "train" and query.stem in leave_out:
                continue
            satellite = data / split / "satellite" / query.name
            near = [os.path.relpath(picture, folder) for picture in (query, satellite)]
            rows.append((*near, split, len(rows), "", "", "", "drone", "perspective"))
            count[split] += 1
    with (folder / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return count


def measured(
    checkpoint: Path, pairs: Path, folder: Path, shelf: Shelf
) -> tuple[EvaluationResult, ...]:
    """In the order of ``DIRECTIONS``."""
    done = evaluate(Evaluate(checkpoint, pairs, folder, headings="unknown"), shelf)
    by_test = {result.test: result for result in done.results}
    return tuple(by_test[direction] for direction in DIRECTIONS)


def row(results: Sequence[EvaluationResult], *, chance: bool = False) -> str:
    cells = []
    for result in results:
        for name in FIGURES:
            one = result.measure(name)
            value = None if one is None else one.chance if chance else one.value
            cells.append(f"{'' if value is None else f'{value:.1%}':>8}")
        cells.append("  ")
    return "".join(cells)


if __name__ == "__main__":
    sys.exit(main())
