"""From a point to a model: which Jacobian, which scales, which linear algebra; steps against dense numpy formulas."""

import numpy as np
import pytest
import torch

from grassvp.bounds import Box
from grassvp.solvers import descents
from grassvp.solvers.descents import (
    STRONG,
    GaussNewtonDescent,
    HessianDescent,
    MetricDescent,
    estimated_norms,
)
from grassvp.solvers.models import LeastSquaresModel, QuadraticModel, Step
from tests.solvers.points import SHAPES, Point, damped, linear, parts, scales

WAYS = ("dense", "dual", "matrix-free")
EPS = float(np.finfo(float).eps)
every_way = pytest.mark.parametrize("way", WAYS)


def exactly(way, **options):
    """A descent that solves to the end."""
    return GaussNewtonDescent(linear_algebra=way, inner_tolerance=0.0, **options)


@every_way
@pytest.mark.parametrize("damping", [1e-8, 1e-3, 1.0, 1e5])
@pytest.mark.parametrize("name", SHAPES)
def test_damped_step_solves_the_stacked_least_squares_problem(name, damping, way):
    point = SHAPES[name]()
    J, r = parts(point)
    model = exactly(way)(point, None, damping)
    D = model.scale.weights.numpy()
    if way != "matrix-free":
        np.testing.assert_allclose(D, scales(J), rtol=1e-13)
    expected = D * damped(J, r, D, damping)
    bound = (1e-10 + EPS / damping) * norm(expected)  # a column of zeros is one at rounding level after a QR
    np.testing.assert_allclose(D * model.damped(damping).vector.numpy(), expected, atol=bound)


def norm(array):
    return float(np.linalg.norm(array))


@every_way
@pytest.mark.parametrize("name", SHAPES)
def test_undamped_step_is_the_minimiser_of_least_scaled_norm(name, way):
    point = SHAPES[name]()
    J, r = parts(point)
    model = exactly(way)(point, None, 0.0)
    D = model.scale.weights.numpy()
    expected = np.linalg.pinv(J / D, rcond=1e-13) @ -r
    np.testing.assert_allclose(D * model.damped(0.0).vector.numpy(), expected, atol=1e-10 * norm(expected))


@every_way
def test_damped_step_keeps_the_digits_that_normal_equations_would_lose(way):
    rng = np.random.default_rng(1)
    U, V = (np.linalg.qr(rng.standard_normal((20, 4)))[0] for _ in range(2))
    J = U @ np.diag([1.0, 1.0, 1.0, 1e-8]) @ V[:4, :].T
    J /= norm(J[:, 0])
    r = rng.standard_normal(20)
    mu = 1e-19
    point = Point(torch.from_numpy(r[:, None]), torch.from_numpy(J))
    model = exactly(way, damped=True)(point, None, mu)
    D = model.scale.weights.numpy()
    expected = D * damped(J, r, D, mu)
    normal = np.linalg.solve(J.T @ J / D / D[:, None] + mu * np.eye(4), -J.T @ r / D)
    assert norm(D * model.damped(mu).vector.numpy() - expected) < 1e-6 * norm(expected)
    assert norm(normal - expected) > 1e-3 * norm(expected)


@every_way
@pytest.mark.parametrize("damping", [0.0, 1e-3, 10.0])
@pytest.mark.parametrize("length", [1.0, 0.25, 1e-3])
@pytest.mark.parametrize("name", SHAPES)
def test_predicted_reduction_is_that_of_the_model(name, damping, length, way):
    point = SHAPES[name]()
    J, r = parts(point)
    model = exactly(way)(point, None, damping)
    step = model.damped(damping).scaled(length)
    p = step.vector.numpy()
    expected = 0.5 * r @ r - 0.5 * np.sum((r + J @ p) ** 2)
    assert step.predicted_reduction == pytest.approx(expected, rel=1e-9, abs=1e-13 * (r @ r))
    assert step.slope == pytest.approx(r @ J @ p, rel=1e-9)
    assert step.predicted_reduction > 0 > step.slope
    assert step.length == pytest.approx(norm(model.scale.weights.numpy() * p), rel=1e-12)


