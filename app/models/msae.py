"""MSAE: panoramas seen from above (IPT), masks of three scales, and a queue of hard negatives.

Li, Tu, Chen, Yu: "Multi-scale attention encoder for street-to-aerial image geo-localization", CAAI
Transactions on Intelligence Technology, 2022. There is no published code or checkpoint. What the
paper leaves open is taken from its closest ancestors: the mask from CRN (its reference 8), the
loss from CVM-Net, the directions from SAFA.

The paper trains with Adam (0.9, 0.999), batches of 64 pairs and a learning rate of 1e-4, a tenth
of it after 80 of 100 epochs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from app.card import View
from app.errors import UserError
from app.models import presets
from app.models.backbone import MapTrunk
from app.models.base import (
    AttentionMap,
    PairBatch,
    RetrievalConfig,
    RetrievalNetwork,
    config_from_mapping,
)
from app.models.gathering import gathered
from app.models.losses import Outsiders, soft_margin_triplet
from app.models.polar import Polar, inverse_polar, polar, turned

PANORAMA_CELL = 4  # pixels of the panorama in a cell of a map that is brought back to it


@dataclass(frozen=True, slots=True, kw_only=True)
class MSAEConfig(RetrievalConfig):
    """Defaults are the paper's network; what the paper leaves open says what was chosen."""

    # The trunks, one for each view: a timm name, and the stride of the map to take: conv5_3.
    trunk: str = "vgg16.tv_in1k"
    stride: int = 16
    freeze_bn: bool = False  # as in Sample4Geo; a VGG16 has no batch norm
    frozen_stages: int = 0  # the stem and this many stages keep the weights they came with
    # IPT (table 2). The view from above has the satellite picture's size. Without it the street
    # network takes the panorama itself. See ``Polar`` for the three.
    inverse_polar: bool = True
    reach: Literal["corner", "edge"] = "corner"
    vertical_origin: Literal["bottom", "printed"] = "bottom"
    azimuth_origin: Literal["centre", "printed"] = "centre"
    # In training the views from above are turned by up to this much either way. The paper does
    # turn them, by unsaid angles; with "both" the satellite pictures turn along, so that the pair
    # stays aligned, and what comes into their corners is mirrored.
    rotation_deg: float = 15.0
    rotated: Literal["query", "both"] = "query"
    # The attention encoder (table 2). All but the kernels is unsaid and CRN's: the pooling before
    # (3 x 3 in steps of 2: why the mask must be up-sampled), the filters, and ReLU at the end.
    attention: bool = True
    mask_kernels: tuple[int, ...] = (3, 5, 7)
    mask_filters: tuple[int, ...] = (32, 32, 20)
    mask_pooling: bool = True
    mask_activation: Literal["relu", "sigmoid", "softmax"] = "relu"
    # The fully connected layer: of the map after VGG16's fifth pooling, place by place, which
    # keeps the layout that IPT aligns; or of the map's mean. Its width is unsaid.
    head: Literal["flattened", "pooled"] = "flattened"
    outputs: int = 512
    alpha: float = 10.0
    # GMS (table 2): 0 leaves it out. Only satellite descriptors are said to be stored; "both" has
    # a queue of queries for the satellite pictures as well. Entries of any other place count as
    # negatives, but for those that are known to lie so near that they show the anchor's ground.
    queue_length: int = 512
    queues: Literal["satellite", "both"] = "satellite"
    enqueue: Literal["after", "before"] = "after"  # the loss; before: a batch meets its own again
    # Losses, counted anew when a run is resumed, before its entries count: figure 7 has GMS harm
    # the beginning.
    queue_start: int = 0
    queue_weight: float = 1.0  # of a triplet with an entry; one mean is taken over all triplets


