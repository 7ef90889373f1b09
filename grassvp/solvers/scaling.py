"""How long a step is: ||D p|| with D from the columns of the Jacobian or from the sizes of the parameters.

Either makes a solve independent of the units of the parameters. The columns' norms know what a parameter does to the
residual; the parameters' sizes let sharp neurons, whose columns are large and change fast, move on the scale of their
own weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["SCALINGS", "Scale", "column_scale", "parameter_scale"]

SCALINGS = ("auto", "columns", "parameters")
SMALLEST = 1e-8  # of the largest column norm: keeps D invertible for parameters that have no effect


@dataclass(frozen=True, eq=False)
class Scale:
    """D as a vector, and what the next point's D follows from.

    Attributes:
        weights: D, (q,), positive.
        held: (q,) entries that must not move, or None.
        units: (q,) natural sizes of the parameters, for `parameter_scale`.
        factor: what turns the parameters' sizes into column norms, for `parameter_scale`.
        largest: largest squared column of J D^-1 at this point, which the rounding of J^T J goes like.
        cancelling: the same of what J^T J is a small difference of when it is made without J, as far as it is known.
    """

    weights: Tensor
    held: Tensor | None = None
    units: Tensor | None = None
    factor: float = 0.0
    largest: float = 1.0
    cancelling: float = 1.0

    def size_of(self, diagonal: Tensor) -> float:
        """The largest entry of the diagonal of a matrix, scaled on both sides."""
        return float((diagonal * self.inverse**2).max())

    @property
    def inverse(self) -> Tensor:
        """D^-1, with zeros for what is held."""
        return 1.0 / self.weights if self.held is None else torch.where(self.held, 0.0, 1.0 / self.weights)

    def reach(self, parameters: Tensor, units: Tensor | None) -> float:
        """||D (|theta| + u)||, how far a step may go at first; ||D|| where theta is zero and no units are known."""
        size = parameters.abs() + (0.0 if units is None else units)
        return float(torch.linalg.vector_norm(self.weights * torch.where(size > 0, size, 1.0)))


def column_scale(norms: Tensor, held: Tensor | None, previous: Scale | None) -> Scale:
    """D_j = the largest norm that column j of the Jacobian has had so far (More 1978)."""
    largest = norms if previous is None else torch.maximum(previous.weights, norms)
    floor = SMALLEST * largest.max()
    return Scale(torch.where(floor > 0, largest.clamp_min(floor), 1.0), held)


def parameter_scale(
    parameters: Tensor, units: Tensor | None, norms: Tensor, held: Tensor | None, previous: Scale | None
) -> Scale:
    """D_j = c / (|theta_j| + u_j), with c from the first point: there the largest column of J D^-1 has norm one.

    u_j is the natural unit of the parameter, or its size at the first point where none is known.
    """
    if previous is None:
        sizes = torch.where(parameters != 0, parameters.abs(), 1.0)
        units = sizes if units is None else units
        factor = float((norms * (parameters.abs() + units)).max()) or 1.0
    else:
        units, factor = previous.units, previous.factor
    return Scale(factor / (parameters.abs() + units), held, units, factor)  # pyright: ignore[reportOperatorIssue]
