"""Solvers from starts that lose rank: every status is true, nothing is NaN, and none is taken in by a cliff."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp import (
    FirstOrder,
    GradientFlow,
    LevenbergMarquardt,
    ReducedProblem,
    SeparableProblem,
    Status,
    TrustRegion,
    solve,
)
from grassvp.features import from_function, mlp
from grassvp.solvers import iteration
from tests.laws.reduced import norm
from tests.regimes.regimes import regime
from tests.regimes.starts import KINDS, SOLVERS, start
from tests.regimes.statuses import Reference, falls, untruth

TOLERANCE = 1e-10


def solved(name, seed, limit, **options):
    problem, theta = start(seed, **options)
    solution = solve(problem, SOLVERS[name], initial_parameters=theta, max_iterations=limit, tolerance=TOLERANCE)
    return problem, solution


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_from_starts_of_every_other_kind(name):
    for seed in range(list(SOLVERS).index(name) % 2, len(KINDS), 2):
        problem, solution = solved(name, seed, 5, ridge=seed % 3 > 0)
        wrong = untruth(problem, solution, TOLERANCE, 5)
        assert not wrong, f"{KINDS[seed]}: {wrong}"


@pytest.mark.parametrize("name", ["LM, accelerated", "trust region, corrected", "L-BFGS"])
def test_runs_that_end_say_why(name):
    """Starts of eight kinds at lam = 0, long enough for some of them to end by themselves."""
    ends = set()
    for seed in [seed for seed in range(9, 18) if KINDS[seed % len(KINDS)] != "wide"]:
        problem, solution = solved(name, seed, 60, ridge=False)
        wrong = untruth(problem, solution, TOLERANCE, 60)
        assert not wrong, f"{KINDS[seed % len(KINDS)]}, start {seed}: {wrong}"
        ends.add(solution.status)
    assert Status.RANK_DEFICIENT in ends and Status.MAX_ITERATIONS in ends


# --- ways out that a model does not see -------------------------------------------------------------------------------

ZERO_WEIGHTS = KINDS.index("zero weights")


@pytest.mark.parametrize("name", ["LM, accelerated", "Gauss-Newton"])
def test_a_layer_of_zeros_is_left(name):
    """There J_GP has columns of size 1e7 along every way out, and its steps are too short to be seen."""
    solution = solved(name, ZERO_WEIGHTS, 15)[1]
    assert solution.history["value"][0] > 1.0 and solution.value < 0.1 * solution.history["value"][0]
    assert solution.rank > 1


def test_without_the_gradient_as_a_last_resort_that_start_is_a_false_end(monkeypatch):
    monkeypatch.setattr(iteration, "downhill", lambda problem, point: (None, 0))
    monkeypatch.setattr(iteration, "_plain", lambda part: part)
    problem, solution = solved("LM, accelerated", ZERO_WEIGHTS, 15)
    assert solution.status is Status.STALLED and solution.iterations <= 2
    assert "falls" in untruth(problem, solution, TOLERANCE, 15)


@pytest.mark.parametrize("lam", [0.0, 1e-13])
def test_a_dead_neuron_beside_a_network_at_its_minimum_is_brought_to_life(lam):
    """The gradient is rounding there, and C is zero at the neuron; the gradient of other minimisers C is not."""
    x = np.linspace(-1.0, 1.0, 40)[:, None]
    y = np.sin(3.0 * x[:, 0]) + 0.3 * np.cos(7.0 * x[:, 0])
    small = solve(
        SeparableProblem(mlp(1, (1,)), x, y, regularization=lam), initial_parameters=[2.0, 0.1], tolerance=0.0
    )
    w, b = small.parameters.tolist()
    reduced = ReducedProblem(SeparableProblem(mlp(1, (2,)), x, y, regularization=lam))
    point = reduced.linearize([w, 0.0, b, 0.0])
    assert point.rank == 2 and point.value == pytest.approx(small.value, rel=1e-12)
    spare = point.spare_gradient(torch.ones(4, dtype=torch.float64))
    assert norm(point.gradient) < 1e-9 * norm(spare) and norm(spare[[0, 2]]) < 1e-9 * norm(spare)
    solution = solve(reduced.problem, initial_parameters=[w, 0.0, b, 0.0], tolerance=0.0, max_iterations=30)
    assert solution.value < 0.5 * small.value and solution.rank == 3


def test_the_spare_gradient_is_that_of_another_minimiser():
    """(C + Z B) has the residual of C; the gradient of the joint value there differs by the spare one, largest in B."""
    each = regime("duplicates")
    Y = np.random.default_rng(4).standard_normal((8, 1))
    reduced = ReducedProblem(SeparableProblem(each.module, each.inputs, Y))
    point, sizes = reduced.linearize(each.theta), torch.linspace(0.5, 2.0, 6, dtype=torch.float64)
    Z = np.linalg.svd(point.derivatives.values.numpy())[2][3:].T
    theta = torch.tensor(each.theta, requires_grad=True)
    features = reduced.problem.features(theta, reduced.problem.inputs)
    along = (features @ torch.from_numpy(Z) * point.residual).sum()
    expected = torch.autograd.grad(along, theta)[0]
    found = point.spare_gradient(sizes)
    assert min(norm(found - expected), norm(found + expected)) <= 1e-12 * norm(expected)
    assert reduced_at_full_rank().spare_gradient(sizes) is None


def reduced_at_full_rank():
    each = regime("duplicates")
    theta = each.theta + np.linspace(0.0, 1.0, 6)
    return ReducedProblem(SeparableProblem(each.module, each.inputs, np.arange(8.0))).linearize(theta)


def test_the_spare_gradient_of_several_neurons_and_outputs_is_nearly_the_largest():
    """Against the singular values of the map B -> sizes * DPhi^*[R (Z B)^T], weights included."""
    each = regime("zero weights")
    rng = np.random.default_rng(6)
    Y, w = rng.standard_normal((8, 3)), rng.uniform(0.5, 2.0, 8)
    point = ReducedProblem(SeparableProblem(each.module, each.inputs, Y, weights=w)).linearize(each.theta)
    sizes = np.linspace(0.5, 2.0, 6)
    Z = point.projection.null_space.numpy()
    assert Z.shape == (4, 3) and norm(point.derivatives.values.numpy() @ Z) < 1e-14
    left = torch.from_numpy(w[:, None] * point.residual.numpy())
    columns = [
        sizes * point.derivatives.pullback(left, torch.from_numpy(Z @ unit.reshape(3, 3))).numpy() for unit in np.eye(9)
    ]
    largest = np.linalg.svd(np.stack(columns, axis=1), compute_uv=False)[0]
    found = norm(sizes * point.spare_gradient(torch.from_numpy(sizes)).numpy())
    assert 0.9 * largest <= found <= largest * (1 + 1e-12)


# --- cliffs of lam = 0 ------------------------------------------------------------------------------------------------


def test_near_the_cut_the_value_is_not_called_differentiable():
    """Singular values 1 and s: the cut is at 1e-10, certainty begins at twice that; lam > 0 helps where it is felt."""

    def point(s, lam=0.0):
        features = from_function(lambda p, x: torch.stack([p[0] * x, p[1] * (1 - x)], dim=1), [1.0, s])
        return ReducedProblem(
            SeparableProblem(features, [0.0, 1.0, 0.0], [1.0, 2.0, 0.5], regularization=lam)
        ).linearize([1.0, s])

    assert point(1e-8).differentiable and point(3e-10).differentiable
    assert point(1.2e-10).rank == 2 and not point(1.2e-10).differentiable
    assert point(0.5e-10).rank == 1 and not point(0.5e-10).differentiable
    assert point(0.0, 1e-20).differentiable and not point(0.0, 1e-34).differentiable


def test_a_step_over_a_cliff_is_not_taken_because_it_lowers_the_gradient():
    """Where predictions are below the rounding of the value, one that rises by more than that is a failure."""
    problem, theta = start(10, ridge=False)
    solution = solve(problem, SOLVERS["Gauss-Newton"], initial_parameters=theta, max_iterations=15, tolerance=TOLERANCE)
    falls_only = np.diff(solution.history["value"])
    assert (falls_only <= 1e-6 * solution.history["value"][:-1]).all()


@pytest.mark.parametrize("method", [GradientFlow(tolerance=1e-3), GradientFlow("grassmann", "rk23", tolerance=1e-2)])
@pytest.mark.parametrize("ridge", [False, True])
def test_a_flow_never_rises(method, ridge):
    """From saturated neurons, where a step of the integrator may leap."""
    for seed in (7, 16):
        problem, theta = start(seed, ridge=ridge)
        solution = solve(problem, method, initial_parameters=theta, max_iterations=25, tolerance=TOLERANCE)
        values = solution.history["value"]
        assert (np.diff(values) <= method.tolerance * values[:-1] + 1e-12).all()
        assert not untruth(problem, solution, TOLERANCE, 25)


def test_lbfgs_whose_memory_is_of_no_use_begins_afresh():
    """A kink ends its line search; the value there falls along nothing that is sampled."""
    problem, theta = start(KINDS.index("dead relu"))
    solution = solve(problem, FirstOrder("lbfgs"), initial_parameters=theta, max_iterations=200, tolerance=TOLERANCE)
    assert solution.status in (Status.STALLED, Status.CONVERGED, Status.MAX_ITERATIONS)
    point = Reference(problem, solution.parameters.numpy())
    assert solution.status is not Status.STALLED or not falls(point, ("-g", "-g by sizes"))


# --- the judge can fail -----------------------------------------------------------------------------------------------


def test_untrue_statuses_are_noticed():
    problem, solution = solved("LM", 0, 3)
    assert not untruth(problem, solution, TOLERANCE, 3)
    for status in (Status.CONVERGED, Status.STALLED, Status.DAMPED_OUT, Status.RANK_DEFICIENT, Status.NON_FINITE):
        assert untruth(problem, dataclasses.replace(solution, status=status), TOLERANCE, 3), status
    assert "iterations" in untruth(problem, solution, TOLERANCE, 4)
    assert "value" in untruth(problem, dataclasses.replace(solution, value=0.99 * solution.value), TOLERANCE, 3)
    assert "finite" in untruth(problem, dataclasses.replace(solution, gradient_norm=np.nan), TOLERANCE, 3)


def test_options_of_the_methods_that_were_sampled_are_theirs():
    assert SOLVERS["LM"] == LevenbergMarquardt() and SOLVERS["trust region"] == TrustRegion()
