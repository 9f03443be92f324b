"""The renderer: what occludes what, and that its truth is true."""

import math
from dataclasses import replace

import numpy as np
import pytest

from app.engine.cameras import Camera, Panorama
from app.engine.scene import Scene, Sun, make_scene
from app.engine.views import render, satellite

SIDE = 400  # pixels
GSD = 0.5
RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (120, 120, 120)


def block(scene: dict, x: float, y: float, size: float, height: float, colour, number: int) -> None:
    """A box centred on x, y, in metres from the south-west corner."""
    rows = slice(round(SIDE - (y + size / 2) / GSD), round(SIDE - (y - size / 2) / GSD))
    cols = slice(round((x - size / 2) / GSD), round((x + size / 2) / GSD))
    scene["rgb"][rows, cols] = colour
    scene["surface"][rows, cols] = height
    scene["ids"][rows, cols] = number


@pytest.fixture(scope="module")
def yard() -> Scene:
    """200 m of grey with a red box east of the middle, a green one north, a blue one behind it."""
    parts = {
        "rgb": np.full((SIDE, SIDE, 3), GREY, np.uint8),
        "surface": np.zeros((SIDE, SIDE), np.float32),
        "ids": np.zeros((SIDE, SIDE), np.int32),
    }
    block(parts, 130, 100, 10, 8, RED, 1)
    block(parts, 100, 120, 10, 10, GREEN, 2)
    block(parts, 100, 150, 8, 6, BLUE, 3)
    return make_scene(**parts, gsd_m=GSD, top_m=SIDE * GSD, haze=0.0)


def test_a_box_on_the_east_is_on_the_right_when_one_looks_north(yard: Scene) -> None:
    shot = render(yard, Panorama(x=100, y=100, z=2, heading_deg=0, width=360, height=180))
    red = np.nonzero(shot.ids == 1)[1]
    green = np.nonzero(shot.ids == 2)[1]
    assert red.mean() == pytest.approx(270, abs=2)
    assert green.mean() == pytest.approx(180, abs=2)


def test_a_box_in_front_hides_the_lower_one_behind_it(yard: Scene) -> None:
    low = render(yard, Panorama(x=100, y=100, z=2, heading_deg=0, width=360, height=180))
    assert 3 not in low.ids
    high = Camera(
        x=100, y=100, z=40, heading_deg=0, pitch_deg=-35, fov_deg=70, width=200, height=200
    )
    assert {2, 3} <= set(np.unique(render(yard, high).ids).tolist())


@pytest.mark.parametrize("pitch", [-90.0, -60.0, -20.0])
def test_a_seen_point_projects_to_the_pixel_that_sees_it_in_a_camera(
    yard: Scene, pitch: float
) -> None:
    camera = Camera(
        x=96, y=70, z=60, heading_deg=33, pitch_deg=pitch, fov_deg=60, width=240, height=180
    )
    shot = render(yard, camera)
    rows, cols = np.nonzero(np.isfinite(shot.depth_m))
    back = camera.project(shot.ground[rows, cols].astype(float))
    off = np.hypot(back[:, 0] - cols - 0.5, back[:, 1] - rows - 0.5)
    assert off.max() < 0.5
    assert (back[:, 2] > 0).all()


def test_a_seen_point_projects_to_the_pixel_that_sees_it_in_a_panorama(yard: Scene) -> None:
    view = Panorama(x=96, y=70, z=2, heading_deg=77, width=512, height=256)
    shot = render(yard, view)
    rows, cols = np.nonzero(np.isfinite(shot.depth_m))
    back = view.project(shot.ground[rows, cols].astype(float))
    turn = (back[:, 0] - cols - 0.5 + 256) % 512 - 256
    assert np.hypot(turn, back[:, 1] - rows - 0.5).max() < 0.5


def test_a_landmark_is_seen_where_it_stands(yard: Scene) -> None:
    """The box's own corner, not the ray's arithmetic: within 1.5 pixels."""
    camera = Camera(
        x=100, y=60, z=70, heading_deg=0, pitch_deg=-55, fov_deg=60, width=320, height=320
    )
    shot = render(yard, camera)
    top = np.array([[x, y, 10.0] for x in (95, 105) for y in (115, 125)])
    cols, rows = camera.project(top)[:, 0], camera.project(top)[:, 1]
    left, upper, right, _ = shot.boxes()[2]
    assert left == pytest.approx(cols.min(), abs=1.5)
    assert right == pytest.approx(cols.max(), abs=1.5)
    assert upper == pytest.approx(rows.min(), abs=1.5)


def test_turning_a_panorama_rolls_its_columns(yard: Scene) -> None:
    straight = Panorama(x=90, y=90, z=2, heading_deg=0, width=360, height=180)
    turned = render(yard, replace(straight, heading_deg=40))
    rolled = np.roll(render(yard, straight).ids, -40, axis=1)
    assert (turned.ids == rolled).mean() > 0.998


