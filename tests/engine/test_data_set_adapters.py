import base64
import contextlib
import pickle
import subprocess
import sys
import zipfile
from fractions import Fraction

import numpy as np
import pytest
import torch

from app.engine.datasets import sues
from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.cvact import near_rows
from app.engine.datasets.layout import ObjectData
from app.engine.datasets.list_pickle import read_list
from app.engine.datasets.matlab import read_mat
from app.engine.datasets.pairs import PairDataset
from app.errors import UserError
from app.geo import LatLon
from tests.engine import made_data_sets as made
from tests.engine.made_mat import write_mat

# --- SUES-200 ---


def test_the_published_split_of_sues_keeps_80_of_200_places_for_the_test():
    assert len(sues.TEST_PLACES) == 80
    assert set(range(1, 201)) >= sues.TEST_PLACES


def test_sues_as_published_is_split_by_its_authors_list(tmp_path):
    data = open_data_set(made.write_sues_raw(tmp_path), name="sues-200")
    assert data.name == "SUES-200, 200 m"
    assert len(data.train) == 11 * 2
    assert {p.query.parent.name for p in data.train} == {"200"}
    down, up = data.tests
    assert {q.label for q in down.queries} == {"0008", "0012", "0014"}
    assert (len(down.queries), len(down.gallery)) == (6, 14)
    assert (len(up.queries), len(up.gallery)) == (3, 28)
    assert {len(rows) for rows in up.positives} == {2}


@pytest.mark.parametrize("names", [("Training", "Testing"), ("train", "test")])
def test_sues_as_copied_by_its_script(tmp_path, names):
    data = open_data_set(made.write_sues_copied(tmp_path, names=names))
    assert len(data.train) == 4 * 4 * 2
    assert [test.name for test in data.tests[:3]] == [
        "drone to satellite, 150 m",
        "satellite to drone, 150 m",
        "drone to satellite, 200 m",
    ]
    assert len(data.tests) == 8
    assert [len(test.gallery) for test in data.tests[:2]] == [6, 12]


def test_a_height_that_is_not_there_is_told(tmp_path):
    made.write_sues_copied(tmp_path, heights=(150,))
    assert len(open_data_set(tmp_path).tests) == 2
    with pytest.raises(UserError, match="300 m"):
        open_data_set(tmp_path, name="sues-300")


# --- DenseUAV ---


def test_denseuav_pairs_each_height_with_both_years(tmp_path):
    data = open_data_set(made.write_denseuav(tmp_path))
    assert len(data.train) == 3 * 3 * 2
    for pair in data.train:
        assert pair.satellite.stem.split("_")[0] == pair.query.stem
    down, up = data.tests
    assert (len(down.queries), len(down.gallery)) == (2 * 3, 5 * 6)
    assert (len(up.queries), len(up.gallery)) == (2 * 6, 5 * 3)
    assert {test.protocol for test in data.tests} == {"denseuav"}


def test_denseuav_positions_are_of_the_place(tmp_path):
    data = open_data_set(made.write_denseuav(tmp_path))
    for picture in data.tests[0].gallery:
        assert picture.position == LatLon(*made.denseuav_place(int(picture.label)))


def test_a_broken_line_of_positions_is_told(tmp_path):
    made.write_denseuav(tmp_path)
    table = tmp_path / "Dense_GPS_ALL.txt"
    table.write_text(table.read_text() + "train/drone/000009/H80.JPG 120.4 30.3 80\n")
    with pytest.raises(UserError, match=r"Dense_GPS_ALL\.txt, line 16"):
        open_data_set(tmp_path)


# --- CVACT ---


@pytest.mark.parametrize("cells", [False, True])
def test_cvact_counts_its_rows_from_one_and_bears_the_panorama_that_nobody_has(tmp_path, cells):
    data = open_data_set(made.write_cvact(tmp_path, cells=cells))
    assert len(data.train) == 4
    assert data.train[0].query.name == f"{made.cvact_id(0)}_grdView.jpg"
    assert data.missing == (
        f"ANU_data_small/streetview/{made.CVACT_MISSING}_grdView.jpg",
        f"ANU_data_small/satview_polish/{made.CVACT_MISSING}_satView_polish.jpg",
    )
    val = data.tests[0]
    assert [q.path.name.split("_grd")[0] for q in val.queries] == [
        made.cvact_id(row) for row in (5, 6, 7)
    ]
    assert data.tile_size_m == 144


