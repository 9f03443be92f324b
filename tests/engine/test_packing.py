"""Checkpoints with 8-bit weights."""

import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint, read_tensors
from app.engine.packing import LEAST, SCALE, pack, pack_checkpoint, unpack
from app.errors import UserError
from tests.engine.small_town import INPUT, make_checkpoint


def test_a_weight_comes_back_within_half_a_step_of_its_channel():
    torch.manual_seed(0)
    weight = torch.randn(64, 32, 3, 3) * torch.logspace(-3, 1, 64)[:, None, None, None]
    weight[5] = 0.0
    kept = unpack(pack({"conv": weight}), name="x")["conv"]
    step = weight.flatten(1).abs().amax(dim=1) / 127
    error = (kept - weight).flatten(1).abs().amax(dim=1)
    assert (error <= step / 2 * 1.001).all()
    assert (error[step > 0] > 0).all()  # it is rounded indeed
    assert not kept[5].any()


def test_only_large_weights_are_packed():
    tensors = {
        "large": torch.randn(LEAST // 8, 8),
        "small": torch.randn(LEAST // 8 - 1, 8),
        "norm": torch.randn(2 * LEAST),
        "count": torch.arange(2 * LEAST).view(2, -1),
    }
    packed = pack(tensors)
    assert {k for k, t in packed.items() if t.dtype == torch.int8} == {"large"}
    assert set(packed) == {*tensors, "large" + SCALE}
    back = unpack(packed, name="x")
    assert all(torch.equal(back[k], tensors[k]) for k in ("small", "norm", "count"))


@pytest.mark.parametrize("wrong", ["orphan", "short", "float"])
def test_scales_that_fit_no_weights_are_refused(wrong):
    packed = pack({"conv": torch.randn(64, 64)})
    if wrong == "orphan":
        del packed["conv"]
    elif wrong == "short":
        packed["conv" + SCALE] = packed["conv" + SCALE][:-1]
    else:
        packed["conv"] = packed["conv"].float()
    with pytest.raises(UserError, match=r"bad\.safetensors.*conv"):
        unpack(packed, name="bad.safetensors")


def test_a_packed_checkpoint_is_smaller_and_describes_alike(tmp_path):
    whole = make_checkpoint(tmp_path / "whole.safetensors", "drone", INPUT)
    done = pack_checkpoint(whole, tmp_path / "packed.safetensors")
    assert done.bytes_after == done.path.stat().st_size < 0.75 * done.bytes_before
    assert read_card(done.path) == read_card(whole)
    ours, theirs = load_checkpoint(whole, device="cpu"), load_checkpoint(done.path, device="cpu")
    assert ours.sha256 != theirs.sha256  # galleries tell them apart
    size = ours.network.input_size("satellite")
    pictures = torch.randint(0, 256, (4, *size, 3), dtype=torch.uint8).numpy()
    a, b = (c.describe(pictures, "satellite") for c in (ours, theirs))
    assert ((a * b).sum(axis=1) > 0.99).all()
    assert (a != b).any()


def test_no_file_that_is_there_is_packed_over(tmp_path):
    whole = make_checkpoint(tmp_path / "a.safetensors", "drone", INPUT)
    before = whole.read_bytes()
    with pytest.raises(UserError, match=r"a\.safetensors is there already"):
        pack_checkpoint(whole, whole)
    assert whole.read_bytes() == before


def test_what_is_packed_is_not_packed_again(tmp_path):
    first = pack_checkpoint(
        make_checkpoint(tmp_path / "a.safetensors", "drone", INPUT), tmp_path / "b.safetensors"
    )
    with pytest.raises(UserError, match="packed already"):
        pack_checkpoint(first.path, tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()
    assert any(key.endswith(SCALE) for key in read_tensors(first.path))
