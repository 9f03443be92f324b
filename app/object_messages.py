"""What is asked and answered about clicked objects; part of what ``messages`` lets cross.

Pixels count from the upper left corner of the first pixel. A *reference* is the satellite
picture in which a click's object is looked for: cut from a gallery's imagery around a candidate,
of the ground size that the checkpoint was trained on, whatever the gallery's tiles measure.
"""

from dataclasses import dataclass
from pathlib import Path

from app.geo import LatLon

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class FindObjects:
    """Find what clicks on a photo mean, in the imagery around one or several tiles."""

    photo: Path
    clicks: tuple[Point, ...]  # x, y in pixels of the photo's file, upright
    gallery: Path
    checkpoint: Path
    tiles: tuple[str, ...]  # looked around each; the best boxes of all are kept
    alternatives: int = 4  # boxes beside the best, at most
    refine: bool = False  # look once more, centred on the best box
    force: bool = False  # also where a click seems to lie on the sky or on a border


@dataclass(frozen=True, slots=True)
class ExplainObject:
    """Draw what the network looked at for one click and one reference."""

    photo: Path
    click: Point
    gallery: Path
    checkpoint: Path
    tile: str
    centre: Point | None = None  # of a reference cut elsewhere; None: the tile's


@dataclass(frozen=True, slots=True)
class AddCorrection:
    """Keep a box that a person put right, as training data in an object folder."""

    folder: Path  # made where it is not there
    photo: Path
    click: Point
    gallery: Path
    checkpoint: Path  # whose box it was; its card tells view and sizes
    reference: "Reference"
    box: tuple[float, float, float, float]  # in the reference, as the person left it
    category: str = ""
    found: tuple[float, float, float, float] | None = None  # the network's box, where it had one
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Reference:
    """A square of the gallery's imagery, north up."""

    tile: str  # around which it was cut
    x: float  # its centre: easting and northing in the gallery's CRS
    y: float
    size_m: float
    size_px: int
    valid_share: float  # of its pixels; the rest is padding, where no box is centred
    footprint: tuple[LatLon, ...]  # corners, clockwise from north-west
    picture: Path  # JPEG

    @property
    def gsd_m(self) -> float:
        return self.size_m / self.size_px

    def to_ground(self, x_px: float, y_px: float) -> Point:
        """Easting and northing of a point of the picture."""
        half = self.size_m / 2
        return self.x - half + x_px * self.gsd_m, self.y + half - y_px * self.gsd_m

    def to_pixel(self, x: float, y: float) -> Point:
        """The picture's point at an easting and northing."""
        half = self.size_m / 2
        return (x - self.x + half) / self.gsd_m, (self.y + half - y) / self.gsd_m


@dataclass(frozen=True, slots=True)
class FoundBox:
    """Where a click's object may be."""

    rank: int  # 1 is best
    reference: int  # of the answer's references: the one in which it was found
    box: tuple[float, float, float, float]  # left, top, right, bottom in that reference
    probability: float  # of this box and those that it stands for
    score: float  # the network's own, a logit
    polygon: tuple[LatLon, ...]  # corners, clockwise from north-west
    polygon_xy: tuple[Point, ...]  # the same in the gallery's CRS
    centre: LatLon
    width_m: float  # west to east
    height_m: float  # south to north
    error_m: float | None  # bound of the centre's error, see engine.object_error; None: unknown

    @property
    def area_m2(self) -> float:
        return self.width_m * self.height_m


@dataclass(frozen=True, slots=True)
class FoundObject:
    """The answer to one click."""

    click: Point
    boxes: tuple[FoundBox, ...]  # best first, never empty
    name: str = ""  # that a person gave it
    origin: str = ""  # of its boxes where no network found them: "corrected by hand"

    @property
    def best(self) -> FoundBox:
        return self.boxes[0]


@dataclass(frozen=True, slots=True)
class ObjectsFound:
    """The answer to FindObjects: an object a click, in the order of the clicks."""

    photo: Path
    gallery: Path
    checkpoint: Path
    crs: str  # of ``polygon_xy``: the gallery's
    references: tuple[Reference, ...]
    objects: tuple[FoundObject, ...]
    calibrated: bool  # False: the probabilities are a softmax nobody has fitted
    error_basis: str  # what ``error_m`` rests on, or why there is none
    notes: tuple[str, ...]  # "the imagery ends within the reference around r001c003"
    seconds: float
    device: str


@dataclass(frozen=True, slots=True)
class CorrectionAdded:
    folder: Path
    objects: int  # that the folder holds now
