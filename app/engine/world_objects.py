"""Clicks and boxes from the demo world: an object seen in a photo and from above.

What a camera sees of which object is known pixel by pixel, so a click is a pixel whose ray hits
its object, and a box is the object's extent in the satellite's own picture, its lean included.
Needs only numpy and OpenCV.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Int, UInt8

from app.engine.appearance import expose, random_sensor
from app.engine.cameras import Camera
from app.engine.city_raster import WorldObject
from app.engine.datasets.click_table import COLUMNS, OBJECTS_NAME, ClickPair, click_row
from app.engine.views import Shot
from app.engine.world import (
    PhotoView,
    Taken,
    World,
    fly,
    make_world,
    pass_over,
    read_rows,
    stand,
    write_jpeg,
    write_rows,
)
from app.errors import UserError
from app.messages import Progress, Report, ignore

TILE_SIZE_M = 100.0
TILE_PX = 256
SHIFT = 0.25  # the photo's place lies up to this share of the tile off its centre
# How often a kind is taken: trees are everywhere and much alike.
WEIGHT: Mapping[str, float] = {"tree": 0.3, "container": 0.6, "shed": 0.8}
LEAST_BOX_PX = 8.0
LARGEST_BOX = 0.7  # share of the tile's side
LEAST_THICK_PX = 5.0  # from the click's best place to the edge of what is seen of the object
LEAST_OPEN = 0.4  # share of an object that no tree hides from above
LEAST_WHOLE = 0.5  # share of an outline's box that is left where something else was built over it
ROUND_CROWN = 0.62  # share of its box that a crown fills; less: it grows into another one
ALONE = 0.25  # share of the pixels around a crown that other things with an id may fill
AROUND_PX = 7  # width and height of what "around" means
EDGE_PX = 12  # what lies this near to a drone photo's edge is mostly cut by it
CAR_M = 0.4  # what stands higher than this on flat ground is a car
TRIES = 100  # photos
TILE_TRIES = 3  # for each of them


@dataclass(frozen=True, slots=True)
class Clicked:
    """An object, clicked in a photo and boxed in the satellite's picture of its surroundings."""

    photo: Taken
    thing: WorldObject
    click: tuple[float, float]  # x, y in the photo: the middle of a pixel
    tile: UInt8[np.ndarray, "s s 3"]
    box: tuple[float, float, float, float]  # left, top, right, bottom in the tile
    tile_size_m: float


@dataclass(frozen=True, slots=True)
class Seen:
    """A satellite's picture and which objects are in it, with and without trees."""

    picture: Shot
    bare: Shot

    def box_of(self, thing: WorldObject) -> tuple[int, int, int, int] | None:
        """Its tight box; None where it is cut, hidden, merged with another or too small."""
        ids = (self.picture if thing.kind == "tree" else self.bare).ids
        mask = ids == thing.id
        rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return None
        left, top = int(cols[0]), int(rows[0])
        right, bottom = int(cols[-1]) + 1, int(rows[-1]) + 1
        side = ids.shape[0]
        width, height = right - left, bottom - top
        if left < 1 or top < 1 or right >= side or bottom >= side:
            return None
        if min(width, height) < LEAST_BOX_PX or max(width, height) > LARGEST_BOX * side:
            return None
        area = int(mask.sum())
        if thing.kind == "tree":
            clear = area > ROUND_CROWN * width * height and self._stands_alone(mask)
            return (left, top, right, bottom) if clear else None
        if int((mask & (self.picture.ids == thing.id)).sum()) < LEAST_OPEN * area:
            return None
        return left, top, right, bottom

    def _stands_alone(self, crown: Bool[np.ndarray, "s s"]) -> bool:
        """One of many crowns in a clump cannot be told from the next."""
        wide = cv2.dilate(crown.astype(np.uint8), np.ones((AROUND_PX, AROUND_PX), np.uint8))
        ring = (wide > 0) & ~crown
        return float((self.picture.ids[ring] > 0).mean()) <= ALONE


