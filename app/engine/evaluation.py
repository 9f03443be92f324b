"""How good a checkpoint is: every query against a whole gallery, then the papers' metrics."""

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Int

from app.card import Calibration, Metric
from app.engine.checkpoints import Checkpoint
from app.engine.confidence import fit_temperature
from app.engine.datasets.pairs import Pair, decoded, read_pairs, resized
from app.engine.framing import frame_turns
from app.engine.gallery import Gallery
from app.engine.held_out import first_rows, score_pairs
from app.engine.locate import headings_to_try
from app.engine.metrics import (
    Ranks,
    k_of_1_percent,
    precision_ap,
    ranks_of,
    recall_at,
    university_ap,
    wilson_interval,
)
from app.engine.photos import Query, read_query
from app.engine.search import score_tiles
from app.errors import UserError
from app.geo import EARTH_RADIUS_M, LatLon
from app.messages import Locate, Progress, Report, ignore

Headings = Literal["known", "unknown"]
WITHIN_M = (25.0, 50.0, 100.0)
BATCH = 64  # pictures held in memory at a time


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One row a query, in the order of the data."""

    data: str  # what was measured, in words
    names: tuple[str, ...]
    ranks: tuple[Ranks, ...]  # of each query's right tiles, from 0, ascending
    first: tuple[int | None, ...]  # rank of the right tile of R@K; None: not in the gallery
    metres: tuple[float, ...]  # from the truth to the best-ranked tile's centre; may be empty
    gallery: int
    temperature: float | None  # fitted; None if no query has a right tile
    seconds_per_query: float

    def recall(self, k: int) -> float:
        return recall_at(self.first, k)

    def within(self, metres: float) -> float:
        return float(np.mean([error <= metres for error in self.metres]))

    @property
    def ap(self) -> float:
        """University-1652's definition."""
        return float(np.mean([university_ap(r) for r in self.ranks]))

    @property
    def plain_ap(self) -> float:
        return float(np.mean([precision_ap(r) for r in self.ranks]))

    @property
    def median_m(self) -> float | None:
        return float(np.median(self.metres)) if self.metres else None

    def metrics(self) -> tuple[Metric, ...]:
        """For a checkpoint's card; shares are 0..1."""
        k = k_of_1_percent(self.gallery)
        values = [("R@1", self.recall(1)), ("R@5", self.recall(5)), ("R@10", self.recall(10))]
        values += [("R@1%", self.recall(k)), ("AP", self.ap), ("AP plain", self.plain_ap)]
        if self.median_m is not None:
            values += [(f"within {m:.0f} m", self.within(m)) for m in WITHIN_M]
            values.append(("median_m", self.median_m))
        return tuple(Metric(name, value, self.data) for name, value in values)

    def calibration(self) -> Calibration | None:
        if self.temperature is None:
            return None
        return Calibration(self.temperature, self.data)

    def table(self) -> str:
        """For a terminal; each share with its 95 % interval (Wilson)."""
        lines = [f"{self.data}: {len(self.names)} queries, {self.gallery} tiles"]
        k = k_of_1_percent(self.gallery)
        for name, count in (("R@1", 1), ("R@5", 5), ("R@10", 10), (f"R@1% (of {k})", k)):
            chance = min(1.0, count / self.gallery)
            lines.append(f"{self._share(name, self.recall(count))}   chance {chance:6.1%}")
        lines.append(f"{'AP (University-1652)':<22}{self.ap:7.1%}")
        lines.append(f"{'AP (mean precision)':<22}{self.plain_ap:7.1%}")
        if self.median_m is not None:
            lines += [self._share(f"within {m:.0f} m", self.within(m)) for m in WITHIN_M]
            lines.append(f"{'median error':<22}{self.median_m:7.1f} m")
        lines.append(f"{'time a query':<22}{self.seconds_per_query:7.3f} s")
        return "\n".join(lines)

    def _share(self, name: str, share: float) -> str:
        low, high = wilson_interval(share, len(self.names))
        return f"{name:<22}{share:7.1%}   ({low:.1%} to {high:.1%})"


