"""The real page in the real web engine, off the screen."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QEventLoop, QPoint, Qt, QTimer, QUrl
from PySide6.QtTest import QTest
from PySide6.QtWebEngineCore import QWebEnginePage

from app.geo import LatLon
from app.messages import Claim
from app.ui.map_plain import PlainMap
from app.ui.map_view import MapView, prepare_web_engine
from app.ui.map_web import WebMap
from tests.ui.map_scene import (
    CLAIM,
    COLOURS,
    COLUMN,
    EVIL,
    MANIFEST,
    MIDDLE,
    ROW,
    candidate,
    candidates,
    corner,
    write_gallery,
)

prepare_web_engine()

REPOSITORY = Path(__file__).resolve().parents[2]
PINS = """
[...document.querySelectorAll(".pin")].map((pin) => {
  const box = pin.querySelector(".disc").getBoundingClientRect();
  return {label: pin.textContent, name: pin.getAttribute("aria-label"),
          selected: pin.classList.contains("selected"), width: box.width,
          x: box.x + box.width / 2, y: box.y + box.height / 2};
})
"""


def wait_until(condition, limit_ms=10_000):
    """As qtbot.waitUntil, for fixtures of a module too."""
    loop, poll = QEventLoop(), QTimer(interval=5)
    poll.timeout.connect(lambda: condition() and loop.quit())
    poll.start()
    QTimer.singleShot(limit_ms, loop, loop.quit)
    loop.exec()
    poll.stop()
    assert condition(), "waited in vain"


def ask(view: MapView, expression: str):
    """What a JavaScript expression is worth in the page."""
    answers = []
    view.face.page.runJavaScript(f"JSON.stringify({expression.strip()})", answers.append)
    wait_until(lambda: bool(answers))
    assert answers[0], f"the page could not say: {expression}"
    return json.loads(answers[0])


def pins(view: MapView) -> dict[int, dict]:
    return {int(pin["label"]): pin for pin in ask(view, PINS)}


def seen_at(view: MapView, place: LatLon) -> QPoint:
    """Where on the view a place is drawn."""
    where = f"map_skyfix.latLngToContainerPoint([{place.lat!r}, {place.lon!r}])"
    at = ask(view, where)
    return QPoint(round(at["x"]), round(at["y"]))


def surface(view: MapView):
    """The widget inside the web view that hears the mouse and the keys."""
    return view.face.view.focusProxy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Galleries are written here once: in a test it would count as a stall of the window."""
    return write_gallery(tmp_path_factory.mktemp("galleries") / "four colours")


@pytest.fixture(scope="module")
def shared_view(qapp, folder):
    view = MapView()
    view.resize(700, 600)
    readied = []
    view.ready.connect(lambda: readied.append(True))
    view.show_gallery(folder, MANIFEST)
    view.show()
    wait_until(lambda: bool(readied))
    assert isinstance(view.face, WebMap), "the web engine has to run for these tests"
    yield view
    view.shutdown()
    view.deleteLater()


@pytest.fixture
def view(shared_view, caplog):
    """Empty of pins; an error on the page's console fails the test that caused it."""
    caplog.set_level(logging.INFO, logger="app.ui.map_web")
    shared_view.set_dark(False)
    shared_view.show_candidates((), None)
    ask(shared_view, "1")
    yield shared_view
    ask(shared_view, "1")  # what the page had to say has been said
    said = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert said == []
    assert shared_view.face.gate.blocked == []


@pytest.fixture
def fresh_view(qtbot, folder):
    """Not shown yet; for tests that end its process."""
    view = MapView()
    qtbot.addWidget(view)
    view.resize(500, 400)
    view.show_gallery(folder, MANIFEST)
    yield view
    view.shutdown()


def test_every_candidate_has_a_numbered_pin_where_it_lies(view):
    shown = candidates(20)
    view.show_candidates(shown, None)
    drawn = pins(view)
    assert sorted(drawn) == list(range(1, 21))
    for c in shown:
        lat, lon = (float(part) for part in drawn[c.rank]["name"].split(", ")[-2:])
        assert (lat, lon) == pytest.approx((c.position.lat, c.position.lon), abs=1e-6)
        at = seen_at(view, c.position)
        assert drawn[c.rank]["x"] == pytest.approx(at.x(), abs=1.5)
        assert drawn[c.rank]["y"] == pytest.approx(at.y(), abs=1.5)


