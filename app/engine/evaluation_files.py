"""The folder of an evaluation: what was asked, by what it was described, and the descriptors.

All that scoring needs is here, so that a new figure needs no network. ``manifest.json`` comes
last: a folder without it is not finished.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float16, Float64

from app import __version__
from app.card import Task
from app.engine.checkpoints import write_whole
from app.engine.datasets.layout import Picture, Protocol, RetrievalTest
from app.errors import UserError

MANIFEST, TRIAL, QUERIES, GALLERY = "manifest.json", "test.json", "queries.npy", "gallery.npy"
REQUEST = "request.json"  # of an unfinished folder
FORMAT = 1


@dataclass(frozen=True, slots=True)
class DescriptionManifest:
    """What was described, by what."""

    task: Task
    data: str  # the data set's name
    test: str
    root: str  # the data set's folder; pictures are named from there
    asked: str  # SHA-256 of test.json: names, sizes, labels and positions of the pictures
    checkpoint: str  # its identity
    checkpoint_title: str
    checkpoint_file: str
    network: str
    put: str  # in words
    turns: int = 1  # rows of queries.npy a query
    gallery_turns: int = 1  # rows of gallery.npy a picture
    queries: int = 0
    gallery: int = 0
    descriptor: int = 0
    temperature: float | None = None  # of the checkpoint's card
    cell_px: float = 0.0  # objects: side of a cell of the network's map, in satellite pixels
    created: str = ""
    code_version: str = ""
    files: Mapping[str, str] = field(default_factory=dict)  # name -> SHA-256

    def same_work(self, other: "DescriptionManifest") -> bool:
        """Whether the descriptors of one are those of the other."""
        return _work(self) == _work(other)


def _work(manifest: DescriptionManifest) -> tuple[object, ...]:
    m = manifest
    shape = m.turns, m.gallery_turns, m.queries, m.gallery, m.descriptor
    return m.task, m.asked, m.checkpoint, m.put, shape


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The queries or the gallery of a test, a row a picture."""

    paths: tuple[str, ...]  # from the data set's folder
    labels: tuple[str, ...]
    latlon: Float64[np.ndarray, "n 2"]  # degrees; NaN where unknown
    utm_m: Float64[np.ndarray, "n 2"]  # easting, northing; NaN where unknown

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A test as scoring needs it."""

    protocol: Protocol
    queries: Side
    gallery: Side
    positives: tuple[tuple[int, ...], ...]
    semi_positives: tuple[tuple[int, ...], ...] = ()


def trial_to_json(test: RetrievalTest, root: Path) -> bytes:
    """Columns, since a row of names for each of 100,000 pictures would be long."""
    body = {
        "protocol": test.protocol,
        "queries": _columns(test.queries, root),
        "gallery": _columns(test.gallery, root),
        "positives": test.positives,
        "semi_positives": test.semi_positives,
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _columns(pictures: Sequence[Picture], root: Path) -> dict[str, list[Any]]:
    return {
        "path": [name_from(p.path, root) for p in pictures],
        "bytes": [_size(p.path) for p in pictures],
        "label": [p.label for p in pictures],
        "view": [p.view for p in pictures],
        "kind": [p.kind for p in pictures],
        "rows": [p.rows for p in pictures],
        "heading_deg": [p.heading_deg for p in pictures],
        "latlon": [
            None if p.position is None else [p.position.lat, p.position.lon] for p in pictures
        ],
        "utm_m": [p.utm_m for p in pictures],
    }


def name_from(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Is it still there?") from error


def trial_from_json(content: bytes) -> Trial:
    raw = json.loads(content)
    return Trial(
        protocol=cast(Protocol, raw["protocol"]),
        queries=_side(raw["queries"]),
        gallery=_side(raw["gallery"]),
        positives=tuple(map(tuple, raw["positives"])),
        semi_positives=tuple(map(tuple, raw["semi_positives"])),
    )


def _side(columns: Mapping[str, Any]) -> Side:
    return Side(
        paths=tuple(columns["path"]),
        labels=tuple(columns["label"]),
        latlon=_points(columns["latlon"]),
        utm_m=_points(columns["utm_m"]),
    )


def _points(column: Sequence[Sequence[float] | None]) -> Float64[np.ndarray, "n 2"]:
    unknown = (np.nan, np.nan)
    points = np.array([unknown if p is None else p for p in column], np.float64)
    return points.reshape(-1, 2)


# --- reading -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Described:
    """A finished folder of descriptors, open for scoring."""

    folder: Path
    manifest: DescriptionManifest
    trial: Trial
    queries: Float16[np.ndarray, "q t d"]  # memory map
    gallery: Float16[np.ndarray, "n u d"]  # memory map

    def picture(self, name: str) -> Path:
        return Path(self.manifest.root) / name


def read_manifest(folder: Path) -> DescriptionManifest:
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format", None) != FORMAT:
            raise ValueError("of another version")
        known = {f.name for f in fields(DescriptionManifest)}
        return DescriptionManifest(**{k: v for k, v in raw.items() if k in known})
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is not a finished evaluation (it has no {MANIFEST})",
            "Describe the data set first; an interrupted one goes on where it stopped.",
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}", "Check its rights.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error})", "Describe the data set again.") from error


def open_described(folder: Path) -> Described:
    manifest = read_manifest(folder)
    if manifest.task != "retrieval":
        raise UserError(f"{folder} holds boxes, not descriptors", "Choose another folder.")
    try:
        content = (folder / TRIAL).read_bytes()
        if hashlib.sha256(content).hexdigest() != manifest.asked:
            raise ValueError(f"{TRIAL} is not the one that was described")
        trial = trial_from_json(content)
        length = manifest.descriptor
        queries = _array(folder / QUERIES, (manifest.queries, manifest.turns, length))
        gallery = _array(folder / GALLERY, (manifest.gallery, manifest.gallery_turns, length))
        if (len(trial.queries), len(trial.gallery)) != (manifest.queries, manifest.gallery):
            raise ValueError(f"{TRIAL} and {MANIFEST} differ")
        return Described(folder, manifest, trial, queries, gallery)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error}", "Check its rights.") from error
    except (ValueError, TypeError, KeyError, AttributeError, EOFError) as error:
        raise UserError(f"{folder} is damaged ({error})", "Describe the data set again.") from error


def _array(path: Path, shape: tuple[int, int, int]) -> Float16[np.ndarray, "n t d"]:
    array: Float16[np.ndarray, "n t d"] = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.dtype != np.float16 or array.shape != shape:
        raise ValueError(f"{path.name} is {array.dtype} {array.shape}, not float16 {shape}")
    return array


# --- writing -----------------------------------------------------------------


class DescriptorFile:
    """Unit rows on their way into an ``.npy`` file, which is whole once all are added.

    Each call of ``add`` ends on the disk, so a killed process has lost at most the pictures that
    it was about to add; one that it wrote in part is taken back.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self._path = path
        self._row_bytes = 2 * shape[1] * shape[2]
        header = _npy_header(shape)
        if not path.is_file() or not _starts_with(path, header):
            path.write_bytes(header)
        self._start = len(header)
        self.done = (path.stat().st_size - self._start) // self._row_bytes
        with path.open("r+b") as file:
            file.truncate(self._start + self.done * self._row_bytes)

    def add(self, rows: Float16[np.ndarray, "n t d"]) -> None:
        with self._path.open("ab") as file:
            file.write(np.ascontiguousarray(rows).tobytes())
            file.flush()
            os.fsync(file.fileno())
        self.done += len(rows)


