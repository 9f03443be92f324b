"""How a city looks on one day: season, sun, shadows, cars; and what a sensor makes of it."""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from app.engine.city_layout import Rgb
from app.engine.city_raster import CROP, GRASS, SUB, WATER, City
from app.engine.city_roofs import smooth_noise
from app.engine.facades import Facades, lottery
from app.engine.scene import Scene, Sun, make_scene

Season = Literal["spring", "summer", "dry", "autumn", "winter"]
MEADOW: dict[Season, tuple[float, float, float]] = {
    "spring": (0.95, 1.06, 0.9), "summer": (1.0, 1.0, 1.0), "dry": (1.42, 1.2, 1.08),
    "autumn": (1.08, 0.98, 0.86), "winter": (1.08, 0.95, 0.98),
}  # fmt: skip
LEAVES: dict[Season, tuple[Rgb, ...]] = {
    "spring": ((96, 112, 62), (112, 122, 70), (84, 102, 58)),
    "summer": ((66, 84, 48), (58, 76, 44), (78, 94, 54)),
    "dry": ((84, 92, 54), (76, 84, 50), (96, 98, 60)),
    "autumn": ((150, 112, 58), (124, 104, 56), (164, 130, 66), (96, 96, 54)),
    "winter": ((112, 102, 92), (120, 110, 98), (104, 96, 88)),
}  # fmt: skip
MONTH: dict[Season, int] = {"spring": 4, "summer": 7, "dry": 8, "autumn": 10, "winter": 1}
DENSITY: dict[Season, float] = {
    "spring": 0.85,
    "summer": 1.0,
    "dry": 1.0,
    "autumn": 0.8,
    "winter": 0.3,
}
PAINTS: tuple[Rgb, ...] = (
    (222, 222, 220), (200, 202, 204), (60, 62, 66), (36, 38, 42), (134, 138, 142), (150, 40, 38),
    (48, 70, 116), (236, 236, 234), (92, 96, 98), (170, 160, 140),
)  # fmt: skip
CAR_PARTS = np.array([  # corners of body and cabin: along, across; 1 is half of each
    [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    [(-1, -0.85), (1, -0.85), (1, 0.85), (-1, 0.85)],
], np.float64)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Date:
    """One flight or walk: everything that differs between two pictures of the same ground."""

    season: Season
    sun: Sun
    haze: float
    seed: int  # where the cars are, which tree is how green
    taken: str  # EXIF style, "2024:07:14 11:20:00"


def random_date(rng: np.random.Generator, difficulty: float) -> Date:
    """A day near a clear summer noon at difficulty 0, any day of the year at 1."""
    season: Season = "summer"
    if rng.random() < 0.85 * difficulty:
        others: tuple[Season, ...] = ("spring", "dry", "autumn", "winter")
        season = others[rng.integers(4)]
    lowest = {"winter": 24.0, "autumn": 30.0}.get(season, 36.0)
    azimuth = 170 + rng.uniform(-80, 80) * difficulty
    elevation = max(lowest, 50 + rng.uniform(-26, 16) * difficulty)
    hour = 12 + (azimuth - 180) / 15
    taken = (
        f"{int(rng.integers(2019, 2026))}:{MONTH[season]:02d}:{int(rng.integers(1, 28)):02d} "
        f"{int(hour):02d}:{int(rng.integers(60)):02d}:{int(rng.integers(60)):02d}"
    )
    haze = 0.0003 + 0.0012 * difficulty * rng.random()
    return Date(season, Sun(azimuth, elevation), haze, int(rng.integers(1 << 31)), taken)


def photograph(city: City, date: Date) -> Scene:
    """The city in that day's colours and light, ready to render."""
    rng = np.random.default_rng([date.seed, 3])
    bare_rgb = seasoned(city, date, rng)
    bare = city.bare.copy()
    park(city, bare_rgb, bare, rng)
    full = np.maximum(bare, city.canopy)
    rgb = leafed(city, date, bare_rgb, full, rng)
    shade = shadow_ceiling(full, city.gsd_m, date.sun)
    bare_shade = shadow_ceiling(bare, city.gsd_m, date.sun) if DENSITY[date.season] < 0.5 else shade
    facades = Facades(city.objects)
    trunks = np.full((len(city.objects) + 1, 2), -1e6, np.float32)
    for thing in city.objects:
        if thing.kind == "tree":
            trunks[thing.id] = thing.outline.mean(axis=0)
    under = make_scene(
        light(bare_rgb, bare, bare_shade, city.gsd_m, date.sun), gsd_m=city.gsd_m,
        top_m=city.size_m,
        surface=bare, ids=city.bare_ids, facade=facades, shade=shade, sun=date.sun, haze=date.haze,
    )  # fmt: skip
    return make_scene(
        light(rgb, full, shade, city.gsd_m, date.sun), gsd_m=city.gsd_m, top_m=city.size_m,
        surface=full, ids=city.ids, facade=facades, shade=shade, sun=date.sun, haze=date.haze,
        canopy=city.canopy, trunks=trunks, leaves=DENSITY[date.season], under=under,
    )  # fmt: skip


def seasoned(city: City, date: Date, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Ground colours of the season: grass and each field on its own, ripples on water."""
    tint = np.ones((6, 3), np.float32)
    tint[GRASS] = MEADOW[date.season]
    tint[CROP] = np.array(MEADOW[date.season]) * rng.uniform(0.85, 1.15, 3)
    tint[WATER] = rng.uniform(0.75, 1.35) * np.array((1, 1.03, 1.0))
    tint[[0, 4, 5]] = rng.uniform(0.93, 1.07)
    patches = 1 + smooth_noise(rng, city.cover.shape, 45 / city.gsd_m) * 0.05
    rgb = city.ground_rgb.astype(np.float32) * tint[city.cover]
    soft = (city.cover == GRASS) | (city.cover == CROP)
    rgb *= np.where(soft, patches, 1.0)[..., None].astype(np.float32)
    return np.asarray(np.clip(rgb, 0, 255), np.uint8)


def leafed(
    city: City, date: Date, ground: np.ndarray, full: np.ndarray, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The ground picture with crowns over it; bare crowns let it through."""
    rgb = ground.copy()
    tree = city.canopy >= full - 1e-3
    tree &= city.canopy > 0
    numbers = city.ids[tree]
    palette = np.array(LEAVES[date.season], np.float32)
    kind = (lottery(numbers, 21) * len(palette)).astype(np.int64)
    colour = palette[kind] * (0.82 + 0.36 * lottery(numbers, 22))[:, None]
    green = city.evergreen[tree] > 0
    colour[green] = np.array((54, 70, 48)) * (0.85 + 0.3 * lottery(numbers[green], 23))[:, None]
    colour *= 1 + 0.1 * rng.standard_normal(len(numbers), dtype=np.float32)[:, None]
    alpha = np.where(green, 1.0, {"winter": 0.5}.get(date.season, 1.0))[:, None]
    rgb[tree] = np.clip(colour * alpha + rgb[tree] * (1 - alpha), 0, 255).astype(np.uint8)
    return rgb


def park(city: City, rgb: np.ndarray, height: np.ndarray, rng: np.random.Generator) -> None:
    """Today's cars, in stalls and on the road; in place on colours and heights."""
    share = rng.uniform(0.25, 0.8)
    cars = [stall for stall in city.plan.stalls if rng.random() < share]
    for street in city.plan.streets:
        if street.kind in ("arterial", "street"):
            cars.extend(traffic(street.line, street.width_m, rng))
    side = rgb.shape[0]
    for x, y, angle in cars:
        col, row = x / city.gsd_m, (city.size_m - y) / city.gsd_m
        if not (8 < col < side - 8 and 8 < row < side - 8):
            continue
        if height[int(row), int(col)] > 0.1 or city.cover[int(row), int(col)] in (
            WATER,
            GRASS,
            CROP,
        ):
            continue
        stamp_car(rgb, height, col - 0.5, row - 0.5, angle, city.gsd_m, rng)


def traffic(
    line: np.ndarray, width_m: float, rng: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Moving cars on both sides of a street: x, y, angle."""
    cars = []
    for i in range(len(line) - 1):
        for side in (-1.0, 1.0):
            if rng.random() < 0.07:
                along = line[i + 1] - line[i]
                length = max(1e-6, float(np.hypot(*along)))
                left = np.array([-along[1], along[0]]) / length
                spot = line[i] + left * side * width_m * 0.24
                cars.append((float(spot[0]), float(spot[1]), math.atan2(along[1], along[0])))
    return cars


def stamp_car(
    rgb: np.ndarray, height: np.ndarray, col: float, row: float, angle: float, gsd_m: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """A car or a van of a random colour, in place; ``angle`` from east towards north."""
    long = 4.3 if rng.random() < 0.9 else rng.uniform(6, 11)
    ahead = np.array([math.cos(angle), -math.sin(angle)]) / gsd_m
    aside = np.array([ahead[1], -ahead[0]])
    paint = PAINTS[rng.integers(len(PAINTS))]
    low, high = CAR_PARTS[0] * (long / 2, 0.92), CAR_PARTS[1] * (long / 2, 0.92)
    shapes = np.stack([low, high * (0.6, 1), high * (0.34, 1), low * 0.98])
    shapes[1:3, :, 0] -= 0.22
    pixels = shapes[..., :1] * ahead + shapes[..., 1:] * aside + (col, row)
    body, glass, top, load = np.round(pixels * (1 << SUB)).astype(np.int32)
    cv2.fillPoly(rgb, [body], paint, cv2.LINE_AA, SUB)
    cv2.fillPoly(height, [body], 1.0, cv2.LINE_8, SUB)
    if long < 5:
        cv2.fillPoly(rgb, [glass], (44, 50, 56), cv2.LINE_AA, SUB)
        cv2.fillPoly(rgb, [top], paint, cv2.LINE_AA, SUB)
        cv2.fillPoly(height, [glass], 1.5, cv2.LINE_8, SUB)
    else:
        cv2.fillPoly(height, [load], 2.8, cv2.LINE_8, SUB)


def shadow_ceiling(
    height: Float32[np.ndarray, "h w"], gsd_m: float, sun: Sun
) -> Float32[np.ndarray, "h w"]:
    """Height below which each place is in another's cast shadow.

    Doubling: the ceiling over 2n steps towards the sun is that over n, joined with itself n away.
    """
    east, north, up = sun.towards
    flat = math.hypot(east, north)
    fall = up / max(flat, 1e-6) * gsd_m  # metres that a ray drops over one pixel
    col, row = east / max(flat, 1e-6), -north / max(flat, 1e-6)
    ceiling = shifted(height, col, row) - np.float32(fall)
    step = 1
    reach = float(height.max()) / max(fall, 1e-3)
    while step < reach:
        ceiling = np.maximum(
            ceiling, shifted(ceiling, col * step, row * step) - np.float32(fall * step)
        )
        step *= 2
    return ceiling


def shifted(layer: np.ndarray, col: float, row: float) -> np.ndarray:
    """The layer read ``col``, ``row`` pixels further on."""
    move = np.array([[1, 0, col], [0, 1, row]], np.float32)
    size = (layer.shape[1], layer.shape[0])
    return np.asarray(
        cv2.warpAffine(
            layer,
            move,
            size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def light(
    rgb: UInt8[np.ndarray, "h w 3"], height: np.ndarray, ceiling: np.ndarray, gsd_m: float, sun: Sun
) -> UInt8[np.ndarray, "h w 3"]:
    """Sun, cast shadows and the dimmer foot of walls, on a picture seen from above."""
    east, north, up = sun.towards
    slope_x = np.clip(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / (8 * gsd_m)), -1.6, 1.6)
    slope_y = np.clip(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=-1 / (8 * gsd_m)), -1.6, 1.6)
    facing = (up - east * slope_x - north * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = np.clip(facing / up, 0, 1.5)
    lit = cv2.GaussianBlur((ceiling < height + 0.15).astype(np.float32), (3, 3), 0)
    around = cv2.blur(height, (round(9 / gsd_m),) * 2)
    sky = 1 - 0.35 * np.clip((around - height) / 14, 0, 1)
    out = np.empty_like(rgb)
    for band, blue in enumerate((0.88, 0.98, 1.16)):
        gain = 0.48 * blue * sky + (0.62 - 0.07 * (blue - 1)) * facing * lit
        out[..., band] = np.clip(rgb[..., band] * gain, 0, 255)
    return out


@dataclass(frozen=True, slots=True)
class Sensor:
    """What a camera and its processing do to the light."""

    gains: tuple[float, float, float]
    gamma: float
    contrast: float
    saturation: float
    veil: float  # share of white haze
    noise: float  # standard deviation, grey levels
    blur_px: float
    jpeg: int


def random_sensor(rng: np.random.Generator, difficulty: float) -> Sensor:
    def near(middle: float, spread: float) -> float:
        return float(middle + rng.uniform(-spread, spread) * difficulty)

    return Sensor(
        gains=(near(1, 0.13), near(1, 0.06), near(1, 0.15)),
        gamma=near(1, 0.28),
        contrast=near(1.05, 0.22),
        saturation=near(0.8, 0.3),
        veil=0.03 + 0.2 * difficulty * float(rng.random()) ** 2,
        noise=1 + 5 * difficulty * float(rng.random()),
        blur_px=0.2 + 0.8 * difficulty * float(rng.random()),
        jpeg=int(94 - 34 * difficulty * rng.random()),
    )


def expose(
    image: UInt8[np.ndarray, "h w 3"], sensor: Sensor, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture as that sensor delivers it, JPEG artefacts included."""
    light = image.astype(np.float32) / 255
    light = np.clip(light * np.array(sensor.gains, np.float32), 0, 1) ** np.float32(sensor.gamma)
    light = light * (1 - sensor.veil) + np.float32(0.86 * sensor.veil)
    grey = light.mean(axis=-1, keepdims=True)
    light = grey + (light - grey) * np.float32(sensor.saturation)
    light = (light - 0.42) * np.float32(sensor.contrast) + 0.42
    if sensor.blur_px > 0.3:
        light = cv2.GaussianBlur(light, (0, 0), sensor.blur_px)
    light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(sensor.noise / 255)
    done = np.clip(light * 255, 0, 255).astype(np.uint8)
    packed = cv2.imencode(".jpg", done[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR_RGB), np.uint8)


def open_spots(city: City) -> Bool[np.ndarray, "h w"]:
    """Where a street camera may stand: on a road, clear of buildings, trees and the map's edge."""
    from app.engine.city_raster import ROAD

    busy = ((city.bare > 0.5) | (city.canopy > 0)).astype(np.uint8)
    near = cv2.dilate(busy, np.ones((round(4 / city.gsd_m),) * 2, np.uint8))
    return np.asarray((city.cover == ROAD) & (near == 0))
