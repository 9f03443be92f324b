"""The pair folder, the form in which training data lies: ``pairs.csv`` and its pictures.

``pairs.csv`` (UTF-8) has the columns ``query,satellite,split,place,lat,lon,heading_deg,view,kind``
and may have ``world``, ``rows`` (of a panorama: auto, all, middle half), and ``dx_m,dy_m,
tile_size_m`` (how far the query's place lies east and north of the satellite picture's centre, and
that picture's size on the ground). Paths are relative to the folder; ``split`` is train or val;
rows of one ``place`` (an integer) show one place; ``lat,lon`` may be empty (no distances then),
and so may ``heading_deg`` (unknown: any turn in training, as it is in validation). Only rows of
one ``world`` are neighbours of each other.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader

from app.card import View
from app.engine.datasets.augment import change_looks, mirrored, turned_by_quarters
from app.engine.datasets.jpeg import reduction
from app.engine.datasets.loading import PictureDataset, Size, closing_loader, good_items
from app.engine.framing import PanoramaRows, frame_query
from app.errors import UserError
from app.geo import LatLon
from app.messages import PhotoKind

TABLE = "pairs.csv"
COLUMNS = ("query", "satellite", "split", "place", "lat", "lon", "heading_deg", "view", "kind")
Picture = UInt8[np.ndarray, "h w 3"]
Resized = UInt8[np.ndarray, "h2 w2 3"]


@dataclass(frozen=True, slots=True)
class Pair:
    query: Path
    satellite: Path
    place: int
    position: LatLon | None
    heading_deg: float | None
    view: View
    kind: PhotoKind
    world: str
    rows: PanoramaRows = "auto"  # of a panorama; published methods differ in it
    # Where the query was taken (a drone: what it looks at) in the satellite picture: shares of its
    # width and height, from its upper left corner.
    spot: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Augment:
    """How a training pair is changed. Turns and flips are the same in both views."""

    heading_jitter_deg: float = 0.0
    quarter_turns: bool = True
    flip: bool = True
    zoom: float = 0.0  # up to this share of the sides is cut off a perspective query
    looks: float = 1.0  # strength of the changes of colour, sharpness and holes


class PairItem(NamedTuple):
    query: UInt8[np.ndarray, "h w 3"]
    satellite: UInt8[np.ndarray, "h2 w2 3"]
    place: int


class PairPictures(NamedTuple):
    query: UInt8[Tensor, "b h w 3"]
    satellite: UInt8[Tensor, "b h2 w2 3"]
    place: Int64[Tensor, " b"]


@dataclass(frozen=True, slots=True)
class PairTable:
    """All that a ``pairs.csv`` says."""

    pairs: Mapping[str, tuple[Pair, ...]]  # by split
    missing: tuple[str, ...]  # pictures that it names and that are not there: "line 4: …"
    tile_size_m: float | None  # the median of the column, if it has one


def read_pairs(folder: Path, split: str, *, view: View | None = None) -> tuple[Pair, ...]:
    """The pairs of a split, of one query view if given. Every picture named exists."""
    table = read_pair_table(folder, only=split, view=view)
    if table.missing:
        raise UserError(f"{folder / TABLE}, {table.missing[0]}", "Copy the data set again.")
    rows = table.pairs.get(split, ())
    if not rows:
        raise UserError(
            f"{folder / TABLE} has no {split} pairs" + (f" with {view} queries" if view else ""),
            "Choose another data set, or a network for this view.",
        )
    return rows


def read_pair_table(
    folder: Path, *, only: str | None = None, view: View | None = None
) -> PairTable:
    """Every split, or ``only`` one; of one query view if given. Missing pictures are listed."""
    table = folder / TABLE
    pairs: dict[str, list[Pair]] = {}
    missing: list[str] = []
    sizes: list[float] = []
    for number, row in _rows(table):
        if view not in (None, row["view"]) or only not in (None, row["split"]):
            continue
        pair = _pair(folder, row, where=f"{table}, line {number}")
        absent = [picture for picture in (pair.query, pair.satellite) if not picture.is_file()]
        missing += [f"line {number}: there is no picture {picture}" for picture in absent]
        if not absent:
            pairs.setdefault(row["split"], []).append(pair)
        if row.get("tile_size_m"):
            sizes.append(float(row["tile_size_m"]))
    found = {split: tuple(rows) for split, rows in pairs.items()}
    return PairTable(found, tuple(missing), median(sizes) if sizes else None)


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and what is in the columns."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{table} lacks the column {', '.join(missing)}",
                    f"Its first line must be: {','.join(COLUMNS)}",
                )
            for row in reader:
                yield reader.line_num, row
    except FileNotFoundError as error:
        raise UserError(
            f"{table.parent} is not a pair folder: it has no {TABLE}",
            "Choose another folder, or render one with: skyfix world",
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}", "It must be a UTF-8 CSV.") from error


def _pair(folder: Path, row: dict[str, str], *, where: str) -> Pair:
    try:
        if row["view"] not in get_args(View) or row["kind"] not in get_args(PhotoKind):
            raise ValueError(f"view {row['view']}, kind {row['kind']}")
        if (rows := row.get("rows") or "auto") not in get_args(PanoramaRows):
            raise ValueError(f"rows {rows}")
        position = LatLon(float(row["lat"]), float(row["lon"])) if row["lat"] else None
        heading = float(row["heading_deg"]) if row["heading_deg"] else None
        if heading is not None and not math.isfinite(heading):
            raise ValueError(f"heading_deg {heading}")
        return Pair(
            folder / row["query"],
            folder / row["satellite"],
            int(row["place"]),
            position,
            heading,
            cast(View, row["view"]),
            cast(PhotoKind, row["kind"]),
            row.get("world") or "",
            rows=cast(PanoramaRows, rows),
            spot=_spot(row),
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} cannot be read: {error}", "Mend the line.") from error


def _spot(row: dict[str, str]) -> tuple[float, float] | None:
    """From the metres by which the query's place lies east and north of the picture's centre."""
    if not row.get("tile_size_m"):
        return None
    size = float(row["tile_size_m"])
    if not 0 < size < math.inf:
        raise ValueError(f"tile_size_m {row['tile_size_m']}")
    if not (row.get("dx_m") and row.get("dy_m")):
        return None
    return 0.5 + float(row["dx_m"]) / size, 0.5 - float(row["dy_m"]) / size


class PairDataset(PictureDataset[Pair, Augment, PairItem]):
    """The query is turned to north.

    A street photo that is no panorama stays as it is, as where it is located: turning it about
    its centre makes no other heading of it. Its heading is any, so only the satellite picture
    is turned, by quarters.
    """

    def _exact(self, index: int) -> PairItem:
        pair = self.pairs[index]
        return PairItem(
            self._framed(self._query(pair), pair, pair.heading_deg or 0.0 if turns(pair) else 0.0),
            self._satellite(pair),
            pair.place,
        )

    def _query(self, pair: Pair) -> Picture:
        height, width = self._query_size
        if pair.kind == "panorama":
            share = 1.0 if pair.rows == "all" else 0.5  # of its rows may be kept
            return decoded(pair.query, least=(math.ceil(height / share), width))
        zoom = self._augment.zoom if self._augment else 0.0
        side = math.ceil(max(height, width) / (1 - zoom))
        return decoded(pair.query, least=(side, side))

    def _satellite(self, pair: Pair) -> Resized:
        return resized(decoded(pair.satellite, least=self._satellite_size), self._satellite_size)

    def _augmented(self, index: int, augment: Augment, rng: np.random.Generator) -> PairItem:
        pair = self.pairs[index]
        quarter = int(rng.integers(4)) if augment.quarter_turns else 0
        jitter = rng.uniform(-1, 1) * augment.heading_jitter_deg
        heading = rng.uniform(0, 360) if pair.heading_deg is None else pair.heading_deg + jitter
        query = self._query(pair)
        if pair.kind == "perspective" and augment.zoom:
            query = _centre(query, 1 - rng.uniform(0, augment.zoom))
        # The satellite picture turns counter-clockwise by quarters: old east is the new north.
        query = self._framed(query, pair, heading - 90 * quarter if turns(pair) else 0.0)
        satellite = turned_by_quarters(self._satellite(pair), quarter)
        if augment.flip and rng.random() < 0.5:
            query, satellite = mirrored(query), mirrored(satellite)
        return PairItem(
            change_looks(query, rng, strength=augment.looks),
            change_looks(satellite, rng, strength=augment.looks),
            pair.place,
        )

    def _framed(self, picture: Picture, pair: Pair, heading_deg: float) -> Resized:
        return frame_query(
            picture,
            kind=pair.kind,
            size=self._query_size,
            heading_deg=heading_deg % 360,
            rows=pair.rows,
        )


def turns(pair: Pair) -> bool:
    """Whether turning its query about the centre shows what another heading would."""
    return pair.view != "street" or pair.kind == "panorama"


def _collate(items: Sequence[PairItem | UserError]) -> PairPictures | UserError:
    """A batch, or the first picture's trouble."""
    good = good_items(items)
    if isinstance(good, UserError):
        return good
    return PairPictures(
        torch.from_numpy(np.stack([item.query for item in good])),
        torch.from_numpy(np.stack([item.satellite for item in good])),
        torch.tensor([item.place for item in good]),
    )


