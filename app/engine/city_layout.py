"""What stands where in a procedural city: streets, blocks, buildings, trees, parking stalls.

All in local metres, x east and y north, (0, 0) at the map's south-west corner. A plan holds
shapes only; `city_raster` turns it into pictures and heights.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [n, 2] metres
Rgb = tuple[int, int, int]
Roof = Literal["flat", "gable", "hip", "hall"]

MARGIN_M = 60.0  # the plan goes on beyond the map's edge, so that no street ends there
WALLS: tuple[Rgb, ...] = (
    (214, 200, 176), (196, 164, 128), (168, 96, 74), (222, 214, 200), (178, 178, 174),
    (150, 120, 96), (206, 178, 120), (190, 200, 206), (232, 228, 220), (142, 84, 66),
)  # fmt: skip
TILES: tuple[Rgb, ...] = (
    (168, 92, 66), (150, 76, 58), (184, 108, 78), (128, 84, 70), (96, 88, 86),
    (112, 104, 100), (140, 96, 80), (84, 82, 88), (176, 120, 92), (120, 70, 58),
)  # fmt: skip
DECKS: tuple[Rgb, ...] = (
    (150, 148, 144), (118, 116, 114), (186, 184, 178), (96, 94, 94), (206, 204, 200),
    (134, 122, 110), (162, 150, 138), (104, 116, 96), (176, 160, 150), (128, 134, 140),
)  # fmt: skip
SHEDS: tuple[Rgb, ...] = (
    (176, 178, 182), (140, 150, 164), (206, 208, 208), (126, 128, 128), (158, 112, 96),
    (122, 142, 128), (190, 186, 174),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Street:
    line: Points
    width_m: float
    kind: str  # arterial, street, lane, path, rail


@dataclass(frozen=True, slots=True)
class Ground:
    """A flat coloured area; ``stripe_rad`` is the direction of crop rows or mowing."""

    kind: str  # lawn, yard, paved, parking, crop, water, pitch, court, track, sand, forest
    outline: Points
    rgb: Rgb
    stripe_rad: float | None = None


@dataclass(frozen=True, slots=True)
class Building:
    kind: str
    outline: Points
    eave_m: float
    rise_m: float
    roof: Roof
    axis_rad: float  # of the ridge, from east towards north
    roof_rgb: Rgb
    wall_rgb: Rgb
    hole: Points | None = None


@dataclass(slots=True)
class Plan:
    size_m: float
    streets: list[Street] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[tuple[float, float, float, float, float]] = field(
        default_factory=list
    )  # x, y, crown radius, height, conifer 0|1
    stalls: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, angle
    roundabouts: list[tuple[float, float, float]] = field(default_factory=list)  # x, y, radius


@dataclass(frozen=True, slots=True)
class Lot:
    """A convex counter-clockwise polygon; ``width_m[i]``: of the street along edge i, or 0."""

    corners: Points
    width_m: NDArray[np.float64]

    @property
    def area_m2(self) -> float:
        return polygon_area(self.corners)

    @property
    def centre(self) -> Points:
        return np.asarray(self.corners.mean(axis=0))


def polygon_area(corners: Points) -> float:
    x, y = corners[:, 0], corners[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def unit(angle_rad: float) -> Points:
    return np.array([math.cos(angle_rad), math.sin(angle_rad)])


def clip(lot: Lot, point: Points, normal: Points, width_m: float) -> Lot | None:
    """The part of a lot on the side that ``normal`` points to; the cut gets ``width_m``."""
    side = (lot.corners - point) @ normal
    corners: list[Points] = []
    widths: list[float] = []
    count = len(side)
    for i in range(count):
        j = (i + 1) % count
        crossing = lot.corners[i] + (lot.corners[j] - lot.corners[i]) * (
            side[i] / (side[i] - side[j] if side[i] != side[j] else 1.0)
        )
        if side[i] >= 0:
            corners.append(lot.corners[i])
            widths.append(float(lot.width_m[i]))
            if side[j] < 0:
                corners.append(crossing)
                widths.append(width_m)
        elif side[j] >= 0:
            corners.append(crossing)
            widths.append(float(lot.width_m[i]))
    if len(corners) < 3:
        return None
    return Lot(np.array(corners), np.array(widths))


def inset(lot: Lot, extra_m: float) -> Lot | None:
    """The lot less half of each bordering street and ``extra_m`` on every side."""
    result: Lot | None = lot
    for i in range(len(lot.corners)):
        if result is None:
            return None
        along = lot.corners[(i + 1) % len(lot.corners)] - lot.corners[i]
        length = float(np.hypot(*along))
        if length < 1e-6:
            continue
        inward = np.array([-along[1], along[0]]) / length
        shift = lot.width_m[i] / 2 + extra_m
        result = clip(result, lot.corners[i] + inward * shift, inward, float(lot.width_m[i]))
    return result if result is not None and result.area_m2 > 25 else None


def extents(corners: Points, angle_rad: float) -> tuple[float, float]:
    along = corners @ unit(angle_rad)
    across = corners @ unit(angle_rad + math.pi / 2)
    return float(np.ptp(along)), float(np.ptp(across))


def split(
    lot: Lot, rng: np.random.Generator, angle_rad: float, width_m: float, jitter: float
) -> tuple[list[Lot], Points | None]:
    """Two parts, cut across the longer of the two extents; and the cut's two ends."""
    along, across = extents(lot.corners, angle_rad)
    cut = angle_rad + (math.pi / 2 if along > across else 0.0) + rng.normal(0, jitter)
    normal = unit(cut + math.pi / 2)
    reach = lot.corners @ normal
    share = rng.uniform(0.4, 0.6) if width_m < 12 else rng.uniform(0.36, 0.64)
    point = normal * (reach.min() + share * np.ptp(reach)) + unit(cut) * (lot.centre @ unit(cut))
    parts = [clip(lot, point, normal, width_m), clip(lot, point, -normal, width_m)]
    fresh = [p for p in parts if p is not None and p.area_m2 > 1]
    on_cut = np.array([c for p in fresh for c in p.corners if abs((c - point) @ normal) < 1e-6])
    if len(on_cut) < 2:
        return [lot], None
    order = np.argsort(on_cut @ unit(cut))
    return fresh, on_cut[order[[0, -1]]]


