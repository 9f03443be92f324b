"""A gallery is built whole or not at all, goes on where it stopped, and is opened with care."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.engine import gallery_build
from app.engine.gallery import open_gallery
from app.engine.gallery_build import build_gallery
from app.engine.search import score_tiles, top_k
from app.errors import JobCancelled, UserError
from app.geo import LatLon
from app.manifest import read_manifest
from app.messages import BuildGallery
from tests.engine.made_rasters import EXTENT_M, NORTH, UTM, WEST, colours_at, write_place
from tests.engine.stand_in import StandIn, card
from tests.engine.test_rasters import damage

TILES = 9 * 9  # of 80 m, overlapping by half, in 400 m


@pytest.fixture
def place(tmp_path):
    return write_place(tmp_path / "place.tif")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished gallery beside its imagery: not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    build(write_place(folder / "place.tif"), folder / "g", licence="ours", name="Place")
    return folder / "g"


@pytest.fixture
def gallery_copy(finished, tmp_path):
    """One to be changed, without its imagery."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def build(source, gallery, checkpoint=None, report=None, **request):
    checkpoint = checkpoint or StandIn()
    wanted = BuildGallery(source, Path("stand-in.safetensors"), gallery, **request)
    return build_gallery(wanted, checkpoint, *([] if report is None else [report]))


def cancel_after(tiles):
    def report(progress):
        if progress.done >= tiles and progress.total == TILES:
            raise JobCancelled

    return report


# --- what is built ----------------------------------------------------------


def test_tiles_lie_where_the_imagery_lies(finished):
    gallery = open_gallery(finished)
    assert len(gallery.ids) == len(gallery.tiles) == TILES
    assert gallery.ids[0] == "r000c000"
    assert gallery.ids[-1] == "r008c008"
    assert gallery.descriptors.shape == (TILES, 12)
    assert isinstance(gallery.descriptors, np.memmap)
    assert gallery.xy.min(axis=0) == pytest.approx((WEST + 40, NORTH - EXTENT_M + 40))
    assert gallery.xy.max(axis=0) == pytest.approx((WEST + EXTENT_M - 40, NORTH - 40))
    for i in (0, 5, 40, TILES - 1):
        pixels = gallery.picture(i, size_px=16)
        wanted = colours_at(*gallery.xy[i])
        assert pixels.mean(axis=(0, 1)) == pytest.approx(wanted, abs=1)
        with Image.open(gallery.thumbnail(i)) as thumbnail:
            assert thumbnail.size == (128, 128)
            assert np.asarray(thumbnail).mean(axis=(0, 1)) == pytest.approx(wanted, abs=3)
    manifest = gallery.manifest
    assert (manifest.name, manifest.licence, manifest.crs) == ("Place", "ours", UTM)
    assert (manifest.tiles, manifest.tile_size_m, manifest.gsd_m) == (TILES, 80, 1)
    assert manifest.checkpoint == "ab" * 32
    assert set(manifest.files) == {"descriptors.npy", "tiles.gpkg", "basemap.mbtiles"}
    assert sorted(p.name for p in finished.parent.iterdir()) == ["g", "place.tif"]
    wanted = {*manifest.files, "manifest.json", "thumbnails"}
    assert {p.name for p in finished.iterdir()} == wanted


def test_a_tiles_own_picture_finds_it(finished):
    gallery, network = open_gallery(finished), StandIn()
    for i in (0, 33, 80):
        query = network.describe(gallery.picture(i, size_px=32)[None], "satellite")
        assert top_k(score_tiles(gallery.descriptors, query).score, 1).tolist() == [i]


def test_a_footprint_is_the_tiles_corners_clockwise_from_north_west(finished):
    gallery = open_gallery(finished)
    north_west, north_east, south_east, south_west = gallery.footprint(7)
    assert north_west.metres_to(north_east) == pytest.approx(80, rel=0.01)
    assert north_east.metres_to(south_east) == pytest.approx(80, rel=0.01)
    assert north_west.bearing_to(north_east) == pytest.approx(90, abs=1)
    assert north_west.lat > south_west.lat
    middle = LatLon((north_west.lat + south_east.lat) / 2, (north_west.lon + south_east.lon) / 2)
    assert middle.metres_to(LatLon(*(float(v) for v in gallery.latlon[7]))) < 0.5


def test_bands_give_the_same_tiles_as_reading_each_alone(place, tmp_path, monkeypatch):
    build(place, tmp_path / "wide")
    monkeypatch.setattr("app.engine.gallery_sources.RUN_PX", 70)
    build(place, tmp_path / "narrow")
    wide, narrow = open_gallery(tmp_path / "wide"), open_gallery(tmp_path / "narrow")
    assert wide.ids == narrow.ids
    assert np.abs(wide.descriptors.astype(float) - narrow.descriptors).max() < 0.002


