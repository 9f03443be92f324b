"""The object folder, the form in which clicks and their boxes lie: ``objects.csv`` and pictures.

``objects.csv`` (UTF-8) has the columns of ``COLUMNS``. Paths are relative to the folder;
``split`` is train, val or test; rows of one ``place`` (an integer) show the same ground.
``click_x,click_y`` are pixels of the query, ``left,top,right,bottom`` pixels of the satellite
picture, both from the upper left corner of the first pixel. ``category``, ``lat,lon`` (of the
box's centre), ``gsd_m`` and ``world`` may be empty. Other columns are kept and not read.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from app.card import View
from app.errors import UserError
from app.geo import LatLon
from app.messages import PhotoKind

OBJECTS_NAME = "objects.csv"
COLUMNS = (
    "query", "satellite", "split", "place", "click_x", "click_y", "left", "top", "right", "bottom",
    "category", "view", "kind", "lat", "lon", "gsd_m", "world",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClickPair:
    """Pixel coordinates are those of the files, from the upper left corner of the first pixel."""

    query: Path
    satellite: Path
    place: int  # rows of one place show the same ground
    click: tuple[float, float]  # x, y in the query
    box: tuple[float, float, float, float]  # left, top, right, bottom in the satellite picture
    category: str  # "building", "car"; empty where unknown
    view: View
    kind: PhotoKind = "perspective"
    position: LatLon | None = None  # of the box's centre
    gsd_m: float | None = None  # ground size of a satellite pixel
    world: str = ""


def is_object_folder(folder: Path) -> bool:
    return (folder / OBJECTS_NAME).is_file()


def read_click_pairs(
    folder: Path, split: str, *, view: View | None = None
) -> tuple[ClickPair, ...]:
    """The pairs of a split, of one query view if given. Every picture named exists.

    Raises UserError naming file and line where the table is not what ``COLUMNS`` says.
    """
    table = folder / OBJECTS_NAME
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{table} lacks the column {', '.join(missing)}",
                    f"Its first line must be: {','.join(COLUMNS)}",
                )
            pairs = [
                _pair(folder, row, where=f"{table}, line {reader.line_num}")
                for row in reader
                if row["split"] == split and view in (None, row["view"])
            ]
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not an object folder: it has no {OBJECTS_NAME}",
            "Choose another folder, or render one with: skyfix world --objects",
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error
    if not pairs:
        raise UserError(
            f"{table} has no {split} objects" + (f" with {view} queries" if view else ""),
            "Choose another data set, or a network for this view.",
        )
    return tuple(pairs)


def click_row(pair: ClickPair, folder: Path, split: str) -> dict[str, str]:
    """The line of ``objects.csv`` for a pair whose pictures lie in ``folder``."""
    place = pair.position
    return {
        "query": pair.query.relative_to(folder).as_posix(),
        "satellite": pair.satellite.relative_to(folder).as_posix(),
        "split": split,
        "place": str(pair.place),
        **{
            name: f"{value:.2f}"
            for name, value in zip(COLUMNS[4:10], (*pair.click, *pair.box), strict=True)
        },
        "category": pair.category,
        "view": pair.view,
        "kind": pair.kind,
        "lat": f"{place.lat:.7f}" if place else "",
        "lon": f"{place.lon:.7f}" if place else "",
        "gsd_m": f"{pair.gsd_m:.6g}" if pair.gsd_m else "",
        "world": pair.world,
    }


def _pair(folder: Path, row: dict[str, str], *, where: str) -> ClickPair:
    try:
        query, satellite = folder / row["query"], folder / row["satellite"]
        for picture in (query, satellite):
            if not picture.is_file():
                raise UserError(
                    f"{where}: there is no picture {picture}", "Copy the data set again."
                )
        if row["view"] not in get_args(View) or row["kind"] not in get_args(PhotoKind):
            raise ValueError(f"view {row['view']}, kind {row['kind']}")
        x, y, left, top, right, bottom = (_number(row, name) for name in COLUMNS[4:10])
        if not (left < right and top < bottom):
            raise ValueError(f"the box {left:g} {top:g} {right:g} {bottom:g} is empty")
        return ClickPair(
            query,
            satellite,
            int(row["place"]),
            (x, y),
            (left, top, right, bottom),
            row["category"],
            cast(View, row["view"]),
            cast(PhotoKind, row["kind"]),
            LatLon(float(row["lat"]), float(row["lon"])) if row["lat"] else None,
            _number(row, "gsd_m") if row["gsd_m"] else None,
            row["world"],
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} cannot be read: {error}", "Mend the line.") from error


def _number(row: dict[str, str], name: str) -> float:
    value = float(row[name])
    if not math.isfinite(value):
        raise ValueError(f"{name} {row[name]}")
    return value