@dataclass(frozen=True, slots=True)
class Warp:
    """A smooth displacement that bends the straight plan."""

    waves: NDArray[np.float64]  # [k, 5]: kx, ky, phase, dx, dy

    @staticmethod
    def random(rng: np.random.Generator) -> "Warp":
        rows = []
        for length, reach in ((rng.uniform(650, 1100), 30.0), (rng.uniform(280, 480), 9.0)):
            for _ in range(2):
                wave = unit(rng.uniform(0, 2 * math.pi)) * 2 * math.pi / length
                push = unit(rng.uniform(0, 2 * math.pi)) * rng.uniform(0.4, 1.0) * reach
                rows.append([*wave, rng.uniform(0, 2 * math.pi), *push])
        return Warp(np.array(rows))

    def __call__(self, points: Points) -> Points:
        phase = points @ self.waves[:, :2].T + self.waves[:, 2]
        return np.asarray(points + np.sin(phase) @ self.waves[:, 3:])


def dense(line: Points, step_m: float = 7.0) -> Points:
    """A polyline with a point at least every ``step_m``."""
    parts = []
    for a, b in itertools.pairwise(line):
        count = max(1, math.ceil(float(np.hypot(*(b - a))) / step_m))
        parts.append(a + (b - a) * np.arange(count)[:, None] / count)
    return np.concatenate([*parts, line[-1:]])


def ring(corners: Points) -> Points:
    return dense(np.concatenate([corners, corners[:1]]))[:-1]


def rectangle(centre: Points, angle_rad: float, length_m: float, depth_m: float) -> Points:
    u, v = unit(angle_rad) * length_m / 2, unit(angle_rad + math.pi / 2) * depth_m / 2
    return np.array([centre - u - v, centre + u - v, centre + u + v, centre - u + v])


def bent(
    rng: np.random.Generator, centre: Points, angle_rad: float, length_m: float, depth_m: float
) -> Points:
    """An L or a U within the rectangle of the same arguments."""
    wing = depth_m * rng.uniform(0.38, 0.5)
    arm = length_m * rng.uniform(0.28, 0.38)
    x, y = length_m / 2, depth_m / 2
    if rng.random() < 0.6:
        local = [(-x, -y), (x, -y), (x, -y + wing), (-x + arm, -y + wing), (-x + arm, y), (-x, y)]
    else:
        local = [(-x, -y), (x, -y), (x, y), (x - arm, y), (x - arm, -y + wing),
                 (-x + arm, -y + wing), (-x + arm, y), (-x, y)]  # fmt: skip
    points = np.array(local) * (rng.choice([-1.0, 1.0]), 1.0)
    return np.asarray(
        centre + points[:, :1] * unit(angle_rad) + points[:, 1:] * unit(angle_rad + math.pi / 2)
    )


def inside(corners: Points, points: Points) -> NDArray[np.bool_]:
    """Which points lie in a convex counter-clockwise polygon."""
    edges = np.roll(corners, -1, axis=0) - corners
    to = points[:, None] - corners[None]
    return np.asarray((edges[:, 0] * to[..., 1] - edges[:, 1] * to[..., 0] >= 0).all(axis=1))


def scatter(rng: np.random.Generator, corners: Points, per_m2: float) -> Points:
    """Random points in a convex polygon."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    count = rng.poisson(float(np.prod(high - low)) * per_m2)
    points = rng.uniform(low, high, (count, 2))
    return np.asarray(points[inside(corners, points)])


def pick(rng: np.random.Generator, palette: tuple[Rgb, ...], spread: float = 9.0) -> Rgb:
    """A colour near one of the palette's."""
    base = np.array(palette[rng.integers(len(palette))]) + rng.normal(0, spread)
    red, green, blue = np.clip(base + rng.normal(0, spread / 3, 3), 20, 245).astype(int)
    return int(red), int(green), int(blue)
