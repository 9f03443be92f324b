"""What a published checkpoint's file holds, found without loading any of it.

A PyTorch file is a zip archive (since 1.6) or a run of pickles with the numbers behind them. Here
both are measured and held against what they claim; only a file without a contradiction goes on to
PyTorch. Nothing is decompressed: PyTorch stores its numbers as they are.
"""

import io
import math
import re
import stat
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from app.engine.import_pickle import HARMFUL, ITEM_BYTES, Storage, TensorSpec, read_pickle
from app.errors import UserError

MAX_FILE_BYTES = 16 << 30
MAX_PICKLE_BYTES = 32 << 20  # names and shapes only; 600 tensors take 100 KB
MAX_RECORDS = 50_000
MAX_DIRECTORY_BYTES = 16 << 20

_RECORD = re.compile(
    r"(data\.pkl|version|byteorder|data/[0-9]{1,9}"
    r"|\.format_version|\.storage_alignment|\.data/serialization_id)"
)
_SCRIPT = re.compile(r"(constants\.pkl|code/.*|attributes\.pkl|model\.json)")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
# Where a training loop puts the weights, in the files of the projects that are known.
WEIGHTS_KEYS = ("state_dict", "model_state_dict")

Container = Literal["zip", "legacy"]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A file that holds what it claims to."""

    container: Container
    inside: str  # the key under which the weights are, empty if they are the file's whole content
    shapes: Mapping[str, tuple[int, ...]]  # of the weights, by name
    ignored: tuple[str, ...]  # what else there is at the top: "optimizer", "epoch"
    tensor_bytes: int  # of the weights


def require_file(path: Path) -> int:
    """The size in bytes of a regular file; a pipe or a device would never end."""
    try:
        state = path.stat()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}", "Was it moved or renamed?") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    choose = "Choose the .pth, .pth.tar, .pt or .safetensors file itself."
    if stat.S_ISDIR(state.st_mode):
        raise UserError(f"{path} is a folder, not a checkpoint", choose)
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{path} is not a file on a disk", choose)
    if state.st_size == 0:
        raise UserError(f"{path.name} is empty", "Download it again.")
    if state.st_size > MAX_FILE_BYTES:
        raise UserError(
            f"{path.name} is of {state.st_size >> 30} GiB: checkpoints are smaller than "
            f"{MAX_FILE_BYTES >> 30} GiB",
            choose,
        )
    return state.st_size


def scan(path: Path) -> Scanned:
    """Raises UserError for whatever is not a PyTorch file of weights that is true to its size."""
    size = require_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            if head.startswith(b"PK\x03\x04"):
                return _scan_zip(file, size, path.name)
            if head.startswith(b"\x80"):
                return _scan_legacy(file, size, path.name)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    raise _not_pytorch(path.name, head)


def _not_pytorch(name: str, head: bytes) -> UserError:
    known = {
        b"\x1f\x8b": "compressed with gzip", b"7z\xbc\xaf": "a 7z archive",
        b"Rar!": "a RAR archive", b"\x89HDF": "an HDF5 file, of Keras perhaps",
        b"<!DO": "a web page", b"<htm": "a web page",
    }  # fmt: skip
    for start, words in known.items():
        if head.lower().startswith(start.lower()):
            return UserError(f"{name} is {words}, not a PyTorch file", "Unpack it, or download it.")
    if head[257:262] == b"ustar":
        return UserError(
            f"{name} is a tar archive",
            "Unpack it first. The .pth.tar files of PyTorch are none, in spite of their name.",
        )
    return UserError(
        f"{name} is not a PyTorch file",
        "Choose a .pth, .pth.tar, .pt or .safetensors file of weights.",
    )


# --- zip archives


def _scan_zip(file: BinaryIO, size: int, name: str) -> Scanned:
    _check_directory(file, size, name)
    try:
        with zipfile.ZipFile(file) as archive:
            records = _records(archive, size, name)
            _check_plain(archive, records, name)
            pickled = archive.read(records["data.pkl"])
    except (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, OverflowError) as error:
        raise _broken(name) from error
    found = read_pickle(io.BytesIO(pickled), file=name)
    for storage in found.storages.values():
        record = records.get(f"data/{storage.key}")
        _check_storage(storage, None if record is None else record.file_size, name)
    return _weights(found.value, "zip", name)


def _check_directory(file: BinaryIO, size: int, name: str) -> None:
    """Refuse a directory larger than any checkpoint's before it is read, or one of two readings.

    PyTorch ends a file with the end record, without a comment, and the wide records before it.
    """
    file.seek(max(0, size - 98))
    tail = file.read(98)
    end = tail[-22:]
    if len(end) < 22 or not end.startswith(b"PK\x05\x06") or end[20:] != b"\0\0":
        raise _broken(name)
    count, length = struct.unpack_from("<HI", end, 10)
    if tail[-42:-38] == b"PK\x06\x07":
        (at,) = struct.unpack_from("<Q", tail, len(tail) - 34)
        if at != size - 98 or not tail.startswith(b"PK\x06\x06"):
            raise _broken(name)
        count, length = struct.unpack_from("<QQ", tail, 32)
    if count > MAX_RECORDS or length > MAX_DIRECTORY_BYTES:
        raise UserError(
            f"{name} is an archive of {count} records: no checkpoint has so many", HARMFUL
        )
    file.seek(0)


def _records(archive: zipfile.ZipFile, size: int, name: str) -> dict[str, zipfile.ZipInfo]:
    """The records by their names without the archive's own; each is plain, together they fit."""
    records: dict[str, zipfile.ZipInfo] = {}
    total = 0
    tops = {info.filename.partition("/")[0] for info in archive.infolist()}
    for info in archive.infolist():
        top, _, rest = info.filename.partition("/")
        if _SCRIPT.fullmatch(rest):
            raise UserError(
                f"{name} is a TorchScript archive: it holds program code ({rest[:60]})",
                "Only weights are imported. Ask its author for the state dict.",
            )
        if len(tops) > 1 or not top.strip(".") or "\\" in top or not _RECORD.fullmatch(rest):
            raise UserError(
                f"{name} has a record {info.filename[:80]!r}, which PyTorch never writes", HARMFUL
            )
        if rest in records:
            raise UserError(f"{name} has two records {rest}", HARMFUL)
        _check_stored(info, rest, name)
        total += info.file_size
        records[rest] = info
    if total > size:
        raise UserError(
            f"The records of {name} are of {total} bytes, the file is of {size}: they overlap",
            HARMFUL,
        )
    if "data.pkl" not in records:
        raise UserError(
            f"{name} is a zip archive, but not one of PyTorch",
            "Unpack it, and choose the checkpoint in it.",
        )
    if records["data.pkl"].file_size > MAX_PICKLE_BYTES:
        raise UserError(f"{name} has a list of weights that is longer than any network's", HARMFUL)
    return records


