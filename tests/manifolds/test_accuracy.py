"""Distances and angles against mpmath on the very floats given, and never worse than pymanopt's.

Where the bounds come from: moving a basis by E changes every angle by at most ||E||_2, so that a product of rounded
(m, n) arrays, which is off by about eps sqrt(m n) entry by entry, cannot give angles nearer than a few eps sqrt(n).
"""

import math

import numpy as np
import pymanopt.manifolds
import pytest
import torch

from manifolds import Grassmann, principal_angles
from manifolds.subspaces import principal_vectors, subspace_distance
from tests.manifolds import oracles
from tests.manifolds.samples import EPS, both, geodesic_pair, orthogonal, random_point

EPS32 = 2.0**-23
DISTANCES = [1e-15, 1e-12, 1e-8, 1e-4, 0.1, math.pi / 4, 1.5, math.pi / 2 - 1e-8, math.pi / 2]
TABLE = {
    "equal 1e-8": [1e-8] * 3,
    "equal 0.7": [0.7] * 3,
    "clustered about pi/4": [math.pi / 4 - 1e-9, math.pi / 4, math.pi / 4 + 1e-9],
    "clustered 1e-3": [1e-3, 1e-3 + 1e-12, 1e-3 + 1e-8],
    "mixed": [1e-12, 1e-4, 1.5],
    "mixed with right angle": [1e-12, 0.5, math.pi / 2],
    "zero and right": [0.0, 0.0, math.pi / 2],
    "near right": [math.pi / 2 - 1e-12, math.pi / 2 - 1e-6, math.pi / 2],
}
CASES = {f"one {d:.3g}": [d] for d in DISTANCES} | {f"three {d:.3g}": [d / math.sqrt(3)] * 3 for d in DISTANCES} | TABLE


def rounding(X, eps=EPS) -> float:
    """2 eps sqrt(m n): two products of (m, n) arrays and one small SVD."""
    return 2 * eps * math.sqrt(X.shape[-2] * X.shape[-1])


def bound(X, distance, eps=EPS) -> float:
    """4 eps sqrt(m n) d, and not less than 0.2 eps sqrt(m n), the rounding of the one product that is projected out."""
    return rounding(X, eps) * 2 * max(distance, 0.05)


def true_angles(X, Y) -> np.ndarray:
    return np.array([float(t) for t in oracles.angles(oracles.frame(X), oracles.frame(Y))])


def true_distance(X, Y) -> float:
    return float(oracles.distance(oracles.frame(X), oracles.frame(Y)))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", CASES)
def test_distance_and_angles_against_mpmath(case, seed):
    X, _, Y = geodesic_pair(CASES[case], 9, seed)
    M, expected = Grassmann(*X.shape), true_angles(X, Y)
    np.testing.assert_allclose(principal_angles(X, Y), expected, rtol=0, atol=rounding(X))
    distance = true_distance(X, Y)
    theirs = abs(pymanopt.manifolds.Grassmann(*X.shape).dist(X, Y) - distance)
    for found in (M.dist(X, Y), M.dist(Y, X), subspace_distance(X, Y)):
        ours = abs(float(found) - distance)
        assert ours <= bound(X, distance)
        assert ours <= max(theirs, 4 * EPS)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_is_accurate_to_its_own_eps(case):
    X, _, Y = (A.astype(np.float32) for A in geodesic_pair(CASES[case], 9, 0))
    dist = Grassmann(*X.shape).dist(X, Y)
    assert str(dist.dtype) == "float32"
    distance = true_distance(X, Y)
    assert abs(float(dist) - distance) <= bound(X, distance, EPS32)
    np.testing.assert_allclose(principal_angles(X, Y), true_angles(X, Y), rtol=0, atol=rounding(X, EPS32))


@pytest.mark.parametrize("exponent", range(-16, 0))
@pytest.mark.parametrize("shape", [(5, 1), (9, 3), (12, 6)])
def test_distance_has_no_hole_between_its_branches(shape, exponent):
    """From 1e-16 to 0.7 the error is that of the data, whatever formula is used there."""
    for factor in (1.0, 3.0, 7.0):
        angles = np.full(shape[1], factor * 10.0**exponent)
        X, _, Y = geodesic_pair(angles, shape[0], exponent + 40)
        distance = true_distance(X, Y)
        assert abs(float(Grassmann(*shape).dist(X, Y)) - distance) <= bound(X, distance)


@pytest.mark.parametrize("total", [0.5 - 1e-12, 0.5, 0.5 + 1e-12, 0.25, 1e-16, 2.0**-52])
def test_distance_where_the_sum_of_squared_sines_is_special(total):
    sines = np.sqrt(total * np.array([0.2, 0.3, 0.5]))
    X, _, Y = geodesic_pair(np.arcsin(sines), 9, 3)
    distance = true_distance(X, Y)
    assert abs(float(Grassmann(9, 3).dist(X, Y)) - distance) <= bound(X, distance)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(3, 1), (3, 3), (20, 8), (200, 50), (300, 200)])
def test_distance_of_a_point_to_itself_is_zero(shape, kind):
    X = random_point(*shape)
    M, Q = Grassmann(*shape), orthogonal(shape[1], 5)
    assert float(M.dist(both(X, kind), both(X.copy(), kind))) == 0.0
    assert float(M.dist(both(X, kind), both(X @ Q, kind))) <= max(1e-15, 0.1 * EPS * math.sqrt(math.prod(shape)))


