"""The demo world: a procedural city with a seed, photographed on several days, and pairs from it.

Needs only numpy and OpenCV, so that training pairs can be rendered anywhere; what needs rasterio
is in `world_files`.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt8

from app.engine.appearance import Date, expose, open_spots, photograph, random_date, random_sensor
from app.engine.cameras import aimed
from app.engine.city_plan import make_plan
from app.engine.city_raster import City, draw_city
from app.engine.utm import utm_to_latlon
from app.engine.views import Camera, Panorama, Scene, Shot, render, satellite
from app.errors import UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore

PhotoView = Literal["drone", "street"]

ORIGINS: tuple[tuple[int, float, float], ...] = (  # EPSG, east, north: plains of several countries
    (32631, 470_000, 5_390_000), (32632, 690_000, 5_370_000), (32633, 400_000, 5_830_000),
    (32630, 440_000, 4_440_000), (32634, 500_000, 5_780_000), (32617, 330_000, 4_430_000),
    (32614, 620_000, 3_380_000), (32654, 370_000, 3_990_000), (32755, 330_000, 5_820_000),
    (32643, 710_000, 3_170_000),
)  # fmt: skip
EDGE_M = 90.0  # photos keep away from the map's edge by this much
PAIR_COLUMNS = (
    "query", "satellite", "split", "place", "lat", "lon", "heading_deg", "view", "kind", "dx_m",
    "dy_m", "tile_size_m", "pitch_deg", "height_m", "world",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Day:
    """One date and the city on it."""

    date: Date
    scene: Scene


@dataclass(frozen=True, slots=True)
class World:
    """A city, where it lies, and its days. Local metres: x east, y north of its south-west."""

    seed: int
    difficulty: float
    city: City
    epsg: int
    east_m: float  # of the south-west corner, in the CRS
    north_m: float
    imagery: Day  # what the satellite saw
    photos: tuple[Day, ...]  # what the other cameras saw; never the same day

    @property
    def size_m(self) -> float:
        return self.city.size_m

    def latlon(self, x: float, y: float) -> LatLon:
        return utm_to_latlon(self.epsg, self.east_m + x, self.north_m + y)


def make_world(
    seed: int,
    *,
    size_m: float = 1000.0,
    gsd_m: float = 0.4,
    difficulty: float = 0.5,
    photo_days: int = 2,
    report: Report = ignore,
) -> World:
    """The same arguments give the same world, to the byte."""
    if not 0 <= difficulty <= 1:
        raise UserError(f"A difficulty of {difficulty} makes no sense", "Give one from 0 to 1.")
    if not 300 <= size_m <= 4000 or not 0.1 <= gsd_m <= 2:
        raise UserError(
            f"A world of {size_m:g} m at {gsd_m:g} m a pixel is out of reach",
            "Choose a side of 300 to 4000 m and 0.1 to 2 m a pixel.",
        )
    rng = np.random.default_rng([seed, 0])
    steps = photo_days + 3
    report(Progress(0, steps, f"plan of city {seed}"))
    plan = make_plan(seed, size_m)
    report(Progress(1, steps, f"city {seed}"))
    city = draw_city(plan, seed, gsd_m)
    epsg, east, north = ORIGINS[rng.integers(len(ORIGINS))]
    east, north = (v + 10.0 * float(rng.integers(-800, 800)) for v in (east, north))
    dates = [random_date(rng, difficulty) for _ in range(photo_days + 1)]
    days = []
    for number, date in enumerate(dates):
        report(Progress(2 + number, steps, f"city {seed} on {date.taken[:10].replace(':', '-')}"))
        days.append(Day(date, photograph(city, date)))
    return World(seed, difficulty, city, epsg, east, north, days[0], tuple(days[1:]))


@dataclass(frozen=True, slots=True)
class Taken:
    """A photo and where it was taken."""

    image: UInt8[np.ndarray, "h w 3"]
    shot: Shot  # before the sensor
    view: Camera | Panorama
    date: Date
    x: float  # the answer: ground at a drone photo's centre, or the street camera itself
    y: float

    @property
    def pitch_deg(self) -> float:
        return self.view.pitch_deg if isinstance(self.view, Camera) else 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A photo and the satellite tile that holds its place."""

    photo: Taken
    tile: UInt8[np.ndarray, "s s 3"]
    tile_x: float
    tile_y: float
    tile_size_m: float


