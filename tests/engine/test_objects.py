"""A click on a photo becomes a box on the ground: the right one, in the right place."""

import csv
import math
import shutil

import numpy as np
import pyproj
import pytest

from app.card import Calibration, Metric
from app.engine import objects
from app.engine.gallery import open_gallery
from app.engine.object_error import centre_error_m
from app.engine.objects import find_objects
from app.engine.shelf import Shelf
from app.errors import JobCancelled, UserError
from app.geo import LatLon
from app.messages import BuildGallery, FindObjects, Progress, QueryRead
from tests.engine.block_place import (
    BLOCK_M,
    BLOCKS,
    GREY,
    latlon_of,
    make_gallery,
    painted,
    patch_at,
    write_photo,
)
from tests.engine.made_rasters import NORTH, UTM, WEST
from tests.engine.pair_folder import save
from tests.engine.small_town import make_checkpoint
from tests.engine.stand_in import StandIn
from tests.engine.stand_in_objects import ColourFinder, StandInShelf, object_card

RASTERS = {
    "utm": {},
    "lonlat": {"crs": "EPSG:4326"},
    "mercator": {"crs": "EPSG:3857"},
    "next zone": {"crs": "EPSG:32632"},
    "turned": {"turn_deg": 25.0},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("place"))


@pytest.fixture
def shelf(tmp_path):
    return StandInShelf(tmp_path / "cache")


@pytest.fixture
def photo(tmp_path):
    return write_photo(tmp_path)


def tile_near(gallery, name: str) -> str:
    """The tile whose centre is nearest to a block."""
    opened = open_gallery(gallery, verify=False)
    lat, lon = latlon_of(name)
    away = [LatLon(a, b).metres_to(LatLon(lat, lon)) for a, b in opened.latlon]
    return opened.ids[int(np.argmin(away))]


def ask(photo, gallery, *names, tiles=None, **more) -> FindObjects:
    clicks = more.pop("clicks", tuple(patch_at(name) for name in names))
    tiles = tiles or (tile_near(gallery, names[0]),)
    return FindObjects(photo, clicks, gallery, photo.parent / "c.safetensors", tiles, **more)


@pytest.mark.parametrize("kind", RASTERS)
def test_the_box_lies_on_the_clicked_object_whatever_the_raster(kind, tmp_path, shelf, photo):
    gallery = make_gallery(tmp_path / "g", **RASTERS[kind])
    for name in ("red", "green", "blue"):
        found = find_objects(ask(photo, gallery, name), shelf).objects[0].best
        assert found.centre.metres_to(LatLon(*latlon_of(name))) < 3.0
        assert found.width_m == pytest.approx(BLOCK_M, abs=0.1)
        assert found.area_m2 == pytest.approx(BLOCK_M**2, rel=0.01)


@pytest.mark.parametrize("kind", ["utm", "lonlat"])
def test_polygon_and_centre_are_the_same_place_in_both_systems(kind, tmp_path, shelf, photo):
    gallery = make_gallery(tmp_path / "g", **RASTERS[kind])
    answer = find_objects(ask(photo, gallery, "red"), shelf)
    box = answer.objects[0].best
    back = pyproj.Transformer.from_crs("EPSG:4326", answer.crs, always_xy=True)
    for corner, (x, y) in zip(box.polygon, box.polygon_xy, strict=True):
        assert back.transform(corner.lon, corner.lat) == pytest.approx((x, y), abs=0.01)
    north_west, north_east, south_east, south_west = box.polygon_xy
    assert north_west[0] == south_west[0] < north_east[0] == south_east[0]
    assert south_west[1] == south_east[1] < north_west[1] == north_east[1]
    middle = np.mean(box.polygon_xy, axis=0)
    assert back.transform(box.centre.lon, box.centre.lat) == pytest.approx(middle, abs=0.01)
    # The box in the reference's pixels is the same square again.
    reference = answer.references[box.reference]
    assert reference.to_ground(*box.box[:2]) == pytest.approx(north_west, abs=1e-6)
    assert reference.to_pixel(*south_east) == pytest.approx(box.box[2:], abs=1e-6)


