import cv2
import numpy as np
import pytest
import torch

from app.engine.datasets import augment as looks
from app.engine.datasets.pairs import Augment, PairDataset, decoded, pair_loader, read_pairs
from app.engine.framing import frame_query
from app.engine.sampling import PlaceBatches, ground_of
from app.errors import UserError
from app.geo import LatLon
from tests.engine.pair_folder import HEADER, ground, photographed, save, write_pairs, write_table

SIZE = (64, 64)
PLAIN = Augment(quarter_turns=False, flip=False, looks=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


def dataset(pairs, augment=None, **options):
    return PairDataset(pairs, query_size=SIZE, satellite_size=SIZE, augment=augment, **options)


def unlike(a, b):
    """Mean difference in the middle, which no turn leaves."""
    inner = (slice(16, 48), slice(16, 48))
    return float(np.abs(a[inner].astype(int) - b[inner].astype(int)).mean())


# --- the table ---


def test_a_pair_folder_is_read_with_all_that_it_says(folder):
    pairs = read_pairs(folder, "train")
    assert len(pairs) == 10
    one = pairs[3]
    assert (one.place, one.heading_deg, one.view, one.kind) == (3, 90.0, "drone", "perspective")
    assert one.position == LatLon(50.0027, 4.0)
    assert one.query == folder / "query" / "3.png"
    assert len(read_pairs(folder, "val")) == 6


def test_only_the_asked_view_is_read(folder, tmp_path):
    with pytest.raises(UserError, match="no train pairs with street queries"):
        read_pairs(folder, "train", view="street")


def test_a_folder_without_its_table_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no pairs\.csv"):
        read_pairs(tmp_path, "train")


def test_a_missing_column_is_named(tmp_path):
    write_table(tmp_path, [["a.png", "b.png"]], ["query", "satellite"])
    with pytest.raises(UserError, match="lacks the column split, place"):
        read_pairs(tmp_path, "train")


def test_a_missing_picture_is_named_before_training(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "satellite" / "2.png").unlink()
    with pytest.raises(UserError, match=r"line 4: there is no picture .*2\.png"):
        read_pairs(tmp_path, "train")


ROW = ["query/0.png", "satellite/0.png", "train", "0", "50", "4", "0", "drone", "perspective", ""]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("place", "here"),
        ("lat", "95"),
        ("lon", ""),
        ("heading_deg", "north"),
        ("heading_deg", "nan"),
        ("view", "satellites"),
        ("kind", "fisheye"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(tmp_path, column, value):
    write_pairs(tmp_path)
    row = list(ROW)
    row[HEADER.index(column)] = value
    write_table(tmp_path, [ROW, row])
    with pytest.raises(UserError, match="line 3"):
        read_pairs(tmp_path, "train")


def test_position_and_heading_may_be_unknown(tmp_path):
    write_pairs(tmp_path)
    row = list(ROW)
    for column in ("lat", "lon", "heading_deg"):
        row[HEADER.index(column)] = ""
    write_table(tmp_path, [row])
    (pair,) = read_pairs(tmp_path, "train")
    assert pair.position is None
    assert pair.heading_deg is None


def test_a_byte_order_mark_and_foreign_names_are_read(tmp_path):
    folder = tmp_path / "données 数据"
    write_pairs(folder)
    table = folder / "pairs.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes())
    item = dataset(read_pairs(folder, "val"))[0, 0]
    assert item.query.shape == (64, 64, 3)


# --- the pictures ---


def test_an_exact_pair_shows_the_query_turned_to_north(folder):
    exact = dataset(read_pairs(folder, "train"))
    for index in range(10):
        item = exact[0, index]
        assert item.place == index
        assert unlike(item.query, item.satellite) < 6
    raw = cv2.imread(str(folder / "query" / "3.png"))[..., ::-1]
    assert unlike(raw, exact[0, 3].satellite) > 20  # so the turn is what makes them alike


@pytest.mark.parametrize(
    "augment",
    [
        Augment(quarter_turns=True, flip=False, looks=0.0),
        Augment(quarter_turns=False, flip=True, looks=0.0),
        Augment(quarter_turns=True, flip=True, looks=0.0),
    ],
)
def test_turns_and_flips_are_the_same_in_both_views(folder, augment):
    changed = dataset(read_pairs(folder, "train"), augment, seed=1)
    plain = dataset(read_pairs(folder, "train"))
    moved = 0
    for index in range(10):
        item = changed[0, index]
        assert unlike(item.query, item.satellite) < 6
        moved += unlike(item.satellite, plain[0, index].satellite) > 6
    assert moved >= 4


def test_a_panorama_turns_and_flips_with_its_tile(tmp_path):
    """Four walls of four colours; the tile shows each wall's colour on its side."""
    colours = {"n": (255, 0, 0), "e": (0, 255, 0), "s": (0, 0, 255), "w": (255, 255, 0)}
    strip = np.concatenate([np.full((64, 64, 3), colours[c], np.uint8) for c in "wnes"], axis=1)
    heading = 37.5  # by 26.67 of 256 columns
    north = np.roll(strip, 32, axis=1)  # the middle of its north wall in the centre column
    facing = np.roll(north, -round(heading / 360 * 256), axis=1)
    save(tmp_path / "q.png", np.repeat(facing, 2, axis=0))
    tile = np.zeros((64, 64, 3), np.uint8)
    tile[:16, 16:48], tile[48:, 16:48] = colours["n"], colours["s"]
    tile[16:48, 48:], tile[16:48, :16] = colours["e"], colours["w"]
    save(tmp_path / "s.png", tile)
    row = ["q.png", "s.png", "train", 0, "", "", heading, "street", "panorama", ""]
    write_table(tmp_path, [row])
    changed = PairDataset(
        read_pairs(tmp_path, "train"),
        query_size=(32, 256),
        satellite_size=SIZE,
        augment=Augment(looks=0.0),
    )
    seen = set()
    for epoch in range(24):
        item = changed[epoch, 0]
        top, right = item.satellite[4, 32], item.satellite[32, 60]
        ahead, rightwards = item.query[16, 128], item.query[16, 192]
        np.testing.assert_allclose(ahead, top, atol=2)
        np.testing.assert_allclose(rightwards, right, atol=2)
        seen.add((tuple(top), tuple(right)))
    assert len(seen) == 8  # four turns, each as it is and mirrored


def test_heading_jitter_stays_within_its_bound(folder):
    pairs = read_pairs(folder, "train")[:1]
    jittered = dataset(
        pairs,
        Augment(heading_jitter_deg=10.0, quarter_turns=False, flip=False, looks=0.0),
    )
    seen = {turn: photographed(ground(0), turn) for turn in range(-20, 21)}
    queries = [jittered[epoch, 0].query for epoch in range(12)]
    away = [min(seen, key=lambda turn: unlike(query, seen[turn])) for query in queries]
    assert max(map(abs, away)) <= 11
    assert len(set(away)) > 4


def test_an_unknown_heading_is_trained_at_any_turn_and_validated_as_it_is(tmp_path):
    write_pairs(tmp_path)
    row = list(ROW)
    row[HEADER.index("heading_deg")] = ""
    write_table(tmp_path, [row])
    pairs = read_pairs(tmp_path, "train")
    exact = dataset(pairs)[0, 0].query
    trained = [dataset(pairs, PLAIN)[epoch, 0].query for epoch in range(6)]
    assert unlike(exact, ground(0)) < 6
    assert sum(unlike(one, exact) > 10 for one in trained) >= 4


def test_chance_comes_from_seed_epoch_and_index_alone(folder):
    pairs = read_pairs(folder, "train")
    augment = Augment(heading_jitter_deg=15.0, zoom=0.2)
    first, again = dataset(pairs, augment, seed=3), dataset(pairs, augment, seed=3)
    again[0, 5], again[1, 1]  # reading others before changes nothing
    assert np.array_equal(first[2, 4].query, again[2, 4].query)
    assert np.array_equal(first[2, 4].satellite, again[2, 4].satellite)
    assert not np.array_equal(first[2, 4].query, first[3, 4].query)
    other = dataset(pairs, augment, seed=4)
    assert not np.array_equal(first[2, 4].query, other[2, 4].query)


@pytest.mark.parametrize("heading", ["", "90"])
def test_a_perspective_street_photo_is_never_turned_but_its_satellite_picture_is(tmp_path, heading):
    write_pairs(tmp_path)
    row = list(ROW)
    row[HEADER.index("view")], row[HEADER.index("heading_deg")] = "street", heading
    write_table(tmp_path, [row])
    pairs = read_pairs(tmp_path, "train")
    exact = dataset(pairs)[0, 0]
    shown = frame_query(
        decoded(pairs[0].query), kind="perspective", size=exact.query.shape[:2], heading_deg=0.0
    )
    assert np.array_equal(exact.query, shown)
    turned = dataset(pairs, Augment(heading_jitter_deg=30.0, flip=False, looks=0.0))
    items = [turned[epoch, 0] for epoch in range(12)]
    assert all(np.array_equal(item.query, exact.query) for item in items)
    quarters = {
        next(q for q in range(4) if np.array_equal(item.satellite, np.rot90(exact.satellite, q)))
        for item in items
    }
    assert quarters == {0, 1, 2, 3}


def test_an_unreadable_picture_is_an_answer_not_a_crash(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "query" / "0.png").write_bytes(b"")
    with pair_loader(
        dataset(read_pairs(tmp_path, "train")), [[(0, 0), (0, 1)]], workers=0, pinned=False
    ) as loader:
        (answer,) = loader
    assert isinstance(answer, UserError)
    assert "0.png is not a readable picture" in str(answer)


def test_a_grey_or_transparent_picture_becomes_rgb(tmp_path):
    write_pairs(tmp_path)
    for name, shape in (("0", (64, 64)), ("1", (64, 64, 4))):
        code = cv2.imencode(".png", np.full(shape, 200, np.uint8))[1]
        (tmp_path / "query" / f"{name}.png").write_bytes(code.tobytes())
    pairs = dataset(read_pairs(tmp_path, "train"))
    assert pairs[0, 0].query.shape == pairs[0, 1].query.shape == (64, 64, 3)


# --- looks ---


@pytest.mark.parametrize(
    "change",
    [
        lambda p, r: looks.compress(p, 60),
        lambda p, r: looks.change_colour(p, r, 0.3),
        looks.change_sharpness,
        looks.grid_holes,
        looks.coarse_holes,
    ],
)
def test_each_change_of_looks_keeps_size_and_changes_something(change, picture):
    before = picture.copy()
    changed = change(picture, np.random.default_rng(0))
    assert changed.shape == picture.shape
    assert changed.dtype == np.uint8
    assert not np.array_equal(changed, picture)
    assert np.array_equal(picture, before)


def test_strength_zero_changes_no_looks(picture):
    for seed in range(20):
        same = looks.change_looks(picture, np.random.default_rng(seed), strength=0.0)
        assert np.array_equal(same, picture)


def test_grey_stays_grey_under_any_change_of_colour():
    grey = np.full((8, 8, 3), 128, np.uint8)
    for seed in range(10):
        changed = looks.change_colour(grey, np.random.default_rng(seed), 0.3).astype(int)
        assert np.ptp(changed, axis=2).max() <= 1


def test_compression_keeps_the_order_of_the_channels():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    compressed = looks.compress(red, 90)
    assert compressed[..., 0].mean() > 150
    assert compressed[..., 2].mean() < 50


# --- batches ---


def batches_of(pairs, **options):
    options = {"batch_size": 4, "seed": 0, **options}
    return PlaceBatches(pairs, **options)


def test_no_batch_shows_a_place_twice(tmp_path):
    write_pairs(tmp_path)
    rows = [
        [f"query/{i % 10}.png", f"satellite/{i % 5}.png", "train", i % 5, "", "", "", *ROW[7:]]
        for i in range(10)
    ]
    write_table(tmp_path, rows)
    pairs = read_pairs(tmp_path, "train")
    shown = list(batches_of(pairs))
    assert shown
    for batch in shown:
        places = [pairs[index].place for _, index in batch]
        assert len(set(places)) == len(places) == 4


def test_an_epoch_shows_no_pair_twice_and_leaves_out_less_than_a_batch(folder):
    pairs = read_pairs(folder, "train")
    shown = [index for batch in batches_of(pairs, batch_size=3) for _, index in batch]
    assert len(shown) == len(set(shown)) == 9


def test_each_epoch_is_another_order_and_the_same_each_time_it_is_asked(folder):
    batches, again = (batches_of(read_pairs(folder, "train")) for _ in range(2))
    first = list(batches)
    assert list(again) == first
    batches.epoch = again.epoch = 1
    second = list(batches)
    assert [[index for _, index in b] for b in second] != [[index for _, index in b] for b in first]
    assert list(again) == second
    assert {epoch for batch in second for epoch, _ in batch} == {1}


def test_a_batch_larger_than_the_places_shrinks_to_them(folder):
    (batch,) = batches_of(read_pairs(folder, "train"), batch_size=64)
    assert len(batch) == 10


def test_what_lies_too_near_is_not_in_one_batch(folder):
    pairs = read_pairs(folder, "train")  # 100 m apart on a line
    for batch in batches_of(pairs, batch_size=3, min_distance_m=150.0):
        rows = sorted(index for _, index in batch)
        assert min(np.diff(rows)) >= 2


def test_neighbours_share_a_batch_when_asked(folder):
    pairs = read_pairs(folder, "train")

    def spread(share):
        found = []
        for seed in range(20):
            for batch in batches_of(pairs, batch_size=3, neighbour_share=share, seed=seed):
                found.append(np.ptp([index for _, index in batch]))
                break  # the first batch has all neighbours to choose from
        return np.mean(found)

    assert spread(1.0) < spread(0.0) / 1.5


def test_distances_count_only_within_a_world(tmp_path):
    write_pairs(tmp_path)
    rows = [[*ROW[:3], i, "50", "4", *ROW[6:9], f"world {i}"] for i in range(4)]
    write_table(tmp_path, rows)
    pairs = read_pairs(tmp_path, "train")
    (batch,) = batches_of(pairs, min_distance_m=1000.0)
    assert len(batch) == 4
    assert ground_of(pairs).around(0).tolist() == [0]


def test_positions_become_metres(folder):
    xy = ground_of(read_pairs(folder, "train")).xy
    steps = np.diff(xy, axis=0)
    np.testing.assert_allclose(steps[:, 1], 100.08, atol=0.2)
    np.testing.assert_allclose(steps[:, 0], 0, atol=0.01)


@pytest.mark.slow
def test_workers_hand_over_the_same_batches_and_end(folder):
    pairs = dataset(read_pairs(folder, "train"), Augment(heading_jitter_deg=9.0))
    keys = [[(0, 0), (0, 3)], [(0, 1), (0, 2)]]
    told = []
    for workers in (0, 2):
        with pair_loader(pairs, keys, workers=workers, pinned=False) as loader:
            told.append(list(loader))
    for alone, helped in zip(*told, strict=True):
        assert torch.equal(alone.query, helped.query)
        assert torch.equal(alone.satellite, helped.satellite)
        assert alone.place.tolist() == helped.place.tolist()
