"""A city plan drawn as rasters: colour, height, object ids, what covers the ground.

Row 0 is the north edge; pixel (row, col) is centred on x = (col + 0.5) gsd and
y = size - (row + 0.5) gsd.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from app.engine.city_layout import Building, Ground, Plan, Points, Rgb, Street
from app.engine.city_roofs import crown, roof, smooth_noise

HARD, GRASS, CROP, WATER, ROOF, ROAD = range(6)  # values of ``cover``
SUB = 4  # bits of sub-pixel precision in cv2's drawing
SIDEWALK: Rgb = (158, 154, 148)
TARMAC: dict[str, Rgb] = {
    "arterial": (88, 88, 90), "street": (100, 99, 98), "lane": (146, 134, 112),
    "path": (178, 164, 138), "drive": (150, 144, 136), "rail": (118, 108, 98),
}  # fmt: skip
NAMED = {"water": "pond", "pitch": "sports pitch", "court": "court", "pool": "pool",
         "parking": "car park", "plaza": "plaza"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class WorldObject:
    """Something with an id in the object raster. ``outline`` is in local metres."""

    id: int
    kind: str
    outline: Float[np.ndarray, "n 2"]
    height_m: float
    wall_rgb: Rgb = (128, 128, 128)

    @property
    def box_m(self) -> tuple[float, float, float, float]:
        """West, south, east, north."""
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])


@dataclass(frozen=True, slots=True)
class City:
    """The rasters of one city, before season and light."""

    plan: Plan
    size_m: float
    gsd_m: float
    ground_rgb: UInt8[np.ndarray, "h w 3"]  # without trees and cars
    cover: UInt8[np.ndarray, "h w"]
    bare: Float32[np.ndarray, "h w"]  # height of ground and buildings, metres
    canopy: Float32[np.ndarray, "h w"]  # height of tree tops, 0 where none
    evergreen: UInt8[np.ndarray, "h w"]
    ids: Int32[np.ndarray, "h w"]  # 0 where no object; trees win over what they stand on
    bare_ids: Int32[np.ndarray, "h w"]  # the same without trees
    objects: tuple[WorldObject, ...]  # objects[i].id == i + 1


@dataclass(slots=True)
class Canvas:
    """The rasters while they are drawn."""

    size_m: float
    gsd_m: float
    rgb: UInt8[np.ndarray, "h w 3"]
    cover: UInt8[np.ndarray, "h w"]
    height: Float32[np.ndarray, "h w"]
    ids: Int32[np.ndarray, "h w"]
    rng: np.random.Generator
    objects: list[WorldObject] = field(default_factory=list)

    def pixels(self, points: Points) -> Int32[np.ndarray, "n 2"]:
        """Column and row in cv2's fixed point."""
        col = points[:, 0] / self.gsd_m - 0.5
        row = (self.size_m - points[:, 1]) / self.gsd_m - 0.5
        return np.round(np.stack([col, row], -1) * (1 << SUB)).astype(np.int32)

    def fill(self, outline: Points, rgb: Rgb, cover: int, object_id: int = 0) -> None:
        shape = [self.pixels(outline)]
        cv2.fillPoly(self.rgb, shape, rgb, cv2.LINE_AA, SUB)
        cv2.fillPoly(self.cover, shape, cover, cv2.LINE_8, SUB)
        cv2.fillPoly(self.ids, shape, object_id, cv2.LINE_8, SUB)

    def stroke(self, line: Points, width_m: float, rgb: Rgb, cover: int | None = None) -> None:
        width = max(1, round(width_m / self.gsd_m))
        path = [self.pixels(line)]
        cv2.polylines(self.rgb, path, False, rgb, width, cv2.LINE_AA, SUB)
        if cover is not None:
            cv2.polylines(self.cover, path, False, cover, width, cv2.LINE_8, SUB)
            cv2.polylines(self.ids, path, False, 0, width, cv2.LINE_8, SUB)

    def name(self, kind: str, outline: Points, height_m: float, wall: Rgb = (128, 128, 128)) -> int:
        number = len(self.objects) + 1
        self.objects.append(WorldObject(number, kind, outline, height_m, wall))
        return number

    def window(self, outline: Points, pad: int = 2) -> tuple[slice, slice] | None:
        """Rows and columns that hold an outline; None when it leaves the map."""
        rows, cols = self.height.shape
        at = self.pixels(outline) / (1 << SUB)
        left, top = np.floor(at.min(axis=0)).astype(int) - pad
        right, bottom = np.ceil(at.max(axis=0)).astype(int) + pad + 1
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, cols), min(bottom, rows)
        return None if left >= right or top >= bottom else (slice(top, bottom), slice(left, right))


