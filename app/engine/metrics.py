"""Retrieval metrics as the papers define them, from ranks. Ranks count from 0: 0 is best.

The definitions and their sources are those of the data sets' own evaluation code; where two are
in use, both are here under different names.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64, Shaped

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


def chance_of_recall(right: Int64[np.ndarray, " q"], gallery: int, k: int) -> float:
    """What a random order would reach at K, where query i has ``right[i]`` right pictures."""
    shares = []
    for count in np.unique(right):
        missed = 1.0
        for drawn in range(min(k, gallery)):
            missed *= max(0.0, 1 - count / (gallery - drawn))
        shares.append((1 - missed) * float((right == count).mean()))
    return float(sum(shares))


def great_circle_m(
    a: Float64[np.ndarray, "*n 2"], b: Float64[np.ndarray, "*n 2"], *, radius_m: float
) -> Float64[np.ndarray, "*n"]:
    """Distances of latitudes and longitudes in degrees. Data sets differ in the Earth's radius."""
    phi_a, phi_b = np.radians(a[..., 0]), np.radians(b[..., 0])
    half_phi, half_lam = (phi_b - phi_a) / 2, np.radians(b[..., 1] - a[..., 1]) / 2
    share = np.sin(half_phi) ** 2 + np.cos(phi_a) * np.cos(phi_b) * np.sin(half_lam) ** 2
    return np.asarray(2 * radius_m * np.arcsin(np.sqrt(share.clip(0, 1))))


def sdm_at(
    query: Float64[np.ndarray, "q 2"], found: Float64[np.ndarray, "q k 2"]
) -> Float64[np.ndarray, " q"]:
    """DenseUAV's spatial distance metric of each query's best K, K being all that are given.

    The sum of w exp(-5000 d) over the sum of w, where w falls from 1 to 1/K and d is in degrees.
    Its code keeps degrees in single precision, which moves single values by up to 4 %: so here.
    """
    k = found.shape[1]
    weight = 1 - np.arange(k) / k
    steps: Float32[np.ndarray, "q k 2"] = (
        found.astype(np.float32) - query.astype(np.float32)[:, None]
    )
    away = np.sqrt((steps**2).sum(axis=-1)).astype(np.float64)
    return np.asarray((np.exp(-5e3 * away) * weight).sum(axis=1) / weight.sum())


def box_iou(
    a: Float64[np.ndarray, "n 4"], b: Float64[np.ndarray, "n 4"]
) -> Float64[np.ndarray, " n"]:
    """Of boxes left, top, right, bottom, pair by pair; boxes are not cut at a picture's edge."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = sides.clip(0).prod(axis=1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clip(0).prod(axis=1) for box in (a, b))
    return np.asarray(shared / np.maximum(area_a + area_b - shared, 1e-16))
