"""AttenGeo: both views ask each other by cross-attention, then the object's box is read off.

"Improving Cross-view Object Geo-localization: A Dual Attention Approach with Cross-view
Interaction and Multi-Scale Spatial Features", arXiv 2510.27139. No code is published; what the
paper leaves open is what reproduces its table 5 (parameters and multiply-adds).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from app.models import presets
from app.models.backbone import MapTrunk
from app.models.base import config_from_mapping
from app.models.boxes import Confidence
from app.models.clicks import ClickConfig, ClickNetwork, cvcam
from app.models.cross_view import MeanSum


@dataclass(frozen=True, slots=True, kw_only=True)
class AttenGeoConfig(ClickConfig):
    """Defaults are the paper's network."""

    backbone: str = "convnextv2_tiny"  # a timm name; both views share its weights
    drop_path_rate: float = 0.0
    freeze_bn: bool = False  # the backbone's, as in Sample4Geo; of no effect on ConvNeXt
    frozen_stages: int = 0  # the stem and this many stages keep the weights they came with
    # Strides of the backbone's maps, finest first; coarser ones are enlarged and laid beside it.
    query_strides: tuple[int, ...] = (32,)
    satellite_strides: tuple[int, ...] = (32,)
    width: int = 256
    confidence: Confidence = "binary"
    # Table 3: without CVCAM the query's mean is added to the satellite picture's features.
    cvcam: bool = True
    mhsam: bool = True


class AttenGeo(ClickNetwork):
    config: AttenGeoConfig

    def __init__(self, config: AttenGeoConfig) -> None:
        c = config
        trunk = MapTrunk(
            c.backbone,
            deepest=max(c.query_strides + c.satellite_strides),
            freeze_bn=c.freeze_bn,
            frozen_stages=c.frozen_stages,
            drop_path_rate=c.drop_path_rate,
        )
        super().__init__(
            config,
            query_channels=trunk.channels(c.query_strides),
            satellite_channels=trunk.channels(c.satellite_strides),
            fusion=cvcam(c) if c.cvcam else MeanSum(),
        )
        self.trunk = trunk

    def query_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        features: Tensor = self.trunk(images, self.config.query_strides)
        return features

    def satellite_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        features: Tensor = self.trunk(images, self.config.satellite_strides)
        return features


# The rows of table 3, over a paper preset; figure 5 sweeps ``iterations``.
ABLATIONS: dict[str, dict[str, Any]] = {
    "baseline": {"cvcam": False, "mhsam": False},
    "baseline+CVCAM": {"mhsam": False},
    "baseline+CVCAM+MHSAM": {},
}


PRESETS = presets.ATTENGEO


def build(config: Mapping[str, Any]) -> AttenGeo:
    return AttenGeo(config_from_mapping(AttenGeoConfig, config))
