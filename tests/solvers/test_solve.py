"""solve(): starts, seeds, purity, invariance, other types of features and numbers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import FirstOrder, GaussNewton, LevenbergMarquardt, ReducedProblem, SeparableProblem, Status, solve
from grassvp.features import mlp
from grassvp.starts import SCALES, Start, best_of_each_scale, random_starts
from tests.solvers.problems import Recorder, double_exponential, least_squares_value, wave

X = np.linspace(-1.0, 1.0, 40)
GRID = np.stack([axis.ravel() for axis in np.meshgrid(X[::5], X[::5])], 1)


@pytest.mark.parametrize("seed", range(6))
def test_never_worse_than_random_features(seed):
    problem = wave(regularization=1e-8)
    solution = solve(problem, seed=seed, max_iterations=10)
    assert solution.value <= solve(problem, seed=seed, max_iterations=0).value
    rng = np.random.default_rng(seed)
    slopes, knots = 3.0 * rng.standard_normal(6), rng.uniform(0.0, 1.0, 6)
    assert solution.value <= least_squares_value(problem, np.concatenate([slopes, -slopes * knots]))


@pytest.mark.parametrize("stop", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_a_stop_is_not_worse_than_random_features_either(seed, stop):
    problem = wave(regularization=1e-8)
    solution = solve(problem, seed=seed, callbacks=[lambda record: record.iteration == stop])
    assert solution.status is Status.STOPPED
    assert solution.value <= solve(problem, seed=seed, max_iterations=0).value


def test_iteration_zero_is_the_best_of_all_draws():
    problem = wave(regularization=1e-8)
    reduced = ReducedProblem(problem)
    draws = random_starts(reduced, np.random.default_rng(3))
    solution = solve(problem, seed=3, max_iterations=0)
    assert len(draws) == 3 * len(SCALES)
    assert solution.value == min(draw.value for draw in draws)
    assert torch.equal(solution.parameters, best_of_each_scale(draws)[0].parameters)
    for draw in draws[::5]:
        assert draw.value == pytest.approx(least_squares_value(problem, draw.parameters), rel=1e-9)


def test_the_best_starts_are_of_different_scales():
    values = {1.0: (0.1, 0.2), 2.0: (0.3, 0.15), 4.0: (9.0, 8.0)}
    draws = [Start(torch.zeros(1), value, "random", scale) for scale, pair in values.items() for value in pair]
    best = [(start.scale, start.value) for start in best_of_each_scale(draws)]
    assert best == [(1.0, 0.1), (2.0, 0.15), (4.0, 8.0)]


def same(first, second):
    timed = ("seconds",)
    assert first.status is second.status and first.value == second.value
    assert torch.equal(first.parameters, second.parameters) and torch.equal(first.coefficients, second.coefficients)
    for name in set(first.history) - set(timed):
        np.testing.assert_array_equal(first.history[name], second.history[name])


@pytest.mark.parametrize("method", [None, GaussNewton(), FirstOrder("lbfgs"), FirstOrder("adam", objective="joint")])
def test_the_same_seed_gives_the_same_bits(method):
    problem = wave(regularization=1e-8)
    first = solve(problem, method, seed=5, max_iterations=5)
    same(first, solve(problem, method, seed=5, max_iterations=5))
    same(first, solve(problem, method, seed=np.random.default_rng(5), max_iterations=5))
    assert not torch.equal(first.parameters, solve(problem, method, seed=6, max_iterations=5).parameters)


def test_no_seed_means_fresh_draws():
    first, second = (solve(wave(), max_iterations=0).parameters for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, list], ids=["numpy", "torch", "list"])
def test_given_parameters_are_where_the_solve_starts(kind):
    problem = wave(regularization=1e-8)
    start = np.random.default_rng(0).standard_normal(12)
    keep = Recorder()
    solution = solve(problem, initial_parameters=kind(start), seed=0, max_iterations=4, callbacks=[keep])
    np.testing.assert_array_equal(keep.parameters[0], start)
    assert solution.history["value"][0] == ReducedProblem(problem).value(start)
    assert solution.history["evaluations"][0] == 1, "no other start was tried"
    assert [record.iteration for record in keep.records] == [0, 1, 2, 3, 4]
    same(solution, solve(problem, initial_parameters=start, seed=1, starts=7, max_iterations=4))


def network():
    generator = torch.Generator().manual_seed(0)
    module = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 5), nn.Sigmoid())
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module


def surface():
    return np.stack([np.sin(GRID @ [1.0, 2.0]), GRID[:, 0] ** 2, np.exp(GRID[:, 1])], 1)


def test_a_module_that_cannot_be_sampled_starts_from_its_parameters():
    module = network()
    keep = Recorder()
    solution = solve(SeparableProblem(module, GRID, surface()), seed=0, max_iterations=25, callbacks=[keep])
    expected = nn.utils.parameters_to_vector(module.parameters()).detach().double()
    np.testing.assert_array_equal(keep.parameters[0], expected)
    assert solution.coefficients.shape == (5, 3) and solution.predict(GRID).shape == surface().shape
    assert solution.value < 1e-2 * solution.history["value"][0]


@pytest.mark.parametrize("method", [None, FirstOrder("lbfgs", objective="joint"), FirstOrder("adam")], ids=repr)
def test_the_callers_module_is_left_alone(method):
    module = network().train()
    module[0].weight.requires_grad_(False)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter) if parameter.requires_grad else None
    before, flags = copy.deepcopy(module.state_dict()), [p.requires_grad for p in module.parameters()]
    solve(SeparableProblem(module, GRID, surface()), method, max_iterations=3)
    assert module.training and all(child.training for child in module)
    assert [p.requires_grad for p in module.parameters()] == flags
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name])
    for parameter in module.parameters():
        assert (parameter.grad is None) or bool((parameter.grad == 1).all())


def test_the_callers_arrays_are_left_alone():
    problem_data = [GRID.copy(), surface(), np.linspace(1.0, 2.0, len(GRID))]
    x, y, w = (array.copy() for array in problem_data)
    start = np.random.default_rng(0).standard_normal(9)
    given = start.copy()
    solution = solve(SeparableProblem(mlp(2, (3,)), x, y, weights=w), initial_parameters=given, max_iterations=3)
    for array, before in zip((x, y, w, given), (*problem_data, start), strict=True):
        np.testing.assert_array_equal(array, before)
    solution.parameters.zero_()
    np.testing.assert_array_equal(given, start)


def test_global_state_is_neither_read_nor_set():
    def state():
        return (
            torch.get_rng_state().tolist(),
            [np.asarray(part).tolist() for part in np.random.get_state()[1:]],
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            np.geterr(),
        )

    torch.set_num_threads(3)
    before = state()
    first = [solve(wave(), method, seed=0, max_iterations=3) for method in (None, FirstOrder("adam"))]
    assert state() == before
    torch.set_num_threads(1)
    torch.manual_seed(123)
    try:
        torch.set_default_dtype(torch.float64)
        with torch.no_grad():
            second = [solve(wave(), method, seed=0, max_iterations=3) for method in (None, FirstOrder("adam"))]
    finally:
        torch.set_default_dtype(before[2])
        torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    for one, other in zip(first, second, strict=True):
        same(one, other)


@pytest.mark.parametrize("method", [LevenbergMarquardt(), GaussNewton()], ids=type)
@pytest.mark.parametrize("scaled", ["targets", "weights"])
@pytest.mark.parametrize("make", [wave, lambda **o: double_exponential(0.05, **o)], ids=["wave", "decays"])
def test_the_units_of_the_targets_do_not_matter(method, scaled, make):
    """Y and W times 2^20 at lam = 0: the same theta to the bit, the same status, the value times 2^40."""
    plain = make(weights=np.ones(60))
    weights = np.full(60, 2.0**20) if scaled == "weights" else np.ones(60)
    targets = plain.targets[:, 0] * (2.0**20 if scaled == "targets" else 1.0)
    large = SeparableProblem(plain.features, plain.inputs, targets, weights=weights)
    keep, keep_large = Recorder(), Recorder()
    first = solve(plain, method, seed=0, starts=2, max_iterations=25, callbacks=[keep])
    second = solve(large, method, seed=0, starts=2, max_iterations=25, callbacks=[keep_large])
    assert first.status is second.status and first.iterations == second.iterations > 5
    np.testing.assert_allclose(keep_large.parameters, keep.parameters, rtol=1e-9)
    np.testing.assert_allclose(second.history["value"], 2.0**40 * first.history["value"], rtol=1e-9)


def test_float32_stays_float32():
    x, y = X.astype(np.float32), np.sin(3 * X).astype(np.float32)
    problem = SeparableProblem(mlp(1, (6,)), x, y, regularization=1e-6)
    for method in (None, GaussNewton(), FirstOrder("lbfgs"), FirstOrder("lbfgs", objective="joint")):
        solution = solve(problem, method, seed=0, max_iterations=60)
        assert solution.parameters.dtype == solution.coefficients.dtype == torch.float32
        assert solution.predict(x).dtype == np.float32 and solution.predict(torch.from_numpy(x)).dtype == torch.float32
        assert np.linalg.norm(solution.predict(x) - y) < 5e-2 * np.linalg.norm(y), method


@pytest.mark.parametrize("widths", [(6, 5), (4, 4, 4)], ids=str)
def test_deep_networks_solve(widths):
    problem = SeparableProblem(mlp(2, widths), GRID, surface(), regularization=1e-10)
    solution = solve(problem, seed=0, max_iterations=40, starts=2)
    drawn = solve(problem, seed=0, max_iterations=0)
    assert solution.value < 0.05 * drawn.value and solution.coefficients.shape == (widths[-1] + 1, 3)
    assert solution.value == pytest.approx(ReducedProblem(problem).value(solution.parameters), rel=1e-12)


def test_more_features_than_rows_fit_exactly():
    problem = SeparableProblem(mlp(1, (12,)), X[:8], np.sin(5 * X[:8]))
    solution = solve(problem, seed=0)
    assert solution.status is Status.CONVERGED and solution.iterations == 0 and solution.value < 1e-24
