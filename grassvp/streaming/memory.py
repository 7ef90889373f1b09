"""What Gauss-Newton steps remember of earlier batches: one linearised least-squares problem in C and theta.

Batch b, met at (theta_b, C_b), says of later ones
    A_b C - Y_b + G_b (theta - theta_b),      G_b = W DPhi(theta_b) C_b,
so that a step of theta shifts its targets instead of leaving its features stale. With J_b = -G_b, all of them together,
each forgotten by gamma a batch, are kept as the triangular factors of
    [ A   J   Y ]  ->  [ R   E   Z ]      R (n, n),  E (n, k, q),  Z (n, k): the part in the span of the features
                       [ 0   T   t ]      T (q, q),  t (q,): the rest, Kaufman's Jacobian of all rows and its residual
and a step p leads to Z + E p, t + T p. Minimising over C for a given lam adds what [R; sqrt(lam) I] leaves of E and Z:
    min over C = 1/2 ||t + T p||^2 + 1/2 ||(I - B B^T) [Z + E p; 0]||^2,      B a basis of [R; sqrt(lam) I].
For one batch this is Kaufman's Gauss-Newton model of the reduced problem; for many at lam = 0 and gamma = 1 it is the
extended Kalman filter in (C, theta) with C eliminated, here by rotations and not by covariances.

Sources: D. Bertsekas, Incremental least squares methods and the extended Kalman filter, 1996; L. Kaufman 1975. Keeping
the elimination of C under forgetting and a changing lam is ours.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.projection import Projection
from grassvp.projection.streaming import Absorption, StreamingProjection
from grassvp.streaming.rows import LinearizedRows

__all__ = ["Memory"]


@dataclass(frozen=True, eq=False)
class Memory:
    """Earlier batches, linearised; immutable.

    Attributes:
        projection: R, Z and how many rows they stand for.
        cross: E, (n, k, q).
        triangle: T, (q, q).
        residual: t, (q,).
    """

    projection: StreamingProjection
    cross: Tensor
    triangle: Tensor
    residual: Tensor

    @staticmethod
    def empty(width: int, outputs: int, parameters: Tensor) -> "Memory":
        """No batches yet."""
        q, zeros = parameters.numel(), torch.zeros
        like = {"dtype": torch.float64, "device": parameters.device}
        projection = StreamingProjection.empty(width, outputs, device=parameters.device)
        return Memory(projection, zeros(width, outputs, q, **like), zeros(q, q, **like), zeros(q, **like))

    @staticmethod
    def entries(width: int, outputs: int, parameters: int, rows: int) -> int:
        """Numbers that taking in a batch of so many rows holds at once."""
        return (width + rows) * outputs * parameters * 3 + 4 * parameters**2

    def with_rows(self, rows: LinearizedRows, absorption: Absorption, coefficients: Tensor) -> "Memory":
        """The memory after a batch, given how its features were absorbed and the C that it is linearised at.

        Raises:
            NonFiniteError: the derivatives are not finite.
        """
        n, k, q = self.cross.shape
        decay, J = absorption.decay, -rows.contraction(coefficients)
        inside, below = absorption.rotation.apply(decay * self.cross.reshape(n, k * q), J.reshape(-1, k * q))
        upper = torch.cat([decay * self.triangle, decay * self.residual[:, None]], dim=1)
        lower = torch.cat([below.reshape(-1, q), absorption.remainder.reshape(-1, 1)], dim=1)
        T, t = triangular(torch.cat([upper, lower]))
        if not bool(torch.isfinite(T).all() and torch.isfinite(inside).all()):
            raise NonFiniteError("the derivatives of the features are not finite")
        return Memory(absorption.projection, inside.reshape(n, k, q), T, t)

    def moved(self, step: Tensor) -> "Memory":
        """The memory as seen from theta + p, for p (q,)."""
        p = step.double()
        projection = self.projection.with_targets(self.projection.projected + self.cross @ p)
        return Memory(projection, self.cross, self.triangle, self.residual + self.triangle @ p)

    def model(self, solved: Projection) -> tuple[Tensor, Tensor]:
        """(T', t') of the model 1/2 ||t' + T' p||^2 whose C is the best for each p, given the solve at p = 0."""
        if solved.tail is None and solved.pseudo_factor.shape[0] == len(solved.orthonormal):
            return self.triangle, self.residual
        n, _, q = self.cross.shape
        E = self.cross.reshape(n, -1)
        inside = solved.inside(E)
        blocks = [E - solved.combined(inside), *([] if solved.tail is None else [-(solved.tail @ inside)])]
        left = torch.cat([self.triangle, *(block.reshape(-1, q) for block in blocks)])
        right = torch.cat([self.residual, *(part.reshape(-1) for part in solved.residual_parts)])
        return triangular(torch.cat([left, right[:, None]], dim=1))

    def coefficients(self, solved: Projection, step: Tensor) -> Tensor:
        """The C that the model gives at theta + p, (n, k)."""
        Z = self.projection.projected + self.cross @ step.double()
        return solved.pseudo_factor.T @ solved.inside(Z)


def triangular(system: Tensor) -> tuple[Tensor, Tensor]:
    """(T, t), (q, q) and (q,), with the T^T T and T^T t of [J r], (at least q rows, q + 1)."""
    q = system.shape[1] - 1
    R = torch.linalg.qr(system, mode="r").R
    return R[:q, :q], R[:q, q]
