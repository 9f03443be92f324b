"""Places on Earth. Plain numbers: no Qt, no torch, no rasterio."""

import math
from dataclasses import dataclass

EARTH_RADIUS_M = 6_371_008.8


@dataclass(frozen=True, slots=True, order=True)
class LatLon:
    """A WGS84 position in degrees, latitude first."""

    lat: float
    lon: float

    def __post_init__(self) -> None:
        if not (-90 <= self.lat <= 90 and -180 <= self.lon <= 180):
            raise ValueError(f"not a position on Earth: lat={self.lat}, lon={self.lon}")

    def metres_to(self, other: "LatLon") -> float:
        """Great-circle distance. Off by up to 0.5 % from the ellipsoid, fine for scoring."""
        phi1, phi2 = math.radians(self.lat), math.radians(other.lat)
        half_dphi = (phi2 - phi1) / 2
        half_dlam = math.radians(other.lon - self.lon) / 2
        a = math.sin(half_dphi) ** 2 + math.cos(phi1) * math.cos(phi2) * math.sin(half_dlam) ** 2
        return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(a)))

    def bearing_to(self, other: "LatLon") -> float:
        """Initial compass bearing in degrees, 0 = north, clockwise, in [0, 360)."""
        phi1, phi2 = math.radians(self.lat), math.radians(other.lat)
        dlam = math.radians(other.lon - self.lon)
        y = math.sin(dlam) * math.cos(phi2)
        x = math.cos(phi1) * math.sin(phi2) - math.sin(phi1) * math.cos(phi2) * math.cos(dlam)
        return math.degrees(math.atan2(y, x)) % 360.0

    def __str__(self) -> str:
        return f"{self.lat:.6f}, {self.lon:.6f}"


@dataclass(frozen=True, slots=True)
class Area:
    """A WGS84 box in degrees. Does not cross the date line."""

    south: float
    west: float
    north: float
    east: float

    def __post_init__(self) -> None:
        LatLon(self.south, self.west)
        LatLon(self.north, self.east)
        if self.south > self.north or self.west > self.east:
            raise ValueError(f"an area's corners are swapped: {self}")

    @property
    def centre(self) -> LatLon:
        return LatLon((self.south + self.north) / 2, (self.west + self.east) / 2)

    def contains(self, place: LatLon) -> bool:
        return self.south <= place.lat <= self.north and self.west <= place.lon <= self.east