def test_both_protocols_of_cvacts_test_are_told_apart(tmp_path):
    data = open_data_set(made.write_cvact(tmp_path))
    assert [(t.name, t.protocol) for t in data.tests] == [
        ("val", "cvact"),
        ("test", "cvact"),
        ("test, within 5 m", "cvact-5m"),
    ]
    own, near = data.tests[1:]
    assert own.positives == ((0,), (1,), (2,), (3,))
    assert near.positives == ((0, 1), (1, 0, 2), (2, 1, 3), (3, 2))  # 4 m apart on a line


def test_what_lies_near_is_found_across_the_cells_of_the_search():
    rng = np.random.default_rng(0)
    utm = rng.uniform(0, 60, (300, 2)) + np.array([693_000, 6_090_000])
    far = np.hypot(*(utm[:, None] - utm[None]).transpose(2, 0, 1)) <= 5
    assert [set(rows) for rows in near_rows(utm, 5.0)] == [set(np.flatnonzero(r)) for r in far]


def test_cvact_has_positions_in_metres_and_in_degrees(tmp_path):
    query = open_data_set(made.write_cvact(tmp_path)).tests[0].queries[0]
    assert query.utm_m == (693_020.0, 6_090_000.0)
    assert query.position.metres_to(LatLon(-35.31, 149.12)) < 2000  # Canberra


def test_cvact_without_its_test_pictures_has_its_val_test_alone(tmp_path):
    made.write_cvact(tmp_path, test=0)
    assert [test.name for test in open_data_set(tmp_path).tests] == ["val"]


def test_cvact_in_png_is_read(tmp_path):
    assert len(open_data_set(made.write_cvact(tmp_path, suffix=".png")).train) == 4


def test_the_rows_of_a_panorama_that_count_can_be_chosen_for_cvact(tmp_path):
    made.write_cvact(tmp_path)

    def framed(name):
        pairs = open_data_set(tmp_path, name=name).train
        return PairDataset(pairs, query_size=(32, 64), satellite_size=(64, 64))[0, 0].query

    middle, whole = framed("cvact"), framed("cvact-all")
    assert np.array_equal(middle, framed("cvact-middle"))
    assert not np.array_equal(middle, whole)
    # The middle half, squeezed, is what lies in the middle of the whole picture.
    half = whole[8:24].astype(int).mean(axis=(1, 2))
    assert abs(half.mean() - middle.mean()) < 4


def test_an_index_beyond_the_panoramas_is_told(tmp_path):
    made.write_cvact(tmp_path)
    write_mat(
        tmp_path / "ACT_data.mat",
        panoIds=np.array(["a", "b"]),
        utm=np.zeros((2, 2)),
        trainSet={"trainInd": np.array([[0]], np.uint32)},
        valSet={"valInd": np.array([[2]], np.uint32)},
        valSetAll={"valInd": np.array([[2]], np.uint32)},
    )
    with pytest.raises(UserError, match="rows 0 to 0 of 2"):
        open_data_set(tmp_path)


# --- MATLAB files ---

# scipy.io.savemat of SciPy 1.17, compressed: panoIds as cells, utm, trainSet.
SCIPY = (
    "TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFNhdCBOb3YgMjEgMDc6MDg6"
    "MzEgMjAyNgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAA"
    "ZwAAAHic42NgYLgAxGxAzAHEjAwQwIrEZ4LS7EBckJiX75lSzMAHZHsg6WPBok8MyTwBKN/Qp9DfIyAlJNMpKag0"
    "uUo3y80/OCmQgWzzEpOSU1LT0jMys7JzcvPyCwqLiktKyxgYAGAdFecPAAAAOAAAAHic42NgYAgAYjYg5oDSIMAK"
    "5TNBMSMDM0NpSS4DJ5CtAFUjqKbqCKJVILSAi3U4iHYA0QCWGgXSDwAAAEcAAAB4nONjYGCYAMRsQMwBxEwMEMAK"
    "5TMiYRC/pCgxMy84tYSVgYWBEyrOCRP3zEuBamfgA2ILJHN50cxlQjKXAc1+kBgA1O4H6Q=="
)


