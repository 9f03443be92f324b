"""What other programs open: tiles.gpkg lies where the imagery lies, and so does the basemap."""

import io
import math
import sqlite3
from contextlib import closing

import numpy as np
import pyogrio
import pyproj
import pytest
from PIL import Image

from app.engine.basemap import HALF_WORLD_M, MAX_TILES, choose_zooms, write_basemap
from app.engine.rasters import open_imagery
from app.engine.tiles_gpkg import Tile, read_tiles, write_tiles
from app.errors import JobCancelled, UserError
from app.geo import Area
from tests.engine.made_rasters import EXTENT_M, NORTH, UTM, WEST, colours_at, write_place

TILES = tuple(
    Tile(f"r{row:03d}c{col:03d}", row, col, WEST + 50 * col, NORTH - 50 * row, 48.0, 3.0, 0.75)
    for row in range(2)
    for col in range(3)
)


def test_tiles_come_back_as_they_were_written_and_in_order(tmp_path):
    write_tiles(tmp_path / "t.gpkg", TILES[::-1], crs=UTM, tile_size_m=80)
    assert tuple(read_tiles(tmp_path / "t.gpkg")) == TILES[::-1]


def test_gdal_reads_squares_in_the_right_crs(tmp_path):
    write_tiles(tmp_path / "t.gpkg", TILES, crs=UTM, tile_size_m=80)
    meta, _, shapes, columns = pyogrio.raw.read(tmp_path / "t.gpkg")
    assert meta["crs"] == UTM
    assert meta["geometry_type"] == "Polygon"
    wanted = ["tile", "row", "col", "x", "y", "lat", "lon", "valid_share", "file"]
    assert list(meta["fields"]) == wanted
    assert list(columns[0]) == [tile.tile for tile in TILES]
    for tile, shape in zip(TILES, shapes, strict=True):
        ring = np.frombuffer(shape, "<f8", offset=13).reshape(5, 2)
        assert (ring[0] == ring[4]).all()
        assert ring.min(axis=0).tolist() == [tile.x - 40, tile.y - 40]
        assert ring.max(axis=0).tolist() == [tile.x + 40, tile.y + 40]
        across, along = ring[:-1].T
        area = (across * np.roll(along, -1) - np.roll(across, -1) * along).sum() / 2
        assert area == pytest.approx(6400)  # anticlockwise
    found = pyogrio.read_info(tmp_path / "t.gpkg", force_total_bounds=True)["total_bounds"]
    assert found == pytest.approx((WEST - 40, NORTH - 90, WEST + 140, NORTH + 40))
    _, boxes = pyogrio.read_bounds(tmp_path / "t.gpkg", bbox=(WEST - 39, NORTH, WEST - 38, NORTH))
    assert boxes.shape == (4, 1)  # one tile reaches there


def test_a_crs_without_a_code_is_kept_as_it_is(tmp_path):
    crs = pyproj.CRS.from_proj4("+proj=tmerc +lat_0=48 +lon_0=3 +datum=WGS84 +units=m").to_wkt()
    write_tiles(tmp_path / "t.gpkg", TILES, crs=crs, tile_size_m=80)
    found = pyogrio.read_info(tmp_path / "t.gpkg")["crs"]
    there = pyproj.Transformer.from_crs("EPSG:4326", found, always_xy=True).transform(3.01, 48.01)
    wanted = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(3.01, 48.01)
    assert there == pytest.approx(wanted, abs=0.001)


def test_a_file_that_holds_no_tiles_is_refused(tmp_path):
    (tmp_path / "t.gpkg").write_bytes(b"nonsense" * 100)
    with pytest.raises(UserError, match=r"t\.gpkg cannot be read"):
        read_tiles(tmp_path / "t.gpkg")


