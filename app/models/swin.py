"""GeoViewMatch's trunk: Swin Transformer V2 for pictures of any shape.

Liu et al., CVPR 2022: post-norm blocks, cosine attention within windows, and a bias from the
logarithm of how far apart two tokens are. Parameters are named as in timm, so that ImageNet
weights fit. Where a map is smaller than a window the window shrinks, as in Microsoft's code; timm
pads the map instead, which is another network (and more work) for panoramas.
Maps are kept as [b, h, w, c].
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.errors import UserError
from app.models.crossformer import group_tokens, ungroup_tokens
from app.models.layers import DropPath, Mlp

POSITION_WIDTH = 512  # hidden units of the position bias
POSITION_BIAS_MAX = 16.0
SCALE_MAX = math.log(100.0)
APART = -100.0  # added between tokens that only the shift has brought into one window


class PatchEmbed(nn.Module):
    """One token for every patch of pixels."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h2 w2 c"]:
        tokens: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return tokens


class Merge(nn.Module):
    """A quarter of the tokens, twice the channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c2"]:
        b, h, w, c = x.shape
        fours = x.reshape(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        merged: Tensor = self.norm(self.reduction(fours))
        return merged


class WindowAttention(nn.Module):
    """Cosine attention among the tokens of each ``window`` x ``window``.

    ``shift`` moves the windows by so many rows and columns; the map is then cut as on a torus, and
    tokens from opposite borders do not see each other.
    """

    apart: Tensor | None
    offsets: Tensor
    offset: Tensor

    def __init__(
        self, dim: int, heads: int, *, grid: tuple[int, int], window: int, shift: tuple[int, int]
    ) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, POSITION_WIDTH), nn.ReLU(), nn.Linear(POSITION_WIDTH, heads, bias=False)
        )
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)
        self.register_buffer("offsets", log_offsets(window), persistent=False)
        self.register_buffer("offset", offset_of_pairs(window), persistent=False)
        between = apart(grid, window, shift) if any(shift) else None
        self.register_buffer("apart", between, persistent=False)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        q, k, v, bias = self._windows(x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return self._whole(out, x)

    def received(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w"]:
        """How much each token is attended to: mean over heads and over its window's queries."""
        q, k, _, bias = self._windows(x)
        weights = (q @ k.transpose(-2, -1) + bias).softmax(dim=-1)
        return self._whole(weights.mean(dim=(1, 2))[..., None], x)[..., 0]

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Scaled q, k, v as [windows, heads, tokens, channels], and what their products get."""
        if any(self.shift):
            x = x.roll((-self.shift[0], -self.shift[1]), dims=(1, 2))
        windows = group_tokens(x, self.window, far=False)
        qkv_bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = F.linear(windows, self.qkv.weight, qkv_bias).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q = F.normalize(q, dim=-1) * self.logit_scale.clamp(max=SCALE_MAX).exp()
        bias = self.position_bias()[None]
        if self.apart is not None:
            times = x.shape[0]  # len() would fix an export's batch
            bias = (bias + self.apart[:, None]).repeat(times, 1, 1, 1)
        return q.to(v.dtype), F.normalize(k, dim=-1).to(v.dtype), v, bias.to(v.dtype)

    def position_bias(self) -> Float[Tensor, "heads t t"]:
        """[., i, j] is query i's bias towards key j."""
        table = POSITION_BIAS_MAX * self.cpb_mlp(self.offsets).sigmoid()
        tokens = self.window**2
        bias: Tensor = table[self.offset].T.reshape(self.heads, tokens, tokens)
        return bias

    def _whole(self, windows: Tensor, like: Tensor) -> Tensor:
        x = ungroup_tokens(windows, (like.shape[1], like.shape[2]), self.window, far=False)
        return x.roll(self.shift, dims=(1, 2)) if any(self.shift) else x


def log_offsets(window: int) -> Float[Tensor, "n 2"]:
    """All offsets of two tokens of a window, rows and columns, as log2(1 + 8 |o|) / 3 with sign.

    o is in window sides less one: what is learnt for one size of window says something of others.
    """
    steps = torch.arange(1 - window, window).float() / max(window - 1, 1) * 8
    steps = steps.sign() * (steps.abs() + 1).log2() / 3
    return torch.cartesian_prod(steps, steps)


def offset_of_pairs(window: int) -> Int[Tensor, " pairs"]:
    """Which row of ``log_offsets`` each pair (query, key) of a window has."""
    here = torch.arange(window)
    apart_by = here[:, None] - here + window - 1  # of rows, and of columns
    index = apart_by[:, None, :, None] * (2 * window - 1) + apart_by[None, :, None, :]
    return index.flatten()


