"""How far a figure may be chance: bootstrap over places, and exact sign tests.

Queries that show one place are drawn together, since they are found or missed together: else 54
photos of one building would count as 54 witnesses.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from app.engine.metrics import wilson_interval
from app.engine.protocols import Column
from app.messages import Progress, Report, ignore
from app.results import Measure

SHARE = 0.95  # of the bootstrap's values that an interval holds


def group_numbers(labels: Sequence[str]) -> Int64[np.ndarray, " q"]:
    """Equal labels get equal numbers, from 0."""
    return np.asarray(np.unique(np.array(labels), return_inverse=True)[1], np.int64)


def figure(column: Column) -> float:
    """The column's value in the table; NaN where no query has one."""
    known = column.values[~np.isnan(column.values)]
    if not len(known):
        return math.nan
    return float(np.median(known) if column.statistic == "median" else known.mean())


def resampled(
    columns: Sequence[Column],
    groups: Int64[np.ndarray, " q"],
    *,
    resamples: int,
    seed: int,
    report: Report = ignore,
) -> Float64[np.ndarray, "r c"]:
    """The figures of ``resamples`` draws of all groups with replacement, the same for each column.

    The same seed and groups draw the same: two checkpoints can be compared draw by draw.
    """
    counted = int(groups.max(initial=-1)) + 1
    means = [i for i, column in enumerate(columns) if column.statistic == "mean"]
    sums, knowns = np.zeros((counted, len(means))), np.zeros((counted, len(means)))
    for at, i in enumerate(means):
        known = ~np.isnan(columns[i].values)
        knowns[:, at] = np.bincount(groups[known], minlength=counted)
        sums[:, at] = np.bincount(groups[known], columns[i].values[known], minlength=counted)
    medians = {i: _Median(c.values, groups) for i, c in enumerate(columns) if i not in means}
    found = np.full((resamples, len(columns)), np.nan)
    rng = np.random.default_rng(seed)
    for draw, times in enumerate(_draws(counted, resamples, rng)):
        total = times @ knowns
        values = np.divide(times @ sums, total, out=np.full(len(means), np.nan), where=total > 0)
        found[draw, means] = values
        for i, median in medians.items():
            found[draw, i] = median.of(times)
        if draw % 50 == 0:
            report(Progress(draw, resamples, "drawing intervals"))
    return found


def _draws(groups: int, count: int, rng: np.random.Generator) -> Iterator[Int64[np.ndarray, " g"]]:
    """How often each group is drawn."""
    for _ in range(count):
        yield np.bincount(rng.integers(groups, size=groups), minlength=groups)


class _Median:
    """The median of a column in which each query counts as often as its group was drawn."""

    def __init__(self, values: Float64[np.ndarray, " q"], groups: Int64[np.ndarray, " q"]) -> None:
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.argsort(values[known], kind="stable")]
        self._values, self._groups = values[order], groups[order]

    def of(self, times: Int64[np.ndarray, " g"]) -> float:
        reached = np.cumsum(times[self._groups])
        if not len(reached) or not reached[-1]:
            return math.nan
        low, high = (reached[-1] - 1) // 2, reached[-1] // 2  # the middle two, counted from 0
        at = np.searchsorted(reached, [low, high], side="right")
        return float(self._values[at].mean())


def intervals(draws: Float64[np.ndarray, "r c"]) -> Float64[np.ndarray, "c 2"]:
    """The middle 95 % of each figure's draws."""
    tail = 100 * (1 - SHARE) / 2
    if not len(draws):
        return np.full((draws.shape[1], 2), np.nan)
    kept = np.where(np.isnan(draws).all(axis=0), 0.0, draws)
    found: Float64[np.ndarray, "c 2"] = np.nanpercentile(kept, [tail, 100 - tail], axis=0).T
    found[np.isnan(draws).all(axis=0)] = np.nan
    return found


def measures(found: Sequence[Column], draws: Float64[np.ndarray, "r c"]) -> tuple[Measure, ...]:
    """The table's lines. A figure that no query has a value for is left out.

    Where all queries agree (all found, or none), every draw does, and the bootstrap would be sure
    of what a dozen queries say: there the interval is Wilson's.
    """
    ends = intervals(draws)
    lines = []
    for column, (low, high) in zip(found, ends, strict=True):
        value = figure(column)
        if not np.isfinite(value):
            continue
        if column.unit == "share" and value in (0.0, 1.0):
            low, high = wilson_interval(value, int(np.isfinite(column.values).sum()))
        ends_known = np.isfinite(low) and np.isfinite(high)
        span = (float(low), float(high)) if ends_known else (value, value)
        lines.append(Measure(column.name, value, *span, column.unit, column.chance, column.note))
    return tuple(lines)


def sign_test(
    first: Bool[np.ndarray, " q"], second: Bool[np.ndarray, " q"], groups: Int64[np.ndarray, " q"]
) -> tuple[int, int, float]:
    """Groups that the first finds more of, that the second does, and the two-sided exact p.

    With one query a group it is McNemar's exact test.
    """
    lead = np.bincount(groups, first.astype(float) - second.astype(float))
    ahead, behind = int((lead > 0).sum()), int((lead < 0).sum())
    return ahead, behind, sign_p(ahead, behind)


def sign_p(ahead: int, behind: int) -> float:
    """Chance that a fair coin falls at least as unevenly. In logarithms: no count is too large."""
    total = ahead + behind
    fewer = min(ahead, behind)
    logs = [
        math.lgamma(total + 1) - math.lgamma(i + 1) - math.lgamma(total - i + 1)
        for i in range(fewer + 1)
    ]
    tail = sum(math.exp(value - total * math.log(2)) for value in logs)
    return min(1.0, 2 * tail)
