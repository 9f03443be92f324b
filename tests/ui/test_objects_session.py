"""Clicked objects without a widget: what is asked, what is kept, what can be undone."""

from pathlib import Path

import pytest

from app.messages import (
    AddCorrection,
    Cancelled,
    CorrectionAdded,
    ExplainObject,
    Export,
    Exported,
    FindObjects,
    Locate,
    Problem,
    Warm,
)
from app.ui.clicked_objects import box_between
from app.ui.objects_session import TOP
from app.ui.session import Target
from tests.ui.object_scene import SIDE, answer_objects, found, write_finder

PHOTO, OTHER = Path("/photos/DJI_0042.JPG"), Path("/photos/DJI_0043.JPG")


@pytest.fixture
def finder(scene):
    return write_finder(scene)


@pytest.fixture
def objects(qtbot, rooms, engine, scene, chosen, finder):
    """Two located photos, the first selected; clicks are of objects."""
    with qtbot.waitSignal(rooms.library.finder_chosen):
        rooms.library.choose_checkpoint(finder)
    rooms.session.use(Target(scene.gallery, scene.checkpoint))
    rooms.session.add((PHOTO, OTHER))
    scene.answer_all(engine)
    rooms.objects.switch(True)
    return rooms.objects


def asked(engine):
    """The clicks that are asked and not withdrawn, in the order of asking."""
    return [
        request.clicks[0]
        for job, request in enumerate(engine.sent, 1)
        if isinstance(request, FindObjects) and job not in engine.cancelled
    ]


def numbers(objects):
    return [marker.pin.number for marker in objects.markers]


def test_a_click_is_asked_of_the_chosen_tile_and_answered(objects, engine, scene, rooms, finder):
    assert Warm(finder) in engine.sent
    objects.place((1000.0, 900.0))
    request = engine.sent[engine.job(FindObjects) - 1]
    assert request == FindObjects(
        PHOTO, ((1000.0, 900.0),), scene.gallery, finder, (rooms.session.candidate.tile,)
    )
    assert objects.current.box is None
    engine.tell(engine.job(FindObjects), found(scene, request))
    assert objects.current.box.probability == 0.62
    explain = engine.sent[engine.job(ExplainObject) - 1]
    assert explain.click == (1000.0, 900.0)
    assert explain.centre == (objects.current.reference.x, objects.current.reference.y)


@pytest.fixture
def nothing_ships(monkeypatch):
    monkeypatch.setattr("app.ui.library.shipped_checkpoints", tuple)


def test_without_an_object_checkpoint_a_click_says_where_one_comes_from(
    qtbot, nothing_ships, rooms, engine, scene, chosen
):
    rooms.session.use(Target(scene.gallery, scene.checkpoint))
    rooms.session.add((PHOTO,))
    scene.answer_all(engine)
    rooms.objects.switch(True)
    assert rooms.library.finder is None
    with qtbot.waitSignal(rooms.objects.noted) as said:
        rooms.objects.place((5.0, 5.0))
    assert "Train AttenGeo" in said.args[0]
    assert "DetGeo" in said.args[0]
    assert rooms.objects.markers == ()


def test_a_click_beside_the_photo_is_refused_in_words(qtbot, objects):
    with qtbot.waitSignal(objects.noted) as said:
        objects.place((4001.0, 10.0))
    assert "beside the photo" in said.args[0]
    assert objects.markers == ()


def test_the_newest_click_is_asked_before_those_that_wait(objects, engine, scene):
    for x in (100.0, 200.0, 300.0, 400.0):
        objects.place((x, 100.0))
    assert [click[0] for click in asked(engine)] == [100.0, 200.0]  # what the engine has
    engine.tell(engine.job(FindObjects, 0), Cancelled())
    assert asked(engine)[-1][0] == 400.0


def test_a_moved_marker_withdraws_its_older_question(objects, engine, scene):
    objects.place((100.0, 100.0))
    old = engine.job(FindObjects)
    objects.move(1, (120.0, 100.0))
    assert old in engine.cancelled
    late = found(scene, engine.sent[old - 1])
    engine.tell(old, late)  # it was on its way already
    assert objects.current.box is None
    answer_objects(scene, engine)
    assert objects.current.answer.objects[0].click == (120.0, 100.0)


