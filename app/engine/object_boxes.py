"""From a network's thousands of boxes for one click to a few on the ground, with probabilities.

Boxes of several references are compared on the ground: where references overlap, one object
has one answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from app.engine.confidence import posterior

SAME_IOU = 0.5  # boxes that overlap more stand for one object
POOL = 10  # of the highest scores, among which the surest boxes are looked for
BoxArray = Float64[np.ndarray, "n 4"]


@dataclass(frozen=True, slots=True, eq=False)
class Proposals:
    """All boxes for one click, of one or several references."""

    boxes: Float64[np.ndarray, "n 4"]  # left, top, right, bottom in pixels of their reference
    ground: Float64[np.ndarray, "n 4"]  # west, south, east, north in metres of the CRS
    score: Float64[np.ndarray, " n"]  # logits; -inf where no box may be
    reference: Int[np.ndarray, " n"]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """A box and those that it suppresses."""

    index: int  # of the proposals
    members: Bool[np.ndarray, " n"]  # itself among them


@dataclass(frozen=True, slots=True)
class Picked:
    """A box that stands for those that overlap it."""

    index: int  # of the proposals
    probability: float


def on_ground(
    boxes: BoxArray, *, x: float, y: float, size_m: float, size_px: int
) -> Float64[np.ndarray, "n 4"]:
    """West, south, east, north of boxes in a reference centred at x, y."""
    gsd, half = size_m / size_px, size_m / 2
    left, top, right, bottom = boxes.T
    west, east = x - half + left * gsd, x - half + right * gsd
    return np.stack([west, y + half - bottom * gsd, east, y + half - top * gsd], axis=1)


def allowed(boxes: BoxArray, valid: Bool[np.ndarray, "s s"]) -> Bool[np.ndarray, " n"]:
    """Boxes of sane numbers, no larger than the picture and centred on imagery, not on padding."""
    side = len(valid)
    sizes = boxes[:, 2:] - boxes[:, :2]
    sane = np.isfinite(boxes).all(axis=1) & (sizes > 0).all(axis=1) & (sizes <= side).all(axis=1)
    middles = np.where(sane[:, None], (boxes[:, :2] + boxes[:, 2:]) / 2, 0.0)
    inside = sane & (middles >= 0).all(axis=1) & (middles < side).all(axis=1)
    column, row = np.clip(middles, 0, side - 1).astype(np.intp).T
    return np.asarray(inside & valid[row, column])


def groups(proposals: Proposals, count: int) -> tuple[Group, ...]:
    """At most ``count`` by non-maximum suppression, the highest score first."""
    open_ = np.isfinite(proposals.score)
    found: list[Group] = []
    while open_.any() and len(found) < count:
        best = int(np.argmax(np.where(open_, proposals.score, -np.inf)))
        same = open_ & (iou_with(proposals.ground[best], proposals.ground) >= SAME_IOU)
        same[best] = True
        found.append(Group(best, same))
        open_ &= ~same
    return tuple(found)


def pick(proposals: Proposals, *, temperature: float, count: int) -> tuple[Picked, ...]:
    """At most ``count`` boxes, the most probable first; none if all are forbidden.

    A box's probability is the softmax over all boxes of all references, summed over those
    that it suppresses: the network spreads what it thinks of one object over many boxes. So the
    surest box need not be the one of the highest score; it is among the first of them.
    """
    found = groups(proposals, max(count, POOL))
    if not found:
        return ()
    probability = posterior(proposals.score, temperature)
    sure = [Picked(group.index, float(probability[group.members].sum())) for group in found]
    return tuple(sorted(sure, key=lambda one: -one.probability)[:count])


def best_near(proposals: Proposals, box: Float[np.ndarray, "4"], least_iou: float) -> int | None:
    """The best box that overlaps one on the ground at least so much."""
    near = iou_with(np.asarray(box, np.float64), proposals.ground) >= least_iou
    score = np.where(near, proposals.score, -np.inf)
    best = int(np.argmax(score))
    return best if np.isfinite(score[best]) else None


def joined(parts: Sequence[Proposals]) -> Proposals:
    return Proposals(
        np.concatenate([p.boxes for p in parts]),
        np.concatenate([p.ground for p in parts]),
        np.concatenate([p.score for p in parts]),
        np.concatenate([p.reference for p in parts]),
    )


def iou_with(one: Float64[np.ndarray, "4"], boxes: BoxArray) -> Float64[np.ndarray, " n"]:
    """Of one box with many; 0 with those whose numbers are not finite."""
    west, south, east, north = np.ascontiguousarray(boxes.T)
    with np.errstate(invalid="ignore", over="ignore"):
        wide = (np.minimum(one[2], east) - np.maximum(one[0], west)).clip(0)
        high = (np.minimum(one[3], north) - np.maximum(one[1], south)).clip(0)
        shared = wide * high
        areas = (east - west).clip(0) * (north - south).clip(0)
        own = (one[2:] - one[:2]).clip(0).prod()
        iou = shared / np.maximum(areas + own - shared, 1e-16)
        return np.asarray(np.where(np.isfinite(iou), iou, 0.0))
