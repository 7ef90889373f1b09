"""Points and tangent vectors with prescribed angles, shared by the tests of the manifolds."""

import numpy as np
import torch

EPS = float(np.finfo(float).eps)


def orthogonal(n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]


def geodesic_pair(angles, m, seed=0, rotated=True):
    """(X, D, Y): Y = exp(X, D) in floats, D has singular values `angles`; Y in another basis where `rotated`."""
    n, rng = len(angles), np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((m, 2 * n)))[0]
    V = orthogonal(n, seed + 1)
    X, U = Q[:, :n] @ V.T, Q[:, n:]
    D = (U * angles) @ V.T
    Y = (Q[:, :n] * np.cos(angles) + U * np.sin(angles)) @ V.T
    return X, D, Y @ orthogonal(n, seed + 2) if rotated else Y


def random_point(m, n, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((m, n)))[0]


def random_vector(X, seed=0, norm=1.0):
    """A horizontal vector at X of the given norm; zero where m == n."""
    D = np.random.default_rng(seed).standard_normal(X.shape)
    for _ in range(2):
        D = D - X @ (np.swapaxes(X, -1, -2) @ D)
    size = np.linalg.norm(D)
    return D * (norm / size) if X.shape[-1] < X.shape[-2] else 0 * D


def log_condition(angles) -> float:
    """Largest x / sin x over sums of two angles: the factor by which the logarithm magnifies a rounding of its end.

    Jacobi fields of Gr(m, n) along a geodesic with angles t_i vanish like sin(t_i + t_j) for i != j and like sin t_i.
    """
    t = np.sort(np.asarray(angles, dtype=float))
    worst = t[-1] if len(t) == 1 else max(t[-1] + t[-2], t[-1])
    return float(1.0 if worst == 0 else max(worst / max(np.sin(worst), EPS), 1.0))


def both(array, kind):
    """The array as numpy or as a torch tensor."""
    return torch.from_numpy(np.ascontiguousarray(array)) if kind == "torch" else array
