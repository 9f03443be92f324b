"""Clicked objects in the window at large: the acts of its menus, what is said, export of all."""

from collections.abc import Callable

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtWidgets import QFileDialog, QWidget

from app.ui.library import CheckpointEntry, Library
from app.ui.notices import Notice, notice_of
from app.ui.objects_panel import FORMATS, with_suffix
from app.ui.objects_session import ObjectsSession
from app.ui.preferences import Preferences


class Clicking(QObject):
    said = Signal(object)  # Notice

    def __init__(
        self,
        objects: ObjectsSession,
        library: Library,
        preferences: Preferences,
        window: QWidget,
    ) -> None:
        super().__init__(window)
        self._objects, self._library, self._window = objects, library, window
        self._preferences = preferences
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

    @Slot(object)
    def _on_finder(self, chosen: CheckpointEntry) -> None:
        """Chosen by the user: kept for photos of its view."""
        if (card := chosen.card) is None:
            return
        self._preferences.remember_finder(card.query_view, chosen.path)
        if self._library.finder != chosen:
            hint = f"It is used once {card.query_view} photos are located."
        elif self._objects.is_on:
            return
        else:
            hint = "Press O, then click an object in a located photo."
        self.said.emit(Notice(f"{card.title} finds clicked objects", hint))

    @Slot()
    def ask_export(self) -> None:
        """Where the photos were taken, and what was clicked in them."""
        name, chosen = QFileDialog.getSaveFileName(
            self._window, "Export what was located", "skyfix.geojson", FORMATS
        )
        if name:
            self._objects.export(with_suffix(name, chosen), locations=True)
