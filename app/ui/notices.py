"""What the user must know, in a stack of lines over the panels: what happened, what to do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from PySide6.QtCore import Qt, QTimer, Slot
from PySide6.QtGui import QGuiApplication, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.messages import Problem
from app.ui.theme import GAP, ColourRole, colour, icon

Severity = Literal["info", "good", "warning", "problem"]

MOST = 3  # older ones make room
LASTS_MS = 8000  # of what needs no answer

_LOOKS: dict[Severity, tuple[str, ColourRole]] = {
    "info": ("info", "accent"),
    "good": ("check", "good"),
    "warning": ("warning", "warning"),
    "problem": ("problem", "bad"),
}


@dataclass(frozen=True, slots=True)
class Notice:
    title: str
    hint: str = ""
    severity: Severity = "info"
    report: str = ""  # what "Copy report" puts on the clipboard
    actions: tuple[tuple[str, Callable[[], object]], ...] = field(default=())


def notice_of(problem: Problem) -> Notice:
    report = "\n".join(part for part in (problem.title, problem.hint, problem.trace) if part)
    return Notice(problem.title, problem.hint, "problem", report if problem.trace else "")


class NoticeBar(QWidget):
    """Takes no room while there is nothing to say."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)
        self._lines: list[_Line] = []
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()

    @property
    def notices(self) -> tuple[Notice, ...]:
        return tuple(line.notice for line in self._lines)

    def say(self, notice: Notice) -> None:
        """The same words twice are one line."""
        for line in self._lines:
            if (line.notice.title, line.notice.hint) == (notice.title, notice.hint):
                return
        line = _Line(notice, self.dismiss)
        self._lines.append(line)
        self._column.addWidget(line)
        self.show()
        if notice.severity in ("info", "good") and not notice.actions:
            QTimer.singleShot(LASTS_MS, line, lambda: self.dismiss(line))
        while len(self._lines) > MOST:
            self.dismiss(self._lines[0])

    def dismiss(self, line: "_Line") -> None:
        if line in self._lines:
            self._lines.remove(line)
            self._column.removeWidget(line)
            line.hide()
            line.deleteLater()
        self.setVisible(bool(self._lines))

    @Slot()
    def dismiss_all(self) -> None:
        for line in tuple(self._lines):
            self.dismiss(line)


class _Line(QFrame):
    def __init__(self, notice: Notice, dismiss: Callable[["_Line"], None]) -> None:
        super().__init__()
        self.notice = notice
        self._dismiss = dismiss
        self.setProperty("head", True)
        self.setAccessibleName(f"{notice.severity}: {notice.title}")
        picture, self._role = _LOOKS[notice.severity]
        sign = QLabel()
        sign.setPixmap(icon(picture, self._role).pixmap(20, 20))
        words = QVBoxLayout()
        words.setSpacing(1)
        words.addWidget(_text(notice.title, bold=True))
        if notice.hint:
            words.addWidget(_text(notice.hint, bold=False))
        row = QHBoxLayout(self)
        row.setContentsMargins(GAP + 4, GAP - 2, GAP, GAP - 2)
        row.setSpacing(GAP)
        row.addWidget(sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        for label, act in notice.actions:
            button = QPushButton(label)
            button.clicked.connect(lambda _=False, act=act: self._do(act))
            row.addWidget(button)
        if notice.report:
            copy = QPushButton(icon("copy"), "Copy report")
            copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(notice.report))
            row.addWidget(copy)
        close = QToolButton()
        close.setIcon(icon("close"))
        close.setAutoRaise(True)
        close.setToolTip("Dismiss")
        close.setAccessibleName(f"Dismiss: {notice.title}")
        close.clicked.connect(lambda: dismiss(self))
        row.addWidget(close)

    def _do(self, act: Callable[[], object]) -> None:
        self._dismiss(self)
        act()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.fillRect(0, 0, 4, self.height(), colour(self.palette(), self._role))


def _text(words: str, *, bold: bool) -> QLabel:
    label = QLabel(words)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setMinimumWidth(80)
    font = label.font()
    font.setBold(bold)
    label.setFont(font)
    return label
