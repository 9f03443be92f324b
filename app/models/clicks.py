"""What DetGeo and AttenGeo share: the click as a fourth channel, mapped views, the anchor head.

Each brings its trunks and its fusion. Nothing of the two views mixes before the fusion, so that
features of either are kept for another click or another picture.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.errors import UserError
from app.models.base import AttentionMap
from app.models.boxes import (
    PER_ANCHOR,
    AnchorGrid,
    Confidence,
    Reduction,
    confidence_loss,
    location_loss,
)
from app.models.cross_view import CVCAM, MHSAM, Fusion, Order
from app.models.object_base import (
    BoxScores,
    ClickBatch,
    ObjectConfig,
    ObjectMaps,
    ObjectNetwork,
)

# DetGeo's, clustered from CVOGL's boxes in pictures of 1024 x 1024: width, height in pixels.
CVOGL_ANCHORS = (
    (37.0, 41.0),
    (78.0, 84.0),
    (96.0, 215.0),
    (129.0, 129.0),
    (194.0, 82.0),
    (198.0, 179.0),
    (246.0, 280.0),
    (395.0, 342.0),
    (550.0, 573.0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickConfig(ObjectConfig):
    """Fields of a network that takes a click as DetGeo does."""

    anchors: tuple[tuple[float, float], ...] = CVOGL_ANCHORS
    width: int  # channels of both views after their mapping
    # A click is taken to lie on the pixel that holds it, as in the released code; else where it is.
    whole_pixel_clicks: bool = True
    # The papers mix the click's map with the picture's colours, and fresh weights leave little of
    # these. "tint" adds what is mixed to the picture instead and starts as a patch of colour around
    # the click, so that a frozen, pretrained trunk sees pictures as it knows them.
    click_input: Literal["mix", "tint"] = "mix"
    # Both views' mappings start as one rotation, and CVCAM's queries and keys as another: what the
    # trunks say alike of both views is found alike from the first step on. Fresh ones, which the
    # papers have by all they say, take tens of thousands of clicks to find that out.
    start_alike: bool = False
    confidence: Confidence
    reduction: Reduction = "sum"  # over a picture's boxes; of no effect on the softmax
    # What fresh weights say of every box. Of thousands one is right: a "binary" loss that starts at
    # a half is busy with the others for long. Of no effect on the softmax.
    start_confidence: float = 0.5
    # Of the batch norms outside the trunks. The released DetGeo has 0.999: the statistics used
    # after training are those of the last batch.
    bn_momentum: float = 0.1
    mhsam: bool
    # CVCAM's, where there is one
    iterations: int = 4  # k of figure 5
    heads: int = 8  # no published number tells; DETR's and TransT's
    ffn_width: int = 1024
    dropout: float = 0.1  # as for the heads
    order: Order = "before"


def cvcam(c: ClickConfig) -> CVCAM:
    """The CVCAM that a config describes."""
    if c.width % c.heads or c.width % 4:
        raise UserError(
            f"Tokens of width {c.width} cannot be parted among {c.heads} heads",
            "Choose a width that is a multiple of 4 and of the heads.",
        )
    return CVCAM(
        c.width,
        c.heads,
        c.ffn_width,
        iterations=c.iterations,
        dropout=c.dropout,
        order=c.order,
        alike=c.start_alike,
    )


def click_map(
    clicks: Float[Tensor, "b 2"], size: tuple[int, int], *, whole_pixels: bool
) -> Float[Tensor, "b 1 h w"]:
    """(1 - d / diagonal)^2 with d a pixel's distance from the click; x, y in pixels.

    ``size`` is height, width.
    """
    h, w = size
    at = (clicks.floor() + 0.5 if whole_pixels else clicks)[:, :, None, None]
    across = torch.arange(w, device=clicks.device) + 0.5 - at[:, 0]
    down = (torch.arange(h, device=clicks.device) + 0.5)[:, None] - at[:, 1]
    diagonal = (h * h + w * w) ** 0.5
    closeness: Tensor = 1 - torch.hypot(across, down) / diagonal
    return closeness.square()[:, None]


class MappedConv(nn.Sequential):
    """1 x 1 convolution, batch norm, leaky ReLU; named as in the released DetGeo."""

    def __init__(self, width: int, out: int, *, momentum: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, 1, bias=False)
        self.bn = nn.BatchNorm2d(out, momentum=momentum)
        self.leaky = nn.LeakyReLU(0.1)


class ClickNetwork(ObjectNetwork):
    config: ClickConfig

    def __init__(
        self,
        config: ClickConfig,
        *,
        query_channels: int,
        satellite_channels: int,
        fusion: Fusion,
    ) -> None:
        super().__init__(config)
        c = config
        if not c.anchors:
            raise UserError("A head without anchors finds nothing", "Give it anchors.")
        self.click = MappedConv(4, 3, momentum=c.bn_momentum)
        if c.click_input == "tint":
            _start_as_tint(self.click)
        self.query_mapping = MappedConv(query_channels, c.width, momentum=c.bn_momentum)
        self.satellite_mapping = MappedConv(satellite_channels, c.width, momentum=c.bn_momentum)
        if c.start_alike:
            _start_alike(self.query_mapping.conv, self.satellite_mapping.conv)
        self.fusion = fusion
        self.mhsam = MHSAM(c.width) if c.mhsam else None
        said = nn.Conv2d(c.width // 2, len(c.anchors) * PER_ANCHOR, 1)
        assert said.bias is not None
        with torch.no_grad():
            said.bias.view(-1, PER_ANCHOR)[:, 4] += _logit(c.start_confidence)
        self.head = nn.Sequential(MappedConv(c.width, c.width // 2, momentum=c.bn_momentum), said)
        self.register_buffer("anchors", torch.tensor(c.anchors), persistent=False)
        self.anchors: Tensor

    @abstractmethod
    def query_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The trunk's map of queries with their clicks mixed in."""

    @abstractmethod
    def satellite_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """The trunk's map of satellite pictures."""

    def encode_query(
        self, images: Float[Tensor, "b 3 h w"], clicks: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        size = (images.shape[2], images.shape[3])
        at = click_map(clicks.float(), size, whole_pixels=self.config.whole_pixel_clicks)
        clicked = self.click(torch.cat((images, at.to(images.dtype)), dim=1))
        if self.config.click_input == "tint":
            clicked = images + clicked
        features: Tensor = self.query_mapping(self.query_map(clicked))
        return features

    def encode_satellite(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        features: Tensor = self.satellite_mapping(self.satellite_map(images))
        return features

    def find(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> BoxScores:
        raw = self._raw(self.fusion(query, satellite))
        return BoxScores(self._grid(raw).decode(raw), raw[:, :, 4].flatten(1).float())

    def loss(self, batch: ClickBatch) -> Float[Tensor, ""]:
        """Confidence and location, as equation 9 adds them."""
        query = self.encode_query(batch.query, batch.click)
        raw = self._raw(self.fusion(query, self.encode_satellite(batch.satellite)))
        grid = self._grid(raw)
        responsible = grid.assign(batch.box.float())
        confidence = confidence_loss(
            raw[:, :, 4].flatten(1),
            responsible.index(grid),
            kind=self.config.confidence,
            reduction=self.config.reduction,
        )
        return confidence + location_loss(raw, responsible)

    def explain(
        self,
        images: Float[Tensor, "b 3 h w"],
        clicks: Float[Tensor, "b 2"],
        satellites: Float[Tensor, "b 3 h2 w2"],
    ) -> ObjectMaps:
        """The fusion's maps, the head's confidence, and MHSAM's weights where there is one."""
        query, satellite = self.encode_query(images, clicks), self.encode_satellite(satellites)
        fused = self.fusion(query, satellite)
        raw = self._raw(fused)
        looked = self.fusion.maps(
            query,
            satellite,
            clicked=_cell(clicks, (images.shape[2], images.shape[3]), query),
            found=raw[:, :, 4].amax(dim=1).flatten(1).argmax(dim=1),
        )
        of_satellite = [self._confidence(raw), *looked.satellite]
        if self.mhsam is not None:
            weights = self.mhsam.weights(fused).float().mean(dim=1)
            of_satellite.append(AttentionMap("MHSAM's weights, mean of the channels", weights))
        return ObjectMaps(looked.query, tuple(of_satellite))

    def _raw(self, fused: Float[Tensor, "b c h w"]) -> Float[Tensor, "b a 5 h w"]:
        """The head's values before they are decoded."""
        refined = fused if self.mhsam is None else self.mhsam(fused)
        raw: Tensor = self.head(refined)
        b, _, h, w = raw.shape
        return raw.view(b, len(self.config.anchors), PER_ANCHOR, h, w)

    def _grid(self, raw: Float[Tensor, "b a 5 h w"]) -> AnchorGrid:
        return AnchorGrid(self.anchors, (raw.shape[3], raw.shape[4]), self.config.satellite_size)

    def _confidence(self, raw: Float[Tensor, "b a 5 h w"]) -> AttentionMap:
        logits = raw[:, :, 4].float()
        if self.config.confidence == "softmax":
            sure = logits.flatten(1).softmax(dim=1).view_as(logits)
        else:
            sure = logits.sigmoid()
        return AttentionMap("confidence of each place's best box", sure.amax(dim=1))


@torch.no_grad()
def _start_as_tint(click: MappedConv) -> None:
    """Violet close to the click: what is further off, and most of the object, looks as it did."""
    click.conv.weight.zero_()
    click.conv.weight[:, 3] = 1.0
    click.bn.bias.copy_(torch.tensor((-2.0, -4.0, -2.0)))


@torch.no_grad()
def _start_alike(query: nn.Conv2d, satellite: nn.Conv2d) -> None:
    if query.weight.shape != satellite.weight.shape:
        raise UserError(
            f"Maps of {query.in_channels} and {satellite.in_channels} channels cannot start alike",
            "Choose the same trunk and strides for both views, or set start_alike=false.",
        )
    nn.init.orthogonal_(query.weight)
    satellite.weight.copy_(query.weight)


def _logit(share: float) -> float:
    if not 0 < share < 1:
        raise UserError(f"start_confidence is {share}", "It must lie between 0 and 1.")
    return math.log(share / (1 - share))


def _cell(
    clicks: Float[Tensor, "b 2"], size: tuple[int, int], features: Float[Tensor, "b c h w"]
) -> Int[Tensor, " b"]:
    """The cell of ``features`` that holds each click, counted row by row."""
    h, w = features.shape[2:]
    cell = (clicks * clicks.new_tensor((w / size[1], h / size[0]))).long()
    return cell[:, 1].clamp(0, h - 1) * w + cell[:, 0].clamp(0, w - 1)