def _check_stored(info: zipfile.ZipInfo, rest: str, name: str) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise UserError(
            f"{rest} of {name} is compressed: {info.compress_size} bytes would become "
            f"{info.file_size}. PyTorch never writes so",
            HARMFUL,
        )
    if info.flag_bits & 0x1:
        raise UserError(f"{name} is encrypted", "Ask its author for the file as it was saved.")


def _check_plain(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], name: str) -> None:
    """Numbers in another byte order would have to be turned, and are on no machine of today."""
    order = records.get("byteorder")
    if order is not None and (order.file_size > 6 or archive.read(order) != b"little"):
        raise UserError(f"{name} is of a machine of another byte order", "Save it on a common one.")


# --- the form before PyTorch 1.6


def _scan_legacy(file: BinaryIO, size: int, name: str) -> Scanned:
    """Five pickles: a magic number, a version, the machine, the value, the storages' order."""
    content = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    magic, version = (read_pickle(content, file=name).value for _ in range(2))
    if magic != _LEGACY_MAGIC or version != _LEGACY_PROTOCOL:
        raise UserError(
            f"{name} is a pickle, but not one of PyTorch",
            "Pickles can run code and are not opened. Choose a .pth file of weights.",
        )
    machine = read_pickle(content, file=name).value
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise UserError(f"{name} is of a machine of another byte order", "Save it on a common one.")
    found = read_pickle(content, file=name)
    order = read_pickle(content, file=name).value
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(found.storages):
        raise _broken(name)
    at = content.tell()
    for key in order:
        storage = found.storages[key]
        file.seek(at)
        count = file.read(8)
        told = struct.unpack("<q", count)[0] if len(count) == 8 else -1
        if told != storage.count:
            raise _lies(storage, told * ITEM_BYTES[storage.kind], name)
        at += 8 + storage.size
    if at != size:
        raise UserError(
            f"{name} is of {size} bytes where its weights take {at}",
            "Its download broke off, or it was changed. Download it again.",
        )
    return _weights(found.value, "legacy", name)


# --- both


def _check_storage(storage: Storage, found: int | None, name: str) -> None:
    if found is None:
        raise UserError(f"{name} lacks the numbers of storage {storage.key}", "Download it again.")
    if storage.size != found:
        raise _lies(storage, found, name)


def _lies(storage: Storage, found: int, name: str) -> UserError:
    return UserError(
        f"{name} says that storage {storage.key} takes {storage.size} bytes, but it has "
        f"{max(0, found)}",
        f"Download it again. {HARMFUL}",
    )


def _weights(value: Any, container: Container, name: str) -> Scanned:
    """The weights' names and shapes, and what lies beside them."""
    if not isinstance(value, dict):
        raise UserError(f"{name} holds no weights by name", "Choose a file with a state dict.")
    inside = next((key for key in WEIGHTS_KEYS if isinstance(value.get(key), dict)), "")
    weights: dict[Any, Any] = value[inside] if inside else value
    ignored = tuple(str(key) for key in value if key != inside) if inside else ()
    wrong = [key for key, spec in weights.items() if not isinstance(spec, TensorSpec)]
    if wrong or not weights or not all(isinstance(key, str) for key in weights):
        more = f": {str(wrong[0])[:80]} is no tensor" if wrong else ""
        raise UserError(f"{name} holds no plain state dict{more}", "Choose a file of weights.")
    shapes = {key: spec.shape for key, spec in weights.items()}
    total = sum(math.prod(s.shape) * ITEM_BYTES[s.storage.kind] for s in weights.values())
    return Scanned(container, inside, shapes, ignored, total)


def _broken(name: str) -> UserError:
    return UserError(
        f"{name} is damaged, or its download broke off", "Download it again and compare its size."
    )
