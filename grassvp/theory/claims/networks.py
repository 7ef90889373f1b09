"""Claims C3 and C4: critical points of neural parametrisations.

C3 confronts the inertia of the reduced Hessian, from its closed form, with that of the joint one, assembled from first
principles. C4 looks at what the searches end at when DPhi is onto, and when it is not.
"""

from collections.abc import Iterator

import numpy as np

from grassvp import features
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.theory.census import find_critical_points
from grassvp.theory.claims.claim import Claim, compare
from grassvp.theory.classes import critical_classes
from grassvp.theory.inertia import compare_inertia
from grassvp.theory.natural import differential_matrix
from grassvp.theory.reports import CriticalPointReport, critical_point_report

__all__ = ["c3", "c4"]


def c3(rng: np.random.Generator) -> Iterator[Claim]:
    """Joint and reduced critical points have the same index, and the reduced Hessian is the Schur complement."""
    joint, reduced, defects, disagreements = [], [], [0.0], 0
    for attempt in range(20):  # at least three problems, and more until a saddle has been seen
        if attempt >= 3 and any(joint):
            break
        problem, near = small_problem(rng, (1e-3, 1e-2, 1e-1)[attempt % 3])
        for report in find_critical_points(problem, starts=6, seed=draw(rng), initial_points=[near] * 3):
            found = compare_inertia(problem, report.point)
            joint.append(found.joint.negative)
            reduced.append(found.reduced.negative)
            defects.append(found.schur_defect)
            disagreements += not found.agrees
    yield compare("C3 index", "the sums of the indices agree", sum(reduced), sum(joint), 0.0)
    yield compare(
        "C3 disagreements", f"index and nullity agree at all {len(joint)} critical points", 0, disagreements, 0.0
    )
    yield compare("C3 saddles seen", "some of them are saddles", 1, float(any(joint)), 0.0)
    yield compare(
        "C3 Schur complement", "the reduced Hessian is that of the joint one", 0.0, max(defects), 1e-8, scale=1.0
    )


def c4(rng: np.random.Generator) -> Iterator[Claim]:
    """Where DPhi is onto, only C = 0 (lam > 0) or the classes of A2 (lam = 0) are critical; elsewhere others can be."""
    m, n = 3, 2
    problem = overparametrised(rng, m, n, lam=1e-2)
    ranks = [
        critical_point_report(problem, rng.standard_normal(len(problem.initial_parameters))).differential_rank
        for _ in range(5)
    ]
    yield compare("C4 onto", "a wide network has rank DPhi = m n", m * n, min(rank or 0 for rank in ranks), 0.0)
    onto = [r for r in find_critical_points(problem, starts=6, seed=draw(rng)) if is_onto(problem, r)]
    sizes = [float(np.linalg.norm(np.asarray(problem.linearize(r.point).coefficients))) for r in onto]
    yield compare(
        "C4 lam > 0", "where DPhi is onto, critical means C = 0", 0.0, max(sizes, default=0.0), 1e-8, scale=1.0
    )

    problem = overparametrised(rng, m, n, lam=0.0)
    values = np.array([entry.value for entry in critical_classes(np.asarray(problem.problem.targets), n)])
    found = find_critical_points(problem, starts=6, seed=draw(rng))
    onto = [r for r in found if is_onto(problem, r) and r.rank == n]
    strays = [float(np.min(np.abs(values - r.value))) for r in onto]
    yield compare(
        "C4 lam = 0",
        "where DPhi is onto and Phi has full rank, critical values are those of A2",
        0.0,
        max(strays, default=0.0),
        1e-9,
        scale=float(values[-1]),
    )
    yield from spurious(rng)


def is_onto(problem: ReducedProblem, report: CriticalPointReport) -> bool:
    """Whether DPhi is onto by a margin: points that run to infinity have singular values that all but vanish."""
    sizes = np.linalg.svd(differential_matrix(problem.linearize(report.point)), compute_uv=False)
    entries = problem.problem.rows * problem.problem.width
    return int(np.sum(sizes > 1e-6 * sizes[0])) == entries


def spurious(rng: np.random.Generator) -> Iterator[Claim]:
    """An under-parametrised network has critical points with R C^T in the kernel of DPhi^*, not zero."""
    problem, near = small_problem(rng, 1e-2)
    scale = float(np.sum(np.asarray(problem.problem.targets) ** 2))
    gradients, products = [], []
    for report in find_critical_points(problem, starts=3, seed=draw(rng), initial_points=[near] * 3):
        now = problem.linearize(report.point)
        gradients.append(report.gradient_norm)
        products.append(float(np.linalg.norm(np.asarray(now.projection.residual @ now.coefficients.T))))
    worst = max(gradients, default=np.inf)
    yield compare("C4 otherwise, DPhi^*", "the gradient vanishes", 0.0, worst, 1e-9, scale=scale)
    largest = max(products, default=0.0)
    yield compare("C4 otherwise, R C^T", "although R C^T does not", 1.0, float(largest > 1e-3 * scale), 0.0)


def draw(rng: np.random.Generator) -> int:
    """A seed."""
    return int(rng.integers(2**31))


def small_problem(rng: np.random.Generator, lam: float) -> tuple[ReducedProblem, np.ndarray]:
    """Two tanh neurons and the noisy targets of two others, whose parameters a minimiser is near to."""
    x = np.linspace(-1.0, 1.0, 10)[:, None]
    weights, biases = (
        np.array([3.0, 2.0]) + rng.uniform(-0.5, 0.5, 2),
        np.array([1.0, -1.0]) + rng.uniform(-0.3, 0.3, 2),
    )
    y = np.tanh(x * weights + biases) @ np.array([[1.0], [-2.0]]) + 0.1 * rng.standard_normal((10, 1))
    network = features.mlp(1, (2,), bias_feature=False)
    problem = ReducedProblem(SeparableProblem(network, x, y, regularization=lam))
    return problem, np.concatenate([weights, biases])


def overparametrised(rng: np.random.Generator, m: int, n: int, lam: float) -> ReducedProblem:
    """Rows in general position under a two-hidden-layer network of n features and many more parameters than m n."""
    network = features.mlp(2, (8, n), bias_feature=False, seed=draw(rng))
    inputs, targets = rng.uniform(-1.0, 1.0, (m, 2)), rng.standard_normal((m, 2))
    return ReducedProblem(SeparableProblem(network, inputs, targets, regularization=lam))
