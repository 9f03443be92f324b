"""Darknet-53 with YOLOv3's neck and heads, numbered as in the published configuration file.

Redmon, Farhadi: "YOLOv3: An Incremental Improvement", 2018. DetGeo takes from it the map of stride
16 just before the second head's last block; what a pass does not need is not computed.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

HEAD_OUTPUTS = 255  # 3 anchors x (4 + 1 + 80 classes of COCO)
IMAGE = -1  # as an input of a layer


@dataclass(frozen=True, slots=True)
class Layer:
    """A line of the configuration file; its number is its place in the list."""

    op: Literal["conv", "add", "join", "enlarge", "decode"]
    inputs: tuple[int, ...]
    width: int  # channels that come out
    kernel: int = 1
    stride: int = 1
    norm: bool = True  # batch norm and leaky ReLU; else a bias


@dataclass(frozen=True, slots=True)
class Layout:
    layers: tuple[Layer, ...]
    feature: int  # the layer whose map DetGeo takes

    @property
    def needed(self) -> tuple[int, ...]:
        """The layers that ``feature`` depends on, in order."""
        found: set[int] = set()
        waiting = [self.feature]
        while waiting:
            layer = waiting.pop()
            if layer != IMAGE and layer not in found:
                found.add(layer)
                waiting.extend(self.layers[layer].inputs)
        return tuple(sorted(found))


def layout(width: int = 32, blocks: tuple[int, ...] = (1, 2, 8, 8, 4)) -> Layout:
    """Five stages of ``blocks`` residual blocks each, then a head on each of the last three."""
    layers: list[Layer] = []

    def add(layer: Layer) -> int:
        layers.append(layer)
        return len(layers) - 1

    def conv(width: int, kernel: int, stride: int = 1, *, norm: bool = True) -> int:
        return add(Layer("conv", (len(layers) - 1,), width, kernel, stride, norm))

    conv(width, 3)
    ends: list[int] = []
    for count in blocks:
        width *= 2
        conv(width, 3, 2)
        for _ in range(count):
            start = len(layers) - 1
            conv(width // 2, 1)
            conv(width, 3)
            add(Layer("add", (len(layers) - 1, start), width))
        ends.append(len(layers) - 1)
    features: list[int] = []
    for earlier in (*ends[-2:-4:-1], None):
        width //= 2
        for _ in range(2):
            conv(width, 1)
            conv(2 * width, 3)
        features.append(len(layers) - 1)
        branch = conv(width, 1)
        conv(2 * width, 3)
        conv(HEAD_OUTPUTS, 1, norm=False)
        add(Layer("decode", (len(layers) - 1,), HEAD_OUTPUTS))
        if earlier is not None:
            add(Layer("join", (branch,), width))
            conv(width // 2, 1)
            enlarged = add(Layer("enlarge", (len(layers) - 1,), width // 2))
            joined = width // 2 + layers[earlier].width
            add(Layer("join", (enlarged, earlier), joined))
    return Layout(tuple(layers), features[1])


class Darknet(nn.Module):
    """The trunk up to the map that DetGeo takes: [b, 16 width, h / 16, w / 16].

    ``whole`` keeps the weights of the layers that no pass needs, as the published files do; they
    learn nothing.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: tuple[int, ...] = (1, 2, 8, 8, 4),
        whole: bool = True,
    ) -> None:
        super().__init__()
        self.layout = layout(width, blocks)
        self.needed = self.layout.needed
        self.module_list = nn.ModuleList()
        for number, layer in enumerate(self.layout.layers):
            used = number in self.needed
            kept = layer.op == "conv" and (used or whole)
            part = self._conv(number, layer) if kept else nn.Sequential()
            self.module_list.append(part.requires_grad_(used))
        # A map is let go of after the last layer that needs it.
        self._last_use = {
            i: number for number in self.needed for i in self.layout.layers[number].inputs
        }

    @property
    def channels(self) -> int:
        return self.layout.layers[self.layout.feature].width

    def _conv(self, number: int, layer: Layer) -> nn.Sequential:
        source = layer.inputs[0]
        width = 3 if source == IMAGE else self.layout.layers[source].width
        part = nn.Sequential()
        conv = nn.Conv2d(
            width,
            layer.width,
            layer.kernel,
            layer.stride,
            padding=layer.kernel // 2,
            bias=not layer.norm,
        )
        part.add_module(f"conv_{number}", conv)
        if layer.norm:
            part.add_module(f"batch_norm_{number}", nn.BatchNorm2d(layer.width))
            part.add_module(f"leaky_{number}", nn.LeakyReLU(0.1))
        return part

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        maps = {IMAGE: images}
        for number in self.needed:
            layer = self.layout.layers[number]
            inputs = [maps[i] for i in layer.inputs]
            for i in layer.inputs:
                if self._last_use[i] == number:
                    del maps[i]
            match layer.op:
                case "conv":
                    maps[number] = self.module_list[number](inputs[0])
                case "add":
                    maps[number] = inputs[0] + inputs[1]
                case "enlarge":
                    maps[number] = F.interpolate(inputs[0], scale_factor=2.0)
                case "join":
                    maps[number] = torch.cat(inputs, dim=1)
                case "decode":
                    raise AssertionError("nothing needs a decoded head")
        return maps[self.layout.feature]
