"""Random starts: the draws that they are, what they are worth, and that they follow scale, seed and bounds alone."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError
from grassvp.features import from_function, mlp
from grassvp.starts import SCALES, best_of_each_scale, perturbed, random_starts, start_at
from tests.solvers.problems import TIMES, decays, double_exponential, least_squares_value
from tests.starts.places import OUTPUTS, STEP, WEIGHTS, X, neurons, pieces, plane, reduced

MAKES = {
    "d = 1": lambda **o: reduced(regularization=1e-6, **o),
    "3 outputs, weights": lambda **o: reduced(y=OUTPUTS, weights=WEIGHTS, regularization=1e-6, **o),
    "d = 3": lambda **o: reduced(*plane(), regularization=1e-6, **o),
    "float32": lambda **o: reduced(regularization=1e-3, dtype=np.float32, **o),
    "two layers": lambda **o: ReducedProblem(SeparableProblem(mlp(1, (5, 4)), X, STEP, regularization=1e-6, **o)),
}
every_make = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


@every_make
def test_draws_are_the_seeds_and_their_values_those_of_lstsq(make):
    made = make()
    starts = random_starts(made, np.random.default_rng(3), draws=2, scales=(0.5, 2.0))
    assert [start.scale for start in starts] == [0.5, 0.5, 2.0, 2.0] and {s.origin for s in starts} == {"random"}
    single = made.problem.targets.dtype == torch.float32
    for start in starts:
        expected = least_squares_value(made.problem, start.parameters)
        assert start.value == pytest.approx(expected, rel=1e-3 if single else 1e-8)
        assert start.parameters.dtype == made.problem.targets.dtype
    again, other = (random_starts(made, np.random.default_rng(s), draws=2, scales=(0.5, 2.0)) for s in (3, 4))
    assert all(torch.equal(a.parameters, b.parameters) for a, b in zip(starts, again, strict=True))
    assert not any(torch.equal(a.parameters, b.parameters) for a, b in zip(starts, other, strict=True))
    assert len({float(start.parameters[0]) for start in starts}) == 4, "no two draws are alike"


def test_the_default_is_three_draws_at_every_scale():
    scales = [start.scale for start in random_starts(reduced(), np.random.default_rng(0))]
    assert scales == [scale for scale in SCALES for _ in range(3)]


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_slopes_have_the_scale_and_neurons_bend_within_the_data(scale):
    made = reduced(*plane(), width=400)
    start = random_starts(made, np.random.default_rng(0), draws=1, scales=(scale,))[0]
    slopes, _ = pieces(made, start)
    assert np.std(slopes) == pytest.approx(scale, rel=0.1) and np.mean(slopes) == pytest.approx(0, abs=0.1 * scale)
    W, b = neurons(start.parameters, 3)
    low, high = plane()[0].min(0), plane()[0].max(0)
    reach = np.sum(np.abs(W) * (high - low) / 2, axis=1)
    assert (np.abs(b + W @ (low + high) / 2) <= reach).all(), "w . x0 + b = 0 somewhere in the box"


@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (2.0**-10, 0.0), (1.0, 5.0), (3e-3, -7.0)])
@pytest.mark.parametrize("d", [1, 3])
def test_the_units_of_the_inputs_do_not_matter(d, factor, shift):
    x, y = (X[:, None], STEP) if d == 1 else plane()
    made = [reduced(each, y, regularization=1e-4) for each in (x, factor * x + shift)]
    first, second = (random_starts(each, np.random.default_rng(0), draws=1) for each in made)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(pieces(made[1], other)[0], pieces(made[0], one)[0], rtol=1e-9)
        assert other.value == pytest.approx(one.value, rel=1e-6)


def test_the_units_of_the_targets_scale_the_value_alone():
    plain, large = (random_starts(reduced(y=f * STEP), np.random.default_rng(0), draws=1) for f in (1.0, 2.0**30))
    for one, other in zip(plain, large, strict=True):
        assert torch.equal(one.parameters, other.parameters) and other.value == pytest.approx(2.0**60 * one.value)


def test_the_best_of_each_scale_is_the_best_of_its_draws_best_first():
    starts = random_starts(reduced(), np.random.default_rng(0))
    best = best_of_each_scale(starts)
    assert sorted(start.scale for start in best) == list(SCALES)
    assert [start.value for start in best] == sorted(start.value for start in best)
    for start in best:
        assert start.value == min(each.value for each in starts if each.scale == start.scale)


def test_a_start_that_overflows_is_worth_nothing():
    features = from_function(lambda p, x: torch.exp(p[0] * x)[:, None], [1.0])
    made = ReducedProblem(SeparableProblem(features, TIMES, TIMES))
    start = start_at(made, torch.tensor([1e4], dtype=torch.float64), "somewhere")
    assert start.value == np.inf and start.origin == "somewhere" and np.isnan(start.scale)


def test_starts_are_moved_into_the_bounds():
    made = reduced(bounds=(-1.0, 2.0))
    for start in random_starts(made, np.random.default_rng(0)):
        assert (start.parameters >= -1.0).all() and (start.parameters <= 2.0).all()
        assert start.value == pytest.approx(least_squares_value(made.problem, start.parameters), rel=1e-8)
    outside = torch.full((12,), 9.0, dtype=torch.float64)
    assert (start_at(made, outside, "here").parameters == 2.0).all()


# --- changes of what is there ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0.01, 0.5])
def test_parameters_change_by_a_part_of_themselves_and_their_units(size):
    made = reduced(100.0 * X, width=200)
    theta = torch.from_numpy(np.random.default_rng(1).standard_normal(400)) * made.problem.units
    units = np.repeat([1 / 50.0, 1.0], 200)
    moves = [(perturbed(made, theta, np.random.default_rng(s), size) - theta).numpy() for s in range(20)]
    relative = np.stack(moves) / (np.abs(theta.numpy()) + units)
    assert np.std(relative) == pytest.approx(size, rel=0.03) and np.mean(relative) == pytest.approx(0, abs=0.1 * size)
    assert np.array_equal(moves[0], (perturbed(made, theta, np.random.default_rng(0), size) - theta).numpy())


def test_without_units_only_parameters_that_are_zero_have_one():
    features = from_function(lambda p, x: decays(p + torch.tensor([0.5, 1.0]), x), [0.0, 1e-3])
    made = ReducedProblem(SeparableProblem(features, TIMES, TIMES))
    theta = made.problem.initial_parameters
    moves = np.stack([(perturbed(made, theta, np.random.default_rng(s), 0.1) - theta).numpy() for s in range(200)])
    np.testing.assert_allclose(moves.std(axis=0), [0.1, 1e-4], rtol=0.15)


def test_changes_stay_within_the_bounds():
    made = ReducedProblem(double_exponential(start=(0.5, 2.0), bounds=((0.4, 1.9), (0.6, 2.1))))
    found = [perturbed(made, made.initial_parameters, np.random.default_rng(s), 1.0).numpy() for s in range(20)]
    assert (np.stack(found) >= [0.4, 1.9]).all() and (np.stack(found) <= [0.6, 2.1]).all()
    assert (np.stack(found) == [0.6, 2.1]).any(), "some would have left"


def test_features_that_cannot_be_sampled_say_so():
    with pytest.raises(ArgumentError, match="features cannot be sampled"):
        random_starts(ReducedProblem(double_exponential()), np.random.default_rng(0))
