"""Grassmann: independence of the basis, agreement of numpy and torch, products, curvature, projectors, cut locus."""

import math
import warnings

import numpy as np
import pytest
import torch

from manifolds import CutLocusWarning, Grassmann
from tests.manifolds import oracles
from tests.manifolds.samples import EPS, both, geodesic_pair, orthogonal, random_point, random_vector

METHODS = ["polar", "qr", "cayley", "exponential"]
SHAPES = [(5, 1), (6, 2), (9, 4), (5, 4), (4, 4)]
ATOL = 60 * EPS  # a handful of products of matrices with up to nine rows, norms of at most two


def sample(shape, seed=0):
    """(manifold, X, D, H, Q): a point, two vectors and a rotation of the basis."""
    X = random_point(*shape, seed)
    return Grassmann(*shape), X, random_vector(X, seed + 1), random_vector(X, seed + 2), orthogonal(shape[1], seed + 3)


def same(actual, expected, atol=ATOL):
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=0, atol=atol)


# --- another basis of the same subspace ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES)
def test_points_do_not_depend_on_the_basis(shape, seed):
    """Curves from X Q along D Q: the same end; for all but the QR retraction even the same basis, turned by Q."""
    M, X, D, _, Q = sample(shape, seed)
    same(M.exp(X @ Q, D @ Q), M.exp(X, D) @ Q)
    for method in METHODS:
        turned, straight = M.retraction(X @ Q, D @ Q, method=method), M.retraction(X, D, method=method)
        assert float(M.dist(turned, straight)) <= ATOL
        if method != "qr":
            same(turned, straight @ Q)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_turn_with_the_basis(shape, seed):
    M, X, D, H, Q = sample(shape, seed)
    Y, R = M.exp(X, 0.9 * D) @ orthogonal(shape[1], 8), orthogonal(shape[1], 9)
    same(M.log(X @ Q, Y @ R), M.log(X, Y) @ Q)
    for method in METHODS:
        same(M.inverse_retraction(X @ Q, Y @ R, method=method), M.inverse_retraction(X, Y, method=method) @ Q)
    same(M.transport(X @ Q, Y @ R, H @ Q), M.transport(X, Y, H) @ R)
    same(M.parallel_transport(X @ Q, D @ Q, H @ Q), M.parallel_transport(X, D, H) @ Q)
    Z = np.random.default_rng(4).standard_normal(shape)
    same(M.projection(X @ Q, Z @ Q), M.projection(X, Z) @ Q)
    same(M.euclidean_to_riemannian_gradient(X @ Q, Z @ Q), M.euclidean_to_riemannian_gradient(X, Z) @ Q)
    hessians = [M.euclidean_to_riemannian_hessian(X @ P, Z @ P, 2 * Z @ P, D @ P) for P in (Q, np.eye(shape[1]))]
    same(hessians[0], hessians[1] @ Q)


@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_do_not_depend_on_the_basis(shape):
    M, X, D, H, Q = sample(shape)
    Y = M.exp(X, D)
    assert float(M.dist(X @ Q, Y @ orthogonal(shape[1], 8))) == pytest.approx(float(M.dist(X, Y)), abs=ATOL)
    assert float(M.inner_product(X @ Q, D @ Q, H @ Q)) == pytest.approx(float(M.inner_product(X, D, H)), abs=ATOL)
    if M.dim > 1:
        turned, straight = M.sectional_curvature(X @ Q, D @ Q, H @ Q), M.sectional_curvature(X, D, H)
        assert float(turned) == pytest.approx(float(straight), abs=ATOL)


def test_a_rotation_of_space_moves_everything_with_it():
    M, X, D, H, _ = sample((7, 3))
    S = orthogonal(7, 11)
    Y = M.exp(X, D)
    same(M.exp(S @ X, S @ D), S @ Y)
    same(M.log(S @ X, S @ Y), S @ M.log(X, Y))
    same(M.transport(S @ X, S @ Y, S @ H), S @ M.transport(X, Y, H))
    same(M.parallel_transport(S @ X, S @ D, S @ H), S @ M.parallel_transport(X, D, H))
    assert float(M.sectional_curvature(S @ X, S @ D, S @ H)) == pytest.approx(float(M.sectional_curvature(X, D, H)))


