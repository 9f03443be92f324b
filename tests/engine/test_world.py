"""The demo world: one seed one city, days that differ, files that lie where they should."""

import csv
import json
from functools import cache

import numpy as np
import pytest
import rasterio
from PIL import Image
from pyproj import Transformer

from app.engine import world as world_module
from app.engine.appearance import expose, random_sensor
from app.engine.city_plan import make_plan
from app.engine.city_raster import draw_city
from app.engine.datasets.pairs import read_pairs
from app.engine.utm import latlon_to_utm, utm_to_latlon
from app.engine.views import satellite
from app.engine.world import World, fly, make_world, render_pair, stand, write_pairs
from app.engine.world_files import write_world
from app.errors import JobCancelled, UserError
from app.geo import LatLon

SIZE_M = 320.0
GSD_M = 0.8


def small(seed: int = 5, difficulty: float = 0.5) -> World:
    return make_world(seed, size_m=SIZE_M, gsd_m=GSD_M, difficulty=difficulty, photo_days=1)


@pytest.fixture(scope="module")
def town() -> World:
    return made(5)


@pytest.fixture
def quick_cities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each city is made once for all tests that write pairs."""
    monkeypatch.setattr(world_module, "make_world", city_made_once)


@cache
def made(seed: int) -> World:
    return small(seed)


def city_made_once(seed: int, **_: object) -> World:
    return made(seed)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a world")
    world = write_world(
        folder, seed=5, size_m=SIZE_M, gsd_m=GSD_M, drone_photos=4, panoramas=2, perspectives=1,
        with_claims=True,
    )  # fmt: skip
    return folder, world


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(town: World) -> None:
    again, other = small(), made(6)
    assert np.array_equal(again.imagery.scene.rgb[0], town.imagery.scene.rgb[0])
    assert np.array_equal(again.city.ids, town.city.ids)
    pairs = [render_pair(w, np.random.default_rng(1), "drone") for w in (town, again, other)]
    assert np.array_equal(pairs[0].photo.image, pairs[1].photo.image)
    assert np.array_equal(pairs[0].tile, pairs[1].tile)
    assert not np.array_equal(pairs[0].tile, pairs[2].tile)


def test_every_object_has_its_number_and_lies_where_its_outline_says(town: World) -> None:
    numbers = np.unique(town.city.bare_ids)
    assert [o.id for o in town.city.objects] == list(range(1, len(town.city.objects) + 1))
    for number in numbers[numbers > 0]:
        rows, cols = np.nonzero(town.city.bare_ids == number)
        west, south, east, north = town.city.objects[number - 1].box_m
        assert west - GSD_M <= cols.min() * GSD_M
        assert (cols.max() + 1) * GSD_M <= east + 2 * GSD_M
        assert SIZE_M - (rows.max() + 1) * GSD_M >= south - 2 * GSD_M
        assert SIZE_M - rows.min() * GSD_M <= north + 2 * GSD_M


def test_a_city_has_houses_trees_streets_and_heights_of_a_city() -> None:
    kinds: set[str] = set()
    for seed in range(3):
        city = draw_city(make_plan(seed, 400), seed, 1.0)
        kinds |= {o.kind for o in city.objects}
        assert 8 < city.bare.max() < 60
        assert 0.05 < (city.cover == 5).mean() < 0.4  # roads
        assert city.canopy.max() < 40
    assert {"house", "house row", "hall", "tree", "car park"} <= kinds


def test_two_days_differ_in_light_but_not_in_place(town: World) -> None:
    one, two = town.imagery.scene, town.photos[0].scene
    shots = [satellite(s, x=160, y=160, size_m=200, size_px=128) for s in (one, two)]
    difference = np.abs(shots[0].image.astype(int) - shots[1].image.astype(int)).mean()
    assert difference > 4
    assert np.array_equal(shots[0].ids, shots[1].ids)
    assert town.imagery.date.sun != town.photos[0].date.sun


def correlation(difficulty: float) -> float:
    """Of the satellite's picture and the same square on a photo's day."""
    world, rng = small(8, difficulty), np.random.default_rng(2)
    greys = []
    for day in (world.imagery, world.photos[0]):
        shot = satellite(day.scene, x=160, y=160, size_m=240, size_px=160)
        image = expose(shot.image, random_sensor(rng, difficulty), rng)
        greys.append(image.astype(float).mean(axis=-1).ravel())
    return float(np.corrcoef(greys)[0, 1])


def test_difficulty_makes_photo_and_satellite_less_alike() -> None:
    easy, hard = correlation(0.0), correlation(1.0)
    assert easy > 0.85
    assert hard < easy - 0.1


def test_a_drone_photo_shows_the_place_that_it_claims(town: World) -> None:
    for seed in range(3):
        photo = fly(town, np.random.default_rng(seed), footprint_m=90)
        middle = photo.shot.ground[160, 160]
        assert (photo.x, photo.y) == (pytest.approx(middle[0]), pytest.approx(middle[1]))
        across = photo.shot.ground[160, -1] - photo.shot.ground[160, 0]
        assert np.hypot(across[0], across[1]) == pytest.approx(90, rel=0.3)


def test_a_street_photo_stands_on_a_street_in_the_open(town: World) -> None:
    photo = stand(town, np.random.default_rng(3), size=(64, 128))
    row, col = int((SIZE_M - photo.y) / GSD_M), int(photo.x / GSD_M)
    assert town.city.cover[row, col] == 5
    assert town.photos[0].scene.surface[row, col] < 0.3
    assert photo.shot.depth_m[-1].min() > 1.2  # nothing but the ground beneath


def test_the_photo_lies_in_the_middle_part_of_its_tile(town: World) -> None:
    for view in ("drone", "street"):
        pair = render_pair(town, np.random.default_rng(4), view)
        assert abs(pair.photo.x - pair.tile_x) <= pair.tile_size_m / 4
        assert abs(pair.photo.y - pair.tile_y) <= pair.tile_size_m / 4


def test_pairs_of_several_worlds_join_in_one_folder(tmp_path, quick_cities) -> None:
    sizes = {"size_m": SIZE_M, "gsd_m": GSD_M, "satellite_px": 96, "drone_px": 96}
    write_pairs(tmp_path, view="drone", seeds=(5,), pairs_per_world=3, **sizes)
    write_pairs(tmp_path, view="drone", seeds=(5, 6), pairs_per_world=2, split="val", **sizes)
    train, val = read_pairs(tmp_path, "train"), read_pairs(tmp_path, "val")
    assert (len(train), len(val)) == (3, 2)  # the city that was there already stayed as it was
    assert len({p.place for p in (*train, *val)}) == 5
    with Image.open(train[0].satellite) as tile:
        assert tile.size == (96, 96)


def test_pairs_stop_when_told_to_and_keep_no_half_table(tmp_path, quick_cities) -> None:
    def stop(progress) -> None:
        if progress.done == 1:  # the first pair is there
            raise JobCancelled

    with pytest.raises(JobCancelled):
        write_pairs(
            tmp_path, view="drone", seeds=(5,), pairs_per_world=3, size_m=SIZE_M, gsd_m=GSD_M,
            report=stop,
        )  # fmt: skip
    assert not (tmp_path / "pairs.csv").exists()


def test_the_ortho_lies_in_its_utm_zone_where_the_world_says(written) -> None:
    folder, world = written
    with rasterio.open(folder / "ortho.tif") as raster:
        assert raster.crs.to_epsg() == world.epsg
        assert raster.bounds.left == world.east_m
        assert raster.bounds.top == world.north_m + SIZE_M
        assert raster.res == (GSD_M, GSD_M)
        assert raster.count == 3
        ortho = raster.read().mean(axis=0)
    truth = world.imagery.scene.rgb[0].mean(axis=-1)
    assert np.corrcoef(ortho.ravel(), truth.ravel())[0, 1] > 0.9
    with rasterio.open(folder / "objects.tif") as raster:
        assert np.array_equal(raster.read(1), world.city.ids)
    with rasterio.open(folder / "surface.tif") as raster:
        assert np.abs(raster.read(1) - np.maximum(world.city.bare, world.city.canopy)).max() < 0.01


def test_truth_and_boxes_name_every_photo(written) -> None:
    folder, world = written
    for view, count in (("drone", 4), ("street", 3)):
        with (folder / view / "truth.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        assert [r["claim"] for r in rows[:4]] == ["none", "true", "none", "false"][:count]
        with (folder / view / "boxes.csv").open(encoding="utf-8") as file:
            boxes = list(csv.DictReader(file))
        assert {b["file"] for b in boxes} <= {r["file"] for r in rows}
        assert boxes
        for row in rows:
            east, north = latlon_to_utm(world.epsg, LatLon(float(row["lat"]), float(row["lon"])))
            assert 0 < east - world.east_m < SIZE_M
            assert 0 < north - world.north_m < SIZE_M


def test_only_a_photo_that_claims_a_place_carries_one(written) -> None:
    folder, _ = written
    with (folder / "drone" / "truth.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            with Image.open(folder / "drone" / row["file"]) as photo:
                exif = photo.getexif()
                gps = exif.get_ifd(0x8825)
                assert exif[306] == row["taken"]
            assert bool(gps) == (row["claim"] != "none")
            if not gps:
                continue
            lat = sum(float(v) / 60**i for i, v in enumerate(gps[2])) * (1 if gps[1] == "N" else -1)
            lon = sum(float(v) / 60**i for i, v in enumerate(gps[4])) * (1 if gps[3] == "E" else -1)
            camera = LatLon(float(row["cam_lat"]), float(row["cam_lon"]))
            away = LatLon(lat, lon).metres_to(camera)
            assert (away < 0.1) == (row["claim"] == "true")


def test_objects_are_polygons_in_wgs84(written) -> None:
    folder, world = written
    body = json.loads((folder / "objects.geojson").read_text(encoding="utf-8"))
    assert len(body["features"]) == len(world.city.objects)
    first = body["features"][0]
    lon, lat = first["geometry"]["coordinates"][0][0]
    x, y = world.city.objects[0].outline[0]
    assert LatLon(lat, lon).metres_to(world.latlon(float(x), float(y))) < 0.05
    assert first["properties"]["id"] == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(UserError, match="a file"):
        write_world(blocked, seed=5, drone_photos=0, panoramas=0)


def test_a_world_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="out of reach"):
        make_world(1, size_m=50)
    with pytest.raises(UserError, match="difficulty"):
        make_world(1, difficulty=2)


@pytest.mark.parametrize(
    ("epsg", "lat", "lon"), [(32631, 48.9, 2.2), (32755, -37.8, 145.1), (32617, 0.01, -83.9)]
)
def test_utm_agrees_with_the_projection_library(epsg: int, lat: float, lon: float) -> None:
    east, north = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    assert latlon_to_utm(epsg, LatLon(lat, lon)) == (
        pytest.approx(east, abs=0.002),
        pytest.approx(north, abs=0.002),
    )
    back = utm_to_latlon(epsg, east, north)
    assert (back.lat, back.lon) == (pytest.approx(lat, abs=1e-8), pytest.approx(lon, abs=1e-8))
