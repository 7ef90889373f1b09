"""Steps of the least-squares model against dense formulas, in coordinates that are scaled and compressed."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from grassvp.solvers.descents import GaussNewtonDescent
from tests.solvers.points import SHAPES, damped, least_squares_model, linear, parts

MODELS = {
    f"{name}, {way}": (name, way)
    for name, way in [
        ("tall", "dense"),
        ("tall", "matrix-free"),
        ("wide", "dual"),
        ("wide", "matrix-free"),
        ("badly scaled", "dense"),
        ("deficient", "dense"),
        ("deficient", "dual"),
    ]
}
every_model = pytest.mark.parametrize(("name", "way"), MODELS.values(), ids=MODELS)


def model_of(name, way):
    """(model, J D^-1, r, D): the problem in the variable s = D p, in which a step has its length."""
    point = SHAPES[name]()
    model = GaussNewtonDescent(linear_algebra=way, inner_tolerance=0.0)(point, None, 0.0)
    J, r = parts(point)
    D = model.scale.weights.numpy()
    return model, J / D, r, D


def steps_in_s(step, D):
    return D * step.vector.numpy()


def least(A, r):
    """Minimiser of ||r + A s|| of least norm."""
    return np.linalg.pinv(A, rcond=1e-12) @ -r


def by_lagrange(A, r, radius):
    """Minimiser of ||r + A s|| over ||s|| <= radius, its multiplier found by scipy's root finder."""
    if np.linalg.norm(least(A, r)) <= radius:
        return least(A, r), 0.0
    excess = lambda log: np.linalg.norm(damped(A, r, np.ones(A.shape[1]), 10.0**log)) - radius  # noqa: E731
    mu = 10.0 ** brentq(excess, -14, 14, xtol=1e-14, rtol=1e-14)
    return damped(A, r, np.ones(A.shape[1]), mu), mu


def same(step, expected, D, tolerance=1e-8):
    np.testing.assert_allclose(steps_in_s(step, D), expected, atol=tolerance * np.linalg.norm(expected))


RADII = pytest.mark.parametrize("fraction", [1e-6, 0.1, 0.5, 0.99, 1.01, 100.0])


@RADII
@every_model
def test_within_minimises_over_the_ball(name, way, fraction):
    model, A, r, D = model_of(name, way)
    radius = fraction * np.linalg.norm(least(A, r))
    step = model.within(radius)
    expected, mu = by_lagrange(A, r, radius)
    same(step, expected, D, 1e-6)
    s = steps_in_s(step, D)
    if fraction < 1:  # More and Sorensen: (A^T A + mu I) s = -A^T r with mu >= 0 and ||s|| = radius
        assert mu > 0 and step.length == pytest.approx(radius, rel=1e-8)
        optimal = A.T @ (r + A @ s) + mu * s
        assert np.linalg.norm(optimal) < 1e-8 * np.linalg.norm(A.T @ r)
    else:
        assert step.length <= radius
        assert np.linalg.norm(A.T @ (r + A @ s)) < 1e-12 * np.linalg.norm(A) * np.linalg.norm(r)
    assert step.predicted_reduction == pytest.approx(0.5 * r @ r - 0.5 * np.sum((r + A @ s) ** 2), rel=1e-9)


@RADII
@every_model
def test_dogleg_is_powells_path(name, way, fraction):
    model, A, r, D = model_of(name, way)
    newton, g = least(A, r), A.T @ r
    cauchy = -(g @ g) / np.sum((A @ g) ** 2) * g
    radius = fraction * np.linalg.norm(newton)
    if np.linalg.norm(newton) <= radius:
        expected = newton
    elif np.linalg.norm(cauchy) >= radius:
        expected = -radius / np.linalg.norm(g) * g
    else:
        along = newton - cauchy
        t = brentq(lambda t: np.linalg.norm(cauchy + t * along) - radius, 0.0, 1.0, xtol=1e-15)
        expected = cauchy + t * along
    step = model.dogleg(radius)
    same(step, expected, D)
    assert step.length <= radius * (1 + 1e-12)
    assert step.predicted_reduction > 0
    assert step.predicted_reduction <= model.within(radius).predicted_reduction * (1 + 1e-12)


def test_each_leg_of_the_dogleg_is_walked():
    """That the three branches above are all reached: on the gradient, on the second leg, at the end."""
    model, A, r, _ = model_of("tall", "dense")
    g = A.T @ r
    cauchy, newton = (g @ g) / np.sum((A @ g) ** 2) * np.linalg.norm(g), np.linalg.norm(least(A, r))
    assert cauchy < 0.99 * newton
    lengths = [model.dogleg(radius).length for radius in (0.5 * cauchy, 0.5 * (cauchy + newton), 2 * newton)]
    np.testing.assert_allclose(lengths, [0.5 * cauchy, 0.5 * (cauchy + newton), newton], rtol=1e-12)


@every_model
def test_steihaug_run_to_rounding_is_the_undamped_step(name, way):
    model, A, r, D = model_of(name, way)
    same(model.steihaug(math.inf, 1e-9, 1000), least(A, r), D, 1e-6)


