"""All that crosses the line between the window and an engine process.

Frozen dataclasses of plain data, so they pickle, compare and print well. A field that would
need Qt, torch or rasterio does not belong here. Requests carry paths, answers carry numbers
and paths: pictures cross by file, never by message.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.card import Card, View
from app.diagnosis import Diagnosis, Doctor
from app.errors import JobCancelled, UserError
from app.evaluation_messages import (
    BrowseErrors,
    Compare,
    Compared,
    ErrorsBrowsed,
    Evaluate,
    Evaluated,
    Project,
    Projected,
    Score,
)
from app.geo import LatLon
from app.manifest import Manifest
from app.object_messages import (
    AddCorrection,
    CorrectionAdded,
    ExplainObject,
    FindObjects,
    ObjectsFound,
)
from app.train_request import (
    EpochDone,
    EstimateTraining,
    PreviewTraining,
    Train,
    Trained,
    TrainingEstimate,
    TrainingPreview,
)

__all__ = [  # from below, so that callers need one import
    "AddCorrection",
    "BrowseErrors",
    "Compare",
    "Compared",
    "CorrectionAdded",
    "Diagnosis",
    "Doctor",
    "EpochDone",
    "ErrorsBrowsed",
    "EstimateTraining",
    "Evaluate",
    "Evaluated",
    "ExplainObject",
    "FindObjects",
    "JobCancelled",
    "ObjectsFound",
    "PreviewTraining",
    "Project",
    "Projected",
    "Score",
    "Train",
    "Trained",
    "TrainingEstimate",
    "TrainingPreview",
    "UserError",
    "View",
]

PhotoKind = Literal["panorama", "perspective"]

# --- window to engine -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Warm:
    """Load a checkpoint so that the first query need not wait for it."""

    checkpoint: Path


@dataclass(frozen=True, slots=True)
class OpenGallery:
    """Open and verify a gallery. With ``checkpoint``, also that its descriptors fit it."""

    gallery: Path
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True)
class BuildGallery:
    """Cut tiles of ``tile_size_m`` from ``source``, describe them, write a gallery folder.

    ``source`` is a raster that GDAL's allow-listed drivers read, or a folder of geotagged
    pictures. Goes on where a cancelled or killed build of the same request stopped.
    """

    source: Path
    checkpoint: Path
    gallery: Path
    tile_size_m: float | None = None  # None: what the checkpoint's card says
    overlap: float = 0.5  # share of a tile's side that it has in common with its neighbour
    licence: str = ""
    name: str = ""  # None given: the source's stem


@dataclass(frozen=True, slots=True)
class Locate:
    """Find where one photo was taken, among the tiles of one gallery."""

    photo: Path
    gallery: Path
    checkpoint: Path
    top_k: int = 20
    turns: int | None = None  # rotations (drone) or rolls (panorama) tried; None: the card's
    use_heading: bool = True  # a heading in EXIF or XMP replaces the full turn by a narrow one


@dataclass(frozen=True, slots=True)
class Explain:
    """Draw what the network looked at, for a query and one candidate tile."""

    photo: Path
    gallery: Path
    checkpoint: Path
    tile: str
    heading_deg: float = 0.0  # the turn at which the candidate was found


@dataclass(frozen=True, slots=True)
class Export:
    """Write what was located so far; the suffix tells the format: geojson, kml, gpkg or csv."""

    path: Path
    locations: "tuple[Location, ...]" = ()
    objects: tuple[ObjectsFound, ...] = ()


@dataclass(frozen=True, slots=True)
class Shrink:
    """Make small copies of pictures: the window opens no file that the engine did not write."""

    pictures: tuple[Path, ...]
    side_px: int = 256  # of the longer side


@dataclass(frozen=True, slots=True)
class ImportCheckpoint:
    """Bring a published checkpoint of another project into this program's form."""

    file: Path  # .pth, .pth.tar, .pt, .safetensors
    output: Path | None = None  # None: a name of its own among the user's checkpoints
    project: str = "auto"  # or one of import_projects
    preset: str | None = None  # None: what shapes and names tell
    tile_size_m: float | None = None  # None: that of the data set
    title: str = ""  # none given: project and data set


@dataclass(frozen=True, slots=True)
class ClaimDevices:
    """These accelerators, and no others, are used by trainings now: the engine leaves them."""

    names: tuple[str, ...]  # "cuda:0"; of another process, so no more than a name


Request = (
    Warm
    | OpenGallery
    | BuildGallery
    | Locate
    | Explain
    | FindObjects
    | ExplainObject
    | AddCorrection
    | Export
    | Train
    | EstimateTraining
    | PreviewTraining
    | Evaluate
    | Score
    | Compare
    | Project
    | BrowseErrors
    | Shrink
    | Doctor
    | ImportCheckpoint
    | ClaimDevices
)


@dataclass(frozen=True, slots=True)
class Cancel:
    job: int


# --- engine to window -------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """What a photo's own metadata says of its position. Never used in the visual answer."""

    position: LatLon
    source: str  # "EXIF GPS", "XMP drone-dji", ...
    taken: str = ""  # as written in the file


