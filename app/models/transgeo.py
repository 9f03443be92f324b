"""TransGeo, stage 1: a distilled DeiT-S for each view, compared by their classifiers' outputs.

Zhu, Shah, Chen: "TransGeo: Transformer Is All You Need for Cross-view Image Geo-localization",
CVPR 2022. Nothing is a class here: the 1,000 outputs of DeiT's two heads are averaged and are the
descriptor. Stage 2, which cuts the satellite's unattended patches away and looks at the rest more
closely, is not here; its checkpoints hold the same parameters. Parameters are named as in the
authors' code: a published state dict without its "module." fits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

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
from app.models.layers import DropPath, Mlp
from app.models.losses import soft_margin_triplet

PUBLISHED_PREFIX = "module."
PREFIX_TOKENS = ("class", "distillation")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransGeoConfig(RetrievalConfig):
    """Defaults are the published network's."""

    patch: int = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    outputs: int = 1000
    alpha: float = 10.0  # on squared distances; the code's 20 is on cosines


class SelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        mixed = F.scaled_dot_product_attention(*self._heads(x))
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def paid(self, x: Float[Tensor, "b t c"], count: int) -> Float[Tensor, "b count t"]:
        """The attention of the first ``count`` tokens to every token, mean over the heads."""
        q, k, _ = self._heads(x)
        weights = q[:, :, :count] @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        paid: Tensor = weights.softmax(dim=-1).mean(dim=1)
        return paid

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: TransGeoConfig, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=1e-6)
        self.attn = SelfAttention(config.width, config.heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(config.width, eps=1e-6)
        self.mlp = Mlp(config.width, int(config.width * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """One token for each whole patch, row by row: 616 columns make 38, and 8 are not seen."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t c"]:
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


class DistilledViT(nn.Module):
    """Class token, distillation token, then the patches; for pictures of one ``size``."""

    def __init__(self, config: TransGeoConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = (size[0] // config.patch, size[1] // config.patch)
        if not all(self.grid):
            raise UserError(
                f"Pictures of {size[0]} x {size[1]} pixels hold no patch of {config.patch} pixels",
                f"Use at least {config.patch} pixels on each side.",
            )
        width = config.width
        places = len(PREFIX_TOKENS) + self.grid[0] * self.grid[1]
        self.patch_embed = PatchEmbed(config.patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, places, width))
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(config, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config.outputs)
        self.head_dist = nn.Linear(width, config.outputs)
        for parameter in (self.cls_token, self.dist_token, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        self.apply(_init_linear)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b outputs"]:
        x = self._embed(images)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        mean: Tensor = (self.head(x[:, 0]) + self.head_dist(x[:, 1])) / 2
        return mean

    def last_attention(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 2 h2 w2"]:
        """The attention that each prefix token pays to the patches in the last block."""
        x = self._embed(images)
        *before, last = cast("list[Block]", list(self.blocks))
        for block in before:
            x = block(x)
        count = len(PREFIX_TOKENS)
        paid = last.attn.paid(last.norm1(x), count)[:, :, count:]
        maps: Tensor = paid.unflatten(2, self.grid)
        return maps

    def _embed(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images)
        batch = tokens.shape[0]  # len() would fix an export's batch
        first = (token.expand(batch, -1, -1) for token in (self.cls_token, self.dist_token))
        return torch.cat((*first, tokens), dim=1) + self.pos_embed


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class TransGeo(RetrievalNetwork):
    """The views share no weights."""

    config: TransGeoConfig

    def __init__(self, config: TransGeoConfig) -> None:
        super().__init__(config)
        self.query_net = DistilledViT(config, config.query_size)
        self.reference_net = DistilledViT(config, config.satellite_size)

    @property
    def descriptor(self) -> int:
        return self.config.outputs

    def net(self, view: View) -> DistilledViT:
        return self.reference_net if view == "satellite" else self.query_net

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        # float() because under autocast the norm and the similarities want full precision.
        return F.normalize(self.net(view)(images).float(), dim=-1)

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        query = self.describe(batch.query, self.config.query_view)
        satellite = self.describe(batch.satellite, "satellite")
        return soft_margin_triplet(query, satellite, batch.place, alpha=self.config.alpha)

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        paid = self.net(view).last_attention(images).float().unbind(dim=1)
        return tuple(
            AttentionMap(f"attention of the {name} token in the last block", values)
            for name, values in zip(PREFIX_TOKENS, paid, strict=True)
        )


PRESETS = presets.TRANSGEO


def build(config: Mapping[str, Any]) -> TransGeo:
    return TransGeo(config_from_mapping(TransGeoConfig, config))
