"""The shipped demo case from end to end: the real program, a real engine process, real answers."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
from PySide6.QtCore import QMimeData, QPointF, QSettings, Qt, QUrl
from PySide6.QtGui import QDropEvent

from app.geo import LatLon
from app.manifest import read_manifest
from app.messages import BuildGallery
from app.paths import demo
from app.settings import Settings
from app.ui.demo_cases import KINDS, demo_case
from app.ui.engine_link import EngineLink
from app.ui.main import close_rooms, make_rooms
from app.ui.window import MainWindow

pytestmark = pytest.mark.slow
CLICKED = [kind for kind in KINDS if demo_case(kind).finder.is_file()]
BUILDING = {"drone": LatLon(48.689347, 2.659186)}  # that the case's click lies on
MINUTES = 180_000  # for a busy machine; the first answer takes seconds


def truth_of(kind):
    with (demo() / kind / "truth.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["file"].rpartition("/")[2]: LatLon(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(file)
        }


@pytest.fixture
def window(qtbot, tmp_path):
    link = EngineLink("cpu")
    rooms = make_rooms(link, Settings(theme="light"))
    layout = QSettings(str(tmp_path / "window.ini"), QSettings.Format.IniFormat)
    window = MainWindow(rooms, layout=layout)
    qtbot.addWidget(window)
    window.rooms = rooms
    window.show()
    yield window
    window.shutdown()
    close_rooms(rooms)
    link.close()


def drop(window, *paths):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    where, left, none = QPointF(10, 10), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(where, Qt.DropAction.CopyAction, data, left, none))


def use_demo(window, kind="drone"):
    case = demo_case(kind)
    assert case.missing == ""
    window.rooms.library.choose(checkpoint=case.checkpoint, gallery=case.gallery)
    return case


def test_a_dropped_folder_is_located_but_for_the_picture_that_is_none(qtbot, window, tmp_path):
    case = use_demo(window)
    session, explained = window.rooms.session, []
    session.explained.connect(explained.append)
    folder = tmp_path / "photos of the 東 side"
    folder.mkdir()
    names = sorted(path.name for path in case.photos.glob("*.jpg"))[:2]
    for name in names:
        shutil.copyfile(case.photos / name, folder / name)
    (folder / "broken.jpg").write_bytes((case.photos / names[0]).read_bytes()[:3000])
    (folder / "notes.txt").write_text("not a photo")
    drop(window, folder)
    qtbot.waitUntil(
        lambda: len(session.paths) == 3 and session.count("located", "problem") == 3,
        timeout=MINUTES,
    )
    states = {path.name: session.query(path) for path in session.paths}
    assert "broken.jpg" in states["broken.jpg"].problem.title
    for name in names:
        answer = states[name].answer
        assert len(answer.candidates) == 20
        assert answer.query.preview.is_file()
    session.select(folder / names[0])
    qtbot.waitUntil(lambda: any(e and e.explanation for e in explained), timeout=MINUTES)
    explanation = next(e.explanation for e in explained if e and e.explanation)
    assert explanation.query_maps
    assert explanation.tile_maps
    for heatmap in (*explanation.query_maps, *explanation.tile_maps):
        assert heatmap.path.is_file()


@pytest.mark.parametrize("kind", ["drone", "street"])
def test_the_shipped_galleries_find_their_imagery_wherever_the_program_lies(kind):
    manifest = read_manifest(demo_case(kind).gallery)
    assert manifest.source == "../city.tif"
    assert manifest.tiles >= 500


@pytest.mark.parametrize("kind", CLICKED)
def test_a_click_is_answered_by_the_checkpoint_that_ships_for_the_view(
    qtbot, window, tmp_path, kind
):
    case = use_demo(window, kind)
    session, objects = window.rooms.session, window.rooms.objects
    session.add(sorted(case.photos.glob("*.jpg"))[:1])
    qtbot.waitUntil(lambda: session.count("located") == 1, timeout=MINUTES)
    assert window.rooms.library.finder.path == case.finder
    objects.switch(True)
    objects.place(case.click)
    qtbot.waitUntil(lambda: objects.current.box is not None, timeout=MINUTES)
    marker, box = objects.current, objects.current.box
    assert marker.problem is None
    side = marker.reference.size_px
    assert 0 <= (box.box[0] + box.box[2]) / 2 <= side
    assert 0 <= (box.box[1] + box.box[3]) / 2 <= side
    if kind in BUILDING:
        assert box.centre.metres_to(BUILDING[kind]) < 8
    objects.export(tmp_path / "found.geojson")
    qtbot.waitUntil((tmp_path / "found.geojson").is_file, timeout=MINUTES)
    features = json.loads((tmp_path / "found.geojson").read_text(encoding="utf-8"))["features"]
    (centre,) = [f for f in features if f["properties"]["feature"] == "centre"]
    assert centre["geometry"]["coordinates"] == pytest.approx(
        [box.centre.lon, box.centre.lat], abs=1e-7
    )


def test_photos_are_located_while_a_gallery_is_built(qtbot, window, tmp_path):
    case = use_demo(window)
    session, builds = window.rooms.session, window.rooms.builds
    ended = []

    def note(path):
        if session.query(path).answer is not None:
            ended.append(("located", path))

    builds.built.connect(lambda built: ended.append(("built", built)))
    session.add(sorted(case.photos.glob("*.jpg"))[:1])
    qtbot.waitUntil(lambda: session.count("located") == 1, timeout=MINUTES)  # the engine is warm
    target = tmp_path / "gallery"
    builds.start(
        BuildGallery(demo() / "galleries" / "city.tif", case.checkpoint, target, tile_size_m=60.0)
    )
    session.add(sorted(case.photos.glob("*.jpg"))[1:2])
    session.changed.connect(note)
    qtbot.waitUntil(lambda: any(kind == "built" for kind, _ in ended), timeout=MINUTES)
    assert [kind for kind, _ in ended] == ["located", "built"]
    assert read_manifest(target).tiles > 500


@pytest.mark.parametrize(("kind", "share"), [("drone", 0.4), ("street", 0.1)])
def test_the_command_line_finds_the_demo_photos_far_above_chance(tmp_path, kind, share):
    """Chance of a place within 60 m is 1 %; twelve photos are too few for the real figure."""
    case = demo_case(kind)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "app", "locate", str(case.photos), "--json"),
            *("--gallery", str(case.gallery), "--checkpoint", str(case.checkpoint)),
            *("--map", str(tmp_path / "map.html"), "--device", "cpu"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    answers, truth = json.loads(done.stdout), truth_of(kind)
    assert len(answers) == len(truth)
    near = 0
    for answer in answers:
        name = answer["query"]["photo"].rpartition("/")[2]
        best = answer["candidates"][0]["position"]
        near += LatLon(best["lat"], best["lon"]).metres_to(truth[name]) <= 60
    assert near / len(answers) >= share
    html = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert not re.search(r"<(?:script|link|img|iframe)\b[^>]*https?://", html)
