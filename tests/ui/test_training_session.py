"""Runs as the window sees them: read from their folders, controlled by files, copied out."""

import json
from dataclasses import replace

import pytest

from app.engine.run_control import CONTROL, RunStatus, held, write_status
from app.engine.run_store import RunStore
from app.engine.runs import BEST, METRICS, STEPS, write_config
from app.messages import (
    ClaimDevices,
    EpochDone,
    EstimateTraining,
    PreviewTraining,
    Problem,
    Train,
    TrainingEstimate,
    TrainingPreview,
    UserError,
)
from app.paths import data_dir
from app.ui import training_session
from app.ui.curves import curves_of, score_name, smoothed
from app.ui.training_session import TrainingSession, free_name

ESTIMATE = TrainingEstimate(2**30, 2**33, 0.5, 50.0, 200.0, 100, 6400, 300, 3_000_000, "cpu")


def epoch(number, **more):
    return EpochDone(number, 2.0 - 0.1 * number, 1e-3, 0.1 * number, 30.0, 50.0, 60.0, **more)


def make_run(folder, *, state="done", epochs=2, steps=0, **settings):
    """A run's folder as training leaves it."""
    folder.mkdir(parents=True)
    write_config(Train(folder, folder.parent / "pairs", **settings))
    lines = [json.dumps({**_plain(epoch(n))}) for n in range(epochs)]
    (folder / METRICS).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    points = [
        {
            "step": n,
            "epoch": n / 10,
            "loss": 3 - n / 10,
            "lr": 1e-3,
            "images_per_s": 9,
            "memory_mb": 5,
        }
        for n in range(1, steps + 1)
    ]
    (folder / STEPS).write_text("".join(json.dumps(p) + "\n" for p in points), encoding="utf-8")
    write_status(folder, RunStatus(state, epoch=epochs - 1, epochs=epochs, best=0.4, best_by="R@1"))
    return folder


def _plain(done):
    return {name: getattr(done, name) for name in done.__slots__}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs.sqlite")


@pytest.fixture
def session(engine, store, qapp):
    session = TrainingSession(engine, store=store)
    yield session
    session.close()


def add(store, folder, **more):
    store.add(make_run(folder, **more))
    return folder


def test_runs_are_listed_and_the_selected_ones_curves_are_read(qtbot, session, store, tmp_path):
    first = add(store, tmp_path / "first", epochs=3)
    add(store, tmp_path / "second")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    assert [row.name for row in session.rows] == ["second", "first"]
    with qtbot.waitSignal(session.detailed, check_params_cb=lambda: bool(session.details)):
        session.select((first,))
    qtbot.waitUntil(lambda: len(session.details) == 1)
    assert len(session.details[0].epochs) == 3


def test_nothing_is_read_while_nobody_looks(qtbot, session, store, tmp_path):
    session.watch(True)
    session.watch(False)
    qtbot.waitUntil(lambda: not session._is_polling)
    add(store, tmp_path / "later")
    qtbot.wait(1300)
    assert session.rows == ()


def test_a_word_to_a_run_that_is_not_running_is_told(qtbot, session, store, tmp_path):
    folder = add(store, tmp_path / "run")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    with qtbot.waitSignal(session.failed) as told:
        session.tell_run(session.rows[0], "pause")
    assert "not running" in told.args[0].title
    assert not (folder / CONTROL).exists()


def test_promoting_copies_the_best_checkpoint_and_never_over_another(
    qtbot, session, store, tmp_path
):
    folder = add(store, tmp_path / "run")
    (folder / BEST).write_bytes(b"weights")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    made = []
    for _ in range(2):
        with qtbot.waitSignal(session.promoted) as told:
            session.promote(session.rows[0])
        made.append(told.args[0])
    assert [path.name for path in made] == ["run.safetensors", "run-2.safetensors"]
    assert all(path.read_bytes() == b"weights" for path in made)
    assert made[0].parent == data_dir() / "checkpoints"
    for path in made:
        path.unlink()


def test_promoting_a_run_without_a_checkpoint_says_so_and_leaves_nothing(
    qtbot, session, store, tmp_path
):
    add(store, tmp_path / "bare")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    with qtbot.waitSignal(session.failed) as told:
        session.promote(session.rows[0])
    assert isinstance(told.args[0], Problem)
    assert list((data_dir() / "checkpoints").glob("bare*")) == []


def test_deleted_runs_are_gone_from_list_and_disk(qtbot, session, store, tmp_path):
    folder = add(store, tmp_path / "run")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    with qtbot.waitSignal(session.listed):
        session.delete(session.rows)
    assert session.rows == ()
    assert not folder.exists()


