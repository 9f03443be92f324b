"""A demo world as files: imagery, surface, objects, photos and their truth.

::

    ortho.tif         what the satellite saw, RGB, cloud-optimised, in the world's UTM zone
    surface.tif       height above the plain in metres, float32
    objects.tif       id of the object at each pixel, 0 for none
    objects.geojson   the outline of each object in WGS84, with id, kind and height
    drone/  street/   photos, truth.csv (where each was taken) and boxes.csv (what it shows)
    world.json        seed and settings; written last
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from app.engine.appearance import expose, random_sensor, shifted
from app.engine.city_raster import WorldObject
from app.engine.views import Panorama, Shot
from app.engine.world import Taken, World, fly, make_world, stand, write_pairs, write_rows
from app.errors import UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore

__all__ = ["write_pairs", "write_world"]  # all that `skyfix world` writes

TRUTH_COLUMNS = (
    "file", "lat", "lon", "heading_deg", "pitch_deg", "height_m", "view", "cam_lat", "cam_lon",
    "taken", "claim",
)  # fmt: skip
BOX_COLUMNS = (
    "file", "object", "kind", "left", "top", "right", "bottom", "west_m", "south_m", "east_m",
    "north_m", "visible_px",
)  # fmt: skip
LEAST_PX = 60  # an object with fewer visible pixels gets no box
FALSE_CLAIM_M = (250.0, 900.0)  # how far off a false claim is
ZIPPED = {"compress": "DEFLATE", "predictor": "YES"}
MAKER = {"drone": ("Skyfix", "Demo Drone"), "street": ("Skyfix", "Demo Street Camera")}


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a photo's metadata will say of its place."""

    kind: str  # none, true or false
    place: LatLon | None


def write_world(
    folder: Path,
    *,
    seed: int,
    size_m: float = 1000.0,
    gsd_m: float = 0.4,
    difficulty: float = 0.5,
    drone_photos: int = 20,
    panoramas: int = 20,
    perspectives: int = 0,
    with_claims: bool = False,
    report: Report = ignore,
) -> World:
    """The files listed above. ``with_claims``: a quarter of the photos carry true GPS positions
    and a quarter false ones.
    """
    total = drone_photos + panoramas + perspectives + 6
    rng = np.random.default_rng([seed, 5])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        world = make_world(seed, size_m=size_m, gsd_m=gsd_m, difficulty=difficulty, report=report)
        write_rasters(folder, world, rng, lambda n, note: report(Progress(2 + n, total, note)))
        write_objects(folder / "objects.geojson", world)
        done = 6

        def tell(count: int) -> None:
            report(Progress(done + count, total, "photos"))

        shots = [
            lambda: fly(
                world, rng, footprint_m=float(rng.uniform(70, 120)), size_px=480, width_px=640
            )
        ]
        write_photos(folder / "drone", world, shots * drone_photos, "drone", with_claims, rng, tell)
        done += drone_photos
        street = [lambda: stand(world, rng, size=(512, 1024))] * panoramas
        street += [
            lambda: stand(world, rng, size=(480, 640), fov_deg=float(rng.uniform(60, 90)))
        ] * perspectives
        write_photos(folder / "street", world, street, "street", with_claims, rng, tell)
        write_summary(folder / "world.json", world)
    except OSError as error:
        raise UserError(
            f"The world cannot be written to {folder}: {error.strerror or error}",
            "Choose another folder, or make room and check your rights there.",
        ) from error
    report(Progress(total, total))
    return world


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_summary(path: Path, world: World) -> None:
    body = {
        "seed": world.seed, "difficulty": world.difficulty, "size_m": world.size_m,
        "gsd_m": world.city.gsd_m, "crs": f"EPSG:{world.epsg}", "west_m": world.east_m,
        "south_m": world.north_m, "imagery_taken": world.imagery.date.taken,
        "objects": len(world.city.objects),
    }  # fmt: skip
    write_text(path, json.dumps(body, indent=1) + "\n")


def write_rasters(
    folder: Path, world: World, rng: np.random.Generator, tell: Callable[[int, str], None]
) -> None:
    """Imagery as its sensor delivers it, a little off; surface and objects exact."""
    off = rng.normal(0, 0.5 * world.difficulty, 2)
    tell(0, "ortho.tif")
    scene = world.imagery.scene
    moved = shifted(scene.rgb[0], float(off[0]), float(off[1]))
    ortho = expose(moved, random_sensor(rng, world.difficulty), rng)
    jpeg = {"compress": "JPEG", "quality": 88}
    write_cog(folder / "ortho.tif", world, np.moveaxis(ortho, -1, 0), jpeg)
    tell(1, "surface.tif")
    height = np.maximum(world.city.bare, world.city.canopy)
    write_cog(folder / "surface.tif", world, np.round(height, 2)[None], ZIPPED)
    tell(2, "objects.tif")
    exact = {**ZIPPED, "resampling": "NEAREST"}
    write_cog(folder / "objects.tif", world, world.city.ids[None], exact)
    tell(3, "objects.geojson")


