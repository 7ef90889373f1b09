"""The value of regularised least squares on RegularizedGrassmann: THEORY B1-B6."""

import math

import numpy as np
import pytest
import torch

from manifolds import RegularizedGrassmann
from tests.manifolds import oracles
from tests.manifolds.samples import EPS, both, orthogonal
from tests.manifolds.test_regularized_grassmann import CASES, POINTS, rounding, sample


def targets(Phi, seed=9, columns=2):
    return np.random.default_rng(seed).standard_normal((Phi.shape[0], columns))


def value(Phi, Y, lam) -> float:
    """lam/2 tr Y^T (Phi Phi^T + lam I)^-1 Y, dense."""
    return 0.5 * lam * float(np.sum(Y * np.linalg.solve(Phi @ Phi.T + lam * np.eye(len(Phi)), Y)))


def euclidean_gradient(Phi, Y, lam):
    """-R C^T with C = G^-1 Phi^T Y, R = Y - Phi C, dense."""
    C = np.linalg.solve(Phi.T @ Phi + lam * np.eye(Phi.shape[1]), Phi.T @ Y)
    return -(Y - Phi @ C) @ C.T


def euclidean_hessian(Phi, Y, lam, D):
    """The derivative of -R C^T along D: C' = G^-1 (D^T R - Phi^T D C), R' = -D C - Phi C'."""
    G = Phi.T @ Phi + lam * np.eye(Phi.shape[1])
    C = np.linalg.solve(G, Phi.T @ Y)
    R = Y - Phi @ C
    dC = np.linalg.solve(G, D.T @ R - Phi.T @ (D @ C))
    return (D @ C + Phi @ dC) @ C.T - R @ dC.T


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_four_forms_of_the_value(name, lam, kind):
    """B1. Each within 10 eps sqrt(m n) kappa |Y|^2 of mpmath's."""
    M, Phi, _, _, kappa = sample(name, lam)
    Y = targets(Phi)
    found = M.value_forms(both(Phi, kind), both(Y, kind))
    for form, expected in oracles.value_forms(Phi, Y, lam).items():
        error = abs(float(getattr(found, form)) - expected)
        assert error <= rounding(Phi, kappa) * np.sum(Y * Y), form


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_projector(name, lam):
    """P_lam dense, and applied without being formed; symmetric, spectrum in [0, 1)."""
    M, Phi, *_ = sample(name, lam)
    P, V = M.projector(Phi), targets(Phi)
    assert oracles.error(P, oracles.dense_projector(Phi, lam)) <= rounding(Phi, 1.0)
    np.testing.assert_allclose(P, P.T, rtol=0, atol=rounding(Phi, 1.0))
    spectrum = np.linalg.eigvalsh(P)
    assert spectrum[0] >= -rounding(Phi, 1.0) and spectrum[-1] < 1.0
    np.testing.assert_allclose(M.apply_projector(Phi, V), P @ V, rtol=0, atol=rounding(Phi, 4.0))
    top = M.lift(Phi)[: Phi.shape[0]]
    np.testing.assert_allclose(top @ top.T, P, rtol=0, atol=rounding(Phi, 1.0))
    found = M.projector(torch.from_numpy(Phi))
    np.testing.assert_allclose(found.numpy(), P, rtol=0, atol=rounding(Phi, 1.0))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_riemannian_gradient_is_minus_m_phi(name, lam, kind):
    """B3, exactly: -Y Y^T Phi. The error is that of the Euclidean gradient, magnified by S and G, kappa each."""
    M, Phi, _, _, kappa = sample(name, lam)
    Y = targets(Phi)
    found = M.euclidean_to_riemannian_gradient(both(Phi, kind), both(euclidean_gradient(Phi, Y, lam), kind))
    size = np.sum(Y * Y) * math.sqrt(lam * kappa)
    np.testing.assert_allclose(np.asarray(found), -Y @ (Y.T @ Phi), rtol=0, atol=rounding(Phi, kappa**2) * size)


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_gradient_represents_the_differential(name, lam):
    """g(grad, D) = d/dt f(Phi + t D), for any E in place of the gradient: <E, D>."""
    M, Phi, D, _, kappa = sample(name, lam)
    E = targets(Phi, 3, Phi.shape[1])
    grad = M.euclidean_to_riemannian_gradient(Phi, E)
    expected = float(np.vdot(E, D))
    bound = rounding(Phi, kappa) * np.linalg.norm(E) * np.linalg.norm(D)
    assert float(M.inner_product(Phi, grad, D)) == pytest.approx(expected, rel=0, abs=bound)


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_hessian_of_the_value_along_geodesics(name, lam):
    """g(Hess D, D) = d^2/dt^2 f(exp t D), differences with h = 1e-3 / sqrt(kappa), extrapolated: truncation h^4."""
    M, Phi, D, E, kappa = sample(name, lam)
    Y = targets(Phi)
    hessian = {}
    for i, V in enumerate((D, E)):
        gradient = euclidean_gradient(Phi, Y, lam)
        hessian[i] = M.euclidean_to_riemannian_hessian(Phi, gradient, euclidean_hessian(Phi, Y, lam, V), V)
        second = [central(lambda t, V=V: value(M.exp(Phi, t * V), Y, lam), h / math.sqrt(kappa)) for h in (2e-2, 1e-2)]
        found, size = float(M.inner_product(Phi, hessian[i], V)), np.sum(Y * Y)
        assert found == pytest.approx((4 * second[1] - second[0]) / 3, rel=0, abs=1e-6 * size * kappa)
    crossed = float(M.inner_product(Phi, hessian[0], E)), float(M.inner_product(Phi, hessian[1], D))
    assert crossed[0] == pytest.approx(crossed[1], rel=0, abs=rounding(Phi, kappa**2) * np.sum(Y * Y))