def test_tags_and_notes_are_kept_beside_the_run(qtbot, session, store, tmp_path):
    add(store, tmp_path / "run")
    with qtbot.waitSignal(session.listed):
        session.refresh()
    with qtbot.waitSignal(session.listed):
        session.annotate(session.rows[0], tags=("good",), notes="keep")
    assert (session.rows[0].tags, session.rows[0].notes) == (("good",), "keep")


def test_a_newer_estimate_cancels_the_older_one(engine, session, tmp_path):
    run = Train(tmp_path / "run", tmp_path)
    told = []
    session.estimated.connect(told.append)
    session.estimate(run)
    session.estimate(replace(run, lr=1e-4))
    first, second = (n for n, r in enumerate(engine.sent, 1) if isinstance(r, EstimateTraining))
    assert engine.cancelled == [first]
    engine.tell(first, ESTIMATE)
    assert told == [None, None]
    engine.tell(second, ESTIMATE)
    assert told[-1] == ESTIMATE


def test_a_preview_is_asked_for_and_shown(engine, session, tmp_path):
    told = []
    session.previewed.connect(told.append)
    session.preview(Train(tmp_path / "run", tmp_path))
    job = engine.job(PreviewTraining)
    engine.tell(job, TrainingPreview(engine.sent[job - 1].picture, 8))
    assert told == [None, engine.sent[job - 1].picture]


def test_live_points_are_drawn_where_there_are_some(qtbot, session, store, tmp_path):
    folder = add(store, tmp_path / "run", steps=5)
    session.select((folder,))
    qtbot.waitUntil(lambda: bool(session.details))
    curves = curves_of(session.details[0])
    assert curves["loss"].x == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert curves["score"].y == (0.0, 0.1)  # an epoch's figure, not a step's
    assert score_name(session.details[0].epochs) == "R@1"


def test_smoothing_starts_unbiased_and_ends_near_the_last_values():
    assert smoothed((4.0, 4.0, 4.0), 0.9) == pytest.approx((4.0, 4.0, 4.0))
    assert smoothed((1.0, 2.0), 0.0) == (1.0, 2.0)
    values = smoothed((0.0,) * 5 + (1.0,) * 60, 0.9)
    assert 0.95 < values[-1] < 1.0


def test_a_free_name_is_one_that_nothing_has(tmp_path):
    assert free_name(tmp_path, "net").name == "net.safetensors"
    (tmp_path / "net.safetensors").touch()
    assert free_name(tmp_path, "net").name == "net-2.safetensors"


# --- the engine makes room ---


def claims(engine):
    return [request.names for request in engine.sent if isinstance(request, ClaimDevices)]


def test_a_run_found_on_a_gpu_claims_it_until_it_ends(qtbot, engine, session, store, tmp_path):
    folder = add(store, tmp_path / "run")
    with held(folder):  # as a process that trains it
        write_status(folder, RunStatus("running", device="cuda:1"))
        session.guard()
        qtbot.waitUntil(lambda: claims(engine) == [("cuda:1",)])
        with qtbot.waitSignal(session._polled):  # looked at again: no news
            session.refresh()
        write_status(folder, RunStatus("done", device="cuda:1"))
        qtbot.waitUntil(lambda: not session._is_polling)
        session.refresh()
        qtbot.waitUntil(lambda: claims(engine) == [("cuda:1",), ()])


def test_a_run_on_the_cpu_takes_nothing_from_the_engine(qtbot, engine, session, store, tmp_path):
    folder = add(store, tmp_path / "run")
    with held(folder):
        write_status(folder, RunStatus("running", device="cpu"))
        with qtbot.waitSignal(session.listed):
            session.guard()
    assert session.live
    assert claims(engine) == []


def test_the_engine_makes_room_before_a_run_is_started(
    qtbot, engine, session, tmp_path, monkeypatch
):
    """A start that fails gives it back."""
    asked = []

    def start(run, store):
        asked.extend(claims(engine))
        raise UserError("no", "Never mind.")

    monkeypatch.setattr(training_session, "start", start)
    with qtbot.waitSignal(session.failed):
        session.start(Train(tmp_path / "run", tmp_path / "pairs"))
    assert asked == [("cuda:0",)]
    qtbot.waitUntil(lambda: claims(engine) == [("cuda:0",), ()])


def test_guarding_goes_on_while_nobody_looks(qtbot, session):
    session.guard()
    session.watch(True)
    assert session._timer.interval() == training_session.POLL_MS
    session.watch(False)
    assert session._timer.isActive()
    assert session._timer.interval() == training_session.GUARD_MS
    qtbot.waitUntil(lambda: not session._is_polling)
