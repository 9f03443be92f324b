import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.geo import EARTH_RADIUS_M, Area, LatLon

PLACES = st.builds(
    LatLon,
    lat=st.floats(-90, 90, allow_nan=False),
    lon=st.floats(-180, 180, allow_nan=False),
)
PARIS, LONDON = LatLon(48.8566, 2.3522), LatLon(51.5074, -0.1278)


def test_paris_to_london_is_the_known_distance():
    assert PARIS.metres_to(LONDON) == pytest.approx(343_560, rel=0.005)


def test_a_degree_along_the_equator_is_a_360th_of_the_way_round():
    degree = 2 * math.pi * EARTH_RADIUS_M / 360
    assert LatLon(0, 10).metres_to(LatLon(0, 11)) == pytest.approx(degree)


def test_a_degree_of_longitude_shrinks_with_the_cosine_of_latitude():
    narrow = LatLon(60, 10).metres_to(LatLon(60, 10.001))
    assert narrow == pytest.approx(LatLon(0, 10).metres_to(LatLon(0, 10.001)) / 2, rel=1e-4)


@given(PLACES, PLACES)
def test_distance_is_the_same_both_ways(a: LatLon, b: LatLon):
    assert a.metres_to(b) == pytest.approx(b.metres_to(a), abs=1e-6)


@given(PLACES, PLACES, PLACES)
def test_a_detour_is_never_shorter(a: LatLon, b: LatLon, c: LatLon):
    assert a.metres_to(c) <= a.metres_to(b) + b.metres_to(c) + 1e-3


@given(PLACES)
def test_no_place_is_away_from_itself(a: LatLon):
    assert a.metres_to(a) == 0


@given(PLACES, PLACES)
def test_nothing_is_further_than_half_the_way_round(a: LatLon, b: LatLon):
    assert 0 <= a.metres_to(b) <= math.pi * EARTH_RADIUS_M + 1e-6


def test_distance_is_short_across_the_date_line():
    assert LatLon(0, 179.9).metres_to(LatLon(0, -179.9)) == pytest.approx(22_239, rel=0.001)


@pytest.mark.parametrize(
    ("target", "bearing"),
    [
        (LatLon(49, 2), 0),
        (LatLon(47, 2), 180),
        (LatLon(48, 2.01), 90),
        (LatLon(48, 1.99), 270),
    ],
)
def test_bearings_are_compass_degrees_clockwise_from_north(target: LatLon, bearing: float):
    got = LatLon(48, 2).bearing_to(target)
    assert math.cos(math.radians(got - bearing)) == pytest.approx(1, abs=1e-6)


@given(PLACES, PLACES)
def test_a_bearing_lies_within_the_circle(a: LatLon, b: LatLon):
    assert 0 <= a.bearing_to(b) <= 360


@given(
    st.floats(-80, 80),
    st.floats(-179, 179),
    st.floats(-0.005, 0.005),
    st.floats(-0.005, 0.005),
)
def test_over_short_ways_the_way_back_is_opposite(lat: float, lon: float, up: float, east: float):
    a, b = LatLon(lat, lon), LatLon(lat + up, lon + east)
    assume(a.metres_to(b) > 1)
    turn = math.radians(b.bearing_to(a) - a.bearing_to(b))
    assert math.cos(turn) == pytest.approx(-1, abs=1e-4)


@pytest.mark.parametrize(
    ("lat", "lon"), [(91, 0), (-90.1, 0), (0, 180.5), (0, -181), (math.nan, 0), (0, math.inf)]
)
def test_a_place_that_is_not_on_earth_fails_where_it_is_made(lat: float, lon: float):
    with pytest.raises(ValueError, match="not a position on Earth"):
        LatLon(lat, lon)


def test_swapped_corners_fail_where_the_area_is_made():
    with pytest.raises(ValueError, match="swapped"):
        Area(south=49, west=2, north=48, east=3)
    with pytest.raises(ValueError, match="swapped"):
        Area(south=48, west=3, north=49, east=2)


def test_an_area_holds_its_centre_and_its_edge_but_not_its_neighbour():
    area = Area(south=48, west=2, north=49, east=4)
    assert area.centre == LatLon(48.5, 3)
    assert area.contains(area.centre)
    assert area.contains(LatLon(48, 2))
    assert not area.contains(LatLon(48.5, 4.0001))
    assert not area.contains(LatLon(47.9999, 3))


def test_a_place_reads_as_latitude_then_longitude():
    assert str(LatLon(48.8566, -2.3522)) == "48.856600, -2.352200"
