import errno
import json
import os
import struct
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from app.card import Calibration, Card, Metric, identity_of, read_card
from app.engine.checkpoints import (
    Device,
    choose_device,
    load_checkpoint,
    rewrite_card,
    save_checkpoint,
)
from app.errors import UserError
from app.messages import JobCancelled, Progress
from app.models.build import create_preset


@pytest.fixture
def network():
    return create_preset("sample4geo", "smallest").eval()


@pytest.fixture
def card(network):
    return Card(
        network="sample4geo",
        config=asdict(network.config),
        title="A test",
        task="retrieval",
        query_view="drone",
        sizes={"drone": (64, 64), "satellite": (64, 64)},
        descriptor=network.descriptor,
        tile_size_m=80.0,
        metrics=(Metric("R@1", 0.5, "made up"),),
    )


@pytest.fixture
def path(tmp_path, network, card):
    path = tmp_path / "名 with space.safetensors"
    save_checkpoint(path, network, card)
    return path


def pictures(count, size=64):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def rewritten(path, change):
    """The file with other tensors; ``change`` edits the dict."""
    card = safetensors.safe_open(path, "pt").metadata()
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, card))
    return path


def test_a_saved_network_comes_back_with_its_card(path, network, card):
    loaded = load_checkpoint(path, device="cpu")
    assert loaded.card.title == card.title
    assert loaded.card.metrics == card.metrics
    assert loaded.device == Device("cpu", "chosen")
    assert not loaded.network.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            loaded.network.state_dict()[name], value, atol=1e-3, rtol=1e-3, msg=name
        )


def test_kernels_are_stored_in_half_and_statistics_in_full(path):
    tensors = safetensors.torch.load(path.read_bytes())
    assert tensors["model.conv_stem.weight"].dtype == torch.float16
    assert tensors["model.bn1.running_var"].dtype == torch.float32
    assert tensors["logit_scale"].dtype == torch.float32


def test_a_new_card_leaves_the_identity_and_new_weights_change_it(path, card):
    before = load_checkpoint(path, device="cpu").sha256
    assert before == identity_of(path)
    rewrite_card(path, replace(card, title="Another", calibration=Calibration(0.05, "made up")))
    assert identity_of(path) == before
    rewritten(path, lambda tensors: tensors["logit_scale"].add_(1))
    assert identity_of(path) != before


def test_another_configuration_is_another_identity(tmp_path, path, network, card):
    config = {**card.config, "mean": (0.5, 0.5, 0.5)}
    save_checkpoint(tmp_path / "b.safetensors", network, replace(card, config=config))
    assert identity_of(tmp_path / "b.safetensors") != identity_of(path)


def test_descriptors_are_unit_rows_whatever_the_batch(path):
    checkpoint = load_checkpoint(path, device="cpu")
    rows = checkpoint.describe(pictures(7), "drone", batch=3)
    assert rows.shape == (7, checkpoint.card.descriptor)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows, checkpoint.describe(pictures(7), "drone"), atol=1e-5)


def test_no_pictures_have_no_descriptors(path):
    checkpoint = load_checkpoint(path, device="cpu")
    assert checkpoint.describe(pictures(0), "drone").shape == (0, checkpoint.card.descriptor)


def test_pictures_of_another_size_are_resized(path):
    checkpoint = load_checkpoint(path, device="cpu")
    assert checkpoint.describe(pictures(1, 100), "drone").shape[0] == 1


def test_describing_tells_its_progress_and_can_be_cancelled(path):
    checkpoint, told = load_checkpoint(path, device="cpu"), []
    checkpoint.describe(pictures(5), "drone", batch=2, report=told.append)
    assert [(p.done, p.total) for p in told] == [(2, 5), (4, 5), (5, 5)]

    def cancel(event):
        assert isinstance(event, Progress)
        raise JobCancelled

    with pytest.raises(JobCancelled):
        checkpoint.describe(pictures(5), "drone", batch=2, report=cancel)


def refuse_above(network, most):
    """As on a small GPU: no batch above a size, as CUDA says it. Returns the sizes tried."""
    describe, tried = network.describe, []

    def refuse(images, view):
        tried.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return describe(images, view)

    network.describe = refuse
    return tried


def test_a_batch_that_does_not_fit_is_halved_until_it_does(path, monkeypatch):
    checkpoint = load_checkpoint(path, device="cpu")
    expected = checkpoint.describe(pictures(8), "drone", batch=1)
    tried = refuse_above(checkpoint.network, 2)
    np.testing.assert_allclose(
        checkpoint.describe(pictures(8), "drone", batch=8), expected, atol=1e-5
    )
    assert tried == [8, 4, 2, 2, 2, 2]


