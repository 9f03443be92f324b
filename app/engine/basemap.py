"""basemap.mbtiles: a raster as web-Mercator tiles of 256 px, so that the map needs no network.

JPEG, or WebP with alpha where part of a tile has no data (a PNG would be ten times as large).
Rows are counted from the south, as the MBTiles 1.3 specification says (TMS); a reader that counts
from the north takes 2**zoom - 1 - row.
"""

import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from app.engine.rasters import Imagery, open_imagery
from app.errors import UserError
from app.geo import Area
from app.messages import Progress, Report, ignore

TILE = 256
MAX_TILES = 6000
MAX_ZOOM = 22
HALF_WORLD_M = 20037508.342789244
MAX_LAT = 85.0511
_QUALITY = 75
_SCHEMA = """
PRAGMA application_id = 0x4d504258;
CREATE TABLE metadata (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB,
  PRIMARY KEY (zoom_level, tile_column, tile_row)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class _Picture:
    pixels: UInt8[np.ndarray, "h w 3"]
    valid: Bool[np.ndarray, "h w"]


@dataclass(frozen=True, slots=True)
class Zooms:
    """``deepest`` reaches the raster's own resolution, or as near as ``MAX_TILES`` allows."""

    least: int
    deepest: int
    leaves: int  # tiles of the deepest zoom


def write_basemap(source: Path, path: Path, report: Report = ignore) -> None:
    """``path`` is there afterwards, whole, or not at all. Blocks that cannot be read are left out.

    Raises UserError for a source that cannot be opened, OSError or sqlite3.Error for the target.
    """
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with open_imagery(source) as imagery, closing(sqlite3.connect(partial)) as db:
        db.execute("PRAGMA journal_mode = OFF")  # a partial file is thrown away, not mended
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_SCHEMA)
        zooms = choose_zooms(imagery.area, imagery.gsd_m)
        pyramid = _Pyramid(imagery, zooms, db, report)
        for x, y in _tiles_over(imagery.area, zooms.least):
            pyramid.render(zooms.least, x, y)
        area = imagery.area
        metadata = {
            "name": source.stem,
            "format": "jpg",
            "type": "baselayer",
            "version": "1.0",
            "description": "",
            "bounds": f"{area.west:.7f},{area.south:.7f},{area.east:.7f},{area.north:.7f}",
            "minzoom": str(zooms.least),
            "maxzoom": str(zooms.deepest),
        }
        db.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())
        db.commit()
    partial.replace(path)


def choose_zooms(area: Area, gsd_m: float) -> Zooms:
    """From where the area fits into two by two tiles, down to its own resolution (within 10 %)."""
    across = 2 * HALF_WORLD_M / TILE * math.cos(math.radians(area.centre.lat))
    deepest = min(MAX_ZOOM, max(0, math.ceil(math.log2(across / gsd_m) - 0.15)))
    while deepest and _count(area, deepest) * 4 / 3 > MAX_TILES:
        deepest -= 1
    least = deepest
    while least and _count(area, least) > 4:
        least -= 1
    return Zooms(least, deepest, _count(area, deepest))


def _span(area: Area, zoom: int) -> tuple[range, range]:
    """Columns and rows, counted from the north."""
    count = 1 << zoom

    def column(lon: float) -> int:
        return min(count - 1, max(0, math.floor((lon + 180) / 360 * count)))

    def row(lat: float) -> int:
        phi = math.radians(max(-MAX_LAT, min(MAX_LAT, lat)))
        return min(
            count - 1, max(0, math.floor((1 - math.asinh(math.tan(phi)) / math.pi) / 2 * count))
        )

    return (
        range(column(area.west), column(area.east) + 1),
        range(row(area.north), row(area.south) + 1),
    )


def _count(area: Area, zoom: int) -> int:
    columns, rows = _span(area, zoom)
    return len(columns) * len(rows)


def _tiles_over(area: Area, zoom: int) -> list[tuple[int, int]]:
    columns, rows = _span(area, zoom)
    return [(x, y) for y in rows for x in columns]


