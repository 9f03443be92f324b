"""What an unfinished build has done so far: one SQLite file in ``<gallery>.building``.

A tile is in it with its descriptor or with the reason it was skipped, or it is not. A process
killed at any moment leaves it so. Its lock keeps a second build of the gallery out.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16

from app.engine.tiles_gpkg import Tile
from app.errors import UserError

JOURNAL_NAME = "building.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS request (body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tiles (
  tile TEXT PRIMARY KEY, "row" INTEGER, col INTEGER, x DOUBLE, y DOUBLE, lat DOUBLE, lon DOUBLE,
  valid_share DOUBLE, file TEXT, descriptor BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS skipped (tile TEXT PRIMARY KEY, reason TEXT NOT NULL);
"""
_ORDER = ' ORDER BY "row", col'


class Journal:
    """Made by ``open_journal``."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def done(self) -> frozenset[str]:
        """Tiles that need not be looked at again."""
        found = self._db.execute("SELECT tile FROM tiles UNION SELECT tile FROM skipped")
        return frozenset(name for (name,) in found)

    def add(self, tiles: Sequence[Tile], descriptors: Float16[np.ndarray, "n d"]) -> None:
        """All or none."""
        rows = [
            (t.tile, t.row, t.col, t.x, t.y, t.lat, t.lon, t.valid_share, t.file, row.tobytes())
            for t, row in zip(tiles, descriptors, strict=True)
        ]
        with self._db:
            self._db.executemany("INSERT INTO tiles VALUES (?,?,?,?,?,?,?,?,?,?)", rows)

    def skip(self, name: str, reason: str) -> None:
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO skipped VALUES (?,?)", (name, reason))

    def counts(self) -> tuple[int, int]:
        """Described and skipped."""
        row: tuple[int, int] = self._db.execute(
            "SELECT (SELECT count(*) FROM tiles), (SELECT count(*) FROM skipped)"
        ).fetchone()
        return row

    def tiles(self) -> Iterator[Tile]:
        """North to south, each row west to east."""
        columns = 'tile, "row", col, x, y, lat, lon, valid_share, file'
        for row in self._db.execute(f"SELECT {columns} FROM tiles{_ORDER}"):
            yield Tile(*row)

    def descriptors(self) -> Iterator[Float16[np.ndarray, " d"]]:
        """In the order of ``tiles``."""
        for (blob,) in self._db.execute(f"SELECT descriptor FROM tiles{_ORDER}"):
            yield np.frombuffer(blob, np.float16)

    def skipped(self, limit: int) -> tuple[str, ...]:
        found = self._db.execute("SELECT tile, reason FROM skipped ORDER BY tile LIMIT ?", (limit,))
        return tuple(f"{tile}: {reason}" for tile, reason in found)


@contextmanager
def open_journal(building: Path, request: dict[str, Any]) -> Iterator[Journal]:
    """That of an earlier build of the same request, or a new one in an emptied folder."""
    body = json.dumps(request, sort_keys=True)
    if building.exists() and not _is_ours(building):
        raise UserError(
            f"{building} is in the way: it is not an unfinished gallery",
            "Move it away, or choose another name for the gallery.",
        )
    building.mkdir(parents=True, exist_ok=True)
    db = _connect(building)
    try:
        found = db.execute("SELECT body FROM request").fetchone()
        if found is None or found[0] != body:
            _start_afresh(building, db, body)
        yield Journal(db)
    finally:
        db.close()


def _is_ours(building: Path) -> bool:
    return building.is_dir() and (
        (building / JOURNAL_NAME).is_file() or not any(building.iterdir())
    )


def _connect(building: Path) -> sqlite3.Connection:
    """Holds the file's lock until closed. A damaged journal is replaced."""
    path = building / JOURNAL_NAME
    for attempt in (1, 2):
        db = sqlite3.connect(path, timeout=1, check_same_thread=True)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")  # a commit need not wait for the disk
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript("BEGIN IMMEDIATE;" + _SCHEMA + "COMMIT;")
            return db
        except sqlite3.OperationalError:
            db.close()
            raise
        except sqlite3.DatabaseError:
            db.close()
            if attempt == 2:
                raise
            path.unlink()
    raise AssertionError("unreachable")


def _start_afresh(building: Path, db: sqlite3.Connection, body: str) -> None:
    for entry in building.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif not entry.name.startswith(JOURNAL_NAME):
            entry.unlink()
    with db:
        for table in ("request", "tiles", "skipped"):
            db.execute(f"DELETE FROM {table}")
        db.execute("INSERT INTO request VALUES (?)", (body,))
