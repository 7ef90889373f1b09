"""Least squares with bounds on the coefficients, lower <= C <= upper, as an active-set solve on the small factor.

With A_lam = Q S, S (p, n), each output l is the small problem min_c ||S c - Q^T y_l|| within its bounds. Its solution
fixes some coefficients at a bound and leaves the others free: near the point the projection is the one onto the free
columns, with the fixed ones moved to the right-hand side. By the envelope theorem the gradient of the value keeps its
form, and where no free coefficient touches its bound the active set is locally constant and so are the derivatives.

Free columns can depend on each other though all columns together, cut to their rank, do not show it. At lam = 0 their
singular values are cut at the same absolute level, so that the coefficients keep the bound that the cut gives them; and
which are free is then asked of the problem with a ridge of that size, whose answer is unique. At lam > 0 those at
rounding level count as exact zeros, as they do without bounds.

Sources: Lawson and Hanson 1974 (nonnegative least squares), Stark and Parker 1995 (bounded variables).
"""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import lsq_linear, nnls
from torch import Tensor

from grassvp.projection.projection import Projection
from grassvp.projection.restriction import Restriction

__all__ = ["bounded_projection"]


def bounded_projection(
    unbounded: Projection, matrix: Tensor, targets: Tensor, lower: Tensor, upper: Tensor
) -> Projection:
    """The solution of min_C ||A C - Y||^2 + lam ||C||^2 with lower <= C <= upper.

    Args:
        unbounded: the solution without the bounds, whose factors are used.
        matrix: A, (m, n).
        targets: Y, (m, k).
        lower: (n, k) lower bounds, -inf where there is none.
        upper: (n, k) upper bounds.
    """
    lam = unbounded.regularization
    S = unbounded.inside(matrix).double()
    if unbounded.tail is not None:
        S = S + math.sqrt(lam) * unbounded.tail.T.double()
    right = unbounded.inside(targets).double()
    C, free = _solve_within(S, right, lower.double(), upper.double())
    D = S.new_ones(S.shape[1]) if unbounded.column_scale is None else unbounded.column_scale
    level = unbounded.rank_tolerance * float(torch.linalg.matrix_norm(unbounded.triangle / D, 2))
    if lam > 0.0 and unbounded.column_scale is None:
        restriction = _ridge_restriction(unbounded, free, level)
    else:
        restriction, was_cut = _restriction(S, free, D, level if lam == 0.0 else 0.0)
        if was_cut:
            ridge, nothing = level * torch.diag(D), right.new_zeros(S.shape[1], right.shape[1])
            C, free = _solve_within(torch.cat([S, ridge]), torch.cat([right, nothing]), lower.double(), upper.double())
            restriction, _ = _restriction(S, free, D, level)
    fixed = torch.where(free, 0.0, C)
    held = replace(unbounded, restriction=restriction)
    residual, residual_tail, coordinates = _residual(held, matrix, targets, fixed.to(targets.dtype))
    moved = held.dual_combination(coordinates)
    coefficients = torch.clamp(torch.where(free, moved, fixed), lower, upper).to(targets.dtype)
    return replace(held, coefficients=coefficients, residual=residual, residual_tail=residual_tail)


def _solve_within(S: Tensor, right: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """C by an active-set method, each column in units in which S and the column are of size one, and what is free.

    Where the method holds a coefficient, C has the bound itself, which scaling back and forth might miss by rounding.
    """
    matrix, columns = S.cpu().numpy(), right.cpu().numpy()
    size = float(np.abs(matrix).max(initial=0.0)) or 1.0
    low, high = lower.cpu().numpy(), upper.cpu().numpy()
    C, active = np.empty(low.shape), np.empty(low.shape, dtype=int)
    for output, b in enumerate(columns.T):
        unit = (float(np.linalg.norm(b)) or 1.0) / size
        if not low[:, output].any() and np.isposinf(high[:, output]).all():
            C[:, output] = unit * nnls(matrix / size, b / (unit * size))[0]
            active[:, output] = -(C[:, output] <= 0.0).astype(int)
        else:
            bounds = (low[:, output] / unit, high[:, output] / unit)
            found = lsq_linear(matrix / size, b / (unit * size), bounds, "bvls", tol=1e-15, max_iter=100 * len(low))
            C[:, output], active[:, output] = unit * found.x, found.active_mask
    C = np.where(active < 0, low, np.where(active > 0, high, np.clip(C, low, high)))
    return torch.from_numpy(C).to(S.device), torch.from_numpy(active == 0).to(S.device)


def _restriction(S: Tensor, free: Tensor, D: Tensor, level: float) -> tuple[Restriction, bool]:
    """What is left of the columns of S output by output, and whether anything but rounding was cut from S D^-1."""
    p, n = S.shape
    projectors, factors, was_cut = [], [], False
    for column in free.T:
        U, s, Vh = torch.linalg.svd(S / D * column, full_matrices=False)
        noise = max(p, n) * torch.finfo(s.dtype).eps * float(s.max()) if s.numel() else 0.0
        rank, was_cut = int((s > max(noise, level)).sum()), was_cut or bool(((s > noise) & (s <= level)).any())
        U, s, Vh = U[:, :rank], s[:rank], Vh[:rank]
        projectors.append(U @ U.T)
        factors.append(U @ (Vh / s[:, None]) / D)
    return Restriction(torch.stack(projectors), torch.stack(factors), free), was_cut


def _ridge_restriction(unbounded: Projection, free: Tensor, level: float) -> Restriction:
    """The same at lam > 0, in coordinates of Q; singular values of free columns of A up to `level` are zeros."""
    lam, R, tail = unbounded.regularization, unbounded.triangle, unbounded.tail
    assert tail is not None
    projectors, factors = [], []
    for column in free.T:
        U, s, Vh = torch.linalg.svd(R[:, column])
        kept = s.new_zeros(Vh.shape[0])
        kept[: s.numel()] = torch.where(s > level, s, 0.0)
        norms = torch.sqrt(kept**2 + lam)
        basis = tail.double().T[:, column] @ (Vh.T * (math.sqrt(lam) / norms))
        basis[:, : s.numel()] += unbounded.inward(U.to(tail)).double()[:, : s.numel()] * (kept / norms)[: s.numel()]
        factor = basis.new_zeros(basis.shape[0], R.shape[1])
        factor[:, column] = basis @ (Vh / norms[:, None])
        projectors.append(basis @ basis.T)
        factors.append(factor)
    return Restriction(torch.stack(projectors), torch.stack(factors), free)


def _residual(held: Projection, A: Tensor, Y: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """[Y - A C_fixed; -sqrt(lam) C_fixed] projected twice off the free columns, and its coordinates in Q."""
    residual, tail = Y - A @ fixed, None if held.tail is None else -math.sqrt(held.regularization) * fixed
    total = Y.new_zeros(held.pseudo_factor.shape[0], Y.shape[1])
    for _ in range(2):
        inside = held.coordinates(residual, tail)
        residual = residual - held.combined(inside)
        tail = None if held.tail is None or tail is None else tail - held.tail @ inside
        total = total + inside
    return residual, tail, total