def draw_city(plan: Plan, seed: int, gsd_m: float) -> City:
    """All rasters of a plan."""
    rng = np.random.default_rng([seed, 2])
    side = round(plan.size_m / gsd_m)
    canvas = Canvas(
        plan.size_m,
        gsd_m,
        rgb=np.empty((side, side, 3), np.uint8),
        cover=np.full((side, side), GRASS, np.uint8),
        height=np.zeros((side, side), np.float32),
        ids=np.zeros((side, side), np.int32),
        rng=rng,
    )
    canvas.rgb[:] = (116, 118, 80)
    for ground in plan.grounds:
        draw_ground(canvas, ground)
    draw_streets(canvas, plan)
    roughen(canvas)
    for building in plan.buildings:
        draw_building(canvas, building)
    bare_ids = canvas.ids.copy()
    canopy, evergreen = draw_trees(canvas, plan)
    return City(
        plan, plan.size_m, gsd_m, canvas.rgb, canvas.cover, canvas.height, canopy, evergreen,
        canvas.ids, bare_ids, tuple(canvas.objects),
    )  # fmt: skip


COVERS = {
    "lawn": GRASS,
    "forest": GRASS,
    "pitch": GRASS,
    "crop": CROP,
    "water": WATER,
    "pool": WATER,
}


def draw_ground(canvas: Canvas, ground: Ground) -> None:
    number = 0
    if ground.kind in NAMED:
        number = canvas.name(NAMED[ground.kind], ground.outline, 0.0)
    canvas.fill(ground.outline, ground.rgb, COVERS.get(ground.kind, HARD), number)
    if ground.stripe_rad is not None and ground.kind != "court":
        step, depth = {"crop": (3.2, 9.0), "pitch": (11.0, 7.0), "plaza": (5.0, 5.0)}[ground.kind]
        stripes(canvas, ground, step, depth)
    if ground.kind in ("pitch", "court", "track"):
        mark_pitch(canvas, ground)
    if ground.kind == "parking":
        canvas.stroke(np.concatenate([ground.outline, ground.outline[:1]]), 0.6, SIDEWALK)


def stripes(canvas: Canvas, ground: Ground, step_m: float, depth: float) -> None:
    """Rows of a crop, mowing bands, paving bands, along ``stripe_rad``."""
    view = canvas.window(ground.outline)
    if view is None or ground.stripe_rad is None:
        return
    x, y = grid_of(canvas, view)
    across = -x * math.sin(ground.stripe_rad) + y * math.cos(ground.stripe_rad)
    wave = np.sin(across * (2 * math.pi / step_m)) * depth
    if ground.kind == "crop":
        wave += np.where(across % 24 < 0.8, -16, 0)  # tramlines
    mask = np.zeros(wave.shape, np.uint8)
    shape = canvas.pixels(ground.outline) - np.array([view[1].start, view[0].start]) * (1 << SUB)
    cv2.fillPoly(mask, [shape.astype(np.int32)], 1, cv2.LINE_8, SUB)
    part = canvas.rgb[view]
    part[:] = np.clip(part + (wave * mask)[..., None], 0, 255).astype(np.uint8)


def grid_of(
    canvas: Canvas, view: tuple[slice, slice]
) -> tuple[Float32[np.ndarray, "1 w"], Float32[np.ndarray, "h 1"]]:
    """Metres east and north of the pixels of a window."""
    x = (np.arange(view[1].start, view[1].stop, dtype=np.float32) + 0.5) * canvas.gsd_m
    y = (
        canvas.size_m
        - (np.arange(view[0].start, view[0].stop, dtype=np.float32) + 0.5) * canvas.gsd_m
    )
    return x[None], y[:, None]


