"""Object requests through the engine's own door, with a real network of the catalog."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from app.card import Card
from app.engine.checkpoints import save_checkpoint
from app.engine.worker import _Engine, _Inbox, run
from app.messages import (
    AddCorrection,
    BuildGallery,
    CorrectionAdded,
    ExplainObject,
    Explanation,
    Export,
    Exported,
    FindObjects,
    ObjectsFound,
    Problem,
    Warm,
    Warmed,
    ignore,
)
from app.models.build import create_object, preset_config
from tests.engine.block_place import make_gallery, patch_at, write_photo
from tests.engine.test_objects import tile_near


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_gallery(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module", params=["attengeo", "detgeo"])
def checkpoint(request, tmp_path_factory) -> Path:
    """Fresh weights: what they find means nothing, but all of the way is gone."""
    torch.manual_seed(0)
    config = preset_config(request.param, "smallest")
    network = create_object(request.param, config)
    sizes = {view: network.input_size(view) for view in ("drone", "satellite")}
    card = Card(
        request.param, config, "fresh", "object", "drone", sizes, descriptor=0, tile_size_m=100.0
    )
    path = tmp_path_factory.mktemp("checkpoint") / f"{request.param}.safetensors"
    save_checkpoint(path, network, card)
    return path


def ask(request):
    return run(request, ignore, _Engine("cpu", "eager").answer)


def test_clicks_are_found_explained_corrected_and_exported(place, checkpoint, tmp_path):
    photo = write_photo(tmp_path)
    engine = _Engine("cpu", "eager").answer
    click, tile = patch_at("red"), tile_near(place, "red")
    warmed = run(Warm(checkpoint), ignore, engine)
    assert isinstance(warmed, Warmed)
    assert warmed.card.task == "object"
    request = FindObjects(photo, (click,), place, checkpoint, (tile,), refine=True)
    found = run(request, ignore, engine)
    assert isinstance(found, ObjectsFound), found
    best = found.objects[0].best
    reference = found.references[best.reference]
    maps = run(ExplainObject(photo, click, place, checkpoint, tile), ignore, engine)
    assert isinstance(maps, Explanation), maps
    assert maps.query_maps
    assert maps.tile_maps
    box = (10.0, 10.0, reference.size_px - 10.0, reference.size_px - 10.0)
    kept = run(
        AddCorrection(tmp_path / "mine", photo, click, place, checkpoint, reference, box),
        ignore,
        engine,
    )
    assert kept == CorrectionAdded(tmp_path / "mine", 1)
    path = tmp_path / "a.gpkg"
    assert run(Export(path, (), (found,)), ignore, engine) == Exported(
        path, 2 * len(found.objects[0].boxes)
    )
    assert asdict(found)["crs"] == "EPSG:32631"


def test_what_the_user_can_mend_is_an_answer_in_words(place, checkpoint, tmp_path):
    photo = write_photo(tmp_path)
    request = FindObjects(photo, ((999.0, 1.0),), place, checkpoint, (tile_near(place, "red"),))
    told = ask(request)
    assert isinstance(told, Problem)
    assert "outside" in told.title
    assert not told.trace
    moved = ask(replace(request, photo=tmp_path / "gone.png", clicks=((1.0, 1.0),)))
    assert isinstance(moved, Problem)
    assert not moved.trace


def test_a_click_is_taken_before_a_long_job_that_waits(tmp_path):
    inbox = _Inbox()
    build = BuildGallery(tmp_path, tmp_path, tmp_path)
    click = FindObjects(tmp_path, ((1.0, 1.0),), tmp_path, tmp_path, ("t",))
    inbox.put(1, build)
    inbox.put(2, click)
    assert inbox.take_interactive() == (2, click)
    assert inbox.take() == (1, build)
