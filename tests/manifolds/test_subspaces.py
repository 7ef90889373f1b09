"""Principal angles against mpmath, for numpy and torch alike."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifolds.subspaces import principal_angles, subspace_distance
from tests.oracles import mp_principal_angles

EPS = float(np.finfo(float).eps)
SMALL = [1e-15, 1e-12, 1e-8, 1e-3, 0.1]
LARGE = [math.pi / 4, 0.8, 1.5, math.pi / 2 - 1e-8, math.pi / 2 - 1e-14, math.pi / 2]


def pair(angles, m=9, seed=0, mix=True):
    """Bases of two subspaces of R^m with given principal angles, through random rotations and column mixtures."""
    p, rng = len(angles), np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((m, m)))[0]
    U = Q[:, :p]
    V = U * np.cos(angles) + Q[:, p : 2 * p] * np.sin(angles)
    if not mix:
        return U, V
    return tuple(M @ (np.eye(p) + 0.3 * rng.standard_normal((p, p))) for M in (U, V))


def condition(*matrices) -> float:
    return max(np.linalg.cond(M) for M in matrices)


@pytest.mark.parametrize("angle", SMALL + LARGE)
def test_one_angle_against_mpmath(angle):
    """Lines and planes: the error is that of the data, a few eps, at both ends of [0, pi/2]."""
    for angles in ([angle], [angle, angle]):
        A, B = pair(angles, mix=False)
        expected = mp_principal_angles(A, B)
        np.testing.assert_allclose(principal_angles(A, B), expected, rtol=4 * EPS, atol=8 * EPS)
        assert abs(expected[0] - angle) < 8 * EPS


def test_a_line_in_the_plane_has_full_relative_accuracy():
    """No rounding in the data: e_1 against (1, t), whose angle is arctan t, down to the smallest t."""
    for t in (1e-300, 1e-100, 1e-20, 1e-15, 1e-8, 0.5, 1.0, 3.0, 1e8):
        found = principal_angles(np.array([[1.0], [0.0]]), np.array([[1.0], [t]]))
        np.testing.assert_allclose(found, [math.atan(t)], rtol=4 * EPS, atol=0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("angles", [[1e-15, 1.5], [1e-12, 1e-3, math.pi / 2], [0.0, 0.7853, 0.7855], [0.3, 0.4, 1.2]])
def test_mixed_angles_against_mpmath(angles, seed):
    A, B = pair(angles, seed=seed)
    found = principal_angles(A, B)
    np.testing.assert_allclose(found, mp_principal_angles(A, B), rtol=0, atol=20 * EPS * condition(A, B))
    np.testing.assert_allclose(found, angles, rtol=0, atol=20 * EPS * condition(A, B))
    assert np.all(np.diff(found) >= -4 * EPS)
    np.testing.assert_allclose(principal_angles(B, A), found, rtol=0, atol=20 * EPS * condition(A, B))


def test_subspaces_of_different_dimension():
    A, B = pair([0.2, 1.1, 1e-9], seed=4)
    for first, second in ((A, B[:, :2]), (A[:, :1], B), (B[:, :2], A)):
        found = principal_angles(first, second)
        assert found.shape == (min(first.shape[1], second.shape[1]),)
        np.testing.assert_allclose(found, mp_principal_angles(first, second), rtol=0, atol=1e-13)
    inside = A @ np.random.default_rng(0).standard_normal((3, 2))
    np.testing.assert_allclose(principal_angles(A, inside), 0.0, atol=1e-13)


def test_columns_of_very_different_size():
    A, B = pair([1e-6, 0.5, 1.0], mix=False)
    graded = B * [1e-9, 1.0, 1e7]
    np.testing.assert_allclose(principal_angles(A, graded), [1e-6, 0.5, 1.0], rtol=0, atol=40 * EPS)


@given(st.lists(st.floats(0, math.pi / 2), min_size=1, max_size=4), st.integers(0, 100))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_prescribed_angles(angles, seed):
    U, V = pair(sorted(angles), seed=seed, mix=False)
    np.testing.assert_allclose(principal_angles(U, V), sorted(angles), rtol=0, atol=40 * EPS)
    assert float(subspace_distance(U, V)) == pytest.approx(math.hypot(*angles, 0.0), abs=100 * EPS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_and_torch_agree_and_answer_in_kind(dtype):
    A, B = (M.astype(dtype) for M in pair([1e-3, 0.6, 1.4]))
    found, torch_found = principal_angles(A, B), principal_angles(torch.from_numpy(A), torch.from_numpy(B))
    assert isinstance(found, np.ndarray) and isinstance(torch_found, torch.Tensor)
    assert found.dtype == dtype and torch_found.dtype == torch.from_numpy(A).dtype
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(torch_found.numpy(), found, rtol=0, atol=40 * eps)
    np.testing.assert_allclose(found, [1e-3, 0.6, 1.4], rtol=0, atol=100 * eps)
    with pytest.raises(TypeError):
        principal_angles(A, torch.from_numpy(B))


def test_distance_of_a_span_to_itself_and_triangle_inequality():
    (U, V), (W, _) = pair([0.1, 0.7, 1.2], mix=False), pair([0.3, 0.3, 0.3], seed=5, mix=False)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    assert float(subspace_distance(U, U)) < 10 * EPS
    assert float(subspace_distance(U, U @ rotation)) < 20 * EPS
    assert float(subspace_distance(U, V)) == pytest.approx(float(subspace_distance(V, U)), rel=1e-14)
    assert subspace_distance(U, W) <= subspace_distance(U, V) + subspace_distance(V, W)
    assert subspace_distance(U[:, :0], V) == 0.0


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.ones(3), np.ones((3, 1)), "first"),
        (np.ones((3, 1)), np.ones(3), "second"),
        (np.ones((2, 3)), np.ones((2, 1)), "first"),
        (np.ones((3, 1)), np.ones((3, 4)), "second"),
        (np.ones((1, 3, 1)), np.ones((3, 1)), "first"),
        (np.ones((3, 1)), np.ones((4, 1)), "3 and 4"),
    ],
)
def test_bad_shapes(first, second, message):
    for function in (principal_angles, subspace_distance):
        with pytest.raises(ValueError, match=message):
            function(first, second)
