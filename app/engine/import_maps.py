"""From the keys and shapes of each project's published files to those of the networks here.

Every key must have its place: what a file has beyond that, lacks, or has in another shape is
refused by name.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from app.engine.import_projects import BY_NAME, PROJECTS, Project
from app.errors import UserError
from app.models import detgeo, fsra, lpn, mfrgn, mift, transgeo
from app.models.base import Network
from app.models.build import create_network, preset_config

PARALLEL = "module."  # what torch.nn.DataParallel puts before every name
NAMED = 3  # of many mistakes


@dataclass(frozen=True, slots=True)
class Renamed:
    """A file's tensors under our names, and what of it has no use."""

    ours: Mapping[str, Tensor]
    published: Mapping[str, str]  # our name -> the file's
    dropped: Mapping[str, Tensor]  # by the file's names
    prefix: str = ""  # which ours lack
    remark: str = ""  # what was found out on the way
    changes: Mapping[str, Any] = field(default_factory=dict)  # of the config, that follow from it


@dataclass(frozen=True, slots=True)
class Fitted:
    """A network that a file fits, on the meta device, and what goes into it."""

    preset: str
    config: Mapping[str, Any]
    network: Network
    mistakes: tuple[str, ...]  # none, if it fits


Tensors = Mapping[str, Tensor]


# --- whose file is it


def _starts(keys: Tensors, *beginnings: str) -> bool:
    return all(any(key.startswith(b) for key in keys) for b in beginnings)


def _is_sample4geo(keys: Tensors) -> bool:
    rest = keys.keys() - {"logit_scale"}
    return "logit_scale" in keys and bool(rest) and all(k.startswith("model.") for k in rest)


# Files that people have and that no network here can take: said by name.
_OTHERS: Mapping[str, str] = {
    r"model_1\.convnext\..+": "one of MCCG, DAC, CAMP or MEAN",
    r"model_1\.model\..+": "the University-1652 baseline",
    r"transformer\.embeddings\..+": "L2LTR",
    r"(stem\.0|stages\.0\.blocks\.0\.conv_dw)\.weight": "a ConvNeXt without its head",
    r"(cls_token|blocks\.0\.attn\.qkv\.weight)": "a vision transformer of ImageNet",
    r"(layer1\.0\.)?conv1\.weight": "a ResNet of ImageNet",
}


def without_parallel(tensors: Tensors) -> tuple[Tensors, bool]:
    """The tensors without the prefix of a training on several GPUs, and whether it was there."""
    if not tensors or not all(key.startswith(PARALLEL) for key in tensors):
        return tensors, False
    return {key.removeprefix(PARALLEL): tensor for key, tensor in tensors.items()}, True


