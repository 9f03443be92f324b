"""Which data sets there are, how a folder is recognised, and the one way to open it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.engine.datasets import cvusa, university, vigor, world
from app.engine.datasets.files import contents
from app.engine.datasets.layout import ObjectData, RetrievalData
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


# What is told from others by one file of its own comes before what is looser.
DATA_SETS = (
    DataSet("pairs", world.NAME, world.EXPECTED, world.is_here, world.read),
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
        "university",
        university.NAME,
        university.EXPECTED,
        university.is_here,
        university.read,
        {"drone": {"view": "drone"}, "street": {"view": "street"}},
    ),
)
BY_NAME = {data_set.name: data_set for data_set in DATA_SETS}


def open_data_set(folder: Path, *, name: str | None = None, report: Report = ignore) -> Data:
    """What a data set's folder holds: which pictures, and what is known of them. Reads no picture.

    ``name`` is one of ``DATA_SETS``, and of its words, joined by dashes; None or "": recognised
    by the layout. Raises UserError that says what was expected and what was found.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}", "Choose the data set's folder.")
    if not name:
        return recognised(folder).read(folder, report=report)
    data_set, arguments = parse_name(name)
    return data_set.read(folder, **arguments, report=report)


def parse_name(name: str) -> tuple[DataSet, dict[str, Any]]:
    """Raises UserError for a name or a word that is not known."""
    first, *words = name.lower().split("-")
    if first not in BY_NAME:
        raise UserError(
            f"No data set is called {name}", f"Choose one of: {', '.join(sorted(BY_NAME))}."
        )
    data_set = BY_NAME[first]
    arguments: dict[str, Any] = {}
    for word in words:
        if word not in data_set.words:
            known = ", ".join(data_set.words) or "no word"
            raise UserError(f"{data_set.title} knows no {word}", f"{first} takes: {known}.")
        arguments |= data_set.words[word]
    return data_set, arguments


def recognised(folder: Path) -> DataSet:
    """By the layout. Raises UserError that says what each data set's folder would hold."""
    for data_set in DATA_SETS:
        if data_set.is_here(folder):
            return data_set
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    for path in inner[:20]:
        if any(data_set.is_here(path) for data_set in DATA_SETS):
            raise UserError(f"{folder} is no data set, but {path.name} in it is", f"Name {path}.")
    raise UserError(
        f"{folder} is no data set that is known: it {contents(folder)}",
        "Expected one of:\n" + "\n".join(f"  {d.title}: {d.expected}" for d in DATA_SETS),
    )