def test_the_reference_has_the_cards_ground_size_and_not_the_tiles(place, tmp_path, photo):
    network = ColourFinder()
    shelf = StandInShelf(tmp_path / "c", network, object_card(network, tile_size_m=64.0))
    answer = find_objects(ask(photo, place, "red"), shelf)
    reference = answer.references[0]
    assert (reference.size_m, reference.size_px, reference.gsd_m) == (64.0, 128, 0.5)
    assert open_gallery(place).manifest.tile_size_m == 80.0
    # A block of 24 m fills 48 pixels of half a metre: the network's box of 24 lies in it.
    centre = answer.objects[0].best.centre
    assert centre.metres_to(LatLon(*latlon_of("red"))) < BLOCK_M / 2
    sides = [reference.footprint[i].metres_to(reference.footprint[(i + 1) % 4]) for i in range(4)]
    assert sides == pytest.approx([64.0] * 4, rel=0.006)  # a sphere's metres


def test_several_clicks_are_answered_in_their_order(place, shelf, photo):
    tiles = (tile_near(place, "red"), tile_near(place, "green"))
    answer = find_objects(ask(photo, place, "green", "red", tiles=tiles), shelf)
    for found, name in zip(answer.objects, ("green", "red"), strict=True):
        assert found.click == patch_at(name)
        assert found.best.centre.metres_to(LatLon(*latlon_of(name))) < 3.0


def test_of_several_tiles_the_one_that_shows_the_object_wins(place, shelf, photo):
    tiles = tuple(tile_near(place, name) for name in ("blue", "yellow", "red"))
    answer = find_objects(ask(photo, place, "red", tiles=tiles), shelf)
    best = answer.objects[0].best
    assert answer.references[best.reference].tile == tiles[2]
    assert best.centre.metres_to(LatLon(*latlon_of("red"))) < 3.0
    assert [r.tile for r in answer.references] == list(tiles)


def test_an_object_in_two_overlapping_references_is_one_answer(place, shelf, photo):
    opened = open_gallery(place, verify=False)
    one = opened.index_of(tile_near(place, "red"))
    x, y = opened.xy[one]
    beside = int(np.argmin(np.abs(opened.xy - (x + 40, y)).sum(axis=1)))
    tiles = (opened.ids[one], opened.ids[beside])
    boxes = find_objects(ask(photo, place, "red", tiles=tiles), shelf).objects[0].boxes
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            (aw, an), (bw, bn) = a.polygon_xy[0], b.polygon_xy[0]
            wide, high = BLOCK_M - abs(aw - bw), BLOCK_M - abs(an - bn)
            shared = max(0.0, wide) * max(0.0, high)
            assert shared / (2 * BLOCK_M**2 - shared) < 0.5
    assert boxes[0].probability > 0.5


def test_boxes_are_ranked_and_share_one_probability(place, shelf, photo):
    request = ask(photo, place, "red", alternatives=6)
    boxes = find_objects(request, shelf).objects[0].boxes
    assert [box.rank for box in boxes] == list(range(1, 8))
    assert [box.score for box in boxes] == sorted((b.score for b in boxes), reverse=True)
    assert 0 < sum(box.probability for box in boxes) <= 1 + 1e-9
    assert len(find_objects(ask(photo, place, "red", alternatives=0), shelf).objects[0].boxes) == 1


def test_the_cards_temperature_is_used_and_named(place, tmp_path, photo):
    network = ColourFinder()
    sure = []
    for temperature in (0.5, 5.0, None):
        fitted = None if temperature is None else Calibration(temperature, "some objects")
        card = object_card(network, calibration=fitted)
        shelf = StandInShelf(tmp_path / "c", network, card)
        answer = find_objects(ask(photo, place, "red"), shelf)
        assert answer.calibrated == (temperature is not None)
        assert any("not calibrated" in note for note in answer.notes) == (temperature is None)
        sure.append(answer.objects[0].best.probability)
    assert sure[0] > sure[2] > sure[1]


