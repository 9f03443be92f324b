"""An engine that shares its GPU: what it leaves to trainings, how it goes on where it is full."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine import devices, doctor
from app.engine.checkpoints import load_checkpoint
from app.engine.devices import Device
from app.engine.explain import explain
from app.engine.gallery_build import build_gallery
from app.engine.locate import locate
from app.engine.object_explain import explain_object
from app.engine.objects import find_objects
from app.engine.sharing import RETURN_BYTES
from app.engine.shelf import Shelf
from app.errors import UserError
from app.messages import (
    BuildGallery,
    DeviceChanged,
    Explain,
    ExplainObject,
    FindObjects,
    Locate,
    Progress,
)
from tests.engine.block_place import make_gallery, patch_at, write_photo
from tests.engine.fake_gpu import NAME, FakeGpu, too_full
from tests.engine.small_town import TILE_M, Town, make_town
from tests.engine.stand_in_objects import StandInShelf
from tests.engine.test_objects import tile_near

FULL = f"the memory of {NAME} is full"
TRAINED = f"a training uses {NAME}"


@pytest.fixture(scope="module")
def town(tmp_path_factory) -> Town:
    return make_town(tmp_path_factory.getbasetemp() / "small-town")


@pytest.fixture
def gpu(monkeypatch) -> FakeGpu:
    return FakeGpu().install(monkeypatch)


@pytest.fixture
def told() -> list:
    return []


@pytest.fixture
def shelf(tmp_path, gpu, told) -> Shelf:
    return Shelf(NAME, tmp_path / "cache", tell=told.append)


@pytest.fixture
def other(town, tmp_path) -> Path:
    """Another file of the same checkpoint."""
    path = tmp_path / "other.safetensors"
    path.write_bytes(town.checkpoint.read_bytes())
    return path


def pictures(count=6):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


# --- memory that does not suffice ---


def test_what_others_hold_is_freed_first_and_then_it_fits(town, other, shelf, gpu, told):
    idle = shelf.checkpoint(other)
    checkpoint = shelf.checkpoint(town.checkpoint)
    calls = too_full(checkpoint, "describe", lambda call, _: call == 2)
    checkpoint.describe(pictures(), "drone", batch=2)
    assert calls == [NAME] * 4  # three batches, one of them twice
    assert gpu.given_back > 0
    assert told == []
    assert shelf.checkpoint(town.checkpoint) is checkpoint
    assert shelf.checkpoint(other) is not idle


def test_what_never_fits_is_described_by_the_cpu_and_told_once(town, shelf, told):
    expected = load_checkpoint(town.checkpoint, device="cpu").describe(pictures(), "drone")
    checkpoint = shelf.checkpoint(town.checkpoint)
    calls = too_full(checkpoint, "describe")
    for _ in range(2):
        found = checkpoint.describe(pictures(), "drone", batch=4)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # Four, once more when all is freed, halves, one; then on the CPU as it was asked for.
    assert calls == [NAME] * 4 + ["cpu"] * 4
    assert told == [DeviceChanged("cpu", FULL, (town.checkpoint,))]
    assert checkpoint.device == Device("cpu", FULL)
    assert checkpoint.computed_by == "cpu"


def test_rows_described_before_the_memory_ran_out_are_kept(town, shelf):
    expected = load_checkpoint(town.checkpoint, device="cpu").describe(pictures(), "drone")
    checkpoint = shelf.checkpoint(town.checkpoint)
    calls = too_full(checkpoint, "describe", lambda call, _: call > 2)
    found = checkpoint.describe(pictures(), "drone", batch=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert calls[:2] == [NAME] * 2
    assert calls.count("cpu") == 1


def test_a_checkpoint_on_its_own_moves_too(town, gpu):
    checkpoint = load_checkpoint(town.checkpoint, device=gpu.choose())
    too_full(checkpoint, "describe")
    assert checkpoint.describe(pictures(), "drone").shape == (6, checkpoint.network.descriptor)
    assert checkpoint.device.name == "cpu"


def test_where_the_cpu_is_too_small_as_well_it_is_said(town, shelf):
    checkpoint = shelf.checkpoint(town.checkpoint)

    def refuse(images, view):
        raise torch.OutOfMemoryError("out of memory")

    checkpoint.network.describe = refuse
    with pytest.raises(UserError, match="memory of cpu does not suffice"):
        checkpoint.describe(pictures(), "drone")


def test_another_error_of_the_gpu_is_not_taken_for_a_full_memory(town, shelf, told):
    checkpoint = shelf.checkpoint(town.checkpoint)

    def fail(images, view):
        raise RuntimeError("CUDA error: device-side assert triggered")

    checkpoint.network.describe = fail
    with pytest.raises(RuntimeError, match="device-side assert"):
        checkpoint.describe(pictures(), "drone")
    assert (checkpoint.device.name, told) == (NAME, [])


@pytest.mark.parametrize(
    "words", ["CUDA error: out of memory", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"]
)
def test_libraries_that_say_it_in_their_own_way_are_understood(words):
    assert devices.is_out_of_memory(RuntimeError(words))
    assert not devices.is_out_of_memory(RuntimeError("an illegal memory access"))


def test_a_network_that_does_not_fit_at_all_is_loaded_on_the_cpu(
    town, shelf, gpu, told, monkeypatch
):
    from app.engine import checkpoints

    real = checkpoints.to_device

    def to_device(network, device):
        if device.name == NAME:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(network, device)

    monkeypatch.setattr(checkpoints, "to_device", to_device)
    assert shelf.checkpoint(town.checkpoint).device == Device("cpu", FULL)
    assert told == [DeviceChanged("cpu", FULL, (town.checkpoint,))]


def test_a_gpu_that_is_full_from_the_start_is_told_and_tried_again_later(town, shelf, gpu, told):
    gpu.free = 100 << 20
    assert shelf.checkpoint(town.checkpoint).device.name == "cpu"
    gpu.free += RETURN_BYTES
    assert shelf.checkpoint(town.checkpoint).device.name == NAME
    assert [event.device for event in told] == ["cpu", NAME]
    assert "100 MiB" in told[0].reason


def test_a_network_returns_only_when_others_gave_memory_back(town, shelf, gpu, told):
    checkpoint = shelf.checkpoint(town.checkpoint)
    too_full(checkpoint, "describe")
    checkpoint.describe(pictures(), "drone")
    gpu.free += RETURN_BYTES - 1
    assert shelf.checkpoint(town.checkpoint) is checkpoint
    gpu.free += 1
    fresh = shelf.checkpoint(town.checkpoint)
    assert fresh.device.name == NAME
    assert told[1:] == [DeviceChanged(NAME, gpu.reason, (town.checkpoint,))]
    assert shelf.checkpoint(town.checkpoint) is fresh
    assert len(told) == 2


def test_weights_that_moved_while_a_picture_was_described_can_still_learn(town, shelf):
    checkpoint = shelf.checkpoint(town.checkpoint)
    checkpoint.network.to(memory_format=torch.contiguous_format)  # so that moving copies, as a GPU
    with torch.inference_mode():
        checkpoint.move(Device("cpu", "moved"))
    assert not any(weights.is_inference() for weights in checkpoint.network.parameters())


# --- each kind of question is answered all the same ---


def test_a_photo_is_located_when_the_memory_runs_out(town, shelf, told):
    too_full(shelf.checkpoint(town.checkpoint), "describe", lambda call, _: call > 1)
    answer = locate(Locate(town.photo(38, 90.0), town.gallery, town.checkpoint), shelf)
    assert answer.best.tile == town.open().ids[38]
    assert answer.device == "cpu"
    assert len(told) == 1


def test_heatmaps_are_drawn_when_the_memory_runs_out(town, shelf, told):
    too_full(shelf.checkpoint(town.checkpoint), "explain")
    request = Explain(town.photo(38, 0.0), town.gallery, town.checkpoint, town.open().ids[38])
    assert explain(request, shelf).query_maps
    assert len(told) == 1


@pytest.mark.parametrize("act", ["encode_query", "encode_satellite", "find"])
def test_objects_are_found_when_the_memory_runs_out(act, tmp_path, gpu, told):
    shelf, place = object_shelf(tmp_path, told), make_gallery(tmp_path / "place")
    photo = write_photo(tmp_path)
    tile = tile_near(place, "red")
    request = FindObjects(photo, (patch_at("red"),), place, tmp_path / "c", (tile,), refine=True)
    expected = find_objects(request, shelf)
    shelf.sharing.drop_idle(None)
    too_full(shelf.tenant, act)
    found = find_objects(request, shelf)
    assert found.objects == expected.objects
    assert (expected.device, found.device) == (NAME, "cpu")
    assert [event.device for event in told] == ["cpu"]


def test_object_maps_are_drawn_when_the_memory_runs_out(tmp_path, gpu, told):
    shelf, place = object_shelf(tmp_path, told), make_gallery(tmp_path / "place")
    too_full(shelf.tenant, "explain")
    tile = tile_near(place, "red")
    request = ExplainObject(write_photo(tmp_path), patch_at("red"), place, tmp_path / "c", tile)
    assert explain_object(request, shelf).query_maps
    assert len(told) == 1


def object_shelf(tmp_path, told):
    """Of which the stand-in lies on the fake GPU, and is one and the same each time."""

    class OnGpu(StandInShelf):
        def object_checkpoint(self, path):
            return self.tenant

    shelf = OnGpu(tmp_path / "cache")
    shelf.tenant = StandInShelf.object_checkpoint(shelf, tmp_path / "c")
    shelf.tenant.sharing, shelf.tenant.device = shelf.sharing, Device(NAME, "")
    shelf.sharing.tell = told.append
    return shelf


# --- trainings come first ---


def test_a_training_that_begins_gets_the_gpu_at_once(town, other, shelf, gpu, told):
    loaded = [shelf.checkpoint(path) for path in (town.checkpoint, other)]
    before = gpu.given_back
    shelf.sharing.claim((NAME,))
    assert {one.device for one in loaded} == {Device("cpu", TRAINED)}
    assert gpu.given_back > before
    assert told == [DeviceChanged("cpu", TRAINED, tuple(sorted((town.checkpoint, other))))]
    shelf.sharing.claim((NAME,))
    assert len(told) == 1
    assert shelf.checkpoint(town.checkpoint).describe(pictures(), "drone").shape[0] == 6


def test_a_training_elsewhere_changes_nothing(town, shelf, told):
    checkpoint = shelf.checkpoint(town.checkpoint)
    shelf.sharing.claim(("cuda:7",))
    assert (checkpoint.device.name, told) == (NAME, [])


def test_what_is_loaded_while_a_training_runs_goes_to_the_cpu(town, shelf, told):
    shelf.sharing.claim((NAME,))
    assert told == []  # nobody was there
    assert shelf.checkpoint(town.checkpoint).device == Device("cpu", TRAINED)
    assert told == [DeviceChanged("cpu", TRAINED, (town.checkpoint,))]


def test_a_network_that_found_no_room_tries_again_after_the_training(town, shelf, told):
    too_full(shelf.checkpoint(town.checkpoint), "describe")
    shelf.checkpoint(town.checkpoint).describe(pictures(), "drone")
    shelf.sharing.claim((NAME,))
    shelf.sharing.claim(())
    assert shelf.checkpoint(town.checkpoint).device.name == NAME


def test_after_the_training_the_next_load_is_on_the_gpu_again(town, shelf, gpu, told):
    shelf.checkpoint(town.checkpoint)
    shelf.sharing.claim((NAME,))
    away = shelf.checkpoint(town.checkpoint)
    assert away.device.name == "cpu"
    shelf.sharing.claim(())
    assert len(told) == 1
    back = shelf.checkpoint(town.checkpoint)
    assert back is not away
    assert back.device == Device(NAME, gpu.reason)
    assert told[1:] == [DeviceChanged(NAME, gpu.reason, (town.checkpoint,))]


def test_a_gallery_goes_on_building_when_a_training_takes_its_gpu(town, shelf, told, tmp_path):
    """Claimed from within the build's own report, as the worker lets it in."""
    checkpoint = shelf.checkpoint(town.checkpoint)
    calls = too_full(checkpoint, "describe", lambda call, _: False)

    def report(body):
        if isinstance(body, Progress) and body.done >= 16:
            shelf.sharing.claim((NAME,))

    request = BuildGallery(
        town.folder / "town.tif", town.checkpoint, tmp_path / "g", tile_size_m=TILE_M
    )
    built = build_gallery(request, checkpoint, report)
    assert built.manifest.tiles == town.open().manifest.tiles
    assert (calls[0], calls[-1]) == (NAME, "cpu")
    rows = np.load(tmp_path / "g" / "descriptors.npy")
    np.testing.assert_allclose(rows, town.open().descriptors, atol=2e-3)
    assert len(told) == 1