def test_a_file_that_scipy_wrote_is_read(tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(base64.b64decode(SCIPY))
    found = read_mat(path, ("panoIds", "utm", "trainSet"))
    assert found["panoIds"] == (("1LqOHPdTiBbRucz-jFOSbQ",), ("abcdefghijklmnopqrstuv",))
    assert found["utm"].tolist() == [[693000.5, 6090000.25], [693010.0, 6090001.0]]
    assert found["trainSet"]["trainInd"].tolist() == [[2], [1]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
def test_level_5_files_of_either_byte_order_are_read(tmp_path, order, compressed):
    path = tmp_path / "x.mat"
    numbers = np.arange(6, dtype=np.float64).reshape(2, 3)
    write_mat(path, order=order, compressed=compressed, a=numbers, b=np.array(["xy", "z"]))
    found = read_mat(path, ("a", "b"))
    assert np.array_equal(found["a"], numbers)
    assert found["b"] == ("xy", "z")


def test_files_of_hdf5_are_refused_with_what_to_do(tmp_path):
    path = tmp_path / "x.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n")
    with pytest.raises(UserError, match=r"-v7\.3") as told:
        read_mat(path, ("a",))
    assert "-v7'" in told.value.hint


def test_a_missing_variable_is_named(tmp_path):
    write_mat(tmp_path / "x.mat", a=np.zeros((1, 1)))
    with pytest.raises(UserError, match="lacks the variable utm"):
        read_mat(tmp_path / "x.mat", ("a", "utm"))


def test_any_damage_to_a_matlab_file_is_an_expected_failure(tmp_path):
    path = tmp_path / "x.mat"
    write_mat(path, compressed=False, a=np.arange(4.0)[None], b={"c": np.array(["word"])})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        broken = bytearray(whole)
        for at in rng.integers(128, len(whole), 3):
            broken[at] = rng.integers(256)
        path.write_bytes(bytes(broken[: rng.integers(120, len(whole) + 1)]))
        with contextlib.suppress(UserError):  # the damage may also spare what is read
            read_mat(path, ("a", "b"))


# --- CVOGL, G2D ---


@pytest.mark.parametrize("legacy", [False, True])
def test_cvogl_gives_clicks_and_boxes_in_pixels_of_the_files(tmp_path, legacy):
    data = open_data_set(made.write_cvogl(tmp_path, legacy=legacy))
    assert isinstance(data, ObjectData)
    assert data.name == "CVOGL, drone to satellite"
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 3, 3]
    for number, pair in enumerate(data.train):
        left = 20 + 40 * (number % 2)
        assert pair.box == (left, 30, left + 24, 46)
        assert pair.click == pytest.approx(((left + 12) / 4, 38 / 4))
        assert all(type(v) is float for v in (*pair.click, *pair.box))
        assert (pair.category, pair.view, pair.kind) == ("building", "drone", "perspective")


def test_objects_on_one_satellite_picture_are_one_place(tmp_path):
    data = open_data_set(made.write_cvogl(tmp_path))
    places = {}
    for pair in data.train + data.val + data.test:
        places.setdefault(pair.satellite, set()).add(pair.place)
    assert len(places) == 6
    assert all(len(found) == 1 for found in places.values())


def test_the_folder_above_both_sets_of_cvogl_asks_which(tmp_path):
    for name in ("CVOGL_DroneAerial", "CVOGL_SVI"):
        made.write_cvogl(tmp_path / name, name=name, query=(16, 32))
    with pytest.raises(UserError, match="both sets") as told:
        open_data_set(tmp_path)
    assert "cvogl-street" in told.value.hint
    data = open_data_set(tmp_path, name="cvogl-svi")
    assert (data.name, data.train[0].view) == ("CVOGL, street to satellite", "street")


def test_missing_pictures_of_cvogl_are_listed(tmp_path):
    made.write_cvogl(tmp_path)
    (tmp_path / "query/q2.jpg").unlink()
    (tmp_path / "CVOGL_DroneAerial_test.pth").unlink()
    data = open_data_set(tmp_path)
    assert data.missing == ("query/q2.jpg", "CVOGL_DroneAerial_test.pth")
    assert (len(data.train), len(data.test)) == (5, 0)


def test_a_third_set_in_cvogls_form_is_read(tmp_path):
    data = open_data_set(made.write_cvogl(tmp_path, name="G2D"))
    assert data.name == "G2D"
    assert {pair.view for pair in data.train} == {"street"}


