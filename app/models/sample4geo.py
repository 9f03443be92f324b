"""Sample4Geo: one backbone for both views, trained with a symmetric InfoNCE loss.

Deuser, Habel, Oswald: "Sample4Geo: Hard Negative Sampling For Cross-View Geo-Localisation",
ICCV 2023. Parameters are named as in the authors' code, so that their weights fit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from app.card import View
from app.models.backbone import first_stages, pooled_backbone
from app.models.base import (
    AttentionMap,
    PairBatch,
    RetrievalConfig,
    RetrievalNetwork,
    config_from_mapping,
)
from app.models.losses import info_nce


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample4GeoConfig(RetrievalConfig):
    backbone: str  # a timm name
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    # Batch norm keeps the running statistics it came with. In training it would normalise each
    # view by that view's own batch, in use both by one running mixture of the two: with pretrained
    # weights the frozen statistics avoid that difference. Of no effect on ConvNeXt (layer norm).
    freeze_bn: bool = False
    # The stem and this many stages keep the weights they came with: edges and textures of natural
    # pictures, which procedural training views would only narrow. Also half the training time.
    frozen_stages: int = 0


class Sample4Geo(RetrievalNetwork):
    config: Sample4GeoConfig

    def __init__(self, config: Sample4GeoConfig) -> None:
        super().__init__(config)
        self.model = pooled_backbone(
            config.backbone, drop_rate=config.drop_rate, drop_path_rate=config.drop_path_rate
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if config.frozen_stages:
            first_stages(self.model, config.frozen_stages).requires_grad_(False)

    @property
    def descriptor(self) -> int:
        return int(self.model.num_features)  # type: ignore[arg-type]  # timm's

    def train(self, mode: bool = True) -> "Sample4Geo":
        super().train(mode)
        if self.config.freeze_bn:
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                    module.eval()
        return self

    def describe(self, images: Float[Tensor, "b 3 h w"], view: View) -> Float[Tensor, "b d"]:
        """Both views share all weights, so ``view`` changes nothing here."""
        # float() because under autocast the norm and the similarities want full precision.
        return F.normalize(self.model(images).float(), dim=-1)

    def loss(self, batch: PairBatch) -> Float[Tensor, ""]:
        if batch.query.shape == batch.satellite.shape:
            # One pass: faster, and batch norm that is not frozen sees both views, as in use.
            both = self.describe(torch.cat((batch.query, batch.satellite)), "satellite")
            query, satellite = both.chunk(2)
        else:
            query = self.describe(batch.query, self.config.query_view)
            satellite = self.describe(batch.satellite, "satellite")
        return info_nce(
            query,
            satellite,
            batch.place,
            scale=self.logit_scale.exp(),
            label_smoothing=self.config.label_smoothing,
        )

    def explain(self, images: Float[Tensor, "b 3 h w"], view: View) -> tuple[AttentionMap, ...]:
        """Energy of the last feature map, and its dot product with the picture's descriptor.

        Where the backbone ends in a plain average (EfficientNet) the second map's mean is the
        norm of the pooled feature: each location's value is its share of the descriptor.
        """
        features = self.model.forward_features(images)  # type: ignore[operator]  # timm's
        b, c, h, w = features.shape
        spots = features.permute(0, 2, 3, 1).reshape(-1, c, 1, 1)
        spots = self._pool(spots).reshape(b, h, w, -1).float()
        pooled = F.normalize(self._pool(features).float(), dim=-1)
        return (
            AttentionMap("activation energy of the last stage", features.float().norm(dim=1)),
            AttentionMap(
                "alignment with the descriptor", torch.einsum("bhwd,bd->bhw", spots, pooled)
            ),
        )

    def _pool(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        pooled: Tensor = self.model.forward_head(features)  # type: ignore[operator]  # timm's
        return pooled


def build(config: Mapping[str, Any]) -> Sample4Geo:
    return Sample4Geo(config_from_mapping(Sample4GeoConfig, config))
