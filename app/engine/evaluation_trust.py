"""Whether probabilities mean what they say, and from which score on to trust an answer."""

import math

import numpy as np
from jaxtyping import Bool, Float32, Int64

from app.results import Bin, Reliability, Threshold

BINS = 15  # of equal width, as is usual for the expected calibration error
FALSE_ACCEPTS = (0.01, 0.05, 0.1)


def reliability(
    probability: Float32[np.ndarray, " q"],
    right: Bool[np.ndarray, " q"],
    fitted: Int64[np.ndarray, " f"],
    temperature: float,
) -> Reliability | None:
    """Of the queries that the temperature was not fitted on; None if there are none."""
    judged = np.isfinite(probability)
    judged[fitted] = False
    given, true = probability[judged].astype(np.float64), right[judged]
    if not len(given):
        return None
    number = np.minimum((given * BINS).astype(int), BINS - 1)
    bins = []
    for i in np.unique(number):
        inside = number == i
        mean, share = float(given[inside].mean()), float(true[inside].mean())
        bins.append(Bin(i / BINS, (i + 1) / BINS, int(inside.sum()), mean, share))
    error = sum(b.count * abs(b.probability - b.right) for b in bins) / len(given)
    source = "fitted on every second query" if len(fitted) else "the checkpoint's card"
    return Reliability(temperature, source, len(given), error, tuple(bins))


def thresholds(
    best_score: Float32[np.ndarray, " q"],
    wrong_score: Float32[np.ndarray, " q"],
    right: Bool[np.ndarray, " q"],
) -> tuple[Threshold, ...]:
    """For each share of false accepts the lowest score that keeps to it.

    A query without a true tile is played by each query whose right pictures are left out of the
    gallery: its answer would be the best wrong one.
    """
    wrong = np.sort(wrong_score[np.isfinite(wrong_score)])[::-1]
    found = []
    for share in FALSE_ACCEPTS:
        allowed = math.floor(share * len(wrong))
        if not allowed:  # too few queries to tell so small a share
            continue
        score = float(np.nextafter(wrong[allowed], np.float32(np.inf)))
        answered = right & (best_score >= score)
        found.append(Threshold(share, score, float(answered.mean())))
    return tuple(found)
