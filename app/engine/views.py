"""Pictures of an ortho image with a surface model, and the exact truth of every pixel.

Metres, x east, y north, z up. A camera's surroundings are sampled once into a polar table
(azimuth by distance) of elevation tangents with a running maximum, so that the first hit of any
ray is one binary search; a few steps on the surface model itself then sharpen it. That serves
panoramas, oblique and nadir pictures alike.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, UInt8

FOLD = 512
RANGE_M = 900.0  # beyond, haze
MIN_STEP_M = 0.3
STEP_RATIO = 0.006
WALL_M = 1.8  # a height step over one pixel that counts as a wall
CROWN_BASE = 0.3  # share of a tree's height below which one sees its trunk
SKY = (176.0, 198.0, 222.0)


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
    """A scene whose picture starts (outer corner) at ``left_m``, ``top_m``; flat without surface."""
    levels = [rgb]
    while len(levels) < 6 and min(levels[-1].shape[:2]) > 8:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    height = np.zeros(rgb.shape[:2], np.float32) if surface is None else surface
    kernel = np.ones((3, 3), np.uint8)
    return Scene(
        rgb=tuple(levels), gsd_m=gsd_m, left_m=left_m, top_m=top_m, surface=height,
        high=cv2.dilate(height, kernel), low=cv2.erode(height, kernel), ids=ids, facade=facade,
        shade=shade, sun=sun or Sun(160.0, 45.0), haze=haze, canopy=canopy, trunks=trunks,
        leaves=leaves, under=under,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole. ``pitch_deg`` -90 looks down (the top of the picture is ``heading_deg``)."""

    x: float
    y: float
    z: float
    heading_deg: float
    pitch_deg: float
    fov_deg: float  # across the width
    width: int
    height: int

    @property
    def focal_px(self) -> float:
        return self.width / 2 / math.tan(math.radians(self.fov_deg) / 2)

    def axes(self) -> Float[np.ndarray, "3 3"]:
        """Rows: right, up, forward, in east-north-up."""
        h, p = math.radians(self.heading_deg), math.radians(self.pitch_deg)
        return np.array([
            [math.cos(h), -math.sin(h), 0.0],
            [-math.sin(h) * math.sin(p), -math.cos(h) * math.sin(p), math.cos(p)],
            [math.sin(h) * math.cos(p), math.cos(h) * math.cos(p), math.sin(p)],
        ])  # fmt: skip

    def rays(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """Azimuth in radians and tangent of elevation of each pixel's centre."""
        right = ((np.arange(self.width) + 0.5 - self.width / 2) / self.focal_px)[None, :, None]
        up = ((self.height / 2 - np.arange(self.height) - 0.5) / self.focal_px)[:, None, None]
        axes = self.axes()
        way = right * axes[0] + up * axes[1] + axes[2]
        flat = np.maximum(np.hypot(way[..., 0], way[..., 1]), 1e-6)
        return (
            np.arctan2(way[..., 0], way[..., 1]).astype(np.float32),
            (way[..., 2] / flat).astype(np.float32),
        )

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Column, row (pixel centres at .5) and distance along the axis (negative: behind)."""
        seen = (points - (self.x, self.y, self.z)) @ self.axes().T
        depth = np.where(np.abs(seen[:, 2]) < 1e-9, 1e-9, seen[:, 2])
        col = self.width / 2 + seen[:, 0] / depth * self.focal_px
        row = self.height / 2 - seen[:, 1] / depth * self.focal_px
        return np.stack([col, row, seen[:, 2]], -1)

    @property
    def pixel_rad(self) -> float:
        return 1.0 / self.focal_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Panorama:
    """An equirectangular camera; its centre column faces ``heading_deg``."""

    x: float
    y: float
    z: float
    heading_deg: float
    width: int
    height: int

    def rays(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """Azimuth in radians and tangent of elevation of each pixel's centre."""
        turn = (np.arange(self.width) + 0.5) / self.width * 360 - 180 + self.heading_deg
        lift = 90 - (np.arange(self.height) + 0.5) / self.height * 180
        shape = (self.height, self.width)
        azimuth = np.radians((turn + 180) % 360 - 180).astype(np.float32)
        tangent = np.tan(np.radians(lift)).astype(np.float32)
        return (
            np.broadcast_to(azimuth[None], shape).copy(),
            np.broadcast_to(tangent[:, None], shape).copy(),
        )

    def project(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Column, row (pixel centres at .5) and distance."""
        away = points - (self.x, self.y, self.z)
        flat = np.hypot(away[:, 0], away[:, 1])
        turn = np.degrees(np.arctan2(away[:, 0], away[:, 1])) - self.heading_deg
        col = ((turn + 180) % 360) / 360 * self.width
        row = (90 - np.degrees(np.arctan2(away[:, 2], flat))) / 180 * self.height
        return np.stack([col, row, np.hypot(flat, away[:, 2])], -1)

    @property
    def pixel_rad(self) -> float:
        return 2 * math.pi / self.width


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture and its truth, pixel by pixel."""

    image: UInt8[np.ndarray, "h w 3"]
    ids: Int32[np.ndarray, "h w"]  # 0: no object
    depth_m: Float32[np.ndarray, "h w"]  # along the ray; inf in the sky
    ground: Float32[np.ndarray, "h w 3"]  # x, y, z of what is seen; NaN in the sky
    wall: Bool[np.ndarray, "h w"]

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


def sample(
    layer: np.ndarray, scene: Scene, x: np.ndarray, y: np.ndarray, level: int = 0
) -> np.ndarray:
    """Bilinear value at points [n] or [h, w]; the map is mirrored beyond its edges."""
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


def ids_at(scene: Scene, x: np.ndarray, y: np.ndarray) -> Int32[np.ndarray, "..."]:
    """Object ids at points; 0 beyond the map."""
    if scene.ids is None:
        return np.zeros(x.shape, np.int32)
    rows, cols = scene.ids.shape
    col = np.floor((x - scene.left_m) / scene.gsd_m).astype(np.int32)
    row = np.floor((scene.top_m - y) / scene.gsd_m).astype(np.int32)
    inside = (col >= 0) & (col < cols) & (row >= 0) & (row < rows)
    found = scene.ids[np.clip(row, 0, rows - 1), np.clip(col, 0, cols - 1)]
    return np.where(inside, found, 0).astype(np.int32)


def distances() -> Float32[np.ndarray, " d"]:
    """Steps of the polar table: even nearby, geometric farther out."""
    near = np.arange(MIN_STEP_M, MIN_STEP_M / STEP_RATIO, MIN_STEP_M)
    count = math.ceil(math.log(RANGE_M / near[-1]) / math.log1p(STEP_RATIO))
    far = near[-1] * (1 + STEP_RATIO) ** np.arange(1, count + 1)
    return np.concatenate([near, far]).astype(np.float32)


def first_hits(
    scene: Scene, view: Camera | Panorama, azimuth: np.ndarray, tangent: np.ndarray
) -> tuple[Int32[np.ndarray, "h w"], Float32[np.ndarray, " d"]]:
    """Index of the first table distance at or behind the hit; the table's length in the sky."""
    away = distances()
    step = max(view.pixel_rad / 1.5, 2 * math.pi / 2048)
    turns = np.unwrap(azimuth[0]) if view.height == 1 else azimuth
    low, high = float(turns.min()), float(turns.max())
    count = max(2, math.ceil((high - low) / step) + 1)
    bearing = np.linspace(low, high, count, dtype=np.float32)
    x = view.x + np.sin(bearing)[:, None] * away
    y = view.y + np.cos(bearing)[:, None] * away
    table = (sample(scene.surface, scene, x, y) - np.float32(view.z)) / away
    np.maximum.accumulate(table, axis=1, out=table)
    row = np.rint((azimuth - low) * ((count - 1) / max(1e-6, high - low))).astype(np.int32)
    flat, base = table.ravel(), np.clip(row, 0, count - 1) * len(away)
    first = np.zeros(azimuth.shape, np.int32)
    size = 1 << (len(away).bit_length() - 1)
    while size:  # binary search: how many table entries lie below the ray
        probe = np.minimum(first + size, len(away))
        below = flat[base + probe - 1] < tangent
        first = np.where(below & (first + size <= len(away)), probe, first)
        size >>= 1
    return first, away


def sharpen(
    scene: Scene, view: Camera | Panorama, azimuth: np.ndarray, tangent: np.ndarray,
    first: np.ndarray, away: np.ndarray,
) -> Float32[np.ndarray, "h w"]:  # fmt: skip
    """Horizontal distance of the hit, on the ray's own azimuth."""
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    padded = np.concatenate([np.zeros(2, np.float32), away, away[-1:], away[-1:]])
    near, far = padded[first], padded[np.minimum(first + 3, len(padded) - 1)]

    def covered(at: np.ndarray) -> np.ndarray:
        height = sample(scene.surface, scene, view.x + sin * at, view.y + cos * at)
        return np.asarray(height >= view.z + tangent * at)

    hit, before = padded[np.minimum(first + 2, len(padded) - 1)].copy(), near.copy()
    found = np.zeros(first.shape, bool)
    for share in (0.25, 0.45, 0.65, 0.85, 1.0):
        at = near + (far - near) * np.float32(share)
        fresh = ~found & covered(at)
        hit = np.where(fresh, at, hit)
        found |= fresh
        before = np.where(found, before, at)
    before = np.where(found, before, hit)
    for _ in range(4):
        middle = (before + hit) / 2
        under = covered(middle)
        hit, before = np.where(under, middle, hit), np.where(under, before, middle)
    # below the camera the ground may be nearer than the first step of the table
    return np.asarray(hit, np.float32)


def render(scene: Scene, view: Camera | Panorama, *, noise_seed: int = 0) -> Shot:
    """What the camera sees, with the truth of each pixel."""
    azimuth, tangent = view.rays()
    first, away = first_hits(scene, view, azimuth, tangent)
    sky = first >= len(away)
    flat = sharpen(scene, view, azimuth, tangent, np.minimum(first, len(away) - 1), away)
    sin, cos = np.sin(azimuth), np.cos(azimuth)
    x, y = view.x + sin * flat, view.y + cos * flat
    z = (view.z + tangent * flat).astype(np.float32)
    depth = np.hypot(flat, flat * tangent)
    high, low = sample(scene.high, scene, x, y), sample(scene.low, scene, x, y)
    wall = (high - low > WALL_M) & (high - z > 0.6) & ~sky
    pixel = (depth * view.pixel_rad).astype(np.float32)
    lift = np.abs(tangent) / np.sqrt(1 + tangent**2)
    grazing = np.where(wall, 1.0, np.clip(lift, 0.15, 1.0))
    colour = ground_colour(scene, x, y, pixel / np.sqrt(grazing))
    roughen_near(colour, x, y, z, pixel)
    ids = ids_at(scene, x, y)
    behind_x, behind_y = x + sin * 0.45, y + cos * 0.45
    ids = np.where(wall, ids_at(scene, behind_x, behind_y), ids)
    paint_walls(scene, colour, wall, ids, (x, y, z), (behind_x, behind_y), (sin, cos), pixel)
    fade = 1 - np.exp(-depth * np.float32(scene.haze))
    colour += (np.array((196, 206, 218), np.float32) - colour) * fade[..., None]
    colour[sky] = sky_colour(azimuth[sky], tangent[sky], scene.sun, noise_seed)
    ids[sky] = 0
    depth[sky] = np.inf
    seen = np.stack([x, y, z], -1).astype(np.float32)
    seen[sky] = np.nan
    image = np.clip(colour, 0, 255).astype(np.uint8)
    shot = Shot(image, ids, depth.astype(np.float32), seen, wall)
    return look_through(scene, view, shot, tangent, noise_seed)


def ground_colour(
    scene: Scene, x: np.ndarray, y: np.ndarray, pixel_m: np.ndarray
) -> Float32[np.ndarray, "h w 3"]:
    """The ortho at points, from the level that fits a pixel's size on the ground."""
    level = np.clip(np.log2(np.maximum(pixel_m, 1e-3) / scene.gsd_m), 0, len(scene.rgb) - 1.001)
    base = np.floor(level).astype(np.int32)
    share = (level - base).astype(np.float32)[..., None]
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


def roughen_near(
    colour: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, pixel_m: np.ndarray
) -> None:
    """Grain finer than the ortho where the camera is close to the ground; in place."""
    near = pixel_m < 0.25
    if not near.any():
        return
    px, py = x[near], y[near]
    fade = np.clip(1 - pixel_m[near] / 0.25, 0, 1)
    grain = texture(px, py, 0.07) * 0.035 * fade + texture(px + 9, py, 0.31) * 0.03
    colour[near] *= (1 + grain)[:, None]


def paint_walls(
    scene: Scene, colour: np.ndarray, wall: np.ndarray, ids: np.ndarray,
    at: tuple[np.ndarray, np.ndarray, np.ndarray], behind: tuple[np.ndarray, np.ndarray],
    way: tuple[np.ndarray, np.ndarray], pixel_m: np.ndarray,
) -> None:  # fmt: skip
    """Facades where there are any, crowns of trees from the side, else the edge's colour; in place."""
    if not wall.any():
        return
    x, y, z = (part[wall] for part in at)
    back = np.stack([behind[0][wall], behind[1][wall]])
    over = ground_colour(scene, back[0], back[1], pixel_m[wall])
    painted = over * (0.62 + 0.1 * texture(x + y, z, 0.6))[:, None] * 0.9
    tree = np.zeros(len(x), bool)
    if scene.canopy is not None:
        tree = sample(scene.canopy, scene, back[0], back[1]) > 1.0
        leafy = texture(x * 0.8 + y * 0.6, z, 0.22) * 0.14 + texture(x + y, z, 0.9) * 0.08
        painted[tree] = over[tree] * (0.8 + leafy[tree])[:, None]
    if scene.facade is not None:
        named = ~tree & (ids[wall] > 0)
        if named.any():
            paint = scene.facade(
                ids[wall][named], x[named], y[named], z[named], pixel_m[wall][named]
            )
            painted[named] = (
                paint.rgb * wall_light(scene, paint.normal, x[named], y[named], z[named])[:, None]
            )
    colour[wall] = painted


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


def sky_colour(
    azimuth: np.ndarray, tangent: np.ndarray, sun: Sun, seed: int
) -> Float32[np.ndarray, "n 3"]:
    """Pale at the horizon, bluer above, with clouds that differ by seed."""
    lift = np.arctan(tangent)
    share = np.clip(lift / 1.2, 0, 1)[:, None] ** 0.6
    base = (
        np.array((206, 216, 226), np.float32) * (1 - share)
        + np.array((112, 150, 204), np.float32) * share
    )
    reach = 1.0 / np.maximum(tangent, 0.06)
    u, v = np.sin(azimuth) * reach, np.cos(azimuth) * reach
    soft = cv2.resize(NOISE[:32, :32], (512, 512), interpolation=cv2.INTER_CUBIC)
    col = (np.floor(u * 24).astype(np.int64) + seed * 37) % 512
    row = (np.floor(v * 24).astype(np.int64) + seed * 91) % 512
    cloud = np.clip(soft[row, col] * 0.5 + (seed % 5) * 0.18 - 0.2, 0, 0.9)[:, None]
    glow = 1 + 0.1 * np.cos(azimuth - math.radians(sun.azimuth_deg))[:, None]
    return np.asarray(
        (base + (np.array((232, 234, 238), np.float32) - base) * cloud) * glow, np.float32
    )


def look_through(
    scene: Scene, view: Camera | Panorama, shot: Shot, tangent: np.ndarray, noise_seed: int
) -> Shot:
    """Between trunks, and through bare crowns, one sees the scene without trees."""
    if scene.under is None or scene.canopy is None:
        return shot
    x, y, z = (np.nan_to_num(shot.ground[..., i], nan=-1e6) for i in range(3))
    away = np.maximum(np.hypot(x - view.x, y - view.y), 1e-3)
    sin, cos = (x - view.x) / away, (y - view.y) / away
    crown = sample(scene.canopy, scene, x + sin * 0.45, y + cos * 0.45)
    tree = (crown > 1.0) & np.isfinite(shot.depth_m)
    inner = z + np.maximum(tangent, 0) * 2.5
    below = tree & (inner < crown * CROWN_BASE) & shot.wall
    sparse = tree & (texture(x * 0.8 + y * 0.6, z + y * 0.3, 0.16) * 0.5 + 0.5 > scene.leaves)
    open_ = below | sparse
    if not open_.any():
        return shot
    other = render(scene.under, view, noise_seed=noise_seed)
    image = np.where(open_[..., None], other.image, shot.image)
    ids = np.where(open_, other.ids, shot.ids)
    depth = np.where(open_, other.depth_m, shot.depth_m)
    seen = np.where(open_[..., None], other.ground, shot.ground)
    if scene.trunks is not None:
        foot = scene.trunks[np.clip(shot.ids, 0, len(scene.trunks) - 1)]
        off = np.abs((foot[..., 0] - view.x) * cos - (foot[..., 1] - view.y) * sin)
        trunk = below & (off < 0.14 + 0.012 * crown) & (foot[..., 0] > -1e5)
        image[trunk] = (
            np.array((82, 70, 58)) * (1 + 0.1 * texture(x, z, 0.1)[trunk])[:, None]
        ).astype(np.uint8)
        ids = np.where(trunk, shot.ids, ids)
        depth = np.where(trunk, shot.depth_m, depth)
        seen = np.where(trunk[..., None], shot.ground, seen)
    return Shot(image, ids, depth, seen, np.where(open_, other.wall, shot.wall))


def satellite(
    scene: Scene, *, x: float, y: float, size_m: float, size_px: int,
    lean: tuple[float, float] = (0.0, 0.0),
) -> Shot:  # fmt: skip
    """A north-up square centred on x, y. ``lean``: metres east and north that a roof moves a metre of height."""
    step = size_m / size_px
    east = (np.arange(size_px, dtype=np.float32) + 0.5) * step - size_m / 2 + x
    north = y + size_m / 2 - (np.arange(size_px, dtype=np.float32) + 0.5) * step
    px, py = np.meshgrid(east, north)
    px, py = px.astype(np.float32), py.astype(np.float32)
    wall = np.zeros(px.shape, bool)
    if any(lean):
        height = lean_height(scene, px, py, lean)
        px, py = px - height * lean[0], py - height * lean[1]
        wall = sample(scene.surface, scene, px, py) - height > 1.0
    z = sample(scene.surface, scene, px, py)
    colour = ground_colour(scene, px, py, np.full(px.shape, step, np.float32))
    colour[wall] *= 0.7
    seen = np.stack([px, py, z], -1).astype(np.float32)
    image = np.clip(colour, 0, 255).astype(np.uint8)
    return Shot(image, ids_at(scene, px, py), np.zeros(px.shape, np.float32), seen, wall)


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
