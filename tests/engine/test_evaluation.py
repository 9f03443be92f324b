import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest

from app.engine.checkpoints import load_checkpoint
from app.engine.datasets.pairs import read_pairs
from app.engine.evaluation import Evaluation, evaluate_pairs, evaluate_photos, read_truth
from app.engine.held_out import held_out_loader, score_held_out
from app.errors import UserError
from app.geo import LatLon
from app.messages import JobCancelled
from tests.engine.pair_folder import HEADER, ground, save, write_pairs, write_table
from tests.engine.small_town import Town, make_checkpoint, make_town


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), train=4, val=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "drone.safetensors"
    return load_checkpoint(make_checkpoint(path, "drone", (64, 64)), device="cpu")


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Town:
    return make_town(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def photos(town, tmp_path_factory):
    """Five photos above tile centres, their truth beside them."""
    photos = town.folder / "photos"
    photos.mkdir()
    gallery = town.open()
    rows = [["file", "lat", "lon", "heading_deg", "view"]]
    for number, tile in enumerate((0, 13, 25, 38, 60)):
        heading = 30.0 * number
        town.photo(tile, heading, f"photos/{number}.png")
        lat, lon = gallery.latlon[tile]
        rows.append([f"{number}.png", f"{lat:.8f}", f"{lon:.8f}", heading, "drone"])
    rows.append(["panorama.jpg", "50", "4", "", "street"])  # another network's
    with (photos / "truth.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    gallery.close()
    return photos


# --- pairs ---


@pytest.mark.parametrize("headings", ["known", "unknown"])
def test_pairs_turned_right_are_found_by_fresh_weights(checkpoint, folder, headings):
    result = evaluate_pairs(checkpoint, folder, headings=headings)
    assert (len(result.names), result.gallery) == (8, 8)
    assert result.recall(1) == 1.0
    assert result.ap == result.plain_ap == 1.0
    assert result.median_m == 0.0
    assert result.names[0] == "query/4.png"


def test_a_known_heading_tells_apart_what_a_turn_makes_alike(checkpoint, tmp_path):
    """Four places that are one picture, turned by quarters."""
    rest = ["", "", "0", "drone", "perspective", ""]
    rows = []
    for quarter in range(4):
        for view in ("query", "satellite"):
            save(tmp_path / view / f"{quarter}.png", np.rot90(ground(0), quarter))
        rows.append([f"query/{quarter}.png", f"satellite/{quarter}.png", "val", quarter, *rest])
    write_table(tmp_path, rows, HEADER)
    known = evaluate_pairs(checkpoint, tmp_path, headings="known")
    unknown = evaluate_pairs(checkpoint, tmp_path, headings="unknown", turns=4)
    assert known.recall(1) == 1.0
    assert unknown.recall(1) < 1.0


def test_ranks_agree_with_a_search_by_hand(checkpoint, folder):
    result = evaluate_pairs(checkpoint, folder, headings="unknown", turns=1)
    pairs = read_pairs(folder, "val")

    def shown(paths):
        return np.stack([cv2.imread(str(path))[..., ::-1] for path in paths])

    queries = checkpoint.describe(shown([p.query for p in pairs]), "drone")
    tiles = checkpoint.describe(shown([p.satellite for p in pairs]), "satellite")
    for i, query in enumerate(queries):
        order = sorted(range(8), key=lambda j: -float(tiles[j] @ query))
        assert result.first[i] == order.index(i)
        far = pairs[i].position.metres_to(pairs[order[0]].position)
        assert result.metres[i] == pytest.approx(far)


def test_a_satellite_picture_that_pairs_share_counts_once(checkpoint, tmp_path):
    write_pairs(tmp_path, train=2, val=0)
    rest = ["50", "4", "0", "drone", "perspective", ""]
    rows = [[f"query/{q}.png", f"satellite/{s}.png", "val", s, *rest]
            for q, s in ((0, 0), (0, 0), (1, 1))]  # fmt: skip
    write_table(tmp_path, rows, HEADER)
    result = evaluate_pairs(checkpoint, tmp_path, headings="known")
    assert (len(result.names), result.gallery) == (3, 2)


def test_all_satellites_of_a_place_are_right(checkpoint, tmp_path):
    write_pairs(tmp_path, train=4, val=0)
    rest = ["", "", "0", "drone", "perspective", ""]
    rows = [[f"query/{i}.png", f"satellite/{i}.png", "val", i // 2, *rest] for i in range(4)]
    write_table(tmp_path, rows, HEADER)
    result = evaluate_pairs(checkpoint, tmp_path, headings="known")
    assert [len(ranks) for ranks in result.ranks] == [2, 2, 2, 2]
    assert result.median_m is None
    assert "median" not in result.table()


def test_a_heading_that_nobody_knows_cannot_be_evaluated_as_known(checkpoint, tmp_path):
    write_pairs(tmp_path, train=1, val=0)
    row = ["query/0.png", "satellite/0.png", "val", 0, "", "", "", "drone", "perspective", ""]
    write_table(tmp_path, [row], HEADER)
    with pytest.raises(UserError, match=r"heading of .*0\.png is not known"):
        evaluate_pairs(checkpoint, tmp_path, headings="known")


def test_an_evaluation_can_be_cancelled(checkpoint, folder):
    def cancel(_):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        evaluate_pairs(checkpoint, folder, report=cancel)


def test_a_runs_own_yardstick_agrees_with_the_evaluation(checkpoint, folder):
    pairs = read_pairs(folder, "val")
    with held_out_loader(pairs, checkpoint.network, workers=0) as loader:
        own = score_held_out(checkpoint.network, checkpoint.device, pairs, loader)
    whole = evaluate_pairs(checkpoint, folder, headings="known")
    assert own.first == whole.first
    assert own.metres == whole.metres
    assert own.ap == whole.ap


# --- photos against a gallery ---


@pytest.mark.parametrize("headings", ["known", "unknown"])
def test_photos_are_measured_against_a_gallery(town, photos, headings):
    gallery = town.open()
    checkpoint = load_checkpoint(town.checkpoint, device="cpu")
    told = []
    result = evaluate_photos(checkpoint, gallery, photos, headings=headings, report=told.append)
    gallery.close()
    assert result.names == ("0.png", "1.png", "2.png", "3.png", "4.png")
    assert result.recall(1) >= 0.8
    assert result.median_m < 1.0
    assert told[-1].done == told[-1].total == 5
    assert ("heading known" in result.data) == (headings == "known")


def test_the_right_tile_is_the_nearest_and_ap_counts_those_that_hold_the_truth_centrally(
    town, photos, tmp_path
):
    gallery = town.open()
    checkpoint = load_checkpoint(town.checkpoint, device="cpu")
    by_hand = []
    for truth in read_truth(photos, view="drone"):
        centres = [LatLon(*map(float, row)) for row in gallery.latlon]
        by_hand.append(min(centre.metres_to(truth.position) for centre in centres))
    assert max(by_hand) < 0.1
    result = evaluate_photos(checkpoint, gallery, photos, headings="known")
    gallery.close()
    # Tiles of 64 m every 32 m: the central half (32 m) of one tile alone holds its own centre.
    assert [len(ranks) for ranks in result.ranks] == [1, 1, 1, 1, 1]
    assert [int(ranks[0]) for ranks in result.ranks] == list(result.first)


def test_a_gallery_of_another_checkpoint_is_refused(town, photos, checkpoint):
    gallery = town.open()
    other = replace(load_checkpoint(town.checkpoint, device="cpu"), sha256="0" * 64)
    with pytest.raises(UserError, match="was built with the checkpoint"):
        evaluate_photos(other, gallery, photos)
    gallery.close()


def test_truth_may_lie_beside_the_folder_of_photos(photos, tmp_path):
    inner = tmp_path / "photos"
    inner.mkdir()
    (tmp_path / "truth.csv").write_bytes((photos / "truth.csv").read_bytes())
    truths = read_truth(inner, view="drone")
    assert len(truths) == 5
    assert truths[2].photo == inner / "2.png"
    assert truths[2].heading_deg == 60.0
    assert len(read_truth(inner)) == 6


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"has no truth\.csv"),
        ("file,lat,lon\n", "lists no"),
        ("file,lat\na.jpg,50\n", "cannot be read"),
        ("file,lat,lon\na.jpg,fifty,4\n", "cannot be read"),
        ("file,lat,lon\na.jpg,95,4\n", "cannot be read"),
    ],
)
def test_a_truth_that_cannot_be_used_is_told(tmp_path, content, told):
    folder = tmp_path / "a" / "photos"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "truth.csv").write_text(content)
    with pytest.raises(UserError, match=told):
        read_truth(folder)


