"""Findings as a GeoPackage of two layers, ``points`` and ``polygons``, in WGS84."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from app.engine import geopackage
from app.engine.export_found import FIELDS, NUMBERS, TEXTS, Feature
from app.errors import UserError

_SRS = 4326


def write_gpkg(path: Path, features: Sequence[Feature]) -> None:
    """Whole or not at all. Raises UserError."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial)) as db, db:
            geopackage.start(db)
            points = [feature for feature in features if feature.is_point]
            polygons = [feature for feature in features if not feature.is_point]
            _write_layer(db, "points", "POINT", points)
            _write_layer(db, "polygons", "POLYGON", polygons)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {error}",
            "Close it in other programs, check its rights, or choose another.",
        ) from error


def _write_layer(
    db: sqlite3.Connection, name: str, geometry: str, features: Sequence[Feature]
) -> None:
    columns = ", ".join(f'"{field}" {_type(field)}' for field in FIELDS)
    geopackage.add_layer(db, name, geometry=geometry, columns=columns, srs=_SRS)
    marks = ", ".join("?" for _ in FIELDS)
    named = ", ".join(f'"{field}"' for field in FIELDS)
    db.executemany(
        f"INSERT INTO {name} (geom, {named}) VALUES (?, {marks})",
        [(_shape(f), *(f.fields.get(field) for field in FIELDS)) for f in features],
    )
    if features:
        places = [place for feature in features for place in feature.points]
        lons, lats = [p.lon for p in places], [p.lat for p in places]
        geopackage.set_extent(db, name, (min(lons), min(lats), max(lons), max(lats)))


def _type(field: str) -> str:
    if field in TEXTS:
        return "TEXT"
    return "DOUBLE" if field in NUMBERS and field != "calibrated" else "INTEGER"


def _shape(feature: Feature) -> bytes:
    if feature.is_point:
        (place,) = feature.points
        return geopackage.point(place.lon, place.lat, _SRS)
    return geopackage.polygon([(place.lon, place.lat) for place in feature.ring], _SRS)