def test_the_error_bound_follows_from_the_validated_iou_and_the_pixel(place, tmp_path, photo):
    network = ColourFinder()
    measured = (Metric("accu@0.5", 0.7, "unseen city"), Metric("mean IoU", 0.6, "unseen city"))
    shelf = StandInShelf(tmp_path / "c", network, object_card(network, metrics=measured))
    answer = find_objects(ask(photo, place, "red"), shelf)
    assert answer.objects[0].best.error_m == pytest.approx(BLOCK_M * 0.4 / 1.2 + 1.0)
    assert "0.60 on unseen city" in answer.error_basis
    unmeasured = StandInShelf(tmp_path / "c", network)
    answer = find_objects(ask(photo, place, "red"), unmeasured)
    assert answer.objects[0].best.error_m is None
    assert "never measured" in answer.error_basis


def test_no_box_as_good_as_the_validated_iou_is_further_off_than_the_bound():
    rng = np.random.default_rng(0)
    found = np.array([0.0, 0.0, 10.0, 7.0])
    worst = 0.0
    for _ in range(20_000):
        left, top = rng.uniform(-12, 12, 2)
        true = np.array([left, top, left + rng.uniform(2, 30), top + rng.uniform(2, 30)])
        sides = (np.minimum(found[2:], true[2:]) - np.maximum(found[:2], true[:2])).clip(0)
        shared = sides.prod()
        iou = shared / (70 + (true[2:] - true[:2]).prod() - shared)
        if iou < 0.1:
            continue
        away = math.hypot(*((true[:2] + true[2:]) / 2 - (5, 3.5)))
        bound = centre_error_m(10.0, 7.0, gsd_m=0.0, iou=float(iou))
        assert away <= bound + 1e-9
        worst = max(worst, away / bound)
    assert worst > 0.6  # and it is not far from what can happen


# --- caching ------------------------------------------------------------------


def test_the_next_click_on_the_same_pair_encodes_the_photo_only(place, shelf, photo):
    tiles = tuple(tile_near(place, name) for name in ("red", "green"))
    find_objects(ask(photo, place, "red", tiles=tiles), shelf)
    assert shelf.network.encoded == {"query": 1, "satellite": 2}
    find_objects(ask(photo, place, "green", tiles=tiles), shelf)
    assert shelf.network.encoded == {"query": 2, "satellite": 2}
    find_objects(ask(photo, place, "green", "red", tiles=tiles), shelf)
    assert shelf.network.encoded == {"query": 2, "satellite": 2}


def test_a_photo_that_changed_is_encoded_again(place, shelf, photo):
    request = ask(photo, place, clicks=(patch_at("green"),), tiles=(tile_near(place, "red"),))
    find_objects(request, shelf)
    save(photo, np.roll(painted(), 16, axis=1))  # each patch where its right neighbour was
    found = find_objects(request, shelf)
    assert shelf.network.encoded["query"] == 2
    assert found.objects[0].best.centre.metres_to(LatLon(*latlon_of("red"))) < 3.0


def test_the_answer_is_the_same_from_the_shelf_and_afresh(place, shelf, tmp_path, photo):
    request = ask(photo, place, "red", refine=True)
    first, again = find_objects(request, shelf), find_objects(request, shelf)
    other = find_objects(request, StandInShelf(tmp_path / "other"))
    assert first.objects == again.objects
    assert first.objects == other.objects


# --- the second look ----------------------------------------------------------


def test_refining_looks_centred_on_the_first_answer(place, shelf, photo):
    answer = find_objects(ask(photo, place, "red", refine=True), shelf)
    best = answer.objects[0].best
    assert best.reference == 1
    reference = answer.references[1]
    first = find_objects(ask(photo, place, "red"), shelf).objects[0].best
    middle = np.mean(first.polygon_xy, axis=0)
    assert (reference.x, reference.y) == pytest.approx(middle)
    assert best.probability == first.probability
    assert best.centre.metres_to(LatLon(*latlon_of("red"))) < 3.0
    assert best.box[0] == pytest.approx(64 - 12, abs=4)  # about in the middle


def test_an_object_at_the_references_edge_is_whole_in_the_second_look(place, tmp_path, photo):
    """The block is cut by a reference of 104 m around a tile 50 m west of it."""
    network = ColourFinder()
    shelf = StandInShelf(tmp_path / "c", network, object_card(network, tile_size_m=104.0))
    opened = open_gallery(place, verify=False)
    tile = opened.ids[int(np.argmin(np.hypot(*(opened.xy - (WEST + 80, NORTH - 160)).T)))]
    truth = LatLon(*latlon_of("red"))
    once = find_objects(ask(photo, place, "red", tiles=(tile,)), shelf).objects[0].best
    twice = find_objects(ask(photo, place, "red", tiles=(tile,), refine=True), shelf)
    assert twice.references[0].to_pixel(WEST + 130, NORTH - 150)[0] + 12 > 128
    assert twice.objects[0].best.centre.metres_to(truth) < 3.0
    assert twice.objects[0].best.centre.metres_to(truth) < once.centre.metres_to(truth)