# --- the figures ---


def example():
    return Evaluation(
        data="made up",
        names=("a", "b", "c", "d"),
        ranks=tuple(np.array(r) for r in ([0], [1], [0, 3], [9])),
        first=(0, 1, 0, 9),
        metres=(1.0, 30.0, 2.0, 400.0),
        gallery=951,
        temperature=0.04,
        seconds_per_query=0.5,
    )


def test_the_figures_of_an_evaluation_by_hand():
    result = example()
    assert [result.recall(k) for k in (1, 5, 10)] == [0.5, 0.75, 1.0]
    assert result.median_m == 16.0
    assert [result.within(m) for m in (25, 50, 100)] == [0.5, 0.75, 0.75]
    third = (1 + (1 / 3 + 2 / 4) / 2) / 2
    assert result.ap == pytest.approx((1 + 0.25 + third + 0.05) / 4)
    assert result.plain_ap == pytest.approx((1 + 0.5 + 0.75 + 0.1) / 4)
    assert result.calibration().temperature == 0.04
    assert result.calibration().data == "made up"
    named = {metric.name: metric.value for metric in result.metrics()}
    assert named["R@1"] == 0.5
    assert named["R@1%"] == 1.0  # of 951 that is the best 11
    assert named["median_m"] == 16.0


def test_the_table_prints_each_figure_with_its_chance():
    table = example().table()
    assert "4 queries, 951 tiles" in table
    assert "R@1% (of 11)" in table
    assert "chance   0.1%" in table
    assert "(15.0% to 85.0%)" in table  # Wilson's interval of 2 of 4
    assert "median error" in table
