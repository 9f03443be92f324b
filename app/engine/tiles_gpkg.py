"""tiles.gpkg: the tiles of a gallery as polygons, in a GeoPackage that QGIS opens.

Written and read with the standard library.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from app.engine import geopackage
from app.errors import UserError

_COLUMNS = """tile TEXT NOT NULL UNIQUE,
  "row" INTEGER NOT NULL, col INTEGER NOT NULL, x DOUBLE NOT NULL, y DOUBLE NOT NULL,
  lat DOUBLE NOT NULL, lon DOUBLE NOT NULL, valid_share DOUBLE NOT NULL, file TEXT"""


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
    srs = geopackage.srs_of(crs)
    half = tile_size_m / 2
    with closing(sqlite3.connect(path)) as db, db:
        geopackage.start(db, srs)
        geopackage.add_layer(db, "tiles", geometry="POLYGON", columns=_COLUMNS, srs=srs.number)
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


def _rows(tiles: Iterable[Tile], srs: int, half: float) -> Iterator[tuple[object, ...]]:
    for t in tiles:
        west, south, east, north = t.x - half, t.y - half, t.x + half, t.y + half
        ring = ((west, south), (east, south), (east, north), (west, north), (west, south))
        shape = geopackage.polygon(ring, srs)
        yield (shape, t.tile, t.row, t.col, t.x, t.y, t.lat, t.lon, t.valid_share, t.file)
