"""``skyfix evaluate``: measure a checkpoint, in one go or in two steps, and compare two."""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, TypeAlias

from app.messages import (
    BrowseErrors,
    Compare,
    Evaluate,
    Evaluated,
    Project,
    Report,
    Score,
    UserError,
)
from app.results import ErrorRow, EvaluationResult, Measure
from app.settings import EXECUTIONS

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Telling = Callable[[], AbstractContextManager[Report]]  # shows progress while it is open


def add_evaluate(commands: _Commands, count: Callable[[str], int]) -> None:
    """``count`` reads a whole number above zero."""
    one = commands.add_parser(
        "evaluate",
        help="measure a checkpoint",
        description="Measure a checkpoint on a data set (--data), a pair folder (--pairs) or "
        "photos on a gallery (--gallery, --photos). A data set is measured by its own published "
        "protocol, in two steps: describe, which needs the network, and score, which does not.",
    )
    _add_data(one, count, needed=False)
    _add_figures(one, count)
    one.add_argument("--pairs", type=Path, help="a pair folder: query against all satellites")
    one.add_argument("--split", default="val", help="of the pair folder (val)")
    one.add_argument("--gallery", type=Path, help="with --photos: the gallery to search")
    one.add_argument("--photos", type=Path, help="a folder of photos with truth.csv")
    one.add_argument(
        "--keep",
        choices=("metrics", "calibration"),
        help="with --pairs or --photos: write the figures (and the fitted temperature) into the "
        "checkpoint's card; galleries that it described must be built again",
    )
    one.set_defaults(act="evaluate")
    acts = one.add_subparsers(dest="what", metavar="describe, score, compare, errors, map")
    describe = acts.add_parser("describe", help="a data set's pictures to descriptors in a file")
    _add_data(describe, count, needed=True)
    describe.set_defaults(act="evaluate describe")
    score = acts.add_parser("score", help="figures from described folders, without the network")
    score.add_argument("folders", nargs="+", type=Path, metavar="DESCRIPTORS")
    _add_figures(score, count)
    score.set_defaults(act="evaluate score")
    compare = acts.add_parser("compare", help="two checkpoints on the same test")
    compare.add_argument("first", type=Path, metavar="DESCRIPTORS")
    compare.add_argument("second", type=Path, metavar="DESCRIPTORS")
    _add_draws(compare, count)
    compare.add_argument("--json", action="store_true")
    compare.set_defaults(act="evaluate compare")
    errors = acts.add_parser("errors", help="the queries that were not found")
    errors.add_argument("folder", type=Path, metavar="DESCRIPTORS")
    errors.add_argument("--order", choices=("worst", "sure"), default="worst")
    errors.add_argument("--count", type=count, default=20)
    errors.add_argument(
        "--found-by", type=Path, metavar="DESCRIPTORS",
        help="only those that this other evaluation of the same test got right",
    )  # fmt: skip
    errors.add_argument("--json", action="store_true")
    errors.set_defaults(act="evaluate errors")
    drawn = acts.add_parser("map", help="draw the descriptors on a plane, into their folder")
    drawn.add_argument("folder", type=Path, metavar="DESCRIPTORS")
    drawn.add_argument("--method", choices=("pca", "tsne"), default="pca")
    drawn.add_argument("--most", type=count, default=2000, help="pictures drawn (2000)")
    drawn.set_defaults(act="evaluate map")


def _add_data(
    parser: argparse.ArgumentParser, count: Callable[[str], int], *, needed: bool
) -> None:
    parser.add_argument("--checkpoint", type=Path, required=needed)
    parser.add_argument("--data", type=Path, required=needed, help="a data set's folder")
    parser.add_argument("--name", default="", help="its layout, such as vigor-cross (recognised)")
    parser.add_argument("--test", action="append", default=[], help="one of its tests (all)")
    parser.add_argument("-o", "--output", type=Path, help="folder for descriptors and figures")
    parser.add_argument("--heading", choices=("known", "unknown"))
    parser.add_argument("--turns", type=count, help="for an unknown heading (the checkpoint's)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")
    parser.add_argument(
        "--backend", choices=EXECUTIONS, default="auto", help="what computes the network (auto)"
    )


