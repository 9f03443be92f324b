import csv
import re

import numpy as np
import pytest

from app.engine.datasets.catalog import open_data_set
from app.engine.datasets.click_table import COLUMNS as OBJECT_COLUMNS
from app.engine.datasets.click_table import ClickPair, click_row
from app.engine.datasets.layout import ObjectData, RetrievalData
from app.engine.framing import frame_query, panorama_rows
from app.errors import UserError
from app.geo import LatLon
from app.messages import JobCancelled
from tests.engine import made_data_sets as made
from tests.engine.pair_folder import HEADER, write_pairs, write_table

# --- University-1652 ---


@pytest.fixture(scope="module")
def university(tmp_path_factory):
    return made.write_university(tmp_path_factory.mktemp("university"))


def test_university_trains_on_each_drone_picture_with_its_places_satellite_picture(university):
    data = open_data_set(university)
    assert isinstance(data, RetrievalData)
    assert data.name == "University-1652"
    assert len(data.train) == 4 * 3 + 1  # place 0000 has one picture more
    assert all(p.satellite.parent.name == p.query.parent.name for p in data.train)
    assert {p.place for p in data.train} == {0, 1, 2, 3}
    assert {(p.view, p.heading_deg) for p in data.train} == {("drone", None)}
    assert data.missing == ()


def test_university_is_tested_in_both_directions(university):
    down, up = open_data_set(university).tests
    assert (down.name, up.name) == ("drone to satellite", "satellite to drone")
    assert (len(down.queries), len(down.gallery)) == (9, 5)
    assert (len(up.queries), len(up.gallery)) == (3, 15)
    assert {len(rows) for rows in down.positives} == {1}
    assert {len(rows) for rows in up.positives} == {3}
    for test in (down, up):
        assert test.protocol == "university"
        for query, rows in zip(test.queries, test.positives, strict=True):
            assert {test.gallery[row].label for row in rows} == {query.label}


def test_university_holds_out_pictures_of_the_test_and_says_so(university):
    data = open_data_set(university)
    assert data.held_out_is_test
    assert {p.place for p in data.held_out} == {4, 5, 6}


def test_university_from_the_street_bears_an_empty_folder(university):
    data = open_data_set(university, name="university-street")
    assert len(data.train) == 4
    assert data.tests[0].name == "street to satellite"
    assert [len(test.gallery) for test in data.tests] == [5, 5]


def test_a_place_without_its_satellite_picture_is_listed(tmp_path):
    made.write_university(tmp_path)
    (tmp_path / "train/satellite/0002/0002.jpg").unlink()
    data = open_data_set(tmp_path)
    assert data.missing == ("train/satellite/0002/0002.jpg",)
    assert {p.place for p in data.train} == {0, 1, 3}


# --- CVUSA ---


def test_cvusa_pairs_by_its_lists(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path))
    assert (len(data.train), len(data.held_out)) == (6, 4)
    (test,) = data.tests
    assert (test.protocol, len(test.queries), len(test.gallery)) == ("cvusa", 4, 4)
    assert test.positives == ((0,), (1,), (2,), (3,))
    pair = data.train[0]
    assert pair.query == tmp_path / "streetview/panos/0000001.jpg"
    assert pair.satellite == tmp_path / "bingmap/19/0000001.jpg"
    assert (pair.place, pair.heading_deg, pair.kind) == (1, 0.0, "panorama")


def test_cvusa_finds_a_position_in_row_id_minus_one(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path))
    lat, lon = made.cvusa_place(data.train[2].place)
    assert data.train[2].position == LatLon(round(lat + 1e-5, 6), lon)
    gallery = data.tests[0].gallery[1]
    assert gallery.position == LatLon(*made.cvusa_place(int(gallery.label)))
    assert data.tile_size_m == pytest.approx(750 * 0.2986 * np.cos(np.radians(38.06)), rel=0.01)


def test_cvusa_without_positions_is_read(tmp_path):
    data = open_data_set(made.write_cvusa(tmp_path, positions=False))
    assert {p.position for p in data.train} == {None}
    assert data.tile_size_m is None


def test_cvusa_lists_what_is_missing_and_goes_on(tmp_path):
    made.write_cvusa(tmp_path)
    (tmp_path / "streetview/panos/0000001.jpg").unlink()
    (tmp_path / "bingmap/19/0000002.jpg").unlink()
    data = open_data_set(tmp_path)
    assert set(data.missing) == {"streetview/panos/0000001.jpg", "bingmap/19/0000002.jpg"}
    assert (len(data.train), len(data.tests[0].queries)) == (5, 3)


def test_a_broken_line_of_cvusa_is_told(tmp_path):
    made.write_cvusa(tmp_path)
    (tmp_path / "splits/train-19zl.csv").write_text("bingmap/19/0000001.jpg\n")
    with pytest.raises(UserError, match=r"train-19zl\.csv, line 1"):
        open_data_set(tmp_path)


