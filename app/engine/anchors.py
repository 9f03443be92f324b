"""Anchor boxes for a new data set: its box sizes clustered by overlap, as in YOLOv2 and DetGeo."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from app.errors import UserError

ROUNDS = 300  # far more than it takes; stops at the first round that moves no box
STARTS = 10  # of which the best is kept: k-means ends in the nearest valley


def cluster_anchors(
    sizes: Float[np.ndarray, "n 2"], *, count: int = 9, seed: int
) -> tuple[tuple[float, float], ...]:
    """Widths and heights of ``count`` anchors, the smallest area first, to a tenth of a pixel.

    ``sizes`` are widths and heights of training boxes in pixels of the network's satellite input.
    k-means with the distance 1 - IoU of two boxes with one centre, so that small boxes count as
    much as large ones; a cluster's anchor is its boxes' mean size. Raises UserError for boxes
    without an area, and for fewer different sizes than anchors.
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise UserError("Some boxes have no area", "Correct or remove them; then cluster again.")
    different = len(np.unique(sizes, axis=0))
    if different < count:
        raise UserError(
            f"{different} different box sizes cannot make {count} anchors",
            "Choose fewer anchors, or give more boxes.",
        )
    rng = np.random.default_rng(seed)
    tries = [_k_means(sizes, _spread(sizes, count, rng)) for _ in range(STARTS)]
    best = max(tries, key=lambda anchors: mean_best_iou(sizes, anchors))
    in_order = best[np.lexsort((best[:, 0], best.prod(axis=1)))]
    return tuple((float(w), float(h)) for w, h in np.maximum(in_order.round(1), 0.1))


def mean_best_iou(
    sizes: Float[np.ndarray, "n 2"], anchors: Float[np.ndarray, "a 2"] | Sequence[Sequence[float]]
) -> float:
    """How well anchors fit: the mean over boxes of the IoU with the most similar anchor."""
    return float(shape_iou(sizes, np.asarray(anchors, dtype=np.float64)).max(axis=1).mean())


def shape_iou(
    sizes: Float[np.ndarray, "n 2"], anchors: Float[np.ndarray, "a 2"]
) -> Float[np.ndarray, "n a"]:
    """Intersection over union of boxes that share their centre."""
    common = np.minimum(sizes[:, None], anchors[None]).prod(axis=2)
    together = sizes.prod(axis=1)[:, None] + anchors.prod(axis=1)[None] - common
    return np.asarray(common / together)


def _spread(
    sizes: Float[np.ndarray, "n 2"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "a 2"]:
    """k-means++: each next start is the likelier the less it is like those already chosen."""
    chosen = [int(rng.integers(len(sizes)))]
    while len(chosen) < count:
        far = (1 - shape_iou(sizes, sizes[chosen]).max(axis=1)).clip(min=0) ** 2
        chosen.append(int(rng.choice(len(sizes), p=far / far.sum())))
    return sizes[chosen]


def _k_means(
    sizes: Float[np.ndarray, "n 2"], anchors: Float[np.ndarray, "a 2"]
) -> Float[np.ndarray, "a 2"]:
    owner: Int[np.ndarray, " n"] = np.full(len(sizes), -1)
    for _ in range(ROUNDS):
        nearest = shape_iou(sizes, anchors).argmax(axis=1)
        if (nearest == owner).all():
            break
        owner = nearest
        # A cluster that has lost all its boxes keeps its anchor: it may win some back.
        anchors = np.stack(
            [
                sizes[owner == i].mean(axis=0) if (owner == i).any() else a
                for i, a in enumerate(anchors)
            ]
        )
    return anchors
