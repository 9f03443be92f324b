"""MIFT: multi-scale features and two ranges of attention, for drone and satellite pictures.

Drone-satellite geolocalization by multi-scale information and a dual-channel attention. The paper
and the released code are two networks, and both are here: the paper's fuses the four stages
(MFF) and cuts regions at jumps of the heat; the released one has CrossFormer-S as it is and cuts
runs of equal size. Parameters are named as in the released code: a published state dict without
its "model_1." fits, but for ``UNUSED_PUBLISHED_KEYS``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.base import AttentionMap, config_from_mapping
from app.models.crossformer import Attention, CrossFormer
from app.models.parts import HeatRegions, PartConfig, PartNetwork, heat_runs

PUBLISHED_PREFIX = "model_1."
# Patterns of published keys that hold nothing learnt here: the trunk's head for ImageNet's classes,
# which no forward pass of MIFT uses, and two constant tables that a group's side decides.
UNUSED_PUBLISHED_KEYS = (
    r"transformer\.head\.(weight|bias)",
    r"transformer\.layers\.\d+\.blocks\.\d+\.attn\.(biases|relative_position_index)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MIFTConfig(PartConfig):
    """Defaults are the paper's network; what the paper leaves open says what was chosen."""

    # The trunk. Figure 4 draws 64/32/16/16 channels a kernel, but MFF takes 96 from stage 1.
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    group: int = 7  # GLRA's; the paper's "stride of 2 or 3" follows from it: side / group
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    kernels: tuple[int, ...] = (4, 8, 16, 32)  # MEF of stage 1 (table of kernels)
    merge_kernels: tuple[int, ...] = (2, 4)  # MEF of stages 2 to 4
    attention: Attention = "glra"  # table of attentions; Swin's keeps the dynamic position bias
    # MFF, the paper's only. Widths of stages 1 to 4 after their 1 x 1 convolutions; "shallow
    # features undergo downsampling" does not say how: averaging is the plainest.
    fusion: bool = True
    fusion_widths: tuple[int, ...] = (64, 64, 128, 512)
    fusion_pooling: Literal["average", "max"] = "average"
    # The region branch. Equal runs are the released code's.
    regions: int = 3  # n
    region_rule: Literal["gradient", "equal"] = "gradient"
    # The heat is a token's mean channel. The released code takes it after the final norm, where
    # only learnt gains make it differ from zero; "raw", before the norm, means something from the
    # first step on, and is for training without pretrained weights.
    heat: Literal["normed", "raw"] = "normed"
    # The paper describes the triplet alone; the released code adds the cross-entropy.
    classes: int = 0
    samples: int = 3  # k of ``k_sampling``; the released script's default is 1


def gradient_regions(heat: Float[Tensor, "b t"], parts: int) -> Int[Tensor, "b t"]:
    """The region of each token: sorted by heat, coldest first, cut at the largest jumps.

    Equation 2 with first differences. Of equal jumps the coldest counts first, so that every
    region holds a token whatever the heat is.
    """
    order = heat.argsort(dim=1, stable=True)
    jumps = heat.gather(1, order).diff(dim=1)
    largest = jumps.argsort(dim=1, descending=True, stable=True)[:, : parts - 1]
    starts = torch.zeros_like(order).scatter(1, largest + 1, 1)
    return torch.zeros_like(order).scatter(1, order, starts.cumsum(dim=1))


def k_sampling(places: int, k: int, *, generator: torch.Generator) -> Int[Tensor, " n"]:
    """An epoch's order: places shuffled, each ``k`` times in a row (section 4.4.4).

    Draw a random drone picture, and a fresh augmentation of the satellite's, at each visit. Use
    batches divisible by ``k``: hard negatives need several places in a batch, and a batch of 8
    with k = 3 would hold two whole ones.
    """
    return torch.randperm(places, generator=generator).repeat_interleave(k)