def test_after_a_second_look_all_answers_are_still_different_ones(place, tmp_path, photo):
    network = ColourFinder()
    shelf = StandInShelf(tmp_path / "c", network, object_card(network, tile_size_m=104.0))
    opened = open_gallery(place, verify=False)
    tile = opened.ids[int(np.argmin(np.hypot(*(opened.xy - (WEST + 80, NORTH - 160)).T)))]
    for name in ("red", "green", "blue"):
        request = ask(photo, place, name, tiles=(tile,), refine=True, alternatives=9)
        boxes = find_objects(request, shelf).objects[0].boxes
        assert [box.rank for box in boxes] == list(range(1, len(boxes) + 1))
        for other in boxes[1:]:
            (west, north), (west2, north2) = boxes[0].polygon_xy[0], other.polygon_xy[0]
            side = boxes[0].width_m
            wide, high = side - abs(west - west2), side - abs(north - north2)
            shared = max(0.0, wide) * max(0.0, high)
            assert shared / (2 * side**2 - shared) < 0.5


def test_a_second_look_that_sees_another_object_is_not_taken(place, shelf, photo, monkeypatch):
    monkeypatch.setattr(objects, "REFINE_IOU", 1.01)
    answer = find_objects(ask(photo, place, "red", refine=True), shelf)
    assert answer.objects[0].best.reference == 0
    assert len(answer.references) == 1


# --- padding ------------------------------------------------------------------


def test_padding_never_wins_even_where_it_looks_like_the_click(place, shelf, tmp_path):
    """Beyond the raster is black; a click on black finds the darkest of the imagery instead."""
    photo = tmp_path / "dark.png"
    dark = np.full((64, 64, 3), GREY, np.uint8)
    dark[20:40, 20:40] = 0
    save(photo, dark)
    request = ask(photo, place, clicks=((30.0, 30.0),), tiles=(tile_near(place, "yellow"),))
    answer = find_objects(request, shelf)
    assert answer.references[0].valid_share < 0.9
    assert any("padding" in note for note in answer.notes)
    for box in answer.objects[0].boxes:
        x, y = np.mean(box.polygon_xy, axis=0)
        assert WEST <= x <= WEST + 400
        assert NORTH - 400 <= y <= NORTH


def test_an_object_at_the_rasters_edge_is_found(place, shelf, photo):
    best = find_objects(ask(photo, place, "yellow"), shelf).objects[0].best
    assert best.centre.metres_to(LatLon(*latlon_of("yellow"))) < 3.0


# --- other kinds of photo and gallery -------------------------------------------


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (3200, 2400)])
def test_the_click_is_in_pixels_of_the_file_whatever_its_shape(size, place, shelf, tmp_path):
    photo = write_photo(tmp_path, *size)
    request = ask(photo, place, clicks=(patch_at("green", *size),), tiles=(
        tile_near(place, "green"),
    ))  # fmt: skip
    best = find_objects(request, shelf).objects[0].best
    assert best.centre.metres_to(LatLon(*latlon_of("green"))) < 3.0


