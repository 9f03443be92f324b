"""Retrieval metrics as the papers define them, from ranks. Ranks count from 0: 0 is best.

The definitions and their sources are those of the data sets' own evaluation code; where two are
in use, both are here under different names.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

Ranks = Int[np.ndarray, " _"]  # each query has its own number of them


def ranks_of(scores: Float[np.ndarray, " n"], positives: Shaped[np.ndarray, " p"]) -> Ranks:
    """Ranks of some tiles among all, ascending. Of equal scores the earlier tile is first."""
    wanted = scores[positives]
    better = (scores[None] > wanted[:, None]).sum(axis=1)
    before = np.arange(len(scores))[None] < np.asarray(positives)[:, None]
    level = ((scores[None] == wanted[:, None]) & before).sum(axis=1)
    return np.sort(better + level)


def recall_at(first: Sequence[int | None], k: int) -> float:
    """Share of queries with a positive among the best k. ``None``: the gallery holds none."""
    return float(np.mean([rank is not None and rank < k for rank in first]))


def k_of_1_percent(gallery: int) -> int:
    """University-1652's R@1%: reads its curve at index round(0.01 N), so one rank more."""
    return round(0.01 * gallery) + 1


def university_ap(ranks: Ranks) -> float:
    """University-1652's AP of one query: trapezoids under its precision-recall steps."""
    if len(ranks) == 0:
        return 0.0
    i = np.arange(len(ranks))
    before = np.where(ranks == 0, 1.0, i / np.maximum(ranks, 1))
    return float(((i + 1) / (ranks + 1) + before).mean() / 2)


def precision_ap(ranks: Ranks) -> float:
    """The plain AP of one query: mean precision at its positives."""
    if len(ranks) == 0:
        return 0.0
    return float(((np.arange(len(ranks)) + 1) / (ranks + 1)).mean())


def wilson_interval(hits: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share ``hits`` (0..1) seen in ``count`` queries."""
    if count == 0:
        return 0.0, 1.0
    middle = (hits + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(hits * (1 - hits) / count + (z / (2 * count)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)
