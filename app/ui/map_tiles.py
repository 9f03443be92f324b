"""Basemaps: what an MBTiles file says of itself, and its tiles read off the GUI's thread.

MBTiles counts rows from the south (TMS); maps ask for rows from the north (XYZ). The flip is
here and nowhere else. A file is opened for each tile and closed again: that costs 0.1 ms, and
nothing then keeps a gallery from being deleted or replaced.
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, Signal, Slot

from app.errors import UserError
from app.geo import Area

BASEMAP_NAME = "basemap.mbtiles"
DEEPEST_ZOOM = 24
READERS = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TileKey:
    """A web-Mercator tile, rows counted from the north (XYZ)."""

    zoom: int
    column: int
    row: int

    def __post_init__(self) -> None:
        if not 0 <= self.zoom <= DEEPEST_ZOOM:
            raise ValueError(f"no such zoom: {self.zoom}")
        side = 1 << self.zoom
        if not (0 <= self.column < side and 0 <= self.row < side):
            raise ValueError(f"no such tile at zoom {self.zoom}: {self.column}, {self.row}")


@dataclass(frozen=True, slots=True)
class Basemap:
    path: Path
    min_zoom: int
    max_zoom: int
    area: Area | None  # None: the file does not say


def find_basemap(folder: Path) -> Basemap | None:
    """The basemap of a gallery folder, None where the gallery has none."""
    path = folder / BASEMAP_NAME
    return read_basemap(path) if path.is_file() else None


def read_basemap(path: Path) -> Basemap:
    try:
        with closing(_connect(path)) as db:
            about = dict(db.execute("SELECT name, value FROM metadata"))
            low, high = db.execute("SELECT min(zoom_level), max(zoom_level) FROM tiles").fetchone()
        if low is None:
            raise ValueError("it holds no tiles")
        if not 0 <= int(low) <= int(high) <= DEEPEST_ZOOM:
            raise ValueError(f"its zoom levels are {low} to {high}")
        return Basemap(path, int(low), int(high), _area(about.get("bounds")))
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise UserError(
            f"The basemap {path} cannot be read ({error})",
            "Build the gallery again; until then its map has no imagery.",
        ) from error


def read_tile(path: Path, key: TileKey) -> bytes | None:
    """The tile's picture file (JPEG or PNG) as stored, None where the basemap has no such tile."""
    with closing(_connect(path)) as db:
        found = db.execute(
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?",
            (key.zoom, key.column, (1 << key.zoom) - 1 - key.row),
        ).fetchone()
    return bytes(found[0]) if found else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _area(bounds: str | None) -> Area | None:
    if bounds is None:
        return None
    west, south, east, north = (float(part) for part in bounds.split(","))
    return Area(south, west, north, east)


class TileReader(QObject):
    """Reads tiles on two threads of its own; the answer comes on the thread that asked."""

    _read = Signal(int, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(READERS)
        self._asked: dict[int, Callable[[bytes | None], None]] = {}
        self._count = 0
        self._read.connect(self._on_read)

    def ask(self, path: Path, key: TileKey, answer: Callable[[bytes | None], None]) -> int:
        """Have ``answer`` called with the tile; the number returned can be given to ``forget``."""
        self._count += 1
        number = self._count
        self._asked[number] = answer
        self._pool.start(lambda: self._work(number, path, key))
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for this tile any more."""
        self._asked.pop(number, None)

    def close(self) -> None:
        """Drop what was not begun and wait for the rest: some milliseconds."""
        self._asked.clear()
        self._pool.clear()
        self._pool.waitForDone()

    def _work(self, number: int, path: Path, key: TileKey) -> None:
        if number not in self._asked:
            return
        tile = None
        try:
            tile = read_tile(path, key)
        except sqlite3.Error as error:
            log.warning("tile %s of %s cannot be read: %s", key, path, error)
        self._read.emit(number, tile)

    @Slot(int, object)
    def _on_read(self, number: int, tile: bytes | None) -> None:
        answer = self._asked.pop(number, None)
        if answer is not None:
            answer(tile)