class ScaleMask(nn.Module):
    """Equation 3 as CRN builds it: a weight for each place of a map, from three kernel sizes.

    Figure 4's caption could mean maps of several stages instead; the equation has one map.
    """

    def __init__(self, config: MSAEConfig, channels: int) -> None:
        super().__init__()
        self.pooling, self.activation = config.mask_pooling, config.mask_activation
        self.scales = nn.ModuleList(
            nn.Conv2d(channels, filters, kernel, padding=kernel // 2)
            for kernel, filters in zip(config.mask_kernels, config.mask_filters, strict=True)
        )
        self.weigh = nn.Conv2d(sum(config.mask_filters), 1, 1)
        if self.activation == "relu":
            # Unsaid. Begun about 0 a mask may be 0 everywhere, and no slope would ever change that.
            nn.init.ones_(self.weigh.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h w"]:
        small = F.avg_pool2d(x, 3, 2) if self.pooling else x
        mask = self.weigh(torch.cat([F.relu(scale(small)) for scale in self.scales], dim=1))
        match self.activation:
            case "relu":
                mask = F.relu(mask)
            case "sigmoid":
                mask = mask.sigmoid()
            case "softmax":  # times the number of places: their mean is 1
                mask = mask.flatten(2).softmax(dim=2).view_as(mask) * mask[0].numel()
        return F.interpolate(mask, x.shape[2:], mode="bilinear")


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a picture becomes on its way to the descriptor."""

    mask: Float[Tensor, "b 1 h w"] | None
    weighted: Float[Tensor, "b c h w"]  # the trunk's map, by the mask
    places: Float[Tensor, "b c h2 w2"]  # what the fully connected layer takes; pooled: their mean
    out: Float[Tensor, "b d"]


class Encoder(nn.Module):
    """A view's trunk, mask and fully connected layer, for pictures of one ``size``."""

    def __init__(self, config: MSAEConfig, size: tuple[int, int]) -> None:
        super().__init__()
        self.strides, self.size = (config.stride,), size
        # A VGG's classifier is 89 % of its weights, and would be drawn only to be cut off.
        vgg = {"mlp_ratio": 1 / 4096} if config.trunk.startswith("vgg") else {}
        self.trunk = MapTrunk(
            config.trunk,
            deepest=config.stride,
            freeze_bn=config.freeze_bn,
            frozen_stages=config.frozen_stages,
            **vgg,
        )
        channels = self.trunk.channels(self.strides)
        self.mask = ScaleMask(config, channels) if config.attention else None
        self.flattened = config.head == "flattened"
        # The fifth pooling halves the map and leaves out an odd last row.
        cells = math.prod(side // (2 * config.stride) for side in size) if self.flattened else 1
        self.fc = nn.Linear(channels * cells, config.outputs)

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Encoded:
        if tuple(images.shape[2:]) != self.size:
            raise ValueError(f"pictures of {self.size}, not {tuple(images.shape[2:])}")
        features = self.trunk(images, self.strides)
        mask = None if self.mask is None else self.mask(features)
        weighted = features if mask is None else features * mask
        if not self.flattened:
            return Encoded(mask, weighted, weighted, self.fc(weighted.mean(dim=(2, 3))))
        places = F.max_pool2d(weighted, 2)
        return Encoded(mask, weighted, places, self.fc(places.flatten(1)))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        # float() because under autocast the norm and the similarities want full precision.
        return F.normalize(self.encode(images).out.float(), dim=-1)

    def explain(self, images: Float[Tensor, "b 3 h w"]) -> tuple[AttentionMap, ...]:
        """See ``MSAE.explain``."""
        encoded = self.encode(images)
        goal = F.normalize(encoded.out.float(), dim=-1) @ self.fc.weight
        if self.flattened:
            along = goal.unflatten(1, encoded.places.shape[1:])
        else:
            along = goal[:, :, None, None] / math.prod(encoded.places.shape[2:])
        share = (encoded.places * along).sum(dim=1)
        maps = [AttentionMap("contribution to the descriptor", share.float())]
        if encoded.mask is not None:
            maps.append(AttentionMap("MSAE's mask", encoded.mask[:, 0].float()))
        energy = encoded.weighted.float().norm(dim=1)
        note = "" if encoded.mask is None else ", weighted by the mask"
        return (*maps, AttentionMap(f"activation energy of the trunk{note}", energy))


class HardQueue(nn.Module):
    """GMS's queue: the last descriptors, one of a place, that were hardest in their batches.

    No checkpoint holds it, for it says nothing without the training it comes from; a run's state
    does.
    """

    descriptors: Tensor
    place: Tensor
    filled: Tensor
    ground: Tensor  # as in a ``PairBatch``

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("descriptors", torch.zeros(length, width), persistent=False)
        self.register_buffer("place", torch.zeros(length, dtype=torch.long), persistent=False)
        self.register_buffer("filled", torch.zeros(length, dtype=torch.bool), persistent=False)
        self.register_buffer("ground", torch.full((length, 3), torch.nan), persistent=False)

    def entries(self, weight: float) -> Outsiders:
        """Oldest first, behind rows that are not filled yet."""
        return Outsiders(self.descriptors, self.place, self.filled, weight, self.ground)

    @torch.no_grad()
    def push_hardest(
        self,
        anchors: Float[Tensor, "b d"],
        others: Float[Tensor, "b d"],
        place: Int[Tensor, " b"],
        ground: Float[Tensor, "b 3"] | None = None,
    ) -> None:
        """Store of each anchor the nearest of ``others`` that shows another place, if one does."""
        with torch.autocast(
            anchors.device.type, enabled=False
        ):  # half of it cannot tell them apart
            similar = anchors.float() @ others.float().T
        similar = similar.masked_fill(place[:, None] == place[None], -torch.inf)
        nearest, index = similar.max(dim=1)
        at = None if ground is None else ground[index]
        self.push(others[index], place[index], nearest > -torch.inf, at)

    @torch.no_grad()
    def push(
        self,
        descriptors: Float[Tensor, "n d"],
        place: Int[Tensor, " n"],
        valid: Bool[Tensor, " n"],
        ground: Float[Tensor, "n 3"] | None = None,
    ) -> None:
        """In this order behind what is there; what was stored of their places before goes.

        Without a look at the values on the CPU: a GPU need not wait.
        """
        rows = torch.cat((self.descriptors, descriptors.detach().to(self.descriptors)))
        places = torch.cat((self.place, place.to(self.place)))
        filled = torch.cat((self.filled, valid))
        at = self.ground.new_full((len(place), 3), torch.nan) if ground is None else ground
        grounds = torch.cat((self.ground, at.to(self.ground)))
        newer = filled.new_ones(len(filled), len(filled)).triu(1)
        superseded = ((places[:, None] == places[None]) & filled[None] & newer).any(dim=1)
        kept = filled & ~superseded
        order = kept.byte().argsort(stable=True)[-len(self.filled) :]
        # New tensors, not written into: the loss may still need the old ones for its slopes.
        self.descriptors, self.place, self.filled = rows[order], places[order], kept[order]
        self.ground = grounds[order]


class MSAE(RetrievalNetwork):
    config: MSAEConfig
    points: Tensor
    losses_taken: Tensor

    def __init__(self, config: MSAEConfig) -> None:
        super().__init__(config)
        _check(config)
        self.polar = Polar(
            street=config.query_size,
            side=config.satellite_size[0],
            reach=config.reach,
            vertical=config.vertical_origin,
            azimuth=config.azimuth_origin,
        )
        if config.inverse_polar:
            points = self.polar.street_points().to(self.mean.device)
            self.register_buffer("points", points, persistent=False)
        seen = config.satellite_size if config.inverse_polar else config.query_size
        self.query_net = Encoder(config, seen)
        self.satellite_net = Encoder(config, config.satellite_size)
        taken = torch.zeros((), dtype=torch.long)  # losses in training
        self.register_buffer("losses_taken", taken, persistent=False)
        self.satellite_queue: HardQueue | None = None
        self.query_queue: HardQueue | None = None
        if config.queue_length:
            self.satellite_queue = HardQueue(config.queue_length, config.outputs)
            if config.queues == "both":
                self.query_queue = HardQueue(config.queue_length, config.outputs)

    @property
    def descriptor(self) -> int:
        return self.config.outputs

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        net = self.satellite_net if view == "satellite" else self.query_net
        descriptors: Tensor = net(self._from_above(images, view))
        return descriptors

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        """Equation 4 over the batch and the queue. In evaluation mode over the batch alone.

        Turns are drawn from torch's own generator of the CPU.
        """
        query, satellite = self._described(batch)
        place, c = batch.place, self.config
        if not self.training or self.satellite_queue is None:
            return soft_margin_triplet(query, satellite, place, alpha=c.alpha)
        if c.enqueue == "before":
            self._push(query, satellite, batch)
        weight = c.queue_weight
        started = not c.queue_start or bool(self.losses_taken >= c.queue_start)
        queues = [q if started else None for q in (self.satellite_queue, self.query_queue)]
        of_satellite, of_query = [None if q is None else q.entries(weight) for q in queues]
        loss = soft_margin_triplet(
            query,
            satellite,
            place,
            alpha=c.alpha,
            ground=batch.ground,
            satellite_outsiders=of_satellite,
            query_outsiders=of_query,
        )
        if c.enqueue == "after":
            self._push(query, satellite, batch)
        self.losses_taken += 1
        return loss

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        """What each place adds to the descriptor, the mask (figure 6), and the trunk's energy.

        Contributions are exact up to the layer's bias: what a place adds to its output, along the
        descriptor; negative ones pull away from it. Maps of the view from above are brought back
        onto the panorama; what of it the view does not show is 0.
        """
        if view == "satellite":
            return self.satellite_net.explain(images)
        maps = self.query_net.explain(self._from_above(images, view))
        if not self.config.inverse_polar:
            return maps
        height, width = self.config.query_size
        seen = replace(self.polar, street=(height // PANORAMA_CELL, width // PANORAMA_CELL))
        return tuple(
            AttentionMap(
                f"{one.name}, back from the view from above",
                polar(one.values[:, None], seen, outside=0.0)[:, 0],
            )
            for one in maps
        )

    def _from_above(self, images: Tensor, view: View, turn_deg: Tensor | None = None) -> Tensor:
        if view == "satellite" or not self.config.inverse_polar:
            return images
        if tuple(images.shape[2:]) != self.config.query_size:
            raise ValueError(
                f"panoramas of {self.config.query_size}, not {tuple(images.shape[2:])}"
            )
        return inverse_polar(images, self.points, turn_deg=turn_deg)

    def _described(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        c, satellite = self.config, batch.satellite
        turn_deg: Tensor | None = None
        if self.training and c.inverse_polar and c.rotation_deg:
            drawn = torch.rand(len(satellite), device="cpu").to(satellite)
            turn_deg = c.rotation_deg * (2 * drawn - 1)
            if c.rotated == "both":
                satellite = turned(satellite, turn_deg)
        seen = self._from_above(batch.query, c.query_view, turn_deg)
        return self.query_net(seen), self.satellite_net(satellite)

    def _push(self, query: Tensor, satellite: Tensor, batch: PairBatch) -> None:
        query, satellite = gathered(query.detach()), gathered(satellite.detach())
        place = gathered(batch.place)
        ground = None if batch.ground is None else gathered(batch.ground)
        if self.satellite_queue is not None:
            self.satellite_queue.push_hardest(query, satellite, place, ground)
        if self.query_queue is not None:
            self.query_queue.push_hardest(satellite, query, place, ground)


def _check(config: MSAEConfig) -> None:
    height, width = config.satellite_size
    if config.inverse_polar and (config.query_view != "street" or height != width):
        raise UserError(
            f"{config.query_view} pictures cannot be put over tiles of {height} x {width}",
            "Only panoramas can, over square ones; else set inverse_polar to false.",
        )
    least = 3 if config.attention and config.mask_pooling else 2
    encoded = {config.satellite_size}
    if not config.inverse_polar:
        encoded.add(config.query_size)
    for size in encoded:
        if any(side % config.stride or side < least * config.stride for side in size):
            raise UserError(
                f"MSAE cannot take pictures of {size[0]} x {size[1]}",
                f"Both sides must be multiples of {config.stride}, and {least} of them at least.",
            )
    kernels, filters = config.mask_kernels, config.mask_filters
    if not kernels or len(kernels) != len(filters) or not all(k % 2 for k in kernels):
        raise UserError(
            f"Kernels {kernels} with filters {filters} make no mask",
            "Give odd kernels, and for each of them a number of filters.",
        )


# The rows of table 2, over "paper-cvusa-cvact".
ABLATIONS: dict[str, dict[str, Any]] = {
    "w/o IPT": {"inverse_polar": False},
    "w/o MSAE": {"attention": False},
    "w/o GMS": {"queue_length": 0},
    "Ours": {},
}

PRESETS = presets.MSAE


def build(config: Mapping[str, Any]) -> MSAE:
    return MSAE(config_from_mapping(MSAEConfig, config))