class _Pyramid:
    """Depth first, so that a tile is made of its four children before they are forgotten."""

    def __init__(
        self, imagery: Imagery, zooms: Zooms, db: sqlite3.Connection, report: Report
    ) -> None:
        self._imagery, self._zooms, self._db, self._report = imagery, zooms, db, report
        self._wanted = _span(imagery.area, zooms.deepest)
        self._done = 0

    def render(self, zoom: int, x: int, y: int) -> _Picture | None:
        """Write a tile and all below it; None where there is nothing."""
        if not self._reaches(zoom, x, y):
            return None
        below = self._zooms.deepest - zoom
        if below == 0:
            picture = self._read(zoom, x, y, TILE)
        elif below == 1:
            picture = self._read_four(zoom, x, y)
        else:
            picture = _joined(
                lambda dx, dy: self.render(zoom + 1, 2 * x + dx, 2 * y + dy),
            )
        if below == 0:
            self._done += 1
            self._tell()
        if picture is not None:
            if below:
                picture = _halved(picture)
            self._write(zoom, x, y, picture)
        return picture

    def _reaches(self, zoom: int, x: int, y: int) -> bool:
        below = self._zooms.deepest - zoom
        columns, rows = self._wanted
        return (
            x << below < columns.stop
            and (x + 1) << below > columns.start
            and y << below < rows.stop
            and (y + 1) << below > rows.start
        )

    def _read_four(self, zoom: int, x: int, y: int) -> _Picture | None:
        """The four leaves under a tile in one read."""
        try:
            four = self._read_whole(zoom, x, y, 2 * TILE)
        except UserError:  # a block of the file is damaged: save the other leaves
            return _joined(lambda dx, dy: self.render(zoom + 1, 2 * x + dx, 2 * y + dy))
        for dy in (0, 1):
            for dx in (0, 1):
                down, across = slice(dy * TILE, (dy + 1) * TILE), slice(dx * TILE, (dx + 1) * TILE)
                leaf = _Picture(four.pixels[down, across], four.valid[down, across])
                if leaf.valid.any():
                    self._write(zoom + 1, 2 * x + dx, 2 * y + dy, leaf)
        self._done += 4
        self._tell()
        return four if four.valid.any() else None

    def _read(self, zoom: int, x: int, y: int, size: int) -> _Picture | None:
        try:
            picture = self._read_whole(zoom, x, y, size)
        except UserError:  # the gallery lists its tiles that could not be read: a hole here
            return None
        return picture if picture.valid.any() else None

    def _read_whole(self, zoom: int, x: int, y: int, size: int) -> _Picture:
        side = 2 * HALF_WORLD_M / (1 << zoom)
        pixels, valid = self._imagery.read_mercator(
            left=x * side - HALF_WORLD_M, top=HALF_WORLD_M - y * side, side=side, size_px=size
        )
        return _Picture(pixels, valid)

    def _tell(self) -> None:
        done = min(self._done, self._zooms.leaves)
        self._report(Progress(done, self._zooms.leaves, "drawing the map"))

    def _write(self, zoom: int, x: int, y: int, picture: _Picture) -> None:
        row = (1 << zoom) - 1 - y
        self._db.execute("INSERT INTO tiles VALUES (?, ?, ?, ?)", (zoom, x, row, _encoded(picture)))


def _joined(child: Callable[[int, int], _Picture | None]) -> _Picture | None:
    """Four tiles as one of twice the side."""
    pixels = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8)
    valid = np.zeros((2 * TILE, 2 * TILE), bool)
    for dy in (0, 1):
        for dx in (0, 1):
            part = child(dx, dy)
            if part is not None:
                down, across = slice(dy * TILE, (dy + 1) * TILE), slice(dx * TILE, (dx + 1) * TILE)
                pixels[down, across], valid[down, across] = part.pixels, part.valid
    return _Picture(pixels, valid) if valid.any() else None


def _halved(picture: _Picture) -> _Picture:
    """Half as many pixels a side, each the mean of its valid ones."""
    size = (picture.pixels.shape[1] // 2, picture.pixels.shape[0] // 2)
    mean = cv2.resize(picture.pixels, size, interpolation=cv2.INTER_AREA)
    if picture.valid.all():
        return _Picture(mean.astype(np.uint8, copy=False), np.ones(size[::-1], bool))
    share = cv2.resize(picture.valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    lit = mean / np.maximum(share, 0.25)[..., None]  # invalid pixels are black: counted out
    return _Picture(lit.clip(0, 255).astype(np.uint8), share > 0)


def _encoded(picture: _Picture) -> bytes:
    bgr = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2BGR)
    if picture.valid.all():
        found, code = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    else:
        alpha = picture.valid.astype(np.uint8) * 255
        bgra = cv2.merge([*cv2.split(bgr), alpha])
        found, code = cv2.imencode(".webp", bgra, (cv2.IMWRITE_WEBP_QUALITY, _QUALITY))
    assert found
    return code.tobytes()