def render_object(
    world: World, rng: np.random.Generator, view: PhotoView, *, tile_size_m: float = TILE_SIZE_M,
    tile_px: int = TILE_PX, drone_px: int = 256, panorama_px: tuple[int, int] = (256, 512),
) -> Clicked:  # fmt: skip
    """A random object that both see; raises UserError for a world that shows none."""
    for _ in range(TRIES):
        if view == "drone":
            photo = fly(world, rng, footprint_m=float(rng.uniform(45, 100)), size_px=drone_px)
        else:
            photo = stand(world, rng, size=panorama_px)
        clicks = _clicks(world, rng, photo)
        for _ in range(TILE_TRIES if clicks else 0):
            found = _boxed(world, rng, photo, clicks, tile_size_m, tile_px)
            if found is not None:
                return found
    raise UserError(f"World {world.seed} shows no object clearly", "Choose another seed.")


def _clicks(world: World, rng: np.random.Generator, photo: Taken) -> dict[int, tuple[float, float]]:
    """By object id, in random order: a pixel of the photo that plainly shows it."""
    edge = EDGE_PX if isinstance(photo.view, Camera) else 1
    things = [world.city.objects[number - 1] for number in _in_view(photo.shot)]
    clicks = {
        thing.id: _pixel_on(thing, photo.shot, rng, edge_px=edge)
        for thing in _shuffled(things, rng)
    }
    return {number: click for number, click in clicks.items() if click is not None}


def _boxed(
    world: World, rng: np.random.Generator, photo: Taken,
    clicks: Mapping[int, tuple[float, float]], size_m: float, size_px: int,
) -> Clicked | None:  # fmt: skip
    """The first clicked object that is as clear from above, in a tile around the photo's place."""
    half = size_m / 2
    shift = rng.uniform(-SHIFT, SHIFT, 2) * size_m
    x = float(np.clip(photo.x + shift[0], half, world.size_m - half))
    y = float(np.clip(photo.y + shift[1], half, world.size_m - half))
    scene, over = world.imagery.scene, pass_over(world, rng)
    picture = over.shoot(scene, x=x, y=y, size_m=size_m, size_px=size_px)
    bare = over.shoot(scene.under or scene, x=x, y=y, size_m=size_m, size_px=size_px)
    seen = Seen(picture, bare)
    for number, click in clicks.items():
        thing = world.city.objects[number - 1]
        box = seen.box_of(thing)
        if box is not None and _is_whole(thing, box, size_m / size_px):
            tile = expose(picture.image, random_sensor(rng, world.difficulty), rng)
            left, top, right, bottom = map(float, box)
            return Clicked(photo, thing, click, tile, (left, top, right, bottom), size_m)
    return None


def _in_view(shot: Shot) -> list[int]:
    """Objects that fill enough of a picture for a click."""
    numbers, counts = np.unique(shot.ids, return_counts=True)
    enough = (counts >= math.pi * LEAST_THICK_PX**2) & (numbers > 0)
    return [int(n) for n in numbers[enough]]


def _is_whole(thing: WorldObject, box: tuple[int, int, int, int], gsd_m: float) -> bool:
    """Whether about all of its outline is still to be seen: nothing else was built over it."""
    west, south, east, north = thing.box_m
    area = (box[2] - box[0]) * (box[3] - box[1]) * gsd_m**2
    return area >= LEAST_WHOLE * (east - west) * (north - south)


def _shuffled(things: Sequence[WorldObject], rng: np.random.Generator) -> list[WorldObject]:
    """In random order; each kind as likely as another, however many there are of it.

    Of a kind with a weight all are left out, but for that share of the calls.
    """
    chances = {kind: rng.random() for kind in sorted({thing.kind for thing in things})}
    things = [t for t in things if chances[t.kind] < WEIGHT.get(t.kind, 1.0)]
    kinds = [thing.kind for thing in things]
    if not things:
        return []
    weight = np.array([1.0 / kinds.count(kind) for kind in kinds])
    order: Int[np.ndarray, " n"] = rng.choice(
        len(things), len(things), replace=False, p=weight / weight.sum()
    )
    return [things[i] for i in order]


