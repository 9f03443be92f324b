import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from app.card import read_card
from app.engine.checkpoints import load_checkpoint
from app.engine.learner import Learner
from app.engine.run_state import load_state
from app.engine.runs import read_config, read_metrics
from app.engine.schedules import learning_rate
from app.engine.training import train
from app.messages import EpochDone, JobCancelled, Progress, Train, UserError
from tests.engine.pair_folder import write_pairs, write_table


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(tmp_path, pairs):
    return Train(
        tmp_path / "run", pairs, preset="smallest", epochs=3, batch_size=4, lr=1e-3, device="cpu"
    )


def weights(run_dir):
    return load_state(run_dir).learner["network"]


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def stop_after(epoch):
    def report(told):
        if isinstance(told, EpochDone) and told.epoch == epoch:
            raise JobCancelled

    return report


def test_a_run_stopped_and_resumed_ends_with_the_weights_of_an_unbroken_one(run, tmp_path):
    broken = replace(run, run_dir=tmp_path / "broken")
    with pytest.raises(JobCancelled):
        train(broken, stop_after(0))
    train(broken)
    train(run)
    assert_same(weights(run.run_dir), weights(broken.run_dir))
    kept = [load_checkpoint(r.run_dir / "best.safetensors", device="cpu") for r in (run, broken)]
    assert_same(kept[0].network.state_dict(), kept[1].network.state_dict())
    assert len(read_metrics(broken.run_dir)) == 3


def test_an_epoch_that_was_cancelled_half_way_is_done_again(run, tmp_path):
    def cancel_in_the_second_epoch(told):
        if isinstance(told, Progress) and told.note == "epoch 2":
            raise JobCancelled

    broken = replace(run, run_dir=tmp_path / "broken")
    with pytest.raises(JobCancelled):
        train(broken, cancel_in_the_second_epoch)
    assert [done.epoch for done in read_metrics(broken.run_dir)] == [0]
    train(broken)
    train(run)
    assert_same(weights(run.run_dir), weights(broken.run_dir))


