"""Clicked objects on both maps: outline, number, tooltip, and the way to them."""

import pytest
from PySide6.QtGui import QColor

from app.geo import LatLon
from app.ui.map_marks import OBJECT_COLOUR, OBJECT_PICKED, Ground, ObjectMark
from app.ui.map_plain import PlainMap
from app.ui.map_view import MapView
from tests.ui.map_scene import AREA, EVIL, MANIFEST, MIDDLE, candidates, write_gallery
from tests.ui.test_map_view import ask, wait_until


def mark(number, *, north=0.0, is_selected=False, name="Gate"):
    d, place = 1e-4, LatLon(MIDDLE.lat + north, MIDDLE.lon)
    corners = ((d, -d), (d, d), (-d, d), (-d, -d))
    polygon = tuple(LatLon(place.lat + dy, place.lon + dx) for dy, dx in corners)
    return ObjectMark(number, polygon, place, (name, str(place)), is_selected)


@pytest.fixture
def plain(qtbot):
    plain = PlainMap()
    qtbot.addWidget(plain)
    plain.resize(600, 500)
    plain.show_ground(Ground(None, AREA, "nobody"))
    plain.show()
    qtbot.waitExposed(plain)
    yield plain
    plain.shutdown()


def colour_at(plain, place, *, right=0, down=0):
    at = plain.to_pixel(place).toPoint()
    return plain.grab().toImage().pixelColor(at.x() + right, at.y() + down)


def test_an_object_is_a_square_on_its_outline(plain):
    shown = mark(2), mark(3, north=0.001, is_selected=True)
    plain.show_objects(shown)
    plain.fit_object()
    wide = abs((plain.to_pixel(shown[1].polygon[1]) - plain.to_pixel(shown[1].polygon[0])).x())
    assert wide > 60  # brought near
    assert colour_at(plain, shown[1].centre, right=-7) == QColor(OBJECT_PICKED)
    edge = LatLon(shown[1].polygon[0].lat, shown[1].centre.lon)
    assert colour_at(plain, edge) == QColor(OBJECT_PICKED)
    assert plain._lines_at(plain.to_pixel(shown[1].centre)) == shown[1].lines
    plain.show_objects((shown[0],))
    plain.fit_gallery()
    assert colour_at(plain, shown[0].centre, right=-7) == QColor(OBJECT_COLOUR)
    assert colour_at(plain, shown[1].centre, right=-7) != QColor(OBJECT_PICKED)


def test_the_web_map_shows_the_same_and_believes_no_name(qtbot, tmp_path):
    gallery = write_gallery(tmp_path)
    view = MapView()
    qtbot.addWidget(view)
    view.resize(600, 500)
    view.show_gallery(gallery, MANIFEST)
    view.show_candidates(candidates(3), None)
    view.show_objects((mark(2, name=EVIL), mark(3, north=0.001, is_selected=True, name=EVIL)))
    with qtbot.waitSignal(view.ready, timeout=60_000):
        view.show()
    wait_until(lambda: ask(view, "document.querySelectorAll('.object').length") == 2)
    assert ask(view, "[...document.querySelectorAll('.object')].map(o => o.textContent)") == [
        "2",
        "3",
    ]
    legend = 'document.querySelector(".legend").textContent'
    assert "clicked object" in ask(view, legend)
    before = ask(view, "map_skyfix.getZoom()")
    view.fit_object()
    wait_until(lambda: ask(view, "map_skyfix.getZoom()") > before)
    assert ask(view, "document.querySelectorAll('img[onerror]').length") == 0
    view.show_objects(())
    wait_until(lambda: ask(view, "document.querySelectorAll('.object').length") == 0)
    assert "clicked object" not in ask(view, legend)
    assert "rank 2 to 3" in ask(view, legend)
    view.shutdown()
