"""Checkpoints: weights and card in one ``.safetensors`` file, and the network on its device.

Kernels and weights are stored as float16; what has fewer than two dimensions (biases, norms and
their running statistics, scales) stays float32: it is small and its range may not fit.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors import SafetensorError
from torch import Tensor

from app import paths
from app.card import CARD_KEY, Card, View, card_from_json, card_to_json, identity_of, read_card
from app.engine.backends import Backend, Backends, describing
from app.engine.writing import write_whole as write_whole
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.base import Network, RetrievalNetwork
from app.models.build import create, create_object
from app.models.object_base import ObjectNetwork

MIN_CUDA_BYTES = 1 << 30  # below this much free memory "auto" takes the CPU


@dataclass(frozen=True, slots=True)
class Device:
    name: str  # "cpu", "cuda:0"
    reason: str  # why this one, for the status bar and the log


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A trained network, ready to describe pictures."""

    path: Path
    sha256: str  # of what decides its descriptors, see card.identity_of
    card: Card
    network: RetrievalNetwork  # in eval mode, on ``device``, channels last
    device: Device
    backends: Backends = field(default_factory=lambda: Backends("cpu", "eager"))

    @property
    def computed_by(self) -> str:
        """The device, and who describes queries where it is not PyTorch as it is."""
        name = self.backend(self.card.query_view).name
        return self.device.name if name == "eager" else f"{self.device.name}, {name}"

    def backend(self, view: View) -> Backend:
        """Who describes this view; chosen now if it was not yet, which may take a minute."""
        return self.backends.of(describing(self.network, view))

    def describe(
        self,
        pictures: UInt8[np.ndarray, "n h w 3"],
        view: View,
        *,
        batch: int = 32,
        report: Report = ignore,
    ) -> Float32[np.ndarray, "n d"]:
        """Unit descriptors of RGB pictures, one row a picture; they are resized if need be.

        A batch that does not fit into the GPU's memory is halved and tried again.
        """
        rows: list[Float32[np.ndarray, "b d"]] = []
        done = 0
        if len(pictures) and not self.backends.is_ready(describing(self.network, view)):
            report(Progress(0, len(pictures), "choosing how to compute this checkpoint"))
        while done < len(pictures):
            try:
                rows.append(self._describe_batch(pictures[done : done + batch], view))
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if batch == 1:
                    raise UserError(
                        f"The memory of {self.device.name} does not suffice for one picture",
                        "Close other programs that use the GPU, or choose the CPU.",
                    ) from error
                batch //= 2
                continue
            done += len(rows[-1])
            report(Progress(done, len(pictures), "describing"))
        if not rows:
            return np.empty((0, self.network.descriptor), np.float32)
        return np.concatenate(rows)

    @torch.inference_mode()
    def _describe_batch(
        self, pictures: UInt8[np.ndarray, "b h w 3"], view: View
    ) -> Float32[np.ndarray, "b d"]:
        images = to_images(torch.from_numpy(np.ascontiguousarray(pictures)), self.device.name)
        ready = self.network.preprocess(images, view)
        described = self.backends.run(describing(self.network, view), ready)
        result: Float32[np.ndarray, "b d"] = described.float().cpu().numpy()
        return result


@dataclass(frozen=True, slots=True, eq=False)
class ObjectCheckpoint:
    """A trained object network, ready to find what a click means."""

    path: Path
    sha256: str  # of network, config and weights, see card.identity_of
    card: Card
    network: ObjectNetwork  # in eval mode, on ``device``, channels last
    device: Device


def to_images(pictures: UInt8[Tensor, "b h w 3"], device: str) -> Float[Tensor, "b 3 h w"]:
    """RGB 0..1 on ``device``. Stored channels last, as the pictures are: nothing is transposed."""
    moved = pictures.to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def to_device(network: Network, device: Device) -> None:
    """Weights lie channels last, as the pictures do: convolutions are faster so."""
    network.to(device.name).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def choose_device(wanted: str = "auto") -> Device:
    """``wanted`` is "auto", "cpu", "cuda" or "cuda:1"."""
    if wanted == "cpu":
        return Device("cpu", "chosen")
    if wanted != "auto" and wanted.partition(":")[0] != "cuda":
        raise UserError(f"There is no device {wanted}", "Choose auto, cpu, cuda or cuda:1.")
    name = "cuda:0" if wanted in ("auto", "cuda") else wanted
    trouble = _cuda_trouble(name)
    if not trouble:
        return Device(name, torch.cuda.get_device_name(name))
    if wanted == "auto":
        return Device("cpu", trouble)
    raise UserError(f"{wanted} cannot be used: {trouble}", "Choose the device auto or cpu.")


