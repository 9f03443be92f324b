"""How sure an answer is: a posterior over the gallery's tiles, and what speaks for and against.

The posterior is a softmax of all tiles' scores at a temperature. A checkpoint whose temperature
was fitted on held-out queries is calibrated; without one the numbers only rank.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from app.card import Calibration
from app.messages import Confidence

# Contrastive training starts at a temperature of 0.07 and may go down to 0.01; the score of a
# tile is the best of several turns, which raises wrong tiles too. Midway, and marked as unfitted.
DEFAULT_TEMPERATURE = 0.03
TOP = 10  # candidates that the spread and its sentence are about
ELSEWHERE = 1.5  # tile sizes from rank 1 at which a candidate is another place
CREDIBLE = 0.9
MANY_PLACES = 100.0  # tile areas: beyond, the posterior has told nothing


def temperature_of(calibration: Calibration | None) -> float:
    return DEFAULT_TEMPERATURE if calibration is None else calibration.temperature


def posterior(scores: Float[np.ndarray, " n"], temperature: float) -> Float64[np.ndarray, " n"]:
    """Softmax over all tiles. Sums to 1."""
    logits = scores.astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def assess(
    scores: Float[np.ndarray, " n"],
    probabilities: Float64[np.ndarray, " n"],
    xy: Float[np.ndarray, "n 2"],
    *,
    tile_size_m: float,
    overlap: float,
    calibration: Calibration | None,
) -> Confidence:
    """``xy`` are the tiles' centres in metres, ``overlap`` the share of a side that they share."""
    best = int(np.argmax(scores))
    away_m = np.hypot(xy[:, 0] - xy[best, 0], xy[:, 1] - xy[best, 1]).astype(np.float64)
    top = _best_first(scores, TOP)
    spread_m = float(away_m[top[1:]].mean()) if len(top) > 1 else 0.0
    likeliest = _smallest_set(probabilities, CREDIBLE)
    area_m2 = union_area_m2(xy[likeliest], tile_size_m=tile_size_m, overlap=overlap)
    rival = _best_elsewhere(scores, away_m > ELSEWHERE * tile_size_m)
    gap = 0.0 if rival is None else float(scores[best] - scores[rival])
    reasons = (
        _nearness(away_m[top], tile_size_m),
        _rivalry(None if rival is None else float(away_m[rival]), gap),
        _extent(area_m2, tile_size_m),
        "not calibrated: treat the probability as a ranking"
        if calibration is None
        else f"calibrated on {calibration.data}",
    )
    return Confidence(
        calibrated=calibration is not None,
        best_probability=float(min(1.0, probabilities[away_m <= tile_size_m].sum())),
        radius_m=tile_size_m,
        area_90_m2=area_m2,
        spread_m=spread_m,
        gap=gap,
        reasons=tuple(reason for reason in reasons if reason),
    )


def union_area_m2(xy: Float[np.ndarray, "n 2"], *, tile_size_m: float, overlap: float) -> float:
    """Ground covered by square tiles at these centres, overlaps counted once.

    Counted in cells of about the tiles' stride, which is exact for tiles on a gallery's grid.
    """
    stride = tile_size_m * (1.0 - overlap)
    across = max(1, round(tile_size_m / stride))  # cells a tile's side
    cell = tile_size_m / across
    corner = np.rint((xy - xy.min(axis=0)) / cell).astype(np.int64)
    steps = np.arange(across, dtype=np.int64)
    column = corner[:, 0, None, None] + steps[:, None]
    row = corner[:, 1, None, None] + steps[None, :]
    width = int(corner[:, 0].max()) + across
    return float(len(np.unique(row * width + column)) * cell**2)


def fit_temperature(scores: Float[np.ndarray, "q n"], truth: Int[np.ndarray, " q"]) -> float:
    """The temperature at which the softmax of each row gives its true tile most credit.

    Minimises the mean negative log likelihood, which is convex in 1 / temperature, by golden
    section over its logarithm. ``truth`` holds the column of each row's true tile.
    """
    wide = scores.astype(np.float64)
    rows = np.arange(len(wide))

    def loss(log_temperature: float) -> float:
        logits = wide / math.exp(log_temperature)
        peak = logits.max(axis=1)
        total = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak
        return float((total - logits[rows, truth]).mean())

    low, high = math.log(1e-3), math.log(10.0)
    ratio = (math.sqrt(5) - 1) / 2
    inner, outer = high - ratio * (high - low), low + ratio * (high - low)
    at_inner, at_outer = loss(inner), loss(outer)
    while high - low > 1e-4:
        if at_inner <= at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - ratio * (high - low)
            at_inner = loss(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + ratio * (high - low)
            at_outer = loss(outer)
    return math.exp((low + high) / 2)


def _best_first(scores: Float[np.ndarray, " n"], count: int) -> Int[np.ndarray, " k"]:
    """The ``count`` best; ties by index."""
    count = min(count, len(scores))
    some = np.argpartition(-scores, count - 1)[:count]
    return np.asarray(some[np.lexsort((some, -scores[some]))])


def _smallest_set(probabilities: Float64[np.ndarray, " n"], share: float) -> Int[np.ndarray, " k"]:
    """The fewest tiles that hold ``share`` of the posterior."""
    order = np.argsort(-probabilities, kind="stable")
    reached = int(np.searchsorted(np.cumsum(probabilities[order]), share)) + 1
    return np.asarray(order[:reached])


def _best_elsewhere(
    scores: Float[np.ndarray, " n"], elsewhere: Bool[np.ndarray, " n"]
) -> int | None:
    if not elsewhere.any():
        return None
    return int(np.argmax(np.where(elsewhere, scores, -np.inf)))


# --- words ------------------------------------------------------------------


def _nearness(away_m: Float64[np.ndarray, " k"], radius_m: float) -> str:
    if len(away_m) < 2:
        return "the gallery has only one tile"
    near = int((away_m <= radius_m).sum())
    return f"{near} of the top {len(away_m)} lie within {distance_text(radius_m)} of the best"


def _rivalry(away_m: float | None, gap: float) -> str:
    if away_m is None:
        return "the gallery shows no other place to compare with"
    return f"the best rival lies {distance_text(away_m)} away and scores {gap:.3f} less"


def _extent(area_m2: float, tile_size_m: float) -> str:
    if area_m2 < MANY_PLACES * tile_size_m**2:
        return ""
    return f"90 % of the probability is spread over {area_text(area_m2)}: no place stands out"


def distance_text(metres: float) -> str:
    """``80 m``, ``1.2 km``."""
    return f"{metres:.0f} m" if metres < 1000 else f"{metres / 1000:.1f} km"


def area_text(square_metres: float) -> str:
    """``0.6 ha``, ``12 ha``, ``1.2 km²``."""
    hectares = square_metres / 1e4
    if hectares < 100:
        return f"{hectares:.1f} ha" if hectares < 10 else f"{hectares:.0f} ha"
    return f"{square_metres / 1e6:.1f} km²"
