"""A user's own pairs, as they lie: two folders paired by file name, or a table.

Folders: ``<split>/{drone,street,ground}/<name>.*`` and ``<split>/satellite/<name>.*`` with splits
train, val and test; ground is another word for street. Table: a CSV (UTF-8) with the columns
``query,satellite`` and, as known, ``split,place,lat,lon,heading_deg,view,kind,world``; paths are
relative to it. A table without splits is split by geography, or by place where it has no positions.

What is not told: the view is street for panoramas and drone for all else, the heading unknown.
Photos with positions over imagery become a pair folder first: ``cut_pairs``.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast, get_args

from PIL import Image, UnidentifiedImageError

from app.card import View
from app.engine.datasets.files import Files, wrong_layout
from app.engine.datasets.layout import RetrievalData
from app.engine.datasets.pairs import TABLE, Pair
from app.engine.datasets.splits import split_by_ground, split_by_place
from app.engine.datasets.world import tests_of
from app.engine.framing import PANORAMA_ASPECT
from app.errors import UserError
from app.geo import LatLon
from app.messages import PhotoKind, Report, ignore

NAME = "Folders paired by file name"
EXPECTED = "train/{drone,street,ground}/<name> with train/satellite/<name>, and the same in val"
TABLE_NAME = "Table of pairs"
TABLE_EXPECTED = "one CSV with the columns query,satellite (and split,place,lat,lon,heading_deg,…)"
SPLITS = ("train", "val", "test")
QUERY_FOLDERS: dict[str, View] = {"drone": "drone", "street": "street", "ground": "street"}
HELD_OUT_SHARE = 0.2
GAP_M = 100.0  # between what is learnt and what is held out, where a table does not split itself


# --- folders ------------------------------------------------------------------


def is_here(folder: Path) -> bool:
    return any(
        (folder / split / "satellite").is_dir()
        and _has_pictures(folder / split / "satellite")
        and any((folder / split / name).is_dir() for name in QUERY_FOLDERS)
        for split in SPLITS
    )


def _has_pictures(folder: Path) -> bool:
    return any(path.is_file() for path in folder.iterdir())


def read(folder: Path, *, report: Report = ignore) -> RetrievalData:
    """Pictures of one name show one place. Those without a partner are ``missing``."""
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    files = Files(folder, report)
    numbers: dict[str, int] = {}
    splits = {split: _paired(files, folder / split, numbers) for split in SPLITS}
    return _data(folder, folder.name, splits, files.missing)


def _paired(files: Files, home: Path, numbers: dict[str, int]) -> tuple[Pair, ...]:
    satellites = {path.stem: path for path in files.pictures(home / "satellite")}
    pairs: list[Pair] = []
    used = set()
    for name, view in QUERY_FOLDERS.items():
        queries = files.pictures(home / name)
        kind = kind_of(queries[0]) if queries and view == "street" else "perspective"
        for query in queries:
            place = numbers.setdefault(query.stem, len(numbers))
            satellite = satellites.get(query.stem)
            if satellite is None:
                files.has(home / "satellite" / query.name)
                continue
            used.add(query.stem)
            pairs.append(Pair(query, satellite, place, None, None, view, kind, ""))
    for stem in satellites.keys() - used:
        asked = next(name for name in QUERY_FOLDERS if (home / name).is_dir())
        files.has(home / asked / satellites[stem].name)
    return tuple(pairs)


def kind_of(picture: Path) -> PhotoKind:
    """By its shape; only the file's header is read."""
    try:
        with Image.open(picture) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise UserError(f"{picture} is not a readable picture", "Copy it again.") from error
    return "panorama" if width >= PANORAMA_ASPECT * height else "perspective"


# --- tables -------------------------------------------------------------------


def is_table_here(folder: Path) -> bool:
    return _table(folder) is not None


def read_table(folder: Path, *, report: Report = ignore) -> RetrievalData:
    """``folder`` is the CSV itself, or holds it."""
    table = _table(folder)
    if table is None:
        raise wrong_layout(folder, TABLE_NAME, TABLE_EXPECTED)
    home = table.parent
    files = Files(home, report)
    rows = _rows(table)
    splits: dict[str, list[Pair]] = {}
    unsplit = []
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        pair = _pair(home, row, numbers, f"{table}, line {number}")
        there = [files.has(path) for path in (pair.query, pair.satellite)]
        if not all(there):
            continue
        if row.get("split"):
            splits.setdefault(row["split"], []).append(pair)
        else:
            unsplit.append(pair)
    if unsplit and splits:
        raise UserError(f"{table} has lines without a split", "Split all lines, or none.")
    if unsplit:
        for pair, split in zip(unsplit, _split(unsplit), strict=True):
            splits.setdefault(split, []).append(pair)
    return _data(home, table.stem, splits, files.missing)


def _table(folder: Path) -> Path | None:
    """The one CSV that names queries and satellite pictures."""
    tables = [folder] if folder.suffix.lower() == ".csv" else sorted(folder.glob("*.csv"))
    found = [
        path for path in tables if path.name != TABLE and {"query", "satellite"} <= _head(path)
    ]
    return found[0] if len(found) == 1 else None


def _head(table: Path) -> set[str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            return set(next(csv.reader(lines), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return set()  # then it is no table of pairs


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            return [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error


def _pair(home: Path, row: Mapping[str, str], numbers: dict[str, int], where: str) -> Pair:
    """Rows of one ``place``, else of one satellite picture, show one place."""
    query, satellite = home / row["query"], home / row["satellite"]
    try:
        kind = row.get("kind") or (kind_of(query) if query.is_file() else "perspective")
        view = row.get("view") or ("street" if kind == "panorama" else "drone")
        if view not in get_args(View) or view == "satellite" or kind not in get_args(PhotoKind):
            raise ValueError(f"view {view}, kind {kind}")
        if row.get("split") and row["split"] not in SPLITS:
            raise ValueError(f"split {row['split']}")
        heading = float(row["heading_deg"]) if row.get("heading_deg") else None
        if heading is not None and not math.isfinite(heading):
            raise ValueError(f"heading_deg {heading}")
        place = numbers.setdefault(row.get("place") or row["satellite"], len(numbers))
        return Pair(
            query,
            satellite,
            place,
            LatLon(float(row["lat"]), float(row["lon"])) if row.get("lat") else None,
            heading,
            cast(View, view),
            cast(PhotoKind, kind),
            row.get("world", ""),
        )
    except (ValueError, KeyError) as error:
        raise UserError(f"{where} cannot be read: {error}", "Mend the line.") from error


def _split(pairs: Sequence[Pair]) -> list[str]:
    positions = [pair.position for pair in pairs if pair.position is not None]
    if len(positions) == len(pairs):
        return split_by_ground(positions, share=HELD_OUT_SHARE, gap_m=GAP_M)
    return split_by_place([pair.place for pair in pairs], share=HELD_OUT_SHARE)


# --- both ---------------------------------------------------------------------


def _data(
    folder: Path,
    name: str,
    splits: Mapping[str, Sequence[Pair]],
    missing: tuple[str, ...],
) -> RetrievalData:
    train, val, test = (tuple(splits.get(split, ())) for split in SPLITS)
    if not (train or val or test):
        raise UserError(f"{folder} holds no pair whose pictures are both there", "Check its names.")
    return RetrievalData(
        name=name,
        folder=folder,
        train=train,
        held_out=val or test,
        tests=tests_of(test or val),
        missing=missing,
        held_out_is_test=not (val and test),
    )
