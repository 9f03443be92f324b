"""What a photo's own EXIF and XMP say: position (a claim), heading, height, projection.

Metadata is written by anybody. A field that is missing, out of range or not a number gives
nothing: no claim is better than a wrong one. Nothing here raises on bad metadata.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree as SafeElementTree
from PIL import Image

from app.geo import LatLon
from app.messages import Claim

MAX_XMP_BYTES = 1 << 20

_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_ORIENTATION, _DATE_TIME, _DATE_TIME_ORIGINAL, _XMP_TIFF_TAG = 274, 306, 0x9003, 700
_LAT_REF, _LAT, _LON_REF, _LON, _ALT_REF, _ALT = 1, 2, 3, 4, 5, 6
_STATUS, _DIRECTION_REF, _DIRECTION, _DATUM = 9, 16, 17, 18

# XMP namespaces that are read, without their trailing slash, and the word used for them below.
_NAMESPACES = {
    "http://www.dji.com/drone-dji/1.0": "dji",  # DJI; Autel writes it too
    "http://pix4d.com/camera/1.0": "camera",  # Autel, senseFly and others
    "http://ns.google.com/photos/1.0/panorama": "gpano",
}
_BROKEN = (ValueError, TypeError, KeyError, IndexError, OverflowError, SyntaxError, OSError)


@dataclass(frozen=True, slots=True)
class PhotoMetadata:
    """What could be read; None where the photo says nothing usable."""

    claim: Claim | None = None
    heading_deg: float | None = None  # of the picture's top (drone) or centre column (panorama)
    altitude_m: float | None = None  # above the ellipsoid or sea, as the maker chose
    height_m: float | None = None  # above the take-off point
    pitch_deg: float | None = None  # of the camera: -90 looks straight down
    equirectangular: bool | None = None  # True: a full 360-degree panorama


def orientation(image: Image.Image) -> int:
    """The EXIF tag: 1 is upright; also where there is none or it is nonsense."""
    try:
        tag = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def read_metadata(image: Image.Image) -> PhotoMetadata:
    """From an opened picture; its pixels need not have been decoded."""
    try:
        exif = image.getexif()
        gps = dict(exif.get_ifd(_GPS_IFD))
        taken = exif.get_ifd(_EXIF_IFD).get(_DATE_TIME_ORIGINAL) or exif.get(_DATE_TIME) or ""
        packet = exif.get(_XMP_TIFF_TAG)
    except _BROKEN:  # a damaged EXIF block: Pillow raises whatever its parser stumbled over
        gps, taken, packet = {}, "", None
    xmp = _xmp_fields(image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or packet)
    claim = _exif_claim(gps, _text(taken)) or _dji_claim(xmp, _text(taken))
    equirectangular = _equirectangular(xmp)
    heading = _panorama_heading(xmp) if equirectangular else None
    if heading is None and orientation(image) == 1:
        # Which way the stored picture's top pointed says nothing of the upright picture's top
        # once somebody has turned the file.
        heading = _drone_heading(xmp)
    if heading is None:
        heading = _exif_heading(gps)
    return PhotoMetadata(
        claim=claim,
        heading_deg=heading,
        altitude_m=_exif_altitude(gps),
        height_m=_number(xmp.get("dji:RelativeAltitude")),
        pitch_deg=_gimbal(xmp, "Pitch"),
        equirectangular=equirectangular,
    )


# --- EXIF -------------------------------------------------------------------


def _exif_claim(gps: Mapping[int, Any], taken: str) -> Claim | None:
    if _text(gps.get(_STATUS)).upper() == "V":  # the receiver had no fix
        return None
    lat = _degrees(gps.get(_LAT), _text(gps.get(_LAT_REF)), positive="N", negative="S", limit=90.0)
    lon = _degrees(gps.get(_LON), _text(gps.get(_LON_REF)), positive="E", negative="W", limit=180.0)
    position = _position(lat, lon)
    if position is None:
        return None
    datum = _text(gps.get(_DATUM))
    known = re.sub(r"[^A-Z0-9]", "", datum.upper()) in ("", "WGS84")
    return Claim(position, "EXIF GPS" if known else f"EXIF GPS (datum {datum})", taken)


def _degrees(value: Any, ref: str, *, positive: str, negative: str, limit: float) -> float | None:
    """Degrees, minutes and seconds with their hemisphere letter. None if anything is amiss."""
    sign = {positive: 1.0, negative: -1.0}.get(ref.upper()[:1])
    if sign is None or not isinstance(value, tuple | list) or len(value) != 3:
        return None
    parts = [_number(part) for part in value]
    degrees, minutes, seconds = parts
    if degrees is None or minutes is None or seconds is None:
        return None
    if min(degrees, minutes, seconds) < 0 or minutes > 60 or seconds > 60:
        return None
    total = degrees + minutes / 60 + seconds / 3600
    return sign * total if total <= limit else None


def _exif_altitude(gps: Mapping[int, Any]) -> float | None:
    altitude = _number(gps.get(_ALT))
    if altitude is None:
        return None
    below = gps.get(_ALT_REF) in (1, b"\x01", "\x01", "1")
    return -altitude if below else altitude


def _exif_heading(gps: Mapping[int, Any]) -> float | None:
    """GPSImgDirection, if it is from true north.

    A magnetic one is off by the declination, up to 20 degrees where people live, and the file
    does not say so: it would narrow the search round a wrong heading.
    """
    direction = _number(gps.get(_DIRECTION))
    if _text(gps.get(_DIRECTION_REF)).upper() != "T" or direction is None:
        return None
    return direction % 360.0 if 0 <= direction <= 360 else None


# --- XMP --------------------------------------------------------------------


def _xmp_fields(packet: Any) -> dict[str, str]:
    """``{"dji:FlightYawDegree": "+152.10", ...}`` of the namespaces above."""
    raw = packet.encode("utf-8", "ignore") if isinstance(packet, str) else packet
    if not isinstance(raw, bytes) or not raw or len(raw) > MAX_XMP_BYTES:
        return {}
    try:
        root: Element = SafeElementTree.fromstring(raw.strip(b"\x00 \r\n\t"))
    except (ParseError, ValueError, LookupError):  # defusedxml's refusals are ValueErrors
        return {}
    found: dict[str, str] = {}
    for element in root.iter():
        for name, value in (*element.attrib.items(), (element.tag, element.text or "")):
            uri, _, local = str(name).lstrip("{").rpartition("}")
            space = _NAMESPACES.get(uri.rstrip("/"))
            if space and value.strip():
                found.setdefault(f"{space}:{local}", value.strip())
    return found


def _dji_claim(xmp: Mapping[str, str], taken: str) -> Claim | None:
    lat = _number(xmp.get("dji:GpsLatitude"))
    # "GpsLongtitude" is what several DJI firmwares write.
    lon = _number(xmp.get("dji:GpsLongitude", xmp.get("dji:GpsLongtitude")))
    position = _position(lat, lon)
    return None if position is None else Claim(position, "XMP drone-dji", taken)


def _equirectangular(xmp: Mapping[str, str]) -> bool | None:
    projection = xmp.get("gpano:ProjectionType")
    if projection is None:
        return None
    full = _number(xmp.get("gpano:FullPanoWidthPixels"))
    cropped = _number(xmp.get("gpano:CroppedAreaImageWidthPixels"))
    all_round = full is None or cropped is None or cropped >= 0.99 * full
    return projection.lower() == "equirectangular" and all_round


def _panorama_heading(xmp: Mapping[str, str]) -> float | None:
    heading = _number(xmp.get("gpano:PoseHeadingDegrees"))
    return None if heading is None else heading % 360.0


def _drone_heading(xmp: Mapping[str, str]) -> float | None:
    """The camera's yaw if the gimbal recorded one, else the aircraft's.

    Some cameras write gimbal yaw, pitch and roll as zeros though the flight yaw is right (seen:
    a DJI Mini 2, all 30 photos of a nadir survey; turned by the flight yaw they lie as their map
    does). All three at exactly zero therefore count as not recorded. A gimbal that went over the
    top (roll about 180) shows the picture turned round.
    """
    yaw = _gimbal(xmp, "Yaw")
    if yaw is not None:
        roll = _gimbal(xmp, "Roll") or 0.0
        return (yaw + (180.0 if abs(roll) > 90 else 0.0)) % 360.0
    flight = _angles(xmp, "dji:Flight{}Degree")
    camera = _angles(xmp, "camera:{}")
    for angles in (flight, camera):
        if any(angles.values()) and "Yaw" in angles:
            return angles["Yaw"] % 360.0
    return None


def _gimbal(xmp: Mapping[str, str], axis: str) -> float | None:
    angles = _angles(xmp, "dji:Gimbal{}Degree")
    return angles.get(axis) if any(angles.values()) else None


def _angles(xmp: Mapping[str, str], pattern: str) -> dict[str, float]:
    found = {axis: _number(xmp.get(pattern.format(axis))) for axis in ("Yaw", "Pitch", "Roll")}
    return {axis: value for axis, value in found.items() if value is not None}


# --- values -----------------------------------------------------------------


def _position(lat: float | None, lon: float | None) -> LatLon | None:
    """None also at 0, 0: what cameras without a fix write."""
    if lat is None or lon is None or not (abs(lat) <= 90 and abs(lon) <= 180):
        return None
    return None if lat == 0 and lon == 0 else LatLon(lat, lon)


def _number(value: Any) -> float | None:
    """Finite, or None: a rational with a zero denominator is not a number."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii", "ignore")
    return value.replace("\x00", "").strip() if isinstance(value, str) else ""
