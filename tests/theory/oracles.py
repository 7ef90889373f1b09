"""Slow, obvious references: dense projectors, brute force over eigenvectors, differences along straight lines."""

from itertools import combinations

import numpy as np


def targets_with(eigenvalues, m, seed, *, extra=0):
    """Y (m, k) such that Y Y^T has these eigenvalues and a kernel; `extra` linearly dependent columns are added."""
    rng = np.random.default_rng(seed)
    k = len(eigenvalues)
    left = np.linalg.qr(rng.standard_normal((m, k)))[0]
    right = np.linalg.qr(rng.standard_normal((k + extra, k)))[0]
    return left * np.sqrt(eigenvalues) @ right.T


def dense_value(Y, X):
    """1/2 tr Y^T (I - P) Y for the span of any X of full rank, with P from a pseudo-inverse."""
    P = X @ np.linalg.pinv(X)
    return 0.5 * float(np.trace(Y.T @ (np.eye(len(Y)) - P) @ Y))


def regularized_value(Y, X, lam):
    """lam/2 tr Y^T (X X^T + lam I)^-1 Y."""
    return 0.5 * lam * float(np.trace(Y.T @ np.linalg.solve(X @ X.T + lam * np.eye(len(Y)), Y)))


def complement(U):
    """Orthonormal basis (m, m - n) of the orthogonal complement."""
    return np.linalg.svd(U, full_matrices=True)[0][:, U.shape[1] :]


def difference_hessian(function, dimension, h=1e-3):
    """Hessian at 0 of a function of a vector, by fourth-order central differences."""
    H = np.zeros((dimension, dimension))
    nodes = [(-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)]
    eye = np.eye(dimension)
    for i in range(dimension):
        for j in range(i + 1):
            H[i, j] = H[j, i] = sum(a * b * function(h * (s * eye[i] + t * eye[j])) for s, a in nodes for t, b in nodes)
    return H / h**2


def grassmann_hessian(Y, U):
    """Riemannian Hessian of the dense value: [I; Z] in the basis (U, complement) is a chart of second order."""
    V = complement(U)
    shape = (V.shape[1], U.shape[1])
    return difference_hessian(lambda z: dense_value(Y, U + V @ z.reshape(shape)), V.shape[1] * U.shape[1])


def brute_force_classes(Y, n):
    """{(value, index, nullity): eigenvalues} over all choices of n eigenvectors of Y Y^T, read off the spectrum."""
    mu = np.linalg.eigvalsh(Y @ Y.T)
    mu[mu < 1e-9 * mu[-1]] = 0.0
    found = {}
    for inside in combinations(range(len(mu)), n):
        outside = [i for i in range(len(mu)) if i not in inside]
        gaps = np.sort(np.subtract.outer(mu[list(inside)], mu[outside]).ravel())
        level = 1e-8 * mu[-1]
        index, nullity = int(np.sum(gaps < -level)), int(np.sum(np.abs(gaps) <= level))
        key = (round(0.5 * float(mu[outside].sum()), 8), index, nullity, *np.round(np.sort(mu[list(inside)]), 7))
        found[key] = gaps
    return found


def slopes_by_differences(function, theta, h=1e-6):
    """Jacobian of a vector function by central differences, (outputs, q)."""
    eye = np.eye(theta.size)
    return np.stack([(function(theta + h * e) - function(theta - h * e)) / (2 * h) for e in eye], axis=1)
