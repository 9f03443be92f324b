"""The map's place in the window: the web map, or a plain one where that cannot run.

QtWebEngine is imported when the map is first shown, not with this file: the window comes up
0.1 s and more sooner. Whatever is asked for before the page has loaded is kept and shown then;
the last ask wins.
"""

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QLabel, QVBoxLayout, QWidget

from app.errors import UserError
from app.manifest import Manifest
from app.messages import Candidate, Claim
from app.ui.map_marks import Ground, ObjectMark, best_view
from app.ui.map_plain import PlainMap
from app.ui.map_tiles import find_basemap

if TYPE_CHECKING:
    from PySide6.QtWebEngineCore import QWebEngineProfile

    from app.ui.map_web import WebMap

LOAD_LIMIT_MS = 60_000  # a machine at full load took 6 s
TURN_MS = 1  # not 0: Qt queues a call at 0 ms before the painting and the input that wait
# A map of small pictures needs no GPU, broken drivers leave web views blank, and the GPU's memory
# is the network's. Names are not to be resolved by a page that may load nothing.
CHROMIUM_FLAGS = '--disable-gpu --host-resolver-rules="MAP * ~NOTFOUND"'

log = logging.getLogger(__name__)


def prepare_web_engine() -> None:
    """Call before the QApplication is made; cheap. Without it the map is the plain one."""
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    os.environ.setdefault("QTWEBENGINE_CHROMIUM_FLAGS", CHROMIUM_FLAGS)


def why_no_web_engine() -> str | None:
    """A reason known beforehand, where trying would end the whole program."""
    if not QCoreApplication.testAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts):
        return "the web engine was not prepared before the window"
    if not sys.platform.startswith("linux") or "QTWEBENGINE_DISABLE_SANDBOX" in os.environ:
        return None
    if os.geteuid() != 0 or "--no-sandbox" in os.environ.get("QTWEBENGINE_CHROMIUM_FLAGS", ""):
        return None
    return "the web engine's sandbox does not run as root"


