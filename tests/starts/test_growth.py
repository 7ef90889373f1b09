"""Growth: each neuron is the candidate of the pool that numpy's lstsq says lowers the residual most."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, Status
from grassvp.errors import ArgumentError
from grassvp.features import differential_operator, mlp, under_operator
from grassvp.starts import Growth, can_grow, grow_parameters, grow_widths, growth, narrowed
from tests.solvers.problems import double_exponential
from tests.starts.places import OUTPUTS, STEP, WEIGHTS, X, left_over, neurons, plane, problem

NO_POLISH = Growth(pool=40, every=10**6)
HEAT = {(): 1.0, (0,): -0.5}


def under(rows=80, width=4):
    return SeparableProblem(
        under_operator(mlp(1, (width,)), differential_operator(rows, 1, HEAT)), X[:, None], STEP, regularization=1e-8
    )


MAKES = {
    "d = 1": problem,
    "3 outputs, weights": lambda **o: problem(y=OUTPUTS, weights=WEIGHTS, **o),
    "some weights zero": lambda **o: problem(weights=np.where(np.arange(80) % 5, WEIGHTS, 0.0), **o),
    "d = 3": lambda **o: problem(*plane(), **o),
    "no constant": lambda **o: problem(bias_feature=False, **o),
    "relu": lambda **o: problem(activation="relu", **o),
    "operator": lambda **o: under(**o),
}
every_make = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


def joined(problem, theta, neuron):
    """Theta with one more neuron; theta None for none."""
    d = problem.inputs.shape[1]
    W, b = neurons(torch.zeros(0) if theta is None else theta, d)
    w, c = neurons(neuron, d)
    return np.concatenate([W.ravel(), w.ravel(), b, c])


def base(problem, theta):
    """What is left without the next neuron: of the constant alone where there is no neuron yet."""
    d = problem.inputs.shape[1]
    if theta is None:
        return left_over(narrowed(problem, 1), np.ones(d + 1), first=1)
    return left_over(narrowed(problem, len(theta) // (d + 1)), theta)


def candidates(problem, pool, rng=None):
    """The pool that a generator draws, as rows of parameters."""
    rng = np.random.default_rng(0) if rng is None else rng
    W, b = growth._random_neurons(problem.inputs, rng, pool, growth._steepest(problem))
    return torch.cat([W, b[:, None]], dim=1).numpy()


@every_make
@pytest.mark.parametrize("seed", range(2))
def test_each_neuron_is_the_candidate_that_lowers_the_residual_most(make, seed):
    made = make(width=4)
    d, rng, theta = made.inputs.shape[1], np.random.default_rng(seed), None
    for count, grown in enumerate(grow_widths(made, np.random.default_rng(seed), NO_POLISH), start=1):
        pool = candidates(made, 40, rng)
        gains = drops(made, theta, pool)
        chosen = grown.numpy()[[*range((count - 1) * d, count * d), -1]]
        best = int(np.argmax(gains))
        assert gains[best] > 0
        np.testing.assert_array_equal(chosen, pool[best])
        np.testing.assert_array_equal(grown, joined(made, theta, pool[best]))
        theta = grown.numpy()
    assert count == 4


def scores(problem, theta, pool):
    """The library's score of every candidate beside the neurons of theta."""
    present = problem.features.resized(len(theta) // (problem.inputs.shape[1] + 1))
    w = 1.0 if problem.weights is None else problem.weights[:, None]
    Q = growth._orthonormal(w * present(torch.as_tensor(theta).to(problem.targets), problem.inputs))
    R = problem.weighted_targets - Q @ (Q.T @ problem.weighted_targets)
    wide = problem.features.resized(len(pool), bias_feature=False)
    d = problem.inputs.shape[1]
    flat = torch.from_numpy(np.concatenate([pool[:, :d].ravel(), pool[:, d]])).to(problem.targets)
    return growth._gains(w * wide(flat, problem.inputs), Q, R).numpy()


def drops(problem, theta, pool):
    """By how much each candidate lowers the squared residual, by lstsq with and without it."""
    d = problem.inputs.shape[1]
    wider = narrowed(problem, 1 if theta is None else len(theta) // (d + 1) + 1)
    return base(problem, theta) - np.array([left_over(wider, joined(problem, theta, neuron)) for neuron in pool])


def law(made, theta, tolerance):
    """Every score is the reduction of the squared residual, by lstsq with and without the candidate."""
    pool = candidates(made, 30)
    expected = drops(made, theta, pool)
    size = float((made.weighted_targets**2).sum())
    np.testing.assert_allclose(scores(made, theta, pool), expected, atol=tolerance * size)
    return expected / size


@every_make
def test_scores_are_reductions_of_the_squared_residual(make):
    made = make(width=3)
    theta = 3.0 * np.random.default_rng(5).standard_normal(3 * (made.inputs.shape[1] + 1))
    assert law(made, theta, 1e-9).max() > 1e-3


@pytest.mark.parametrize("theta", [[2.0, 2.0, -1.0, -1.0], [2.0, -2.0, -1.0, 1.0], [0.0, 2.0, 0.7, -1.0]], ids=str)
def test_repeated_and_constant_neurons_do_not_count(theta):
    """Twice the same, once with the other sign, and one that is a constant like the last feature."""
    assert law(problem(width=2), np.array(theta), 1e-9).max() > 1e-3


@pytest.mark.parametrize("dead", [-3.0, -30.0])
def test_a_dead_neuron_does_not_count(dead):
    """A column of zeros: QR alone would give it a direction, and take that out of the residual."""
    assert law(problem(width=2, activation="relu"), np.array([1.0, 2.0, -0.2, dead]), 1e-9).max() > 1e-3


def test_scores_in_single_precision():
    """The best one is the best and right to three digits, and no rounding inside the span passes for a reduction."""
    made, theta = problem(y=OUTPUTS, weights=WEIGHTS, dtype=np.float32), np.array([2.0, -3.0, -1.0, 0.4])
    found, expected = scores(made, theta, candidates(made, 30)), drops(made, theta, candidates(made, 30))
    assert found.argmax() == expected.argmax() and found.max() == pytest.approx(expected.max(), rel=1e-3)
    assert (found <= expected + 1e-3 * expected.max()).all()
    theta = grow_parameters(made, np.random.default_rng(0), Growth(pool=20))
    assert theta.dtype == torch.float32 and theta.isfinite().all()


def test_a_large_pool_is_judged_in_parts(monkeypatch):
    made = problem(memory_limit=2**20)
    small = problem(memory_limit=2**20)
    sizes, original = [], growth._gains
    monkeypatch.setattr(growth, "_gains", lambda Z, Q, R: sizes.append(Z.shape[1]) or original(Z, Q, R))
    whole = grow_parameters(made, np.random.default_rng(0), Growth(pool=300, every=99))
    assert set(sizes) == {2**20 // (64 * 80), 300 - 2**20 // (64 * 80)}
    small.memory_limit = 2**31
    sizes.clear()
    assert torch.equal(whole, grow_parameters(small, np.random.default_rng(0), Growth(pool=300, every=99)))
    assert set(sizes) == {300}


def test_many_rows_are_thinned(monkeypatch):
    monkeypatch.setattr(growth, "MOST_ROWS", 30)
    for made in (problem(y=OUTPUTS, weights=WEIGHTS, width=3), under()):
        features, x, w, y = growth._judged_rows(made, np.random.default_rng(0))
        index = np.random.default_rng(0).choice(80, 30, replace=False)
        np.testing.assert_array_equal(x, made.inputs[index])
        np.testing.assert_array_equal(y, made.weighted_targets[index])
        assert w is None or np.array_equal(w, made.weights[index])
        theta = torch.linspace(-1, 1, features.initial.numel(), dtype=torch.float64)
        np.testing.assert_array_equal(features(theta, x), made.features(theta, made.inputs)[index])
        assert grow_parameters(made, np.random.default_rng(0), Growth(pool=20)).isfinite().all()


# --- polishing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_network_is_polished_between_neurons(every):
    """Where all but the newest neuron moved: at each `every`, but not at the last."""
    made = problem(width=6, regularization=1e-10)
    widths = [
        theta.numpy() for theta in grow_widths(made, np.random.default_rng(0), Growth(pool=30, every=every, steps=3))
    ]
    kept = [np.array_equal(after[: len(before) // 2], before[: len(before) // 2]) for before, after in pairwise(widths)]
    assert kept == [count % every != 0 or count == 6 for count in range(2, 7)]
    residuals = [left_over(narrowed(made, len(theta) // 2), theta) for theta in widths]
    assert (np.diff(residuals) < 0).all()


def test_more_polishing_lowers_the_residual():
    made = problem(np.linspace(0, 1, 80), np.sin(12 * X), regularization=1e-10)
    left = [
        left_over(
            made, grow_parameters(made, np.random.default_rng(0), Growth(pool=100, every=every, steps=steps)).numpy()
        )
        for every, steps in ((99, 1), (2, 2), (2, 20))
    ]
    assert left[2] < left[1] < left[0]


def test_a_polishing_that_fails_keeps_the_start(monkeypatch):
    """The outcome of a run without a finite iterate has no point."""
    made, start = problem(width=1), torch.tensor([2.0, -1.0], dtype=torch.float64)
    monkeypatch.setattr(growth.Run, "advance", lambda self: setattr(self, "status", Status.NON_FINITE))
    assert growth._polished(made, start, 3) is start


# --- sizes, seeds, units, poor inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("width", [1, 12])
def test_one_neuron_and_more_neurons_than_rows(width, d):
    x = np.random.default_rng(0).uniform(-1, 1, (6, d))
    made = problem(x, np.sin(3 * x[:, 0]), width=width)
    theta = grow_parameters(made, np.random.default_rng(0), Growth(pool=50))
    assert theta.shape == (width * (d + 1),) and theta.isfinite().all()
    assert width == 1 or left_over(made, theta, 1e-10) < 1e-12, "six rows are met by as many features"


def test_growth_follows_the_seed_alone():
    first, again, other = (grow_parameters(problem(), np.random.default_rng(s), Growth(pool=20)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(("factor", "shift"), [(2.0**10, 0.0), (2.0**-10, 0.0), (1.0, 4.0)])
@pytest.mark.parametrize("d", [1, 3])
def test_the_units_of_the_inputs_do_not_matter(d, factor, shift):
    x, y = (X[:, None], STEP) if d == 1 else plane()
    first, second = (problem(each, y) for each in (x, factor * x + shift))
    (W, b), (V, c) = (neurons(grow_parameters(p, np.random.default_rng(0), NO_POLISH), d) for p in (first, second))
    np.testing.assert_allclose(factor * V, W, rtol=1e-9)
    np.testing.assert_allclose(c + shift * V.sum(1), b, rtol=1e-6, atol=1e-9 * np.abs(c).max())


@pytest.mark.parametrize("factor", [2.0**30, -(2.0**-30)])
def test_the_units_of_the_targets_do_not_matter(factor):
    first, second = (grow_parameters(problem(y=f * STEP), np.random.default_rng(0), NO_POLISH) for f in (1.0, factor))
    np.testing.assert_array_equal(first, second)


POOR = {
    "one point": (np.array([0.5]), np.array([2.0])),
    "two places": (np.repeat([0.0, 1.0], 20), np.repeat([0.0, 1.0], 20)),
    "duplicates": (np.tile(X[::8], 8), np.tile(np.sin(9 * X[::8]), 8)),
    "constant column": (np.stack([X, np.ones(80)], axis=1), STEP),
    "all columns constant": (np.ones((6, 3)), np.arange(6.0)),
    "zero target": (X, np.zeros(80)),
}


@pytest.mark.parametrize(("x", "y"), POOR.values(), ids=POOR)
@pytest.mark.parametrize("bias_feature", [True, False])
@pytest.mark.parametrize("lam", [0.0, 1e-8])
def test_poor_inputs_give_finite_parameters_and_all_that_can_be_fitted(x, y, bias_feature, lam):
    made = problem(x, y, width=4, bias_feature=bias_feature, regularization=lam)
    theta = grow_parameters(made, np.random.default_rng(0), Growth(pool=50))
    assert theta.shape == made.initial_parameters.shape and theta.isfinite().all()
    places = len(np.unique(x.reshape(len(x), -1), axis=0))
    if places <= 2 and (bias_feature or places == 2):  # any function of the place; every neuron is zero at a single one
        means = [y[(x.reshape(len(x), -1) == p).all(1)] for p in np.unique(x.reshape(len(x), -1), axis=0)]
        best = sum(float(np.sum((group - group.mean()) ** 2)) for group in means)
        assert left_over(made, theta) == pytest.approx(best, rel=1e-9, abs=1e-9)


# --- what can grow --------------------------------------------------------------------------------------------------


def test_narrowed_is_the_same_problem_of_another_width():
    made = problem(y=OUTPUTS, weights=WEIGHTS, regularization=1e-3)
    other = narrowed(made, 2)
    assert other.width == 3 and other.features.initial.shape == (4,) and made.width == 7
    theta = np.array([1.0, -2.0, 0.3, 0.4])
    direct = problem(y=OUTPUTS, weights=WEIGHTS, regularization=1e-3, width=2)
    assert ReducedProblem(other).value(theta) == ReducedProblem(direct).value(theta)


def test_only_one_hidden_layer_without_bounds_can_grow():
    assert can_grow(problem()) and can_grow(under())
    deep = SeparableProblem(mlp(1, (3, 3)), X, STEP)
    for each in (deep, problem(bounds=(-9, 9)), problem(coefficient_bounds=(0, None)), double_exponential()):
        assert not can_grow(each)
    for each in (deep, double_exponential()):
        for ask in (lambda p: narrowed(p, 2), lambda p: grow_parameters(p, np.random.default_rng(0))):
            with pytest.raises(ArgumentError, match="features must be an mlp with one hidden layer"):
                ask(each)


def test_slopes_under_an_operator_are_seen_by_several_points():
    assert growth._steepest(problem()) == growth.SLOPES[1]
    assert growth._steepest(under()) == 80 / 4 and growth._steepest(under()) < growth.SLOPES[1]
