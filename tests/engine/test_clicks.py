"""The object folder and what training makes of it: click and box stay on their object."""

import csv

import numpy as np
import pytest
import torch

from app.engine.click_framing import frame_click
from app.engine.datasets.clicks import (
    COLUMNS,
    ClickAugment,
    ClickDataset,
    ClickPictures,
    click_loader,
    object_looks,
    read_click_pairs,
)
from app.errors import UserError
from app.geo import LatLon
from tests.engine.click_folder import write_clicks, write_table

STILL = ClickAugment(crop=0, quarter_turns=False, mirror=False, roll=False, looks=0)


def dataset(folder, augment=None, *, size=48, query=(48, 48), seed=0) -> ClickDataset:
    pairs = read_click_pairs(folder, "train")
    return ClickDataset(
        pairs, query_size=query, satellite_size=(size, size), augment=augment, seed=seed
    )


def red(picture: np.ndarray) -> np.ndarray:
    return picture[..., 0] > 128


def box_of_red(picture: np.ndarray) -> np.ndarray:
    rows, cols = np.nonzero(red(picture))
    return np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1], float)


def assert_on_object(item) -> None:
    x, y = item.click.astype(int)
    assert red(item.query)[y, x]
    assert np.abs(item.box - box_of_red(item.satellite)).max() <= 1.5


def test_a_folder_is_read_with_all_that_its_table_says(tmp_path):
    pairs = read_click_pairs(write_clicks(tmp_path), "val")
    assert len(pairs) == 4
    first = pairs[0]
    assert first.query == tmp_path / "query/8.png"
    assert (first.category, first.view, first.kind, first.gsd_m) == (
        "block", "drone", "perspective", 0.5,
    )  # fmt: skip
    assert first.position == LatLon(50.008, 4.0)
    assert first.box[0] < first.box[2]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("click_x", "nan", "click_x nan"),
        ("right", "0", "is empty"),
        ("view", "sea", "view sea"),
        ("lat", "91", "not a position"),
        ("query", "query/gone.png", "no picture"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, column, value, told):
    write_clicks(tmp_path)
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows[2][COLUMNS.index(column)] = value
    write_table(tmp_path, rows)
    with pytest.raises(UserError, match=told) as failed:
        read_click_pairs(tmp_path, "train")
    assert "line 4" in str(failed.value)


def test_a_folder_without_table_column_or_split_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no objects\.csv"):
        read_click_pairs(tmp_path, "train")
    write_table(tmp_path, [], header=COLUMNS[:-1])
    with pytest.raises(UserError, match="lacks the column world"):
        read_click_pairs(tmp_path, "train")
    write_clicks(tmp_path)
    with pytest.raises(UserError, match="no test objects"):
        read_click_pairs(tmp_path, "test")


def test_click_and_box_are_scaled_to_the_networks_inputs(tmp_path):
    write_clicks(tmp_path, query=(60, 60), satellite=100)
    data = dataset(tmp_path, size=50)
    for index in range(len(data)):
        item = data[0, index]
        assert item.query.shape == (48, 48, 3)
        assert item.satellite.shape == (50, 50, 3)
        assert_on_object(item)
        assert item.row == index


@pytest.mark.parametrize("kind", ["perspective", "panorama"])
@pytest.mark.parametrize("change", ["crop", "quarter_turns", "mirror", "roll", "all"])
def test_no_change_takes_click_or_box_off_their_object(tmp_path, kind, change):
    query = (40, 80) if kind == "panorama" else (48, 48)
    write_clicks(tmp_path, kind=kind, query=query)
    changes = {"crop": 1.0, "quarter_turns": True, "mirror": True, "roll": True}
    on = changes if change == "all" else {change: changes[change]}
    still = {name: getattr(STILL, name) for name in changes}
    augment = ClickAugment(**{**still, **on}, erosion=0, looks=0)
    data, plain = dataset(tmp_path, augment, query=query), dataset(tmp_path, query=query)
    differs = 0
    for epoch in range(4):
        for index in range(len(data)):
            item, before = data[epoch, index], plain[epoch, index]
            assert_on_object(item)
            same = np.array_equal(item.query, before.query) and np.array_equal(
                item.satellite, before.satellite
            )
            differs += not same
    assert (differs > 0) == (change != "roll" or kind == "panorama")


def test_a_mirrored_pair_mirrors_both_pictures(tmp_path):
    write_clicks(tmp_path)
    augment = ClickAugment(crop=0, quarter_turns=False, mirror=True, roll=False, looks=0)
    data, plain = dataset(tmp_path, augment), dataset(tmp_path)
    for index in range(len(data)):
        item, before = data[1, index], plain[1, index]
        query = np.array_equal(item.query, before.query[:, ::-1])
        satellite = np.array_equal(item.satellite, before.satellite[:, ::-1])
        assert query == satellite


