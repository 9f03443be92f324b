"""How each data set is scored: its own rounding, its positives, its distances.

A protocol turns what was found into columns: one value a query. A figure of the table is a
column's mean (or median), so that intervals and comparisons need no rule of their own.

Where a published code counts only pictures that score strictly better (CVUSA, CVACT and VIGOR by
Sample4Geo's code), equal scores favour the query; elsewhere the earlier picture is first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from app.engine.datasets.layout import Protocol
from app.engine.evaluation_files import Trial
from app.engine.evaluation_score import Scored
from app.engine.metrics import (
    chance_of_recall,
    great_circle_m,
    k_of_1_percent,
    precision_ap,
    sdm_at,
    university_ap,
)
from app.geo import EARTH_RADIUS_M
from app.results import Curve, Unit

KEEP = 128  # candidates of each query that distances are taken of
RECALL_AT = (1, 5, 10)
WITHIN_M = (25.0, 50.0, 100.0)
CVACT_WITHIN_M = (36.0, 72.0, 144.0)  # a quarter, a half and a whole side of its pictures
VIGOR_RADIUS_M = 6_371_004.0
VIGOR_CURVE_M = tuple(1.1 ** (i / 5) for i in range(1, 500))
VIGOR_10_M = VIGOR_CURVE_M[120]  # 10.04: the step of the curve that its code reads as 10 m
DENSEUAV_RADIUS_M = 6_378_137.0
SDM_AT = (1, 3, 5, 10)
MA_WITHIN_M = (5.0, 10.0, 20.0, 50.0, 100.0)

Values = Float64[np.ndarray, " q"]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One figure's value for each query; NaN where it has none, which leaves the query out."""

    name: str
    values: Values
    unit: Unit = "share"
    statistic: Literal["mean", "median"] = "mean"
    chance: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is particular to a protocol."""

    one_percent: Callable[[int], int]  # candidates that R@1% counts, of a gallery
    strict: bool  # equal scores favour the query
    ap: bool
    radius_m: float = EARTH_RADIUS_M


def hundredth(gallery: int) -> int:
    """R@1% of CVUSA, CVACT and VIGOR: none at all where the gallery has less than a hundred."""
    return gallery // 100


RULES: dict[Protocol, Rules] = {
    "pairs": Rules(k_of_1_percent, strict=False, ap=True),
    "university": Rules(k_of_1_percent, strict=False, ap=True),
    "denseuav": Rules(k_of_1_percent, strict=False, ap=True, radius_m=DENSEUAV_RADIUS_M),
    "cvusa": Rules(hundredth, strict=True, ap=False),
    "cvact": Rules(hundredth, strict=True, ap=False),
    "cvact-5m": Rules(hundredth, strict=True, ap=False),
    "vigor": Rules(hundredth, strict=True, ap=False, radius_m=VIGOR_RADIUS_M),
}


def first_ranks(protocol: Protocol, scored: Scored) -> Int64[np.ndarray, " q"]:
    """Rank of the best right picture from 0, ties as the protocol has them; -1: none."""
    return scored.strictly_better if RULES[protocol].strict else scored.first


def columns(trial: Trial, scored: Scored) -> tuple[Column, ...]:
    """All figures of the trial's protocol."""
    protocol = trial.protocol
    found = [*_recalls(trial, scored)]
    if RULES[protocol].ap:
        ap = np.array([university_ap(ranks) for ranks in scored.ranks])
        plain = np.array([precision_ap(ranks) for ranks in scored.ranks])
        found.append(Column("AP", ap, note="trapezoids, as in University-1652's code"))
        found.append(Column("AP plain", plain, note="mean precision at each right picture"))
    if protocol == "vigor":
        note = "nothing but its semi-positives scores better"
        found.append(Column("hit rate", scored.hit.astype(np.float64), note=note))
    return (*found, *_distances(trial, scored))


def _recalls(trial: Trial, scored: Scored) -> list[Column]:
    first, tiles = first_ranks(trial.protocol, scored), len(trial.gallery)
    right = np.array([len(ranks) for ranks in scored.ranks], np.int64)
    hundred = RULES[trial.protocol].one_percent(tiles)
    asked = [(f"R@{k}", k, "") for k in RECALL_AT] + [("R@1%", hundred, f"of the best {hundred}")]
    return [
        Column(
            name,
            ((first >= 0) & (first < k)).astype(np.float64),
            chance=chance_of_recall(right, tiles, k),
            note=note,
        )
        for name, k, note in asked
    ]


