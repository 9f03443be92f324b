"""Attention costs nothing when nobody asks to see it, in every network of the catalog.

Every operation of an ordinary forward pass is watched: attention must be left to PyTorch's fused
kernel, so that no table of weights (a softmax over tokens) is ever made outside it. A map that
was drawn must leave no trace: the operations before and after are the same, one by one. What is
not proven here is which kernel a device takes for the fused call.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from app.models.build import create_network, preset_config
from app.models.catalog import SPECS
from app.models.object_base import ObjectNetwork

FUSED = "scaled_dot_product_attention"
# Softmax attention by their papers; MFRGN's is linear, and the others are convolutions.
WITH_ATTENTION = {"mift", "geoviewmatch", "transgeo", "fsra", "attengeo"}


class Watch(TorchDispatchMode):
    """Names and shapes of all operations within."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[tuple[int, ...], ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        shapes = tuple(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
        self.seen.append((func.overloadpacket.__name__, shapes))
        return func(*args, **(kwargs or {}))

    def named(self, part: str) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
        return [op for op in self.seen if part in op[0]]


@torch.inference_mode()
def watched(act: Callable[[], object]) -> Watch:
    with Watch() as watch:
        act()
    return watch


class Acts:
    """What a network does in use, and what it does when it is asked for its maps."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.network = create_network(name, preset_config(name, "smallest")).eval()
        self.view = self.network.config.query_view
        self.query = torch.randn(2, 3, *self.network.input_size(self.view))
        self.satellite = torch.randn(2, 3, *self.network.input_size("satellite"))
        self.clicks = torch.tensor([[9.0, 9.0], [20.0, 20.0]])

    def ordinary(self) -> None:
        net = self.network
        if isinstance(net, ObjectNetwork):
            net.find(
                net.encode_query(self.query, self.clicks), net.encode_satellite(self.satellite)
            )
        else:
            net.describe(self.query, self.view)
            net.describe(self.satellite, "satellite")

    def explain(self) -> None:
        if isinstance(self.network, ObjectNetwork):
            self.network.explain(self.query, self.clicks, self.satellite)
        else:
            self.network.explain(self.query, self.view)
            self.network.explain(self.satellite, "satellite")


every_network = pytest.mark.parametrize("name", [spec.name for spec in SPECS])


@every_network
def test_an_ordinary_pass_makes_no_table_of_attention_weights(name):
    watch = watched(Acts(name).ordinary)
    assert watch.named("softmax") == []
    kinds = {op for op, _ in watch.named("attention")}
    assert kinds == ({FUSED} if name in WITH_ATTENTION else set())


@every_network
def test_a_map_leaves_no_trace(name):
    acts = Acts(name)
    before = watched(acts.ordinary).seen
    asked = watched(acts.explain)
    assert watched(acts.ordinary).seen == before
    hooks = [m for m in acts.network.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []
    if name in WITH_ATTENTION:
        assert asked.named("softmax")  # the weights are made for the map, and only then


def test_the_watch_sees_a_table_of_weights_that_is_made():
    tokens = torch.randn(1, 5, 8)
    assert watched(lambda: (tokens @ tokens.mT).softmax(-1) @ tokens).named("softmax")
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()  # its own kernel makes one
    kinds = watched(lambda: layer(tokens, tokens, tokens)).named("attention")
    assert {op for op, _ in kinds} - {FUSED}
