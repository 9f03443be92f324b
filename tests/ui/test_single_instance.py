"""A second start finds the first: in a process of its own, as in life."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from app.ui.single_instance import Asked, SingleInstance, _socket_name, parse

ASKED = Asked(photos=("/photos/Übersicht 航拍.jpg",), demo="street", gallery="/g", checkpoint="/c")
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def never_frozen():
    """Not here: other processes are waited for."""


@pytest.fixture
def first(qapp, tmp_path):
    made = SingleInstance(tmp_path)
    assert made.is_first()
    yield made
    made.close()


SECOND = """
import json, sys
from pathlib import Path
import app.ui
from app.ui.single_instance import Asked, SingleInstance
second = SingleInstance(Path(sys.argv[1]))
for words in sys.argv[2:]:
    asked = json.loads(words)
    photos = tuple(asked.pop("photos")) * asked.pop("times", 1)
    print(second.is_first(), second.hand_over(Asked(photos=photos, **asked)))
"""


def start_second(folder: Path, *asked: dict):
    """Another process; it says for each whether it was first, and whether it was heard."""
    words = [json.dumps(one) for one in asked]
    command = [sys.executable, "-c", SECOND, str(folder), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)


def test_the_first_hears_what_the_second_was_asked_for(qtbot, first, tmp_path):
    heard = []
    first.asked.connect(heard.append)
    many = {"photos": ["/a folder of photos/photo.jpg"], "times": 20_000}
    second = start_second(tmp_path, asdict(ASKED), many)
    qtbot.waitUntil(lambda: len(heard) == 2, timeout=60_000)
    assert second.communicate(timeout=60)[0].split() == ["False", "True"] * 2
    assert heard[0] == ASKED
    assert len(heard[1].photos) == 20_000


def test_a_first_that_does_not_answer_is_not_waited_for(first, tmp_path):
    assert not SingleInstance(tmp_path).hand_over(ASKED, limit_ms=200)  # its loop stands still


def test_a_folder_that_cannot_be_written_does_not_keep_the_window_from_opening(qapp, tmp_path):
    alone = SingleInstance(tmp_path / "not there")
    assert alone.is_first()
    alone.close()


def test_other_settings_are_another_window(first, tmp_path):
    (tmp_path / "other").mkdir()
    other = SingleInstance(tmp_path / "other")
    assert other.is_first()
    other.close()


def test_the_next_is_first_after_the_first_has_ended(first, tmp_path):
    first.close()
    after = SingleInstance(tmp_path)
    assert after.is_first()
    after.close()


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe ends with its process there")
def test_what_a_killed_first_left_behind_is_no_obstacle(qtbot, tmp_path):
    code = SECOND.partition("for words")[0] + "second.is_first(); import os; os._exit(1)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, cwd=REPOSITORY)
    assert (tmp_path / "window.lock").exists()
    assert Path(_socket_name(tmp_path)).exists() or not Path(_socket_name(tmp_path)).is_absolute()
    made = SingleInstance(tmp_path)
    assert made.is_first()
    with qtbot.waitSignal(made.asked, timeout=60_000):
        second = start_second(tmp_path, {"photos": []})
    assert second.communicate(timeout=60)[0].split() == ["False", "True"]
    made.close()


def test_a_socket_s_path_is_short_in_a_deep_home(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/" + "ü" * 80)
    assert len(_socket_name(Path("/" + "地" * 200)).encode()) <= 100


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b'{"photos": "a", "demo": null, "gallery": "", "checkpoint": ""}\n',
        b'{"photos": [1], "demo": null, "gallery": "", "checkpoint": ""}\n',
        b'{"photos": [], "demo": "../x", "gallery": "", "checkpoint": ""}\n',
        b'{"photos": [], "demo": null, "gallery": null, "checkpoint": ""}\n',
    ],
)
def test_what_no_start_would_say_is_refused(line):
    assert parse(line) is None
