"""Adaptive sharpness-aware minimisation against its formula and on a valley with a sharp side."""

import math

import pytest
import torch

from app.engine.asam import ascended


def parameters(*values: list[float]) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in values]


def quadratic(ps: list[torch.nn.Parameter]) -> torch.Tensor:
    return sum((p**2 * torch.arange(1, p.numel() + 1)).sum() for p in ps) / 2


@pytest.mark.parametrize("eta", [0.0, 0.01])
def test_weights_climb_by_the_papers_formula(eta):
    ps = parameters([1.0, -2.0, 0.5], [3.0])
    quadratic(ps).backward()
    flat = [(w, g) for p in ps for w, g in zip(p.tolist(), p.grad.tolist(), strict=True)]
    norm = math.sqrt(sum(((abs(w) + eta) * g) ** 2 for w, g in flat))
    want = [w + 0.5 * (abs(w) + eta) ** 2 * g / norm for w, g in flat]
    with ascended(ps, rho=0.5, eta=eta):
        got = [w for p in ps for w in p.tolist()]
    assert got == pytest.approx(want, rel=1e-6)


def test_on_a_quadratic_the_second_gradient_is_that_of_the_higher_point():
    (p,) = parameters([1.0, -2.0])
    quadratic([p]).backward()
    with ascended([p], rho=0.1):
        there = p.detach().clone()
        p.grad = None
        quadratic([p]).backward()
    assert torch.equal(p.detach(), torch.tensor([1.0, -2.0], dtype=torch.float64))
    assert torch.equal(p.grad, there * torch.tensor([1.0, 2.0]))
    assert quadratic([there]) > quadratic([p])


def test_the_way_is_as_long_as_rho_in_units_of_the_weights():
    (p,) = parameters([4.0, -0.25, 1.5])
    quadratic([p]).backward()
    before = p.detach().clone()
    with ascended([p], rho=0.3):
        way = (p.detach() - before) / before.abs()
    assert float(way.norm()) == pytest.approx(0.3, rel=1e-6)


def test_scaling_weights_against_each_other_changes_nothing():
    """The network a * b * x is the same with a doubled and b halved; plain SAM tells them apart."""

    def climbed(a: float, b: float) -> float:
        pa, pb = parameters([a], [b])
        ((pa * pb - 3) ** 2).sum().backward()
        with ascended([pa, pb], rho=0.2):
            return (pa * pb).item()

    assert climbed(1.0, 2.0) == pytest.approx(climbed(10.0, 0.2), rel=1e-9)
    assert climbed(1.0, 2.0) != pytest.approx(2.0, rel=1e-2)


def test_a_factor_on_the_loss_does_not_matter():
    def climbed(factor: float) -> torch.Tensor:
        ps = parameters([1.0, -2.0, 0.5])
        (factor * quadratic(ps)).backward()
        with ascended(ps, rho=0.5):
            return ps[0].detach().clone()

    torch.testing.assert_close(climbed(1.0), climbed(65536.0))


def test_weights_are_as_before_to_the_bit_even_after_a_failure():
    p = torch.nn.Parameter(torch.randn(1000))
    before = p.detach().clone()
    (p.sin().sum()).backward()
    within = []

    def failing() -> None:
        with ascended([p], rho=2.5):
            within.append(p.detach().clone())
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    assert not torch.equal(within[0], before)
    assert torch.equal(p.detach(), before)


@pytest.mark.parametrize("gradient", [0.0, math.inf, math.nan])
def test_without_a_direction_weights_stay(gradient):
    (p,) = parameters([1.0, 2.0])
    p.grad = torch.tensor([gradient, 0.0], dtype=torch.float64)
    with ascended([p], rho=1.0):
        assert p.tolist() == [1.0, 2.0]


def test_what_has_no_gradient_stays():
    p, frozen = parameters([1.0], [5.0])
    quadratic([p]).backward()
    with ascended([p, frozen], rho=1.0):
        assert p.item() != 1.0
        assert frozen.item() == 5.0
    with ascended([frozen], rho=1.0):
        assert frozen.item() == 5.0


def test_it_leaves_a_sharp_valley_that_plain_descent_stays_in():
    """Two valleys of the same depth: a narrow one at 1, a wide one at 4."""

    def ends(rho: float) -> float:
        (p,) = parameters([1.05])
        optimizer = torch.optim.SGD([p], lr=0.02)

        def loss() -> torch.Tensor:
            return -torch.exp(-((p - 1) ** 2) / 0.02).sum() - torch.exp(-((p - 4) ** 2) / 4).sum()

        for _ in range(400):
            optimizer.zero_grad()
            loss().backward()
            with ascended([p], rho=rho):
                optimizer.zero_grad()
                loss().backward()
            optimizer.step()
        return p.item()

    assert ends(0.0) == pytest.approx(1.0, abs=0.05)
    assert ends(0.5) > 1.5
