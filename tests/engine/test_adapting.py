"""Fine-tuning on one's own area: views rendered from its imagery, and a run on them.

The imagery's red grows to the east and its green to the south, so that a view tells by itself
where it was taken and where its top points to.
"""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rasterio.transform import Affine

from app.card import read_card
from app.engine.adapting import adapted, write_adapted
from app.engine.datasets.pairs import decoded
from app.engine.network_start import read_start
from app.engine.rasters import to_xy
from app.engine.recipes import make_train
from app.engine.training import train
from app.engine.trial import estimate
from app.errors import JobCancelled, UserError
from app.geo import LatLon
from app.train_request import Train
from tests.engine.made_rasters import EXTENT_M, NORTH, UTM, WEST, write_place, write_raster
from tests.engine.pair_folder import write_pairs

WANTED = {"view": "drone", "views": 20, "tile_size_m": 60.0, "seed": 1}


@pytest.fixture(scope="module", autouse=True)
def plain_sensors():
    """Colours tell the place here, so the sensors differ little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.engine.adapting.DIFFICULTY", 0.2)
        yield


@pytest.fixture(scope="module")
def ortho(tmp_path_factory):
    return write_place(tmp_path_factory.mktemp("own") / "ortho.tif")


@pytest.fixture(scope="module")
def surface(tmp_path_factory):
    """Ground at 310 m above the sea, and a block of 20 m in the middle."""
    heights = np.full((1, 200, 200), 310.0, np.float32)
    heights[:, 80:120, 80:120] += 20
    return write_raster(
        tmp_path_factory.mktemp("own") / "surface.tif",
        heights,
        UTM,
        Affine(EXTENT_M / 200, 0, WEST, 0, -EXTENT_M / 200, NORTH),
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def views(tmp_path_factory, ortho):
    folder = tmp_path_factory.mktemp("views")
    write_adapted(folder, imagery=ortho, surface=None, **WANTED)
    return folder


def test_a_view_is_where_its_row_says_and_faces_where_its_row_says(views):
    rows = rows_of(views)
    assert len(rows) == 20
    off_deg, off_m = [], []
    for row in rows:
        picture = decoded(views / row["query"]).astype(float)
        side = picture.shape[0]
        red, green = picture[..., 0], picture[..., 1]
        x, y = to_xy(UTM, LatLon(float(row["lat"]), float(row["lon"])))
        middle = picture[side // 2 - 20 : side // 2 + 20, side // 2 - 20 : side // 2 + 20]
        # Sensors scale both colours much alike: their ratio stays.
        told = (x - WEST) / EXTENT_M * 200 + 20, (NORTH - y) / EXTENT_M * 200 + 20
        ratio = middle[..., 0].mean() / middle[..., 1].mean()
        off_m.append(abs(math.log(ratio / (told[0] / told[1]))))
        rise = np.gradient(red)[0].mean(), np.gradient(red)[1].mean()  # down, right
        heading = math.degrees(math.atan2(-rise[0], rise[1]))
        off_deg.append(abs((heading - float(row["heading_deg"]) + 180) % 360 - 180))
        assert green.std() > 0
    assert np.median(off_deg) < 8
    assert np.median(off_m) < 0.12


def test_a_tile_holds_its_views_place_where_its_row_says(views):
    """Blue is even: only red and green tell, and a tile's middle has those of its centre."""
    off = []
    for row in rows_of(views):
        tile = decoded(views / row["satellite"]).astype(float)
        x, y = to_xy(UTM, LatLon(float(row["lat"]), float(row["lon"])))
        x, y = x - float(row["dx_m"]), y - float(row["dy_m"])
        told = ((x - WEST) / EXTENT_M * 200 + 20) / ((NORTH - y) / EXTENT_M * 200 + 20)
        middle = tile[118:138, 118:138]
        off.append(abs(math.log(middle[..., 0].mean() / middle[..., 1].mean() / told)))
    assert np.median(off) < 0.15
    assert max(off) < 0.5  # at the edge of the place, where paler colours tell least


