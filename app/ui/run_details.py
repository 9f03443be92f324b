"""What is shown of one run beside its curves: head, epochs, log, settings, notes."""

import html
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from PySide6.QtCore import Qt, Signal, Slot
from PySide6.QtGui import QColor, QFontDatabase
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.engine.run_control import LIVE, RunStatus
from app.engine.run_store import RunRow, compare
from app.messages import EpochDone
from app.train_request import Train
from app.ui.elided import ElidedLabel
from app.ui.theme import GAP
from app.ui.training_fields import words_of
from app.ui.training_words import duration
from app.ui.word_table import WordTable


class RunHead(QWidget):
    """Name, where it stands, what went wrong, and whose curve is which."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.name = ElidedLabel()
        font = self.name.font()
        font.setPointSizeF(font.pointSizeF() * 1.3)
        font.setBold(True)
        self.name.setFont(font)
        self.state = QLabel()
        self.state.setTextFormat(Qt.TextFormat.PlainText)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setMaximumHeight(6)
        self.bar.setAccessibleName("Progress of the run")
        self.about = ElidedLabel()
        self.about.setProperty("small", True)
        self.problem = QLabel()
        self.problem.setWordWrap(True)
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.problem.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        top = QHBoxLayout()
        top.addWidget(self.name, 1)
        top.addWidget(self.state)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(GAP // 2)
        column.addLayout(top)
        column.addWidget(self.about)
        column.addWidget(self.bar)
        column.addWidget(self.problem)
        column.addWidget(self.legend)

    def show_run(self, row: RunRow, names: tuple[tuple[str, QColor], ...]) -> None:
        status = row.status
        self.name.setText(row.name)
        self.state.setText(_stands(status))
        run = row.run
        self.about.setText(
            "its settings are lost"
            if run is None
            else f"{run.network} {run.preset or '(the parent’s configuration)'}"
            f" on {(run.imagery or run.data).name}"
            + (f", from {run.init.name}" if run.init else "")
            + (f", recipe {run.recipe}" if run.recipe else "")
            + (f"; {status.device}" if status.device else "")
        )
        self.bar.setRange(0, max(status.steps, 1))
        self.bar.setValue(status.steps if status.state == "done" else status.step)
        told = status.problem + (f"\n{status.hint}" if status.hint else "")
        self.problem.setText(told)
        self.problem.setVisible(bool(told))
        self.legend.setVisible(len(names) > 1)
        self.legend.setText(
            "  ".join(
                f'<span style="color:{ink.name()}">●</span> {html.escape(name)}'
                for name, ink in names
            )
        )


def _stands(status: RunStatus) -> str:
    words = [str(status.state)]
    if status.state in LIVE and status.epochs:
        words.append(f"epoch {min(status.epoch + 1, status.epochs)} of {status.epochs}")
        if status.note != status.state and not status.note.startswith("epoch"):
            words += [status.note] if status.note else []
        if status.state == "running" and status.seconds_left is not None:
            words.append(f"{duration(status.seconds_left)} left")
    return ", ".join(words)


class EpochsTable(WordTable):
    HEAD = ("Epoch", "Loss", "Rate", "Pictures/s", "Memory", "Took")

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Epochs", self.HEAD, parent)

    def show_epochs(self, epochs: tuple[EpochDone, ...]) -> None:
        """Newest first; a column for each figure that was measured."""
        names = tuple(dict.fromkeys(name for e in epochs for name in _figures(e)))
        head = (*self.HEAD[:2], *map(words_of_figure, names), *self.HEAD[2:])
        rows = tuple(
            (
                str(e.epoch + 1),
                f"{e.loss:.4f}",
                *(_figure(name, _figures(e).get(name)) for name in names),
                f"{e.lr:.2e}",
                f"{e.images_per_s:.0f}",
                f"{e.memory_mb:,.0f} MB" if e.memory_mb else "–",
                duration(e.seconds),
            )
            for e in reversed(epochs)
        )
        self.cells.show_rows(head, rows)


class LogView(QPlainTextEdit):
    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setAccessibleName("Log of the run")
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._lines: tuple[str, ...] = ()

    def show_lines(self, lines: tuple[str, ...]) -> None:
        """Stays at the end if it was there."""
        if lines == self._lines:
            return
        bar = self.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 4
        place = bar.value()
        self._lines = lines
        self.setPlainText("\n".join(lines))
        bar.setValue(bar.maximum() if at_end else place)


class SettingsTable(WordTable):
    """All settings of one run, or what several do not share."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Settings", ("Setting", "Value"), parent)

    def show_runs(self, rows: tuple[RunRow, ...]) -> None:
        runs = [row.run for row in rows if row.run is not None]
        if len(runs) > 1:
            head = ("Setting that differs", *(row.name for row in rows if row.run is not None))
            found = tuple(
                (words_of(d.field), *(_words(value) for value in d.values)) for d in compare(runs)
            )
            self.cells.show_rows(head, found or (("none", *("" for _ in runs)),))
        elif runs:
            self.cells.show_rows(("Setting", "Value"), _all_settings(runs[0]))
        else:
            self.cells.show_rows(("Setting", "Value"), (("config.json", "lost or damaged"),))


class NotesView(QWidget):
    changed = Signal(object, str)  # tuple of tags, notes

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path: object = None
        self.tags = QLineEdit()
        self.tags.setPlaceholderText("Tags, with commas between them")
        self.tags.setAccessibleName("Tags")
        self.notes = QPlainTextEdit()
        self.notes.setPlaceholderText("What this run was for, what came out")
        self.notes.setAccessibleName("Notes")
        self.save = QPushButton("Keep tags and notes")
        self.save.setEnabled(False)
        column = QVBoxLayout(self)
        column.addWidget(self.tags)
        column.addWidget(self.notes, 1)
        column.addWidget(self.save, 0, Qt.AlignmentFlag.AlignRight)
        self.tags.textEdited.connect(lambda: self.save.setEnabled(True))
        self.notes.textChanged.connect(lambda: self.save.setEnabled(True))
        self.save.clicked.connect(self._on_save)

    def show_run(self, row: RunRow) -> None:
        """What the user is typing is not overwritten by what was read from the disk."""
        if row.path == self._path and self.save.isEnabled():
            return
        if row.path == self._path and self.notes.toPlainText() == row.notes:
            return
        self._path = row.path
        self.tags.setText(", ".join(row.tags))
        self.notes.setPlainText(row.notes)
        self.save.setEnabled(False)

    @Slot()
    def _on_save(self) -> None:
        tags = tuple(part.strip() for part in self.tags.text().split(",") if part.strip())
        self.changed.emit(tags, self.notes.toPlainText())
        self.save.setEnabled(False)


def _figures(epoch: EpochDone) -> Mapping[str, float]:
    if epoch.metrics:
        return epoch.metrics
    found = {"R@1": epoch.recall_at_1, "median_m": epoch.median_m}
    return {name: value for name, value in found.items() if value is not None}


def words_of_figure(name: str) -> str:
    """Its unit stands in the cells: "median_m" is the median."""
    return words_of(name.removesuffix("_m")) if name.endswith("_m") else name


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} m" if name.endswith("_m") else f"{value:.1%}"


def _all_settings(run: Train) -> tuple[tuple[str, ...], ...]:
    return tuple((words_of(name), _words(value)) for name, value in asdict(run).items())


def _words(value: Any) -> str:
    if value is None or value == "" or value == () or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
