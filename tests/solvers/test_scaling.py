"""The scales D of a step, and solves that do not depend on the units of anything."""

import numpy as np
import pytest
import torch

from grassvp import (
    GaussNewton,
    LevenbergMarquardt,
    NaturalGradient,
    SeparableProblem,
    TrustRegion,
    solve,
)
from grassvp.features import from_function, mlp
from grassvp.solvers.scaling import Scale, column_scale, parameter_scale
from tests.solvers.problems import Recorder, decays, double_exponential


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def test_column_scale_keeps_the_largest_norm_so_far():
    first = column_scale(vector(3.0, 1.0, 0.0), None, None)
    torch.testing.assert_close(first.weights, vector(3.0, 1.0, 3e-8))  # one with no effect keeps D invertible
    second = column_scale(vector(1.0, 2.0, 5.0), None, first)
    assert second.weights.tolist() == [3.0, 2.0, 5.0]
    assert column_scale(vector(0.0, 0.0), None, None).weights.tolist() == [1.0, 1.0]


def test_parameter_scale_measures_relative_changes():
    theta, units, norms = vector(2.0, -0.5, 0.0), vector(1.0, 1.0, 4.0), vector(1.0, 8.0, 2.0)
    scale = parameter_scale(theta, units, norms, None, None)
    size = theta.abs() + units
    factor = 12.0  # the largest of the norms times the sizes
    torch.testing.assert_close(scale.weights, factor / size)
    assert float((norms / scale.weights).max()) == pytest.approx(1.0), "the largest column of J D^-1 has norm one"
    later = parameter_scale(vector(5.0, 0.0, -3.0), None, vector(1e9, 1.0, 1.0), None, scale)
    torch.testing.assert_close(later.weights, factor / vector(6.0, 1.0, 7.0))  # factor and units of the first point


def test_parameter_scale_without_units_takes_the_sizes_at_the_first_point():
    scale = parameter_scale(vector(2.0, 0.0), None, vector(1.0, 1.0), None, None)
    torch.testing.assert_close(scale.weights, 4.0 / vector(4.0, 1.0))
    later = parameter_scale(vector(8.0, 9.0), None, vector(0.0, 0.0), None, scale)
    torch.testing.assert_close(later.weights, 4.0 / vector(10.0, 10.0))
    assert parameter_scale(vector(1.0), None, vector(0.0), None, None).weights.tolist() == [0.5]


def test_what_is_held_has_no_inverse():
    scale = Scale(vector(2.0, 4.0), torch.tensor([True, False]))
    assert scale.inverse.tolist() == [0.0, 0.25]
    assert Scale(vector(2.0, 4.0)).inverse.tolist() == [0.5, 0.25]
    assert scale.size_of(vector(100.0, 4.0)) == 0.25, "of a column that is held nothing is said"


def test_reach():
    scale = Scale(vector(2.0, 3.0))
    assert scale.reach(vector(3.0, -4.0), None) == pytest.approx(np.hypot(6.0, 12.0))
    assert scale.reach(vector(3.0, 0.0), None) == pytest.approx(np.hypot(6.0, 3.0))
    assert scale.reach(vector(3.0, 0.0), vector(1.0, 5.0)) == pytest.approx(np.hypot(8.0, 15.0))


METHODS = {
    "LM columns": LevenbergMarquardt(scaling="columns"),
    "LM parameters": LevenbergMarquardt(scaling="parameters"),
    "LM accelerated": LevenbergMarquardt(scaling="parameters", geodesic_acceleration=True),
    "LM matrix-free": LevenbergMarquardt(scaling="parameters", linear_algebra="matrix-free"),
    "GN": GaussNewton(),
    "TR": TrustRegion(),
    "TR dogleg": TrustRegion(subproblem="dogleg", scaling="parameters"),
    "TR corrected": TrustRegion("corrected"),
    "TR exact": TrustRegion("exact", scaling="parameters"),
    "TR steihaug": TrustRegion("exact", linear_algebra="matrix-free"),
    "NG": NaturalGradient(scaling="parameters"),
    "NG columns": NaturalGradient(scaling="columns"),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
STEPS = {"max_iterations": 8, "tolerance": 0.0}


@every_method
@pytest.mark.parametrize("factors", [[2.0**12, 2.0**-9], [1e3, 3e-3]], ids=str)
def test_iterates_do_not_depend_on_the_units_of_the_parameters(method, factors):
    """theta = S eta: the iterates eta are those of theta divided by S."""
    problem, S = double_exponential(0.05, regularization=0.05), torch.tensor(factors, dtype=torch.float64)
    features = from_function(lambda p, x: decays(S * p, x), problem.initial_parameters / S)
    scaled_problem = SeparableProblem(features, problem.inputs, problem.targets, regularization=0.05)
    plain, scaled = Recorder(), Recorder()
    solve(problem, method, callbacks=[plain], **STEPS)
    solve(scaled_problem, method, callbacks=[scaled], **STEPS)
    assert len(plain.records) == 9
    np.testing.assert_allclose(scaled.parameters * factors, plain.parameters, rtol=1e-7)


X = np.linspace(-1.0, 1.0, 60)
CURVE = np.sin(4 * X) + 0.3 * np.cos(9 * X)
START = np.random.default_rng(1).standard_normal(12) * 2


@every_method
@pytest.mark.parametrize("factor", [1000.0, 2.0**-10], ids=str)
def test_iterates_do_not_depend_on_the_units_of_the_inputs(method, factor):
    """w x + b is (w / f) (f x) + b: the same neurons, so the same values."""
    values = []
    for f in (1.0, factor):
        problem = SeparableProblem(mlp(1, (6,)), f * X, CURVE, regularization=1e-4)
        start = START * np.repeat([1.0 / f, 1.0], 6)
        values.append(solve(problem, method, initial_parameters=start, **STEPS).history["value"])
    assert len(values[0]) == 9 and values[0][-1] < 0.99 * values[0][0]
    # Whether conjugate gradients take one more product can hang on a rounding, which 1000 does not leave alone.
    kept = 7 if method is METHODS["TR steihaug"] else 9
    np.testing.assert_allclose(values[1][:kept], values[0][:kept], rtol=1e-4)


@pytest.mark.parametrize("widths", [(5,), (4, 3)], ids=str)
def test_nor_does_a_solve_with_its_starts(widths):
    first, second = (
        solve(SeparableProblem(mlp(1, widths), f * X, CURVE, regularization=1e-4), seed=0, max_iterations=12)
        for f in (1.0, 1000.0)
    )
    np.testing.assert_allclose(second.history["value"], first.history["value"], rtol=1e-5)
    np.testing.assert_allclose(second.predict(1000.0 * X), first.predict(X), atol=1e-4)


@pytest.mark.parametrize("power", [-40, 10, 40])
@every_method
def test_iterates_do_not_depend_on_the_units_of_the_targets(method, power):
    """Y times 2^p at lam = 0: the same theta, the value times 4^p."""
    paths, values = [], []
    for scale in (1.0, 2.0**power):
        plain, keep = double_exponential(0.05), Recorder()
        problem = SeparableProblem(plain.features, plain.inputs, scale * plain.targets[:, 0])
        values.append(solve(problem, method, callbacks=[keep], **STEPS).history["value"] / scale**2)
        paths.append(keep.parameters)
    assert len(paths[0]) == 9
    np.testing.assert_allclose(paths[1], paths[0], rtol=1e-9)
    np.testing.assert_allclose(values[1], values[0], rtol=1e-9)
