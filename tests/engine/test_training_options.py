"""What a run can be asked beyond its plain loop: when to stop, what to keep, what to mine."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.card import read_card
from app.engine import training_tasks
from app.engine.checkpoints import load_checkpoint, load_object_checkpoint
from app.engine.datasets.pairs import read_pairs
from app.engine.learner import Learner
from app.engine.recipes import make_train
from app.engine.run_control import read_status
from app.engine.run_state import load_state
from app.engine.runs import read_metrics
from app.engine.training import train
from app.errors import JobCancelled, UserError
from app.messages import EpochDone, Progress
from tests.engine.made_data_sets import write_cvogl
from tests.engine.pair_folder import write_pairs
from tests.engine.test_training import assert_same, weights


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def run(tmp_path, pairs):
    return make_train(
        tmp_path / "run", pairs, preset="smallest", epochs=3, batch_size=4, lr=1e-3, device="cpu"
    )


def cancel_at(update):
    """A report that stops the run after so many updates."""
    seen = []

    def report(told):
        if isinstance(told, Progress) and told.note.startswith("epoch"):
            seen.append(told)
            if len(seen) == update:
                raise JobCancelled

    return report


def test_a_run_stops_when_its_patience_ends(run):
    still = replace(run, lr=1e-12, epochs=9, patience=2, overrides={"freeze_bn": True})
    train(still)
    assert len(read_metrics(run.run_dir)) == 3  # the first was the best
    assert "stops early" in (run.run_dir / "log.txt").read_text()


def test_a_run_of_no_patience_goes_on_to_its_end_when_it_is_asked_again_with_more(run):
    still = replace(run, lr=1e-12, epochs=5, patience=1, overrides={"freeze_bn": True})
    train(still)
    train(replace(still, patience=0))
    assert len(read_metrics(run.run_dir)) == 5


@pytest.mark.parametrize(("best_by", "lower"), [("loss", True), ("AP", False), ("median_m", True)])
def test_the_best_checkpoint_is_the_one_that_the_metric_says(run, best_by, lower):
    done = train(replace(run, best_by=best_by))
    told = read_metrics(run.run_dir)
    values = [e.loss if best_by == "loss" else e.metrics[best_by] for e in told]
    best = min(values) if lower else max(values)
    assert (done.best_by, done.recall_at_1) == (best_by, pytest.approx(best))
    kept = read_card(done.checkpoint).training["epoch"]
    assert values[kept] == pytest.approx(best)


def test_the_last_checkpoints_are_kept_beside_the_best(run):
    train(replace(run, keep_last=2))
    kept = sorted(path.name for path in run.run_dir.glob("epoch-*.safetensors"))
    assert kept == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    last = load_checkpoint(run.run_dir / kept[-1], device="cpu").network.state_dict()
    for name, value in weights(run.run_dir).items():
        kept_value = value.half().float() if value.ndim >= 2 else value
        assert torch.equal(last[name].float(), kept_value.float()), name


def test_the_checkpoint_holds_the_averaged_weights(run):
    done = train(replace(run, ema=0.9, epochs=1))
    average = load_state(run.run_dir).learner["average"]["weights"]
    kept = load_checkpoint(done.checkpoint, device="cpu").network.state_dict()
    assert torch.equal(kept["logit_scale"], average["logit_scale"])
    assert not torch.equal(average["logit_scale"], weights(run.run_dir)["logit_scale"])


@pytest.mark.parametrize("update", [1, 3, 4])
def test_a_run_with_an_average_and_groups_of_batches_goes_on_exactly(run, tmp_path, update):
    """Also from the last update of an epoch, before it is measured."""
    run = replace(run, epochs=2, batch_size=2, accumulate=2, ema=0.9, asam_rho=0.5)
    run = replace(run, network="mift", overrides={"dropout": 0.5})  # draws in every update
    broken = replace(run, run_dir=tmp_path / "broken")
    with pytest.raises(JobCancelled):
        train(broken, cancel_at(update))
    assert load_state(broken.run_dir).progressed.steps == update
    train(broken)
    train(run)
    assert_same(weights(run.run_dir), weights(broken.run_dir))
    averages = [load_state(r.run_dir).learner["average"]["weights"] for r in (run, broken)]
    assert_same(*averages)
    told, other = (read_metrics(r.run_dir) for r in (run, broken))
    assert [(e.loss, e.metrics) for e in told] == [(e.loss, e.metrics) for e in other]


def test_hard_negatives_are_found_anew_and_a_resumed_run_has_the_same(run, tmp_path, monkeypatch):
    run = replace(run, negatives="similarity", refresh_negatives=2, epochs=5, batch_size=3)
    run = replace(run, neighbour_select=2, neighbour_range=4)
    mined = []
    most_alike = training_tasks.most_alike

    def watched(*args, **options):
        mined.append(most_alike(*args, **options))
        return mined[-1]

    monkeypatch.setattr(training_tasks, "most_alike", watched)
    train(run)
    assert len(mined) == 2  # before epochs 2 and 4; until then those nearest on the ground
    broken = replace(run, run_dir=tmp_path / "broken")
    with pytest.raises(JobCancelled):
        train(broken, cancel_at(8))  # in the third epoch
    assert np.array_equal(load_state(broken.run_dir).progressed.neighbours.numpy(), mined[2])
    train(broken)
    assert_same(weights(run.run_dir), weights(broken.run_dir))


@pytest.mark.slow
def test_an_object_network_trains_resumes_and_tells_its_own_figures(tmp_path):
    data = write_cvogl(tmp_path / "data")
    run = make_train(
        tmp_path / "run", data, recipe="attengeo-cvogl-drone", preset="smallest", epochs=2,
        batch_size=2, device="cpu",
    )  # fmt: skip
    done = train(run)
    broken = replace(run, run_dir=tmp_path / "broken")
    with pytest.raises(JobCancelled):
        train(broken, cancel_at(4))
    train(broken)
    assert_same(weights(run.run_dir), weights(broken.run_dir))
    last = read_metrics(run.run_dir)[-1]
    assert set(last.metrics) == {"accu@0.25", "accu@0.5", "mean IoU"}
    assert last.recall_at_1 is None
    checkpoint = load_object_checkpoint(done.checkpoint, device="cpu")
    assert checkpoint.card.task == "object"
    assert checkpoint.card.descriptor == 0


def test_a_network_and_a_data_set_of_different_tasks_are_told_apart(tmp_path, pairs):
    run = make_train(tmp_path / "run", pairs, network="attengeo", preset="smallest", device="cpu")
    with pytest.raises(UserError, match="attengeo learns from clicks and boxes"):
        train(run)


def test_a_run_without_preset_and_checkpoint_says_what_to_choose(run):
    with pytest.raises(UserError, match="a configuration must be named"):
        train(replace(run, preset=""))


def test_the_networks_own_augmentation_is_part_of_training(tmp_path, pairs, monkeypatch):
    run = make_train(
        tmp_path / "run", pairs, recipe="geoviewmatch", preset="smallest", epochs=1, batch_size=4,
        device="cpu", overrides={
            "query_view": "drone", "query_turn": "rotate", "query_size": (64, 64),
        },
    )  # fmt: skip
    seen = []
    from app.models.geoviewmatch import GeoViewMatch

    augment = GeoViewMatch.augment

    def watched(self, batch, *, generator):
        seen.append(generator.initial_seed())
        return augment(self, batch, generator=generator)

    monkeypatch.setattr(GeoViewMatch, "augment", watched)
    train(run)
    assert len(seen) == 4  # two updates, each twice for ASAM
    assert seen[0] == seen[1] != seen[2]


def test_missing_pictures_are_logged_and_passed_over(run, tmp_path):
    data = write_pairs(tmp_path / "data")
    (data / "satellite" / "3.png").unlink()
    train(replace(run, data=data, epochs=1))
    assert "3.png" in (run.run_dir / "log.txt").read_text()
    assert len(read_pairs(run.data, "train")) == 10


def test_epochs_tell_memory_and_updates(run):
    told = []
    train(run, told.append)
    epochs = [event for event in told if isinstance(event, EpochDone)]
    assert [e.step for e in epochs] == [2, 4, 6]
    assert all(e.memory_mb > 50 for e in epochs)
    assert {"R@1", "R@5", "R@10", "AP", "median_m"} == set(epochs[0].metrics)


def test_weights_that_are_no_numbers_are_never_saved(run, monkeypatch):
    """The loss tells a diverged network only at the next update."""
    update = Learner.update

    def spoiling(self, losses, lr):
        loss = update(self, losses, lr)
        self.network.logit_scale.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Learner, "update", spoiling)
    with pytest.raises(UserError, match="weights logit_scale are not finite"):
        train(run, cancel_at(1))
    assert not (run.run_dir / "last.pt").exists()
    assert read_status(run.run_dir).state == "diverged"