def write_cog(path: Path, world: World, bands: np.ndarray, options: Mapping[str, object]) -> None:
    """A cloud-optimised GeoTIFF of bands [b, h, w], whole or not at all."""
    from rasterio.crs import CRS
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    count, rows, cols = bands.shape
    place = from_origin(
        world.east_m, world.north_m + world.size_m, world.city.gsd_m, world.city.gsd_m
    )
    partial = path.with_suffix(".partial")
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=cols, height=rows, count=count, dtype=bands.dtype,
            crs=CRS.from_epsg(world.epsg), transform=place,
            photometric="RGB" if count == 3 else "MINISBLACK",
        ) as raster:  # fmt: skip
            raster.write(bands)
        copy(memory.name, str(partial), driver="COG", **options)
    partial.replace(path)


def write_objects(path: Path, world: World) -> None:
    features = [feature(world, thing) for thing in world.city.objects]
    body = {"type": "FeatureCollection", "features": features}
    write_text(path, json.dumps(body, separators=(",", ":")) + "\n")


def feature(world: World, thing: WorldObject) -> dict[str, object]:
    spots = [world.latlon(float(x), float(y)) for x, y in thing.outline]
    loop = [[round(s.lon, 7), round(s.lat, 7)] for s in [*spots, spots[0]]]
    return {
        "type": "Feature",
        "properties": {"id": thing.id, "kind": thing.kind, "height_m": round(thing.height_m, 1)},
        "geometry": {"type": "Polygon", "coordinates": [loop]},
    }


def write_photos(
    folder: Path, world: World, shots: Sequence[Callable[[], Taken]], view: str, with_claims: bool,
    rng: np.random.Generator, tell: Callable[[int], None],
) -> None:  # fmt: skip
    """Photos, then their tables."""
    if not shots:
        return
    folder.mkdir(exist_ok=True)
    truth, boxes = [], []
    for number, shoot in enumerate(shots):
        tell(number)
        photo = shoot()
        name = f"{view}_{number + 1:03d}.jpg"
        claimed = claim_for(world, photo, number, rng) if with_claims else Claimed("none", None)
        save_photo(folder / name, photo, view, claimed.place)
        truth.append(truth_row(world, photo, name, view, claimed.kind))
        boxes += box_rows(world, photo, name)
    write_rows(folder / "boxes.csv", boxes, BOX_COLUMNS)
    write_rows(folder / "truth.csv", truth, TRUTH_COLUMNS)


def claim_for(world: World, photo: Taken, number: int, rng: np.random.Generator) -> Claimed:
    """Of every four photos one tells the truth and one lies."""
    if number % 4 == 1:
        return Claimed("true", world.latlon(photo.view.x, photo.view.y))
    if number % 4 == 3:
        turn, away = rng.uniform(0, 2 * math.pi), rng.uniform(*FALSE_CLAIM_M)
        x, y = photo.view.x + away * math.sin(turn), photo.view.y + away * math.cos(turn)
        return Claimed("false", world.latlon(x, y))
    return Claimed("none", None)


def truth_row(world: World, photo: Taken, name: str, view: str, claim: str) -> dict[str, str]:
    spot, camera = world.latlon(photo.x, photo.y), world.latlon(photo.view.x, photo.view.y)
    return {
        "file": name, "lat": f"{spot.lat:.7f}", "lon": f"{spot.lon:.7f}",
        "heading_deg": f"{photo.view.heading_deg:.2f}", "pitch_deg": f"{photo.pitch_deg:.2f}",
        "height_m": f"{photo.view.z:.2f}", "view": view, "cam_lat": f"{camera.lat:.7f}",
        "cam_lon": f"{camera.lon:.7f}", "taken": photo.date.taken, "claim": claim,
    }  # fmt: skip


def box_rows(world: World, photo: Taken, name: str) -> list[dict[str, str]]:
    """An object a line; those cut by a panorama's seam are left out."""
    shot: Shot = photo.shot
    numbers, counts = np.unique(shot.ids, return_counts=True)
    visible = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    width = shot.ids.shape[1]
    rows = []
    for number, (left, top, right, bottom) in shot.boxes().items():
        if visible[number] < LEAST_PX:
            continue
        if isinstance(photo.view, Panorama) and left == 0 and right == width:
            continue
        thing = world.city.objects[number - 1]
        west, south, east, north = thing.box_m
        ground = (
            west + world.east_m,
            south + world.north_m,
            east + world.east_m,
            north + world.north_m,
        )
        values = (
            name,
            number,
            thing.kind,
            left,
            top,
            right,
            bottom,
            *(f"{v:.2f}" for v in ground),
            visible[number],
        )
        rows.append(dict(zip(BOX_COLUMNS, map(str, values), strict=True)))
    return rows


def save_photo(path: Path, photo: Taken, view: str, claim: LatLon | None) -> None:
    """A JPEG with the camera's name and the date; with a position only if it claims one."""
    exif = Image.Exif()
    exif[271], exif[272] = MAKER[view]
    exif[306] = photo.date.taken
    exif.get_ifd(0x8769)[36867] = photo.date.taken
    if claim is not None:
        exif.get_ifd(0x8825).update(
            {1: "N" if claim.lat >= 0 else "S", 2: sexagesimal(claim.lat),
             3: "E" if claim.lon >= 0 else "W", 4: sexagesimal(claim.lon)}
        )  # fmt: skip
    partial = path.with_suffix(".partial")
    Image.fromarray(photo.image).save(partial, "JPEG", quality=90, exif=exif.tobytes())
    partial.replace(path)


def sexagesimal(degrees: float) -> tuple[float, float, float]:
    whole = abs(degrees)
    minutes = (whole % 1) * 60
    return float(int(whole)), float(int(minutes)), round((minutes % 1) * 60, 4)
