"""Answers about clicked objects, with a picture to show; for tests and screenshots."""

from dataclasses import replace

from app.geo import LatLon
from app.messages import ExplainObject, FindObjects, ObjectsFound
from app.object_messages import FoundBox, FoundObject, Reference
from app.ui.clicked_objects import Fix, fixed_box
from tests.ui.scene import HERE, card, write_checkpoint

SIDE = 192
SIZE_M = 80.0
PROBABILITIES = (0.62, 0.2, 0.09, 0.004)


def write_finder(scene):
    """A checkpoint for clicks, beside the scene's own."""
    path = scene.folder / "attengeo-drone.safetensors"
    its_card = replace(
        card(title="AttenGeo tiny, drone"), network="attengeo", task="object", descriptor=0
    )
    write_checkpoint(path, its_card)
    return path


def reference(scene, tile="r012c007", *, x=500_000.0):
    d = 3.6e-4
    corners = tuple(
        LatLon(HERE.lat + a * d, HERE.lon + b * d * 1.5)
        for a, b in ((1, -1), (1, 1), (-1, 1), (-1, -1))
    )
    return Reference(tile, x, 5_340_000.0, SIZE_M, SIDE, 1.0, corners, scene.tile(0))


def found(scene, request: FindObjects, *, refined=None) -> ObjectsFound:
    """A box that lies where the click lies in a photo of 4000 x 3000, and three others."""
    where = reference(scene, request.tiles[0])
    x, y = request.clicks[0][0] / 4000 * SIDE, request.clicks[0][1] / 3000 * SIDE
    boxes = []
    for n, probability in enumerate(PROBABILITIES):
        left, top = min(max(x + 31 * n - 12, 1), SIDE - 30), min(max(y - 17 * n - 8, 1), SIDE - 22)
        boxes.append(box(where, (left, top, left + 26.0, top + 18.0), n + 1, probability))
    return ObjectsFound(
        photo=request.photo,
        gallery=request.gallery,
        checkpoint=request.checkpoint,
        crs="EPSG:32633",
        references=(where,),
        objects=(FoundObject(request.clicks[0], tuple(boxes)),),
        calibrated=False,
        error_basis="mean IoU 0.61 on demo world, and a pixel's size on the ground",
        notes=("not calibrated: treat the probability as a ranking",),
        seconds=0.2,
        device="cpu",
    )


def box(where: Reference, sides, rank, probability) -> FoundBox:
    placed = fixed_box(Fix(answer=None, reference=where, box=sides, found=sides))
    return replace(placed, rank=rank, probability=probability, error_m=3.4)


def answer_maps(scene, engine):
    """The newest question of what was looked at."""
    job = engine.job(ExplainObject)
    engine.tell(job, scene.explanation(engine.sent[job - 1]))


def answer_objects(scene, engine, done=0):
    """Answer every request about objects that is still open."""
    while done < len(engine.sent):
        done += 1
        request = engine.sent[done - 1]
        if done in engine.cancelled:
            continue
        match request:
            case FindObjects():
                engine.tell(done, found(scene, request))
            case ExplainObject():
                engine.tell(done, scene.explanation(request))