def fly(
    world: World, rng: np.random.Generator, *, footprint_m: float, size_px: int = 320,
    width_px: int | None = None, pitch_deg: float | None = None,
    at: tuple[float, float] | None = None,
) -> Taken:  # fmt: skip
    """A drone photo of ``footprint_m`` across the middle, of a random heading; of a random place
    unless it is to be ``at`` one (x, y)."""
    day = world.photos[rng.integers(len(world.photos))]
    edge = min(EDGE_M, world.size_m * 0.2)
    x, y = rng.uniform(edge, world.size_m - edge, 2) if at is None else at
    heading, fov = float(rng.uniform(0, 360)), float(rng.uniform(45, 74))
    if pitch_deg is None:
        pitch_deg = rng.uniform(-90, -86) if rng.random() < 0.45 else rng.uniform(-86, -50)
    width = width_px or size_px
    camera = aimed(
        x=float(x), y=float(y), z=0.0, away_m=footprint_m / 2 / math.tan(math.radians(fov) / 2),
        heading_deg=heading, pitch_deg=float(pitch_deg), fov_deg=fov, width=width, height=size_px,
    )  # fmt: skip
    shot = render(day.scene, camera)
    seen = shot.ground[size_px // 2, width // 2]
    image = expose(shot.image, random_sensor(rng, world.difficulty), rng)
    return Taken(image, shot, camera, day.date, float(seen[0]), float(seen[1]))


def stand(
    world: World, rng: np.random.Generator, *, size: tuple[int, int] = (256, 512),
    fov_deg: float | None = None,
) -> Taken:  # fmt: skip
    """A street photo: a panorama, or with ``fov_deg`` a perspective picture; (height, width)."""
    day = world.photos[rng.integers(len(world.photos))]
    x, y = street_spot(world, day.scene, rng)
    heading, z = float(rng.uniform(0, 360)), float(rng.uniform(1.6, 2.5))
    view: Camera | Panorama
    if fov_deg is None:
        view = Panorama(x=x, y=y, z=z, heading_deg=heading, width=size[1], height=size[0])
    else:
        view = Camera(
            x=x, y=y, z=z, heading_deg=heading, pitch_deg=float(rng.uniform(-4, 8)),
            fov_deg=fov_deg, width=size[1], height=size[0],
        )  # fmt: skip
    shot = render(day.scene, view, noise_seed=day.date.seed % 97)
    image = expose(shot.image, random_sensor(rng, world.difficulty), rng)
    return Taken(image, shot, view, day.date, x, y)


def street_spot(world: World, scene: Scene, rng: np.random.Generator) -> tuple[float, float]:
    """A place on a street with no car, tree or wall within arm's reach that day."""
    gsd = world.city.gsd_m
    spots = open_spots(world.city)
    edge = round(min(EDGE_M, world.size_m * 0.2) / gsd)
    spots[:edge], spots[-edge:], spots[:, :edge], spots[:, -edge:] = False, False, False, False
    rows, cols = np.nonzero(spots)
    reach = round(2.4 / gsd)
    for index in rng.integers(0, len(rows), 200):
        row, col = rows[index], cols[index]
        near = scene.surface[row - reach : row + reach + 1, col - reach : col + reach + 1]
        if near.max() < 0.3:
            return float((col + 0.5) * gsd), float(world.size_m - (row + 0.5) * gsd)
    raise UserError("This world has no free street to stand on", "Choose another seed.")


def take_tile(
    world: World, rng: np.random.Generator, *, x: float, y: float, size_m: float, size_px: int
) -> UInt8[np.ndarray, "s s 3"]:
    """The satellite's picture of a square; at higher difficulty a little off, leaning and worse."""
    over = pass_over(world, rng)
    shot = over.shoot(world.imagery.scene, x=x, y=y, size_m=size_m, size_px=size_px)
    return expose(shot.image, random_sensor(rng, world.difficulty), rng)


@dataclass(frozen=True, slots=True)
class Pass:
    """How a satellite stood when it took a picture."""

    off_m: tuple[float, float]  # by which its position is wrong: east, north
    lean: tuple[float, float]  # by which what is a metre high is shifted in its picture

    def shoot(self, scene: Scene, *, x: float, y: float, size_m: float, size_px: int) -> Shot:
        """A north-up square; several scenes shot in one pass lie over each other."""
        east, north = self.off_m
        return satellite(
            scene, x=x + east, y=y + north, size_m=size_m, size_px=size_px, lean=self.lean
        )


def pass_over(world: World, rng: np.random.Generator) -> Pass:
    off = rng.normal(0, 0.8 * world.difficulty, 2)
    lean = rng.uniform(-0.22, 0.22, 2) * world.difficulty
    return Pass((float(off[0]), float(off[1])), (float(lean[0]), float(lean[1])))


def render_pair(
    world: World, rng: np.random.Generator, view: PhotoView, *, satellite_px: int = 256,
    drone_px: int = 320, panorama_px: tuple[int, int] = (256, 512),
) -> Pair:  # fmt: skip
    """A photo and a tile; the photo's place is up to a quarter of the tile off its centre."""
    if view == "drone":
        size = float(rng.uniform(60, 120))
        photo = fly(world, rng, footprint_m=size * rng.uniform(0.8, 1.25), size_px=drone_px)
    else:
        size = float(rng.uniform(60, 90))
        photo = stand(world, rng, size=panorama_px)
    dx, dy = rng.uniform(-0.25, 0.25, 2) * size
    x, y = photo.x - float(dx), photo.y - float(dy)
    tile = take_tile(world, rng, x=x, y=y, size_m=size, size_px=satellite_px)
    return Pair(photo, tile, x, y, size)


def write_jpeg(path: Path, image: UInt8[np.ndarray, "h w 3"], quality: int = 92) -> None:
    """Whole or not at all."""
    packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    partial = path.with_suffix(".partial")
    partial.write_bytes(packed.tobytes())
    partial.replace(path)


def pair_row(
    world: World, pair: Pair, view: PhotoView, name: str, split: str, place: int
) -> dict[str, str]:
    """The line of ``pairs.csv`` for a pair."""
    spot = world.latlon(pair.photo.x, pair.photo.y)
    return {
        "query": f"query/{name}.jpg", "satellite": f"satellite/{name}.jpg", "split": split,
        "place": str(place), "lat": f"{spot.lat:.7f}", "lon": f"{spot.lon:.7f}",
        "heading_deg": f"{pair.photo.view.heading_deg:.2f}", "view": view,
        "kind": "panorama" if view == "street" else "perspective",
        "dx_m": f"{pair.photo.x - pair.tile_x:.2f}", "dy_m": f"{pair.photo.y - pair.tile_y:.2f}",
        "tile_size_m": f"{pair.tile_size_m:.2f}", "pitch_deg": f"{pair.photo.pitch_deg:.2f}",
        "height_m": f"{pair.photo.view.z:.2f}", "world": str(world.seed),
    }  # fmt: skip


def write_pairs(
    folder: Path,
    *,
    view: PhotoView,
    seeds: Sequence[int],
    pairs_per_world: int,
    split: Literal["train", "val"] = "train",
    difficulty: float = 0.5,
    size_m: float = 700.0,
    gsd_m: float = 0.4,
    satellite_px: int = 256,
    drone_px: int = 320,
    panorama_px: tuple[int, int] = (256, 512),
    report: Report = ignore,
) -> int:
    """Adds pairs of these worlds to a pair folder; how many. A world that is there already is kept.

    Place ids and file names come from seed and number, so that folders written by parallel
    processes can be joined by joining their tables.
    """
    for part in ("query", "satellite"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = read_rows(folder / "pairs.csv")
    there = {(row["world"], row["view"]) for row in rows}
    todo = [seed for seed in seeds if (str(seed), view) not in there]
    total = len(todo) * pairs_per_world
    for turn, seed in enumerate(todo):
        at = turn * pairs_per_world

        def making(step: object, at: int = at) -> None:
            note = step.note if isinstance(step, Progress) else ""
            report(Progress(at, total, note))

        world = make_world(seed, size_m=size_m, gsd_m=gsd_m, difficulty=difficulty, report=making)
        rng = np.random.default_rng([seed, 4, view == "street"])
        fresh = []
        for number in range(pairs_per_world):
            report(Progress(at + number, total, f"world {seed}"))
            pair = render_pair(
                world,
                rng,
                view,
                satellite_px=satellite_px,
                drone_px=drone_px,
                panorama_px=panorama_px,
            )
            name = f"{view}-{seed:05d}-{number:04d}"
            write_jpeg(folder / "query" / f"{name}.jpg", pair.photo.image)
            write_jpeg(folder / "satellite" / f"{name}.jpg", pair.tile)
            place = (seed * 10_000 + number) * 2 + (view == "street")
            fresh.append(pair_row(world, pair, view, name, split, place))
        rows += fresh
        write_rows(folder / "pairs.csv", rows, PAIR_COLUMNS)
    report(Progress(total, total))
    return total


def read_rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str]) -> None:
    """The table, whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)
