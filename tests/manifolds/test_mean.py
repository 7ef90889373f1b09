"""The Frechet mean on Grassmann: where the logarithms cancel, for any basis, order and kind."""

import math

import numpy as np
import pytest

from manifolds import Grassmann
from tests.manifolds.samples import EPS, both, geodesic_pair, orthogonal, random_point, random_vector


def cloud(shape, count, radius, seed=0):
    """Points exp(X, D_i), |D_i| <= radius, each in another basis."""
    M, X, rng = Grassmann(*shape), random_point(*shape, seed), np.random.default_rng(seed)
    vectors = [random_vector(X, 10 * seed + i, radius * rng.uniform(0.3, 1)) for i in range(count)]
    return M, X, np.stack([M.exp(X, D) @ orthogonal(shape[1], i) for i, D in enumerate(vectors)])


def gradient(M, mean, points) -> float:
    """Length of the mean logarithm: half the gradient of the mean squared distance."""
    return float(np.linalg.norm(np.mean([M.log(mean, p) for p in points], axis=0)))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("shape", [(5, 1), (8, 3), (5, 4), (3, 3)])
def test_logarithms_cancel_at_the_mean(shape, kind):
    M, _, points = cloud(shape, 7, 0.7)
    mean = M.mean(both(points, kind))
    assert M.is_point(mean) and type(mean) is type(both(points, kind))
    assert gradient(M, np.asarray(mean), points) <= 20 * EPS


def test_it_minimises_the_sum_of_squared_distances():
    M, _, points = cloud((8, 3), 6, 0.7, 1)
    mean = M.mean(points)
    least = sum(float(M.dist(mean, p)) ** 2 for p in points)
    for seed in range(10):
        for size in (1e-3, 0.1, 1.0):
            other = M.exp(mean, random_vector(mean, seed, size))
            assert sum(float(M.dist(other, p)) ** 2 for p in points) > least


@pytest.mark.parametrize("angles", [[1e-12, 1e-6], [0.3, 1.2], [1.5, 1.5], [0.0, 0.0]])
def test_the_mean_of_two_points_is_their_midpoint(angles):
    X, D, Y = geodesic_pair(angles, 8, 3)
    M = Grassmann(8, 2)
    middle = M.exp(X, D / 2)
    for found in (M.pair_mean(X, Y), M.pair_mean(Y, X), M.mean(np.stack([X, Y])), M.mean(np.stack([Y, X]))):
        # log is determined to x / sin x, up to 3 / 0.14 for two angles of 1.5
        assert float(M.dist(found, middle)) <= 400 * EPS
        assert float(M.dist(found, X)) == pytest.approx(float(M.dist(found, Y)), abs=400 * EPS)


def test_a_wide_cloud_is_averaged_to_rounding_too():
    """Points at two ends of a geodesic with both angles 1.44: Karcher's iteration contracts by 0.8 a step only."""
    X, D, _ = geodesic_pair([0.72, 0.72], 8, 4)
    M = Grassmann(8, 2)
    points = np.stack([M.exp(X, s * D + random_vector(X, i, 0.05)) for i, s in enumerate((1, -1, 1, -1, 0.9))])
    assert gradient(M, M.mean(points), points) <= 100 * EPS


def test_points_at_every_scale():
    for radius in (1e-14, 1e-9, 1e-5):
        M, X, points = cloud((7, 2), 5, radius, 2)
        mean = M.mean(points)
        assert gradient(M, mean, points) <= 20 * EPS
        assert float(M.dist(mean, X)) <= radius + 20 * EPS


def test_the_mean_is_a_span_and_a_set_has_no_order():
    M, _, points = cloud((8, 3), 5, 0.6, 3)
    mean = M.mean(points)
    turned = np.stack([p @ orthogonal(3, 20 + i) for i, p in enumerate(points)])
    assert float(M.dist(M.mean(turned), mean)) <= 40 * EPS
    assert float(M.dist(M.mean(points[::-1].copy()), mean)) <= 40 * EPS
    S = orthogonal(8, 5)
    assert float(M.dist(M.mean(S @ points), S @ mean)) <= 40 * EPS
    assert float(M.dist(M.mean(np.concatenate([points, points])), mean)) <= 40 * EPS


def test_equal_points_and_one_point():
    X = random_point(6, 2)
    M = Grassmann(6, 2)
    assert float(M.dist(M.mean(X[None]), X)) <= EPS
    assert float(M.dist(M.mean(np.stack([X] * 4)), X)) <= 4 * EPS


def test_single_precision_and_products():
    M, _, points = cloud((8, 3), 6, 0.7)
    mean = M.mean(points.astype(np.float32))
    assert mean.dtype == np.float32
    assert float(M.dist(mean.astype(float), M.mean(points))) <= 20 * 2.0**-23
    P, stack = Grassmann(8, 3, k=2), np.stack([points, points[::-1]], axis=1)
    pair = P.mean(stack)
    for i in range(2):
        assert float(M.dist(pair[i], M.mean(stack[:, i]))) <= 40 * EPS


def test_lines_in_the_plane_have_the_mean_angle():
    angles = np.array([0.1, 0.25, 0.7, -0.2])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, :, None] * np.array([1, -1, 1, -1])[:, None, None]
    mean = Grassmann(2, 1).mean(points)
    assert math.atan(mean[1, 0] / mean[0, 0]) == pytest.approx(angles.mean(), abs=8 * EPS)
