"""RegularizedGrassmann: construction, retractions by definition, means, bad input, random numbers."""

import math

import numpy as np
import pytest
import torch

from manifolds import Grassmann, RegularizedGrassmann
from tests.manifolds.samples import EPS, both, orthogonal

LAM = 0.5
M = RegularizedGrassmann(5, 3, LAM)
PHI, D, E = (np.random.default_rng(i).standard_normal((5, 3)) for i in range(3))


@pytest.mark.parametrize("lam", [0.0, -0.0, -1.0, math.nan, math.inf, -math.inf])
def test_regularization_must_be_positive_and_finite(lam):
    with pytest.raises(ValueError, match="regularization"):
        RegularizedGrassmann(5, 3, lam)


@pytest.mark.parametrize("lam", [None, "1", 1j, [1.0], np.ones(2)])
def test_regularization_must_be_a_number(lam):
    with pytest.raises((TypeError, ValueError), match="regularization"):
        RegularizedGrassmann(5, 3, lam)


def test_regularization_of_every_real_kind():
    for lam in (1, np.float32(0.5), np.float64(0.5), np.int64(2), 1e-300):
        manifold = RegularizedGrassmann(5, 3, lam)
        assert isinstance(manifold.regularization, float) and manifold.regularization == float(lam)


@pytest.mark.parametrize(
    ("m", "n", "error", "name"),
    [(0, 1, ValueError, "m"), (1, 0, ValueError, "n"), (2.0, 1, TypeError, "m"), (2, "1", TypeError, "n")],
)
def test_bad_dimensions(m, n, error, name):
    with pytest.raises(error, match=f"{name} must"):
        RegularizedGrassmann(m, n, 1.0)


def test_what_it_says_about_itself():
    assert (M.dim, M.point_layout, M.num_values, M.regularization) == (15, 1, 1, LAM)
    assert RegularizedGrassmann(2, 7, 1.0).dim == 14
    assert math.isfinite(M.typical_dist) and M.typical_dist > 0
    assert str(M) and "5" in str(M)


