"""What the engine keeps between requests: checkpoints, galleries, descriptors, pictures on disk.

Used by one thread: the engine's.
"""

import contextlib
import errno
import hashlib
import itertools
import os
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from jaxtyping import Float32

from app import paths
from app.engine.checkpoints import (
    Checkpoint,
    ObjectCheckpoint,
    load_checkpoint,
    load_object_checkpoint,
)
from app.engine.gallery import Gallery, open_gallery
from app.engine.photos import Query, read_query
from app.engine.sharing import Sharing, Tenant
from app.errors import UserError
from app.manifest import MANIFEST_NAME
from app.messages import Report, ignore

MAX_CHECKPOINTS = 2
MAX_GALLERIES = 4
MAX_DESCRIPTORS = 512  # queries; some 60 kB each
MAX_QUERIES = 2  # decoded photos
MAX_ENCODED = 64  # features of references and of clicks; 1 MB each, DetGeo's 8 MB
MAX_CACHE_BYTES = 512 << 20
SWEEP_EVERY = 64  # pictures written between two looks at the cache folder's size

FileKey = tuple[Path, int, int]  # absolute path, time of change, size

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")
_Loaded = TypeVar("_Loaded", Checkpoint, ObjectCheckpoint)


class Shelf:
    """Loads each thing once and lets go of what was not used for longest.

    ``cache`` is the folder for previews and heatmaps; its files may vanish at any time.
    ``execution`` is one of backends.CHOICES. With ``max_descriptors=0`` every query is described
    anew. ``tell`` hears when networks change their device.
    """

    def __init__(
        self,
        device: str = "auto",
        cache: Path | None = None,
        *,
        execution: str = "eager",
        max_descriptors: int = MAX_DESCRIPTORS,
        max_cache_bytes: int = MAX_CACHE_BYTES,
        tell: Report = ignore,
    ) -> None:
        self.cache = cache if cache is not None else paths.cache_dir() / "pictures"
        self.seconds_per_picture: dict[str, float] = {}  # by checkpoint: how long describing takes
        self._execution = execution
        self._max_cache_bytes = max_cache_bytes
        self._checkpoints: _Recent[FileKey, Checkpoint] = _Recent(MAX_CHECKPOINTS)
        self._galleries: _Recent[FileKey, Gallery] = _Recent(MAX_GALLERIES)
        self._descriptors: _Recent[Hashable, Float32[np.ndarray, "t d"]] = _Recent(max_descriptors)
        self._objects: _Recent[FileKey, ObjectCheckpoint] = _Recent(MAX_CHECKPOINTS)
        self._queries: _Recent[FileKey, Query] = _Recent(MAX_QUERIES)
        self._encoded: _Recent[Hashable, Any] = _Recent(MAX_ENCODED)
        self._written = itertools.count()
        self.sharing = Sharing(device)
        self.sharing.drop_idle = self._drop_idle
        self.sharing.tell = tell

    def checkpoint(self, path: Path) -> Checkpoint:
        """Loaded, on its device; again if the file has changed. Raises UserError."""
        return self._loaded(
            self._checkpoints,
            path,
            partial(load_checkpoint, path, execution=self._execution, sharing=self.sharing),
        )

    def object_checkpoint(self, path: Path) -> ObjectCheckpoint:
        """As ``checkpoint``, of the networks that find clicked objects."""
        return self._loaded(
            self._objects, path, partial(load_object_checkpoint, path, sharing=self.sharing)
        )

    def _loaded(
        self, kept: "_Recent[FileKey, _Loaded]", path: Path, load: Callable[..., _Loaded]
    ) -> _Loaded:
        key = file_key(path) if path.is_file() else (path, 0, 0)
        if self.sharing.may_return(path):
            kept.drop(key)
        return kept.get(key, lambda: self.sharing.load(path, lambda device: load(device=device)))

    def _drop_idle(self, keep: Tenant | None) -> None:
        """Of what lies on an accelerator only this network stays."""
        self._encoded.clear()
        for kept in (self._checkpoints, self._objects):
            kept.keep_only(lambda loaded: loaded is keep or loaded.device.name == "cpu")

    def query(self, path: Path) -> Query:
        """Decoded; again if the file has changed. Raises UserError."""
        return self._queries.get(file_key(path), lambda: read_query(path))

    def gallery(self, path: Path) -> Gallery:
        """Opened and verified; again if its manifest has changed. Raises UserError."""
        manifest = path / MANIFEST_NAME
        key = file_key(manifest) if manifest.is_file() else (path, 0, 0)
        return self._galleries.get(key, lambda: open_gallery(path))

    def descriptors(
        self,
        photo: Path,
        checkpoint: Checkpoint,
        turns: tuple[float, ...],
        describe: Callable[[], Float32[np.ndarray, "t d"]],
    ) -> Float32[np.ndarray, "t d"]:
        """Those of an earlier question about the same file, or ``describe()``'s."""
        return self._descriptors.get((file_key(photo), checkpoint.sha256, turns), describe)

    def encoded(
        self, keys: Sequence[Hashable], encode: Callable[[list[int]], Sequence[_Value]]
    ) -> list[_Value]:
        """A value for each key: kept ones, and those that one call of ``encode`` makes.

        ``encode`` gets the numbers of the keys that are not there.
        """
        found: dict[int, _Value] = {}
        for i, key in enumerate(keys):
            if (value := self._encoded.find(key)) is not None:
                found[i] = value
        missing = [i for i in range(len(keys)) if i not in found]
        if missing:
            for i, value in zip(missing, encode(missing), strict=True):
                found[i] = value
                self._encoded.put(keys[i], value)
        return [found[i] for i in range(len(keys))]

    def keep(self, name: str, content: bytes) -> Path:
        """Write a picture into the cache, whole or not at all; an existing one stays as it is."""
        there = self.kept(name)
        if there is not None:
            return there
        path = self.cache / name
        partial = path.with_name(f"{name}.{os.getpid()}.partial")
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise UserError(
                f"The cache {self.cache} cannot be written: "
                f"{'the disk is full' if full else error.strerror}",
                "Make room on its disk." if full else "Check the rights of this folder.",
            ) from error
        if next(self._written) % SWEEP_EVERY == 0:
            sweep(self.cache, self._max_cache_bytes)
        return path

    def kept(self, name: str) -> Path | None:
        """The cached picture of this name, if it is there."""
        path = self.cache / name
        if not path.is_file():
            return None
        with contextlib.suppress(OSError):  # a shared cache: somebody else's file
            os.utime(path)  # used lately: swept last
        return path


