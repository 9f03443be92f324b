"""The few tests that start an engine process; what it answers is of no matter here."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from app.messages import BuildGallery, ClaimDevices, OpenGallery, Problem, Progress
from app.ui.engine_link import EngineLink
from tests.stall import StallMeter
from tests.ui.answers import answer, remember

FREEZE_S = 0.5
START_MS = 60_000  # a busy machine needs a while to start Python


@pytest.fixture(autouse=True)
def never_frozen():
    """Not here: closing may take two seconds, when no window is there any more to freeze."""


@pytest.fixture
def link(qtbot):
    link = EngineLink(answer=answer)
    yield link
    link.close()


def collect(link):
    told = []
    link.told.connect(told.append)
    return told


def nothing_there(folder):
    return OpenGallery(folder / "none")


@pytest.mark.slow
def test_a_request_ends_in_one_outcome_on_the_gui_thread(qtbot, link, tmp_path):
    told, threads = collect(link), []
    link.told.connect(lambda event: threads.append(threading.current_thread()))
    meter = StallMeter()
    meter.start()
    job = link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: bool(told) and isinstance(told[-1].body, Problem), timeout=START_MS)
    assert meter.stop().seconds < FREEZE_S
    assert isinstance(told[0].body, Progress)
    assert {event.job for event in told} == {job}
    assert set(threads) == {threading.main_thread()}


@pytest.mark.slow
def test_a_killed_engine_is_told_as_a_problem_and_starts_again(qtbot, link, tmp_path):
    told = collect(link)
    link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: bool(told) and isinstance(told[-1].body, Problem), timeout=START_MS)
    first = link.pid
    os.kill(first, signal.SIGSTOP)  # so that the next job is open when it dies
    job = link.send(nothing_there(tmp_path))
    os.kill(first, signal.SIGKILL)
    qtbot.waitUntil(lambda: told[-1].job == job, timeout=10_000)
    assert "stopped unexpectedly (exit code -9)" in told[-1].body.title
    again = link.send(nothing_there(tmp_path))
    qtbot.waitUntil(
        lambda: told[-1].job == again and isinstance(told[-1].body, Problem), timeout=START_MS
    )
    assert "exit code" not in told[-1].body.title
    assert link.pid != first


@pytest.mark.slow
def test_sending_to_an_engine_that_does_not_listen_blocks_nothing(qtbot, link, tmp_path):
    told = collect(link)
    link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: bool(told) and isinstance(told[-1].body, Problem), timeout=START_MS)
    os.kill(link.pid, signal.SIGSTOP)
    started = time.perf_counter()
    for _ in range(200):  # far more than a pipe holds
        link.send(BuildGallery(Path("x"), Path("y"), Path("z"), licence="l" * 20_000))
    assert time.perf_counter() - started < 0.5
    os.kill(link.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: len([e for e in told if isinstance(e.body, Problem)]) == 201)


@pytest.mark.slow
def test_closing_takes_less_than_two_seconds_even_if_the_engine_hangs(qtbot, link, tmp_path):
    told = collect(link)
    link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: bool(told) and isinstance(told[-1].body, Problem), timeout=START_MS)
    pid = link.pid
    os.kill(pid, signal.SIGSTOP)
    started = time.perf_counter()
    link.close()
    assert time.perf_counter() - started < 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_a_link_closed_at_once_leaves_no_process(qtbot, link, tmp_path):
    link.send(nothing_there(tmp_path))
    link.close()  # the fixture that looks for what is left does the rest
    assert link.pid is None
    link.send(nothing_there(tmp_path))  # by a signal that comes late
    assert link.pid is None


@pytest.mark.slow
def test_an_engine_that_starts_again_knows_what_trainings_have(qtbot, tmp_path):
    link = EngineLink(answer=remember)
    told = collect(link)

    def problems():
        return [event.body.title for event in told if isinstance(event.body, Problem)]

    link.send(ClaimDevices(("cuda:0",)))
    link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: len(problems()) == 1, timeout=START_MS)
    os.kill(link.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: link.pid is None, timeout=START_MS)
    link.send(nothing_there(tmp_path))
    qtbot.waitUntil(lambda: len(problems()) == 2, timeout=START_MS)
    assert problems() == ["[('cuda:0',)]"] * 2
    link.close()
