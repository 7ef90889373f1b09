"""Derivatives of the projected residual r(theta) = [W Y; 0] - Q Q^T [W Y; 0], from factors that are already there.

With A = [W Phi; sqrt(lam) I] = Q R, L = R^-T, and D_j A = [W D_j Phi; 0]:
  G_j = (D_j A) C,   T_j = (D_j A)^T r,   E = Q^T G,   N = L T,
  Kaufman        J_K  = -(G - Q E)
  Golub-Pereyra  J_GP = J_K - Q N = -(G + Q (N - E)), the exact derivative, assembled by one product
  J_K^T r = J_GP^T r = gradient of 1/2 ||r||^2
  exact Hessian  J_K^T J_K - N^T N + E^T N + N^T E - sum_i r_i D^2 (W Phi C)_i.
Automatic differentiation never passes through the factorisation. Every array indexed by parameters has them last.

Columns of Phi with fixed coefficients (an offset o(theta) of the model) come after the n free ones: they take part in G
with the identity as their coefficients, and not in T. Bounds on C replace Q and L by what they leave of them, output by
output (`Projection.coordinates`, `dual_coordinates`).

With more outputs than features, C = Z V^T with V (k, n) orthonormal. J_K = -(I - Q Q^T) DPhi Z V^T and r V then give
the same J_K^T J_K and J_K^T r from n columns instead of k. As J_K and r are orthogonal to Q, J_GP adds N^T N to the one
and nothing to the other: p k rows more, with the residual 0.

Sources: Golub and Pereyra 1973; Kaufman 1975; O'Leary and Rust 2013 for the two forms of the Jacobian.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from grassvp.features import FeatureDerivatives
from grassvp.projection import Projection

__all__ = [
    "compresses",
    "dense_jacobian",
    "envelope_gradient",
    "hessian_first_order",
    "jacobian_adjoint_product",
    "jacobian_product",
    "metric",
    "metric_product",
    "model_coefficients",
    "normal_matrix",
    "system_blocks",
    "system_rows",
    "weighted",
]


def envelope_gradient(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> Tensor:
    """Gradient of the value, (q,): -DPhi^*[W R C^T] (envelope theorem; C counts as constant)."""
    return -derivatives.pullback(
        weighted(projection.residual, weights), model_coefficients(derivatives.values, projection)
    )


def dense_jacobian(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, golub_pereyra: bool
) -> Tensor:
    """Jacobian of the augmented residual flattened row by row, ((m + n) k, q), or (m k, q) at lam = 0."""
    C, rows = (
        model_coefficients(derivatives.values, projection),
        [_Rows.all(derivatives, projection, weights)],
    )
    blocks = list(_jacobian_blocks(rows, C, projection, golub_pereyra))
    return blocks[0] if len(blocks) == 1 else torch.cat(blocks)


def compresses(derivatives: FeatureDerivatives, projection: Projection, golub_pereyra: bool = False) -> bool:
    """Whether a system with n columns instead of k is equivalent, and smaller."""
    n, k = projection.coefficients.shape
    if projection.restriction is not None or not k > n == derivatives.values.shape[1]:
        return False
    return not golub_pereyra or system_rows(projection, n, True) < system_rows(projection, k, False)


def system_rows(projection: Projection, columns: int, extra: bool) -> int:
    """Rows of a system with so many columns of the residual, and perhaps with those of N."""
    p, n = projection.pseudo_factor.shape
    rows = projection.residual.shape[0] + (0 if projection.tail is None else n)
    return rows * columns + extra * p * projection.coefficients.shape[1]


def system_blocks(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, golub_pereyra: bool, size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Row blocks (J, r) of a system that has the J^T J and J^T r of the Jacobian, its ridge rows last.

    Args:
        derivatives: Phi and its derivative.
        projection: the linear solve.
        weights: (m,) row weights, or None.
        golub_pereyra: the exact Jacobian, or Kaufman's; compressed to n columns where there are enough outputs.
        size: rows of Phi in a block; with several blocks no array with all rows of the Jacobian is formed.
    """
    C, r, r_tail = (
        model_coefficients(derivatives.values, projection),
        projection.residual,
        projection.residual_tail,
    )
    whole, m = _Rows.all(derivatives, projection, weights), r.shape[0]
    if compresses(derivatives, projection, golub_pereyra):
        V, Z = torch.linalg.qr(C.T)
        C, r, r_tail = Z.T, r @ V, None if r_tail is None else r_tail @ V
        N = whole.adjoint(projection).flatten(0, 1).split(size * C.shape[1]) if golub_pereyra else ()
        yield from ((J, J.new_zeros(len(J))) for J in N)
        golub_pereyra = False
    rows = [whole] if size >= m else [whole.block(start, min(start + size, m)) for start in range(0, m, size)]
    residuals = [*r.split(size), *([] if r_tail is None else [r_tail])]
    for J, part in zip(_jacobian_blocks(rows, C, projection, golub_pereyra), residuals, strict=True):
        yield J, part.reshape(-1)


