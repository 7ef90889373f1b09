"""Networks grown neuron by neuron where conditions hold by construction: as good as where rows impose them."""

import numpy as np
import pytest
import torch

import grassvp as gv
from grassvp import pde, starts
from grassvp.errors import ArgumentError
from grassvp.features.composed import WithModel
from grassvp.lab import equations
from grassvp.starts import can_grow, grow_parameters, narrowed


def layer(exact):
    given = equations.layer()
    conditions = [pde.dirichlet("boundary", exact=exact)]
    return pde.PDE(given.domain, given.equations.equation, 1.0, conditions=conditions, exact=given.exact)


def bump(exact):
    return pde.PDE(
        pde.Box({"x": (0, 1)}),
        lambda u, x: u.value - 1e-3 * u.d("x", "x"),
        lambda x: torch.exp(30 * (torch.cos(2 * torch.pi * (x["x"] - 0.3)) - 1)),
        conditions=[pde.periodic("x", exact=exact)],
    )


@pytest.mark.parametrize("exact", [False, True])
def test_a_sharp_layer_is_found_by_growth(exact):
    options = {"interior": 400, "boundary": 2, "seed": 0, "max_iterations": 150, "starts": 3}
    grown, auto = (
        layer(exact).solve(gv.features.mlp(1, (20,)), initialization=kind, **options) for kind in ("growth", "auto")
    )
    assert layer(exact).relative_l2_error(grown) < 1e-6 < layer(exact).relative_l2_error(auto)


def test_a_sharp_periodic_bump_is_found_by_growth():
    options = {"interior": 200, "boundary": 2, "seed": 0, "max_iterations": 60, "starts": 2}
    grown, auto = (
        bump(True).solve(gv.features.mlp(2, (16,)), initialization=kind, **options) for kind in ("growth", "auto")
    )
    assert grown.value < 1e-2 * auto.value


def test_a_narrowed_network_keeps_what_holds_by_construction():
    problem = layer(True).collocate(gv.features.mlp(1, (20,)), interior=60, boundary=2)
    assert isinstance(problem.features, WithModel) and can_grow(problem)
    theta = grow_parameters(problem, np.random.default_rng(0), starts.Growth(pool=20, every=2, steps=1))
    other = narrowed(problem, 3)
    solution = gv.solve(other, initial_parameters=torch.cat([theta[:3], theta[20:23]]), max_iterations=2)
    assert other.features.initial.shape == (6,) and len(solution.coefficients) >= 4
    u = solution.predict(torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64))
    assert float(u[[0, 2]].abs().max()) == 0.0 < float(u[1].abs())


def test_growth_of_a_narrower_network_is_a_solve_of_the_same_equation():
    problem = layer(True).collocate(gv.features.mlp(1, (20,)), interior=400, boundary=2)
    grown = gv.grow(problem, goal=1e-3, seed=0, max_iterations=50)
    assert grown.reached and grown.width < 20
    assert layer(True).relative_l2_error(grown.solution) < 1e-3


def test_automatic_starts_do_not_grow_under_an_operator(monkeypatch):
    def grown(*_):
        raise AssertionError("growth was used")

    monkeypatch.setattr(starts, "grow_parameters", grown)
    layer(True).solve(gv.features.mlp(1, (6,)), interior=40, boundary=2, seed=0, max_iterations=2)


def test_what_cannot_grow_is_refused():
    with pytest.raises(ArgumentError, match=r"initialization 'growth'.*compare two points"):
        bump(False).solve(gv.features.mlp(1, (6,)), interior=40, boundary=2, initialization="growth")