@pytest.mark.parametrize("tolerance", [0.5, 1e-2])
def test_steihaug_leaves_the_stated_gradient(tolerance):
    point = linear(80, 40, spread=1e2)
    J, r = parts(point)
    step = least_squares_model(J, r).steihaug(math.inf, tolerance, 1000)
    left = J.T @ (r + J @ step.vector.numpy())
    assert np.linalg.norm(left) <= tolerance * np.linalg.norm(J.T @ r)
    assert not np.allclose(step.vector.numpy(), least(J, r), rtol=1e-6)


@pytest.mark.parametrize("fraction", [1e-3, 0.3, 0.9])
def test_steihaug_stops_on_the_boundary(fraction):
    J, r = parts(linear(20, 5))
    radius = fraction * np.linalg.norm(least(J, r))
    model = least_squares_model(J, r)
    step = model.steihaug(radius, 0.0, 1000)
    assert step.length == pytest.approx(radius, rel=1e-12)
    g = J.T @ r
    t = min((g @ g) / np.sum((J @ g) ** 2), radius / np.linalg.norm(g))
    cauchy = t * (g @ g) - 0.5 * t**2 * np.sum((J @ g) ** 2)
    best = model.within(radius).predicted_reduction
    assert cauchy * (1 - 1e-12) <= step.predicted_reduction <= best * (1 + 1e-12)


def test_one_product_of_steihaug_is_the_cauchy_step():
    J, r = parts(linear(20, 5))
    g = J.T @ r
    step = least_squares_model(J, r).steihaug(math.inf, 0.0, 1)
    np.testing.assert_allclose(step.vector, -(g @ g) / np.sum((J @ g) ** 2) * g, rtol=1e-12)


@every_model
@pytest.mark.parametrize("mu", [1e-6, 1e-2, 10.0])
def test_correction_solves_with_the_damped_matrix(name, way, mu):
    model, A, _, D = model_of(name, way)
    h = np.random.default_rng(4).standard_normal(len(D)) * D
    if way == "matrix-free":  # the space that the step was found in is all there is
        V = model.compressed.basis.numpy()
        expected = V @ np.linalg.solve(V.T @ A.T @ A @ V + mu * np.eye(V.shape[1]), -V.T @ (h / D))
    elif name == "wide":  # V spans the rows of A; what is outside of them is left alone
        inside = np.linalg.pinv(A) @ A
        expected = inside @ np.linalg.solve(A.T @ A + mu * np.eye(len(D)), -h / D)
    else:
        expected = np.linalg.solve(A.T @ A + mu * np.eye(len(D)), -h / D)
    step = model.damped(mu)
    found = D * model.correction(torch.from_numpy(h), step.factor).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.linalg.norm(expected))
    S = step.factor.numpy()
    R = model.compressed.triangle.numpy()
    np.testing.assert_allclose(S.T @ S, R.T @ R + mu * np.eye(R.shape[1]), atol=1e-12 * np.linalg.norm(R) ** 2)


@pytest.mark.parametrize(("name", "way"), [m for m in MODELS.values() if m[1] != "matrix-free"], ids=str)
def test_moved_says_what_the_model_makes_of_any_step(name, way):
    """Also of one that is not in the span of V, which A cannot see a part of."""
    model, A, r, D = model_of(name, way)
    p = torch.from_numpy(np.random.default_rng(6).standard_normal(len(D)) / D)
    step, s = model.moved(p), D * p.numpy()
    assert torch.equal(step.vector, p)
    assert step.slope == pytest.approx(r @ A @ s, rel=1e-10)
    assert step.predicted_reduction == pytest.approx(0.5 * r @ r - 0.5 * np.sum((r + A @ s) ** 2), rel=1e-9)


def test_a_krylov_model_knows_the_steps_that_it_proposed():
    model, A, r, D = model_of("tall", "matrix-free")
    step = model.damped(1e-2)
    again = model.moved(0.5 * step.vector)
    assert again.slope == pytest.approx(0.5 * r @ A @ (D * step.vector.numpy()), rel=1e-10)
    assert again.predicted_reduction == pytest.approx(step.scaled(0.5).predicted_reduction, rel=1e-10)


def test_zero_gradient_gives_zero_steps():
    J = np.vstack([np.eye(3), np.zeros((2, 3))])
    model = least_squares_model(J, [0.0, 0.0, 0.0, 1.0, 2.0])
    for step in (model.damped(0.0), model.damped(1.0), model.within(1.0), model.dogleg(1.0), model.steihaug(1, 0, 9)):
        assert not step.vector.any() and step.predicted_reduction == step.slope == step.length == 0.0


def test_finite():
    model = least_squares_model(np.eye(2), np.ones(2))
    assert model.finite
    spoiled = dataclasses.replace(model.compressed, triangle=torch.full((2, 2), math.nan, dtype=torch.float64))
    assert not dataclasses.replace(model, compressed=spoiled).finite
