"""Clicks on bars and on the sky are refused, clicks on what stands on the ground are not."""

from pathlib import Path

import numpy as np
import pytest

from app.engine.object_clicks import check_clicks, elevation_deg, picture_without_bars
from app.engine.photos import Query, read_query
from app.engine.world import make_world, stand
from app.errors import UserError


def query(image, kind="perspective", factor=1) -> Query:
    """``factor``: how many times as large the file is."""
    height, width = image.shape[:2]
    return Query(Path("a.jpg"), image, kind, None, None, width * factor, height * factor)


def refused(image, click, kind="perspective", factor=1, force=False) -> str:
    """The words, or nothing."""
    try:
        check_clicks(query(image, kind, factor), [click], force=force)
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture
def letterboxed():
    image = np.random.default_rng(0).integers(30, 255, (100, 160, 3), dtype=np.uint8)
    image[:14] = 0
    image[86:] = 5  # JPEG's black is not quite black
    return image


def test_a_click_on_a_black_bar_is_refused_unless_forced(letterboxed):
    assert picture_without_bars(letterboxed) == (0, 14, 160, 86)
    assert "black bar" in refused(letterboxed, (80.0, 7.0))
    assert "black bar" in refused(letterboxed, (80.0, 95.0))
    assert not refused(letterboxed, (80.0, 50.0))
    assert not refused(letterboxed, (80.0, 7.0), force=True)


def test_bars_are_found_in_pixels_of_the_file(letterboxed):
    assert "black bar" in refused(letterboxed, (320.0, 40.0), factor=4)
    assert not refused(letterboxed, (320.0, 200.0), factor=4)


def test_dark_places_are_no_bars():
    night = np.zeros((100, 160, 3), np.uint8)
    assert not refused(night, (80.0, 50.0))  # all is black: no bars to tell from it
    night[50, 80] = 200
    night[3:97, 5] = 90
    night[3, :] = 60
    night[96, :] = 60
    assert "black bar" not in refused(night, (80.0, 50.0))
    edge = np.full((200, 200, 3), 90, np.uint8)
    edge[0] = 0  # a line is an edge of the picture
    assert not refused(edge, (80.0, 0.5))


def panorama() -> np.ndarray:
    """Sky that grows paler downwards, a tower from 40 degrees down, ground."""
    image = np.zeros((256, 512, 3), np.uint8)
    image[:] = (np.linspace(120, 220, 256)[:, None, None]).astype(np.uint8)
    image[128:] = (90, 100, 80)
    image[71:140, 200:240] = (60, 50, 50)
    return image


def test_the_sky_of_a_panorama_is_refused_and_a_tower_before_it_is_not():
    image = panorama()
    assert "sky" in refused(image, (60.0, 60.0), "panorama")
    assert "sky" in refused(image, (505.0, 40.0), "panorama")
    assert not refused(image, (220.0, 80.0), "panorama")
    assert not refused(image, (60.0, 120.0), "panorama")  # 6 degrees up: let through
    assert not refused(image, (60.0, 200.0), "panorama")
    assert not refused(image, (60.0, 60.0), "panorama", force=True)
    assert not refused(image, (60.0, 60.0))  # no panorama: nobody knows where its horizon is


def test_elevation_is_that_of_the_sphere_also_in_a_strip():
    assert elevation_deg((256, 512), 0.0) == 90
    assert elevation_deg((256, 512), 128.0) == 0
    assert elevation_deg((100, 400), 0.0) == 45


@pytest.mark.slow
def test_in_rendered_streets_the_sky_is_refused_and_no_object_is():
    world = make_world(5, size_m=320.0, gsd_m=0.8, photo_days=1)
    rng = np.random.default_rng(0)
    sky, things = [], []
    for _ in range(6):
        photo = stand(world, rng)
        asked = query(photo.image, "panorama")
        for row, column in rng.integers((8, 0), (112, 512), (60, 2)):
            told = _told(asked, (column + 0.5, row + 0.5))
            (things if np.isfinite(photo.shot.depth_m[row, column]) else sky).append(told)
    assert np.mean(sky) > 0.85
    assert np.mean(things) < 0.02
    assert len(things) > 20


def _told(asked: Query, click) -> bool:
    try:
        check_clicks(asked, [click], force=False)
    except UserError:
        return True
    return False


@pytest.mark.slow
def test_real_facades_above_the_horizon_may_be_clicked(shared_data):
    """Places on buildings, and in the sky, of two panoramas of London."""
    for name, facades, skies in (
        ("00_pano.png", [(90, 100), (400, 70), (340, 80)], [(20, 20), (250, 30), (480, 40)]),
        ("04_pano.png", [(80, 60), (380, 60)], [(250, 30), (20, 20)]),
    ):
        path = shared_data / "london_panoramas" / name
        photo = read_query(path)
        for x, y in facades:
            scale = photo.width / 512
            assert not _told(photo, (x * scale, y * scale)), (name, x, y)
        for x, y in skies:
            assert photo.kind != "panorama" or _told(photo, (x * scale, y * scale)), (name, x, y)