def _starts_with(path: Path, header: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _npy_header(shape: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    layout = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, layout)
    return stream.getvalue()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_building(folder: Path, wanted: DescriptionManifest) -> Path:
    """The folder to work in: that of the same work begun before, or a new one.

    Hours of describing are not overwritten, nor is anything of the user's.
    """
    building = folder.with_name(folder.name + ".describing")
    request = json.dumps(asdict(wanted), sort_keys=True, default=dict)
    there = building / REQUEST
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} is there already and holds something else",
                "Choose another folder, or move this one away.",
            )
        if building.exists() and any(building.iterdir()):
            if not there.is_file():
                raise UserError(
                    f"{building} is in the way: it is not an unfinished evaluation",
                    "Move it away, or choose another name.",
                )
            if there.read_text(encoding="utf-8") == request:
                return building
            shutil.rmtree(building)
        building.mkdir(parents=True, exist_ok=True)
        write_whole(there, request.encode())
    except OSError as error:
        raise UserError(
            f"{building} cannot be written: {error.strerror}", "Choose a folder you may write in."
        ) from error
    return building


def publish(building: Path, folder: Path, manifest: DescriptionManifest) -> None:
    """Give a finished folder its manifest and its name."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    done = replace(manifest, created=created, code_version=__version__)
    body = json.dumps({"format": FORMAT, **asdict(done)}, indent=1, default=dict) + "\n"
    write_whole(building / MANIFEST, body.encode())
    (building / REQUEST).unlink()
    if folder.is_dir():
        folder.rmdir()
    building.rename(folder)


def slug(*names: str) -> str:
    """A folder's name on any system."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(names).lower()).strip("-") or "test"
