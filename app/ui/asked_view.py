"""Takes the place of an answer while there is none: under way, failed, stopped, or empty."""

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from app.ui.evaluation_session import Asked
from app.ui.theme import GAP, icon

WIDTH = 460


class AskedView(QWidget):
    again = Signal()

    def __init__(self, working: str, parent: QWidget | None = None) -> None:
        """``working`` says what is under way."""
        super().__init__(parent)
        self._working = working
        self.title, self.hint = _words(), _words()
        self.hint.setProperty("small", True)
        font = self.title.font()
        font.setPointSizeF(font.pointSizeF() * 1.2)
        self.title.setFont(font)
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setFixedSize(200, 6)
        self.bar.setAccessibleName(working)
        self.button = QPushButton(icon("retry"), "Try again")
        self.button.clicked.connect(self.again)
        column = QVBoxLayout(self)
        column.setSpacing(GAP)
        column.addStretch()
        for widget in (self.title, self.hint, self.bar, self.button):
            column.addWidget(widget, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch()
        self.say(working)

    def say(self, title: str, hint: str = "") -> None:
        self._show(title, hint)

    def show_asked(self, asked: Asked) -> None:
        """Of a question without an answer."""
        if asked.problem is not None:
            self._show(asked.problem.title, asked.problem.hint, again="Try again")
        elif asked.cancelled:
            self._show("Cancelled", "", again="Start again")
        else:
            waits = "It begins when the engine has time for it."
            note = asked.note if asked.note not in ("", "starting") else ""
            self._show(self._working, note or ("" if asked.note else waits), is_busy=True)

    def _show(self, title: str, hint: str, *, again: str = "", is_busy: bool = False) -> None:
        self.title.setText(title)
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))
        for label in (self.title, self.hint):
            label.setMinimumHeight(
                max(0, label.heightForWidth(WIDTH))
            )  # centred: it would get less
        self.bar.setVisible(is_busy)
        self.button.setText(again)
        self.button.setVisible(bool(again))


def _words() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setFixedWidth(WIDTH)
    label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
    return label
