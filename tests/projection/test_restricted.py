"""Derivatives where bounds hold some of the coefficients, output by output."""

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import from_function, mlp
from tests import oracles
from tests.cases import RESTRICTIONS, exponentials, restricted_case
from tests.laws import reduced as laws
from tests.solvers.problems import decays


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-2])
@pytest.mark.parametrize("name", RESTRICTIONS)
def test_laws_against_autodiff_over_the_free_columns(name, lam):
    laws.restricted_law(restricted_case(name, lam), np.random.default_rng(0))


@pytest.mark.parametrize("name", RESTRICTIONS)
def test_the_derivative_by_differences_of_the_value_itself(name):
    """No active set is told to this one: differences of the library's own value and residual, of fourth order."""
    case = restricted_case(name, 1e-2)
    h, q = 1e-3, 3

    def difference(of):
        steps = [(2, -1 / 12), (1, 8 / 12), (-1, -8 / 12), (-2, 1 / 12)]
        e = np.eye(q)
        return np.stack([sum(c * of(case.theta + s * h * e[j]) for s, c in steps) / h for j in range(q)], axis=-1)

    gradient = difference(case.reduced.value)
    laws.close(case.reduced.gradient(case.theta), gradient, 1e-8 * (1 + laws.norm(gradient)), "gradient")
    residual = difference(lambda at: case.reduced.linearize(at).residual.numpy().ravel())
    laws.close(case.reduced.jacobian(case.theta), residual, 1e-8 * (1 + laws.norm(residual)), "J_GP")
    H = difference(case.reduced.gradient)
    laws.close(case.reduced.hessian(case.theta), H, 1e-7 * (1 + laws.norm(H)), "Hessian")


@pytest.mark.parametrize("lam", [0.0, 1e-2])
def test_nonnegative_coefficients_against_mpmath(lam):
    """A coefficient that is held at zero is a column that is not there: each output by itself at 90 digits."""
    case = restricted_case("nonnegative", lam)
    problem, k = case.reduced.problem, 3
    x, Y, w = (np.asarray(a) for a in (problem.inputs, problem.targets, problem.weights))
    J, gradient, value = np.zeros((30 + 3 * (lam > 0), k, 3)), 0.0, 0.0
    for output, free in enumerate(case.free.T):
        kept = np.flatnonzero(free)

        def features(at, kept=kept):
            rows = [[mp.exp(-at[0] * mpf(t)), mp.exp(-at[1] * mpf(t)), mp.cos(at[2] * mpf(t))] for t in x]
            return [[row[a] for a in kept] for row in rows]

        found = oracles.mp_reference(features, case.theta, Y[:, output, None], w, lam)
        rows = np.concatenate([np.arange(30), 30 + kept]) if lam else np.arange(30)
        J[rows, output] = found.jacobian
        gradient, value = gradient + found.gradient, value + found.value
    allowed = {name: laws.allowed(case.reference, name) for name in ("value", "gradient", "jacobian")}
    laws.close(case.reduced.value(case.theta), value, allowed["value"], "value")
    laws.close(case.reduced.gradient(case.theta), gradient, allowed["gradient"], "gradient")
    laws.close(case.reduced.jacobian(case.theta), J.reshape(-1, 3), allowed["jacobian"], "J_GP")


def test_bounds_that_do_not_matter_change_no_derivative():
    case = restricted_case("nonnegative", 1e-2)
    given = case.reduced.problem
    plain, bounded = (
        ReducedProblem(
            SeparableProblem(
                given.features, given.inputs, given.targets, weights=given.weights, regularization=1e-2, **options
            )
        ).linearize(case.theta)
        for options in ({}, {"coefficient_bounds": (-1e3, 1e3)})
    )
    assert plain.projection.restriction is None and bool(bounded.projection.restriction.free.all())
    v, u = torch.ones(3).double(), torch.ones(33, 3).double()
    asked = {
        "gradient": lambda p: p.gradient,
        "J_GP": lambda p: p.jacobian(),
        "J_K": lambda p: p.jacobian("kaufman"),
        "H": lambda p: p.hessian(),
        "H v": lambda p: p.hessian_vector_product(v),
        "J v": lambda p: p.jacobian_product(v),
        "J^T u": lambda p: p.jacobian_adjoint_product(u),
        "metric": lambda p: p.metric(),
    }
    for name, ask in asked.items():
        laws.close(ask(bounded), ask(plain), 1e-11 * (1 + laws.norm(ask(plain))), name)


def test_where_everything_is_held_the_value_changes_through_the_features_alone():
    x = np.linspace(0.0, 3.0, 20)
    problem = SeparableProblem(from_function(decays, [0.5, 2.0]), x, np.full(20, 9.0), coefficient_bounds=(0.5, 1.0))
    point = ReducedProblem(problem).linearize([0.5, 2.0])
    assert (point.coefficients == 1.0).all() and not point.projection.restriction.free.any()
    slopes = -x[:, None] * np.exp(-np.outer(x, [0.5, 2.0]))
    laws.close(point.jacobian(), -slopes, 1e-13, "J_GP")
    laws.close(point.jacobian("kaufman"), -slopes, 1e-13, "J_K")
    laws.close(point.gradient, -slopes.T @ point.residual.numpy()[:, 0], 1e-12, "gradient")


def test_an_offset_and_bounds_together():
    """The offset goes to the targets before the bounds are seen to."""
    x = np.linspace(0.0, 3.0, 25)
    offset = lambda p, t: torch.sin(p[2] * t)  # noqa: E731
    theta, y = np.array([0.3, 2.0, 2.5]), np.cos(x) + 0.2
    problem = SeparableProblem(
        from_function(exponentials, theta, offset=offset), x, y, regularization=1e-2, coefficient_bounds=(0.0, 0.3)
    )
    reduced = ReducedProblem(problem)
    less = SeparableProblem(
        from_function(exponentials, theta), x, y - np.sin(2.5 * x), regularization=1e-2, coefficient_bounds=(0.0, 0.3)
    )
    here, expected = reduced.linearize(theta), ReducedProblem(less).linearize(theta)
    laws.close(here.coefficients, expected.coefficients, 1e-13, "C")
    assert 0 < int(here.projection.restriction.free.sum()) < 3
    h = 1e-5
    for of, derivative in ((reduced.value, here.gradient), (reduced.gradient, here.hessian())):
        differences = [(of(theta + h * e) - of(theta - h * e)) / (2 * h) for e in np.eye(3)]
        laws.close(derivative, np.array(differences), 1e-7 * (1 + laws.norm(derivative)), "derivative")


def test_predictions_use_the_bounded_coefficients():
    problem = SeparableProblem(mlp(1, (3,)), np.arange(5.0), np.arange(5.0), coefficient_bounds=(0, None))
    point = ReducedProblem(problem).linearize(problem.initial_parameters)
    predicted = problem.predict(point.parameters, point.coefficients, np.arange(5.0))
    laws.close(problem.targets[:, 0] - predicted, point.residual[:, 0], 1e-12, "Y - prediction")
    assert (point.coefficients >= 0).all() and bool((point.coefficients == 0).any())
