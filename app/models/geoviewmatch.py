"""GeoViewMatch: two Swin trunks, aggregation at two scales, and contrastive learning.

Remote Sensing 16 (2024), 678. The street and the satellite picture have trunks of their own; the
street one's last stage has windows of 4 x 4 tokens, because its map is 4 tokens high. The strong
and the weak satellite pictures of the contrastive loss go through the same weights. There is no
published code or checkpoint.

The paper trains with AdamW and ASAM (``app.engine.asam``; its rho is not given, TransGeo's is
2.5), a cosine schedule over 200 epochs of batches of 32 pairs, and learning rates of 1e-4 for the
trunks (``trunk_parameters``) and 2e-4 for all else.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.base import (
    AttentionMap,
    PairBatch,
    RetrievalConfig,
    RetrievalNetwork,
    config_from_mapping,
)
from app.models.losses import soft_margin_triplet
from app.models.strong_weak import StrongLook, quarter_turned, rolled, strong_look
from app.models.swin import SwinV2


@dataclass(frozen=True, slots=True, kw_only=True)
class GeoViewMatchConfig(RetrievalConfig):
    """Defaults are the paper's network; what the paper leaves open says what was chosen."""

    # The trunks: SwinV2-T.
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 8
    mlp_ratio: float = 4.0
    drop_path: float = 0.2  # unsaid; this is SwinV2-T's own
    shift_by_axis: bool = False  # see ``SwinV2``: Microsoft's code, or timm's
    # Feature aggregation. Without multi-scale features (table 5) or by table 6: (4,), (3, 4),
    # (2, 3, 4) or (1, 2, 3, 4).
    stages: tuple[int, ...] = (3, 4)
    masks: int = 8  # N
    pooling: Literal["max", "mean"] = "max"  # over channels; SAFA's released code has the mean
    activation: Literal["none", "relu"] = "none"  # between the two layers; SAFA's code has none
    final_norm: bool = True  # the trunk's last norm, before stage 4 is aggregated: unsaid
    # "We apply l2 normalization to all the features": of the whole, or of each scale before.
    normalise: Literal["whole", "each"] = "whole"
    # Contrastive learning (table 5). The two layers of the head are of unsaid width: 128 is the
    # custom for such heads, and 94 then gives the 57.47 million parameters of table 4.
    contrastive: bool = True
    projection: tuple[int, int] = (94, 128)
    alpha: float = 10.0
    loss_weights: tuple[float, float, float] = (0.5, 0.25, 0.25)  # contrastive, strong, weak
    # Augmentation. The quarter turns are drawn from these; "90, 180 and 270 degrees" leaves out 0,
    # but a network that never sees north up is not ready for use.
    turns: tuple[int, ...] = (0, 1, 2, 3)
    # One street picture cannot fit both a turned and an unturned tile. So the pair is turned, and
    # the strong picture is altered as well; "unturned" is the text's letter.
    strong: Literal["turned", "unturned"] = "turned"
    query_turn: Literal["roll", "rotate"] = "roll"  # of a panorama; of a drone's picture
    jitter: tuple[float, float, float, float] = StrongLook().jitter
    chances: tuple[float, float, float] = StrongLook().chances
    sigma: tuple[float, float] = StrongLook().sigma


class Aggregation(nn.Module):
    """FA, after SAFA: masks over a map, made from its channels' maximum by two linear layers.

    Each of the masks has layers of its own. Their size is the map's: other pictures need another
    network.
    """

    def __init__(
        self, tokens: int, masks: int, *, pooling: Literal["max", "mean"], activation: bool
    ) -> None:
        super().__init__()
        self.pooling, self.activation = pooling, activation
        hidden = tokens // 2
        # SAFA's beginning: nearly even masks, so that each starts as an average.
        self.weight1 = nn.Parameter(torch.randn(masks, tokens, hidden) * 0.005)
        self.bias1 = nn.Parameter(torch.full((masks, hidden), 0.1))
        self.weight2 = nn.Parameter(torch.randn(masks, hidden, tokens) * 0.005)
        self.bias2 = nn.Parameter(torch.full((masks, tokens), 0.1))

    def masks(self, tokens: Float[Tensor, "b t c"]) -> Float[Tensor, "b n t"]:
        pooled = tokens.amax(dim=-1) if self.pooling == "max" else tokens.mean(dim=-1)
        hidden = torch.einsum("bt,nth->bnh", pooled, self.weight1) + self.bias1
        hidden = F.relu(hidden) if self.activation else hidden
        return torch.einsum("bnh,nht->bnt", hidden, self.weight2) + self.bias2

    def forward(self, tokens: Float[Tensor, "b t c"]) -> Float[Tensor, "b nc"]:
        """The Frobenius product of each mask with each channel's map."""
        return (self.masks(tokens) @ tokens).flatten(1)