def test_in_a_gallery_of_pictures_the_reference_is_laid_together_of_them(place, shelf, tmp_path):
    """Tiles of the raster as geotagged pictures: the object lies across several of them."""
    from app.engine.gallery_build import build_gallery

    opened = open_gallery(place, verify=False)
    folder = tmp_path / "pictures"
    rows = []
    for i in range(len(opened.ids)):
        save(folder / f"{opened.ids[i]}.png", opened.picture(i, size_px=160))
        rows.append([f"{opened.ids[i]}.png", *(repr(float(v)) for v in opened.latlon[i])])
    with (folder / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file", "lat", "lon"], *rows])
    request = BuildGallery(folder, tmp_path / "c", tmp_path / "g", tile_size_m=80.0)
    build_gallery(request, StandIn())
    photo = write_photo(tmp_path)
    for name in ("red", "green"):
        answer = find_objects(ask(photo, tmp_path / "g", name), shelf)
        assert answer.objects[0].best.centre.metres_to(LatLon(*latlon_of(name))) < 4.0
        assert answer.references[0].valid_share > 0.95


# --- what cannot be answered ----------------------------------------------------


@pytest.mark.parametrize("click", [(-1.0, 5.0), (65.0, 5.0), (5.0, 64.5), (math.nan, 5.0)])
def test_a_click_outside_the_photo_is_refused(click, place, shelf, photo):
    with pytest.raises(UserError, match=r"outside photo|no place"):
        find_objects(ask(photo, place, "red", clicks=(click,), force=True), shelf)


def test_a_question_without_click_or_tile_or_of_too_many_is_refused(place, shelf, photo):
    with pytest.raises(UserError, match="no click"):
        find_objects(ask(photo, place, "red", clicks=()), shelf)
    request = FindObjects(photo, (patch_at("red"),), place, photo, ())
    with pytest.raises(UserError, match="no tile"):
        find_objects(request, shelf)
    many = ask(photo, place, "red", tiles=("r000c000",) * 51)
    with pytest.raises(UserError, match="too many"):
        find_objects(many, shelf)
    with pytest.raises(UserError, match="no tile r999c999"):
        find_objects(ask(photo, place, "red", tiles=("r999c999",)), shelf)


def test_imagery_that_has_moved_is_named(place, shelf, photo, tmp_path):
    copy = shutil.copytree(place, tmp_path / "alone" / "gallery")
    with pytest.raises(UserError, match="has moved") as failed:
        find_objects(ask(photo, copy, "red"), shelf)
    assert "build the gallery again" in failed.value.hint


def test_other_imagery_in_its_place_is_refused(place, shelf, photo, tmp_path):
    shutil.copytree(place.parent, tmp_path / "moved")
    other = make_gallery(tmp_path / "other", crs="EPSG:2154")  # Lambert-93
    shutil.copy(other.parent / "place.tif", tmp_path / "moved" / "place.tif")
    with pytest.raises(UserError, match="no longer the imagery"):
        find_objects(ask(photo, tmp_path / "moved" / "gallery", "red"), shelf)


def test_a_checkpoint_that_locates_photos_is_refused(place, photo, tmp_path):
    path = make_checkpoint(tmp_path / "locator.safetensors", "drone", (32, 32))
    request = FindObjects(photo, (patch_at("red"),), place, path, (tile_near(place, "red"),))
    with pytest.raises(UserError, match="not for finding clicked objects"):
        find_objects(request, Shelf("cpu", tmp_path / "cache"))


def test_a_drone_checkpoint_refuses_a_panorama(place, shelf, tmp_path):
    photo = tmp_path / "pano.png"
    x = np.arange(512)
    wave = (100 + 60 * np.sin(x / 512 * 2 * np.pi) + 30 * np.sin(x / 512 * 6 * np.pi))[None]
    save(photo, np.repeat(np.repeat(wave, 256, 0)[..., None], 3, 2).astype(np.uint8))
    with pytest.raises(UserError, match="360-degree panorama"):
        find_objects(ask(photo, place, "red", clicks=((30.0, 200.0),)), shelf)


def test_the_photo_is_told_first_and_a_cancel_ends_the_work(place, shelf, photo):
    told = []
    find_objects(ask(photo, place, "red"), shelf, told.append)
    read = [body for body in told if isinstance(body, QueryRead)]
    assert len(read) == 1
    assert read[0].photo == photo

    def stop(body) -> None:
        if isinstance(body, Progress) and body.note == "encoding imagery":
            raise JobCancelled

    with pytest.raises(JobCancelled):
        find_objects(ask(photo, place, "blue"), shelf, stop)


def test_an_answer_names_what_it_was_made_with(place, shelf, photo):
    answer = find_objects(ask(photo, place, "red"), shelf)
    assert (answer.photo, answer.gallery, answer.crs) == (photo, place, UTM)
    assert answer.device == "cpu"
    assert answer.references[0].picture.is_file()
    assert len(BLOCKS) == 4
