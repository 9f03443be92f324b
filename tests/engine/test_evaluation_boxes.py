"""Object checkpoints: boxes to a file, figures from the file."""

import csv

import cv2
import numpy as np
import pytest
import torch

from app.card import Card
from app.engine.checkpoints import Device, ObjectCheckpoint, save_checkpoint
from app.engine.datasets.click_table import read_click_pairs
from app.engine.evaluation_boxes import (
    BOXES_NAME,
    NUMBERS,
    box_columns,
    describe_clicks,
    read_boxes,
)
from app.engine.evaluation_errors import browse
from app.engine.evaluation_intervals import figure
from app.engine.evaluation_run import evaluate, score_folder
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import BrowseErrors, Evaluate, JobCancelled, Score
from app.models.build import create_object, preset_config
from app.models.object_base import BoxScores, ObjectConfig, ObjectNetwork
from tests.engine import brute_force as slow
from tests.engine.click_folder import write_clicks


class RedFinder(ObjectNetwork):
    """An object network of arithmetic: the box of what is red, 4 pixels too far to the right."""

    def __init__(self):
        # Half of the size of the pictures' files.
        super().__init__(
            ObjectConfig(
                query_view="drone", query_size=(32, 32), satellite_size=(32, 32), anchors=()
            )
        )
        self.asked = 0

    def preprocess(self, images, view):
        return images

    def encode_query(self, images, clicks):
        assert clicks.shape == (len(images), 2)
        return images

    def encode_satellite(self, images):
        self.asked += len(images)
        self.red = images[:, 0] - images[:, 1:].amax(dim=1) > 0.3
        return images[:, :, ::4, ::4]  # a map of 8 x 8

    def find(self, query, satellite):
        boxes = []
        for mask in self.red:
            y, x = torch.nonzero(mask, as_tuple=True)
            boxes.append([x.min() + 4, y.min(), x.max() + 5, y.max() + 1])
        best = torch.tensor(boxes, dtype=torch.float32)[:, None]
        return BoxScores(
            torch.cat([torch.zeros_like(best), best], dim=1), torch.tensor([[0.0, 2.5]] * len(best))
        )

    def loss(self, batch):
        raise NotImplementedError

    def explain(self, images, clicks, satellites):
        raise NotImplementedError


@pytest.fixture
def checkpoint(tmp_path):
    card = Card("stand-in", {}, "Red finder", "object", "drone", {}, 0, 80.0)
    return ObjectCheckpoint(tmp_path / "red", "ab" * 32, card, RedFinder(), Device("cpu", "chosen"))


@pytest.fixture
def clicks(tmp_path):
    return write_clicks(tmp_path / "clicks", train=1, val=9)


def described(checkpoint, clicks, folder, **other):
    pairs = read_click_pairs(clicks, "val")
    describe_clicks(checkpoint, pairs, folder, data="made", test="val", root=clicks, **other)
    return pairs


def test_boxes_are_written_in_the_pixels_of_the_files(checkpoint, clicks, tmp_path):
    pairs = described(checkpoint, clicks, tmp_path / "out")
    lines, numbers = read_boxes(tmp_path / "out")
    assert [line["query"] for line in lines] == [f"query/{i}.png" for i in range(1, 10)]
    for i, pair in enumerate(pairs):
        true = [numbers[name][i] for name in ("left", "top", "right", "bottom")]
        assert true == pytest.approx(pair.box)
        found = [numbers[name][i] for name in ("x0", "y0", "x1", "y1")]
        moved = [pair.box[0] + 8, pair.box[1], pair.box[2] + 8, pair.box[3]]
        assert found == pytest.approx(moved, abs=2.1)  # the input has half the pixels
        assert numbers["score"][i] == 2.5
        assert (numbers["cell_x"][i], numbers["cell_y"][i]) == pytest.approx((8, 8))


def test_figures_come_from_the_file_alone(checkpoint, clicks, tmp_path):
    described(checkpoint, clicks, tmp_path / "out")
    for picture in clicks.rglob("*.png"):
        picture.unlink()
    (result,) = score_folder(Score(tmp_path / "out", resamples=10)).results
    assert result.task == "object"
    assert result.measure("centre error").value == pytest.approx(8, abs=2)
    on_ground = result.measure("centre error on the ground")
    assert on_ground.value == pytest.approx(result.measure("centre error").value * 0.5)
    assert on_ground.unit == "m"
    curve = result.curves[0]
    assert curve.y[9] == pytest.approx(result.measure("accu@0.5").value)  # IoU 0.5


def numbers_of(true, found, *, gsd=0.5, cell=8.0):
    true, found = np.array(true, float), np.array(found, float)
    columns = dict(zip(("left", "top", "right", "bottom"), true.T, strict=True))
    columns |= dict(zip(("x0", "y0", "x1", "y1"), found.T, strict=True))
    count = len(true)
    return columns | {
        "cell_x": np.full(count, cell), "cell_y": np.full(count, cell),
        "gsd_m": np.full(count, gsd), "score": np.zeros(count),
    }  # fmt: skip


