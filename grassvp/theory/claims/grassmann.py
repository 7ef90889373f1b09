"""Claims A1-A3: derivatives and critical points of least squares on the Grassmannian.

The predicted side uses dense (m, m) matrices, eigenvalues of Y Y^T and counting; the measured side the problem on the
manifold, its exponential map, its Hessian's spectrum, and descents.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.linalg

from grassvp import riemannian
from grassvp.theory.census import find_critical_points
from grassvp.theory.claims.claim import Claim, compare, first_difference, same, second_difference
from grassvp.theory.classes import critical_classes
from grassvp.theory.reports import critical_point_report

__all__ = ["a1", "a2", "a3", "with_spectrum"]


def with_spectrum(m: int, eigenvalues: list[float], rng: np.random.Generator) -> np.ndarray:
    """Y (m, k) such that Y Y^T has the given positive eigenvalues, and 0 for the rest."""
    left = np.linalg.qr(rng.standard_normal((m, len(eigenvalues))))[0]
    right = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))[0]
    return (left * np.sqrt(eigenvalues)) @ right


def a1(rng: np.random.Generator) -> Iterator[Claim]:
    """Gradient and Hessian against differences of the value, and the problem's against the dense formulas."""
    m, n, k = 11, 3, 4
    Y = rng.standard_normal((m, k))
    problem: Any = riemannian.subspace_problem(Y, n)
    manifold = problem.manifold
    U = manifold.random_point(rng)
    xi = manifold.random_tangent_vector(U, rng)
    M, outside = Y @ Y.T, np.eye(m) - U @ U.T
    gradient = -outside @ M @ U
    hessian = -outside @ M @ xi + xi @ (U.T @ M @ U)

    def value(t: float) -> float:
        rotation = scipy.linalg.expm(t * (xi @ U.T - U @ xi.T))
        return 0.5 * float(np.linalg.norm(Y - rotation @ U @ np.linalg.lstsq(rotation @ U, Y)[0])) ** 2

    yield compare(
        "A1 gradient",
        "d/dt f along a geodesic is <grad f, xi> with grad f = -(I - UU^T) M U",
        float(np.sum(gradient * xi)),
        float(first_difference(value)),
        1e-9,
        scale=float(np.linalg.norm(gradient)),
    )
    yield compare(
        "A1 Hessian",
        "d^2/dt^2 f along a geodesic is <Hess f[xi], xi> with Hess f[xi] = -(I - UU^T) M xi + xi (U^T M U)",
        float(np.sum(hessian * xi)),
        float(second_difference(value)),
        1e-8,
        scale=float(np.linalg.norm(hessian)),
    )
    found = problem.riemannian_gradient(U)
    yield same("A1 gradient of the problem", "the problem's gradient is the formula's", gradient, found, 1e-12)
    found = problem.riemannian_hessian(U, xi)
    yield same("A1 Hessian of the problem", "the problem's Hessian is the formula's", hessian, found, 1e-12)


def a2(rng: np.random.Generator) -> Iterator[Claim]:
    """The critical points by class, with repeated and zero eigenvalues: value, index, nullity, spectrum, number."""
    m, n = 8, 2
    high, low = 3.0 + rng.random(), 1.0 + rng.random()
    Y = with_spectrum(m, [high, high, low], rng)
    problem: Any = riemannian.subspace_problem(Y, n)
    classes = critical_classes(Y, n)
    for entry in classes:
        where = f"class {entry.inside}"
        report = critical_point_report(problem, entry.representative(rng))
        yield compare(f"A2 value, {where}", "1/2 sum (p_e - n_e) mu_e", entry.value, problem.cost(report.point), 1e-12)
        yield compare(f"A2 index, {where}", "sum over mu_e < mu_f of n_e (p_f - n_f)", entry.index, report.index, 0.0)
        yield compare(f"A2 nullity, {where}", "sum n_e (p_e - n_e)", entry.nullity, report.nullity, 0.0)
        yield same(
            f"A2 Hessian eigenvalues, {where}",
            "mu_e - mu_f, n_e (p_f - n_f) times",
            entry.hessian_eigenvalues,
            np.sort(report.hessian_eigenvalues),
            1e-10,
        )
    found = find_critical_points(problem, starts=40, seed=int(rng.integers(2**31)))
    yield compare(
        "A2 number of classes", "the critical points are the invariant subspaces of M", len(classes), len(found), 0.0
    )
    values = np.array([entry.value for entry in classes])
    strays = [float(np.min(np.abs(values - problem.cost(report.point)))) for report in found]
    yield compare(
        "A2 values found", "no critical value but those of the classes", 0.0, max(strays), 1e-10, scale=values[-1]
    )


def a3(rng: np.random.Generator) -> Iterator[Claim]:
    """Index 0 is the global minimum, every other critical point has a descent direction, zero iff n >= rank Y."""
    m, n = 9, 3
    Y = with_spectrum(m, list(np.sort(1.0 + 4.0 * rng.random(5))), rng)
    problem: Any = riemannian.subspace_problem(Y, n)
    classes = critical_classes(Y, n)
    minimum = 0.5 * float(np.sum(np.sort(np.linalg.eigvalsh(Y @ Y.T))[: m - n].clip(0.0)))
    reached = [riemannian.run(problem, "trust-region", rng=rng).value for _ in range(5)]
    yield compare("A3 minimum", "descents end at 1/2 sum over i > n of mu_i", minimum, max(reached), 1e-12)
    steepest = [min(critical_point_report(problem, c.representative(rng)).hessian_eigenvalues) for c in classes]
    yield compare(
        "A3 index 0",
        "classes of index 0 are the global minimum",
        1,
        sum(s > -1e-9 * classes[-1].value for s in steepest),
        0.0,
    )
    gaps = [float(np.min(c.hessian_eigenvalues)) for c in classes]
    yield same("A3 descent", "the steepest descent at every class is the largest gap it leaves", gaps, steepest, 1e-10)
    for width, statement in ((4, "positive for n < rank Y"), (5, "zero for n = rank Y")):
        value = riemannian.run(riemannian.subspace_problem(Y, width), "trust-region", rng=rng).value
        expected = 0.5 * float(np.sum(np.sort(np.linalg.svd(Y, compute_uv=False) ** 2)[: 5 - width]))
        yield compare(
            f"A3 minimum, n = {width}, rank 5",
            f"the minimum is {statement}",
            expected,
            value,
            1e-12,
            scale=np.sum(Y * Y),
        )