def normal_matrix(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, golub_pereyra: bool, size: int
) -> tuple[Tensor, Tensor]:
    """J^T J = G^T G - E^T E (+ N^T N), (q, q), without J, and the diagonal of G^T G, whose rounding it inherits.

    Worth its cancellation only where what is added to it hides that. Arguments as for `system_blocks`.
    """
    C, whole = model_coefficients(derivatives.values, projection), _Rows.all(derivatives, projection, weights)
    N = whole.adjoint(projection).flatten(0, 1) if golub_pereyra else None
    if compresses(derivatives, projection, golub_pereyra):
        C = torch.linalg.qr(C.T).R.T
    H, inside = 0.0, 0.0
    for start in range(0, len(whole.residual), size):
        block = whole if size >= len(whole.residual) else whole.block(start, min(start + size, len(whole.residual)))
        G = block.contraction(C)
        H, inside = H + G.flatten(0, 1).T @ G.flatten(0, 1), inside + block.inside(G)
    squares = torch.diagonal(H).clone()  # pyright: ignore[reportArgumentType]
    E = _restricted(projection, projection.inward(inside).view(-1, C.shape[1], len(squares))).flatten(0, 1)  # pyright: ignore[reportArgumentType]
    H = H - E.T @ E
    return (H if N is None else H + N.T @ N), squares


