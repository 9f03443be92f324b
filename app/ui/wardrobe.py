"""Light or dark: as the user chose, or as the system is now."""

from dataclasses import replace

from PySide6.QtCore import QObject, Signal, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication

from app.settings import Theme
from app.ui.preferences import Preferences
from app.ui.theme import apply_theme, is_dark


class Wardrobe(QObject):
    dressed = Signal(bool)  # dark

    def __init__(self, preferences: Preferences, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._preferences = preferences
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._on_system_changed)

    def switch(self) -> None:
        self._wear("light" if is_dark(QGuiApplication.palette()) else "dark")

    def follow_system(self) -> None:
        self._wear("system")

    def _wear(self, theme: Theme) -> None:
        self._preferences.change(replace(self._preferences.settings, theme=theme))
        self._dress()

    @Slot()
    def _on_system_changed(self) -> None:
        if self._preferences.settings.theme == "system":
            self._dress()

    def _dress(self) -> None:
        app = QApplication.instance()
        if isinstance(app, QApplication):
            self.dressed.emit(apply_theme(app, self._preferences.settings.theme))