@pytest.mark.parametrize("n", range(1, 9))
def test_another_basis_of_the_same_span_is_at_distance_below_1e_15(n):
    for m in (n, n + 1, 2 * n + 3):
        for seed in range(5):
            X = random_point(m, n, seed)
            assert float(Grassmann(m, n).dist(X, X @ orthogonal(n, seed + 9))) <= 1e-15


@pytest.mark.parametrize("shape", [(12, 8), (40, 20), (48, 24)])
def test_the_rounding_of_a_rotated_basis_is_measured_and_not_invented(shape):
    """X Q in floats spans another subspace than X, at about eps sqrt(n): dist measures it."""
    X = random_point(*shape)
    Y = X @ orthogonal(shape[1], 3)
    expected = float(oracles.tiny_distance(X, Y))
    assert expected > EPS / 2
    # to a fifth of the rounding eps sqrt(m n) of the product, which the sums in X^T Y also have
    assert abs(float(Grassmann(*shape).dist(X, Y)) - expected) <= 0.2 * EPS * math.sqrt(math.prod(shape))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(100, 20), (400, 100), (1000, 200)])
def test_prescribed_angles_of_large_subspaces(shape, kind):
    """The arrays themselves carry a rounding of eps sqrt(n) or so in norm."""
    m, n = shape
    angles = np.sort(np.r_[1e-12, 1e-8, 1e-4, math.pi / 2, np.linspace(0.01, 1.57, n - 4)])
    X, _, Y = geodesic_pair(angles, m, 1)
    X, Y = both(X, kind), both(Y, kind)
    np.testing.assert_allclose(
        np.asarray(principal_angles(X, Y)), angles, rtol=0, atol=2 * EPS * math.sqrt(n) + 8 * EPS
    )
    distance = np.linalg.norm(angles)
    assert float(Grassmann(m, n).dist(X, Y)) == pytest.approx(distance, rel=0, abs=10 * EPS * math.sqrt(n))


@pytest.mark.parametrize("case", CASES)
def test_principal_vectors_are_orthonormal_pairs(case):
    """F^T F = I, G^T G = I, F^T G = diag(cos angles), and the sines of the pairs are orthogonal: all to rounding."""
    X, _, Y = geodesic_pair(CASES[case], 9, 1)
    angles, F, G = principal_vectors(X, Y)
    eye, atol = np.eye(len(angles)), rounding(X)
    np.testing.assert_allclose(angles, true_angles(X, Y), rtol=0, atol=atol)
    np.testing.assert_allclose(F.T @ F, eye, rtol=0, atol=atol)
    np.testing.assert_allclose(G.T @ G, eye, rtol=0, atol=atol)
    # LAPACK's SVD with vectors leaves off-diagonal entries up to max(10, min(100, eps^(-1/8))) eps = 90 eps
    np.testing.assert_allclose(F.T @ G, np.diag(np.cos(angles)), rtol=0, atol=90 * EPS)
    outside = G - X @ (X.T @ G)
    np.testing.assert_allclose(outside.T @ outside, np.diag(np.sin(angles) ** 2), rtol=0, atol=atol)
    for span, vectors in ((X, F), (Y, G)):
        np.testing.assert_allclose(span @ (span.T @ vectors), vectors, rtol=0, atol=atol)


@pytest.mark.parametrize("metric", ["chordal", "projection", "procrustes"])
@pytest.mark.parametrize("case", CASES)
def test_other_metrics(case, metric):
    X, _, Y = geodesic_pair(CASES[case], 9, 2)
    t = true_angles(X, Y)
    sines = np.linalg.norm(np.sin(t))
    expected = {
        "chordal": sines,
        "projection": np.sin(t).max(),
        "procrustes": 2 * np.linalg.norm(np.sin(t / 2)),
    }[metric]
    assert float(subspace_distance(X, Y, metric=metric)) == pytest.approx(expected, rel=0, abs=rounding(X))
    assert float(subspace_distance(X, X, metric=metric)) == 0.0


def test_product_manifold_adds_squares():
    pairs = [geodesic_pair(angles, 7, i) for i, angles in enumerate(([1e-9, 0.1], [0.3, 1.5], [0.0, math.pi / 2]))]
    X, Y = (np.stack([p[i] for p in pairs]) for i in (0, 2))
    for kind in ("numpy", "torch"):
        found = float(Grassmann(7, 2, k=3).dist(both(X, kind), both(Y, kind)))
        assert found == pytest.approx(
            math.hypot(*(true_distance(a, b) for a, b in zip(X, Y, strict=True))), abs=20 * EPS
        )


@pytest.mark.parametrize("angle", DISTANCES)
def test_torch_agrees_with_mpmath(angle):
    X, _, Y = geodesic_pair([angle, angle / 3], 9, 4)
    found = Grassmann(9, 2).dist(torch.from_numpy(X), torch.from_numpy(Y))
    assert isinstance(found, (torch.Tensor, float))
    distance = true_distance(X, Y)
    assert abs(float(found) - distance) <= bound(X, distance)
