"""MFRGN: features of four scales, described as a whole (SCAM) and in place (GPAB).

"Multi-scale Feature Representation Generalization Network for Ground-to-Aerial Geo-localization",
ACM MM 2024. Where paper and released code differ this is the code; ``our_name`` says where each
published parameter went.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.backbone import first_stages, last_maps, scale_backbone
from app.models.base import (
    AttentionMap,
    PairBatch,
    RetrievalConfig,
    RetrievalNetwork,
    config_from_mapping,
)
from app.models.losses import info_nce
from app.models.multi_scale import (
    GlobalPromptAttention,
    Grid,
    ScaleEmbedding,
    SelfCrossAttention,
    pyramid_sample,
    sine_code,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MFRGNConfig(RetrievalConfig):
    """Defaults are the released code's for CVUSA and CVACT."""

    backbone: str = "convnext_base.fb_in22k_ft_in1k"  # a timm name; both views share its weights
    drop_path_rate: float = 0.0
    freeze_bn: bool = False  # the backbone's, as in Sample4Geo; of no effect on ConvNeXt
    frozen_stages: int = 0  # the stem and this many stages keep the weights they came with
    # All weights shared by the views (the released University class); the satellite's grids and
    # kernels then serve both.
    shared: bool = False
    # With ``shared``: both views through batch norm at once, as in use. The released code takes
    # them one by one, and in use both by one running mixture of the two.
    joint_batch_norm: bool = False
    # The descriptor. 7 : 1 is the best of figure 7; 0 leaves that part out. Both 0 are the
    # baselines of table 4: means of the maps themselves, which is what "directly" is read as.
    global_width: int = 1792  # G; a multiple of ``width``
    local_width: int = 256  # L
    # L_p, or L_ini: "initial" is read as the tokens before SCAM, so that nothing else changes.
    prompts: Literal["global", "initial"] = "global"
    multi_scale: bool = True  # MBaseline, or Baseline: the last map alone. Of no other effect
    # SCAM
    width: int = 128
    norm_groups: int = 32
    heads: int = 4
    ffn_width: int = 1024  # the paper prints 2048, which its own FLOPs contradict
    high_updates: int = 2  # A
    low_updates: int = 1  # B
    dropout: float = 0.3
    linear_attention: bool = True  # LA
    # PPS: S1 is replaced by its averages over these grids. The paper prints 7 x 36 for the last
    # one of the panorama; with 7 x 63 both views have 622.
    sampling: bool = True
    satellite_grids: tuple[Grid, ...] = ((1, 1), (6, 6), (12, 12), (21, 21))
    query_grids: tuple[Grid, ...] = ((1, 1), (3, 12), (6, 24), (7, 63))
    # GPAB: of the space gates on S1 to S4. On a sampled S1 it is as long as this one has cells.
    satellite_kernels: tuple[Grid, Grid, Grid, Grid] = ((9, 9), (7, 7), (5, 5), (3, 3))
    query_kernels: tuple[Grid, Grid, Grid, Grid] = ((7, 13), (7, 13), (7, 13), (7, 13))
    prompt_kernel: int = 5


STRIDES = (8, 16, 32)  # of S1, S2 and S3; S4 is S3 halved, rounded up


