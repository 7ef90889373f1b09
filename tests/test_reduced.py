"""The reduced problem against mpmath and dense automatic differentiation, to the digits of tests/laws/reduced.py."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.features import from_function, mlp
from tests.cases import ACTIVATION_NAMES, LAMS, dense_case, mp_case
from tests.laws import reduced as laws

DENSE = ("mlp-4", "mlp-5-5", "mlp-4-4-4", "module", "function", "offset", "operator-4", "operator-4-3")


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("widths", [(3,), (2, 3), (2, 2, 2)], ids=str)
def test_laws_against_mpmath(widths, lam):
    case = mp_case(widths, lam=lam)
    laws.law_suite(case.reduced, case.theta, case.reference)
    if lam > 0:
        laws.four_forms_law(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("activation", ACTIVATION_NAMES)
def test_every_activation_against_mpmath(activation):
    case = mp_case((3,), activation, 1e-3, seed=5)
    laws.law_suite(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("lam", LAMS)
def test_nearly_collinear_neurons_lose_one_power_of_the_condition_number(lam):
    case = mp_case((3,), lam=lam, k=1, collinear=1e-5)
    condition = case.reduced.linearize(case.theta).condition
    assert condition > (1e5 if lam < 1e-6 else 10)
    laws.law_suite(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("lam", [1e-6, 1e-3])
@pytest.mark.parametrize("options", [{"collinear": 0.0}, {"rows": 3}], ids=["duplicates", "more features than rows"])
def test_regularized_problems_are_smooth_where_the_features_are_deficient(options, lam):
    case = mp_case((3,), lam=lam, **options)
    assert case.reduced.linearize(case.theta).rank == 3
    laws.law_suite(case.reduced, case.theta, case.reference)
    laws.four_forms_law(case.reduced, case.theta, case.reference)


def test_gradient_at_exact_duplicates_with_a_tiny_regularization():
    """The contract: right to 1e-7, where the rule of the condition number would promise nothing."""
    case = mp_case((3,), lam=1e-14, collinear=0.0)
    gradient = case.reference.gradient
    laws.close(case.reduced.gradient(case.theta), gradient, 1e-7 * laws.norm(gradient), "gradient")
    laws.close(case.reduced.value(case.theta), case.reference.value, 1e-7 * case.reference.value, "value")


def test_exact_duplicates_without_regularization_are_reported_and_finite():
    case = mp_case((3,), lam=1e-14, collinear=0.0)
    problem = case.reduced.problem
    plain = SeparableProblem(mlp(1, (3,)), problem.inputs, problem.targets, weights=problem.weights)
    point = ReducedProblem(plain).linearize(case.theta)
    assert point.rank == 3 and not point.differentiable and point.condition < 1e6
    for array in (point.gradient, point.jacobian(), point.jacobian("kaufman"), point.hessian(), point.coefficients):
        assert bool(torch.isfinite(array).all())
    assert laws.norm(point.coefficients[0] - point.coefficients[1]) < 1e-12 * laws.norm(point.coefficients)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", DENSE)
def test_laws_against_dense_autodiff(name, lam):
    case = dense_case(name, lam)
    laws.law_suite(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function", "offset"])
def test_one_output_without_weights(name):
    case = dense_case(name, 1e-3, k=1, weighted=False)
    laws.law_suite(case.reduced, case.theta, case.reference)


@pytest.mark.parametrize("lam", [0.0, 1e-3])
def test_jacobian_rows_follow_the_flattened_residual(lam):
    """Row i of J is the derivative of residual.flatten()[i], by differences of the library's own residual."""
    case = dense_case("mlp-5-5", lam)
    J, h = case.reduced.jacobian(case.theta), 1e-6
    rows = case.reduced.problem.rows + (case.reduced.problem.width if lam else 0)
    assert J.shape == (rows * 3, case.theta.size)
    for j in (0, 7, case.theta.size - 1):
        step = h * np.eye(case.theta.size)[j]
        ahead, behind = (case.reduced.linearize(case.theta + s).residual.flatten() for s in (step, -step))
        laws.close(J[:, j], (ahead - behind) / (2 * h), 1e-7 * (1 + laws.norm(J[:, j])), f"column {j}")


