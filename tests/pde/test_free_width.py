"""Free width: random features as long as they serve, judged by fresh points; a trained network where they do not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp import Status, pde, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import mlp
from grassvp.lab import equations
from grassvp.pde import free_width, starts
from grassvp.pde.free_width import FreeWidth, solve_at_free_width

CUBIC = pde.PDE(
    pde.Box({"x": (0, 1)}),
    lambda u, x: u.d("x", "x") + u.value**3,
    lambda x: -torch.sin(x["x"]) + torch.sin(x["x"]) ** 3,
    [pde.dirichlet("boundary", lambda x: torch.sin(x["x"]))],
    exact=lambda x: torch.sin(x["x"]),
    linear=False,
)


DEFAULT = FreeWidth()


def at_free_width(problem, rng=0, options=DEFAULT, **solving):
    """As `PDE.solve` does it, with other options."""
    generator = np.random.default_rng(rng)

    def collocate(network, interior, boundary):
        problem_of = problem.collocate(
            network, interior=interior, boundary=boundary, sampling="sobol", seed=generator, regularization=0.0
        )
        return replace(problem_of.origin, options={})

    return solve_at_free_width(collocate, problem.domain.dimension, 8, generator, options, **solving)


@pytest.mark.parametrize("name", ["poisson", "heat", "advection"])
def test_smooth_equations_are_solved_to_rounding_without_training(name):
    equation = getattr(equations, name)()
    solution = equation.solve(seed=0)
    assert equation.relative_l2_error(solution) < 1e-12
    assert solution.iterations == 0 and len(solution.coefficients) > 100


def test_a_nonlinear_equation_is_solved_by_newtons_method_in_random_features():
    solution = CUBIC.solve(seed=0)
    assert CUBIC.relative_l2_error(solution) < 1e-12 and solution.iterations == 0
    assert CUBIC.residuals(solution).relative < 1e-12


def test_a_network_is_trained_where_random_features_do_not_serve():
    few = FreeWidth(widths=(10, 20), trained=16, sufficient=1e-6)
    layer = equations.layer(0.05)
    random = at_free_width(layer, options=replace(few, trained=0))
    trained = at_free_width(layer, options=few, max_iterations=60)
    assert random.iterations == 0 < trained.iterations <= 60 and len(trained.coefficients) == 17
    assert layer.relative_l2_error(trained) < 0.1 * layer.relative_l2_error(random)


def test_the_narrowest_that_serves_is_taken():
    widths = FreeWidth(widths=(40, 80, 160), trained=0, tolerance=1e-4)
    assert len(at_free_width(equations.poisson(), options=widths).coefficients) == 81


def test_the_seed_decides():
    first, again, other = (at_free_width(CUBIC, rng=seed) for seed in (1, 1, 2))
    assert torch.equal(first.parameters, again.parameters) and not torch.equal(first.parameters, other.parameters)


def test_what_it_would_ignore_is_refused():
    poisson = equations.poisson()
    for options in ({"interior": 100}, {"boundary": 40}, {"rounds": 2}, {"resampling": "residual"}):
        with pytest.raises(ArgumentError, match="features=None chooses width and points by itself"):
            poisson.solve(**options)
    with pytest.raises(ArgumentTypeError, match=r"free width has no option initial_parameters, max_iteration$"):
        poisson.solve(max_iteration=3, initial_parameters=0.0)


def test_ctrl_c_keeps_the_best_so_far(monkeypatch):
    real, calls = free_width._random, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(free_width, "_random", interrupted)
    solution = equations.poisson().solve(seed=0)
    assert solution.status is Status.INTERRUPTED and len(solution.coefficients) == 101
    monkeypatch.setattr(free_width, "_random", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        equations.poisson().solve(seed=0)


class TestStarts:
    def test_spread_ones_are_at_all_phases_at_weak_slopes(self):
        problem = equations.poisson_in_dimensions(3).collocate(mlp(3, (400,)), interior=50, boundary=24, seed=0)
        for start, low, high in ((starts.Start(0.01, True), 0.4, 2.0), (starts.Start(0.01, False), 0.0, 0.05)):
            theta = start.parameters(problem, np.random.default_rng(0))
            weights, bias = theta[:1200].view(400, 3), theta[1200:]
            assert float(weights.std()) == pytest.approx(0.02, rel=0.1)  # half-ranges are 1/2
            centred = bias + weights @ torch.full((3,), 0.5).double()
            assert low < float(centred.std()) < high

    def test_the_best_at_fresh_points_is_taken_and_interruptions_are_kept(self, monkeypatch):
        equation = equations.poisson_in_dimensions(3)
        found = []

        def spied(problem, **options):
            solution = solve(problem, **options | {"max_iterations": 2})
            found.append(solution)
            return replace(solution, status=Status.INTERRUPTED) if len(found) == 3 else solution

        monkeypatch.setattr(starts, "solve", spied)
        network = mlp(3, (10,))
        first = equation.collocate(network, interior=200, boundary=60, sampling="sobol", seed=0).origin
        fresh = equation.collocate(network, interior=200, boundary=60, sampling="sobol", seed=1).origin
        best = starts.trained_start(first, fresh, np.random.default_rng(0), 4)
        left = [starts.left_at(each, fresh) for each in found]
        assert len(found) == 3 and starts.left_at(best, fresh) == min(left)

    def test_an_interruption_of_a_start_ends_the_solve(self, monkeypatch):
        monkeypatch.setattr(
            starts, "solve", lambda *args, **options: replace(solve(*args, **options), status=Status.INTERRUPTED)
        )
        solution = equations.poisson().solve(mlp(2, (6,)), interior=60, boundary=20, rounds=5, seed=0)
        assert solution.status is Status.INTERRUPTED and set(solution.history["round"]) == {0}

    def test_time_is_shared_by_all_of_them(self):
        problem = equations.poisson_in_dimensions(3)
        network = mlp(3, (10,))
        one = problem.collocate(network, interior=200, boundary=60, sampling="sobol", seed=0).origin
        solution = starts.trained_start(one, one, np.random.default_rng(0), 4, max_time=0.0)
        assert solution.status is Status.MAX_TIME and solution.iterations == 0

    def test_what_is_not_finite_counts_as_infinite(self):
        problem = equations.poisson().collocate(mlp(2, (5,)), interior=30, boundary=12)
        bad = solve(problem, initial_parameters=np.full(15, 1e308), max_iterations=0)
        assert not math.isfinite(bad.value) and starts.left_at(bad, problem.origin) == math.inf
