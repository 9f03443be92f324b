"""A run as others see it: where it stands, whether it lives, and what it can be told."""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.engine import run_watch
from app.engine.checkpoints import load_checkpoint
from app.engine.run_control import (
    LIVE,
    ask,
    held,
    is_held,
    queue,
    read_status,
    take_word,
    write_exit,
)
from app.engine.run_keeper import start
from app.engine.run_state import load_state
from app.engine.run_store import RunStore
from app.engine.runs import (
    MOST_STEPS,
    StepLines,
    read_config,
    read_metrics,
    read_steps,
    write_config,
)
from app.engine.training import train
from app.errors import JobCancelled, UserError
from app.messages import EpochDone, Progress, Train
from app.train_request import StepsDone
from tests.engine.pair_folder import write_pairs
from tests.engine.test_training import assert_same, weights

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(tmp_path, pairs):
    return Train(
        tmp_path / "run", pairs, preset="smallest", epochs=2, batch_size=2, lr=1e-3, device="cpu"
    )


def at_update(number, act):
    """A report that does something once, after so many updates."""
    seen = []

    def report(told):
        if isinstance(told, Progress) and told.note.startswith("epoch"):
            seen.append(told)
            if len(seen) == number:
                act()

    return report


@pytest.mark.parametrize("update", [2, 6])
def test_a_run_told_to_stop_ends_at_once_and_goes_on_to_the_same_weights(run, tmp_path, update):
    run = replace(run, log_every=1)
    stopped = replace(run, run_dir=tmp_path / "stopped")
    with pytest.raises(JobCancelled):
        train(stopped, at_update(update, lambda: ask(stopped.run_dir, "stop")))
    status = read_status(stopped.run_dir)
    assert (status.state, status.resumable) == ("stopped", True)
    done = load_state(stopped.run_dir).progressed
    assert done.epoch * 5 + done.step in (update, update + 1)
    train(stopped)
    train(run)
    assert_same(weights(run.run_dir), weights(stopped.run_dir))
    assert [line.loss for line in read_steps(stopped.run_dir)] == [
        line.loss for line in read_steps(run.run_dir)
    ]


def test_a_run_told_to_save_has_a_state_and_goes_on(run):
    states = []

    def look(told):
        act(told)
        if isinstance(told, Progress) and (run.run_dir / "last.pt").is_file():
            states.append(load_state(run.run_dir).progressed.steps)

    act = at_update(2, lambda: ask(run.run_dir, "save"))
    train(run, look)
    assert states[0] == 3
    assert read_status(run.run_dir).state == "done"


def test_a_paused_run_waits_until_it_is_told_to_resume(run, monkeypatch):
    seen = []
    act = at_update(2, lambda: ask(run.run_dir, "pause"))

    def report(told):
        act(told)
        if isinstance(told, Progress) and told.note == "paused":
            seen.append(read_status(run.run_dir))
            if len(seen) == 2:
                ask(run.run_dir, "resume")

    monkeypatch.setattr(run_watch, "PAUSE_S", 0.01)
    train(run, report)
    assert {status.state for status in seen} == {"paused"}
    assert all(status.resumable for status in seen)
    assert read_status(run.run_dir).state == "done"


def test_a_pause_makes_no_epoch_long_and_no_rate_low(run, monkeypatch):
    clock, hours = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + hours[0])
    act = at_update(2, lambda: ask(run.run_dir, "pause"))

    def report(told):
        act(told)
        if isinstance(told, Progress) and told.note == "paused":
            hours[0] += 7200
            ask(run.run_dir, "resume")

    train(run, report)
    first = read_metrics(run.run_dir)[0]
    assert first.seconds < 3600
    assert first.images_per_s > 0.01


def test_the_status_of_a_live_run_says_where_it_is(run):
    seen = []

    def report(told):
        if isinstance(told, EpochDone):
            seen.append((read_status(run.run_dir), is_held(run.run_dir)))

    train(run, report)
    first, alive = seen[0]
    assert alive
    assert (first.state, first.epochs, first.steps, first.best_by) == ("running", 2, 10, "R@1")
    assert first.pid == os.getpid()
    assert first.best is not None
    last = read_status(run.run_dir)
    assert (last.state, last.step, last.checkpoint) == ("done", 10, True)
    assert not is_held(run.run_dir)


def test_a_run_that_goes_on_still_knows_its_best_figure(run):
    """Before the next measurement, which may be hours away."""
    ended = []

    def stop_after_the_first(told):
        if isinstance(told, EpochDone):
            raise JobCancelled

    with pytest.raises(JobCancelled):
        train(run, stop_after_the_first)
    best = read_status(run.run_dir).best
    assert best is not None

    def look(told):
        if isinstance(told, Progress) and told.note == "epoch 2":
            ended.append(read_status(run.run_dir))
            raise JobCancelled

    with pytest.raises(JobCancelled):
        train(run, look)
    assert (ended[0].best, ended[0].best_by) == (best, "R@1")


def test_a_run_that_is_not_live_takes_no_words(run):
    train(replace(run, epochs=1))
    with pytest.raises(UserError, match="is not running: it is done"):
        ask(run.run_dir, "stop")


def test_a_folder_is_trained_by_one_process_at_a_time(run):
    with held(run.run_dir), pytest.raises(UserError, match="by another process"):
        train(run)


def test_a_failed_run_says_why(run, pairs):
    with pytest.raises(UserError):
        train(replace(run, batch_size=4, neighbour_share=0.2, best_by="accu@0.5"))
    status = read_status(run.run_dir)
    assert status.state == "failed"
    assert "no accu@0.5" in status.problem
    assert "R@1" in status.hint


