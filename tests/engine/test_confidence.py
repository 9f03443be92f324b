"""The posterior, its area, its words, and the fitted temperature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.card import Calibration
from app.engine.confidence import (
    DEFAULT_TEMPERATURE,
    area_text,
    assess,
    distance_text,
    fit_temperature,
    posterior,
    temperature_of,
    union_area_m2,
)
from app.messages import Confidence

FITTED = Calibration(0.05, "demo world seed 9")


def grid(columns: int, rows: int, stride: float) -> np.ndarray:
    y, x = np.mgrid[0:rows, 0:columns]
    return np.stack([x.ravel() * stride, y.ravel() * stride], axis=1).astype(np.float64)


def answer(
    scores: np.ndarray, xy: np.ndarray, *, calibration: Calibration | None = None
) -> Confidence:
    scores = scores.astype(np.float32)
    return assess(
        scores,
        posterior(scores, temperature_of(calibration)),
        xy,
        tile_size_m=80.0,
        overlap=0.5,
        calibration=calibration,
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50), st.floats(1e-3, 10))
def test_a_posterior_sums_to_one_and_keeps_the_order(scores, temperature):
    values = np.array(scores, np.float32)
    chances = posterior(values, temperature)
    assert chances.sum() == pytest.approx(1)
    assert chances[np.argmax(values)] == chances.max()
    assert (np.diff(chances[np.argsort(values)]) >= 0).all()


def test_a_lower_temperature_is_surer():
    scores = np.array([0.9, 0.8, 0.1], np.float32)
    assert posterior(scores, 0.02)[0] > posterior(scores, 0.2)[0]


def test_without_a_calibration_the_default_is_used_and_said():
    scores = np.linspace(0, 0.9, 25)
    unfitted, fitted = (
        answer(scores, grid(5, 5, 40)),
        answer(scores, grid(5, 5, 40), calibration=FITTED),
    )
    assert temperature_of(None) == DEFAULT_TEMPERATURE
    assert not unfitted.calibrated
    assert fitted.calibrated
    assert "not calibrated: treat the probability as a ranking" in unfitted.reasons
    assert "calibrated on demo world seed 9" in fitted.reasons
    assert unfitted.best_probability != fitted.best_probability


def test_best_probability_gathers_the_tiles_round_rank_one():
    xy = grid(21, 1, 40)
    scores = np.zeros(21)
    scores[[10, 11, 20]] = 0.9
    near = answer(scores, xy)
    chances = posterior(scores.astype(np.float32), DEFAULT_TEMPERATURE)
    assert near.radius_m == 80
    assert near.best_probability == pytest.approx(chances[8:13].sum())


def test_overlapping_tiles_are_counted_once():
    one = union_area_m2(grid(1, 1, 40), tile_size_m=80.0, overlap=0.5)
    two = union_area_m2(grid(2, 1, 40), tile_size_m=80.0, overlap=0.5)
    block = union_area_m2(grid(5, 3, 40), tile_size_m=80.0, overlap=0.5)
    apart = union_area_m2(np.array([[0.0, 0.0], [1000, 400]]), tile_size_m=80.0, overlap=0.5)
    assert (one, two, block, apart) == (6400, 9600, 240 * 160, 12800)


@pytest.mark.parametrize(("overlap", "stride"), [(0.0, 80.0), (0.75, 20.0), (0.2, 64.0)])
def test_other_overlaps_are_close(overlap, stride):
    area = union_area_m2(grid(6, 6, stride), tile_size_m=80.0, overlap=overlap)
    assert area == pytest.approx((5 * stride + 80) ** 2, rel=0.25 if overlap == 0.2 else 1e-9)


def test_a_clear_answer_has_a_small_area_and_says_who_the_rival_is():
    xy = grid(40, 1, 40)
    scores = np.full(40, 0.1)
    scores[0], scores[1], scores[39] = 0.9, 0.85, 0.4
    clear = answer(scores, xy)
    assert clear.area_90_m2 <= 9600
    assert clear.gap == pytest.approx(0.5)
    assert "the best rival lies 1.6 km away and scores 0.500 less" in clear.reasons


def test_a_neighbour_of_rank_one_is_no_rival():
    xy = np.array([[0.0, 0.0], [119.0, 0], [121.0, 0]])
    assert answer(np.array([0.9, 0.8, 0.5]), xy).gap == pytest.approx(0.4)


def test_the_spread_is_the_mean_distance_of_the_top_ten():
    xy = np.array([[0.0, 0.0], *[[100.0 * i, 0] for i in range(1, 12)]])
    scores = np.linspace(0.9, 0.1, 12)
    spread = answer(scores, xy)
    assert spread.spread_m == pytest.approx(500)
    assert "1 of the top 10 lie within 80 m of the best" in spread.reasons


def test_equal_scores_everywhere_are_called_no_place():
    flat = answer(np.full(900, 0.5), grid(30, 30, 40))
    assert flat.gap == 0
    assert flat.best_probability < 0.02
    assert any("no place stands out" in reason for reason in flat.reasons)


def test_a_gallery_of_one_tile_has_nothing_to_compare():
    alone = answer(np.array([0.3]), np.zeros((1, 2)))
    assert (alone.best_probability, alone.spread_m, alone.gap) == (1, 0, 0)
    assert "the gallery shows no other place to compare with" in alone.reasons


@pytest.mark.parametrize("true_temperature", [0.02, 0.07, 0.3])
def test_the_fitted_temperature_is_the_one_that_made_the_truth(true_temperature):
    """Truths drawn from the softmax at a temperature: fitting must find it again."""
    dice = np.random.default_rng(0)
    scores = dice.normal(0, 0.2, (4000, 20))
    chances = np.stack([posterior(row, true_temperature) for row in scores])
    truth = (chances.cumsum(axis=1) > dice.random((4000, 1))).argmax(axis=1)
    assert fit_temperature(scores, truth) == pytest.approx(true_temperature, rel=0.1)


def test_a_perfect_ranking_wants_the_lowest_temperature():
    scores = np.eye(6) * 0.8
    assert fit_temperature(scores, np.arange(6)) < 0.02


def test_a_useless_ranking_wants_a_flat_posterior():
    dice = np.random.default_rng(0)
    assert fit_temperature(dice.random((50, 30)), dice.integers(0, 30, 50)) > 1


def test_distances_and_areas_in_words():
    assert [distance_text(m) for m in (79.6, 999.0, 1234.0)] == ["80 m", "999 m", "1.2 km"]
    assert [area_text(a) for a in (6400.0, 123_000.0, 2_340_000.0)] == [
        "0.6 ha",
        "12 ha",
        "2.3 km²",
    ]
