"""Graphs of matrices as subspaces: span [Phi; sqrt(lam) I] of R^(m+n), which is n-dimensional whatever the rank of Phi.

With the SVD Phi = Q diag(sigma) V^T and rho^2 = sigma^2 + lam everything here has size n beside Phi itself, and
nothing is inverted or subtracted that would lose the small eigenvalues lam / rho^2 of I - P.
"""

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

from manifolds.arguments import quiet

__all__ = ["Graph"]


@dataclass(frozen=True)
class Graph:
    """The subspace of Phi in terms of its SVD: `Q` (m, r), `sigma` (n,) padded by zeros, `V` (n, n), r = min(m, n)."""

    Q: Any
    sigma: Any
    V: Any
    root: float

    @classmethod
    def of(cls, Phi: Any, regularization: float) -> "Graph":
        """QR of Phi and the SVD of R, so that small singular values keep their digits."""
        xp = array_namespace(Phi)
        Q, R = xp.linalg.qr(Phi)
        left, sigma, Vt = xp.linalg.svd(R, full_matrices=True)
        padding = xp.zeros((Phi.shape[1] - sigma.shape[0],), dtype=sigma.dtype, device=device(sigma))
        return cls(Q @ left, xp.concat([sigma, padding]), Vt.mT, math.sqrt(regularization))

    @property
    def rank(self) -> int:
        """Number of columns of Q."""
        return self.Q.shape[1]

    @property
    def rho(self) -> Any:
        """sqrt(sigma^2 + lam), the singular values of [Phi; sqrt(lam) I]."""
        xp = array_namespace(self.sigma)
        return xp.hypot(self.sigma, xp.full_like(self.sigma, self.root))

    def basis(self) -> Any:
        """Orthonormal basis (m + n, n) in the gauge of V: [Q diag(sigma / rho); V diag(sqrt(lam) / rho)]."""
        xp, r = array_namespace(self.Q), self.rank
        top = self.Q * (self.sigma / self.rho)[:r]
        padding = xp.zeros((top.shape[0], self.V.shape[0] - r), dtype=top.dtype, device=device(top))
        return xp.concat([xp.concat([top, padding], axis=1), self.V * (self.root / self.rho)], axis=0)

    @quiet
    def lift(self, D: Any, other: "Graph | None" = None) -> Any:
        """(I - P) [D; 0] V diag(1 / rho), the horizontal lift of D; with V and rho of `other` if given.

        The top of (I - P)[D; 0] is D minus its part in span Phi, plus Q (lam / rho^2) Q^T D.
        """
        xp, r = array_namespace(D), self.rank
        scaled = D @ self.inverse_root(other)
        inside = self.Q.mT @ scaled
        outside = scaled - self.Q @ inside
        outside = outside - self.Q @ (self.Q.mT @ outside)
        share = self.root / self.rho[:r, None]
        top = outside + self.Q @ (share * share * inside)
        bottom = self.V[:, :r] @ (-share * (self.sigma / self.rho)[:r, None] * inside)
        return xp.concat([top, bottom], axis=0)

    def inverse_root(self, other: "Graph | None" = None) -> Any:
        """V diag(1 / rho), a factor of (Phi^T Phi + lam I)^-1."""
        graph = other or self
        return graph.V / graph.rho

    def slope(self, D: Any) -> Any:
        """diag(sigma / rho) Q^T D V diag(1 / rho), (n, n): the speed of motion along D within Phi's own directions."""
        xp, r = array_namespace(D), self.rank
        tilt = (self.sigma / self.rho)[:r, None] * (self.Q.mT @ (D @ self.inverse_root()))
        padding = xp.zeros((self.V.shape[0] - r, self.V.shape[0]), dtype=tilt.dtype, device=device(tilt))
        return xp.concat([tilt, padding], axis=0)

    def solve(self, matrix: Any) -> Any:
        """(Phi^T Phi + lam I)^-1 times an (n, k) matrix."""
        half = self.inverse_root()
        return half @ (half.mT @ matrix)

    def project(self, vectors: Any) -> Any:
        """Phi (Phi^T Phi + lam I)^-1 Phi^T times an (m, k) matrix."""
        share = (self.sigma / self.rho)[: self.rank, None]
        return self.Q @ (share * share * (self.Q.mT @ vectors))

    def cosines(self, other: "Graph") -> Any:
        """U^T U' of the two bases, (n, n)."""
        r, s = self.rank, other.rank
        overlap = (self.V * (self.root / self.rho)).mT @ (other.V * (other.root / other.rho))
        overlap[:r, :s] += (self.Q * (self.sigma / self.rho)[:r]).mT @ (other.Q * (other.sigma / other.rho)[:s])
        return overlap
