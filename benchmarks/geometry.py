"""Every operation of Gr(m, n) beside pymanopt's and, where it is installed, geomstats': time ratio and error of each.

Both sides run in turn on the same data with the same threads; medians are printed. The data have known answers: planes
that turn by prescribed angles, so that the errors need no reference implementation. "near" pairs have angles around
1e-6, "far" ones spread over (0, pi/2). geomstats stores (m, m) projectors and is only asked up to m = 200.

    OMP_NUM_THREADS=1 python benchmarks/geometry.py [--repeats 5] [--json FILE]
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pymanopt.manifolds

import manifolds

SIZES = [(200, 10), (1_000, 20), (5_000, 100)]
SECONDS = 0.15  # about this long each operation runs in one turn


@dataclass(frozen=True)
class Turn:
    """X turned to Y = X V cos(theta) V^T + U sin(theta) V^T by known angles, in a general gauge."""

    X: np.ndarray
    Y: np.ndarray
    D: np.ndarray
    angles: np.ndarray

    @classmethod
    def by(cls, angles: np.ndarray, m: int, seed: int) -> "Turn":
        rng, n = np.random.default_rng(seed), len(angles)
        Q = np.linalg.qr(rng.standard_normal((m, 2 * n)))[0]
        V = np.linalg.qr(rng.standard_normal((n, n)))[0]
        X, U = Q[:, :n], Q[:, n:]
        return cls(X @ V.T, (X * np.cos(angles) + U * np.sin(angles)) @ V.T, (U * angles) @ V.T, angles)


def seconds(work: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begin) / count


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median seconds of both and the median of the ratios of neighbouring turns."""
    count = max(1, round(SECONDS / max(seconds(ours, 1), seconds(theirs, 1), seconds(ours, 1), 1e-6)))
    pairs = [(seconds(ours, count), seconds(theirs, count)) for _ in range(repeats)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)


def norm(array: Any) -> float:
    return float(np.linalg.norm(array))


def apart(truth: np.ndarray, basis: np.ndarray) -> float:
    """||(I - T T^T) B|| + ||B^T B - I||: how far a matrix is from an orthonormal basis of a subspace."""
    return norm(basis - truth @ (truth.T @ basis)) + norm(basis.T @ basis - np.eye(basis.shape[1]))


def relative(found: Any, exact: Any) -> float:
    return norm(np.asarray(found) - exact) / norm(exact)


Operation = tuple[Callable[[Any], Any], Callable[[Any], float] | None]


def operations(m: int, n: int) -> dict[str, Operation]:
    """Name -> (the operation on a manifold, the error of its result or None)."""
    rng = np.random.default_rng(0)
    far, near = Turn.by(np.linspace(0.1, 1.4, n), m, 1), Turn.by(1e-6 * np.linspace(1.0, 2.0, n), m, 2)
    step = Turn.by(np.linspace(0.05, 0.2, n), m, 3)  # as an optimiser moves: the end is aligned with the start
    flipped = step.Y * np.where(np.arange(n) % 2, -1.0, 1.0)
    X, D, Z = far.X, far.D, rng.standard_normal((m, n))
    E = Z - X @ (X.T @ Z)
    other, polar_end = (np.linalg.qr(A)[0] for A in (rng.standard_normal((m, n)), X + D))
    return curves(far, near, step, flipped, other, polar_end) | {
        "projection": (lambda M: M.projection(X, Z), lambda V: norm(X.T @ V)),
        "gradient conversion": (lambda M: M.euclidean_to_riemannian_gradient(X, Z), lambda V: relative(V, E)),
        "Hessian conversion": (
            lambda M: M.euclidean_to_riemannian_hessian(X, Z, Z, D),
            lambda H: relative(H, E - D @ (X.T @ Z)),
        ),
        "inner product": (lambda M: M.inner_product(X, D, E), lambda s: relative(s, np.sum(D * E))),
        "norm": (lambda M: M.norm(X, D), lambda s: relative(s, norm(far.angles))),
        "zero vector": (lambda M: M.zero_vector(X), norm),
        "random point": (lambda M: M.random_point(), lambda Y: norm(Y.T @ Y - np.eye(n))),
        "random tangent vector": (lambda M: M.random_tangent_vector(X), lambda V: norm(X.T @ V)),
    }