@pytest.mark.parametrize(
    "record",
    [
        ["0", "q0.jpg", "sat0.jpg", (0, 0), (1, 1), (5, 5, 5, 9), [], "car"],
        ["0", "q0.jpg", "sat0.jpg", (0, 0), (1, float("nan")), (5, 5, 6, 9), [], "car"],
        ["0", "../../q0.jpg", "sat0.jpg", (0, 0), (1, 1), (5, 5, 6, 9), [], "car"],
        ["0", "q0.jpg", "sat0.jpg", (0, 0), (1, 1), (5, 5, 6, 9), []],
        "q0.jpg",
    ],
)
def test_a_record_that_makes_no_sense_is_told_with_its_number(tmp_path, record):
    made.write_cvogl(tmp_path)
    table = tmp_path / "CVOGL_DroneAerial_train.pth"
    torch.save([*read_list(table)[:2], record], table)
    with pytest.raises(UserError, match="record 2"):
        open_data_set(tmp_path)


# --- pickled lists ---

PLAIN = [
    ["a", "ü – 写", b"\x00\xff", None, True, False],
    (1, -2, 2**40, -(2**70), 1.5, float("inf")),
    {"k": [1, {"deep": ()}], 3: "three"},
    [],
]


@pytest.mark.parametrize("protocol", range(6))
def test_lists_of_plain_things_come_back_from_every_protocol(tmp_path, protocol):
    path = tmp_path / "x.pth"
    value = [item for item in PLAIN if protocol > 2 or item is not PLAIN[0]]
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_list(path) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpys_numbers_and_arrays_come_back_from_every_protocol(tmp_path, protocol):
    path = tmp_path / "x.pth"
    array = np.arange(6, dtype=np.int32).reshape(2, 3)
    value = [np.float64(0.1), np.int64(-7), np.bool_(True), array, np.asfortranarray(array)]
    value += [np.float32(0.5), np.arange(3, dtype=">i2"), np.array(2.5)]
    path.write_bytes(pickle.dumps(value, protocol))
    found = read_list(path)
    assert found[:3] == [0.1, -7, True]
    assert [type(item) for item in found[:3]] == [float, int, bool]
    for was, now in zip(value[3:], found[3:], strict=True):
        assert np.array_equal(was, now)


class Harm:
    """Pickled, it is a call of whatever it is given."""

    def __init__(self, *call):
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


def test_a_list_made_to_harm_is_refused_and_does_nothing(tmp_path):
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w').close()"
    attacks = [
        Harm(exec, code),
        Harm(eval, code),
        Harm(subprocess.call, [sys.executable, "-c", code]),
        Harm(__import__, "os"),
        Harm(getattr, "x", "upper"),
        Harm(np.load, str(canary)),
        Harm(np.array, [1]),
        Harm(Fraction, 1, 2),
    ]
    for attack in attacks:
        for legacy in (False, True):
            path = tmp_path / "x.pth"
            torch.save([["q", attack]], path, _use_new_zipfile_serialization=not legacy)
            with pytest.raises(UserError, match="which no list needs") as told:
                read_list(path)
            assert "harm" in told.value.hint
    assert not canary.exists()
    pickle.loads(pickle.dumps(Harm(exec, code)))
    assert canary.exists()  # so the attack would have worked


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"hello",
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
        b"\x80\x02]q\x00(h\x00h\x00",  # no end
        b"\x80\x02K\x01.",  # no list
        b"\x80\x02a.",
        b"\x80\x02\x8c\x05abc.",
        b"\x80\x02]Q.",  # a persistent id
        b"\x80\x02]\x81.",  # an object
        b"\x80\x02]\x82\x01.",  # an extension
    ],
)
def test_what_is_no_list_is_an_expected_failure(tmp_path, raw):
    path = tmp_path / "x.pth"
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"x\.pth"):
        read_list(path)


def test_a_list_that_unfolds_without_end_is_refused_quickly(tmp_path):
    value = [1]
    for _ in range(30):
        value = [value, value]
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match="damaged"):
        read_list(path)


def test_a_number_type_that_lies_about_its_size_is_refused(tmp_path):
    path = tmp_path / "x.pth"
    good = pickle.dumps([np.arange(4)], 2)
    path.write_bytes(good.replace(b"K\x04\x85", b"K\x09\x85"))
    with pytest.raises(UserError, match="damaged"):
        read_list(path)


def test_any_damage_to_a_list_is_an_expected_failure(tmp_path):
    path = tmp_path / "x.pth"
    whole = pickle.dumps([["a", (1, 2.5), np.arange(3), np.float64(1)]] * 2, 2)
    rng = np.random.default_rng(0)
    for _ in range(250):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 2):
            broken[at] = rng.integers(256)
        path.write_bytes(bytes(broken))
        with contextlib.suppress(UserError):
            read_list(path)


