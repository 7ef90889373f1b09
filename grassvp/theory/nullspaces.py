"""Why a Hessian has null directions at a critical point, and whether the critical points continue along them.

A null direction is explained where it is tangent to a manifold of critical points (the function is Morse-Bott there).
For subspace problems that manifold is known in closed form. Elsewhere it is looked for: step along random null
directions, correct with Newton steps in the other directions, and see whether the gradient vanishes again. A quartic
direction such as that of x^4 fails this, a symmetry passes.
"""

from dataclasses import dataclass

import numpy as np
import torch

from grassvp.linearization import Linearization
from grassvp.theory.objectives import LocalModel, Objective
from grassvp.theory.spectra import HessianSpectrum

__all__ = [
    "FeatureDifferential",
    "critical_points_continue",
    "feature_differential",
    "invariant_directions",
    "runs_off",
    "saturated",
]

STEPS = (0.1, 0.02)  # lengths of the trial steps, relative to the size of a parameter; the second if curves are tight
PROBES = 3
CORRECTIONS = 10
RANK_TOLERANCE = 1e-10
MOST_ENTRIES = 2**25  # of DPhi as a matrix: 256 MiB
MOST_WORK = 2e10  # floating-point operations of its singular value decomposition
SKETCH = 400
SATURATED = 1e-5


def critical_points_continue(
    objective: Objective, model: LocalModel, spectrum: HessianSpectrum, threshold: float, allowed: float
) -> bool:
    """Whether critical points fill a manifold tangent to the null space, as far as random directions can tell.

    Args:
        objective: the function.
        model: the function around a critical point.
        spectrum: the complete spectrum of its Hessian there.
        threshold: eigenvalues up to this size are null.
        allowed: gradient norm up to which a point counts as critical.
    """
    null = spectrum.vectors[:, np.abs(spectrum.eigenvalues) <= threshold]
    if null.shape[1] == 0:
        return True
    rng = np.random.default_rng(0)
    size = 1.0 + float(np.linalg.norm(model.point)) / np.sqrt(model.point.size)
    for draw in rng.standard_normal((min(PROBES, null.shape[1]), null.shape[1])):
        direction = null @ (draw / np.linalg.norm(draw))
        if not any(_continues(objective, model, t * size * direction, null.shape[1], allowed) for t in STEPS):
            return False
    return True


def _continues(objective: Objective, model: LocalModel, step: np.ndarray, nullity: int, allowed: float) -> bool:
    """Whether a step along the null space can be corrected, by less than itself, to a critical point of equal value."""
    length, travelled = float(np.linalg.norm(step)), 0.0
    trial = objective.at(objective.move(model, step))
    for _ in range(CORRECTIONS):
        if trial is None:
            return False
        if trial.gradient_norm <= allowed:
            return abs(trial.value - model.value) <= allowed * (1.0 + length)
        values, vectors = np.linalg.eigh(trial.hessian)
        kept = np.argsort(np.abs(values))[nullity:]
        if not kept.size or values[kept[0]] == 0:
            return False
        correction = -vectors[:, kept] @ ((vectors[:, kept].T @ trial.gradient) / values[kept])
        travelled += float(np.linalg.norm(correction))
        if travelled > length:
            return False
        trial = objective.at(objective.move(trial, correction))
    return False


@dataclass(frozen=True)
class FeatureDifferential:
    """Rank of DPhi(theta) as a map from R^q to R^(m x n).

    Attributes:
        rank: the rank, or a lower bound from random projections where the matrix is too large.
        exact: which of the two.
        full: the largest it could be, min(q, m n).
        entries: m n.
    """

    rank: int
    exact: bool
    full: int
    entries: int

    @property
    def onto(self) -> bool:
        """Whether every direction of R^(m x n) is reached."""
        return self.rank == self.entries

    def __str__(self) -> str:
        return f"{'' if self.exact else 'at least '}{self.rank}"


def feature_differential(now: Linearization) -> FeatureDifferential:
    """The rank of DPhi at a linearisation, from singular values above 1e-10 of the largest."""
    (m, n), q = now.derivatives.values.shape, now.parameters.numel()
    full = min(q, m * n)
    if _fits(m * n, q):
        return FeatureDifferential(_rank(_slopes(now).reshape(m * n, q)), True, full, m * n)
    count = min(full, SKETCH)
    rng, like = np.random.default_rng(0), now.derivatives.values
    eye = torch.eye(n, dtype=like.dtype, device=like.device)
    draws = (torch.from_numpy(rng.standard_normal((m, n))).to(like) for _ in range(count))
    rank = _rank(np.stack([_double(now.derivatives.pullback(draw, eye)) for draw in draws]))
    return FeatureDifferential(rank, rank < count, full, m * n)


