"""Imagery of any CRS and kind is read where it lies, in metres, and never guessed at."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from app.engine.rasters import open_imagery, to_latlon, to_xy
from app.errors import UserError
from app.geo import LatLon
from tests.engine.made_rasters import (
    EXTENT_M,
    NORTH,
    UTM,
    WEST,
    colours_at,
    write_place,
    write_raster,
)

METRE = Affine(1, 0, WEST, 0, -1, NORTH)


def read_square(imagery, x, y, side, size):
    """A square centred at (x, y)."""
    return imagery.read(
        left=x - side / 2, top=y + side / 2, width_m=side, height_m=side, size=(size, size)
    )


def wide(values):
    """Arrays of one band a value, 64 x 64."""
    return np.stack([np.full((64, 64), v) for v in values])


@pytest.mark.parametrize(
    ("crs", "turn_deg"),
    [
        (UTM, 0),
        ("EPSG:2154", 0),
        ("EPSG:4326", 0),
        ("EPSG:3857", 0),
        ("EPSG:3035", 0),
        (UTM, 17),
        ("EPSG:4326", 5),
    ],
)
@pytest.mark.parametrize(("side", "size"), [(100.0, 100), (97.3, 24), (50.0, 110)])
def test_every_crs_and_rotation_is_read_where_it_lies(tmp_path, crs, turn_deg, side, size):
    path = write_place(tmp_path / "place.tif", crs, turn_deg=turn_deg)
    with open_imagery(path) as imagery:
        place = imagery.latlon(sum(imagery.bounds[::2]) / 2, sum(imagery.bounds[1::2]) / 2)
        x, y = to_xy(imagery.crs, place)
        pixels, valid = read_square(imagery, x, y, side, size)
        along = (np.arange(size) + 0.5) / size * side - side / 2
        grid = np.column_stack([g.ravel() for g in np.meshgrid(x + along, y - along)])
        expected = np.array(
            [
                colours_at(*to_xy(UTM, LatLon(*(float(v) for v in latlon))))
                for latlon in to_latlon(imagery.crs, grid[:: size * size // 40])
            ]
        )
    assert valid.all()
    found = pixels.reshape(-1, 3)[:: size * size // 40]
    # 0.5 grey levels are a metre: a shift by one pixel of the file would be seen
    assert np.abs(found.astype(float) - expected).max() < 1.6
    assert np.abs((found.astype(float) - expected).mean(axis=0)).max() < 0.3


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", UTM])
def test_lengths_are_metres_on_the_ground(tmp_path, crs):
    with open_imagery(write_place(tmp_path / "place.tif", crs)) as imagery:
        left, bottom, right, top = imagery.bounds
        west = imagery.latlon(left + 10, (bottom + top) / 2)
        east = imagery.latlon(right - 10, (bottom + top) / 2)
        assert west.metres_to(east) == pytest.approx(right - left - 20, rel=0.005)
        assert imagery.gsd_m == pytest.approx(1.0, rel=0.02)
        assert right - left == pytest.approx(EXTENT_M, rel=0.02)
        assert imagery.area.contains(west)


def test_a_metric_north_up_raster_keeps_its_own_grid(tmp_path):
    with open_imagery(write_place(tmp_path / "utm.tif", UTM)) as imagery:
        assert imagery.crs == UTM
        assert imagery.bounds == (WEST, NORTH - EXTENT_M, WEST + EXTENT_M, NORTH)
    with open_imagery(write_place(tmp_path / "web.tif", "EPSG:3857")) as imagery:
        assert imagery.crs == UTM
    with open_imagery(write_place(tmp_path / "turned.tif", UTM, turn_deg=20)) as imagery:
        assert imagery.bounds[2] - imagery.bounds[0] > EXTENT_M * 1.2


def test_outside_of_the_raster_is_black_and_not_valid(tmp_path):
    with open_imagery(write_place(tmp_path / "place.tif")) as imagery:
        pixels, valid = read_square(imagery, WEST, NORTH, 100, 50)
        assert not valid[:24].any()
        assert not valid[:, :24].any()
        assert valid[25:, 25:].all()
        assert (pixels[~valid] == 0).all()
        far, nothing = read_square(imagery, WEST - 5000, NORTH, 100, 50)
        assert not nothing.any()
        assert not far.any()


@pytest.mark.parametrize("crs", [UTM, "EPSG:3857"])
@pytest.mark.parametrize("kind", ["nodata", "alpha", "mask"])
def test_nodata_alpha_and_masks_mark_what_is_not_valid(tmp_path, kind, crs):
    path = tmp_path / "place.tif"
    names = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    write_place(path, crs, **({"nodata": 0} if kind == "nodata" else {}))
    with rasterio.open(path) as source:
        bands, transform = source.read(), source.transform
    hole = np.zeros(bands.shape[1:], bool)
    hole[100:200, 100:300] = True
    if kind == "nodata":
        with rasterio.open(path, "r+") as target:
            bands[:, hole] = 0
            target.write(bands)
    elif kind == "alpha":
        alpha = np.where(hole, 0, 255).astype(np.uint8)
        write_raster(path, np.vstack((bands, alpha[None])), crs, transform, interpretation=names)
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as target:
            target.write_mask(~hole)
    with open_imagery(path) as imagery:
        _, inside = read_square(imagery, WEST + 200, NORTH - 150, 40, 40)
        pixels, outside = read_square(imagery, WEST + 200, NORTH - 300, 40, 40)
        _, coarse = read_square(imagery, WEST + 200, NORTH - 200, 360, 36)
    assert not inside.any()
    assert outside.all()
    assert (pixels > 0).all()
    assert (~coarse).mean() == pytest.approx(100 * 200 / 360**2, abs=0.03)  # a border of 10 m


def test_bands_are_taken_by_their_colour_not_their_order(tmp_path):
    order = [ColorInterp.blue, ColorInterp.green, ColorInterp.red]
    path = write_raster(
        tmp_path / "bgr.tif", wide([10, 20, 30]).astype(np.uint8), UTM, METRE, interpretation=order
    )
    with open_imagery(path) as imagery:
        assert read_square(imagery, WEST + 32, NORTH - 32, 32, 16)[0][8, 8].tolist() == [30, 20, 10]


def test_a_single_band_becomes_grey(tmp_path):
    path = write_raster(tmp_path / "grey.tif", wide([77]).astype(np.uint8), UTM, METRE)
    with open_imagery(path) as imagery:
        assert read_square(imagery, WEST + 32, NORTH - 32, 32, 16)[0][8, 8].tolist() == [77, 77, 77]


def test_palette_colours_are_averaged_not_their_indices(tmp_path):
    stripes = np.zeros((1, 64, 64), np.uint8)
    stripes[:, :, ::2] = 2  # red; 0 is blue; 1, between them, would be green
    path = write_raster(
        tmp_path / "palette.tif", stripes, UTM, METRE, interpretation=[ColorInterp.palette]
    )
    with rasterio.open(path, "r+") as target:
        colours = {0: (0, 0, 200, 255), 1: (0, 255, 0, 255), 2: (200, 0, 0, 255)}
        target.write_colormap(1, colours)
    with open_imagery(path) as imagery:
        fine, _ = read_square(imagery, WEST + 32, NORTH - 32, 32, 32)
        coarse, valid = read_square(imagery, WEST + 32, NORTH - 32, 32, 8)
    assert fine[0, :2].tolist() == [[200, 0, 0], [0, 0, 200]]
    assert coarse[4, 4].tolist() == pytest.approx([100, 0, 100], abs=1)
    assert valid.all()


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_deep_bands_are_stretched_alike_in_every_window(tmp_path, dtype):
    ramp = np.tile(np.linspace(100, 1100, 400), (400, 1)).astype(dtype)
    ramp[0, 0] = 30_000  # one glint must not darken all else
    path = write_raster(tmp_path / "deep.tif", np.stack((ramp, ramp, ramp)), UTM, METRE)
    with open_imagery(path) as imagery:
        low, high = imagery.stretch
        west, _ = read_square(imagery, WEST + 105, NORTH - 200, 20, 20)
        whole, _ = read_square(imagery, WEST + 200, NORTH - 200, 380, 38)
    assert low == pytest.approx(120, abs=8)
    assert high == pytest.approx(1080, abs=8)
    assert west.mean() == pytest.approx((362.5 - low) / (high - low) * 255, abs=2)
    assert abs(float(whole[19, 9].mean()) - float(west.mean())) < 3


def test_not_a_number_is_not_valid(tmp_path):
    values = np.tile(np.linspace(0, 1, 64), (64, 1)).astype(np.float32)[None]
    values[:, 20:40, 20:40] = np.nan
    path = write_raster(tmp_path / "float.tif", values, UTM, METRE)
    with open_imagery(path) as imagery:
        _, valid = read_square(imagery, WEST + 32, NORTH - 32, 64, 64)
    assert not valid[22:38, 22:38].any()
    assert valid[:19].all()


def test_shrinking_averages_and_uses_overviews(tmp_path):
    dice = np.random.default_rng(0).integers(0, 256, (3, 512, 512)).astype(np.uint8)
    path = write_raster(
        tmp_path / "noise.tif", dice, UTM, METRE, tiled=True, blockxsize=128, blockysize=128
    )
    with open_imagery(path) as imagery:
        plain, _ = read_square(imagery, WEST + 256, NORTH - 256, 512, 32)
    assert plain.std() < 10  # of 16 x 16 pixels each; a picked pixel's would be 74


def test_shrinking_reads_the_overview_that_fits(tmp_path):
    dark = np.zeros((3, 512, 512), np.uint8)
    path = write_raster(tmp_path / "stale.tif", dark, UTM, METRE, overviews=[2, 4, 8])
    with rasterio.open(path, "r+") as target:
        target.write(dark + 200)  # the overviews stay as they are: dark
    with open_imagery(path) as imagery:
        full, _ = read_square(imagery, WEST + 256, NORTH - 256, 100, 90)
        small, _ = read_square(imagery, WEST + 256, NORTH - 256, 100, 45)
    assert full.min() == 200
    assert small.max() == 0


def test_threads_read_at_once_with_handles_of_their_own(tmp_path):
    path = write_place(tmp_path / "place.tif", "EPSG:3857")
    with open_imagery(path) as imagery:
        left, bottom, right, top = imagery.bounds
        expected, _ = read_square(imagery, (left + right) / 2, (bottom + top) / 2, 100, 64)
        found = []

        def read():
            for _ in range(5):
                found.append(
                    read_square(imagery, (left + right) / 2, (bottom + top) / 2, 100, 64)[0]
                )

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 20
    assert all((pixels == expected).all() for pixels in found)


def test_a_png_with_a_world_file_and_a_prj_lies_where_they_say(tmp_path):
    place = write_place(tmp_path / "place.tif")
    with rasterio.open(place) as source:
        Image.fromarray(source.read().transpose(1, 2, 0)).save(tmp_path / "map.png")
        wkt = source.crs.to_wkt()
    (tmp_path / "map.pgw").write_text(f"1\n0\n0\n-1\n{WEST + 0.5}\n{NORTH - 0.5}\n")
    with pytest.raises(UserError, match=r"map\.png does not say where on Earth"):
        open_imagery(tmp_path / "map.png")
    (tmp_path / "map.prj").write_text(wkt)
    with open_imagery(tmp_path / "map.png") as imagery:
        assert imagery.bounds == (WEST, NORTH - EXTENT_M, WEST + EXTENT_M, NORTH)
        pixels, _ = read_square(imagery, WEST + 200, NORTH - 200, 10, 10)
    assert pixels.mean(axis=(0, 1)) == pytest.approx(colours_at(WEST + 200.0, NORTH - 200.0), abs=1)


def test_names_in_any_script_and_with_spaces_are_read(tmp_path):
    path = write_place(tmp_path / "Zürich 地図 100% #1.tif")
    with open_imagery(path) as imagery:
        assert read_square(imagery, WEST + 200, NORTH - 200, 10, 10)[1].all()


# --- what cannot be used ----------------------------------------------------


def refused(path):
    with pytest.raises(UserError) as caught:
        open_imagery(path)
    assert path.name in str(caught.value)
    assert caught.value.hint
    return f"{caught.value} | {caught.value.hint}"


def test_without_a_crs_it_says_how_to_set_one(tmp_path):
    path = write_raster(tmp_path / "no crs.tif", wide([1, 2, 3]).astype(np.uint8), None, METRE)
    assert "gdal_edit -a_srs" in refused(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_a_geotransform_it_is_refused(tmp_path):
    identity = Affine(1, 0, 0, 0, 1, 0)
    path = write_raster(tmp_path / "lost.tif", wide([1, 2, 3]).astype(np.uint8), UTM, identity)
    assert "where on Earth" in refused(path)


def test_all_nodata_is_told_when_it_is_opened(tmp_path):
    path = write_raster(
        tmp_path / "void.tif", wide([0, 0, 0]).astype(np.uint8), UTM, METRE, nodata=0
    )
    assert "none of its pixels is valid" in refused(path)


@pytest.mark.parametrize("content", [b"", b"II*\0\x08\0\0\0garbage", b"hello" * 100])
def test_what_is_no_raster_is_refused(tmp_path, content):
    path = tmp_path / "broken.tif"
    path.write_bytes(content)
    refused(path)


def test_a_missing_file_is_told(tmp_path):
    refused(tmp_path / "gone.tif")


def test_virtual_and_network_rasters_are_refused(tmp_path):
    inner = write_place(tmp_path / "place.tif")
    vrt = tmp_path / "sly.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{inner}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    assert "virtual raster" in refused(vrt)
    for text in (
        "/vsicurl/http://127.0.0.1/a.tif",
        "/vsizip/a.zip/a.tif",
        "http://127.0.0.1/a.tif",
    ):
        assert "network" in refused(Path(text))


def test_another_driver_than_the_listed_is_not_tried(tmp_path):
    path = tmp_path / "heights.asc"
    path.write_text("ncols 2\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\n3 4\n")
    assert "not imagery that can be read" in refused(path)


def test_overviews_that_are_no_tiff_are_not_followed(tmp_path):
    path = write_place(tmp_path / "place.tif")
    path.with_name("place.tif.ovr").write_text("<VRTDataset/>")
    with pytest.raises(UserError, match=r"place\.tif\.ovr beside place\.tif"):
        open_imagery(path)


def test_an_aux_file_cannot_name_another_file_for_the_overviews(tmp_path):
    path = write_place(tmp_path / "place.tif")
    path.with_name("place.tif.aux.xml").write_text(
        '<PAMDataset><Metadata domain="OVERVIEWS">'
        '<MDI key="OVERVIEW_FILE">/vsicurl/http://127.0.0.1/a.tif</MDI>'
        "</Metadata></PAMDataset>"
    )
    assert "another file for its overviews" in refused(path)


def test_coordinates_off_the_earth_and_across_the_date_line_are_refused(tmp_path):
    bands = wide([1, 2, 3]).astype(np.uint8)
    far = write_raster(tmp_path / "far.tif", bands, "EPSG:4326", Affine(1, 0, 0, 0, -1, 120))
    assert "do not fit its coordinate system" in refused(far)
    line = write_raster(tmp_path / "line.tif", bands, "EPSG:4326", Affine(0.1, 0, 178, 0, -0.1, 9))
    assert "date line" in refused(line)
    broad = write_raster(tmp_path / "broad.tif", bands, "EPSG:4326", Affine(0.3, 0, 0, 0, -0.1, 9))
    assert "19 degrees of longitude" in refused(broad)


def test_complex_values_are_no_picture(tmp_path):
    path = write_raster(tmp_path / "radar.tif", wide([1 + 2j]).astype(np.complex64), UTM, METRE)
    assert "no picture" in refused(path)


def test_a_damaged_block_is_told_where_it_is_read(tmp_path):
    path = write_place(
        tmp_path / "hurt.tif", tiled=True, blockxsize=128, blockysize=128, compress="deflate"
    )
    damage(path, block=(1, 1))
    with open_imagery(path) as imagery:
        assert read_square(imagery, WEST + 60, NORTH - 60, 40, 20)[1].all()
        with pytest.raises(UserError, match=r"hurt\.tif cannot be read at 4"):
            read_square(imagery, WEST + 190, NORTH - 190, 40, 20)


def damage(path, block):
    """Overwrite one block (row, column) of a tiled TIFF."""
    with rasterio.open(path) as source:
        tag = source.get_tag_item(f"BLOCK_OFFSET_{block[1]}_{block[0]}", "TIFF", bidx=1)
        size = source.get_tag_item(f"BLOCK_SIZE_{block[1]}_{block[0]}", "TIFF", bidx=1)
    with path.open("r+b") as file:
        file.seek(int(tag))
        file.write(b"\xff" * int(size))


def test_a_foreign_proj_database_does_no_harm(tmp_path):
    """As where QGIS or conda has set it for the whole session."""
    path = write_place(tmp_path / "place.tif", "EPSG:4326")
    (tmp_path / "proj.db").write_text("not one")
    environment = {**os.environ, "PROJ_DATA": str(tmp_path), "PROJ_LIB": str(tmp_path)}
    code = (
        "import sys; from pathlib import Path; from app.engine.rasters import open_imagery;"
        "print(open_imagery(Path(sys.argv[1])).crs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == UTM


# --- real oddities ----------------------------------------------------------


def test_the_rotated_real_map_lies_where_its_corners_are(shared_data):
    path = shared_data / "fengyuan" / "map.tif"
    with rasterio.open(path) as source:
        t, size = source.transform, (source.width, source.height)
    with open_imagery(path) as imagery:
        assert imagery.crs == "EPSG:32651"
        assert imagery.gsd_m == pytest.approx(0.163, abs=0.003)
        lon, lat = (
            t.a * size[0] / 2 + t.b * size[1] / 2 + t.c,
            t.d * size[0] / 2 + t.e * size[1] / 2 + t.f,
        )
        assert imagery.area.centre.metres_to(LatLon(lat, lon)) < 1
        left, bottom, right, top = imagery.bounds
        _, valid = imagery.read(
            left=left, top=top, width_m=right - left, height_m=top - bottom, size=(200, 200)
        )
    assert 0.95 < valid.mean() < 1  # turned: wedges along its border


@pytest.mark.parametrize(
    ("name", "valid_share"),
    [
        ("RGB.byte.tif", 0.675),
        ("RGBA.byte.tif", 0.675),
        ("RGBA.uint16.tif", 0.488),
        ("alpha.tif", 0.016),
        ("cogeo.tif", 0.997),
        ("byte.tif", 1.0),
        ("rgb1.tif", 0.683),
        ("test_esri_wkt.tif", 1.0),
    ],
)
def test_real_rasters_are_read(shared_data, name, valid_share):
    with open_imagery(shared_data / "formats" / "rasters" / name) as imagery:
        left, bottom, right, top = imagery.bounds
        pixels, valid = imagery.read(
            left=left, top=top, width_m=right - left, height_m=top - bottom, size=(300, 300)
        )
    assert valid.mean() == pytest.approx(valid_share, abs=0.01)
    assert pixels.shape == (300, 300, 3)


@pytest.mark.parametrize(
    "name",
    [
        "389225main_sw_1965_1024.jpg",
        "all-nodata.tif",
        "float.tif",
        "goes.tif",
        "rotated.tif",
        "white-gemini-iv.vrt",
        "world.byte.tif",
    ],
)
def test_real_rasters_that_cannot_serve_are_refused_by_name(shared_data, name):
    refused(shared_data / "formats" / "rasters" / name)