def test_the_best_pin_differs_from_all_others_in_size_and_colour(view):
    view.show_candidates(candidates(5), None)
    drawn = pins(view)
    assert drawn[1]["width"] > max(pin["width"] for rank, pin in drawn.items() if rank > 1)
    colours = ask(
        view, '[...document.querySelectorAll(".pin .disc")].map(d => d.style.backgroundColor)'
    )
    assert len(set(colours)) == 5


def test_new_candidates_replace_the_old_ones(view):
    view.show_candidates(candidates(9), CLAIM)
    view.show_candidates(candidates(2), None)
    assert sorted(pins(view)) == [1, 2]
    assert ask(view, 'document.querySelectorAll(".claim").length') == 0


def test_a_click_on_a_pin_picks_its_rank(view, qtbot):
    view.show_candidates(candidates(6), CLAIM)
    pin = pins(view)[4]
    with qtbot.waitSignal(view.picked) as picked:
        QTest.mouseClick(
            surface(view),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            QPoint(round(pin["x"]), round(pin["y"])),
        )
    assert picked.args == [4]
    assert pins(view)[4]["selected"]


def test_a_pin_is_picked_with_the_keyboard_too(view, qtbot):
    view.show_candidates(candidates(3), None)
    surface(view).setFocus()
    ask(view, 'document.querySelector(".pin[data-rank=\\"2\\"]").focus() || 1')
    with qtbot.waitSignal(view.picked) as picked:
        QTest.keyClick(surface(view), Qt.Key.Key_Space)
    assert picked.args == [2]


def test_selecting_enlarges_one_pin_and_lays_it_on_top(view, qtbot):
    view.show_candidates((candidate(1, MIDDLE), candidate(2, MIDDLE), candidate(3, MIDDLE)), None)
    emitted = []
    view.picked.connect(emitted.append)
    view.select(3)
    drawn = pins(view)
    assert [rank for rank, pin in drawn.items() if pin["selected"]] == [3]
    assert drawn[3]["width"] > drawn[1]["width"]
    at = drawn[3]
    top = f"document.elementFromPoint({at['x']}, {at['y']}).textContent"
    assert ask(view, top) == "3"
    view.select(None)
    assert ask(view, top) == "1"
    assert emitted == []


def test_a_selected_pin_out_of_sight_comes_into_view(view):
    view.show_candidates(candidates(4), None)
    ask(view, "map_skyfix.setView([0, 0], 12, {animate: false}) && 1")
    view.select(2)
    pin = pins(view)[2]
    assert 0 < pin["x"] < view.width()
    assert 0 < pin["y"] < view.height()


def test_the_heading_is_drawn_for_the_selected_candidate(view):
    view.show_candidates((candidate(1, MIDDLE, heading_deg=135.0),), None)
    arrow = """[...document.querySelectorAll(".arrow")].map(
        (a) => [a.offsetParent !== null, a.style.transform])"""
    assert ask(view, arrow) == [[False, "rotate(135deg)"]]
    view.select(1)
    assert ask(view, arrow) == [[True, "rotate(135deg)"]]


def test_an_unknown_heading_is_not_drawn(view):
    view.show_candidates((candidate(1, MIDDLE, heading_deg=float("nan")),), None)
    assert ask(view, 'document.querySelectorAll(".arrow").length') == 0


def test_many_candidates_are_drawn_on_the_canvas(view, qtbot):
    view.show_candidates(candidates(500), None)
    assert len(pins(view)) == 60
    with qtbot.waitSignal(view.picked) as picked:
        at = seen_at(view, candidates(500)[250].position)
        QTest.mouseClick(
            surface(view), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at
        )
    assert abs(picked.args[0] - 251) < 10  # neighbours overlap


