"""What was clicked in a photo is there again when the photo is."""

import json
from dataclasses import replace

import pytest

from app.messages import Export, FindObjects
from app.ui.clicked_objects import Fix, Pin
from app.ui.library import Library
from app.ui.object_memory import ObjectMemory
from app.ui.object_record import Record, read_record, record_text
from app.ui.objects_session import ObjectsSession
from app.ui.session import LocateSession, Target
from tests.ui.object_scene import answer_objects, found, reference, write_finder
from tests.ui.scene import ScriptedEngine


class Desk:
    """A start of the window, without widgets."""

    def __init__(self, qtbot, scene, folder):
        self.engine, self.scene, self.qtbot = ScriptedEngine(), scene, qtbot
        self.session, self.library = LocateSession(self.engine), Library(self.engine)
        self.memory = ObjectMemory(lambda: folder)
        self.objects = ObjectsSession(self.engine, self.session, self.library, self.memory)
        with qtbot.waitSignal(self.library.finder_chosen):
            self.library.choose_checkpoint(write_finder(scene))
        self.session.use(Target(scene.gallery, scene.checkpoint))
        self.objects.switch(True)

    def open(self, *photos):
        """Listed, and what is kept of the last one is known."""
        last = photos[-1]
        with self.qtbot.waitSignal(self.memory.recalled, check_params_cb=lambda p, _: p == last):
            self.session.add(photos)

    def locate(self):
        self.scene.answer_all(self.engine)
        answer_objects(self.scene, self.engine)

    def close(self):
        self.objects.close()
        self.library.close()


@pytest.fixture
def start(qtbot, scene, tmp_path):
    """Opens the window anew; the one before it is closed."""
    desks = []

    def begin():
        for desk in desks:
            desk.close()
        desks.append(Desk(qtbot, scene, tmp_path / "kept"))
        return desks[-1]

    yield begin
    desks[-1].close()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "DJI_0042.JPG"
    path.write_bytes(bytes(range(256)) * 900)
    return path


def clicked(desk, photo):
    """Two objects in a photo: one with a name, one with a corrected box."""
    desk.open(photo)
    desk.locate()
    for x in (1000.0, 2000.0):
        desk.objects.place((x, 900.0))
        answer_objects(desk.scene, desk.engine)
    desk.objects.rename(1, "Brücke 東京")
    desk.objects.correct(2, (10.0, 20.0, 40.5, 60.0))
    return desk.objects.markers


def test_objects_are_found_again_in_a_photo_that_was_moved(start, photo, tmp_path):
    before = clicked(start(), photo)
    desk = start()
    desk.open(photo.rename(tmp_path / "elsewhere.jpg"))
    assert [marker.pin for marker in desk.objects.markers] == [marker.pin for marker in before]
    desk.locate()
    assert [marker.box for marker in desk.objects.markers] == [marker.box for marker in before]
    asked = [r.clicks for r in desk.engine.sent if isinstance(r, FindObjects)]
    assert asked == [((1000.0, 900.0),)]  # the corrected one needs no answer
    desk.objects.delete(1)
    desk.objects.undo()
    assert desk.objects.markers[0].pin.title == "Brücke 東京"


def test_what_was_found_is_exported_without_looking_at_each_photo_again(start, photo, tmp_path):
    clicked(start(), photo)
    other = tmp_path / "other.jpg"
    other.write_bytes(b"another")
    desk = start()
    desk.open(other, photo)
    desk.objects.export(tmp_path / "o.kml")
    (answer,) = desk.engine.sent[desk.engine.job(Export) - 1].objects
    assert [one.name for one in answer.objects] == ["Brücke 東京", "Object 2"]


def test_another_photo_of_the_same_name_and_size_has_no_objects(start, photo):
    clicked(start(), photo)
    desk = start()
    photo.write_bytes(b"\x01" + photo.read_bytes()[1:])
    desk.open(photo)
    assert desk.objects.markers == ()


def test_a_photo_whose_objects_were_all_deleted_has_no_file(start, photo, tmp_path):
    clicked(start(), photo)
    desk = start()
    assert len(list((tmp_path / "kept").iterdir())) == 1
    desk.open(photo)
    desk.objects.delete(1)
    desk.objects.delete(2)
    desk.close()
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_photo_that_was_removed_brings_its_objects_back(start, photo):
    desk = start()
    clicked(desk, photo)
    desk.session.clear()
    assert not desk.objects.has_answers
    desk.open(photo)
    assert len(desk.objects.markers) == 2


def test_a_click_waits_until_it_is_known_what_is_kept(qtbot, start, photo):
    clicked(start(), photo)
    desk = start()
    desk.session.add((photo,))
    desk.locate()
    with qtbot.waitSignal(desk.objects.noted) as said:
        desk.objects.place((5.0, 5.0))
    assert "still being read" in said.args[0]
    qtbot.waitUntil(lambda: len(desk.objects.markers) == 2)
    desk.objects.place((5.0, 5.0))
    assert [marker.pin.number for marker in desk.objects.markers] == [1, 2, 3]


def test_a_damaged_record_is_set_aside_and_not_written_over(start, photo, tmp_path):
    clicked(start(), photo)
    desk = start()
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text("{", encoding="utf-8")
    desk.open(photo)
    assert desk.objects.markers == ()
    assert file.with_suffix(".unreadable").read_text(encoding="utf-8") == "{"


def test_what_cannot_be_saved_is_told(qtbot, start, photo, tmp_path):
    (tmp_path / "kept").write_text("no folder", encoding="utf-8")
    desk = start()
    with qtbot.waitSignal(desk.objects.failed) as told:
        clicked(desk, photo)
    assert "DJI_0042.JPG could not be saved" in told.args[0].title
    assert "export" in told.args[0].hint


@pytest.fixture
def record(scene, photo):
    request = FindObjects(photo, ((5.0, 6.5),), scene.gallery, scene.checkpoint, ("r001c002",))
    answer = found(scene, request)
    answer = replace(answer, objects=(replace(answer.objects[0], boxes=answer.objects[0].boxes),))
    fix = Fix(answer, reference(scene), (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.5, 4.0), added=True)
    return Record((Pin(1, (5.0, 6.5)), Pin(4, (7.0, 8.0), "東京", 2, fix=fix)), ((1, answer),))


def test_a_record_is_read_as_it_was_written(record, photo):
    assert read_record(record_text(photo, record)) == record


def test_fields_of_a_newer_program_are_left_out(record, photo):
    body = json.loads(record_text(photo, record))
    body["pins"][0]["colour"] = "blue"
    assert read_record(json.dumps(body)) == record


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.pop("format"),
        lambda body: body.update(format=2),
        lambda body: body["pins"][0].update(number="one"),
        lambda body: body["pins"][0].update(click=[1.0]),
        lambda body: body["pins"][0].pop("number"),
        lambda body: body.update(pins=7),
    ],
)
def test_what_is_no_record_is_a_value_error(record, photo, change):
    body = json.loads(record_text(photo, record))
    change(body)
    with pytest.raises(ValueError, match=r"format|record|argument"):
        read_record(json.dumps(body))
