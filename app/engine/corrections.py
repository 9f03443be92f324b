"""Boxes that a person put right, kept as training data in an object folder.

A correction is a row of ``objects.csv`` as any other, in the layout of CVOGL's records (query,
satellite, click, box, class), with one column more, ``origin``: what was corrected, where it
was, and when. Pictures are named by their content, so that a satellite picture is there once.
"""

import csv
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import numpy as np

from app.card import Card, read_card
from app.engine.checkpoints import write_whole
from app.engine.datasets.click_table import COLUMNS, OBJECTS_NAME, ClickPair, click_row
from app.engine.gallery import Gallery
from app.engine.object_clicks import check_clicks
from app.engine.object_references import jpeg, latlons
from app.engine.photos import Query
from app.engine.shelf import Shelf
from app.errors import UserError
from app.object_messages import AddCorrection, CorrectionAdded, Reference

ORIGIN = "origin"
QUALITY = 95
LEAST_PX = 2.0  # a smaller box is a slip of the hand
SPLITS = ("train", "val", "test")


def add_correction(
    request: AddCorrection, shelf: Shelf, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> CorrectionAdded:
    """Append one corrected box. Pictures are written first, the table last, whole or not at all.

    The same correction again replaces its row. Raises UserError for what the user can mend.
    """
    query = shelf.query(request.photo)
    check_clicks(query, (request.click,), force=True)
    _check_box(request)
    card = read_card(request.checkpoint)
    gallery = shelf.gallery(request.gallery)
    table = request.folder / OBJECTS_NAME
    header, rows = _read(table)
    pair = _written(request, query, gallery, card)
    row = {
        **click_row(pair, request.folder, request.split),
        ORIGIN: _origin(request, gallery, card, now()),
    }
    same = ("query", "satellite", "click_x", "click_y")
    rows = [old for old in rows if any(old.get(name) != row[name] for name in same)]
    row["place"] = _place(rows, row["satellite"])
    rows.append(row)
    columns = [*header, *(name for name in (*COLUMNS, ORIGIN) if name not in header)]
    write_whole(table, _csv_text(columns, rows).encode("utf-8"))
    return CorrectionAdded(request.folder, len(rows))


def _check_box(request: AddCorrection) -> None:
    left, top, right, bottom = request.box
    side = request.reference.size_px
    if not all(np.isfinite(request.box)) or right - left < LEAST_PX or bottom - top < LEAST_PX:
        raise UserError("The corrected box is empty", "Draw it around the object.")
    if left < 0 or top < 0 or right > side or bottom > side:
        raise UserError(
            "The corrected box leaves its satellite picture",
            "Look again centred on the object (refine), then correct that box.",
        )
    if request.split not in SPLITS:
        raise UserError(f"There is no split {request.split}", f"Choose {', '.join(SPLITS)}.")


def _read(table: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The header and rows that are there; none in a new folder."""
    if not table.exists():
        return [], []
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error
    if missing := [name for name in COLUMNS if name not in header]:
        raise UserError(
            f"{table} is no table of objects: it lacks {', '.join(missing)}",
            "Choose another folder for corrections.",
        )
    return header, rows


def _written(request: AddCorrection, query: Query, gallery: Gallery, card: Card) -> ClickPair:
    """Both pictures as files, and what the table will say of them."""
    reference = request.reference
    height, width = query.image.shape[:2]
    click = request.click[0] * width / query.width, request.click[1] * height / query.height
    pixels, _ = gallery.cut(
        x=reference.x, y=reference.y, size_m=reference.size_m, size_px=reference.size_px
    )
    return ClickPair(
        query=_kept(request.folder / "query", query.image),
        satellite=_kept(request.folder / "satellite", pixels),
        place=0,
        click=click,
        box=request.box,
        category=request.category,
        view=card.query_view,
        kind=query.kind,
        position=latlons(gallery.manifest.crs, [_middle(reference, request.box)])[0],
        gsd_m=reference.gsd_m,
        world=gallery.manifest.name,
    )


def _middle(reference: Reference, box: tuple[float, float, float, float]) -> tuple[float, float]:
    return reference.to_ground((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)


def _kept(folder: Path, picture: np.ndarray) -> Path:
    content = jpeg(picture, quality=QUALITY)
    path = folder / f"{hashlib.sha256(content).hexdigest()[:24]}.jpg"
    if not path.exists():
        write_whole(path, content)
    return path


def _origin(request: AddCorrection, gallery: Gallery, card: Card, at: datetime) -> str:
    """For a person and for programs: JSON on one line."""
    return json.dumps(
        {
            "by": "hand",
            "at": at.isoformat(timespec="seconds"),
            "photo": request.photo.name,
            "gallery": gallery.manifest.name,
            "tile": request.reference.tile,
            "checkpoint": card.title,
            "found": request.found,
        },
        ensure_ascii=False,
    )


def _place(rows: list[dict[str, str]], satellite: str) -> str:
    """Rows that share a satellite picture show the same ground."""
    for row in rows:
        if row["satellite"] == satellite:
            return row["place"]
    numbers = [int(row["place"]) for row in rows if row["place"].lstrip("-").isdigit()]
    return str(max(numbers, default=-1) + 1)


def _csv_text(columns: list[str], rows: list[dict[str, str]]) -> str:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "replace").decode("utf-8")
