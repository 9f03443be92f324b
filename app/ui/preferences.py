"""The user's settings while the program runs: changed here, saved soon after in a thread."""

import logging
from dataclasses import replace
from pathlib import Path

from PySide6.QtCore import QObject, QThreadPool, QTimer, Signal

from app.card import View
from app.settings import Settings, save_settings

log = logging.getLogger(__name__)

RECENT = 12
SAVE_AFTER_MS = 400


class Preferences(QObject):
    changed = Signal()

    def __init__(self, settings: Settings, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._settings = settings
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(1)  # one writer, so that the last change is written last
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SAVE_AFTER_MS)
        self._soon.timeout.connect(self._save)

    @property
    def settings(self) -> Settings:
        return self._settings

    def change(self, settings: Settings) -> None:
        if settings != self._settings:
            self._settings = settings
            self._soon.start()
            self.changed.emit()

    def remember_photos(self, photos: tuple[Path, ...]) -> None:
        recent = _newest_first(photos[:RECENT], self._settings.recent_photos)
        self.change(replace(self._settings, recent_photos=recent))

    def remember_choice(self, *, checkpoint: Path | None, gallery: Path | None) -> None:
        s = self._settings
        if checkpoint is not None:
            recent = _newest_first((checkpoint,), s.recent_checkpoints)
            s = replace(s, checkpoint=str(checkpoint), recent_checkpoints=recent)
        if gallery is not None:
            recent = _newest_first((gallery,), s.recent_galleries)
            s = replace(s, gallery=str(gallery), recent_galleries=recent)
        self.change(s)

    def remember_finder(self, view: View, path: Path) -> None:
        """For clicks on photos of this view."""
        finders = {**self._settings.object_checkpoints, view: str(path)}
        self.change(replace(self._settings, object_checkpoints=finders))

    def close(self) -> None:
        if self._soon.isActive():
            self._soon.stop()
            self._save()
        self._pool.waitForDone()

    def _save(self) -> None:
        settings = self._settings

        def write() -> None:
            try:
                save_settings(settings)
            except OSError as error:  # nothing the user is doing depends on it
                log.warning("the settings could not be saved: %s", error)

        self._pool.start(write)


def _newest_first(new: tuple[Path, ...], old: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*map(str, new), *old)))[:RECENT]
