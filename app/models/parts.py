"""What LPN, FSRA and MIFT share: heads on parts of a picture, their descriptor and their loss.

The three are one family: a trunk, parts of its last map (rings, or regions by heat), for each part
a bottleneck and a classifier over the training places. They differ in the trunk and in the parts.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models.base import AttentionMap, PairBatch, RetrievalConfig, RetrievalNetwork
from app.models.losses import cross_view_triplet


@dataclass(frozen=True, slots=True, kw_only=True)
class PartConfig(RetrievalConfig):
    """Of the heads and the losses; defaults are those of FSRA's and MIFT's code."""

    part_width: int = 512
    dropout: float = 0.5
    classes: int = 701  # training places, numbered from 0; 0 leaves the cross-entropy out
    label_smoothing: float = 0.0
    part_sum: bool = False  # the parts' cross-entropies are added (LPN), not averaged
    margin: float = 0.3  # of the triplet; 0 leaves it out
    # Both views through batch norm at once, as in use; the published codes take them one by one.
    joint_batch_norm: bool = False
    flip_sum: bool = True  # descriptors add the mirrored picture's features


class PartHead(nn.Module):
    """A part's bottleneck, and its classifier for the loss, named as in the authors' code."""

    def __init__(self, dim: int, width: int, *, classes: int, dropout: float) -> None:
        super().__init__()
        bottleneck = nn.Linear(dim, width)
        nn.init.kaiming_normal_(bottleneck.weight, mode="fan_out")
        nn.init.zeros_(bottleneck.bias)
        self.add_block = nn.Sequential(bottleneck, nn.BatchNorm1d(width), nn.Dropout(dropout))
        self.classifier: nn.Sequential | None = None
        if classes:
            linear = nn.Linear(width, classes)
            nn.init.normal_(linear.weight, std=0.001)
            nn.init.zeros_(linear.bias)
            self.classifier = nn.Sequential(linear)

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b width"]:
        """The part's feature; ``logits`` takes it further."""
        feature: Tensor = self.add_block(x)
        return feature

    def logits(self, feature: Float[Tensor, "b width"]) -> Float[Tensor, "b classes"]:
        """Only of a head with classes."""
        assert self.classifier is not None
        out: Tensor = self.classifier(feature)
        return out


