"""DPhi(theta) as a linear map: its rank, and which directions of theta leave the matrices of one rank.

Matrices of rank r are a manifold. With W Phi = U S V^T cut at rank r, the part of a change D of W Phi that leaves it is
(I - U U^T) D (I - V V^T): a change is tangent where that vanishes. For lam = 0 the value is smooth along the manifold
and jumps off it.

Sources: for constant rank G. Golub, V. Pereyra, The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate, 1973; for the tangent space B. Vandereycken, Low-rank matrix completion by Riemannian
optimization, 2013.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from grassvp.features import FeatureDerivatives
from grassvp.jacobians import weighted
from grassvp.linearization import Linearization
from grassvp.rank.motion import parameter_sizes, separate_directions
from grassvp.rank.numerical import column_scales

__all__ = ["RANK_LEVEL", "Departure", "departure", "differential_rank"]

RANK_LEVEL = 1e-10
WIDE_GAP = 1e5
MOST_WORK = 2e10  # floating-point operations of an orthogonal factorisation, a few seconds


def differential_rank(now: Linearization) -> int | None:
    """Rank of DPhi(theta) as a map from R^q to R^(m x n); None where it is too large to compute.

    Singular values above 1e-10 of the largest count, in float32 those above rounding level. DPhi is taken in blocks of
    rows that respect the memory limit of the problem.
    """
    (m, n), q = now.derivatives.values.shape, now.parameters.numel()
    level, separate = _level(now), separate_directions(now)
    if separate is not None:
        triangle = _triangle(_neuron_blocks(now, separate))
    elif _affordable(m * n, q):
        identity = torch.eye(n, dtype=now.parameters.dtype, device=now.parameters.device)
        triangle = _triangle(block.reshape(-1, q) for block in _slope_blocks(now, identity))
    else:
        return None
    s = np.linalg.svd(triangle, compute_uv=False)
    return int(np.sum(s > level * s.max()))


def _neuron_blocks(now: Linearization, separate: Tensor) -> Iterator[Tensor]:
    """Row blocks of the parts (n, rows, d + 1) of which DPhi is made where parameters move one column each."""
    for block in _row_blocks(now, now.problem.width * len(separate)):
        yield torch.stack([block.pushforward(direction).T for direction in separate], dim=2)


@dataclass(frozen=True, eq=False)
class Departure:
    """The map v -> (I - P) W DPhi[v] (I - P_row), by which directions of theta leave the matrices of one rank.

    Attributes:
        rank: its rank, the dimension of what leaves.
        basis: (q, rank) orthonormal basis of the directions orthogonal to all those that stay.
    """

    rank: int
    basis: np.ndarray

    def staying(self, vector: np.ndarray) -> np.ndarray:
        """The orthogonal projection of a vector (q,) on the directions that stay."""
        return vector - self.basis @ (self.basis.T @ vector)


def departure(now: Linearization, rank: int, gap: float, size: float) -> Departure | None:
    """How directions of theta leave the matrices of the rank that W Phi has; None if too large to compute.

    Args:
        now: the linearisation.
        rank: numerical rank of W Phi, with the column scaling of the problem.
        gap: of its singular values there. Cutting them turns the spaces by about 1 / gap. Where the gap is at least
            1e5, what is below that counts as zero; where it is less, what the turn adds is counted as leaving.
        size: length of W DPhi with its columns times the sizes of the parameters; below 1e-10 of it, all is zero.
    """
    m, n, q = now.problem.rows, now.problem.width, now.parameters.numel()
    if rank == min(m, n):
        return Departure(0, np.zeros((q, 0)))
    if not _affordable(m * (n - rank), q):
        return None
    basis, null = _spaces(now, rank)
    inside = sum(basis[rows].T @ block.flatten(1) for rows, block in _weighted_blocks(now, null))
    outside = (
        (block.flatten(1) - basis[rows] @ inside).view(-1, q)  # pyright: ignore[reportOperatorIssue]
        for rows, block in _weighted_blocks(now, null)
    )
    sizes = parameter_sizes(now).double().cpu().numpy()
    _, s, Vt = np.linalg.svd(_triangle(outside) * sizes, full_matrices=False)
    turn = 1.0 / gap if gap >= WIDE_GAP else 0.0
    kept = s > max(_level(now), turn) * size
    if not kept.any():
        return Departure(0, np.zeros((q, 0)))
    leaving = np.linalg.qr(Vt[kept].T / sizes[:, None])[0]
    return Departure(int(kept.sum()), leaving)


def _spaces(now: Linearization, rank: int) -> tuple[Tensor, Tensor]:
    """Orthonormal basis (m, rank) of the columns of W Phi, and a basis (n, n - rank) of its null space."""
    triangle, problem = now.projection.triangle.cpu().numpy(), now.problem
    scale = column_scales(triangle) if problem.column_scaling else np.ones(problem.width)
    U, _, Vt = np.linalg.svd(triangle / scale, full_matrices=True)
    null = np.linalg.qr(Vt[rank:].T / scale[:, None])[0]
    Q = now.projection.orthonormal
    return Q @ torch.from_numpy(U[:, :rank]).to(Q), torch.from_numpy(null).to(Q)


def _weighted_blocks(now: Linearization, right: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Row blocks of W DPhi N, (rows, columns, q), for N = `right` (n, columns), with where they stand."""
    padding = now.derivatives.values.shape[1] - len(right)  # columns of an offset have no part in the rank
    full = torch.nn.functional.pad(right, (0, 0, 0, padding))
    start = 0
    for block in _slope_blocks(now, full):
        rows = slice(start, start + len(block))
        yield rows, block if now.problem.weights is None else weighted(block, now.problem.weights[rows])
        start = rows.stop


def _slope_blocks(now: Linearization, right: Tensor) -> Iterator[Tensor]:
    """Row blocks of DPhi N, (rows, columns, q)."""
    for block in _row_blocks(now, right.shape[1] * now.parameters.numel()):
        yield block.contract(right)


def _row_blocks(now: Linearization, entries: int) -> Iterator[FeatureDerivatives]:
    """DPhi in blocks of rows that take an eighth of the memory limit, for arrays with so many entries a row."""
    m, rows = now.problem.rows, max(1, now.problem.memory_limit // (64 * entries))
    for start in range(0, m, rows):
        yield now.derivatives.block(start, min(start + rows, m))


def _triangle(blocks: Iterator[Tensor]) -> np.ndarray:
    """R (..., p, q) of the QR factorisation of matrices given as row blocks (..., rows, q)."""
    R: Tensor | None = None
    for block in blocks:
        R = torch.linalg.qr(block.double() if R is None else torch.cat([R, block.double()], dim=-2), mode="r").R
    if R is None:
        raise AssertionError("a problem has at least one row")
    return R.cpu().numpy()


def _level(now: Linearization) -> float:
    eps = torch.finfo(now.derivatives.values.dtype).eps
    return max(RANK_LEVEL, max(now.derivatives.values.shape) * eps)


def _affordable(rows: int, q: int) -> bool:
    return 2.0 * rows * q * min(rows, q) <= MOST_WORK
