"""What a data set's adapter hands out, whatever its files look like on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.card import View
from app.engine.datasets.clicks import ClickPair
from app.engine.datasets.pairs import Pair
from app.geo import LatLon
from app.messages import PhotoKind

# How a test is scored: each data set's own rounding, positives and distances.
Protocol = Literal[
    "pairs",  # no published protocol: recall and AP
    "university",  # University-1652 and SUES-200
    "denseuav",
    "cvusa",
    "cvact",  # the true satellite picture alone counts
    "cvact-5m",  # any satellite picture within 5 m counts
    "vigor",
]


@dataclass(frozen=True, slots=True)
class Picture:
    """A query or a gallery picture of a test."""

    path: Path
    label: str  # pictures of one label show one place
    view: View
    kind: PhotoKind = "perspective"
    position: LatLon | None = None
    utm_m: tuple[float, float] | None = None  # easting, northing, where the data set gives them
    heading_deg: float | None = 0.0  # published sets are aligned to north


@dataclass(frozen=True, slots=True)
class RetrievalTest:
    """Queries, the gallery that they are searched in, and what counts as found."""

    name: str  # "drone to satellite", "same area"
    protocol: Protocol
    queries: tuple[Picture, ...]
    gallery: tuple[Picture, ...]
    positives: tuple[tuple[int, ...], ...]  # for each query: rows of the gallery
    semi_positives: tuple[tuple[int, ...], ...] = ()  # VIGOR's; empty: the protocol has none


@dataclass(frozen=True, slots=True)
class RetrievalData:
    """A data set of pairs: what to learn from, and how to measure."""

    name: str  # "University-1652"
    folder: Path
    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]  # a run's own yardstick after each epoch
    tests: tuple[RetrievalTest, ...]
    missing: tuple[str, ...] = ()  # files that its lists name and that are not there


@dataclass(frozen=True, slots=True)
class ObjectData:
    """A data set of clicks and boxes."""

    name: str  # "CVOGL drone to satellite"
    folder: Path
    train: tuple[ClickPair, ...]
    val: tuple[ClickPair, ...]
    test: tuple[ClickPair, ...]
    missing: tuple[str, ...] = ()