# --- retractions and transports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_retractions_start_at_the_point_and_have_inverses(shape, method):
    M, X, D, _, Q = sample(shape)
    assert float(M.dist(M.retraction(X, 0 * D, method=method), X)) <= 1e-15
    for size in (1e-12, 1e-4, 0.5, 1.5):
        Y = M.retraction(X, size * D, method=method)
        same(Y.T @ Y, np.eye(shape[1]))
        # tan magnifies: at angle arctan s by 1 + s^2
        same(M.inverse_retraction(X, Y @ Q, method=method), size * D, (1 + size**2) * ATOL)


def test_retractions_by_their_definitions():
    """Polar and QR span X + D; Cayley is (I - W/2)^-1 (I + W/2) X with W = D X^T - X D^T."""
    M, X, D, _, _ = sample((8, 3))
    D = 1.7 * D
    same(M.retraction(X, D, method="polar"), np.linalg.svd(X + D, full_matrices=False)[0] @ svd_right(X + D))
    Q, R = np.linalg.qr(X + D)
    same(M.retraction(X, D, method="qr"), Q * np.sign(np.diag(R)))
    W, eye = D @ X.T - X @ D.T, np.eye(8)
    same(M.retraction(X, D, method="cayley"), np.linalg.solve(eye - W / 2, (eye + W / 2) @ X))
    same(M.retraction(X, D, method="exponential"), M.exp(X, D))
    same(M.retraction(X, D), M.retraction(X, D, method="polar"), 0)


def svd_right(A):
    return np.linalg.svd(A, full_matrices=False)[2]


@pytest.mark.parametrize("angles", [[0.3, 1.2], [2.0, 3.0]])
def test_long_vectors_of_the_cayley_retraction(angles):
    """sigma = 2 tan(theta / 2) reaches every angle below pi; the inverse gives the shorter way."""
    X, D, _ = geodesic_pair(2 * np.tan(np.array(angles) / 2), 9, 1)
    _, T, _ = geodesic_pair(angles, 9, 1)
    M = Grassmann(9, 2)
    assert float(M.dist(M.retraction(X, D, method="cayley"), M.exp(X, T))) <= ATOL
    back = M.inverse_retraction(X, M.exp(X, T), method="cayley")
    assert float(M.dist(M.retraction(X, back, method="cayley"), M.exp(X, T))) <= ATOL


def test_transport_is_projection_where_the_bases_are_aligned_and_follows_the_basis_elsewhere():
    M, X, D, H, Q = sample((9, 4))
    Y = M.retraction(X, D)
    same(M.transport(X, Y, H), H - Y @ (Y.T @ H))
    same(M.transport(X, Y @ Q, H), M.transport(X, Y, H) @ Q)
    same(M.transport(X, X @ Q, H), H @ Q)


@pytest.mark.parametrize("method", METHODS)
def test_transport_approaches_parallel_transport(method):
    """The difference, compared at one basis, is of second order in the way."""
    M, X, D, H, _ = sample((9, 4))
    differences = []
    for t in (1e-2, 5e-3):
        end = M.exp(X, t * D)
        Y = M.retraction(X, t * D, method=method)
        turn = np.linalg.svd(Y.T @ end)
        moved = M.transport(X, Y, H) @ turn[0] @ turn[2]
        differences.append(np.linalg.norm(M.projection(end, moved) - M.parallel_transport(X, t * D, H)))
    assert differences[1] <= differences[0] / 3.5 <= 1e-4