# --- VIGOR ---


@pytest.fixture(scope="module")
def vigor(tmp_path_factory):
    return made.write_vigor(tmp_path_factory.mktemp("vigor"))


def test_vigor_same_area_trains_and_tests_in_every_city(vigor):
    data = open_data_set(vigor)
    assert data.name == "VIGOR, same area, original labels"
    assert len(data.train) == 4 * 3
    (test,) = data.tests
    assert (len(test.queries), len(test.gallery)) == (4 * 3, 4 * 8)
    assert {p.world for p in data.train} == set(made.VIGOR_CITIES)


def test_vigor_cross_area_tests_in_cities_never_seen(vigor):
    data = open_data_set(vigor, name="vigor-cross")
    assert {p.world for p in data.train} == {"NewYork", "Seattle"}
    assert len(data.train) == 2 * 6
    (test,) = data.tests
    assert (len(test.queries), len(test.gallery)) == (2 * 6, 2 * 8)
    places = {p.place for p in data.train}
    assert not places & {int(picture.label) for picture in test.gallery}


def test_the_first_tile_of_a_vigor_label_is_the_positive_and_three_are_half_right(vigor):
    (test,) = open_data_set(vigor).tests
    for query, (right,), near in zip(
        test.queries, test.positives, test.semi_positives, strict=True
    ):
        assert test.gallery[right].label == query.label
        assert len(near) == 3
        assert right not in near
        metres = [query.position.metres_to(test.gallery[row].position) for row in near]
        assert query.position.metres_to(test.gallery[right].position) < min(metres)


def test_a_vigor_panorama_stands_south_and_west_of_its_tiles_centre_as_its_label_says(vigor):
    for pair in open_data_set(vigor).train:
        assert pair.spot == pytest.approx((0.5 - 0.1, 0.5 + 0.2))


def test_corrected_labels_with_foreign_line_ends_and_no_last_one(tmp_path):
    made.write_vigor(tmp_path, labels="corrected")
    raw = (tmp_path / "splits__corrected/Chicago/pano_label_balanced__corrected.txt").read_bytes()
    assert b"\r\n" in raw
    assert not raw.endswith(b"\n")
    data = open_data_set(tmp_path, name="vigor-cross")
    assert data.name == "VIGOR, cross area, corrected labels"
    assert len(data.train) == len(data.tests[0].queries) == 12
    assert data.train[0].spot == pytest.approx((0.4, (320 + 120.5) / 640))
    with pytest.raises(UserError, match="splits"):
        open_data_set(tmp_path, name="vigor-original")


def test_both_arrangements_of_vigors_folders_are_read(tmp_path, vigor):
    arranged = made.write_vigor(tmp_path, arranged=True)
    names = [
        [(p.query.name, p.satellite.name, p.place) for p in open_data_set(folder).train]
        for folder in (arranged, vigor)
    ]
    assert names[0] == names[1]


def test_places_of_vigor_are_its_positive_tiles(vigor):
    by_place: dict[int, set] = {}
    for pair in open_data_set(vigor, name="vigor-cross").train:
        by_place.setdefault(pair.place, set()).add(pair.satellite)
    assert len(by_place) == 2 * 4
    assert {len(tiles) for tiles in by_place.values()} == {1}


def test_vigors_tiles_have_their_true_size(vigor):
    data = open_data_set(vigor, name="vigor-cross")
    assert data.tile_size_m == pytest.approx(640 * (0.1132 + 0.1007) / 2, rel=0.01)


def test_cross_area_with_a_city_missing_says_which(tmp_path):
    made.write_vigor(tmp_path, cities=("NewYork", "SanFrancisco", "Chicago"))
    with pytest.raises(UserError, match="Seattle"):
        open_data_set(tmp_path, name="vigor-cross")


def test_missing_pictures_of_vigor_are_listed(tmp_path):
    made.write_vigor(tmp_path)
    gone = made.vigor_tile("Chicago", 7)  # nobody's positive
    (tmp_path / "Chicago/satellite" / gone).unlink()
    data = open_data_set(tmp_path)
    assert data.missing == (f"Chicago/satellite/{gone}",)
    assert len(data.tests[0].gallery) == 31


def test_a_label_with_fields_missing_is_told_with_its_line(tmp_path):
    made.write_vigor(tmp_path)
    table = tmp_path / "splits/Seattle/same_area_balanced_train.txt"
    table.write_text(table.read_text() + "pano.jpg satellite_1_2.png 3\n")
    with pytest.raises(UserError, match=r"same_area_balanced_train\.txt, line 4"):
        open_data_set(tmp_path)


# --- pair folders ---