def test_the_view_fits_again_when_the_map_grows_until_the_user_moves_it(view):
    view.show_candidates(candidates(8), None)
    zoom = ask(view, "map_skyfix.getZoom()")
    try:
        view.resize(350, 300)
        wait_until(lambda: ask(view, "map_skyfix.getZoom()") < zoom)
        assert all(0 < pin["x"] < 350 and 0 < pin["y"] < 300 for pin in pins(view).values())
        ask(view, "map_skyfix.panBy([40, 0], {animate: false}) && 1")
        centre = ask(view, "map_skyfix.getCenter()")
        view.resize(700, 600)
        wait_until(lambda: ask(view, "map_skyfix.getSize().x") == 700)
        assert ask(view, "map_skyfix.getCenter()") == pytest.approx(centre, abs=1e-4)
    finally:
        view.resize(700, 600)
        wait_until(lambda: ask(view, "map_skyfix.getSize().x") == 700)


def test_the_claim_is_another_shape_and_says_how_far_it_is(view):
    view.show_candidates(candidates(3), CLAIM)
    assert ask(view, 'document.querySelector(".claim").textContent') == "claim"
    away = CLAIM.position.metres_to(candidates(3)[0].position)
    legend = ask(view, 'document.querySelector(".legend").textContent')
    assert f"claim, {away:.0f} m away" in legend


def test_a_claim_on_another_continent_does_not_stretch_the_view(view):
    view.show_candidates(candidates(3), Claim(LatLon(-33.0, 151.0), "EXIF GPS"))
    assert ask(view, "map_skyfix.getZoom()") > 14
    ask(view, 'document.querySelector(".legend button").click() || 1')  # the way to it
    assert ask(view, "map_skyfix.getCenter()")["lat"] == pytest.approx(-33.0, abs=0.01)


def test_strings_from_outside_are_text_everywhere(view, qtbot):
    view.show_candidates((candidate(1, MIDDLE, tile=EVIL),), Claim(CLAIM.position, EVIL, EVIL))
    for spot in (seen_at(view, MIDDLE), seen_at(view, CLAIM.position)):
        QTest.mouseMove(surface(view), spot)
        QTest.mouseMove(surface(view), spot + QPoint(1, 1))
        tooltip = 'document.querySelector(".leaflet-tooltip")?.textContent ?? ""'
        wait_until(lambda: EVIL in ask(view, tooltip))  # noqa: B023 - used at once
        assert ask(view, 'document.querySelectorAll("img:not(.leaflet-tile)").length') == 0
    assert MANIFEST.licence in ask(view, 'document.querySelector(".credit").textContent')
    assert ask(view, 'document.querySelectorAll(".credit *").length') == 0


def test_the_basemap_lies_the_right_way_up(view):
    view.fit_gallery()
    places = {
        name: corner(COLUMN + x, ROW + y)
        for name, x, y in (("nw", 0.6, 0.4), ("ne", 1.6, 0.4), ("sw", 0.6, 1.6), ("se", 1.6, 1.6))
    }
    spots = {name: seen_at(view, place) for name, place in places.items()}

    def drawn():
        picture = view.grab().toImage()
        return {name: picture.pixelColor(at).getRgb()[:3] for name, at in spots.items()}

    wait_until(lambda: drawn() == COLOURS)
    assert view.face.assets.tiles_served >= 4


def test_the_pointers_place_is_told_and_its_leaving(view, qtbot):
    view.show_candidates(candidates(3), None)
    heard = []
    view.hovered.connect(heard.append)
    at = seen_at(view, MIDDLE)
    QTest.mouseMove(surface(view), at)
    wait_until(lambda: bool(heard))
    assert heard[-1].lat == pytest.approx(MIDDLE.lat, abs=3e-5)
    assert heard[-1].lon == pytest.approx(MIDDLE.lon, abs=3e-5)
    ask(view, 'map_skyfix.getContainer().dispatchEvent(new PointerEvent("pointerleave"))')
    wait_until(lambda: heard[-1] is None)


def test_the_pointers_places_come_no_faster_than_they_can_be_read(view):
    heard = []
    view.hovered.connect(heard.append)
    flood = """(() => { for (let i = 0; i < 500; i++) map_skyfix.getContainer().dispatchEvent(
        new PointerEvent("pointermove", {clientX: i, clientY: 50})); return 1; })()"""
    ask(view, flood)
    wait_until(lambda: bool(heard))
    assert len(heard) < 5


