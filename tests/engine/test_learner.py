"""One update: rates by group, accumulation, averages, ASAM, and memory saved."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from app.engine.checkpoints import Device
from app.engine.distributed import Team
from app.engine.learner import Average, make_learner, save_memory
from app.engine.schedules import learning_rate
from app.errors import UserError
from app.models.base import PairBatch
from app.models.build import create, preset_config
from app.train_request import Train

CPU = Device("cpu", "test")
STILL = {"sample4geo": {"drop_path_rate": 0.0, "freeze_bn": True}}


@pytest.fixture
def run(tmp_path):
    return Train(tmp_path, tmp_path, preset="smallest", weight_decay=0.1)


def made(name="sample4geo", **changes):
    torch.manual_seed(0)
    network = create(name, {**preset_config(name, "smallest"), **STILL.get(name, {}), **changes})
    return network.train()


def batch(network, count=4, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sizes = network.input_size(network.config.query_view), network.input_size("satellite")
    query, satellite = (torch.randn(count, 3, *size, generator=rng) for size in sizes)
    return PairBatch(query, satellite, torch.arange(count))


def learnt(run, network, batches, lr=0.01):
    learner = make_learner(run, network, CPU, Team())
    for pairs in batches:
        learner.update([partial(network.loss, part) for part in pairs], lr)
    return learner


def test_accumulated_batches_move_the_weights_as_their_mean_loss_does(run):
    network, other = made(), made()
    parts = [batch(network, seed=seed) for seed in range(2)]
    learnt(replace(run, optimizer="sgd", momentum=0.0), network, [parts])
    before = {name: p.detach().clone() for name, p in other.named_parameters()}
    loss = sum(other.loss(part) for part in parts) / 2
    loss.backward()
    for name, p in other.named_parameters():
        decay = 0.1 if p.ndim >= 2 else 0.0
        want = before[name] - 0.01 * (p.grad + decay * before[name])
        torch.testing.assert_close(network.get_parameter(name), want)


def test_the_trunk_learns_at_its_share_of_the_rate(run):
    network = made("geoviewmatch")
    learner = learnt(replace(run, network="geoviewmatch", trunk_lr_factor=0.5), network, [])
    trunk = {id(p) for p in network.trunk_parameters()}
    shares = {
        (id(p) in trunk, group["share"]) for group in learner.optimizer.param_groups
        for p in group["params"]
    }  # fmt: skip
    assert shares == {(True, 0.5), (False, 1.0)}
    learner.update([partial(network.loss, batch(network))], 0.01)
    rates = {group["share"]: group["lr"] for group in learner.optimizer.param_groups}
    assert rates == {0.5: 0.005, 1.0: 0.01}


@pytest.mark.parametrize("decay_all", [False, True])
def test_norms_and_biases_decay_only_when_asked(run, decay_all):
    learner = learnt(replace(run, decay_all=decay_all), made(), [])
    for group in learner.optimizer.param_groups:
        for p in group["params"]:
            assert group["weight_decay"] == (0.1 if p.ndim >= 2 or decay_all else 0.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD"), ("rmsprop", "RMSprop")],
)
def test_each_optimizer_moves_the_weights(run, name, kind):
    network = made()
    before = network.logit_scale.item()
    learner = learnt(replace(run, optimizer=name), network, [[batch(network)]])
    assert type(learner.optimizer).__name__ == kind
    assert network.logit_scale.item() != before


def test_asam_takes_the_gradient_at_higher_weights(run):
    plain, sharp = made(), made()
    learnt(replace(run, optimizer="sgd"), plain, [[batch(plain)]])
    learnt(replace(run, optimizer="sgd", asam_rho=2.0), sharp, [[batch(sharp)]])
    moved = [
        not torch.equal(a, b) for a, b in zip(plain.parameters(), sharp.parameters(), strict=True)
    ]
    assert sum(moved) > len(moved) / 2


def test_the_average_lags_behind_and_is_what_is_measured(run):
    network = made()
    learner = learnt(replace(run, ema=0.9), network, [[batch(network, seed=s)] for s in range(3)])
    own = network.logit_scale.item()
    assert learner.average is not None
    with learner.averaged():
        averaged = network.logit_scale.item()
    assert averaged != own
    assert network.logit_scale.item() == own
    with pytest.raises(KeyError), learner.averaged():
        raise KeyError
    assert network.logit_scale.item() == own


def test_an_average_is_the_sum_that_its_decay_says():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 0.0)
    average, want = Average(module, 0.5), 0.0
    for step in range(1, 6):
        torch.nn.init.constant_(module.weight, float(step))
        average.follow(module)
        decay = min(0.5, (1 + step) / (10 + step))
        want = decay * want + (1 - decay) * step
    assert average.weights["weight"].item() == pytest.approx(want)


@pytest.mark.parametrize("name", ["sample4geo", "transgeo", "fsra", "mift", "geoviewmatch"])
def test_blocks_computed_twice_give_the_same_gradients(name):
    plain, saving = made(name), made(name)
    assert save_memory(saving) > 0
    for network in (plain, saving):
        torch.manual_seed(1)
        network.loss(batch(network)).backward()
    for (key, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=lambda m, key=key: f"{key}: {m}")
    assert plain.state_dict().keys() == saving.state_dict().keys()


def test_a_network_without_blocks_says_so(run, monkeypatch):
    monkeypatch.setattr("app.engine.learner.save_memory", lambda network: 0)
    with pytest.raises(UserError, match="no parts"):
        make_learner(replace(run, gradient_checkpointing=True), made(), CPU, Team())


def test_what_a_network_remembers_is_part_of_the_state(run):
    """MSAE's queue: no checkpoint holds it, and a resumed run needs it."""
    run = replace(run, network="msae")
    network = made("msae")
    state = learnt(run, network, [[batch(network, seed=s)] for s in range(2)]).state()
    other = made("msae")
    learner = make_learner(run, other, CPU, Team())
    learner.load(state)
    assert other.satellite_queue.filled.any()
    assert torch.equal(other.satellite_queue.descriptors, network.satellite_queue.descriptors)
    assert other.losses_taken == 2