def curves(far: Turn, near: Turn, step: Turn, flipped: Any, other: Any, polar_end: Any) -> dict[str, Operation]:
    """The operations that move along geodesics or measure them."""
    return {
        "dist, far": (lambda M: M.dist(far.X, far.Y), lambda d: relative(d, norm(far.angles))),
        "dist, near": (lambda M: M.dist(near.X, near.Y), lambda d: relative(d, norm(near.angles))),
        "dist, random pair": (lambda M: M.dist(far.X, other), None),
        "exp": (lambda M: M.exp(far.X, far.D), lambda Y: apart(far.Y, Y)),
        "log, far": (lambda M: M.log(far.X, far.Y), lambda L: relative(L, far.D)),
        "log, near": (lambda M: M.log(near.X, near.Y), lambda L: relative(L, near.D)),
        "log, random pair": (lambda M: M.log(far.X, other), None),
        "retraction": (lambda M: M.retraction(far.X, far.D), lambda Y: apart(polar_end, Y)),
        "transport": (
            lambda M: M.transport(step.X, step.Y, step.D),
            lambda T: relative(T, transported(step, step.Y)),
        ),
        "transport, other basis": (
            lambda M: M.transport(step.X, flipped, step.D),
            lambda T: relative(T, transported(step, flipped)),
        ),
    }


def transported(step: Turn, end: np.ndarray) -> np.ndarray:
    """The projected vector at the representative `end`, from the definition."""
    left, _, right = np.linalg.svd(step.X.T @ end)
    moved = step.D @ (left @ right)
    return moved - end @ (end.T @ moved)


def geomstats_operations(m: int, n: int) -> dict[str, Callable[[], Any]]:
    """geomstats' counterparts on projectors, of the operations it has; none where it does not import (numpy >= 2.4)."""
    os.environ.setdefault("GEOMSTATS_BACKEND", "numpy")
    try:
        from geomstats.geometry.grassmannian import Grassmannian
    except ImportError:
        return {}

    space = Grassmannian(m, n)
    far, other = Turn.by(np.linspace(0.1, 1.4, n), m, 1), Turn.by(np.linspace(0.05, 0.2, n), m, 3)
    P, Q = (A @ A.T for A in (far.X, far.Y))
    tangent = far.D @ far.X.T + far.X @ far.D.T
    matrix = other.X @ far.X.T
    return {
        "dist, far": lambda: space.metric.dist(P, Q),
        "exp": lambda: space.metric.exp(tangent, P),
        "log, far": lambda: space.metric.log(Q, P),
        "projection": lambda: space.to_tangent(matrix, P),
        "inner product": lambda: space.metric.inner_product(tangent, tangent, P),
        "random point": lambda: space.random_point(),
    }


def rows_for(m: int, n: int, repeats: int) -> list[dict[str, Any]]:
    ours, theirs = manifolds.Grassmann(m, n), pymanopt.manifolds.Grassmann(m, n)
    rival = geomstats_operations(m, n) if m <= 200 else {}
    rows = []
    for name, (operation, error) in operations(m, n).items():
        a, b, ratio = compare(lambda work=operation: work(ours), lambda work=operation: work(theirs), repeats)
        row = {"m": m, "n": n, "operation": name, "seconds": a, "pymanopt_seconds": b, "ratio": ratio}
        if error is not None:
            row |= {"error": error(operation(ours)), "pymanopt_error": error(operation(theirs))}
        if name in rival:
            row["geomstats_ratio"] = compare(lambda work=operation: work(ours), rival[name], repeats)[2]
        rows.append(row)
    return rows


def line(row: dict[str, Any]) -> str:
    errors = [f"{row[key]:9.1e}" if key in row else " " * 9 for key in ("error", "pymanopt_error")]
    rival = f"{row['geomstats_ratio']:9.4f}" if "geomstats_ratio" in row else ""
    times = f"{1e6 * row['seconds']:11.1f} {1e6 * row['pymanopt_seconds']:11.1f} {row['ratio']:6.2f}"
    return f"{row['operation']:24s} {times} {' '.join(errors)} {rival}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows = []
    for m, n in SIZES:
        print(f"\nGr({m}, {n}): microseconds ours and pymanopt's, ratio; error ours and pymanopt's; ratio to geomstats")
        for row in rows_for(m, n, options.repeats):
            rows.append(row)
            print(line(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
