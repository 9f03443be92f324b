"""``skyfix object``: clicks on photos, from the command line or a table, to boxes on the ground."""

import argparse
import csv
import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from app.messages import (
    Export,
    FindObjects,
    Locate,
    Location,
    ObjectsFound,
    Report,
    UserError,
)
from app.object_messages import Point

if TYPE_CHECKING:
    from app.engine.shelf import Shelf

Telling: TypeAlias = Callable[[], AbstractContextManager[Report]]
CLICK_COLUMNS = ("photo", "x", "y")


@dataclass(frozen=True, slots=True)
class Asked:
    """Clicks on one photo; ``tile`` is empty where the photo is to be located first."""

    photo: Path
    tile: str
    clicks: tuple[Point, ...]


def add_object(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", count: Callable[[str], int]
) -> None:
    one = commands.add_parser("object", help="find what clicks on a photo mean, on the ground")
    one.add_argument("photo", nargs="?", type=Path, metavar="PHOTO")
    one.add_argument(
        "--click", action="append", type=_click, default=[], metavar="X,Y",
        help="pixels from the photo's upper left corner; may be given several times",
    )  # fmt: skip
    one.add_argument(
        "--clicks", type=Path, metavar="FILE.csv",
        help="many clicks: columns photo,x,y and, if wanted, tile; in place of PHOTO",
    )  # fmt: skip
    one.add_argument("--gallery", type=Path, required=True)
    one.add_argument("--checkpoint", type=Path, required=True, help="an object checkpoint")
    one.add_argument("--tile", help="where the photo was taken: look around this tile")
    one.add_argument("--locator", type=Path, help="or locate it first, with this checkpoint")
    one.add_argument(
        "--top", type=count, default=1, metavar="K", help="look around the K best candidates (1)"
    )
    one.add_argument("--alternatives", type=int, default=4, help="boxes beside the best (4)")
    one.add_argument("--refine", action="store_true", help="look once more, centred on the best")
    one.add_argument("--force", action="store_true", help="also clicks on a sky or a black bar")
    one.add_argument("--json", action="store_true", help="print JSON in place of tables")
    one.add_argument("--geojson", type=Path, metavar="FILE", help="write all boxes there")
    one.add_argument(
        "--export", type=Path, metavar="FILE", help="the same as .geojson, .kml, .gpkg or .csv"
    )
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")
    one.set_defaults(act="object")