def rates(**settings) -> list[float]:
    run = Train(Path(), Path(), epochs=10, lr=1.0, **settings)
    return [learning_rate(run, epoch) for epoch in np.linspace(0, 10, 11)]


def test_a_step_schedule_falls_at_its_milestones():
    told = rates(schedule="step", milestones=(3.0, 6.0), gamma=0.1, warmup_epochs=0.0)
    assert told == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01])


def test_a_polynomial_schedule_falls_to_nothing():
    told = rates(schedule="polynomial", power=2.0, warmup_epochs=0.0)
    assert told == pytest.approx([(1 - n / 10) ** 2 for n in range(11)])


def test_a_constant_schedule_stays():
    assert rates(schedule="constant", warmup_epochs=2.0) == pytest.approx([0.01, 0.5, *[1.0] * 9])


def test_onecycle_is_as_torchs_own():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=1001, cycle_momentum=False
    )
    want = []
    for _ in range(1001):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if len(want) < 1001 else None
    run = Train(Path(), Path(), epochs=10, lr=1.0, schedule="onecycle")
    told = [learning_rate(run, 10 * n / 1000) for n in range(1001)]
    assert told == pytest.approx(want, abs=6e-3)
    assert math.isclose(max(told), 1.0, abs_tol=1e-3)


@pytest.mark.parametrize(
    ("can", "half"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, None), ({}, None)],
)
def test_a_processor_halves_precision_only_where_that_is_quick(run, monkeypatch, can, half):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: can)
    network = made()
    first = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1)
    first.weight.requires_grad_(False)  # what learns nothing has no gradient to be slow at
    seen: dict[str, set[torch.dtype]] = {"plain": set(), "depthwise": set(), "frozen": set()}

    def told(module, _, out):
        if isinstance(module, torch.nn.Conv2d):
            kind = "plain" if module.groups == 1 else "depthwise"
            seen["frozen" if module is first else kind].add(out.dtype)

    learner = make_learner(replace(run, amp=True), network, CPU, Team())
    with torch.nn.modules.module.register_module_forward_hook(told):
        learner.update([partial(network.loss, batch(network))], 0.01)
    kind = half or torch.float32
    assert seen == {"plain": {kind}, "depthwise": {torch.float32}, "frozen": {kind}}
    assert all(p.dtype == torch.float32 for p in network.parameters())
