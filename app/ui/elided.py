"""Labels whose text is shortened when there is no room: names keep both ends."""

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QTextLayout
from PySide6.QtWidgets import QLabel, QSizePolicy, QStyle, QStyleOption, QWidget


class _Drawn(QLabel):
    """A label that draws its text itself."""

    def _limit(self) -> None:
        """Take the room that the present font asks for; a plain one needs no more than Qt's."""

    def _painter(self) -> QPainter:
        """Over the style's background, with the text's colour."""
        painter = QPainter(self)
        option = QStyleOption()
        option.initFrom(self)
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_Widget, option, painter, self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        return painter

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        match event.type():
            case QEvent.Type.PaletteChange:
                self.update()
            case QEvent.Type.FontChange:
                self._limit()
            case _:
                pass


class ElidedLabel(_Drawn):
    """Plain text, never markup. The whole of it is the tooltip and the accessible name."""

    def __init__(
        self,
        text: str = "",
        parent: QWidget | None = None,
        *,
        mode: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle,
        as_wide_as_text: bool = False,
    ) -> None:
        """``as_wide_as_text``: room that the text does not need is left to others."""
        super().__init__(parent)
        self._mode, self._as_wide_as_text = mode, as_wide_as_text
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.setText(text)

    def setText(self, text: str) -> None:
        super().setText(text)
        self._limit()
        self.setAccessibleName(text)
        self.setToolTip(text)

    def _limit(self) -> None:
        if self._as_wide_as_text:
            self.setMaximumWidth(self.sizeHint().width())

    def minimumSizeHint(self) -> QSize:
        return QSize(self.fontMetrics().averageCharWidth() * 4, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = self._painter()
        room = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), self._mode, room.width())
        painter.drawText(room, int(self.alignment()), text)


class ElidedLines(_Drawn):
    """Plain text on some lines at most; what does not fit on the last one ends in an ellipsis."""

    def __init__(self, lines: int, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lines = lines
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._limit()

    def shown(self) -> tuple[str, ...]:
        """The lines as they are drawn at the present width."""
        width = self.contentsRect().width()
        text, shown = self.text(), list[str]()
        layout = QTextLayout(text, self.font())
        layout.beginLayout()
        while (line := layout.createLine()).isValid():
            line.setLineWidth(width)
            start = line.textStart()
            if len(shown) == self._lines - 1:
                rest = text[start:]
                shown.append(
                    self.fontMetrics().elidedText(rest, Qt.TextElideMode.ElideRight, width)
                )
                break
            shown.append(text[start : start + line.textLength()].rstrip())
        layout.endLayout()
        return tuple(shown)

    def _limit(self) -> None:
        self.setFixedHeight(self._lines * self.fontMetrics().lineSpacing())

    def paintEvent(self, event: QPaintEvent) -> None:
        del event
        painter = self._painter()
        room, metrics = self.contentsRect(), self.fontMetrics()
        for number, line in enumerate(self.shown()):
            baseline = room.top() + number * metrics.lineSpacing() + metrics.ascent()
            painter.drawText(room.left(), baseline, line)