def test_an_overlap_of_exactly_the_threshold_counts_in_the_paper_and_not_in_the_code():
    """[0, 2] x [0, 2] in [0, 4] x [0, 2]: an IoU of 0.5 to the bit."""
    found = {c.name: figure(c) for c in box_columns(numbers_of([[0, 0, 4, 2]], [[0, 0, 2, 2]]))}
    assert (found["accu@0.5"], found["accu@0.5 code"]) == (1, 0)
    assert (found["accu@0.25"], found["accu@0.25 code"]) == (1, 1)
    assert found["mean IoU"] == 0.5
    assert found["centre error"] == 1.0
    assert found["centre error on the ground"] == 0.5


def test_the_centre_cell_is_that_of_the_networks_map():
    true = [[0, 0, 14, 14]] * 3  # centre 7, 7: cell 0, 0
    found = [[0, 0, 15.8, 15.8], [2, 0, 14, 14], [4, 0, 13, 14]]  # centres 7.9, 8.0, 8.5
    figures = {c.name: c.values.tolist() for c in box_columns(numbers_of(true, found))}
    assert figures["centre cell"] == [1, 0, 0]


def test_the_figures_agree_with_plain_loops():
    rng = np.random.default_rng(4)
    corner = rng.uniform(0, 40, (60, 2))
    true = np.concatenate([corner, corner + rng.uniform(5, 30, (60, 2))], axis=1)
    found = true + rng.normal(0, 4, (60, 4)).round(1)
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    got = {c.name: figure(c) for c in box_columns(numbers_of(true, found, gsd=np.nan))}
    overlaps = [slow.iou(a, b) for a, b in zip(true.tolist(), found.tolist(), strict=True)]
    assert got["mean IoU"] == pytest.approx(sum(overlaps) / 60)
    for limit in (0.25, 0.5):
        assert got[f"accu@{limit}"] == sum(o >= limit for o in overlaps) / 60
        assert got[f"accu@{limit} code"] == sum(o > limit for o in overlaps) / 60
    assert "centre error on the ground" not in got  # nobody knows the ground size


def test_a_stopped_description_goes_on_with_the_next_click(checkpoint, clicks, tmp_path):
    def stop(body):
        raise JobCancelled

    with pytest.raises(JobCancelled):
        described(checkpoint, clicks, tmp_path / "out", report=stop)
    table = tmp_path / "out.describing" / BOXES_NAME
    assert checkpoint.network.asked == 8  # the first batch
    with table.open("a") as file:
        file.write("query/9.png,satel")  # a process killed while writing
    described(checkpoint, clicks, tmp_path / "out")
    assert checkpoint.network.asked == 9
    described(checkpoint, clicks, tmp_path / "other")
    first, second = ((tmp_path / n / BOXES_NAME).read_bytes() for n in ("out", "other"))
    assert first == second
    described(checkpoint, clicks, tmp_path / "out")  # is there: nothing is asked
    assert checkpoint.network.asked == 18


def test_a_changed_box_is_noticed(checkpoint, clicks, tmp_path):
    described(checkpoint, clicks, tmp_path / "out")
    path = tmp_path / "out" / BOXES_NAME
    path.write_text(path.read_text().replace("2.5", "9.5", 1))
    with pytest.raises(UserError, match="is damaged"):
        score_folder(Score(tmp_path / "out"))


def test_the_error_browser_shows_missed_boxes(checkpoint, clicks, tmp_path):
    pairs = described(checkpoint, clicks, tmp_path / "out")
    _, numbers = read_boxes(tmp_path / "out")
    page = browse(BrowseErrors(tmp_path / "out"))
    assert page.total == len(page.rows) > 0
    assert [row.iou for row in page.rows] == sorted(row.iou for row in page.rows)
    for row in page.rows:
        assert row.iou < 0.5
        assert row.satellite == pairs[row.row].satellite
        assert row.truth == pytest.approx(pairs[row.row].box)
        assert row.centre_m == pytest.approx(row.centre_px * 0.5)
    assert set(NUMBERS) <= set(numbers)


def test_a_real_object_checkpoint_is_evaluated_from_its_file(tmp_path):
    torch.manual_seed(0)
    config = preset_config("detgeo", "smallest")
    network = create_object("detgeo", config)
    card = Card(
        "detgeo", config, "fresh", "object", "drone",
        {v: network.input_size(v) for v in ("drone", "satellite")}, 0, 80.0,
    )  # fmt: skip
    save_checkpoint(tmp_path / "fresh.safetensors", network, card)
    clicks = write_clicks(tmp_path / "clicks", train=1, val=3)
    request = Evaluate(tmp_path / "fresh.safetensors", clicks, tmp_path / "out", resamples=5)
    done = evaluate(request, Shelf("cpu", tmp_path / "cache"))
    (result,) = done.results
    assert (result.test, result.queries) == ("val", 3)
    with (done.folders[0] / BOXES_NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    side = cv2.imread(str(clicks / rows[0]["satellite"])).shape[1]
    assert float(rows[0]["cell_x"]) == pytest.approx(side / 8)  # its map: 128 / 16 cells a side
    with pytest.raises(UserError, match="is no data set for"):
        evaluate(
            Evaluate(tmp_path / "fresh.safetensors", _pairs(tmp_path), tmp_path / "b"),
            Shelf("cpu", tmp_path / "cache"),
        )


def _pairs(tmp_path):
    from tests.engine.pair_folder import write_pairs

    return write_pairs(tmp_path / "pairs", train=1, val=2)
