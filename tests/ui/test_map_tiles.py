import gc
import sqlite3
import threading

import pytest
import shiboken6
from PIL import Image

from app.errors import UserError
from app.geo import Area
from app.ui.map_tiles import (
    TileKey,
    TileReader,
    find_basemap,
    mime_of,
    read_basemap,
    read_tile,
)
from tests.ui.mbtiles import write_mbtiles


@pytest.fixture
def two_rows(tmp_path):
    """At zoom 1, the northern row holds b"north", the southern one b"south"."""
    return write_mbtiles(
        tmp_path / "basemap.mbtiles",
        {(1, 0, 1): b"north", (1, 0, 0): b"south"},
        bounds="-180,-85,0,85",
    )


@pytest.fixture
def reader():
    reader = TileReader()
    yield reader
    reader.close()


def test_rows_count_from_the_north_for_maps_and_from_the_south_in_the_file(two_rows):
    assert read_tile(two_rows, TileKey(1, 0, 0)) == b"north"
    assert read_tile(two_rows, TileKey(1, 0, 1)) == b"south"


def test_a_tile_that_is_not_there_is_none(two_rows):
    assert read_tile(two_rows, TileKey(1, 1, 0)) is None


def test_a_basemap_says_its_zooms_and_area(two_rows):
    basemap = read_basemap(two_rows)
    assert (basemap.min_zoom, basemap.max_zoom) == (1, 1)
    assert basemap.area == Area(-85, -180, 85, 0)


def test_a_gallery_of_pictures_has_no_basemap(tmp_path):
    assert find_basemap(tmp_path) is None


@pytest.mark.parametrize("name", ["basemap.mbtiles", "karta ö #?% 地图.mbtiles"])
def test_names_that_mean_something_in_a_url_open(tmp_path, name):
    path = write_mbtiles(tmp_path / name, {(0, 0, 0): b"world"})
    assert read_tile(path, TileKey(0, 0, 0)) == b"world"


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough" * 40])
def test_a_damaged_basemap_is_named(tmp_path, content):
    path = tmp_path / "basemap.mbtiles"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"basemap\.mbtiles cannot be read") as problem:
        find_basemap(tmp_path)
    assert problem.value.hint


def test_bounds_that_are_no_numbers_are_a_damage(tmp_path):
    path = write_mbtiles(tmp_path / "b.mbtiles", {(0, 0, 0): b"x"}, bounds="here,there")
    with pytest.raises(UserError):
        read_basemap(path)


def test_a_basemap_without_tiles_says_so(tmp_path):
    with pytest.raises(UserError, match="no tiles"):
        read_basemap(write_mbtiles(tmp_path / "b.mbtiles", {}))


@pytest.mark.parametrize("place", [(-1, 0, 0), (25, 0, 0), (1, 2, 0), (1, 0, -1)])
def test_no_tile_lies_outside_the_world(place):
    with pytest.raises(ValueError, match="no such"):
        TileKey(*place)


def test_a_basemap_is_never_written_to(two_rows):
    before = two_rows.read_bytes()
    read_basemap(two_rows)
    read_tile(two_rows, TileKey(1, 0, 0))
    assert two_rows.read_bytes() == before
    assert [path.name for path in two_rows.parent.iterdir()] == ["basemap.mbtiles"]


def test_tiles_are_answered_on_the_thread_that_asked(qtbot, reader, two_rows):
    answers = []
    for row in (0, 1):
        reader.ask(
            two_rows,
            TileKey(1, 0, row),
            lambda tile: answers.append((tile, threading.current_thread())),
        )
    assert answers == []  # not before the event loop runs again
    qtbot.waitUntil(lambda: len(answers) == 2)
    here = threading.current_thread()
    assert sorted(answers, key=lambda a: a[0]) == [(b"north", here), (b"south", here)]


def test_a_forgotten_tile_is_not_answered(qtbot, reader, two_rows):
    answers = []
    number = reader.ask(two_rows, TileKey(1, 0, 0), answers.append)
    reader.forget(number)
    reader.ask(two_rows, TileKey(1, 0, 1), answers.append)
    qtbot.waitUntil(lambda: bool(answers))
    assert answers == [b"south"]


def test_a_file_that_vanishes_is_a_missing_tile_and_a_line_in_the_log(
    qtbot, reader, two_rows, caplog
):
    two_rows.unlink()
    answers = []
    reader.ask(two_rows, TileKey(1, 0, 0), answers.append)
    qtbot.waitUntil(lambda: bool(answers))
    assert answers == [None]
    assert "cannot be read" in caplog.text


def test_a_locked_basemap_is_read_all_the_same(two_rows):
    with sqlite3.connect(two_rows) as db:
        db.execute("BEGIN IMMEDIATE")
        assert read_tile(two_rows, TileKey(1, 0, 0)) == b"north"
    db.close()


def test_a_reader_deleted_while_it_reads_ends_its_threads(two_rows):
    reader = TileReader()
    for _ in range(200):
        reader.ask(two_rows, TileKey(1, 0, 0), lambda _: None)
    threads = reader._threads
    shiboken6.delete(reader)
    del reader
    gc.collect()
    for thread in threads:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize(
    ("ending", "mime"), [("jpg", b"image/jpeg"), ("png", b"image/png"), ("webp", b"image/webp")]
)
def test_a_tile_is_told_by_its_first_bytes(tmp_path, ending, mime):
    picture = tmp_path / f"tile.{ending}"
    Image.new("RGB", (8, 8)).save(picture)
    assert mime_of(picture.read_bytes()) == mime
