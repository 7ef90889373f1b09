"""Views, column-major, read-only and differentiable arrays give what a plain copy gives; extreme scales stay finite."""

import math
import warnings

import numpy as np
import pytest
import torch

from manifolds import CutLocusWarning, Grassmann, RegularizedGrassmann
from tests.manifolds.samples import EPS, geodesic_pair, random_point, random_vector

MANIFOLDS = {
    "Grassmann": (Grassmann(6, 3), random_point(6, 3), random_vector(random_point(6, 3), 1, 0.7)),
    "product": (
        Grassmann(6, 3, k=2),
        np.stack([random_point(6, 3, i) for i in range(2)]),
        np.stack([random_vector(random_point(6, 3, i), i, 0.7) for i in range(2)]),
    ),
    "regularised": (
        RegularizedGrassmann(6, 3, 0.5),
        np.random.default_rng(0).standard_normal((6, 3)),
        0.1 * np.random.default_rng(1).standard_normal((6, 3)),
    ),
}


def strided(A):
    wide = np.zeros((*A.shape[:-1], 2 * A.shape[-1]))
    wide[..., ::2] = A
    return wide[..., ::2]


def read_only(A):
    A = A.copy()
    A.flags.writeable = False
    return A


LAYOUTS = {
    "strided": strided,
    "column-major": lambda A: A.swapaxes(-1, -2).copy().swapaxes(-1, -2),
    "reversed": lambda A: A[..., ::-1, :].copy()[..., ::-1, :],
    "read-only": read_only,
    "torch with gradient": lambda A: torch.from_numpy(A.copy()).requires_grad_(),
    "torch view": lambda A: torch.from_numpy(np.ascontiguousarray(A.swapaxes(-1, -2))).mT,
}


def results(M, x, v):
    """One call of every method, as numpy arrays."""
    y = M.exp(x, v)
    found = [y, M.log(x, y), M.dist(x, y), M.norm(x, v), M.inner_product(x, v, v), M.projection(x, v)]
    found += [M.transport(x, y, v), M.parallel_transport(x, v, v), M.retraction(x, v), M.pair_mean(x, y)]
    found += [M.euclidean_to_riemannian_gradient(x, v), M.euclidean_to_riemannian_hessian(x, v, v, v)]
    found += [M.retraction(x, v, method="polar"), M.zero_vector(x), M.sectional_curvature(x, v, M.projection(x, y))]
    return [np.asarray(f.detach() if isinstance(f, torch.Tensor) else f) for f in found]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", MANIFOLDS)
def test_layouts(name, layout):
    M, x, v = MANIFOLDS[name]
    for found, expected in zip(results(M, LAYOUTS[layout](x), LAYOUTS[layout](v)), results(M, x, v), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=500 * EPS * max(1.0, np.abs(expected).max()))


def test_one_factor_at_the_cut_locus_of_a_product():
    pairs = [geodesic_pair(angles, 7, i) for i, angles in enumerate(([0.3, 0.1], [0.2, math.pi / 2]))]
    X, Y = (np.stack([p[i] for p in pairs]) for i in (0, 2))
    M = Grassmann(7, 2, k=2)
    with pytest.warns(CutLocusWarning):
        D = M.log(X, Y)
    assert float(M.dist(M.exp(X, D), Y)) <= 40 * EPS
    np.testing.assert_allclose(D[0], Grassmann(7, 2).log(X[0], Y[0]), rtol=0, atol=40 * EPS)


def test_the_cut_locus_warning_points_at_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Grassmann(2, 1).log(np.array([[1.0], [0.0]]), np.array([[0.0], [1.0]]))
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-160, 1e-30])
def test_vanishing_vectors(size):
    """No division by zero: exp is the point, transport the identity, and the norm is that of the vector."""
    M, x, v = MANIFOLDS["Grassmann"]
    tiny = size * v
    assert float(M.norm(x, tiny)) == pytest.approx(0.7 * size, rel=1e-12, abs=0)
    for method in ("polar", "qr", "cayley", "exponential"):
        assert float(M.dist(M.retraction(x, tiny, method=method), x)) <= 1e-15
    np.testing.assert_allclose(M.parallel_transport(x, tiny, v), v, rtol=0, atol=4 * EPS)
    R, x, v = MANIFOLDS["regularised"]
    assert float(R.norm(x, size * v)) == pytest.approx(size * float(R.norm(x, v)), rel=1e-12, abs=0)
    np.testing.assert_array_equal(R.exp(x, size * v), x + size * v)
    assert R.chart_exit_time(x, size * v) == math.inf


@pytest.mark.parametrize("size", [1e3, 1e8])
def test_long_vectors_turn_many_times_and_stay_on_the_manifold(size):
    """An angle of 1e8 is known to 1e-8: the end is still orthonormal, and off by that much at most."""
    X, D, Y = geodesic_pair([1.0, 0.25], 8, 1)
    M = Grassmann(8, 2)
    turns = 2 * math.pi * round(size / (2 * math.pi)) * 4
    end = M.exp(X, D * (1 + turns))  # angles 1 + turns and 0.25 + turns / 4, both whole turns away
    assert M.is_point(end) and float(M.dist(end, Y)) <= 40 * EPS * turns


def test_small_and_large_regularisation():
    """lam = 1e-200 and 1e200 with Phi of size sqrt(lam): the same numbers as at lam = 1."""
    R, x, v = RegularizedGrassmann(6, 3, 1.0), MANIFOLDS["regularised"][1], MANIFOLDS["regularised"][2]
    for lam in (1e-200, 1e-20, 1e20, 1e200):
        M, c = RegularizedGrassmann(6, 3, lam), math.sqrt(lam)
        assert float(M.norm(c * x, c * v)) == pytest.approx(float(R.norm(x, v)), rel=1e-13)
        assert float(M.dist(c * x, c * (x + v))) == pytest.approx(float(R.dist(x, x + v)), rel=1e-13)
        np.testing.assert_allclose(M.exp(c * x, c * v) / c, R.exp(x, v), rtol=0, atol=1e-13)
        np.testing.assert_allclose(M.log(c * x, c * (x + v)) / c, R.log(x, x + v), rtol=0, atol=1e-13)


def test_nearly_vanishing_regularisation():
    """lam = 1e-14 at full rank: Grassmann's distance and norm, to lam and to rounding times sqrt(kappa)."""
    G, M = Grassmann(7, 3), RegularizedGrassmann(7, 3, 1e-14)
    rng = np.random.default_rng(0)
    A, B, D = (rng.standard_normal((7, 3)) for _ in range(3))
    X, Y = (np.linalg.qr(P)[0] for P in (A, B))
    assert float(M.dist(A, B)) == pytest.approx(float(G.dist(X, Y)), abs=1e-12)
    norm = float(G.norm(X, G.projection(X, D) @ np.linalg.inv(X.T @ A)))
    assert float(M.norm(A, D)) == pytest.approx(norm, rel=1e-12)
    # another basis of the same span: inside span Phi the metric is lam |.|^2 / sigma^4
    assert float(M.dist(A, A @ (np.eye(3) + 0.1 * rng.standard_normal((3, 3))))) <= 1e-6
