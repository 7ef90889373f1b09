"""Limit kernels against quadrature, and the order of convergence in the width."""

import math

import mpmath as mp
import numpy as np
import pytest
from scipy.special import erf

from grassvp.theory import kernels
from grassvp.theory.kernels import KERNELS, kernel_value, limit_kernel, random_features, width_study

SIGMA = {"erf": erf, "relu": lambda z: np.maximum(z, 0.0)}


def polar_expectation(sigma, S):
    """E sigma(u) sigma(v) for the 2 x 2 covariance S by the trapezoidal rule in angle and Gauss-Laguerre in r^2 / 2."""
    L = np.linalg.cholesky(S)
    angle = (np.arange(20000) + 0.5) * 2 * np.pi / 20000
    u, v = L @ np.array([np.cos(angle), np.sin(angle)])
    s, weights = np.polynomial.laguerre.laggauss(60)
    r = np.sqrt(2 * s)[:, None]
    return float(np.sum(weights * np.mean(sigma(r * u) * sigma(r * v), axis=1)))


@pytest.mark.parametrize(("activation", "accuracy"), [("erf", 1e-6), ("relu", 1e-8)])
@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_is_the_expectation_by_quadrature(seed, activation, accuracy):
    x = 0.6 * np.random.default_rng(seed).standard_normal((3, 2))
    K = limit_kernel(x, activation=activation, weight_scale=0.8, bias_scale=0.5)
    S = 0.64 * x @ x.T + 0.25
    for i, j in [(0, 1), (1, 2), (0, 2)]:
        assert K[i, j] == pytest.approx(polar_expectation(SIGMA[activation], S[np.ix_([i, j], [i, j])]), abs=accuracy)
    assert np.linalg.eigvalsh(K)[0] > -1e-12
    if activation == "relu":
        assert np.allclose(np.diag(K), np.diag(S) / 2, rtol=1e-14)


def test_close_inputs_keep_their_digits():
    """1 - K_xy / sqrt(K_xx K_yy) of two inputs 1e-6 apart; the arc cosine of the cosine would lose it."""
    x = np.array([[1.0, 0.0], [1.0, 1e-6]])
    K = limit_kernel(x, activation="relu", bias_scale=0.0)
    with mp.workdps(50):
        a = mp.atan(mp.mpf(x[1, 1]))
        length = mp.sqrt(1 + mp.mpf(x[1, 1]) ** 2)
        exact = length * (mp.sin(a) + (mp.pi - a) * mp.cos(a)) / (2 * mp.pi)
    assert abs(K[0, 1] - float(exact)) <= 4e-16


def test_features_and_values_by_their_definitions():
    x, Y = np.array([[0.3], [1.0], [-0.4]]), np.array([[1.0], [0.0], [2.0]])
    for activation in KERNELS:
        Phi = random_features(x, 200000, activation=activation, weight_scale=0.7, bias_scale=0.4, rng=0)[0]
        assert (
            np.abs(Phi @ Phi.T - limit_kernel(x, activation=activation, weight_scale=0.7, bias_scale=0.4)).max() < 5e-3
        )
    C = np.linalg.solve(Phi.T[:40] @ Phi[:, :40] + 0.3 * np.eye(40), Phi.T[:40] @ Y)
    ridge = 0.5 * np.sum((Y - Phi[:, :40] @ C) ** 2) + 0.15 * np.sum(C**2)
    assert kernel_value(Phi[:, :40] @ Phi[:, :40].T, Y, 0.3) == pytest.approx(ridge, rel=1e-12)


def data(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((4, 2)), rng.standard_normal(4)


@pytest.mark.parametrize("activation", KERNELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_orders_in_the_width(seed, activation):
    study = width_study(*data(seed), regularization=1.0, activation=activation, widths=[128, 256, 512, 1024], rng=seed)
    first, second = study.fluctuation_order, study.bias_order
    assert abs(first.slope + 0.5) <= max(0.08, 3 * first.error)
    assert abs(second.slope + 1.0) <= max(0.1, 3 * second.error)
    assert first.error < 0.05 and second.error < 0.05
    assert (study.biases > 0).all()
    assert first.interval[0] < first.slope < first.interval[1]
    assert "fluctuation" in repr(study)


def test_the_correction_has_the_mean_of_the_difference():
    study = width_study(*data(0), regularization=1.0, widths=[8, 16], draws=2000)
    plain = study.values - study.limit
    errors = plain.std(axis=1) / math.sqrt(plain.shape[1])
    assert (np.abs(plain.mean(axis=1) - study.biases) <= 4 * errors).all()
    assert (study.corrected.std(axis=1) < plain.std(axis=1)).all()


def test_the_same_seed_gives_the_same_study():
    first, again, other = (width_study(*data(0), regularization=1.0, draws=5, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


@pytest.mark.parametrize("activation", KERNELS)
def test_a_wrong_limit_kernel_is_noticed(activation, monkeypatch):
    right = kernels.limit_kernel
    monkeypatch.setattr(kernels, "limit_kernel", lambda *a, **k: 1.05 * right(*a, **k))
    study = width_study(*data(0), regularization=1.0, activation=activation, widths=[256, 512, 1024, 4096], draws=200)
    assert abs(study.fluctuation_order.slope + 0.5) > 0.08


def test_a_wrong_scale_of_the_features_is_noticed(monkeypatch):
    right = kernels.random_features
    monkeypatch.setattr(kernels, "random_features", lambda x, n, **k: right(x, n, **k) * n**-0.1)
    study = width_study(*data(0), regularization=1.0)
    assert abs(study.fluctuation_order.slope + 0.5) > 0.08


def test_bad_arguments_are_named():
    x, y = data(0)
    for change, name in [
        ({"regularization": 0.0}, "regularization"),
        ({"widths": [8]}, "widths"),
        ({"activation": "tanh"}, "activation"),
        ({"draws": 1}, "draws"),
        ({"weight_scale": -1.0}, "weight_scale"),
    ]:
        with pytest.raises(ValueError, match=name):
            width_study(x, y, **({"regularization": 1.0} | change))
    with pytest.raises(ValueError, match="targets"):
        width_study(x, y[:3], regularization=1.0)
    with pytest.raises(ValueError, match="kernel must be a symmetric"):
        kernel_value(np.arange(16.0).reshape(4, 4), y, 1.0)
    with pytest.raises(ValueError, match="kernel must be positive"):
        kernel_value(-9 * np.eye(4), y, 1.0)
