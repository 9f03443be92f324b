"""``skyfix doctor --window``: the window tries itself, and tells what it saw."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.ui.demo_cases import demo_case
from app.ui.selftest import Check, _Missed, _Trial, checks_json, checks_text

REPOSITORY = Path(__file__).resolve().parents[2]

OBJECTS = {  # clicked where a checkpoint for it ships
    kind: [f"object in the {name}"] if demo_case(kind).finder.is_file() else []
    for kind, name in (("drone", "drone photo"), ("street", "panorama"))
}


@pytest.fixture(autouse=True)
def never_frozen():
    """Not here: the trial is another process, and this one waits for it."""


def missed():
    raise _Missed("waited in vain")


def test_a_check_that_fails_is_told_and_the_next_is_made(window, rooms, tmp_path):
    trial = _Trial(window, rooms, tmp_path)
    trial._check("map", missed)
    trial._check("training", lambda: "stopped")
    assert [(c.name, c.words, c.passed) for c in trial.checks] == [
        ("map", "waited in vain", False),
        ("training", "stopped", True),
    ]


def test_what_never_happens_is_waited_for_no_longer_than_the_limit(
    monkeypatch, window, rooms, tmp_path
):
    monkeypatch.setattr("app.ui.selftest.LIMIT_S", 0.1)
    trial = _Trial(window, rooms, tmp_path)
    trial._check("never", lambda: trial._until(lambda: False, "the moon"))
    assert trial.checks[0].words == "waited 0 s in vain for the moon"


def test_text_marks_what_failed_and_json_says_whether_all_is_well():
    checks = (Check("window", "shown", True, 0.1), Check("map", "plain", False, 2.0))
    assert checks_text(checks) == "  window  shown\n! map     plain\n"
    told = json.loads(checks_json(checks))
    assert told["well"] is False
    assert told["checks"][0] == {"name": "window", "words": "shown", "passed": True, "seconds": 0.1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_trial_passes_and_leaves_nothing_behind(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "app", "doctor", "--window", "--json"],
        cwd=REPOSITORY,
        env={**os.environ, "SKYFIX_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert [check["name"] for check in told["checks"]] == [
        "window",
        "drone photo",
        "map of the drone photo",
        *OBJECTS["drone"],
        "panorama",
        "map of the panorama",
        *OBJECTS["street"],
        "export",
        "training",
        "notices",
    ]
    assert not list(tmp_path.glob("skyfix window *"))
    assert not (tmp_path / "home").exists()  # the user's own settings were not touched
