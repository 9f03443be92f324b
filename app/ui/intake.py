"""What was dropped, pasted or opened: sorted into photos, galleries, checkpoints and the rest.

Folders may be huge or on a slow disk, so they are walked in a thread; nothing that is not
understood is left out silently.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, Signal
from PySide6.QtGui import QImage

from app.manifest import MANIFEST_NAME
from app.paths import data_dir
from app.ui.library import FOREIGN_ENDINGS

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".heic", ".heif", ".avif", ".jp2"}
)
IMAGERY_SUFFIXES = frozenset({".mbtiles", ".vrt", ".gpkg", ".img", ".ecw", ".sid"})
SILENT_NAMES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})  # litter of file managers
MAX_PHOTOS = 20_000


@dataclass(frozen=True, slots=True)
class Found:
    """What a drop held. ``skipped`` has a sentence for each thing that was not taken."""

    photos: tuple[Path, ...] = ()
    galleries: tuple[Path, ...] = ()
    checkpoints: tuple[Path, ...] = ()
    skipped: tuple[str, ...] = ()


@dataclass(slots=True)
class _Sorting:
    photos: dict[Path, None] = field(default_factory=dict)  # a set that keeps its order
    galleries: list[Path] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def sort_paths(paths: Iterable[Path]) -> Found:
    """Files by what they are, folders walked. Symbolic links to folders are not followed."""
    found = _Sorting()
    for path in paths:
        if path.is_dir():
            _sort_folder(path, found)
        elif path.is_file():
            _sort_file(path, found)
        else:
            found.skipped.append(f"{path}: there is no such file")
    photos = tuple(found.photos)
    if len(photos) > MAX_PHOTOS:
        found.skipped.append(
            f"{len(photos) - MAX_PHOTOS} photos beyond the first {MAX_PHOTOS}: add them in parts"
        )
    return Found(
        photos[:MAX_PHOTOS],
        tuple(found.galleries),
        tuple(found.checkpoints),
        tuple(found.skipped),
    )


def _sort_folder(folder: Path, found: _Sorting) -> None:
    def unreadable(error: OSError) -> None:
        found.skipped.append(f"{error.filename}: cannot be opened ({error.strerror})")

    before = len(found.photos) + len(found.galleries) + len(found.skipped)
    for place, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if MANIFEST_NAME in files:
            found.galleries.append(here)
            folders.clear()  # its thumbnails are no photos
            continue
        for name in sorted(files):
            if name.lower() not in SILENT_NAMES and not name.startswith("._"):
                _sort_file(here / name, found)
    if before == len(found.photos) + len(found.galleries) + len(found.skipped):
        found.skipped.append(f"{folder}: an empty folder")


def _sort_file(path: Path, found: _Sorting) -> None:
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        found.photos[path] = None
    elif path.name.lower().endswith((".safetensors", *FOREIGN_ENDINGS)):
        found.checkpoints.append(path)
    elif suffix in IMAGERY_SUFFIXES:
        found.skipped.append(f"{path.name}: imagery, not a photo; Gallery > Build takes it")
    else:
        kind = f"{suffix} files are not photos" if suffix else "not a photo"
        found.skipped.append(f"{path.name}: {kind}")


class Intake(QObject):
    """Sorts in a thread of its own; answers come in the order of the asks."""

    found = Signal(object)  # Found
    _sorted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)
        self._sorted.connect(self.found)  # queued: ``found`` is emitted on the GUI thread

    def take(self, paths: Iterable[Path]) -> None:
        asked = tuple(paths)
        self._pool.start(lambda: self._sorted.emit(sort_paths(asked)))

    def take_image(self, image: QImage) -> None:
        """A picture without a file, from the clipboard: kept as a PNG among the user's data."""
        copy = image.copy()
        self._pool.start(lambda: self._sorted.emit(_keep(copy)))

    def close(self) -> None:
        self._pool.clear()
        self._pool.waitForDone()


def _keep(image: QImage) -> Found:
    folder = data_dir() / "pasted"
    folder.mkdir(exist_ok=True)
    path = folder / f"pasted-{datetime.now():%Y-%m-%d-%H%M%S-%f}.png"
    partial = path.with_suffix(".partial")
    if not image.save(str(partial), "PNG"):  # type: ignore[call-overload]  # stubs want bytes
        return Found(skipped=(f"the pasted picture cannot be kept in {folder}: is the disk full?",))
    partial.replace(path)
    return Found(photos=(path,))