def test_the_bridge_believes_no_number(view, qtbot):
    view.show_candidates(candidates(2), None)
    heard = []
    view.picked.connect(heard.append)
    view.hovered.connect(heard.append)
    bridge = view.face._bridge
    bridge.pick(3)
    bridge.pick(-1)
    bridge.hover(float("nan"), 0.0)
    bridge.hover(91.0, 0.0)
    assert heard == []
    bridge.hover(10.0, 190.0)
    assert heard == [LatLon(10.0, -170.0)]


def test_the_keys_fit_to_candidates_and_to_the_gallery(view):
    view.show_candidates((candidate(1, corner(COLUMN + 0.2, ROW + 0.2)),), None)
    surface(view).setFocus()
    ask(view, "map_skyfix.getContainer().focus() || 1")
    QTest.keyClick(surface(view), Qt.Key.Key_G)
    wait_until(
        lambda: ask(view, "map_skyfix.getCenter()")["lat"] == pytest.approx(MIDDLE.lat, abs=1e-4)
    )
    QTest.keyClick(surface(view), Qt.Key.Key_C)
    place = corner(COLUMN + 0.2, ROW + 0.2)
    wait_until(
        lambda: ask(view, "map_skyfix.getCenter()")["lat"] == pytest.approx(place.lat, abs=1e-4)
    )


def test_buttons_say_what_they_do(view):
    names = ask(
        view, '[...document.querySelectorAll("button")].map(b => b.getAttribute("aria-label"))'
    )
    assert names == ["Fit to candidates (C)", "Fit to gallery (G)"]
    assert ask(view, 'document.querySelectorAll("button.fit:disabled").length') == 1  # no pins


def test_the_scale_is_metric(view):
    lines = ask(
        view,
        '[...document.querySelectorAll(".leaflet-control-scale-line")].map(l => l.textContent)',
    )
    assert len(lines) == 1
    assert lines[0].endswith(" m")


def test_dark_dresses_the_page(view):
    background = "getComputedStyle(map_skyfix.getContainer()).backgroundColor"
    light = ask(view, background)
    view.set_dark(True)
    dark = ask(view, background)
    assert light != dark
    assert max(int(part) for part in dark[4:-1].split(",")) < 60


def test_without_imagery_a_grid_stands_in(view, folder, tmp_path):
    labels = 'document.querySelectorAll(".grid-label").length'
    assert ask(view, labels) == 0
    try:
        view.show_gallery(tmp_path, MANIFEST)
        assert ask(view, labels) >= 2
    finally:
        view.show_gallery(folder, MANIFEST)
    assert ask(view, labels) == 0


def test_the_same_gallery_again_leaves_the_users_view(view, folder):
    ask(view, "map_skyfix.setView([1, 2], 9, {animate: false}) && 1")
    view.show_gallery(folder, MANIFEST)
    assert ask(view, "map_skyfix.getZoom()") == 9
    try:
        view.show_gallery(folder, replace(MANIFEST, created="2026-02-02T00:00:00Z"))  # built anew
        assert ask(view, "map_skyfix.getZoom()") > 9
    finally:
        view.show_gallery(folder, MANIFEST)


def test_a_damaged_basemap_is_told_above_the_map(view, folder, tmp_path, caplog):
    (tmp_path / "basemap.mbtiles").write_bytes(b"junk" * 300)
    try:
        view.show_gallery(tmp_path, MANIFEST)
        assert "cannot be read" in view._notice.text()
        assert view._notice.isVisible()
    finally:
        view.show_gallery(folder, MANIFEST)
    assert not view._notice.isVisible()
    caplog.clear()


def test_photos_dropped_on_the_map_go_to_the_window(view):
    assert not view.face.view.acceptDrops()


def test_the_page_reaches_nothing_and_goes_nowhere(view, caplog):
    attempt = """(() => {
      new Image().src = "https://evil.invalid/pixel";
      fetch("https://evil.invalid/data").catch(() => {});
      window.open("https://evil.invalid/");
      const link = document.createElement("a");
      link.href = "https://evil.invalid/"; link.click();
      const file = new Image(); file.src = "file:///etc/hostname";
      return 1; })()"""
    assert ask(view, attempt) == 1
    wait_until(lambda: caplog.text.count("Content Security Policy") >= 3)
    assert ask(view, "location.href") == "skyfix://assets/map.html"
    assert view.face.page.url() == QUrl("skyfix://assets/map.html")
    caplog.clear()  # these errors were asked for


