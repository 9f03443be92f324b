"""The figures of the selected evaluations, what papers print beside them, and what to know."""

from collections.abc import Callable

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app.ui.evaluation_folders import Evaluation
from app.ui.evaluation_tables import (
    Sheet,
    as_csv,
    markdown,
    measures_sheet,
    notes_of,
    published_sheet,
    test_of,
)
from app.ui.theme import GAP, icon
from app.ui.word_table import Looks, WordTable

ROW = 24


class FiguresView(QWidget):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[Evaluation, ...] = ()
        self.figures = WordTable("Figures", ("Measure",))
        self.published = WordTable("Published rows", ("Method",))
        self.published_title = QLabel()
        self.published_title.setWordWrap(True)
        self.published_title.setTextFormat(Qt.TextFormat.PlainText)
        self.nothing = QLabel()
        self.nothing.setTextFormat(Qt.TextFormat.PlainText)
        self.nothing.setProperty("small", True)
        self.nothing.setWordWrap(True)
        self.notes = QLabel()
        self.notes.setWordWrap(True)
        self.notes.setTextFormat(Qt.TextFormat.PlainText)
        self.notes.setProperty("small", True)
        self.notes.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.notes.setAccessibleName("Notes")
        self.copied = QLabel()
        self.copied.setProperty("small", True)
        self.as_markdown = _button("Copy as Markdown", lambda: self._copy(markdown, "Markdown"))
        self.as_csv = _button("Copy as CSV", lambda: self._copy(as_csv, "CSV"))
        self._lay_out()

    def _lay_out(self) -> None:
        self.below = QWidget()
        beside = QVBoxLayout(self.below)
        beside.setContentsMargins(0, GAP // 2, 0, 0)
        beside.setSpacing(GAP // 2)
        beside.addWidget(self.published_title)
        beside.addWidget(self.published, 1)
        self.halves = QSplitter(Qt.Orientation.Vertical)
        self.halves.setChildrenCollapsible(False)
        self.halves.addWidget(self.figures)
        self.halves.addWidget(self.below)
        foot = QHBoxLayout()
        foot.addWidget(self.as_markdown)
        foot.addWidget(self.as_csv)
        foot.addWidget(self.copied)
        foot.addStretch()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, GAP, 0, 0)
        column.setSpacing(GAP)
        column.addWidget(self.halves, 1)
        column.addWidget(self.nothing)
        column.addWidget(self.notes)
        column.addLayout(foot)
        self.notes.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)

    def show_evaluations(self, shown: tuple[Evaluation, ...]) -> None:
        if shown == self._shown or not shown:
            return
        self._shown = shown
        self.copied.clear()
        ours = measures_sheet(shown)
        _fill(self.figures, ours)
        beside = published_sheet(shown)
        self.below.setVisible(beside is not None)
        self.nothing.setVisible(beside is None)
        where = test_of(shown[0].result)
        self.nothing.setText(f"Papers print nothing for {where}.")
        if beside is not None:
            high = ROW * (len(ours.rows) + 1) + 2 * self.figures.frameWidth() + GAP
            self.halves.setSizes([high, max(high, self.halves.height() - high)])
            self.published_title.setText(f"Published for {where}, best first:")
            _fill(self.published, beside)
            QTimer.singleShot(0, self, lambda: self._look_at(min(beside.own)))  # once it has a size
        self.notes.setText("\n".join(notes_of(shown[0].result)))

    def _look_at(self, row: int) -> None:
        index = self.published.cells.index(row, 0)
        self.published.scrollTo(index, WordTable.ScrollHint.PositionAtCenter)

    def _copy(self, make: Callable[[tuple[Evaluation, ...]], str], what: str) -> None:
        if self._shown:
            QGuiApplication.clipboard().setText(make(self._shown))
            self.copied.setText(f"Copied as {what}.")


def _fill(table: WordTable, sheet: Sheet) -> None:
    ours = "One of the five networks of this program"
    table.cells.show_rows(
        sheet.head,
        sheet.rows,
        Looks(
            numbers=sheet.numbers,
            bold=sheet.own,
            signs={(row, 0): icon("checkpoint", "accent") for row in sheet.marked},
            tips={(row, 0): f"{sheet.rows[row][0]}\n{ours}" for row in sheet.marked},
        ),
    )


def _button(words: str, act: Callable[[], None]) -> QPushButton:
    button = QPushButton(icon("copy"), words)
    button.clicked.connect(act)
    return button
