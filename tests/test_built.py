"""The built program in bad cases; what it does in good ones is packaging/smoke.py's affair."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.built


@pytest.fixture
def program():
    folder = Path(os.environ.get("SKYFIX_BUILT", REPOSITORY / "dist" / "skyfix"))
    for name in ("skyfix-cli.exe", "skyfix", "Contents/MacOS/skyfix"):
        if (folder / name).is_file():
            return folder / name
    pytest.skip(f"{folder} holds no program; build it: python3 dev.py package")


@pytest.fixture
def environ(tmp_path):
    home = tmp_path / "Обзор 地図"
    home.mkdir()
    return {**os.environ, "SKYFIX_HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}


def running_from(program):
    home = str(program.parent)
    found = []
    for process in psutil.process_iter(["exe"]):
        if (process.info["exe"] or "").startswith(home):
            found.append(process)
    return found


@pytest.mark.timeout(300)
def test_a_second_start_hands_over_and_ends_while_the_first_goes_on(program, environ, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"x")
    first = subprocess.Popen([program], env=environ, cwd=tmp_path)
    try:
        lock = Path(environ["SKYFIX_HOME"]) / "config" / "window.lock"
        end = time.monotonic() + 60
        while not lock.exists() and time.monotonic() < end:
            time.sleep(0.1)
        second = subprocess.run([program, "a.jpg"], env=environ, cwd=tmp_path, timeout=120)
        assert second.returncode == 0
        assert first.poll() is None
    finally:
        first.terminate()
        first.wait(timeout=60)
    end = time.monotonic() + 30
    while running_from(program) and time.monotonic() < end:
        time.sleep(0.2)
    assert running_from(program) == []


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such permission bits")
def test_a_home_that_cannot_be_written_is_said_in_a_sentence(program, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    environ = {**os.environ, "SKYFIX_HOME": str(tmp_path / "file")}
    told = subprocess.run(
        [program, "doctor"], env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert "SKYFIX_HOME" in told.stdout