@pytest.mark.parametrize(
    "address",
    [
        "skyfix://assets/../app/paths.py",
        "skyfix://assets/images/../../secret",
        "skyfix://tiles/unknown/16/33000/24000",
        "skyfix://tiles/unknown/x/y/z",
        "skyfix://elsewhere/map.html",
    ],
)
def test_the_scheme_hands_out_what_is_listed_and_no_more(view, address, caplog):
    result = []
    page = QWebEnginePage(view.face._profile)
    page.loadFinished.connect(result.append)
    page.load(QUrl(address))
    wait_until(lambda: bool(result))
    page.deleteLater()
    assert result == [False]


def test_the_gate_blocks_and_counts_what_a_page_without_a_policy_asks_for(view, caplog):
    gate, result = view.face.gate, []
    page = QWebEnginePage(view.face._profile)
    page.loadFinished.connect(result.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x"
        page.load(QUrl(address))
        wait_until(lambda: bool(result))
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()
    page.deleteLater()
    assert gate.blocked == [address]
    gate.blocked.clear()
    caplog.clear()


def test_what_is_asked_before_the_page_is_there_is_shown_then_the_last_of_each(fresh_view, qtbot):
    fresh_view.show_candidates(candidates(7), CLAIM)
    fresh_view.show_candidates(candidates(2), None)
    fresh_view.select(1)
    fresh_view.select(2)
    fresh_view.set_dark(True)
    with qtbot.waitSignal(fresh_view.ready):
        fresh_view.show()
    drawn = pins(fresh_view)
    assert {rank: pin["selected"] for rank, pin in drawn.items()} == {1: False, 2: True}
    assert ask(fresh_view, 'document.documentElement.classList.contains("dark")')


def test_a_dead_web_process_leaves_a_plain_map_with_the_same_pins(fresh_view, qtbot, caplog):
    fresh_view.show_candidates(candidates(4), CLAIM)
    with qtbot.waitSignal(fresh_view.ready):
        fresh_view.show()
    fresh_view.select(3)
    with qtbot.waitSignal(fresh_view.ready):
        os.kill(fresh_view.face.page.renderProcessPid(), signal.SIGKILL)
    assert isinstance(fresh_view.face, PlainMap)
    assert "ended unexpectedly" in fresh_view._notice.text()
    at = fresh_view.face.to_pixel(candidates(4)[1].position)
    with qtbot.waitSignal(fresh_view.picked) as picked:
        qtbot.mouseClick(fresh_view.face, Qt.MouseButton.LeftButton, pos=at.toPoint())
    assert picked.args == [2]


def test_as_root_with_its_sandbox_the_map_is_plain_and_says_why(fresh_view, qtbot, monkeypatch):
    monkeypatch.delenv("QTWEBENGINE_DISABLE_SANDBOX", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with qtbot.waitSignal(fresh_view.ready):
        fresh_view.show()
    assert isinstance(fresh_view.face, PlainMap)
    assert "root" in fresh_view._notice.text()


def test_a_missing_web_engine_leaves_a_plain_map(fresh_view, qtbot, monkeypatch):
    monkeypatch.setitem(sys.modules, "app.ui.map_web", None)  # as if its import failed
    with qtbot.waitSignal(fresh_view.ready):
        fresh_view.show()
    assert isinstance(fresh_view.face, PlainMap)
    assert "cannot be loaded" in fresh_view._notice.text()


def test_a_map_that_is_shut_before_it_started_stays_shut(fresh_view, qtbot):
    fresh_view.show()
    fresh_view.shutdown()
    qtbot.wait(50)
    assert fresh_view.face is None


def test_importing_the_map_loads_neither_the_web_engine_nor_folium():
    script = (
        "import sys, app.ui.map_view as m; m.prepare_web_engine();"
        "print([n for n in sys.modules if 'WebEngine' in n or n == 'folium'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    )
    wait_until(lambda: process.poll() is not None, limit_ms=60_000)
    assert process.communicate()[0].strip() == "[]"
