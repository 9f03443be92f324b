"""Boxes as an anchor head speaks of them: decoding, the responsible anchor, losses, overlap.

As in YOLOv3, of which DetGeo and AttenGeo keep the head: for each anchor and cell (tx, ty, tw, th,
confidence). Boxes are (left, top, right, bottom) in pixels of the picture that the head looks at.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

PER_ANCHOR = 5  # tx, ty, tw, th, confidence
Confidence = Literal["binary", "softmax"]
Reduction = Literal["sum", "mean"]


def box_iou(a: Float[Tensor, "*#b 4"], b: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b"]:
    """Intersection over union, row by row; ``a[:, None]`` and ``b[None]`` give every pair.

    0 where neither box has an area.
    """
    left_top = torch.maximum(a[..., :2], b[..., :2])
    right_bottom = torch.minimum(a[..., 2:], b[..., 2:])
    common = (right_bottom - left_top).clamp(min=0).prod(dim=-1)
    together = _area(a) + _area(b) - common
    return common / together.clamp(min=torch.finfo(together.dtype).tiny)


def _area(boxes: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(dim=-1)


@dataclass(frozen=True, slots=True)
class AnchorGrid:
    """The cells of a head over its picture, and the anchors that each of them has."""

    anchors: Float[Tensor, "a 2"]  # width, height in pixels, in the order of the head's channels
    cells: tuple[int, int]  # height, width
    picture: tuple[int, int]  # height, width in pixels

    @property
    def stride(self) -> Float[Tensor, " 2"]:
        """Width and height of a cell in pixels."""
        (h, w), (height, width) = self.cells, self.picture
        return self.anchors.new_tensor((width / w, height / h))

    def decode(self, raw: Float[Tensor, "b a 5 h w"]) -> Float[Tensor, "b n 4"]:
        """Every box, n = a h w: anchor by anchor, row by row."""
        h, w = self.cells
        raw = raw.float()
        rows = torch.arange(h, device=raw.device, dtype=raw.dtype)
        columns = torch.arange(w, device=raw.device, dtype=raw.dtype)
        corner = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))
        centre = (raw[:, :, :2].sigmoid() + corner) * self.stride[:, None, None]
        half = raw[:, :, 2:4].exp() * self.anchors[None, :, :, None, None] / 2
        boxes = torch.cat((centre - half, centre + half), dim=2)
        return boxes.permute(0, 1, 3, 4, 2).flatten(1, 3)

    def assign(self, boxes: Float[Tensor, "b 4"]) -> "Responsible":
        """Who answers for each box: the cell of its centre, and the anchor most like it in shape.

        As in DetGeo boxes are cut at the picture's edges first. A cut box is at least a pixel wide
        and high.
        """
        height, width = self.picture
        edges = boxes.new_tensor((width, height, width, height))
        boxes = torch.minimum(boxes.clamp(min=0), edges)
        sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
        shapes = torch.cat((torch.zeros_like(sizes), sizes), dim=1)
        priors = torch.cat((torch.zeros_like(self.anchors), self.anchors), dim=1)
        anchor = box_iou(shapes[:, None], priors[None]).argmax(dim=1)
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / self.stride
        last = centre.new_tensor((self.cells[1] - 1, self.cells[0] - 1))
        cell = torch.minimum(centre.floor(), last)
        offsets = torch.cat((centre - cell, (sizes / self.anchors[anchor]).log()), dim=1)
        return Responsible(anchor, cell[:, 1].long(), cell[:, 0].long(), offsets)


@dataclass(frozen=True, slots=True)
class Responsible:
    """For each box the anchor and cell that are to find it, and what they are to say."""

    anchor: Int[Tensor, " b"]
    row: Int[Tensor, " b"]
    column: Int[Tensor, " b"]
    offsets: Float[Tensor, "b 4"]  # of the centre in its cell 0..1; log size over the anchor's

    def index(self, grid: AnchorGrid) -> Int[Tensor, " b"]:
        """Its place among the boxes that ``decode`` returns."""
        h, w = grid.cells
        return (self.anchor * h + self.row) * w + self.column


def confidence_loss(
    logits: Float[Tensor, "b n"],
    responsible: Int[Tensor, " b"],
    *,
    kind: Confidence,
    reduction: Reduction,
) -> Float[Tensor, ""]:
    """ "binary": equation 10, all boxes but the responsible one being wrong; a mean over pictures.

    "sum" adds up a picture's boxes, which is the equation to the letter; "mean" averages them.
    "softmax" is DetGeo's: cross-entropy over a picture's boxes, of which one is right; it starts
    at ln n.
    """
    logits = logits.float()
    if kind == "softmax":
        return F.cross_entropy(logits, responsible)
    target = F.one_hot(responsible, logits.shape[1]).to(logits.dtype)
    total = F.binary_cross_entropy_with_logits(logits, target, reduction=reduction)
    return total / len(logits) if reduction == "sum" else total


def location_loss(raw: Float[Tensor, "b a 5 h w"], responsible: Responsible) -> Float[Tensor, ""]:
    """Equation 11: squared errors of the responsible anchors' four values, a mean over pictures."""
    r = responsible
    picture = torch.arange(len(raw), device=raw.device)
    said = raw[picture, r.anchor, :4, r.row, r.column].float()
    said = torch.cat((said[:, :2].sigmoid(), said[:, 2:]), dim=1)
    return (said - r.offsets).square().sum(dim=1).mean()