def _pixel_on(
    thing: WorldObject, shot: Shot, rng: np.random.Generator, *, edge_px: int
) -> tuple[float, float] | None:
    """The middle of a pixel well inside of what is seen of an object; None where that is thin.

    Nothing within ``edge_px`` of the picture's edge counts.
    """
    mask: Bool[np.ndarray, "h w"] = shot.ids == thing.id
    if thing.height_m < CAR_M:
        mask &= shot.ground[..., 2] < CAR_M
    rows, cols = mask.shape
    framed = np.zeros(mask.shape, np.uint8)
    inner = np.s_[edge_px : rows - edge_px, edge_px : cols - edge_px]
    framed[inner] = mask[inner]
    inside = cv2.distanceTransform(framed, cv2.DIST_L2, 3)
    deepest = float(inside.max())
    if deepest < LEAST_THICK_PX:
        return None
    rows, cols = np.nonzero(inside >= 0.5 * deepest)
    at = int(rng.integers(len(rows)))
    return float(cols[at]) + 0.5, float(rows[at]) + 0.5


def write_object_pairs(
    folder: Path,
    *,
    view: PhotoView,
    seeds: Sequence[int],
    objects_per_world: int,
    split: Literal["train", "val", "test"] = "train",
    difficulty: float = 0.5,
    size_m: float = 700.0,
    gsd_m: float = 0.4,
    tile_size_m: float = TILE_SIZE_M,
    tile_px: int = TILE_PX,
    report: Report = ignore,
) -> int:
    """Adds clicked objects of these worlds to an object folder; how many.

    A world that is there already is kept, so that a killed run goes on with the next one.
    """
    for part in ("query", "satellite"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rows = read_rows(folder / OBJECTS_NAME)
    there = {(row["world"], row["view"]) for row in rows}
    todo = [seed for seed in seeds if (str(seed), view) not in there]
    total = len(todo) * objects_per_world
    for turn, seed in enumerate(todo):
        at = turn * objects_per_world

        def making(step: object, at: int = at) -> None:
            report(Progress(at, total, step.note if isinstance(step, Progress) else ""))

        world = make_world(seed, size_m=size_m, gsd_m=gsd_m, difficulty=difficulty, report=making)
        rng = np.random.default_rng([seed, 6, view == "street"])
        for number in range(objects_per_world):
            report(Progress(at + number, total, f"world {seed}"))
            clicked = render_object(world, rng, view, tile_size_m=tile_size_m, tile_px=tile_px)
            rows.append(click_row(_written(folder, world, clicked, view, number), folder, split))
        write_rows(folder / OBJECTS_NAME, rows, COLUMNS)
    report(Progress(total, total))
    return total


def _written(
    folder: Path, world: World, clicked: Clicked, view: PhotoView, number: int
) -> ClickPair:
    """Both pictures as files, and what the table says of them."""
    name = f"{view}-{world.seed:05d}-{number:04d}.jpg"
    query, satellite = folder / "query" / name, folder / "satellite" / name
    write_jpeg(query, clicked.photo.image)
    write_jpeg(satellite, clicked.tile)
    west, south, east, north = clicked.thing.box_m
    return ClickPair(
        query=query,
        satellite=satellite,
        place=(world.seed * 10_000 + number) * 2 + (view == "street"),
        click=clicked.click,
        box=clicked.box,
        category=clicked.thing.kind,
        view=view,
        kind="panorama" if view == "street" else "perspective",
        position=world.latlon((west + east) / 2, (south + north) / 2),
        gsd_m=clicked.tile_size_m / len(clicked.tile),
        world=str(world.seed),
    )
