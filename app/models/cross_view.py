"""How object networks bring the query into the satellite picture: AttenGeo's CVCAM and MHSAM.

"Improving Cross-view Object Geo-localization: A Dual Attention Approach with Cross-view
Interaction and Multi-Scale Spatial Features", arXiv 2510.27139, sections 3.2 and 3.3.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.errors import UserError
from app.models.base import AttentionMap
from app.models.multi_scale import sine_code
from app.models.object_base import ObjectMaps

Order = Literal["before", "after"]
CODED = 16  # cells a side of the map whose position codes ``start_alike`` looks at
PLACE = 0.98  # share of their squares in the directions that it leaves out


class Fusion(nn.Module, ABC):
    """Maps of both views in, one map on the satellite picture's grid out; all have one width."""

    @abstractmethod
    def forward(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        """The satellite picture's map with what the query asks for in it."""

    @abstractmethod
    def maps(
        self,
        query: Float[Tensor, "b c h w"],
        satellite: Float[Tensor, "b c h2 w2"],
        *,
        clicked: Int[Tensor, " b"],
        found: Int[Tensor, " b"],
    ) -> ObjectMaps:
        """Where it looked. ``clicked`` is the query's cell, ``found`` the satellite's, by rows."""


def energy(features: Float[Tensor, "b c h w"], of: str) -> AttentionMap:
    return AttentionMap(f"activation energy of {of}", features.float().norm(dim=1))


class MeanSum(Fusion):
    """Ablation: no interaction. The query's mean is added everywhere.

    The paper's baseline is "a simple summation" of maps that differ in size; that of the query's
    mean, as DetGeo takes it, is the plainest sum there is.
    """

    def forward(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        return satellite + query.mean(dim=(2, 3), keepdim=True)

    def maps(
        self,
        query: Float[Tensor, "b c h w"],
        satellite: Float[Tensor, "b c h2 w2"],
        *,
        clicked: Int[Tensor, " b"],
        found: Int[Tensor, " b"],
    ) -> ObjectMaps:
        return ObjectMaps(
            (energy(query, "the query's features"),),
            (energy(satellite, "the satellite picture's features"),),
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """A map as tokens, row by row, with their position codes."""

    values: Float[Tensor, "b n d"]
    codes: Float[Tensor, "n d"]

    @property
    def placed(self) -> Float[Tensor, "b n d"]:
        return self.values + self.codes


def tokens_of(features: Float[Tensor, "b d h w"]) -> Tokens:
    """Equation 2's code, as printed: its wavelengths end at 2 pi 100, where DETR's go to 10000."""
    codes = sine_code(features, exponent=2)
    return Tokens(features.flatten(2).mT, codes.flatten(1).mT)


class CrossAttentionBlock(nn.Module):
    """CAB (figure 3b): tokens of one view ask those of the other. As in TransT, norms come last.

    Position codes are added to queries and keys in every block, never to values.
    """

    def __init__(self, width: int, heads: int, ffn_width: int, *, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn_width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(ffn_width, width),
        )
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def start_alike(self) -> None:
        """Tokens ask for those of the same content wherever they lie; values start fresh."""
        width = self.attention.embed_dim
        rotation = torch.empty(width, width, device="cpu")  # also of a network on "meta"
        nn.init.orthogonal_(rotation)
        rotation = rotation @ _placeless(width)
        self.attention.in_proj_weight[: 2 * width].copy_(torch.cat((rotation, rotation)))

    def forward(self, asking: Tokens, other: Tokens) -> Tokens:
        seen, _ = self.attention(asking.placed, other.placed, other.values, need_weights=False)
        x = self.norm1(asking.values + self.dropout(seen))
        return Tokens(self.norm2(x + self.dropout(self.ffn(x))), asking.codes)

    def weights(self, asking: Tokens, other: Tokens) -> Float[Tensor, "b n m"]:
        """Equation 4's scores, the mean of the heads; rows sum to 1."""
        weights: Tensor = self.attention(asking.placed, other.placed, other.values)[1]
        return weights.float()


def _placeless(width: int) -> Float[Tensor, "d d"]:
    """Takes from a token the few directions in which position codes differ most."""
    codes = tokens_of(torch.zeros(1, width, CODED, CODED, device="cpu")).codes
    _, spread, directions = torch.linalg.svd(codes, full_matrices=False)
    told = spread.square().cumsum(0) / spread.square().sum()
    main = directions[: int((told < PLACE).sum()) + 1]
    placeless: Tensor = torch.eye(width, device="cpu") - main.mT @ main
    return placeless


class CVCAM(Fusion):
    """Both views ask each other ``iterations`` times, then the satellite's asks once more.

    No two of the blocks share weights: only so does the paper's parameter count come out. Whether
    within an iteration the satellite's block sees the query's tokens from ``order`` "before" their
    update or from "after" it, no published number tells; TransT takes them from before.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        ffn_width: int,
        *,
        iterations: int,
        dropout: float,
        order: Order,
        alike: bool = False,
    ) -> None:
        super().__init__()

        def block() -> CrossAttentionBlock:
            return CrossAttentionBlock(width, heads, ffn_width, dropout=dropout)

        self.order = order
        self.query_blocks = nn.ModuleList(block() for _ in range(iterations))
        self.satellite_blocks = nn.ModuleList(block() for _ in range(iterations))
        self.fusion = block()
        if alike:
            for one in (*self.query_blocks, *self.satellite_blocks, self.fusion):
                one.start_alike()

    def interact(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> tuple[Tokens, Tokens]:
        """The tokens of both views after the iterations."""
        q, s = tokens_of(query), tokens_of(satellite)
        for ask_satellite, ask_query in zip(self.query_blocks, self.satellite_blocks, strict=True):
            updated = ask_satellite(q, s)
            s = ask_query(s, q if self.order == "before" else updated)
            q = updated
        return q, s

    def forward(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        q, s = self.interact(query, satellite)
        fused: Tokens = self.fusion(s, q)
        return fused.values.mT.reshape(satellite.shape)

    def maps(
        self,
        query: Float[Tensor, "b c h w"],
        satellite: Float[Tensor, "b c h2 w2"],
        *,
        clicked: Int[Tensor, " b"],
        found: Int[Tensor, " b"],
    ) -> ObjectMaps:
        q, s = self.interact(query, satellite)
        weights = self.fusion.weights(s, q)
        row = torch.arange(len(weights), device=weights.device)
        from_box = weights[row, found].unflatten(1, query.shape[2:])
        to_click = weights[row, :, clicked].unflatten(1, satellite.shape[2:])
        return ObjectMaps(
            (AttentionMap("fusion attention from the found box's place", from_box),),
            (AttentionMap("fusion attention to the clicked place", to_click),),
        )


class MHSAM(nn.Module):
    """Section 3.3: a weight for every value of a map, from three sizes of neighbourhood.

    The paper's convolutions pad nothing, and their transposes bring the size back. The inner width
    of twice the map's is what its parameter count says.
    """

    def __init__(self, width: int, *, kernels: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__()
        self.side = max(kernels)
        self.convs = nn.ModuleList(nn.Conv2d(width, 2 * width, k) for k in kernels)
        self.deconvs = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, k) for k in kernels)

    def weights(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """A of equation 7, in 0..1. Raises UserError for a map smaller than a kernel."""
        if (smallest := min(fused.shape[2:])) < self.side:
            raise UserError(
                f"MHSAM needs a map of {self.side} cells a side, not {smallest}",
                "Use larger satellite pictures or a finer stride.",
            )
        pairs = zip(self.convs, self.deconvs, strict=True)
        heads = [deconv(F.relu(conv(fused))) for conv, deconv in pairs]
        return torch.stack(heads).sum(dim=0).sigmoid()

    def forward(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.weights(fused) * fused
