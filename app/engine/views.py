"""Pictures of an ortho image with a surface model, and the exact truth of every pixel.

Metres, x east, y north, z up. A camera's surroundings are sampled once into a polar table
(azimuth by distance) of elevation tangents with a running maximum, so that the first hit of any
ray is one binary search; a few steps on the surface model itself then sharpen it. That serves
panoramas, oblique and nadir pictures alike.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from app.engine.cameras import Camera, Panorama
from app.engine.scene import WALL_M, Facade, Scene, Sun, ground_colour, ids_at, make_scene, sample
from app.engine.surfaces import Wall, foliage, paint_walls, roughen_near, sky_colour, texture

__all__ = [
    "Camera", "Facade", "Panorama", "Scene", "Shot", "Sun", "make_scene", "render", "satellite",
]  # fmt: skip


RANGE_M = 900.0  # beyond, haze
MIN_STEP_M = 0.3
STEP_RATIO = 0.006
CROWN_BASE = 0.3  # share of a tree's height below which one sees its trunk


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and its truth, pixel by pixel."""

    image: UInt8[np.ndarray, "*pixels 3"]
    ids: Int32[np.ndarray, "*pixels"]  # 0: no object
    depth_m: Float32[np.ndarray, "*pixels"]  # along the ray; inf in the sky, 0 from above
    ground: Float32[np.ndarray, "*pixels 3"]  # x, y, z of what is seen; NaN in the sky
    wall: Bool[np.ndarray, "*pixels"]

    def boxes(self) -> dict[int, tuple[int, int, int, int]]:
        """By object id: left, top, right, bottom in pixels, right and bottom outside."""
        rows, cols = np.nonzero(self.ids)
        numbers, index = np.unique(self.ids[rows, cols], return_inverse=True)
        low = np.full((len(numbers), 2), np.iinfo(np.int64).max)
        high = np.full((len(numbers), 2), -1)
        at = np.stack([cols, rows], -1)
        np.minimum.at(low, index, at)
        np.maximum.at(high, index, at)
        return {
            int(n): (int(a[0]), int(a[1]), int(b[0]) + 1, int(b[1]) + 1)
            for n, a, b in zip(numbers, low, high, strict=True)
        }


def distances() -> Float32[np.ndarray, " d"]:
    """Steps of the polar table: even nearby, geometric farther out."""
    near = np.arange(MIN_STEP_M, MIN_STEP_M / STEP_RATIO, MIN_STEP_M)
    count = math.ceil(math.log(RANGE_M / near[-1]) / math.log1p(STEP_RATIO))
    far = near[-1] * (1 + STEP_RATIO) ** np.arange(1, count + 1)
    return np.concatenate([near, far]).astype(np.float32)


def first_hits(
    scene: Scene, view: Camera | Panorama, azimuth: np.ndarray, tangent: np.ndarray
) -> tuple[Int32[np.ndarray, "*pixels"], Float32[np.ndarray, " d"]]:
    """Index of the first table distance at or behind the hit; the table's length in the sky."""
    away = distances()
    ahead = math.radians(view.heading_deg)
    turn = (azimuth - np.float32(ahead) + math.pi) % (2 * math.pi) - math.pi
    low, high = float(turn.min()), float(turn.max())
    step = max(view.pixel_rad / 1.5, 2 * math.pi / 2048)
    count = max(2, math.ceil((high - low) / step) + 1)
    bearing = np.linspace(low + ahead, high + ahead, count, dtype=np.float32)[:, None]
    table = sample(
        scene.surface, scene, view.x + np.sin(bearing) * away, view.y + np.cos(bearing) * away
    )
    table -= np.float32(view.z)
    table /= away
    np.maximum.accumulate(table, axis=1, out=table)
    row = np.rint((turn - low) * ((count - 1) / max(1e-6, high - low))).astype(np.int32)
    width = len(away)
    flat, base = table.ravel(), row * np.int32(width) - 1
    first = np.zeros(azimuth.shape, np.int32)
    size = 1 << (width.bit_length() - 1)
    while size:  # binary search: how many table entries lie below the ray
        probe = first + np.int32(size)
        below = (probe <= width) & (flat.take(base + np.minimum(probe, width)) < tangent)
        first = np.where(below, probe, first)
        size >>= 1
    return first, away