def add_calibrate(acts: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    one = acts.add_parser(
        "calibrate",
        help="measure an object checkpoint on held-out clicks and fit its probabilities; "
        "both are kept in its card",
    )
    one.add_argument("checkpoint", type=Path)
    one.add_argument("--objects", type=Path, required=True, help="an object folder")
    one.add_argument("--split", default="val", help="of the folder (val)")
    one.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (auto)")
    one.set_defaults(act="checkpoint calibrate")


def calibrate_command(telling: Telling, args: argparse.Namespace) -> int:
    """Figures of other data on the card stay; those of the same name are replaced."""
    from app.engine.checkpoints import rewrite_card
    from app.engine.datasets.clicks import read_click_pairs
    from app.engine.object_calibration import measure_objects
    from app.engine.shelf import Shelf

    with telling() as report:
        checkpoint = Shelf(device=args.device, tell=report).object_checkpoint(args.checkpoint)
        pairs = read_click_pairs(args.objects, args.split, view=checkpoint.card.query_view)
        measured = measure_objects(
            checkpoint, pairs, data=f"{args.objects.resolve().name} {args.split}", report=report
        )
    fresh, fitted = measured.metrics(), measured.calibration()
    names = {metric.name for metric in fresh}
    kept = tuple(metric for metric in checkpoint.card.metrics if metric.name not in names)
    card = replace(checkpoint.card, metrics=(*kept, *fresh), calibration=fitted)
    rewrite_card(args.checkpoint, card)
    for metric in fresh:
        print(f"{metric.name:>24}  {metric.value:.3f}")
    print(f"{'temperature':>24}  {fitted.temperature:.3g}  on {fitted.data}")
    return 0


def object_command(telling: Telling, args: argparse.Namespace) -> int:
    """Each photo, and each click in it, on its own: one that fails does not stop the others."""
    from app.engine.export_found import export
    from app.engine.shelf import Shelf

    asked = _asked(args)
    shelf = Shelf(device=args.device)
    locations: list[Location] = []
    answers: list[ObjectsFound] = []
    for one in asked:
        try:
            with telling() as report:
                shelf.sharing.tell = report
                clicks = _sound_clicks(one, shelf, force=args.force)
                good = replace(one, clicks=clicks)
                answers.append(_answer(args, good, shelf, locations, report))
        except UserError as error:
            _complain(error)
            continue
        if not args.json:
            print(found_text(answers[-1]), end="\n\n")
    if args.json:
        from app.engine.export import json_text

        print(json_text([_fields(answer) for answer in answers]), end="")
    for path in (args.geojson, args.export):
        if path is not None and answers:
            export(Export(path, tuple(locations), tuple(answers)))
    answered = sum(len(answer.objects) for answer in answers)
    return 1 if answered < sum(len(one.clicks) for one in asked) else 0


def _complain(error: UserError) -> None:
    print(f"skyfix: {error}\n  {error.hint}", file=sys.stderr)


def _sound_clicks(asked: Asked, shelf: "Shelf", *, force: bool) -> tuple[Point, ...]:
    """Those that can have an answer; what is wrong with each other one is told.

    Raises UserError, of the last one, where none is left.
    """
    from app.engine.object_clicks import check_clicks

    query = shelf.query(asked.photo)
    sound: list[Point] = []
    wrong: list[UserError] = []
    for click in asked.clicks:
        try:
            check_clicks(query, (click,), force=force)
        except UserError as error:
            wrong.append(error)
        else:
            sound.append(click)
    for fault in wrong if sound else wrong[:-1]:
        _complain(fault)
    if not sound:
        raise wrong[-1]
    return tuple(sound)


def _answer(
    args: argparse.Namespace,
    asked: Asked,
    shelf: "Shelf",
    locations: list[Location],
    report: Report,
) -> ObjectsFound:
    from app.engine.objects import find_objects

    tiles: tuple[str, ...] = (asked.tile,)
    if not asked.tile:
        from app.engine.locate import locate

        request = Locate(asked.photo, args.gallery, args.locator, top_k=args.top)
        locations.append(locate(request, shelf, report))
        tiles = tuple(candidate.tile for candidate in locations[-1].candidates)
    return find_objects(
        FindObjects(
            photo=asked.photo,
            clicks=asked.clicks,
            gallery=args.gallery,
            checkpoint=args.checkpoint,
            tiles=tiles,
            alternatives=args.alternatives,
            refine=args.refine,
            force=args.force,
        ),
        shelf,
        report,
    )


# --- what is asked ------------------------------------------------------------


def _asked(args: argparse.Namespace) -> tuple[Asked, ...]:
    if (args.photo is None) == (args.clicks is None):
        raise UserError(
            "skyfix object needs either a photo with --click X,Y or a table with --clicks",
            "Such as: skyfix object photo.jpg --click 320,240 --gallery G --checkpoint C --tile T",
        )
    if args.clicks is not None:
        asked = read_clicks(args.clicks, tile=args.tile or "")
    else:
        if not args.click:
            raise UserError("There is no click", "Give one or more: --click X,Y.")
        asked = (Asked(args.photo, args.tile or "", tuple(args.click)),)
    if args.locator is None and any(not one.tile for one in asked):
        raise UserError(
            "It is not said where the photo was taken",
            "Name a tile of the gallery with --tile, or a checkpoint to locate with: --locator.",
        )
    return asked


def read_clicks(table: Path, *, tile: str = "") -> tuple[Asked, ...]:
    """Clicks by photo and tile, in the table's order. Photos lie relative to the table.

    ``tile`` is that of lines that name none. Raises UserError naming file and line.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in CLICK_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{table} lacks the column {', '.join(missing)}",
                    "Its first line must be: photo,x,y or photo,x,y,tile",
                )
            grouped: dict[tuple[Path, str], list[Point]] = {}
            for row in reader:
                key = (table.parent / row["photo"], row.get("tile") or tile)
                where = f"{table}, line {reader.line_num}"
                grouped.setdefault(key, []).append(_place(row, where=where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error
    if not grouped:
        raise UserError(f"{table} holds no clicks", "Give it a line for each click.")
    return tuple(Asked(photo, at, tuple(clicks)) for (photo, at), clicks in grouped.items())


def _place(row: dict[str, str], *, where: str) -> Point:
    try:
        x, y = float(row["x"]), float(row["y"])
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: x and y must be numbers", "Mend the line.") from error
    if not (math.isfinite(x) and math.isfinite(y)):
        raise UserError(f"{where}: {x}, {y} is no place", "Mend the line.")
    return x, y


def _click(text: str) -> Point:
    parts = text.split(",")
    try:
        x, y = (float(part) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not X,Y such as 320,240") from None
    return x, y


# --- what is told -------------------------------------------------------------


def found_text(answer: ObjectsFound) -> str:
    """For a terminal: each click's boxes, best first."""
    from app.engine.export import plain_name

    sure = "" if answer.calibrated else " (not calibrated)"
    lines = [plain_name(answer.photo)]
    for number, found in enumerate(answer.objects, start=1):
        lines.append(f"click {number} at {found.click[0]:g}, {found.click[1]:g}{sure}")
        lines.append(_HEADER)
        for box in found.boxes:
            error = "" if box.error_m is None else f"{box.error_m:.1f}"
            lines.append(
                f"{box.rank:>4}  {box.probability:>7.4f}  {box.centre.lat:>11.6f}  "
                f"{box.centre.lon:>12.6f}  {box.width_m:>7.1f}  {box.height_m:>7.1f}  "
                f"{error:>7}  {answer.references[box.reference].tile}"
            )
    lines.append(f"error of the centre: {answer.error_basis}")
    lines += [f"  - {note}" for note in answer.notes]
    return "\n".join(lines)


_HEADER = (
    f"{'rank':>4}  {'prob':>7}  {'lat':>11}  {'lon':>12}  {'width m':>7}  {'depth m':>7}  "
    f"{'error m':>7}  around tile"
)


def _fields(answer: ObjectsFound) -> object:
    from app.engine.export import plain

    fields = plain(asdict(answer))
    for found, source in zip(fields["objects"], answer.objects, strict=True):
        for box, one in zip(found["boxes"], source.boxes, strict=True):
            box["area_m2"] = one.area_m2
    return fields
