"""Maps lie where the network looked: in the photo's own frame and over the tile."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from app.engine.explain import MAP_SIDE, TILE_SIDE, explain, map_on_photo
from app.engine.framing import frame_query
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import Explain, Explanation, Heatmap
from app.models.base import AttentionMap
from tests.engine.small_town import Town, make_town

TILE = 38


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Town:
    return make_town(tmp_path_factory.getbasetemp() / "small-town")


@pytest.fixture
def shelf(tmp_path) -> Shelf:
    return Shelf("cpu", tmp_path / "cache")


def spotted(height: int, width: int, row: int, column: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[row - 10 : row + 10, column - 10 : column + 10] = 255
    return image


def centre_of(values: np.ndarray) -> tuple[float, float]:
    rows, columns = np.mgrid[0 : values.shape[0], 0 : values.shape[1]] + 0.5
    total = values.sum()
    return float((values * rows).sum() / total), float((values * columns).sum() / total)


@pytest.mark.parametrize("heading", [0.0, 30.0, 90.0, 200.0])
@pytest.mark.parametrize("size", [(200, 300), (300, 200)])
def test_a_map_turned_back_lies_on_what_it_was_made_of(heading, size):
    """A spot framed as the network sees it, and back: it lands where it was on the photo."""
    height, width = size
    row, column = height // 2 - 30, width // 2 + 40
    photo = spotted(height, width, row, column)
    framed = frame_query(photo, kind="perspective", size=(96, 96), heading_deg=heading)
    values, looked = map_on_photo(
        framed[..., 0].astype(np.float32),
        kind="perspective",
        photo_size=size,
        heading_deg=heading,
    )
    assert centre_of(values * looked) == pytest.approx((row, column), abs=1.5)


def test_only_the_framed_square_was_looked_at():
    values = np.ones((7, 7), np.float32)
    _, straight = map_on_photo(values, kind="perspective", photo_size=(100, 160), heading_deg=0.0)
    assert straight[:, 30:130].all()
    assert not straight[:, :30].any()
    assert not straight[:, 130:].any()
    _, turned = map_on_photo(values, kind="perspective", photo_size=(100, 160), heading_deg=45.0)
    assert turned[50, 80 + 68]  # the turned square's corner
    assert not turned[2, 80 + 68]


@pytest.mark.parametrize("heading", [0.0, 90.0, 250.0])
def test_a_panoramas_map_is_rolled_back(heading):
    photo = spotted(200, 400, 110, 60)
    framed = frame_query(photo, kind="panorama", size=(64, 256), heading_deg=heading)
    values, looked = map_on_photo(
        framed[..., 0].astype(np.float32), kind="panorama", photo_size=(200, 400),
        heading_deg=heading,
    )  # fmt: skip
    assert centre_of(values * looked) == pytest.approx((110, 60), abs=1.5)
    assert looked[50:150].all()
    assert not looked[:50].any()
    assert not looked[150:].any()


def test_a_panoramas_map_has_no_seam():
    values = np.tile(np.cos(np.linspace(0, 2 * np.pi, 16, endpoint=False)), (4, 1))
    spread, _ = map_on_photo(
        values.astype(np.float32), kind="panorama", photo_size=(100, 400), heading_deg=77.0
    )
    steps = np.abs(np.diff(spread[50]))
    assert abs(spread[50, 0] - spread[50, -1]) <= steps.max() + 1e-6


def ask(town: Town, shelf: Shelf, heading_deg: float = 0.0) -> Explanation:
    photo = town.photo(TILE, heading_deg, f"e{heading_deg:.0f}.png")
    tile = town.open().ids[TILE]
    return explain(Explain(photo, town.gallery, town.checkpoint, tile, heading_deg), shelf)


def grey_alpha(heatmap: Heatmap) -> np.ndarray:
    with Image.open(heatmap.path) as image:
        assert (image.format, image.mode) == ("PNG", "LA")
        return np.asarray(image)


def test_maps_cover_their_pictures_and_are_named_by_the_network(town, shelf):
    told = ask(town, shelf, 30.0)
    network = shelf.checkpoint(town.checkpoint).network
    images = torch.zeros(1, 3, 64, 64)
    names = [m.name for m in network.explain(images, "drone")]
    assert [m.name for m in told.query_maps] == names
    assert [m.name for m in told.tile_maps] == names
    with Image.open(told.query_picture) as photo, Image.open(told.tile_picture) as tile:
        assert photo.size == (256, 256)
        assert tile.size == (TILE_SIDE, TILE_SIDE)
    for heatmap in told.query_maps:
        assert grey_alpha(heatmap).shape == (256, 256, 2)
    for heatmap in told.tile_maps:
        pixels = grey_alpha(heatmap)
        assert pixels.shape == (MAP_SIDE, MAP_SIDE, 2)
        assert (pixels[..., 1] == 255).all()
        assert heatmap.low < heatmap.high


def test_the_tiles_picture_is_the_tile(town, shelf):
    told = ask(town, shelf)
    with Image.open(told.tile_picture) as image:
        shown = np.asarray(image.resize((64, 64), Image.Resampling.BOX), int)
    expected = town.open().picture(TILE, size_px=64).astype(int)
    assert np.abs(shown - expected).mean() < 4


def test_the_network_sees_the_photo_brought_to_north(town, shelf, monkeypatch):
    seen = {}
    network = shelf.checkpoint(town.checkpoint).network
    real = type(network).explain

    def record(self, images, view):
        seen[view] = images.clone()
        return real(self, images, view)

    monkeypatch.setattr(type(network), "explain", record)
    ask(town, shelf, 90.0)
    turned = seen["drone"]
    ask(town, shelf, 0.0)
    straight = seen["drone"]
    assert (turned - straight).abs().mean() < 0.15  # of a standard deviation
    assert (turned.rot90(1, (2, 3)) - straight).abs().mean() > 0.5


def test_grey_values_run_from_low_to_high(town, shelf, monkeypatch):
    ramp = torch.linspace(-2, 6, 16).reshape(1, 4, 4)
    network = shelf.checkpoint(town.checkpoint).network
    monkeypatch.setattr(type(network), "explain", lambda *_: (AttentionMap("ramp <&> 'é'", ramp),))
    (heatmap,) = ask(town, shelf).tile_maps
    assert (heatmap.name, heatmap.low, heatmap.high) == ("ramp <&> 'é'", -2, 6)
    grey = grey_alpha(heatmap)[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)
    assert grey[0, 0] < grey[-1, -1]


def test_a_flat_map_is_drawn_without_dividing_by_zero(town, shelf, monkeypatch):
    flat = torch.full((1, 4, 4), 3.0)
    network = shelf.checkpoint(town.checkpoint).network
    monkeypatch.setattr(type(network), "explain", lambda *_: (AttentionMap("flat", flat),))
    (heatmap,) = ask(town, shelf).query_maps
    assert heatmap.low == heatmap.high == 3
    assert (grey_alpha(heatmap)[..., 0] == 0).all()


def test_an_unknown_tile_is_named(town, shelf):
    photo = town.photo(TILE, 0.0)
    with pytest.raises(UserError, match="r999"):
        explain(Explain(photo, town.gallery, town.checkpoint, "r999"), shelf)


def test_file_names_in_the_cache_say_nothing_of_the_photo(town, shelf):
    told = ask(town, shelf)
    for heatmap in (*told.query_maps, *told.tile_maps):
        assert re.fullmatch(r"map-[0-9a-f]{32}\.png", heatmap.path.name)
