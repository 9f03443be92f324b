"""The engine's main loop over a real pipe, with a scripted engine behind it."""

import multiprocessing
import threading
from pathlib import Path

import pytest

from app.engine.worker import _Engine, serve
from app.messages import (
    NO_JOB,
    BuildGallery,
    Cancel,
    Cancelled,
    ClaimDevices,
    DeviceChanged,
    DevicesClaimed,
    OpenGallery,
    Problem,
    Progress,
    UserError,
    Warm,
    ignore,
)

BUILD = BuildGallery(Path("city.tif"), Path("c.safetensors"), Path("gallery"))


class Script:
    """An engine whose build takes one step each time the test allows it."""

    def __init__(self):
        self.step = threading.Semaphore(0)
        self.building = threading.Event()

    def answer(self, request, report):
        match request:
            case BuildGallery():
                while True:  # until cancelled
                    self.building.set()
                    assert self.step.acquire(timeout=10)
                    report(Progress(0, 0, "describing"))
            case OpenGallery():
                raise UserError(f"no gallery at {request.gallery}", "Choose another.")
            case ClaimDevices(names=names):
                report(DeviceChanged("cpu", "a training", (Path("c"),)))
                return DevicesClaimed(names)
            case Warm():
                return 1 / 0


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def conn(script):
    here, there = multiprocessing.Pipe()
    thread = threading.Thread(target=serve, args=(there,), kwargs={"answer": script.answer})
    thread.start()
    yield here
    here.close()
    for _ in range(100):
        script.step.release()
    thread.join(10)
    assert not thread.is_alive()
    there.close()


def receive(conn, until, script=None):
    """Events up to the first that ``until`` holds for; with ``script`` the build goes on."""
    events = []
    while True:
        if script is not None:
            script.step.release()
        if conn.poll(0.02 if script else 10):
            events.append(conn.recv())
            if until(events[-1]):
                return events
        else:
            assert script is not None, f"no event after {events}"


def ends(job):
    return lambda event: event.job == job and not isinstance(event.body, Progress)


def test_an_expected_failure_is_told_in_the_users_words(conn):
    conn.send((1, OpenGallery(Path("g"))))
    assert receive(conn, ends(1))[-1].body == Problem("no gallery at g", "Choose another.")


def test_a_bug_is_told_with_its_traceback_and_the_engine_goes_on(conn):
    conn.send((1, Warm(Path("c"))))
    assert "ZeroDivisionError" in receive(conn, ends(1))[-1].body.trace
    conn.send((2, OpenGallery(Path("g"))))
    assert isinstance(receive(conn, ends(2))[-1].body, Problem)


def test_a_request_is_answered_while_a_gallery_builds(conn, script):
    conn.send((1, BUILD))
    assert script.building.wait(10)
    conn.send((2, OpenGallery(Path("g"))))
    events = receive(conn, ends(2), script)
    assert all(isinstance(e.body, Progress) for e in events if e.job == 1)


def test_a_claim_is_heard_while_a_gallery_builds_and_a_move_belongs_to_no_job(conn, script):
    conn.send((1, BUILD))
    assert script.building.wait(10)
    conn.send((2, ClaimDevices(("cuda:0",))))
    events = receive(conn, ends(2), script)
    assert events[-1].body == DevicesClaimed(("cuda:0",))
    moves = [event for event in events if isinstance(event.body, DeviceChanged)]
    assert [event.job for event in moves] == [NO_JOB]


def test_claims_made_before_anything_is_loaded_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path))
    engine = _Engine("cpu", "eager")
    assert engine.answer(ClaimDevices(("cuda:0",)), ignore) == DevicesClaimed(("cuda:0",))
    assert engine._open_shelf().sharing._claimed == {"cuda:0"}


def test_a_move_is_told_to_the_job_that_was_let_in_and_then_to_the_long_one(monkeypatch, tmp_path):
    monkeypatch.setenv("SKYFIX_HOME", str(tmp_path))
    engine, heard = _Engine("cpu", "eager"), []
    move = DeviceChanged("cpu", "a training", ())

    def answer(request, report):
        if isinstance(request, BuildGallery):
            engine.answer(ClaimDevices(()), inner)
        engine._open_shelf().sharing.tell(move)
        return Cancelled()

    def outer(body):
        heard.append(("outer", body))

    def inner(body):
        heard.append(("inner", body))

    monkeypatch.setattr(engine, "_answer", answer)
    engine.answer(BUILD, outer)
    assert heard == [("inner", move), ("outer", move)]


def test_a_running_job_ends_at_the_report_after_its_cancel(conn, script):
    conn.send((1, BUILD))
    assert script.building.wait(10)
    conn.send(Cancel(1))
    assert receive(conn, ends(1), script)[-1].body == Cancelled()


def test_a_job_cancelled_while_it_waits_is_never_begun(conn, script):
    conn.send((1, BUILD))
    assert script.building.wait(10)
    conn.send((2, BUILD))
    conn.send(Cancel(2))
    conn.send(Cancel(1))
    events = receive(conn, ends(2), script)
    assert [e.body for e in events if e.job == 2] == [Cancelled()]


def test_an_open_pipe_end_that_closes_stops_a_running_job(script):
    here, there = multiprocessing.Pipe()
    thread = threading.Thread(target=serve, args=(there,), kwargs={"answer": script.answer})
    thread.start()
    here.send((1, BUILD))
    assert script.building.wait(10)
    here.close()
    for _ in range(5):
        script.step.release()
    thread.join(10)
    there.close()
    assert not thread.is_alive()