def pair_loader(
    dataset: PairDataset, batches: Iterable[list[tuple[int, int]]], *, workers: int, pinned: bool
) -> AbstractContextManager["DataLoader[Any]"]:
    """Yields ``PairPictures``, or a UserError for the reader to raise. Ends its workers."""
    return closing_loader(dataset, batches, _collate, workers=workers, pinned=pinned)


def decoded(path: Path, *, least: Size | None = None) -> Picture:
    """A data set's picture as RGB, upright. Faster than ``photos.read_rgb``, less lenient.

    With ``least`` a JPEG may come at a half, a quarter or an eighth of its size, no smaller than
    that: several times as fast, as its blocks are then never unfolded.
    """
    try:
        # Not cv2.imread: on Windows it cannot open names beyond the local code page.
        code = np.fromfile(path, np.uint8)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    way = cv2.IMREAD_COLOR_RGB | (reduction(code, least) if least else 0)
    picture = cv2.imdecode(code, way) if len(code) else None
    if picture is None:
        raise UserError(f"{path} is not a readable picture", "Copy the data set again.")
    return cast(Picture, picture)


def resized(picture: Picture, size: Size) -> Resized:
    if picture.shape[:2] == size:
        return picture
    smaller = size[0] < picture.shape[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    resized: Resized = cv2.resize(picture, size[::-1], interpolation=way)
    return resized


def _centre(picture: Picture, share: float) -> Resized:
    h, w = picture.shape[:2]
    new_h, new_w = max(2, round(h * share)), max(2, round(w * share))
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return picture[top : top + new_h, left : left + new_w]
