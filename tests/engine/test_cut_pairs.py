import csv
import hashlib
import json
import math

import numpy as np
import pyproj
import pytest
from PIL import Image

from app.cli import run_command
from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.check import check
from app.engine.datasets.cut_pairs import cut_pairs
from app.engine.datasets.pairs import decoded
from app.errors import UserError
from app.geo import LatLon
from app.messages import JobCancelled
from tests.engine.made_rasters import EXTENT_M, NORTH, UTM, WEST, colours_at, write_place

TO_LONLAT = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)


def place(east_m, south_m):
    """Of a point of the made raster, counted from its north-western corner."""
    lon, lat = TO_LONLAT.transform(WEST + east_m, NORTH - south_m)
    return LatLon(lat, lon)


def photograph(path, where, *, heading=None, size=(40, 60), xmp=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()

    def parts(value):
        degrees = int(value)
        return degrees, int((value - degrees) * 60), round((value * 60 % 1) * 60, 7)

    gps = {1: "N", 2: parts(where.lat), 3: "E", 4: parts(where.lon)}
    if heading is not None:
        gps |= {16: "T", 17: heading}
    exif.get_ifd(0x8825).update(gps)
    noise = np.random.default_rng(abs(hash(where))).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, exif=exif, xmp=xmp.encode())
    return path


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A raster of 400 m with nine photos in a column through its middle, 40 m apart."""
    folder = tmp_path_factory.mktemp("town")
    write_place(folder / "town.tif")
    for number in range(9):
        where = place(200, 40 + 40 * number)
        photograph(folder / f"photos/{number}.jpg", where, heading=30.0 * number)
    return folder


def cut(town, folder, **options):
    options = {"tile_size_m": 40.0, **options}
    return cut_pairs(town / "photos", town / "town.tif", folder, **options)


def test_photos_over_imagery_become_a_pair_folder(town, tmp_path):
    done = cut(town, tmp_path / "pairs")
    assert done.train + done.val + done.left_out == 9
    data = open_data_set(tmp_path / "pairs")
    assert (len(data.train), len(data.held_out)) == (done.train, done.val)
    assert data.tile_size_m == 40
    assert {p.heading_deg for p in data.held_out} <= {30.0 * n for n in range(9)}
    assert {(p.view, p.kind) for p in data.train} == {("drone", "perspective")}
    assert decoded(data.train[0].query).shape == (40, 60, 3)


def test_a_tile_shows_the_ground_where_its_row_says_that_it_lies(town, tmp_path):
    cut(town, tmp_path / "pairs", seed=3)
    rows = list(csv.DictReader((tmp_path / "pairs/pairs.csv").read_text().splitlines()))
    off = []
    for row in rows:
        x, y = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
            float(row["lon"]), float(row["lat"])
        )
        dx, dy = float(row["dx_m"]), float(row["dy_m"])
        off.append((dx, dy))
        tile = decoded(tmp_path / "pairs" / row["satellite"])
        side = tile.shape[0]
        assert side == 128  # 40 pixels of the raster, stored no smaller than this
        seen = tile[side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4].mean(axis=(0, 1))
        assert seen == pytest.approx(colours_at(x - dx, y - dy), abs=2)
    assert max(map(max, np.abs(off))) <= 10
    assert len(set(off)) == len(off)


def test_the_spot_of_a_pair_is_the_photos_place_on_its_tile(town, tmp_path):
    cut(town, tmp_path / "pairs")
    for pair in open_data_set(tmp_path / "pairs").train:
        tile = decoded(pair.satellite)
        x, y = (round(share * tile.shape[0]) for share in pair.spot)
        east, north = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
            pair.position.lon, pair.position.lat
        )
        seen = tile[y - 3 : y + 3, x - 3 : x + 3].mean(axis=(0, 1))
        assert seen == pytest.approx(colours_at(east, north), abs=2)


def test_no_held_out_tile_overlaps_one_that_is_learnt_from(town, tmp_path):
    done = cut(town, tmp_path / "pairs", held_out=0.3)
    assert done.left_out > 0
    rows = list(csv.DictReader((tmp_path / "pairs/pairs.csv").read_text().splitlines()))
    corners = {"train": [], "val": []}
    for row in rows:
        x, y = pyproj.Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
            float(row["lon"]), float(row["lat"])
        )
        corners[row["split"]].append((x - float(row["dx_m"]), y - float(row["dy_m"])))
    apart = np.abs(np.array(corners["train"])[:, None] - np.array(corners["val"])[None])
    assert (apart.max(axis=2) >= 40).all()
    assert check(open_data_set(tmp_path / "pairs")).leaks == ()


def test_where_every_picture_came_from_is_written_down(town, tmp_path):
    cut(town, tmp_path / "pairs", seed=5)
    told = json.loads((tmp_path / "pairs/provenance.json").read_text())
    assert told["imagery"] == str(town / "town.tif")
    assert (told["tile_size_m"], told["seed"], told["crs"]) == (40.0, 5, UTM)
    first = told["photos"][0]
    photo = town / "photos/0.jpg"
    assert first["photo"] == str(photo)
    assert first["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()
    assert first["position"] == "EXIF GPS"


def test_the_same_seed_cuts_the_same_tiles(town, tmp_path):
    tables = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        cut(town, tmp_path / name, seed=seed)
        tables.append((tmp_path / name / "pairs.csv").read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_photos_without_a_place_or_beyond_the_map_are_skipped_and_named(town, tmp_path):
    photos = tmp_path / "photos"
    for number in range(8):
        photograph(photos / f"{number}.jpg", place(200, 20 + 50 * number))
    photograph(photos / "far.jpg", LatLon(10, 10))
    Image.new("RGB", (9, 9)).save(photos / "nowhere.jpg")
    (photos / "notes.txt").write_text("hello")
    (photos / "broken.jpg").write_bytes(b"broken")
    done = cut_pairs(photos, town / "town.tif", tmp_path / "pairs", tile_size_m=30)
    reasons = " | ".join(done.skipped)
    for words in (
        "far.jpg: lies beyond",
        "nowhere.jpg: has no position",
        "notes.txt",
        "broken.jpg",
    ):
        assert words in reasons
    assert done.train + done.val + done.left_out == 8


def test_a_table_tells_place_and_heading_of_photos_that_do_not(town, tmp_path):
    rows = ["file,lat,lon,heading_deg,view"]
    for number in range(9):
        Image.new("RGB", (30, 30), (9 * number, 0, 0)).save(tmp_path / f"{number}.png")
        where = place(200, 40 + 40 * number)
        rows.append(f"{number}.png,{where.lat:.8f},{where.lon:.8f},{number},street")
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    cut_pairs(tmp_path / "truth.csv", town / "town.tif", tmp_path / "pairs", tile_size_m=40)
    data = open_data_set(tmp_path / "pairs")
    assert {p.view for p in data.train} == {"street"}
    for pair in (*data.train, *data.held_out):
        number = int(pair.heading_deg)
        assert pair.position.metres_to(place(200, 40 + 40 * number)) < 0.1


def test_a_tilted_drone_photo_shows_the_ground_ahead_of_it(town, tmp_path):
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-'
        'rdf-syntax-ns#"><rdf:Description xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/" '
        'drone-dji:GimbalPitchDegree="-60" drone-dji:RelativeAltitude="+50" '
        'drone-dji:FlightYawDegree="90" drone-dji:GimbalYawDegree="90"/></rdf:RDF></x:xmpmeta>'
    )
    for number in range(9):
        photograph(tmp_path / f"photos/{number}.jpg", place(150, 40 + 40 * number), xmp=xmp)
    cut_pairs(tmp_path / "photos", town / "town.tif", tmp_path / "pairs", tile_size_m=40)
    ahead = 50 / math.tan(math.radians(60))
    for pair in open_data_set(tmp_path / "pairs").train:
        nearest = min(
            pair.position.metres_to(place(150 + ahead, 40 + 40 * number)) for number in range(9)
        )
        assert nearest < 0.5


def test_a_folder_with_pairs_is_not_written_over(town, tmp_path):
    cut(town, tmp_path / "pairs")
    with pytest.raises(UserError, match="holds pairs already"):
        cut(town, tmp_path / "pairs")


def test_too_small_an_area_is_told(town, tmp_path):
    with pytest.raises(UserError, match="within 339 m of those to hold out"):
        cut(town, tmp_path / "pairs", tile_size_m=160.0)
    assert not (tmp_path / "pairs/pairs.csv").exists()


def test_no_photo_on_the_imagery_is_told_with_a_reason(town, tmp_path):
    photograph(tmp_path / "photos/far.jpg", LatLon(10, 10))
    with pytest.raises(UserError, match=r"No photo of .* lies on town\.tif: far\.jpg"):
        cut_pairs(tmp_path / "photos", town / "town.tif", tmp_path / "pairs")


def test_cutting_can_be_cancelled_and_leaves_no_table(town, tmp_path):
    told = []

    def cancel(progress):
        told.append(progress)
        if len(told) == 3:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        cut(town, tmp_path / "pairs", report=cancel)
    assert not (tmp_path / "pairs/pairs.csv").exists()


def test_the_command_cuts_pairs(town, tmp_path, capsys):
    command = ["pairs", str(town / "photos"), "--imagery", str(town / "town.tif")]
    assert run_command([*command, "--tile-size-m", "40", "-o", str(tmp_path / "pairs")]) == 0
    assert "pairs to train on" in capsys.readouterr().out
    assert EXTENT_M == 400
    assert len(open_data_set(tmp_path / "pairs", name="pairs").train) > 0
