"""Each data set's protocol: small cases by hand, and against plain loops written apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.engine.evaluation_files import Side, Trial
from app.engine.evaluation_intervals import figure
from app.engine.evaluation_score import score_all
from app.engine.metrics import box_iou, chance_of_recall, great_circle_m, sdm_at
from app.engine.protocols import (
    DENSEUAV_RADIUS_M,
    KEEP,
    VIGOR_10_M,
    VIGOR_CURVE_M,
    VIGOR_RADIUS_M,
    columns,
    curves,
    hundredth,
)
from tests.engine import brute_force as slow


def side(count, *, latlon=None, utm=None):
    nowhere = np.full((count, 2), np.nan)
    names = tuple(str(i) for i in range(count))
    return Side(
        names, names, nowhere if latlon is None else latlon, nowhere if utm is None else utm
    )


def placed(scores):
    """Descriptors whose cosines come in the order of these scores: one axis a gallery picture."""
    scores = np.array(scores, np.float64)
    length = np.linalg.norm(scores, axis=1, keepdims=True)
    return (scores / length).astype(np.float16)[:, None], np.eye(scores.shape[1], dtype=np.float16)[
        :, None
    ]


def measured(protocol, scores, right, semi=(), *, query_at=None, tile_at=None, utm=False):
    """The figures of the table by name, and the scores as they were compared."""
    queries, gallery = placed(scores)
    spots = ({"utm": query_at}, {"utm": tile_at}) if utm else (
        {"latlon": query_at}, {"latlon": tile_at},
    )  # fmt: skip
    trial = Trial(
        protocol, side(len(queries), **spots[0]), side(len(gallery), **spots[1]),
        tuple(tuple(map(int, rows)) for rows in right),
        tuple(tuple(map(int, rows)) for rows in semi),
    )  # fmt: skip
    scored = score_all(queries, gallery, trial.positives, trial.semi_positives, keep=KEEP)
    found = {column.name: figure(column) for column in columns(trial, scored)}
    return found, queries[:, 0].astype(float).tolist(), curves(trial, scored)


def dice(seed, queries=12, tiles=130, *, ties=False):
    rng = np.random.default_rng(seed)
    if ties:  # a few values, so that most scores are equal
        return rng, rng.integers(1, 4, (queries, tiles)).astype(float)
    return rng, rng.uniform(0.1, 1, (queries, tiles))


def near(rng, count, at=(37.7, -122.4), spread=0.001):
    return np.array(at) + rng.uniform(-spread, spread, (count, 2))


seeds = st.integers(0, 2**31)
some = settings(max_examples=20, deadline=None)


@some
@given(seeds, st.booleans())
def test_university_1652_agrees_with_its_authors_curve_and_ap(seed, ties):
    rng, scores = dice(seed, ties=ties)
    right = [tuple(rng.choice(130, rng.integers(0, 55), replace=False)) for _ in scores]
    found, compared, drawn = measured("university", scores, right)
    curve, ap = slow.university_curve(compared, right, 130)
    assert found["R@1"] == pytest.approx(curve[0])
    assert found["R@5"] == pytest.approx(curve[4])
    assert found["R@10"] == pytest.approx(curve[9])
    assert found["R@1%"] == pytest.approx(curve[round(0.01 * 130)])
    assert found["AP"] == pytest.approx(ap)
    assert drawn[0].y == pytest.approx(curve[:100])


@some
@given(seeds, st.booleans(), st.sampled_from(["cvusa", "cvact", "vigor"]))
def test_cvusa_cvact_and_vigor_count_what_scores_strictly_better(seed, ties, protocol):
    rng, scores = dice(seed, tiles=230, ties=ties)
    right = [(int(j),) for j in rng.integers(0, 230, len(scores))]
    found, compared, _ = measured(protocol, scores, right)
    ranks = [
        slow.better_than_best_right(row, rows) for row, rows in zip(compared, right, strict=True)
    ]
    for name, k in (("R@1", 1), ("R@5", 5), ("R@10", 10), ("R@1%", 2)):
        assert found[name] == pytest.approx(slow.recall(ranks, k))
    assert "AP" not in found


@some
@given(seeds, st.booleans())
def test_vigors_hit_rate_forgives_semi_positives_alone(seed, ties):
    rng, scores = dice(seed, queries=30, tiles=12, ties=ties)
    drawn = [rng.permutation(12).tolist() for _ in scores]
    right, semi = [(d[0],) for d in drawn], [tuple(d[1:4]) for d in drawn]
    found, compared, _ = measured("vigor", scores, right, semi)
    hits = [
        slow.vigor_hit(row, r[0], set(s)) for row, r, s in zip(compared, right, semi, strict=True)
    ]
    assert found["hit rate"] == pytest.approx(np.mean(hits))
    assert found["hit rate"] >= found["R@1"]


@some
@given(seeds)
def test_vigors_metre_curve_agrees_with_its_code(seed):
    rng, scores = dice(seed, tiles=20)
    query_at, tile_at = near(rng, len(scores)), near(rng, 20)
    right = [(0,)] * len(scores)
    found, compared, drawn = measured("vigor", scores, right, query_at=query_at, tile_at=tile_at)
    away = [
        slow.vigor_m(at, tile_at[slow.order_of(row)[0]])
        for at, row in zip(query_at, compared, strict=True)
    ]
    metre_curve = drawn[1]
    for limit, share in zip(metre_curve.x, metre_curve.y, strict=True):
        if min(abs(m - limit) for m in away) > 0.02:  # how exact its code's arc cosine is
            assert share == pytest.approx(np.mean([m < limit for m in away]))
    assert found["within 10 m"] == pytest.approx(np.mean([m < 1.1 ** (121 / 5) for m in away]))
    assert found["median error"] == pytest.approx(np.median(away), rel=1e-4)


@some
@given(seeds)
def test_cvacts_metre_thresholds_and_mean_distances_agree_with_plain_loops(seed):
    rng, scores = dice(seed, queries=200, tiles=200)
    utm = rng.uniform(0, 400, (200, 2))
    right = [(i,) for i in range(200)]
    found, compared, _ = measured("cvact", scores, right, query_at=utm, tile_at=utm, utm=True)
    orders = [slow.order_of(row) for row in compared]
    away = [
        [float(np.hypot(*(utm[j] - utm[i]))) for j in order[:10]] for i, order in enumerate(orders)
    ]
    assert found["within 0 m"] == found["R@1"]
    for limit in (36, 72, 144):
        share = np.mean([metres[0] <= limit for metres in away])
        assert found[f"within {limit} m"] == pytest.approx(share)
    for name, k in (("1", 1), ("5", 5), ("10", 10), ("1%", 2)):
        mean = np.mean([np.mean(metres[:k]) for metres in away])
        assert found[f"mean distance top {name}"] == pytest.approx(mean)


def test_cvacts_other_rule_counts_any_tile_that_the_adapter_calls_near():
    """Best 2, then 1, then 0; the own tile is 0, a near one is 1."""
    found, _, _ = measured(
        "cvact-5m", [[0.2, 0.5, 0.8]], [(0, 1)],
        query_at=np.zeros((1, 2)), tile_at=np.array([[0.0, 0], [3, 4], [30, 40]]), utm=True,
    )  # fmt: skip
    assert [found["R@1"], found["R@5"]] == [0, 1]
    assert found["within 36 m"] == 0
    assert found["within 72 m"] == 1
    assert "within 0 m" not in found  # an exact picture means nothing under this rule
    exact, _, _ = measured("cvact", [[0.2, 0.5, 0.8]], [(0,)])
    assert exact["R@1"] == 0


@some
@given(seeds)
def test_denseuavs_sdm_and_ma_agree_with_its_code(seed):
    rng, scores = dice(seed, tiles=40)
    query_at = near(rng, len(scores), (30.3, 120.4), 0.0004)
    tile_at = near(rng, 40, (30.3, 120.4), 0.0004)
    right = [(0, 1, 2)] * len(scores)
    found, compared, drawn = measured("denseuav", scores, right, query_at=query_at, tile_at=tile_at)
    orders = [slow.order_of(row) for row in compared]
    for k in (1, 3, 5, 10):
        each = [slow.sdm(q, tile_at[o], k) for q, o in zip(query_at, orders, strict=True)]
        assert found[f"SDM@{k}"] == pytest.approx(np.mean(each), rel=1e-4)
        assert drawn[2].y[k - 1] == pytest.approx(np.mean(each), rel=1e-4)
    away = [
        slow.haversine_m(q, tile_at[o[0]], 6378137.0) for q, o in zip(query_at, orders, strict=True)
    ]
    for limit in (5, 10, 20, 50, 100):
        assert found[f"MA@{limit}m"] == pytest.approx(np.mean([m < limit for m in away]))


# --- by hand -----------------------------------------------------------------


def test_university_1652_by_hand():
    """Best first 2, 0, 1: right are 0 and 1, at ranks 1 and 2."""
    found, _, _ = measured("university", [[0.6, 0.3, 0.9]], [(0, 1)])
    assert found["R@1"] == 0
    assert found["R@5"] == 1
    # ((0/1 + 1/2) + (1/2 + 2/3)) / 2 / 2 and (1/2 + 2/3) / 2
    assert found["AP"] == pytest.approx((0.5 + 0.5 + 2 / 3) / 4)
    assert found["AP plain"] == pytest.approx((0.5 + 2 / 3) / 2)


def test_a_query_without_a_right_picture_counts_as_missed_but_stays_in_the_denominator():
    found, _, drawn = measured("university", [[0.9, 0.1], [0.9, 0.1]], [(0,), ()])
    assert found["R@1"] == found["R@10"] == found["AP"] == 0.5
    assert drawn[0].y == (0.5, 0.5)


def test_equal_scores_favour_the_query_only_where_the_published_code_does():
    level = [[0.5, 0.5, 0.5]]
    assert measured("vigor", level, [(2,)])[0]["R@1"] == 1
    assert measured("cvusa", level, [(2,)])[0]["R@1"] == 1
    assert measured("university", level, [(2,)])[0]["R@1"] == 0
    assert measured("pairs", level, [(0,)])[0]["R@1"] == 1


@pytest.mark.parametrize(
    ("gallery", "k"), [(8884, 88), (92_802, 928), (90_618, 906), (46_563, 465), (99, 0)]
)
def test_one_percent_of_cvusa_cvact_and_vigor_is_rounded_down(gallery, k):
    assert hundredth(gallery) == k


def test_sdm_by_hand():
    """0.0002 and 0 degrees away: weights 1 and 1/2."""
    query = np.array([[30.0, 120.0]])
    found = np.array([[[30.0, 120.0 + 2**-12], [30.0, 120.0]]])  # exact in single precision
    expected = (np.exp(-5000 * 2**-12) + 0.5) / 1.5
    assert sdm_at(query, found) == pytest.approx([expected])
    assert sdm_at(query, found[:, 1:]) == pytest.approx([1.0])


def test_the_radii_are_those_of_the_data_sets():
    a, b = np.array([[0.0, 0.0]]), np.array([[0.0, 180.0]])
    half = [float(great_circle_m(a, b, radius_m=r)[0]) for r in (VIGOR_RADIUS_M, DENSEUAV_RADIUS_M)]
    assert half == pytest.approx([6_371_004 * np.pi, 6_378_137 * np.pi])


def test_vigors_curve_has_its_499_steps():
    assert len(VIGOR_CURVE_M) == 499
    assert VIGOR_CURVE_M[0] == pytest.approx(1.1**0.2)
    assert VIGOR_CURVE_M[-1] == pytest.approx(1.1**99.8)
    assert min(VIGOR_CURVE_M, key=lambda metres: abs(metres - 10)) == VIGOR_10_M  # as its code does


def test_chance_by_hand():
    assert chance_of_recall(np.array([1, 1]), 951, 1) == pytest.approx(1 / 951)
    assert chance_of_recall(np.array([1]), 951, 10) == pytest.approx(10 / 951)
    # two right ones of four, two drawn: 1 - (2/4)(1/3)
    assert chance_of_recall(np.array([2, 0]), 4, 2) == pytest.approx((1 - 1 / 6) / 2)
    assert chance_of_recall(np.array([1]), 3, 99) == 1.0
    assert chance_of_recall(np.array([1]), 50, 0) == 0.0


def test_overlap_by_hand():
    one = np.array([[0.0, 0, 2, 2]])
    others = np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [0, 0, 4, 2]])
    assert [float(box_iou(one, other[None])[0]) for other in others] == pytest.approx(
        [1 / 7, 1.0, 0.0, 0.5]
    )


@some
@given(seeds)
def test_overlap_agrees_with_a_version_for_one_pair(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 50, (20, 2, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 40, (20, 2, 2))], axis=2)
    a, b = boxes[:, 0], boxes[:, 1]
    expected = [slow.iou(x, y) for x, y in zip(a, b, strict=True)]
    assert box_iou(a, b) == pytest.approx(expected)
    assert box_iou(a, b) == pytest.approx(box_iou(b, a))
