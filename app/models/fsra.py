"""FSRA: a ViT whose tokens are sorted by heat into regions, each with a head of its own.

Dai et al.: "A Transformer-Based Feature Segmentation and Region Alignment Method For UAV-View
Geo-Localization", TCSVT 2022. The trunk is the first timm's ViT-S, of width 768 with 8 blocks and
8 heads, which no timm of today has. Parameters are named as in the authors' code: a published
state dict without its "model_1." fits, but for ``UNUSED_PUBLISHED_KEYS``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.base import AttentionMap, config_from_mapping
from app.models.layers import DropPath, Mlp
from app.models.parts import HeatRegions, PartConfig, PartNetwork, heat_runs

PUBLISHED_PREFIX = "model_1."
# The trunk's head for ImageNet's classes: in the file, but no forward pass of FSRA uses it.
UNUSED_PUBLISHED_KEYS = (r"transformer\.fc\.(weight|bias)",)


@dataclass(frozen=True, slots=True, kw_only=True)
class FSRAConfig(PartConfig):
    """Defaults are the released code's."""

    patch: int = 16
    width: int = 768
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 3.0
    drop_path: float = 0.1
    # The first timm scaled the products of queries and keys by the whole width instead of one
    # head's, and its weights were trained so.
    scale_by: Literal["width", "head"] = "width"
    regions: int = 3
    # Where the mean channel is taken: after the final norm, as published, or before it. With
    # fresh weights the normed mean is zero but for rounding: without pretrained ones take "raw".
    heat: Literal["normed", "raw"] = "normed"


class SelfAttention(nn.Module):
    """Without a bias on queries, keys and values."""

    def __init__(self, dim: int, heads: int, *, scale: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        q, k, v = self._heads(x)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def paid_by_first(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t"]:
        """The first token's attention to every token, mean over the heads."""
        q, k, _ = self._heads(x)
        weights = (q[:, :, :1] @ k.transpose(-2, -1) * self.scale).softmax(dim=-1)
        paid: Tensor = weights[:, :, 0].mean(dim=1)
        return paid

    def _heads(self, x: Tensor) -> Tensor:
        qkv: Tensor = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return qkv


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: FSRAConfig, *, drop_path: float) -> None:
        super().__init__()
        dim = config.width
        per = dim if config.scale_by == "width" else dim // config.heads
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, config.heads, scale=per**-0.5)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Float[Tensor, "b t c"]) -> Float[Tensor, "b t c"]:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """One token for each patch, row by row."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t c"]:
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens


class VisionTransformer(nn.Module):
    """Class token first, then the patches. Its positions are learnt for the satellite's grid."""

    def __init__(self, config: FSRAConfig) -> None:
        super().__init__()
        self.patch = config.patch
        self.grid = self.grid_of(config.satellite_size)
        self.patch_embed = PatchEmbed(config.patch, config.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        places = 1 + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, places, config.width))
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(Block(config, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(_init_linear)

    def grid_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tokens of a picture of ``size`` (height, width)."""
        if size[0] % self.patch or size[1] % self.patch:
            raise UserError(
                f"Pictures of {size[0]} x {size[1]} pixels cannot be cut into patches of "
                f"{self.patch} x {self.patch}",
                f"Use multiples of {self.patch}.",
            )
        return size[0] // self.patch, size[1] // self.patch

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t c"]:
        """The tokens after the last block, before ``norm``."""
        x = self._embed(images)
        for block in self.blocks:
            x = block(x)
        return x

    def last_attention(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h2 w2"]:
        """The class token's attention to each patch in the last block, mean over the heads."""
        x = self._embed(images)
        *before, last = cast("list[Block]", list(self.blocks))
        for block in before:
            x = block(x)
        paid = last.attn.paid_by_first(last.norm1(x))[:, 1:]
        maps: Tensor = paid.unflatten(1, self.grid_of((images.shape[2], images.shape[3])))
        return maps

    def _embed(self, images: Tensor) -> Tensor:
        tokens = self.patch_embed(images)
        first = self.cls_token.expand(tokens.shape[0], -1, -1)  # len() would fix an export's batch
        places = self._positions(self.grid_of((images.shape[2], images.shape[3])))
        return torch.cat((first, tokens), dim=1) + places

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        if grid == self.grid:
            return self.pos_embed
        first, patches = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        patches = patches.transpose(1, 2).unflatten(2, self.grid)
        patches = F.interpolate(patches, grid, mode="bilinear")
        return torch.cat((first, patches.flatten(2).transpose(1, 2)), dim=1)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class FSRA(PartNetwork):
    """Both views share all weights."""

    config: FSRAConfig

    def __init__(self, config: FSRAConfig) -> None:
        super().__init__(config)
        self.transformer = VisionTransformer(config)
        for size in (config.query_size, config.satellite_size):
            rows, columns = self.transformer.grid_of(size)
            if rows * columns < config.regions:
                raise UserError(
                    f"{rows * columns} patches cannot make {config.regions} regions",
                    "Use larger pictures or fewer regions.",
                )
        for i in range(config.regions):
            self.add_head(f"classifier_heat{i + 1}", config.width)
        self.add_head("classifier1", config.width)

    def pool(self, images: Float[Tensor, "b 3 h w"], view: View) -> list[Tensor]:
        """The mean of each region's patches, hottest first, then the class token."""
        tokens = self.transformer(images)
        normed = self.transformer.norm(tokens)
        return [*self._regions(tokens, normed).means(), normed[:, 0]]

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        tokens = self.transformer(images)
        regions = self._regions(tokens, self.transformer.norm(tokens))
        grid = self.transformer.grid_of((images.shape[2], images.shape[3]))
        paid = self.transformer.last_attention(images).float()
        return (
            *regions.maps(self.heads[:-1], grid),
            AttentionMap("attention of the class token in the last block", paid),
        )

    def _regions(self, raw: Tensor, normed: Tensor) -> HeatRegions:
        """``raw`` and ``normed`` are all tokens before and after the trunk's norm."""
        config = self.config
        heat = (normed if config.heat == "normed" else raw)[:, 1:].float().mean(dim=-1)
        return HeatRegions(
            normed[:, 1:],
            heat,
            heat_runs(heat, config.regions),
            parts=config.regions,
            coldest_first=False,
        )


PRESETS = presets.FSRA


def build(config: Mapping[str, Any]) -> FSRA:
    return FSRA(config_from_mapping(FSRAConfig, config))
