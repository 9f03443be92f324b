"""Basemaps: what an MBTiles file says of itself, and its tiles read off the GUI's thread.

MBTiles counts rows from the south (TMS); maps ask for rows from the north (XYZ). The flip is
here and nowhere else. A file is opened for each tile and closed again: that costs 0.1 ms, and
nothing then keeps a gallery from being deleted or replaced.
"""

import logging
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Container
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from PySide6.QtCore import QObject, QTimer, Slot

from app.errors import UserError
from app.geo import Area

BASEMAP_NAME = "basemap.mbtiles"
DEEPEST_ZOOM = 24
READERS = 2
POLL_MS = 4
TURN_S = 0.008  # the most time that answers take from one turn of the event loop

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


def mime_of(picture: bytes) -> bytes:
    """By its first bytes: one MBTiles file may mix JPEG, PNG and WebP."""
    if picture.startswith(b"\x89PNG"):
        return b"image/png"
    if picture[8:12] == b"WEBP":
        return b"image/webp"
    return b"image/jpeg"


def read_tile(path: Path, key: TileKey) -> bytes | None:
    """The tile's picture (JPEG, PNG or WebP) as stored, None where the basemap has none."""
    with closing(_connect(path)) as db:
        found = db.execute(
            "SELECT tile_data FROM tiles WHERE zoom_level = ? AND tile_column = ? AND tile_row = ?",
            (key.zoom, key.column, (1 << key.zoom) - 1 - key.row),
        ).fetchone()
    return found[0] if found and isinstance(found[0], bytes) else None


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _area(bounds: str | None) -> Area | None:
    if bounds is None:
        return None
    west, south, east, north = (float(part) for part in bounds.split(","))
    return Area(south, west, north, east)


_Asks = SimpleQueue[tuple[int, Path, TileKey] | None]
_Answers = SimpleQueue[tuple[int, bytes | None]]


class TileReader(QObject):
    """Reads tiles on two threads of its own; the answer comes on the thread that asked.

    The threads know no Qt object: one that is deleted while they read can then do no harm. So
    answers are fetched by a timer, which runs only while something is asked for.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._asks: _Asks = SimpleQueue()
        self._answers: _Answers = SimpleQueue()
        self._waiting: dict[int, Callable[[bytes | None], None]] = {}
        self._threads: tuple[threading.Thread, ...] = ()
        self._count = 0
        self._poll = QTimer(self, interval=POLL_MS)
        self._poll.timeout.connect(self._on_poll)
        weakref.finalize(self, _end, self._asks)

    def ask(self, path: Path, key: TileKey, answer: Callable[[bytes | None], None]) -> int:
        """Have ``answer`` called with the tile; the number returned can be given to ``forget``."""
        if not self._threads:
            work = self._asks, self._answers, self._waiting
            self._threads = tuple(
                threading.Thread(target=_serve, args=work, name="tiles", daemon=True)
                for _ in range(READERS)
            )
            for thread in self._threads:
                thread.start()
        self._count += 1
        self._waiting[self._count] = answer
        self._asks.put((self._count, path, key))
        self._poll.start()
        return self._count

    def forget(self, number: int) -> None:
        """Nobody waits for this tile any more."""
        self._waiting.pop(number, None)

    def close(self) -> None:
        """Drop what was not begun and wait for the rest: some milliseconds."""
        self._poll.stop()
        self._waiting.clear()
        _end(self._asks)
        for thread in self._threads:
            thread.join()
        self._threads = ()

    @Slot()
    def _on_poll(self) -> None:
        until = time.perf_counter() + TURN_S
        while time.perf_counter() < until:
            try:
                number, tile = self._answers.get_nowait()
            except Empty:
                break
            answer = self._waiting.pop(number, None)
            if answer is not None:
                answer(tile)
        if not self._waiting:
            self._poll.stop()


def _serve(asks: _Asks, answers: _Answers, waiting: Container[int]) -> None:
    while (ask := asks.get()) is not None:
        number, path, key = ask
        if number not in waiting:
            continue
        tile = None
        try:
            tile = read_tile(path, key)
        except (sqlite3.Error, OSError) as error:
            log.warning("tile %s of %s cannot be read: %s", key, path, error)
        answers.put((number, tile))


def _end(asks: _Asks) -> None:
    for _ in range(READERS):
        asks.put(None)