# --- distances ---------------------------------------------------------------


def _distances(trial: Trial, scored: Scored) -> list[Column]:
    away = metres(trial, scored)
    if away is None:
        return []
    nearest = away[:, 0]
    match trial.protocol:
        case "cvact" | "cvact-5m":
            found = [_within(nearest, m) for m in CVACT_WITHIN_M]
            if trial.protocol == "cvact":
                exact = (first_ranks("cvact", scored) == 0).astype(np.float64)
                found.insert(0, Column("within 0 m", exact, note="the exact picture"))
            return found + _means_of_top(away, len(trial.gallery))
        case "vigor":
            note = "read at 10.04 m, as its code does"
            return [
                Column("within 10 m", _under(nearest, VIGOR_10_M), note=note),
                _median(nearest),
            ]
        case "denseuav":
            found = [
                Column(f"SDM@{k}", _sdm(trial, scored, k)) for k in SDM_AT if k <= away.shape[1]
            ]
            found += [Column(f"MA@{m:g}m", _under(nearest, m)) for m in MA_WITHIN_M]
            return [*found, _median(nearest)]
        case _:
            return [*(_within(nearest, m) for m in WITHIN_M), _median(nearest)]


def metres(trial: Trial, scored: Scored) -> Float64[np.ndarray, "q k"] | None:
    """From each query's true position to its best candidates; None: the data set has none.

    CVACT: in the plane of its UTM coordinates, as GeoViewMatch and RecallGeo.m measure.
    """
    if trial.protocol in ("cvact", "cvact-5m"):
        steps = trial.gallery.utm_m[scored.top] - trial.queries.utm_m[:, None]
        away = np.hypot(steps[..., 0], steps[..., 1])
    else:
        found = trial.gallery.latlon[scored.top]
        true = np.broadcast_to(trial.queries.latlon[:, None], found.shape)
        away = great_circle_m(true, found, radius_m=RULES[trial.protocol].radius_m)
    return None if np.isnan(away[:, 0]).all() else away


def _within(away: Values, limit: float) -> Column:
    share = np.where(np.isnan(away), np.nan, away <= limit)
    return Column(f"within {limit:g} m", share)


def _under(away: Values, limit: float) -> Values:
    """Strictly, as the codes of VIGOR and DenseUAV have it."""
    return np.where(np.isnan(away), np.nan, away < limit)


def _median(away: Values) -> Column:
    return Column("median error", away, unit="m", statistic="median", note="of rank 1")


def _means_of_top(away: Float64[np.ndarray, "q k"], tiles: int) -> list[Column]:
    asked = [(str(k), k) for k in RECALL_AT] + [("1%", hundredth(tiles))]
    return [
        Column(f"mean distance top {name}", away[:, :k].mean(axis=1), unit="m")
        for name, k in asked
        if 0 < k <= away.shape[1]
    ]


def _sdm(trial: Trial, scored: Scored, k: int) -> Values:
    return sdm_at(trial.queries.latlon, trial.gallery.latlon[scored.top[:, :k]])


# --- curves ------------------------------------------------------------------


def curves(trial: Trial, scored: Scored) -> tuple[Curve, ...]:
    """Recall over K, shares within metres, and for DenseUAV SDM over K."""
    first, tiles = first_ranks(trial.protocol, scored), len(trial.gallery)
    last = min(tiles, max(100, RULES[trial.protocol].one_percent(tiles)))
    counts = np.bincount(first[(first >= 0) & (first < last)], minlength=last)
    recall = np.cumsum(counts) / len(first)
    found = [Curve("recall", "K", tuple(range(1, last + 1)), tuple(recall.tolist()))]
    away = metres(trial, scored)
    if away is not None:
        known = np.sort(away[~np.isnan(away[:, 0]), 0])
        limits = np.array(VIGOR_CURVE_M)
        shares = np.searchsorted(known, limits, side="left") / len(known)
        metre_curve = Curve("within metres", "metres", VIGOR_CURVE_M, tuple(shares.tolist()))
        found.append(metre_curve)
        if trial.protocol == "denseuav":
            ks = range(1, min(100, away.shape[1]) + 1)
            sdm = [float(np.nanmean(_sdm(trial, scored, k))) for k in ks]
            found.append(Curve("SDM", "K", tuple(ks), tuple(sdm)))
    return tuple(found)
