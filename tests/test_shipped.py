"""What ships in ``resources/checkpoints``: trained, measured, and told in README."""

from pathlib import Path

import numpy as np
import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint, load_object_checkpoint, to_images
from app.paths import DEMO_NETWORK, demo_checkpoint, shipped_checkpoints
from benchmarks.card_metrics import said, table

README = Path(__file__).parents[1] / "README.md"
MARKS = ("<!-- checkpoints table -->\n", "<!-- end of checkpoints -->\n")
METHODS = {  # with the queries that each is shipped for
    ("mift", "drone"),
    ("mfrgn", "street"),
    ("geoviewmatch", "street"),
    ("msae", "street"),
    ("attengeo", "drone"),
    ("attengeo", "street"),
}

each = pytest.mark.parametrize("path", shipped_checkpoints(), ids=lambda path: path.stem)


def test_each_method_ships_for_its_view_beside_what_the_demo_cases_take():
    shipped = {(card.network, card.query_view) for card in map(read_card, shipped_checkpoints())}
    assert shipped == METHODS | {(network, kind) for kind, network in DEMO_NETWORK.items()}
    assert all(demo_checkpoint(kind).is_file() for kind in DEMO_NETWORK)


def test_the_readme_holds_what_the_cards_say():
    text = README.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    assert text[start + len(MARKS[0]) : end].strip() == table(shipped_checkpoints())


@each
def test_a_shipped_card_says_on_what_it_was_measured_and_how_sure_it_is(path):
    card = read_card(path)
    assert card.licence
    assert card.calibration is not None
    by_name = {metric.name: metric for metric in card.metrics}
    assert {"R@1", "median_m"} <= set(by_name) or {"accu@0.5", "mean IoU"} <= set(by_name)
    for metric in by_name.values():
        asked = said(metric.data)
        assert asked is not None, f"{metric.data} cannot be rendered again"
        assert (asked.view, asked.objects) == (card.query_view, card.task == "object")


@each
def test_a_shipped_checkpoint_tells_pictures_apart(path):
    """Its packed weights are whole: noise, stripes and a plain field are not alike to it."""
    card = read_card(path)
    rng = np.random.default_rng(0)
    height, width = card.sizes["satellite"]
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    stripes = np.zeros_like(noise)
    stripes[:, ::16] = 255
    pictures = np.stack([noise, stripes, np.full_like(noise, 120)])
    if card.task == "object":
        network = load_object_checkpoint(path, device="cpu").network
        seen = network.preprocess(to_images(torch.from_numpy(pictures), "cpu"), "satellite")
        side = network.input_size(card.query_view)
        query = torch.rand(3, 3, *side, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            asked = network.encode_query(query, torch.tensor([[20.0, 20.0]] * 3))
            found = network.find(asked, network.encode_satellite(seen))
        spread = found.scores.std(dim=0).mean()
        assert found.scores.isfinite().all()
        assert spread > 0.05 * found.scores.std()  # pictures change what is found
        return
    rows = load_checkpoint(path, device="cpu").describe(pictures, "satellite")
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-3)
    alike = rows @ rows.T
    assert alike[np.triu_indices(3, 1)].max() < 0.98
