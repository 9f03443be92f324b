"""What buildings and trees look like from above: roofs and their clutter, crowns."""

import math

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from app.engine.city_layout import Building


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell_px: float
) -> Float32[np.ndarray, "h w"]:
    """Noise of unit spread that varies over ``cell_px`` pixels."""
    rows, cols = (max(2, math.ceil(side / cell_px) + 2) for side in shape)
    coarse = rng.standard_normal((rows, cols), dtype=np.float32)
    return cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def roof(
    building: Building,
    x: np.ndarray,
    y: np.ndarray,
    mask: UInt8[np.ndarray, "h w"],
    gsd: float,
    rng: np.random.Generator,
) -> tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w 3"]]:
    """Height and colour over a window of pixel centres x, y; only the masked part counts."""
    middle = building.outline.mean(axis=0)
    cos, sin = math.cos(building.axis_rad), math.sin(building.axis_rad)
    u = (x - middle[0]) * cos + (y - middle[1]) * sin
    v = -(x - middle[0]) * sin + (y - middle[1]) * cos
    local = building.outline - middle
    half = float(np.ptp(-local[:, 0] * sin + local[:, 1] * cos)) / 2
    edge = cv2.distanceTransform(mask, cv2.DIST_L2, 3) * gsd
    colour = np.empty((*mask.shape, 3), np.float32)
    colour[:] = building.roof_rgb
    weather = (
        smooth_noise(rng, mask.shape, 3.0 / gsd) * 0.05
        + rng.standard_normal(mask.shape, dtype=np.float32) * 0.04
    )
    height = np.full(mask.shape, building.eave_m, np.float32)
    match building.roof:
        case "gable":
            height += building.rise_m * np.clip(1 - np.abs(v) / max(half, 0.1), 0, 1)
            weather += 0.03 * np.sin(v * (2 * math.pi / 0.9))
            colour[np.abs(v) < gsd * 0.75] *= 0.82
        case "hip":
            height += np.minimum(edge * 0.62, building.rise_m)
            weather += 0.02 * np.sin(edge * (2 * math.pi / 0.9))
        case "hall":
            height += building.rise_m * np.abs((v / 12.0) % 1 - 0.5)
            colour[(np.abs((v / 12.0) % 1 - 0.5) > 0.42) & (np.abs(u % 14 - 7) < 4)] = (
                196,
                208,
                214,
            )
            weather += 0.035 * np.sign(np.sin(u * (2 * math.pi / 2.4)))
        case "flat":
            clutter(building, u, v, edge, height, colour, rng)
    if building.roof in ("gable", "hip") and rng.random() < 0.5:
        chimney(u, v, half, height, colour, rng)
    return height, np.clip(colour * (1 + weather[..., None]), 0, 255).astype(np.uint8)


def clutter(
    building: Building, u: np.ndarray, v: np.ndarray, edge: np.ndarray, height: np.ndarray,
    colour: np.ndarray, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Parapet, plant rooms, skylights, solar panels, gardens on a flat roof; in place."""
    if building.kind in ("container", "shed"):
        return
    rim = edge < 0.7
    height[rim] += 0.7
    colour[rim] = colour[rim] * 0.55 + np.array(building.wall_rgb) * 0.42
    deep = edge > 1.6
    size = float(edge.max())
    if size < 2.5:
        return
    reach_u, reach_v = float(np.abs(u[deep]).max(initial=1)), float(np.abs(v[deep]).max(initial=1))
    kind = rng.random()
    if kind < 0.18:
        panels = (
            deep
            & (np.abs(v % 2.6 - 1.3) < 0.85)
            & (u * rng.choice([-1, 1]) > -reach_u * 0.3)
            & (np.abs(u % 9 - 4.5) < 4)
        )
        colour[panels] = (46, 54, 84)
    elif kind < 0.26:
        colour[deep] = colour[deep] * 0.3 + np.array((96, 112, 66)) * 0.7
    elif kind < 0.4:
        colour[deep & (v > 0)] *= 0.86
    for _ in range(int(rng.integers(1, 3 + min(9, int(size * 0.9))))):
        at_u, at_v = rng.uniform(-1, 1) * reach_u * 0.85, rng.uniform(-1, 1) * reach_v * 0.85
        box_u, box_v = rng.uniform(0.6, 2.6, 2)
        box = deep & (np.abs(u - at_u) < box_u) & (np.abs(v - at_v) < box_v)
        height[box] += rng.uniform(0.5, 2.8)
        colour[box] = rng.choice([72, 120, 170, 205, 150]) + rng.normal(0, 6, 3)


def chimney(
    u: np.ndarray, v: np.ndarray, half: float, height: np.ndarray, colour: np.ndarray,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """A chimney or a pair of roof windows on a pitched roof; in place."""
    at_u, at_v = rng.uniform(-3, 3), rng.uniform(-0.5, 0.5) * half
    spot = (np.abs(u - at_u) < 0.5) & (np.abs(v - at_v) < 0.5)
    height[spot] += 1.6
    colour[spot] = (112, 84, 74)
    if rng.random() < 0.5:
        panes = (np.abs(np.abs(u) - rng.uniform(1, 4)) < 0.6) & (np.abs(v - half * 0.5) < 0.7)
        colour[panes] = (92, 104, 118)


def crown(rng: np.random.Generator, size: int, conifer: bool) -> Float32[np.ndarray, "s s"]:
    """Relative height of a tree over its square, 0 outside its crown."""
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    reach = np.hypot(axis[None], axis[:, None])
    ragged = reach + smooth_noise(rng, (size, size), size / 6) * 0.13
    dome = 1 - 0.8 * reach if conifer else 0.5 + 0.5 * np.sqrt(np.clip(1 - reach**2, 0, 1))
    bumps = smooth_noise(rng, (size, size), max(2.0, size / 8)) * (0.05 if conifer else 0.09)
    return np.where(ragged < 0.95, np.clip(dome + bumps, 0.1, 1.05), 0).astype(np.float32)
