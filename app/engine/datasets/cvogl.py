"""CVOGL: an object is clicked in a drone or street picture and boxed in the satellite picture.

``CVOGL_DroneAerial/`` and ``CVOGL_SVI/``, each with ``query/``, ``satellite/`` and the lists
``<name>_{train,val,test}.pth``: pickled lists of records (sample id, query file, satellite file,
query centre, click x y in the query, box x1 y1 x2 y2 in the satellite picture of 1024 pixels,
polygon, class). They are read without unpickling.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from app.card import View
from app.engine.datasets.click_table import ClickPair
from app.engine.datasets.files import Files, wrong_layout
from app.engine.datasets.layout import ObjectData
from app.engine.datasets.list_pickle import read_list
from app.errors import UserError
from app.messages import PhotoKind, Report, ignore

Set = Literal["drone", "street"]

NAME = "CVOGL"
FOLDERS: dict[Set, str] = {"drone": "CVOGL_DroneAerial", "street": "CVOGL_SVI"}
EXPECTED = (
    "query/, satellite/ and <name>_{train,val,test}.pth, in a folder CVOGL_DroneAerial or CVOGL_SVI"
)
SPLITS = ("train", "val", "test")
FIELDS = 8


@dataclass(slots=True)
class Places:
    """Numbers of satellite pictures, in the order in which lists name them."""

    number: dict[str, int] = field(default_factory=dict)

    def of(self, satellite: str) -> int:
        return self.number.setdefault(satellite, len(self.number))


def is_here(folder: Path) -> bool:
    return bool(_homes(folder))


def read(folder: Path, *, part: Set | None = None, report: Report = ignore) -> ObjectData:
    """``folder`` is one of the two sets, or holds them; ``part`` says which is meant then."""
    homes = _homes(folder)
    if not homes or (part and part not in homes):
        raise wrong_layout(folder, NAME, EXPECTED)
    if part is None and len(homes) > 1:
        raise UserError(
            f"{folder} holds both sets of CVOGL", "Name one: cvogl-drone or cvogl-street."
        )
    chosen = next(iter(homes)) if part is None else part
    kind: PhotoKind = "panorama" if chosen == "street" else "perspective"
    return read_click_set(
        homes[chosen], FOLDERS[chosen], f"{NAME}, {chosen} to satellite", chosen, kind, report
    )


def _homes(folder: Path) -> dict[Set, Path]:
    """Where each set is: this folder, or one in it."""
    homes: dict[Set, Path] = {}
    for part, name in FOLDERS.items():
        for home in (folder, folder / name):
            if any((home / f"{name}_{split}.pth").is_file() for split in SPLITS):
                homes[part] = home
    return homes


def read_click_set(
    home: Path, stem: str, name: str, view: View, kind: PhotoKind, report: Report
) -> ObjectData:
    """Of a folder with query/, satellite/ and ``<stem>_<split>.pth``."""
    files, places = Files(home, report), Places()
    train, val, test = (
        _split(files, home / f"{stem}_{split}.pth", places, view, kind, report) for split in SPLITS
    )
    return ObjectData(name, home, train, val, test, files.missing)


def _split(
    files: Files, table: Path, places: Places, view: View, kind: PhotoKind, report: Report
) -> tuple[ClickPair, ...]:
    if not files.has(table):
        return ()
    pairs = []
    for number, record in enumerate(read_list(table, report=report)):
        try:
            query, satellite, click, box, category = _parsed(record)
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{table}, record {number} cannot be read: {error}",
                "Expected 8 fields: id, query, satellite, centre, click, box, polygon, class.",
            ) from error
        paths = files.root / "query" / query, files.root / "satellite" / satellite
        there = [files.has(path) for path in paths]  # both are asked for
        if all(there):
            pairs.append(ClickPair(*paths, places.of(satellite), click, box, category, view, kind))
    return tuple(pairs)


class _Parsed(NamedTuple):
    query: str
    satellite: str
    click: tuple[float, float]
    box: tuple[float, float, float, float]
    category: str


def _parsed(record: Any) -> _Parsed:
    if not isinstance(record, list | tuple) or len(record) != FIELDS:
        raise ValueError(
            f"it has {len(record) if isinstance(record, list | tuple) else 'no'} fields"
        )
    _, query, satellite, _, click, box, _, category = record
    for name in (query, satellite):
        if not isinstance(name, str) or not name or Path(name).name != name or "\\" in name:
            raise ValueError(f"{name!r} is not the name of a file")
    x, y = _numbers(click, 2)
    left, top, right, bottom = _numbers(box, 4)
    if not (left < right and top < bottom):
        raise ValueError(f"the box {left:g} {top:g} {right:g} {bottom:g} is empty")
    return _Parsed(query, satellite, (x, y), (left, top, right, bottom), str(category))


def _numbers(values: Any, count: int) -> Sequence[float]:
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size != count or not np.isfinite(array).all():
        raise ValueError(f"{count} numbers were expected: {values!r}"[:120])
    return [float(value) for value in array]
