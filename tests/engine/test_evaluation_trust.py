import numpy as np
import pytest

from app.engine.evaluation_trust import FALSE_ACCEPTS, reliability, thresholds

NONE = np.empty(0, np.int64)


def test_the_calibration_error_by_hand():
    """Two bins: 0.5 said of two, one right; 0.9 said of three, all right."""
    said = np.array([0.5, 0.5, 0.9, 0.9, 0.9], np.float32)
    right = np.array([True, False, True, True, True])
    found = reliability(said, right, NONE, 0.05)
    assert found.ece == pytest.approx((2 * 0.0 + 3 * 0.1) / 5)
    assert [(b.count, b.right) for b in found.bins] == [(2, 0.5), (3, 1.0)]
    assert all(b.low <= b.probability <= b.high for b in found.bins)
    assert found.source == "the checkpoint's card"


def test_a_probability_of_one_belongs_to_the_last_bin():
    found = reliability(np.array([1.0], np.float32), np.array([True]), NONE, 0.05)
    assert (found.bins[0].high, found.ece) == (1.0, 0.0)


def test_queries_that_the_temperature_was_fitted_on_are_not_judged():
    said = np.array([0.9, 0.1], np.float32)
    found = reliability(said, np.array([False, False]), np.array([0]), 0.05)
    assert found.queries == 1
    assert found.ece == pytest.approx(0.1)
    assert reliability(said[:1], np.array([False]), np.array([0]), 0.05) is None


def test_a_threshold_keeps_to_its_share_of_false_accepts():
    rng = np.random.default_rng(0)
    wrong = rng.normal(0.4, 0.1, 1000).astype(np.float32)
    best = np.maximum(wrong, rng.normal(0.7, 0.1, 1000).astype(np.float32))
    right = best > wrong
    found = thresholds(best, wrong, right)
    assert [t.false_accepts for t in found] == list(FALSE_ACCEPTS)
    for t in found:
        answered = int((wrong >= t.score).sum())
        assert answered == t.false_accepts * 1000  # no lower score would keep to it
        assert t.found == pytest.approx((right & (best >= t.score)).mean())
    assert [t.found for t in found] == sorted(t.found for t in found)


def test_equal_scores_are_all_refused_rather_than_too_many_accepted():
    wrong = np.array([0.5] * 20, np.float32)
    (found,) = (t for t in thresholds(wrong, wrong, np.zeros(20, bool)) if t.false_accepts == 0.1)
    assert not (wrong >= np.float32(found.score)).any()


def test_few_queries_tell_no_small_share():
    few = np.array([0.5, 0.6], np.float32)
    assert thresholds(few, few, np.array([True, True])) == ()