def _cuda_trouble(name: str) -> str:
    """Why this GPU cannot be used; empty if it can. Tried out, since drivers promise much."""
    if not torch.cuda.is_available():
        return "no CUDA GPU found" if torch.version.cuda else "this PyTorch is built for the CPU"
    try:
        free, _ = torch.cuda.mem_get_info(name)
        if free < MIN_CUDA_BYTES:
            return f"the GPU has only {free >> 20} MiB of free memory"
        one = torch.ones(8, 8, device=name)
        if float((one @ one)[0, 0]) != 8:
            return "the GPU computes wrong results"
    except (RuntimeError, ValueError) as error:
        return f"the GPU failed a trial: {str(error).splitlines()[0]}"
    return ""


def save_checkpoint(path: Path, network: Network, card: Card) -> None:
    """Write weights and card whole or not at all."""
    _write(path, {name: _stored(name, t) for name, t in network.state_dict().items()}, card)


def rewrite_card(path: Path, card: Card) -> None:
    """Replace the card, such as by one with new metrics or a calibration; its identity stays."""
    old, new = read_card(path), card_from_json(card_to_json(card), name=path.name)
    if (old.network, old.config) != (new.network, new.config):
        raise ValueError("a card of another network")
    tensors = _read(path)
    _write(path, tensors, card)


def load_checkpoint(path: Path, *, device: str = "auto", execution: str = "eager") -> Checkpoint:
    """A checkpoint for locating photos; one of another task is refused.

    ``execution`` is one of backends.CHOICES.
    """
    chosen = choose_device(device)
    card = read_card(path)
    network = create(card.network, card.config)
    _ready(network, path, chosen)
    identity = identity_of(path)
    cache = paths.cache_dir() / "backends"
    backends = Backends(chosen.name, execution, identity=identity, cache=cache)
    return Checkpoint(path, identity, card, network, chosen, backends)


def load_object_checkpoint(path: Path, *, device: str = "auto") -> ObjectCheckpoint:
    """A checkpoint for finding clicked objects; one of another task is refused."""
    chosen = choose_device(device)
    card = read_card(path)
    network = create_object(card.network, card.config)
    _ready(network, path, chosen)
    return ObjectCheckpoint(path, identity_of(path), card, network, chosen)


def _ready(network: Network, path: Path, device: Device) -> None:
    load_weights(network, _read(path), name=path.name)
    to_device(network, device)
    network.eval()


def load_weights(network: Network, tensors: dict[str, Tensor], *, name: str) -> None:
    """Every tensor must be there, fit and be finite. ``name`` is the file's, for the error."""
    expected = network.state_dict()
    wrong = [f"{key} is missing" for key in expected if key not in tensors]
    wrong += [f"{key} is not part of it" for key in tensors if key not in expected]
    for key in expected.keys() & tensors.keys():
        found, wanted = tuple(tensors[key].shape), tuple(expected[key].shape)
        if found != wanted:
            wrong.append(f"{key} is {found}, not {wanted}")
        elif not tensors[key].isfinite().all():
            wrong.append(f"{key} is not finite")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"The weights of {name} do not fit its network: {', '.join(wrong[:3])}{more}",
            "The file is damaged or of another version; choose another checkpoint.",
        )
    network.load_state_dict(tensors, strict=True)


def _stored(name: str, tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if tensor.ndim >= 2 and tensor.is_floating_point():
        tensor = tensor.half()
    if not tensor.isfinite().all():
        raise UserError(
            f"The weights {name} are not finite in float16",
            "The training has diverged; go back to an earlier checkpoint.",
        )
    return tensor


def _write(path: Path, tensors: dict[str, Tensor], card: Card) -> None:
    metadata = {CARD_KEY: card_to_json(card), "format": "pt"}
    write_whole(path, safetensors.torch.save(tensors, metadata))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(path.read_bytes())
    except (SafetensorError, KeyError) as error:  # KeyError: a type of number it does not know
        raise UserError(
            f"{path.name} is damaged ({error})", "Copy or download the checkpoint again."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