def test_scaled_step_of_length_zero_and_one():
    step = Step(torch.tensor([1.0, -2.0]), 3.0, -4.0, length=7.0)
    whole, nothing = step.scaled(1.0), step.scaled(0.0)
    assert torch.equal(whole.vector, step.vector) and (whole.predicted_reduction, whole.slope) == (3.0, -4.0)
    assert not nothing.vector.any() and nothing.predicted_reduction == nothing.slope == 0.0
    assert (whole.length, nothing.length) == (7.0, 0.0)


@every_way
def test_column_scales_only_grow(way):
    first, second = linear(20, 4), linear(20, 4, seed=3)
    second.matrix[:, 0] *= 10
    second.matrix[:, 1] /= 10
    descent = exactly(way)
    before, alone = descent(first, None, 0.0), descent(second, None, 0.0)
    model = descent(second, before, 0.0)
    expected = torch.maximum(before.scale.weights, alone.scale.weights)
    np.testing.assert_allclose(model.scale.weights, expected, rtol=1e-14)
    assert model.scale.weights[0] > 5 * before.scale.weights[0]
    assert model.scale.weights[1] == before.scale.weights[1] > 5 * alone.scale.weights[1]


@pytest.mark.parametrize("way", WAYS[:2])
@pytest.mark.parametrize(("kind", "factor"), [("auto", 1.0), ("kaufman", 1.0), ("golub-pereyra", 2.0)])
def test_the_descent_asks_for_its_jacobian(kind, factor, way):
    point = SHAPES["tall"]()
    model = exactly(way, jacobian=kind)(point, None, 0.0)
    np.testing.assert_allclose(model.scale.weights, factor * scales(point.matrix.numpy()))
    assert {call[1] for call in point.calls} == {"golub-pereyra" if factor == 2.0 else "kaufman"}


@pytest.mark.parametrize(
    ("shape", "limit", "way"), [((20, 5), 2**31, "tall"), ((4, 7), 2**31, "dual"), ((4, 7), 500, "krylov")]
)
def test_auto_goes_by_size_and_memory(shape, limit, way):
    point = linear(*shape, memory_limit=limit)
    model = GaussNewtonDescent()(point, None, 1e-3)
    assert (model.compressed.basis is None) == (way == "tall")
    assert any(call in ("product", "adjoint") for call in point.calls) == (way == "krylov")


@every_way
def test_a_jacobian_of_zeros_gives_no_step(way):
    point = Point(torch.ones(3, 2, dtype=torch.float64), torch.zeros(6, 2, dtype=torch.float64))
    model = exactly(way)(point, None, 1.0)
    assert model.finite
    for damping in (0.0, 1.0):
        step = model.damped(damping)
        assert not step.vector.any() and step.predicted_reduction == 0.0


@every_way
def test_a_jacobian_that_is_not_finite_is_said(way):
    point = linear(8, 3)
    point.matrix[2, 1] = np.inf
    assert not exactly(way)(point, None, 1.0).finite


@every_way
def test_entries_held_by_a_bound_do_not_move(way):
    point = linear(20, 5, parameters=torch.zeros(5, dtype=torch.float64))
    gradient = point.gradient
    lower = torch.where(gradient > 0, 0.0, -1.0)  # the entries that the negative gradient would lower are held
    point.bounds = Box(lower, torch.ones(5, dtype=torch.float64))
    held = (gradient > 0).numpy()
    assert 0 < held.sum() < 5
    J, r = parts(point)
    model = exactly(way)(point, None, 1e-3)
    D = model.scale.weights.numpy()
    for mu in (0.0, 1e-3):
        step = model.damped(mu).vector.numpy()
        assert not step[held].any()
        np.testing.assert_allclose(step[~held], damped(J[:, ~held], r, D[~held], mu), rtol=1e-9)


# --- strong damping -------------------------------------------------------------------------------------------------

LEVEL = STRONG * EPS