def mark_pitch(canvas: Canvas, ground: Ground) -> None:
    """White lines: outline, halfway line, circle; lanes on a track."""
    middle = ground.outline.mean(axis=0)
    loop = np.concatenate([ground.outline, ground.outline[:1]])
    white: Rgb = (226, 226, 220)
    if ground.kind == "track":
        for share in (0.97, 0.92, 0.87):
            canvas.stroke(middle + (loop - middle) * share, 0.3, (208, 170, 156))
        return
    canvas.stroke(middle + (loop - middle) * 0.95, 0.3, white)
    corners = ground.outline
    long = int(np.hypot(*(corners[1] - corners[0])) >= np.hypot(*(corners[2] - corners[1])))
    halfway = (
        np.array(
            [corners[1 - long] + corners[2 - long], corners[3 - long] + corners[(4 - long) % 4]]
        )
        / 2
    )
    canvas.stroke(middle + (halfway - middle) * 0.95, 0.3, white)
    if ground.kind == "pitch":
        turn = np.linspace(0, 2 * math.pi, 32)
        canvas.stroke(middle + 9.0 * np.stack([np.cos(turn), np.sin(turn)], -1), 0.3, white)


def draw_streets(canvas: Canvas, plan: Plan) -> None:
    """Lower kinds first, so that an arterial bridges a river and a river cuts a lane."""
    order = ("path", "drive", "lane", "street", "river", "arterial", "rail")
    by_kind: dict[str, list[Street]] = {kind: [] for kind in order}
    for street in plan.streets:
        by_kind[street.kind].append(street)
    for kind in order:
        for street in by_kind[kind]:
            if kind == "river":
                canvas.stroke(street.line, street.width_m + 8, (132, 124, 96), GRASS)
                canvas.stroke(street.line, street.width_m, (70, 88, 86), WATER)
            elif kind in ("street", "arterial"):
                canvas.stroke(street.line, street.width_m + 4.6, SIDEWALK, HARD)
        for street in by_kind[kind]:
            if kind != "river":
                grey = canvas.rng.normal(0, 5)
                tone = tuple(int(c + grey) for c in TARMAC[kind])
                canvas.stroke(street.line, street.width_m, tone, ROAD)  # type: ignore[arg-type]
        for street in by_kind[kind]:
            mark_street(canvas, street)
    for x, y, radius in plan.roundabouts:
        draw_roundabout(canvas, np.array([x, y]), radius)


def dashes(line: Points, on_m: float, off_m: float) -> list[Points]:
    """Short pieces along a polyline."""
    step = np.hypot(*np.diff(line, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(step)])
    starts = np.arange(6.0, at[-1] - 6.0, on_m + off_m)
    ends = np.stack([starts, starts + on_m])
    x, y = np.interp(ends, at, line[:, 0]), np.interp(ends, at, line[:, 1])
    return [np.array([[x[0, i], y[0, i]], [x[1, i], y[1, i]]]) for i in range(len(starts))]


