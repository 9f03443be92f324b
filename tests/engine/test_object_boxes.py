"""From thousands of boxes to a few: on the ground, none twice, none on padding."""

import numpy as np
import pytest

from app.engine.object_boxes import (
    SAME_IOU,
    Proposals,
    allowed,
    best_near,
    groups,
    iou_with,
    joined,
    on_ground,
    pick,
)


def some(count: int, seed: int = 0, reference: int = 0) -> Proposals:
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 80, (count, 2)), rng.uniform(5, 30, (count, 2))
    boxes = np.concatenate([corner, corner + size], axis=1)
    ground = on_ground(boxes, x=1000.0, y=2000.0, size_m=50.0, size_px=100)
    return Proposals(boxes, ground, rng.normal(0, 3, count), np.full(count, reference))


def iou(a, b) -> float:
    """The definition, one pair at a time."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(wide, 0) * max(high, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area - shared)


def test_boxes_lie_on_the_ground_where_the_reference_does():
    boxes = np.array([[0.0, 0.0, 100.0, 100.0], [50.0, 20.0, 60.0, 40.0]])
    ground = on_ground(boxes, x=1000.0, y=2000.0, size_m=50.0, size_px=100)
    assert ground.tolist() == [[975, 1975, 1025, 2025], [1000, 2005, 1005, 2015]]


def test_groups_are_those_of_plain_non_maximum_suppression():
    found = some(300)
    order = np.argsort(-found.score)
    kept: list[int] = []
    for i in order:  # the textbook's
        if all(iou(found.ground[i], found.ground[k]) < SAME_IOU for k in kept):
            kept.append(int(i))
    assert [g.index for g in groups(found, 300)] == kept
    assert [g.index for g in groups(found, 7)] == kept[:7]
    assert sorted(p.index for p in pick(found, temperature=1.0, count=300)) == sorted(kept)


def test_the_most_probable_box_comes_first_however_many_are_asked_for():
    """Three boxes on one place are together surer than the one of the highest score."""
    boxes = np.array([[0, 0, 20, 20], [50, 50, 70, 70], [51, 50, 71, 70], [50, 51, 70, 71]], float)
    ground = on_ground(boxes, x=0.0, y=0.0, size_m=50.0, size_px=100)
    spread = Proposals(boxes, ground, np.array([1.0, 0.9, 0.8, 0.8]), np.zeros(4, int))
    assert [p.index for p in pick(spread, temperature=1.0, count=1)] == [1]
    assert [p.index for p in pick(spread, temperature=1.0, count=5)] == [1, 0]
    assert pick(spread, temperature=0.01, count=1)[0].index == 0  # cold: the score alone
    many = pick(some(300), temperature=1.0, count=8)
    assert [p.probability for p in many] == sorted((p.probability for p in many), reverse=True)


def test_every_box_lends_its_probability_to_one_pick():
    found = some(200)
    picked = pick(found, temperature=2.0, count=200)
    assert sum(p.probability for p in picked) == pytest.approx(1)
    weights = np.exp((found.score - found.score.max()) / 2)
    weights /= weights.sum()
    same = [iou(found.ground[picked[0].index], g) >= SAME_IOU for g in found.ground]
    assert picked[0].probability == pytest.approx(weights[same].sum())


def test_boxes_of_two_references_on_one_place_are_one():
    one, two = some(1), some(1, reference=1)
    both = joined([one, Proposals(two.boxes + 7, two.ground, two.score - 1, two.reference)])
    picked = pick(both, temperature=1.0, count=5)
    assert [p.index for p in picked] == [0]
    assert picked[0].probability == pytest.approx(1)


def test_forbidden_boxes_are_never_picked():
    found = some(50)
    score = found.score.copy()
    score[: len(score) - 1] = -np.inf
    only = Proposals(found.boxes, found.ground, score, found.reference)
    assert [p.index for p in pick(only, temperature=1.0, count=9)] == [49]
    none = Proposals(found.boxes, found.ground, np.full(50, -np.inf), found.reference)
    assert pick(none, temperature=1.0, count=9) == ()


def test_boxes_centred_on_padding_outside_or_mad_are_forbidden():
    valid = np.ones((100, 100), bool)
    valid[:, :30] = False
    boxes = np.array([
        [40, 40, 60, 60],
        [10, 40, 30, 60],  # centred on padding
        [10, 40, 60, 60],  # begins on padding, centred on imagery
        [90, 90, 130, 130],  # centred outside
        [-60, 40, 150, 60],  # larger than the picture
        [40, 40, 40, 60],  # empty
        [40, 40, np.inf, 60],
        [np.nan, 40, 60, 60],
        [95, 40, 104, 60],  # centred on the last columns
    ])  # fmt: skip
    may = allowed(boxes, valid)
    assert may.tolist() == [True, False, True, False, False, False, False, False, True]


def test_the_best_near_a_box_must_overlap_it():
    found = some(100)
    target = found.ground[int(np.argmin(found.score))]
    best = best_near(found, target, 0.3)
    near = [i for i in range(100) if iou(target, found.ground[i]) >= 0.3]
    assert best == max(near, key=lambda i: found.score[i])
    assert best_near(found, target + 1000, 0.3) is None


def test_iou_is_that_of_the_definition():
    found = some(60, seed=4)
    assert iou_with(found.ground[0], found.ground) == pytest.approx(
        [iou(found.ground[0], g) for g in found.ground]
    )
    assert iou_with(np.zeros(4), np.array([[np.nan] * 4, [0, 0, np.inf, np.inf]])).tolist() == [
        0,
        0,
    ]
