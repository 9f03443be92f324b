"""One contract, run over every object network in the catalog. A new one needs no test here."""

import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from app.card import Card
from app.engine.checkpoints import load_checkpoint, load_object_checkpoint, save_checkpoint
from app.errors import UserError
from app.models.boxes import box_iou
from app.models.build import create_object, preset_config
from app.models.catalog import SPECS
from app.models.object_base import ClickBatch

OBJECT = [spec for spec in SPECS if spec.task == "object"]
NAMES = [spec.name for spec in OBJECT]
LIGHT = [(s.name, p) for s in OBJECT for p in s.presets if not p.startswith("paper")]
TINY = [(name, preset) for name, preset in LIGHT if preset.startswith("tiny")]
LARGEST_TINY_MB = 8

every_light = pytest.mark.parametrize(("name", "preset"), LIGHT)
every_tiny = pytest.mark.parametrize(("name", "preset"), TINY)
every_network = pytest.mark.parametrize("name", NAMES)


def make(name, preset="smallest"):
    return create_object(name, preset_config(name, preset))


def batch(network, count=2):
    """Each row another picture, click and box."""
    generator = torch.Generator().manual_seed(0)
    query, satellite = (
        torch.randn(count, 3, *network.input_size(view), generator=generator)
        for view in (network.config.query_view, "satellite")
    )
    height, width = network.input_size("satellite")
    sides = torch.tensor((width, height))
    corner = torch.rand(count, 2, generator=generator) * sides * 0.7
    size = (0.1 + 0.2 * torch.rand(count, 2, generator=generator)) * sides
    rows, columns = network.input_size(network.config.query_view)
    click = torch.rand(count, 2, generator=generator) * torch.tensor((columns, rows))
    return ClickBatch(query, click, satellite, torch.cat((corner, corner + size), dim=1))


def find(network, shown):
    with torch.inference_mode():
        return network.find(
            network.encode_query(shown.query, shown.click),
            network.encode_satellite(shown.satellite),
        )


@every_light
def test_it_proposes_boxes_with_their_scores(name, preset):
    network = make(name, preset).eval()
    found = find(network, batch(network))
    assert found.boxes.shape[0] == found.scores.shape[0] == 2
    assert found.boxes.shape[1] == found.scores.shape[1] >= len(network.config.anchors)
    assert found.boxes.dtype == found.scores.dtype == torch.float32
    assert found.boxes.isfinite().all()
    assert found.scores.isfinite().all()
    assert (found.boxes[..., 2:] > found.boxes[..., :2]).all()
    centres = (found.boxes[..., :2] + found.boxes[..., 2:]) / 2
    height, width = network.input_size("satellite")
    assert (centres >= 0).all()
    assert (centres <= torch.tensor((width, height))).all()


@every_light
def test_a_click_finds_the_same_alone_or_in_a_batch(name, preset):
    network = make(name, preset).eval()
    both = batch(network)
    one = ClickBatch(both.query[1:], both.click[1:], both.satellite[1:], both.box[1:])
    together, alone = find(network, both), find(network, one)
    torch.testing.assert_close(together.scores[1:], alone.scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(together.boxes[1:], alone.boxes, atol=1e-2, rtol=1e-4)
    assert (together.scores[0] - together.scores[1]).abs().max() > 1e-3


@every_network
def test_one_click_can_be_tried_on_several_satellite_pictures(name):
    network = make(name).eval()
    shown = batch(network)
    with torch.inference_mode():
        query = network.encode_query(shown.query[:1], shown.click[:1])
        satellite = network.encode_satellite(shown.satellite)
        tried = network.find(query.expand(2, -1, -1, -1), satellite)
        second = network.find(query, satellite[1:])
    torch.testing.assert_close(tried.scores[1:], second.scores, atol=1e-4, rtol=1e-4)


@every_network
def test_every_parameter_gets_a_gradient(name):
    network = make(name).train()
    network.loss(batch(network)).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


@every_network
def test_it_can_learn_one_batch_by_heart(name):
    network = make(name).train()
    shown = batch(network, count=4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = network.loss(shown)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    # Still in training mode: of four rows the running statistics would be the test's subject.
    found = find(network, shown)
    best = found.boxes[torch.arange(4), found.scores.argmax(dim=1)]
    assert (box_iou(best, shown.box) > 0.5).all()


@every_light
def test_its_maps_have_names_and_one_plane_a_row(name, preset):
    network = make(name, preset).eval()
    shown = batch(network)
    with torch.inference_mode():
        maps = network.explain(shown.query, shown.click, shown.satellite)
    for of_view in (maps.query, maps.satellite):
        assert of_view
        assert len({one.name for one in of_view}) == len(of_view)
        for one in of_view:
            assert one.name
            assert one.values.shape[0] == 2
            assert one.values.ndim == 3
            assert one.values.dtype == torch.float32
            assert one.values.isfinite().all()


@every_network
def test_it_survives_save_and_load(name, tmp_path):
    network = make(name).eval().half().float()  # weights that a checkpoint holds exactly
    path = tmp_path / "n.safetensors"
    save_checkpoint(path, network, card_of(name, network))
    loaded = load_object_checkpoint(path, device="cpu").network
    before, after = (find(n, batch(network)) for n in (network, loaded))
    torch.testing.assert_close(before.scores, after.scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(before.boxes, after.boxes, atol=1e-3, rtol=1e-5)
    with pytest.raises(UserError, match="not for locating photos"):
        load_checkpoint(path, device="cpu")


@every_tiny
def test_a_tiny_one_is_a_small_download(name, preset):
    network = make(name, preset)
    halves = sum(t.numel() for t in network.state_dict().values()) * 2
    assert halves < LARGEST_TINY_MB * 1e6


@every_network
@pytest.mark.slow
def test_another_process_finds_exactly_the_same(name):
    there = subprocess.run(
        [sys.executable, "-c", f"{FIND}print(digest({name!r}))"],
        capture_output=True,
        check=True,
        text=True,
    )
    here: dict = {}
    exec(FIND, here)
    assert there.stdout.strip() == here["digest"](name)


FIND = """
import hashlib, torch
from app.models.build import create_object, preset_config
def digest(name):
    torch.manual_seed(0)
    network = create_object(name, preset_config(name, "smallest")).eval()
    query, satellite = (
        torch.randn(2, 3, *network.input_size(v)) for v in (network.config.query_view, "satellite")
    )
    with torch.inference_mode():
        found = network.find(
            network.encode_query(query, torch.tensor([[3.0, 4.0], [50.0, 20.0]])),
            network.encode_satellite(satellite),
        )
    both = found.boxes.numpy().tobytes() + found.scores.numpy().tobytes()
    return hashlib.sha256(both).hexdigest()
"""


def card_of(name, network):
    view = network.config.query_view
    return Card(
        network=name,
        config=asdict(network.config),
        title="test",
        task="object",
        query_view=view,
        sizes={v: network.input_size(v) for v in (view, "satellite")},
        descriptor=0,
        tile_size_m=80.0,
    )