def test_undo_shows_the_former_answer_without_asking(objects, engine, scene):
    objects.place((1000.0, 900.0))
    answer_objects(scene, engine)
    first = objects.current.box
    objects.move(1, (2000.0, 900.0))
    answer_objects(scene, engine)
    assert objects.current.box != first
    before = len([r for r in engine.sent if isinstance(r, FindObjects)])
    objects.undo()
    assert objects.current.box == first
    objects.undo()
    assert objects.markers == ()
    objects.redo()
    objects.redo()
    assert objects.current.pin.click == (2000.0, 900.0)
    assert len([r for r in engine.sent if isinstance(r, FindObjects)]) == before


def test_steps_of_the_keyboard_are_undone_as_one(objects):
    objects.place((100.0, 100.0))
    for x in (101.0, 102.0, 103.0):
        objects.move(1, (x, 100.0), by_steps=True)
    objects.undo()
    assert objects.current.pin.click == (100.0, 100.0)


def test_a_deleted_object_comes_back_with_its_name(objects):
    for x in (100.0, 200.0):
        objects.place((x, 100.0))
    objects.rename(2, "  Pump\thouse\n")
    objects.delete(2)
    assert numbers(objects) == [1]
    assert objects.current.pin.number == 1
    objects.undo()
    assert objects.current.pin.title == "Pumphouse"


def test_each_photo_has_its_own_objects_and_its_own_undo(objects, rooms):
    objects.place((100.0, 100.0))
    rooms.session.select(OTHER)
    assert objects.markers == ()
    assert not objects.undo_group.canUndo()
    objects.place((50.0, 50.0))
    rooms.session.select(PHOTO)
    assert [m.pin.click for m in objects.markers] == [(100.0, 100.0)]
    objects.undo()
    rooms.session.select(OTHER)
    assert numbers(objects) == [1]


def test_markers_follow_the_candidate_that_is_looked_at(objects, engine, rooms, scene):
    objects.place((100.0, 100.0))
    answer_objects(scene, engine)
    rooms.session.pick(3)
    assert engine.sent[engine.job(FindObjects) - 1].tiles == (rooms.session.candidate.tile,)
    rooms.session.pick(1)
    assert objects.current.box is not None  # known already


def test_the_best_candidates_are_looked_around_at_once(objects, engine, rooms):
    objects.look_wider(True)
    objects.place((100.0, 100.0))
    best = rooms.session.current.answer.candidates[:TOP]
    assert engine.sent[engine.job(FindObjects) - 1].tiles == tuple(c.tile for c in best)


def test_a_refused_click_says_so_and_can_be_forced(objects, engine):
    objects.place((100.0, 5.0))
    engine.tell(engine.job(FindObjects), Problem("The click lies on the sky", "Click lower."))
    assert objects.current.problem.title == "The click lies on the sky"
    objects.look_anyway(1)
    assert engine.sent[engine.job(FindObjects) - 1].force
    engine.tell(engine.job(FindObjects), Problem("The engine stopped"))
    sent = len(engine.sent)
    objects.look_anyway(1)  # once more
    assert len(engine.sent) == sent + 1


def test_a_corrected_box_stays_whichever_tile_is_looked_at(objects, engine, rooms, scene):
    objects.place((1000.0, 900.0))
    answer_objects(scene, engine)
    was = objects.current.box.box
    objects.correct(1, (10.0, 20.0, 40.0, 60.0))
    box = objects.current.box
    assert objects.current.pin.fix.found == was
    assert (box.width_m, box.height_m) == pytest.approx((30 * 80 / SIDE, 40 * 80 / SIDE))
    assert box.error_m is None
    reference = objects.current.reference
    assert box.polygon_xy[0] == reference.to_ground(10.0, 20.0)
    north, south = (reference.footprint[i].lat for i in (0, 3))
    assert box.polygon[0].lat == pytest.approx(north + (south - north) * 20 / SIDE)
    sent = len(engine.sent)
    rooms.session.pick(4)
    assert objects.current.box == box
    assert not any(isinstance(r, FindObjects) for r in engine.sent[sent:])
    objects.give_up_correction(1)
    assert not objects.current.is_fixed


