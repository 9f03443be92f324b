"""The ways by which photos come in: dropped, pasted, chosen in a dialog."""

from pathlib import Path

from PySide6.QtCore import QMimeData, QObject, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog, QWidget

from app.ui.announcements import empty_clipboard_notice
from app.ui.intake import PHOTO_SUFFIXES, Found, Intake
from app.ui.preferences import Preferences


class Doors(QObject):
    found = Signal(object)  # Found
    said = Signal(object)  # Notice

    def __init__(self, preferences: Preferences, window: QWidget) -> None:
        super().__init__(window)
        self._preferences, self._window = preferences, window
        self.intake = Intake(self)
        self.intake.found.connect(self.found)

    def take(self, mime: QMimeData) -> bool:
        """Whether there was anything to take."""
        urls = mime.urls()
        if urls:
            self.intake.take(Path(url.toLocalFile()) for url in urls if url.isLocalFile())
            if far := [url.toDisplayString() for url in urls if not url.isLocalFile()]:
                self.found.emit(Found(skipped=tuple(f"{u}: not on this computer" for u in far)))
            return True
        if mime.hasImage():
            self.intake.take_image(mime.imageData())
            return True
        return False

    @Slot()
    def paste(self) -> None:
        if not self.take(QGuiApplication.clipboard().mimeData()):
            self.said.emit(empty_clipboard_notice())

    @Slot()
    def ask_photos(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in sorted(PHOTO_SUFFIXES))
        names, _ = QFileDialog.getOpenFileNames(
            self._window, "Open photos", self._last_folder(), f"Photos ({kinds});;All files (*)"
        )
        if names:
            self.intake.take(Path(name) for name in names)

    @Slot()
    def ask_folder(self) -> None:
        folder = self._last_folder()
        if name := QFileDialog.getExistingDirectory(self._window, "Open folder", folder):
            self.intake.take((Path(name),))

    def _last_folder(self) -> str:
        recent = self._preferences.settings.recent_photos
        return str(Path(recent[0]).parent) if recent else ""
