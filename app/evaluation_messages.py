"""What the window asks about evaluations, and the engine's answers: part of app.messages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.results import BoxRow, Comparison, ErrorRow, EvaluationResult, Projection

# --- window to engine -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Measure a checkpoint on a data set: describe its tests' pictures, then score them.

    Each test gets a folder in ``output`` (see app.results). Goes on where a cancelled or killed
    one stopped; what is described already is only scored.
    """

    checkpoint: Path
    data: Path  # a data set's folder, or a pair folder
    output: Path | None = None  # None: a folder of the checkpoint's own in paths.evaluations()
    name: str = ""  # of the data set's layout; none given: recognised
    tests: tuple[str, ...] = ()  # their names; none given: all that fit the checkpoint
    headings: Literal["known", "unknown"] = "known"
    turns: int | None = None  # for unknown headings; None: the card's
    resamples: int = 1000  # of the bootstrap
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """Figures from an evaluation folder, without the network."""

    folder: Path
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    """Two scored evaluation folders of the same test."""

    first: Path
    second: Path
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Project:
    """Draw an evaluation's descriptors on a plane."""

    folder: Path
    method: Literal["pca", "tsne"] = "pca"
    most: int = 2000  # pictures; more are thinned out evenly
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BrowseErrors:
    """A page of a scored evaluation's queries that were not found."""

    folder: Path
    order: Literal["worst", "sure"] = "worst"  # or those that were most probable, and wrong
    start: int = 0
    count: int = 50
    found_by: Path | None = None  # only those that this other evaluation of the test got right


# --- engine to window -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One folder a test, each with its figures."""

    folders: tuple[Path, ...]
    results: tuple[EvaluationResult, ...]


@dataclass(frozen=True, slots=True)
class Compared:
    first: Path
    second: Path
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Projected:
    folder: Path
    projection: Projection


@dataclass(frozen=True, slots=True)
class ErrorsBrowsed:
    folder: Path
    total: int  # rows that there are in all
    start: int
    rows: tuple[ErrorRow, ...] | tuple[BoxRow, ...]
