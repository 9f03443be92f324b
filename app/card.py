"""A checkpoint's card: the JSON in the header of its ``.safetensors`` file.

Read here with the standard library alone, so that the window can list checkpoints without
loading torch. Writing weights is ``app.engine.checkpoints``.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal

from app.errors import UserError

View = Literal["street", "drone", "satellite"]
Task = Literal["retrieval", "object"]

CARD_KEY = "skyfix"
CARD_FORMAT = 1
MAX_HEADER_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure, with what it was measured on."""

    name: str  # "R@1", "AP", "median_m"
    value: float
    data: str  # data set and split, such as "demo world seed 9001, heading unknown"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Softmax temperature fitted on held-out queries, and what they were."""

    temperature: float
    data: str


@dataclass(frozen=True, slots=True)
class Card:
    """Enough to rebuild the network and to say what it is."""

    network: str
    config: Mapping[str, Any]
    title: str
    task: Task
    query_view: View
    sizes: Mapping[str, tuple[int, int]]  # view -> (height, width) in pixels
    descriptor: int  # its length; 0 where the task has none
    tile_size_m: float  # ground size of the satellite pictures it was trained on
    turns: int = 12  # rotations or rolls that a query of unknown heading needs
    training: Mapping[str, Any] = field(default_factory=dict)  # data, hash, recipe, seed
    metrics: tuple[Metric, ...] = ()
    calibration: Calibration | None = None
    parent: str = ""  # identity of the checkpoint it was fine-tuned from
    code_version: str = ""
    licence: str = ""
    notes: str = ""


def card_to_json(card: Card) -> str:
    return json.dumps({"format": CARD_FORMAT, **asdict(card)}, sort_keys=True, default=dict)


def card_from_json(text: str, *, name: str) -> Card:
    """``name`` is the file's, for the error."""
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict):
            raise TypeError("not an object")
        version = raw.pop("format", None)
        if version != CARD_FORMAT:
            raise UserError(
                f"{name} has a card of format {version}; this Skyfix reads format {CARD_FORMAT}",
                "Install a newer Skyfix, or export the checkpoint again.",
            )
        known = {f.name for f in fields(Card)}
        raw = {key: value for key, value in raw.items() if key in known}
        raw["sizes"] = {v: (int(h), int(w)) for v, (h, w) in raw["sizes"].items()}
        raw["metrics"] = tuple(Metric(**m) for m in raw.get("metrics", ()))
        if raw.get("calibration") is not None:
            raw["calibration"] = Calibration(**raw["calibration"])
        return Card(**raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"The card of {name} cannot be read ({error})",
            "The file is damaged or was not written by Skyfix; choose another checkpoint.",
        ) from error


def read_card(path: Path) -> Card:
    """The card of a Skyfix checkpoint, without reading its weights."""
    with _opened(path) as file:
        text = _metadata(_header(file, path), path).get(CARD_KEY)
    if not isinstance(text, str):
        raise NoCardError(f"{path.name} is not a Skyfix checkpoint: it has no card", _NOT_ONE)
    return card_from_json(text, name=path.name)


def identity_of(path: Path) -> str:
    """SHA-256, in hex, of what decides a checkpoint's descriptors: network, config and weights.

    The rest of the card is left out, so that new metrics or a calibration leave it the same
    checkpoint, and the galleries that it described stay usable.
    """
    card = read_card(path)
    with _opened(path) as file:
        header = _header(file, path)
        del header["__metadata__"]
        digest = hashlib.sha256()
        for part in ([card.network, dict(card.config)], header):
            digest.update(json.dumps(part, sort_keys=True).encode())
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


_NOT_ONE = "Choose a .safetensors file written by Skyfix, or import a published one."


class NoCardError(UserError):
    """A safetensors file of another program."""


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for without end
            raise UserError(f"{path} cannot be read: it is no file", "Choose a file.")
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(
            f"There is no checkpoint {path}", "Was it moved or renamed? Choose it again."
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error


def _header(file: BinaryIO, path: Path) -> dict[str, Any]:
    """The JSON before the weights; ``file`` stands behind it then."""
    prefix = file.read(8)
    size = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= size <= MAX_HEADER_BYTES:
        raise UserError(f"{path.name} is not a Skyfix checkpoint", _NOT_ONE)
    try:
        header = json.loads(file.read(size))
    except ValueError as error:
        raise UserError(f"{path.name} is not a Skyfix checkpoint", _NOT_ONE) from error
    if not isinstance(header, dict):
        raise UserError(f"{path.name} is not a Skyfix checkpoint", _NOT_ONE)
    return header


def _metadata(header: dict[str, Any], path: Path) -> dict[str, Any]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise UserError(f"{path.name} is not a Skyfix checkpoint", _NOT_ONE)
    return metadata
