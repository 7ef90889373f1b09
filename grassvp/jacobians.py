"""Derivatives of the projected residual r(theta) = [W Y; 0] - Q Q^T [W Y; 0], from factors that are already there.

With A = [W Phi; sqrt(lam) I] = Q R, L = R^-T, and D_j A = [W D_j Phi; 0]:
  G_j = (D_j A) C,   T_j = (D_j A)^T r,   E = Q^T G,   N = L T,
  Kaufman        J_K  = -(G - Q E)
  Golub-Pereyra  J_GP = J_K - Q N = -(G + Q (N - E)), the exact derivative, assembled by one product
  J_K^T r = J_GP^T r = gradient of 1/2 ||r||^2
  exact Hessian  J_K^T J_K - N^T N + E^T N + N^T E - sum_i r_i D^2 (W Phi C)_i.
Automatic differentiation never passes through the factorisation. Every array indexed by parameters has them last.

Sources: Golub and Pereyra 1973; Kaufman 1975; O'Leary and Rust 2013 for the two forms of the Jacobian.
"""

import torch
from torch import Tensor

from grassvp.features import FeatureDerivatives
from grassvp.projection import Projection

__all__ = ["dense_jacobian", "envelope_gradient", "hessian_first_order", "jacobian_adjoint_product", "jacobian_product"]


def envelope_gradient(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> Tensor:
    """Gradient of the value, (q,): -DPhi^*[W R C^T] (envelope theorem; C counts as constant)."""
    return -derivatives.pullback(weighted(projection.residual, weights), projection.coefficients)


def dense_jacobian(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, golub_pereyra: bool
) -> Tensor:
    """Jacobian of the augmented residual flattened row by row, ((m + n) k, q), or (m k, q) at lam = 0."""
    G, E, N = _factors(derivatives, projection, weights, golub_pereyra)
    change = -E if N is None else N - E
    (m, k, q), p = G.shape, change.shape[0]
    upper, inner = G.view(m, k * q), change.view(p, k * q)
    if projection.tail is None:
        return upper.addmm_(projection.basis, inner).neg_().view(m * k, q)
    n = projection.tail.shape[0]
    J = upper.new_empty((m + n), k * q)
    torch.addmm(upper, projection.basis, inner, beta=-1.0, alpha=-1.0, out=J[:m])
    torch.mm(projection.tail, inner, out=J[m:]).neg_()
    return J.view((m + n) * k, q)


def hessian_first_order(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> Tensor:
    """The exact Hessian without its curvature term, (q, q): J_K^T J_K - N^T N + E^T N + N^T E."""
    G, E, N = _factors(derivatives, projection, weights, True)
    q = G.shape[-1]
    orthogonal = (G.view(G.shape[0], -1) - projection.basis @ E.view(E.shape[0], -1)).view(-1, q)
    tail = None if projection.tail is None else (projection.tail @ E.view(E.shape[0], -1)).view(-1, q)
    E, N = E.view(-1, q), N.view(-1, q)  # pyright: ignore[reportOptionalMemberAccess]
    H = orthogonal.T @ orthogonal - N.T @ N + E.T @ N + N.T @ E
    return H if tail is None else H + tail.T @ tail


def jacobian_product(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, direction: Tensor
) -> Tensor:
    """J_GP v, (m + n, k) or (m, k), from one forward product with DPhi."""
    g, e, n = directional_factors(derivatives, projection, weights, direction)
    upper = -(g + projection.basis @ (n - e))
    return upper if projection.tail is None else torch.cat([upper, -(projection.tail @ (n - e))])


def jacobian_adjoint_product(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, cotangent: Tensor
) -> Tensor:
    """J_GP^T u, (q,), for u (m + n, k) or (m, k), from one reverse product with DPhi."""
    m = projection.basis.shape[0]
    inside = projection.basis.T @ cotangent[:m]
    if projection.tail is not None:
        inside = inside + projection.tail.T @ cotangent[m:]
    return -combined_pullback(derivatives, projection, weights, cotangent[:m] - projection.basis @ inside, inside)


def directional_factors(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(G v, E v, N v) for one direction: (m, k), (p, k), (p, k)."""
    D = weighted(derivatives.pushforward(direction), weights)
    g = D @ projection.coefficients
    n = projection.pseudo_factor @ (D.T @ projection.residual).double()
    return g, projection.basis.T @ g, n.to(g.dtype)


def combined_pullback(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, along: Tensor, inner: Tensor
) -> Tensor:
    """G^T s + N^T t, (q,), for s = `along` (m, k) and t = `inner` (p, k), in one reverse product."""
    right = (projection.pseudo_factor.T @ inner.double()).to(along.dtype)
    left = weighted(torch.cat([along, projection.residual], dim=1), weights)
    return derivatives.pullback(left, torch.cat([projection.coefficients, right], dim=1))


def weighted(rows: Tensor, weights: Tensor | None) -> Tensor:
    """W times a matrix of rows."""
    return rows if weights is None else weights[:, None] * rows


def _factors(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, with_adjoint: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(G, E, N) for all parameters: (m, k, q), (p, k, q), (p, k, q); N only `with_adjoint`."""
    G = derivatives.contract(projection.coefficients).contiguous()
    if weights is not None:
        G *= weights[:, None, None]
    m, k, q = G.shape
    E = (projection.basis.T @ G.view(m, k * q)).view(-1, k, q)
    if not with_adjoint:
        return G, E, None
    N = derivatives.contract_adjoint(weighted(projection.residual, weights), projection.pseudo_factor)
    return G, E, N.to(G.dtype)
