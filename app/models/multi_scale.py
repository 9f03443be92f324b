"""The parts of MFRGN's flows, in the order of the paper's section 3.

Tokens of several scales (embedding, position code, PPS), what they learn from each other (linear
attention, LTE, SCAM), and what that says about a map (GPAB).
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Grid = tuple[int, int]  # height, width
EPSILON = 1e-6  # of the sum that an attention is divided by; the released code's


def sine_code(x: Float[Tensor, "b c h w"], *, exponent: int = 4) -> Float[Tensor, "c h w"]:
    """Sines and cosines of column and row, counted from 1, at c / 4 wavelengths (LoFTR's).

    The wavelengths are 2 pi 10000^(exponent j / c); AttenGeo has an exponent of 2.

    Made anew each time: it costs far less than one convolution, and a stored one would have to
    grow with the picture.
    """
    c, h, w = x.shape[1:]
    step = torch.arange(c // 4, device=x.device) * (-math.log(10000.0) * exponent / c)
    column = torch.arange(1, w + 1, device=x.device) * step.exp()[:, None]
    row = torch.arange(1, h + 1, device=x.device) * step.exp()[:, None]
    waves = (
        column.sin()[:, None],
        column.cos()[:, None],
        row.sin()[..., None],
        row.cos()[..., None],
    )
    return torch.stack([wave.expand(-1, h, w) for wave in waves], dim=1).flatten(0, 1).to(x.dtype)


def pyramid_sample(
    x: Float[Tensor, "b c h w"], grids: Sequence[tuple[int, int]]
) -> Float[Tensor, "b c n"]:
    """PPS (figure 5): the averages over each grid's cells, row by row, one grid after the other."""
    return torch.cat([F.adaptive_avg_pool2d(x, grid).flatten(2) for grid in grids], dim=2)


class ScaleEmbedding(nn.Sequential):
    """A map's channels brought to the tokens' width; ``stride`` 2 makes S4 of S3."""

    def __init__(self, channels: int, width: int, *, groups: int, stride: int = 1) -> None:
        side = 3 if stride == 2 else 1
        super().__init__(
            nn.Conv2d(channels, width, side, stride=stride, padding=side // 2),
            nn.GroupNorm(groups, width),
        )


def feature_map(x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
    """phi of section 3.2: positive, so that its dot products can be weights."""
    return F.elu(x.float()) + 1


def linear_attention(
    q: Float[Tensor, "b h l d"], k: Float[Tensor, "b h s d"], v: Float[Tensor, "b h s e"]
) -> Float[Tensor, "b h l e"]:
    """Attention with the weights phi(q) . phi(k), normalised over the source, in O(l + s).

    In full precision under autocast too: the sums over a thousand tokens overflow half of it.
    """
    with _full_precision(q.device.type):
        q, k = feature_map(q), feature_map(k)
        total = q @ k.sum(dim=2)[..., None]
        return q @ (k.mT @ v.float()) / (total + EPSILON)


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Autocast switched off; the meta device, where only shapes are counted, knows none."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def linear_attention_received(
    q: Float[Tensor, "b h l d"], k: Float[Tensor, "b h s d"]
) -> Float[Tensor, "b s"]:
    """The share of ``linear_attention`` that each source token gets; a picture's sum to one.

    The mean weight over heads and queries, without the l x s weights ever being made.
    """
    q, k = feature_map(q), feature_map(k)
    total = q @ k.sum(dim=2)[..., None] + EPSILON
    asked = (q / total).mean(dim=2, keepdim=True)
    return (asked @ k.mT).squeeze(2).mean(dim=1)


class LiteEncoderLayer(nn.Module):
    """LTE (figure 4): attention and feed-forward, each added and then normalised.

    Parameters are named as in the released code. Without ``linear`` the attention is the usual one
    (table 5's first row).
    """

    def __init__(
        self, width: int, heads: int, hidden: int, *, dropout: float, linear: bool
    ) -> None:
        super().__init__()
        self.heads = heads
        self.linear = linear
        self.query_proj = nn.Linear(width, width)
        self.key_proj = nn.Linear(width, width)
        self.value_proj = nn.Linear(width, width)
        for projection in (self.query_proj, self.key_proj, self.value_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.merge = nn.Linear(width, width, bias=False)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=False),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width, bias=False),
        )
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "b l c"], source: Float[Tensor, "b s c"]
    ) -> Float[Tensor, "b l c"]:
        """``tokens`` updated by what they find in ``source``."""
        q, k = self._queries_and_keys(tokens, source)
        v = self._split(self.value_proj(source))
        attend = linear_attention if self.linear else F.scaled_dot_product_attention
        found = attend(q, k, v).to(tokens.dtype).transpose(1, 2).flatten(2)
        tokens = self.norm1(tokens + self.dropout(self.merge(found)))
        updated: Tensor = self.norm2(tokens + self.dropout(self.mlp(tokens)))
        return updated

    def received(
        self, tokens: Float[Tensor, "b l c"], source: Float[Tensor, "b s c"]
    ) -> Float[Tensor, "b s"]:
        """The share of the attention that each token of ``source`` gets; the sum is one."""
        q, k = self._queries_and_keys(tokens, source)
        if self.linear:
            return linear_attention_received(q, k)
        weights: Tensor = (q.float() @ k.float().mT / q.shape[-1] ** 0.5).softmax(dim=-1)
        return weights.mean(dim=(1, 2))

    def _queries_and_keys(self, tokens: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        return self._split(self.query_proj(tokens)), self._split(self.key_proj(source))

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(2, (self.heads, -1))
        return heads.transpose(1, 2)


class SelfCrossAttention(nn.Module):
    """SCAM: the high-level tokens learn from all scales, then the low-level ones do.

    Equations 2 and 3: ``high_updates`` is A, ``low_updates`` is B. While one group is updated, what
    it finds of the other stays the same.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        high_updates: int,
        low_updates: int,
        dropout: float,
        linear: bool,
    ) -> None:
        super().__init__()

        def layers(count: int) -> nn.ModuleList:
            return nn.ModuleList(
                LiteEncoderLayer(width, heads, hidden, dropout=dropout, linear=linear)
                for _ in range(count)
            )

        self.high = layers(high_updates)
        self.low = layers(low_updates)

    def forward(
        self, low: Float[Tensor, "b l c"], high: Float[Tensor, "b s c"]
    ) -> tuple[Float[Tensor, "b l c"], Float[Tensor, "b s c"]]:
        high = self._update_high(low, high)
        for layer in self.low:
            low = layer(low, torch.cat((low, high), dim=1))
        return low, high

    def received(
        self, low: Float[Tensor, "b l c"], high: Float[Tensor, "b s c"]
    ) -> tuple[Float[Tensor, "b l"], Float[Tensor, "b s"]]:
        """The share of the attention of the first layer that updates ``low``, by source token."""
        source = torch.cat((low, self._update_high(low, high)), dim=1)
        first = self.low[0]
        assert isinstance(first, LiteEncoderLayer)
        shares = first.received(low, source)
        return shares[:, : low.shape[1]], shares[:, low.shape[1] :]

    def _update_high(self, low: Tensor, high: Tensor) -> Tensor:
        for layer in self.high:
            high = layer(high, torch.cat((low, high), dim=1))
        return high


class GlobalPromptAttention(nn.Module):
    """GPAB (figure 6): a scale's tokens say which channels and which places of its map count."""

    def __init__(self, width: int, channels: int, *, kernel: Grid, prompt_kernel: int) -> None:
        super().__init__()
        pad = prompt_kernel // 2
        self.prompt = nn.Sequential(
            nn.Conv1d(width, width, prompt_kernel, padding=pad),
            nn.BatchNorm1d(width),
            nn.Conv1d(width, channels, prompt_kernel, padding=pad),
            nn.GELU(),
            nn.BatchNorm1d(channels),
        )
        self.channel = nn.Conv2d(channels, channels, 1)
        self.space = nn.Conv2d(1, 1, kernel, padding=(kernel[0] // 2, kernel[1] // 2))

    def gates(
        self, tokens: Float[Tensor, "b n d"], grid: tuple[int, int]
    ) -> tuple[Float[Tensor, "b c 1 1"], Float[Tensor, "b 1 h w"]]:
        """Equation 4 as the released code has it: averaged over places, the largest channel."""
        prompt = self.prompt(tokens.mT).unflatten(2, grid)
        channel = self.channel(prompt.mean(dim=(2, 3), keepdim=True)).sigmoid()
        return channel, self.space(prompt.amax(dim=1, keepdim=True)).sigmoid()

    def forward(
        self, x: Float[Tensor, "b c h w"], tokens: Float[Tensor, "b n d"]
    ) -> Float[Tensor, "b c h w"]:
        """Equation 5 before its average."""
        channel, space = self.gates(tokens, (x.shape[2], x.shape[3]))
        return x + x * channel * space
