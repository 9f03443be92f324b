"""Small copies of pictures that are not the engine's own: it makes them, this shows them.

Those asked for last come first: they are what is looked at.
"""

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QObject, QRectF, QSizeF, Qt, QTimer, Signal, Slot
from PySide6.QtGui import QColor, QImage, QPainter, QPalette

from app.messages import Event, Problem, Progress, Shrink, Shrunk, Thumbnail
from app.ui.pictures import Ask, Pictures
from app.ui.session import Engine
from app.ui.theme import colour, colours, draw_icon

SIDE_PX = 256
AT_ONCE = 8  # of one request: the engine answers others between two of them
KEPT = 20_000  # file names, not pictures


class Thumbnails(QObject):
    changed = Signal(object)  # tuple[Path, ...]: pictures of which more is known

    def __init__(self, engine: Engine, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._engine = engine
        self._pictures = Pictures(self)
        self._known: OrderedDict[Path, Thumbnail] = OrderedDict()
        self._wanted: OrderedDict[Path, None] = OrderedDict()
        self._asked: tuple[Path, ...] = ()
        self._job: int | None = None
        self._of: dict[Path, Path] = {}  # a small copy's original
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)  # all that one drawing asks for goes together
        self._soon.timeout.connect(self._pump)
        engine.told.connect(self._on_told)
        self._pictures.loaded.connect(self._on_loaded)

    def get(self, picture: Path) -> QImage | None:
        """None: on its way. A null image: it cannot be read, see ``about``."""
        known = self._known.get(picture)
        if known is None:
            self.want((picture,))
            return None
        self._known.move_to_end(picture)
        if known.path is None:
            return QImage()
        return self._pictures.get(Ask(known.path))

    def about(self, picture: Path) -> Thumbnail | None:
        """Its true size, or why it cannot be read; None: not known yet."""
        return self._known.get(picture)

    def want(self, pictures: Iterable[Path]) -> None:
        for picture in pictures:
            if picture not in self._known and picture not in self._asked:
                self._wanted[picture] = None
                self._wanted.move_to_end(picture)
        if self._wanted and self._job is None:
            self._soon.start()

    def forget(self) -> None:
        """What is not made yet is not looked at any more."""
        self._wanted.clear()

    @Slot()
    def _pump(self) -> None:
        if self._job is not None or not self._wanted:
            return
        count = min(AT_ONCE, len(self._wanted))
        self._asked = tuple(self._wanted.popitem()[0] for _ in range(count))
        self._job = self._engine.send(Shrink(self._asked, SIDE_PX))

    @Slot(object)
    def _on_told(self, event: Event) -> None:
        if event.job != self._job or isinstance(event.body, Progress):
            return
        asked, self._asked, self._job = self._asked, (), None
        match event.body:
            case Shrunk(thumbnails=thumbnails):
                for found in thumbnails:
                    self._keep(found)
            case Problem(title=title):
                for picture in asked:
                    self._keep(Thumbnail(picture, None, problem=title))
            case _:
                pass  # cancelled: asked again when it is looked at again
        self.changed.emit(asked)
        if self._wanted:
            self._soon.start()

    def _keep(self, found: Thumbnail) -> None:
        self._known[found.picture] = found
        if found.path is not None:
            self._of[found.path] = found.picture
        while len(self._known) > KEPT:
            _, oldest = self._known.popitem(last=False)
            if oldest.path is not None:
                self._of.pop(oldest.path, None)

    @Slot(object, object)
    def _on_loaded(self, ask: Ask, image: QImage) -> None:
        original = self._of.get(ask.path)
        if original is None:
            return
        known = self._known.get(original)
        if image.isNull() and known is not None:
            self._known[original] = Thumbnail(
                original, None, known.width, known.height, "its small copy cannot be read"
            )
        self.changed.emit((original,))

    def close(self) -> None:
        self._soon.stop()
        self._pictures.close()


def draw_thumbnail(
    painter: QPainter, box: QRectF, thumbnails: Thumbnails, picture: Path, palette: QPalette
) -> QRectF:
    """Fitted into ``box``; the answer is where the picture is, empty while there is none."""
    painter.fillRect(box, QColor(colours(palette).stage))
    image = thumbnails.get(picture)
    if image is None:
        return QRectF()
    if image.isNull():
        side = min(24.0, box.width() / 2)
        middle = box.center()
        sign = QRectF(middle.x() - side / 2, middle.y() - side / 2, side, side)
        draw_icon(painter, "warning", sign, colour(palette, "subtle"))
        return QRectF()
    size = QSizeF(image.size()).scaled(box.size(), Qt.AspectRatioMode.KeepAspectRatio)
    place = QRectF(
        box.center().x() - size.width() / 2,
        box.center().y() - size.height() / 2,
        size.width(),
        size.height(),
    )
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(place, image)
    return place
