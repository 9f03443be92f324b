"""DetGeo: how much each place of the satellite picture is like the query as a whole.

Sun, Ye, Kang, Fernandez-Beltran, Feng, Li, Luo, Zhang, Plaza: "Cross-view Object Geo-localization
in a Local Region with Satellite Imagery", IEEE TGRS 61 (2023). The released code is followed;
``our_name`` says where each of its parameters went.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from app.errors import UserError
from app.models import presets
from app.models.backbone import MapTrunk
from app.models.base import AttentionMap, config_from_mapping
from app.models.boxes import Confidence
from app.models.clicks import CVOGL_ANCHORS, ClickConfig, ClickNetwork, cvcam
from app.models.cross_view import Fusion, energy
from app.models.darknet import Darknet
from app.models.object_base import ObjectMaps

DARKNET = "darknet53"
DARKNET_STRIDES = (16,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetGeoConfig(ClickConfig):
    """Defaults are the released code's."""

    # The code turns its list round before use: its head's first channels are the largest anchor's.
    anchors: tuple[tuple[float, float], ...] = CVOGL_ANCHORS[::-1]
    query_backbone: str = "resnet18"  # a timm name
    satellite_backbone: str = DARKNET  # or a timm name
    # Of the timm backbones' maps, finest first; coarser ones are enlarged and laid beside it.
    query_strides: tuple[int, ...] = (32,)
    satellite_strides: tuple[int, ...] = DARKNET_STRIDES
    freeze_bn: bool = False  # the timm backbones', as in Sample4Geo
    frozen_stages: int = 0  # of the timm backbones: the stem and this many stages stay as they are
    darknet_width: int = 32  # of its first layer
    darknet_blocks: tuple[int, ...] = (1, 2, 8, 8, 4)
    # Keep the weights of Darknet's layers that no pass needs: the published files hold them.
    whole_darknet: bool = True
    width: int = 512
    confidence: Confidence = "softmax"
    bn_momentum: float = 0.999
    # Table 4 of AttenGeo puts its CVCAM in the place of this fusion, or its MHSAM behind it.
    fusion: Literal["similarity", "cvcam"] = "similarity"
    mhsam: bool = False


class QueryAware(Fusion):
    """Each place weighs as much as it is like the query's mean, relative to the other places.

    The lowest and the highest similarity of a picture are taken as constants: no gradient passes.
    """

    def attention(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> Float[Tensor, "b 1 h2 w2"]:
        """From 0, the least similar place of the picture, to 1, the most similar one."""
        asked = F.normalize(query.mean(dim=(2, 3), keepdim=True), dim=1)
        alike = (asked * F.normalize(satellite, dim=1)).sum(dim=1, keepdim=True)
        low = alike.detach().amin(dim=(2, 3), keepdim=True)
        high = alike.detach().amax(dim=(2, 3), keepdim=True)
        return (alike - low) / (high - low).clamp(min=1e-12)

    def forward(
        self, query: Float[Tensor, "b c h w"], satellite: Float[Tensor, "b c h2 w2"]
    ) -> Float[Tensor, "b c h2 w2"]:
        return self.attention(query, satellite) * F.normalize(satellite, dim=1)

    def maps(
        self,
        query: Float[Tensor, "b c h w"],
        satellite: Float[Tensor, "b c h2 w2"],
        *,
        clicked: Int[Tensor, " b"],
        found: Int[Tensor, " b"],
    ) -> ObjectMaps:
        attention = self.attention(query, satellite)[:, 0].float()
        return ObjectMaps(
            (energy(query, "the query's features"),),
            (AttentionMap("similarity with the query's mean, 0 to 1", attention),),
        )


class DetGeo(ClickNetwork):
    config: DetGeoConfig

    def __init__(self, config: DetGeoConfig) -> None:
        c = config
        query_trunk = _timm(c, c.query_backbone, c.query_strides)
        satellite_trunk: Darknet | MapTrunk
        if c.satellite_backbone == DARKNET:
            if c.satellite_strides != DARKNET_STRIDES:
                raise UserError(
                    f"DetGeo takes Darknet's map of stride 16, not {c.satellite_strides}",
                    "Set satellite_strides to 16, or choose another satellite_backbone.",
                )
            satellite_trunk = Darknet(
                width=c.darknet_width, blocks=c.darknet_blocks, whole=c.whole_darknet
            )
            satellite_channels = satellite_trunk.channels
        else:
            satellite_trunk = _timm(c, c.satellite_backbone, c.satellite_strides)
            satellite_channels = satellite_trunk.channels(c.satellite_strides)
        super().__init__(
            config,
            query_channels=query_trunk.channels(c.query_strides),
            satellite_channels=satellite_channels,
            fusion=QueryAware() if c.fusion == "similarity" else cvcam(c),
        )
        self.query_trunk = query_trunk
        self.satellite_trunk = satellite_trunk

    def query_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        features: Tensor = self.query_trunk(images, self.config.query_strides)
        return features

    def satellite_map(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h2 w2"]:
        trunk = self.satellite_trunk
        features: Tensor
        if isinstance(trunk, Darknet):
            features = trunk(images)
        else:
            features = trunk(images, self.config.satellite_strides)
        return features


def _timm(c: DetGeoConfig, name: str, strides: tuple[int, ...]) -> MapTrunk:
    return MapTrunk(
        name, deepest=max(strides), freeze_bn=c.freeze_bn, frozen_stages=c.frozen_stages
    )


# Published files hold {"epoch", "state_dict", "best_loss", "optimizer"}; the keys of state_dict
# begin with this. All 584 of them have a place in the config "paper-drone" or "paper-street".
PUBLISHED_PREFIX = "module."
PUBLISHED_STATE = "state_dict"
PUBLISHED_KEYS = 584
# The beginnings of published names (without the prefix) and of ours.
PUBLISHED_NAMES = (
    (r"query_resnet\.base_model", "query_trunk.net"),
    (r"reference_darknet", "satellite_trunk"),
    (r"combine_clickptns_conv", "click"),
    (r"query_mapping_visu", "query_mapping"),
    (r"reference_mapping_visu", "satellite_mapping"),
    (r"fcn_out", "head"),
)


def our_name(published: str) -> str:
    """Where a parameter of the released code went; one that it does not know keeps its name.

    ``published`` is without its prefix.
    """
    for beginning, ours in PUBLISHED_NAMES:
        if found := re.fullmatch(rf"{beginning}\.(?P<rest>.+)", published):
            return f"{ours}.{found['rest']}"
    return published


# The rows of AttenGeo's table 4, over a paper preset.
PORTABILITY: dict[str, dict[str, Any]] = {
    "DetGeo": {},
    "w/ CVCAM": {"fusion": "cvcam"},
    "w/ MHSAM": {"mhsam": True},
}


PRESETS = presets.DETGEO


def build(config: Mapping[str, Any]) -> DetGeo:
    return DetGeo(config_from_mapping(DetGeoConfig, config))
