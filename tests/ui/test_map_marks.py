import math

import pytest

from app.geo import LatLon
from app.messages import Claim
from app.ui.map_marks import (
    Ground,
    best_view,
    candidate_lines,
    claim_lines,
    heading_wedge,
    ink_on,
    length_text,
    rank_colour,
)
from tests.ui.map_scene import AREA, CLAIM, MIDDLE, candidate, candidates


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_lightness_alone_tells_the_order_of_ranks():
    lights = [luminance(rank_colour(rank, 20)) for rank in range(2, 21)]
    assert lights == sorted(lights)
    assert len(set(lights)) == 19


def test_the_ramp_does_not_thin_out_over_hundreds_of_candidates():
    assert rank_colour(10, 500) == rank_colour(10, 20)
    assert rank_colour(400, 500) == rank_colour(20, 20)


@pytest.mark.parametrize("count", [1, 2, 3, 20, 400])
def test_every_rank_has_a_colour_and_a_number_that_can_be_read_on_it(count):
    for rank in range(1, count + 1):
        colour = rank_colour(rank, count)
        high, low = sorted((luminance(colour), luminance(ink_on(colour))), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_the_wedge_opens_towards_the_heading():
    found = candidate(1, MIDDLE, heading_deg=60.0)
    apex, *arc = heading_wedge(found)
    assert apex == MIDDLE
    bearings = [MIDDLE.bearing_to(place) for place in arc]
    assert bearings[0] == pytest.approx(38.0, abs=0.5)
    assert bearings[-1] == pytest.approx(82.0, abs=0.5)
    assert sum(bearings) / len(bearings) == pytest.approx(60.0, abs=0.5)


def test_no_wedge_without_a_heading():
    assert heading_wedge(candidate(1, MIDDLE, heading_deg=math.nan)) == ()


def test_the_view_holds_all_candidates_and_a_claim_that_is_near():
    view = best_view(Ground(area=AREA), candidates(8), CLAIM)
    assert all(view.contains(c.position) for c in candidates(8))
    assert view.contains(CLAIM.position)


def test_a_claim_far_away_is_left_out_of_the_view():
    shown = candidates(8)
    far = Claim(LatLon(MIDDLE.lat, MIDDLE.lon + 1), "EXIF GPS")
    assert best_view(Ground(), shown, far) == best_view(Ground(), shown, None)


def test_without_candidates_the_view_is_the_gallerys():
    assert best_view(Ground(area=AREA), (), None) == AREA
    assert best_view(Ground(), (), None) is None


@pytest.mark.parametrize(
    ("metres", "text"),
    [
        (0.4, "0 m"),
        (85.2, "85 m"),
        (1234, "1.2 km"),
        (340_400, "340 km"),
        (15_000_000, "15,000 km"),
    ],
)
def test_lengths_are_short(metres, text):
    assert length_text(metres) == text


def test_words_of_a_pin_say_rank_tile_score_and_place():
    lines = " ".join(candidate_lines(candidate(3, MIDDLE, tile="r001c002")))
    for word in ("3", "r001c002", "0.970", "16.7%", str(MIDDLE)):
        assert word in lines


def test_words_of_a_claim_say_where_it_comes_from_and_how_far_it_is():
    lines = " ".join(claim_lines(CLAIM, candidates(4)))
    away = CLAIM.position.metres_to(candidates(4)[0].position)
    for word in ("EXIF GPS", "2024:05:01 10:00:00", f"{away:.0f} m from rank 1"):
        assert word in lines
