"""MIFT's trunk: multi-scale embedding (MEF) and global-local range attention (GLRA).

With its defaults it is CrossFormer-S (Wang et al., ICLR 2022), as MIFT's released code has it;
parameters are named as there, so that published weights fit. Maps are kept as [b, h, w, c].
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.errors import UserError
from app.models.layers import DropPath, Mlp

Attention = Literal["glra", "mha", "pvt", "swin"]
Rule = Literal["near", "far", "shifted"]
REDUCTIONS = (8, 4, 2, 1)  # PVT's, by stage
POSITION_WIDTH_MIN = 4  # only networks narrower than the papers' come below it


def scale_widths(width: int, scales: int) -> list[int]:
    """Channels of each kernel, smallest kernel first: halved each time, the last two equal."""
    return [width // 2 ** min(i + 1, scales - 1) for i in range(scales)]


class PatchEmbed(nn.Module):
    """MEF of stage 1: one token for every 4 x 4 pixels, seen at the scale of each kernel."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        stride = kernels[0]
        self.projs = nn.ModuleList(
            nn.Conv2d(3, part, kernel, stride, (kernel - stride) // 2)
            for part, kernel in zip(scale_widths(width, len(kernels)), kernels, strict=True)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h2 w2 c"]:
        scales = torch.cat([proj(images) for proj in self.projs], dim=1)
        tokens: Tensor = self.norm(scales.permute(0, 2, 3, 1))
        return tokens


class Merge(nn.Module):
    """MEF of the later stages: a quarter of the tokens, twice the channels."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.reductions = nn.ModuleList(
            nn.Conv2d(width, part, kernel, 2, (kernel - 2) // 2)
            for part, kernel in zip(scale_widths(2 * width, len(kernels)), kernels, strict=True)
        )

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2 c2"]:
        x = self.norm(x).permute(0, 3, 1, 2)
        return torch.cat([conv(x) for conv in self.reductions], dim=1).permute(0, 2, 3, 1)


class DynamicPositionBias(nn.Module):
    """A bias for each head from how far apart two tokens of a group are, learnt by an MLP."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        width = max(dim // 16, POSITION_WIDTH_MIN)
        self.pos_proj = nn.Linear(2, width)
        self.pos1 = self._layer(width, width)
        self.pos2 = self._layer(width, width)
        self.pos3 = self._layer(width, heads)

    @staticmethod
    def _layer(width: int, out: int) -> nn.Sequential:
        return nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, out))

    def forward(self, side: int) -> Float[Tensor, "heads t t"]:
        """For groups of ``side`` x ``side`` tokens; [., i, j] is query i's bias towards key j."""
        device = self.pos_proj.weight.device
        steps = torch.arange(1 - side, side, device=device)
        offsets = torch.cartesian_prod(steps, steps).to(self.pos_proj.weight.dtype)
        biases: Tensor = self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))
        here = torch.arange(side, device=device)
        apart = here[:, None] - here + side - 1  # of rows, and of columns
        index = apart[:, None, :, None] * (2 * side - 1) + apart[None, :, None, :]
        return biases[index.flatten()].T.reshape(-1, side**2, side**2)


def group_tokens(
    x: Float[Tensor, "b h w c"], side: int, *, far: bool
) -> Float[Tensor, "groups t c"]:
    """Groups of ``side`` x ``side`` tokens: neighbours, or sampled evenly over the whole map.

    Near: windows beside each other. Far: the token at (i, j) is in the group of all tokens at
    (i + a h / side, j + b w / side), so that each group spans the map (the paper's figure 6).
    """
    b, h, w, c = x.shape
    rows, columns = h // side, w // side
    if far:
        x = x.reshape(b, side, rows, side, columns, c).permute(0, 2, 4, 1, 3, 5)
    else:
        x = x.reshape(b, rows, side, columns, side, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b * rows * columns, side * side, c)


