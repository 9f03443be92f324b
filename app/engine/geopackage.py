"""What every GeoPackage that Skyfix writes has in common: OGC 12-128r18 (GeoPackage 1.3).

Written with the standard library. Geometries are WGS84 or any CRS, x before y.
"""

import sqlite3
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pyproj

_GPKG, _VERSION = 0x47504B47, 10300
_OWN_SRS = 100_001  # of a CRS without an EPSG code
_HEADER = struct.Struct("<2sBBi4d")  # magic, version, flags, srs, minx, maxx, miny, maxy
_LITTLE_ENDIAN_XY = 0b11
_POLYGON = struct.Struct("<BIII")  # byte order, type, rings, points
_POINT = struct.Struct("<BI2d")
_XY = struct.Struct("<2d")

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
"""


@dataclass(frozen=True, slots=True)
class Srs:
    """A row of gpkg_spatial_ref_sys; made by ``srs_of``."""

    name: str
    number: int
    organization: str
    definition: str


def srs_of(crs: str) -> Srs:
    parsed = pyproj.CRS.from_user_input(crs)
    definition = parsed.to_wkt("WKT1_GDAL")
    if not crs.startswith("EPSG:"):
        return Srs(parsed.name, _OWN_SRS, "NONE", definition)
    return Srs(parsed.name, int(crs[5:]), "EPSG", definition)


_ALWAYS = (
    Srs("Undefined Cartesian SRS", -1, "NONE", "undefined"),
    Srs("Undefined geographic SRS", 0, "NONE", "undefined"),
)


def start(db: sqlite3.Connection, *systems: Srs) -> None:
    """The tables that a GeoPackage must have, in a new and empty database."""
    db.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
        f"PRAGMA application_id = {_GPKG}; PRAGMA user_version = {_VERSION};" + _SCHEMA
    )
    for row in (*_ALWAYS, srs_of("EPSG:4326"), *systems):
        db.execute(
            "INSERT OR IGNORE INTO gpkg_spatial_ref_sys VALUES (?,?,?,?,?,NULL)",
            (row.name, row.number, row.organization, row.number, row.definition),
        )


def add_layer(db: sqlite3.Connection, name: str, *, geometry: str, columns: str, srs: int) -> None:
    """An empty table with ``fid`` and ``geom``; ``columns`` is SQL and the caller's own."""
    db.execute(
        f"CREATE TABLE {name} (fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
        f" geom {geometry}, {columns})"
    )
    db.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, srs_id)"
        " VALUES (?, 'features', ?, ?)",
        (name, name, srs),
    )
    db.execute(
        "INSERT INTO gpkg_geometry_columns VALUES (?, 'geom', ?, ?, 0, 0)", (name, geometry, srs)
    )


def set_extent(db: sqlite3.Connection, name: str, box: tuple[float, float, float, float]) -> None:
    """``box``: least x, least y, largest x, largest y of a layer."""
    db.execute(
        "UPDATE gpkg_contents SET min_x = ?, min_y = ?, max_x = ?, max_y = ? WHERE table_name = ?",
        (*box, name),
    )


def polygon(ring: Sequence[tuple[float, float]], srs: int) -> bytes:
    """GeoPackage binary of an outer ring: anticlockwise, its last point its first."""
    xs, ys = zip(*ring, strict=True)
    header = _HEADER.pack(b"GP", 0, _LITTLE_ENDIAN_XY, srs, min(xs), max(xs), min(ys), max(ys))
    return header + _POLYGON.pack(1, 3, 1, len(ring)) + b"".join(_XY.pack(*xy) for xy in ring)


def point(x: float, y: float, srs: int) -> bytes:
    header = _HEADER.pack(b"GP", 0, _LITTLE_ENDIAN_XY, srs, x, x, y, y)
    return header + _POINT.pack(1, 1, x, y)
