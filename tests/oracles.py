"""Slow, obvious references in code that shares nothing with the library.

Two kinds: mpmath at 90 digits with differences (h = 1e-25, so that derivatives carry far more than 16 digits), and
float64 automatic differentiation straight through the normal equations, for problems too large for mpmath. The second
squares the condition number; `Reference.digits_lost` says so to the tolerance rule (tests/laws/reduced.py).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import torch
from mpmath import mp, mpf

DIGITS = 90
MP_ACTIVATIONS = {
    "tanh": mpmath.tanh,
    "sin": mpmath.sin,
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "erf": mpmath.erf,
    "relu": lambda z: z if z > 0 else mpf(0),
}
TORCH_ACTIVATIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "softplus": lambda z: torch.logaddexp(z, torch.zeros_like(z)),
    "gelu": torch.nn.functional.gelu,
    "erf": torch.erf,
    "relu": torch.relu,
}


@dataclass(frozen=True)
class Reference:
    """What the library must reproduce at one theta, with the norms that the tolerance rule needs."""

    value: float
    residual: np.ndarray  # augmented, (m + n, k) or (m, k)
    coefficients: np.ndarray
    gradient: np.ndarray
    jacobian: np.ndarray  # of residual.ravel()
    hessian: np.ndarray
    features: np.ndarray  # augmented and weighted A
    slopes: np.ndarray  # D A, (rows, n, q)
    digits_lost: int  # the reference's own error is eps * condition ** digits_lost


# --- mpmath ---------------------------------------------------------------------------------------------------------


def mp_features(theta, x, widths, activation="tanh", bias_feature=True):
    """Phi of a multi-layer perceptron as a list of rows; theta and x hold anything that mpf accepts."""
    sigma, rows = MP_ACTIVATIONS[activation], []
    for point in x:
        h, at = [mpf(v) for v in point], 0
        for width in widths:
            d = len(h)
            bias = theta[at + width * d : at + width * (d + 1)]
            h = [sigma(mpmath.fdot(theta[at + a * d : at + (a + 1) * d], h) + bias[a]) for a in range(width)]
            at += width * (d + 1)
        rows.append([*h, mpf(1)] if bias_feature else h)
    return rows


def mp_solve(rows, targets, weights, lam):
    """(A, C, residual) of the augmented least squares problem as lists of rows, by normal equations."""
    n, k = len(rows[0]), len(targets[0])
    A = [[w * v for v in row] for w, row in zip(weights, rows, strict=True)]
    b = [[w * v for v in row] for w, row in zip(weights, targets, strict=True)]
    if lam:
        A += [[mpmath.sqrt(lam) * (i == j) for j in range(n)] for i in range(n)]
        b += [[mpf(0)] * k for _ in range(n)]
    columns, sides = list(zip(*A, strict=True)), list(zip(*b, strict=True))
    G = [[mpmath.fdot(u, v) for v in (*columns, *sides)] for u in columns]  # [A^T A, A^T b]
    for i in range(n):  # Gauss-Jordan without pivoting: A^T A is positive definite
        G[i] = [v / G[i][i] for v in G[i]]
        for j in range(n):
            if j != i:
                G[j] = [v - G[j][i] * u for v, u in zip(G[j], G[i], strict=True)]
    C = [row[n:] for row in G]
    residual = [
        [y - mpmath.fdot(row, c) for y, c in zip(side, zip(*C, strict=True), strict=True)]
        for row, side in zip(A, b, strict=True)
    ]
    return A, C, residual


def mp_reference(features: Callable, theta, targets, weights, lam) -> Reference:
    """Everything at theta, for features(theta) -> rows. Cost grows with q^2 / 2 solves."""
    with mp.workdps(DIGITS):
        point, lam = [mpf(float(t)) for t in theta], mpf(lam)
        data = [[mpf(v) for v in row] for row in np.asarray(targets).tolist()]
        w = [mpf(v) for v in np.asarray(weights).tolist()]

        def solve(*moves):
            at = list(point)
            for j, step in moves:
                at[j] += step
            return mp_solve(features(at), data, w, lam)

        A, C, r = solve()
        h, q = mpf(10) ** -25, len(point)
        ahead, behind = [solve((j, h)) for j in range(q)], [solve((j, -h)) for j in range(q)]
        values = [half_square(s[2]) for s in ahead]

        def central(part):  # d/dtheta_j of one of the three results, entry by entry, (rows, columns, q)
            pairs = zip(ahead, behind, strict=True)
            return np.stack([(to_array(a[part]) - to_array(b[part])) / (2 * h) for a, b in pairs], axis=2).astype(float)

        H = np.zeros((q, q))
        for i in range(q):
            for j in range(i + 1):
                corner = half_square(solve((i, h), (j, h))[2])
                H[i, j] = H[j, i] = float((corner - values[i] - values[j] + half_square(r)) / h**2)
        gradient = [(v - half_square(s[2])) / (2 * h) for v, s in zip(values, behind, strict=True)]
        return Reference(
            value=float(half_square(r)),
            residual=to_array(r).astype(float),
            coefficients=to_array(C).astype(float),
            gradient=np.array([float(g) for g in gradient]),
            jacobian=central(2).reshape(-1, q),
            hessian=H,
            features=to_array(A).astype(float),
            slopes=central(0),
            digits_lost=1,
        )


def half_square(rows):
    return mpmath.fsum((v for row in rows for v in row), squared=True) / 2


def to_array(rows) -> np.ndarray:
    return np.array(rows, dtype=object)


def mp_forms_of_value(Phi, Y, C, lam) -> dict[str, float]:
    """The objective at C, 1/2 tr Y^T (I - P_lam) Y and lam/2 tr Y^T (Phi Phi^T + lam I)^-1 Y, at 90 digits."""
    with mp.workdps(DIGITS):
        A, B, X = (mp.matrix(np.asarray(M).tolist()) for M in (Phi, Y, C))
        lam = mpf(lam)
        G, K = A.T * A + lam * mp.eye(A.cols), A * A.T + lam * mp.eye(A.rows)
        hat, kernel = mpf(0), mpf(0)
        for j in range(B.cols):
            y = B[:, j]
            hat += mpmath.fdot(y, y - A * mp.lu_solve(G, A.T * y)) / 2
            kernel += lam * mpmath.fdot(y, mp.lu_solve(K, y)) / 2
        objective = half_square((A * X - B).tolist()) + lam * half_square(X.tolist())
        return {"objective": float(objective), "hat matrix": float(hat), "kernel": float(kernel)}


def mp_derivative(function, point, order):
    """Mixed partial derivative of a scalar mp function, `order` a tuple of at most two coordinates."""
    if not order:
        return function(list(point))
    h = mpf(10) ** -15

    def along(step):
        moved = list(point)
        moved[order[0]] += step
        return mp_derivative(function, moved, order[1:])

    return (along(h) - along(-h)) / (2 * h)


def mp_singular_values(A) -> np.ndarray:
    """Singular values of a float matrix, descending, at 90 digits."""
    with mp.workdps(DIGITS):
        s = mpmath.svd_r(mp.matrix(np.asarray(A).tolist()), compute_uv=False)
        return np.array(sorted((float(v) for v in s), reverse=True))


def mp_principal_angles(A, B) -> np.ndarray:
    """Angles between the spans of float matrices, by the arctangent of sines and cosines at 90 digits, ascending."""
    with mp.workdps(DIGITS):
        U, V = (mpmath.qr(mp.matrix(np.asarray(M).tolist()), mode="skinny")[0] for M in (A, B))
        if V.cols > U.cols:
            U, V = V, U
        inside = U.T * V
        cosines = sorted(mpmath.svd_r(inside, compute_uv=False), reverse=True)
        sines = sorted(mpmath.svd_r(V - U * inside, compute_uv=False))
        return np.array([float(mpmath.atan2(s, c)) for s, c in zip(sines, cosines, strict=True)])


# --- float64 --------------------------------------------------------------------------------------------------------


def torch_features(theta, x, widths, activation="tanh", bias_feature=True):
    """Phi of a multi-layer perceptron in plain torch operations; x (m, d) or one point (d,)."""
    sigma, h, at = TORCH_ACTIVATIONS[activation], x, 0
    for width in widths:
        d = h.shape[-1]
        W = theta[at : at + width * d].reshape(width, d)
        h = sigma(h @ W.T + theta[at + width * d : at + width * (d + 1)])
        at += width * (d + 1)
    return torch.cat([h, torch.ones_like(h[..., :1])], dim=-1) if bias_feature else h


def torch_operator(features, x, terms):
    """sum_alpha c_alpha(x_i) D^alpha features at every row, by nested jacfwd; features maps (d,) to (n,)."""
    total = 0.0
    for index, coefficient in terms.items():
        function = features
        for _ in index:
            function = torch.func.jacfwd(function)
        values = torch.func.vmap(function)(x)
        for i in index:
            values = values[..., i]
        total = total + torch.as_tensor(coefficient, dtype=x.dtype).expand(len(x))[:, None] * values
    return total


def dense_residual(Phi, targets, weights, lam):
    """(augmented residual, coefficients, augmented A) by the normal equations."""
    A, b = weights[:, None] * Phi, weights[:, None] * targets
    if lam:
        n = Phi.shape[1]
        A = torch.cat([A, math.sqrt(lam) * torch.eye(n, dtype=Phi.dtype)])
        b = torch.cat([b, torch.zeros(n, b.shape[1], dtype=b.dtype)])
    C = torch.linalg.solve(A.T @ A, A.T @ b)
    return b - A @ C, C, A


def dense_reference(features: Callable, theta, targets, weights, lam) -> Reference:
    """Everything at theta by automatic differentiation through the normal equations; well-conditioned problems only."""

    def residual(at):
        return dense_residual(features(at), targets, weights, lam)[0]

    def value(at):
        return 0.5 * (residual(at) ** 2).sum()

    r, C, A = dense_residual(features(theta), targets, weights, lam)
    slopes = torch.func.jacfwd(lambda at: dense_residual(features(at), targets, weights, lam)[2])(theta)
    return Reference(
        value=float(value(theta)),
        residual=r.numpy(),
        coefficients=C.numpy(),
        gradient=torch.func.grad(value)(theta).numpy(),
        jacobian=torch.func.jacfwd(lambda at: residual(at).flatten())(theta).numpy(),
        hessian=torch.func.hessian(value)(theta).numpy(),
        features=A.numpy(),
        slopes=slopes.numpy(),
        digits_lost=2,
    )


def minimum_norm(A, Y, cut):
    """Coefficients by numpy.linalg.lstsq, of minimum norm where A is rank deficient."""
    return np.linalg.lstsq(A, Y, rcond=cut)[0]


def projector(A, lam=0.0, cut=1e-12):
    """A (A^T A + lam I)^+ A^T, formed explicitly from an SVD, (m, m)."""
    U, s, _ = np.linalg.svd(np.asarray(A), full_matrices=False)
    kept = s > cut * s.max(initial=0.0)
    gains = s[kept] ** 2 / (s[kept] ** 2 + lam)
    return (U[:, kept] * gains) @ U[:, kept].T
