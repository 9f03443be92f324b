"""Pictures that the engine wrote, decoded in threads and kept for a while.

Never the user's own photo: a hostile or huge one is the engine process's to open.
"""

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QObject, QSize, Qt, QThreadPool, Signal, Slot
from PySide6.QtGui import QImage, QImageReader

from app.ui.ramp import VIRIDIS

KEPT_BYTES = 256 << 20
THREADS = 2


@dataclass(frozen=True, slots=True)
class Ask:
    """What to decode: whole (0), or no larger than ``side_px``; a map is coloured."""

    path: Path
    side_px: int = 0
    is_map: bool = False


class Pictures(QObject):
    """``get`` answers at once from memory, or decodes and emits ``loaded`` later."""

    loaded = Signal(object, object)  # Ask, QImage; a null image: the file cannot be decoded
    _decoded = Signal(object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = QThreadPool(self)
        self._pool.setMaxThreadCount(THREADS)
        self._kept: OrderedDict[Ask, QImage] = OrderedDict()
        self._bytes = 0
        self._asked: set[Ask] = set()
        self._decoded.connect(self._on_decoded)

    def get(self, ask: Ask) -> QImage | None:
        """The picture; None if it is on its way. A null image is one that cannot be decoded."""
        if (image := self._kept.get(ask)) is not None:
            self._kept.move_to_end(ask)
            return image
        if ask not in self._asked:
            self._asked.add(ask)
            self._pool.start(lambda: self._decoded.emit(ask, _decode(ask)))
        return None

    def close(self) -> None:
        self._pool.clear()
        self._pool.waitForDone()

    @Slot(object, object)
    def _on_decoded(self, ask: Ask, image: QImage) -> None:
        self._asked.discard(ask)
        self._kept[ask] = image
        self._bytes += image.sizeInBytes()
        while self._bytes > KEPT_BYTES and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.sizeInBytes()
        self.loaded.emit(ask, image)


def _decode(ask: Ask) -> QImage:
    reader = QImageReader(str(ask.path))
    if ask.side_px:
        size = reader.size()
        if size.isValid() and max(size.width(), size.height()) > ask.side_px:
            reader.setScaledSize(
                size.scaled(QSize(ask.side_px, ask.side_px), Qt.AspectRatioMode.KeepAspectRatio)
            )
    image = reader.read()
    if image.isNull():
        return image
    if ask.is_map:
        return colour_map(image)
    return image.convertToFormat(QImage.Format.Format_RGB32)


def colour_map(image: QImage) -> QImage:
    """Grey becomes its colour on the ramp; alpha stays."""
    grey = image.convertToFormat(QImage.Format.Format_Grayscale8)
    indexed = QImage(
        grey.constBits(),
        grey.width(),
        grey.height(),
        grey.bytesPerLine(),
        QImage.Format.Format_Indexed8,
    )
    indexed.setColorTable(list(VIRIDIS))
    coloured = indexed.convertToFormat(QImage.Format.Format_ARGB32)
    if image.hasAlphaChannel():
        coloured.setAlphaChannel(image.convertToFormat(QImage.Format.Format_Alpha8))
    return coloured.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