def _add_figures(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    _add_draws(parser, count)
    parser.add_argument("--metrics", help="only these figures, such as R@1,AP")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--table", action="store_true", help="with the published rows below")


def _add_draws(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    parser.add_argument("--resamples", type=count, default=1000, help="of the bootstrap (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (0)")


# --- what is done -------------------------------------------------------------


def evaluate(progress: Telling, args: argparse.Namespace) -> int:
    if args.checkpoint is None:
        raise UserError("skyfix evaluate needs --checkpoint", "See: skyfix evaluate --help")
    if args.data is None:
        return _evaluate_photos(progress, args)
    from app.engine.evaluation_run import evaluate as measure
    from app.engine.shelf import Shelf

    with progress() as report:
        shelf = Shelf(device=args.device, execution=args.backend, tell=report)
        done = measure(_request(args), shelf, report)
    _tell(done, args)
    return 0


def describe(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.evaluation_run import describe
    from app.engine.shelf import Shelf

    with progress() as report:
        shelf = Shelf(device=args.device, execution=args.backend, tell=report)
        folders = describe(_request(args), shelf, report)
    print(*folders, sep="\n")
    return 0


def _request(args: argparse.Namespace) -> Evaluate:
    heading: Literal["known", "unknown"] = args.heading or "known"
    return Evaluate(
        args.checkpoint,
        args.data,
        args.output,
        name=args.name,
        tests=tuple(args.test),
        headings=heading,
        turns=args.turns,
        resamples=getattr(args, "resamples", 1000),
        seed=getattr(args, "seed", 0),
    )


def score(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.evaluation_run import score_folder

    results: list[EvaluationResult] = []
    for folder in args.folders:
        with progress() as report:
            results += score_folder(Score(folder, args.resamples, args.seed), report).results
    _tell(Evaluated(tuple(args.folders), tuple(results)), args)
    return 0


def compare(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.evaluation_compare import compare as compared

    with progress() as report:
        found = compared(Compare(args.first, args.second, args.resamples, args.seed), report)
    comparison = found.comparison
    if args.json:
        print(json.dumps(asdict(comparison), indent=1))
        return 0
    print(f"{comparison.data}, {comparison.test}: {comparison.queries} queries")
    print(f"first:  {comparison.first_title}\nsecond: {comparison.second_title}")
    print(f"{'':<28}{'first':>9}{'second':>9}   difference (95 % of draws)")
    for d in comparison.differences:
        a, b, by, low, high = (
            _figure(value, d.unit) for value in (d.first, d.second, d.difference, d.low, d.high)
        )
        print(f"{d.name:<28}{a:>9}{b:>9}   {by} ({low} to {high})")
    print(
        f"{comparison.p_name}: {comparison.only_first} for the first, "
        f"{comparison.only_second} for the second, p = {comparison.p_value:.2g}"
    )
    return 0


def errors(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.evaluation_errors import browse

    request = BrowseErrors(args.folder, args.order, count=args.count, found_by=args.found_by)
    found = browse(request)
    if args.json:
        print(json.dumps([asdict(row) for row in found.rows], indent=1, default=str))
        return 0
    other = f", but by {args.found_by}" if args.found_by else ""
    print(f"{found.total} queries were not found at rank 1{other}")
    for row in found.rows:
        if isinstance(row, ErrorRow):
            rank = "none" if row.rank is None else str(row.rank)
            away = "" if row.metres is None else f"  {row.metres:.0f} m"
            print(f"rank {rank:>6}{away}  {row.query}  taken for  {row.best[0].picture}")
        else:
            print(f"IoU {row.iou:.2f}  {row.centre_px:.0f} px off  {row.query} on {row.satellite}")
    return 0


def draw(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.evaluation_map import project_folder

    with progress() as report:
        found = project_folder(Project(args.folder, args.method, args.most), report)
    print(f"{args.folder / f'map-{args.method}.json'}: {found.projection.note}")
    return 0


def _evaluate_photos(progress: Telling, args: argparse.Namespace) -> int:
    from app.engine.checkpoints import rewrite_card
    from app.engine.evaluation import evaluate_pairs, evaluate_photos
    from app.engine.shelf import Shelf

    if not args.pairs and not (args.gallery and args.photos):
        raise UserError(
            "skyfix evaluate needs data",
            "Name --data or --pairs, or --gallery together with --photos.",
        )
    heading: Literal["known", "unknown"] = args.heading or "unknown"
    with progress() as report:
        shelf = Shelf(device=args.device, execution=args.backend, tell=report)
        checkpoint = shelf.checkpoint(args.checkpoint)
        if args.pairs:
            measured = evaluate_pairs(
                checkpoint, args.pairs, args.split, headings=heading, turns=args.turns,
                report=report,
            )  # fmt: skip
        else:
            measured = evaluate_photos(
                checkpoint, shelf.gallery(args.gallery), args.photos, headings=heading,
                turns=args.turns, report=report,
            )  # fmt: skip
    if args.json:
        print(json.dumps([asdict(metric) for metric in measured.metrics()], indent=1))
    else:
        print(measured.table())
    if args.keep:
        card = replace(checkpoint.card, metrics=measured.metrics())
        if args.keep == "calibration":
            card = replace(card, calibration=measured.calibration())
        rewrite_card(args.checkpoint, card)
    return 0


ACTS: dict[str, Callable[[Telling, argparse.Namespace], int]] = {
    "evaluate": evaluate,
    "evaluate describe": describe,
    "evaluate score": score,
    "evaluate compare": compare,
    "evaluate errors": errors,
    "evaluate map": draw,
}


# --- how it is told -----------------------------------------------------------


def _tell(done: Evaluated, args: argparse.Namespace) -> None:
    chosen = args.metrics.split(",") if args.metrics else None
    results = [_only(result, chosen) for result in done.results]
    if args.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
        return
    for folder, result in zip(done.folders, results, strict=True):
        print(result_table(result, published_rows=args.table))
        print(f"{folder}\n")


def _only(result: EvaluationResult, names: Sequence[str] | None) -> EvaluationResult:
    if names is None:
        return result
    known = [measure.name for measure in result.measures]
    if wrong := [name for name in names if name not in known]:
        raise UserError(f"There is no figure {wrong[0]} here", f"There are: {', '.join(known)}.")
    return replace(result, measures=tuple(m for m in result.measures if m.name in names))


def result_table(result: EvaluationResult, *, published_rows: bool = False) -> str:
    """For a terminal: each figure with its 95 % interval, and what papers print."""
    lines = [
        f"{result.checkpoint_title} on {result.data}, {result.test}: {result.queries} queries, "
        f"{result.gallery} in the gallery, {result.put}"
    ]
    lines += [_line(measure) for measure in result.measures]
    if (trust := result.reliability) is not None:
        lines.append(
            f"{'calibration error':<28}{trust.ece:9.1%}   temperature {trust.temperature:.4f}, "
            f"{trust.source}, {trust.queries} queries"
        )
    lines += [
        f"answers above score {t.score:.3f}: {t.found:.1%} found, with {t.false_accepts:.0%} of "
        "absent places answered"
        for t in result.thresholds
    ]
    lines += [f"note: {note}" for note in result.notes]
    if published_rows:
        lines += _published(result)
    return "\n".join(lines)


def _line(measure: Measure) -> str:
    low, high = _figure(measure.low, measure.unit), _figure(measure.high, measure.unit)
    chance = "" if measure.chance is None else f"   chance {measure.chance:.1%}"
    note = f"   {measure.note}" if measure.note else ""
    value = _figure(measure.value, measure.unit)
    return f"{measure.name:<28}{value:>9}   ({low} to {high}){chance}{note}"


def _figure(value: float, unit: str) -> str:
    return f"{value:.2%}" if unit == "share" else f"{value:.1f} {unit}"


def _published(result: EvaluationResult) -> list[str]:
    """The figures of papers that this result has too, in its columns; our own line last."""
    from app.engine.published_results import published

    rows = published(result.data, result.test)
    names = [m.name for m in result.measures if any(m.name in row.values for row in rows)]
    if not names:
        return ["nothing is published for this test"]
    units = {measure.name: measure.unit for measure in result.measures}
    own = {measure.name: measure.value for measure in result.measures}
    lines = ["", f"{'published':<36}" + "".join(f"{name:>12}" for name in names)]
    said = [
        (row.method + (f" (from {row.trained_on})" if row.trained_on else ""), row.values)
        for row in rows
        if any(name in row.values for name in names)
    ]
    for method, values in [*said, ("this checkpoint", own)]:
        cells = (_figure(values[n], units[n]) if n in values else "-" for n in names)
        lines.append(f"{method:<36}" + "".join(f"{cell:>12}" for cell in cells))
    return lines