def test_the_imagery_beside_the_gallery_moves_with_it(place, tmp_path):
    (tmp_path / "case").mkdir()
    shutil.copy(place, tmp_path / "case" / "city.tif")
    build(tmp_path / "case" / "city.tif", tmp_path / "case" / "g")
    build(place, tmp_path / "case" / "far")
    assert read_manifest(tmp_path / "case" / "g").source == "../city.tif"
    assert read_manifest(tmp_path / "case" / "far").source == str(place)
    (tmp_path / "case").rename(tmp_path / "moved")
    gallery = open_gallery(tmp_path / "moved" / "g")
    assert gallery.note == ""
    assert gallery.picture(0, size_px=200).shape == (200, 200, 3)


def test_without_its_imagery_pictures_come_from_the_thumbnails(gallery_copy):
    gallery = open_gallery(gallery_copy)
    assert "has moved" in gallery.note
    pixels = gallery.picture(3, size_px=64)
    assert pixels.shape == (64, 64, 3)
    assert pixels.mean(axis=(0, 1)) == pytest.approx(colours_at(*gallery.xy[3]), abs=3)


def test_tiles_without_data_are_skipped_and_listed(tmp_path):
    source = write_place(tmp_path / "turned.tif", turn_deg=30)
    built = build(source, tmp_path / "g")
    assert built.skipped
    assert any("no data" in line for line in built.skipped)
    assert any("% of it has data" in line for line in built.skipped)
    gallery = open_gallery(tmp_path / "g")
    assert gallery.manifest.skipped >= len(built.skipped)
    shares = [tile.valid_share for tile in gallery.tiles]
    assert 0.5 <= min(shares) < max(shares) == 1.0


def test_a_damaged_block_costs_its_own_tiles_only(tmp_path):
    source = write_place(
        tmp_path / "hurt.tif", tiled=True, blockxsize=128, blockysize=128, compress="deflate"
    )
    damage(source, block=(1, 1))
    built = build(source, tmp_path / "g", overlap=0.0, tile_size_m=40.0)
    unread = [line for line in built.skipped if "hurt.tif cannot be read at" in line]
    assert 9 <= len(unread) <= 25  # 128 m of 40 m tiles
    assert built.described + len(built.skipped) == 100
    assert "r000c000" in open_gallery(tmp_path / "g").ids


