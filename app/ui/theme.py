"""How the window looks: colours by role, palettes for light and dark, icons in the text's colour.

Nothing here keeps state: which set of colours holds is read from the palette of whoever asks.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from PySide6.QtCore import QByteArray, QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QGuiApplication,
    QIcon,
    QIconEngine,
    QPainter,
    QPalette,
    QPixmap,
)
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import QApplication

from app.paths import resources
from app.settings import Theme

ColourRole = Literal["text", "subtle", "accent", "good", "warning", "bad", "claim", "on_accent"]

GAP = 8  # px between things that belong together; half and double of it elsewhere
RADIUS = 6  # px of rounded corners
STYLED = "skyfix_styled"  # property of the application: it has our style


@dataclass(frozen=True, slots=True)
class Colours:
    """One set of colours. Text colours keep 4.5:1 or more on ``window`` and ``base``."""

    window: str
    base: str  # lists and fields
    raised: str  # cards, headers
    stage: str  # behind pictures
    border: str
    text: str
    subtle: str
    accent: str
    on_accent: str
    good: str
    warning: str
    bad: str
    claim: str


LIGHT = Colours(
    window="#f2f4f6",
    base="#ffffff",
    raised="#ffffff",
    stage="#dfe3e8",
    border="#cdd3da",
    text="#1a1e23",
    subtle="#57616c",
    accent="#0a62bd",
    on_accent="#ffffff",
    good="#17743a",
    warning="#8a5a00",
    bad="#b91c1c",
    claim="#7a3fb0",
)
DARK = Colours(
    window="#1d2025",
    base="#15171b",
    raised="#262a31",
    stage="#0f1114",
    border="#3a414b",
    text="#e7eaee",
    subtle="#a0aab6",
    accent="#58a6f5",
    on_accent="#08121d",
    good="#56c77f",
    warning="#e3b04b",
    bad="#ff8078",
    claim="#c99bf5",
)


def is_dark(palette: QPalette) -> bool:
    return palette.color(QPalette.ColorRole.Window).lightness() < 128


def colours(palette: QPalette) -> Colours:
    return DARK if is_dark(palette) else LIGHT


def colour(palette: QPalette, role: ColourRole) -> QColor:
    return QColor(getattr(colours(palette), role))


def apply_theme(app: QApplication, theme: Theme) -> bool:
    """Dress the whole program; the answer says whether it is dark now."""
    scheme = {
        "light": Qt.ColorScheme.Light,
        "dark": Qt.ColorScheme.Dark,
        "system": Qt.ColorScheme.Unknown,
    }[theme]
    hints = app.styleHints()
    hints.setColorScheme(scheme)
    dark = theme == "dark" or (theme == "system" and hints.colorScheme() == Qt.ColorScheme.Dark)
    if not app.property(STYLED):  # a sheet hides the style's name; each setting polishes all anew
        app.setStyle("Fusion")
        app.setProperty(STYLED, True)
    chosen = DARK if dark else LIGHT
    app.setPalette(palette_of(chosen))
    app.setStyleSheet(_sheet(chosen))
    return dark


def palette_of(chosen: Colours) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette(QColor(chosen.raised), QColor(chosen.window))
    for place, value in {
        role.Window: chosen.window,
        role.WindowText: chosen.text,
        role.Base: chosen.base,
        role.AlternateBase: chosen.window,
        role.Text: chosen.text,
        role.Button: chosen.raised,
        role.ButtonText: chosen.text,
        role.ToolTipBase: chosen.raised,
        role.ToolTipText: chosen.text,
        role.PlaceholderText: chosen.subtle,
        role.Highlight: chosen.accent,
        role.Accent: chosen.accent,
        role.HighlightedText: chosen.on_accent,
        role.Link: chosen.accent,
        role.LinkVisited: chosen.accent,
        role.Mid: chosen.border,
    }.items():
        palette.setColor(place, QColor(value))
    faded = QColor(chosen.subtle)
    faded.setAlpha(140)
    for place in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, place, faded)
    return palette


def _sheet(c: Colours) -> str:
    """Only what a palette cannot say: frames of our own panels and small print."""
    return f"""
    QToolTip {{ color: {c.text}; background: {c.raised}; border: 1px solid {c.border};
                padding: 4px; }}
    QSplitter::handle {{ background: {c.window}; }}
    QSplitter::handle:hover {{ background: {c.accent}; }}
    QStatusBar {{ border-top: 1px solid {c.border}; }}
    QStatusBar::item {{ border: none; }}
    QToolBar {{ border: none; border-bottom: 1px solid {c.border}; padding: 4px 6px;
                spacing: 6px; }}
    QToolButton[segment="true"] {{ background: {c.raised}; border: 1px solid {c.border};
                                   padding: 4px 10px; }}
    QToolButton[segment="true"]:hover {{ border-color: {c.accent}; }}
    QToolButton[segment="true"]:checked {{ background: {c.accent}; color: {c.on_accent};
                                           border-color: {c.accent}; }}
    QCheckBox::indicator:unchecked {{ border: 1px solid {c.subtle}; border-radius: 3px;
                                      background: {c.base}; width: 12px; height: 12px; }}
    QLabel[small="true"] {{ color: {c.subtle}; }}
    QFrame[card="true"] {{ background: {c.raised}; border: 1px solid {c.border};
                           border-radius: {RADIUS}px; }}
    QFrame[head="true"] {{ background: {c.raised}; border: none;
                           border-bottom: 1px solid {c.border}; }}
    QFrame[panel="true"] {{ background: {c.base}; border: 1px solid {c.border}; }}
    QPushButton[primary="true"] {{ background: {c.accent}; color: {c.on_accent}; border: none;
        border-radius: 4px; padding: 8px 16px; font-weight: 600; }}
    QPushButton[primary="true"]:hover, QPushButton[primary="true"]:focus
        {{ border: 2px solid {c.text}; padding: 6px 14px; }}
    QPushButton[primary="true"]:disabled {{ background: {c.border}; color: {c.subtle}; }}
    """


# --- icons ------------------------------------------------------------------


@lru_cache(maxsize=256)
def _drawing(name: str, ink: str) -> QSvgRenderer:
    text = (resources() / "icons" / f"{name}.svg").read_text(encoding="utf-8")
    return QSvgRenderer(QByteArray(text.replace("currentColor", ink).encode()))


def draw_icon(painter: QPainter, name: str, rect: QRectF, ink: QColor) -> None:
    _drawing(name, ink.name()).render(painter, rect)


class _TintedEngine(QIconEngine):
    """Draws an SVG in the colour that its role has in the palette of the moment."""

    def __init__(self, name: str, role: ColourRole, when_on: ColourRole) -> None:
        super().__init__()
        self._name, self._role, self._when_on = name, role, when_on

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        palette = QGuiApplication.palette()
        ink = colour(palette, self._when_on if state == QIcon.State.On else self._role)
        if mode == QIcon.Mode.Disabled:
            painter.setOpacity(painter.opacity() * 0.4)
        elif mode == QIcon.Mode.Selected:
            ink = colour(palette, "on_accent")
        draw_icon(painter, self._name, QRectF(rect), ink)

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        pixmap = QPixmap(size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return pixmap

    def clone(self) -> QIconEngine:
        return _TintedEngine(self._name, self._role, self._when_on)


@lru_cache(maxsize=256)
def icon(name: str, role: ColourRole = "text", *, when_on: ColourRole | None = None) -> QIcon:
    """An icon of ``resources/icons`` that follows the theme by itself.

    On and off look alike, unless ``when_on`` says otherwise: mostly the button shows it.
    """
    return QIcon(_TintedEngine(name, role, when_on or role))


def app_icon() -> QIcon:
    return QIcon(str(resources() / "icons" / "skyfix.svg"))