def test_a_nadir_photo_has_its_heading_at_the_top(yard: Scene) -> None:
    camera = Camera(
        x=100, y=100, z=80, heading_deg=90, pitch_deg=-90, fov_deg=60, width=200, height=200
    )
    shot = render(yard, camera)
    rows, cols = np.nonzero(shot.ids == 1)  # the box in the east
    assert rows.mean() < 80
    assert cols.mean() == pytest.approx(100, abs=3)


def test_a_satellite_tile_is_north_up_and_of_its_ground_size(yard: Scene) -> None:
    shot = satellite(yard, x=110, y=120, size_m=80, size_px=160)
    left, top, right, bottom = shot.boxes()[2]  # 10 m box whose centre is 10 m west of the middle
    assert (left, right) == (50, 70)
    assert (top, bottom) == (70, 90)
    assert shot.ground[0, 0, 1] > shot.ground[-1, 0, 1]
    assert shot.ground[0, -1, 0] - shot.ground[0, 0, 0] == pytest.approx(79.5, abs=0.01)


def test_a_leaning_satellite_moves_roofs_but_not_the_ground(yard: Scene) -> None:
    upright = satellite(yard, x=130, y=100, size_m=60, size_px=120)
    leaning = satellite(yard, x=130, y=100, size_m=60, size_px=120, lean=(0.5, 0.0))
    roof = (leaning.ids == 1) & (leaning.ground[..., 2] > 7)
    moved = np.nonzero(roof)[1].mean() - np.nonzero(upright.ids == 1)[1].mean()
    assert moved == pytest.approx(8 * 0.5 / 0.5, abs=1.5)  # 8 m high, 0.5 m a metre, 0.5 m a pixel
    assert np.array_equal(leaning.image[60:, :20], upright.image[60:, :20])


def test_boxes_hold_every_pixel_of_their_object(yard: Scene) -> None:
    camera = Camera(
        x=80, y=70, z=50, heading_deg=20, pitch_deg=-40, fov_deg=80, width=300, height=200
    )
    shot = render(yard, camera)
    boxes = shot.boxes()
    assert set(boxes) == {1, 2, 3}
    for number, (left, top, right, bottom) in boxes.items():
        outside = shot.ids == number
        outside[top:bottom, left:right] = False
        assert not outside.any()
        assert (shot.ids[top:bottom, left:right] == number).sum() == (shot.ids == number).sum()


def test_a_map_without_surface_is_seen_flat() -> None:
    rgb = np.full((200, 200, 3), GREY, np.uint8)
    rgb[:100, 100:] = RED  # north-east
    scene = make_scene(rgb, gsd_m=1.0, left_m=-100, top_m=100, haze=0.0)
    camera = Camera(x=0, y=0, z=50, heading_deg=0, pitch_deg=-90, fov_deg=60, width=128, height=128)
    shot = render(scene, camera)
    assert shot.image[20, 100, 0] > 150
    assert shot.image[20, 20, 0] < 150
    assert shot.image[100, 100, 0] < 150
    assert not shot.wall.any()
    assert shot.depth_m[64, 64] == pytest.approx(50, abs=0.1)


def test_depth_is_the_distance_to_what_is_seen(yard: Scene) -> None:
    view = Panorama(x=100, y=100, z=2, heading_deg=90, width=360, height=180)
    shot = render(yard, view)
    assert shot.depth_m[90, 180] == pytest.approx(25, abs=0.6)  # the red box's west wall
    assert shot.wall[90, 180]
    assert math.isinf(shot.depth_m[10, 180])
    assert np.isnan(shot.ground[10, 180]).all()
    assert shot.depth_m[-1, 0] == pytest.approx(2, abs=0.05)


def test_a_wall_in_the_sun_is_brighter_than_one_in_the_shade() -> None:
    """A map without facades, painted by the direction of the light only where a facade says so."""
    from app.engine.scene import WallPaint

    rgb = np.full((200, 200, 3), GREY, np.uint8)
    surface, ids = np.zeros((200, 200), np.float32), np.zeros((200, 200), np.int32)
    surface[90:110, 90:110], ids[90:110, 90:110] = 10, 1

    def plain(number, x, y, z, pixel_m):
        normal = np.stack([np.zeros_like(y), np.sign(y - 100)], -1).astype(np.float32)
        return WallPaint(np.full((len(x), 3), 150, np.float32), normal)

    scene = make_scene(
        rgb, gsd_m=1.0, top_m=200, surface=surface, ids=ids, facade=plain, sun=Sun(180, 30)
    )
    from_south = Camera(
        x=100, y=70, z=3, heading_deg=0, pitch_deg=0, fov_deg=30, width=60, height=40
    )
    from_north = replace(from_south, y=130, heading_deg=180)
    sunny, shady = (render(scene, v).image[20, 30] for v in (from_south, from_north))
    assert sunny.mean() > shady.mean() + 30