def central(function, h) -> float:
    return (function(h) - 2 * function(0.0) + function(-h)) / h**2


@pytest.mark.parametrize(("name", "lam"), CASES)
def test_the_hessian_is_the_derivative_of_minus_m_phi(name, lam):
    """Hess D = -M D + Gamma(D, -M Phi) with Gamma(A, B) = -(A G^-1 Phi^T B + B G^-1 Phi^T A), dense."""
    M, Phi, D, _, kappa = sample(name, lam)
    Y = targets(Phi)
    G, grad = Phi.T @ Phi + lam * np.eye(Phi.shape[1]), -Y @ (Y.T @ Phi)
    expected = -Y @ (Y.T @ D) - D @ np.linalg.solve(G, Phi.T @ grad) - grad @ np.linalg.solve(G, Phi.T @ D)
    gradient, hessian = euclidean_gradient(Phi, Y, lam), euclidean_hessian(Phi, Y, lam, D)
    found = M.euclidean_to_riemannian_hessian(Phi, gradient, hessian, D)
    size = np.sum(Y * Y) * np.linalg.norm(D)
    np.testing.assert_allclose(found, expected, rtol=0, atol=rounding(Phi, kappa**2) * size)


def test_critical_points_are_maxima():
    """B4. Phi^T Y = 0: the gradient vanishes, the value is 1/2 |Y|^2, the largest there is; elsewhere neither."""
    Q, lam = orthogonal(7, 3), 0.3
    Y, M = Q[:, :2] * [2.0, 0.5], RegularizedGrassmann(7, 3, lam)
    rng = np.random.default_rng(0)
    for Phi in (Q[:, 2:5], Q[:, 2:3] @ np.ones((1, 3)), np.zeros((7, 3)), Q[:, 2:] @ rng.standard_normal((5, 3))):
        gradient = M.euclidean_to_riemannian_gradient(Phi, euclidean_gradient(Phi, Y, lam))
        assert float(M.norm(Phi, gradient)) <= 1e-13
        assert float(M.value_forms(Phi, Y).kernel) == pytest.approx(0.5 * np.sum(Y * Y), rel=1e-14)
        for _ in range(5):
            other = Phi + M.random_tangent_vector(Phi, rng)
            assert float(M.value_forms(other, Y).kernel) < 0.5 * np.sum(Y * Y)
            gradient = M.euclidean_to_riemannian_gradient(other, euclidean_gradient(other, Y, lam))
            assert float(M.norm(other, gradient)) > 1e-3


