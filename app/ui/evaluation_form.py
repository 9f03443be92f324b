"""Asks what is to be measured on what. The measuring itself goes on in the background."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import Evaluate
from app.ui.library import CheckpointEntry, Library
from app.ui.theme import GAP, icon

RECOGNISE = "Recognise by its files"
# Names that the engine's catalogue of data sets knows; more words may follow, as in vigor-cross.
DATA_SETS = (
    "pairs", "objects", "vigor-same", "vigor-cross", "cvusa", "cvact", "cvogl-drone",
    "cvogl-street", "g2d", "denseuav", "university-drone", "university-street", "sues", "folders",
    "table",
)  # fmt: skip


class EvaluationForm(QDialog):
    """Not modal: evaluations can be looked at while it is open."""

    asked = Signal(object)  # Evaluate

    def __init__(self, library: Library, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._library = library
        self.setWindowTitle("Evaluate a checkpoint")
        self.setMinimumWidth(600)
        self.checkpoint = QComboBox()
        self.data, self.output, self.tests = QLineEdit(), QLineEdit(), QLineEdit()
        self.data.setPlaceholderText("A data set's folder, or a folder of your own pairs")
        self.output.setPlaceholderText("Among your evaluations")
        self.tests.setPlaceholderText("All that fit the checkpoint; else names with ; between them")
        self.name = QComboBox()
        self.name.setEditable(True)
        self.name.addItems([RECOGNISE, *DATA_SETS])
        self.headings = QComboBox()
        self.headings.addItem("Known: each query is turned to north first", "known")
        self.headings.addItem("Unknown: each query is tried at several turns", "unknown")
        self.turns = QSpinBox()
        self.turns.setRange(0, 360)
        self.turns.setSpecialValueText("as many as the checkpoint says")
        self.turns.setSuffix(" turns")
        self.resamples = QSpinBox()
        self.resamples.setRange(100, 100_000)
        self.resamples.setSingleStep(1000)
        self.resamples.setGroupSeparatorShown(True)
        self.resamples.setValue(1000)
        self.about = QLabel()
        self.problem = QLabel()
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.begin = QPushButton(icon("evaluate", "on_accent"), "Evaluate")
        self.begin.setProperty("primary", True)
        self.begin.setDefault(True)
        self.buttons.addButton(self.begin, QDialogButtonBox.ButtonRole.AcceptRole)
        self._lay_out()
        self._join()
        self._show_checkpoints()
        self._check()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setHorizontalSpacing(2 * GAP)
        form.setVerticalSpacing(GAP)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("&Checkpoint", self.checkpoint)
        form.addRow("", self.about)
        browse = _button("folder", "Choose the data set's folder…", self._on_choose_data)
        table = _button("browse", "Choose a table of pairs (CSV)…", self._on_choose_table)
        form.addRow("&Data", _row(self.data, browse, table))
        form.addRow("Data &set", self.name)
        form.addRow("&Tests", self.tests)
        form.addRow("&Headings", self.headings)
        form.addRow("T&urns", self.turns)
        target = _button("folder", "Choose where results go…", self._on_choose_output)
        form.addRow("Results &in", _row(self.output, target))
        form.addRow("&Bootstrap draws", self.resamples)
        for words, widget in (
            ("Checkpoint to be measured", self.checkpoint),
            ("Folder of the data set", self.data),
            ("Name of the data set", self.name),
            ("Tests", self.tests),
            ("Headings of the queries", self.headings),
            ("Turns of a query of unknown heading", self.turns),
            ("Folder for the results", self.output),
            ("Draws of the bootstrap", self.resamples),
        ):
            widget.setAccessibleName(words)
        note = QLabel(
            "Every picture is described first, then figures are computed. It goes on in the "
            "background and can be cancelled; evaluating the same again goes on where it stopped."
        )
        for label in (note, self.about, self.problem):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        note.setProperty("small", True)
        self.about.setProperty("small", True)
        column = QVBoxLayout(self)
        column.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        column.setSpacing(GAP + 4)
        column.addLayout(form)
        column.addWidget(note)
        column.addWidget(self.problem)
        column.addWidget(self.buttons)

    def _join(self) -> None:
        self._library.changed.connect(self._show_checkpoints)
        self.checkpoint.currentIndexChanged.connect(self._on_checkpoint)
        self.data.textChanged.connect(self._check)
        self.headings.currentIndexChanged.connect(self._check)
        self.begin.clicked.connect(self._on_begin)
        self.buttons.rejected.connect(self.reject)

    # --- what is chosen ---

    @property
    def chosen(self) -> CheckpointEntry | None:
        path = self.checkpoint.currentData()
        return next((e for e in self._library.checkpoints if e.path == path), None)

    def request(self) -> Evaluate | None:
        """None while something is missing."""
        entry, data = self.chosen, self.data.text().strip()
        if entry is None or not data:
            return None
        output, name = self.output.text().strip(), self.name.currentText().strip()
        headings: Literal["known", "unknown"] = self.headings.currentData()
        return Evaluate(
            checkpoint=entry.path,
            data=Path(data).expanduser(),
            output=Path(output).expanduser() if output else None,
            name="" if name == RECOGNISE else name,
            tests=tuple(part.strip() for part in self.tests.text().split(";") if part.strip()),
            headings=headings,
            turns=(self.turns.value() or None) if headings == "unknown" else None,
            resamples=self.resamples.value(),
        )

    def show_request(self, request: Evaluate) -> None:
        """Fill in what was asked before, to be changed."""
        self.choose(request.checkpoint)
        self.data.setText(str(request.data))
        self.name.setCurrentText(request.name or RECOGNISE)
        self.tests.setText("; ".join(request.tests))
        self.headings.setCurrentIndex(self.headings.findData(request.headings))
        self.turns.setValue(request.turns or 0)
        self.output.setText("" if request.output is None else str(request.output))
        self.resamples.setValue(request.resamples)

    def choose(self, checkpoint: Path) -> None:
        """One that is not listed changes nothing."""
        paths = [self.checkpoint.itemData(i) for i in range(self.checkpoint.count())]
        if checkpoint in paths:
            self.checkpoint.setCurrentIndex(paths.index(checkpoint))

    @Slot()
    def _show_checkpoints(self) -> None:
        current = self.checkpoint.currentData()
        if current is None and self._library.checkpoint is not None:
            current = self._library.checkpoint.path
        usable = [e for e in self._library.checkpoints if e.card is not None]
        listed = [self.checkpoint.itemData(i) for i in range(self.checkpoint.count())]
        if listed == [e.path for e in usable]:
            return
        self.checkpoint.clear()
        for entry in usable:
            if entry.card is not None:
                self.checkpoint.addItem(entry.card.title, entry.path)
                tip = int(Qt.ItemDataRole.ToolTipRole)
                self.checkpoint.setItemData(self.checkpoint.count() - 1, str(entry.path), tip)
        paths = [e.path for e in usable]
        self.checkpoint.setCurrentIndex(paths.index(current) if current in paths else 0)

    @Slot()
    def _on_checkpoint(self) -> None:
        entry = self.chosen
        card = None if entry is None else entry.card
        if card is None:
            self.about.clear()
        elif card.task == "object":
            self.about.setText(f"Finds clicked objects of {card.query_view} photos: data of clicks")
        else:
            self.about.setText(f"Locates {card.query_view} photos: data of pairs")
        self._check()

    @Slot()
    def _check(self) -> None:
        missing = [
            words
            for words, there in (
                ("a checkpoint", self.chosen is not None),
                ("a data set's folder", bool(self.data.text().strip())),
            )
            if not there
        ]
        self.turns.setEnabled(self.headings.currentData() == "unknown")
        self.begin.setEnabled(not missing)
        self.problem.setText(f"Still needed: {', '.join(missing)}." if missing else "")
        self.problem.setVisible(bool(missing))

    # --- acts ---

    @Slot()
    def _on_choose_data(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Choose a data set", self.data.text()):
            self.data.setText(path)

    @Slot()
    def _on_choose_table(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Choose a table of pairs", self.data.text(), "Tables (*.csv);;All files (*)"
        )
        if path:
            self.data.setText(path)

    @Slot()
    def _on_choose_output(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Choose where results go"):
            self.output.setText(path)

    @Slot()
    def _on_begin(self) -> None:
        if (request := self.request()) is not None:
            self.asked.emit(request)
            self.accept()


def _button(picture: str, words: str, act: Callable[[], None]) -> QToolButton:
    button = QToolButton()
    button.setIcon(icon(picture))
    button.setToolTip(words)
    button.setAccessibleName(words)
    button.clicked.connect(act)
    return button


def _row(field: QLineEdit, *buttons: QToolButton) -> QWidget:
    row = QWidget()
    row.setFocusProxy(field)
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(4)
    layout.addWidget(field, 1)
    for button in buttons:
        layout.addWidget(button)
    return row
