"""Golden values by hand, and a second version of each metric written another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.metrics import (
    k_of_1_percent,
    precision_ap,
    ranks_of,
    recall_at,
    university_ap,
    wilson_interval,
)


def authors_ap(order, good):
    """University-1652's compute_mAP as its authors wrote it, line by line."""
    ap = 0.0
    good = set(good)
    rows_good = [r for r, index in enumerate(order) if index in good]
    for i, row in enumerate(rows_good):
        recall_step = 1.0 / len(good)
        precision = (i + 1) * 1.0 / (row + 1)
        old_precision = i * 1.0 / row if row != 0 else 1.0
        ap += recall_step * (old_precision + precision) / 2
    return ap


def plain_ap_by_counting(order, good):
    precisions = []
    for depth in range(1, len(order) + 1):
        if order[depth - 1] in good:
            precisions.append(sum(index in good for index in order[:depth]) / depth)
    return sum(precisions) / len(good)


@pytest.mark.parametrize(
    ("ranks", "university", "plain"),
    [
        ([0], 1.0, 1.0),
        ([1], (0 / 1 + 1 / 2) / 2, 1 / 2),
        ([9], (0 + 1 / 10) / 2, 1 / 10),
        ([0, 1], (1.0 + (1 / 1 + 2 / 2) / 2) / 2, 1.0),
        ([0, 3], (1.0 + (1 / 3 + 2 / 4) / 2) / 2, 0.75),
        ([], 0.0, 0.0),
    ],
)
def test_average_precision_by_hand(ranks, university, plain):
    assert university_ap(np.array(ranks, dtype=np.int64)) == pytest.approx(university)
    assert precision_ap(np.array(ranks, dtype=np.int64)) == pytest.approx(plain)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(0, 2**31), st.booleans())
def test_both_aps_agree_with_a_version_that_walks_the_list(count, seed, ties):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, count).astype(float) if ties else rng.random(count)
    good = rng.choice(count, size=rng.integers(1, count + 1), replace=False)
    order = np.argsort(-scores, kind="stable").tolist()
    ranks = ranks_of(scores, good)
    assert ranks.tolist() == [r for r, index in enumerate(order) if index in set(good.tolist())]
    assert university_ap(ranks) == pytest.approx(authors_ap(order, good.tolist()))
    assert precision_ap(ranks) == pytest.approx(plain_ap_by_counting(order, set(good.tolist())))


def test_of_equal_scores_the_earlier_tile_is_first():
    scores = np.array([0.5, 0.9, 0.5, 0.5])
    assert [ranks_of(scores, np.array([i])).tolist() for i in range(4)] == [[1], [0], [2], [3]]


def test_no_positives_have_no_ranks():
    assert ranks_of(np.array([0.1, 0.2]), np.array([], dtype=np.int64)).tolist() == []


def test_recall_counts_queries_whose_first_right_tile_is_among_k():
    first = [0, 3, None, 1]
    assert [recall_at(first, k) for k in (1, 2, 4, 100)] == [0.25, 0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("gallery", "k"), [(951, 11), (51_355, 515), (100, 2), (49, 1), (50, 1), (150, 3), (1, 1)]
)
def test_one_percent_is_rounded_as_university_1652_does(gallery, k):
    assert k_of_1_percent(gallery) == k


def test_the_interval_is_wilsons():
    # Brown, Cai, DasGupta (2001): 10 of 20 gives 0.299 to 0.701; the ends stay within 0..1.
    assert wilson_interval(0.5, 20) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson_interval(0.0, 10)[0] == 0.0
    assert wilson_interval(1.0, 10)[1] == 1.0
    assert wilson_interval(0.5, 0) == (0.0, 1.0)