# --- curvature -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 1), (6, 1), (6, 2), (9, 4), (5, 3)])
def test_curvature_is_that_of_the_commutators(shape):
    for seed in range(4):
        M, X, D, H, _ = sample(shape, seed)
        expected = float(oracles.curvature(oracles.frame(X), D, H))
        assert float(M.sectional_curvature(X, 3 * D, H - 5 * D)) == pytest.approx(expected, rel=0, abs=ATOL)
        assert 0.0 <= expected <= 2.0 + ATOL


def test_known_curvatures():
    """Lines: 1. Planes in R^4: 2 at most, attained by a complex structure, and 0 for vectors that commute."""
    M, X, D, H, _ = sample((6, 1))
    assert float(M.sectional_curvature(X, D, H)) == pytest.approx(1.0, abs=ATOL)
    X, Z = np.eye(4)[:, :2], np.zeros((2, 2))
    planes = {
        2.0: (np.diag([1.0, 1.0]), np.array([[0.0, -1.0], [1.0, 0.0]])),
        0.0: (np.diag([1.0, 0.0]), np.diag([0.0, 1.0])),
        1.0: (np.diag([1.0, 0.0]), np.array([[0.0, 1.0], [0.0, 0.0]])),
    }
    for value, (u, v) in planes.items():
        found = Grassmann(4, 2).sectional_curvature(X, np.r_[Z, u], np.r_[Z, v])
        assert float(found) == pytest.approx(value, abs=4 * EPS)


def test_curvature_from_the_angle_defect_of_a_thin_triangle():
    """log(exp u, exp v) is shorter than v - u by 1/6 K |u ^ v|^2 / |u - v|, to leading order."""
    M, X, D, H, _ = sample((7, 3), 5)
    t = 1e-2
    plane = float(np.vdot(D, D) * np.vdot(H, H) - np.vdot(D, H) ** 2)
    side = float(M.dist(M.exp(X, t * D), M.exp(X, t * H)))
    defect = t**2 * float(np.vdot(D - H, D - H)) - side**2
    assert 3 * defect / (t**4 * plane) == pytest.approx(float(M.sectional_curvature(X, D, H)), rel=2e-3)


def test_curvature_in_every_kind_and_of_dependent_vectors():
    M, X, D, H, _ = sample((6, 2))
    found = M.sectional_curvature(*(torch.from_numpy(A) for A in (X, D, H)))
    assert float(found) == pytest.approx(float(M.sectional_curvature(X, D, H)), abs=ATOL)
    assert float(M.sectional_curvature(X, 1e-160 * D, 1e160 * H)) == pytest.approx(float(found), abs=ATOL)
    for v in (D, -2 * D, 0 * D, D * (1 + 1e-15)):
        with pytest.raises(ValueError, match=r"\bv\b|u and v"):
            M.sectional_curvature(X, D, v)


# --- products, kinds, projectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_product_is_a_loop_over_its_factors(kind):
    k, (m, n) = 3, (7, 2)
    M, P = Grassmann(m, n), Grassmann(m, n, k=k)
    X, D, H = (np.stack([sample((m, n), i)[j] for i in range(k)]) for j in (1, 2, 3))
    Y = np.stack([M.exp(X[i], D[i]) @ orthogonal(n, i) for i in range(k)])
    Z = np.random.default_rng(0).standard_normal((k, m, n))
    Xk, Dk, Hk, Yk, Zk = (both(A, kind) for A in (X, D, H, Y, Z))
    results = {
        "exp": (P.exp(Xk, Dk), [M.exp(*a) for a in zip(X, D, strict=True)]),
        "log": (P.log(Xk, Yk), [M.log(*a) for a in zip(X, Y, strict=True)]),
        "transport": (P.transport(Xk, Yk, Hk), [M.transport(*a) for a in zip(X, Y, H, strict=True)]),
        "parallel": (P.parallel_transport(Xk, Dk, Hk), [M.parallel_transport(*a) for a in zip(X, D, H, strict=True)]),
        "projection": (P.projection(Xk, Zk), [M.projection(*a) for a in zip(X, Z, strict=True)]),
        "pair mean": (P.pair_mean(Xk, Yk), [M.pair_mean(*a) for a in zip(X, Y, strict=True)]),
        "projector": (P.to_projector(Xk), [M.to_projector(x) for x in X]),
    }
    for method in METHODS:
        single = [M.retraction(*a, method=method) for a in zip(X, D, strict=True)]
        results[method] = (P.retraction(Xk, Dk, method=method), single)
    for found, expected in results.values():
        same(found, np.stack(expected))
    inner = sum(float(M.inner_product(*a)) for a in zip(X, D, H, strict=True))
    assert float(P.inner_product(Xk, Dk, Hk)) == pytest.approx(inner, abs=ATOL)
    assert float(P.norm(Xk, Dk)) == pytest.approx(math.sqrt(k), abs=ATOL)
    assert P.dim == k * M.dim and P.typical_dist == pytest.approx(math.sqrt(n * k))