def test_a_run_whose_process_was_killed_is_dead_and_its_last_words_are_told(run):
    train(replace(run, epochs=1))
    raw = json.loads((run.run_dir / "status.json").read_text())
    raw |= {"state": "running", "host": platform.node(), "beat": time.time()}
    (run.run_dir / "status.json").write_text(json.dumps(raw))
    (run.run_dir / "output.txt").write_text("something of its last words\n")
    write_exit(run.run_dir, -9)
    status = read_status(run.run_dir)
    assert status.state == "dead"
    assert "signal 9" in status.problem
    assert "last words" in status.problem


def test_a_damaged_status_is_no_end_of_the_run(run):
    run.run_dir.mkdir()
    (run.run_dir / "status.json").write_text("{")
    assert read_status(run.run_dir).state == "stopped"


def test_an_unknown_word_is_taken_away_and_passed_over(tmp_path):
    (tmp_path / "control").write_text("dance")
    assert take_word(tmp_path) is None
    assert not (tmp_path / "control").exists()


def test_live_curves_stay_small_and_are_cut_where_a_run_goes_on(tmp_path):
    lines = StepLines(tmp_path, upto=0)
    for step in range(1, 3 * MOST_STEPS):
        lines.add(StepsDone(step, 0.0, 1.0, 1e-3, 1.0, 1.0))
    told = read_steps(tmp_path)
    assert MOST_STEPS / 2 < len(told) <= MOST_STEPS
    assert [line.step for line in told] == sorted(line.step for line in told)
    assert told[-1].step > 3 * MOST_STEPS - 10
    StepLines(tmp_path, upto=100)
    assert max(line.step for line in read_steps(tmp_path)) <= 100


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    StepLines(tmp_path, upto=0).add(StepsDone(1, 0.0, 1.0, 1e-3, 1.0, 1.0))
    with (tmp_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 2, "ep')
    assert [line.step for line in read_steps(tmp_path)] == [1]


def test_a_run_about_to_start_is_queued_and_one_that_never_began_is_dead(run):
    write_config(run)
    queue(run.run_dir)
    assert read_status(run.run_dir).state == "queued"
    (run.run_dir / "output.txt").write_text("no such device\n")
    write_exit(run.run_dir, 1)
    status = read_status(run.run_dir)
    assert status.state == "dead"
    assert "exit code 1" in status.problem
    assert "no such device" in status.problem


def test_a_live_run_is_not_started_again(run):
    with held(run.run_dir), pytest.raises(UserError, match="trained already"):
        start(run)


def test_a_table_that_cannot_be_used_does_not_stop_a_run(run, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "data" / "runs.sqlite").mkdir(parents=True)
    monkeypatch.setenv("SKYFIX_HOME", str(home))
    train(replace(run, epochs=1))
    assert "table of runs" in (run.run_dir / "log.txt").read_text()


def wait_for(condition, timeout_s=120.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_in_the_background_is_found_stopped_and_resumed(run):
    run = replace(run, epochs=400)
    start(run)
    wait_for(lambda: read_status(run.run_dir).step > 2)
    row = RunStore().find(run.run_dir)
    assert row.status.state in LIVE
    ask(run.run_dir, "stop")
    wait_for(lambda: read_status(run.run_dir).state == "stopped")
    wait_for(lambda: (run.run_dir / "exit.json").is_file())
    before = load_state(run.run_dir).progressed.steps
    assert before > 2
    with pytest.raises(UserError, match="other settings"):
        start(replace(run, lr=1.0))
    start(read_config(run.run_dir))
    wait_for(lambda: read_status(run.run_dir).step > before)
    os.kill(read_status(run.run_dir).pid, signal.SIGKILL)
    wait_for(lambda: (run.run_dir / "exit.json").is_file())
    status = read_status(run.run_dir)
    assert status.state == "dead"
    assert "killed (signal 9)" in status.problem


@pytest.mark.slow
def test_sigterm_saves_and_stops(run):
    run = replace(run, epochs=400)
    write_config(run)
    command = [sys.executable, "-m", "app", "train", "--config", str(run.run_dir)]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as child:
        wait_for(lambda: read_status(run.run_dir).step > 2)
        child.terminate()
        assert child.wait(60) == 130
    assert read_status(run.run_dir).state == "stopped"
    assert load_state(run.run_dir).progressed.steps > 2


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_weights_of_an_unbroken_one(run, tmp_path):
    """It saves after every update, so that kills fall into the middle of writing too."""
    run = replace(run, epochs=16, save_every_min=0.0, ema=0.9, log_every=1)
    killed = replace(run, run_dir=tmp_path / "killed")
    write_config(killed)
    command = [sys.executable, "-m", "app", "train", "--config", str(killed.run_dir)]
    moments = random.Random(4)
    at = 0
    for _ in range(2):
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as child:
            wait_for(lambda at=at: len(read_steps(killed.run_dir)) > at)
            time.sleep(moments.uniform(0.0, 0.2))
            child.kill()
        assert read_status(killed.run_dir).state == "dead"
        at = len(read_steps(killed.run_dir))
    assert load_state(killed.run_dir).progressed.steps < 16 * 5
    train(killed)
    train(run)
    assert_same(weights(run.run_dir), weights(killed.run_dir))
    kept = [load_checkpoint(r.run_dir / "best.safetensors", device="cpu") for r in (run, killed)]
    assert_same(kept[0].network.state_dict(), kept[1].network.state_dict())
