"""The window with a scripted engine: photos in, answers on the panels, keys, notices."""

from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl, Signal
from PySide6.QtGui import QDropEvent, QGuiApplication, QImage
from PySide6.QtWidgets import QWidget

from app.geo import LatLon
from app.messages import (
    NO_JOB,
    BuildGallery,
    Cancelled,
    DeviceChanged,
    GalleryBuilt,
    Locate,
    Problem,
    Warm,
    Warmed,
)
from app.settings import load_settings
from app.ui.actions import ACTS, FURTHER_KEYS, HelpSheet
from app.ui.build_gallery_dialog import BuildGalleryDialog
from app.ui.demo_cases import demo_case
from app.ui.theme import DARK, LIGHT, apply_theme, is_dark
from tests.ui.scene import manifest

PHOTO = Path("/photos/DJI_0042.JPG")


def drop(window, *urls):
    data = QMimeData()
    data.setUrls([QUrl(u) if "://" in str(u) else QUrl.fromLocalFile(str(u)) for u in urls])
    where, left, none = QPointF(10, 10), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(where, Qt.DropAction.CopyAction, data, left, none))


@pytest.fixture
def located(window, rooms, engine, scene, chosen):
    """Three located queries, the first selected."""
    rooms.session.add(PHOTO.with_name(f"DJI_004{n}.JPG") for n in (2, 3, 4))
    scene.answer_all(engine)
    return window


class FakeMap(QWidget):
    picked = Signal(int)
    hovered = Signal(object)

    def __init__(self):
        super().__init__()
        self.gallery, self.candidates, self.rank, self.closed = None, (), None, False
        self.fitted = []  # object numbers

    def show_gallery(self, folder, manifest):
        self.gallery = folder

    def show_candidates(self, candidates, claim):
        self.candidates, self.claim = candidates, claim

    def show_objects(self, objects):
        self.objects = objects

    def select(self, rank):
        self.rank = rank

    def set_dark(self, dark):
        self.dark = dark

    def fit_candidates(self):
        pass

    def fit_object(self):
        self.fitted += [mark.number for mark in self.objects if mark.is_selected]

    def fit_gallery(self):
        pass

    def shutdown(self):
        self.closed = True


def test_a_dropped_photo_is_sent_and_the_others_are_named(qtbot, window, engine, chosen, tmp_path):
    (tmp_path / "Foto ü.jpg").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    drop(window, tmp_path / "Foto ü.jpg", tmp_path / "notes.txt", "https://example.org/a.jpg")
    qtbot.waitUntil(lambda: any(isinstance(r, Locate) for r in engine.sent))
    assert engine.sent[-1].photo == tmp_path / "Foto ü.jpg"
    said = "\n".join(f"{n.title} {n.hint}" for n in window.notices.notices)
    assert "notes.txt" in said
    assert "https://example.org/a.jpg: not on this computer" in said
    assert window.pages.currentWidget() is window.bench


def test_a_change_of_device_is_told_calmly_and_shown(window, rooms, engine, chosen):
    path = rooms.library.checkpoint.path
    engine.tell(engine.job(Warm), Warmed(path, rooms.library.checkpoint.card, "cuda:0"))
    assert window.status.device.words.accessibleName() == "Device: cuda:0"
    engine.tell(NO_JOB, DeviceChanged("cpu", "a training uses cuda:0", (path,)))
    (notice,) = window.notices.notices
    assert notice.severity == "info"
    assert "on the CPU for now: a training uses cuda:0" in notice.title
    assert window.status.device.words.accessibleName() == "Device: cpu"


