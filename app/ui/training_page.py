"""The training tab: runs on the left; the selected one's curves, log and settings beside."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QHideEvent, QShowEvent
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.engine.run_control import LIVE
from app.engine.run_store import RunRow
from app.ui.controls import tool_button
from app.ui.curves import CurvesView
from app.ui.library import Library
from app.ui.run_details import EpochsTable, LogView, NotesView, RunHead, SettingsTable
from app.ui.runs_table import RunsTable
from app.ui.theme import GAP, icon
from app.ui.training_form import TrainingForm
from app.ui.training_session import TrainingSession


class TrainingPage(QWidget):
    def __init__(
        self, session: TrainingSession, library: Library, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._library = session, library
        self._form: TrainingForm | None = None
        self.table = RunsTable(session)
        self.new = QPushButton(icon("train", "on_accent"), "New run…")
        self.new.setProperty("primary", True)
        self.look = tool_button("folder", "Look for runs in another folder…")
        self.head = RunHead()
        self._curves: CurvesView | None = None
        self._place_of_curves = QWidget()
        self.epochs, self.log = EpochsTable(), LogView()
        self.settings, self.notes = SettingsTable(), NotesView()
        self.buttons = {
            "pause": _button("waiting", "Pause"),
            "resume": _button("retry", "Go on"),
            "stop": _button("cancel", "Stop"),
            "save": _button("check", "Save now"),
            "promote": _button("checkpoint", "Promote to a checkpoint"),
            "open": _button("folder", "Open folder"),
            "delete": _button("remove", "Delete…"),
        }
        self._lay_out()
        self._join()
        self._show()

    # --- layout ---

    def _lay_out(self) -> None:
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        for name, page in (
            ("Curves", self._place_of_curves),
            ("Epochs", self.epochs),
            ("Log", self.log),
            ("Settings", self.settings),
            ("Notes", self.notes),
        ):
            self.tabs.addTab(page, name)
        acts = QHBoxLayout()
        acts.setSpacing(GAP // 2)
        for name, button in self.buttons.items():
            acts.addWidget(button)
            if name == "promote":
                acts.addStretch()
        run = QFrame()
        run.setProperty("panel", True)
        column = QVBoxLayout(run)
        column.setContentsMargins(2 * GAP, GAP, 2 * GAP, GAP)
        column.setSpacing(GAP)
        column.addWidget(self.head)
        column.addLayout(acts)
        column.addWidget(self.tabs, 1)
        self.right = QStackedWidget()
        self.right.addWidget(self._empty())
        self.right.addWidget(run)
        left = QFrame()
        left.setProperty("panel", True)
        beside = QVBoxLayout(left)
        beside.setContentsMargins(GAP, GAP, GAP, GAP)
        top = QHBoxLayout()
        title = QLabel("Runs")
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        top.addWidget(title)
        top.addStretch()
        top.addWidget(self.look)
        top.addWidget(self.new)
        beside.addLayout(top)
        beside.addWidget(self.table, 1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(left)
        splitter.addWidget(self.right)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([420, 860])
        whole = QVBoxLayout(self)
        whole.setContentsMargins(GAP // 2, GAP // 2, GAP // 2, GAP // 2)
        whole.addWidget(splitter)

    def _empty(self) -> QWidget:
        page = QFrame()
        page.setProperty("panel", True)
        column = QVBoxLayout(page)
        column.addStretch()
        title = QLabel("No run is selected")
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 1.4)
        title.setFont(font)
        words = QLabel(
            "A run fine-tunes a checkpoint, or trains a network from the start, on a data set or "
            "on pairs of your own. It goes on in the background when this window is closed, and "
            "is found here again."
        )
        words.setWordWrap(True)
        words.setFixedWidth(460)
        words.setMinimumHeight(words.heightForWidth(460))  # centred, it would get less
        words.setProperty("small", True)
        begin = QPushButton(icon("train", "on_accent"), "New run…")
        begin.setProperty("primary", True)
        begin.clicked.connect(self.ask_run)
        for widget in (title, words, begin):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch()
        return page

    def _join(self) -> None:
        session, buttons = self._session, self.buttons
        self.new.clicked.connect(self.ask_run)
        self.look.clicked.connect(self._on_find)
        self.table.picked.connect(self._on_picked)
        session.listed.connect(self._show)
        session.detailed.connect(self._show)
        for word in ("pause", "stop", "save"):
            buttons[word].clicked.connect(partial(self._ask, word))
        buttons["resume"].clicked.connect(self._on_resume)
        buttons["promote"].clicked.connect(lambda: self._with_first(session.promote))
        buttons["open"].clicked.connect(
            lambda: self._with_first(
                lambda row: QDesktopServices.openUrl(QUrl.fromLocalFile(str(row.path)))
            )
        )
        buttons["delete"].clicked.connect(self._on_delete)
        self.notes.changed.connect(self._on_notes)

    # --- showing ---

    @property
    def curves(self) -> CurvesView:
        """Made when there is something to draw: plots cost most of what a window costs."""
        if self._curves is None:
            self._curves = CurvesView()
            place = QVBoxLayout(self._place_of_curves)
            place.setContentsMargins(0, 0, 0, 0)
            place.addWidget(self._curves)
        return self._curves

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._session.watch(True)

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._session.watch(False)

    @property
    def first(self) -> RunRow | None:
        """The run that is looked at."""
        paths = self._session.selected
        return next((r for r in self._session.rows if paths and r.path == paths[0]), None)

    @Slot()
    def _show(self) -> None:
        first = self.first
        self.right.setCurrentIndex(0 if first is None else 1)
        if first is None:
            return
        details = self._session.details
        ordered = tuple(
            detail
            for path in self._session.selected
            for detail in details
            if detail.row.path == path
        )
        self.curves.show_runs(ordered)
        names = tuple((d.row.name, self.curves.colour_of(n)) for n, d in enumerate(ordered))
        self.head.show_run(first, names)
        self.settings.show_runs(tuple(d.row for d in ordered) or (first,))
        self.notes.show_run(first)
        if ordered and ordered[0].row.path == first.path:
            self.epochs.show_epochs(ordered[0].epochs)
            self.log.show_lines(ordered[0].log)
        self._enable(first)

    def _enable(self, row: RunRow) -> None:
        status, b = row.status, self.buttons
        live = status.state in LIVE
        b["pause"].setEnabled(status.state == "running")
        b["resume"].setEnabled(status.state == "paused" or (not live and row.run is not None))
        b["resume"].setText("Go on" if status.resumable or live else "Start again")
        b["stop"].setEnabled(live)
        b["save"].setEnabled(status.state == "running")  # a pause has saved it
        b["promote"].setEnabled(status.checkpoint)
        b["delete"].setEnabled(not live)
        b["resume"].setVisible(status.state not in ("running", "done"))
        b["pause"].setVisible(status.state == "running")

    @Slot(object)
    def _on_picked(self, rows: tuple[RunRow, ...]) -> None:
        if rows:
            kept = [p for p in self._session.selected if p in {row.path for row in rows}]
            new = [row.path for row in rows if row.path not in kept]
            self._session.select((*kept, *new))

    # --- acts ---

    @Slot()
    def ask_run(self) -> None:
        if self._form is None:
            self._form = TrainingForm(self._session, self._library, self)
            self._form.asked.connect(self._session.start)
        self._form.show()
        self._form.raise_()

    def ask_adapting(self) -> None:
        """A run that fine-tunes the checkpoint in use on the imagery of the gallery in use."""
        self.ask_run()
        assert self._form is not None
        gallery, checkpoint = self._library.gallery, self._library.checkpoint
        imagery = tile_size_m = None
        if gallery is not None and gallery.manifest is not None:
            tile_size_m = gallery.manifest.tile_size_m
            if gallery.manifest.source_kind == "raster":
                imagery = gallery.manifest.source_in(gallery.path)
        self._form.show_adapting(
            imagery=imagery,
            checkpoint=None if checkpoint is None else checkpoint.path,
            tile_size_m=tile_size_m,
        )

    def _with_first(self, act: Callable[[RunRow], object]) -> None:
        if (row := self.first) is not None:
            act(row)

    def _ask(self, word: str) -> None:
        if (row := self.first) is None:
            return
        if word == "pause":
            self._session.tell_run(row, "pause")
        elif word == "stop":
            self._session.tell_run(row, "stop")
        else:
            self._session.tell_run(row, "save")

    @Slot()
    def _on_resume(self) -> None:
        row = self.first
        if row is None:
            return
        if row.status.state == "paused":
            self._session.tell_run(row, "resume")
        else:
            self._session.go_on(row)

    @Slot()
    def _on_delete(self) -> None:
        rows = tuple(r for r in self.table.chosen if r.status.state not in LIVE)
        if not rows:
            return
        names = rows[0].name if len(rows) == 1 else f"{len(rows)} runs"
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Warning)
        box.setText(f"Delete {names}?")
        box.setInformativeText(
            "Its curves, its log and its checkpoints are deleted from the disk. Checkpoints that "
            "were promoted stay."
        )
        delete = box.addButton("Delete", QMessageBox.ButtonRole.DestructiveRole)
        cancel = box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(cancel)
        box.exec()
        if box.clickedButton() is delete:
            self._session.delete(rows)

    @Slot()
    def _on_find(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Look for runs in"):
            self._session.look_for_runs(Path(folder))

    @Slot(object, str)
    def _on_notes(self, tags: tuple[str, ...], notes: str) -> None:
        if (row := self.first) is not None:
            self._session.annotate(row, tags=tags, notes=notes)


def _button(picture: str, words: str) -> QPushButton:
    return QPushButton(icon(picture), words)