def test_a_fifth_of_the_blocks_is_held_out_and_no_block_is_in_both(views):
    rows = rows_of(views)
    held = {row["block"] for row in rows if row["split"] == "val"}
    learnt = {row["block"] for row in rows if row["split"] == "train"}
    assert held
    assert not held & learnt
    assert len(learnt) >= 3 * len(held)


def test_rendering_that_was_stopped_goes_on_and_ends_alike(views, ortho, tmp_path):
    def stop(told):
        if told.done >= 7:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        write_adapted(tmp_path, imagery=ortho, surface=None, **WANTED, report=stop)
    assert 0 < len(rows_of(tmp_path)) < 20
    kept = sorted(tmp_path.glob("query/*.jpg"))[0].stat().st_mtime_ns
    write_adapted(tmp_path, imagery=ortho, surface=None, **WANTED)
    assert sorted(tmp_path.glob("query/*.jpg"))[0].stat().st_mtime_ns == kept
    assert (tmp_path / "pairs.csv").read_bytes() == (views / "pairs.csv").read_bytes()


def test_heights_count_from_the_lowest_ground(ortho, surface, tmp_path):
    write_adapted(tmp_path, imagery=ortho, surface=surface, **WANTED)
    heights = [float(row["height_m"]) for row in rows_of(tmp_path)]
    assert max(heights) < 150  # not 310 m more


def test_panoramas_stand_in_the_open(ortho, surface, tmp_path):
    write_adapted(tmp_path, imagery=ortho, surface=surface, **{**WANTED, "view": "street"})
    rows = rows_of(tmp_path)
    assert {row["kind"] for row in rows} == {"panorama"}
    assert all(1.5 < float(row["height_m"]) < 3.2 for row in rows)  # never on the block


def test_panoramas_of_flat_ground_are_refused(ortho, tmp_path):
    with pytest.raises(UserError, match="surface model"):
        write_adapted(tmp_path, imagery=ortho, surface=None, **{**WANTED, "view": "street"})


def test_imagery_that_is_too_small_is_refused(ortho, tmp_path):
    with pytest.raises(UserError, match="too small"):
        write_adapted(tmp_path, imagery=ortho, surface=None, **{**WANTED, "tile_size_m": 300.0})


def test_views_of_other_imagery_are_not_mixed_in(views, ortho):
    with pytest.raises(UserError, match="other imagery"):
        write_adapted(views, imagery=ortho, surface=None, **{**WANTED, "views": 30})


def test_a_folder_of_other_pairs_is_left_alone(ortho, tmp_path):
    folder = write_pairs(tmp_path / "pairs", train=2, val=2)
    with pytest.raises(UserError, match="other pairs"):
        write_adapted(folder, imagery=ortho, surface=None, **WANTED)


def test_networks_of_clicked_objects_are_refused_before_anything_is_rendered(ortho, tmp_path):
    fields = {"network": "attengeo", "preset": "smallest", "imagery": ortho}
    run = Train(tmp_path / "run", tmp_path / "views", **fields)
    with pytest.raises(UserError, match="AttenGeo learns from clicked objects"):
        adapted(run, read_start(run))
    assert not run.data.exists()


@pytest.mark.slow
def test_the_recipe_adapts_a_checkpoint_to_ones_own_imagery(ortho, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", train=6, val=4)
    small = {"epochs": 1, "batch_size": 4, "device": "cpu"}
    parent = train(make_train(tmp_path / "first", pairs, preset="smallest", **small)).checkpoint
    run = make_train(
        tmp_path / "own",
        recipe="adapt",
        imagery=ortho,
        init=parent,
        views=20,
        tile_size_m=60,
        **small,
    )
    assert (run.network, run.data) == ("sample4geo", tmp_path / "own" / "pairs")
    needed = estimate(run)
    assert not run.data.exists()
    assert needed.pairs == pytest.approx(16, abs=4)
    done = train(run)
    card = read_card(done.checkpoint)
    assert card.parent
    assert card.title == "Sample4Geo on ortho, from Sample4Geo smallest on pairs"
    assert card.tile_size_m == pytest.approx(60, rel=0.15)
    adapted(run, read_start(run))  # all there: nothing is rendered again
    with pytest.raises(UserError, match="other imagery"):
        adapted(replace(run, seed=9), read_start(run))