@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function"])
def test_answers_in_kind(name):
    case = dense_case(name, 1e-3)
    reduced, p, v = case.reduced, case.theta, np.ones_like(case.theta)
    for method in (
        reduced.gradient,
        reduced.jacobian,
        reduced.hessian,
        lambda at: reduced.hessian_vector_product(at, v),
    ):
        from_numpy, from_torch = method(p), method(torch.from_numpy(p))
        assert isinstance(from_numpy, np.ndarray) and isinstance(from_torch, torch.Tensor)
        assert from_numpy.dtype == np.float64 and from_torch.dtype == torch.float64
        np.testing.assert_array_equal(from_numpy, from_torch.numpy())
    assert isinstance(reduced.value(p), float)
    assert isinstance(reduced.gradient(p.tolist()), np.ndarray)
    differentiable = torch.from_numpy(p).requires_grad_()
    assert not reduced.gradient(differentiable).requires_grad and differentiable.grad is None


def test_linearization_keeps_its_point_when_the_callers_array_changes():
    case = dense_case("mlp-5-5", 1e-3)
    for theta in (case.theta.copy(), torch.from_numpy(case.theta.copy())):
        point = case.reduced.linearize(theta)
        theta += 1.0
        laws.close(point.hessian(), case.reference.hessian, laws.allowed(case.reference, "hessian"), "Hessian")


def test_linearization_is_frozen_and_repeats_itself():
    case = dense_case("mlp-4", 1e-3)
    point = case.reduced.linearize(case.theta)
    with pytest.raises(AttributeError):
        point.parameters = torch.zeros(3)
    first, second = point.jacobian(), point.jacobian()
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, case.reduced.jacobian(case.theta))
    assert point.distance(point) < 1e-14
    assert point.rank == 5 and point.differentiable


def test_distance_between_spans():
    case = dense_case("mlp-4", 1e-3)
    moved = case.reduced.linearize(case.theta + 1e-3)
    here = case.reduced.linearize(case.theta)
    U, V = (p.projection.full_basis.numpy() for p in (here, moved))
    sines = np.linalg.svd(V - U @ (U.T @ V), compute_uv=False)
    assert here.distance(moved) == pytest.approx(np.linalg.norm(np.arcsin(sines)), rel=1e-10)
    assert here.distance(moved) == pytest.approx(moved.distance(here), rel=1e-10)


def test_exact_fit_has_zero_residual_and_gradient():
    """Targets inside the span: the residual and the gradient are at rounding level, not at that of C."""
    case = dense_case("mlp-5-5", 0.0)
    Phi = case.reduced.linearize(case.theta).derivatives.values
    problem = SeparableProblem(mlp(2, (5, 5), seed=2), case.reduced.problem.inputs, Phi @ torch.ones(6, 2).double())
    point = ReducedProblem(problem).linearize(case.theta)
    assert laws.norm(point.residual) < 1e-13 and laws.norm(point.gradient) < 1e-12
    laws.close(point.coefficients, np.ones((6, 2)), 1e-11, "coefficients")


@pytest.mark.parametrize("p", [np.zeros(3), np.zeros((3, 3)), [[1.0]], None, "theta", np.zeros(12, complex)], ids=type)
def test_bad_parameters_are_named(p):
    reduced = dense_case("mlp-4", 1e-3).reduced
    for method in (reduced.value, reduced.gradient, reduced.linearize):
        with pytest.raises((ValueError, TypeError), match="parameters"):
            method(p)


def test_bad_direction_and_kind_are_named():
    case = dense_case("mlp-4", 1e-3)
    with pytest.raises(ArgumentError, match="direction"):
        case.reduced.hessian_vector_product(case.theta, np.zeros(2))
    with pytest.raises(ArgumentError, match=r"kind.*kaufman.*newton"):
        case.reduced.jacobian(case.theta, kind="newton")
    with pytest.raises(TypeError, match="problem"):
        ReducedProblem(lambda x: x)


def test_overflowing_features():
    features = from_function(lambda p, x: torch.exp(p[0] * x)[:, None], [1.0])
    reduced = ReducedProblem(SeparableProblem(features, np.arange(1.0, 5.0), np.ones(4)))
    for p in (np.array([1e4]), np.array([np.nan])):
        assert reduced.value(p) == np.inf
        with pytest.raises(NonFiniteError, match="NaN or infinite"):
            reduced.gradient(p)