class PartNetwork(RetrievalNetwork):
    """A network whose descriptor is its parts' features side by side."""

    config: PartConfig

    def __init__(self, config: PartConfig) -> None:
        super().__init__(config)
        if not config.margin and not config.classes:
            raise UserError(
                "Without classes and without a margin there is no loss to train with",
                "Set classes to the number of training places, or the margin to 0.3.",
            )
        self.head_names: tuple[str, ...] = ()

    @abstractmethod
    def pool(self, images: Float[Tensor, "b 3 h w"], view: View) -> list[Tensor]:
        """What each head gets, [b, c], in the order of the heads."""

    @property
    def descriptor(self) -> int:
        return self.config.part_width * len(self.head_names)

    @property
    def heads(self) -> list[PartHead]:
        return [cast(PartHead, self.get_submodule(name)) for name in self.head_names]

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """All but the heads."""
        heads = {id(p) for head in self.heads for p in head.parameters()}
        yield from (p for p in self.parameters() if id(p) not in heads)

    def add_head(self, name: str, dim: int) -> None:
        """Append a head for a part with ``dim`` channels."""
        c = self.config
        head = PartHead(dim, c.part_width, classes=c.classes, dropout=c.dropout)
        self.add_module(name, head)
        self.head_names += (name,)

    def parts(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b n d"]:
        """The features of the parts, in the order of the heads."""
        pooled = self.pool(images, view)
        return torch.stack([h(x) for h, x in zip(self.heads, pooled, strict=True)], dim=1)

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        """The parts' features, each made 1 / sqrt(n) long, so that the whole is a unit vector."""
        parts = self.parts(images, view)
        if self.config.flip_sum:
            parts = parts + self.parts(images.flip(-1), view)
        # float() because under autocast the norm and the similarities want full precision.
        return F.normalize(parts.float(), dim=-1).flatten(1) / math.sqrt(parts.shape[1])

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Triplet between views, mean over the parts, plus each view's cross-entropy."""
        query, satellite = self._both(batch)
        loss = torch.zeros((), device=query.device)
        if self.config.margin:
            triplets = [
                cross_view_triplet(q, s, batch.place, margin=self.config.margin)
                for q, s in zip(query.unbind(1), satellite.unbind(1), strict=True)
            ]
            loss = loss + torch.stack(triplets).mean()
        if self.config.classes:
            self._check_classes(batch.place)
            loss = loss + self._cross_entropy(query, batch.place)
            loss = loss + self._cross_entropy(satellite, batch.place)
        return loss

    def _both(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        view = self.config.query_view
        if self.config.joint_batch_norm and batch.query.shape == batch.satellite.shape:
            both = self.parts(torch.cat((batch.query, batch.satellite)), view)
            return both[: len(batch.query)], both[len(batch.query) :]
        return self.parts(batch.query, view), self.parts(batch.satellite, "satellite")

    def _check_classes(self, place: Tensor) -> None:
        first, last = int(place.min()), int(place.max())
        if first < 0 or last >= self.config.classes:
            raise UserError(
                f"The places are numbered {first} to {last}, but the network was built for "
                f"{self.config.classes} classes",
                f"Set classes to at least {last + 1}, or to 0 for a loss without classes.",
            )

    def _cross_entropy(self, parts: Tensor, place: Tensor) -> Tensor:
        each = [
            F.cross_entropy(
                head.logits(feature).float(),
                place.long(),
                label_smoothing=self.config.label_smoothing,
            )
            for head, feature in zip(self.heads, parts.unbind(1), strict=True)
        ]
        return torch.stack(each).sum() if self.config.part_sum else torch.stack(each).mean()


def heat_runs(heat: Float[Tensor, "b t"], parts: int) -> Int[Tensor, "b t"]:
    """The region of each token: sorted by heat, hottest first, and cut into equal runs (FSRA).

    What does not divide goes to the last, coldest region: 49 tokens make 16, 16 and 17.
    """
    tokens = heat.shape[1]
    order = heat.argsort(dim=1, descending=True, stable=True)
    run = (torch.arange(tokens, device=heat.device) // (tokens // parts)).clamp(max=parts - 1)
    return torch.zeros_like(order).scatter(1, order, run.expand_as(order))


def region_means(
    tokens: Float[Tensor, "b t d"], region: Int[Tensor, "b t"], parts: int
) -> Float[Tensor, "b parts d"]:
    """The mean token of each region; none may be empty."""
    member = F.one_hot(region, parts).to(tokens.dtype)
    return member.transpose(1, 2) @ tokens / member.sum(dim=1)[..., None]


@dataclass(frozen=True, slots=True)
class HeatRegions:
    """The tokens of a last map, how hot each is, and the region that this puts it in."""

    tokens: Float[Tensor, "b t c"]
    heat: Float[Tensor, "b t"]
    region: Int[Tensor, "b t"]
    parts: int
    coldest_first: bool

    def means(self) -> list[Tensor]:
        """What the regions' heads get."""
        return list(region_means(self.tokens, self.region, self.parts).unbind(dim=1))

    def maps(self, heads: Sequence[PartHead], grid: tuple[int, int]) -> tuple[AttentionMap, ...]:
        """For an explanation; ``heads`` are the regions' and ``grid`` is the map's h and w."""
        rank = self.region if self.coldest_first else self.parts - 1 - self.region
        align = part_alignment(heads, self.tokens, self.region, self.means())
        return (
            AttentionMap("heat: mean channel of the last stage", self.heat.unflatten(1, grid)),
            AttentionMap("regions by heat, 0 the coldest", rank.float().unflatten(1, grid)),
            AttentionMap("alignment with the part's descriptor", align.unflatten(1, grid)),
        )


def part_alignment(
    heads: Sequence[nn.Module],
    tokens: Float[Tensor, "b t d"],
    part: Int[Tensor, "b t"] | Int[Tensor, "1 t"],
    pooled: Sequence[Tensor],
) -> Float[Tensor, "b t"]:
    """Each token, put through its part's head, against what that head makes of the whole part.

    Heads in evaluation mode are affine, so where a part is the mean of its tokens, their values
    average to the length of its feature: they say which tokens make the descriptor what it is.
    """
    values = tokens.new_zeros(tokens.shape[:2])
    for i, head in enumerate(heads):
        each = head(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        whole = F.normalize(head(pooled[i]), dim=-1)
        values = torch.where(part == i, torch.einsum("btd,bd->bt", each, whole), values)
    return values.float()