def test_curvature_of_a_product():
    """0 for vectors in different factors, that of the factor for vectors in one."""
    M, X, D, H, _ = sample((7, 2))
    P, XX, zero = Grassmann(7, 2, k=2), np.stack([X, X]), 0 * D
    assert float(P.sectional_curvature(XX, np.stack([D, zero]), np.stack([zero, H]))) == pytest.approx(0, abs=ATOL)
    one = float(P.sectional_curvature(XX, np.stack([D, zero]), np.stack([H, zero])))
    assert one == pytest.approx(float(M.sectional_curvature(X, D, H)), abs=ATOL)
    # (D, D) and (H, H): the numerators add up, 2 K, and so do the squared lengths, 4
    two = float(P.sectional_curvature(XX, np.stack([D, D]), np.stack([H, H])))
    assert two == pytest.approx(float(M.sectional_curvature(X, D, H)) / 2, abs=ATOL)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_projectors_and_points(kind, dtype):
    for shape in SHAPES:
        M, X = Grassmann(*shape), both(random_point(*shape).astype(dtype), kind)
        P = M.to_projector(X)
        back = M.from_projector(P)
        assert P.shape == (shape[0], shape[0]) and P.dtype == back.dtype == X.dtype
        assert M.is_point(back)
        assert float(M.dist(back, X)) <= 60 * (EPS if dtype == np.float64 else 2.0**-23)
    k3 = Grassmann(5, 2, k=3)
    points = k3.random_point(0)
    assert float(k3.dist(k3.from_projector(k3.to_projector(points)), points)) <= ATOL


# --- the cut locus ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("angles", [[math.pi / 2], [0.3, math.pi / 2], [math.pi / 2] * 3, [0.0, math.pi / 2, 1.0]])
def test_the_cut_locus_is_announced_and_log_still_arrives(angles, kind):
    X, _, Y = geodesic_pair(angles, 9, 2)
    M = Grassmann(*X.shape)
    X, Y = both(X, kind), both(Y, kind)
    with pytest.warns(CutLocusWarning, match="right angle"):
        D = M.log(X, Y)
    assert float(M.dist(M.exp(X, D), Y)) <= ATOL
    assert float(M.norm(X, D)) == pytest.approx(np.linalg.norm(angles), abs=ATOL)
    with pytest.raises(ValueError, match="end"):
        M.inverse_retraction(X, Y)


def test_exactly_orthogonal_subspaces():
    M, X, Y = Grassmann(6, 3), np.eye(6)[:, :3], np.eye(6)[:, 3:]
    with pytest.warns(CutLocusWarning):
        D = M.log(X, Y)
    assert float(M.dist(M.exp(X, D), Y)) <= ATOL
    assert float(M.dist(X, Y)) == pytest.approx(math.pi / 2 * math.sqrt(3), abs=4 * EPS)


def test_no_warning_short_of_the_cut_locus():
    for delta in (1e-14, 1e-8, 0.1):
        X, _, Y = geodesic_pair([0.4, math.pi / 2 - delta], 9, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Grassmann(9, 2).log(X, Y)
