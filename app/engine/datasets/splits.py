"""How pairs are parted into those that are learnt from and those held out, so that none leaks."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from app.engine.datasets.layout import RetrievalData
from app.engine.datasets.pairs import Pair
from app.errors import UserError
from app.geo import EARTH_RADIUS_M, LatLon

Part = Literal["train", "val", "gap"]  # what lies in the gap is used for neither

HELD_BACK = 0.05  # share of the training places that ``hold_back`` takes
HOLD_BACK_GAP_M = 0.0  # published splits know no gap either


def split_by_ground(positions: Sequence[LatLon], *, share: float, gap_m: float) -> list[str]:
    """For each position its ``Part``: one end of the area, along its longer side, is held out.

    What lies within ``gap_m`` of a held-out position is left out. Raises UserError if nothing is
    left to learn from.
    """
    xy = metres(positions)
    along = int(np.ptp(xy[:, 1]) > np.ptp(xy[:, 0]))
    order = np.argsort(xy[:, along], kind="stable")
    first = len(xy) - max(1, round(share * len(xy)))
    # Positions at the border itself go to one side together.
    held_out = xy[:, along] >= xy[order[first], along]
    near = _within(xy, held_out, gap_m) & ~held_out
    if not (~held_out & ~near).any():
        raise UserError(
            f"All positions lie within {gap_m:.0f} m of those to hold out",
            "Take pairs from a wider area, or name train and val yourself.",
        )
    return [
        "val" if out else "gap" if gap else "train" for out, gap in zip(held_out, near, strict=True)
    ]


def split_by_place(places: Sequence[int], *, share: float) -> list[str]:
    """For each place number "train" or "val"; every so many-th place is held out."""
    distinct = list(dict.fromkeys(places))
    if len(distinct) < 2:
        raise UserError("There is one place only: nothing can be held out", "Add other places.")
    every = max(2, round(1 / share))
    held_out = set(distinct[every - 1 :: every]) or {distinct[-1]}
    return ["val" if place in held_out else "train" for place in places]


def metres(positions: Sequence[LatLon]) -> np.ndarray:
    """[n, 2] east and north on a plane, true to about 0.1 % over some kilometres."""
    rad = np.radians([(p.lat, p.lon) for p in positions]).reshape(-1, 2)
    middle = rad.mean(axis=0)
    east = (rad[:, 1] - middle[1]) * np.cos(middle[0])
    return np.column_stack((east, rad[:, 0] - middle[0])) * EARTH_RADIUS_M


def hold_back(data: RetrievalData, *, share: float = HELD_BACK) -> RetrievalData:
    """With a yardstick of its own: a share of the training places, so that no test is looked at.

    One end of each world where all pairs have positions, else every so many-th place.
    """
    parts: dict[int, str] = {}
    for world in dict.fromkeys(pair.world for pair in data.train):
        here = [n for n, pair in enumerate(data.train) if pair.world == world]
        parts.update(zip(here, _parts([data.train[n] for n in here], share), strict=True))
    out = {data.train[n].place for n, part in parts.items() if part == "val"}
    return replace(
        data,
        train=tuple(pair for pair in data.train if pair.place not in out),
        held_out=tuple(pair for pair in data.train if pair.place in out),
        held_out_is_test=False,
    )


def _parts(pairs: Sequence[Pair], share: float) -> list[str]:
    positions = [pair.position for pair in pairs if pair.position is not None]
    if len(positions) == len(pairs):
        return split_by_ground(positions, share=share, gap_m=HOLD_BACK_GAP_M)
    return split_by_place([pair.place for pair in pairs], share=share)


def _within(xy: np.ndarray, chosen: np.ndarray, gap_m: float) -> np.ndarray:
    """Which points lie nearer than ``gap_m`` to a chosen one; in blocks, to bound memory."""
    near = np.zeros(len(xy), bool)
    others = xy[chosen]
    for start in range(0, len(xy), 1024):
        apart = xy[start : start + 1024, None] - others[None]
        near[start : start + 1024] = (np.hypot(apart[..., 0], apart[..., 1]) < gap_m).any(axis=1)
    return near