def test_imagery_of_which_nothing_can_be_read_is_refused(tmp_path):
    source = write_place(tmp_path / "hurt.tif", tiled=True, blockxsize=512, blockysize=512)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(UserError, match=r"hurt\.tif"):
        build(source, tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_imagery_too_coarse_for_the_tiles_is_refused(tmp_path):
    source = write_place(tmp_path / "coarse.tif", pixel_m=10)
    with pytest.raises(UserError, match=r"less than 8 pixels of coarse\.tif"):
        build(source, tmp_path / "g")


@pytest.mark.parametrize("tile_size_m", [0.0, -3.0])
def test_a_tile_size_that_is_none_is_refused(place, tmp_path, tile_size_m):
    with pytest.raises(UserError, match="is no size"):
        build(place, tmp_path / "g", tile_size_m=tile_size_m)


def test_a_checkpoint_for_no_satellite_tiles_is_refused(place, tmp_path):
    with pytest.raises(UserError, match="does not describe satellite tiles"):
        build(place, tmp_path / "g", StandIn(card=card(sizes={"drone": (32, 32)})))


# --- pictures ---------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("a.jpg", "ü b.jpg", "sat_48.0010_3.0020.png", "lost.jpg")):
        Image.new("RGB", (60, 40), (40 + 50 * number, 90, 20)).save(folder / name)
    gps = Image.Exif()
    gps[0x8825] = {1: "N", 2: (48.0, 0.0, 3.6), 3: "E", 4: (3.0, 0.0, 0.0)}
    Image.new("RGB", (60, 40), (1, 2, 250)).save(folder / "gps.jpg", exif=gps)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (folder / "notes.txt").write_text("nothing")
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerows([("file", "lat", "lon"), ("a.jpg", 48, 3), ("ü b.jpg", 48.0005, 3.0005)])
    return folder


def test_pictures_are_tiles_at_the_positions_they_or_a_table_say(pictures, tmp_path):
    built = build(pictures, tmp_path / "g", tile_size_m=50)
    gallery = open_gallery(tmp_path / "g")
    found = {tile.file: (tile.lat, tile.lon) for tile in gallery.tiles}
    assert found == {
        "a.jpg": (48, 3),
        "ü b.jpg": (48.0005, 3.0005),
        "sat_48.0010_3.0020.png": (48.001, 3.002),
        "gps.jpg": (pytest.approx(48.001), 3.0),
    }
    assert any("lost.jpg says no position" in line for line in built.skipped)
    assert any("broken.jpg" in line for line in built.skipped)
    assert gallery.manifest.source_kind == "pictures"
    i = [tile.file for tile in gallery.tiles].index("gps.jpg")
    assert gallery.picture(i, size_px=10).mean(axis=(0, 1)) == pytest.approx((1, 2, 250), abs=4)
    corners = gallery.footprint(i)
    assert corners[0].metres_to(corners[1]) == pytest.approx(50, rel=0.01)
    assert all(gallery.manifest.area.contains(corner) for corner in corners[::2])


def test_pictures_without_any_position_are_refused(pictures, tmp_path):
    (pictures / "truth.csv").unlink()
    (pictures / "gps.jpg").unlink()
    (pictures / "sat_48.0010_3.0020.png").unlink()
    with pytest.raises(UserError, match="says where it lies"):
        build(pictures, tmp_path / "g")
    (pictures / "truth.csv").write_text("file,lat,lon\na.jpg,91,3\n")
    with pytest.raises(UserError, match=r"truth\.csv, line 2"):
        build(pictures, tmp_path / "g")


# --- cancelled, killed, resumed ---------------------------------------------


def test_a_cancelled_build_goes_on_and_describes_each_tile_once(place, tmp_path):
    first = StandIn()
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", first, cancel_after(30))
    assert 30 <= first.described < TILES
    assert not (tmp_path / "g").exists()
    with pytest.raises(UserError, match="not a finished gallery"):
        open_gallery(tmp_path / "g.building")
    second = StandIn()
    built = build(place, tmp_path / "g", second)
    assert first.described + second.described == TILES
    assert built.described == second.described
    build(place, tmp_path / "whole")
    resumed, whole = open_gallery(tmp_path / "g"), open_gallery(tmp_path / "whole")
    assert resumed.ids == whole.ids
    assert (resumed.descriptors == whole.descriptors).all()


def test_another_request_starts_anew(place, tmp_path):
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", StandIn(), cancel_after(30))
    other = StandIn(sha256="cd" * 32)
    build(place, tmp_path / "g", other)
    assert other.described == TILES
    assert open_gallery(tmp_path / "g").manifest.checkpoint == "cd" * 32


def test_changed_imagery_starts_anew(place, tmp_path):
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", StandIn(), cancel_after(30))
    write_place(place, tiled=True)
    again = StandIn()
    build(place, tmp_path / "g", again)
    assert again.described == TILES


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_opens_and_goes_on(place, tmp_path):
    command = [sys.executable, "-m", "tests.engine.stand_in"]
    child = subprocess.Popen(
        [*command, str(place), str(tmp_path / "g"), "0.2"],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
    )
    with child.stdout as told:
        for line in told:
            if int(line) >= 30:
                break
        child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "g").exists()
    with pytest.raises(UserError, match="not a finished gallery"):
        open_gallery(tmp_path / "g.building")
    rest = StandIn()
    build(place, tmp_path / "g", rest)
    assert 0 < rest.described < TILES
    assert len(open_gallery(tmp_path / "g").ids) == TILES


