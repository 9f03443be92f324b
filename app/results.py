"""What an evaluation found: ``result.json`` in its folder. Plain data, read by window and engine.

An evaluation folder holds one test of one data set, described by one checkpoint::

    manifest.json   what was described by what; written last of the first step (describe)
    test.json       the pictures' names, labels and positions, and what counts as found
    queries.npy     float16 [queries, turns, descriptor], unit rows
    gallery.npy     float16 [gallery, turns, descriptor]
    result.json     this; written by the second step (score), which reads the files above alone
    rows.npz        what the second step found for each query
    map-*.json      the descriptors drawn on a plane

For objects, ``boxes.csv`` takes the place of the two arrays.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from app.errors import UserError

RESULT_NAME = "result.json"
RESULT_FORMAT = 1

Unit = Literal["share", "m", "px"]


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of the table, with its 95 % bootstrap interval."""

    name: str  # "R@1", "AP", "SDM@3", "accu@0.5": the same in the published rows
    value: float
    low: float
    high: float
    unit: Unit = "share"  # a share is 0..1
    chance: float | None = None  # what guessing would reach, where that is known
    note: str = ""  # how the data set's code reads it, such as "of the best 11"


@dataclass(frozen=True, slots=True)
class Curve:
    """Shares of the queries (0..1) over something that rises."""

    name: str  # "recall", "within metres"
    x_name: str  # "K", "metres"
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries whose best candidate was given a probability from ``low`` to ``high``."""

    low: float
    high: float
    count: int
    probability: float  # their mean
    right: float  # share of them whose best candidate is right


@dataclass(frozen=True, slots=True)
class Reliability:
    """Whether probabilities mean what they say."""

    temperature: float
    source: str  # "the checkpoint's card", "fitted on every second query"
    queries: int  # that were not used for fitting
    ece: float  # expected calibration error, 0..1
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Threshold:
    """A score below which to answer "no match"."""

    false_accepts: float  # share of queries without a true tile that still get an answer
    score: float  # cosine
    found: float  # share of all queries that are answered, and rightly


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """The figures of one test."""

    task: Literal["retrieval", "object"]
    data: str  # "University-1652"
    test: str  # "drone to satellite"
    protocol: str
    put: str  # how queries were put: "heading known", "heading unknown (12 turns)"
    checkpoint: str  # its identity, see card.identity_of
    checkpoint_title: str
    network: str
    queries: int
    gallery: int  # pictures searched; for objects: satellite pictures
    measures: tuple[Measure, ...]
    curves: tuple[Curve, ...] = ()
    reliability: Reliability | None = None
    thresholds: tuple[Threshold, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader of the figures must know
    resamples: int = 0  # of the bootstrap
    groups: int = 0  # places that it drew: queries of one place stay together
    seed: int = 0
    created: str = ""  # ISO 8601, UTC
    code_version: str = ""

    def measure(self, name: str) -> Measure | None:
        return next((measure for measure in self.measures if measure.name == name), None)


def result_to_json(result: EvaluationResult) -> str:
    return json.dumps({"format": RESULT_FORMAT, **asdict(result)}, indent=1) + "\n"


def read_result(folder: Path) -> EvaluationResult:
    """The figures of an evaluation folder that has been scored. Raises UserError."""
    path = folder / RESULT_NAME
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format", None) != RESULT_FORMAT:
            raise ValueError("of another version")
        return _result(raw)
    except FileNotFoundError as error:
        raise UserError(f"{folder} has not been scored yet", "Score it first.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})", "Score the folder again.") from error


def _result(raw: Mapping[str, Any]) -> EvaluationResult:
    known = {f.name for f in fields(EvaluationResult)}
    body = {key: value for key, value in raw.items() if key in known}
    body["measures"] = tuple(Measure(**measure) for measure in body["measures"])
    body["curves"] = tuple(
        Curve(c["name"], c["x_name"], tuple(c["x"]), tuple(c["y"])) for c in body["curves"]
    )
    if (trust := body.get("reliability")) is not None:
        bins = tuple(Bin(**part) for part in trust["bins"])
        body["reliability"] = Reliability(**{**trust, "bins": bins})
    body["thresholds"] = tuple(Threshold(**t) for t in body["thresholds"])
    body["notes"] = tuple(body["notes"])
    return EvaluationResult(**body)


# --- beside the table --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A gallery picture in the error browser."""

    picture: Path
    row: int  # in the gallery
    score: float  # cosine
    right: bool
    metres: float | None  # from the query's true position; None: not known


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One query of the error browser."""

    query: Path
    row: int
    label: str  # the place that it shows
    rank: int | None  # of the first right picture, 1 is best; None: the gallery holds none
    right: tuple[Shown, ...]  # its right pictures, at most three, best first
    best: tuple[Shown, ...]  # the best candidates, best first
    gap: float | None  # score of rank 1 minus that of the best right picture; 0 if found
    probability: float | None  # that rank 1 was given
    metres: float | None  # from the truth to rank 1


@dataclass(frozen=True, slots=True)
class BoxRow:
    """One click of the error browser. Boxes: left, top, right, bottom in the picture's pixels."""

    query: Path
    satellite: Path
    row: int
    click: tuple[float, float]  # x, y in the query
    truth: tuple[float, float, float, float]
    found: tuple[float, float, float, float]
    score: float  # logit of the found box; the higher, the surer
    iou: float
    category: str
    centre_px: float  # between the centres of both boxes
    centre_m: float | None


@dataclass(frozen=True, slots=True)
class Projection:
    """Descriptors drawn on a plane; columns of one length."""

    method: str  # "pca", "tsne"
    note: str  # in words: what the plane keeps, how many pictures were left out
    x: tuple[float, ...]
    y: tuple[float, ...]
    side: tuple[Literal["query", "gallery"], ...]
    row: tuple[int, ...]  # of the query or the gallery picture
    picture: tuple[str, ...]  # its file
    label: tuple[str, ...]  # its place
    rank: tuple[int, ...]  # a query's, 1 is best; 0 for gallery pictures and where there is none


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two checkpoints on the same queries."""

    name: str
    first: float
    second: float
    difference: float  # second - first
    low: float  # 95 % paired bootstrap interval of the difference
    high: float
    unit: Unit = "share"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two checkpoints on the same queries."""

    data: str
    test: str
    first_title: str
    second_title: str
    queries: int
    differences: tuple[Difference, ...]
    only_first: int  # places where the first is right more often at R@1 (objects: accu@0.5)
    only_second: int
    p_value: float  # exact two-sided sign test of these; McNemar's where places have one query
    p_name: str  # what was tested, in words
    resamples: int
    seed: int
