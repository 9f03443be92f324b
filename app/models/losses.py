"""Losses that more than one network uses.

In a training of several processes each sees the batches of all (``gathering``).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from app.models.gathering import gathered


def info_nce(
    query: Float[Tensor, "b d"],
    satellite: Float[Tensor, "b d"],
    place: Int[Tensor, " b"],
    *,
    scale: Float[Tensor, ""],
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Cross-entropy both ways over the similarities of a batch; row i matches row i.

    Rows must be unit vectors; ``scale`` multiplies their dot products (1 / temperature). Two rows
    of one ``place`` are neither positives nor negatives of each other: they are left out.
    With all places different this is Sample4Geo's loss (ICCV 2023, equation 1). In full
    precision under autocast too: half of it cannot tell the best similarities apart.
    """
    query, satellite, place = gathered(query), gathered(satellite), gathered(place)
    with torch.autocast(query.device.type, enabled=False):
        logits = scale.float() * query.float() @ satellite.float().T
    left_out = (place[:, None] == place[None]) & ~torch.eye(
        len(place), dtype=torch.bool, device=place.device
    )
    return (
        _diagonal_cross_entropy(logits, left_out, label_smoothing)
        + _diagonal_cross_entropy(logits.T, left_out, label_smoothing)
    ) / 2


def _diagonal_cross_entropy(
    logits: Float[Tensor, "b b"], left_out: Bool[Tensor, "b b"], label_smoothing: float
) -> Float[Tensor, ""]:
    log_p = logits.masked_fill(left_out, -torch.inf).log_softmax(dim=1)
    # Smoothing spreads over the entries that count; over -inf it would make the loss infinite.
    spread = log_p.masked_fill(left_out, 0.0).sum(dim=1) / (~left_out).sum(dim=1)
    return -((1 - label_smoothing) * log_p.diagonal() + label_smoothing * spread).mean()


def cross_view_triplet(
    query: Float[Tensor, "b d"],
    satellite: Float[Tensor, "b d"],
    place: Int[Tensor, " b"],
    *,
    margin: float,
) -> Float[Tensor, ""]:
    """Batch-hard triplet loss between views: MIFT's equation 4 as FSRA's and MIFT's code mines it.

    Features are made unit vectors and compared by Euclidean distance. For each picture the
    farthest one of its place and the nearest one of another place count, both taken from the
    other view only; the mean is over all pictures of both views. A batch of a single place holds
    no negatives and gives zero.
    """
    query, satellite, place = gathered(query), gathered(satellite), gathered(place)
    with torch.autocast(query.device.type, enabled=False):
        cosine = F.normalize(query.float(), dim=-1) @ F.normalize(satellite.float(), dim=-1).T
    distance = (2 - 2 * cosine).clamp(min=1e-6).sqrt()  # the root has no slope to give at zero
    same = place[:, None] == place[None]
    positive = distance.masked_fill(~same, -torch.inf)
    negative = distance.masked_fill(same, torch.inf)
    return (
        F.relu(positive.amax(dim=1) - negative.amin(dim=1) + margin).mean()
        + F.relu(positive.amax(dim=0) - negative.amin(dim=0) + margin).mean()
    ) / 2


@dataclass(frozen=True, slots=True)
class Outsiders:
    """Descriptors from outside a batch, as further negatives; only ``filled`` rows hold one."""

    descriptors: Float[Tensor, "n d"]
    place: Int[Tensor, " n"]
    filled: Bool[Tensor, " n"]
    weight: float = 1.0  # of a triplet with one of them; a triplet of the batch weighs 1
    ground: Float[Tensor, "n 3"] | None = None  # as in a ``PairBatch``


def soft_margin_triplet(
    query: Float[Tensor, "b d"],
    satellite: Float[Tensor, "b d"],
    place: Int[Tensor, " b"],
    *,
    alpha: float,
    ground: Float[Tensor, "b 3"] | None = None,
    satellite_outsiders: Outsiders | None = None,
    query_outsiders: Outsiders | None = None,
) -> Float[Tensor, ""]:
    """Mean of log(1 + exp(alpha (d+ - d-))) over all triplets of a batch, both ways.

    d are squared Euclidean distances of unit vectors (made so here), so that ``alpha`` 10 is 20 on
    cosines, as in TransGeo's code. Row i matches row i, and all others are its negatives but for
    those of the same ``place``: with all places different there are 2 b (b - 1) triplets. A batch
    of a single place holds no negatives and gives zero. ``satellite_outsiders`` are negatives of
    the queries, ``query_outsiders`` of the satellite pictures; the mean is over their triplets too.
    Of these, what lies within 1 of an anchor's ``ground`` shows a part of it and is left out.
    """
    query, satellite, place = gathered(query), gathered(satellite), gathered(place)
    at = None if ground is None else gathered(ground)
    query, satellite = F.normalize(query.float(), dim=-1), F.normalize(satellite.float(), dim=-1)
    distance = _squared_distance(query, satellite)
    match = distance.diagonal()
    other = (place[:, None] != place[None]).float()
    terms = [
        F.softplus(alpha * (match[:, None] - distance)),
        F.softplus(alpha * (match - distance)),
    ]
    weights = [other, other]
    for anchors, outsiders in ((query, satellite_outsiders), (satellite, query_outsiders)):
        if outsiders is not None:
            far = _squared_distance(anchors, F.normalize(outsiders.descriptors.float(), dim=-1))
            terms.append(F.softplus(alpha * (match[:, None] - far)))
            counts = outsiders.filled & (place[:, None] != outsiders.place)
            if at is not None and outsiders.ground is not None:
                counts &= ~share_ground(at, outsiders.ground)
            weights.append(outsiders.weight * counts.float())
    term, weight = (torch.cat([x.flatten() for x in both]) for both in (terms, weights))
    total = weight.sum()
    return (term * weight).sum() / torch.where(total > 0, total, 1.0)


def share_ground(a: Float[Tensor, "n 3"], b: Float[Tensor, "m 3"]) -> Bool[Tensor, "n m"]:
    """Whether less than 1 lies between them; what is NaN shares none."""
    near: Bool[Tensor, "n m"] = (a[:, None] - b[None]).norm(dim=-1) < 1
    return near


def _squared_distance(a: Float[Tensor, "n d"], b: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """Of unit vectors; in full precision under autocast too."""
    with torch.autocast(a.device.type, enabled=False):
        return 2 - 2 * a @ b.T