@pytest.mark.slow
def test_a_run_killed_while_it_saves_goes_on_to_the_same_weights(run, tmp_path):
    """The child stops for good inside its second write of last.pt, and is killed there."""
    broken = replace(run, run_dir=tmp_path / "broken")
    program = f"""
import sys, time
from pathlib import Path
from app.engine import run_state
from app.engine.writing import write_whole
from app.engine.training import train
from app.messages import Train
written = []
def write_and_hang(path, content):
    written.append(path.name)
    if written.count("last.pt") == 2:
        Path(str(path) + ".partial").write_bytes(content[: len(content) // 2])
        print("saving", flush=True)
        time.sleep(60)
    write_whole(path, content)
run_state.write_whole = write_and_hang
train(Train(Path({str(broken.run_dir)!r}), Path({str(run.data)!r}), preset="smallest", epochs=3,
            batch_size=4, lr=1e-3, device="cpu"))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"saving\n"
        child.send_signal(signal.SIGKILL)
    assert (broken.run_dir / "last.pt.partial").is_file()
    assert load_state(broken.run_dir).progressed.epoch == 1
    train(broken)
    train(run)
    assert_same(weights(run.run_dir), weights(broken.run_dir))


@pytest.mark.slow
def test_workers_change_nothing_but_the_time(run, tmp_path):
    train(run)
    with_workers = replace(run, run_dir=tmp_path / "workers", workers=2)
    train(with_workers)
    assert_same(weights(run.run_dir), weights(with_workers.run_dir))


def test_no_two_epochs_are_alike(run, monkeypatch):
    seen = []
    update = Learner.update

    def watched(self, losses, lr):
        pictures = losses[0].args[0]
        digest = hashlib.sha256(pictures.query.numpy().tobytes()).hexdigest()
        seen.append((digest, tuple(pictures.place.tolist())))
        return update(self, losses, lr)

    monkeypatch.setattr(Learner, "update", watched)
    train(run)
    assert len({digest for digest, _ in seen}) == len(seen) == 6
    assert len({places for _, places in seen}) > 2


def test_the_run_folder_tells_the_whole_story(run):
    told = []
    done = train(run, told.append)
    epochs = [event for event in told if isinstance(event, EpochDone)]
    assert read_metrics(run.run_dir) == tuple(epochs)
    assert [e.epoch for e in epochs] == [0, 1, 2]
    assert read_config(run.run_dir) == run
    assert done.recall_at_1 == max(e.recall_at_1 for e in epochs)
    assert "epoch 3: loss" in (run.run_dir / "log.txt").read_text()
    card = read_card(done.checkpoint)
    assert (card.network, card.query_view, card.tile_size_m) == ("sample4geo", "drone", 80.0)
    assert card.training["lr"] == 1e-3
    assert len(card.training["data_sha256"]) == 64
    assert {m.name: m.value for m in card.metrics}["R@1"] == done.recall_at_1
    assert not list(run.run_dir.glob("*.partial"))


def test_progress_counts_up_to_its_total(run):
    told = []
    train(run, told.append)
    steps = [e for e in told if isinstance(e, Progress) and e.note.startswith("epoch")]
    assert [e.done for e in steps] == [1, 2, 3, 4, 5, 6]
    assert {e.total for e in steps} == {6}


@pytest.mark.slow
def test_it_learns_what_it_is_shown(tmp_path, pairs):
    run = Train(
        tmp_path / "run",
        pairs,
        preset="smallest",
        epochs=12,
        batch_size=10,
        lr=3e-3,
        label_smoothing=0.0,
        looks=0.0,
        heading_jitter_deg=2.0,
        device="cpu",
    )
    train(run)
    told = read_metrics(run.run_dir)
    assert told[-1].loss < told[0].loss / 2


def test_validation_can_be_rarer_than_epochs_but_never_leaves_out_the_last(run):
    told = []
    train(replace(run, validate_every=2), told.append)
    measured = [e.recall_at_1 is not None for e in told if isinstance(e, EpochDone)]
    assert measured == [False, True, True]


def test_a_run_that_diverges_stops_and_keeps_its_last_good_checkpoint(run):
    run = replace(run, warmup_epochs=0.0)
    with pytest.raises(JobCancelled):
        train(run, stop_after(0))
    good = (run.run_dir / "best.safetensors").read_bytes()
    state = torch.load(run.run_dir / "last.pt", weights_only=True)
    state["learner"]["network"]["logit_scale"] = torch.tensor(1e9)  # exp of it is infinite
    torch.save(state, run.run_dir / "last.pt")
    with pytest.raises(UserError, match=r"The loss became (nan|inf) in epoch 2") as problem:
        train(run)
    assert "best.safetensors" in problem.value.hint
    assert (run.run_dir / "best.safetensors").read_bytes() == good
    assert load_state(run.run_dir).progressed.epoch == 1
    assert "The loss became" in (run.run_dir / "log.txt").read_text()


def test_a_checkpoint_can_be_trained_further(run, tmp_path):
    first = train(replace(run, epochs=1))
    told = []
    further = replace(
        run, run_dir=tmp_path / "further", init=first.checkpoint, epochs=1, lr=1e-12, seed=5
    )
    second = train(further, told.append)
    assert read_card(second.checkpoint).parent == load_checkpoint(first.checkpoint).sha256
    before, after = (
        load_checkpoint(done.checkpoint, device="cpu").network.state_dict()
        for done in (first, second)
    )
    kernels = [name for name, value in before.items() if value.ndim >= 2]
    for name in kernels:
        torch.testing.assert_close(before[name], after[name], atol=1e-5, rtol=0)


def test_weights_of_another_shape_are_no_start(run, tmp_path):
    other = train(replace(run, epochs=1)).checkpoint
    with pytest.raises(UserError, match="do not fit"):
        train(replace(run, run_dir=tmp_path / "b", preset="tiny-drone", init=other))


def test_a_run_is_not_resumed_with_other_settings(run):
    with pytest.raises(JobCancelled):
        train(run, stop_after(0))
    with pytest.raises(UserError, match=r"other settings \(lr 0.001 -> 0.5\)"):
        train(replace(run, lr=0.5))


def test_a_run_is_not_resumed_on_changed_pictures(run, tmp_path):
    data = write_pairs(tmp_path / "data")
    run = replace(run, data=data)
    with pytest.raises(JobCancelled):
        train(run, stop_after(0))
    (data / "query" / "0.png").write_bytes((data / "query" / "1.png").read_bytes() + b" ")
    with pytest.raises(UserError, match="data_sha256"):
        train(run)


def test_a_damaged_state_is_told_and_left_alone(run):
    with pytest.raises(JobCancelled):
        train(run, stop_after(0))
    last = run.run_dir / "last.pt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"last\.pt is damaged"):
        train(run)
    assert last.stat().st_size == 1000


def test_a_state_that_would_run_code_is_refused(run):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch evil",)

    run.run_dir.mkdir()
    torch.save({"format": 2, "learner": Evil()}, run.run_dir / "last.pt")
    with pytest.raises(UserError, match=r"last\.pt is damaged"):
        train(run)
    assert not Path("evil").exists()


def test_an_unreadable_picture_is_named(run, tmp_path):
    data = write_pairs(tmp_path / "data")
    (data / "satellite" / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png is not a readable picture"):
        train(replace(run, data=data))


@pytest.mark.slow
def test_an_unreadable_picture_is_named_by_a_worker_too(run, tmp_path):
    data = write_pairs(tmp_path / "data")
    (data / "satellite" / "3.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3\.png is not a readable picture$") as problem:
        train(replace(run, data=data, workers=1))
    assert problem.value.hint


def test_a_folder_without_held_out_pairs_is_refused_before_training(run, tmp_path):
    data = write_pairs(tmp_path / "data", val=0)
    with pytest.raises(UserError, match="no val pairs"):
        train(replace(run, data=data))
    assert not (run.run_dir / "log.txt").exists()


def test_places_that_all_lie_on_one_another_make_no_batch(run, tmp_path):
    data = write_pairs(tmp_path / "data")
    same = ["50.0", "4.0", "0", "drone", "perspective", ""]
    rows = [
        [f"query/{i}.png", f"satellite/{i}.png", split, i, *same]
        for i, split in enumerate(["train"] * 10 + ["val"] * 6)
    ]
    write_table(data, rows)
    with pytest.raises(UserError, match="too few places"):
        train(replace(run, data=data))


def test_a_run_leaves_torchs_chance_as_it_found_it(run):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(replace(run, epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_learning_rate_rises_then_falls_to_nothing(run):
    run = replace(run, epochs=10, warmup_epochs=2.0, lr=1.0)
    rates = [learning_rate(run, epoch) for epoch in (0.0, 1.0, 2.0, 6.0, 10.0)]
    assert rates == pytest.approx([0.01, 0.5, 1.0, 0.5, 0.0])


def test_the_config_is_readable_json(run):
    train(replace(run, epochs=1))
    raw = json.loads((run.run_dir / "config.json").read_text())
    assert raw["lr"] == 1e-3
    assert raw["init"] is None
