"""Clicked objects from one start of the window to the next: a small file a photo.

A photo is known by its content, so that its objects are found again when it was moved or copied,
and another photo of the same name is not taken for it. Files are read and written in a thread.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, QTimer, Signal, Slot

from app.messages import Problem
from app.ui.object_record import Record, read_record, record_text

log = logging.getLogger(__name__)

SAVE_AFTER_MS = 400
END_BYTES = 65536  # of a photo's beginning and end, which tell it from others

_Stamp = tuple[int, int]  # a file's time and size


class ObjectMemory(QObject):
    recalled = Signal(object, object)  # photo and its Record, an empty one where nothing is kept
    failed = Signal(object)  # Problem of writing

    def __init__(self, folder: Callable[[], Path], parent: QObject | None = None) -> None:
        """``folder`` is asked for in the thread: where it cannot be made, the window still is."""
        super().__init__(parent)
        self._folder = folder
        self._unsaved: dict[Path, Record] = {}
        self._known: dict[Path, Record] = {}  # as last read or written
        self._reading: set[Path] = set()
        self._names: dict[Path, tuple[_Stamp, str]] = {}
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)  # in the order of asking: what is read was written before
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SAVE_AFTER_MS)
        self._soon.timeout.connect(self._save)
        self.recalled.connect(self._on_recalled)

    def is_reading(self, photo: Path) -> bool:
        return photo in self._reading

    @Slot(object)
    def recall(self, photos: Iterable[Path]) -> None:
        """Tells of each photo what is kept of it."""
        self._save()
        asked = tuple(photos)
        self._reading.update(asked)
        self._pool.start(lambda: self._read(asked))

    def keep(self, photo: Path, record: Record) -> None:
        """Soon in a file; a record without pins takes the file away."""
        if record != self._known.get(photo, Record()):
            self._known[photo] = self._unsaved[photo] = record
            self._soon.start()

    def close(self) -> None:
        self._save()
        self._pool.waitForDone()

    @Slot()
    def _save(self) -> None:
        self._soon.stop()
        unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            self._pool.start(lambda: self._write(unsaved))

    @Slot(object, object)
    def _on_recalled(self, photo: Path, record: Record) -> None:
        self._reading.discard(photo)
        self._known[photo] = record

    # --- in the thread ---

    def _read(self, photos: tuple[Path, ...]) -> None:
        """Only photos as large as one of which something is kept are looked into."""
        try:
            files = list(self._folder().glob("*.json"))
        except OSError as error:
            log.warning("objects of earlier starts cannot be read: %s", error)
            files = []
        by_name = {file.name: file for file in files}
        sizes = {name.partition("-")[0] for name in by_name}
        for photo in photos:
            record = Record()
            try:
                if str(photo.stat().st_size) in sizes:
                    record = _record_in(by_name.get(self._name_of(photo)))
            except OSError as error:  # whoever reads the photo tells why it cannot be read
                log.info("%s: %s", photo, error)
            self.recalled.emit(photo, record)

    def _write(self, records: dict[Path, Record]) -> None:
        for photo, record in records.items():
            try:
                folder = self._folder()
                folder.mkdir(parents=True, exist_ok=True)
                file = folder / self._name_of(photo)
                if record.pins:
                    partial = file.with_suffix(".partial")
                    partial.write_text(record_text(photo, record), encoding="utf-8")
                    partial.replace(file)
                else:
                    file.unlink(missing_ok=True)
            except OSError as error:
                log.warning("the objects of %s could not be saved: %s", photo, error)
                self.failed.emit(
                    Problem(
                        f"The objects of {photo.name} could not be saved: {error.strerror}",
                        "They stay until the window is closed: export them (Ctrl+Shift+S).",
                    )
                )

    def _name_of(self, photo: Path) -> str:
        """The photo's size and a hash of both its ends: name, place and time do not matter."""
        known = self._names.get(photo)
        try:
            state = photo.stat()
        except FileNotFoundError:
            if known is None:
                raise
            return known[1]  # what was clicked before it went away is kept all the same
        stamp = state.st_mtime_ns, state.st_size
        if known is None or known[0] != stamp:
            with photo.open("rb") as file:
                ends = file.read(END_BYTES)
                file.seek(max(0, state.st_size - END_BYTES))
                ends += file.read(END_BYTES)
            told = hashlib.sha256(ends).hexdigest()[:24]
            known = stamp, f"{state.st_size}-{told}.json"
            self._names[photo] = known
        return known[1]


def _record_in(file: Path | None) -> Record:
    if file is None:
        return Record()
    try:
        return read_record(file.read_text(encoding="utf-8"))
    except ValueError as error:
        log.warning("%s: %s", file, error)
        file.replace(file.with_suffix(".unreadable"))  # not written over: it may be mended
        return Record()