@pytest.mark.parametrize("scaling", ["columns", "parameters"])
@pytest.mark.parametrize("name", ["tall", "badly scaled", "deficient"])
@pytest.mark.parametrize("factor", [1.01, 1e3, 1e8])
def test_strong_damping_takes_normal_equations_and_loses_no_more_than_1e_7(name, factor, scaling):
    point, mu = SHAPES[name](), LEVEL * factor
    model = GaussNewtonDescent(scaling=scaling, linear_algebra="dense", damped=True)(point, None, mu)
    qr = GaussNewtonDescent(scaling=scaling, linear_algebra="dense")(point, None, mu)
    assert isinstance(model, QuadraticModel) and isinstance(qr, LeastSquaresModel)
    np.testing.assert_allclose(model.scale.weights, qr.scale.weights, rtol=1e-12)
    one, other = model.damped(mu), qr.damped(mu)
    D = model.scale.weights
    assert norm(D * (one.vector - other.vector)) < 1e-7 * norm(D * other.vector)
    assert one.predicted_reduction == pytest.approx(other.predicted_reduction, rel=1e-7)
    h = torch.from_numpy(np.random.default_rng(5).standard_normal(5))
    bend, expected = model.correction(h, one.factor), qr.correction(h, other.factor)
    assert norm(D * (bend - expected)) < 2e-7 * norm(D * expected)


@pytest.mark.parametrize(("damping", "damped_steps"), [(0.99 * LEVEL, True), (1.0, False), (0.0, True)])
def test_weak_damping_and_undamped_methods_take_qr(damping, damped_steps):
    model = GaussNewtonDescent(linear_algebra="dense", damped=damped_steps)(SHAPES["tall"](), None, damping)
    assert isinstance(model, LeastSquaresModel)


def test_what_is_strong_goes_by_the_largest_column_at_this_point():
    """With D from the first point, a Jacobian that has grown since raises what normal equations lose."""
    first, second = linear(20, 5, parameters=torch.ones(5).double()), linear(20, 5)
    second.matrix *= 1e3
    descent = GaussNewtonDescent(scaling="parameters", linear_algebra="dense", damped=True)
    before = descent(first, None, 1.0)
    assert before.scale.largest == pytest.approx(1.0)
    model = descent(second, before, 1e4 * LEVEL)
    assert isinstance(model, LeastSquaresModel) and model.scale.largest == pytest.approx(1e6)
    assert isinstance(descent(second, before, 1.1e6 * LEVEL), QuadraticModel)


class Cancelling(Point):
    """J^T J without J is a difference of matrices a million times as large."""

    def normal_matrix(self, kind, entries):
        H, squares = super().normal_matrix(kind, entries)
        return H, 1e6 * squares


def test_what_cancels_is_made_with_the_jacobian_and_not_tried_again_at_once():
    plain = linear(20, 5)
    point = Cancelling(plain.residual, plain.matrix)
    descent = GaussNewtonDescent(linear_algebra="dense", damped=True)
    model = descent(point, None, 1e3 * LEVEL)
    assert isinstance(model, QuadraticModel) and model.scale.cancelling == pytest.approx(1e6)
    assert [call[0] for call in point.calls] == ["normal", "blocks"]
    expected = GaussNewtonDescent(linear_algebra="dense", damped=True)(plain, None, 1e3 * LEVEL)
    torch.testing.assert_close(model.matrix, expected.matrix, rtol=1e-12, atol=1e-12)
    point.calls.clear()
    after = descent(point, model, 1e3 * LEVEL)
    assert [call[0] for call in point.calls] == ["blocks"] and after.scale.cancelling == pytest.approx(5e5)
    point.calls.clear()
    assert isinstance(descent(point, after, 2e6 * LEVEL), QuadraticModel)
    assert [call[0] for call in point.calls] == ["normal"]


