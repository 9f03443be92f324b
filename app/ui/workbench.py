"""The panels round the queries: list, answer, pictures, candidates, and a place for the map."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from PySide6.QtCore import QByteArray, QEvent, QObject, Qt, Signal, SignalInstance, Slot
from PySide6.QtWidgets import QFrame, QLabel, QSplitter, QStackedLayout, QVBoxLayout, QWidget

from app.manifest import Manifest
from app.messages import Candidate, Claim
from app.ui.answer_bar import AnswerBar
from app.ui.candidates_panel import CandidatesPanel
from app.ui.compare_view import CompareView
from app.ui.coordinates import Format
from app.ui.library import Library
from app.ui.map_marks import ObjectMark
from app.ui.object_words import map_marks
from app.ui.objects_panel import ObjectsPanel
from app.ui.objects_session import ObjectsSession
from app.ui.pictures import Pictures
from app.ui.queries_panel import QueriesPanel
from app.ui.session import LocateSession
from app.ui.theme import GAP, is_dark


class Map(Protocol):
    """What the workbench needs of the map; a test gives it a plain widget."""

    @property
    def picked(self) -> SignalInstance: ...
    @property
    def hovered(self) -> SignalInstance: ...
    def show_gallery(self, folder: Path | None, manifest: Manifest | None) -> None: ...
    def show_candidates(self, candidates: tuple[Candidate, ...], claim: Claim | None) -> None: ...
    def show_objects(self, objects: tuple[ObjectMark, ...]) -> None: ...
    def select(self, rank: int | None) -> None: ...
    def set_dark(self, dark: bool) -> None: ...
    def fit_candidates(self) -> None: ...
    def fit_object(self) -> None: ...
    def fit_gallery(self) -> None: ...
    def shutdown(self) -> None: ...


class MapPanel(QFrame):
    """Holds the map's place until it is made, then keeps it showing what is selected."""

    hovered = Signal(object)  # LatLon | None, from the map

    def __init__(self, session: LocateSession, objects: ObjectsSession, library: Library) -> None:
        super().__init__()
        self._session, self._objects, self._library = session, objects, library
        self._shown: tuple[Candidate, ...] | None = None
        self._fitted: set[Path] = set()  # photos, to the first object that was found in them
        self.map: Map | None = None
        self.setProperty("panel", True)
        self.setMinimumSize(200, 150)
        waiting = QLabel("The map is opening…")
        waiting.setProperty("small", True)
        waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedLayout(self)
        self._stack.setContentsMargins(1, 1, 1, 1)
        self._stack.addWidget(waiting)
        session.selected.connect(self._show_candidates)
        session.candidate_selected.connect(self._show_candidates)
        session.refreshed.connect(self._show_candidates)
        objects.changed.connect(self._show_objects)
        objects.selected.connect(self._show_objects)
        library.chosen.connect(self._show_gallery)

    def adopt(self, view: QWidget, made: Map) -> None:
        """``view`` and ``made`` are one object: a widget that is a map."""
        self.map = made
        self._stack.addWidget(view)
        self._stack.setCurrentWidget(view)
        made.picked.connect(self._session.pick)
        made.hovered.connect(self.hovered)
        made.set_dark(is_dark(self.palette()))
        self._show_gallery()
        self._show_candidates()
        self._show_objects()

    @Slot()
    def _show_gallery(self) -> None:
        gallery = self._library.gallery
        if self.map is not None:
            self.map.show_gallery(
                None if gallery is None else gallery.path,
                None if gallery is None else gallery.manifest,
            )

    @Slot()
    def _show_candidates(self) -> None:
        if self.map is None:
            return
        state, chosen = self._session.current, self._session.candidate
        answer = None if state is None else state.answer
        candidates = () if answer is None else answer.candidates
        if candidates != self._shown:
            self._shown = candidates
            self.map.show_candidates(candidates, None if answer is None else answer.query.claim)
        self.map.select(None if chosen is None else chosen.rank)

    @Slot()
    def _show_objects(self) -> None:
        if self.map is not None:
            current = self._objects.current
            number = None if current is None else current.pin.number
            self.map.show_objects(map_marks(self._objects.markers, number))
            photo = self._objects.photo
            first = photo is not None and photo not in self._fitted
            if first and photo is not None and current is not None and current.box is not None:
                self._fitted.add(photo)  # once: from then on the view is the user's
                self.map.fit_object()


class Workbench(QWidget):
    def __init__(
        self,
        session: LocateSession,
        objects: ObjectsSession,
        library: Library,
        pictures: Pictures,
        *,
        opacity: float,
        style: Format,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.queries = QueriesPanel(session, pictures)
        self.answer = AnswerBar(session, style=style)
        self.compare = CompareView(session, objects, pictures, opacity=opacity)
        self.candidates = CandidatesPanel(session, pictures)
        self.map = MapPanel(session, objects, library)
        self.objects = ObjectsPanel(objects, library)
        self.ground = _splitter(Qt.Orientation.Vertical, self.map, self.objects)
        self.centre = _splitter(Qt.Orientation.Vertical, self.compare, self.candidates)
        self.right = _splitter(Qt.Orientation.Horizontal, self.centre, self.ground)
        beside = QWidget()
        column = QVBoxLayout(beside)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addWidget(self.answer)
        column.addWidget(self.right, 1)
        self.outer = _splitter(Qt.Orientation.Horizontal, self.queries, beside)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(GAP // 2, GAP // 2, GAP // 2, GAP // 2)
        whole.addWidget(self.outer)
        self.outer.setStretchFactor(0, 0)
        self.outer.setStretchFactor(1, 1)
        self.ground.setStretchFactor(0, 1)
        self.ground.setStretchFactor(1, 0)
        self.objects.hide()
        objects.switched.connect(self.objects.setVisible)
        self.objects.map_asked.connect(lambda: self.map_call(lambda made: made.fit_object()))
        for panel in (self.map, self.objects):
            panel.installEventFilter(self)
        self.reset_layout()

    def reset_layout(self) -> None:
        for panel in (self.queries, self.candidates, self.map):
            panel.show()
        self.outer.setSizes([230, 1050])
        self.right.setSizes([620, 430])
        self.centre.setSizes([340, 300])
        self.ground.setSizes([370, 270])

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """The column of map and objects goes when both are hidden."""
        if event.type() in (QEvent.Type.HideToParent, QEvent.Type.ShowToParent):
            self.ground.setHidden(self.map.isHidden() and self.objects.isHidden())
        return super().eventFilter(watched, event)

    def layout_state(self) -> tuple[QByteArray, ...]:
        return tuple(s.saveState() for s in (self.outer, self.right, self.centre))

    def restore_layout(self, states: tuple[QByteArray, ...]) -> None:
        """States that do not fit, such as those of another version, change nothing."""
        for splitter, state in zip((self.outer, self.right, self.centre), states, strict=False):
            splitter.restoreState(state)

    def map_call(self, act: Callable[[Map], None]) -> None:
        if self.map.map is not None:
            act(self.map.map)


def _splitter(way: Qt.Orientation, *widgets: QWidget) -> QSplitter:
    splitter = QSplitter(way)
    splitter.setHandleWidth(GAP - 2)
    splitter.setChildrenCollapsible(False)
    for widget in widgets:
        splitter.addWidget(widget)
    return splitter
