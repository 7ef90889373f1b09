"""The trust-region subproblem with any symmetric matrix: optimality conditions, the hard case, negative curvature."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from grassvp.solvers.subproblems import damping_at, steihaug, to_boundary
from tests.solvers.points import quadratic_model

SIZE = 6
WEIGHTS = np.geomspace(0.1, 30.0, SIZE)


def rotated(values, seed=0):
    """A symmetric matrix with the given eigenvalues, and its eigenvectors."""
    V = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))[0]
    return V @ np.diag(values) @ V.T, V


SPECTRA = {
    "definite": [0.1, 0.5, 1.0, 2.0, 5.0, 9.0],
    "ill-conditioned": [1e-9, 1e-6, 1e-3, 1.0, 1.0, 10.0],
    "indefinite": [-3.0, -1.0, 0.5, 1.0, 2.0, 9.0],
    "negative definite": [-9.0, -5.0, -3.0, -2.0, -1.0, -0.5],
    "singular": [0.0, 0.0, 0.5, 1.0, 2.0, 9.0],
    "repeated lowest": [-2.0, -2.0, 0.5, 1.0, 2.0, 9.0],
    "tiny": [-3e-12, 1e-12, 2e-12, 3e-12, 4e-12, 5e-12],
    "huge": [-3e12, 1e12, 2e12, 3e12, 4e12, 5e12],
}


def problem(name, *, hard=None, seed=1):
    """(g, B, model): `hard` is the size of the part of g along the lowest eigenvectors, relative to the rest."""
    values = np.array(SPECTRA[name])
    B, V = rotated(values)
    c = np.random.default_rng(seed).standard_normal(SIZE) * np.abs(values).max()
    if hard is not None:
        c[values == values.min()] *= hard
    g = V @ c
    D = WEIGHTS
    return g, B, quadratic_model(g * D, B * D[:, None] * D, D)


def in_s(step):
    return WEIGHTS * step.vector.numpy()


def assert_optimal(g, B, s, radius, *, tolerance=1e-7):
    """More and Sorensen 1983: (B + mu I) s = -g, B + mu I >= 0, mu >= 0, mu (radius - ||s||) = 0: a global minimum."""
    size, length = np.abs(np.linalg.eigvalsh(B)).max(), np.linalg.norm(s)
    assert length <= radius * (1 + 1e-6)
    mu = max(0.0, float(-(s @ (g + B @ s)) / (s @ s)))
    if length < radius * (1 - 1e-6):
        mu = 0.0
    assert np.linalg.norm(g + B @ s + mu * s) <= tolerance * (np.linalg.norm(g) + size * length)
    assert np.linalg.eigvalsh(B)[0] + mu >= -tolerance * size


@pytest.mark.parametrize("radius", [1e-6, 0.1, 1.0, 10.0, 1e6])
@pytest.mark.parametrize("name", SPECTRA)
def test_within_satisfies_the_optimality_conditions(name, radius):
    g, B, model = problem(name)
    step = model.within(radius)
    s = in_s(step)
    assert_optimal(g, B, s, radius)
    assert step.slope == pytest.approx(g @ s, rel=1e-9) and step.length == pytest.approx(np.linalg.norm(s))
    assert step.predicted_reduction == pytest.approx(-g @ s - 0.5 * s @ B @ s, rel=1e-6)
    assert step.predicted_reduction > 0


@pytest.mark.parametrize("hard", [0.0, 1e-16, 1e-12, 1e-6, 1e-3])
@pytest.mark.parametrize("radius", [10.0, 100.0])
@pytest.mark.parametrize("name", ["indefinite", "repeated lowest", "tiny", "huge"])
def test_the_hard_case(name, radius, hard):
    """g has next to no part along the lowest eigenvector, along which the minimum lies all the same."""
    g, B, model = problem(name, hard=hard)
    s, lowest = in_s(model.within(radius)), float(np.linalg.eigvalsh(B)[0])
    shifted = B - lowest * np.eye(SIZE)
    assert np.linalg.norm(np.linalg.pinv(shifted, rcond=1e-12) @ g) < 0.9 * radius, "the case is hard"
    # An eigenvalue is known to eps ||B||, so that the multiplier, and with it the length, may be off near the case.
    assert np.linalg.norm(s) == pytest.approx(radius, rel=0.1 if 0 < hard < 1e-9 else 1e-6)
    length = np.linalg.norm(s)
    assert_optimal(g, B, s, length, tolerance=1e-6)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_saddle_with_no_gradient_is_left_along_the_lowest_eigenvector(sign):
    B, V = rotated([-2.0, 1.0, 3.0])
    step = quadratic_model(np.zeros(3), sign * B).within(0.5)
    lowest = V[:, 0] if sign > 0 else V[:, 2]
    assert abs(lowest @ step.vector.numpy()) == pytest.approx(0.5, rel=1e-9)
    assert step.predicted_reduction == pytest.approx(0.5 * (2.0 if sign > 0 else 3.0) * 0.25, rel=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_step_of_the_ball_is_better(seed):
    """Against scipy from many starts, for a matrix with two negative eigenvalues."""
    rng = np.random.default_rng(seed)
    B = rng.standard_normal((3, 3))
    B, g, radius = B + B.T, rng.standard_normal(3), float(rng.uniform(0.2, 3.0))
    best = quadratic_model(g, B).within(radius).predicted_reduction
    ball = {"type": "ineq", "fun": lambda s: radius**2 - s @ s, "jac": lambda s: -2 * s}
    for start in rng.standard_normal((4, 3)):
        found = minimize(
            lambda s: g @ s + 0.5 * s @ B @ s, start, jac=lambda s: g + B @ s, constraints=ball, method="SLSQP"
        )
        assert -found.fun <= best * (1 + 1e-6) + 1e-9


def test_a_definite_matrix_and_a_large_radius_give_newtons_step():
    g, B, model = problem("definite")
    np.testing.assert_allclose(in_s(model.within(1e6)), np.linalg.solve(B, -g), rtol=1e-10)


def test_entries_that_are_held_do_not_move():
    g, B, model = problem("indefinite")
    held = torch.tensor([True, False, False, True, False, False])
    scale, free, keep = dataclasses.replace(model.scale, held=held), ~held, (~held).numpy()
    matrix = model.matrix * torch.outer(free, free)  # what a descent makes with D^-1 zero where it is held
    parts = {"gradient": model.gradient * free, "matrix": matrix, "product": lambda s: matrix @ s}
    step = dataclasses.replace(model, scale=scale, **parts).within(2.0)
    assert not step.vector[held].any()
    assert_optimal(g[keep], B[np.ix_(keep, keep)], in_s(step)[keep], 2.0)


def test_a_matrix_of_zeros_gives_the_steepest_descent_step():
    step = quadratic_model([3.0, 4.0], np.zeros((2, 2))).within(0.5)
    np.testing.assert_allclose(step.vector, [-0.3, -0.4], rtol=1e-12)


# --- damped and metric steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mu", [3.5, 10.0, 1e6])
def test_damped(mu):
    g, B, model = problem("indefinite")
    step = model.damped(mu)
    np.testing.assert_allclose(in_s(step), np.linalg.solve(B + mu * np.eye(SIZE), -g), rtol=1e-10)
    S = step.factor.numpy()
    np.testing.assert_allclose(S.T @ S, B + mu * np.eye(SIZE), atol=1e-13 * mu + 1e-13)
    assert torch.equal(step.factor, torch.triu(step.factor)) and not model.matrix.isnan().any()
    np.testing.assert_allclose(model.matrix, B, rtol=1e-12, atol=1e-12)
    h = np.random.default_rng(4).standard_normal(SIZE)
    expected = np.linalg.solve(B + mu * np.eye(SIZE), -h / WEIGHTS) / WEIGHTS
    np.testing.assert_allclose(model.correction(torch.from_numpy(h), step.factor), expected, rtol=1e-10)


@pytest.mark.parametrize("mu", [0.0, 1e-6, 0.1])
def test_solved_adds_a_part_of_the_largest_eigenvalue(mu):
    g, B, model = problem("definite")
    expected = np.linalg.solve(B + mu * 9.0 * np.eye(SIZE), -g)
    np.testing.assert_allclose(in_s(model.solved(mu, 0.0, 0)), expected, rtol=1e-9)


def test_solved_by_products():
    g, B, _ = problem("definite")
    model = quadratic_model(g * WEIGHTS, B * WEIGHTS[:, None] * WEIGHTS, WEIGHTS, formed=False)
    np.testing.assert_allclose(in_s(model.solved(0.0, 1e-12, 100)), np.linalg.solve(B, -g), rtol=1e-9)
    shift = 0.1 * np.linalg.norm(B, 2)  # which is estimated from below, and that not closely
    damped = np.linalg.norm(in_s(model.solved(0.1, 1e-12, 100)))
    norms = [np.linalg.norm(np.linalg.solve(B + part * shift * np.eye(SIZE), -g)) for part in (1.0, 0.8)]
    assert norms[0] <= damped <= norms[1]
    loose = in_s(model.solved(1e-10, 0.5, 100))
    assert 1e-6 < np.linalg.norm(g + B @ loose) <= 0.5 * np.linalg.norm(g)


def test_a_metric_of_zeros_moves_nothing():
    zero = np.zeros((2, 2))
    for formed in (True, False):
        step = quadratic_model([1e-17, 0.0], zero, formed=formed).solved(1e-10, 1e-3, 100)
        assert not step.vector.any() and step.predicted_reduction == 0.0


def test_a_metric_whose_rounding_is_negative_is_taken_as_semidefinite():
    B, V = rotated([-1e-17, 1.0, 2.0])
    step = quadratic_model(V @ [0.0, 1.0, 1.0], B).solved(1e-10, 0.0, 0)
    np.testing.assert_allclose(V.T @ step.vector.numpy(), [0.0, -1.0, -0.5], atol=1e-6)


def test_finite():
    model = quadratic_model([1.0, 2.0], np.eye(2))
    assert model.finite and dataclasses.replace(model, matrix=None).finite
    assert not dataclasses.replace(model, gradient=torch.tensor([1.0, math.nan])).finite
    assert not dataclasses.replace(model, matrix=torch.full((2, 2), math.inf)).finite


# --- truncated conjugate gradients ----------------------------------------------------------------------------------


def cg(g, B, radius, tolerance=0.0, iterations=1000):
    B, g = torch.from_numpy(np.asarray(B, dtype=float)), torch.from_numpy(np.asarray(g, dtype=float))
    return steihaug(g, lambda s: B @ s, radius, tolerance, iterations).numpy()


@pytest.mark.parametrize("radius", [0.1, 1.0, 50.0])
@pytest.mark.parametrize("name", ["indefinite", "negative definite", "repeated lowest"])
def test_negative_curvature_goes_to_the_boundary(name, radius):
    g, B, model = problem(name)
    s = in_s(model.steihaug(radius, 0.0, 1000))
    assert np.linalg.norm(s) == pytest.approx(radius, rel=1e-12)
    q = lambda s: g @ s + 0.5 * s @ B @ s  # noqa: E731
    curvature, size = g @ B @ g, np.linalg.norm(g)
    t = radius / size if curvature <= 0 else min(radius / size, size**2 / curvature)
    assert q(s) <= q(-t * g) * (1 - 1e-12) < 0, "no worse than the Cauchy point"


def test_negative_curvature_after_some_steps():
    B, g = np.diag([1.0, 2.0, -0.1]), np.array([1.0, 1.0, 0.01])
    assert g @ B @ g > 0
    s = cg(g, B, 1e3)
    assert np.linalg.norm(s) == pytest.approx(1e3) and abs(s[2]) > 900


def test_without_a_radius_it_stops_at_negative_curvature_with_what_it_has():
    s = cg([1.0, 1.0, 0.01], np.diag([1.0, 2.0, -0.1]), math.inf)
    assert np.isfinite(s).all() and s.any()
    assert not cg([1.0], [[0.0]], math.inf).any() and not cg([1.0], [[-1.0]], math.inf).any()


@pytest.mark.parametrize("tolerance", [0.5, 1e-3, 1e-10])
def test_a_definite_matrix_is_solved_to_the_tolerance(tolerance):
    B, _ = rotated(np.geomspace(0.01, 1.0, 30))
    g = np.random.default_rng(0).standard_normal(30)
    s = cg(g, B, math.inf, tolerance)
    assert np.linalg.norm(g + B @ s) <= tolerance * np.linalg.norm(g) * (1 + 1e-6)
    assert np.linalg.norm(g + B @ cg(g, B, math.inf, tolerance, 2)) > 1e-3 * np.linalg.norm(g)


@pytest.mark.parametrize("start", [[0.0, 0.0], [0.3, -0.2], [1e-9, 0.0], [-0.999, 0.0]], ids=str)
@pytest.mark.parametrize("direction", [[1.0, 0.0], [-2.0, 1.0], [1e-12, 1e-12], [1e12, 3.0]], ids=str)
def test_to_boundary(start, direction):
    s, d = (torch.tensor(v, dtype=torch.float64) for v in (start, direction))
    step = to_boundary(s, d, 1.0)
    assert float((s + step).norm()) == pytest.approx(1.0, rel=1e-12)
    assert float(step @ d) > 0 and float(step @ d) == pytest.approx(float(step.norm() * d.norm()), rel=1e-12)


@pytest.mark.parametrize("exponent", [-8, -3, 0, 3, 8])
@pytest.mark.parametrize(
    ("values", "least"), [([0.0, 1.0, 5.0], 0.0), ([1e-10, 1.0, 1e10], 0.0), ([-2.0, 1.0, 5.0], 2.0 + 1e-14)], ids=str
)
def test_damping_at_gives_the_length(values, least, exponent):
    values = torch.tensor(values, dtype=torch.float64)
    c = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    wanted = least + 10.0**exponent
    radius = float((c / (values + wanted)).norm())
    mu = damping_at(radius, c, values, least)
    assert mu >= least
    assert float((c / (values + mu)).norm()) == pytest.approx(radius, rel=1e-9)
    assert mu - least == pytest.approx(wanted - least, rel=1e-5)
