import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.evaluation_intervals import (
    figure,
    group_numbers,
    intervals,
    measures,
    resampled,
    sign_p,
    sign_test,
)
from app.engine.protocols import Column


def column(values, **other):
    return Column("x", np.array(values, np.float64), **other)


def test_a_draw_of_places_keeps_their_queries_together():
    """Two places: one found three times, one missed once. Only 0, 3/4 and 1 can be drawn."""
    found = resampled(
        [column([1, 1, 1, 0])], group_numbers(["a", "a", "a", "b"]), resamples=400, seed=0
    )
    assert {round(float(v), 6) for v in found[:, 0]} == {0.0, 0.75, 1.0}
    share = float((found[:, 0] == 0.75).mean())
    assert share == pytest.approx(0.5, abs=0.1)  # both places once: two draws of four


def test_every_draw_agrees_with_a_table_drawn_by_hand():
    rng = np.random.default_rng(5)
    values = rng.normal(size=30)
    values[3] = np.nan
    labels = [str(n) for n in rng.integers(0, 9, 30)]
    groups = group_numbers(labels)
    both = [column(values), column(values, statistic="median")]
    found = resampled(both, groups, resamples=20, seed=7)
    dice = np.random.default_rng(7)
    for draw in range(20):
        chosen = dice.integers(groups.max() + 1, size=groups.max() + 1)
        drawn = np.concatenate([values[groups == group] for group in chosen])
        assert found[draw, 0] == pytest.approx(np.nanmean(drawn))
        assert found[draw, 1] == pytest.approx(np.nanmedian(drawn))


def test_the_same_seed_draws_the_same_and_another_does_not():
    values, groups = [column(np.arange(20.0))], np.arange(20)
    first, again = (resampled(values, groups, resamples=9, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, resampled(values, groups, resamples=9, seed=2))


def test_the_interval_of_a_share_is_about_as_wide_as_theory_says():
    hits = column(np.arange(400) % 4 == 0)  # a quarter of 400
    low, high = intervals(resampled([hits], np.arange(400), resamples=2000, seed=0))[0]
    spread = 1.96 * math.sqrt(0.25 * 0.75 / 400)
    assert (low, high) == pytest.approx((0.25 - spread, 0.25 + spread), abs=0.006)


def test_more_queries_of_the_same_places_do_not_narrow_the_interval():
    once = column([1, 0, 1, 1, 0, 1, 0, 0])
    often = column(np.repeat(once.values, 54))
    ends = [
        intervals(resampled([c], groups, resamples=500, seed=3))[0]
        for c, groups in ((once, np.arange(8)), (often, np.repeat(np.arange(8), 54)))
    ]
    np.testing.assert_allclose(ends[0], ends[1])


def test_where_all_queries_agree_the_interval_is_wilsons():
    found = column([1.0] * 12)
    (line,) = measures([found], resampled([found], np.arange(12), resamples=50, seed=0))
    assert (line.value, line.high) == (1.0, 1.0)
    assert line.low == pytest.approx(0.7575, abs=1e-3)  # Wilson, 12 of 12


def test_a_figure_that_no_query_has_is_left_out():
    empty = column([np.nan, np.nan])
    assert math.isnan(figure(empty))
    assert measures([empty], resampled([empty], np.arange(2), resamples=5, seed=0)) == ()


def test_the_sign_test_by_hand():
    assert sign_p(0, 0) == 1.0
    assert sign_p(0, 5) == pytest.approx(2 / 32)
    assert sign_p(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert sign_p(3, 3) == 1.0
    assert sign_p(20_000, 21_000) == pytest.approx(7.9e-7, rel=0.05)  # normal: z = 4.939 - 1/2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6))
def test_the_sign_test_agrees_with_tossing_every_coin(ahead, behind):
    total, extreme = ahead + behind, abs(ahead - behind)
    tosses = list(itertools.product((-1, 1), repeat=total))
    expected = sum(abs(sum(toss)) >= extreme for toss in tosses) / len(tosses)
    assert sign_p(ahead, behind) == pytest.approx(expected)


def test_mcnemars_counts_are_the_queries_that_one_alone_finds():
    first = np.array([True, True, False, False, True])
    second = np.array([True, False, True, False, False])
    assert sign_test(first, second, np.arange(5)) == (2, 1, 1.0)
    # By place: the first leads in the one, nobody in the other.
    assert sign_test(first, second, np.array([0, 0, 1, 1, 1])) == (1, 0, 1.0)
