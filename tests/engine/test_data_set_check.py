import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from app.cli import run_command
from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.check import check
from app.engine.datasets.check_text import check_text
from app.engine.datasets.contact_sheet import CELL, GAP, write_contact_sheet
from app.engine.datasets.jpeg import jpeg_size, reduction
from app.engine.datasets.nearness import near_count
from app.engine.datasets.pairs import Augment, PairDataset, decoded
from app.errors import UserError
from app.geo import LatLon
from app.messages import JobCancelled, Progress
from tests.engine import made_data_sets as made
from tests.engine.pair_folder import write_pairs


def leaks_of(data):
    return {(leak.kind, leak.between[1]): leak for leak in check(data).leaks}


# --- counts ---


def test_every_part_is_counted(tmp_path):
    found = check(open_data_set(made.write_university(tmp_path)))
    counts = {part.name: (part.pairs, part.pictures, part.places) for part in found.parts}
    assert counts == {
        "train": (13, 13 + 4, 4),
        "held out": (9, 9 + 3, 3),
        "drone to satellite: queries": (9, 9, 3),
        "drone to satellite: gallery": (5, 5, 5),
        "satellite to drone: queries": (3, 3, 3),
        "satellite to drone: gallery": (15, 15, 5),
    }
    assert found.task == "retrieval"


def test_sizes_are_told_for_queries_and_satellite_pictures(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path))
    made.save(data.train[0].query, made.panorama(1, (20, 80)))
    sizes = {(s.role, s.height, s.width): s.pictures for s in check(data).sizes}
    assert sizes == {("satellite", 64, 64): 10, ("query", 32, 128): 9, ("query", 20, 80): 1}


def test_missing_and_unreadable_pictures_are_listed(tmp_path):
    made.write_cvusa(tmp_path)
    (tmp_path / "bingmap/19/0000001.jpg").unlink()
    whole = (tmp_path / "bingmap/19/0000003.jpg").read_bytes()
    (tmp_path / "bingmap/19/0000003.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bingmap/19/0000005.jpg").write_bytes(b"not a picture")
    (tmp_path / "bingmap/19/0000007.jpg").write_bytes(b"")
    found = check(open_data_set(tmp_path))
    assert found.missing_files == ("bingmap/19/0000001.jpg",)
    assert found.unreadable == 3
    names = [line.partition(":")[0] for line in found.unreadable_files]
    assert sorted(names) == [f"bingmap/19/000000{n}.jpg" for n in (3, 5, 7)]


# --- duplicates ---


def test_equal_files_and_pictures_that_look_alike_are_told_apart(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path))
    first, second, third = (pair.satellite for pair in data.train[:3])
    second.write_bytes(first.read_bytes())
    code = cv2.imencode(".jpg", cv2.imread(str(first)), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
    third.write_bytes(code.tobytes())
    found = check(data)
    assert (found.same, found.alike) == (1, 1)
    same, alike = found.groups
    assert same.pictures == (f"bingmap/19/{first.name}", f"bingmap/19/{second.name}")
    assert alike.pictures == (f"bingmap/19/{first.name}", f"bingmap/19/{third.name}")


def test_pictures_without_anything_on_them_do_not_look_alike(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path))
    for number, pair in enumerate(data.train):
        made.save(pair.satellite, np.full((64, 64, 3), 100 + number, np.uint8))
    assert check(data).alike == 0


# --- leaks ---


def test_a_clean_data_set_has_no_leaks(tmp_path):
    assert check(open_data_set(made.write_university(tmp_path))).leaks == ()


def test_a_place_on_both_sides_is_a_leak_whatever_its_name(tmp_path):
    data = open_data_set(write_pairs(tmp_path))
    moved = replace(data, held_out=(replace(data.held_out[0], place=3), *data.held_out[1:]))
    leaks = leaks_of(moved)
    assert leaks["place", "held out"].count == 1
    assert leaks["place", "held out"].examples == ("place 3",)


