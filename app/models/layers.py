"""Layers that more than one network uses."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth: in training a picture skips this branch with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or self.rate == 0:
            return x
        keep = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * keep / (1 - self.rate)


class Mlp(nn.Module):
    """The two linear layers of a transformer block, named as in timm."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class PartHead(nn.Module):
    """What LPN, FSRA and MIFT put on each part: a bottleneck, and a classifier for the loss.

    Parameters are named as in the authors' code of all three. ``classes`` 0 leaves the classifier
    out.
    """

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
        if self.classifier is None:
            raise ValueError("this head was built without classes")
        out: Tensor = self.classifier(feature)
        return out


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


def part_descriptor(parts: Float[Tensor, "b n d"]) -> Float[Tensor, "b nd"]:
    """One unit vector: the parts' features side by side, each of length 1 / sqrt(n)."""
    # float() because under autocast the norm and the similarities want full precision.
    return F.normalize(parts.float(), dim=-1).flatten(1) / math.sqrt(parts.shape[1])


def part_alignment(
    heads: Sequence[nn.Module], tokens: Float[Tensor, "b t d"], region: Int[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """Each token, put through its region's head, against what that head makes of the region.

    ``heads`` are the regions' in evaluation mode, affine maps: a region's values average to the
    length of its feature, so that they say which tokens make the descriptor what it is.
    """
    pooled = region_means(tokens, region, len(heads))
    values = torch.zeros_like(tokens[..., 0])
    for i, head in enumerate(heads):
        each = head(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        whole = F.normalize(head(pooled[:, i]), dim=-1)
        values = torch.where(region == i, torch.einsum("btd,bd->bt", each, whole), values)
    return values.float()
