"""What bounds on the coefficients leave of a subspace, output by output."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Restriction", "output_wise"]


@dataclass(frozen=True, eq=False)
class Restriction:
    """What bounds on the coefficients leave of Q, output by output: Q P_l is spanned by the free columns of A_lam.

    Attributes:
        projectors: (k, p, p) orthogonal projectors P_l.
        factors: (k, p, n) matrices L_l that take the place of L; rows and columns of coefficients at a bound are zero.
        free: (n, k), which coefficients lie strictly between their bounds.
    """

    projectors: Tensor
    factors: Tensor
    free: Tensor

    def project(self, coordinates: Tensor) -> Tensor:
        """P_l times the slice of output l, for coordinates (p, k, ...)."""
        return output_wise(self.projectors, coordinates)


def output_wise(matrices: Tensor, coordinates: Tensor) -> Tensor:
    """Matrix l times the slice of output l: (k, a, b) and (b, k, ...) to (a, k, ...)."""
    return torch.einsum("lab,bl...->al...", matrices.to(coordinates.dtype), coordinates)