def apart(grid: tuple[int, int], window: int, shift: tuple[int, int]) -> Float[Tensor, "n t t"]:
    """``APART`` between tokens of a window of the shifted map that are not neighbours, else 0."""
    rows, columns = (
        torch.arange(side) >= side - by if by else torch.zeros(side, dtype=torch.bool)
        for side, by in zip(grid, shift, strict=True)
    )
    torn = (2 * rows[:, None] + columns).float()[None, :, :, None]
    label = group_tokens(torn, window, far=False)[..., 0]
    return (label[:, :, None] != label[:, None, :]).float() * APART


class Block(nn.Module):
    """Attention and MLP, each normed before it is added."""

    def __init__(
        self, dim: int, attn: WindowAttention, *, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.attn = attn
        self.norm1 = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        x = x + self.drop_path(self.norm1(self.attn(x)))
        out: Tensor = x + self.drop_path(self.norm2(self.mlp(x)))
        return out


class Stage(nn.Module):
    """The way down from the stage before, and the blocks of one resolution."""

    def __init__(self, downsample: Merge | nn.Identity, blocks: list[Block]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c2"]:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class SwinV2(nn.Module):
    """Stages of maps, each with half the side and twice the channels of the one before.

    Built for pictures of ``size`` (height, width). Where a map is no larger than a window in one
    direction, Microsoft's code shifts in neither; ``shift_by_axis`` shifts in the other, as timm.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        width: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window: int,
        patch: int = 4,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        shift_by_axis: bool = False,
    ) -> None:
        super().__init__()
        self.widths = tuple(width * 2**i for i in range(len(depths)))
        self.grids = swin_grids(size, patch=patch, stages=len(depths), window=window)
        self.patch_embed = PatchEmbed(width, patch)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        stages = []
        for i, (dim, grid) in enumerate(zip(self.widths, self.grids, strict=True)):
            side = min(window, *grid)
            shifts = shift_of(grid, side, by_axis=shift_by_axis)
            blocks = [
                Block(
                    dim,
                    WindowAttention(
                        dim, heads[i], grid=grid, window=side, shift=shifts if j % 2 else (0, 0)
                    ),
                    mlp_ratio=mlp_ratio,
                    drop_path=next(rates),
                )
                for j in range(depths[i])
            ]
            stages.append(Stage(Merge(dim // 2) if i else nn.Identity(), blocks))
        self.layers = nn.ModuleList(stages)
        self.norm: nn.Module = nn.LayerNorm(self.widths[-1])
        self._init_as_swin()

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """The map of each stage, [b, h, w, c], fine to coarse; ``norm`` is left to the caller."""
        x = self.patch_embed(images)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
        return tuple(maps)

    def last_attention(self, before: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2"]:
        """The attention each token of the last map receives, of the map ``before`` the last."""
        last = cast(Stage, self.layers[-1])
        *blocks, final = cast("list[Block]", list(last.blocks))
        x = last.downsample(before)
        for block in blocks:
            x = block(x)
        return final.attn.received(x)

    def _init_as_swin(self) -> None:
        """As published: a block that starts as the identity keeps deep post-norm nets stable."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Block):
                nn.init.zeros_(module.norm1.weight)
                nn.init.zeros_(module.norm2.weight)


def shift_of(grid: tuple[int, int], window: int, *, by_axis: bool) -> tuple[int, int]:
    """Rows and columns by which every second block moves its windows."""
    h, w = (window // 2 if side > window else 0 for side in grid)
    return (h, w) if by_axis or (h and w) else (0, 0)


def swin_grids(
    size: tuple[int, int], *, patch: int, stages: int, window: int
) -> tuple[tuple[int, int], ...]:
    """Height and width of each stage's map for pictures of ``size``, if windows tile them."""
    grids = []
    for i in range(stages):
        step = patch * 2**i
        h, w = size[0] // step, size[1] // step
        side = min(window, h, w)
        if (h * step, w * step) != size or not side or h % side or w % side:
            raise UserError(
                f"Pictures of {size[0]} x {size[1]} pixels cannot be cut into windows of "
                f"{window} x {window} tokens in stage {i + 1}",
                f"Use multiples of {patch * 2 ** (stages - 1) * window}, or half of that for one "
                "side.",
            )
        grids.append((h, w))
    return tuple(grids)