def test_a_copied_picture_on_both_sides_is_a_leak(tmp_path):
    data = open_data_set(made.write_university(tmp_path))
    test = data.tests[0].queries[0].path
    test.write_bytes(data.train[0].query.read_bytes())
    leak = leaks_of(data)["picture", "drone to satellite: queries"]
    assert (leak.count, leak.of) == (1, 9)
    assert leak.examples[0] == "test/query_drone/0004/image-01.jpeg"


def test_a_picture_saved_anew_on_both_sides_is_a_leak(tmp_path):
    data = open_data_set(made.write_university(tmp_path))
    picture = cv2.imread(str(data.train[0].query))
    code = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    data.tests[0].queries[0].path.write_bytes(code.tobytes())
    leaks = leaks_of(data)
    assert leaks["look", "drone to satellite: queries"].count == 1
    assert ("picture", "drone to satellite: queries") not in leaks


def test_ground_on_both_sides_is_a_leak_though_places_and_names_differ(tmp_path):
    data = open_data_set(write_pairs(tmp_path))  # on a line, 100 m apart
    assert leaks_of(data) == {}
    near = LatLon(data.train[-1].position.lat + 20 / 111_195, 4.0)
    moved = replace(data, held_out=(replace(data.held_out[0], position=near), *data.held_out[1:]))
    leak = leaks_of(moved)["ground", "held out"]
    assert (leak.count, leak.of) == (1, 6)
    # Half a tile of 240 m is more than the 100 m between all neighbours.
    assert leaks_of(replace(data, tile_size_m=240.0))["ground", "held out"].count == 1


def test_equal_positions_in_two_worlds_are_no_leak(tmp_path):
    data = open_data_set(write_pairs(tmp_path))
    data = replace(
        data,
        tests=(),
        train=tuple(replace(p, world="1") for p in data.train),
        held_out=tuple(
            replace(p, world="2", position=data.train[0].position) for p in data.held_out
        ),
    )
    assert check(data).leaks == ()


def test_training_places_in_a_gallery_are_only_distractors(tmp_path):
    leaks = check(open_data_set(made.write_denseuav(tmp_path))).leaks
    assert [leak for leak in leaks if leak.kind == "place"] == []


def test_objects_on_one_satellite_picture_in_two_splits_are_a_leak(tmp_path):
    found = check(open_data_set(made.write_cvogl(tmp_path, counts=(5, 3, 2))))
    kinds = {(leak.kind, *leak.between) for leak in found.leaks}
    assert ("place", "train", "val") in kinds  # five objects: the sixth of place 2 is in val
    assert found.task == "object"


def test_the_words_name_counts_leaks_and_files(tmp_path):
    data = open_data_set(made.write_university(tmp_path))
    data.tests[0].queries[0].path.write_bytes(data.train[0].query.read_bytes())
    text = check_text(check(replace(data, missing=("train/satellite/0009/0009.jpg",))))
    assert "University-1652" in text
    assert "1 missing files\n  train/satellite/0009/0009.jpg" in text
    assert "leak: 1 of 9 pictures of drone to satellite: queries are files of train too" in text
    assert "heldback" in text


def test_a_data_set_without_a_single_pair_is_told(tmp_path):
    data = open_data_set(made.write_cvogl(tmp_path))
    with pytest.raises(UserError, match="no pair"):
        check(replace(data, train=(), val=(), test=()))


