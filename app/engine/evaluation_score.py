"""Every query of a test against its whole gallery, in blocks: what the figures are made of.

The matrix of all scores is never whole in memory: 52,605 queries of 90,618 tiles would fill
19 GB. A block of it is, and of each block only what the protocols ask for is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int, Int32, Int64

from app.engine.confidence import fit_temperature
from app.engine.metrics import Ranks
from app.engine.search import top_k
from app.messages import Progress, Report, ignore

BLOCK_BYTES = 128 << 20  # of one block of scores
QUERY_BYTES = 64 << 20  # of the query rows that are float32 at a time
GALLERY_BYTES = 32 << 20  # and of the gallery's
SAMPLE_SCORES = 8 << 20  # scores that a temperature is fitted on

Positives = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One row a query. Ranks count from 0; of equal scores the earlier gallery row is first."""

    ranks: tuple[Ranks, ...]  # of all right pictures, ascending
    strictly_better: Int64[np.ndarray, " q"]  # pictures that beat the best right one; -1: no right
    hit: Bool[np.ndarray, " q"]  # nothing beats the best right one but semi-positives
    top: Int32[np.ndarray, "q k"]  # the best candidates
    top_score: Float32[np.ndarray, "q k"]  # cosines
    right_score: Float32[np.ndarray, " q"]  # of the best right picture; NaN: no right one
    wrong_score: Float32[np.ndarray, " q"]  # of the best neither right nor semi-positive; or NaN
    probability: Float32[np.ndarray, " q"]  # that the posterior gives the best candidate; or NaN

    @property
    def first(self) -> Int64[np.ndarray, " q"]:
        """Rank of the best right picture; -1: none."""
        return np.array([int(r[0]) if len(r) else -1 for r in self.ranks], np.int64)

    @property
    def tied(self) -> int:
        """Queries whose best right picture's rank hangs on the order of equal scores."""
        return int((self.first != self.strictly_better).sum())


def score_all(
    queries: Float16[np.ndarray, "q t d"],
    gallery: Float16[np.ndarray, "n u d"],
    positives: Positives,
    semi_positives: Positives = (),
    *,
    keep: int = 100,
    temperature: float | None = None,
    report: Report = ignore,
) -> Scored:
    """A score is the best cosine over the turns ``t`` of a query and ``u`` of a gallery picture.

    ``keep`` is how many candidates stay; ``temperature`` that of the posterior, if wanted.
    """
    count, tiles = len(queries), len(gallery)
    keep = min(keep, tiles)
    found = Scored(
        ranks=(),
        strictly_better=np.full(count, -1, np.int64),
        hit=np.zeros(count, np.bool_),
        top=np.empty((count, keep), np.int32),
        top_score=np.empty((count, keep), np.float32),
        right_score=np.full(count, np.nan, np.float32),
        wrong_score=np.full(count, np.nan, np.float32),
        probability=np.full(count, np.nan, np.float32),
    )
    ranks: list[Ranks] = []
    semi = semi_positives or ((),) * count
    query_bytes = 4 * queries.shape[1] * queries.shape[2]
    step = max(1, min(BLOCK_BYTES // (4 * tiles), QUERY_BYTES // query_bytes))
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = cosines(queries[start:stop], gallery, report)
        for row, scores in enumerate(block, start=start):
            found.top[row] = best = top_k(scores, keep)
            found.top_score[row] = scores[best]
            if temperature is not None:
                found.probability[row] = _best_share(scores, int(best[0]), temperature)
            ranks.append(_judge(found, row, scores, positives[row], semi[row]))
            if row % 64 == 0:
                report(Progress(row, count, "scoring"))
    report(Progress(count, count, "scoring"))
    return Scored(
        tuple(ranks),
        *(getattr(found, name) for name in Scored.__slots__ if name != "ranks"),
    )


def _judge(
    found: Scored,
    row: int,
    scores: Float32[np.ndarray, " n"],
    right: Sequence[int],
    semi: Sequence[int],
) -> Ranks:
    """Fills in what depends on the right pictures; spoils ``scores``."""
    wanted = np.asarray(right, np.int64)
    ranks = _ranks(scores, wanted)
    if len(wanted):
        best_right = scores[wanted].max()
        found.right_score[row] = best_right
        better = int((scores > best_right).sum())
        found.strictly_better[row] = better
        excused = int((scores[np.asarray(semi, np.int64)] > best_right).sum()) if semi else 0
        found.hit[row] = better == excused
    scores[wanted] = -np.inf
    if semi:
        scores[np.asarray(semi, np.int64)] = -np.inf
    best_wrong = scores.max()
    found.wrong_score[row] = best_wrong if np.isfinite(best_wrong) else np.nan
    return ranks


def _ranks(scores: Float32[np.ndarray, " n"], wanted: Int64[np.ndarray, " p"]) -> Ranks:
    """As ``metrics.ranks_of``, and quick also for many right pictures in a large gallery."""
    if len(wanted) == 1:
        at = int(wanted[0])
        score = scores[at]
        return np.array([(scores > score).sum() + (scores[:at] == score).sum()])
    ordered = np.sort(scores)
    values = scores[wanted]
    end = np.searchsorted(ordered, values, side="right")
    ranks = len(scores) - end
    level = end - np.searchsorted(ordered, values, side="left")
    for i in np.flatnonzero(level > 1):
        ranks[i] += (scores[: wanted[i]] == values[i]).sum()
    return np.sort(ranks)


def _best_share(scores: Float32[np.ndarray, " n"], best: int, temperature: float) -> float:
    """The best candidate's share of the posterior."""
    return float(1 / np.exp((scores - scores[best]) / np.float32(temperature)).sum())


def cosines(
    queries: Float16[np.ndarray, "q t d"],
    gallery: Float16[np.ndarray, "n u d"],
    report: Report = ignore,
) -> Float32[np.ndarray, "q n"]:
    """The best over both sides' turns. The gallery, maybe a memory map, is read once.

    float16 rounds a unit vector's length by up to 0.05 %; that is undone, for both sides.
    """
    left, turns, length = queries.shape
    tiles, faces, _ = gallery.shape
    columns = np.ascontiguousarray(_unit(queries).reshape(left * turns, length).T)
    result = np.empty((left, tiles), np.float32)
    row_bytes = 4 * faces * max(length, left * turns, 1)
    step = max(1, GALLERY_BYTES // row_bytes)
    for start in range(0, tiles, step):
        rows = _unit(gallery[start : start + step]).reshape(-1, length)
        product = (rows @ columns).reshape(-1, faces, left, turns)
        best = product.max(axis=(1, 3)) if faces * turns > 1 else product[:, 0, :, 0]
        result[:, start : start + step] = best.T
        report(Progress(0, 0, "comparing descriptors"))
    return result


def _unit(rows: Float16[np.ndarray, "n t d"]) -> Float32[np.ndarray, "n t d"]:
    wide = rows.astype(np.float32)
    wide /= np.sqrt(np.einsum("ntd,ntd->nt", wide, wide))[..., None].clip(1e-6)
    return wide


def fitted_temperature(
    queries: Float16[np.ndarray, "q t d"],
    gallery: Float16[np.ndarray, "n u d"],
    positives: Positives,
    rows: Int[np.ndarray, " r"],
    report: Report = ignore,
) -> float:
    """Fitted on some of these rows, each of which has one right picture; evenly chosen."""
    most = max(1, SAMPLE_SCORES // len(gallery))
    chosen = rows[:: -(-len(rows) // most)]
    scores = cosines(queries[chosen], gallery, report)
    return fit_temperature(scores, np.array([positives[row][0] for row in chosen]))