# --- products alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damped_steps", [True, False])
@pytest.mark.parametrize("tolerance", [0.3, 1e-3])
def test_a_matrix_free_model_leaves_the_stated_gradient(tolerance, damped_steps):
    """Of the damped problem for a method that damps; of the undamped one whatever the search's level is otherwise."""
    point, level = linear(60, 30, spread=1e3), 1e-2
    J, r = parts(point)
    descent = GaussNewtonDescent(linear_algebra="matrix-free", inner_tolerance=tolerance, damped=damped_steps)
    model = descent(point, None, level)
    D, mu = model.scale.weights.numpy(), level if damped_steps else 0.0
    p = model.damped(mu).vector.numpy()
    left = J.T @ (r + J @ p) / D + mu * D * p
    assert norm(left) <= tolerance * norm(J.T @ r / D)
    assert model.compressed.triangle.shape[1] < 30


def test_a_matrix_free_model_stays_within_its_products_and_its_memory():
    point = linear(60, 30, spread=1e3)
    descent = GaussNewtonDescent(linear_algebra="matrix-free", inner_tolerance=0.0, inner_iterations=6)
    assert descent(point, None, 0.0).compressed.triangle.shape == (7, 6)
    point.memory_limit = 4 * 3 * 30 * 8
    assert descent(point, None, 0.0).compressed.basis.shape == (30, 3)


def test_estimated_norms_are_unbiased_and_free_of_units():
    point = linear(400, 6, spread=100.0)
    exact = np.linalg.norm(point.matrix.numpy(), axis=0)
    np.testing.assert_allclose(estimated_norms(point).numpy() / exact, 1.0, atol=0.6)
    units = torch.tensor([1.0, 2.0, 4.0, 0.5, 8.0, 0.25], dtype=torch.float64)
    scaled = Point(point.residual, point.matrix * units)
    np.testing.assert_array_equal(estimated_norms(scaled), units * estimated_norms(point))
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        turned = torch.from_numpy(np.linalg.qr(rng.standard_normal((400, 6)))[0])
        found.append(np.mean(estimated_norms(Point(point.residual, turned)).numpy() ** 2))
    assert np.mean(found) == pytest.approx(1.0, abs=0.05)


# --- second-order models --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "dense"),
    [*((kind, dense) for kind in ("exact", "corrected", "metric") for dense in (True, False)), ("gauss-newton", False)],
)
def test_quadratic_models_have_the_matrix_they_are_named_after(kind, dense):
    rng = np.random.default_rng(2)
    B = rng.standard_normal((5, 5))
    point = linear(20, 5, second=torch.from_numpy(B + B.T), units=torch.full((5,), 0.3).double())
    descent = MetricDescent(dense=dense) if kind == "metric" else HessianDescent(kind, dense=dense)
    model = descent(point, None, 0.0)
    J, D = point.matrix.numpy(), model.scale.weights.numpy()
    matrix = {"exact": B + B.T, "corrected": (B + B.T) / 2, "metric": 3 * (B + B.T), "gauss-newton": J.T @ J}[kind]
    assert (model.matrix is not None) == dense
    p = torch.from_numpy(rng.standard_normal(5))
    step = model.moved(p)
    np.testing.assert_array_equal(step.vector, p)
    assert step.slope == pytest.approx(float(point.gradient @ p), rel=1e-12)
    curvature = float(p.numpy() @ matrix @ p.numpy())
    assert step.predicted_reduction == pytest.approx(-step.slope - 0.5 * curvature, rel=1e-10)
    assert step.length == pytest.approx(norm(D * p.numpy()), rel=1e-12)
    np.testing.assert_allclose(D, D[0])  # all parameters are one and all units alike


def test_large_jacobians_come_in_blocks(monkeypatch):
    point = linear(600, 5)
    whole = exactly("dense")(point, None, 0.0)
    monkeypatch.setattr(descents, "WHOLE", 100)
    monkeypatch.setattr(descents, "CACHED", 200)
    point.calls.clear()
    split = exactly("dense")(point, None, 0.0)
    assert point.calls == [("blocks", "kaufman", 40)]
    np.testing.assert_allclose(split.damped(1e-3).vector, whole.damped(1e-3).vector, rtol=1e-12)
