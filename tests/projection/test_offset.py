"""A term of the model without a coefficient: what is fitted is o(theta) + Phi(theta) C.

Values and derivatives go through the laws of tests/test_reduced.py ("offset" among its cases).
"""

import numpy as np
import pytest
import torch

from grassvp import FirstOrder, LevenbergMarquardt, ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError
from grassvp.features import from_function
from tests.cases import dense_case, exponentials, phase
from tests.laws import reduced as laws

X = np.linspace(0.0, 3.0, 30)
THETA = np.array([0.3, 2.0, 2.5])


def dense(theta, C, x):
    """o(theta) + Phi(theta) C."""
    theta, C, x = (torch.as_tensor(np.asarray(a), dtype=torch.float64) for a in (theta, C, x))
    return phase(theta, x)[:, : C.shape[1]] + exponentials(theta, x) @ C


@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("k", [1, 3])
def test_residual_value_and_prediction_by_the_dense_formula(lam, k):
    case = dense_case("offset", lam, k=k)
    problem, point = case.reduced.problem, case.reduced.linearize(case.theta)
    assert (problem.width, problem.outputs, point.coefficients.shape) == (3, k, (3, k))
    misfit = problem.weights[:, None] * (problem.targets - dense(case.theta, point.coefficients, problem.inputs))
    laws.close(point.residual[:30], misfit, 1e-12, "W (Y - o - Phi C)")
    value = 0.5 * laws.norm(misfit) ** 2 + 0.5 * lam * laws.norm(point.coefficients) ** 2
    assert point.value == pytest.approx(value, rel=1e-12)
    new = np.linspace(0.1, 2.9, 7)
    laws.close(
        problem.predict(point.parameters, point.coefficients, new),
        dense(case.theta, point.coefficients, new),
        1e-12,
        "u",
    )


def test_an_offset_that_does_not_depend_on_the_parameters_is_a_change_of_the_targets():
    y, known = np.sin(X), 0.3 * X**2
    term = lambda p, t: 0.3 * t**2  # noqa: E731
    shifted = ReducedProblem(SeparableProblem(from_function(exponentials, THETA, offset=term), X, y))
    plain = ReducedProblem(SeparableProblem(from_function(exponentials, THETA), X, y - known))
    here, there = shifted.linearize(THETA), plain.linearize(THETA)
    laws.close(here.residual, there.residual, 1e-14, "residual")
    laws.close(here.jacobian(), there.jacobian(), 1e-13, "J")
    laws.close(here.hessian(), there.hessian(), 1e-12 * (1 + laws.norm(there.hessian())), "H")
    laws.close(here.metric(), there.metric(), 1e-12 * laws.norm(there.metric()), "metric")
    assert here.distance(there) < 1e-12


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("k", [1, 3])
def test_the_joint_problem_against_automatic_differentiation(lam, k):
    case = dense_case("offset", lam, k=k)
    problem, joint = case.reduced.problem, case.reduced.joint
    vector = 0.5 * torch.from_numpy(np.random.default_rng(2).standard_normal(3 + 3 * k))

    def objective(v):
        misfit = problem.weights[:, None] * (dense_of(v[:3], v[3:].view(3, k)) - problem.targets)
        return 0.5 * (misfit**2).sum() + 0.5 * lam * (v[3:] ** 2).sum()

    def dense_of(theta, C):
        return phase(theta, problem.inputs)[:, :k] + exponentials(theta, problem.inputs) @ C

    point = joint.linearize(vector)
    assert point.value == pytest.approx(float(objective(vector)), rel=1e-13)
    expected = torch.func.grad(objective)(vector)
    laws.close(point.gradient, expected, 1e-12 * (1 + laws.norm(expected)), "gradient")
    start = joint.start(torch.from_numpy(case.theta), zero_coefficients=False)
    assert joint.linearize(start).value == pytest.approx(case.reduced.value(case.theta), rel=1e-12)
    by_C = joint.linearize(start).gradient[3:]
    assert laws.norm(by_C) < 1e-11 * laws.norm(problem.targets) ** 2


