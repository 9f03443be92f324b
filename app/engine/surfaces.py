"""How near ground, walls, crowns and the sky look: all that an ortho picture does not hold."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Int32

from app.engine.cameras import Camera, Panorama
from app.engine.scene import Scene, Sun, ground_colour, sample


@dataclass(frozen=True, slots=True)
class Wall:
    """Points on walls: object, place, bearing from the camera, size of a pixel there."""

    ids: Int32[np.ndarray, " n"]
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    azimuth: np.ndarray
    pixel_m: np.ndarray


def tiled_noise(size: int = 256) -> Float32[np.ndarray, "s s"]:
    """A fixed texture that tiles, of unit spread."""
    rng = np.random.default_rng(7)
    fine = rng.standard_normal((size, size), dtype=np.float32)
    both = fine + 2.2 * cv2.blur(np.tile(fine, (2, 2)), (5, 5))[:size, :size]
    return np.asarray(both / both.std(), np.float32)


NOISE = tiled_noise()


def texture(u: np.ndarray, v: np.ndarray, cell_m: float) -> Float32[np.ndarray, "..."]:
    """The tiled noise at points, ``cell_m`` a texel."""
    size = len(NOISE)
    col = np.floor(u / cell_m).astype(np.int64) % size
    row = np.floor(v / cell_m).astype(np.int64) % size
    return np.asarray(NOISE[row, col])


def soft_noise(u: np.ndarray, v: np.ndarray) -> Float32[np.ndarray, " n"]:
    """The tiled noise, bilinear; a texel is 4 units wide."""
    size = len(NOISE)
    u, v = u / 4 % size, v / 4 % size
    col, row = u.astype(np.int64) % size, v.astype(np.int64) % size
    a, b = (u % 1).astype(np.float32), (v % 1).astype(np.float32)
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    right, down = (col + 1) % size, (row + 1) % size
    upper = NOISE[row, col] * (1 - a) + NOISE[row, right] * a
    lower = NOISE[down, col] * (1 - a) + NOISE[down, right] * a
    return np.asarray(upper * (1 - b) + lower * b)


def sky_colour(
    azimuth: np.ndarray, tangent: np.ndarray, sun: Sun, seed: int
) -> Float32[np.ndarray, "n 3"]:
    """Pale at the horizon, bluer above, with clouds that differ by seed."""
    lift = np.clip(np.arctan(tangent) / 1.2, 0, 1)[:, None] ** 0.6
    base = np.array((206, 216, 226), np.float32) * (1 - lift)
    base = base + np.array((112, 150, 204), np.float32) * lift
    reach = 1.0 / np.maximum(tangent + 0.12, 0.12)
    u, v = np.sin(azimuth) * reach, np.cos(azimuth) * reach
    cloud = np.zeros(len(u), np.float32)
    for octave, weight in ((7.0, 0.6), (17.0, 0.3), (41.0, 0.15)):
        cloud += weight * soft_noise(u * octave + seed * 13.7, v * octave + seed * 5.3)
    share = np.clip(cloud * 0.45 + (seed % 5) * 0.16 - 0.15, 0, 0.92)[:, None]
    glow = 1 + 0.08 * np.cos(azimuth - math.radians(sun.azimuth_deg))[:, None]
    return np.asarray((base + (np.array((234, 236, 240), np.float32) - base) * share) * glow)


def roughen_near(
    scene: Scene, colour: np.ndarray, x: np.ndarray, y: np.ndarray, pixel_m: np.ndarray
) -> None:
    """Crisper edges and grain finer than the ortho where the camera is close; in place."""
    near = pixel_m < 0.6 * scene.gsd_m
    if not near.any():
        return
    px, py = x[near], y[near]
    fade = np.clip(1 - pixel_m[near] / (0.6 * scene.gsd_m), 0, 1)
    blurred = sample(
        scene.rgb[min(2, len(scene.rgb) - 1)], scene, px, py, min(2, len(scene.rgb) - 1)
    )
    detail = colour[near] - blurred
    crisp = colour[near] + 0.7 * fade[:, None] * np.clip(detail, -40, 40)
    grain = texture(px, py, 0.05) * 0.04 * fade + texture(px + 9, py, 0.31) * 0.02
    colour[near] = crisp * (1 + grain)[:, None]


def paint_walls(scene: Scene, view: Camera | Panorama, on: Wall) -> Float32[np.ndarray, "n 3"]:
    """Facades where there are any, crowns from the side, else the colour at the wall's edge."""
    sin, cos = np.sin(on.azimuth), np.cos(on.azimuth)
    back_x, back_y = on.x + sin * 0.45, on.y + cos * 0.45
    over = ground_colour(scene, back_x, back_y, on.pixel_m)
    painted = over * (0.56 + 0.06 * texture(on.x + on.y, on.z, 0.6))[:, None]
    tree = np.zeros(len(on.x), bool)
    if scene.canopy is not None:
        crown = sample(scene.canopy, scene, back_x, back_y)
        tree = crown > 1.0
        lobes = foliage(scene, view, on.ids, on.x, on.y, on.z, on.azimuth)
        lift = np.clip(on.z / np.maximum(crown, 1), 0, 1)
        painted[tree] = (over * (0.5 + 0.45 * lift + 0.2 * lobes)[:, None])[tree]
    if scene.facade is not None:
        named = ~tree & (on.ids > 0)
        x, y, z = on.x[named], on.y[named], on.z[named]
        paint = scene.facade(on.ids[named], x, y, z, on.pixel_m[named])
        painted[named] = paint.rgb * wall_light(scene, paint.normal, x, y, z)[:, None]
    return painted


def foliage(
    scene: Scene, view: Camera | Panorama, ids: np.ndarray, x: np.ndarray, y: np.ndarray,
    z: np.ndarray, azimuth: np.ndarray,
) -> Float32[np.ndarray, "..."]:  # fmt: skip
    """Noise of unit spread over crowns, as wide as it is high for the camera."""
    away = np.hypot(x - view.x, y - view.y)
    if scene.trunks is not None:  # one distance a tree, so that a lobe is not torn
        foot = scene.trunks[np.clip(ids, 0, len(scene.trunks) - 1)]
        trunk = np.hypot(foot[..., 0] - view.x, foot[..., 1] - view.y)
        away = np.where(foot[..., 0] > -1e5, trunk, away)
    u = azimuth * away
    return np.asarray(
        texture(u, z, 0.45) * 0.6 + texture(u + 3, z, 0.17) * 0.6 + texture(u, z, 0.07) * 0.5
    )


def wall_light(
    scene: Scene, normal: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> Float32[np.ndarray, " n"]:
    """Sky light and, out of the shadow, the sun's share on a wall."""
    east, north, _ = scene.sun.towards
    direct = np.clip(normal[:, 0] * east + normal[:, 1] * north, 0, 1)
    if scene.shade is not None:
        out_x, out_y = x + normal[:, 0] * 1.0, y + normal[:, 1] * 1.0
        direct = direct * (sample(scene.shade, scene, out_x, out_y) < z)
    return np.asarray(0.52 + 0.62 * direct, np.float32)
