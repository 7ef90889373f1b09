"""How much of a span of columns another one has lost."""

import math

import torch
from torch import Tensor

from grassvp.surgery.detection import unit_columns
from manifolds.subspaces import principal_angles

__all__ = ["lost_angle"]


def lost_angle(before: Tensor, after: Tensor, tolerance: float, noise: float) -> float:
    """The largest angle between a direction of span(`before`) and span(`after`), in radians; pi/2 for a lost direction.

    Args:
        before: (m, n) columns. At length one, directions below `tolerance` times the largest singular value are none.
        after: (m, p) columns, whose directions count above `noise`.
        tolerance: as above.
        noise: as above.
    """
    U, V = _basis(before, tolerance), _basis(after, noise)
    if U.shape[1] == 0:
        return 0.0
    return math.pi / 2 if U.shape[1] > V.shape[1] else float(principal_angles(U, V).max())


def _basis(columns: Tensor, tolerance: float) -> Tensor:
    Q, R = torch.linalg.qr(unit_columns(columns)[0])
    U, s, _ = torch.linalg.svd(R, full_matrices=False)
    return Q @ U[:, s > tolerance * s[0]]
