"""Pictures come from threads; heatmaps get the ramp's colours and keep their alpha."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QImage

from app.ui.image_view import Compass, ImageView, Scale, wind
from app.ui.pictures import Ask, Pictures
from app.ui.ramp import VIRIDIS


@pytest.fixture
def pictures(qapp):
    pictures = Pictures()
    yield pictures
    pictures.close()


@pytest.fixture
def view(qtbot):
    view = ImageView("Query")
    qtbot.addWidget(view)
    view.resize(400, 300)
    view.show()
    return view


def plain(width, height, colour=0xFF808080):
    image = QImage(width, height, QImage.Format.Format_RGB32)
    image.fill(colour)
    return image


def test_a_picture_is_decoded_once_and_then_at_hand(qtbot, pictures, scene):
    ask = Ask(scene.tile(0), 32)
    with qtbot.waitSignal(pictures.loaded) as loaded:
        assert pictures.get(ask) is None
        assert pictures.get(ask) is None
    assert loaded.args[0] == ask
    assert max(loaded.args[1].width(), loaded.args[1].height()) == 32
    assert pictures.get(ask) is loaded.args[1]


def test_a_file_that_is_no_picture_is_a_null_image(qtbot, pictures, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    with qtbot.waitSignal(pictures.loaded) as loaded:
        pictures.get(Ask(tmp_path / "x.jpg"))
    assert loaded.args[1].isNull()


def test_a_map_takes_the_ramps_colours_and_keeps_its_alpha(qtbot, pictures, tmp_path):
    grey = np.array([[0, 128, 255]], np.uint8)
    alpha = np.array([[255, 255, 0]], np.uint8)
    Image.fromarray(np.stack([grey, alpha], axis=2), "LA").save(tmp_path / "m.png")
    with qtbot.waitSignal(pictures.loaded) as loaded:
        pictures.get(Ask(tmp_path / "m.png", is_map=True))
    image = loaded.args[1]
    assert image.pixelColor(0, 0).rgb() == VIRIDIS[0]
    assert image.pixelColor(1, 0).rgb() == VIRIDIS[128]
    assert image.pixelColor(2, 0).alpha() == 0


def test_the_ramp_gets_lighter_all_the_way():
    light = [0.2126 * (c >> 16 & 255) + 0.7152 * (c >> 8 & 255) + 0.0722 * (c & 255)
             for c in VIRIDIS]  # fmt: skip
    assert all(b > a - 1 for a, b in pairwise(light))  # whole numbers of colour round


def test_a_new_picture_fits_and_zooming_keeps_the_point_under_the_pointer(view):
    view.show_picture(plain(800, 300))
    assert view.zoom == pytest.approx(0.5)
    before = view._to_picture(QPointF(100, 150))
    view.zoom_by(4, QPointF(100, 150))
    after = view._to_picture(QPointF(100, 150))
    assert view.zoom == pytest.approx(2.0)
    assert (after.x(), after.y()) == pytest.approx((before.x(), before.y()), abs=0.01)
    view.fit()
    assert view.zoom == pytest.approx(0.5)


def test_the_wheel_zooms_and_dragging_moves(qtbot, view):
    view.show_picture(plain(800, 600))
    view.zoom_by(4)
    start = view.frame().left()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=view.rect().center())
    qtbot.mouseMove(view, view.rect().center() + QPointF(40, 0).toPoint())
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton)
    assert view.frame().left() == pytest.approx(start + 40, abs=1)


def test_a_sharper_version_of_the_same_picture_keeps_the_view(view):
    view.show_picture(plain(400, 300))
    view.zoom_by(3)
    frame = view.frame()
    view.show_picture(plain(800, 600))
    assert view.frame().width() == pytest.approx(frame.width())
    view.show_picture(plain(300, 300))
    assert view.frame().height() == pytest.approx(300)


def test_the_overlay_is_mixed_by_its_opacity(view):
    view.show_picture(plain(100, 100, 0xFF000000))
    overlay = QImage(10, 10, QImage.Format.Format_ARGB32_Premultiplied)
    overlay.fill(0xFFFFFFFF)
    view.show_overlay(overlay, Scale(0, 1))
    view.set_opacity(0.25)
    assert view.grab().toImage().pixelColor(200, 100).red() == pytest.approx(64, abs=2)
    view.show_overlay(None, None)
    assert view.grab().toImage().pixelColor(200, 100).red() == 0


def test_the_needle_points_to_north(view):
    """The top of the picture faces east, so north is to its left."""
    view.show_picture(plain(400, 300, 0xFF000000))
    view.show_compass(Compass("top", 90.0))
    image = view.grab().toImage()
    middle = (view.width() - 34, 34)
    assert image.pixelColor(middle[0] - 8, middle[1]).name() == "#ff9d3c"
    assert image.pixelColor(middle[0] + 8, middle[1]).name() == "#ffffff"


def test_a_panoramas_winds_stand_over_their_columns(view):
    """Its centre column faces south, so north is at its edge and south in the middle."""
    view.show_picture(plain(400, 200, 0xFF000000))
    view.show_compass(Compass("columns", 180.0))
    row = [view.grab().toImage().pixelColor(x, 50 + y) for x in range(60) for y in range(18)]
    assert any(c.red() > 150 and c.blue() < 100 for c in row)  # the orange N, at the left edge


@pytest.mark.parametrize(("heading", "name"), [(0, "N"), (359, "N"), (46, "NE"), (180, "S")])
def test_winds(heading, name):
    assert wind(heading) == name
