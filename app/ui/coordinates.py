"""Positions in words, for people; files are written elsewhere and always in decimal degrees."""

from typing import Literal

from app.geo import LatLon

Format = Literal["DD", "DMS"]
FORMATS: tuple[tuple[Format, str], ...] = (
    ("DD", "Decimal degrees"),
    ("DMS", "Degrees, minutes, seconds"),
)


def position_text(place: LatLon, style: Format) -> str:
    """WGS84, latitude first."""
    if style == "DD":
        return str(place)
    return f"{_dms(place.lat, 'N', 'S')}  {_dms(place.lon, 'E', 'W')}"


def _dms(degrees: float, positive: str, negative: str) -> str:
    tenths = round(abs(degrees) * 36_000)  # of a second: 3 m on the ground
    minutes, rest = divmod(tenths, 600)
    whole, minutes = divmod(minutes, 60)
    return f"{whole}°{minutes:02d}′{rest / 10:04.1f}″{positive if degrees >= 0 else negative}"