class SwinGeo(nn.Module):
    """A trunk and the aggregations of the stages in use."""

    def __init__(self, config: GeoViewMatchConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.stages = config.stages
        self.each = config.normalise == "each"
        self.trunk = SwinV2(
            size=size,
            width=config.width,
            depths=config.depths,
            heads=config.heads,
            window=config.window,
            mlp_ratio=config.mlp_ratio,
            drop_path=config.drop_path,
            shift_by_axis=config.shift_by_axis,
        )
        if not config.final_norm:
            self.trunk.norm = nn.Identity()
        self.aggregations = nn.ModuleDict(
            {
                f"f{stage}": Aggregation(
                    math.prod(self.trunk.grids[stage - 1]),
                    config.masks,
                    pooling=config.pooling,
                    activation=config.activation == "relu",
                )
                for stage in config.stages
            }
        )

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """The multi-scale feature, a unit vector: the finer stage's part comes first."""
        maps = self._normed(self.trunk(images))
        # float() because under autocast the norm and the similarities want full precision.
        parts = [self._aggregation(s)(maps[s - 1].flatten(1, 2)).float() for s in self.stages]
        if self.each:
            parts = [F.normalize(part, dim=-1) for part in parts]
        return F.normalize(torch.cat(parts, dim=-1), dim=-1)

    def explain(self, images: Float[Tensor, "b 3 h w"]) -> tuple[AttentionMap, ...]:
        """See ``GeoViewMatch.explain``."""
        raw = self.trunk(images)
        maps = self._normed(raw)
        shares: list[AttentionMap] = []
        others: list[AttentionMap] = []
        for stage in reversed(self.stages):
            grid = maps[stage - 1].shape[1:3]
            tokens = maps[stage - 1].flatten(1, 2)
            masks = self._aggregation(stage).masks(tokens)
            part = masks @ tokens
            goal = part / part.norm(dim=(1, 2), keepdim=True)
            share = torch.einsum("bnt,btc,bnc->bt", masks, tokens, goal)
            for into, name, values in (
                (shares, "contribution to the descriptor", share),
                (others, "mean aggregation mask", masks.mean(dim=1)),
                (others, "mean channel", tokens.mean(dim=-1)),
            ):
                into.append(
                    AttentionMap(f"{name}, stage {stage}", values.float().unflatten(1, grid))
                )
        received = self.trunk.last_attention(raw[-2]).float()
        return (*shares, *others, AttentionMap("attention received in the last block", received))

    def _normed(self, maps: tuple[Tensor, ...]) -> list[Tensor]:
        return [*maps[:-1], self.trunk.norm(maps[-1])]

    def _aggregation(self, stage: int) -> Aggregation:
        return cast(Aggregation, self.aggregations[f"f{stage}"])


class GeoViewMatch(RetrievalNetwork):
    config: GeoViewMatchConfig

    def __init__(self, config: GeoViewMatchConfig) -> None:
        super().__init__(config)
        _check(config)
        self.look = StrongLook(jitter=config.jitter, chances=config.chances, sigma=config.sigma)
        self.query_net = SwinGeo(config, config.query_size)
        self.satellite_net = SwinGeo(config, config.satellite_size)
        self.projection: nn.Sequential | None = None
        if config.contrastive:
            hidden, out = config.projection
            self.projection = nn.Sequential(
                nn.Linear(self.descriptor, hidden), nn.ReLU(), nn.Linear(hidden, out)
            )

    @property
    def descriptor(self) -> int:
        c = self.config
        return c.masks * sum(c.width << (stage - 1) for stage in c.stages)

    def net(self, view: View) -> SwinGeo:
        return self.satellite_net if view == "satellite" else self.query_net

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """What learns at half the rate of the rest."""
        for net in (self.query_net, self.satellite_net):
            yield from net.trunk.parameters()

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        descriptors: Tensor = self.net(view)(images)
        return descriptors

    def augment(self, batch: PairBatch, *, generator: torch.Generator) -> PairBatch:
        """The batch with its pairs turned, and the satellite's pictures once more in strong look.

        Takes ``satellite`` as it is in the photograph, not yet altered otherwise.
        """
        c = self.config
        if not c.contrastive:
            return batch
        drawn = torch.randint(len(c.turns), (len(batch.place),), generator=generator)
        turns = torch.tensor(c.turns)[drawn].to(batch.satellite.device)
        turned = quarter_turned(batch.satellite, turns)
        rgb = (turned if c.strong == "turned" else batch.satellite) * self.std + self.mean
        altered = strong_look(rgb.clamp(0, 1), self.look, generator=generator)
        return replace(
            batch,
            query=(rolled if c.query_turn == "roll" else quarter_turned)(batch.query, turns),
            satellite=turned,
            satellite_strong=(altered - self.mean) / self.std,
        )

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Equation 2. Without contrastive learning the retrieval loss alone.

        Where a batch has no strong pictures the weak ones are taken for them: the contrastive
        term then only pushes the satellite pictures of different places apart.
        """
        alpha, place = self.config.alpha, batch.place
        query = self.describe(batch.query, self.config.query_view)
        if self.projection is None:
            weak = self.describe(batch.satellite, "satellite")
            return soft_margin_triplet(query, weak, place, alpha=alpha)
        if batch.satellite_strong is None:
            strong = weak = self.describe(batch.satellite, "satellite")
        else:
            both = torch.cat((batch.satellite_strong, batch.satellite))
            strong, weak = self.describe(both, "satellite").chunk(2)
        beta, gamma, delta = self.config.loss_weights
        projected = (self.projection(strong), self.projection(weak))
        return (
            beta * soft_margin_triplet(*projected, place, alpha=alpha)
            + gamma * soft_margin_triplet(query, strong, place, alpha=alpha)
            + delta * soft_margin_triplet(query, weak, place, alpha=alpha)
        )

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        """Of each stage in use, coarse to fine, and the attention of the last block.

        Contributions are exact: what a place adds to its stage's part of the descriptor (before
        it is made a unit vector), along that part; negative ones pull away from it. The mean
        channel is the heat map of the paper's figures 8 and 9. Attention stays within windows.
        """
        return self.net(view).explain(images)


def _check(config: GeoViewMatchConfig) -> None:
    stages = config.stages
    if sorted(set(stages)) != list(stages) or stages[:1] < (1,) or stages[-1] != len(config.depths):
        raise UserError(
            f"Stages {stages} cannot be aggregated",
            f"Name them in rising order from 1; the last is {len(config.depths)}.",
        )
    if not config.contrastive:
        return
    roll = config.query_turn == "roll"
    if roll and (config.query_view != "street" or config.query_size[1] % 4):
        raise UserError(
            f"{config.query_view} pictures of {config.query_size[1]} pixels width cannot be rolled",
            'Only panoramas can, of a width that 4 divides; else set query_turn to "rotate".',
        )
    square = [config.satellite_size] if roll else [config.satellite_size, config.query_size]
    if any(height != width for height, width in square):
        raise UserError(
            "Pictures that are not square cannot be turned by quarters",
            "Choose square sizes, or leave contrastive learning out.",
        )


PRESETS = presets.GEOVIEWMATCH


def build(config: Mapping[str, Any]) -> GeoViewMatch:
    return GeoViewMatch(config_from_mapping(GeoViewMatchConfig, config))
