"""Figures of an object checkpoint, and a temperature at which its probabilities are right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine.checkpoints import Device, ObjectCheckpoint
from app.engine.datasets.clicks import ClickDataset, read_click_pairs
from app.engine.object_calibration import (
    TEMPERATURES,
    ObjectsMeasured,
    log_loss,
    measure_objects,
)
from app.errors import UserError
from app.models.object_base import BoxScores
from tests.engine.click_folder import write_clicks
from tests.engine.stand_in_objects import ColourFinder, object_card


class Louder(ColourFinder):
    """The same boxes, its logits times a constant."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def find(self, query, satellite) -> BoxScores:
        found = super().find(query, satellite)
        return BoxScores(found.boxes, found.scores * self.gain)


def checkpoint(network) -> ObjectCheckpoint:
    path, device = Path("stand-in.safetensors"), Device("cpu", "chosen")
    return ObjectCheckpoint(path, "ab" * 32, object_card(network), network, device)


def measured(tmp_path, network=None, **folder) -> ObjectsMeasured:
    if not (tmp_path / "objects.csv").exists():
        write_clicks(tmp_path, train=1, val=24, satellite=128, query=(64, 64), **folder)
    pairs = read_click_pairs(tmp_path, "val")
    return measure_objects(checkpoint(network or ColourFinder()), pairs, data="blocks val")


@pytest.mark.parametrize("side", [128, 256])
def test_figures_are_those_of_the_best_box_in_the_files_own_pixels(tmp_path, side):
    """Counted once more here, one click at a time; the network's input is 128 pixels wide."""
    pairs = read_click_pairs(write_clicks(tmp_path, val=24, satellite=side, query=(64, 64)), "val")
    found = measured(tmp_path)
    network = ColourFinder()
    items = ClickDataset(pairs, query_size=(64, 64), satellite_size=(128, 128))
    for i, pair in enumerate(pairs):
        item = items[0, i]
        query, satellite = (
            torch.from_numpy(p / 255).float().permute(2, 0, 1)[None]
            for p in (item.query, item.satellite)
        )
        out = network.find(
            network.encode_query(query, torch.from_numpy(item.click)[None]),
            network.encode_satellite(satellite),
        )
        best = out.boxes[0, out.scores[0].argmax()].numpy() * side / 128
        wide = min(best[2], pair.box[2]) - max(best[0], pair.box[0])
        high = min(best[3], pair.box[3]) - max(best[1], pair.box[1])
        shared = max(wide, 0) * max(high, 0)
        areas = (24 * side / 128) ** 2 + (pair.box[2] - pair.box[0]) * (pair.box[3] - pair.box[1])
        assert found.iou[i] == pytest.approx(shared / (areas - shared), abs=1e-5)
        middle = (best[:2] + best[2:]) / 2 - (np.array(pair.box[:2]) + pair.box[2:]) / 2
        assert found.centre_m[i] == pytest.approx(0.5 * np.hypot(*middle), abs=1e-4)
    by_name = {metric.name: metric for metric in found.metrics()}
    assert by_name["accu@0.5"].value == pytest.approx((found.iou >= 0.5).mean())
    assert by_name["mean IoU"].value == pytest.approx(found.iou.mean())
    assert by_name["mean IoU"].data == "blocks val, 24 clicks"


def test_a_louder_network_at_a_higher_temperature_is_as_sure(tmp_path):
    steps = 20
    gain = float(TEMPERATURES[steps] / TEMPERATURES[0])
    quiet = measured(tmp_path, Louder(0.2)).probability
    loud = measured(tmp_path, Louder(0.2 * gain)).probability
    assert loud[:, steps:] == pytest.approx(quiet[:, :-steps], rel=1e-3, abs=1e-6)
    assert (np.diff(quiet.mean(axis=0)) < 1e-9).all()  # hotter is less sure


def test_the_fitted_temperature_has_the_least_loss():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.7
    logit = np.where(right, 3.0, 1.0) + rng.normal(0, 1, 400)
    probability = 1 / (1 + np.exp(-logit[:, None] / TEMPERATURES))
    iou, none = np.where(right, 0.8, 0.1), np.full(400, np.nan)
    told = np.tile(iou[:, None], (1, len(TEMPERATURES)))
    found = ObjectsMeasured("made", iou, none, told, probability)
    loss = log_loss(probability, told >= 0.5)
    at = int(np.argmin(loss))
    assert found.calibration().temperature == TEMPERATURES[at]
    assert loss[at] < loss[0]
    assert loss[at] < loss[-1]
    assert not any("centre" in metric.name for metric in found.metrics())


def test_too_few_clicks_fit_nothing_and_clicks_of_another_view_are_not_counted(tmp_path):
    write_clicks(tmp_path, train=1, val=5, satellite=128, query=(64, 64))
    with pytest.raises(UserError, match="too few"):
        measured(tmp_path).calibration()
    network = ColourFinder(view="street")
    with pytest.raises(UserError, match="no clicks on street photos"):
        measured(tmp_path, network)


def test_the_probability_is_the_one_that_a_click_is_told(tmp_path):
    from app.card import Calibration
    from app.engine.objects import find_objects
    from tests.engine.block_place import make_gallery, write_photo
    from tests.engine.stand_in_objects import StandInShelf
    from tests.engine.test_objects import ask

    gallery = make_gallery(tmp_path / "g")
    network = ColourFinder()
    temperature = float(TEMPERATURES[80])
    card = object_card(network, calibration=Calibration(temperature, "blocks"))
    shelf = StandInShelf(tmp_path / "c", network, card)
    photo = write_photo(tmp_path)
    answer = find_objects(ask(photo, gallery, "red"), shelf)
    reference, found = answer.references[0], answer.objects[0]
    folder = tmp_path / "objects"
    write_clicks(folder, train=0, val=1)
    from app.engine.datasets.click_table import ClickPair
    from tests.engine.pair_folder import save

    cut, _ = shelf.gallery(gallery).cut(
        x=reference.x, y=reference.y, size_m=reference.size_m, size_px=reference.size_px
    )
    save(folder / "cut.png", cut)
    pair = ClickPair(photo, folder / "cut.png", 0, found.click, (1.0, 1.0, 9.0, 9.0), "", "drone")
    measured_once = measure_objects(checkpoint(network), (pair,), data="one")
    assert measured_once.probability[0, 80] == pytest.approx(found.best.probability, rel=1e-4)
