"""Clicking objects by mouse and keys in the real window, with a scripted engine."""

from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog

from app.messages import AddCorrection, Export, FindObjects, Problem
from app.ui.map_marks import OBJECT_COLOUR
from app.ui.objects_panel import with_suffix
from tests.ui.object_scene import SIDE, answer_objects, write_finder
from tests.ui.scene import card, write_checkpoint
from tests.ui.test_window import FakeMap

PHOTO = Path("/photos/DJI_0042.JPG")
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def clicking(qtbot, window, rooms, engine, scene, chosen):
    """A located photo on the screen; clicks on it are of objects."""
    with qtbot.waitSignal(rooms.library.finder_chosen):
        rooms.library.choose_checkpoint(write_finder(scene))
    rooms.session.add((PHOTO, PHOTO.with_name("DJI_0043.JPG")))
    scene.answer_all(engine)
    qtbot.keyClick(window, Qt.Key.Key_O)
    qtbot.waitUntil(lambda: window.bench.compare.query.view.has_picture)
    return window


def at(view, x, y):
    """A pixel of the view at a share of its picture."""
    frame = view.frame()
    where = frame.topLeft() + QPoint(round(x * frame.width()), round(y * frame.height()))
    return where.toPoint()


def click(qtbot, window, x, y):
    view = window.bench.compare.query.view
    qtbot.mouseClick(view, LEFT, pos=at(view, x, y))


def drag(qtbot, view, start, end):
    qtbot.mousePress(view, LEFT, pos=start)
    qtbot.mouseMove(view, (start + end) / 2)
    qtbot.mouseMove(view, end)
    qtbot.mouseRelease(view, LEFT, pos=end)


def test_a_click_places_an_object_and_its_line_in_the_list(qtbot, clicking, rooms, engine, scene):
    assert clicking.bench.objects.isVisible()
    assert clicking.actions_by_name["objects"].isChecked()
    click(qtbot, clicking, 0.25, 0.5)
    x, y = engine.sent[engine.job(FindObjects) - 1].clicks[0]
    assert (x, y) == pytest.approx((1000, 1500), abs=25)
    table = clicking.bench.objects.model
    assert table.index(0, 1).data() == "looking…"
    answer_objects(scene, engine)
    box = rooms.objects.current.box
    assert [table.index(0, i).data() for i in range(5)] == [
        "Object 1", str(box.centre), "10.8 × 7.5 m", "3.4 m", "62%",
    ]  # fmt: skip
    assert clicking.bench.compare.tile.title.text() == "Object 1"
    qtbot.waitUntil(lambda: clicking.bench.compare.tile.view.has_overlay)


def test_without_object_mode_a_click_places_nothing(qtbot, clicking, rooms):
    qtbot.keyClick(clicking, Qt.Key.Key_O)
    click(qtbot, clicking, 0.25, 0.5)
    assert rooms.objects.markers == ()
    assert clicking.bench.objects.isHidden()
    assert not clicking.bench.compare.clicks.isChecked()