def test_erosion_cuts_at_most_its_share_and_the_box_with_it(tmp_path):
    write_clicks(tmp_path, satellite=200)
    augment = ClickAugment(1.0, 0.4, quarter_turns=False, mirror=False, roll=False, looks=0)
    data = dataset(tmp_path, augment, size=200)
    for epoch in range(6):
        for index in range(len(data)):
            item = data[epoch, index]
            assert np.abs(item.box - box_of_red(item.satellite)).max() <= 2.5
            assert item.box.min() >= 0
            assert item.box.max() <= 200


def test_an_item_depends_on_seed_epoch_and_index_alone(tmp_path):
    write_clicks(tmp_path)
    one, two = dataset(tmp_path, ClickAugment()), dataset(tmp_path, ClickAugment())
    _ = one[0, 0], one[3, 2]
    for a, b in zip(one[3, 1], two[3, 1], strict=True):
        assert np.array_equal(a, b)
    other = dataset(tmp_path, ClickAugment(), seed=1)
    assert any(
        not np.array_equal(one[3, i].satellite, other[3, i].satellite) for i in range(len(one))
    )


def test_looks_change_colours_and_not_the_shape():
    picture = np.random.default_rng(0).integers(0, 255, (32, 40, 3), dtype=np.uint8)
    assert np.array_equal(object_looks(picture, np.random.default_rng(0), strength=0), picture)
    seen = [object_looks(picture, np.random.default_rng(i)) for i in range(40)]
    assert all(p.shape == picture.shape and p.dtype == np.uint8 for p in seen)
    assert sum(not np.array_equal(p, picture) for p in seen) > 30
    assert any(np.array_equal(p[..., 0], p[..., 1]) for p in seen)  # some are grey


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batches_hold_pictures_clicks_boxes_and_rows(tmp_path, workers):
    data = dataset(write_clicks(tmp_path))
    keys = [[(0, 5), (0, 1)], [(0, 2)]]
    with click_loader(data, keys, workers=workers, pinned=False) as loader:
        batches = list(loader)
    assert all(isinstance(b, ClickPictures) for b in batches)
    assert batches[0].query.shape == (2, 48, 48, 3)
    assert batches[0].query.dtype == torch.uint8
    assert batches[0].row.tolist() == [5, 1]
    assert np.array_equal(batches[1].box[0].numpy(), data[0, 2].box)


def test_a_damaged_picture_or_a_click_outside_is_told_in_words(tmp_path):
    write_clicks(tmp_path)
    pairs = read_click_pairs(tmp_path, "train")
    pairs[1].query.write_bytes(b"no picture")
    data = dataset(tmp_path)
    trouble = data[0, 1]
    assert isinstance(trouble, UserError)
    assert "1.png" in str(trouble)
    with (tmp_path / "objects.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    rows[0][4] = "49"
    write_table(tmp_path, rows)
    with click_loader(dataset(tmp_path), [[(0, 0)]], workers=0, pinned=False) as loader:
        assert "outside" in str(next(iter(loader)))


@pytest.mark.parametrize(
    ("photo", "kind", "click"),
    [
        ((300, 400), "perspective", (20.0, 150.0)),
        ((300, 400), "perspective", (390.0, 10.0)),
        ((400, 300), "perspective", (150.0, 399.0)),
        ((200, 400), "panorama", (399.0, 100.0)),
        ((100, 400), "panorama", (10.0, 99.0)),
        ((210, 400), "panorama", (10.0, 3.0)),
    ],
)
def test_the_click_stays_on_its_pixel_in_every_shape_of_photo(photo, kind, click):
    image = np.zeros((*photo, 3), np.uint8)
    x, y = min(int(click[0]), photo[1] - 1), min(int(click[1]), photo[0] - 1)
    image[max(0, y - 9) : y + 10, max(0, x - 9) : x + 10] = 255
    size = (64, 128) if kind == "panorama" else (64, 64)
    frame = frame_click(photo, click, kind=kind, size=size)
    framed = frame.cut(image)
    assert framed.shape == (*size, 3)
    column, row = frame.to_input(*click)
    assert framed[min(int(row), size[0] - 1), min(int(column), size[1] - 1), 0] > 128


def test_a_strip_of_the_sphere_keeps_its_horizon_in_the_middle():
    image = np.zeros((100, 400, 3), np.uint8)
    image[:50] = 200  # sky above the horizon
    frame = frame_click((100, 400), (5.0, 50.0), kind="panorama", size=(64, 128))
    framed = frame.cut(image)
    assert (framed[:31] > 150).all()
    assert (framed[33:] < 50).all()
    assert frame.to_input(5.0, 50.0)[1] == pytest.approx(32)


@pytest.mark.parametrize(("click_y", "top"), [(128.0, 64), (100.0, 64), (180.0, 64), (20.0, 14)])
def test_a_whole_spheres_horizon_moves_only_as_far_as_the_click_needs(click_y, top):
    frame = frame_click((256, 512), (100.0, click_y), kind="panorama", size=(96, 384))
    assert (frame.left, frame.top, frame.width, frame.height) == (0, top, 512, 128)
    assert 0 < frame.to_input(100.0, click_y)[1] < 96
    assert frame_click((256, 512), (100.0, 255.9), kind="panorama", size=(96, 384)).top == 128
