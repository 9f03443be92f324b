"""Maps of an object network lie over the photo's own frame and over the reference."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from app.engine.click_framing import frame_click
from app.engine.object_explain import explain_object, on_photo
from app.engine.photos import read_rgb
from app.errors import UserError
from app.messages import ExplainObject
from tests.engine.block_place import make_gallery, patch_at, write_photo
from tests.engine.made_rasters import NORTH, WEST
from tests.engine.stand_in_objects import StandInShelf
from tests.engine.test_objects import tile_near


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("place"))


def asked(photo, place, click, name="red") -> ExplainObject:
    return ExplainObject(photo, click, place, photo.parent / "c", tile_near(place, name))


def brightest(path) -> tuple[float, float]:
    """Where a map is highest, as shares of its width and height."""
    with Image.open(path) as picture:
        values = np.asarray(picture)[..., 0].astype(float)
    rows, columns = np.nonzero(values > 0.9 * values.max())
    return float(columns.mean() / values.shape[1]), float(rows.mean() / values.shape[0])


@pytest.mark.parametrize("size", [(64, 64), (112, 64), (128, 64), (64, 100)])
def test_the_photos_map_is_highest_at_the_click_in_the_photos_own_frame(size, place, tmp_path):
    photo = write_photo(tmp_path, *size)
    click = patch_at("yellow", *size)  # on the right: a wide photo's frame begins elsewhere
    answer = explain_object(asked(photo, place, click), StandInShelf(tmp_path / "cache"))
    x, y = brightest(answer.query_maps[0].path)
    assert x == pytest.approx(click[0] / size[0], abs=0.08)
    assert y == pytest.approx(click[1] / size[1], abs=0.08)
    assert read_rgb(answer.query_picture).shape[:2] == size[::-1]


def test_the_references_map_is_highest_on_the_object(place, tmp_path):
    photo = write_photo(tmp_path)
    shelf = StandInShelf(tmp_path / "cache")
    request = asked(photo, place, patch_at("red"))
    answer = explain_object(request, shelf)
    x, y = brightest(answer.tile_maps[0].path)
    gallery = shelf.gallery(place)
    at = gallery.xy[gallery.index_of(request.tile)]
    assert x * 128 - 64 + at[0] == pytest.approx(WEST + 130, abs=8)
    assert at[1] + 64 - y * 128 == pytest.approx(NORTH - 150, abs=8)
    assert read_rgb(answer.tile_picture).shape[:2] == (128, 128)
    heatmap = answer.tile_maps[0]
    assert heatmap.name == "nearness of colour"
    assert heatmap.low < heatmap.high


def test_what_the_frame_left_out_was_not_looked_at():
    frame = frame_click((64, 128), (20.0, 32.0), kind="perspective", size=(64, 64))
    values, looked = on_photo(np.ones((8, 8), np.float32), frame, (64, 128), (32, 64))
    assert values.shape == looked.shape == (32, 64)
    assert looked[:, :32].all()
    assert not looked[:, 33:].any()


def test_another_click_is_another_map(place, tmp_path):
    photo = write_photo(tmp_path)
    shelf = StandInShelf(tmp_path / "cache")
    one = explain_object(asked(photo, place, patch_at("red")), shelf)
    two = explain_object(asked(photo, place, patch_at("green")), shelf)
    assert one.query_maps[0].path != two.query_maps[0].path
    assert one.tile_maps[0].path != two.tile_maps[0].path
    with pytest.raises(UserError, match="outside"):
        explain_object(asked(photo, place, (65.0, 2.0)), shelf)


def test_a_reference_cut_elsewhere_is_explained_where_it_was_cut(place, tmp_path):
    """Centred on the block, as in a second look: the map is highest in its middle."""
    request = asked(write_photo(tmp_path), place, patch_at("red"))
    centred = replace(request, centre=(WEST + 130, NORTH - 150))
    answer = explain_object(centred, StandInShelf(tmp_path / "cache"))
    assert brightest(answer.tile_maps[0].path) == pytest.approx((0.5, 0.5), abs=0.05)
