"""The program as it starts: with a real engine process and no display."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication

from app.paths import demo_checkpoint, log_dir, shipped_checkpoints
from app.settings import settings_file
from app.ui import main as main_module
from app.ui.failures import catch_unexpected, start_log, stop_log
from app.ui.notices import NoticeBar
from app.ui.window import MainWindow
from tests.ui.scene import card, write_checkpoint

NO_TORCH = """
import sys
import app.ui.main
heavy = [n for n in ("torch", "timm", "cv2", "rasterio", "folium", "pyproj") if n in sys.modules]
print(heavy)
"""


@pytest.fixture(autouse=True)
def never_frozen():
    """Not here: ending the program waits for its engine, after the window has gone."""


@pytest.fixture(autouse=True)
def own_settings():
    yield
    settings_file().unlink(missing_ok=True)


def run_until(qtbot, argv, ready, act=lambda window: None):
    """Start the program, wait until ``ready(window)``, act, close the window."""
    seen = []

    def look():
        windows = [w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow)]
        if windows and windows[0].isVisible() and ready(windows[0]):
            seen.append(act(windows[0]))
            windows[0].close()
            timer.stop()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(20)
    code = main_module.run(argv)
    timer.stop()
    for window in [w for w in QApplication.topLevelWidgets() if isinstance(w, MainWindow)]:
        window.deleteLater()
    return code, seen[0]


def test_the_window_loads_no_torch():
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_photos_of_the_command_line_are_listed(qtbot, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    code, paths = run_until(
        qtbot,
        [str(tmp_path / "a.jpg")],
        lambda window: bool(window._rooms.session.paths),
        lambda window: window._rooms.session.paths,
    )
    assert (code, paths) == (0, (tmp_path / "a.jpg",))


def test_a_home_that_cannot_be_written_is_said_and_ends_the_start(qapp, monkeypatch, tmp_path):
    said = []
    monkeypatch.setattr(main_module.QMessageBox, "critical", lambda *words: said.append(words[2]))
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path / "file"))
    assert main_module.run([]) == 1
    assert str(tmp_path / "file") in said[0]
    assert "SKYFIX_HOME" in said[0]


@pytest.mark.slow
def test_a_second_start_hands_its_photos_to_the_first_window(qtbot, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    second = []

    def ready(window):
        if not second:
            command = [sys.executable, "-m", "app", "a.jpg"]
            second.append(subprocess.Popen(command, cwd=tmp_path))
        return bool(window._rooms.session.paths)

    _, paths = run_until(qtbot, [], ready, lambda window: window._rooms.session.paths)
    assert paths == (tmp_path / "a.jpg",)
    assert second[0].wait(timeout=60) == 0


@pytest.mark.slow
def test_broken_settings_are_named_and_do_not_stop_the_start(qtbot):
    settings_file().write_text('{"theme": "pink"}', encoding="utf-8")
    _, said = run_until(
        qtbot,
        [],
        lambda window: bool(window.notices.notices),
        lambda window: window.notices.notices[0],
    )
    assert "Some settings could not be used" in said.title
    assert "theme = 'pink'" in said.hint


@pytest.mark.slow
def test_a_safe_start_ignores_the_settings(qtbot):
    settings_file().write_text("no json", encoding="utf-8")
    _, said = run_until(
        qtbot,
        ["--safe"],
        lambda window: window._was_shown,
        lambda window: window.notices.notices,
    )
    assert said == ()


def test_what_nobody_caught_is_logged_and_told_once(qtbot):
    bar = NoticeBar()
    qtbot.addWidget(bar)
    handler, _ = start_log()
    undo = catch_unexpected(bar.say)
    try:
        for _ in range(2):
            try:
                raise KeyError("lost")
            except KeyError as error:
                sys.excepthook(KeyError, error, error.__traceback__)
    finally:
        undo()
        stop_log(handler)
    assert len(bar.notices) == 1
    assert "KeyError: 'lost'" in bar.notices[0].report
    logged = Path(log_dir() / "skyfix.log").read_text(encoding="utf-8")
    assert logged.count("KeyError: 'lost'") == 2


def test_a_shipped_checkpoint_for_clicks_is_not_the_first_choice(monkeypatch, tmp_path):
    clicks, locates = tmp_path / "a.safetensors", tmp_path / "s.safetensors"
    write_checkpoint(clicks, replace(card(), task="object", descriptor=0))
    write_checkpoint(locates, card())
    broken = tmp_path / "0.safetensors"
    broken.write_bytes(b"nothing")
    monkeypatch.setattr(main_module, "shipped_checkpoints", lambda: (broken, clicks, locates))
    assert main_module.first_locator() == locates


def test_the_drone_cases_checkpoint_comes_before_other_shipped_ones():
    assert main_module.first_locator() == demo_checkpoint("drone") != shipped_checkpoints()[0]
