"""Anchors clustered from box sizes."""

import numpy as np
import pytest

from app.engine.anchors import cluster_anchors, mean_best_iou, shape_iou
from app.errors import UserError


def boxes(*centres: tuple[float, float], each: int = 40, spread: float = 0.04) -> np.ndarray:
    rng = np.random.default_rng(5)
    around = rng.normal(1.0, spread, size=(len(centres), each, 2))
    return (np.asarray(centres)[:, None] * around).reshape(-1, 2)


def test_clear_groups_are_found_smallest_first():
    groups = ((60.0, 20.0), (8.0, 8.0), (20.0, 60.0), (200.0, 180.0))
    anchors = cluster_anchors(boxes(*groups), count=4, seed=0)
    assert np.allclose(anchors, [(8, 8), (20, 60), (60, 20), (200, 180)], rtol=0.03) or np.allclose(
        anchors, [(8, 8), (60, 20), (20, 60), (200, 180)], rtol=0.03
    )


def test_small_boxes_count_as_much_as_large_ones():
    # By Euclidean distance the large ones, which differ by hundreds of pixels, would get two.
    large = np.random.default_rng(1).uniform(250, 600, size=(60, 1)).repeat(2, axis=1)
    sizes = np.concatenate((boxes((6.0, 6.0), (14.0, 14.0)), large))
    anchors = cluster_anchors(sizes, count=3, seed=1)
    assert np.allclose(anchors[:2], [(6, 6), (14, 14)], rtol=0.05)
    assert 300 < anchors[2][0] < 550


def test_the_same_seed_gives_the_same_anchors_and_the_order_of_boxes_hardly_matters():
    sizes = np.random.default_rng(2).uniform(5, 90, size=(500, 2))
    first = cluster_anchors(sizes, seed=3)
    assert first == cluster_anchors(sizes.copy(), seed=3)
    shuffled = cluster_anchors(np.random.default_rng(0).permutation(sizes), seed=3)
    assert mean_best_iou(sizes, shuffled) == pytest.approx(mean_best_iou(sizes, first), abs=0.01)


def test_more_anchors_fit_better_and_each_fits_better_than_a_random_choice():
    sizes = np.random.default_rng(4).lognormal(3, 0.6, size=(400, 2))
    fits = [
        mean_best_iou(sizes, cluster_anchors(sizes, count=count, seed=0)) for count in (1, 3, 9)
    ]
    assert fits == sorted(fits)
    assert fits[-1] > mean_best_iou(sizes, sizes[:9]) + 0.02


def test_overlap_of_shapes_is_counted_as_by_hand():
    found = shape_iou(np.array([[4.0, 2.0]]), np.array([[2.0, 4.0], [4.0, 2.0], [8.0, 4.0]]))
    assert np.allclose(found, [[4 / 12, 1, 8 / 32]])


def test_areas_ascend_as_the_networks_presets_do():
    anchors = cluster_anchors(np.random.default_rng(6).uniform(3, 80, (300, 2)), seed=0)
    areas = [w * h for w, h in anchors]
    assert len(anchors) == 9
    assert areas == sorted(areas)


def test_what_cannot_be_clustered_is_refused_with_a_sentence():
    with pytest.raises(UserError, match="3 different box sizes cannot make 9"):
        cluster_anchors(np.tile([[4.0, 5.0], [6, 7], [8, 9]], (20, 1)), seed=0)
    with pytest.raises(UserError, match="no area"):
        cluster_anchors(np.array([[4.0, 0.0], [6, 7]]), count=1, seed=0)
    with pytest.raises(UserError, match="no area"):
        cluster_anchors(np.array([[4.0, np.nan], [6, 7]]), count=1, seed=0)


def test_each_anchor_is_the_mean_of_the_boxes_most_like_it():
    sizes = np.random.default_rng(7).lognormal(3, 0.7, size=(300, 2))
    anchors = np.asarray(cluster_anchors(sizes, count=5, seed=0))
    owner = shape_iou(sizes, anchors).argmax(axis=1)
    means = np.stack([sizes[owner == i].mean(axis=0) for i in range(5)])
    # Anchors are rounded to a tenth, which may hand a box or two to another one.
    assert np.allclose(anchors, means, atol=0.3)