def recognise(tensors: Tensors, *, file: str) -> Project:
    """By the keys alone. Raises UserError for none or for several."""
    found = [BY_NAME[name] for name, way in _WAYS.items() if way.knows(tensors)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and of ".join(project.title for project in found)
        raise UserError(
            f"{file} has keys of {names}",
            "Say which it is: --as " + " or --as ".join(project.name for project in found) + ".",
        )
    known = ", ".join(project.title for project in PROJECTS)
    for pattern, words in _OTHERS.items():
        if any(re.fullmatch(pattern, key) for key in tensors):
            raise UserError(
                f"{file} looks like {words}, which cannot be imported",
                f"Files of {known} can.",
            )
    some = ", ".join(list(tensors)[:NAMED])
    raise UserError(f"{file} is of no known project: its keys are {some}, …", f"Known: {known}.")


# --- our names


def _kept(tensors: Tensors, prefix: str, unused: tuple[str, ...]) -> Renamed:
    """Names are ours behind ``prefix``, but for those that match ``unused``."""
    names = {key: key.removeprefix(prefix) for key in tensors}
    dropped = {
        key: tensors[key]
        for key, name in names.items()
        if any(re.fullmatch(pattern, name) for pattern in unused)
    }
    kept = {key: name for key, name in names.items() if key not in dropped}
    return replace(_translated(tensors, kept), dropped=dropped, prefix=prefix)


def _mfrgn(tensors: Tensors) -> Renamed:
    shared = not any(re.match(r"proj_(sat|grd)\.", key) for key in tensors)
    names = {key: mfrgn.our_name(key, shared=shared) for key in tensors}
    remark = "its views share all weights" if shared else "its views have weights of their own"
    return replace(_translated(tensors, names), remark=remark)


def _detgeo(tensors: Tensors) -> Renamed:
    return _translated(tensors, {key: detgeo.our_name(key) for key in tensors})


def _translated(tensors: Tensors, names: Mapping[str, str]) -> Renamed:
    """``names`` are ours by the file's; two of the file's may not mean one of ours."""
    published = {ours: key for key, ours in names.items()}
    twice = [key for key, ours in names.items() if published[ours] != key]
    refuse(
        [f"{key} has the place of {published[names[key]]}" for key in twice],
        "The file holds some weights twice",
        "It is of another version of this project.",
    )
    return Renamed({ours: tensors[key] for key, ours in names.items()}, published, {})


def _lpn(tensors: Tensors) -> Renamed:
    """The drone's trunk is the satellite's once more, or one of its own."""
    trunks = {
        n: {k.partition(".")[2]: t for k, t in tensors.items() if k.startswith(f"model_{n}.")}
        for n in (1, 2, 3)
    }
    if not trunks[3]:
        raise UserError(
            "The file has no trunk of drone pictures (model_3): it was trained on other views",
            "Only LPN's three-view files of University-1652 are imported.",
        )
    refuse(
        [f"{key} of model_2 has no like in model_1" for key in trunks[2] if key not in trunks[1]],
        "The file does not fit LPN",
        "It is of another version of this project.",
    )
    same = trunks[1].keys() == trunks[3].keys() and all(
        torch.equal(tensor, trunks[3][key]) for key, tensor in trunks[1].items()
    )
    if same:
        unused: tuple[str, ...] = lpn.UNUSED_PUBLISHED_KEYS
        remark = "model_3 is model_1: drone and satellite pictures share a trunk"
    else:
        unused = (r"model_[13]\.model\.fc\.(weight|bias)", r"model_2\..+")
        remark = "model_3 differs from model_1: drone pictures have a trunk of their own"
    found = _kept(tensors, "", unused)
    return replace(found, remark=remark, changes={"shared": same})


# --- what the shapes say of the network


def _size(tensors: Tensors, key: str, axis: int) -> int | None:
    tensor = tensors.get(key)
    return None if tensor is None or tensor.ndim <= axis else tensor.shape[axis]


def _count(tensors: Tensors, pattern: str) -> int:
    """How many different numbers stand in the pattern's group."""
    return len({m[1] for key in tensors if (m := re.match(pattern, key))})


def _told(**values: int | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _heads(found: Renamed, head: str) -> dict[str, Any]:
    return _told(
        classes=_size(found.ours, f"{head}.classifier.0.weight", 0),
        part_width=_size(found.ours, f"{head}.add_block.0.weight", 0),
    )


def _for_mift(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    """The constant tables, of no further use, tell how large a group is; fusion is the paper's."""
    sides = {
        math.isqrt(tensor.shape[0])
        for key, tensor in found.dropped.items()
        if key.endswith("relative_position_index") and tensor.ndim == 2
    }
    if len(sides) > 1:
        raise UserError(
            f"The groups of attention in this file have sides of {sorted(sides)} tokens",
            "Only networks with one size of group are imported.",
        )
    return {
        **_heads(found, "classifier1"),
        **_told(regions=_count(found.ours, r"classifier_heat(\d+)\.") or None),
        **({"group": sides.pop()} if sides else {}),
        **({} if _starts(found.ours, "fusion.") else {"fusion": False, "region_rule": "equal"}),
    }


def _for_fsra(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    values = {
        **_heads(found, "classifier1"),
        **_told(
            regions=_count(found.ours, r"classifier_heat(\d+)\.") or None,
            depth=_count(found.ours, r"transformer\.blocks\.(\d+)\.") or None,
        ),
    }
    places = _size(found.ours, "transformer.pos_embed", 1)
    if places is not None:
        side = _square(
            places - 1, patch=_size(found.ours, "transformer.patch_embed.proj.weight", 2)
        )
        values |= {"query_size": (side, side), "satellite_size": (side, side)}
    return values


def _for_lpn(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **_heads(found, "classifier0"),
        **_told(rings=_count(found.ours, r"classifier(\d+)\.") or None),
        **(found.changes or {}),
    }


def _unchanged(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    """What is left open the presets settle: one fits, or names tell which."""
    return {}


_CONVNEXTS = {
    (96, 9): "convnext_tiny.fb_in22k_ft_in1k_384",
    (96, 27): "convnext_small.fb_in22k_ft_in1k_384",
    (128, 27): "convnext_base.fb_in22k_ft_in1k_384",
    (192, 27): "convnext_large.fb_in22k_ft_in1k_384",
}


def _for_sample4geo(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    width = _size(found.ours, "model.stem.0.weight", 0)
    depth = _count(found.ours, r"model\.stages\.2\.blocks\.(\d+)\.")
    backbone = _CONVNEXTS.get((width or 0, depth))
    return {} if backbone is None else {"backbone": backbone}


_QUERY_SIZES = {7 * 38: (112, 616), 20 * 40: (320, 640)}  # patches of a panorama -> its size


def _for_transgeo(found: Renamed, config: Mapping[str, Any]) -> dict[str, Any]:
    prefix = len(transgeo.PREFIX_TOKENS)
    query = _size(found.ours, "query_net.pos_embed", 1)
    satellite = _size(found.ours, "reference_net.pos_embed", 1)
    patch = _size(found.ours, "query_net.patch_embed.proj.weight", 2)
    values = _told(
        depth=_count(found.ours, r"query_net\.blocks\.(\d+)\.") or None,
        outputs=_size(found.ours, "query_net.head.weight", 0),
    )
    if query is None or satellite is None or patch is None:
        return values
    side = _square(satellite - prefix, patch=patch)
    values["satellite_size"] = (side, side)
    height, width = config["query_size"]
    if (height // patch) * (width // patch) != query - prefix:
        if query - prefix not in _QUERY_SIZES:
            known = ", ".join(f"{n} ({h} x {w})" for n, (h, w) in _QUERY_SIZES.items())
            raise UserError(
                f"The panoramas of this file were cut into {query - prefix} patches",
                f"Input sizes are known for {known}.",
            )
        values["query_size"] = _QUERY_SIZES[query - prefix]
    return values


def _square(patches: int, *, patch: int | None) -> int:
    """The side in pixels of a square picture of so many patches."""
    side = math.isqrt(max(0, patches))
    if side * side != patches or not patches:
        raise UserError(
            f"A square picture cannot be cut into the {patches} patches that this file has places "
            "for",
            "256 pixels make 256 patches, 320 make 400, 400 make 625.",
        )
    return side * (patch or 16)


# --- each project's way in


@dataclass(frozen=True, slots=True)
class _Way:
    knows: Callable[[Tensors], bool]  # whether these are the keys of one of its files
    rename: Callable[[Tensors], Renamed]
    configure: Callable[[Renamed, Mapping[str, Any]], Mapping[str, Any]]  # changes of a preset's


def _plain(tensors: Tensors) -> Renamed:
    return _kept(tensors, "", ())


_WAYS: Mapping[str, _Way] = {
    "sample4geo": _Way(_is_sample4geo, _plain, _for_sample4geo),
    "mfrgn": _Way(
        lambda keys: _starts(keys, "embed.input_proj.", "backbone.backbone."),
        _mfrgn,
        _unchanged,
    ),
    "mift": _Way(
        lambda keys: _starts(keys, "model_1.transformer.patch_embed.projs.", "model_1.classifier"),
        lambda tensors: _kept(tensors, mift.PUBLISHED_PREFIX, mift.UNUSED_PUBLISHED_KEYS),
        _for_mift,
    ),
    "fsra": _Way(
        lambda keys: _starts(keys, "model_1.transformer.cls_token", "model_1.classifier"),
        lambda tensors: _kept(tensors, fsra.PUBLISHED_PREFIX, fsra.UNUSED_PUBLISHED_KEYS),
        _for_fsra,
    ),
    "lpn": _Way(
        lambda keys: _starts(keys, "model_1.model.", "classifier0.add_block."), _lpn, _for_lpn
    ),
    "detgeo": _Way(
        lambda keys: _starts(keys, "query_resnet.", "reference_darknet."), _detgeo, _unchanged
    ),
    "transgeo": _Way(
        lambda keys: _starts(keys, "query_net.dist_token", "reference_net.dist_token"),
        _plain,
        _for_transgeo,
    ),
}


def is_of(project: Project, tensors: Tensors) -> bool:
    """Whether these are the keys of one of its files, without the prefix of a parallel training."""
    return _WAYS[project.name].knows(tensors)


def rename(project: Project, tensors: Tensors) -> Renamed:
    """``tensors`` are without the prefix of ``without_parallel``."""
    return _WAYS[project.name].rename(tensors)


# --- into a network


def fit(project: Project, found: Renamed, preset: str) -> Fitted:
    """The preset's network in the sizes that the shapes tell, and what does not fit it."""
    base = preset_config(project.network, preset)
    config = {**base, **_WAYS[project.name].configure(found, base)}
    with torch.device("meta"):
        network = create_network(project.network, config)
    return Fitted(preset, config, network, tuple(_mistakes(found, network.state_dict())))


def _mistakes(found: Renamed, expected: Tensors) -> Iterator[str]:
    """Under the file's names."""
    for key, wanted in expected.items():
        name = found.published.get(key, found.prefix + key)
        tensor = found.ours.get(key)
        if tensor is None:
            yield f"{name} is missing"
        elif tensor.shape != wanted.shape:
            yield f"{name} is {tuple(tensor.shape)}, not {tuple(wanted.shape)}"
        elif tensor.is_floating_point() != wanted.is_floating_point():
            yield f"{name} is of {_kind(tensor)}, not {_kind(wanted)}"
    for key, name in found.published.items():
        if key not in expected:
            yield f"{name} is not part of it"


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def fill(fitted: Fitted, found: Renamed, *, file: str) -> Network:
    """The network with the file's weights. Raises UserError for numbers that are none."""
    expected = fitted.network.state_dict()
    refuse(
        [
            f"{found.published[key]} is not finite"
            for key, tensor in found.ours.items()
            if not tensor.isfinite().all()
        ],
        f"The weights of {file} are damaged",
        "The training diverged, or the file was changed; choose another one.",
    )
    state = {key: tensor.to(expected[key].dtype) for key, tensor in found.ours.items()}
    fitted.network.load_state_dict(state, strict=True, assign=True)
    return fitted.network


def refuse(mistakes: Sequence[str], title: str, hint: str) -> None:
    """Raises UserError that names a few of them, if there are any."""
    if mistakes:
        more = f" and {len(mistakes) - NAMED} more" if len(mistakes) > NAMED else ""
        raise UserError(f"{title}: {', '.join(mistakes[:NAMED])}{more}", hint)