def basemap_tiles(path):
    """(zoom, column, row from the north) -> RGBA."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles")
        return {
            (zoom, x, 2**zoom - 1 - row): np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
            for zoom, x, row, data in rows
        }


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_every_pixel_of_every_zoom_lies_where_the_imagery_has_it(tmp_path, crs):
    write_basemap(write_place(tmp_path / "place.tif", crs), tmp_path / "b.mbtiles")
    tiles = basemap_tiles(tmp_path / "b.mbtiles")
    to_utm = pyproj.Transformer.from_crs("EPSG:3857", UTM, always_xy=True)
    assert len({zoom for zoom, _, _ in tiles}) >= 2
    centres = np.arange(256) + 0.5
    checked = 0
    for (zoom, column, row), picture in tiles.items():
        side = 2 * HALF_WORLD_M / 2**zoom
        x = column * side - HALF_WORLD_M + centres * side / 256
        y = HALF_WORLD_M - row * side - centres * side / 256
        easting, northing = to_utm.transform(*(g.ravel() for g in np.meshgrid(x, y)))
        margin = 4 * side / 256
        inside = (np.abs(easting - WEST - EXTENT_M / 2) < EXTENT_M / 2 - margin) & (
            np.abs(northing - NORTH + EXTENT_M / 2) < EXTENT_M / 2 - margin
        )
        if not inside.any():
            continue
        found = picture.reshape(-1, 4)[inside]
        assert (found[:, 3] == 255).all()
        wrong = np.abs(found[:, :3] - colours_at(easting[inside], northing[inside]))
        assert np.median(wrong, axis=0).max() <= 2  # JPEG
        checked += int(inside.sum())
    assert checked > EXTENT_M**2


def test_a_basemap_is_itself_imagery(tmp_path):
    write_basemap(write_place(tmp_path / "place.tif"), tmp_path / "b.mbtiles")
    with open_imagery(tmp_path / "b.mbtiles") as imagery:
        assert imagery.crs == UTM
        x, y = WEST + 150, NORTH - 250
        pixels, valid = imagery.read(
            left=x - 20, top=y + 20, width_m=40, height_m=40, size=(20, 20)
        )
    assert valid.all()
    assert pixels.mean(axis=(0, 1)) == pytest.approx(colours_at(x, y), abs=2)


def test_where_there_is_no_data_the_map_is_clear(tmp_path):
    write_basemap(write_place(tmp_path / "place.tif", turn_deg=30), tmp_path / "b.mbtiles")
    pictures = list(basemap_tiles(tmp_path / "b.mbtiles").values())
    assert any((picture[..., 3] == 0).any() for picture in pictures)
    assert all((picture[..., 3] == 255).any() for picture in pictures)
    with closing(sqlite3.connect(tmp_path / "b.mbtiles")) as db:
        metadata = dict(db.execute("SELECT name, value FROM metadata"))
    west, south, east, north = (float(v) for v in metadata["bounds"].split(","))
    assert west < 3.002 < east
    assert south < 47.996 < north
    assert int(metadata["minzoom"]) < int(metadata["maxzoom"])


def test_a_cancelled_basemap_is_not_there(tmp_path):
    def cancel(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        write_basemap(write_place(tmp_path / "place.tif"), tmp_path / "b.mbtiles", cancel)
    assert not (tmp_path / "b.mbtiles").exists()


@pytest.mark.parametrize(("gsd_m", "side_deg"), [(0.1, 0.01), (0.5, 0.05), (10, 1.0), (0.05, 2.0)])
def test_zooms_reach_the_imagerys_resolution_within_the_limit(gsd_m, side_deg):
    area = Area(48.0, 3.0, 48.0 + side_deg, 3.0 + side_deg)
    zooms = choose_zooms(area, gsd_m)
    assert zooms.leaves * 4 / 3 <= MAX_TILES
    pixel_m = 40_075_017 / 256 / 2**zooms.deepest * math.cos(math.radians(area.centre.lat))
    assert pixel_m <= gsd_m * 1.12 or zooms.leaves * 4 * 4 / 3 > MAX_TILES * 0.8
    assert zooms.least <= zooms.deepest