def file_key(path: Path) -> FileKey:
    """Changes when the file does. Raises UserError where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror}", "Was it moved or renamed?"
        ) from error
    return path.absolute(), status.st_mtime_ns, status.st_size


def cache_name(prefix: str, suffix: str, *parts: object) -> str:
    """A file name that stands for ``parts``, such as a file's key and a heading."""
    digest = hashlib.sha256("\x00".join(map(str, parts)).encode("utf-8", "surrogateescape"))
    return f"{prefix}-{digest.hexdigest()[:32]}{suffix}"


def sweep(folder: Path, max_bytes: int) -> None:
    """Delete the files used longest ago until those left fill at most ``max_bytes``."""
    files: list[tuple[int, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # swept by another Skyfix meanwhile
            status = path.stat()
            files.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            break
        with contextlib.suppress(OSError):  # open elsewhere (Windows): the next sweep tries again
            path.unlink()
            total -= size


class _Recent(Generic[_Key, _Value]):
    """At most ``limit`` values, those asked for last."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def find(self, key: _Key) -> _Value | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def get(self, key: _Key, make: Callable[[], _Value]) -> _Value:
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        # Room first: two checkpoints and the new one need not be in memory at a time.
        self._make_room()
        value = make()
        self.put(key, value)
        return value

    def put(self, key: _Key, value: _Value) -> None:
        self._values.pop(key, None)
        self._make_room()
        if self._limit > 0:
            self._values[key] = value

    def drop(self, key: _Key) -> None:
        self._values.pop(key, None)

    def clear(self) -> None:
        self._values.clear()

    def keep_only(self, wanted: Callable[[_Value], bool]) -> None:
        for key in [key for key, value in self._values.items() if not wanted(value)]:
            del self._values[key]

    def _make_room(self) -> None:
        while self._values and len(self._values) >= self._limit:
            self._values.popitem(last=False)