def evaluate_pairs(
    checkpoint: Checkpoint,
    folder: Path,
    split: str = "val",
    *,
    headings: Headings = "unknown",
    turns: int | None = None,
    report: Report = ignore,
) -> Evaluation:
    """Each query of a pair folder against all satellite pictures of its split."""
    view = checkpoint.card.query_view
    pairs = read_pairs(folder, split, view=view)
    once = first_rows([str(pair.satellite) for pair in pairs])
    satellites = _described_satellites(checkpoint, [pairs[i] for i in once], report)
    tried = turns or checkpoint.card.turns
    scores = np.empty((len(pairs), len(once)), np.float32)
    started = time.perf_counter()
    for row, pair in enumerate(pairs):
        if headings == "known":
            around: tuple[float, ...] = (_known(pair.query, pair.heading_deg),)
        else:
            around = tuple(360.0 * turn / tried for turn in range(tried))
        framed = frame_turns(
            decoded(pair.query),
            kind=pair.kind,
            size=checkpoint.card.sizes[view],
            headings_deg=around,
        )
        scores[row] = (satellites @ checkpoint.describe(framed, view).T).max(axis=1)
        report(Progress(row + 1, len(pairs), pair.query.name))
    seconds = (time.perf_counter() - started) / len(pairs)
    scored = score_pairs(pairs, scores, once)
    return Evaluation(
        data=f"{folder.name}, {split} pairs, {_headings_told(headings, tried)}",
        names=tuple(pair.query.relative_to(folder).as_posix() for pair in pairs),
        ranks=scored.ranks,
        first=scored.first,
        metres=scored.metres,
        gallery=len(once),
        temperature=fit_temperature(scores, _columns(pairs, once)),
        seconds_per_query=seconds,
    )


def evaluate_photos(
    checkpoint: Checkpoint,
    gallery: Gallery,
    photos: Path,
    *,
    headings: Headings = "unknown",
    turns: int | None = None,
    report: Report = ignore,
) -> Evaluation:
    """Each photo of ``truth.csv`` against a gallery.

    The right tile of R@K is the one whose centre is nearest to the truth; AP counts that one and
    all that have the truth in their central half. A known heading is ``truth.csv``'s, or the
    photo's own.
    """
    gallery.require(checkpoint.sha256, checkpoint.card.title)
    truths = read_truth(photos, view=checkpoint.card.query_view)
    ranks: list[Ranks] = []
    first: list[int | None] = []
    metres: list[float] = []
    nearest: list[int] = []
    rows: list[Float32[np.ndarray, " n"]] = []
    started = time.perf_counter()
    tried = 0
    for done, truth in enumerate(truths):
        query = read_query(truth.photo)
        around = _headings_of(query, truth, checkpoint, gallery, headings, turns)
        tried = max(tried, len(around))
        descriptors = _described_turns(checkpoint, query, around)
        scores = score_tiles(gallery.descriptors, descriptors).score
        away = _offsets_m(gallery.latlon, truth.position)
        right = int(np.hypot(*away.T).argmin())
        central = (np.abs(away) <= gallery.manifest.tile_size_m / 4).all(axis=1)
        central[right] = True
        ranks.append(ranks_of(scores, np.flatnonzero(central)))
        first.append(int(ranks_of(scores, np.array([right]))[0]))
        metres.append(float(np.hypot(*away[int(scores.argmax())])))
        nearest.append(right)
        rows.append(scores.astype(np.float32))
        report(Progress(done + 1, len(truths), truth.photo.name))
    return Evaluation(
        data=f"{photos.name} on {gallery.manifest.name}, {_headings_told(headings, tried)}",
        names=tuple(truth.photo.name for truth in truths),
        ranks=tuple(ranks),
        first=tuple(first),
        metres=tuple(metres),
        gallery=len(gallery.ids),
        temperature=fit_temperature(np.stack(rows), np.array(nearest)),
        seconds_per_query=(time.perf_counter() - started) / len(truths),
    )


