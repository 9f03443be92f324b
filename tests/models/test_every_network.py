"""One contract, run over every retrieval network in the catalog: a new one needs no test here."""

import subprocess
import sys
from dataclasses import asdict

import pytest
import torch

from app.card import Card
from app.engine.checkpoints import load_checkpoint, save_checkpoint
from app.models.base import PairBatch
from app.models.build import create, create_preset, preset_config
from app.models.catalog import SPECS

RETRIEVAL = [spec for spec in SPECS if spec.task == "retrieval"]
NAMES = [spec.name for spec in RETRIEVAL]
LIGHT = [(s.name, p) for s in RETRIEVAL for p in s.presets if not p.startswith("paper")]

every_light = pytest.mark.parametrize(("name", "preset"), LIGHT)
every_network = pytest.mark.parametrize("name", NAMES)


def views(network):
    return (network.config.query_view, "satellite")


def pictures(network, view, count=2):
    """Other ones for each view: a network that shares its weights cannot part equal ones."""
    generator = torch.Generator().manual_seed(1 if view == "satellite" else 0)
    return torch.randn(count, 3, *network.input_size(view), generator=generator)


def batch(network, count=4):
    query, satellite = (pictures(network, view, count) for view in views(network))
    return PairBatch(query, satellite, torch.arange(count))


@every_light
def test_descriptors_are_unit_vectors_of_the_promised_length(name, preset):
    network = create_preset(name, preset).eval()
    for view in views(network):
        with torch.inference_mode():
            rows = network.describe(pictures(network, view), view)
        assert rows.shape == (2, network.descriptor)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


@every_light
def test_a_picture_gets_the_same_descriptor_alone_or_in_a_batch(name, preset):
    network = create_preset(name, preset).eval()
    images = pictures(network, "satellite")
    with torch.inference_mode():
        together = network.describe(images, "satellite")
        alone = network.describe(images[1:], "satellite")
    torch.testing.assert_close(together[1:], alone, atol=1e-5, rtol=1e-4)
    assert (together[0] - together[1]).norm() > 1e-3


@every_network
def test_every_parameter_gets_a_gradient(name):
    network = create_preset(name, "smallest").train()
    network.loss(batch(network)).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


@every_network
def test_it_can_learn_one_batch_by_heart(name):
    config = {**preset_config(name, "smallest"), "label_smoothing": 0.0}
    network = create(name, config).train()
    shown = batch(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = network.loss(shown)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@every_light
def test_its_maps_have_names_and_one_plane_a_picture(name, preset):
    network = create_preset(name, preset).eval()
    for view in views(network):
        with torch.inference_mode():
            maps = network.explain(pictures(network, view), view)
        assert maps
        for one in maps:
            assert one.name
            assert one.values.shape[0] == 2
            assert one.values.ndim == 3
            assert one.values.isfinite().all()
        assert len({one.name for one in maps}) == len(maps)


@every_network
def test_preprocessing_resizes_and_normalises(name):
    network = create_preset(name, "smallest")
    grey = torch.full((1, 3, 50, 70), 0.5)
    ready = network.preprocess(grey, "satellite")
    assert tuple(ready.shape[2:]) == network.input_size("satellite")
    expected = (0.5 - network.config.mean[0]) / network.config.std[0]
    torch.testing.assert_close(ready[0, 0], torch.full_like(ready[0, 0], expected))


@every_network
def test_it_survives_save_and_load(name, tmp_path):
    # Weights that a checkpoint holds exactly: where a rule cuts regions, as in MIFT, a rounding
    # could move a token to another one.
    network = create_preset(name, "smallest").eval().half().float()
    path = tmp_path / "n.safetensors"
    save_checkpoint(path, network, card_of(name, network))
    loaded = load_checkpoint(path, device="cpu").network
    images = pictures(network, "satellite")
    with torch.inference_mode():
        before, after = (n.describe(images, "satellite") for n in (network, loaded))
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


@every_network
@pytest.mark.slow
def test_another_process_describes_exactly_alike(name):
    there = subprocess.run(
        [sys.executable, "-c", f"{DESCRIBE}print(digest({name!r}))"],
        capture_output=True,
        check=True,
        text=True,
    )
    here: dict = {}
    exec(DESCRIBE, here)
    assert there.stdout.strip() == here["digest"](name)


DESCRIBE = """
import hashlib, torch
from app.models.build import create_preset
def digest(name):
    torch.manual_seed(0)
    network = create_preset(name, "smallest").eval()
    images = torch.randn(2, 3, *network.input_size("satellite"))
    with torch.inference_mode():
        rows = network.describe(images, "satellite")
    return hashlib.sha256(rows.numpy().tobytes()).hexdigest()
"""


def card_of(name, network):
    view = network.config.query_view
    return Card(
        network=name,
        config=asdict(network.config),
        title="test",
        task="retrieval",
        query_view=view,
        sizes={v: network.input_size(v) for v in (view, "satellite")},
        descriptor=network.descriptor,
        tile_size_m=80.0,
    )
