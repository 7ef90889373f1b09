"""Claims A4, A5 and the flows of B3 and B4: integrated flows against their closed forms, and where descents end."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from grassvp import riemannian
from grassvp.theory.claims.claim import Claim, compare, same
from grassvp.theory.claims.grassmann import with_spectrum
from grassvp.theory.closed_forms import flow_limit, flow_values, logistic_cosines
from grassvp.theory.flows import gradient_flow

__all__ = ["a4", "a5", "b3_flow", "b4_flow"]

SOLVERS = ("steepest-descent", "conjugate-gradient", "trust-region")


def a4(rng: np.random.Generator) -> Iterator[Claim]:
    """Polyak-Lojasiewicz and the logistic law for one output, Oja's flow for several."""
    m, n = 9, 3
    y = rng.standard_normal((m, 1))
    problem: Any = riemannian.subspace_problem(y, n)
    U = problem.manifold.random_point(rng)
    c = float(np.sum((U.T @ y) ** 2) / np.sum(y * y))
    predicted = 2 * float(np.sum(y * y)) * c * 0.5 * float(np.sum(y * y)) * (1 - c)
    measured = float(np.sum(problem.riemannian_gradient(U) ** 2))
    yield compare("A4 Polyak-Lojasiewicz", "||grad f||^2 = 2 ||y||^2 c f", predicted, measured, 1e-12)

    times = np.linspace(0.0, 3.0, 7) / float(np.sum(y * y))
    flow = gradient_flow(y, U, times)
    cosines = np.sum((np.swapaxes(flow.points, 1, 2) @ y) ** 2, axis=(1, 2)) / np.sum(y * y)
    yield same("A4 logistic law", "c' = 2 ||y||^2 c (1 - c)", logistic_cosines(y, U, times), cosines, 1e-8)

    Y = rng.standard_normal((m, 4))
    flow = gradient_flow(Y, U, np.linspace(0.0, 2.0, 5) / np.linalg.norm(Y, 2) ** 2)
    yield compare("A4 Oja flow", "the flow is span(exp(M t) U0)", 0.0, flow.error, 1e-8, scale=1.0)
    yield same("A4 Oja flow, values", "the values along it", flow.closed_values, flow.values, 1e-8)


def a5(rng: np.random.Generator) -> Iterator[Claim]:
    """From a generic start flow and solvers reach the global minimum; from one that misses a direction not."""
    m, n, k = 10, 3, 5
    Y = rng.standard_normal((m, k))
    mu = np.linalg.svd(Y, compute_uv=False) ** 2
    minimum = 0.5 * float(np.sum(mu[n:]))
    start = rng.standard_normal((m, n))
    value = float(flow_values(Y, start, [1e4 / mu[0]])[0])
    yield compare("A5 flow", "it ends at 1/2 sum over i > n of mu_i", minimum, value, 1e-9)
    problem: Any = riemannian.subspace_problem(Y, n)
    for solver in SOLVERS:
        worst = max(riemannian.run(problem, solver, rng=rng).value for _ in range(5))
        yield compare(f"A5 {solver}", "it ends at the global minimum", minimum, worst, 1e-12)
    leading = np.linalg.svd(Y)[0][:, :1]
    missing = start - leading @ (leading.T @ start)
    limit = 0.5 * float(mu[0] + np.sum(mu[n + 1 :]))
    yield compare(
        "A5 condition", "a start orthogonal to the leading eigenvector misses it", limit, flow_limit(Y, missing), 1e-10
    )


def b3_flow(rng: np.random.Generator) -> Iterator[Claim]:
    """The flow of the regularised chart is linear, also from rank-deficient starts."""
    m, n = 8, 3
    Y = rng.standard_normal((m, 2))
    for name, rank in (("full rank", 3), ("rank 1 of 3", 1)):
        Phi = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
        Phi = Phi / np.linalg.norm(Phi, 2)
        flow = gradient_flow(Y, Phi, np.linspace(0.0, 1.5, 4) / np.linalg.norm(Y, 2) ** 2, regularization=0.3)
        yield same(f"B3 flow, {name}", "Phi(t) = exp(M t) Phi0", flow.closed_points, flow.points, 1e-8)


def b4_flow(rng: np.random.Generator) -> Iterator[Claim]:
    """The flow keeps the rank rho of its start and decreases to 1/2 sum over i > rho of mu_i."""
    m, n, lam = 9, 3, 0.2
    mu = rng.uniform(1.0, 1.5, 4) / 10.0 ** np.arange(4)  # so far apart that rounding does not fill the missing ranks
    Y = with_spectrum(m, list(mu), rng)
    for rank in (1, 2, 3):
        Phi = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
        Phi = Phi / np.linalg.norm(Phi, 2)
        flow = gradient_flow(Y, Phi, [0.0, 1.0 / mu[0]], regularization=lam)
        found = int(np.linalg.matrix_rank(flow.points[-1], tol=1e-8 * np.linalg.norm(flow.points[-1])))
        yield compare(f"B4 rank {rank}", "the flow keeps the rank of its start", rank, found, 0.0)
        value = float(flow_values(Y, Phi, [15.0 / mu[rank - 1]], regularization=lam)[0])
        yield compare(
            f"B4 limit, rank {rank}",
            "1/2 sum over i > rho of mu_i",
            0.5 * float(np.sum(mu[rank:])),
            value,
            1e-6,
            scale=mu[0],
        )
    y, Phi = Y[:, :1], rng.standard_normal((m, 1)) @ rng.standard_normal((1, n))
    value = float(flow_values(y, Phi, [200.0 / float(np.sum(y * y))], regularization=lam)[0])
    yield compare("B4 one output", "to 0 even from rank 1", 0.0, value, 1e-12, scale=float(np.sum(y * y)))
