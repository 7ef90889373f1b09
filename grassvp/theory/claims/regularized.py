"""Claims B1, B2, B5, B6, and the gradient and critical points of B3 and B4: the regularised Grassmannian.

The predicted side uses dense (m, m) and (m + n, m + n) matrices; the measured side the manifold, which forms none.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.optimize
import torch

from grassvp import riemannian
from grassvp.projection import project
from grassvp.theory.claims.claim import Claim, compare, first_difference, same
from grassvp.theory.reports import critical_point_report
from manifolds import Grassmann, RegularizedGrassmann

__all__ = ["b1", "b2", "b3_gradient", "b4_critical", "b5", "b6"]


def dense_value(Phi: np.ndarray, Y: np.ndarray, lam: float) -> float:
    """lam/2 tr Y^T (Phi Phi^T + lam I)^-1 Y by its definition."""
    return 0.5 * lam * float(np.sum(Y * np.linalg.solve(Phi @ Phi.T + lam * np.eye(len(Phi)), Y)))


def deficient(m: int, n: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    """A random (m, n) matrix of the given rank."""
    return rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n)) / math.sqrt(rank)


def b1(rng: np.random.Generator) -> Iterator[Claim]:
    """The four forms of the value, at full rank, at a rank drop, and with more columns than rows."""
    for name, m, n, rank in (("full rank", 9, 4, 4), ("rank 2 of 4", 9, 4, 2), ("n > m", 4, 7, 3)):
        lam = 10.0 ** rng.uniform(-3, 0)
        Phi, Y = deficient(m, n, rank, rng), rng.standard_normal((m, 2))
        predicted = dense_value(Phi, Y, lam)
        for form, value in RegularizedGrassmann(m, n, lam).value_forms(Phi, Y)._asdict().items():
            yield compare(
                f"B1 {form} form, {name}", "the four forms of the value agree", predicted, float(value), 1e-11
            )
    lam, A, B, Y = 0.3, *(rng.standard_normal((9, columns)) for columns in (4, 3, 2))
    ends = [dense_value(factor, Y, lam) for factor in (A, B)]
    middle = float(RegularizedGrassmann(9, 7, lam).value_forms(np.hstack([A, B]) / math.sqrt(2), Y).projector)
    excess = max(0.0, middle - 0.5 * sum(ends))
    yield compare("B1 convexity", "the value is convex in K = Phi Phi^T", 0.0, excess, 1e-12, scale=max(ends))


def b2(rng: np.random.Generator) -> Iterator[Claim]:
    """The metric against the speed of the projector, half the trace form, at full rank and at rank drops."""
    for name, m, n, rank in (("full rank", 8, 3, 3), ("rank 1 of 3", 8, 3, 1), ("zero", 8, 3, 0), ("n > m", 3, 5, 2)):
        lam = 10.0 ** rng.uniform(-1, 1)
        Phi = deficient(m, n, rank, rng) if rank else np.zeros((m, n))
        D, root = rng.standard_normal((m, n)), math.sqrt(lam) * np.eye(n)
        D = D / np.linalg.norm(D, 2)  # so that sqrt(lam) is the scale of the curve

        def projector(t: float, Phi=Phi, D=D, root=root) -> np.ndarray:
            A = np.vstack([Phi + t * D, root])
            return A @ np.linalg.pinv(A)

        speed = first_difference(projector, 0.01 * math.sqrt(lam))
        found = RegularizedGrassmann(m, n, lam).inner_product(Phi, D, D)
        yield compare(
            f"B2 metric, {name}",
            "g(D, D) = lam <(Phi Phi^T + lam)^-1 D (Phi^T Phi + lam)^-1, D> is half the trace form of the projectors",
            0.5 * float(np.sum(speed * speed)),
            float(found),
            1e-8,
        )
    U, V = (Grassmann(8, 3).random_point(rng) for _ in range(2))
    U, V = U @ rng.standard_normal((3, 3)), V @ rng.standard_normal((3, 3))
    limit = float(Grassmann(8, 3).dist(*(np.linalg.qr(A)[0] for A in (U, V))))
    found = float(RegularizedGrassmann(8, 3, 1e-16).dist(U, V))
    yield compare("B2 limit", "the distance tends to that of Gr(m, n) as lam -> 0", limit, found, 1e-7)


def b3_gradient(rng: np.random.Generator) -> Iterator[Claim]:
    """The Euclidean gradient -R C^T and the Riemannian gradient -M Phi."""
    for name, m, n, rank in (("full rank", 9, 4, 4), ("rank 2 of 4", 9, 4, 2)):
        lam = 10.0 ** rng.uniform(-2, 0)
        Phi, Y, D = deficient(m, n, rank, rng), rng.standard_normal((m, 3)), rng.standard_normal((m, n))
        C = np.linalg.solve(Phi.T @ Phi + lam * np.eye(n), Phi.T @ Y)
        euclidean = -(Y - Phi @ C) @ C.T
        slope = first_difference(
            lambda t, P=Phi, D=D, Y=Y, lam=lam: dense_value(P + t * D, Y, lam), 0.01 * math.sqrt(lam)
        )
        yield compare(
            f"B3 Euclidean gradient, {name}",
            "df(D) = -<R C^T, D>",
            float(np.sum(euclidean * D)),
            float(slope),
            1e-8,
            scale=float(np.linalg.norm(euclidean) * np.linalg.norm(D)),
        )
        manifold = RegularizedGrassmann(m, n, lam)
        found = manifold.euclidean_to_riemannian_gradient(Phi, euclidean)
        yield same(f"B3 Riemannian gradient, {name}", "it is -M Phi", -Y @ (Y.T @ Phi), found, 1e-9)


def b4_critical(rng: np.random.Generator) -> Iterator[Claim]:
    """Phi^T Y = 0 is critical and a global maximum; elsewhere the gradient does not vanish."""
    m, n, lam = 8, 3, 10.0 ** rng.uniform(-2, 0)
    Y = rng.standard_normal((m, 2))
    problem: Any = riemannian.subspace_problem(Y, n, regularization=lam)
    Phi = rng.standard_normal((m, n))
    Phi -= Y @ np.linalg.lstsq(Y, Phi)[0]
    report = critical_point_report(problem, Phi)
    size = float(np.sum(Y * Y))
    yield compare("B4 gradient at Phi^T Y = 0", "it is critical", 0.0, report.gradient_norm, 1e-13, scale=size)
    yield compare("B4 value at Phi^T Y = 0", "it is 1/2 ||Y||^2", 0.5 * size, float(problem.cost(Phi)), 1e-13)
    highest = max(0.0, float(np.max(report.hessian_eigenvalues)))
    yield compare("B4 maximum", "the Hessian there has no positive eigenvalue", 0.0, highest, 1e-10, scale=size)
    values = [float(problem.cost(Phi + 0.3 * rng.standard_normal((m, n)))) for _ in range(50)]
    yield compare(
        "B4 global maximum", "no value exceeds it", 0.0, max(0.0, max(values) - 0.5 * size), 1e-13, scale=size
    )
    other = rng.standard_normal((m, n))
    ratio = float(np.linalg.norm(problem.riemannian_gradient(other)) / np.linalg.norm(Y @ (Y.T @ other)))
    yield compare("B4 elsewhere", "the gradient is -M Phi, zero only for Phi^T Y = 0", 1.0, ratio, 1e-12)


def b5(rng: np.random.Generator) -> Iterator[Claim]:
    """The bound on the Euclidean gradient: never exceeded, and attained at rank one along y, Phi^2 = lam / 3."""
    lam, m = 10.0 ** rng.uniform(-3, 1), 7
    Y = rng.standard_normal((m, 1))
    bound = 3 * math.sqrt(3) / 16 * float(np.sum(Y * Y)) / math.sqrt(lam)
    problem: Any = riemannian.subspace_problem(Y, 3, regularization=lam)

    def euclidean(Phi: np.ndarray) -> float:
        solved = project(torch.from_numpy(Phi), torch.from_numpy(Y), lam)
        return float(torch.linalg.norm(solved.residual @ solved.coefficients.T))

    largest = 0.0
    for _ in range(200):
        Phi = 10.0 ** rng.uniform(-2, 2) * math.sqrt(lam) * problem.manifold.random_point(rng)
        largest = max(largest, euclidean(Phi))
    yield compare(
        "B5 bound",
        "||grad|| <= (3 sqrt 3 / 16) ||Y||^2 / sqrt lam",
        0.0,
        max(0.0, largest / bound - 1),
        1e-12,
        scale=1.0,
    )
    along = np.outer(Y[:, 0] / np.linalg.norm(Y), np.eye(3)[0])
    best = scipy.optimize.minimize_scalar(
        lambda t: -euclidean(math.sqrt(lam) * t * along), bounds=(0.01, 3.0), method="bounded", options={"xatol": 1e-10}
    )
    yield compare("B5 attained", "the largest gradient along y is the bound", bound, -float(best.fun), 1e-12)


def b6(rng: np.random.Generator) -> Iterator[Claim]:
    """The jump at a rank drop, pointwise convergence, and the symmetry groups GL(n) and O(n)."""
    m = 7
    a, b, y = (rng.standard_normal((m, 1)) for _ in range(3))
    rest = b - a @ (a.T @ b) / np.sum(a * a)
    jump = 0.5 * float(np.sum(rest * y)) ** 2 / float(np.sum(rest * rest))
    size = float(np.sum(y * y))
    near, at = (value_of(np.hstack([a, a + epsilon * b]), y, 0.0) for epsilon in (1e-6, 0.0))
    yield compare(
        "B6 jump", "at lam = 0 the value jumps at [a, a + eps b] as eps -> 0", jump, at - near, 1e-5, scale=size
    )
    near, at = (value_of(np.hstack([a, a + epsilon * b]), y, 0.1) for epsilon in (1e-6, 0.0))
    yield compare("B6 smooth", "at lam > 0 it does not", 0.0, at - near, 1e-5, scale=size)
    Phi, Y = rng.standard_normal((m, 3)), rng.standard_normal((m, 2))
    limit = value_of(Phi, Y, 0.0)
    gaps = [abs(value_of(Phi, Y, lam) - limit) for lam in (1e-3, 1e-5)]
    order = math.log(gaps[0] / gaps[1]) / math.log(100.0)
    yield compare("B6 pointwise limit", "f_lam - f_0 = O(lam) at full rank", 1.0, order, 0.05)
    Q, T = np.linalg.qr(rng.standard_normal((3, 3)))[0], np.eye(3) + 0.3 * rng.standard_normal((3, 3))
    lam = 0.2
    yield compare("B6 GL(n) at lam = 0", "f_0(Phi T) = f_0(Phi)", limit, value_of(Phi @ T, Y, 0.0), 1e-12)
    yield compare(
        "B6 O(n) at lam > 0", "f_lam(Phi Q) = f_lam(Phi)", value_of(Phi, Y, lam), value_of(Phi @ Q, Y, lam), 1e-12
    )
    broken = abs(value_of(Phi @ T, Y, lam) - value_of(Phi, Y, lam)) / value_of(Phi, Y, lam)
    yield compare("B6 not GL(n) at lam > 0", "f_lam(Phi T) differs", 1.0, float(broken > 1e-6), 0.0)


def value_of(Phi: np.ndarray, Y: np.ndarray, lam: float) -> float:
    """The library's value."""
    return project(torch.from_numpy(Phi), torch.from_numpy(Y), lam).value
