"""Backbones that end in maps of chosen strides."""

import pytest
import torch

from app.errors import UserError
from app.models.backbone import MapTrunk


def trunk(name: str = "test_efficientnet", *, deepest: int = 16, frozen: int = 0) -> MapTrunk:
    return MapTrunk(name, deepest=deepest, freeze_bn=True, frozen_stages=frozen)


def test_coarser_maps_are_enlarged_and_laid_beside_the_finest():
    net = trunk().eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        fine, coarse, both = (net(images, strides) for strides in ((8,), (16,), (8, 16)))
    assert tuple(fine.shape[2:]) == (8, 12)
    assert tuple(coarse.shape[2:]) == (4, 6)
    assert both.shape[1] == net.channels((8, 16)) == net.channels((8,)) + net.channels((16,))
    torch.testing.assert_close(both[:, : fine.shape[1]], fine)
    enlarged = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(both[:, fine.shape[1] :], enlarged)


def test_nothing_lies_behind_the_deepest_stage():
    shallow, deep = (sum(p.numel() for p in trunk(deepest=d).parameters()) for d in (16, 32))
    assert shallow < deep
    net = trunk(deepest=32).train()
    net(torch.randn(2, 3, 64, 64), (32,)).sum().backward()
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []


def test_frozen_stages_and_batch_norms_stay_as_they_came():
    net = trunk(frozen=2).train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.randn(2, 3, 64, 64), (16,)).square().mean().backward()
    optimizer.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(key.startswith(("net.blocks.2", "net.blocks.3")) for key in changed)
    assert not any("running" in key for key in changed)


def test_a_stride_that_it_does_not_have_is_refused():
    with pytest.raises(UserError, match="no map of stride 64"):
        trunk(deepest=64)
    with pytest.raises(UserError, match="no map of stride 12"):
        trunk().channels((12,))
