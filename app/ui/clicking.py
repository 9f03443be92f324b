"""Clicked objects in the window at large: the acts of its menus, what is said, export of all."""

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.ui.library import Library
from app.ui.notices import Notice, notice_of
from app.ui.objects_panel import FORMATS, with_suffix
from app.ui.objects_session import ObjectsSession


class Clicking(QObject):
    said = Signal(object)  # Notice

    def __init__(self, objects: ObjectsSession, library: Library, window: QWidget) -> None:
        super().__init__(window)
        self._objects, self._library, self._window = objects, library, window
        library.finder_chosen.connect(self._on_finder)
        objects.failed.connect(lambda problem: self.said.emit(notice_of(problem)))
        objects.noted.connect(lambda words: self.said.emit(Notice(words)))

    def acts(self) -> dict[str, Callable[[], object]]:
        objects = self._objects
        return {
            "objects": lambda: objects.switch(not objects.is_on),
            "next_object": lambda: objects.step(1),
            "previous_object": lambda: objects.step(-1),
            "undo": objects.undo,
            "redo": objects.redo,
            "export_all": self.ask_export,
        }

    @Slot()
    def _on_finder(self) -> None:
        finder = self._library.finder
        if finder is not None and finder.card is not None and not self._objects.is_on:
            hint = "Press O, then click an object in a located photo."
            self.said.emit(Notice(f"{finder.card.title} finds clicked objects", hint))

    @Slot()
    def ask_export(self) -> None:
        """Where the photos were taken, and what was clicked in them."""
        name, chosen = QFileDialog.getSaveFileName(
            self._window, "Export what was located", "skyfix.geojson", FORMATS
        )
        if name:
            self._objects.export(with_suffix(name, chosen), locations=True)