def test_a_network_that_nobody_keeps_any_more_is_not_held_by_the_list(town, shelf, other):
    shelf.checkpoint(other)
    shelf.sharing.drop_idle(None)
    assert shelf.sharing.places == ()
    shelf.checkpoint(town.checkpoint)
    assert [place.name for _, place in shelf.sharing.places] == [NAME]


def test_the_doctor_tells_where_networks_are_and_leaves_a_trained_gpu_alone(
    town, shelf, monkeypatch
):
    shelf.checkpoint(town.checkpoint)
    shelf.sharing.claim((NAME,))
    monkeypatch.setattr(doctor, "_resources", lambda: iter(()))
    monkeypatch.setattr(doctor.paths, "shipped_checkpoints", lambda: (town.checkpoint,))
    found = doctor.diagnose(NAME, "eager", sharing=shelf.sharing).findings
    told = [(f.name, f.words) for f in found if f.area == "Device"]
    assert ("Loaded", f"{shelf.checkpoint(town.checkpoint).card.title} on cpu: {TRAINED}") in told
    assert ("Chosen", f"cpu: {TRAINED}") in told
    assert next(f.severity for f in found if f.area == "Execution") == "good"


# --- on a real GPU ---


@pytest.mark.gpu
def test_on_a_full_gpu_a_photo_is_located_by_the_cpu_and_later_by_the_gpu_again(town, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    told: list = []
    shelf = Shelf("auto", tmp_path / "cache", tell=told.append)
    request = Locate(town.photo(38, 90.0), town.gallery, town.checkpoint)
    checkpoint = shelf.checkpoint(town.checkpoint)
    assert checkpoint.device.name == "cuda:0"
    _, total = torch.cuda.mem_get_info()
    # This process may take no more than it has: as if others had the rest.
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved() / total)
    blocks = []
    for size in (2 << 20, 64 << 10, 512):
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                blocks.append(torch.empty(size, dtype=torch.uint8, device="cuda:0"))
    try:
        answer = locate(request, shelf)
    finally:
        blocks.clear()
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert answer.device == "cpu"
    assert answer.best.tile == town.open().ids[38]
    shelf.sharing.claim(("cuda:0",))
    assert shelf.checkpoint(town.checkpoint).device.name == "cpu"
    shelf.sharing.claim(())
    again = locate(replace(request, photo=town.photo(38, 180.0)), shelf)
    assert again.device == "cuda:0"
    assert [event.device for event in told] == ["cpu", "cuda:0"]
