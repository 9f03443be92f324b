"""The trial of a built program notices what it is there to notice; a shell plays the program."""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

PACKAGING = Path(__file__).resolve().parent.parent / "packaging"
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="processes are found by Linux's /proc"
)
ASLEEP = "\"$0\" -c 'kill -STOP $$' > /dev/null 2>&1 &"


@pytest.fixture(scope="module")
def smoke_stage():
    spec = importlib.util.spec_from_file_location("skyfix_stage", PACKAGING / "smoke_stage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def stage(smoke_stage):
    """Not below tmp_path: the trial's user may not enter it."""
    folder = Path(tempfile.mkdtemp(prefix="skyfix-fake-"))
    folder.chmod(0o755)
    shutil.copy(Path("/bin/sh").resolve(), folder / "skyfix")
    (folder / "_internal").mkdir()
    with smoke_stage.Stage(folder / "skyfix", needs_display=False) as stage:
        yield stage
    shutil.rmtree(folder)


def test_it_works_alone_in_an_empty_folder(stage):
    said = stage.run("-c", "pwd; echo $PATH; echo *", limit_s=30).splitlines()
    assert said[0] == str(stage.folder)
    assert not list(Path(said[1]).iterdir())
    assert said[2] == "*"


def test_a_program_that_starts_itself_again_and_again_is_ended(smoke_stage, stage):
    script = f"i=0; while [ $i -lt 40 ]; do {ASLEEP} i=$((i+1)); done; wait"
    with pytest.raises(smoke_stage.Failed, match=r"started \d+ processes"):
        stage.run("-c", script, limit_s=60)
    stage.wait(lambda: not stage.alive(), "their end", 10)


def test_a_process_left_behind_is_noticed_and_ended(monkeypatch, smoke_stage, stage):
    monkeypatch.setattr(smoke_stage, "LINGER_S", 0.5)
    with pytest.raises(smoke_stage.Failed, match="kill -STOP"):
        stage.run("-c", f"{ASLEEP} exit 0", limit_s=30)
    stage.end_all()
    stage.wait(lambda: not stage.alive(), "its end", 10)


def test_an_exit_code_and_the_last_words_are_told(smoke_stage, stage):
    with pytest.raises(smoke_stage.Failed, match="ended with 3: no such thing"):
        stage.run("-c", "echo no such thing >&2; exit 3", limit_s=30)


def test_a_program_that_hangs_is_ended(smoke_stage, stage):
    with pytest.raises(smoke_stage.Failed, match="took over 1 s"):
        stage.run("-c", "kill -STOP $$", limit_s=1)


def test_a_changed_program_is_noticed(smoke_stage, stage):
    assert "unchanged" in stage.traces()["program's files"]
    (stage.program.parent / "_internal" / "cache.bin").write_bytes(b"x")
    with pytest.raises(smoke_stage.Failed, match=r"cache\.bin"):
        stage.traces()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs a second user")
def test_a_file_elsewhere_is_noticed(smoke_stage, stage):
    stray = Path("/var/tmp/skyfix stray")
    stage.run("-c", f"echo x > '{stray}'", limit_s=30)
    try:
        with pytest.raises(smoke_stage.Failed, match="skyfix stray"):
            stage.traces()
    finally:
        stray.unlink()