@pytest.mark.parametrize(
    "step", ["_write_descriptors", "_write_gpkg", "write_basemap", "_manifest", "publish"]
)
def test_a_build_that_dies_while_finishing_describes_nothing_twice(
    place, tmp_path, monkeypatch, step
):
    with monkeypatch.context() as patched:

        def die(*_):
            raise KeyboardInterrupt

        patched.setattr(gallery_build, step, die)
        with pytest.raises(KeyboardInterrupt):
            build(place, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    network = StandIn()
    build(place, tmp_path / "g", network)
    assert network.described == 0
    open_gallery(tmp_path / "g")


def test_a_damaged_journal_costs_time_only(place, tmp_path):
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", StandIn(), cancel_after(30))
    for path in (tmp_path / "g.building").glob("building.sqlite*"):
        path.write_bytes(b"nonsense" * 999)
    network = StandIn()
    build(place, tmp_path / "g", network)
    assert network.described == TILES


def test_two_builds_of_one_gallery_keep_out_of_each_others_way(place, tmp_path):
    told = []

    def second(progress):
        if progress.done >= 20 and not told:
            with pytest.raises(UserError, match="being built already") as caught:
                build(place, tmp_path / "g")
            told.append(caught.value)

    build(place, tmp_path / "g", StandIn(), second)
    assert told
    open_gallery(tmp_path / "g")


# --- the target -------------------------------------------------------------


def test_an_older_gallery_stays_until_the_new_one_is_whole(place, tmp_path):
    build(place, tmp_path / "g", name="old")
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", StandIn(), cancel_after(30), name="new")
    assert open_gallery(tmp_path / "g").manifest.name == "old"
    build(place, tmp_path / "g", name="new")
    assert open_gallery(tmp_path / "g").manifest.name == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g", "place.tif"]


def test_a_build_killed_between_the_two_renames_keeps_the_older_gallery(place, tmp_path):
    build(place, tmp_path / "g", name="old")
    (tmp_path / "g").rename(tmp_path / "g.replaced")
    with pytest.raises(JobCancelled):
        build(place, tmp_path / "g", StandIn(), cancel_after(0))
    assert open_gallery(tmp_path / "g").manifest.name == "old"


@pytest.mark.parametrize("name", ["notes.txt", "manifest.txt"])
def test_a_folder_with_other_files_is_never_touched(place, tmp_path, name):
    folder = tmp_path / "g"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(UserError, match="is not a gallery"):
        build(place, folder)
    assert (folder / name).read_text() == "mine"


def test_a_file_put_into_a_gallery_keeps_it_from_being_replaced(place, tmp_path):
    build(place, tmp_path / "g")
    (tmp_path / "g" / "report.docx").write_text("mine")
    with pytest.raises(UserError, match=r"it holds report\.docx"):
        build(place, tmp_path / "g")


def test_a_folder_of_the_unfinished_gallerys_name_is_never_touched(place, tmp_path):
    (tmp_path / "g.building").mkdir()
    (tmp_path / "g.building" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is in the way"):
        build(place, tmp_path / "g")
    assert (tmp_path / "g.building" / "mine.txt").read_text() == "mine"


def test_a_file_in_the_targets_place_is_refused(place, tmp_path):
    (tmp_path / "g").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        build(place, tmp_path / "g")


def test_no_right_to_write_is_told(place, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "g.building"))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="may not be written") as caught:
        build(place, tmp_path / "g")
    assert "may write in" in caught.value.hint


@pytest.mark.parametrize("step", ["_write_thumbnail", "_write_descriptors", "write_basemap"])
def test_a_full_disk_is_told_and_what_was_done_is_kept(place, tmp_path, monkeypatch, step):
    first = StandIn()
    with monkeypatch.context() as patched:

        def full(*_):
            raise OSError(28, "No space left on device")

        patched.setattr(gallery_build, step, full)
        with pytest.raises(UserError, match="disk is full: g could not be written"):
            build(place, tmp_path / "g", first)
    assert not (tmp_path / "g").exists()
    second = StandIn()
    build(place, tmp_path / "g", second)
    assert first.described + second.described == TILES


# --- opening ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["descriptors.npy", "tiles.gpkg", "basemap.mbtiles"])
@pytest.mark.parametrize("harm", ["missing", "altered", "truncated"])
def test_a_missing_or_altered_file_is_named(gallery_copy, name, harm):
    path = gallery_copy / name
    if harm == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(bytes(content) if harm == "altered" else bytes(content[:-100]))
    with pytest.raises(UserError, match=name) as caught:
        open_gallery(gallery_copy)
    assert "build the gallery again" in caught.value.hint


@pytest.mark.parametrize(
    "array", [np.zeros((3, 12), np.float16), np.zeros((TILES, 12)), np.array([{}], object)]
)
def test_descriptors_that_do_not_fit_are_refused(gallery_copy, array):
    np.save(gallery_copy / "descriptors.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=r"descriptors\.npy"):
        open_gallery(gallery_copy, verify=False)


def test_a_manifest_may_not_point_outside_its_folder(gallery_copy):
    path = gallery_copy / "manifest.json"
    raw = json.loads(path.read_text())
    raw["files"]["../place.tif"] = "00"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match="outside the folder"):
        open_gallery(gallery_copy)


def test_a_gallery_of_another_checkpoint_says_which(finished):
    gallery = open_gallery(finished)
    gallery.require("ab" * 32, "Stand-in")
    with pytest.raises(UserError, match=r"built with the checkpoint Stand-in \(abab") as caught:
        gallery.require("cd" * 32, "Other")
    assert caught.value.hint == "Choose Stand-in, or build the gallery again with Other."


def test_an_unknown_tile_is_told(finished):
    gallery = open_gallery(finished)
    assert gallery.index_of("r003c004") == 3 * 9 + 4
    with pytest.raises(UserError, match="has no tile r999c000"):
        gallery.index_of("r999c000")
