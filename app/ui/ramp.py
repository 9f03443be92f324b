"""The ramp of heatmaps: viridis, which colour-blind readers and grey prints keep in order."""

from PySide6.QtCore import QPointF
from PySide6.QtGui import QColor, QLinearGradient, qRgb

# Every eighth colour of viridis (van der Walt and Smith, 2015, CC0), from low to high.
_CODES = """
440154 460c5f 481769 482273 472c7a 453681 423f85 3e4889 3b518b 375a8c 33628d
2f6a8e 2c718e 29798e 26818e 23888e 21908c 1f978b 1f9f88 21a685 27ad80 31b57a
3dbc73 4cc26b 5cc862 6ece57 81d34c 95d83f aadc31 c0df24 d5e219 eae51a fde725
"""
_STOPS = tuple(QColor(f"#{code}") for code in _CODES.split())


def _mixed(value: float) -> int:
    """``value`` in [0, 1]."""
    place = value * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    share = place - low
    a, b = _STOPS[low], _STOPS[low + 1]
    return qRgb(
        round(a.red() + share * (b.red() - a.red())),
        round(a.green() + share * (b.green() - a.green())),
        round(a.blue() + share * (b.blue() - a.blue())),
    )


VIRIDIS: tuple[int, ...] = tuple(_mixed(i / 255) for i in range(256))


def ramp_gradient(start: QPointF, end: QPointF) -> QLinearGradient:
    """From low at ``start`` to high at ``end``."""
    gradient = QLinearGradient(start, end)
    for i, stop in enumerate(_STOPS):
        gradient.setColorAt(i / (len(_STOPS) - 1), stop)
    return gradient
