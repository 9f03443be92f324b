"""tiles.gpkg: the tiles of a gallery as polygons, in a GeoPackage that QGIS opens.

Written and read with the standard library; OGC 12-128r18 (GeoPackage 1.3).
"""

import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyproj

from app.errors import UserError

_GPKG, _VERSION = 0x47504B47, 10300
_OWN_SRS = 100_001  # of a CRS without an EPSG code
_HEADER = struct.Struct("<2sBBi4d")  # magic, version, flags, srs, minx, maxx, miny, maxy
_LITTLE_ENDIAN_XY = 0b11
_POLYGON = struct.Struct("<BIII10d")  # byte order, type, rings, points, five corners

_SCHEMA = """
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
  description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
  CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
  srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
  CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
  CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
  CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id));
CREATE TABLE tiles (
  fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom POLYGON, tile TEXT NOT NULL UNIQUE,
  "row" INTEGER NOT NULL, col INTEGER NOT NULL, x DOUBLE NOT NULL, y DOUBLE NOT NULL,
  lat DOUBLE NOT NULL, lon DOUBLE NOT NULL, valid_share DOUBLE NOT NULL, file TEXT);
"""


@dataclass(frozen=True, slots=True)
class Tile:
    """A square on the ground, north up, centred at (x, y) in metres of the gallery's CRS."""

    tile: str  # "r003c017", "p00042"
    row: int
    col: int
    x: float
    y: float
    lat: float
    lon: float
    valid_share: float  # of its pixels
    file: str | None = None  # picture galleries: the picture, relative to the source folder


def write_tiles(path: Path, tiles: Iterable[Tile], *, crs: str, tile_size_m: float) -> None:
    """``path`` must not exist; a crash leaves it broken: write it elsewhere, then rename.

    Raises sqlite3.Error (a full disk and the like).
    """
    srs = _Srs.of(crs)
    half = tile_size_m / 2
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
            f"PRAGMA application_id = {_GPKG}; PRAGMA user_version = {_VERSION};" + _SCHEMA
        )
        for row in (_UNDEFINED_CARTESIAN, _UNDEFINED_GEOGRAPHIC, _Srs.of("EPSG:4326"), srs):
            db.execute(
                "INSERT OR IGNORE INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,NULL)",
                (row.name, row.number, row.organization, row.number, row.definition),
            )
        db.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id)"
            " VALUES ('tiles', 'features', 'tiles', ?)",
            (srs.number,),
        )
        db.execute(
            "INSERT INTO gpkg_geometry_columns VALUES ('tiles', 'geom', 'POLYGON', ?, 0, 0)",
            (srs.number,),
        )
        db.executemany(
            'INSERT INTO tiles (geom, tile, "row", col, x, y, lat, lon, valid_share, file)'
            " VALUES (?,?,?,?,?,?,?,?,?,?)",
            _rows(tiles, srs.number, half),
        )
        db.execute(
            "UPDATE gpkg_contents SET min_x = (SELECT min(x) - :half FROM tiles),"
            " min_y = (SELECT min(y) - :half FROM tiles),"
            " max_x = (SELECT max(x) + :half FROM tiles),"
            " max_y = (SELECT max(y) + :half FROM tiles)",
            {"half": half},
        )


def read_tiles(path: Path) -> list[Tile]:
    """In the order of the descriptors. Raises UserError where it is not such a file."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            found = db.execute(
                'SELECT tile, "row", col, x, y, lat, lon, valid_share, file FROM tiles ORDER BY fid'
            )
            return [Tile(*row) for row in found]
    except sqlite3.Error as error:
        raise UserError(
            f"{path} cannot be read ({error})", "Build the gallery again, or restore the file."
        ) from error


@dataclass(frozen=True, slots=True)
class _Srs:
    name: str
    number: int
    organization: str
    definition: str

    @staticmethod
    def of(crs: str) -> "_Srs":
        parsed = pyproj.CRS.from_user_input(crs)
        code = int(crs[5:]) if crs.startswith("EPSG:") else None
        definition = parsed.to_wkt("WKT1_GDAL")
        if code is None:
            return _Srs(parsed.name, _OWN_SRS, "NONE", definition)
        return _Srs(parsed.name, code, "EPSG", definition)


_UNDEFINED_CARTESIAN = _Srs("Undefined Cartesian SRS", -1, "NONE", "undefined")
_UNDEFINED_GEOGRAPHIC = _Srs("Undefined geographic SRS", 0, "NONE", "undefined")


def _rows(tiles: Iterable[Tile], srs: int, half: float) -> Iterator[tuple[object, ...]]:
    for t in tiles:
        shape = _square(t.x - half, t.y - half, t.x + half, t.y + half, srs)
        yield (shape, t.tile, t.row, t.col, t.x, t.y, t.lat, t.lon, t.valid_share, t.file)


def _square(left: float, bottom: float, right: float, top: float, srs: int) -> bytes:
    """GeoPackage binary: a header with the envelope, then WKB, anticlockwise."""
    header = _HEADER.pack(b"GP", 0, _LITTLE_ENDIAN_XY, srs, left, right, bottom, top)
    ring = (left, bottom, right, bottom, right, top, left, top, left, bottom)
    return header + _POLYGON.pack(1, 3, 1, 5, *ring)
