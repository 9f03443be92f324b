"""Which data sets there are, how a folder is recognised, and the one way to open it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.engine.datasets import (
    cvact,
    cvogl,
    cvusa,
    denseuav,
    g2d,
    own_pairs,
    sues,
    university,
    vigor,
    world,
)
from app.engine.datasets.click_table import is_object_folder
from app.engine.datasets.files import contents
from app.engine.datasets.layout import ObjectData, RetrievalData
from app.engine.datasets.splits import hold_back
from app.errors import UserError
from app.messages import Report, ignore

Data = RetrievalData | ObjectData


@dataclass(frozen=True, slots=True)
class DataSet:
    """A layout that is known. ``words`` may follow its name: "vigor-cross-corrected"."""

    name: str
    title: str
    expected: str  # what its folder holds, in words
    is_here: Callable[[Path], bool]
    read: Callable[..., Data]
    words: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # -> arguments of read


# What one file of its own tells from others comes before what is looser.
DATA_SETS = (
    DataSet("pairs", world.NAME, world.EXPECTED, world.is_here, world.read),
    DataSet("objects", world.OBJECTS, world.OBJECTS_EXPECTED, is_object_folder, world.read_objects),
    DataSet(
        "vigor",
        vigor.NAME,
        vigor.EXPECTED,
        vigor.is_here,
        vigor.read,
        {
            "same": {"area": "same"},
            "cross": {"area": "cross"},
            "original": {"labels": "original"},
            "corrected": {"labels": "corrected"},
        },
    ),
    DataSet("cvusa", cvusa.NAME, cvusa.EXPECTED, cvusa.is_here, cvusa.read),
    DataSet(
        "cvact",
        cvact.NAME,
        cvact.EXPECTED,
        cvact.is_here,
        cvact.read,
        {"all": {"rows": "all"}, "middle": {"rows": "middle half"}},
    ),
    DataSet(
        "cvogl",
        cvogl.NAME,
        cvogl.EXPECTED,
        cvogl.is_here,
        cvogl.read,
        {
            "drone": {"part": "drone"},
            "street": {"part": "street"},
            "svi": {"part": "street"},
        },
    ),
    DataSet("g2d", g2d.NAME, g2d.EXPECTED, g2d.is_here, g2d.read),
    DataSet("denseuav", denseuav.NAME, denseuav.EXPECTED, denseuav.is_here, denseuav.read),
    DataSet(
        "university",
        university.NAME,
        university.EXPECTED,
        university.is_here,
        university.read,
        {"drone": {"view": "drone"}, "street": {"view": "street"}},
    ),
    DataSet(
        "sues",
        sues.NAME,
        sues.EXPECTED,
        sues.is_here,
        sues.read,
        {str(height): {"height_m": height} for height in sues.HEIGHTS_M},
    ),
    DataSet("folders", own_pairs.NAME, own_pairs.EXPECTED, own_pairs.is_here, own_pairs.read),
    DataSet(
        "table",
        own_pairs.TABLE_NAME,
        own_pairs.TABLE_EXPECTED,
        own_pairs.is_table_here,
        own_pairs.read_table,
    ),
)
BY_NAME = {data_set.name: data_set for data_set in DATA_SETS}
HELD_BACK = "heldback"  # after any name: the yardstick is part of the training places, not a test


def open_data_set(folder: Path, *, name: str | None = None, report: Report = ignore) -> Data:
    """What a data set's folder holds: which pictures, and what is known of them. Reads no picture.

    ``name`` is one of ``DATA_SETS``, and of its words, joined by dashes; None or "": recognised
    by the layout. ``folder`` may be a CSV of a user's own pairs. Raises UserError that says what
    was expected and what was found.
    """
    if not folder.is_dir() and folder.suffix.lower() != ".csv":
        raise UserError(f"There is no folder {folder}", "Choose the data set's folder.")
    if not folder.exists():
        raise UserError(f"There is no file {folder}", "Choose the data set's folder or table.")
    if not name:
        return recognised(folder).read(folder, report=report)
    chosen = parse_name(name)
    data = chosen.data_set.read(folder, **chosen.arguments, report=report)
    if not chosen.held_back:
        return data
    if isinstance(data, ObjectData):
        raise UserError(f"{data.name} has pairs to validate on", f"Leave {HELD_BACK} out.")
    return hold_back(data)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a name asks for."""

    data_set: DataSet
    arguments: Mapping[str, Any]
    held_back: bool


def parse_name(name: str) -> Chosen:
    """Raises UserError for a name or a word that is not known."""
    first, *words = name.lower().split("-")
    if first not in BY_NAME:
        raise UserError(
            f"No data set is called {name}", f"Choose one of: {', '.join(sorted(BY_NAME))}."
        )
    data_set = BY_NAME[first]
    arguments: dict[str, Any] = {}
    for word in words:
        if word == HELD_BACK:
            continue
        if word not in data_set.words:
            known = ", ".join([*data_set.words, HELD_BACK])
            raise UserError(f"{data_set.title} knows no {word}", f"{first} takes: {known}.")
        arguments |= data_set.words[word]
    return Chosen(data_set, arguments, HELD_BACK in words)


def recognised(folder: Path) -> DataSet:
    """By the layout. Raises UserError that says what each data set's folder would hold."""
    for data_set in DATA_SETS:
        if data_set.is_here(folder):
            return data_set
    if folder.is_file():
        raise UserError(f"{folder} is no table of pairs", f"Expected: {own_pairs.TABLE_EXPECTED}")
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    for path in inner[:20]:
        if any(data_set.is_here(path) for data_set in DATA_SETS):
            raise UserError(f"{folder} is no data set, but {path.name} in it is", f"Name {path}.")
    raise UserError(
        f"{folder} is no data set that is known: it {contents(folder)}",
        "Expected one of:\n" + "\n".join(f"  {d.title}: {d.expected}" for d in DATA_SETS),
    )
