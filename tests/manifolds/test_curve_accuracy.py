"""exp, log and parallel transport against mpmath and the projector representation, and never worse than pymanopt's.

Bounds are `rounding`, 2 eps sqrt(m n), times the conditioning: 1 + |D| for exp, |H| (1 + |D|) for the transport of H,
and x / sin x over sums x of two angles for log, by which a rounding of the end grows when both approach pi/2.
"""

import math
import warnings

import numpy as np
import pymanopt.manifolds
import pytest
import torch

from manifolds import Grassmann
from tests.manifolds import oracles
from tests.manifolds.samples import EPS, both, geodesic_pair, log_condition, orthogonal, random_vector
from tests.manifolds.test_accuracy import CASES, EPS32, rounding

DELTAS = [10.0**-k for k in range(1, 15)]
VECTORS = {name: angles for name, angles in CASES.items() if "right" not in name} | {
    "zero": [0.0, 0.0],
    "beyond the cut locus": [0.5, 2.0, 3.0],
    "several turns": [1.0, 7.0, 25.0],
    "tiny": [1e-200, 1e-170],
    "very mixed": [1e-160, 1e-8, 3.1],
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", VECTORS)
def test_exp_against_both_references(case, dtype):
    X, D, _ = (A.astype(dtype) for A in geodesic_pair(VECTORS[case], 9, 0))
    eps = EPS if dtype == np.float64 else EPS32
    F = oracles.frame(X)
    expected = oracles.exp(F, D)
    Y = Grassmann(*X.shape).exp(X, D)
    size = 1 + np.linalg.norm(D)
    assert Y.dtype == dtype
    assert oracles.point_error(Y, expected) <= rounding(X, eps) * size
    assert oracles.error(oracles.projector(expected), oracles.exp_projector(F, D)) <= 1e-40 * size
    assert oracles.error(oracles.product(Y.T, Y), np.eye(X.shape[1])) <= rounding(X, eps)
    if dtype == np.float64:
        theirs = oracles.point_error(pymanopt.manifolds.Grassmann(*X.shape).exp(X, D), expected)
        assert oracles.point_error(Y, expected) <= max(theirs, 8 * EPS * size)


@pytest.mark.parametrize("case", [name for name, angles in CASES.items() if max(angles) < math.pi / 2])
@pytest.mark.parametrize("seed", range(2))
def test_log_against_mpmath(case, seed):
    X, _, Y = geodesic_pair(CASES[case], 9, seed)
    M, expected = Grassmann(*X.shape), oracles.log(oracles.frame(X), oracles.frame(Y))
    D = M.log(X, Y)
    ours = oracles.error(D, expected)
    assert ours <= rounding(X) * log_condition(CASES[case])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = oracles.error(pymanopt.manifolds.Grassmann(*X.shape).log(X, Y), expected)
    assert ours <= max(theirs, 8 * EPS * log_condition(CASES[case]))
    assert np.linalg.norm(X.T @ D) <= 4 * EPS * max(1.0, np.linalg.norm(D))


@pytest.mark.parametrize("angles", [[0.3], [0.2, 1.1], [1e-6, 0.5]])
def test_log_against_the_logarithm_of_two_reflections(angles):
    X, _, Y = geodesic_pair(angles, 6, 2)
    F = oracles.frame(X)
    W = oracles.log_generator(F, oracles.frame(Y))
    assert oracles.error(Grassmann(*X.shape).log(X, Y), oracles.product(W, F)) <= rounding(X) * log_condition(angles)


@pytest.mark.parametrize("others", [[], [0.2], [1e-9, 0.7]])
@pytest.mark.parametrize("delta", DELTAS)
def test_log_near_a_right_angle(delta, others):
    """One angle pi/2 - delta: an error of rounding size at every delta; the textbook inverse loses eps / delta."""
    angles = [*others, math.pi / 2 - delta]
    X, D, Y = geodesic_pair(angles, 9, 3)
    M = Grassmann(*X.shape)
    found = M.log(X, Y)
    expected = oracles.log(oracles.frame(X), oracles.frame(Y))
    assert oracles.error(found, expected) <= rounding(X) * log_condition(angles)
    np.testing.assert_allclose(found, D, rtol=0, atol=2 * rounding(X) * log_condition(angles))
    assert float(M.dist(M.exp(X, found), Y)) <= rounding(X)


@pytest.mark.parametrize("delta", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
def test_log_near_two_right_angles(delta):
    """The end is reached to rounding although the vector itself is determined only to eps / delta."""
    angles = [0.4, math.pi / 2 - delta, math.pi / 2 - 2 * delta]
    X, _, Y = geodesic_pair(angles, 9, 3)
    M = Grassmann(*X.shape)
    found = M.log(X, Y)
    assert oracles.error(found, oracles.log(oracles.frame(X), oracles.frame(Y))) <= rounding(X) * log_condition(angles)
    assert float(M.dist(M.exp(X, found), Y)) <= 2 * rounding(X)


@pytest.mark.parametrize("case", CASES)
def test_single_precision_log_and_exp_invert_each_other(case):
    X, _, Y = (A.astype(np.float32) for A in geodesic_pair(CASES[case], 9, 0))
    M = Grassmann(*X.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        D = M.log(X, Y)
    assert D.dtype == np.float32
    assert float(M.dist(M.exp(X, D), Y)) <= rounding(X, EPS32)


@pytest.mark.parametrize("case", [name for name, angles in VECTORS.items() if max(angles) < math.pi / 2])
def test_round_trips(case):
    angles = VECTORS[case]
    X, D, Y = geodesic_pair(angles, 9, 5)
    M = Grassmann(*X.shape)
    np.testing.assert_allclose(M.log(X, M.exp(X, D)), D, rtol=0, atol=2 * rounding(X) * log_condition(angles))
    assert float(M.dist(M.exp(X, M.log(X, Y)), Y)) <= rounding(X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", VECTORS)
def test_parallel_transport_against_the_projector_representation(case, dtype):
    X, D, _ = (A.astype(dtype) for A in geodesic_pair(VECTORS[case], 9, 0))
    eps = EPS if dtype == np.float64 else EPS32
    H = random_vector(X.astype(float), 3).astype(dtype)
    M, F = Grassmann(*X.shape), oracles.frame(X)
    operator = oracles.transported_operator(F, D, H)
    textbook = oracles.parallel_transport(F, D, H)
    size = 1 + np.linalg.norm(D)
    assert oracles.vector_error(oracles.exp(F, D), textbook, operator) <= 1e-40 * size
    moved, end = M.parallel_transport(X, D, H), M.exp(X, D)
    assert moved.dtype == dtype
    assert oracles.vector_error(end, moved, operator) <= 2 * rounding(X, eps) * size
    assert abs(float(M.norm(end, moved)) - float(M.norm(X, H))) <= rounding(X, eps) * size


@pytest.mark.parametrize("case", ["mixed", "clustered 1e-3", "equal 0.7"])
def test_parallel_transport_of_the_direction_and_of_the_other_vectors(case):
    """The direction becomes the velocity, and vectors orthogonal to its columns and rows do not move."""
    X, D, _ = geodesic_pair(CASES[case], 9, 1)
    M = Grassmann(9, 3)
    end = M.exp(X, D)
    # -log only inverts within the injectivity radius; the angles here are below pi/2
    velocity = M.parallel_transport(X, D, D)
    np.testing.assert_allclose(velocity, -M.log(end, X), rtol=0, atol=2 * rounding(X) * log_condition(CASES[case]))
    free = np.linalg.qr(np.c_[X, D / np.linalg.norm(D, axis=0)], mode="complete")[0][:, 6:] @ np.ones((3, 3))
    np.testing.assert_allclose(M.parallel_transport(X, D, free), free, rtol=0, atol=rounding(X) * np.linalg.norm(free))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(100, 20), (1000, 200)])
def test_large_subspaces(shape, kind):
    """Prescribed angles up to 1.2, so that no sum of two passes 2.4: exp, log, transport to 10 eps sqrt(n) in norm."""
    m, n = shape
    angles = np.linspace(1e-6, 1.2, n)
    X, D, Y = geodesic_pair(angles, m, 2)
    H = random_vector(X, 1)
    X, D, Y, H = (both(A, kind) for A in (X, D, Y, H))
    M, atol = Grassmann(m, n), 10 * EPS * math.sqrt(n)
    end = M.exp(X, D)
    assert float(M.dist(end, Y)) <= atol
    assert float(M.norm(X, M.log(X, Y) - D)) <= atol * log_condition(angles)
    assert float(M.norm(X, M.log(X, end) - D)) <= atol * log_condition(angles)
    moved = M.parallel_transport(X, D, H)
    assert float(M.norm(end, moved)) == pytest.approx(1.0, rel=0, abs=atol)
    assert float(M.norm(end, M.parallel_transport(end, -M.parallel_transport(X, D, D), moved) - H)) <= atol


def test_a_thousand_steps_stay_orthonormal():
    """Defects of the representative do not add up: 1,000 steps of exp, then of each retraction."""
    M, X = Grassmann(12, 4), np.linalg.qr(np.random.default_rng(0).standard_normal((12, 4)))[0]
    for method in ("exponential", "polar", "qr", "cayley"):
        Y = X
        for i in range(250):
            Y = M.retraction(Y, random_vector(Y, i, 0.3), method=method)
        assert np.linalg.norm(Y.T @ Y - np.eye(4)) <= 8 * EPS


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_torch_and_numpy_reach_the_reference(kind):
    X, D, Y = geodesic_pair([1e-9, 0.6, 1.3], 9, 6)
    M, F = Grassmann(9, 3), oracles.frame(X)
    end = M.exp(both(X, kind), both(D, kind))
    assert isinstance(end, torch.Tensor if kind == "torch" else np.ndarray)
    assert oracles.point_error(np.asarray(end), oracles.exp(F, D)) <= 2 * rounding(X)
    found = np.asarray(M.log(both(X, kind), both(Y @ orthogonal(3, 8), kind)))
    assert oracles.error(found, oracles.log(F, oracles.frame(Y))) <= rounding(X) * log_condition([1e-9, 0.6, 1.3])