def test_a_check_tells_its_progress_and_can_be_cancelled(tmp_path):
    data = open_data_set(made.write_university(tmp_path))
    told = []
    check(data, report=told.append)
    assert Progress(49, 49, "looking for leaks") in told

    def cancel(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        check(data, report=cancel)


def test_near_places_are_counted_anywhere_on_earth():
    rng = np.random.default_rng(0)
    known = [LatLon(*p) for p in rng.uniform((-0.004, -0.004), (0.004, 0.004), (200, 2))]
    known += [LatLon(80 + p.lat, 179.999 + p.lon / 10) for p in known[:50]]
    asked = [LatLon(0.0, 0.0), LatLon(80.001, 179.9995), LatLon(80, -179.9999), LatLon(50, 4)]
    brute = tuple(sum(a.metres_to(k) <= 150 for k in known) for a in asked)
    assert near_count(asked, known, within_m=150) == brute
    assert brute[0] > 3
    assert brute[3] == 0


# --- the sheet ---


def test_the_sheet_shows_query_and_tile_of_each_pair(tmp_path):
    data = open_data_set(made.write_university(tmp_path / "data"))
    data = replace(data, train=data.train[:1])
    assert write_contact_sheet(tmp_path / "new/sheet.jpg", data) == 1
    sheet = np.asarray(Image.open(tmp_path / "new/sheet.jpg")).astype(int)
    query = sheet[2 * GAP : 2 * GAP + CELL, 2 * GAP : 2 * GAP + CELL]
    tile = sheet[2 * GAP : 2 * GAP + CELL, 3 * GAP + CELL : 3 * GAP + 2 * CELL]
    for shown, path in ((query, data.train[0].query), (tile, data.train[0].satellite)):
        expected = cv2.resize(decoded(path), (CELL, CELL)).astype(int)
        assert np.abs(shown - expected).mean() < 4


def test_the_sheet_draws_the_click_and_the_box(tmp_path):
    data = open_data_set(made.write_cvogl(tmp_path / "data", query=(64, 64)))
    grey = np.full((128, 128, 3), 120, np.uint8)
    for pair in data.train:
        made.save(pair.satellite, grey)
        made.save(pair.query, grey[:64, :64])
    one = replace(data, train=data.train[:1])
    write_contact_sheet(tmp_path / "sheet.jpg", one)
    sheet = np.asarray(Image.open(tmp_path / "sheet.jpg")).astype(int)
    red = (sheet[..., 0] > 180) & (sheet[..., 1] < 110)
    rows, columns = np.nonzero(red[:, : 2 * GAP + CELL])
    x, y = (v * CELL / 64 for v in one.train[0].click)
    assert columns.mean() - 2 * GAP == pytest.approx(x, abs=2)
    assert rows.mean() - 2 * GAP == pytest.approx(y, abs=2)
    rows, columns = np.nonzero(red[:, 3 * GAP + CELL :])
    left, top, right, bottom = (v * CELL / 128 for v in one.train[0].box)
    assert (columns.min(), columns.max()) == pytest.approx((left, right), abs=3)
    assert (rows.min() - 2 * GAP, rows.max() - 2 * GAP) == pytest.approx((top, bottom), abs=3)


def test_the_sheet_marks_where_a_panorama_stands(tmp_path):
    data = open_data_set(made.write_vigor(tmp_path / "data"))
    pair = data.train[0]
    made.save(pair.satellite, np.full((64, 64, 3), 120, np.uint8))
    write_contact_sheet(tmp_path / "sheet.jpg", replace(data, train=(pair,)))
    sheet = np.asarray(Image.open(tmp_path / "sheet.jpg")).astype(int)
    tile = sheet[2 * GAP : 2 * GAP + CELL, 3 * GAP + 2 * CELL : 3 * GAP + 3 * CELL]
    rows, columns = np.nonzero((tile[..., 0] > 180) & (tile[..., 1] < 110))
    assert (columns.mean() / CELL, rows.mean() / CELL) == pytest.approx((0.4, 0.7), abs=0.02)


def test_pictures_that_cannot_be_drawn_are_left_out_of_the_sheet(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path / "data"))
    data.train[0].query.write_bytes(b"broken")
    assert write_contact_sheet(tmp_path / "sheet.jpg", data) == 5
    for pair in data.train:
        pair.query.write_bytes(b"broken")
    with pytest.raises(UserError, match="no pair that can be drawn"):
        write_contact_sheet(tmp_path / "sheet.jpg", data)