@dataclass(frozen=True, slots=True)
class Truth:
    photo: Path
    position: LatLon  # drone: the ground at the photo's centre; street: the camera
    heading_deg: float | None


def read_truth(photos: Path, *, view: str | None = None) -> tuple[Truth, ...]:
    """The photos of ``truth.csv``, which lies in the folder or beside it; of one view if told."""
    table = photos / "truth.csv"
    if not table.is_file():
        table = photos.parent / "truth.csv"
    if not table.is_file():
        raise UserError(
            f"{photos} has no truth.csv", "Write one with the columns file,lat,lon,heading_deg."
        )
    truths = []
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            for row in reader:
                if view is None or row.get("view") in (None, "", view):
                    heading = row.get("heading_deg")
                    position = LatLon(float(row["lat"]), float(row["lon"]))
                    truths.append(
                        Truth(photos / row["file"], position, float(heading) if heading else None)
                    )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{table} cannot be read ({type(error).__name__}: {error})",
            "It must be a UTF-8 CSV with the columns file,lat,lon and may have heading_deg,view.",
        ) from error
    if not truths:
        raise UserError(f"{table} lists no {view or ''} photos", "Choose another folder.")
    return tuple(truths)


def _described_satellites(
    checkpoint: Checkpoint, pairs: Sequence[Pair], report: Report
) -> Float32[np.ndarray, "n d"]:
    size = checkpoint.card.sizes["satellite"]
    rows = []
    for start in range(0, len(pairs), BATCH):
        pictures = [resized(decoded(p.satellite), size) for p in pairs[start : start + BATCH]]
        rows.append(checkpoint.describe(np.stack(pictures), "satellite"))
        report(Progress(min(start + BATCH, len(pairs)), len(pairs), "describing satellites"))
    return np.concatenate(rows)


def _described_turns(
    checkpoint: Checkpoint, query: Query, headings_deg: tuple[float, ...]
) -> Float32[np.ndarray, "t d"]:
    view = checkpoint.card.query_view
    size = checkpoint.card.sizes[view]
    framed = frame_turns(query.image, kind=query.kind, size=size, headings_deg=headings_deg)
    return checkpoint.describe(framed, view)


def _headings_of(
    query: Query,
    truth: Truth,
    checkpoint: Checkpoint,
    gallery: Gallery,
    headings: Headings,
    turns: int | None,
) -> tuple[float, ...]:
    if headings == "known":
        own = query.heading_deg if truth.heading_deg is None else truth.heading_deg
        return (_known(truth.photo, own),)
    asked = Locate(truth.photo, gallery.folder, checkpoint.path, turns=turns, use_heading=False)
    return headings_to_try(query, checkpoint, asked)


def _known(photo: Path, heading_deg: float | None) -> float:
    if heading_deg is None:
        raise UserError(f"The heading of {photo} is not known", "Evaluate with unknown headings.")
    return heading_deg


def _headings_told(headings: Headings, turns: int) -> str:
    return "heading known" if headings == "known" else f"heading unknown ({turns} turns)"


def _columns(pairs: Sequence[Pair], once: Int[np.ndarray, " n"]) -> Int[np.ndarray, " q"]:
    """The column of each pair's own satellite picture."""
    column = {str(pairs[int(row)].satellite): i for i, row in enumerate(once)}
    return np.array([column[str(pair.satellite)] for pair in pairs])


def _offsets_m(latlon: Float[np.ndarray, "n 2"], from_: LatLon) -> Float[np.ndarray, "n 2"]:
    """Metres east and north of a place, on the plane that touches the Earth there."""
    north = np.radians(latlon[:, 0] - from_.lat) * EARTH_RADIUS_M
    east = np.radians(latlon[:, 1] - from_.lon) * EARTH_RADIUS_M * np.cos(np.radians(from_.lat))
    return np.column_stack([east, north])
