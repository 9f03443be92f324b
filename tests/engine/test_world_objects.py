"""Clicked objects of the demo world: the ray of the click hits them, the box holds them."""

from functools import cache

import numpy as np
import pytest

from app.engine import world_objects
from app.engine.cameras import Camera
from app.engine.datasets.clicks import read_click_pairs
from app.engine.views import satellite
from app.engine.world import World, make_world
from app.engine.world_objects import LEAST_BOX_PX, Clicked, render_object, write_object_pairs
from app.errors import JobCancelled, UserError

SIZE_M = 320.0


@cache
def town(seed: int = 5, difficulty: float = 0.0) -> World:
    return make_world(seed, size_m=SIZE_M, gsd_m=0.6, difficulty=difficulty, photo_days=1)


@cache
def some(view: str, count: int = 5) -> tuple[Clicked, ...]:
    rng = np.random.default_rng(3)
    return tuple(render_object(town(), rng, view) for _ in range(count))


@pytest.fixture
def quick_cities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_objects, "make_world", lambda seed, **_: town(seed))


def test_the_ray_of_the_clicked_pixel_hits_the_object():
    for clicked in some("drone") + some("street"):
        x, y = clicked.click
        assert clicked.photo.shot.ids[int(y), int(x)] == clicked.thing.id
        ground = clicked.photo.shot.ground[int(y), int(x)]
        west, south, east, north = clicked.thing.box_m
        assert west - 1 <= ground[0] <= east + 1
        assert south - 1 <= ground[1] <= north + 1


def test_the_click_lies_well_inside_of_what_is_seen_and_off_the_edge_of_a_drone_photo():
    for clicked in some("drone"):
        x, y = (int(v) for v in clicked.click)
        around = clicked.photo.shot.ids[y - 2 : y + 3, x - 2 : x + 3]
        assert around.shape == (5, 5)
        assert (around == clicked.thing.id).mean() > 0.6


def test_the_box_is_where_the_object_lies_on_the_ground():
    """At difficulty 0 the satellite neither leans nor is it off: the city's map is the truth."""
    city = town().city
    for clicked in some("drone") + some("street"):
        ids = city.ids if clicked.thing.kind == "tree" else city.bare_ids
        rows, cols = np.nonzero(ids == clicked.thing.id)
        gsd = clicked.tile_size_m / len(clicked.tile)
        left, top, right, bottom = clicked.box
        width_m, height_m = (float(np.ptp(v) + 1) * city.gsd_m for v in (cols, rows))
        assert (right - left) * gsd == pytest.approx(width_m, abs=2 * gsd)
        assert (bottom - top) * gsd == pytest.approx(height_m, abs=2 * gsd)
        assert min(right - left, bottom - top) >= LEAST_BOX_PX
        assert 0 < left < right < len(clicked.tile)
        assert 0 < top < bottom < len(clicked.tile)


def test_a_leaning_tower_is_boxed_where_the_picture_shows_it():
    world = town(5, 1.0)
    rng = np.random.default_rng(1)
    for _ in range(3):
        clicked = render_object(world, rng, "drone")
        left, top, right, bottom = (int(v) for v in clicked.box)
        # Nothing of the object is missing from the box by more than the lean and the offset.
        gsd = clicked.tile_size_m / len(clicked.tile)
        west, south, east, north = clicked.thing.box_m
        reach = 3 + clicked.thing.height_m * 0.25
        assert (right - left) * gsd <= east - west + 2 * reach
        assert (bottom - top) * gsd <= north - south + 2 * reach


def test_objects_are_of_several_kinds_and_anywhere_in_their_tiles():
    clicks = some("drone") + some("street")
    assert len({clicked.thing.kind for clicked in clicks}) >= 3
    middles = np.array([(c.box[0] + c.box[2], c.box[1] + c.box[3]) for c in clicks]) / 2
    assert middles.std(axis=0).min() > 0.1 * len(clicks[0].tile)


def test_a_crown_in_a_clump_is_no_object_to_click():
    world = town()
    trees = [t for t in world.city.objects if t.kind == "tree"]
    scene = world.imagery.scene
    refused = 0
    for tree in trees[:60]:
        x, y = tree.outline.mean(axis=0)
        shot = satellite(scene, x=float(x), y=float(y), size_m=60, size_px=150)
        mask = shot.ids == tree.id
        seen = world_objects.Seen(shot, shot)
        box = seen.box_of(tree)
        if box is None:
            refused += 1
            continue
        left, top, right, bottom = box
        ring = shot.ids[max(0, top - 2) : bottom + 2, max(0, left - 2) : right + 2]
        assert ((ring > 0) & (ring != tree.id)).mean() < 0.5
        assert mask.sum() > 0.6 * (right - left) * (bottom - top)
    assert 0 < refused < 60


def test_the_same_seed_writes_the_same_folder_and_it_is_read_back(tmp_path, quick_cities):
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_object_pairs(folder, view="drone", seeds=[5], objects_per_world=2)
    a, b = ((tmp_path / n / "objects.csv").read_bytes() for n in "ab")
    assert a == b
    pairs = read_click_pairs(tmp_path / "a", "train")
    assert len(pairs) == 2
    assert (
        pairs[0].query.read_bytes() == (tmp_path / "b" / "query" / pairs[0].query.name).read_bytes()
    )
    assert pairs[0].gsd_m == pytest.approx(100 / 256)
    assert pairs[0].position is not None
    assert pairs[0].position.metres_to(town().latlon(SIZE_M / 2, SIZE_M / 2)) < SIZE_M
    assert len({pair.place for pair in pairs}) == 2


def test_a_world_that_is_there_is_kept_and_a_cancelled_one_is_not_listed(tmp_path, quick_cities):
    write_object_pairs(tmp_path, view="drone", seeds=[5], objects_per_world=2)
    before = (tmp_path / "objects.csv").read_bytes()

    def stop(step) -> None:
        if "world 6" in step.note:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        write_object_pairs(
            tmp_path, view="drone", seeds=[5, 6], objects_per_world=2, split="val", report=stop
        )
    assert (tmp_path / "objects.csv").read_bytes() == before
    done = write_object_pairs(
        tmp_path, view="drone", seeds=[5, 6], objects_per_world=2, split="val"
    )
    assert done == 2
    assert len(read_click_pairs(tmp_path, "val")) == 2


def test_a_world_without_objects_says_so(monkeypatch):
    monkeypatch.setattr(world_objects, "TRIES", 2)
    monkeypatch.setattr(world_objects, "LEAST_THICK_PX", 500.0)
    with pytest.raises(UserError, match="shows no object"):
        render_object(town(), np.random.default_rng(0), "drone")


def test_what_a_drone_photo_cuts_off_is_not_clicked():
    for clicked in some("drone"):
        assert isinstance(clicked.photo.view, Camera)
        rows, cols = clicked.photo.shot.ids.shape
        x, y = clicked.click
        assert world_objects.EDGE_PX < x < cols - world_objects.EDGE_PX
        assert world_objects.EDGE_PX < y < rows - world_objects.EDGE_PX