def test_a_rendered_pair_folder_is_a_data_set_too(tmp_path):
    data = open_data_set(write_pairs(tmp_path))
    assert (len(data.train), len(data.held_out)) == (10, 6)
    down, up = data.tests
    assert (down.name, up.name) == ("drone to satellite", "satellite to drone")
    assert down.queries[0].heading_deg == 300.0
    assert down.positives == up.positives == tuple((n,) for n in range(6))


def test_a_pair_folder_lists_missing_pictures_where_training_would_stop(tmp_path):
    write_pairs(tmp_path)
    (tmp_path / "satellite/2.png").unlink()
    data = open_data_set(tmp_path)
    assert len(data.train) == 9
    assert data.missing == (f"line 4: there is no picture {tmp_path / 'satellite/2.png'}",)


def test_a_pair_folder_may_say_which_rows_count_and_where_the_query_stands(tmp_path):
    write_pairs(tmp_path)
    row = ["query/0.png", "satellite/0.png", "train", 0, 50, 4, 0, "street", "panorama", ""]
    more = ["rows", "dx_m", "dy_m", "tile_size_m"]
    write_table(tmp_path, [[*row, "all", 10, 20, 80]], [*HEADER, *more])
    data = open_data_set(tmp_path)
    assert data.train[0].rows == "all"
    assert data.train[0].spot == pytest.approx((0.5 + 10 / 80, 0.5 - 20 / 80))
    assert data.tile_size_m == 80
    for wrong in ("some", "all,0,0,-1"):
        fields = wrong.split(",") if "," in wrong else [wrong, 10, 20, 80]
        write_table(tmp_path, [[*row, *fields]], [*HEADER, *more])
        with pytest.raises(UserError, match="line 2"):
            open_data_set(tmp_path)


def test_an_object_folder_is_a_data_set_too(tmp_path):
    made.save(tmp_path / "q.png", made.drone(1))
    made.save(tmp_path / "s.png", made.from_above(1))
    pair = ClickPair(
        tmp_path / "q.png", tmp_path / "s.png", 7, (3.0, 4.0), (1.0, 2.0, 9.0, 8.0), "car", "drone"
    )
    with (tmp_path / "objects.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, OBJECT_COLUMNS)
        writer.writeheader()
        writer.writerows(click_row(pair, tmp_path, split) for split in ("train", "train", "test"))
    data = open_data_set(tmp_path)
    assert isinstance(data, ObjectData)
    assert data.train == (pair, pair)
    assert (data.val, data.test) == ((), (pair,))


# --- panoramas ---


def test_the_rows_that_count_are_chosen_by_shape_or_by_word():
    assert panorama_rows((100, 200)) == (25, 75)
    assert panorama_rows((100, 400)) == (0, 100)
    for shape in ((100, 200), (100, 400)):
        assert panorama_rows(shape, "all") == (0, 100)
        assert panorama_rows(shape, "middle half") == (25, 75)


def test_the_rows_reach_the_framed_query():
    picture = np.repeat(np.arange(100, dtype=np.uint8)[:, None, None], 200, 1).repeat(3, 2)
    framed = {
        rows: frame_query(picture, kind="panorama", size=(50, 100), heading_deg=0, rows=rows)
        for rows in ("auto", "all", "middle half")
    }
    assert np.array_equal(framed["auto"], framed["middle half"])
    assert framed["auto"][:, 50, 0].tolist() == list(range(25, 75))
    assert framed["all"][0, 50, 0] <= 1
    assert framed["all"][-1, 50, 0] >= 98


# --- which it is ---


def test_an_unknown_folder_is_told_what_each_data_set_would_hold(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="holds pictures/") as told:
        open_data_set(tmp_path)
    for word in ("University-1652", "CVUSA", "VIGOR", "pairs.csv"):
        assert word in told.value.hint


def test_a_data_set_one_folder_down_is_pointed_at(tmp_path):
    made.write_cvusa(tmp_path / "CVUSA")
    with pytest.raises(UserError, match="but CVUSA in it is"):
        open_data_set(tmp_path)


@pytest.mark.parametrize("name", ["university", "cvusa", "vigor-cross"])
def test_a_folder_of_another_layout_than_asked_says_what_was_expected(tmp_path, name):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match=r"holds notes\.txt") as told:
        open_data_set(tmp_path, name=name)
    assert told.value.hint.startswith("Expected: ")


def test_an_unknown_name_or_word_is_told(tmp_path):
    with pytest.raises(UserError, match="No data set is called rome"):
        open_data_set(tmp_path, name="rome")
    with pytest.raises(UserError, match="VIGOR knows no diagonal") as told:
        open_data_set(tmp_path, name="vigor-diagonal")
    assert "same, cross" in told.value.hint


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "gone"))):
        open_data_set(tmp_path / "gone")


def test_opening_can_be_cancelled(university):
    def cancel(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        open_data_set(university, report=cancel)