@dataclass(frozen=True, slots=True)
class QueryRead:
    """A query was read: shown before the answer is there."""

    photo: Path
    preview: Path  # JPEG, upright, at most 2048 px a side
    width: int
    height: int
    kind: PhotoKind
    claim: Claim | None
    heading_deg: float | None  # from EXIF or XMP; of the picture's top (drone) or centre (street)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tile proposed for a query."""

    rank: int  # 1 is best
    tile: str
    position: LatLon  # the tile's centre
    score: float  # cosine, higher is better
    probability: float  # share of the posterior over all tiles of the gallery
    heading_deg: float  # the turn at which it scored best: compass heading of the query
    footprint: tuple[LatLon, ...]  # corners, clockwise from north-west
    thumbnail: Path


@dataclass(frozen=True, slots=True)
class Confidence:
    """How sure the answer is, in numbers and in words."""

    calibrated: bool  # False: the probabilities are a softmax nobody has fitted
    best_probability: float  # that the photo lies within ``radius_m`` of rank 1
    radius_m: float
    area_90_m2: float  # ground area of the smallest set of tiles holding 90 % of the posterior
    spread_m: float  # mean distance of the top candidates from rank 1
    gap: float  # score of rank 1 minus that of the best candidate elsewhere
    reasons: tuple[str, ...]  # "8 of the top 10 lie within 80 m", "a rival 1.2 km away ..."


@dataclass(frozen=True, slots=True)
class Location:
    """The answer to Locate."""

    query: QueryRead
    candidates: tuple[Candidate, ...]  # best first, never empty
    confidence: Confidence
    turns: int
    seconds: float
    device: str

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def claim_distance_m(self) -> float | None:
        """From the photo's own claim to rank 1."""
        claim = self.query.claim
        return None if claim is None else claim.position.metres_to(self.best.position)


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A picture of grey (value) and alpha (0 where the network did not look), PNG mode LA."""

    path: Path
    name: str  # what it is: "activation energy of the last stage", "attention of block 11"
    low: float  # the value that grey 0 stands for
    high: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Both pictures with their maps; a map covers its picture's whole frame."""

    photo: Path
    tile: str
    query_picture: Path
    tile_picture: Path
    query_maps: tuple[Heatmap, ...]
    tile_maps: tuple[Heatmap, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    path: Path
    features: int  # points and polygons that it holds


@dataclass(frozen=True, slots=True)
class Warmed:
    checkpoint: Path
    card: Card
    device: str


@dataclass(frozen=True, slots=True)
class CheckpointImported:
    checkpoint: Path
    card: Card
    project: str  # its title
    found: str  # "PyTorch zip, weights under state_dict; known by ..."
    data: str  # "CVUSA (by its name)"
    preset: str
    used: int  # tensors
    dropped: tuple[str, ...]  # tensors that no picture passes through
    ignored: tuple[str, ...]  # what else the file held: "optimizer", "epoch"


@dataclass(frozen=True, slots=True)
class GalleryOpened:
    gallery: Path
    manifest: Manifest
    note: str = ""  # such as "its imagery has moved: pictures come from the thumbnails"


@dataclass(frozen=True, slots=True)
class GalleryBuilt:
    gallery: Path
    manifest: Manifest
    described: int  # tiles described by this call; the rest were there already
    skipped: tuple[str, ...]  # "r003c017: no data", at most the first hundred


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """``path`` is None where ``problem`` says why the picture cannot be read."""

    picture: Path
    path: Path | None  # JPEG, upright
    width: int = 0  # of the picture itself, upright
    height: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """In the order of the request."""

    thumbnails: tuple[Thumbnail, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    done: int
    total: int  # 0: unknown
    note: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the user must know. ``hint`` says what to do; ``trace`` is for a report."""

    title: str
    hint: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled:
    pass


@dataclass(frozen=True, slots=True)
class DeviceChanged:
    """Networks compute elsewhere from now on. Told of the engine itself, under NO_JOB."""

    device: str  # "cpu", "cuda:0"
    reason: str  # "a training uses cuda:0"; of an accelerator, its name
    checkpoints: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class DevicesClaimed:
    names: tuple[str, ...]  # those that the engine leaves alone now


Running = Progress | EpochDone | QueryRead | DeviceChanged
Answer = (
    Location
    | Explanation
    | ObjectsFound
    | CorrectionAdded
    | Exported
    | Warmed
    | GalleryOpened
    | GalleryBuilt
    | Trained
    | TrainingEstimate
    | TrainingPreview
    | Evaluated
    | Compared
    | Projected
    | ErrorsBrowsed
    | Shrunk
    | Diagnosis
    | CheckpointImported
    | DevicesClaimed
)
Outcome = Answer | Problem | Cancelled
Body = Running | Outcome


@dataclass(frozen=True, slots=True)
class Event:
    job: int
    body: Body


NO_JOB = 0  # the number of events that belong to no request

Report = Callable[[Running], None]


def ignore(_: Running) -> None:
    """The report of a caller that shows nothing, such as a test."""
