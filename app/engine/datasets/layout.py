"""What a data set's adapter hands out, whatever its files look like on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.card import View
from app.engine.datasets.clicks import ClickPair
from app.engine.datasets.pairs import Pair
from app.engine.framing import PanoramaRows
from app.geo import LatLon
from app.messages import PhotoKind

MOST_HELD_OUT = 2000  # pairs that a run measures itself on after each epoch

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
    label: str  # the place in digits, as in ``Pair.place``: pictures of one label show one place
    view: View
    kind: PhotoKind = "perspective"
    position: LatLon | None = None
    utm_m: tuple[float, float] | None = None  # easting, northing, where the data set gives them
    # 0: aligned to north, as published panoramas are. None: unknown, as of most drone photos; the
    # published protocols take such a picture as it is.
    heading_deg: float | None = 0.0
    rows: PanoramaRows = "auto"


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
    tile_size_m: float | None = None  # ground size of the satellite pictures; their median
    # Whether ``held_out`` is part of a test: of a run that keeps its best epoch by it, only the
    # last epoch's figures may be compared.
    held_out_is_test: bool = False


@dataclass(frozen=True, slots=True)
class ObjectData:
    """A data set of clicks and boxes."""

    name: str  # "CVOGL drone to satellite"
    folder: Path
    train: tuple[ClickPair, ...]
    val: tuple[ClickPair, ...]
    test: tuple[ClickPair, ...]
    missing: tuple[str, ...] = ()


def labelled_test(
    name: str, protocol: Protocol, queries: tuple[Picture, ...], gallery: tuple[Picture, ...]
) -> RetrievalTest:
    """Every gallery picture of the query's label counts as found."""
    rows: dict[str, list[int]] = {}
    for row, picture in enumerate(gallery):
        rows.setdefault(picture.label, []).append(row)
    found = {label: tuple(numbers) for label, numbers in rows.items()}
    positives = tuple(found.get(query.label, ()) for query in queries)
    return RetrievalTest(name, protocol, queries, gallery, positives)


def pairs_of(test: RetrievalTest, *, most: int = MOST_HELD_OUT) -> tuple[Pair, ...]:
    """A test's queries, each with the first picture that counts as found; evenly chosen."""
    usable = [n for n, rows in enumerate(test.positives) if rows]
    count = min(most, len(usable))
    chosen = [usable[n * len(usable) // count] for n in range(count)]
    return tuple(pair_of(test.queries[n], test.gallery[test.positives[n][0]]) for n in chosen)


def pair_of(
    query: Picture,
    satellite: Picture,
    *,
    world: str = "",
    spot: tuple[float, float] | None = None,
) -> Pair:
    """Both show the place of the query's label."""
    return Pair(
        query=query.path,
        satellite=satellite.path,
        place=int(query.label),
        position=query.position,
        heading_deg=query.heading_deg,
        view=query.view,
        kind=query.kind,
        world=world,
        rows=query.rows,
        spot=spot,
    )