def test_a_correction_is_added_to_the_training_set_once(qtbot, objects, engine, scene):
    objects.place((1000.0, 900.0))
    answer_objects(scene, engine)
    objects.add_to_training(1)
    assert not any(isinstance(r, AddCorrection) for r in engine.sent)  # nothing was corrected
    was = objects.current.box.box
    objects.correct(1, (10.0, 20.0, 40.0, 60.0))
    objects.add_to_training(1)
    request = engine.sent[engine.job(AddCorrection) - 1]
    assert (request.box, request.found) == ((10.0, 20.0, 40.0, 60.0), was)
    with qtbot.waitSignal(objects.noted) as said:
        engine.tell(engine.job(AddCorrection), CorrectionAdded(Path("/mine"), 7))
    assert "7 corrected boxes" in said.args[0]
    assert objects.current.pin.fix.added


def test_the_objects_of_all_photos_are_exported(qtbot, objects, engine, rooms, scene):
    objects.place((1000.0, 900.0))
    objects.place((2000.0, 900.0))
    answer_objects(scene, engine)
    objects.rename(1, "Pump house")
    objects.correct(2, (10.0, 20.0, 40.0, 60.0))
    there = objects.current.reference.tile
    rooms.session.pick(2)  # the corrected one stays where it was found
    here = rooms.session.candidate.tile
    answer_objects(scene, engine)
    rooms.session.select(OTHER)
    objects.place((50.0, 50.0))
    answer_objects(scene, engine)
    objects.export(Path("o.kml"), locations=True)
    request = engine.sent[engine.job(Export) - 1]
    first, second = request.objects
    assert [o.name for o in first.objects] == ["Pump house", "Object 2"]
    assert [o.origin for o in first.objects] == ["", "corrected by hand"]
    assert first.objects[1].best.box == (10.0, 20.0, 40.0, 60.0)
    assert [first.references[o.best.reference].tile for o in first.objects] == [here, there]
    assert second.photo == OTHER
    assert [answer.query.photo for answer in request.locations] == [PHOTO, OTHER]
    with qtbot.waitSignal(objects.noted):
        engine.tell(engine.job(Export), Exported(Path("o.kml"), 6))


def test_an_object_that_came_back_by_undo_is_exported_too(objects, engine, rooms, scene):
    for x in (100.0, 200.0):
        objects.place((x, 100.0))
    answer_objects(scene, engine)
    objects.delete(1)
    objects.undo()
    rooms.session.select(OTHER)
    objects.export(Path("/tmp/o.kml"))
    (answer,) = engine.sent[-1].objects
    assert {found.click[0] for found in answer.objects} == {100.0, 200.0}


def test_a_removed_photo_forgets_its_objects(objects, engine, rooms, scene):
    objects.place((1000.0, 900.0))
    answer_objects(scene, engine)
    rooms.session.remove(PHOTO)
    assert objects.markers == ()
    assert not objects.has_answers
    rooms.session.add((PHOTO,))
    engine.tell(engine.job(Locate), scene.location(PHOTO))
    rooms.session.select(PHOTO)
    assert objects.markers == ()


def test_another_gallery_asks_afresh_when_the_photo_is_located_there(objects, engine, rooms, scene):
    objects.place((1000.0, 900.0))
    answer_objects(scene, engine)
    rooms.session.retry(PHOTO)
    assert "located first" in objects.current.missing
    engine.tell(engine.job(Locate), scene.location(PHOTO))
    assert objects.current.box is not None


def test_a_drawn_box_stays_on_its_picture_and_never_vanishes():
    assert box_between((50, 50), (-20, 400), 192) == (0, 50, 50, 192)
    assert box_between((50, 50), (50, 50), 192) == (50, 50, 52, 52)
    assert box_between((192, 0), (500, 0), 192) == (190, 0, 192, 2)
