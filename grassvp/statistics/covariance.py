"""How errors of the data move (theta, C): the joint covariance from the factors of the projection.

Let W Y carry independent errors e of unit variance, with G_j = W (D_j Phi) C and A = W Phi = Q_A R_A. To first order
the minimum of ||W (Y - Phi C)||^2 + lam ||C||^2 moves by the solution of the joint linear problem with the Jacobian
[G, A] and the ridge on C. Eliminating C by Q = [basis; tail] of [A; sqrt(lam) I] leaves Kaufman's Jacobian for theta:
  K = [G; 0] - Q Q^T [G; 0],   d theta = K^+ [e; 0],   d C = A_lam^+ [e; 0] - Z d theta,   Z = A_lam^+ [G; 0].
(The Golub-Pereyra Jacobian also has the slope of the projection times the residual, which the linear problem has not.)

The joint matrix, (m k) x (q + n k), is never formed. Split e into e_1 outside and e_2 inside of the span of A. K then
has three blocks: the triangle N_1 of G - Q_A H with H = Q_A^T G; N_2 = H - B B^T H where basis = Q_A B; and the ridge
N_3 = -tail B^T H. With [N_1; N_2; N_3] = U S V^T, and M = B L with L the factor of the pseudo-inverse,
  d theta = X xi,   xi = U_1^T e_1 + U_2^T e_2,   X = V S^-1,   d C = M^T e_2 - Z d theta,   Z = M^T H,
so that every covariance is a product of small factors. At lam = 0 and full rank U_2 = 0 and cov(xi) = I: the result is
(J^T J)^-1. At lam > 0 it is the sandwich H^-1 J^T J H^-1 of the linearised estimator, H = J^T J + lam diag(0, I).
Bounds on C replace Q by what they leave of it, output by output; every array here has the outputs first.

Sources: Golub and Pereyra 1973; Seber and Wild 1989; O'Leary and Rust 2013.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

__all__ = ["UNDETERMINED", "ErrorFactors"]

UNDETERMINED = 1e-6
"""Share of a direction that the data do not determine above which a quantity counts as not determined."""


@dataclass(frozen=True, eq=False)
class ErrorFactors:
    """First-order response of the estimate to data errors of unit variance: d theta = X xi, d C = w - Z d theta.

    q counts the parameters that are free, r those combinations of them that the data determine.

    Attributes:
        free: which parameters are free; those at a bound do not move.
        free_coefficients: (n, k) likewise.
        steps: X, (q, r).
        root: P, (r, r), with cov(xi) = P^T P.
        elimination: Z, (k, n, q).
        linear: M, (1 or k, p, n), with cov(w_l) = M_l^T M_l for output l, and independent outputs.
        cross: (k, n, r) covariance of w and xi; zero at lam = 0.
        scale: (q,) norms of the columns of G.
        null: (q, q - r) orthonormal directions of scale * theta that the data do not determine.
        coefficient_null: (1 or k, n, n) projector on the changes of C that do not change the fit, None without any.
        column_norms: (n,) norms of the columns of A.
        rank: of the joint Jacobian with its ridge, over what is free.
        effective: trace of the hat matrix, the number of effective parameters.
    """

    free: Tensor
    free_coefficients: Tensor
    steps: Tensor
    root: Tensor
    elimination: Tensor
    linear: Tensor
    cross: Tensor
    scale: Tensor
    null: Tensor
    coefficient_null: Tensor | None
    column_norms: Tensor
    rank: int
    effective: float

    @property
    def fixed(self) -> Tensor:
        """Which entries of theta and then C row by row are at a bound."""
        return ~torch.cat([self.free, self.free_coefficients.reshape(-1)])

    @cached_property
    def eliminated_steps(self) -> Tensor:
        """Z X, (k, n, r)."""
        return self.elimination @ self.steps

    def deviations(self) -> Tensor:
        """Standard deviations of theta and then C row by row; 0 where fixed and inf where not determined."""
        theta = self.steps.new_zeros(self.free.shape)
        theta[self.free] = torch.linalg.vector_norm(self.steps @ self.root.T, dim=1)
        ZX = self.eliminated_steps
        squares = (self.linear**2).sum(1) + ((ZX @ self.root.T) ** 2).sum(2) - 2 * (ZX * self.cross).sum(2)
        both = torch.cat([theta, torch.sqrt(squares.clamp_min(0.0)).T.reshape(-1)])
        return torch.where(self.undetermined(), math.inf, both)

    def undetermined(self) -> Tensor:
        """Which entries of (theta, C) change along some direction that leaves the linearised fit as it is."""
        theta = torch.zeros_like(self.free)
        theta[self.free] = torch.linalg.vector_norm(self.null, dim=1) > UNDETERMINED
        along = torch.linalg.vector_norm(self.elimination @ (self.null / self.scale[:, None]), dim=2)
        C = along * self.column_norms > UNDETERMINED
        if self.coefficient_null is not None:
            C = C | (torch.linalg.vector_norm(self.coefficient_null, dim=2) > UNDETERMINED)
        return torch.cat([theta, C.T.reshape(-1)])

    def covariance(self) -> Tensor:
        """Covariance of theta and then C row by row, by pseudo-inverses where something is not determined."""
        q, (n, k), ZX = self.free.numel(), self.free_coefficients.shape, self.eliminated_steps
        X, Z, Y = self.steps @ self.root.T, ZX @ self.root.T, self.cross
        ZX, Z, Y = (part.transpose(0, 1).reshape(n * k, -1) for part in (ZX, Z, Y))
        whole = X.new_zeros(q + n * k, q + n * k)
        theta = torch.nonzero(self.free)[:, 0]
        whole[theta[:, None], theta] = X @ X.T
        whole[q:, theta] = Y @ self.steps.T - Z @ X.T
        whole[:q, q:] = whole[q:, :q].T
        C = whole[q:, q:]
        C.addmm_(Z, Z.T)
        if bool(Y.any()):
            C.addmm_(Y, ZX.T, alpha=-1.0).addmm_(ZX, Y.T, alpha=-1.0)
        own = (self.linear.mT @ self.linear).expand(k, n, n)
        torch.diagonal(C.view(n, k, n, k), dim1=1, dim2=3).add_(own.permute(1, 2, 0))
        torch.diagonal(whole).clamp_(min=0.0)
        return whole

    def model_deviations(self, slopes: Tensor, values: Tensor) -> Tensor:
        """Standard deviations (rows, k) of Phi C, for its derivative (rows, k, parameters) and Phi (rows, n)."""
        g = slopes[..., self.free]
        moved = g - torch.einsum("ia,laq->ilq", values, self.elimination)
        spread = torch.einsum("lpa,ia->ilp", self.linear, values).pow(2).sum(2)
        cross = torch.einsum("ia,lar->ilr", values, self.cross)
        lost = self._lost(g, moved)
        if self.coefficient_null is not None:
            along = torch.linalg.vector_norm(torch.einsum("ia,lab->ilb", values, self.coefficient_null), dim=2)
            lost = lost | (along > UNDETERMINED * torch.linalg.vector_norm(values, dim=1)[:, None])
        return self._combined(moved, spread, cross, lost)

    def functional_deviations(self, slopes: Tensor, weights: Tensor) -> Tensor:
        """Standard deviations (count,) of functions with derivatives (count, parameters) and (count, n, k)."""
        g, c = slopes[:, self.free], weights.permute(0, 2, 1)
        moved = g - torch.einsum("ila,laq->iq", c, self.elimination)
        spread = torch.einsum("lpa,ila->ilp", self.linear.expand(c.shape[1], -1, -1), c).pow(2).sum((1, 2))
        cross = torch.einsum("ila,lar->ir", c, self.cross)
        lost = self._lost(g, moved)
        if self.coefficient_null is not None:
            null = self.coefficient_null.expand(c.shape[1], -1, -1)
            along = torch.linalg.vector_norm(torch.einsum("ila,lab->ilb", c, null).flatten(1), dim=1)
            lost = lost | (along > UNDETERMINED * torch.linalg.vector_norm(c.flatten(1), dim=1))
        return self._combined(moved, spread, cross, lost)

    def _lost(self, slopes: Tensor, moved: Tensor) -> Tensor:
        """Whether a function changes along the parameters' null directions."""
        size = sum(torch.linalg.vector_norm(part / self.scale, dim=-1) for part in (slopes, moved))
        return torch.linalg.vector_norm((moved / self.scale) @ self.null, dim=-1) > UNDETERMINED * size

    def _combined(self, moved: Tensor, spread: Tensor, cross: Tensor, lost: Tensor) -> Tensor:
        """Deviation of moved . d theta + u with var(u) = `spread` and cov(u, xi) = `cross`."""
        h = moved @ self.steps
        squares = (h @ self.root.T).pow(2).sum(-1) + spread + 2 * (h * cross).sum(-1)
        return torch.where(lost, math.inf, torch.sqrt(squares.clamp_min(0.0)))
