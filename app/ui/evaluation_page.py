"""The evaluation tab: what was measured on the left; figures, curves, maps and errors beside."""

import html
from functools import cached_property
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Signal, Slot
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import Evaluate
from app.ui.curves import line_colour
from app.ui.descriptor_map import DescriptorMap
from app.ui.elided import ElidedLabel
from app.ui.evaluation_compare import CompareEvaluations
from app.ui.evaluation_curves import EvaluationCurves, ReliabilityView
from app.ui.evaluation_errors import ErrorsView
from app.ui.evaluation_form import EvaluationForm
from app.ui.evaluation_list import EvaluationList, when_text
from app.ui.evaluation_session import EvaluationSession
from app.ui.evaluation_table_view import FiguresView
from app.ui.evaluation_tables import labels, test_of
from app.ui.library import Library
from app.ui.theme import GAP, icon
from app.ui.thumbnails import Thumbnails

TABS = ("Table", "Curves", "Reliability", "Map of descriptors", "Errors", "Compare")


class EvaluationPage(QWidget):
    locate_asked = Signal(object)  # Path of a photo
    wanted = Signal()  # this page is to be shown

    def __init__(
        self,
        session: EvaluationSession,
        library: Library,
        thumbnails: Thumbnails,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._library = session, library
        self._form: EvaluationForm | None = None
        self.list = EvaluationList(session)
        self.new = QPushButton(icon("evaluate", "on_accent"), "Evaluate…")
        self.new.setProperty("primary", True)
        self.look = QToolButton()
        self.look.setIcon(icon("folder"))
        self.look.setAutoRaise(True)
        self.look.setToolTip("Open another folder of results…")
        self.look.setAccessibleName("Open another folder of results")
        self.name, self.about = ElidedLabel(), ElidedLabel()
        self.legend = QLabel()
        self._thumbnails = thumbnails
        self._lay_out()
        self._join()
        self._show()

    # --- tabs: some take a while to make, so none is made before it is looked at ---

    @cached_property
    def figures(self) -> FiguresView:
        return FiguresView()

    @cached_property
    def errors(self) -> ErrorsView:
        made = ErrorsView(self._session, self._thumbnails)
        made.open_asked.connect(self.locate_asked)
        return made

    @cached_property
    def compare(self) -> CompareEvaluations:
        made = CompareEvaluations(self._session)
        made.look_asked.connect(self._on_look_at_missed)
        return made

    @cached_property
    def curves(self) -> EvaluationCurves:
        return EvaluationCurves()

    @cached_property
    def reliability(self) -> ReliabilityView:
        return ReliabilityView()

    @cached_property
    def map(self) -> DescriptorMap:
        made = DescriptorMap(self._session, self._thumbnails)
        made.open_asked.connect(self.locate_asked)
        return made

    # --- layout ---

    def _lay_out(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self._places: dict[str, QVBoxLayout] = {}
        for name in TABS:
            place = QWidget()
            self._places[name] = QVBoxLayout(place)
            self._places[name].setContentsMargins(0, 0, 0, 0)
            self.tabs.addTab(place, name)
        font = self.name.font()
        font.setPointSizeF(font.pointSizeF() * 1.3)
        font.setBold(True)
        self.name.setFont(font)
        self.about.setProperty("small", True)
        self.legend.setWordWrap(True)
        shown = QFrame()
        shown.setProperty("panel", True)
        column = QVBoxLayout(shown)
        column.setContentsMargins(2 * GAP, GAP, 2 * GAP, GAP)
        column.setSpacing(GAP // 2)
        for widget in (self.name, self.about, self.legend):
            column.addWidget(widget)
        column.addWidget(self.tabs, 1)
        self.right = QStackedWidget()
        self.right.addWidget(self._empty())
        self.right.addWidget(shown)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self._left())
        splitter.addWidget(self.right)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([340, 940])
        whole = QVBoxLayout(self)
        whole.setContentsMargins(GAP // 2, GAP // 2, GAP // 2, GAP // 2)
        whole.addWidget(splitter)

    def _left(self) -> QWidget:
        left = QFrame()
        left.setProperty("panel", True)
        left.setMinimumWidth(260)
        column = QVBoxLayout(left)
        column.setContentsMargins(GAP, GAP, GAP, GAP)
        top = QHBoxLayout()
        title = QLabel("Evaluations")
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        top.addWidget(title)
        top.addStretch()
        top.addWidget(self.look)
        top.addWidget(self.new)
        column.addLayout(top)
        column.addWidget(self.list, 1)
        hint = QLabel("Ctrl+click selects several: their curves are laid over each other.")
        hint.setProperty("small", True)
        hint.setWordWrap(True)
        column.addWidget(hint)
        return left

    def _empty(self) -> QWidget:
        page = QFrame()
        page.setProperty("panel", True)
        column = QVBoxLayout(page)
        column.addStretch()
        self.empty_title, self.empty_words = QLabel(), QLabel()
        font = self.empty_title.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        self.empty_title.setFont(font)
        self.empty_words.setWordWrap(True)
        self.empty_words.setFixedWidth(460)
        self.empty_words.setProperty("small", True)
        begin = QPushButton(icon("evaluate", "on_accent"), "Evaluate…")
        begin.setProperty("primary", True)
        begin.clicked.connect(self.ask_evaluation)
        for widget in (self.empty_title, self.empty_words, begin):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch()
        return page

    def _join(self) -> None:
        session = self._session
        self.new.clicked.connect(self.ask_evaluation)
        self.look.clicked.connect(self._on_look)
        self.tabs.currentChanged.connect(lambda _: self._show())
        session.picked.connect(self._show)
        session.listed.connect(self._show)

    # --- showing ---

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._session.refresh()
        self._show()

    @Slot()
    def _show(self) -> None:
        """Only the tab that is seen: the others ask the engine when they are."""
        shown = self._session.selected
        self.right.setCurrentIndex(1 if shown else 0)
        if not shown:
            self._show_empty()
            return
        self._show_head()
        if not self.isVisible():
            return
        name = TABS[self.tabs.currentIndex()]
        match name:
            case "Table":
                self._take(name, self.figures)
                self.figures.show_evaluations(shown)
            case "Curves":
                self._take(name, self.curves)
                self.curves.show_evaluations(shown)
            case "Reliability":
                self._take(name, self.reliability)
                self.reliability.show_evaluation(shown[0])
            case "Map of descriptors":
                self._take(name, self.map)
                self.map.show_evaluation(shown[0])
            case "Errors":
                self._take(name, self.errors)
                self.errors.show_evaluations(shown)
            case _:
                self._take(name, self.compare)
                self.compare.show_evaluations(shown)

    def _take(self, name: str, page: QWidget) -> None:
        if not self._places[name].count():
            self._places[name].addWidget(page)

    def show_tab(self, name: str) -> None:
        self.tabs.setCurrentIndex(TABS.index(name))

    def _show_empty(self) -> None:
        if not self._session.is_read:
            title, words = "Looking for evaluations…", ""
        elif self._session.entries:
            title, words = "No evaluation is selected", "Select one in the list."
        else:
            title = "Nothing was evaluated yet"
            words = (
                "An evaluation measures a checkpoint on a data set by its published protocol, or "
                "on pairs of your own: with intervals, curves, a map of descriptors, and every "
                "query that was not found."
            )
        self.empty_title.setText(title)
        self.empty_words.setText(words)
        self.empty_words.setMinimumHeight(max(0, self.empty_words.heightForWidth(460)))

    def _show_head(self) -> None:
        shown = self._session.selected
        first = shown[0].result
        self.name.setText(first.checkpoint_title)
        self.about.setText(
            f"{test_of(first)}; {first.put}; {first.queries:,} queries, {first.gallery:,} "
            f"searched; {when_text(first.created)} UTC"
        )
        self.legend.setVisible(len(shown) > 1)
        names = labels(shown)
        self.legend.setText(
            "&nbsp;&nbsp; ".join(
                f'<span style="color:{line_colour(self.palette(), row).name()}">●</span> '
                f"{html.escape(name)}"
                for row, name in enumerate(names)
            )
        )

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and self._session.selected:
            self._show_head()

    # --- acts ---

    @Slot(object, object)
    def _on_look_at_missed(self, missed: Path, found: Path) -> None:
        """What one evaluation missed and the other got right, in the error browser."""
        self.errors.show_only(self._session.selected, missed, found)
        self.show_tab("Errors")

    @Slot()
    def ask_evaluation(self) -> None:
        self._open_form()

    @Slot(object)
    def change_request(self, request: Evaluate) -> None:
        """The form with what was asked before."""
        self._open_form().show_request(request)

    def _open_form(self) -> EvaluationForm:
        self.wanted.emit()
        if self._form is None:
            self._form = EvaluationForm(self._library, self)
            self._form.asked.connect(self._session.start)
        self._form.show()
        self._form.raise_()
        return self._form

    @Slot()
    def _on_look(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Open a folder of results"):
            self._session.open_folder(Path(folder))