class Conv(nn.Sequential):
    """Table 1's Conv_n: 3 x 3, batch norm, ReLU."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(
            nn.Conv2d(width, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
        )


class Fusion(nn.Module):
    """MFF: deep maps weight shallow ones (products), then join them (figure 5, table 1).

    The figure leaves the wiring open; this one, of the cascaded partial decoders that the paper
    cites, is the one that uses each of the ten convolutions once with the widths of table 1.
    """

    def __init__(
        self,
        maps: tuple[int, ...],
        widths: tuple[int, ...],
        *,
        pooling: Literal["average", "max"],
    ) -> None:
        super().__init__()
        self.pooling = pooling
        self.reduce = nn.ModuleList(
            nn.Conv2d(width, out, 1) for width, out in zip(maps, widths, strict=True)
        )
        w1, w2, w3, w4 = widths
        self.conv1, self.conv2 = Conv(w4, w4), Conv(w4, w3)
        self.conv3, self.conv4 = Conv(w3, w2), Conv(w4, w2)
        self.conv5 = Conv(w4 + w3, w4 + w3)
        self.conv6, self.conv7, self.conv8 = Conv(w2, w1), Conv(w3, w1), Conv(w4, w1)
        self.conv9 = Conv(w4 + w3 + w2, w4 + w3 + w2)
        self.conv10 = Conv(sum(widths), sum(widths))

    def forward(self, maps: tuple[Tensor, ...]) -> Float[Tensor, "b c h w"]:
        """One map of the last one's size, from maps [b, h, w, c] of stages 1 to 4."""
        size = (maps[-1].shape[1], maps[-1].shape[2])
        pool = F.adaptive_avg_pool2d if self.pooling == "average" else F.adaptive_max_pool2d
        s1, s2, s3, s4 = (
            pool(reduce(x.permute(0, 3, 1, 2)), size)
            for reduce, x in zip(self.reduce, maps, strict=True)
        )
        w3 = self.conv2(s4) * s3
        x = self.conv5(torch.cat((self.conv1(s4), w3), dim=1))
        w2 = self.conv3(s3) * self.conv4(s4) * s2
        x = self.conv9(torch.cat((x, w2), dim=1))
        w1 = self.conv6(s2) * self.conv7(s3) * self.conv8(s4) * s1
        fused: Tensor = self.conv10(torch.cat((x, w1), dim=1))
        return fused


class MIFT(PartNetwork):
    """Both views share all weights."""

    config: MIFTConfig

    def __init__(self, config: MIFTConfig) -> None:
        super().__init__(config)
        self.transformer = CrossFormer(
            width=config.width,
            depths=config.depths,
            heads=config.heads,
            group=config.group,
            kernels=config.kernels,
            merge_kernels=config.merge_kernels,
            mlp_ratio=config.mlp_ratio,
            drop_path=config.drop_path,
            attention=config.attention,
        )
        for size in (config.query_size, config.satellite_size):
            h, w = self.transformer.grids(size)[-1]
            if h * w < config.regions:
                raise UserError(
                    f"{h * w} tokens cannot make {config.regions} regions",
                    "Use larger pictures or fewer regions.",
                )
        widths = self.transformer.widths
        self.fusion: Fusion | None = None
        if config.fusion:
            self.fusion = Fusion(widths, config.fusion_widths, pooling=config.fusion_pooling)
        for i in range(config.regions):
            self.add_head(f"classifier_heat{i + 1}", widths[-1])
        self.add_head("classifier1", sum(config.fusion_widths) if config.fusion else widths[-1])

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Not the fusion, which no published weights have."""
        yield from self.transformer.parameters()

    def pool(self, images: Float[Tensor, "b 3 h w"], view: View) -> list[Tensor]:
        """The mean of each region of stage 4, then of the whole picture (fused, in the paper)."""
        maps = self.transformer(images)
        last = self.transformer.norm(maps[-1])
        if self.fusion is None:
            whole = last.mean(dim=(1, 2))
        else:
            whole = self.fusion((*maps[:-1], last)).mean(dim=(2, 3))
        return [*self._regions(maps[-1], last).means(), whole]

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        maps = self.transformer(images)
        regions = self._regions(maps[-1], self.transformer.norm(maps[-1]))
        received = self.transformer.last_attention(maps[-2]).float()
        return (
            *regions.maps(self.heads[:-1], (maps[-1].shape[1], maps[-1].shape[2])),
            AttentionMap("attention received in the last block", received),
        )

    def _regions(self, raw: Tensor, normed: Tensor) -> HeatRegions:
        """``raw`` and ``normed`` are the last map before and after the trunk's norm."""
        config = self.config
        heat = (normed if config.heat == "normed" else raw).flatten(1, 2).float().mean(dim=-1)
        by_jumps = config.region_rule == "gradient"
        region = (gradient_regions if by_jumps else heat_runs)(heat, config.regions)
        return HeatRegions(
            normed.flatten(1, 2), heat, region, parts=config.regions, coldest_first=by_jumps
        )


PRESETS = presets.MIFT


def build(config: Mapping[str, Any]) -> MIFT:
    return MIFT(config_from_mapping(MIFTConfig, config))
