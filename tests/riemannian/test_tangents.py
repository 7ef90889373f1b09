"""Bases of tangent spaces are orthonormal isometries, and dense Hessians in them have the spectra of the theory."""

import numpy as np
import pymanopt
import pytest

from grassvp.riemannian.tangents import tangent_basis
from manifolds import Grassmann, RegularizedGrassmann
from tests.riemannian.cases import MU, orthogonal, targets, toy

MANIFOLDS = [
    Grassmann(6, 2),
    Grassmann(5, 5),
    Grassmann(5, 2, k=2),
    RegularizedGrassmann(5, 2, 0.3),
    RegularizedGrassmann(2, 4, 0.3),
    pymanopt.manifolds.Euclidean(3, 2),
    pymanopt.manifolds.Oblique(3, 2),
    pymanopt.manifolds.Product([pymanopt.manifolds.Oblique(3, 2), pymanopt.manifolds.Sphere(3)]),
]


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=str)
def test_coordinates_are_an_isometry(manifold):
    point, state = manifold.random_point(), np.random.get_state()[1].copy()
    basis = tangent_basis(manifold, point)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert basis.dim == manifold.dim
    vectors = [basis.vector(row) for row in np.eye(basis.dim)]
    gram = np.array([[manifold.inner_product(point, u, v) for v in vectors] for u in vectors])
    np.testing.assert_allclose(gram.reshape(basis.dim, basis.dim), np.eye(basis.dim), atol=1e-12)
    c = np.random.default_rng(0).standard_normal(basis.dim)
    np.testing.assert_allclose(basis.coordinates(basis.vector(c)), c, atol=1e-12)


def test_the_basis_of_a_rank_deficient_point_is_orthonormal():
    manifold = RegularizedGrassmann(5, 3, 1e-4)
    point = np.outer(np.arange(5.0), [1.0, 2.0, 0.0])
    basis = tangent_basis(manifold, point)
    vectors = [basis.vector(row) for row in np.eye(15)]
    gram = [[manifold.inner_product(point, u, v) for v in vectors] for u in vectors]
    np.testing.assert_allclose(gram, np.eye(15), atol=1e-10)


def test_the_spectrum_at_a_critical_point_is_that_of_the_theory():
    """A2: mu_e - mu_f for e inside and f outside."""
    problem = toy(2)
    U = np.linalg.svd(targets())[0][:, [0, 2]]
    mu = np.concatenate([MU, np.zeros(4)])
    expected = np.sort([mu[i] - mu[j] for i in (0, 2) for j in range(8) if j not in (0, 2)])
    turned = U @ orthogonal(2, 2)
    H = tangent_basis(problem.manifold, turned).hessian(lambda D: problem.riemannian_hessian(turned, D))
    np.testing.assert_allclose(np.linalg.eigvalsh(H), expected, atol=1e-12)
    # a basis that is not orthonormal would not do
    scaled = np.diag(np.arange(1.0, 13.0))
    assert not np.allclose(np.linalg.eigvalsh(scaled @ H @ scaled), expected, atol=1e-3)