def sharpen(
    scene: Scene, view: Camera | Panorama, azimuth: np.ndarray, tangent: np.ndarray,
    first: np.ndarray, away: np.ndarray,
) -> Float32[np.ndarray, "*pixels"]:  # fmt: skip
    """Horizontal distance of the hit, on the ray's own azimuth."""
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    padded = np.concatenate([np.zeros(2, np.float32), away, away[-1:], away[-1:]])
    near, far = padded[first], padded[np.minimum(first + 3, len(padded) - 1)]

    def gap(at: np.ndarray) -> np.ndarray:
        """Height of the ray above the surface."""
        height = sample(scene.surface, scene, view.x + sin * at, view.y + cos * at)
        return np.asarray(view.z + tangent * at - height)

    hit, before = padded[np.minimum(first + 2, len(padded) - 1)].copy(), near.copy()
    found = np.zeros(first.shape, bool)
    for share in (0.25, 0.45, 0.65, 0.85, 1.0):
        at = near + (far - near) * np.float32(share)
        fresh = ~found & (gap(at) <= 0)
        hit = np.where(fresh, at, hit)
        found |= fresh
        before = np.where(found, before, at)
    before = np.where(found, before, hit)
    for _ in range(4):
        middle = (before + hit) / 2
        under = gap(middle) <= 0
        hit, before = np.where(under, middle, hit), np.where(under, before, middle)
    above, below = np.maximum(gap(before), 0), np.maximum(-gap(hit), 0)
    share = above / np.maximum(above + below, 1e-6)  # exact on level ground, even straight below
    return np.asarray(before + (hit - before) * share, np.float32)


def render(scene: Scene, view: Camera | Panorama, *, noise_seed: int = 0) -> Shot:
    """What the camera sees, with the truth of each pixel. ``noise_seed`` shapes the clouds."""
    azimuth, tangent = view.rays()
    shot = trace(scene, view, azimuth, tangent, noise_seed)
    return look_through(scene, view, shot, azimuth, tangent, noise_seed)


def trace(
    scene: Scene, view: Camera | Panorama, azimuth: np.ndarray, tangent: np.ndarray, noise_seed: int
) -> Shot:
    """What each ray meets first; rays in any shape."""
    first, away = first_hits(scene, view, azimuth, tangent)
    shape, hit = azimuth.shape, first < len(away)
    image, ids = np.empty((*shape, 3), np.uint8), np.zeros(shape, np.int32)
    depth, seen = np.full(shape, np.inf, np.float32), np.full((*shape, 3), np.nan, np.float32)
    walls = np.zeros(shape, bool)
    sky = sky_colour(azimuth[~hit], tangent[~hit], scene.sun, noise_seed)
    image[~hit] = np.clip(sky, 0, 255)
    azimuth, tangent = azimuth[hit], tangent[hit]
    flat = sharpen(scene, view, azimuth, tangent, first[hit], away)
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    x, y = view.x + sin * flat, view.y + cos * flat
    z = (view.z + tangent * flat).astype(np.float32)
    slant = np.sqrt(1 + tangent**2)
    depth[hit] = flat * slant
    seen[hit] = np.stack([x, y, z], -1)
    high, low = sample(scene.high, scene, x, y), sample(scene.low, scene, x, y)
    wall = (high - low > WALL_M) & (high - z > 0.6)
    walls[hit] = wall
    pixel = (depth[hit] * view.pixel_rad).astype(np.float32)
    grazing = np.where(wall, 1.0, np.clip(np.abs(tangent) / slant, 0.12, 1.0))
    colour = ground_colour(scene, x, y, pixel / np.sqrt(grazing))
    roughen_near(scene, colour, x, y, pixel)
    owner = ids_at(scene.ids, scene, x, y)
    owner[wall] = ids_at(scene.wall_ids, scene, x[wall], y[wall])
    ids[hit] = owner
    on = Wall(owner[wall], x[wall], y[wall], z[wall], azimuth[wall], pixel[wall])
    colour[wall] = paint_walls(scene, view, on)
    fade = 1 - np.exp(-depth[hit] * np.float32(scene.haze))
    colour += (np.array((196, 206, 218), np.float32) - colour) * fade[:, None]
    image[hit] = np.clip(colour, 0, 255)
    return Shot(image, ids, depth, seen, walls)