def test_a_marker_is_dragged_and_the_way_is_undone(qtbot, clicking, rooms):
    click(qtbot, clicking, 0.25, 0.5)
    view, first = clicking.bench.compare.query.view, rooms.objects.current.pin.click
    drag(qtbot, view, at(view, 0.25, 0.5), at(view, 0.75, 0.5))
    assert rooms.objects.current.pin.click == pytest.approx((3000, 1500), abs=30)
    assert len(rooms.objects.markers) == 1
    qtbot.keyClick(clicking, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert rooms.objects.current.pin.click == first


def test_two_quick_clicks_on_one_place_are_one_object(qtbot, clicking, rooms):
    view = clicking.bench.compare.query.view
    click(qtbot, clicking, 0.25, 0.5)
    qtbot.mouseDClick(view, LEFT, pos=at(view, 0.25, 0.5))
    assert len(rooms.objects.markers) == 1
    assert view._zoom is None


def test_the_keys_move_and_delete_the_object_and_not_the_photo(qtbot, clicking, rooms):
    click(qtbot, clicking, 0.25, 0.5)
    view, before = clicking.bench.compare.query.view, rooms.objects.current.pin.click
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert rooms.objects.current.pin.click[0] > before[0]
    assert rooms.objects.current.pin.click[1] == pytest.approx(before[1], abs=0.2)
    qtbot.keyClick(view, Qt.Key.Key_Delete)
    assert rooms.objects.markers == ()
    assert PHOTO in rooms.session.paths
    rooms.objects.undo()
    table = clicking.bench.objects.table
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert rooms.objects.markers == ()
    assert PHOTO in rooms.session.paths


def test_a_marker_at_the_upper_edge_can_be_seen_and_taken(qtbot, clicking, rooms):
    view = clicking.bench.compare.query.view
    view.resize(400, 300)  # as high as the picture
    click(qtbot, clicking, 0.5, 0.01)
    rooms.objects.select(None)
    under = at(view, 0.5, 0.01) + QPoint(0, 22)
    drawn = view.grab().toImage().pixelColor(under + QPoint(8, 0)).name()
    assert drawn == OBJECT_COLOUR
    qtbot.mouseClick(view, LEFT, pos=under)
    assert rooms.objects.current.pin.number == 1
    assert len(rooms.objects.markers) == 1


def test_a_photo_is_clicked_with_the_keyboard_alone(qtbot, clicking, rooms):
    qtbot.keyClick(clicking.bench.compare.query.view, Qt.Key.Key_Return)
    assert rooms.objects.current.pin.click == pytest.approx((2000, 1500), abs=15)


def test_a_box_is_dragged_right_and_kept_as_training_data(qtbot, clicking, rooms, engine, scene):
    click(qtbot, clicking, 0.25, 0.5)
    answer_objects(scene, engine)
    view, box = clicking.bench.compare.tile.view, rooms.objects.current.box.box
    qtbot.waitUntil(lambda: view.has_picture)
    corner = at(view, box[2] / SIDE, box[3] / SIDE)
    drag(qtbot, view, corner, at(view, (box[2] + 40) / SIDE, (box[3] + 40) / SIDE))
    fixed = rooms.objects.current.box.box
    assert fixed[:2] == pytest.approx(box[:2])
    assert fixed[2] > box[2] + 30
    panel = clicking.bench.objects
    assert panel.model.index(0, 4).data() == "by hand"
    panel.add.click()
    assert engine.sent[engine.job(AddCorrection) - 1].box == fixed
    panel.give_up.click()
    assert rooms.objects.current.box.box == box


def test_an_alternative_is_taken_on_the_picture_or_in_the_list(
    qtbot, clicking, rooms, engine, scene
):
    click(qtbot, clicking, 0.25, 0.5)
    answer_objects(scene, engine)
    view, other = clicking.bench.compare.tile.view, rooms.objects.current.boxes[2].box
    qtbot.waitUntil(lambda: view.has_picture)
    middle = at(view, (other[0] + other[2]) / 2 / SIDE, (other[1] + other[3]) / 2 / SIDE)
    qtbot.mouseClick(view, LEFT, pos=middle)
    assert rooms.objects.current.pin.rank == 1  # not shown, not taken
    clicking.bench.objects.others.click()
    qtbot.mouseClick(view, LEFT, pos=middle)
    assert rooms.objects.current.pin.rank == 3
    clicking.bench.objects.boxes.activated.emit(0)
    assert rooms.objects.current.pin.rank == 1


def test_a_refused_click_says_why_and_is_looked_at_anyway(qtbot, clicking, engine):
    click(qtbot, clicking, 0.25, 0.02)
    engine.tell(engine.job(FindObjects), Problem("The click lies on the sky", "Click lower."))
    panel = clicking.bench.objects
    assert panel.said.text() == "The click lies on the sky. Click lower."
    assert panel.said.isVisible()
    panel.anyway.click()
    assert engine.sent[engine.job(FindObjects) - 1].force


def test_an_object_is_renamed_in_the_list(clicking, qtbot, rooms):
    click(qtbot, clicking, 0.25, 0.5)
    model = clicking.bench.objects.model
    model.setData(model.index(0, 0), "Gate")
    assert rooms.objects.current.pin.name == "Gate"


def test_the_map_shows_what_was_found(qtbot, clicking, rooms, engine, scene):
    view = FakeMap()
    clicking.bench.map.adopt(view, view)
    click(qtbot, clicking, 0.25, 0.5)
    assert view.objects == ()
    answer_objects(scene, engine)
    (mark,) = view.objects
    assert (mark.number, mark.is_selected) == (1, True)
    assert mark.polygon == rooms.objects.current.box.polygon


def test_the_map_goes_to_a_photos_first_object_and_then_stays(
    qtbot, clicking, rooms, engine, scene
):
    view = FakeMap()
    clicking.bench.map.adopt(view, view)
    for x in (0.25, 0.75):
        click(qtbot, clicking, x, 0.5)
        answer_objects(scene, engine)
    assert view.fitted == [1]
    rooms.session.step_query(1)
    click(qtbot, clicking, 0.5, 0.5)
    assert view.fitted == [1]
    answer_objects(scene, engine)
    assert view.fitted == [1, 1]
    clicking.bench.objects.to_map.click()
    assert view.fitted == [1, 1, 1]


def test_the_selected_object_stays_in_sight_above_what_is_said_of_it(
    qtbot, clicking, rooms, engine, scene
):
    for number in range(12):
        rooms.objects.place((100.0 * number + 50, 900.0))
    answer_objects(scene, engine)
    rooms.objects.place((1900.0, 5.0))
    engine.tell(engine.job(FindObjects), Problem("On the sky", "Click the object itself."))
    panel = clicking.bench.objects
    qtbot.waitUntil(panel.said.isVisible)
    row = panel.table.currentIndex()
    assert row.row() == 12
    qtbot.waitUntil(
        lambda: panel.table.viewport().rect().contains(panel.table.visualRect(row).center())
    )


def test_the_list_is_copied_and_exported(qtbot, clicking, engine, scene, monkeypatch, rooms):
    panel = clicking.bench.objects
    assert not panel.export.isEnabled()
    click(qtbot, clicking, 0.25, 0.5)
    answer_objects(scene, engine)
    rooms.objects.rename(1, "=Gate")
    panel.copy.click()
    head, line = QGuiApplication.clipboard().text().splitlines()
    assert head.startswith("number\tname\tlat\tlon")
    assert line.startswith("1\t'=Gate\t48.2")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("/x/o", "KML (*.kml)"))
    panel.export.click()
    request = engine.sent[engine.job(Export) - 1]
    assert request.path == Path("/x/o.kml")
    assert request.locations == ()


@pytest.mark.parametrize(
    ("name", "chosen_format", "path"),
    [("a", "CSV (*.csv)", "a.csv"), ("a.KML", "CSV (*.csv)", "a.KML"), ("a.b", "", "a.b.geojson")],
)
def test_a_file_gets_the_suffix_of_its_format(name, chosen_format, path):
    assert with_suffix(name, chosen_format) == Path(path)


def test_a_checkpoint_for_clicks_is_remembered_for_photos_of_its_view(
    qtbot, clicking, rooms, scene, tmp_path
):
    assert rooms.preferences.settings.object_checkpoints == {
        "drone": str(scene.folder / "attengeo-drone.safetensors")
    }
    street = tmp_path / "attengeo-street.safetensors"
    write_checkpoint(street, replace(card("street", "Ours"), task="object", descriptor=0))
    with qtbot.waitSignal(rooms.library.finder_chosen):
        rooms.library.choose_checkpoint(street)
    assert rooms.preferences.settings.object_checkpoints["street"] == str(street)
    assert rooms.library.finder.card.query_view == "drone"
    notice = clicking.notices.notices[-1]
    assert notice.title == "Ours finds clicked objects"
    assert "once street photos are located" in notice.hint
