"""The simplest path past a drop of rank, with the length that it has on either Grassmannian in closed form.

Phi(t) = [a, a + t b + d c] with orthonormal a, b, c is at distance d of the matrix [a, a] of rank 1 when t = 0. Of the
columns of [Phi; sqrt(lam) I] the first stays, and the part of the second that is orthogonal to it moves on a straight
line, w + t b with w orthogonal to b and |w|^2 = kappa^2 + d^2: it turns in a plane, so that the path is a geodesic.
This project's own derivation.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError

__all__ = ["PassingPath"]


@dataclass(frozen=True, eq=False)
class PassingPath:
    """Phi(t) = [a, a + t b + d c], whose rank is 1 at t = 0 if d = 0, and 2 elsewhere.

    Attributes:
        frame: (m, 3) orthonormal columns a, b, c.
        distance: d >= 0.
    """

    frame: np.ndarray
    distance: float

    def __post_init__(self) -> None:
        """Check the frame and the distance."""
        check_nonnegative(self.distance, "distance")
        frame = np.asarray(self.frame)
        if frame.ndim != 2 or frame.shape[1] != 3 or not np.allclose(frame.T @ frame, np.eye(3), atol=1e-12):
            raise ArgumentError(f"frame must have three orthonormal columns, got shape {frame.shape}")

    def matrices(self, times: Any) -> np.ndarray:
        """Phi at times (T,), as (T, m, 2)."""
        a, b, c = self.frame.T
        moved = a + np.multiply.outer(np.asarray(times, dtype=float), b) + self.distance * c
        return np.stack([np.broadcast_to(a, moved.shape), moved], axis=-1)

    def width(self, regularization: float = 0.0) -> float:
        """sqrt(kappa^2 + d^2) with kappa^2 = lam (2 + lam) / (1 + lam): the time that half of each turn takes."""
        lam = check_nonnegative(regularization, "regularization")
        return math.hypot(math.sqrt(lam * (2.0 + lam) / (1.0 + lam)), self.distance)

    def turned(self, times: Any, regularization: float = 0.0) -> np.ndarray:
        """Signed length of the path from the middle to times (T,), arctan(t / width), in radians.

        In Gr(m, 2) at lam = 0, in Gr(m + 2, 2) at lam > 0. As the width tends to zero, it tends to a jump of pi.
        """
        t, width = np.asarray(times, dtype=float), self.width(regularization)
        return np.arctan2(t, width)

    def values(self, times: Any, p: float, q: float, regularization: float = 0.0) -> np.ndarray:
        """f_lam of Phi at times (T,) for the target p a + q b; at d = lam = 0 it is 0, and q^2 / 2 at t = 0."""
        t, lam, d = np.asarray(times, dtype=float), check_nonnegative(regularization, "regularization"), self.distance
        left = p**2 * lam * (lam + t**2 + d**2) + q**2 * (lam * (2.0 + lam) + (1.0 + lam) * d**2) - 2 * p * q * lam * t
        whole = lam * (2.0 + lam) + (1.0 + lam) * (t**2 + d**2)
        return 0.5 * np.divide(left, whole, out=np.full(t.shape, q**2), where=whole > 0)
