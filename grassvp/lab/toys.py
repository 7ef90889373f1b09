"""Targets of toy problems: Y with prescribed eigenvalues of Y Y^T, and the checks of what prescribes them."""

import math
from collections.abc import Sequence

import numpy as np

from grassvp.errors import ArgumentError

__all__ = ["check_eigenvalues", "toy_targets"]


def toy_targets(eigenvalues: Sequence[float], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Y (rows, len(eigenvalues)) = V diag(sqrt(mu)) W^T with random orthonormal V and W.

    Y Y^T has the eigenvalues mu, and zeros for the rows beyond them.

    Raises:
        ArgumentError: more eigenvalues than rows, none, negative or not finite ones, or all of them zero.
    """
    mu = check_eigenvalues(eigenvalues, rows)
    left = np.linalg.qr(rng.standard_normal((rows, len(mu))))[0]
    right = np.linalg.qr(rng.standard_normal((len(mu), len(mu))))[0]
    return left * np.sqrt(mu) @ right.T


def check_eigenvalues(eigenvalues: Sequence[float], rows: int) -> np.ndarray:
    """The eigenvalues, largest first, or an exception that names them."""
    if not 1 <= len(eigenvalues) <= rows:
        raise ArgumentError(f"eigenvalues must be 1 to {rows} numbers, as many as rows, got {len(eigenvalues)}")
    if not all(math.isfinite(mu) and mu >= 0 for mu in eigenvalues) or max(eigenvalues) == 0:
        raise ArgumentError(f"eigenvalues must be finite, >= 0 and not all zero, got {tuple(eigenvalues)}")
    return np.sort(np.asarray(eigenvalues, dtype=float))[::-1]
