"""The status bar: jobs, the position under the pointer, gallery, checkpoint and device."""

from PySide6.QtCore import Slot
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QStatusBar, QWidget

from app.geo import LatLon
from app.ui.coordinates import Format, position_text
from app.ui.elided import ElidedLabel
from app.ui.jobs import Jobs, JobsBar
from app.ui.library import Library
from app.ui.theme import GAP, icon


class StatusField(QWidget):
    """An icon and a few words."""

    def __init__(self, name: str, picture: str, width_chars: int) -> None:
        super().__init__()
        self._name = name
        sign = QLabel()
        sign.setPixmap(icon(picture, "subtle").pixmap(16, 16))
        sign.setToolTip(name)
        self.words = ElidedLabel()
        self.words.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)
        self._most = self.fontMetrics().averageCharWidth() * width_chars
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP // 2, 0, GAP // 2, 0)
        row.setSpacing(GAP // 2)
        row.addWidget(sign)
        row.addWidget(self.words)

    def show_words(self, words: str, tip: str = "") -> None:
        self.words.setText(words)
        self.words.setAccessibleName(f"{self._name}: {words}")
        self.words.setToolTip(tip or f"{self._name}: {words}")
        wide = self.words.fontMetrics().horizontalAdvance(words) + 4
        self.words.setFixedWidth(min(wide, self._most))


class StatusBar(QStatusBar):
    def __init__(self, library: Library, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._library = library
        self.setSizeGripEnabled(False)
        self.jobs = JobsBar(jobs)
        self.pointer = StatusField("Position under the pointer, WGS84", "pointer", 30)
        self.gallery = StatusField("Gallery", "gallery", 40)
        self.checkpoint = StatusField("Checkpoint", "checkpoint", 44)
        self.device = StatusField("Device", "device", 24)
        self.addWidget(self.jobs, 1)
        for field in (self.pointer, self.gallery, self.checkpoint, self.device):
            self.addPermanentWidget(field)
        self.pointer.hide()
        for signal in (library.changed, library.chosen, library.state_changed):
            signal.connect(self._refresh)
        self._refresh()

    def show_pointer(self, place: LatLon | None, style: Format) -> None:
        self.pointer.setVisible(place is not None)
        if place is not None:
            self.pointer.show_words(position_text(place, style))

    @Slot()
    def _refresh(self) -> None:
        checkpoint, gallery = self._library.checkpoint, self._library.gallery
        if gallery is None or gallery.manifest is None:
            self.gallery.show_words("no gallery")
        else:
            m = gallery.manifest
            self.gallery.show_words(f"{m.name}, {m.tiles:,} tiles", str(gallery.path))
        if checkpoint is None or checkpoint.card is None:
            self.checkpoint.show_words("no checkpoint")
        else:
            short = checkpoint.sha256[:8]
            words = f"{checkpoint.card.title} {short}".strip()
            self.checkpoint.show_words(words, f"{checkpoint.path}\nidentity {checkpoint.sha256}")
        if self._library.is_warming:
            self.device.show_words("loading…")
        else:
            self.device.show_words(self._library.device or "engine idle")