def test_a_single_picture_that_does_not_fit_is_told(path):
    checkpoint = load_checkpoint(path, device="cpu")
    refuse_above(checkpoint.network, 0)
    with pytest.raises(UserError, match="does not suffice for one picture"):
        checkpoint.describe(pictures(2), "drone")


def test_the_card_can_be_rewritten_without_touching_the_weights(path, card):
    before = safetensors.torch.load(path.read_bytes())
    metrics = (Metric("R@1", 0.75, "a new city"),)
    rewrite_card(path, replace(card, metrics=metrics, calibration=Calibration(0.05, "it")))
    assert read_card(path).metrics == metrics
    assert read_card(path).calibration == Calibration(0.05, "it")
    after = safetensors.torch.load(path.read_bytes())
    assert all(
        torch.equal(before[k], after[k]) and before[k].dtype == after[k].dtype for k in before
    )
    load_checkpoint(path)


def test_a_card_of_another_network_is_not_put_on(path, card):
    with pytest.raises(ValueError, match="another network"):
        rewrite_card(path, replace(card, config={**card.config, "freeze_bn": True}))


# --- files that are none ---


def test_missing_unexpected_and_misshaped_weights_are_named(path):
    def spoil(tensors):
        del tensors["model.bn1.weight"]
        tensors["model.extra"] = torch.zeros(1)
        tensors["logit_scale"] = torch.zeros(2)

    with pytest.raises(UserError) as problem:
        load_checkpoint(rewritten(path, spoil))
    told = str(problem.value)
    assert "model.bn1.weight is missing" in told
    assert "model.extra is not part of it" in told
    assert "logit_scale is (2,), not ()" in told


def test_weights_that_are_not_finite_are_refused(path):
    def spoil(tensors):
        tensors["model.bn1.weight"][0] = torch.nan

    with pytest.raises(UserError, match=r"model\.bn1\.weight is not finite"):
        load_checkpoint(rewritten(path, spoil))


@pytest.mark.parametrize("keep", [0, 5, 200, 5000, -10])
def test_a_truncated_file_is_told(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"名 with space\.safetensors"):
        load_checkpoint(path)


def test_a_file_that_is_something_else_is_told(tmp_path):
    for name, content in (("a.safetensors", b"GIF89a" * 99), ("b.pth", b"PK\x03\x04" * 99)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match="is not a Skyfix checkpoint"):
            load_checkpoint(tmp_path / name)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


def edited_card(path, **changes):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    raw = json.loads(header["__metadata__"]["skyfix"])
    header["__metadata__"]["skyfix"] = json.dumps({**raw, **changes})
    new = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])
    return path


def test_a_checkpoint_of_a_network_unknown_here_is_told(path):
    with pytest.raises(UserError, match="no network mystery"):
        load_checkpoint(edited_card(path, network="mystery"))


def test_a_checkpoint_of_a_later_format_is_told(path):
    with pytest.raises(UserError, match="format 99"):
        load_checkpoint(edited_card(path, format=99))


def test_a_checkpoint_with_other_sizes_than_its_network_is_told(path):
    config = {**read_card(path).config, "backbone": "test_resnet"}
    with pytest.raises(UserError, match="do not fit"):
        load_checkpoint(edited_card(path, config=config))


# --- saving ---


def test_a_full_disk_is_told_and_leaves_the_old_file(path, network, card, monkeypatch):
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="The disk is full"):
        save_checkpoint(path, network, replace(card, title="new"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written_is_told(tmp_path, network, card):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "x.safetensors", network, card)


def test_an_interrupted_save_leaves_the_old_file(path, network, card, monkeypatch):
    before = path.read_bytes()

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, network, card)
    assert path.read_bytes() == before


def test_weights_that_half_precision_cannot_hold_are_not_saved(tmp_path, network, card):
    with torch.no_grad():
        network.model.conv_stem.weight[0] = 1e6
    with pytest.raises(UserError, match="not finite in float16"):
        save_checkpoint(tmp_path / "x.safetensors", network, card)
    assert not list(tmp_path.iterdir())


# --- devices ---


def test_auto_takes_the_cpu_and_says_why_where_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    device = choose_device("auto")
    assert device.name == "cpu"
    assert device.reason in ("this PyTorch is built for the CPU", "no CUDA GPU found")


def test_a_gpu_asked_for_by_name_is_not_silently_replaced():
    with pytest.raises(UserError, match="cannot be used"):
        choose_device("cuda:7")
    with pytest.raises(UserError, match="no device abacus"):
        choose_device("abacus")


def test_nothing_is_unpickled(path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("torch.load was called"))
    load_checkpoint(path, device="cpu")
