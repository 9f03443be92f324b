"""What a camera can see: an ortho picture, a surface model, object ids, facades, light.

Metres, x east, y north, z up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int32, UInt8

FOLD = 512
WALL_M = 1.8  # a height step over one pixel that counts as a wall


@dataclass(frozen=True, slots=True)
class WallPaint:
    """What a facade function answers for n points on walls."""

    rgb: Float32[np.ndarray, "n 3"]  # unlit, 0..255
    normal: Float32[np.ndarray, "n 2"]  # unit, outwards


# ids, x, y, z in metres and the size of a pixel there in metres; all [n]
Facade = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], WallPaint]


@dataclass(frozen=True, slots=True)
class Sun:
    azimuth_deg: float
    elevation_deg: float

    @property
    def towards(self) -> tuple[float, float, float]:
        """Unit vector from the ground to the sun."""
        azimuth, elevation = math.radians(self.azimuth_deg), math.radians(self.elevation_deg)
        flat = math.cos(elevation)
        return math.sin(azimuth) * flat, math.cos(azimuth) * flat, math.sin(elevation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a camera can see. Made by `make_scene`."""

    rgb: tuple[UInt8[np.ndarray, "_h _w 3"], ...]  # finest first, each half the one before
    gsd_m: float
    left_m: float
    top_m: float
    surface: Float32[np.ndarray, "h w"]
    high: Float32[np.ndarray, "h w"]  # highest and lowest neighbour: where they differ is a wall
    low: Float32[np.ndarray, "h w"]
    ids: Int32[np.ndarray, "h w"] | None
    wall_ids: Int32[np.ndarray, "h w"] | None  # as ids, but a wall's cells belong to its top
    facade: Facade | None
    shade: Float32[np.ndarray, "h w"] | None  # all below this height is in cast shadow
    sun: Sun
    haze: float  # share of light lost per metre
    canopy: Float32[np.ndarray, "h w"] | None  # tree tops, 0 where none
    trunks: Float32[np.ndarray, "n 2"] | None  # by object id: where it stands
    leaves: float  # 1: crowns hide what is behind; 0: bare
    under: "Scene | None"  # the same without trees


def make_scene(
    rgb: UInt8[np.ndarray, "h w 3"],
    *,
    gsd_m: float,
    left_m: float = 0.0,
    top_m: float = 0.0,
    surface: Float32[np.ndarray, "h w"] | None = None,
    ids: Int32[np.ndarray, "h w"] | None = None,
    facade: Facade | None = None,
    shade: Float32[np.ndarray, "h w"] | None = None,
    sun: Sun | None = None,
    haze: float = 0.0006,
    canopy: Float32[np.ndarray, "h w"] | None = None,
    trunks: Float32[np.ndarray, "n 2"] | None = None,
    leaves: float = 1.0,
    under: Scene | None = None,
) -> Scene:
    """A scene whose picture's north-west corner is at ``left_m``, ``top_m``."""
    levels = [rgb]
    while len(levels) < 6 and min(levels[-1].shape[:2]) > 8:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    height = np.zeros(rgb.shape[:2], np.float32) if surface is None else surface
    kernel = np.ones((3, 3), np.uint8)
    high, low = cv2.dilate(height, kernel), cv2.erode(height, kernel)
    wall_ids = None if ids is None else owners(ids, height, high - low)
    return Scene(
        rgb=tuple(levels), gsd_m=gsd_m, left_m=left_m, top_m=top_m, surface=height,
        high=high, low=low, ids=ids, wall_ids=wall_ids,
        facade=facade, shade=shade, sun=sun or Sun(160.0, 45.0), haze=haze, canopy=canopy,
        trunks=trunks, leaves=leaves, under=under,
    )  # fmt: skip


def owners(
    ids: Int32[np.ndarray, "h w"], height: Float32[np.ndarray, "h w"], step: np.ndarray
) -> Int32[np.ndarray, "h w"]:
    """Object ids with each cell of a height step given to its highest neighbour."""
    rows, cols = np.nonzero(step > WALL_M)
    best, owner = np.full(len(rows), -np.inf, np.float32), np.zeros(len(rows), np.int32)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r = np.clip(rows + down, 0, ids.shape[0] - 1)
            c = np.clip(cols + right, 0, ids.shape[1] - 1)
            taller = height[r, c] > best
            best = np.where(taller, height[r, c], best)
            owner = np.where(taller, ids[r, c], owner)
    result = ids.copy()
    result[rows, cols] = owner
    return result


def sample(
    layer: np.ndarray, scene: Scene, x: np.ndarray, y: np.ndarray, level: int = 0
) -> np.ndarray:
    """Bilinear value at points [n] or [h, w]; the map is mirrored beyond its edges."""
    if not x.size:
        return np.zeros((*x.shape, *layer.shape[2:]), layer.dtype)
    if x.ndim == 1:  # cv2 wants fewer than 32767 a side
        pad = (0, -len(x) % FOLD)
        folded = sample(
            layer, scene, np.pad(x, pad).reshape(-1, FOLD), np.pad(y, pad).reshape(-1, FOLD), level
        )
        return np.asarray(folded.reshape(-1, *layer.shape[2:])[: len(x)])
    cell = scene.gsd_m * 2**level
    col = ((x - scene.left_m) / cell - 0.5).astype(np.float32)
    row = ((scene.top_m - y) / cell - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(layer, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def ids_at(
    ids: Int32[np.ndarray, "h w"] | None, scene: Scene, x: np.ndarray, y: np.ndarray
) -> Int32[np.ndarray, "..."]:
    """Object ids at points; 0 beyond the map."""
    if ids is None:
        return np.zeros(x.shape, np.int32)
    rows, cols = ids.shape
    col = np.floor((x - scene.left_m) / scene.gsd_m).astype(np.int32)
    row = np.floor((scene.top_m - y) / scene.gsd_m).astype(np.int32)
    inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    found = ids[np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)]
    return np.where(inside, found, 0).astype(np.int32)


def ground_colour(
    scene: Scene, x: np.ndarray, y: np.ndarray, pixel_m: np.ndarray
) -> Float32[np.ndarray, "*pixels 3"]:
    """The ortho at points, from the level that fits a pixel's size on the ground."""
    level = np.clip(np.log2(np.maximum(pixel_m, 1e-3) / scene.gsd_m), 0, len(scene.rgb) - 1.001)
    base = np.floor(level).astype(np.int32)
    share = (level - base).astype(np.float32)
    colour = np.zeros((*x.shape, 3), np.float32)
    for index in np.unique(np.concatenate([base, base + 1])):
        if index >= len(scene.rgb):
            continue
        weight = np.where(
            base == index, 1 - share[..., 0], np.where(base + 1 == index, share[..., 0], 0)
        )
        if weight.any():
            layer = sample(scene.rgb[index], scene, x, y, int(index))
            colour += layer * weight[..., None]
    return colour