def test_an_archive_without_a_list_is_told(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(UserError, match=r"no archive of torch\.save"):
        read_list(path)


# --- a user's own ---


def test_two_folders_are_paired_by_file_name(tmp_path):
    made.write_folders(tmp_path)
    made.save(tmp_path / "train/drone/alone.jpg", made.drone(1))
    made.save(tmp_path / "val/satellite/above.jpg", made.from_above(1))
    data = open_data_set(tmp_path)
    assert (len(data.train), len(data.held_out)) == (4, 3)
    assert all(p.query.stem == p.satellite.stem for p in data.train)
    assert data.missing == ("train/satellite/alone.jpg", "val/drone/above.jpg")
    assert not {p.place for p in data.train} & {p.place for p in data.held_out}
    assert [test.name for test in data.tests] == ["drone to satellite", "satellite to drone"]


def test_ground_panoramas_in_folders_are_street_queries(tmp_path):
    made.write_folders(tmp_path, view="ground", counts={"train": 2, "val": 1, "test": 2})
    data = open_data_set(tmp_path)
    assert {(p.view, p.kind) for p in data.train} == {("street", "panorama")}
    assert len(data.held_out) == 1
    assert len(data.tests[0].queries) == 2
    assert not data.held_out_is_test


def test_the_real_small_set_opens(shared_data):
    data = open_data_set(shared_data / "university1652-mini")
    assert (len(data.train), len(data.held_out)) == (280, 70)
    assert [len(test.gallery) for test in data.tests] == [70, 70]
    assert data.missing == ()


def test_a_table_of_ones_own_is_split_by_geography(tmp_path):
    for folder in (made.write_own_table(tmp_path), tmp_path / "mine.csv"):
        data = open_data_set(folder)
        assert (len(data.train), len(data.held_out)) == (8, 2)
        nearest = min(a.position.metres_to(b.position) for a in data.train for b in data.held_out)
        assert nearest > 100
        assert data.train[3].heading_deg == 30


def test_what_lies_near_the_held_out_end_is_left_out(tmp_path):
    made.write_own_table(tmp_path, step_m=40)  # with 100 m between: two of them
    data = open_data_set(tmp_path)
    assert (len(data.train), len(data.held_out)) == (6, 2)


def test_a_table_without_positions_is_split_by_place(tmp_path):
    made.write_own_table(tmp_path, positions=False)
    data = open_data_set(tmp_path)
    assert (len(data.train), len(data.held_out)) == (8, 2)
    assert not {p.place for p in data.train} & {p.place for p in data.held_out}


def test_a_table_that_splits_itself_is_taken_at_its_word(tmp_path):
    made.write_own_table(tmp_path)
    table = tmp_path / "mine.csv"
    lines = table.read_text().splitlines()
    rows = [f"{line},{'val' if n % 2 else 'train'},7" for n, line in enumerate(lines[1:])]
    table.write_text("\n".join([lines[0] + ",split,place", *rows]))
    data = open_data_set(tmp_path)
    assert (len(data.train), len(data.held_out)) == (5, 5)
    assert len({p.place for p in data.train + data.held_out}) == 1


@pytest.mark.parametrize(
    "row", ["photos/0.jpg,above/0.png,95,4,0", "photos/0.jpg,above/0.png,50,4,north"]
)
def test_a_wrong_value_in_ones_own_table_is_told_with_its_line(tmp_path, row):
    made.write_own_table(tmp_path)
    table = tmp_path / "mine.csv"
    table.write_text(table.read_text() + "\n" + row)
    with pytest.raises(UserError, match=r"mine\.csv, line 12"):
        open_data_set(tmp_path)


# --- held back ---


def test_a_share_of_the_training_places_can_be_held_back_in_place_of_the_test(tmp_path):
    made.write_university(tmp_path, train=40, drones=2)
    whole, held = (open_data_set(tmp_path, name=n) for n in ("university", "university-heldback"))
    assert len(held.train) + len(held.held_out) == len(whole.train)
    assert not {p.place for p in held.train} & {p.place for p in held.held_out}
    assert len({p.place for p in held.held_out}) == 2
    assert held.held_out_is_test is False
    assert held.tests == whole.tests


def test_objects_cannot_be_held_back_twice(tmp_path):
    made.write_cvogl(tmp_path)
    with pytest.raises(UserError, match="pairs to validate on"):
        open_data_set(tmp_path, name="cvogl-heldback")
