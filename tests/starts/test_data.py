"""Data starts: neurons at the steep places of targets whose steep places are known, along their gradients."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import differential_operator, mlp, under_operator
from grassvp.starts import data
from grassvp.starts.data import SLOPES, data_starts, local_gradients
from tests.solvers.problems import double_exponential, least_squares_value
from tests.starts.places import OUTPUTS, STEP, WEIGHTS, X, neurons, pieces, plane, problem, reduced


def draw(made, seed=0, **options):
    return data_starts(made, np.random.default_rng(seed), **options)


# --- slopes of the target -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_gradients_of_a_linear_target_are_exact(d):
    rng = np.random.default_rng(d)
    x, A = rng.uniform(-1, 1, (60, d)), rng.standard_normal((d, 2))
    np.testing.assert_allclose(local_gradients(x, x @ A + 3.0), np.broadcast_to(A.T, (60, 2, d)), atol=1e-10)


def test_the_gradients_of_a_smooth_target_are_close():
    x = np.linspace(0.0, 1.0, 200)[:, None]
    np.testing.assert_allclose(local_gradients(x, np.sin(5 * x))[:, 0], 5 * np.cos(5 * x), atol=0.2)


def test_gradients_where_neighbours_say_nothing_are_zero():
    """One point; the same point many times; a constant column; a constant target."""
    assert not local_gradients(np.ones((1, 2)), np.ones((1, 1))).any()
    assert not local_gradients(np.ones((9, 2)), np.arange(9.0)[:, None]).any()
    x = np.stack([np.linspace(0, 1, 30), np.ones(30)], axis=1)
    np.testing.assert_allclose(local_gradients(x, 4 * x[:, :1])[:, 0], np.tile([4.0, 0.0], (30, 1)), atol=1e-10)
    assert not local_gradients(x, np.ones((30, 1))).any()


# --- where neurons are put ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.3, 0.8])
@pytest.mark.parametrize("outputs", [1, 2])
def test_neurons_gather_where_the_target_is_steep(place, outputs):
    """Of tanh(60 (x - a)), 99% of whose change lies within 0.05 of a; power 0 does not look at it."""
    step = np.tanh(60.0 * (X - place))
    made = reduced(y=step if outputs == 1 else np.stack([0 * X, step], axis=1), width=20)
    even, half, steep = draw(made)
    centres = [pieces(made, start)[1] / 2.0 for start in (even, half, steep)]
    inside = [int((np.abs(c - place) < 0.06).sum()) for c in centres]
    assert inside[0] <= 4 and inside[1] >= 6 and inside[2] >= 17, inside
    np.testing.assert_allclose(np.sort(centres[0]), (np.arange(20) + 0.5) / 20, atol=0.1 / 20 + 1e-9)


def test_even_centres_are_even_in_space_however_the_data_are_spread():
    x = np.linspace(0.0, 1.0, 200) ** 3
    made = reduced(x, np.sin(3 * x), width=10)
    centres = pieces(made, draw(made, powers=(0.0,))[0])[1] / 2.0
    np.testing.assert_allclose(np.sort(centres), (np.arange(10) + 0.5) / 10, atol=0.011)


@pytest.mark.parametrize("outputs", [1, 2])
def test_in_several_dimensions_they_look_along_the_gradient_at_points_of_the_data(outputs):
    """The target changes along the first coordinate alone, most near its zero; random directions have median 1/2."""
    x, _ = plane(400)
    y = np.tanh(4.0 * x[:, 0])
    made = reduced(x, y if outputs == 1 else np.stack([0 * y, y], axis=1), width=30)
    spreads = []
    for start in draw(made, powers=(0.0, 1.0)):
        W, b = neurons(start.parameters, 3)
        slopes, _ = pieces(made, start)
        np.testing.assert_allclose(np.linalg.norm(slopes, axis=1), start.scale, rtol=1e-12)
        heights = np.abs(x @ W.T + b)
        assert (heights.min(0) < 1e-9 * start.scale).all(), "every centre is a data point"
        spreads.append(np.median(np.abs(x[heights.argmin(0), 0])))
    assert np.median(np.abs(slopes[:, 0])) > 0.95 * start.scale
    assert spreads[0] > 0.35 and spreads[1] < 0.25, spreads


def test_more_neurons_than_points():
    x, y = plane(5)
    starts = draw(reduced(x, y, width=9, regularization=1e-6))
    assert len(starts) == 3 and all(np.isfinite(start.value) for start in starts)


# --- the slope ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steeper", [0, 2, 99])
def test_the_slope_is_some_steps_above_the_best_of_the_scan(steeper):
    made = reduced(regularization=1e-6)
    (start,) = draw(made, powers=(0.5,), steeper=steeper)
    W, b = neurons(start.parameters)
    values = []
    for slope in SLOPES:
        factor = slope / start.scale
        values.append(least_squares_value(made.problem, np.concatenate([(factor * W).ravel(), factor * b])))
    assert start.scale == SLOPES[min(int(np.argmin(values)) + steeper, len(SLOPES) - 1)]
    np.testing.assert_allclose(np.abs(W), start.scale / 0.5, rtol=1e-12)
    assert start.value == pytest.approx(values[SLOPES.index(start.scale)], rel=1e-7) and start.origin == "data"


# --- what they do not depend on -------------------------------------------------------------------------------------

SHAPES = {
    "d = 1": lambda x, y, **o: (x, y, o),
    "3 outputs, weights": lambda x, y, **o: (x, OUTPUTS, o | {"weights": WEIGHTS}),
}


def same_neurons(first, second):
    """Starts of two problems: the same slopes per half-range and centres in the box.

    The points are uneven: on a grid, rounding decides which of two neighbours at one distance counts.
    """
    for one, other in zip(draw(first), draw(second), strict=True):
        for a, b in zip(pieces(first, one), pieces(second, other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("factor", "shift"), [(2.0**10, 0.0), (2.0**-10, 0.0), (1.0, 4.0), (8.0, -32.0)])
def test_the_units_of_the_inputs_do_not_matter(make, factor, shift):
    made = []
    for x in (X**1.5, factor * X**1.5 + shift):
        inputs, y, options = make(x, STEP)
        made.append(reduced(inputs, y, regularization=1e-6, **options))
    same_neurons(*made)


@pytest.mark.parametrize("factor", [2.0**12, -(2.0**-8)])
def test_the_units_of_the_inputs_do_not_matter_in_several_dimensions(factor):
    x, y = plane()
    scale = np.array([1.0, factor, 2.0])
    same_neurons(*(reduced(each, y, regularization=1e-6) for each in (x, x * np.abs(scale) + 2.0)))


@pytest.mark.parametrize(("factor", "shift"), [(2.0**30, 0.0), (-(2.0**-20), 0.0), (1.0, 4.0)])
def test_the_units_and_the_origin_of_the_targets_do_not_matter(factor, shift):
    """The constant feature takes up a shift; the slopes are those of the target but for its size."""
    first, second = reduced(), reduced(y=factor * STEP + shift)
    for one, other in zip(draw(first), draw(second), strict=True):
        np.testing.assert_allclose(other.parameters, one.parameters, rtol=1e-6)


def test_they_follow_the_seed_alone():
    made = reduced(*plane())
    first, again, other = draw(made, 1), draw(made, 1), draw(made, 2)
    assert all(torch.equal(a.parameters, b.parameters) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a.parameters, b.parameters) for a, b in zip(first, other, strict=True))


def test_many_rows_are_thinned(monkeypatch):
    """Of 80 rows, 30 are looked at: the neurons still find the step."""
    seen = []
    original = data.local_gradients
    monkeypatch.setattr(data, "MOST_ROWS", 30)
    monkeypatch.setattr(data, "local_gradients", lambda x, y: seen.append(len(x)) or original(x, y))
    made = reduced(width=20)
    steep = draw(made, powers=(1.0,))[0]
    assert seen == [30] and np.median(np.abs(pieces(made, steep)[1] / 2.0 - 0.3)) < 0.06


def test_single_precision_is_kept():
    start = draw(reduced(dtype=np.float32, regularization=1e-4))[0]
    assert start.parameters.dtype == torch.float32 and np.isfinite(start.value)


def test_bounds_are_kept():
    for start in draw(reduced(bounds=(-20.0, 15.0))):
        assert (start.parameters >= -20.0).all() and (start.parameters <= 15.0).all()


# --- inputs that say little -----------------------------------------------------------------------------------------

POOR = {
    "one point": (np.array([0.5]), np.array([2.0])),
    "the same point": (np.full(9, 0.5), np.arange(9.0)),
    "two places": (np.repeat([0.0, 1.0], 20), np.repeat([0.0, 1.0], 20)),
    "constant target": (X, np.ones(80)),
    "zero target": (X, np.zeros(80)),
    "constant column": (np.stack([X, np.ones(80)], axis=1), STEP),
    "all columns constant": (np.ones((6, 3)), np.arange(6.0)),
    "one point in 3 dimensions": (np.ones((1, 3)), np.ones(1)),
}


@pytest.mark.parametrize(("x", "y"), POOR.values(), ids=POOR)
@pytest.mark.parametrize("bias_feature", [True, False])
def test_poor_inputs_give_finite_starts(x, y, bias_feature):
    made = reduced(x, y, width=4, bias_feature=bias_feature, regularization=1e-6)
    starts = draw(made)
    assert len(starts) == 3 and all(start.parameters.isfinite().all() for start in starts)
    for start in starts:
        assert start.value == pytest.approx(least_squares_value(made.problem, start.parameters), rel=1e-6, abs=1e-20)


def test_there_are_none_for_other_features():
    deep = SeparableProblem(mlp(1, (4, 3)), X, STEP)
    operator = under_operator(mlp(1, (4,)), differential_operator(80, 1, {(0,): 1.0}))
    under = SeparableProblem(operator, X[:, None], STEP)
    for each in (deep, under, double_exponential()):
        assert draw(ReducedProblem(each)) == []
    assert draw(ReducedProblem(problem())) != []
