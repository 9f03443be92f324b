"""What the ablations learn from and are measured on: cities of the demo world, rendered once.

A data set is two folders: ``learn`` has places of the training cities, most to learn from and some
held out (same-area); ``cross`` has places of other cities (cross-area). Places of a city lie apart,
so that a right tile has no near double in the gallery. A drone's place has one tile and several
photos, as in University-1652; a street's has one panorama.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from app.engine.datasets.click_table import COLUMNS, OBJECTS_NAME, read_click_pairs
from app.engine.datasets.pairs import TABLE
from app.engine.metrics import box_iou
from app.engine.world import (
    PAIR_COLUMNS,
    Pair,
    PhotoView,
    World,
    fly,
    make_world,
    pair_row,
    read_rows,
    render_pair,
    write_jpeg,
    write_rows,
)
from app.engine.world_objects import write_object_pairs

AREAS = ("same", "cross")
TRIES = 5  # photos for each place that is wanted; a full city gives fewer places
SATELLITE_PX, DRONE_PX, PANORAMA_PX = 112, 128, (128, 256)


@dataclass(frozen=True, slots=True)
class Cities:
    """A data set to render. Seeds differ between data sets that are to have other cities."""

    name: str
    view: PhotoView
    objects: bool = False
    first_seed: int = 0
    training: int = 8  # cities
    others: int = 3
    learnt: int = 90  # places, or clicked objects, of each training city
    held: int = 20  # more of them, held out
    unseen: int = 55  # places of each other city
    apart_m: float = 30.0  # the least distance of two places
    photos: int = 1  # of each place
    tested_photos: int = 1
    difficulty: float = 0.2
    size_m: float = 1000.0
    gsd_m: float = 0.5

    @property
    def seeds(self) -> dict[str, range]:
        """By area."""
        middle = self.first_seed + self.training
        return {
            "same": range(self.first_seed, middle),
            "cross": range(middle, middle + self.others),
        }


def folder_of(work: Path, cities: Cities, area: str) -> Path:
    return work / "data" / cities.name / ("learn" if area == "same" else "cross")


def render(work: Path, cities: Cities) -> None:
    """Both folders, or what is missing of them. A city that is there already is kept."""
    cv2.setNumThreads(1)
    for area in AREAS:
        folder = folder_of(work, cities, area)
        for part in ("query", "satellite"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        (_render_objects if cities.objects else _render_pairs)(folder, cities, area)


def _render_pairs(folder: Path, cities: Cities, area: str) -> None:
    rows = read_rows(folder / TABLE)
    there = {row["world"] for row in rows}
    for seed in cities.seeds[area]:
        if str(seed) not in there:
            rows += _city(folder, cities, area, seed)
            write_rows(folder / TABLE, rows, PAIR_COLUMNS)


def _city(folder: Path, cities: Cities, area: str, seed: int) -> list[dict[str, str]]:
    world = make_world(seed, size_m=cities.size_m, gsd_m=cities.gsd_m, difficulty=cities.difficulty)
    rng = np.random.default_rng([seed, 7, cities.view == "street"])
    learnt = cities.learnt if area == "same" else 0
    wanted = learnt + (cities.held if area == "same" else cities.unseen)
    rows: list[dict[str, str]] = []
    kept: list[Pair] = []
    for _ in range(TRIES * wanted):
        if len(kept) == wanted:
            break
        pair = render_pair(
            world,
            rng,
            cities.view,
            satellite_px=SATELLITE_PX,
            drone_px=DRONE_PX,
            panorama_px=PANORAMA_PX,
        )
        if any(_metres(pair, other) < cities.apart_m for other in kept):
            continue
        # The first ones are held out: every city has them, however few places it has room for.
        held = len(kept) < wanted - learnt
        photos = cities.tested_photos if held else cities.photos
        rows += _place(folder, world, rng, cities.view, pair, len(kept), held, photos)
        kept.append(pair)
    return rows


def _metres(a: Pair, b: Pair) -> float:
    return math.hypot(a.photo.x - b.photo.x, a.photo.y - b.photo.y)


def _place(
    folder: Path,
    world: World,
    rng: np.random.Generator,
    view: PhotoView,
    pair: Pair,
    number: int,
    held: bool,
    photos: int,
) -> list[dict[str, str]]:
    """The lines of one place, and its pictures as files."""
    name = f"{view}-{world.seed:05d}-{number:04d}"
    tile = f"satellite/{name}.jpg"
    write_jpeg(folder / tile, pair.tile)
    taken = [pair.photo]
    for _ in range(photos - 1):
        footprint_m = pair.tile_size_m * rng.uniform(0.8, 1.25)
        at = (pair.photo.x, pair.photo.y)
        taken.append(fly(world, rng, footprint_m=footprint_m, size_px=DRONE_PX, at=at))
    rows = []
    for turn, photo in enumerate(taken):
        seen = Pair(photo, pair.tile, pair.tile_x, pair.tile_y, pair.tile_size_m)
        write_jpeg(folder / f"query/{name}-{turn}.jpg", photo.image)
        split, place = "val" if held else "train", world.seed * 10_000 + number
        row = pair_row(world, seen, view, f"{name}-{turn}", split, place)
        rows.append({**row, "satellite": tile})
    return rows


def _render_objects(folder: Path, cities: Cities, area: str) -> None:
    count = cities.learnt + cities.held if area == "same" else cities.unseen
    write_object_pairs(
        folder,
        view=cities.view,
        seeds=cities.seeds[area],
        objects_per_world=count,
        difficulty=cities.difficulty,
        size_m=cities.size_m,
        gsd_m=cities.gsd_m,
        tile_px=128,
    )
    rows = read_rows(folder / OBJECTS_NAME)
    write_rows(folder / OBJECTS_NAME, hold_out(rows, cities.held, area), COLUMNS)


def hold_out(rows: list[dict[str, str]], held: int, area: str) -> list[dict[str, str]]:
    """The first ``held`` clicks of a training city, and all of another city, are for the test.

    No object of the test is learnt from, in whatever photo.
    """
    tested: set[tuple[str, str, str]] = set()
    seen: dict[str, int] = {}
    kept = []
    for row in rows:
        thing = row["world"], row["lat"], row["lon"]
        number = seen[row["world"]] = seen.get(row["world"], 0) + 1
        held_out = area == "cross" or row["split"] == "val" or number <= held
        if held_out:
            tested.add(thing)
        elif thing in tested:
            continue
        kept.append({**row, "split": "val" if held_out else "train"})
    return kept


def constant_guess(work: Path, cities: Cities, area: str, overlap: float) -> float:
    """The share of test clicks whose box the same box always finds: the median of those learnt."""
    learnt = read_click_pairs(folder_of(work, cities, "same"), "train")
    tested = read_click_pairs(folder_of(work, cities, area), "val")
    guess = np.median([pair.box for pair in learnt], axis=0)
    boxes = np.array([pair.box for pair in tested])
    return float((box_iou(np.tile(guess, (len(boxes), 1)), boxes) > overlap).mean())
