"""A corrected box is training data: read back, its pixels are the object's."""

import csv
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from app.card import Card
from app.engine import corrections
from app.engine.corrections import add_correction
from app.engine.datasets.clicks import ClickDataset, read_click_pairs
from app.engine.objects import find_objects
from app.errors import UserError
from app.geo import LatLon
from app.messages import AddCorrection
from tests.engine.block_place import BLOCKS, latlon_of, make_gallery, patch_at, write_photo
from tests.engine.stand_in_objects import StandInShelf, object_card
from tests.engine.test_objects import ask

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("place"))


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    shelf = StandInShelf(tmp_path / "cache")
    monkeypatch.setattr(corrections, "read_card", lambda _: card(shelf))
    return shelf


def card(shelf: StandInShelf) -> Card:
    return object_card(shelf.network)


def correction(tmp_path, place, shelf, name="red", **more) -> AddCorrection:
    """As a person would leave it: the answer's reference, the box drawn where the block is."""
    photo = write_photo(tmp_path)
    request = ask(photo, place, name)
    answer = find_objects(request, shelf)
    best = answer.objects[0].best
    reference = answer.references[best.reference]
    x, y = np.mean(best.polygon_xy, axis=0)
    column, row = reference.to_pixel(float(x), float(y))
    box = (column - 12.0, row - 12.0, column + 12.0, row + 12.0)
    given = {
        "folder": tmp_path / "mine", "photo": photo, "click": patch_at(name), "gallery": place,
        "checkpoint": request.checkpoint, "reference": reference, "box": box,
        "category": "block", "found": best.box,
    }  # fmt: skip
    return AddCorrection(**{**given, **more})


def test_a_correction_is_read_back_as_a_training_pair(tmp_path, place, shelf):
    request = correction(tmp_path, place, shelf)
    assert add_correction(request, shelf, lambda: NOW).objects == 1
    (pair,) = read_click_pairs(request.folder, "train")
    assert pair.category == "block"
    assert pair.box == pytest.approx(request.box, abs=0.006)
    assert pair.gsd_m == 1.0
    assert pair.position is not None
    assert pair.position.metres_to(LatLon(*latlon_of("red"))) < 3.0
    item = ClickDataset((pair,), query_size=(64, 64), satellite_size=(128, 128))[0, 0]
    x, y = item.click.astype(int)
    assert np.abs(item.query[y, x].astype(int) - BLOCKS["red"][0]).max() < 40
    left, top, right, bottom = item.box.round().astype(int)
    inside = item.satellite[top + 3 : bottom - 3, left + 3 : right - 3].reshape(-1, 3)
    assert np.abs(np.median(inside, axis=0) - BLOCKS["red"][0]).max() < 40


def test_the_origin_says_what_was_corrected_and_when(tmp_path, place, shelf):
    request = correction(tmp_path, place, shelf)
    add_correction(request, shelf, lambda: NOW)
    with (request.folder / "objects.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    origin = json.loads(row["origin"])
    assert origin["by"] == "hand"
    assert origin["at"] == "2026-03-04T05:06:07+00:00"
    assert origin["checkpoint"] == "Colour finder"
    assert origin["found"] == list(request.found)
    assert origin["tile"] == request.reference.tile


def test_objects_on_one_satellite_picture_share_it_and_their_place(tmp_path, place, shelf):
    first = correction(tmp_path, place, shelf)
    moved = tuple(v + 3 for v in first.box)
    second = correction(tmp_path, place, shelf, click=(50.0, 30.0), box=moved)
    other = correction(tmp_path, place, shelf, name="green")
    for request in (first, second, other):
        done = add_correction(request, shelf)
    assert done.objects == 3
    pairs = read_click_pairs(first.folder, "train")
    assert pairs[0].satellite == pairs[1].satellite != pairs[2].satellite
    assert pairs[0].place == pairs[1].place != pairs[2].place
    assert len(list((first.folder / "satellite").iterdir())) == 2


def test_correcting_the_same_object_again_replaces_it(tmp_path, place, shelf):
    request = correction(tmp_path, place, shelf)
    add_correction(request, shelf)
    again = correction(tmp_path, place, shelf, box=(10.0, 10.0, 40.0, 40.0), split="val")
    assert add_correction(again, shelf).objects == 1
    assert read_click_pairs(request.folder, "val")[0].box == (10.0, 10.0, 40.0, 40.0)


def test_other_rows_and_columns_of_the_folder_stay(tmp_path, place, shelf):
    from tests.engine.click_folder import write_clicks

    request = correction(tmp_path, place, shelf)
    write_clicks(request.folder, train=2, val=1)
    table = request.folder / "objects.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0] + ",note", *(f"{line},kept" for line in lines[1:])]))
    assert add_correction(request, shelf).objects == 4
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["note"] for row in rows] == ["kept", "kept", "kept", ""]
    assert len(read_click_pairs(request.folder, "train")) == 3
    assert rows[-1]["place"] == "3"  # after those that are there


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"box": (10.0, 10.0, 11.0, 40.0)}, "empty"),
        ({"box": (40.0, 10.0, 20.0, 40.0)}, "empty"),
        ({"box": (float("nan"), 10.0, 20.0, 40.0)}, "empty"),
        ({"box": (-5.0, 10.0, 20.0, 40.0)}, "leaves its satellite picture"),
        ({"box": (10.0, 10.0, 20.0, 129.0)}, "leaves its satellite picture"),
        ({"split": "practice"}, "no split"),
        ({"click": (70.0, 5.0)}, "outside"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(more, told, tmp_path, place, shelf):
    request = correction(tmp_path, place, shelf, **more)
    with pytest.raises(UserError, match=told):
        add_correction(request, shelf)
    assert not (request.folder / "objects.csv").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, place, shelf):
    request = correction(tmp_path, place, shelf)
    request.folder.mkdir()
    (request.folder / "objects.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="no table of objects"):
        add_correction(request, shelf)
    assert (request.folder / "objects.csv").read_text() == "a,b\n1,2\n"