def test_without_a_gallery_the_user_is_told_what_to_choose(qtbot, window, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    drop(window, tmp_path / "a.jpg")
    qtbot.waitUntil(lambda: bool(window.notices.notices))
    assert "no gallery is chosen" in window.notices.notices[0].title
    assert "Build a gallery…" in [label for label, _ in window.notices.notices[0].actions]


def test_a_picture_is_pasted_and_an_empty_clipboard_said(qtbot, window, rooms, chosen):
    image = QImage(20, 10, QImage.Format.Format_RGB32)
    image.fill(0)
    QGuiApplication.clipboard().setImage(image)
    window.doors.paste()
    qtbot.waitUntil(lambda: len(rooms.session.paths) == 1)
    assert rooms.session.paths[0].suffix == ".png"
    QGuiApplication.clipboard().setText("nothing to see")
    window.doors.paste()
    assert "neither a file nor a picture" in window.notices.notices[-1].title


def test_an_answer_is_on_every_panel(qtbot, located, rooms, scene):
    bench = located.bench
    assert bench.candidates.model.rowCount() == 20
    assert bench.answer.where.text() == "48.208200, 16.373800"
    assert bench.answer.badge.text() == "not calibrated"
    assert "8 of the top 10" in bench.answer.reasons.text()
    assert "The photo claims 48.208600" in bench.answer.claim.text()
    assert "not used" in bench.answer.claim_note.text()
    qtbot.waitUntil(lambda: bench.compare.tile.view.has_overlay)
    assert bench.compare.query.view.has_picture
    assert bench.compare.chooser.itemText(0) == "activation energy of the last stage"


def test_the_keys_step_through_queries_and_candidates(qtbot, located, rooms):
    session = rooms.session
    qtbot.keyClick(located, Qt.Key.Key_D)
    assert session.current.path.name == "DJI_0043.JPG"
    qtbot.keyClick(located, Qt.Key.Key_A)
    assert session.current.path.name == "DJI_0042.JPG"
    qtbot.keyClick(located, Qt.Key.Key_J)
    assert session.candidate.rank == 2
    qtbot.keyClick(located, Qt.Key.Key_K)
    assert session.candidate.rank == 1
    qtbot.keyClick(located, Qt.Key.Key_7)
    assert session.candidate.rank == 7
    assert located.bench.candidates.grid.currentIndex().row() == 6
    qtbot.keyClick(located, Qt.Key.Key_Delete)
    assert [p.name for p in session.paths] == ["DJI_0043.JPG", "DJI_0044.JPG"]


def test_the_keys_work_from_within_the_lists(qtbot, located, rooms):
    located.bench.queries.list.setFocus()
    qtbot.keyClick(located.bench.queries.list, Qt.Key.Key_D)
    assert rooms.session.current.path.name == "DJI_0043.JPG"
    qtbot.keyClick(located.bench.candidates.grid, Qt.Key.Key_3)
    assert rooms.session.candidate.rank == 3


def test_a_clicked_tile_is_selected(qtbot, located, rooms):
    grid = located.bench.candidates.grid
    where = grid.visualRect(located.bench.candidates.model.index(1)).center()
    qtbot.mouseClick(grid.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert rooms.session.candidate.rank == 2
    assert "Rank 2" in located.bench.answer.which.text()


def test_list_and_map_select_each_other(qtbot, located, rooms, scene):
    view = FakeMap()
    located.bench.map.adopt(view, view)
    assert view.gallery == scene.gallery
    assert len(view.candidates) == 20
    assert view.claim.source == "EXIF GPS"
    rooms.session.pick(4)
    assert view.rank == 4
    view.picked.emit(2)
    assert located.bench.candidates.grid.currentIndex().row() == 1
    view.hovered.emit(LatLon(48.2, 16.4))
    assert located.status.pointer.words.text() == "48.200000, 16.400000"
    view.hovered.emit(None)
    assert not located.status.pointer.isVisible()


def test_the_position_is_copied_as_it_is_written(qtbot, located):
    answer = located.bench.answer
    answer.formats.setCurrentIndex(1)
    answer.where.click()
    assert QGuiApplication.clipboard().text() == "48°12′29.5″N  16°22′25.7″E"


def test_a_problem_is_shown_where_the_query_is(window, rooms, engine, chosen):
    rooms.session.add((PHOTO,))
    job = engine.job(Locate)
    engine.tell(job, Problem("DJI_0042.JPG is cut short", "Copy it again."))
    assert "DJI_0042.JPG is cut short" in window.bench.candidates.empty.text()
    assert "Copy it again." in window.bench.candidates.empty.text()
    assert window.bench.answer.where.text() == "No position"


def test_a_job_that_fails_unexpectedly_offers_its_report(window, rooms):
    rooms.library.failed.emit(Problem("Unexpected KeyError: 'x'", "", "Traceback: line 3"))
    assert "Traceback: line 3" in window.notices.notices[-1].report


def test_a_gallery_is_built_from_the_dialog_while_photos_are_located(
    qtbot, window, rooms, engine, chosen, scene
):
    dialog = BuildGalleryDialog(rooms.library, window)
    dialog.asked.connect(rooms.builds.start)
    assert not dialog.build.isEnabled()
    dialog.source.setText("/imagery/Ortho Süd 2026.tif")
    assert dialog.name.text() == "Ortho Süd 2026"
    assert dialog.folder.text().endswith("galleries/Ortho-Süd-2026")
    assert dialog.tile_size.value() == 80
    dialog.build.click()
    request = engine.sent[-1]
    assert isinstance(request, BuildGallery)
    assert (request.source.name, request.overlap) == ("Ortho Süd 2026.tif", 0.5)
    rooms.session.add((PHOTO,))
    assert isinstance(engine.sent[-1], Locate)
    engine.tell(engine.job(BuildGallery), Cancelled())
    (label, resume) = window.notices.notices[-1].actions[0]
    assert label == "Resume"
    resume()
    assert engine.sent[-1] == request
    with qtbot.waitSignal(rooms.library.chosen, timeout=2000, raising=False):
        engine.tell(
            engine.job(BuildGallery), GalleryBuilt(scene.gallery, manifest("Süd"), 12, ("r1: no",))
        )
    assert "Gallery Süd is ready: 624 tiles" in [n.title for n in window.notices.notices]


def test_the_status_bar_names_what_is_in_use(window, engine, scene, chosen):
    scene.answer_all(engine)
    status = window.status
    assert status.device.words.text() == "cpu, 2 threads"
    assert status.gallery.words.text() == "Demo city, 624 tiles"
    assert status.checkpoint.words.text().startswith("Sample4Geo tiny, drone ")


def test_a_demo_case_that_did_not_ship_says_so(window, monkeypatch, tmp_path):
    monkeypatch.setattr("app.ui.demo_cases.demo", lambda: tmp_path)
    window.open_demo(demo_case("street"))
    assert "came without the photos" in window.notices.notices[-1].title


def test_light_and_dark_change_at_once_and_are_remembered(qtbot, qapp, window, rooms):
    window.wardrobe.switch()
    assert is_dark(window.palette())
    rooms.preferences.close()
    assert load_settings()[0].theme == "dark"
    window.wardrobe.switch()
    assert not is_dark(window.palette())


def test_the_layout_comes_back(qtbot, window, rooms, layout):
    window.bench.outer.setSizes([400, 880])
    window.close()
    again = type(window)(rooms, layout=layout)
    qtbot.addWidget(again)
    again.show()
    assert again.bench.outer.sizes()[0] == pytest.approx(window.bench.outer.sizes()[0], abs=4)
    again.shutdown()


def test_every_key_is_on_the_help_sheet(qtbot, window):
    sheet = HelpSheet(window)
    words = {label.text() for label in sheet.findChildren(type(window.bench.answer.sure))}
    keys = {", ".join(act.keys) for act in ACTS if act.keys} | {k for k, _ in FURTHER_KEYS}
    assert keys <= words


def test_no_key_is_given_twice():
    keys = [key for act in ACTS for key in act.keys]
    assert len(keys) == len(set(keys))


def test_every_control_has_a_name_for_a_screen_reader(window):
    nameless = []
    for kind in ("QToolButton", "QComboBox", "QSlider", "QLineEdit", "QListView", "QSpinBox"):
        for widget in window.findChildren(QWidget):
            if widget.metaObject().className() == kind and not (
                widget.accessibleName() or getattr(widget, "text", str)()
            ):
                nameless.append(widget)
    nameless = [w for w in nameless if not w.objectName().startswith("qt_")]
    assert [(w.metaObject().className(), w.toolTip()) for w in nameless] == []


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_words_are_readable_on_every_ground(colours):
    for ink in ("text", "subtle", "good", "warning", "bad", "claim", "accent"):
        for ground in ("window", "base", "raised"):
            a, b = (_luminance(getattr(colours, name)) for name in (ink, ground))
            assert (max(a, b) + 0.05) / (min(a, b) + 0.05) >= 4.5, (ink, ground)


def _luminance(code):
    parts = (int(code[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_icons_follow_the_theme(qapp, window):
    action = window.actions_by_name["help"]
    shades = []
    for theme in ("light", "dark"):
        apply_theme(qapp, theme)
        image = action.icon().pixmap(32, 32).toImage()
        inked = [
            image.pixelColor(x, y).lightness()
            for x in range(32)
            for y in range(32)
            if image.pixelColor(x, y).alpha() > 200
        ]
        shades.append(sum(inked) / len(inked))
    assert shades[0] < 80 < 160 < shades[1]


def test_a_calibration_on_other_imagery_is_called_that(window, rooms, engine, scene, chosen):
    rooms.session.add([PHOTO])
    sent = engine.sent.index(next(r for r in engine.sent if isinstance(r, Locate)))
    engine.tell(sent + 1, scene.location(PHOTO, calibrated=True))
    assert window.bench.answer.badge.text() == "calibrated elsewhere"