def hessian_first_order(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> Tensor:
    """The exact Hessian without its curvature term, (q, q): J_K^T J_K - N^T N + E^T N + N^T E."""
    rows = _Rows.all(derivatives, projection, weights)
    G = rows.contraction(model_coefficients(derivatives.values, projection))
    E, N = projection.coordinates(G), rows.adjoint(projection)
    q = G.shape[-1]
    orthogonal = (G.flatten(1) - projection.combined(E.flatten(1))).view(-1, q)
    tail = None if projection.tail is None else (projection.tail @ E.flatten(1)).view(-1, q)
    E, N = E.reshape(-1, q), N.reshape(-1, q)
    H = orthogonal.T @ orthogonal - N.T @ N + E.T @ N + N.T @ E
    return H if tail is None else H + tail.T @ tail


def jacobian_product(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, direction: Tensor
) -> Tensor:
    """J_GP v, (m + n, k) or (m, k), from one forward product with DPhi."""
    g, e, n = directional_factors(derivatives, projection, weights, direction)
    upper = -(g + projection.combined(n - e))
    return upper if projection.tail is None else torch.cat([upper, -(projection.tail @ (n - e))])


def jacobian_adjoint_product(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, cotangent: Tensor
) -> Tensor:
    """J_GP^T u, (q,), for u (m + n, k) or (m, k), from one reverse product with DPhi."""
    m = projection.orthonormal.shape[0]
    inside = projection.coordinates(cotangent[:m], cotangent[m:])
    return -combined_pullback(derivatives, projection, weights, cotangent[:m] - projection.combined(inside), inside)


def directional_factors(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(G v, E v, N v) for one direction: (m, k), (p, k), (p, k)."""
    D = weighted(derivatives.pushforward(direction), weights)
    g = D @ model_coefficients(derivatives.values, projection)
    n = projection.dual_coordinates(D[:, : projection.coefficients.shape[0]].T @ projection.residual)
    return g, projection.coordinates(g), n.to(g.dtype)


def combined_pullback(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, along: Tensor, inner: Tensor
) -> Tensor:
    """G^T s + N^T t, (q,), for s = `along` (m, k) and t = `inner` (p, k), in one reverse product."""
    right = _padded(projection.dual_combination(inner).T, derivatives, projection).T.to(along.dtype)
    left = weighted(torch.cat([along, projection.residual], dim=1), weights)
    return derivatives.pullback(left, torch.cat([model_coefficients(derivatives.values, projection), right], dim=1))


def metric(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> Tensor:
    """The metric of the (regularised) Grassmannian pulled back to theta, (q, q): <(I - Q Q^T) D_i A L^T, D_j A L^T>."""
    factor = _padded(projection.pseudo_factor, derivatives, projection)
    return derivatives.gram(projection.basis, projection.tail, factor, weights)


def metric_product(
    derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None, direction: Tensor
) -> Tensor:
    """The pulled-back metric times v, (q,): one forward and one reverse product."""
    n = projection.coefficients.shape[0]
    D = weighted(derivatives.pushforward(direction)[:, :n], weights)
    L = projection.pseudo_factor.to(D.dtype)
    left = (D - projection.combined(projection.inside(D))) @ L.T
    return derivatives.pullback(weighted(left, weights), _padded(L, derivatives, projection).T)


def model_coefficients(values: Tensor, solved: Projection | Tensor) -> Tensor:
    """C of a projection, or C itself; [C; I] where the last columns of the feature values have fixed coefficients."""
    C = solved if isinstance(solved, Tensor) else solved.coefficients
    fixed = values.shape[1] - C.shape[0]
    return C if fixed == 0 else torch.cat([C, torch.eye(fixed, dtype=C.dtype, device=C.device)])


def weighted(rows: Tensor, weights: Tensor | None) -> Tensor:
    """W times rows of any shape."""
    return rows if weights is None else weights.view(-1, *[1] * (rows.ndim - 1)) * rows


def _padded(factor: Tensor, derivatives: FeatureDerivatives, projection: Projection) -> Tensor:
    """A matrix (p, n) with zero columns behind it for the columns of Phi with fixed coefficients."""
    fixed = derivatives.values.shape[1] - projection.coefficients.shape[0]
    return pad(factor, (0, fixed)) if fixed else factor


def _restricted(projection: Projection, E: Tensor) -> Tensor:
    return E if projection.restriction is None else projection.restriction.project(E)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows of the problem: what they add to E and N, and their part of G; B is `Projection.orthonormal`."""

    derivatives: FeatureDerivatives
    orthonormal: Tensor
    residual: Tensor
    weights: Tensor | None

    @staticmethod
    def all(derivatives: FeatureDerivatives, projection: Projection, weights: Tensor | None) -> "_Rows":
        return _Rows(derivatives, projection.orthonormal, projection.residual, weights)

    def block(self, start: int, stop: int) -> "_Rows":
        weights = None if self.weights is None else self.weights[start:stop]
        rows = self.derivatives.block(start, stop)
        return _Rows(rows, self.orthonormal[start:stop], self.residual[start:stop], weights)

    def contraction(self, C: Tensor) -> Tensor:
        """W G, (rows, k, q)."""
        G = self.derivatives.contract(C).contiguous()
        return G if self.weights is None else G.mul_(self.weights[:, None, None])

    def inside(self, G: Tensor) -> Tensor:
        """B^T W G, (min(m, n), k q)."""
        return self.orthonormal.T @ G.flatten(1)

    def adjoint(self, projection: Projection) -> Tensor:
        """N, (p, k, q)."""
        left, n = weighted(self.residual, self.weights), projection.coefficients.shape[0]
        if projection.restriction is None:
            factor = _padded(projection.pseudo_factor, self.derivatives, projection)
            return self.derivatives.contract_adjoint(left, factor).to(left.dtype)
        identity = torch.eye(self.derivatives.values.shape[1], dtype=torch.float64, device=left.device)[:n]
        return projection.dual_coordinates(self.derivatives.contract_adjoint(left, identity)).to(left.dtype)


def _jacobian_blocks(rows: list[_Rows], C: Tensor, projection: Projection, golub_pereyra: bool) -> Iterator[Tensor]:
    """-(G + Q (N - E)) for each block of rows and then for the ridge, (rows k, q); G of a single block is kept."""
    kept = rows[0].contraction(C) if len(rows) == 1 else None
    whole = sum(block.inside(block.contraction(C) if kept is None else kept) for block in rows)
    E = projection.inward(whole)  # pyright: ignore[reportArgumentType]
    k, q = C.shape[1], E.shape[1] // C.shape[1]
    change = -_restricted(projection, E.view(-1, k, q))
    if golub_pereyra:
        change = change + sum(block.adjoint(projection) for block in rows)
    change = change.flatten(1)
    outward = projection.outward(change)
    for block in rows:
        G = block.contraction(C) if kept is None else kept
        yield G.flatten(1).addmm_(block.orthonormal, outward, beta=-1.0, alpha=-1.0).view(-1, q)
    if projection.tail is not None:
        yield (projection.tail @ change).neg_().view(-1, q)
