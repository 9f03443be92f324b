"""G2D and other click sets in CVOGL's form: ground pictures whose object is boxed from a drone.

``query/``, ``satellite/`` (here: the drone's pictures) and ``<any name>_{train,val,test}.pth`` with
CVOGL's records. Anchors fit CVOGL's boxes; for these they are found anew from the training boxes
(``app.engine.anchors``), as AttenGeo's authors did.
"""

from pathlib import Path

from app.engine.datasets import cvogl
from app.engine.datasets.files import wrong_layout
from app.engine.datasets.layout import ObjectData
from app.messages import Report, ignore

NAME = "G2D"
EXPECTED = "query/, satellite/ and <name>_{train,val,test}.pth, not in a folder of CVOGL"


def is_here(folder: Path) -> bool:
    return _stem(folder) is not None


def read(folder: Path, *, report: Report = ignore) -> ObjectData:
    """The queries are street pictures, whole as they are."""
    stem = _stem(folder)
    if stem is None:
        raise wrong_layout(folder, NAME, EXPECTED)
    name = NAME if stem.upper().startswith(NAME) else stem
    return cvogl.read_click_set(folder, stem, name, "street", "perspective", report)


def _stem(folder: Path) -> str | None:
    if not all((folder / part).is_dir() for part in ("query", "satellite")):
        return None
    stems = [path.stem.removesuffix("_train") for path in sorted(folder.glob("*_train.pth"))]
    others = [stem for stem in stems if stem not in cvogl.FOLDERS.values()]
    return others[0] if others else None