def saturated(now: Linearization) -> bool:
    """Whether some parameter has no effect on the features any more, or all parameters of one column could be doubled.

    To five digits of the features' norm; only columns with parameters of their own are tried.
    """
    values, q = now.derivatives.values, now.parameters.numel()
    if not _fits(values.numel(), q):
        return False
    slopes, allowed = _slopes(now), SATURATED * float(torch.linalg.vector_norm(values))
    if np.any(np.linalg.norm(slopes, axis=(0, 1)) * (1.0 + np.abs(_double(now.parameters))) <= 1e-3 * allowed):
        return True
    with torch.no_grad():
        for parameters in filter(len, _own_parameters(slopes)):
            doubled = now.parameters.clone()
            doubled[torch.from_numpy(parameters)] *= 2.0
            if float(torch.linalg.vector_norm(now.problem.features(doubled, now.problem.inputs) - values)) <= allowed:
                return True
    return False


def runs_off(now: Linearization, directions: np.ndarray) -> bool:
    """Whether the features stay as they are, to five digits, far along one of the directions (q, s) but not backwards.

    A neuron that has become a step does so; a redundant parameter leaves the features alone both ways.
    """
    values, theta = now.derivatives.values, now.parameters
    allowed = SATURATED * float(torch.linalg.vector_norm(values))
    far = 1.0 + float(torch.linalg.vector_norm(theta))

    def moved(step: np.ndarray) -> bool:
        there = now.problem.features(theta + torch.from_numpy(step).to(theta), now.problem.inputs)
        return not float(torch.linalg.vector_norm(there - values)) <= allowed

    with torch.no_grad():
        return any(moved(far * v) != moved(-far * v) for v in directions.T)


def _own_parameters(slopes: np.ndarray) -> list[np.ndarray]:
    """For each column of Phi, the indices of the parameters that move it and no other."""
    moved = np.linalg.norm(slopes, axis=0) > 0
    own = moved & (moved.sum(axis=0) == 1)
    return [np.flatnonzero(row) for row in own]


def invariant_directions(now: Linearization) -> np.ndarray | None:
    """Orthonormal basis (q, s) of the parameter directions along which the value stays for a reason; None if too large.

    Two reasons. The features change but what the value depends on does not, whatever the targets: their span at
    lam = 0, the kernel Phi Phi^T at lam > 0. Or they are parameters of a neuron (a column of Phi moved by parameters
    that move no other) whose coefficients are zero, in directions that keep it orthogonal to the residual.
    """
    (m, n), q = now.derivatives.values.shape, now.parameters.numel()
    if not _fits(m * n, q):
        return None
    slopes = _slopes(now)
    reasons = [_null_space(_moved(now, slopes)), *_idle_neurons(now, slopes)]
    together = np.concatenate(reasons, axis=1)
    U, s, _ = np.linalg.svd(together, full_matrices=False)
    return U[:, s > 1e-8]


def _moved(now: Linearization, slopes: np.ndarray) -> np.ndarray:
    """First-order change of the span (lam = 0) or of Phi Phi^T (lam > 0) by each parameter, as columns."""
    (m, n, q), weights = slopes.shape, now.problem.weights
    Phi = _double(now.derivatives.values)
    if weights is not None:
        w = _double(weights)
        slopes, Phi = w[:, None, None] * slopes, w[:, None] * Phi
    U, s, Vt = np.linalg.svd(Phi, full_matrices=False)
    Q = U[:, : now.rank]
    inside = np.tensordot(Q.T, slopes, axes=1)
    outside = (slopes - np.tensordot(Q, inside, axes=1)).reshape(m * n, q)
    if now.problem.regularization == 0.0:
        return outside
    turned = np.einsum("pnj,rn,r->prj", inside, Vt[: now.rank], s[: now.rank] / s[0])
    return np.concatenate([outside, (turned + turned.transpose(1, 0, 2)).reshape(-1, q)])


def _idle_neurons(now: Linearization, slopes: np.ndarray) -> list[np.ndarray]:
    """For each column of Phi whose coefficients are zero, directions of its own parameters that keep them zero."""
    C, residual = _double(now.coefficients), _double(now.projection.residual)
    weights = now.problem.weights
    left = residual if weights is None else _double(weights)[:, None] * residual
    sizes, own = np.linalg.norm(C, axis=1), _own_parameters(slopes)
    found = []
    for column in np.flatnonzero(sizes <= 1e-9 * max(float(sizes.max()), 1e-300)):
        parameters = own[column]
        if parameters.size:
            free = _null_space(left.T @ slopes[:, column, parameters])
            basis = np.zeros((slopes.shape[2], free.shape[1]))
            basis[parameters] = free
            found.append(basis)
    return found


def _fits(rows: int, q: int) -> bool:
    return rows * q <= MOST_ENTRIES and rows * q * min(rows, q) <= MOST_WORK


def _slopes(now: Linearization) -> np.ndarray:
    """DPhi, (m, n, q)."""
    values = now.derivatives.values
    return _double(now.derivatives.contract(torch.eye(values.shape[1], dtype=values.dtype, device=values.device)))


def _rank(matrix: np.ndarray) -> int:
    s = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(s > RANK_TOLERANCE * s[0])) if s.size and s[0] > 0 else 0


def _null_space(matrix: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the null space, (columns, nullity)."""
    _, s, Vt = np.linalg.svd(np.linalg.qr(matrix, mode="r"))
    return Vt[int(np.sum(s > RANK_TOLERANCE * s[0])) :].T if s[0] > 0 else np.eye(matrix.shape[1])


def _double(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
