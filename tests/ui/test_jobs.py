"""What runs is listed by importance, with progress and a way to stop it."""

from pathlib import Path

import pytest

from app.messages import BuildGallery, Cancelled, Locate, Problem, Progress
from app.ui import jobs as jobs_module
from app.ui.building import BuildSession
from app.ui.jobs import Job, Jobs, JobsBar, describe_progress

BUILD = BuildGallery(Path("o.tif"), Path("c.safetensors"), Path("/g/town"), name="Town")
LOCATE = Locate(Path("a.jpg"), Path("/g"), Path("c"))


@pytest.fixture
def jobs(engine):
    return Jobs(engine)


@pytest.fixture
def bar(qtbot, jobs, monkeypatch):
    monkeypatch.setattr(jobs_module, "SHOWN_AFTER_S", 0.0)
    bar = JobsBar(jobs)
    qtbot.addWidget(bar)
    bar.show()
    return bar


def test_a_build_is_shown_before_a_query(engine, jobs):
    engine.send(LOCATE)
    engine.send(BUILD)
    assert [job.title for job in jobs.running] == ["Building gallery Town", "Locating a.jpg"]


def test_a_job_is_gone_when_it_has_ended(engine, jobs):
    for end in (Cancelled(), Problem("no")):
        job = engine.send(LOCATE)
        engine.tell(job, Progress(1, 2))
        assert jobs.running[0].progress == Progress(1, 2)
        engine.tell(job, end)
        assert jobs.running == ()


def test_the_bar_cancels_what_it_shows(qtbot, engine, jobs, bar):
    engine.send(LOCATE)
    build = engine.send(BUILD)
    engine.tell(build, Progress(214, 1200, "describing tiles"))
    qtbot.waitUntil(lambda: "214 of 1,200" in bar.label.text())
    assert bar.more.text() == "+1"
    bar.cancel.click()
    assert engine.cancelled == [build]


@pytest.mark.qt_log_ignore("grabbing the keyboard", extend=True)  # of a popup, offscreen
def test_every_job_can_be_cancelled_from_the_list(qtbot, engine, jobs, bar):
    first, second = engine.send(LOCATE), engine.send(BUILD)
    qtbot.waitUntil(lambda: bar.more.isVisible())
    bar.more.click()
    buttons = bar._popup.findChildren(type(bar.cancel))
    for button in buttons:
        button.click()
    assert sorted(engine.cancelled) == [first, second]
    engine.tell(first, Cancelled())
    engine.tell(second, Cancelled())
    qtbot.waitUntil(lambda: not bar._popup.isVisible())


def test_the_time_left_is_told_only_when_it_is_more_than_a_guess(monkeypatch):
    monkeypatch.setattr(jobs_module.time, "monotonic", lambda: 100.0)
    assert Job(1, "", 0, 90.0, Progress(50, 100)).seconds_left == pytest.approx(10)
    assert Job(1, "", 0, 90.0, Progress(1, 100)).seconds_left is None
    assert Job(1, "", 0, 99.0, Progress(50, 100)).seconds_left is None
    assert describe_progress(Job(1, "", 0, 0.0, Progress(25, 100))).endswith("5 min left")


def test_a_build_that_failed_can_be_started_again(engine):
    builds = BuildSession(engine)
    failed = []
    builds.failed.connect(lambda request, problem: failed.append((request, problem)))
    builds.start(BUILD)
    builds.start(BUILD)
    assert engine.sent == [BUILD]
    engine.tell(1, Problem("the engine stopped"))
    assert failed == [(BUILD, Problem("the engine stopped"))]
    builds.start(BUILD)
    assert engine.sent == [BUILD, BUILD]
