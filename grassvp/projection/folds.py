"""K-fold cross-validation of a ridge solve for all lam at once, without solving it once for each lam.

Fold j holds rows A_j, Y_j back. With A = U diag(s) V^T the rows of fold j are A_j = U_j diag(s) V^T, so that in the
coordinates V^T C everything is p-dimensional. Each fold leaves a triangle R_j of [U_j diag(s), Y_j]; those of the other
folds, stacked and decomposed, give C for every lam, and R_j gives its error on the rows held back.

Source: M. Stone, J. R. Statist. Soc. B 36 (1974); the arrangement by triangles is ours.
"""

import math

import numpy as np
import torch
from torch import Tensor

from grassvp.projection.spectrum import Spectrum

__all__ = ["cross_validation", "fold_errors"]

ENTRIES = 2**21  # of the arrays that several lam or folds share


def cross_validation(spectrum: Spectrum, targets: Tensor, lams: Tensor, folds: int = 10, seed: int = 0) -> Tensor:
    """sum_j ||A_j C_j(lam) - Y_j||^2 for each lam, C_j fitted without fold j; see `fold_errors`."""
    return fold_errors(spectrum, targets, lams, folds, seed).sum(1)


def fold_errors(spectrum: Spectrum, targets: Tensor, lams: Tensor, folds: int = 10, seed: int = 0) -> Tensor:
    """||A_j C_j(lam) - Y_j||^2 for each lam and each fold, (count, folds); infinite for fewer than two rows.

    Args:
        spectrum: of A, with its rows.
        targets: Y, (m, k), weighted.
        lams: (count,).
        folds: parts that the rows are divided into at random, at most m.
        seed: of the division; two calls with one seed divide alike.
    """
    m, p = targets.shape[0], spectrum.singular_values.numel()
    folds = min(folds, m)
    if folds < 2:
        return lams.new_full((len(lams), 1), math.inf)
    size = -(-m // folds)
    order = np.full(folds * size, m)  # rows that are missing to equal parts are zero
    order[np.arange(m)] = np.random.default_rng(seed).permutation(m)
    A = torch.cat([spectrum.basis * spectrum.singular_values, spectrum.basis.new_zeros(1, p)])
    Y = torch.cat([targets.double(), targets.new_zeros(1, targets.shape[1]).double()])
    index = torch.from_numpy(order.reshape(size, folds).T.copy()).to(A.device)
    return _held_back(A[index], Y[index], lams, spectrum)


def _held_back(A: Tensor, Y: Tensor, lams: Tensor, spectrum: Spectrum) -> Tensor:
    """The errors for parts A (folds, size, p) and Y (folds, size, k)."""
    folds, size, p = A.shape
    if size > p:  # the part of Y outside of the span of its fold is missed by every C
        Q, A = torch.linalg.qr(A)
        inside = Q.mT @ Y
        missed, Y = torch.sum((Y - Q @ inside) ** 2, dim=(1, 2)), inside
    else:
        missed = Y.new_zeros(folds)
    together = max(1, ENTRIES // (A.numel() + Y.numel()))
    parts = [_of_folds(A, Y, range(j, min(j + together, folds)), lams, spectrum) for j in range(0, folds, together)]
    return torch.cat(parts, dim=1) + missed


def _of_folds(A: Tensor, Y: Tensor, held: range, lams: Tensor, spectrum: Spectrum) -> Tensor:
    """The errors of some folds, each fitted to all others, (count, len(held))."""
    others = torch.tensor([[i for i in range(len(A)) if i != j] for j in held], device=A.device)
    rest, right = A[others].flatten(1, 2), Y[others].flatten(1, 2)
    A, Y = A[held.start : held.stop], Y[held.start : held.stop]
    Q, R = torch.linalg.qr(rest)
    U, s, Vh = torch.linalg.svd(R, full_matrices=False)
    Z = U.mT @ (Q.mT @ right)
    noise = math.sqrt(spectrum.floor)
    back, total = A @ Vh.mT, []
    for part in lams.split(max(1, ENTRIES // Z.numel())):
        kept = torch.where(s[..., None] > noise, s[..., None] / (s[..., None] ** 2 + part), 0.0)
        errors = (back @ (kept[..., None] * Z[:, :, None]).flatten(2)).unflatten(2, (len(part), -1)) - Y[:, :, None]
        total.append(torch.sum(errors**2, dim=(1, 3)).T)
    return torch.cat(total)
