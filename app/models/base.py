"""What every network can do, and what a retrieval network can do beyond that."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from app.card import View
from app.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Fields that every network has; a network's own config adds to them."""

    query_view: View
    query_size: tuple[int, int]  # height, width in pixels
    satellite_size: tuple[int, int]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig(NetworkConfig):
    """Fields that every retrieval network has."""

    label_smoothing: float = 0.1  # of the loss; one that has no classes passes it over


ConfigT = TypeVar("ConfigT", bound=NetworkConfig)


def config_from_mapping(kind: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """The config that a preset or a card describes; JSON's lists become tuples."""
    known = {f.name: f for f in fields(kind)}
    required = {name for name, f in known.items() if f.default is MISSING}
    if wrong := sorted((set(values) - set(known)) | (required - set(values))):
        raise UserError(
            f"The configuration does not fit {kind.__name__}: {', '.join(wrong)}",
            "It is of another version of this network; train or import it again.",
        )
    return kind(**{k: _tuples(v) for k, v in values.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Row i of both pictures shows one place; all else are negatives unless ``place`` agrees.

    Pictures are preprocessed (normalised, of the network's input sizes).
    """

    query: Float[Tensor, "b 3 h w"]
    satellite: Float[Tensor, "b 3 h2 w2"]
    place: Int[Tensor, " b"]
    # The satellite pictures once more, their looks altered, for networks that learn from both.
    satellite_strong: Float[Tensor, "b 3 h2 w2"] | None = None
    # Where the places lie, in units of the distance below which two of them share ground; NaN or
    # None where it is not known. Rows of one batch lie apart, those of two need not.
    ground: Float[Tensor, "b 3"] | None = None


@dataclass(frozen=True, slots=True)
class AttentionMap:
    """Where a network looked, and what that is: attention, activation energy, a gate, a mask."""

    name: str
    values: Float[Tensor, "b h w"]  # any range; the coarse grid of the layer it comes from


class Network(nn.Module, ABC):
    """A network of either task: its views, their sizes and their normalisation."""

    mean: Tensor
    std: Tensor
    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.tensor(config.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(config.std)[:, None, None], persistent=False)

    def input_size(self, view: View) -> tuple[int, int]:
        """Height and width in pixels of this view's input."""
        return self.config.satellite_size if view == "satellite" else self.config.query_size

    def preprocess(
        self, images: Float[Tensor, "b 3 h w"], view: View
    ) -> Float[Tensor, "b 3 height width"]:
        """Resize and normalise as in training. ``images`` are RGB in 0..1."""
        size = self.input_size(view)
        if tuple(images.shape[2:]) != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return (images - self.mean) / self.std

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """What learns at a rate of its own, where a paper trains its trunk more slowly."""
        yield from ()


class RetrievalNetwork(Network):
    """Maps a picture of either view to one unit vector, so that a dot product compares them."""

    config: RetrievalConfig

    @property
    @abstractmethod
    def descriptor(self) -> int:
        """Length of a descriptor."""

    @abstractmethod
    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        """Unit descriptors of preprocessed images, one row an image."""

    def augment(self, batch: PairBatch, *, generator: torch.Generator) -> PairBatch:
        """The training batch as this network's paper alters it, beyond what all share."""
        return batch

    @abstractmethod
    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        """The training loss of one batch."""

    @abstractmethod
    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        """Maps of where it looked, named as what they are, most telling first. Never empty."""