def aside(line: Points, shift_m: float) -> Points:
    """A polyline moved to its left."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(1e-9, np.hypot(along[:, :1], along[:, 1:]))
    return np.asarray(line + shift_m * np.stack([-along[:, 1], along[:, 0]], -1))


def mark_street(canvas: Canvas, street: Street) -> None:
    white: Rgb = (206, 206, 200)
    if street.kind == "arterial" and len(street.line) > 2:
        canvas.stroke(aside(street.line, street.width_m * 0.46), 0.3, (190, 190, 184))
        canvas.stroke(aside(street.line, -street.width_m * 0.46), 0.3, (190, 190, 184))
        if street.width_m > 17:
            canvas.stroke(street.line, 2.4, (104, 116, 72), GRASS)
        for shift in (-0.23, 0.23) if street.width_m > 13 else (0.0,):
            for piece in dashes(aside(street.line, shift * street.width_m), 3.0, 5.0):
                canvas.stroke(piece, 0.35, white)
        crosswalk(canvas, street, 0.08)
        crosswalk(canvas, street, 0.9)
    elif street.kind == "street" and len(street.line) > 2:
        if street.width_m > 8.5:
            for piece in dashes(street.line, 2.0, 4.0):
                canvas.stroke(piece, 0.3, (176, 176, 170))
        if canvas.rng.random() < 0.5:
            crosswalk(canvas, street, float(canvas.rng.uniform(0.15, 0.85)))
    elif street.kind == "rail":
        for piece in dashes(street.line, 0.3, 0.5):
            canvas.stroke(aside(piece, 2.2), 2.4, (96, 86, 78))
        for shift in (-2.9, -1.5, 1.5, 2.9):
            canvas.stroke(aside(street.line, shift), 0.35, (150, 140, 132))


def crosswalk(canvas: Canvas, street: Street, share: float) -> None:
    """Zebra bars along the street at a share of its length."""
    at = int(np.clip(share * len(street.line), 1, len(street.line) - 2))
    along = street.line[at + 1] - street.line[at - 1]
    length = float(np.hypot(*along))
    if length < 1e-6:
        return
    along /= length
    left = np.array([-along[1], along[0]])
    for v in np.arange(-street.width_m * 0.42, street.width_m * 0.42, 1.2):
        start = street.line[at] + left * v
        canvas.stroke(np.array([start, start + along * 3.4]), 0.6, (214, 214, 208))


def draw_roundabout(canvas: Canvas, middle: Points, radius_m: float) -> None:
    turn = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], -1)
    canvas.fill(middle + circle * (radius_m + 2.4), SIDEWALK, HARD)
    canvas.fill(middle + circle * radius_m, TARMAC["arterial"], ROAD)
    isle = middle + circle * radius_m * 0.45
    canvas.fill(isle, (170, 164, 156), HARD)
    number = canvas.name("roundabout", middle + circle * radius_m, 0.0)
    canvas.fill(middle + circle * (radius_m * 0.45 - 1), (102, 120, 66), GRASS, number)


def roughen(canvas: Canvas) -> None:
    """Stains, patches and grain on the ground, stronger on soil and grass than on tarmac."""
    shape = canvas.height.shape
    strength = np.array([0.035, 0.075, 0.06, 0.03, 0.0, 0.032], np.float32)[canvas.cover]
    noise = canvas.rng.standard_normal(shape, dtype=np.float32) * np.float32(0.5)
    for cell, weight in ((90.0, 0.7), (22.0, 0.7), (5.0, 0.6), (1.3, 0.7)):
        noise += smooth_noise(canvas.rng, shape, cell / canvas.gsd_m) * np.float32(weight)
    gain = 1 + noise * strength
    for band in range(3):
        canvas.rgb[..., band] = np.clip(canvas.rgb[..., band] * gain, 0, 255)


def draw_building(canvas: Canvas, building: Building) -> None:
    view = canvas.window(building.outline)
    if view is None:
        return
    offset = np.array([view[1].start, view[0].start]) * (1 << SUB)
    shape = (canvas.pixels(building.outline) - offset).astype(np.int32)
    mask = np.zeros(canvas.height[view].shape, np.uint8)
    cv2.fillPoly(mask, [shape], 1, cv2.LINE_8, SUB)
    inside = mask > 0
    if inside.sum() < 8 or (canvas.cover[view][inside] == WATER).any():
        return
    roads = (canvas.cover[view][inside] == ROAD).mean()
    if roads > 0.03 and building.kind not in ("shed", "house"):
        return  # an arterial of another district runs here
    x, y = grid_of(canvas, view)
    height, rgb = roof(building, x, y, mask, canvas.gsd_m, canvas.rng)
    number = canvas.name(
        building.kind, building.outline, float(height[inside].max()), building.wall_rgb
    )
    canvas.height[view][inside] = height[inside]
    canvas.rgb[view][inside] = rgb[inside]
    canvas.cover[view][inside] = ROOF
    canvas.ids[view][inside] = number


def draw_trees(
    canvas: Canvas, plan: Plan
) -> tuple[Float32[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]:
    """Canopy heights and which of them keep their leaves; marks tree ids on the canvas."""
    canopy = np.zeros_like(canvas.height)
    evergreen = np.zeros(canopy.shape, np.uint8)
    rows, cols = canopy.shape
    moulds = [[crown(canvas.rng, 48, bool(kind)) for _ in range(12)] for kind in range(2)]
    for x, y, radius, height, conifer in plan.trees:
        col, row = int(x / canvas.gsd_m), int((canvas.size_m - y) / canvas.gsd_m)
        reach = max(1, round(radius / canvas.gsd_m))
        if not (reach <= col < cols - reach - 1 and reach <= row < rows - reach - 1):
            continue
        if canvas.cover[row, col] in (ROOF, WATER, ROAD):
            continue
        mould = moulds[int(conifer)][canvas.rng.integers(12)]
        side = 2 * reach + 1
        top = cv2.resize(mould, (side, side), interpolation=cv2.INTER_LINEAR) * height
        view = np.s_[row - reach : row + reach + 1, col - reach : col + reach + 1]
        wins = (top > canopy[view]) & (top > canvas.height[view] + 0.5)
        turn = np.arange(0, 2 * math.pi, math.pi / 6)
        number = canvas.name(
            "tree", np.array([x, y]) + radius * np.stack([np.cos(turn), np.sin(turn)], -1), height
        )
        canopy[view][wins] = top[wins]
        evergreen[view][wins] = int(conifer)
        canvas.ids[view][wins] = number
    return canopy, evergreen