def ungroup_tokens(
    groups: Float[Tensor, "groups t c"], size: tuple[int, int], side: int, *, far: bool
) -> Float[Tensor, "b h w c"]:
    """Undo ``group_tokens`` for maps of ``size`` (height, width)."""
    h, w = size
    rows, columns = h // side, w // side
    x = groups.reshape(-1, rows, columns, side, side, groups.shape[-1])
    x = x.permute(0, 3, 1, 4, 2, 5) if far else x.permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, h, w, groups.shape[-1])


class GroupAttention(nn.Module):
    """Attention within groups of tokens; ``rule`` says which tokens make a group.

    "near" and "far" are GLRA's two; "shifted" is Swin's window moved by half its side.
    """

    def __init__(self, dim: int, heads: int, *, group: int, rule: Rule) -> None:
        super().__init__()
        self.heads, self.group, self.rule = heads, group, rule
        self.pos = DynamicPositionBias(dim, heads)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def side(self, height: int, width: int) -> int:
        """Of a group on such a map: a map smaller than a group is one group."""
        return min(self.group, height, width)

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        q, k, v, bias = self._grouped(x)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return self._whole(out, x)

    def received(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w"]:
        """How much each token is attended to: mean over heads and over the group's queries."""
        q, k, _, bias = self._grouped(x)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(dim=-1)
        return self._whole(weights.mean(dim=(1, 2))[..., None], x)[..., 0]

    def _grouped(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k, v as [groups, heads, tokens, channels], and what is added to their products."""
        _, h, w, _ = x.shape
        side = self.side(h, w)
        bias = self.pos(side).to(x.dtype)[None]
        if shift := self._shift(h, w):
            x = x.roll((-shift, -shift), dims=(1, 2))
            bias = (bias + self._apart(h, w, shift, bias)).repeat(len(x), 1, 1, 1)
        groups = group_tokens(x, side, far=self.rule == "far")
        q, k, v = self.qkv(groups).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v, bias

    def _whole(self, groups: Tensor, like: Tensor) -> Tensor:
        _, h, w, _ = like.shape
        x = ungroup_tokens(groups, (h, w), self.side(h, w), far=self.rule == "far")
        shift = self._shift(h, w)
        return x.roll((shift, shift), dims=(1, 2)) if shift else x

    def _shift(self, height: int, width: int) -> int:
        side = self.side(height, width)
        return side // 2 if self.rule == "shifted" and max(height, width) > side else 0

    def _apart(self, height: int, width: int, shift: int, like: Tensor) -> Tensor:
        """-inf between tokens that only the roll has brought into one window, else 0."""
        side = self.side(height, width)
        rows = torch.arange(height, device=like.device) >= height - shift
        columns = torch.arange(width, device=like.device) >= width - shift
        torn = (2 * rows[:, None] + columns).to(like.dtype)[None, :, :, None]
        label = group_tokens(torn, side, far=False)[..., 0]
        other = label[:, None, :, None] != label[:, None, None, :]
        return torch.zeros_like(other, dtype=like.dtype).masked_fill(other, -torch.inf)


class FullAttention(nn.Module):
    """Every token with every other (ViT's), or, with ``reduction``, with pooled ones (PVT's).

    Neither has a position bias: over 3,136 tokens its table would hold 9.8 million numbers for
    each head, and PVT has none.
    """

    def __init__(self, dim: int, heads: int, *, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(dim) if reduction > 1 else None

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        q, k, v, _ = self._heads(x)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out.reshape(x.shape)

    def received(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2"]:
        """How much each (pooled) token is attended to: mean over heads and queries."""
        q, k, _, size = self._heads(x)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        received: Tensor = weights.mean(dim=(1, 2)).unflatten(1, size)
        return received

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
        q = self.q(x.flatten(1, 2)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        if self.reduce is not None and self.norm is not None:
            x = self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        k, v = self.kv(x.flatten(1, 2)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return q, k, v, (x.shape[1], x.shape[2])


class Block(nn.Module):
    """Pre-norm attention and MLP."""

    def __init__(
        self, dim: int, attn: GroupAttention | FullAttention, *, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def received(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2"]:
        """The attention that this block pays, for ``x`` as it comes in."""
        return self.attn.received(self.norm1(x))


class Stage(nn.Module):
    """Blocks of one resolution, and the way down to the next."""

    def __init__(self, blocks: list[Block], downsample: Merge | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        for block in self.blocks:
            x = block(x)
        return x


class CrossFormer(nn.Module):
    """Four stages of maps, each with half the side and twice the channels of the one before."""

    def __init__(
        self,
        *,
        width: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        group: int,
        kernels: tuple[int, ...],
        merge_kernels: tuple[int, ...],
        mlp_ratio: float,
        drop_path: float,
        attention: Attention,
    ) -> None:
        super().__init__()
        self.widths = tuple(width * 2**i for i in range(len(depths)))
        self.stride = kernels[0]
        self.group = group
        self.attention = attention
        self.patch_embed = PatchEmbed(width, kernels)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        stages = []
        for i, (dim, depth) in enumerate(zip(self.widths, depths, strict=True)):
            blocks = [
                Block(
                    dim,
                    _attention(attention, dim, heads[i], group=group, stage=i, odd=j % 2 == 1),
                    mlp_ratio=mlp_ratio,
                    drop_path=next(rates),
                )
                for j in range(depth)
            ]
            last = i == len(depths) - 1
            stages.append(Stage(blocks, None if last else Merge(dim, merge_kernels)))
        self.layers = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(self.widths[-1])
        self.apply(_init_as_crossformer)

    def grids(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Height and width of each stage's map for pictures of ``size``, if they can be cut so."""
        grids = []
        for i in range(len(self.layers)):
            step = self.stride * 2**i
            h, w = size[0] // step, size[1] // step
            unit = min(self.group, h, w) if self.attention in ("glra", "swin") else 1
            if self.attention == "pvt":
                unit = REDUCTIONS[i]
            if (h * step, w * step) != size or not unit or h % unit or w % unit:
                raise UserError(
                    f"Pictures of {size[0]} x {size[1]} pixels cannot be cut into groups of "
                    f"{self.group} x {self.group} tokens in stage {i + 1}",
                    f"Use multiples of {self.stride * 2 ** (len(self.layers) - 1) * self.group}.",
                )
            grids.append((h, w))
        return tuple(grids)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, ...]:
        """The map of each stage, [b, h, w, c], fine to coarse; ``norm`` is left to the caller."""
        x = self.patch_embed(images)
        maps = []
        for stage in self._stages():
            x = stage(x)
            maps.append(x)
            x = x if stage.downsample is None else stage.downsample(x)
        return tuple(maps)

    def last_attention(self, before: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h2 w2"]:
        """The attention each token of the last map receives, of the map ``before`` the last."""
        *_, stage, last = self._stages()
        x = before if stage.downsample is None else stage.downsample(before)
        *blocks, final = cast("list[Block]", list(last.blocks))
        for block in blocks:
            x = block(x)
        return final.received(x)

    def _stages(self) -> list[Stage]:
        return cast("list[Stage]", list(self.layers))


def _attention(
    kind: Attention, dim: int, heads: int, *, group: int, stage: int, odd: bool
) -> GroupAttention | FullAttention:
    match kind:
        case "glra":
            return GroupAttention(dim, heads, group=group, rule="far" if odd else "near")
        case "swin":
            return GroupAttention(dim, heads, group=group, rule="shifted" if odd else "near")
        case "pvt":
            return FullAttention(dim, heads, reduction=REDUCTIONS[stage])
        case "mha":
            return FullAttention(dim, heads, reduction=1)


def _init_as_crossformer(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