def test_a_minimum_of_the_reduced_problem_is_one_of_the_joint_problem():
    rng = np.random.default_rng(0)
    truth = dense(THETA, np.array([[1.0], [2.0], [-0.5]]), X)[:, 0].numpy()
    features = from_function(exponentials, [0.4, 1.7, 2.4], offset=lambda p, t: phase(p, t)[:, 0])
    problem = SeparableProblem(features, X, truth + 1e-3 * rng.standard_normal(30))
    reduced = solve(problem, LevenbergMarquardt())
    method = FirstOrder("lbfgs", objective="joint", coefficients="projected")
    joint = solve(problem, method, initial_parameters=reduced.parameters, max_iterations=20)
    assert reduced.converged and reduced.value < 1e-2 * reduced.history["value"][0]
    assert joint.value == pytest.approx(reduced.value, rel=1e-9) and joint.history["gradient_norm"][0] < 1e-9
    np.testing.assert_allclose(reduced.predict(X), truth, atol=3e-3)


@pytest.mark.parametrize("shape", [(30,), (30, 1)], ids=str)
def test_one_output_takes_an_offset_of_either_shape(shape):
    features = from_function(exponentials, THETA, offset=lambda p, t: torch.sin(p[0] * t).reshape(shape))
    point = ReducedProblem(SeparableProblem(features, X, np.cos(X))).linearize(THETA)
    flat = from_function(exponentials, THETA, offset=lambda p, t: torch.sin(p[0] * t))
    assert point.value == ReducedProblem(SeparableProblem(flat, X, np.cos(X))).value(THETA)
    assert point.coefficients.shape == (3, 1)


@pytest.mark.parametrize(
    ("columns", "outputs", "numbers"),
    [(2, 3, "(30, 3)"), (3, 1, "(30, 1)"), (0, 2, "(30, 2)"), (1, 3, "got 1 columns")],
)
def test_an_offset_with_another_number_of_columns_is_named(columns, outputs, numbers):
    offset = (lambda p, t: p[0] * t) if columns == 0 else (lambda p, t: (p[0] * t)[:, None].expand(30, columns))
    with pytest.raises(ArgumentError, match="offset must have shape") as caught:
        SeparableProblem(from_function(exponentials, THETA, offset=offset), X, np.ones((30, outputs)))
    assert numbers in str(caught.value)


WRONG = {
    "rows": lambda p, t: p[0] * t[:3],
    "a number": lambda p, t: p[0] * t.sum(),
    "three dimensions": lambda p, t: p[0] * t[:, None, None],
    "numpy": lambda p, t: np.ones(30),
    "nothing": lambda p, t: None,
}


@pytest.mark.parametrize("offset", WRONG.values(), ids=WRONG)
def test_an_offset_that_does_not_fit_at_all_is_named(offset):
    with pytest.raises(ArgumentError, match="offset must return a tensor"):
        SeparableProblem(from_function(exponentials, THETA, offset=offset), X, np.ones(30))


@pytest.mark.parametrize("offset", ["phase", 3.0, np.ones(30)], ids=type)
def test_an_offset_that_cannot_be_called_is_named(offset):
    with pytest.raises(TypeError, match="offset must be callable"):
        from_function(exponentials, THETA, offset=offset)


def test_an_offset_that_is_not_finite_counts_as_features_that_are_not():
    """A residual with NaN must not look like a value."""
    features = from_function(exponentials, THETA, offset=lambda p, t: torch.log(p[0] - 1.0) * t)
    reduced = ReducedProblem(SeparableProblem(features, X, np.ones(30)))
    assert reduced.value([1.5, 2.0, 2.5]) < np.inf
    value = reduced.value(THETA)
    assert value == np.inf or np.isnan(value)
