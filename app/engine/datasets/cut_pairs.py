"""A user's geotagged photos over imagery of the same ground, cut into a pair folder.

Photos come from a folder (positions and headings from EXIF and XMP) or from a CSV with the columns
``query`` (or ``file``), ``lat``, ``lon`` and, as known, ``heading_deg``, ``view``. Each gets a tile
whose centre is off by up to a quarter of its side, so that no network learns "always the middle".
The split is by geography: one end of the area is held out, and what overlaps it left out.
``provenance.json`` says where everything came from; ``pairs.csv`` is written last.
"""

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from app import __version__
from app.card import View
from app.engine.datasets.pairs import COLUMNS, TABLE
from app.engine.datasets.splits import split_by_ground
from app.engine.photos import Query, list_photos, read_query
from app.engine.rasters import Imagery, open_imagery, to_xy
from app.errors import UserError
from app.geo import LatLon
from app.messages import Progress, Report, ignore

PROVENANCE = "provenance.json"
TABLE_COLUMNS = (*COLUMNS, "dx_m", "dy_m", "tile_size_m")
QUERY_PX = 1024  # shorter side of a stored photo
TILE_PX = (128, 512)  # the least and the most that a tile is stored with
OFF_CENTRE = 0.25
MIN_VALID = 0.9  # share of a tile's pixels that the imagery must have
STEEPEST, FLATTEST = -90.0, -30.0  # camera pitch between which a drone photo's centre is found
# Photos so many tile sides apart have tiles that cannot overlap, each being off its photo.
GAP_TILES = math.sqrt(2) * (1 + 2 * OFF_CENTRE)
QUALITY = 92


@dataclass(frozen=True, slots=True)
class Cut:
    """What became of the photos."""

    folder: Path
    train: int
    val: int
    left_out: int  # too near to the held-out ones
    skipped: tuple[str, ...]  # "DJI_0001.JPG: has no position"


@dataclass(frozen=True, slots=True)
class _Photo:
    query: Query
    position: LatLon  # what it shows: the ground at its centre; of a street photo the camera
    heading_deg: float | None
    view: View
    source: str  # of the position: "EXIF GPS", the table's name


@dataclass(frozen=True, slots=True)
class _Tile:
    picture: UInt8[np.ndarray, "h w 3"]
    dx_m: float  # by how much the photo's place lies east and north of the centre
    dy_m: float


def cut_pairs(
    photos: Path,
    imagery: Path,
    folder: Path,
    *,
    tile_size_m: float = 80.0,
    held_out: float = 0.2,
    seed: int = 0,
    report: Report = ignore,
) -> Cut:
    """Writes a pair folder that ``open_data_set`` opens.

    Raises UserError if the folder holds pairs already, no photo lies on the imagery, or too small
    an area is left to learn from.
    """
    if (folder / TABLE).exists():
        raise UserError(f"{folder} holds pairs already", "Choose another folder for these.")
    if not (math.isfinite(tile_size_m) and tile_size_m > 0) or not 0 < held_out < 1:
        raise UserError(
            f"Tiles of {tile_size_m:g} m with a share of {held_out:g} held out make no sense",
            "Choose a size above 0 m and a share between 0 and 1.",
        )
    rng = np.random.default_rng(seed)
    skipped: list[str] = []
    rows: list[dict[str, str]] = []
    sources: list[dict[str, str]] = []
    positions: list[LatLon] = []
    _make_folders(folder)
    with open_imagery(imagery) as raster:
        for number, photo in enumerate(_photos(photos, skipped, report)):
            tile = _cut(raster, photo.position, tile_size_m, rng)
            if tile is None:
                skipped.append(f"{photo.query.path.name}: lies beyond the imagery, or on a gap")
                continue
            name = f"{number:06d}.jpg"
            _write_jpeg(folder / "query" / name, _shrunk(photo.query.image))
            _write_jpeg(folder / "satellite" / name, tile.picture)
            rows.append(_row(name, photo, tile, tile_size_m))
            sources.append(_source(name, photo))
            positions.append(photo.position)
        about = {"imagery": str(imagery), "crs": raster.crs, "gsd_m": raster.gsd_m}
    if not rows:
        told = f": {skipped[0]}" if skipped else ""
        raise UserError(
            f"No photo of {photos} lies on {imagery.name}{told}", "Choose other photos or imagery."
        )
    parts = split_by_ground(positions, share=held_out, gap_m=GAP_TILES * tile_size_m)
    _write_tables(folder, rows, parts, sources, {**about, "tile_size_m": tile_size_m, "seed": seed})
    counts = {part: parts.count(part) for part in ("train", "val", "gap")}
    return Cut(folder, counts["train"], counts["val"], counts["gap"], tuple(skipped))


# --- photos -----------------------------------------------------------------------


def _photos(photos: Path, skipped: list[str], report: Report) -> Iterator[_Photo]:
    """Those with a position, in order; the others go to ``skipped`` with the reason."""
    table = _table(photos) if photos.suffix.lower() == ".csv" else None
    if table is None:
        found = list_photos([photos])
        skipped += [f"{s.path.name}: {s.reason}" for s in found.skipped]
        paths = list(found.photos)
    else:
        paths = list(table)
    for done, path in enumerate(paths):
        report(Progress(done, len(paths), path.name))
        try:
            query = read_query(path)
            photo = _of_table(query, table[path], photos) if table else _of_photo(query)
        except UserError as error:
            skipped.append(str(error))
            continue
        if photo is None:
            skipped.append(f"{path.name}: has no position")
        else:
            yield photo