# --- the command ---


def test_the_command_checks_and_does_not_train(tmp_path, capsys):
    made.write_vigor(tmp_path / "data")
    sheet = tmp_path / "sheet.jpg"
    command = ["train", "--check", str(tmp_path / "data"), "--sheet", str(sheet)]
    assert run_command([*command, "--data-name", "vigor-cross"]) == 0
    out = capsys.readouterr().out
    assert "VIGOR, cross area, original labels" in out
    assert f"24 random pairs: {sheet}" in out or "12 random pairs" in out
    assert sheet.is_file()
    assert run_command([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "VIGOR, same area, original labels"
    assert {leak["kind"] for leak in told["leaks"]} >= {"place", "ground"}


def test_the_command_says_what_it_expected(tmp_path, capsys):
    assert run_command(["train", "--check", str(tmp_path)]) == 1
    assert "University-1652" in capsys.readouterr().err


# --- decoding no more than is needed ---


def jpeg(path, size, **options):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    Image.fromarray(picture).save(path, quality=95, **options)
    return picture


def test_the_size_of_a_jpeg_is_read_from_its_header(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "x" * 3000
    for number, options in enumerate(({}, {"progressive": True}, {"exif": exif})):
        path = tmp_path / f"{number}.jpg"
        jpeg(path, (120, 200), **options)
        assert jpeg_size(np.fromfile(path, np.uint8)) == (120, 200)
    for other in (b"", b"\xff\xd8", b"\x89PNG\r\n", b"\xff\xd8\xff\xe0\x00\x10JFIF"):
        assert jpeg_size(np.frombuffer(other, np.uint8)) is None


@pytest.mark.parametrize(
    ("least", "shape"),
    [
        ((512, 512), (512, 768)),
        ((257, 100), (512, 768)),
        ((256, 384), (256, 384)),
        ((128, 128), (128, 192)),
        ((60, 60), (64, 96)),
        ((8, 97), (128, 192)),
        ((1, 1), (64, 96)),
    ],
)
def test_a_jpeg_comes_as_small_as_it_may(tmp_path, least, shape):
    picture = jpeg(tmp_path / "x.jpg", (512, 768))
    small = decoded(tmp_path / "x.jpg", least=least)
    assert small.shape[:2] == shape
    expected = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 3  # the order of its channels too


def test_what_is_no_jpeg_comes_whole(tmp_path):
    made.save(tmp_path / "x.png", np.zeros((64, 64, 3), np.uint8))
    assert decoded(tmp_path / "x.png", least=(8, 8)).shape == (64, 64, 3)
    assert reduction(np.fromfile(tmp_path / "x.png", np.uint8), (8, 8)) == 0


def test_training_pictures_are_the_same_as_from_whole_decoding(tmp_path, monkeypatch):
    made.write_cvusa(tmp_path, train=3, val=1)
    for place in range(1, 5):
        jpeg(tmp_path / f"bingmap/19/{place:07d}.jpg", (750, 750))
        jpeg(tmp_path / f"streetview/panos/{place:07d}.jpg", (224, 1232))
    pairs = open_data_set(tmp_path).train
    options = {"query_size": (64, 256), "satellite_size": (128, 128)}
    augment = Augment(zoom=0.1, looks=0.0)
    quick = [PairDataset(pairs, augment=a, **options) for a in (None, augment)]
    items = [data[0, n] for data in quick for n in range(3)]
    monkeypatch.setattr("app.engine.datasets.pairs.reduction", lambda code, least: 0)
    for item, whole in zip(items, [data[0, n] for data in quick for n in range(3)], strict=True):
        assert np.abs(item.query.astype(int) - whole.query).mean() < 2
        assert np.abs(item.satellite.astype(int) - whole.satellite).mean() < 2
