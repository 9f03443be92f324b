"""What stands in the window before the first photo: ways to begin."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPalette
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.ui.demo_cases import DemoCase
from app.ui.elided import ElidedLabel
from app.ui.theme import GAP, app_icon, icon

SHOWN_RECENT = 5


class Card(QFrame):
    """A whole card that can be pressed, by mouse or keyboard."""

    pressed = Signal()

    def __init__(self, picture: str, title: str, words: str) -> None:
        super().__init__()
        self.setProperty("card", True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(f"{title}. {words}")
        self._sign = QLabel()
        self._sign.setPixmap(icon(picture, "accent").pixmap(36, 36))
        name = QLabel(title)
        font = name.font()
        font.setBold(True)
        name.setFont(font)
        self.words = QLabel(words)
        self.words.setWordWrap(True)
        self.words.setTextFormat(Qt.TextFormat.PlainText)
        self.words.setProperty("small", True)
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addStretch(1)
        column.addWidget(name)
        column.addWidget(self.words)
        column.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(2 * GAP, 2 * GAP, 2 * GAP, 2 * GAP)
        row.setSpacing(2 * GAP)
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addLayout(column, 1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.pressed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.pressed.emit()
        else:
            super().keyPressEvent(event)


class StartPage(QScrollArea):
    open_photos = Signal()
    open_folder = Signal()
    build_gallery = Signal()
    demo_asked = Signal(object)  # DemoCase
    photo_asked = Signal(object)  # Path
    gallery_asked = Signal(object)  # Path

    def __init__(self, cases: tuple[DemoCase, ...], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName("Start")
        body = QWidget()
        body.setMaximumWidth(860)
        self._column = QVBoxLayout(body)
        self._column.setContentsMargins(3 * GAP, 4 * GAP, 3 * GAP, 3 * GAP)
        self._column.setSpacing(2 * GAP)
        self._column.addLayout(self._title())
        self._column.addLayout(self._ways())
        self._column.addWidget(_heading("See it work"))
        self._column.addLayout(self._cases(cases))
        recent = QHBoxLayout()
        recent.setSpacing(3 * GAP)
        self._photos = _RecentList("Recent photos", "Photos that you locate are listed here.")
        self._galleries = _RecentList("Galleries", "Galleries that you build are listed here.")
        self._photos.picked.connect(self.photo_asked)
        self._galleries.picked.connect(self.gallery_asked)
        recent.addWidget(self._photos, 1)
        recent.addWidget(self._galleries, 1)
        self._column.addLayout(recent)
        self._column.addStretch(1)
        outer = QWidget()
        row = QHBoxLayout(outer)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        row.addWidget(body, 100)
        row.addStretch(1)
        self.setWidget(outer)

    def show_recent(
        self, photos: tuple[Path, ...], galleries: tuple[tuple[str, Path], ...]
    ) -> None:
        self._photos.show_items(tuple((path.name, path) for path in photos))
        self._galleries.show_items(galleries)

    def _title(self) -> QHBoxLayout:
        sign = QLabel()
        sign.setPixmap(app_icon().pixmap(56, 56))
        name = QLabel("Skyfix")
        font = name.font()
        font.setPointSizeF(font.pointSizeF() * 2)
        font.setBold(True)
        name.setFont(font)
        line = QLabel(
            "Finds where a street or drone photo was taken, on your own satellite imagery. "
            "Nothing leaves this computer."
        )
        line.setWordWrap(True)
        words = QVBoxLayout()
        words.setSpacing(2)
        words.addWidget(name)
        words.addWidget(line)
        row = QHBoxLayout()
        row.setSpacing(2 * GAP)
        row.addWidget(sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        return row

    def _ways(self) -> QHBoxLayout:
        photos = QPushButton("Open photos…")
        photos.setProperty("primary", True)
        photos.setDefault(True)
        photos.clicked.connect(self.open_photos)
        folder = QPushButton("Open folder…")
        folder.clicked.connect(self.open_folder)
        build = QPushButton("Build a gallery…")
        build.clicked.connect(self.build_gallery)
        hint = QLabel("or drop files and folders anywhere, or paste a picture")
        hint.setProperty("small", True)
        row = QHBoxLayout()
        row.setSpacing(GAP)
        for button in (photos, folder, build):
            button.setMinimumSize(120, 36)
            row.addWidget(button)
        row.addSpacing(GAP)
        row.addWidget(hint, 1)
        return row

    def _cases(self, cases: tuple[DemoCase, ...]) -> QGridLayout:
        grid = QGridLayout()
        grid.setSpacing(2 * GAP)
        for column, case in enumerate(cases):
            missing = case.missing
            card = Card(case.kind, f"Demo: {case.title}", missing or case.words)
            card.setEnabled(not missing)
            card.pressed.connect(self._ask_demo(case))
            grid.addWidget(card, 0, column)
            grid.setColumnStretch(column, 1)
        return grid

    def _ask_demo(self, case: DemoCase) -> Callable[[], None]:
        return lambda: self.demo_asked.emit(case)


class _RecentList(QWidget):
    picked = Signal(object)  # Path

    def __init__(self, title: str, empty: str) -> None:
        super().__init__()
        self._empty = empty
        self._shown: tuple[tuple[str, Path], ...] | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(2)
        self._column.addWidget(_heading(title))
        self._rows = QVBoxLayout()
        self._rows.setSpacing(0)
        self._column.addLayout(self._rows)
        self._column.addStretch(1)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.show_items(())

    def show_items(self, items: tuple[tuple[str, Path], ...]) -> None:
        items = items[:SHOWN_RECENT]
        if items == self._shown:
            return
        self._shown = items
        while (item := self._rows.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()  # at once; it is deleted when the loop comes round
                widget.deleteLater()
        if not items:
            empty = QLabel(self._empty)
            empty.setProperty("small", True)
            self._rows.addWidget(empty)
        for name, path in items:
            row = _RecentRow(name, path)
            row.pressed.connect(self._pick(path))
            self._rows.addWidget(row)

    def _pick(self, path: Path) -> Callable[[], None]:
        return lambda: self.picked.emit(path)


class _RecentRow(QFrame):
    pressed = Signal()

    def __init__(self, name: str, path: Path) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(f"{name}, in {path.parent}")
        self._name = ElidedLabel(name)
        self._name.setForegroundRole(QPalette.ColorRole.Link)
        where = ElidedLabel(str(path.parent))
        where.setProperty("small", True)
        for label in (self._name, where):
            label.setToolTip(str(path))
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 3, 0, 3)
        row.addWidget(self._name, 1)
        row.addWidget(where, 1)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self.pressed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.pressed.emit()
        else:
            super().keyPressEvent(event)


def _heading(words: str) -> QLabel:
    label = QLabel(words)
    font = label.font()
    font.setBold(True)
    font.setPointSizeF(font.pointSizeF() * 1.1)
    label.setFont(font)
    label.setContentsMargins(0, GAP, 0, 2)
    return label