def _of_photo(query: Query) -> _Photo | None:
    if query.claim is None:
        return None
    view: View = "street" if query.kind == "panorama" else "drone"
    position = query.claim.position
    if view == "drone":
        position = _ground_at_centre(position, query)
    return _Photo(query, position, query.heading_deg, view, query.claim.source)


def _ground_at_centre(camera: LatLon, query: Query) -> LatLon:
    """By height, pitch and heading where the photo tells them; else what lies below the camera."""
    height, pitch = query.metadata.height_m, query.metadata.pitch_deg
    heading = query.heading_deg
    if height is None or pitch is None or heading is None or height <= 0:
        return camera
    if not STEEPEST < pitch <= FLATTEST:
        return camera
    ahead = height / math.tan(math.radians(-pitch))
    north = ahead * math.cos(math.radians(heading))
    east = ahead * math.sin(math.radians(heading))
    metres_a_degree = LatLon(0, 0).metres_to(LatLon(1, 0))
    lat = camera.lat + north / metres_a_degree
    return LatLon(lat, camera.lon + east / metres_a_degree / math.cos(math.radians(camera.lat)))


def _of_table(query: Query, row: Mapping[str, str], table: Path) -> _Photo:
    """What the table says goes before what the photo says."""
    try:
        position = LatLon(float(row["lat"]), float(row["lon"]))
        heading = float(row["heading_deg"]) if row.get("heading_deg") else query.heading_deg
        view = row.get("view") or ("street" if query.kind == "panorama" else "drone")
        if view not in ("street", "drone") or (heading and not math.isfinite(heading)):
            raise ValueError(f"view {view}, heading {heading}")
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{query.path.name}: its line in {table.name} cannot be read ({error})",
            "Mend the line.",
        ) from error
    return _Photo(query, position, heading, "street" if view == "street" else "drone", table.name)


def _table(path: Path) -> dict[Path, dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}", "It must be a UTF-8 CSV.") from error
    names = {"query", "file"} & set(rows[0]) if rows else set()
    if not names or not {"lat", "lon"} <= set(rows[0]):
        raise UserError(
            f"{path} is no table of photos", "Its columns must be: query,lat,lon (heading_deg,view)"
        )
    column = names.pop()
    return {path.parent / row[column]: row for row in rows if row[column]}


# --- pictures ---------------------------------------------------------------------


def _cut(
    raster: Imagery, place: LatLon, tile_size_m: float, rng: np.random.Generator
) -> _Tile | None:
    """The tile; None where the imagery does not hold it. Draws the same chance either way."""
    dx, dy = rng.uniform(-OFF_CENTRE, OFF_CENTRE, 2) * tile_size_m
    x, y = to_xy(raster.crs, place)
    side = int(np.clip(round(tile_size_m / raster.gsd_m), *TILE_PX))
    picture, valid = raster.read(
        left=x - dx - tile_size_m / 2,
        top=y - dy + tile_size_m / 2,
        width_m=tile_size_m,
        height_m=tile_size_m,
        size=(side, side),
    )
    return _Tile(picture, float(dx), float(dy)) if valid.mean() >= MIN_VALID else None


def _shrunk(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = image.shape[:2]
    scale = QUERY_PX / min(height, width)
    if scale >= 1:
        return image
    new = (round(width * scale), round(height * scale))
    return np.asarray(cv2.resize(image, new, interpolation=cv2.INTER_AREA))


def _write_jpeg(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    _write(path, code.tobytes())


# --- tables -----------------------------------------------------------------------


def _row(name: str, photo: _Photo, tile: _Tile, tile_size_m: float) -> dict[str, str]:
    return {
        "query": f"query/{name}",
        "satellite": f"satellite/{name}",
        "place": str(int(name.partition(".")[0])),
        "lat": f"{photo.position.lat:.7f}",
        "lon": f"{photo.position.lon:.7f}",
        "heading_deg": "" if photo.heading_deg is None else f"{photo.heading_deg:.2f}",
        "view": photo.view,
        "kind": photo.query.kind,
        "dx_m": f"{tile.dx_m:.2f}",
        "dy_m": f"{tile.dy_m:.2f}",
        "tile_size_m": f"{tile_size_m:.2f}",
    }


def _source(name: str, photo: _Photo) -> dict[str, str]:
    path = photo.query.path
    return {
        "name": name,
        "photo": str(path),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "position": photo.source,
    }


def _write_tables(
    folder: Path,
    rows: list[dict[str, str]],
    parts: list[str],
    sources: list[dict[str, str]],
    about: Mapping[str, object],
) -> None:
    told = {"program": f"skyfix {__version__}", **about, "photos": sources}
    _write(folder / PROVENANCE, json.dumps(told, indent=1).encode())
    partial = folder / f"{TABLE}.partial"
    with partial.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, TABLE_COLUMNS)
        writer.writeheader()
        writer.writerows(
            {**row, "split": part} for row, part in zip(rows, parts, strict=True) if part != "gap"
        )
    partial.replace(folder / TABLE)


def _make_folders(folder: Path) -> None:
    try:
        for part in ("query", "satellite"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}", "Choose another.") from error


def _write(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error.strerror}", "Make room on the disk."
        ) from error
