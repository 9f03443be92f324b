"""The polar transform and its inverse: directions, distances, and that they undo each other."""

import math

import numpy as np
import pytest
import torch

from app.engine.framing import frame_query
from app.models.polar import Polar, inverse_polar, polar, turned

STREET, SIDE = (64, 256), 96
DEFAULT = Polar(street=STREET, side=SIDE)
N, E, S, W = 0.2, 0.4, 0.6, 0.8


def compass_panorama(north_at: float) -> torch.Tensor:
    """Four sectors of one brightness each, centred on the cardinal directions."""
    height, width = STREET
    sector = torch.arange(width) / width - north_at  # from north, clockwise, in turns
    brightness = torch.tensor([N, E, S, W])[(sector * 4).round().long() % 4]
    return brightness.expand(1, 3, height, width).clone()


def compass_tile(side: int = SIDE) -> torch.Tensor:
    """The same from above, north up."""
    y, x = torch.meshgrid(*[torch.arange(side) + 0.5 - side / 2] * 2, indexing="ij")
    tile = torch.where(x.abs() > y.abs(), torch.where(x > 0, E, W), torch.where(y > 0, S, N))
    return tile.expand(1, 3, side, side).clone()


def smooth_tile(side: int) -> torch.Tensor:
    """No symmetry, and slow enough for bilinear sampling twice over."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, side)] * 2, indexing="ij")
    return torch.stack((0.5 + 0.4 * x, 0.5 + 0.3 * y, 0.5 + 0.4 * torch.sin(2 * x + y)))[None]


def tops(view: torch.Tensor) -> list[float]:
    """Brightness towards the top, the right, the bottom and the left, half-way to the edge."""
    near, middle, far = SIDE // 4, SIDE // 2, 3 * SIDE // 4
    spots = ((near, middle), (middle, far), (far, middle), (middle, near))
    return [round(float(view[0, 0, row, column]), 3) for row, column in spots]


def centre_row(panorama: torch.Tensor) -> list[float]:
    """Brightness of columns 0, W/4, W/2 and 3W/4."""
    row = panorama[0, 0, panorama.shape[2] // 2]
    return [round(float(row[i * len(row) // 4]), 3) for i in range(4)]


# --- directions


def test_a_panorama_whose_centre_faces_north_is_seen_from_above_with_north_up():
    assert tops(inverse_polar(compass_panorama(0.5), DEFAULT.street_points())) == [N, E, S, W]


@pytest.mark.parametrize("heading_deg", [0, 90, 180, 270])
def test_a_panorama_brought_to_north_is_seen_with_north_up_whatever_it_faced(heading_deg):
    # The centre column faces the heading, so that north lies left of it by as much.
    taken = compass_panorama(0.5 - heading_deg / 360)
    photo = (taken[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    framed = frame_query(photo, kind="panorama", size=STREET, heading_deg=heading_deg)
    images = torch.from_numpy(framed.copy()).permute(2, 0, 1)[None].float() / 255
    assert tops(inverse_polar(images, DEFAULT.street_points())) == pytest.approx(
        [N, E, S, W], abs=0.01
    )


def test_the_equation_as_printed_takes_three_quarters_of_the_width_for_north():
    printed = Polar(street=STREET, side=SIDE, azimuth="printed")
    points = printed.street_points()
    assert tops(inverse_polar(compass_panorama(0.75), points)) == [N, E, S, W]
    assert tops(inverse_polar(compass_panorama(0.5), points)) == [E, S, W, N]


@pytest.mark.parametrize("reach", ["corner", "edge"])
def test_a_tile_becomes_a_panorama_with_south_west_north_east_from_its_left_edge(reach):
    geometry = Polar(street=STREET, side=SIDE, reach=reach)
    assert centre_row(polar(compass_tile(), geometry)) == [S, W, N, E]


def test_the_edge_reach_is_safas_polar_transform():
    height, width, side = 16, 64, 40
    x, y = Polar(street=(height, width), side=side, reach="edge").aerial_points().unbind(-1)
    for i in range(height):
        for j in range(width):
            # Its code has whole pixels; ours lie half a pixel further in both.
            radius = side / 2 * (height - 0.5 - i) / height
            angle = 2 * math.pi * (j + 0.5) / width
            assert float(y[i, j]) == pytest.approx(side / 2 + radius * math.cos(angle), abs=1e-4)
            assert float(x[i, j]) == pytest.approx(side / 2 - radius * math.sin(angle), abs=1e-4)


# --- distances


def at(x: float, y: float, geometry: Polar = DEFAULT) -> tuple[float, float]:
    column, row = geometry.to_street(torch.tensor([x]).double(), torch.tensor([y]).double())
    return float(column), float(row)


def test_depth_is_0_at_the_centre_the_height_in_the_corner_and_its_71_percent_mid_edge():
    height, middle = STREET[0], SIDE / 2
    depth = {point: height - at(*point)[1] for point in ((middle, middle), (middle, 0), (0, 0))}
    assert list(depth.values()) == pytest.approx([0, height / math.sqrt(2), height])
    for x, y in ((0, middle), (SIDE, middle), (middle, SIDE)):
        assert height - at(x, y)[1] == pytest.approx(height / math.sqrt(2))
    for x, y in ((SIDE, 0), (0, SIDE), (SIDE, SIDE)):
        assert at(x, y)[1] == pytest.approx(0)
    printed = Polar(street=STREET, side=SIDE, vertical="printed")
    assert at(middle, middle, printed)[1] == 0
    assert at(0, 0, printed)[1] == pytest.approx(height)
    assert at(middle, 0, Polar(street=STREET, side=SIDE, reach="edge"))[1] == pytest.approx(0)


def test_the_columns_are_the_printed_equations_less_a_quarter():
    width = STREET[1]
    for x, y in ((3.0, 5.0), (90.0, 7.0), (60.0, 80.0), (20.0, 95.0)):
        angle = math.atan2(y - SIDE / 2, x - SIDE / 2)
        printed = width / (2 * math.pi) * angle % width
        assert at(x, y, Polar(street=STREET, side=SIDE, azimuth="printed"))[0] == pytest.approx(
            printed
        )
        assert at(x, y)[0] == pytest.approx((printed - width / 4) % width)


@pytest.mark.parametrize(("vertical", "ground_in_centre"), [("bottom", True), ("printed", False)])
def test_the_ground_lies_in_the_centre_and_the_sky_around_it(vertical, ground_in_centre):
    panorama = torch.zeros(1, 3, *STREET)
    panorama[:, :, STREET[0] // 2 :] = 1  # the lower half
    geometry = Polar(street=STREET, side=SIDE, vertical=vertical)
    view = inverse_polar(panorama, geometry.street_points())[0, 0]
    assert (view[SIDE // 2, SIDE // 2] == 1) == ground_in_centre
    assert (view[0, 0] == 0) == ground_in_centre


# --- there and back


@pytest.mark.parametrize("reach", ["corner", "edge"])
@pytest.mark.parametrize("vertical", ["bottom", "printed"])
@pytest.mark.parametrize("azimuth", ["centre", "printed"])
def test_each_way_undoes_the_other(reach, vertical, azimuth):
    geometry = Polar(street=STREET, side=SIDE, reach=reach, vertical=vertical, azimuth=azimuth)
    x, y = (torch.rand(2, 200, dtype=torch.float64) * SIDE).unbind()
    back = geometry.to_aerial(*geometry.to_street(x, y))
    torch.testing.assert_close(back, (x, y))


def in_disc(view: torch.Tensor) -> torch.Tensor:
    side = view.shape[-1]
    y, x = torch.meshgrid(*[torch.arange(side) + 0.5 - side / 2] * 2, indexing="ij")
    return view[..., torch.hypot(x, y) < 0.48 * side]


@pytest.mark.parametrize("reach", ["corner", "edge"])
def test_the_inverse_after_the_transform_returns_the_disc(reach):
    tile = smooth_tile(SIDE)
    geometry = Polar(street=STREET, side=SIDE, reach=reach)
    back = inverse_polar(polar(tile, geometry), geometry.street_points())
    torch.testing.assert_close(in_disc(back), in_disc(tile), atol=0.02, rtol=0)
    assert in_disc(tile).std() > 0.1


def test_msaes_inverse_after_safas_transform_returns_the_disc_magnified():
    tile = smooth_tile(SIDE)
    street = polar(tile, Polar(street=STREET, side=SIDE, reach="edge"))
    back = inverse_polar(street, DEFAULT.street_points())
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 2, indexing="ij")
    grid = torch.stack((x, y), dim=-1)[None] / math.sqrt(2)
    want = torch.nn.functional.grid_sample(tile, grid, align_corners=True)
    torch.testing.assert_close(back, want, atol=0.03, rtol=0)


# --- sampling


def test_the_seam_is_between_the_last_and_the_first_column():
    panorama = torch.zeros(1, 1, 2, 8)
    panorama[..., 0], panorama[..., 7] = 0.4, 0.8
    columns = torch.tensor([0.0, 0.25, 0.5, 7.5, 7.75, 8.0])
    points = torch.stack((columns, torch.ones(6)), dim=-1).expand(6, 6, 2)
    values = inverse_polar(panorama, points)[0, 0, 0]
    torch.testing.assert_close(values, torch.tensor([0.6, 0.5, 0.4, 0.8, 0.7, 0.6]))


def test_points_above_the_top_row_repeat_it():
    panorama = torch.rand(1, 3, *STREET)
    panorama[:, :, 0] = 0.5
    view = inverse_polar(panorama, Polar(street=STREET, side=SIDE, reach="edge").street_points())
    torch.testing.assert_close(view[0, :, 0, 0], torch.full((3,), 0.5))


def test_a_turn_of_the_view_is_a_roll_of_the_panorama_and_goes_clockwise():
    panorama, points = torch.rand(2, 3, *STREET), DEFAULT.street_points()
    both = inverse_polar(panorama, points, turn_deg=torch.tensor([90.0, -45.0]))
    for one, roll in ((0, STREET[1] // 4), (1, -STREET[1] // 8)):
        rolled = inverse_polar(panorama[one : one + 1].roll(roll, dims=3), points)
        torch.testing.assert_close(both[one : one + 1], rolled, atol=1e-4, rtol=0)
    view = inverse_polar(compass_panorama(0.5), points, turn_deg=torch.tensor([90.0]))
    assert tops(view) == [W, N, E, S]


def test_a_satellite_picture_turns_clockwise_as_the_view_does():
    tiles = torch.rand(3, 3, SIDE, SIDE)
    quarters = turned(tiles, torch.tensor([0.0, 90.0, -180.0]))
    want = torch.stack(
        [torch.rot90(t, -k, dims=(1, 2)) for t, k in zip(tiles, (0, 1, 2), strict=True)]
    )
    torch.testing.assert_close(quarters, want, atol=1e-4, rtol=0)
    # What comes into a corner is mirrored, not black.
    assert turned(torch.ones(1, 3, SIDE, SIDE), torch.tensor([45.0])).min() > 0.99


def test_what_the_square_does_not_show_is_marked():
    geometry = Polar(street=STREET, side=SIDE)
    ones = torch.ones(1, 1, 10, 10)  # a coarser map than the geometry's side
    panorama = polar(ones, geometry, outside=-1.0)[0, 0]
    north, north_east = STREET[1] // 2, STREET[1] * 5 // 8
    # Northwards the square ends at 71 % of the height, diagonally at the whole of it.
    seen = [int((panorama[:, column] > 0.99).sum()) for column in (north, north_east)]
    assert seen[0] == pytest.approx(STREET[0] / math.sqrt(2), abs=1)
    assert seen[1] >= STREET[0] - 2
    assert ((panorama == -1) | (panorama > 0.99)).all()
    assert (polar(ones, geometry) > 0.99).all()
