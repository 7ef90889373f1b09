"""Least squares with singular values cut at a relative level, and its derivatives along lines, at 90 digits.

At lam = 0 nothing here knows a formula for a derivative: values, residuals and projectors are differenced along lines
of theta on which the rank does not change (h = 1e-25). What changes the rank is not differentiable.
"""

from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mp, mpf

from tests.oracles import DIGITS, to_array

H = mpf(10) ** -25


@dataclass(frozen=True)
class Truncated:
    """The truncated problem at theta and its derivatives along s directions."""

    rank: int
    singular_values: np.ndarray
    value: float
    residual: np.ndarray  # (m, k)
    coefficients: np.ndarray
    gradient: np.ndarray  # (s,)
    jacobian: np.ndarray  # (m k, s)
    hessian: np.ndarray  # (s, s)
    metric: np.ndarray  # (s, s), half the trace form of the projector's differentials


def mp_truncated(features, theta, along, targets, weights, tolerance) -> Truncated:
    """Everything at theta along the columns of `along`; features(theta) -> rows, singular values <= tol s_1 are cut."""
    with mp.workdps(DIGITS):
        point, lines = [mpf(float(t)) for t in theta], np.asarray(along).T.tolist()
        w = [mpf(float(v)) for v in weights]
        Y = mp.matrix([[wi * mpf(v) for v in row] for wi, row in zip(w, np.asarray(targets).tolist(), strict=True)])

        def at(*moves):
            theta = list(point)
            for line, step in moves:
                theta = [t + step * mpf(v) for t, v in zip(theta, line, strict=True)]
            rows = [[wi * v for v in row] for wi, row in zip(w, features(theta), strict=True)]
            return _solve(mp.matrix(rows), Y, tolerance)

        here = at()
        ahead, behind = [at((line, H)) for line in lines], [at((line, -H)) for line in lines]
        assert {each.rank for each in (*ahead, *behind)} <= {here.rank}, "the lines keep the rank"

        def slopes(part):
            pairs = zip(ahead, behind, strict=True)
            found = [(to_array(part(a)) - to_array(part(b))) / (2 * H) for a, b in pairs]
            return np.stack(found, axis=-1).astype(float).reshape(-1, len(lines))

        hessian = np.zeros((len(lines), len(lines)))
        for i, first in enumerate(lines):
            for j, second in enumerate(lines[: i + 1]):
                corner = at((first, H), (second, H)).value - ahead[i].value - ahead[j].value + here.value
                hessian[i, j] = hessian[j, i] = float(corner / H**2)
        turned = slopes(lambda solved: (solved.basis * solved.basis.T).tolist())
        return Truncated(
            rank=here.rank,
            singular_values=np.array([float(s) for s in here.singular_values]),
            value=float(here.value),
            residual=to_array(here.residual.tolist()).astype(float),
            coefficients=to_array(here.coefficients.tolist()).astype(float),
            gradient=np.array([float((a.value - b.value) / (2 * H)) for a, b in zip(ahead, behind, strict=True)]),
            jacobian=slopes(lambda solved: solved.residual.tolist()),
            hessian=hessian,
            metric=0.5 * turned.T @ turned,
        )


@dataclass(frozen=True)
class _Solved:
    """One truncated solve, in mpmath."""

    rank: int
    singular_values: list
    basis: mp.matrix
    coefficients: mp.matrix
    residual: mp.matrix
    value: mpf


def _solve(A, Y, tolerance) -> _Solved:
    """By the eigenvalues of A^T A: squared singular values at 1e-90 of the largest are far below any tolerance."""
    squares, V = mpmath.eigsy(A.T * A)
    order = sorted(range(A.cols), key=lambda i: -squares[i])
    s = [mpmath.sqrt(abs(squares[i])) for i in order]
    rank = sum(1 for value in s if value > tolerance * s[0])
    basis, inverse = mp.matrix(A.rows, rank), mp.matrix(A.cols, rank)
    for j, i in enumerate(order[:rank]):
        basis[:, j], inverse[:, j] = A * V[:, i] / s[j], V[:, i] / s[j]
    inside = basis.T * Y
    residual = Y - basis * inside
    value = mpmath.fsum((v for v in residual), squared=True) / 2
    return _Solved(rank, s, basis, inverse * inside, residual, value)
