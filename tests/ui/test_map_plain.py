import math

import pytest
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QHelpEvent, QWheelEvent
from PySide6.QtWidgets import QApplication, QToolTip

from app.geo import LatLon
from app.ui.map_marks import Ground, best_view
from app.ui.map_plain import PlainMap, to_latlon, to_world
from app.ui.map_tiles import find_basemap
from app.ui.theme import DARK
from tests.ui.map_scene import (
    AREA,
    CLAIM,
    COLOURS,
    COLUMN,
    EVIL,
    MIDDLE,
    ROW,
    candidate,
    candidates,
    corner,
    write_gallery,
)


@pytest.fixture
def plain(qtbot, tmp_path):
    plain = PlainMap()
    qtbot.addWidget(plain)
    plain.resize(600, 500)
    plain.show_ground(Ground(find_basemap(write_gallery(tmp_path)), AREA, "nobody"))
    plain.show()
    qtbot.waitExposed(plain)
    yield plain
    plain.shutdown()


def show(plain, shown, claim=None):
    plain.show_candidates(shown, claim, best_view(Ground(area=AREA), shown, claim))


@pytest.mark.parametrize("place", [MIDDLE, LatLon(-33.9, 151.2), LatLon(0.0, -179.9)])
def test_a_place_survives_the_way_to_the_world_and_back(place):
    back = to_latlon(to_world(place))
    assert (back.lat, back.lon) == pytest.approx((place.lat, place.lon), abs=1e-9)


def test_the_poles_stay_on_the_map():
    assert to_world(LatLon(90, 0)).y() == pytest.approx(0.0, abs=1e-5)
    assert to_world(LatLon(-90, 0)).y() == pytest.approx(1.0, abs=1e-5)


def test_the_basemap_lies_the_right_way_up(plain, qtbot):
    places = {"nw": (0.6, 0.4), "ne": (1.6, 0.4), "sw": (0.6, 1.6), "se": (1.6, 1.6)}

    def check():
        picture = plain.grab().toImage()
        drawn = {
            name: picture.pixelColor(
                plain.to_pixel(corner(COLUMN + x, ROW + y)).toPoint()
            ).getRgb()[:3]
            for name, (x, y) in places.items()
        }
        assert drawn == COLOURS

    qtbot.waitUntil(check)


def test_all_candidates_fit_into_the_view(plain):
    show(plain, candidates(12))
    assert all(plain.rect().contains(plain.to_pixel(c.position).toPoint()) for c in candidates(12))


def test_the_view_still_fits_when_the_map_grows(plain, qtbot):
    show(plain, candidates(12))
    before = plain.to_pixel(candidates(12)[0].position)
    plain.resize(900, 800)
    after = plain.to_pixel(candidates(12)[0].position)
    assert after.x() == pytest.approx(450, abs=1)
    assert 400 - after.y() > 250 - before.y()  # further from the middle: it zoomed in


def test_a_click_picks_the_pin_on_top(plain, qtbot):
    show(plain, (candidate(1, MIDDLE), candidate(2, MIDDLE)))
    at = plain.to_pixel(MIDDLE).toPoint()
    with qtbot.waitSignal(plain.picked) as picked:
        qtbot.mouseClick(plain, Qt.MouseButton.LeftButton, pos=at)
    assert picked.args == [1]
    plain.select(2)
    with qtbot.waitSignal(plain.picked) as picked:
        qtbot.mouseClick(plain, Qt.MouseButton.LeftButton, pos=at)
    assert picked.args == [2]


def test_dragging_moves_the_map_and_picks_nothing(plain, qtbot):
    show(plain, candidates(3))
    start = plain.to_pixel(candidates(3)[0].position).toPoint()
    with qtbot.assertNotEmitted(plain.picked):
        qtbot.mousePress(plain, Qt.MouseButton.LeftButton, pos=start)
        qtbot.mouseMove(plain, start + QPoint(60, 40))
        qtbot.mouseRelease(plain, Qt.MouseButton.LeftButton, pos=start + QPoint(60, 40))
    moved = plain.to_pixel(candidates(3)[0].position).toPoint() - start
    assert (moved.x(), moved.y()) == pytest.approx((60, 40), abs=1)


def test_the_wheel_zooms_about_the_pointer(plain):
    show(plain, candidates(3))
    at = QPointF(150, 120)
    before = to_latlon(plain._world(at))
    wheel = QWheelEvent(
        at,
        plain.mapToGlobal(at),
        QPoint(),
        QPoint(0, 240),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    far = plain.to_pixel(candidates(3)[0].position) - at
    QApplication.sendEvent(plain, wheel)
    after = to_latlon(plain._world(at))
    assert (after.lat, after.lon) == pytest.approx((before.lat, before.lon), abs=1e-7)
    nearer = plain.to_pixel(candidates(3)[0].position) - at
    assert math.hypot(nearer.x(), nearer.y()) == pytest.approx(2 * math.hypot(far.x(), far.y()))


def test_keys_move_zoom_and_fit(plain, qtbot):
    show(plain, candidates(3))
    home = plain.to_pixel(MIDDLE)
    for key in (Qt.Key.Key_Plus, Qt.Key.Key_Left, Qt.Key.Key_Up):
        qtbot.keyClick(plain, key)
    assert plain.to_pixel(MIDDLE) != home
    qtbot.keyClick(plain, Qt.Key.Key_C)
    assert plain.to_pixel(MIDDLE) == home


def test_the_pointers_place_is_told_and_its_leaving(plain, qtbot):
    show(plain, candidates(3))
    heard = []
    plain.hovered.connect(heard.append)
    qtbot.mouseMove(plain, plain.to_pixel(MIDDLE).toPoint())
    assert heard[-1].metres_to(MIDDLE) < 5
    QApplication.sendEvent(plain, QEvent(QEvent.Type.Leave))
    assert heard[-1] is None


def test_a_selected_pin_out_of_sight_comes_into_view(plain, qtbot):
    show(plain, candidates(3))
    for _ in range(6):
        qtbot.keyClick(plain, Qt.Key.Key_Plus)
    assert not plain.rect().contains(plain.to_pixel(candidates(3)[0].position).toPoint())
    plain.select(1)
    assert plain.rect().contains(plain.to_pixel(candidates(3)[0].position).toPoint())


def test_a_tooltip_shows_names_as_text(plain):
    show(plain, (candidate(1, MIDDLE, tile=EVIL),))
    at = plain.to_pixel(MIDDLE).toPoint()
    QApplication.sendEvent(plain, QHelpEvent(QEvent.Type.ToolTip, at, plain.mapToGlobal(at)))
    try:
        assert "&lt;img" in QToolTip.text()
        assert "<img" not in QToolTip.text()
    finally:
        QToolTip.hideText()


def test_the_claim_is_seen_around_a_pin_that_lies_on_it(plain):
    show(plain, (candidate(1, CLAIM.position),), CLAIM)
    at = plain.to_pixel(CLAIM.position).toPoint()
    colour = plain.grab().toImage().pixelColor(at + QPoint(-21, 0))
    assert colour.name() == DARK.claim


def test_dark_and_light_differ(plain):
    plain.show_ground(Ground())
    light = plain.grab().toImage().pixelColor(5, 5)
    plain.set_dark(True)
    assert plain.grab().toImage().pixelColor(5, 5).lightness() < light.lightness()
