"""Descents: what a method takes the objective to be near the current point, and the steps it proposes there.

The Gauss-Newton model of 1/2 ||r||^2 is 1/2 ||r + J p||^2. One QR of [J r] leaves a triangle R and z = Q^T r with
which every damping is tried at a cost free of the number of rows: (R^T R + mu D^2) p = -R^T z is the least-squares
problem [R; sqrt(mu) D] p = [-z; 0], solved by QR and never through the normal equations, which would square its
condition number.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.solvers.protocols import LeastSquaresPoint

__all__ = ["GaussNewtonDescent", "GaussNewtonModel", "Step"]

SMALLEST_SCALE = 1e-8  # of the largest column norm: keeps D invertible for parameters that have no effect


@dataclass(frozen=True)
class Step:
    """A proposed step p with the reduction of the value that the model predicts for it."""

    vector: Tensor
    predicted_reduction: float
    slope: float

    def scaled(self, length: float) -> "Step":
        """The step t p: its predicted reduction -t g.p - t^2/2 ||J p||^2 follows from those of p."""
        curvature = 2.0 * (-self.slope - self.predicted_reduction)
        return Step(length * self.vector, -length * self.slope - 0.5 * length**2 * curvature, length * self.slope)


@dataclass(frozen=True)
class GaussNewtonModel:
    """1/2 ||r + J p||^2 around one point, compressed to a triangle.

    Attributes:
        triangle: R of the QR of J, (min(rows, q), q).
        target: z = Q^T r, (min(rows, q),).
        scale: D, (q,), the largest norm that each column of J has had so far.
    """

    triangle: Tensor
    target: Tensor
    scale: Tensor

    def step(self, damping: float) -> Step:
        """Minimiser of 1/2 ||r + J p||^2 + mu/2 ||D p||^2; of least ||D p|| at mu = 0."""
        p = self._undamped() if damping == 0.0 else self._damped(damping)
        image = self.triangle @ p
        slope = float(image @ self.target)
        return Step(p, -slope - 0.5 * float(image @ image), slope)

    def _damped(self, damping: float) -> Tensor:
        q = self.scale.numel()
        stacked = torch.cat([self.triangle, torch.diag(math.sqrt(damping) * self.scale)])
        right = torch.cat([-self.target, self.target.new_zeros(q)])
        R = torch.linalg.qr(torch.cat([stacked, right[:, None]], dim=1), mode="r").R
        return torch.linalg.solve_triangular(R[:q, :q], R[:q, q:], upper=True)[:, 0]

    def _undamped(self) -> Tensor:
        U, s, Vh = torch.linalg.svd(self.triangle / self.scale, full_matrices=False)
        kept = s > max(self.triangle.shape) * torch.finfo(s.dtype).eps * s[0]
        inner = torch.where(kept, U.T @ -self.target / torch.where(kept, s, 1.0), 0.0)
        return (Vh.T @ inner) / self.scale


@dataclass(frozen=True)
class GaussNewtonDescent:
    """Builds the Gauss-Newton model with a Jacobian of the given kind; "auto" takes the one the point prefers."""

    jacobian: str = "auto"

    def __call__(self, point: LeastSquaresPoint, previous: GaussNewtonModel | None) -> GaussNewtonModel:
        """The model at `point`; `previous` carries the column scales on, which may only grow (More, 1978)."""
        kind = point.preferred_jacobian if self.jacobian == "auto" else self.jacobian
        J = point.jacobian(kind)
        norms = torch.linalg.vector_norm(J, dim=0)
        scale = norms if previous is None else torch.maximum(previous.scale, norms)
        floor = SMALLEST_SCALE * scale.max()
        R = torch.linalg.qr(torch.cat([J, point.residual.reshape(-1, 1)], dim=1), mode="r").R
        q = J.shape[1]
        triangle, target = R[:q, :q], R[:q, q]
        return GaussNewtonModel(triangle, target, torch.where(floor > 0, scale.clamp_min(floor), 1.0))