def scale_grids(size: tuple[int, int]) -> tuple[Grid, Grid, Grid, Grid]:
    """The grids of S1 to S4. Raises UserError for a picture that they would not cover."""
    height, width = size
    if height % STRIDES[-1] or width % STRIDES[-1]:
        raise UserError(
            f"MFRGN cannot take pictures of {height} x {width}",
            f"Both sides must be multiples of {STRIDES[-1]}.",
        )
    s1, s2, s3 = ((height // stride, width // stride) for stride in STRIDES)
    return s1, s2, s3, ((s3[0] + 1) // 2, (s3[1] + 1) // 2)


def cells(grid: Grid) -> int:
    return grid[0] * grid[1]


@dataclass(frozen=True, slots=True)
class Scales:
    """What a picture is made of for the flows."""

    maps: tuple[Tensor, ...]  # S1 to S4, [b, c, h, w]; a sampled S1 is [b, c, n, 1]
    low: Float[Tensor, "b l d"]  # F_L: tokens of S1
    high: Float[Tensor, "b h d"]  # F_H: tokens of S2, S3 and S4


class Flows(nn.Module):
    """The global and the local flow of a view; which of them there are the config says."""

    def __init__(
        self,
        config: MFRGNConfig,
        channels: Sequence[int],
        *,
        size: tuple[int, int],
        grids: Sequence[Grid],
        kernels: Sequence[Grid],
    ) -> None:
        super().__init__()
        c = config
        self.shapes = scale_grids(size)
        self.grids = tuple(grids) if c.sampling else ()
        samples = sum(map(cells, self.grids))
        self.tokens = (samples or cells(self.shapes[0]), *map(cells, self.shapes[1:]))
        self.prompts = c.prompts
        self.norm = nn.LayerNorm(c.width) if samples else nn.Identity()
        self.scam: SelfCrossAttention | None = None
        if c.global_width or c.prompts == "global":
            self.scam = SelfCrossAttention(
                c.width,
                c.heads,
                c.ffn_width,
                high_updates=c.high_updates,
                low_updates=c.low_updates,
                dropout=c.dropout,
                linear=c.linear_attention,
            )
        self.global_projection: nn.Linear | None = None
        if c.global_width:
            self.global_projection = nn.Linear(sum(self.tokens), c.global_width // c.width)
        self.gpab = nn.ModuleList()
        self.local_projection: nn.Linear | None = None
        if c.local_width:
            first, *others = kernels
            if 0 < samples < cells(first):
                # Not only pointless: with it the backward pass of torch 2.13 writes out of bounds.
                raise UserError(
                    f"A gate that spans {cells(first)} samples of S1 is longer than all {samples}",
                    "Choose finer grids or a smaller first kernel.",
                )
            spans = [(cells(first), 1) if samples else first, *others]
            self.gpab.extend(
                GlobalPromptAttention(c.width, n, kernel=span, prompt_kernel=c.prompt_kernel)
                for n, span in zip(channels, spans, strict=True)
            )
            self.local_projection = nn.Linear(sum(channels), c.local_width)

    def forward(self, maps: Sequence[Tensor], embedded: Sequence[Tensor]) -> Float[Tensor, "b d"]:
        """The descriptor before it is made a unit vector. ``maps`` and ``embedded``: S1 to S4."""
        scales = self.scales(maps, embedded)
        low, high = self._global(scales)
        parts: list[Tensor] = []
        if self.global_projection is not None:
            # Over the tokens, not over the channels: the learnt weights belong to places.
            f_global = torch.cat((low, high), dim=1)
            parts.append(self.global_projection(f_global.mT).flatten(1))
        if self.local_projection is not None:
            parts.append(self.local_projection(_means(self._gated(scales, low, high))))
        return torch.cat([part.float() for part in parts], dim=1)

    def scales(self, maps: Sequence[Tensor], embedded: Sequence[Tensor]) -> Scales:
        """Position codes, sampling, and the tokens' two groups."""
        coded = [x + sine_code(x) for x in embedded]
        high = torch.cat([x.flatten(2).mT for x in coded[1:]], dim=1)
        if not self.grids:
            return Scales(tuple(maps), coded[0].flatten(2).mT, high)
        low = self.norm(pyramid_sample(coded[0], self.grids).mT)
        return Scales((pyramid_sample(maps[0], self.grids)[..., None], *maps[1:]), low, high)

    def explain(self, scales: Scales) -> tuple[AttentionMap, ...]:
        """The local flow's alignment and gates, and the attention of the global flow."""
        maps: list[AttentionMap] = []
        if self.local_projection is not None:
            low, high = self._global(scales)
            maps.append(self._alignment(self._gated(scales, low, high)))
            for i, (gpab, x, tokens) in enumerate(self._prompted(scales, low, high)):
                _, gate = gpab.gates(tokens, (x.shape[2], x.shape[3]))
                shown, note = (gate[:, 0], "") if i else self._finest(gate.flatten(1))
                maps.append(AttentionMap(f"GPAB's space gate on S{i + 1}{note}", shown.float()))
        if self.scam is not None:
            of_low, of_high = self.scam.received(scales.low, scales.high)
            of_second = of_high[:, : self.tokens[1]].unflatten(1, self.shapes[1])
            of_first, note = self._finest(of_low)
            name = "attention received in SCAM's update of S1, by tokens of"
            maps.append(AttentionMap(f"{name} S2", of_second.float()))
            maps.append(AttentionMap(f"{name} S1{note}", of_first.float()))
        return tuple(maps)

    def _global(self, scales: Scales) -> tuple[Tensor, Tensor]:
        if self.scam is None:
            return scales.low, scales.high
        low, high = self.scam(scales.low, scales.high)
        return low, high

    def _prompted(
        self, scales: Scales, low: Tensor, high: Tensor
    ) -> list[tuple[GlobalPromptAttention, Tensor, Tensor]]:
        """Of S1 to S4 the block, the map and the tokens that it goes by."""
        if self.prompts == "initial":
            low, high = scales.low, scales.high
        blocks = cast(Sequence[GlobalPromptAttention], self.gpab)
        tokens = (low, *high.split(self.tokens[1:], dim=1))
        return list(zip(blocks, scales.maps, tokens, strict=True))

    def _gated(self, scales: Scales, low: Tensor, high: Tensor) -> list[Tensor]:
        return [gpab(x, tokens) for gpab, x, tokens in self._prompted(scales, low, high)]

    def _alignment(self, gated: Sequence[Tensor]) -> AttentionMap:
        """How far each place of S2 moves the local descriptor along itself.

        The mean over the places is S2's part of the descriptor's length.
        """
        assert self.local_projection is not None
        unit = F.normalize(self.local_projection(_means(gated)), dim=1)
        of_scales = (unit @ self.local_projection.weight).split([x.shape[1] for x in gated], dim=1)
        values = torch.einsum("bchw,bc->bhw", gated[1], of_scales[1])
        return AttentionMap("alignment of S2 with the local descriptor", values.float())

    def _finest(self, x: Tensor) -> tuple[Tensor, str]:
        """Of values by token of S1 those that make one map: all, or the last grid's samples."""
        if not self.grids:
            return x.unflatten(1, self.shapes[0]), ""
        return x[:, -cells(self.grids[-1]) :].unflatten(1, self.grids[-1]), ", finest samples"


def _means(maps: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.mean(dim=(2, 3)) for x in maps], dim=1)


class MFRGN(RetrievalNetwork):
    """The backbone and the embedding are the views' own in no variant; the flows are in most."""

    config: MFRGNConfig

    def __init__(self, config: MFRGNConfig) -> None:
        super().__init__(config)
        _check(config)
        c = config
        self.backbone, widths = scale_backbone(c.backbone, drop_path_rate=c.drop_path_rate)
        if c.frozen_stages:
            first_stages(self.backbone, c.frozen_stages).requires_grad_(False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        channels = (*widths, c.width)
        with_flows = bool(c.global_width or c.local_width)
        self.fourth: ScaleEmbedding | None = None
        if with_flows or c.multi_scale:
            self.fourth = ScaleEmbedding(widths[-1], c.width, groups=c.norm_groups, stride=2)
        self.embed = nn.ModuleList()
        self.flows = nn.ModuleDict()
        self._descriptor = c.global_width + c.local_width
        if not with_flows:
            self._descriptor = sum(channels) if c.multi_scale else widths[-1]
            return
        self.embed.extend(ScaleEmbedding(n, c.width, groups=c.norm_groups) for n in widths)
        satellite = Flows(
            c,
            channels,
            size=c.satellite_size,
            grids=c.satellite_grids,
            kernels=c.satellite_kernels,
        )
        if c.shared:
            self.flows["shared"] = satellite
            return
        self.flows["satellite"] = satellite
        self.flows["query"] = Flows(
            c, channels, size=c.query_size, grids=c.query_grids, kernels=c.query_kernels
        )

    @property
    def descriptor(self) -> int:
        return self._descriptor

    def train(self, mode: bool = True) -> "MFRGN":
        super().train(mode)
        if self.config.freeze_bn:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()
        return self

    def flows_of(self, view: View) -> Flows:
        """Only of a network that has flows."""
        name = "satellite" if view == "satellite" else "query"
        return cast(Flows, self.flows["shared" if self.config.shared else name])

    def scale_maps(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """S1 to S4 as far as the variant has them, [b, c, h, w]; S4 has the tokens' width."""
        maps = last_maps(self.backbone, images)
        if not self.flows and not self.config.multi_scale:
            return maps[-1:]
        assert self.fourth is not None
        return (*maps, self.fourth(maps[-1]))

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        maps = self.scale_maps(self._sized(images, view))
        if not self.flows:
            return F.normalize(_means(maps).float(), dim=1)
        described: Tensor = self.flows_of(view)(maps, self._embedded(maps))
        return F.normalize(described, dim=1)

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Equation 1 both ways, with a learnt temperature."""
        if self.config.joint_batch_norm:
            both = torch.cat((batch.query, batch.satellite))
            query, satellite = self.describe(both, "satellite").chunk(2)
        else:
            query = self.describe(batch.query, self.config.query_view)
            satellite = self.describe(batch.satellite, "satellite")
        return info_nce(
            query,
            satellite,
            batch.place,
            scale=self.logit_scale.exp(),
            label_smoothing=self.config.label_smoothing,
        )

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        maps = self.scale_maps(self._sized(images, view))
        if not self.flows:
            last = maps[-2] if self.config.multi_scale else maps[-1]
            return (AttentionMap("activation energy of S3", last.float().norm(dim=1)),)
        flows = self.flows_of(view)
        return flows.explain(flows.scales(maps, self._embedded(maps)))

    def _embedded(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [*(embed(x) for embed, x in zip(self.embed, maps, strict=False)), maps[-1]]

    def _sized(self, images: Tensor, view: View) -> Tensor:
        """The flows' weights belong to the places of one size; another would mean nothing."""
        if tuple(images.shape[2:]) != self.input_size(view):
            raise ValueError(f"{view} pictures of {self.input_size(view)}, not {images.shape[2:]}")
        return images


def _check(config: MFRGNConfig) -> None:
    for size in (config.query_size, config.satellite_size):
        scale_grids(size)
    if config.global_width % config.width:
        raise UserError(
            f"A global descriptor of {config.global_width} does not divide by the width "
            f"{config.width} of the tokens",
            "Choose a multiple of it.",
        )
    if config.shared and config.query_size != config.satellite_size:
        raise UserError(
            "Views that share all weights need pictures of one size",
            "Give both the same size, or let each have its own flows.",
        )
    if config.joint_batch_norm and not config.shared:
        raise UserError(
            "Views with weights of their own cannot go through batch norm at once",
            "Set shared, or leave joint_batch_norm out.",
        )
    if not config.low_updates:
        raise UserError("SCAM without an update of S1 is not MFRGN", "Set low_updates to 1.")


_VIEW = "(?P<view>_sat|_grd|)"
_VIEWS = {"_sat": "satellite", "_grd": "query", "": "shared"}
# The beginnings of published names and of ours; University's have no view in them.
PUBLISHED_NAMES = (
    (r"backbone\.backbone", "backbone"),
    (r"embed\.input_proj\.3", "fourth"),
    (r"embed\.input_proj", "embed"),
    (r"norm1", "flows.{first}.norm"),
    (r"norm2", "flows.query.norm"),
    (rf"transformer{_VIEW}_H\.layers", "flows.{view}.scam.high"),
    (rf"transformer{_VIEW}_L\.layers", "flows.{view}.scam.low"),
    (rf"proj{_VIEW}", "flows.{view}.global_projection"),
    (rf"proj_local{_VIEW}", "flows.{view}.local_projection"),
    (rf"proj_gl{_VIEW}\.(?P<scale>\d)", "flows.{view}.gpab.{scale}.prompt"),
    (rf"ch{_VIEW}\.(?P<scale>\d)", "flows.{view}.gpab.{scale}.channel"),
    (rf"sp{_VIEW}\.(?P<scale>\d)", "flows.{view}.gpab.{scale}.space"),
)


def our_name(published: str, *, shared: bool) -> str:
    """Where a parameter of the released code went; one that it does not know keeps its name."""
    for beginning, ours in PUBLISHED_NAMES:
        if found := re.fullmatch(rf"{beginning}\.(?P<rest>.+)", published):
            parts = found.groupdict()
            parts["view"] = _VIEWS[parts.get("view", "")]
            first = "shared" if shared else "satellite"
            return f"{ours.format(first=first, **parts)}.{parts['rest']}"
    return published


# The rows of tables 4 and 5, over "paper-cvusa". The paper does not say how long the descriptors of
# table 4's incomplete rows are: as long as the whole.
ABLATIONS: dict[str, dict[str, Any]] = {
    "Baseline": {"global_width": 0, "local_width": 0, "multi_scale": False},
    "MBaseline": {"global_width": 0, "local_width": 0},
    "MBaseline+L_ini": {"global_width": 0, "local_width": 2048, "prompts": "initial"},
    "MBaseline+G": {"global_width": 2048, "local_width": 0},
    "MBaseline+G+L_ini": {"prompts": "initial", "sampling": False},
    "MBaseline+G+L_p": {"sampling": False},
    "without LA and PPS": {"linear_attention": False, "sampling": False},
    "LA": {"sampling": False},
    "LA and PPS": {},
}


PRESETS = presets.MFRGN


def build(config: Mapping[str, Any]) -> MFRGN:
    return MFRGN(config_from_mapping(MFRGNConfig, config))