CALLS = {
    "inner_product": lambda x, v: M.inner_product(x, v, v),
    "norm": lambda x, v: M.norm(x, v),
    "projection": lambda x, v: M.projection(x, v),
    "exp": lambda x, v: M.exp(x, v),
    "chart_exit_time": lambda x, v: M.chart_exit_time(x, v),
    "linear": lambda x, v: M.retraction(x, v),
    "second-order": lambda x, v: M.retraction(x, v, method="second-order"),
    "polar": lambda x, v: M.retraction(x, v, method="polar"),
    "parallel_transport": lambda x, v: M.parallel_transport(x, 0.1 * D, v),
    "transport": lambda x, v: M.transport(x, x, v),
    "gradient": lambda x, v: M.euclidean_to_riemannian_gradient(x, v),
    "Hessian": lambda x, v: M.euclidean_to_riemannian_hessian(x, v, v, v),
}
WRONG = {
    "transposed": (D.T.copy(), ValueError),
    "one row short": (D[:-1], ValueError),
    "stacked": (D[None], ValueError),
    "complex": (D + 0j, TypeError),
    "integer": (np.ones((5, 3), dtype=int), TypeError),
    "a list": (D.tolist(), TypeError),
    "None": (None, TypeError),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_wrong_arrays_are_refused_by_name(call, wrong):
    bad, error = WRONG[wrong]
    with pytest.raises(error, match=r"vector|direction|gradient|hessian"):
        CALLS[call](PHI, bad)
    with pytest.raises(error, match=r"point|start"):
        CALLS[call](bad, D)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_points_are_refused_by_name(wrong):
    bad, error = WRONG[wrong]
    calls = [lambda: M.dist(bad, PHI), lambda: M.dist(PHI, bad), lambda: M.log(bad, PHI), lambda: M.log(PHI, bad)]
    calls += [lambda: M.lift(bad), lambda: M.projector(bad), lambda: M.apply_projector(bad, D)]
    calls += [lambda: M.value_forms(bad, D)]
    for call in calls:
        with pytest.raises(error, match="point"):
            call()
    assert M.is_point(bad) is False and M.is_tangent(PHI, bad) is False


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_never_pass_silently(value):
    bad = PHI.copy()
    bad[1, 1] = value
    calls = [lambda: M.dist(PHI, bad), lambda: M.dist(bad, bad), lambda: M.log(PHI, bad), lambda: M.exp(PHI, bad)]
    calls += [lambda: M.exp(bad, D), lambda: M.chart_exit_time(PHI, bad), lambda: M.parallel_transport(PHI, bad, D)]
    calls += [lambda: M.lift(bad), lambda: M.projector(bad), lambda: M.norm(bad, D)]
    calls += [lambda: M.mean(np.stack([PHI, bad]))]
    for call in calls:
        with pytest.raises(ValueError, match=r"NaN|finite|inf|nan"):
            call()
    assert not M.is_point(bad) and not M.is_tangent(PHI, bad)


def test_targets_of_a_wrong_shape():
    for bad in (np.ones((4, 2)), np.ones((5, 2), dtype=complex)):
        with pytest.raises((TypeError, ValueError), match="targets"):
            M.value_forms(PHI, bad)
        with pytest.raises((TypeError, ValueError), match="vectors"):
            M.apply_projector(PHI, bad)


def test_unknown_method():
    with pytest.raises(ValueError, match="method must be one of"):
        M.retraction(PHI, D, method="qr")


# --- retractions by their definitions --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_retractions(kind):
    x, v = both(PHI, kind), both(0.2 * D, kind)
    K = np.linalg.solve(PHI.T @ PHI + LAM * np.eye(3), PHI.T @ (0.2 * D))
    expected = {
        "linear": PHI + 0.2 * D,
        "second-order": PHI + 0.2 * D + 0.2 * D @ K,
        "polar": PHI + 0.2 * D @ np.linalg.inv(np.eye(3) - K),
        "exponential": M.exp(PHI, 0.2 * D),
    }
    for method, value in expected.items():
        np.testing.assert_allclose(np.asarray(M.retraction(x, v, method=method)), value, rtol=0, atol=200 * EPS)
        assert np.array_equal(np.asarray(M.retraction(x, 0 * v, method=method)), PHI)
    assert np.array_equal(np.asarray(M.retraction(x, v)), PHI + 0.2 * D)


def test_polar_retraction_is_that_of_the_grassmannian():
    """span of lift(Phi) plus the lifted vector, by finite differences of the lift."""
    h, G = 1e-6, Grassmann(8, 3)
    X = M.lift(PHI)
    lifted = (M.lift(PHI + 0.2 * h * D) - M.lift(PHI - 0.2 * h * D)) / (2 * h)
    end = G.retraction(X, G.projection(X, lifted))
    assert float(G.dist(end, M.lift(M.retraction(PHI, 0.2 * D, method="polar")))) <= 1e-9


# --- means, random numbers -------------------------------------------------------------------------------------------


def test_means():
    """The midpoint, and the point where the logarithms cancel."""
    A, B = 0.3 * PHI, 0.3 * E
    middle = M.pair_mean(A, B)
    assert float(M.dist(middle, A)) == pytest.approx(float(M.dist(A, B)) / 2, rel=1e-12)
    assert float(M.dist(middle, A)) == pytest.approx(float(M.dist(middle, B)), rel=1e-12)
    points = np.stack([A, B, 0.2 * D, np.zeros((5, 3))])
    mean = M.mean(points)
    assert float(M.norm(mean, sum(M.log(mean, p) for p in points))) <= 1e-13
    assert float(M.dist(M.mean(np.stack([A, B])), middle)) <= 1e-13
    S, Q = orthogonal(5, 1), orthogonal(3, 2)
    assert float(M.dist(M.mean(S @ points @ Q), S @ mean @ Q)) <= 1e-13


@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (2, 6)])
def test_random_points_and_vectors(shape):
    m, n = shape
    for lam in (1e-4, 1.0, 1e4):
        manifold = RegularizedGrassmann(m, n, lam)
        x = manifold.random_point(3)
        v = manifold.random_tangent_vector(x, 3)
        assert manifold.is_point(x) and manifold.is_tangent(x, v)
        assert float(manifold.norm(x, v)) == pytest.approx(1.0, rel=1e-12)
        assert np.array_equal(x, manifold.random_point(3)) and np.array_equal(v, manifold.random_tangent_vector(x, 3))
    draws = np.concatenate([manifold.random_point(i).ravel() for i in range(500)])
    assert np.std(draws) == pytest.approx(100 / (math.sqrt(m) + math.sqrt(n)), rel=0.15)
    if m * n > 1:
        assert abs(np.vdot(x, v)) < 0.999 * np.linalg.norm(x) * np.linalg.norm(v)


def test_the_global_generators_are_left_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    M.random_point(), M.random_point(1), M.random_tangent_vector(PHI), M.random_tangent_vector(PHI, 2)
    assert np.array_equal(np.random.get_state()[1], numpy_state) and torch.equal(torch.get_rng_state(), torch_state)


def test_random_vectors_and_answers_in_kind():
    for dtype in (torch.float32, torch.float64):
        x = torch.from_numpy(PHI).to(dtype)
        v = M.random_tangent_vector(x, 0)
        for found in (v, M.exp(x, 0.1 * v), M.log(x, x + v), M.lift(x), M.projector(x), M.apply_projector(x, v)):
            assert isinstance(found, torch.Tensor) and found.dtype == dtype


def test_inputs_are_not_changed():
    before = [A.copy() for A in (PHI, D, E)]
    M.exp(PHI, 0.1 * D), M.log(PHI, E), M.parallel_transport(PHI, 0.1 * D, E), M.dist(PHI, E), M.lift(PHI)
    M.euclidean_to_riemannian_hessian(PHI, D, E, D), M.retraction(PHI, 0.1 * D, method="polar"), M.value_forms(PHI, D)
    moved = M.transport(PHI, E, D)
    moved += 1.0
    projected = M.projection(PHI, D)
    assert np.array_equal(projected, before[1])
    for A, B in zip((PHI, D, E), before, strict=True):
        assert np.array_equal(A, B)