class MapView(QWidget):
    picked = Signal(int)  # the rank of the candidate whose pin was clicked
    hovered = Signal(object)  # LatLon under the pointer; None: it left the map
    ready = Signal()  # the map shows what it was given

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMinimumSize(200, 150)
        self._gallery: tuple[Path | None, Manifest | None] = None, None
        self._ground = Ground()
        self._candidates: tuple[Candidate, ...] = ()
        self._claim: Claim | None = None
        self._objects: tuple[ObjectMark, ...] = ()
        self._selected: int | None = None
        self._dark = False
        self._face: WebMap | PlainMap | None = None
        self._is_started = False
        self._is_ready = False
        self._is_shut = False
        self._why_plain = ""
        self._problem = ""  # of the basemap
        self._notice = QLabel(self)
        self._notice.setTextFormat(Qt.TextFormat.PlainText)
        self._notice.setWordWrap(True)
        self._notice.setContentsMargins(8, 4, 8, 4)
        self._notice.hide()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(0)
        self._layout.addWidget(self._notice)
        self._patience = QTimer(self, singleShot=True, interval=LOAD_LIMIT_MS)
        self._patience.timeout.connect(lambda: self._use_plain("the map page did not answer"))

    @property
    def face(self) -> "WebMap | PlainMap | None":
        """The map that is shown; None before the first show and after ``shutdown``."""
        return self._face

    def show_gallery(self, folder: Path | None, manifest: Manifest | None) -> None:
        """Put the gallery's imagery and outline under the pins; (None, None) takes them away."""
        if (folder, manifest) == self._gallery:
            return  # the user's view stays
        self._gallery = folder, manifest
        basemap, self._problem = None, ""
        try:
            basemap = None if folder is None else find_basemap(folder)
        except UserError as error:
            log.warning("%s", error)
            self._problem = f"{error}. {error.hint}"
        area = basemap.area if basemap is not None else None
        self._ground = Ground(
            basemap,
            area if manifest is None else manifest.area,
            "" if manifest is None else manifest.licence,
        )
        self._tell_notice()
        if self._is_ready and self._face is not None:
            self._face.show_ground(self._ground)
            self._show_candidates(self._face)

    def show_candidates(self, candidates: tuple[Candidate, ...], claim: Claim | None) -> None:
        """Replace all pins and fit the view to them; nothing is selected then."""
        self._candidates, self._claim, self._selected = candidates, claim, None
        if self._is_ready and self._face is not None:
            self._show_candidates(self._face)

    def show_objects(self, objects: tuple[ObjectMark, ...]) -> None:
        """Replace all clicked objects; the selected one is brought into view."""
        if objects != self._objects:
            self._objects = objects
            if self._is_ready and self._face is not None:
                self._face.show_objects(objects)

    def select(self, rank: int | None) -> None:
        """Highlight a candidate and bring it into view; ``picked`` is not emitted."""
        self._selected = rank
        if self._is_ready and self._face is not None:
            self._face.select(rank)

    def set_dark(self, dark: bool) -> None:
        self._dark = dark
        if self._is_ready and self._face is not None:
            self._face.set_dark(dark)

    def fit_candidates(self) -> None:
        if self._is_ready and self._face is not None:
            self._face.fit_candidates()

    def fit_object(self) -> None:
        """Bring the selected object near."""
        if self._is_ready and self._face is not None:
            self._face.fit_object()

    def fit_gallery(self) -> None:
        if self._is_ready and self._face is not None:
            self._face.fit_gallery()

    def shutdown(self) -> None:
        """End the map's process and threads now; not from within one of the map's own signals."""
        self._patience.stop()
        face, self._face, self._is_ready = self._face, None, False
        self._is_shut = True
        if face is not None:
            face.shutdown()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._is_started:
            self._is_started = True
            QTimer.singleShot(TURN_MS, self, self._start)  # the window is painted first

    @Slot()
    def _start(self) -> None:
        """Import, Chromium's start and the page's: three turns of the event loop, not one stall."""
        why = why_no_web_engine()
        if why is not None:
            self._use_plain(why)
            return
        try:
            importlib.import_module("app.ui.map_web")
        except ImportError as error:
            self._use_plain(f"the web engine cannot be loaded ({error})")
            return
        QTimer.singleShot(TURN_MS, self, self._start_chromium)

    def _start_chromium(self) -> None:
        if self._is_shut:
            return
        from app.ui.map_web import new_profile

        profile = new_profile()
        QTimer.singleShot(TURN_MS, self, lambda: self._open_page(profile))

    def _open_page(self, profile: "QWebEngineProfile") -> None:
        if self._is_shut:
            return
        from app.ui.map_web import WebMap

        try:
            web = WebMap(profile, dark=self._dark, parent=self)
        except UserError as error:
            self._use_plain(f"{error}")
            return
        # Queued: a web view must not be deleted while it is telling of its own end.
        web.failed.connect(self._use_plain, Qt.ConnectionType.QueuedConnection)
        self._adopt(web)
        self._patience.start()

    @Slot(str)
    def _use_plain(self, why: str) -> None:
        """The plain map takes the place of whatever was there and shows the same."""
        if self._is_shut or isinstance(self._face, PlainMap):
            return
        log.warning("plain map: %s", why)
        self._patience.stop()
        self._is_ready = False
        if self._face is not None:
            self._layout.removeWidget(self._face)
            self._face.shutdown()
            self._face.deleteLater()
        self._why_plain = f"Plain map: {why}."
        self._tell_notice()
        self._adopt(PlainMap(self))
        self._on_ready()

    def _adopt(self, face: "WebMap | PlainMap") -> None:
        self._face = face
        face.picked.connect(self._on_picked)
        face.hovered.connect(self.hovered)
        face.ready.connect(self._on_ready)
        self._layout.addWidget(face, 1)
        face.show()
        self._layout.activate()  # it has its size before it is told what to fit
        self.setFocusProxy(face)

    @Slot(int)
    def _on_picked(self, rank: int) -> None:
        self._selected = rank
        self.picked.emit(rank)

    @Slot()
    def _on_ready(self) -> None:
        if self._face is None:
            return
        self._patience.stop()
        self._is_ready = True
        self._face.set_dark(self._dark)
        self._face.show_ground(self._ground)
        self._show_candidates(self._face)
        self.ready.emit()

    def _show_candidates(self, face: "WebMap | PlainMap") -> None:
        fit = best_view(self._ground, self._candidates, self._claim)
        face.show_candidates(self._candidates, self._claim, fit)
        if self._selected is not None:
            face.select(self._selected)
        face.show_objects(self._objects)

    def _tell_notice(self) -> None:
        said = " ".join(part for part in (self._why_plain, self._problem) if part)
        self._notice.setText(said)
        self._notice.setVisible(bool(said))
