"""Object checkpoints on one object folder, side by side: AttenGeo, DetGeo and a plain guess.

    python -m benchmarks.objects_recall --data FOLDER ATTENGEO.safetensors DETGEO.safetensors ...

The papers' baseline is AttenGeo without both of its parts: ``skyfix train --network attengeo --set
cvcam=false --set mhsam=false``. Whether the checkpoints were trained alike is said.

Of each: accu@0.25, accu@0.5, mean IoU and the median error of the box's centre on the ground, in
metres, with 95 % intervals (bootstrap over places). The first checkpoint is then compared with
each other one, pair by pair: a difference whose interval leaves out 0 is more than luck. The
plain guess is the median box of the training split in the middle of the picture: what has learnt
nothing of the photo reaches as much. Beside them stand what the papers report on CVOGL, which is
other data.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.card import Card
from app.engine.datasets.clicks import ClickPair, read_click_pairs
from app.engine.evaluation_compare import compare
from app.engine.evaluation_run import evaluate
from app.engine.metrics import box_iou
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Compare, Evaluate
from app.results import EvaluationResult

SHOWN = ("accu@0.25", "accu@0.5", "mean IoU", "centre error on the ground")
GUESS = "a box in the middle"
TOLD = ("data", "epochs", "batch_size", "lr")
OWN = {"network", "preset", "overrides", "epoch", "torch", "device"}  # a network's, or its file's
PUBLISHED = {  # arXiv 2510.27139, tables 1 and 3: test split of CVOGL, accu@0.25 / accu@0.5, %
    "drone": {"AttenGeo": (70.71, 62.08), "DetGeo": (61.97, 57.66), "baseline": (49.43, 44.19)},
    "street": {"AttenGeo": (50.57, 46.15), "DetGeo": (45.43, 42.24), "baseline": (44.56, 39.93)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="an object folder")
    parser.add_argument("--split", default="val")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    shelf = Shelf(args.device)
    cards = [shelf.object_checkpoint(path).card for path in args.checkpoints]
    names = [name_of(path, card) for path, card in zip(args.checkpoints, cards, strict=True)]
    view = cards[0].query_view
    pairs = read_click_pairs(args.data, args.split, view=view)
    print(f"{args.data.name} {args.split}: {len(pairs)} clicks on {view} photos")
    print(training_words(names, cards))
    wide = max(len(name) for name in (*names, GUESS)) + 1
    print(f"{'':<{wide}}" + "".join(f"{name:>28}" for name in SHOWN))
    try:
        guessed = guess(pairs, read_click_pairs(args.data, "train", view=view))
        print(f"{GUESS:<{wide}}" + "".join(f"{value:>28}" for value in guessed))
    except UserError as error:  # a folder to measure on, without a training split
        print(f"{GUESS:<{wide}}  not known: {error}")
    with tempfile.TemporaryDirectory(prefix="skyfix-objects-") as work:
        folders = []
        for number, path in enumerate(args.checkpoints):
            request = Evaluate(path, args.data, Path(work) / str(number), tests=(args.split,))
            done = evaluate(request, shelf)
            folders.append(done.folders[0])
            print(f"{names[number]:<{wide}}{row(done.results[0])}")
        for name, other in zip(names[1:], folders[1:], strict=True):
            print(f"\n{name} less {names[0]}")
            for d in compare(Compare(folders[0], other)).comparison.differences:
                if d.name in SHOWN:
                    sign = "" if d.low <= 0 <= d.high else "  more than luck"
                    print(
                        f"{d.name:>28}  {d.difference:+.3f} ({d.low:+.3f} to {d.high:+.3f}){sign}"
                    )
    print("\npublished, CVOGL test (other data): accu@0.25 / accu@0.5")
    for name, (loose, strict) in PUBLISHED[view].items():
        print(f"{name:>28}  {loose / 100:.3f} / {strict / 100:.3f}")


def name_of(path: Path, card: Card) -> str:
    """The network, what was taken out of it, and the file; a run's file by its run."""
    without = [part.upper() for part in ("cvcam", "mhsam") if card.config.get(part) is False]
    if card.network != "attengeo" or not without:
        told = card.network
    else:
        told = f"{card.network} without {' and '.join(without)}"
    file = path.parent.name if path.stem in ("best", "last") else path.stem
    return f"{told} ({file})"


def training_words(names: Sequence[str], cards: Sequence[Card]) -> str:
    """Whether the checkpoints were trained alike, and in what not."""
    untrained = [name for name, card in zip(names, cards, strict=True) if not card.training]
    if untrained:
        return f"not comparable: {', '.join(untrained)} tells nothing of its training"
    keys = sorted({key for card in cards for key in card.training} - OWN)
    apart = {key: [card.training.get(key) for card in cards] for key in keys}
    apart = {key: values for key, values in apart.items() if any(v != values[0] for v in values)}
    if apart:
        told = "; ".join(f"{key} {', '.join(map(str, values))}" for key, values in apart.items())
        return f"not trained alike: {told}"
    shown = ", ".join(f"{key} {cards[0].training.get(key)}" for key in TOLD)
    return f"trained alike: {shown}"


def row(result: EvaluationResult) -> str:
    by_name = {measure.name: measure for measure in result.measures}
    cells = []
    for name in SHOWN:
        m = by_name.get(name)
        cells.append("" if m is None else f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})")
    return "".join(f"{cell:>28}" for cell in cells)


def guess(pairs: Sequence[ClickPair], train: Sequence[ClickPair]) -> tuple[str, ...]:
    """The figures of one box for all: as large as the median of training, in the middle.

    The middle is that of the training boxes' centres, which is about the pictures' own.
    """
    learnt = np.array([pair.box for pair in train])
    width, height = np.median(learnt[:, 2:] - learnt[:, :2], axis=0)
    x, y = np.median((learnt[:, 2:] + learnt[:, :2]) / 2, axis=0)
    box = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    true = np.array([pair.box for pair in pairs])
    iou = box_iou(true, np.tile(box, (len(true), 1)))
    gsd = np.array([pair.gsd_m or np.nan for pair in pairs])
    away = np.hypot(*((true[:, 2:] + true[:, :2]) / 2 - (x, y)).T) * gsd
    figures = (iou >= 0.25).mean(), (iou >= 0.5).mean(), iou.mean(), np.nanmedian(away)
    return tuple(f"{figure:.3f}" for figure in figures)


if __name__ == "__main__":
    main()
