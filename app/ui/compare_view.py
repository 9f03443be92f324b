"""The query and the selected tile side by side, with what the network looked at in both."""

from pathlib import Path

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QImage
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QSlider,
    QSplitter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.card import View
from app.messages import Candidate, Heatmap
from app.ui.elided import ElidedLabel
from app.ui.image_view import Compass, ImageView, Scale, wind
from app.ui.object_layers import BoxLayer, MarkerLayer
from app.ui.objects_session import ObjectsSession
from app.ui.pictures import Ask, Pictures
from app.ui.session import ExplainState, LocateSession, QueryState
from app.ui.theme import GAP, icon

TITLE_SHARE = 8  # tenths of a head's room that the title may take from the note, if it needs them


class PicturePane(QFrame):
    """A titled picture with its zoom buttons; fetches what it is told to show."""

    def __init__(self, name: str, pictures: Pictures) -> None:
        super().__init__()
        self._pictures = pictures
        self._picture: Ask | None = None
        self._map: Ask | None = None
        self._scale: Scale | None = None
        self.view = ImageView(name)
        self.title = ElidedLabel(name, as_wide_as_text=True)
        self.note = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.note.setProperty("small", True)
        self.percent = QLabel()
        self.percent.setProperty("small", True)
        self.percent.setMinimumWidth(self.fontMetrics().horizontalAdvance("1000 %"))
        self.percent.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.setProperty("panel", True)
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        column = QVBoxLayout(self)
        column.setContentsMargins(1, 1, 1, 1)
        column.setSpacing(0)
        column.addWidget(self._head(name))
        column.addWidget(self.view, 1)
        self.view.zoomed.connect(self._on_zoomed)
        pictures.loaded.connect(self._on_loaded)

    def _head(self, name: str) -> QFrame:
        head = QFrame()
        head.setProperty("head", True)
        row = QHBoxLayout(head)
        row.setContentsMargins(GAP, 2, 2, 2)
        row.setSpacing(GAP)
        row.addWidget(self.title, TITLE_SHARE)
        row.addWidget(self.note, 10 - TITLE_SHARE)
        row.addWidget(self.percent)
        for picture, words, act in (
            ("fit", "Fit to window (Ctrl+F)", self.view.fit),
            ("actual", "Actual size (Ctrl+0)", self.view.show_actual_size),
        ):
            button = self._button(picture, words)
            button.clicked.connect(act)
            row.addWidget(button)
        self._head_row = row
        return head

    def _button(self, picture: str, words: str) -> QToolButton:
        button = QToolButton()
        button.setIcon(icon(picture))
        button.setAutoRaise(True)
        button.setToolTip(words)
        button.setAccessibleName(f"{self.view.accessibleName()}: {words}")
        return button

    def add_switch(self, picture: str, words: str) -> QToolButton:
        """One that can be on or off, before the others."""
        button = self._button(picture, words)
        button.setIcon(icon(picture, when_on="accent"))
        button.setCheckable(True)
        self._head_row.insertWidget(self._head_row.indexOf(self.percent), button)
        return button

    def show_path(self, path: Path | None, message: str) -> None:
        """``message`` stands there while there is no picture."""
        self.view.show_message(message)
        self._picture = None if path is None else Ask(path)
        if self._picture is None:
            self.view.show_picture(None)
        elif (image := self._pictures.get(self._picture)) is not None:
            self._show(image)

    def show_map(self, heatmap: Heatmap | None) -> None:
        self._map = None if heatmap is None else Ask(heatmap.path, is_map=True)
        self._scale = None if heatmap is None else Scale(heatmap.low, heatmap.high)
        image = None if self._map is None else self._pictures.get(self._map)
        self.view.show_overlay(image, self._scale)

    @Slot(object, object)
    def _on_loaded(self, ask: Ask, image: QImage) -> None:
        if ask == self._picture:
            self._show(image)
        elif ask == self._map:
            self.view.show_overlay(image, self._scale)

    def _show(self, image: QImage) -> None:
        if image.isNull() and self._picture is not None:
            name = self._picture.path.name
            self.view.show_message(
                f"{name} is missing from Skyfix's cache.\nLocate the photo again."
            )
        self.view.show_picture(image)

    @Slot(float)
    def _on_zoomed(self, zoom: float) -> None:
        self.percent.setText(f"{100 * zoom:.0f} %" if zoom else "")


