"""CVACT: panoramas of Canberra, aligned to north, with satellite pictures of 144 m.

``ACT_data.mat`` lists panorama ids, their positions (UTM zone 55 south) and, counted from 1, the
rows of each split. ``ANU_data_small/{streetview/<id>_grdView.jpg,satview_polish/
<id>_satView_polish.jpg}`` hold train and val, ``ANU_data_test`` the 92,802 of the test. One
panorama of train is in no copy of the data.

Two tests of the test split are told apart: one counts only a panorama's own satellite picture
(Sample4Geo and others), the data set's own (RecallGeo.m) any picture within 5 m.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np

from app.engine.datasets.files import Files, wrong_layout
from app.engine.datasets.layout import (
    Picture,
    RetrievalData,
    RetrievalTest,
    labelled_test,
    pair_of,
    pairs_of,
)
from app.engine.datasets.matlab import read_mat
from app.engine.framing import PanoramaRows
from app.engine.utm import utm_to_latlon
from app.errors import UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore

NAME = "CVACT"
TABLE = "ACT_data.mat"
EXPECTED = (
    f"{TABLE}, ANU_data_small/{{streetview,satview_polish}}/… and, to test on it, "
    "ANU_data_test/{streetview,satview_polish}/…"
)
EPSG = 32755
CANBERRA_M = ((600_000, 800_000), (6_000_000, 6_200_000))  # east, north: what its UTM may be
TILE_SIZE_M = 144.0
NEAR_M = 5.0
TELL_EVERY = 2000  # points


@dataclass(frozen=True, slots=True)
class _Table:
    ids: Sequence[str]
    utm_m: np.ndarray  # [n, 2], easting and northing
    splits: Mapping[str, np.ndarray]  # rows from 0


def is_here(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def read(folder: Path, *, rows: PanoramaRows = "auto", report: Report = ignore) -> RetrievalData:
    """``rows`` of the panoramas that count: most methods keep the middle half, which is what
    "auto" means here; Sample4Geo keeps "all".
    """
    if not is_here(folder) or not (folder / "ANU_data_small").is_dir():
        raise wrong_layout(folder, NAME, EXPECTED)
    table = _read_table(folder / TABLE, report)
    files = Files(folder, report)
    train, val = (
        _pictures(files, "ANU_data_small", table, split, rows) for split in ("train", "val")
    )
    tests = [_own_tile("val", val)]
    if (folder / "ANU_data_test").is_dir():
        test = _pictures(files, "ANU_data_test", table, "test", rows)
        tests += [_own_tile("test", test), _any_near("test, within 5 m", test, report)]
    return RetrievalData(
        name=NAME,
        folder=folder,
        train=tuple(pair_of(query, satellite) for query, satellite in train),
        held_out=pairs_of(tests[0]),
        tests=tuple(tests),
        missing=files.missing,
        tile_size_m=TILE_SIZE_M,
        held_out_is_test=True,
    )


def _pictures(
    files: Files, part: str, table: _Table, split: str, rows: PanoramaRows
) -> list[tuple[Picture, Picture]]:
    found = []
    for row in table.splits[split].tolist():
        name = table.ids[row]
        query = _file(files, files.root / part / "streetview", f"{name}_grdView")
        tile = _file(files, files.root / part / "satview_polish", f"{name}_satView_polish")
        if query is None or tile is None:
            continue
        utm = (float(table.utm_m[row, 0]), float(table.utm_m[row, 1]))
        where = _position(utm)
        panorama = Picture(
            query, str(row), "street", kind="panorama", position=where, utm_m=utm, rows=rows
        )
        found.append((panorama, Picture(tile, str(row), "satellite", position=where, utm_m=utm)))
    return found


def _file(files: Files, folder: Path, stem: str) -> Path | None:
    """Some copies of the data have .png in place of .jpg."""
    jpg, png = folder / f"{stem}.jpg", folder / f"{stem}.png"
    if files.has(jpg, quiet=True):
        return jpg
    if files.has(png, quiet=True):
        return png
    files.has(jpg)
    return None


def _own_tile(name: str, pairs: Sequence[tuple[Picture, Picture]]) -> RetrievalTest:
    queries, gallery = (tuple(pair[n] for pair in pairs) for n in (0, 1))
    return labelled_test(name, "cvact", queries, gallery)


def _any_near(name: str, pairs: Sequence[tuple[Picture, Picture]], report: Report) -> RetrievalTest:
    queries, gallery = (tuple(pair[n] for pair in pairs) for n in (0, 1))
    utm = np.array([picture.utm_m for picture in gallery]).reshape(-1, 2)
    return RetrievalTest(name, "cvact-5m", queries, gallery, near_rows(utm, NEAR_M, report))


def near_rows(
    utm_m: np.ndarray, within_m: float, report: Report = ignore
) -> tuple[tuple[int, ...], ...]:
    """For each point those within this distance of it, itself first, then by row."""
    cells: dict[tuple[int, int], list[int]] = {}
    keys = [(int(x), int(y)) for x, y in np.floor(utm_m / within_m)]
    for row, key in enumerate(keys):
        cells.setdefault(key, []).append(row)
    near = []
    for row, (x, y) in enumerate(keys):
        if row % TELL_EVERY == 0:
            report(Progress(row, len(keys), "satellite pictures near each other"))
        around = [
            other
            for dx, dy in product((-1, 0, 1), repeat=2)
            for other in cells.get((x + dx, y + dy), ())
            if other != row
        ]
        metres = np.hypot(*(utm_m[around] - utm_m[row]).T) if around else ()
        close = [n for n, m in zip(around, metres, strict=True) if m <= within_m]
        near.append((row, *sorted(close)))
    return tuple(near)


def _position(utm_m: tuple[float, float]) -> LatLon | None:
    """None where the numbers cannot be Canberra's."""
    inside = all(low < v < high for v, (low, high) in zip(utm_m, CANBERRA_M, strict=True))
    return utm_to_latlon(EPSG, *utm_m) if inside else None


def _read_table(path: Path, report: Report) -> _Table:
    names = ("panoIds", "utm", "trainSet", "valSet", "valSetAll")
    found = read_mat(path, names, report=report)
    try:
        ids = tuple(_text(cell) for cell in cast(tuple[Any, ...], found["panoIds"]))
        utm = np.asarray(found["utm"], dtype=np.float64)
        splits = {
            split: _rows(found[key], field, len(ids))
            for split, key, field in (
                ("train", "trainSet", "trainInd"),
                ("val", "valSet", "valInd"),
                ("test", "valSetAll", "valInd"),
            )
        }
        if utm.shape != (len(ids), 2):
            raise ValueError(f"utm has the shape {utm.shape} for {len(ids)} panoramas")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not CVACT's list: {error}", "Copy the data set again."
        ) from error
    return _Table(ids, utm, splits)


def _text(cell: Any) -> str:
    """A line of a matrix of characters, or a cell with one."""
    value = cell if isinstance(cell, str) else cell[0]
    if not isinstance(value, str) or not value or "/" in value or "\\" in value:
        raise ValueError(f"a panorama is called {value!r}")
    return value


def _rows(split: Any, field: str, count: int) -> np.ndarray:
    """MATLAB counts from 1."""
    rows = np.asarray(split[field]).reshape(-1).astype(np.int64) - 1
    if rows.size and not (rows.min() >= 0 and rows.max() < count):
        raise ValueError(f"{field} names rows {rows.min() + 1} to {rows.max() + 1} of {count}")
    return rows
