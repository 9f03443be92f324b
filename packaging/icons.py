"""The program's icon as Windows and macOS want it, drawn from ``resources/icons/skyfix.svg``."""

import io
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "resources" / "icons" / "skyfix.svg"
SIZES = {".ico": (16, 20, 24, 32, 40, 48, 64, 256), ".icns": (16, 32, 64, 128, 256, 512, 1024)}


def icon_name(system: str) -> str | None:
    """The file that PyInstaller wants on a system as ``sys.platform`` names it; None: none."""
    return {"win32": "skyfix.ico", "darwin": "skyfix.icns"}.get(system)


def write_icon(target: Path) -> None:
    """Each size drawn by itself: a small one is not a large one made small."""
    from PIL import Image

    pictures = [Image.open(io.BytesIO(_drawn(side))) for side in SIZES[target.suffix]]
    largest = pictures[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".ico":
        sizes = [picture.size for picture in pictures]
        largest.save(target, sizes=sizes, append_images=pictures[:-1])
    else:
        largest.save(target, append_images=pictures[:-1])


def _drawn(side: int) -> bytes:
    """A PNG of ``side`` pixels."""
    sys.path.insert(0, str(ROOT))
    from PySide6.QtCore import QBuffer, QIODevice
    from PySide6.QtGui import QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    import app.ui  # noqa: F401 - makes PySide6 safe to use

    image = QImage(side, side, QImage.Format.Format_ARGB32)
    image.fill(0)
    painter = QPainter(image)
    QSvgRenderer(str(SOURCE)).render(painter)
    painter.end()
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if not image.save(buffer, "PNG"):
        raise SystemExit(f"icons: {SOURCE} could not be drawn")
    return bytes(buffer.data().data())
