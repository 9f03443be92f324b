"""Where the window and its panels stood, from one start to the next: a small file of its own."""

from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QMainWindow

from app.ui.coordinates import FORMATS, Format
from app.ui.workbench import Workbench

SPLITTERS = 3


class LayoutMemory:
    """Without a file it remembers nothing, as tests want it."""

    def __init__(self, file: QSettings | None) -> None:
        self._file = file

    @property
    def style(self) -> Format:
        """How positions were written last."""
        kept = None if self._file is None else self._file.value("coordinates")
        return next((key for key, _ in FORMATS if key == kept), "DD")

    def restore(self, window: QMainWindow, bench: Workbench) -> None:
        """What does not fit, such as the state of another version, changes nothing."""
        if self._file is None:
            return
        if (geometry := self._file.value("geometry")) is not None:
            window.restoreGeometry(geometry)
        states = [self._file.value(f"splitter{i}") for i in range(SPLITTERS)]
        bench.restore_layout(tuple(state for state in states if state is not None))

    def keep(self, window: QMainWindow, bench: Workbench) -> None:
        if self._file is None:
            return
        self._file.setValue("geometry", window.saveGeometry())
        for i, state in enumerate(bench.layout_state()):
            self._file.setValue(f"splitter{i}", state)
        self._file.setValue("coordinates", bench.answer.style_of_positions)
