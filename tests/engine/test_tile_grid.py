"""Tiles cover the imagery, overlap as asked, and lie on whole pixels."""

from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.engine.tile_grid import MAX_OVERLAP, tile_grid
from app.errors import UserError

LENGTH = st.floats(1, 3000)


def boxes(grid):
    """(left, right, bottom, top) of each tile in metres."""
    half_w, half_h = grid.size[1] * grid.pixel_w / 2, grid.size[0] * grid.pixel_h / 2
    for row in range(len(grid.tops)):
        for col in range(len(grid.lefts)):
            x, y = grid.centre(row, col)
            yield x - half_w, x + half_w, y - half_h, y + half_h


def spans(starts, tile):
    return [(start, start + tile) for start in starts]


@given(
    LENGTH, LENGTH, st.floats(20, 200), st.floats(0, 0.8), st.integers(16, 64), st.integers(16, 64)
)
def test_every_point_lies_in_a_tile_and_neighbours_overlap(
    width, height, tile_size_m, overlap, rows, columns
):
    assume(width / tile_size_m * height / tile_size_m < 200)
    grid = tile_grid(
        (500.0, 900.0, 500 + width, 900 + height),
        tile_size_m=tile_size_m,
        overlap=overlap,
        size=(rows, columns),
    )
    for starts, tile, pixel, low, length in (
        (grid.lefts, columns, grid.pixel_w, grid.left - 500, width),
        (grid.tops, rows, grid.pixel_h, 900 + height - grid.top, height),
    ):
        slack = 1e-5 * tile_size_m
        assert low + starts[0] * pixel <= slack  # from the border on
        assert low + (starts[-1] + tile) * pixel >= length - slack  # to the other
        least = overlap * tile - 1e-3
        for a, b in pairwise(starts):
            assert a < b
            assert a + tile - b >= least
        if length >= tile_size_m:  # moved back inside: leaves it by less than a pixel
            assert low + starts[0] * pixel > -pixel
            assert low + (starts[-1] + tile) * pixel < length + pixel


def test_a_half_overlap_of_an_even_size_is_exact():
    grid = tile_grid((0, 0, 1000, 1000), tile_size_m=100, overlap=0.5, size=(192, 192))
    assert len(grid.lefts) == len(grid.tops) == 19
    assert {b - a for a, b in pairwise(grid.lefts)} == {96}
    assert next(boxes(grid)) == pytest.approx((0, 100, 900, 1000))
    assert list(boxes(grid))[-1] == pytest.approx((900, 1000, 0, 100))


def test_a_small_area_gets_one_tile_in_its_middle():
    grid = tile_grid((0, 0, 10, 20), tile_size_m=100, overlap=0.5, size=(64, 64))
    assert len(grid) == 1
    assert grid.centre(0, 0) == pytest.approx((5, 10))


@given(st.integers(1, 5000), st.integers(64, 900))
def test_column_runs_hold_each_column_once_and_are_narrow(width, limit):
    grid = tile_grid((0, 0, width, 50), tile_size_m=50, overlap=0.5, size=(64, 64))
    runs = list(grid.column_runs(limit))
    assert [c for run in runs for c in run] == list(range(len(grid.lefts)))
    assert all(grid.lefts[r[-1]] + 64 - grid.lefts[r[0]] <= limit for r in runs)


@pytest.mark.parametrize(
    ("tile_size_m", "overlap"),
    [(0, 0.5), (-5, 0.5), (float("nan"), 0.5), (80, 1.0), (80, -0.1), (80, MAX_OVERLAP + 0.01)],
)
def test_a_size_or_overlap_that_cannot_be_is_refused(tile_size_m, overlap):
    with pytest.raises(UserError):
        tile_grid((0, 0, 100, 100), tile_size_m=tile_size_m, overlap=overlap, size=(64, 64))


def test_too_many_tiles_are_refused_before_the_work_starts():
    with pytest.raises(UserError, match="tiles, more than"):
        tile_grid((0, 0, 1e6, 1e6), tile_size_m=50, overlap=0.9, size=(64, 64))
