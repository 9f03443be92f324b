"""Checkpoints and galleries: what is chosen, what fits, what fails."""

from dataclasses import replace

import pytest

from app.card import identity_of
from app.messages import (
    NO_JOB,
    DeviceChanged,
    GalleryOpened,
    OpenGallery,
    Problem,
    Warm,
    Warmed,
)
from app.ui.library import Library
from tests.ui.scene import card, manifest, write_checkpoint, write_gallery


@pytest.fixture
def library(engine):
    library = Library(engine)
    yield library
    library.close()


@pytest.fixture
def files(tmp_path):
    """Two checkpoints, and a gallery described by the second."""
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_checkpoint(first, card(title="A"))
    write_checkpoint(second, card(title="B"))
    write_gallery(tmp_path / "town", manifest("Town", checkpoint=identity_of(second)))
    return first, second, tmp_path / "town"


def wait_for(qtbot, library, *, title=None):
    qtbot.waitUntil(
        lambda: (
            library.checkpoint is not None
            and bool(library.checkpoint.sha256)
            and title in (None, library.checkpoint.card.title)
        )
    )


def test_a_chosen_checkpoint_is_loaded_and_its_device_known(qtbot, engine, library, files):
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library)
    assert engine.sent == [Warm(files[0])]
    assert library.is_warming
    engine.tell(1, Warmed(files[0], card(), "cuda:0"))
    assert (library.device, library.is_warming) == ("cuda:0", False)


def test_a_change_of_device_is_shown_for_each_network_and_told_once(qtbot, engine, library, files):
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library)
    engine.tell(1, Warmed(files[0], card(), "cuda:0"))
    news = []
    library.moved.connect(news.append)
    first = DeviceChanged("cpu", "a training uses cuda:0", (files[1],))
    engine.tell(NO_JOB, first)
    assert library.device == "cuda:0"  # that was another network
    engine.tell(NO_JOB, replace(first, checkpoints=(files[0],)))
    assert library.device == "cpu"
    assert news == [first]
    back = DeviceChanged("cuda:0", "a GPU", (files[0],))
    engine.tell(NO_JOB, back)
    engine.tell(NO_JOB, first)
    assert news == [first, back, first]


def test_a_gallery_brings_the_checkpoint_that_described_it(qtbot, engine, library, files):
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library, title="A")
    library.choose_checkpoint(files[1])  # so that both are known
    wait_for(qtbot, library, title="B")
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library, title="A")
    with qtbot.waitSignal(library.paired) as paired:
        library.choose_gallery(files[2])
    assert paired.args[0].path == files[1]
    assert library.checkpoint.card.title == "B"
    assert engine.sent[-1] == OpenGallery(files[2], files[1])


def test_a_checkpoint_chosen_by_hand_stands_even_if_it_does_not_fit(qtbot, engine, library, files):
    library.choose(checkpoint=files[1], gallery=files[2])
    qtbot.waitUntil(lambda: library.gallery is not None)
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library, title="A")
    assert library.fits(library.gallery, library.checkpoint) is False
    assert engine.sent[-1] == OpenGallery(files[2], files[0])


def test_a_file_that_is_no_checkpoint_is_a_problem_and_the_former_stays(
    qtbot, engine, library, files, tmp_path
):
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library)
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    with qtbot.waitSignal(library.failed) as failed:
        library.choose_checkpoint(tmp_path / "c.safetensors")
    assert "c.safetensors is not a Skyfix checkpoint" in failed.args[0].title
    assert library.checkpoint.path == files[0]
    broken = next(e for e in library.checkpoints if e.card is None)
    assert broken.problem == failed.args[0]


def test_an_unfinished_gallery_is_a_problem(qtbot, library, tmp_path):
    (tmp_path / "half").mkdir()
    with qtbot.waitSignal(library.failed) as failed:
        library.choose_gallery(tmp_path / "half")
    assert "not a finished gallery" in failed.args[0].title
    assert library.gallery is None


