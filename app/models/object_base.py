"""What every object network can do: a click on the query in, boxes on the satellite picture out."""

from abc import abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from app.models.base import AttentionMap, Network, NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectConfig(NetworkConfig):
    """Fields that every object network has; a network's own config adds to them."""

    # Width and height of the anchor boxes in pixels of the satellite input, in the order of the
    # head's output channels.
    anchors: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ClickBatch:
    """Row i: one object, clicked in the query and boxed in the satellite picture.

    Pictures are preprocessed (normalised, of the network's input sizes). Pixel coordinates are
    those of the input sizes, with the origin at the upper left corner of the upper left pixel.
    """

    query: Float[Tensor, "b 3 h w"]
    click: Float[Tensor, "b 2"]  # x, y
    satellite: Float[Tensor, "b 3 h2 w2"]
    box: Float[Tensor, "b 4"]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class BoxScores:
    """Every box that a network proposes for one click, unsorted and not cut at the edges."""

    boxes: Float[Tensor, "b n 4"]  # left, top, right, bottom in pixels of the satellite input
    scores: Float[Tensor, "b n"]  # logits, higher is better


@dataclass(frozen=True, slots=True)
class ObjectMaps:
    """Where a network looked for one click, most telling first; neither is ever empty."""

    query: tuple[AttentionMap, ...]
    satellite: tuple[AttentionMap, ...]


class ObjectNetwork(Network):
    """Finds in a satellite picture the object that a click on the query means.

    Encoding and finding are apart, so that a satellite picture is encoded once for many clicks,
    and a click once for many satellite pictures. Rows pair up: to try one click on k satellite
    pictures, expand its features to k rows.
    """

    config: ObjectConfig

    @abstractmethod
    def encode_query(
        self, images: Float[Tensor, "b 3 h w"], clicks: Float[Tensor, "b 2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        """Features of preprocessed queries with their clicks (x, y in pixels of the input)."""

    @abstractmethod
    def encode_satellite(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        """Features of preprocessed satellite pictures."""

    @abstractmethod
    def find(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> BoxScores:
        """All boxes with their scores, from the features of both."""

    @abstractmethod
    def loss(self, batch: ClickBatch) -> Float[Tensor, ""]:
        """The training loss of one batch."""

    @abstractmethod
    def explain(
        self,
        images: Float[Tensor, "b 3 h w"],
        clicks: Float[Tensor, "b 2"],
        satellites: Float[Tensor, "b 3 h2 w2"],
    ) -> ObjectMaps:
        """Maps of where it looked, named as what they are."""
