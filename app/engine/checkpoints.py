"""Checkpoints: weights and card in one ``.safetensors`` file, and the network on its device.

Kernels and weights are stored as float16; what has fewer than two dimensions (biases, norms and
their running statistics, scales) stays float32: it is small and its range may not fit. A packed
checkpoint (``packing``) has int8 instead.
"""

from collections.abc import Mapping
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
from app.engine.devices import Device as Device
from app.engine.devices import choose_device as choose_device
from app.engine.devices import give_back, is_out_of_memory
from app.engine.packing import unpack
from app.engine.sharing import Sharing, Tenant
from app.engine.sharing import to_device as to_device
from app.engine.writing import write_whole as write_whole
from app.errors import UserError
from app.messages import Progress, Report, ignore
from app.models.base import Network, RetrievalNetwork
from app.models.build import create, create_object
from app.models.object_base import ObjectNetwork


@dataclass(slots=True, eq=False)
class Checkpoint(Tenant):
    """A trained network, ready to describe pictures."""

    network: RetrievalNetwork
    backends: Backends = field(default_factory=lambda: Backends("cpu", "eager"))

    @property
    def computed_by(self) -> str:
        """The device, and who describes queries where it is not PyTorch as it is."""
        name = self.backend(self.card.query_view).name
        return self.device.name if name == "eager" else f"{self.device.name}, {name}"

    def backend(self, view: View) -> Backend:
        """Who describes this view; chosen now if it was not yet, which may take a minute."""
        return self.backends.of(describing(self.network, view))

    def move(self, device: Device) -> None:
        """As a Tenant; what was made for the former device is left to it."""
        super(Checkpoint, self).move(device)  # by name: slots make a class of their own
        self.backends = Backends(device.name, "eager")

    def describe(
        self,
        pictures: UInt8[np.ndarray, "n h w 3"],
        view: View,
        *,
        batch: int = 32,
        report: Report = ignore,
    ) -> Float32[np.ndarray, "n d"]:
        """Unit descriptors of RGB pictures, one row a picture; they are resized if need be.

        Where the GPU's memory does not suffice, what others hold there is freed, then the batch
        is halved; what does not fit one by one is described by the CPU.
        """
        rows: list[Float32[np.ndarray, "b d"]] = []
        done = 0
        if len(pictures) and not self.backends.is_ready(describing(self.network, view)):
            report(Progress(0, len(pictures), "choosing how to compute this checkpoint"))
        wanted, eased = batch, self.device.name == "cpu"
        while done < len(pictures):
            try:
                rows.append(self._describe_batch(pictures[done : done + batch], view))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                fits = False  # the error goes first: its frames hold what there was
            else:
                fits = True
            if not fits:
                if eased and batch > 1:
                    batch //= 2
                    give_back()
                else:
                    self.ease(last=eased)
                    eased, batch = True, wanted
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


@dataclass(slots=True, eq=False)
class ObjectCheckpoint(Tenant):
    """A trained object network, ready to find what a click means."""

    network: ObjectNetwork


def to_images(pictures: UInt8[Tensor, "b h w 3"], device: str) -> Float[Tensor, "b 3 h w"]:
    """RGB 0..1 on ``device``. Stored channels last, as the pictures are: nothing is transposed."""
    moved = pictures.to(device, non_blocking=True)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255)


def save_checkpoint(path: Path, network: Network, card: Card) -> None:
    """Write weights and card whole or not at all."""
    write_tensors(path, {name: _stored(name, t) for name, t in network.state_dict().items()}, card)


def rewrite_card(path: Path, card: Card) -> None:
    """Replace the card, such as by one with new metrics or a calibration; its identity stays."""
    old, new = read_card(path), card_from_json(card_to_json(card), name=path.name)
    if (old.network, old.config) != (new.network, new.config):
        raise ValueError("a card of another network")
    write_tensors(path, read_tensors(path), card)


def load_checkpoint(
    path: Path,
    *,
    device: str | Device = "auto",
    execution: str = "eager",
    sharing: Sharing | None = None,
) -> Checkpoint:
    """A checkpoint for locating photos; one of another task is refused.

    ``execution`` is one of backends.CHOICES.
    """
    chosen = choose_device(device) if isinstance(device, str) else device
    card = read_card(path)
    network = create(card.network, card.config)
    _ready(network, path, chosen)
    identity = identity_of(path)
    cache = paths.cache_dir() / "backends"
    backends = Backends(chosen.name, execution, identity=identity, cache=cache)
    sharing = sharing or Sharing()
    return Checkpoint(path, identity, card, network, chosen, backends, sharing=sharing)


def load_object_checkpoint(
    path: Path, *, device: str | Device = "auto", sharing: Sharing | None = None
) -> ObjectCheckpoint:
    """A checkpoint for finding clicked objects; one of another task is refused."""
    chosen = choose_device(device) if isinstance(device, str) else device
    card = read_card(path)
    network = create_object(card.network, card.config)
    _ready(network, path, chosen)
    identity = identity_of(path)
    return ObjectCheckpoint(path, identity, card, network, chosen, sharing=sharing or Sharing())


def _ready(network: Network, path: Path, device: Device) -> None:
    load_weights(network, unpack(read_tensors(path), name=path.name), name=path.name)
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Whole or not at all."""
    metadata = {CARD_KEY: card_to_json(card), "format": "pt"}
    write_whole(path, safetensors.torch.save(dict(tensors), metadata))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """As they are stored, on the CPU. Raises UserError for what is no checkpoint."""
    try:
        return safetensors.torch.load(path.read_bytes())
    except (SafetensorError, KeyError) as error:  # KeyError: a type of number it does not know
        raise UserError(
            f"{path.name} is damaged ({error})", "Copy or download the checkpoint again."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