def test_the_flow_is_linear_and_keeps_the_rank():
    """B3, B4. Phi(t) = exp(M t) Phi0 solves Phi' = -grad: by differences; the value falls to 1/2 sum_{i > rho} mu_i."""
    Q, mu, lam = orthogonal(6, 1), np.array([3.0, 2.0, 1.0, 0.1]), 0.2
    Y, M = Q[:, :4] * np.sqrt(mu), RegularizedGrassmann(6, 3, lam)
    for rank in (1, 2, 3):
        rng = np.random.default_rng(rank)
        start = rng.standard_normal((6, rank)) @ rng.standard_normal((rank, 3))
        flow = [Q * np.exp(t * np.r_[mu, 0, 0]) @ Q.T @ start for t in (0.1 - 1e-6, 0.1, 0.1 + 1e-6, 8.0)]
        slope = (flow[2] - flow[0]) / 2e-6
        gradient = M.euclidean_to_riemannian_gradient(flow[1], euclidean_gradient(flow[1], Y, lam))
        np.testing.assert_allclose(slope, -gradient, rtol=0, atol=1e-8 * np.linalg.norm(gradient))
        assert float(M.value_forms(flow[3], Y).augmented) == pytest.approx(0.5 * mu[rank:].sum(), rel=1e-4)


@pytest.mark.parametrize("lam", [1e-6, 1e-2, 1.0, 1e3])
def test_the_gradient_is_bounded(lam):
    """B5. |-R C^T| <= 3 sqrt(3) / 16 |Y|^2 / sqrt(lam), attained for one output at Phi = sqrt(lam / 3) y / |y|."""
    bound = 3 * math.sqrt(3) / 16
    for name, (m, n, change) in POINTS.items():
        for seed in range(5):
            rng = np.random.default_rng(seed)
            for size in (0.1, 0.5, 1.0, 10.0):
                Phi = change(size * math.sqrt(lam) * rng.standard_normal((m, n)))
                Y = rng.standard_normal((m, 2))
                found = np.linalg.norm(euclidean_gradient(Phi, Y, lam))
                assert found <= bound * np.sum(Y * Y) / math.sqrt(lam) * (1 + 100 * EPS), name
    y = np.random.default_rng(0).standard_normal((5, 1))
    Phi = math.sqrt(lam / 3) * y / np.linalg.norm(y)
    attained = np.linalg.norm(euclidean_gradient(Phi, y, lam)) * math.sqrt(lam) / np.sum(y * y)
    assert attained == pytest.approx(bound, rel=1e-13)


def test_value_is_smooth_where_the_rank_drops():
    """B6. Along [a, a + t b] the four forms differ from their value at t = 0 by O(t^2) or O(t), no jump."""
    rng = np.random.default_rng(0)
    a, b, Y, lam = rng.standard_normal((6, 1)), rng.standard_normal((6, 1)), rng.standard_normal((6, 2)), 0.1
    M = RegularizedGrassmann(6, 2, lam)
    values = [np.array(M.value_forms(np.c_[a, a + t * b], Y), dtype=float) for t in (0.0, 1e-3, 1e-6, 1e-9, 1e-12)]
    for t, found in zip((1e-3, 1e-6, 1e-9, 1e-12), values[1:], strict=True):
        np.testing.assert_allclose(found, values[0], rtol=0, atol=10 * t + 1e-13)
