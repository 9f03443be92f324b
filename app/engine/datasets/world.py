"""Pair folders and object folders: what ``skyfix world`` renders and ``own_pairs`` cuts.

Their formats are told in ``pairs`` and ``click_table``.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from app.card import View
from app.engine.datasets.click_table import COLUMNS as OBJECT_COLUMNS
from app.engine.datasets.click_table import (
    OBJECTS_NAME,
    ClickPair,
    is_object_folder,
    read_click_pairs,
)
from app.engine.datasets.files import wrong_layout
from app.engine.datasets.layout import (
    ObjectData,
    Picture,
    RetrievalData,
    RetrievalTest,
    labelled_test,
)
from app.engine.datasets.pairs import COLUMNS, TABLE, Pair, read_pair_table
from app.errors import UserError
from app.messages import Progress, Report, ignore

NAME = "Pair folder"
EXPECTED = f"{TABLE} with the columns {','.join(COLUMNS)}"
OBJECTS = "Object folder"
OBJECTS_EXPECTED = f"{OBJECTS_NAME} with the columns {','.join(OBJECT_COLUMNS)}"


def is_here(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def read(folder: Path, *, report: Report = ignore) -> RetrievalData:
    """Learns from the split train; the split val is both the yardstick and the test."""
    if not is_here(folder):
        raise wrong_layout(folder, NAME, EXPECTED)
    table = read_pair_table(folder)
    if not table.pairs:
        raise UserError(f"{folder / TABLE} names no pair that is there", "Copy it again.")
    held_out = table.pairs.get("val", ())
    return RetrievalData(
        name=folder.name,
        folder=folder,
        train=table.pairs.get("train", ()),
        held_out=held_out,
        tests=tests_of(held_out),
        missing=table.missing,
        tile_size_m=table.tile_size_m,
        held_out_is_test=True,
    )


def tests_of(pairs: Sequence[Pair]) -> tuple[RetrievalTest, ...]:
    """Both directions for each view; a satellite picture that pairs share is there once."""
    views = dict.fromkeys(pair.view for pair in pairs)
    return tuple(
        test for view in views for test in _both_ways(view, [p for p in pairs if p.view == view])
    )


def _both_ways(view: View, pairs: Sequence[Pair]) -> tuple[RetrievalTest, RetrievalTest]:
    queries = tuple(
        Picture(
            pair.query,
            str(pair.place),
            view,
            pair.kind,
            position=pair.position,
            heading_deg=pair.heading_deg,
            rows=pair.rows,
        )
        for pair in pairs
    )
    satellites = {
        pair.satellite: Picture(
            pair.satellite, str(pair.place), "satellite", position=pair.position
        )
        for pair in reversed(pairs)  # so that the first pair of a picture says where it lies
    }
    gallery = tuple(reversed(satellites.values()))
    return (
        labelled_test(f"{view} to satellite", "pairs", queries, gallery),
        labelled_test(f"satellite to {view}", "pairs", gallery, queries),
    )


def read_objects(folder: Path, *, report: Report = ignore) -> ObjectData:
    """A split that the table has no row of is empty."""
    if not is_object_folder(folder):
        raise wrong_layout(folder, OBJECTS, OBJECTS_EXPECTED)
    table = folder / OBJECTS_NAME
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            there = {row.get("split") for row in csv.DictReader(lines)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error

    def split(name: str) -> tuple[ClickPair, ...]:
        report(Progress(0, 0, name))
        return read_click_pairs(folder, name) if name in there else ()

    if not there & {"train", "val", "test"}:
        read_click_pairs(folder, "train")  # tells what is wrong with the table
    return ObjectData(folder.name, folder, split("train"), split("val"), split("test"))