def look_through(
    scene: Scene, view: Camera | Panorama, shot: Shot, azimuth: np.ndarray, tangent: np.ndarray,
    noise_seed: int,
) -> Shot:  # fmt: skip
    """Between trunks, and through bare crowns, one sees the scene without trees; in place."""
    if scene.under is None or scene.canopy is None:
        return shot
    at = np.nonzero(np.isfinite(shot.depth_m))
    x, y, z = shot.ground[at].T
    sin, cos = np.sin(azimuth[at]), np.cos(azimuth[at])
    crown = sample(scene.canopy, scene, x + sin * 0.45, y + cos * 0.45)
    inner = z + np.maximum(tangent[at], 0) * 2.5
    below = (crown > 1.0) & (inner < crown * CROWN_BASE) & shot.wall[at]
    lobes = foliage(scene, view, shot.ids[at], x, y, z, azimuth[at])
    gaps = (crown > 1.0) & (0.5 + 0.45 * lobes > scene.leaves)
    open_ = below | (gaps & shot.wall[at])
    if not open_.any():
        return shot
    if scene.trunks is not None:
        foot = scene.trunks[np.clip(shot.ids[at], 0, len(scene.trunks) - 1)]
        off = np.abs((foot[:, 0] - view.x) * cos - (foot[:, 1] - view.y) * sin)
        trunk = below & (off < 0.14 + 0.012 * crown)
        bark = (1 + 0.1 * texture(x, z, 0.1))[:, None] * np.array((82, 70, 58), np.float32)
        shot.image[at[0][trunk], at[1][trunk]] = bark[trunk].astype(np.uint8)
        open_ &= ~trunk
    rows, cols = at[0][open_], at[1][open_]
    if len(rows):
        other = trace(scene.under, view, azimuth[rows, cols], tangent[rows, cols], noise_seed)
        shot.image[rows, cols], shot.ids[rows, cols] = other.image, other.ids
        shot.depth_m[rows, cols], shot.ground[rows, cols] = other.depth_m, other.ground
        shot.wall[rows, cols] = other.wall
    return shot


def satellite(
    scene: Scene, *, x: float, y: float, size_m: float, size_px: int,
    lean: tuple[float, float] = (0.0, 0.0),
) -> Shot:  # fmt: skip
    """A north-up square centred on x, y.

    ``lean``: metres east and north by which the picture shifts what is a metre high.
    """
    step = size_m / size_px
    east = (np.arange(size_px, dtype=np.float32) + 0.5) * step - size_m / 2 + x
    north = y + size_m / 2 - (np.arange(size_px, dtype=np.float32) + 0.5) * step
    px, py = np.meshgrid(east, north)
    px, py = px.astype(np.float32), py.astype(np.float32)
    wall = np.zeros(px.shape, bool)
    z = sample(scene.surface, scene, px, py)
    if any(lean):
        height = lean_height(scene, px, py, lean)
        px, py = px - height * lean[0], py - height * lean[1]
        z = sample(scene.surface, scene, px, py)
        wall = z - height > 1.0
        z[wall] = height[wall]
    colour = ground_colour(scene, px, py, np.full(px.shape, step, np.float32))
    colour[wall] *= 0.7
    seen = np.stack([px, py, z], -1).astype(np.float32)
    image = np.clip(colour, 0, 255).astype(np.uint8)
    return Shot(image, ids_at(scene.ids, scene, px, py), np.zeros(px.shape, np.float32), seen, wall)


def lean_height(
    scene: Scene, x: np.ndarray, y: np.ndarray, lean: tuple[float, float]
) -> Float32[np.ndarray, "h w"]:
    """Height at which each slanted line of sight meets the surface."""
    top = float(scene.surface.max())
    found = np.zeros(x.shape, np.float32)
    open_ = np.ones(x.shape, bool)
    for height in np.arange(top, 0, -max(0.5, top / 40), dtype=np.float32):
        hit = open_ & (
            sample(scene.surface, scene, x - height * lean[0], y - height * lean[1]) >= height
        )
        found[hit] = height
        open_ &= ~hit
    return found