def test_what_the_engine_remarks_on_a_gallery_is_passed_on(qtbot, engine, library, files):
    library.choose(checkpoint=files[1], gallery=files[2])
    qtbot.waitUntil(lambda: any(isinstance(r, OpenGallery) for r in engine.sent))
    noted = []
    library.noted.connect(noted.append)
    engine.tell(engine.job(OpenGallery), GalleryOpened(files[2], manifest(), "its imagery moved"))
    assert noted == ["its imagery moved"]


def test_the_answer_to_an_older_choice_is_not_heard(qtbot, engine, library, files):
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library, title="A")
    library.choose_checkpoint(files[1])
    wait_for(qtbot, library, title="B")
    failed = []
    library.failed.connect(failed.append)
    engine.tell(1, Problem("a.safetensors is damaged"))
    assert failed == []
    assert engine.cancelled == [1]
    assert library.is_warming


def test_a_checkpoint_for_clicks_is_not_one_to_locate_with(
    qtbot, engine, library, files, tmp_path, monkeypatch
):
    monkeypatch.setattr("app.ui.library.shipped_checkpoints", tuple)
    library.choose_checkpoint(files[0])
    wait_for(qtbot, library, title="A")
    finder = tmp_path / "finder.safetensors"
    write_checkpoint(finder, replace(card(title="Finder"), task="object", descriptor=0))
    with qtbot.waitSignal(library.finder_chosen):
        library.choose_checkpoint(finder)
    assert library.checkpoint.card.title == "A"
    assert library.finder.path == finder
    assert finder not in [entry.path for entry in library.locators]
    assert [entry.path for entry in library.finders] == [finder]
    assert Warm(finder) not in engine.sent
    library.close()


@pytest.fixture
def finders(tmp_path, monkeypatch):
    """For each view a shipped checkpoint for clicks, and one of the user's that sorts first."""
    ship = tmp_path / "resources" / "checkpoints"
    monkeypatch.setattr("app.ui.library.resources", lambda: tmp_path / "resources")
    monkeypatch.setattr(
        "app.ui.library.shipped_checkpoints", lambda: tuple(sorted(ship.glob("*.safetensors")))
    )
    made = {}
    for view in ("drone", "street"):
        seen = card(view, view)
        write_checkpoint(tmp_path / f"locates-{view}.safetensors", seen)
        clicks = replace(seen, task="object", descriptor=0)
        for name, folder in (("mine", tmp_path), ("ships", ship)):
            folder.mkdir(parents=True, exist_ok=True)
            made[name, view] = folder / f"{name}-{view}.safetensors"
            write_checkpoint(made[name, view], replace(clicks, title=f"{name} {view}"))
    return made


def test_clicks_use_what_ships_for_the_photos_view_until_the_user_chooses(
    qtbot, engine, finders, tmp_path
):
    library = Library(engine, checkpoints=[str(path) for path in finders.values()])
    for view in ("drone", "street"):
        library.choose_checkpoint(tmp_path / f"locates-{view}.safetensors")
        wait_for(qtbot, library, title=view)
        assert library.finder.path == finders["ships", view]
        assert {e.path for e in library.finders} == {
            finders["ships", view],
            finders["mine", view],
        }
    with qtbot.waitSignal(library.finder_chosen) as chosen:
        library.choose_checkpoint(finders["mine", "drone"])  # while panoramas are located
    assert chosen.args[0].path == finders["mine", "drone"]
    assert library.finder.path == finders["ships", "street"]
    library.choose_checkpoint(tmp_path / "locates-drone.safetensors")
    wait_for(qtbot, library, title="drone")
    assert library.finder.path == finders["mine", "drone"]
    library.close()


def test_the_choice_for_clicks_is_remembered_for_each_view(qtbot, engine, finders, tmp_path):
    library = Library(engine, finders={"drone": finders["mine", "drone"]})
    for view, name in (("drone", "mine"), ("street", "ships")):
        library.choose_checkpoint(tmp_path / f"locates-{view}.safetensors")
        wait_for(qtbot, library, title=view)
        assert library.finder.path == finders[name, view]
    library.close()