class CompareView(QWidget):
    opacity_changed = Signal(float)

    def __init__(
        self,
        session: LocateSession,
        objects: ObjectsSession,
        pictures: Pictures,
        *,
        opacity: float,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._objects = session, objects
        self._query_view: View | None = None
        self._state: ExplainState | None = None  # of whatever is shown
        self._of_tile: ExplainState | None = None
        self._of_object: ExplainState | None = None
        self.query = PicturePane("Query", pictures)
        self.tile = PicturePane("Tile", pictures)
        split = QSplitter()
        split.setChildrenCollapsible(False)
        split.addWidget(self.query)
        split.addWidget(self.tile)
        split.setSizes([600, 400])
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(split, 1)
        column.addWidget(self._map_bar(opacity))
        self._on_opacity(self.opacity.value())
        session.changed.connect(self._on_changed)
        session.refreshed.connect(self._on_refreshed)
        session.selected.connect(self._on_selected)
        session.candidate_selected.connect(self._on_candidate)
        session.explained.connect(self._on_explained)
        self.markers = MarkerLayer(self.query.view, objects)
        self.boxes = BoxLayer(self.tile.view, objects)
        self.query.view.show_layer(self.markers)
        self.tile.view.show_layer(self.boxes)
        self.clicks = self.query.add_switch("object", "Click objects (O)")
        self.clicks.toggled.connect(objects.switch)
        objects.switched.connect(self.clicks.setChecked)
        objects.selected.connect(self._on_object)
        objects.switched.connect(self._on_object)
        objects.explained.connect(self._on_object_explained)
        self._on_selected(None)
        self._on_candidate(None)
        self._on_explained(None)

    def _map_bar(self, opacity: float) -> QFrame:
        self.heat = QCheckBox("Heatmap")
        self.heat.setIcon(icon("heatmap"))
        self.heat.setChecked(True)
        self.heat.setToolTip("Show what the network looked at (H)")
        self.chooser = QComboBox()
        self.chooser.setAccessibleName("Which heatmap")
        self.chooser.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.chooser.setMinimumContentsLength(18)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setValue(round(100 * opacity))
        self.opacity.setFixedWidth(140)
        self.opacity.setAccessibleName("Heatmap opacity")
        self.opacity_text = QLabel()
        self.opacity_text.setMinimumWidth(self.fontMetrics().horizontalAdvance("100 %"))
        self.status = ElidedLabel(mode=Qt.TextElideMode.ElideRight)
        self.status.setProperty("small", True)
        bar = QFrame()
        row = QHBoxLayout(bar)
        row.setContentsMargins(GAP, GAP // 2, GAP, GAP // 2)
        row.setSpacing(GAP)
        row.addWidget(self.heat)
        row.addWidget(self.chooser)
        row.addWidget(self.status, 1)
        row.addWidget(QLabel("Opacity"))
        row.addWidget(self.opacity)
        row.addWidget(self.opacity_text)
        self.heat.toggled.connect(self._show_maps)
        self.chooser.currentIndexChanged.connect(self._show_maps)
        self.opacity.valueChanged.connect(self._on_opacity)
        return bar

    def show_view(self, view: View | None) -> None:
        """What the checkpoint's queries are: it says what a heading is the heading of."""
        self._query_view = view
        self._show_compass()

    @Slot()
    def fit(self) -> None:
        self.query.view.fit()
        self.tile.view.fit()

    @Slot()
    def show_actual_size(self) -> None:
        self.query.view.show_actual_size()
        self.tile.view.show_actual_size()

    # --- the query ---

    @Slot(object)
    def _on_selected(self, path: Path | None) -> None:
        del path
        self._show_query(self._session.current)

    @Slot(object)
    def _on_changed(self, path: Path) -> None:
        state = self._session.current
        if state is not None and state.path == path:
            self._show_query(state)

    @Slot()
    def _on_refreshed(self) -> None:
        self._show_query(self._session.current)

    def _show_query(self, state: QueryState | None) -> None:
        if state is None:
            self.markers.size = None
            self.query.title.setText("Query")
            self.query.note.setText("")
            self.query.show_path(None, "Drop a photo, or press Ctrl+O.")
            return
        self.query.title.setText(state.path.name)
        self.query.title.setToolTip(str(state.path))
        read = state.read
        self.markers.size = None if read is None else (read.width, read.height)
        self.query.note.setText("" if read is None else f"{read.width} × {read.height}")
        self.query.show_path(None if read is None else read.preview, _query_message(state))

    # --- the tile ---

    @Slot(object)
    def _on_candidate(self, candidate: Candidate | None) -> None:
        del candidate
        self._show_tile()

    @Slot()
    def _show_tile(self) -> None:
        """The candidate's, or the reference in which the selected object was found."""
        candidate, marker = self._session.candidate, self._objects.current
        reference = None if marker is None else marker.reference
        if marker is not None and reference is not None:
            self.tile.title.setText(marker.pin.title)
            self.tile.note.setText(f"{reference.size_m:.0f} m around {reference.tile}")
            self.tile.show_path(reference.picture, "Loading the imagery…")
        elif candidate is None:
            self.tile.title.setText("Tile")
            self.tile.note.setText("")
            self.tile.show_path(None, "The best tile appears here.")
        else:
            self.tile.title.setText(f"Rank {candidate.rank}")
            self.tile.note.setText(candidate.tile)
            self.tile.show_path(candidate.thumbnail, "Loading the tile…")
        self._show_compass()

    def _show_compass(self) -> None:
        candidate, state = self._session.candidate, self._session.current
        self.tile.view.show_compass(None if candidate is None else Compass("top", 0))
        if candidate is None or state is None or state.read is None:
            self.query.view.show_compass(None)
            return
        heading = candidate.heading_deg
        if state.read.kind == "panorama":
            self.query.view.show_compass(Compass("columns", heading))
        elif self._query_view == "street":
            self.query.view.show_compass(Compass("words", heading))
        else:
            self.query.view.show_compass(Compass("top", heading))
        self.query.view.setToolTip(
            f"Estimated heading {heading:.0f}° ({wind(heading)}), from the best turn"
        )

    # --- the maps ---

    @Slot(object)
    def _on_explained(self, state: ExplainState | None) -> None:
        self._of_tile = state
        self._show_explained()

    @Slot(object)
    def _on_object_explained(self, state: ExplainState | None) -> None:
        self._of_object = state
        self._show_explained()

    @Slot()
    def _on_object(self) -> None:
        self._show_tile()
        self._show_explained()

    def _show_explained(self) -> None:
        """While objects are clicked, only what was looked at for them."""
        state = self._of_object if self._objects.is_on else self._of_tile
        self._state = state
        explanation = None if state is None else state.explanation
        names = [] if explanation is None else [m.name for m in explanation.query_maps]
        if names and names != [self.chooser.itemText(i) for i in range(self.chooser.count())]:
            kept = self.chooser.currentText()
            self.chooser.blockSignals(True)
            self.chooser.clear()
            self.chooser.addItems(names)
            self.chooser.setCurrentIndex(names.index(kept) if kept in names else 0)
            self.chooser.blockSignals(False)
        self.chooser.setEnabled(bool(names))
        self.chooser.setVisible(self.chooser.count() > 0)
        if state is not None and explanation is not None:
            self.query.show_path(explanation.query_picture, "")
            self.tile.show_path(explanation.tile_picture, "")
        self.status.setText(_explain_words(state))
        self._show_maps()

    @Slot()
    def _show_maps(self) -> None:
        explanation = None if self._state is None else self._state.explanation
        on = self.heat.isChecked()
        if explanation is None or not on:
            self.query.show_map(None)
            self.tile.show_map(None)
            return
        index, name = self.chooser.currentIndex(), self.chooser.currentText()
        self.query.show_map(_chosen(explanation.query_maps, name, index))
        self.tile.show_map(_chosen(explanation.tile_maps, name, index))

    @Slot(int)
    def _on_opacity(self, percent: int) -> None:
        self.opacity_text.setText(f"{percent} %")
        self.query.view.set_opacity(percent / 100)
        self.tile.view.set_opacity(percent / 100)
        self.opacity_changed.emit(percent / 100)


def _chosen(maps: tuple[Heatmap, ...], name: str, index: int) -> Heatmap | None:
    """By name; where the two pictures' maps are named apart, by place."""
    for heatmap in maps:
        if heatmap.name == name:
            return heatmap
    return maps[index] if 0 <= index < len(maps) else None


def _query_message(state: QueryState) -> str:
    match state.step:
        case "problem" if state.problem is not None:
            return f"{state.problem.title}\n{state.problem.hint}"
        case "waiting":
            return f"Waiting ({state.note})" if state.note else "Waiting for its turn…"
        case "cancelled":
            return "Cancelled. Press R to locate it again."
        case _:
            return "Reading the photo…"


def _explain_words(state: ExplainState | None) -> str:
    if state is None:
        return ""
    if state.problem is not None:
        return f"No heatmap: {state.problem.title}"
    return "" if state.explanation is not None else "Drawing heatmaps…"
