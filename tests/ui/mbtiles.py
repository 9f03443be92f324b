"""Makes small basemaps for tests."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from io import BytesIO
from pathlib import Path

from PIL import Image


def png(colour: tuple[int, int, int]) -> bytes:
    """A 256 x 256 tile of one colour."""
    body = BytesIO()
    Image.new("RGB", (256, 256), colour).save(body, "PNG")
    return body.getvalue()


def write_mbtiles(path: Path, tiles: Mapping[tuple[int, int, int], bytes], **metadata: str) -> Path:
    """``tiles`` by (zoom, column, row), rows from the south as the format has them (TMS)."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE metadata (name TEXT, value TEXT)")
        db.execute(
            "CREATE TABLE tiles"
            " (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER, tile_data BLOB)"
        )
        db.executemany("INSERT INTO metadata VALUES (?, ?)", metadata.items())
        db.executemany(
            "INSERT INTO tiles VALUES (?, ?, ?, ?)",
            [(*place, body) for place, body in tiles.items()],
        )
        db.commit()
    return path
