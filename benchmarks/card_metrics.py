"""Measure the shipped checkpoints again on what their cards name, and print both figures.

    python -m benchmarks.card_metrics [CHECKPOINT ...] [--keep FOLDER]
    python -m benchmarks.card_metrics --table       # only what the cards say, for README

A card says "procedural cities 900 and 901 (drone), val pairs, heading unknown (12 turns)", or of
clicks "procedural cities 900 and 901 (drone objects) val": these cities are rendered again by their
seeds, as difficult and with as many pairs each as those that the cards were measured on, and
evaluated as the card says. Peers in the same table: chance, and what the card claims. Exits with 1
if a figure of a card lies outside the 95 % interval of its new measurement.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from app.card import Metric, Task, read_card
from app.engine.evaluation import Headings
from app.engine.evaluation_run import evaluate
from app.engine.shelf import Shelf
from app.engine.world import PhotoView, write_pairs
from app.engine.world_objects import write_object_pairs
from app.messages import Evaluate
from app.paths import shipped_checkpoints
from app.results import EvaluationResult

PAIRS = 150  # or clicks, of each city that the shipped cards were measured on
DIFFICULTY, OBJECTS_DIFFICULTY = 0.6, 0.5
NAMES = {  # of the card's figures that a result calls otherwise
    "median_m": "median error",
    "centre error, median m": "centre error on the ground",
}
COLUMNS: Mapping[Task, tuple[tuple[str, ...], tuple[str, ...]]] = {  # figures, what heads them
    "retrieval": (
        ("R@1", "R@5", "R@10", "median_m"),
        ("R@1", "R@5", "R@10", "median error"),
    ),
    "object": (
        ("accu@0.25", "accu@0.5", "mean IoU", "centre error, median m"),
        ("accu@0.25", "accu@0.5", "mean IoU", "centre error"),
    ),
}
TOLD = re.compile(
    r"procedural cities (?P<seeds>[\d, and]+) \((?P<view>drone|street)(?:"
    r"\), val pairs, heading (?P<heading>known|unknown)(?: \((?P<turns>\d+) turns\))?"
    r"|(?P<objects> objects)\) val, \d+ clicks)"
)


@dataclass(frozen=True, slots=True)
class Said:
    """What a card's words ask to render and to measure."""

    seeds: tuple[int, ...]
    view: PhotoView
    objects: bool  # clicks and boxes; else whole pictures
    headings: Headings
    turns: int | None


def said(words: str) -> Said | None:
    """None: not of procedural cities, so not to be rendered again."""
    match = TOLD.fullmatch(words)
    if match is None:
        return None
    seeds = tuple(int(number) for number in re.findall(r"\d+", match["seeds"]))
    return Said(
        seeds,
        "drone" if match["view"] == "drone" else "street",
        match["objects"] is not None,
        "known" if match["heading"] == "known" else "unknown",
        int(match["turns"]) if match["turns"] else None,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", nargs="*", type=Path, help="(the shipped ones)")
    parser.add_argument("--pairs", type=int, default=PAIRS, help="of each city (150)")
    parser.add_argument(
        "--difficulty",
        type=float,
        help=f"of the cities ({DIFFICULTY}; clicks: {OBJECTS_DIFFICULTY})",
    )
    parser.add_argument("--keep", type=Path, help="folder for cities and descriptors (thrown away)")
    parser.add_argument("--table", action="store_true", help="only print what the cards say")
    args = parser.parse_args()
    if args.table:
        print(table(args.checkpoints or shipped_checkpoints()))
        return 0
    wrong = 0
    scratch = nullcontext(str(args.keep)) if args.keep else tempfile.TemporaryDirectory()
    with scratch as name:
        folder = Path(name)
        for path in args.checkpoints or shipped_checkpoints():
            card = read_card(path)
            told: dict[str, list[Metric]] = {}
            for metric in card.metrics:
                told.setdefault(metric.data, []).append(metric)
            for words, metrics in told.items():
                asked = said(words)
                if asked is None:
                    print(f"{path.name}: {words} cannot be rendered; left out")
                    continue
                print(f"{card.title}: {words}", flush=True)
                wrong += _compare(metrics, _measured(path, asked, folder, args))
    return 1 if wrong else 0


def table(checkpoints: Sequence[Path]) -> str:
    """Markdown: what the cards say, those for photos first."""
    lines = []
    for task, (names, heads) in COLUMNS.items():
        lines += [f"| {' | '.join(('Checkpoint', 'MB', *heads))} |", "| --- |" + " ---: |" * 5]
        for path in checkpoints:
            card = read_card(path)
            if card.task == task:
                by_name = {metric.name: metric.value for metric in card.metrics}
                cells = [_cell(name, by_name.get(name)) for name in names]
                size = f"{path.stat().st_size / 1e6:.1f}"
                lines.append(f"| {' | '.join((card.title, size, *cells))} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("median_m", "centre error, median m"):
        return f"{value:.0f} m"
    return f"{value:.3f}" if name == "mean IoU" else f"{value:.1%}"


def _measured(path: Path, asked: Said, folder: Path, args: argparse.Namespace) -> EvaluationResult:
    usual = OBJECTS_DIFFICULTY if asked.objects else DIFFICULTY
    difficulty = usual if args.difficulty is None else args.difficulty
    what = f"{asked.view}{'-objects' if asked.objects else ''}"
    data = folder / "-".join(map(str, (what, *asked.seeds, args.pairs, difficulty)))
    done = folder / f"{path.stem}-{asked.headings}"
    if asked.objects:
        write_object_pairs(
            data,
            view=asked.view,
            seeds=asked.seeds,
            objects_per_world=args.pairs,
            split="val",
            difficulty=difficulty,
        )
        request = Evaluate(path, data, done, tests=("val",))
    else:
        write_pairs(
            data,
            view=asked.view,
            seeds=asked.seeds,
            pairs_per_world=args.pairs,
            split="val",
            difficulty=difficulty,
        )
        request = Evaluate(
            path,
            data,
            done,
            tests=(f"{asked.view} to satellite",),
            headings=asked.headings,
            turns=asked.turns,
        )
    return evaluate(request, Shelf()).results[0]


def _compare(metrics: list[Metric], result: EvaluationResult) -> int:
    """How many figures of the card lie outside the new interval."""
    outside = 0
    print(f"{'':<14}{'card':>9}{'now':>9}   95 % interval      chance   ({result.queries} queries)")
    for metric in metrics:
        found = result.measure(NAMES.get(metric.name, metric.name))
        if found is None:
            print(f"{metric.name:<14}{metric.value:9.4f}        -   is not measured any more")
            outside += 1
            continue
        # A card that was measured on the same pictures differs by float16 descriptors alone.
        fits = found.low - 1e-6 <= metric.value <= found.high + 1e-6
        outside += not fits
        chance = "" if found.chance is None else f"{found.chance:9.4f}"
        print(
            f"{metric.name:<14}{metric.value:9.4f}{found.value:9.4f}   "
            f"{found.low:.4f} to {found.high:.4f}{chance}{'' if fits else '   OUTSIDE'}",
            flush=True,
        )
    return outside


if __name__ == "__main__":
    sys.exit(main())
