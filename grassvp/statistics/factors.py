"""From a linearisation to the factors of its covariance, by orthogonal factorisations; formulas: `covariance`.

Only Q_A^T G and one triangle, in row blocks, touch all rows; what is left has the size of theta and C.
"""

import torch
from torch import Tensor

from grassvp.jacobians import compresses, model_coefficients, weighted
from grassvp.linearization import Linearization
from grassvp.projection import Projection
from grassvp.statistics.covariance import ErrorFactors

__all__ = ["error_factors", "row_blocks"]

RANK_EXPONENT = 0.7  # singular values of unit columns up to eps^0.7 count as zero: 1e-11 in float64


def error_factors(linearization: Linearization, free: Tensor) -> ErrorFactors:
    """The factors at a linearisation, with the parameters free (q,) that are not held at a bound."""
    projection = linearization.projection
    B, L, ranks, free_coefficients = _restricted_factors(projection)
    H, N1 = _slopes(linearization, free)
    E = B.mT @ H
    blocks = [N1, (H - B @ E).flatten(0, 1)]
    if projection.tail is not None:
        blocks.append(-(projection.tail.double() @ E).flatten(0, 1))
    scale = torch.sqrt((N1**2).sum(0) + (H**2).sum((0, 1)))
    scale = torch.where(scale > 0, scale, 1.0)
    tolerance = torch.finfo(projection.residual.dtype).eps ** RANK_EXPONENT
    U, steps, null = _pseudo_inverse(torch.cat(blocks) / scale, tolerance)
    data = U[: N1.shape[0] + H.shape[0] * H.shape[1]]
    M = B @ L
    rank, exact = int(ranks.sum()) + steps.shape[1], projection.regularization == 0.0
    hat = float((B**2).sum()) * H.shape[0] / B.shape[0] + float((data**2).sum())
    return ErrorFactors(
        free=free,
        free_coefficients=free_coefficients,
        steps=steps / scale[:, None],
        root=torch.linalg.qr(data, mode="r").R,
        elimination=M.mT @ H,
        linear=M,
        cross=M.mT @ data[N1.shape[0] :].unflatten(0, H.shape[:2]),
        scale=scale,
        null=null,
        coefficient_null=_coefficient_null(projection, ranks, free_coefficients),
        column_norms=torch.linalg.vector_norm(projection.triangle, dim=0),
        rank=rank,
        effective=float(rank) if exact else hat,
    )


def row_blocks(rows: int, entries_per_row: int, memory_limit: int) -> list[slice]:
    """Slices of the rows whose slopes take at most an eighth of the memory each."""
    size = max(1, memory_limit // (64 * max(entries_per_row, 1)))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _restricted_factors(projection: Projection) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """B (1 or k, p0, p) with basis = Q_A B, L (1 or k, p, n), the rank of A for each output, and which C are free."""
    n, k = projection.coefficients.shape
    L = projection.pseudo_factor
    identity = torch.eye(projection.orthonormal.shape[1], dtype=L.dtype, device=L.device)
    B = identity if projection.inner is None else projection.inner.double()
    if projection.restriction is None:
        every = torch.ones(n, k, dtype=torch.bool, device=L.device)
        return B[None], L[None], torch.full((k,), L.shape[0], device=L.device), every
    P = projection.restriction.projectors
    ranks = torch.round(torch.diagonal(P, dim1=1, dim2=2).sum(1)).long()
    return B @ P, projection.restriction.factors, ranks, projection.restriction.free


def _slopes(linearization: Linearization, free: Tensor) -> tuple[Tensor, Tensor]:
    """H = Q_A^T G, (k, p0, q), and the triangle of G - Q_A H, in row blocks; n columns of G where outputs are more."""
    derivatives, projection = linearization.derivatives, linearization.projection
    weights, Q = linearization.problem.weights, projection.orthonormal.double()
    C, mix = model_coefficients(derivatives.values, projection), None
    if compresses(derivatives, projection):
        mix, Z = torch.linalg.qr(C.T)
        C = Z.T
    outputs, q = C.shape[1], int(free.sum())
    blocks = row_blocks(Q.shape[0], outputs * free.numel(), linearization.memory_limit)

    def slopes(rows: slice) -> Tensor:
        G = derivatives.block(rows.start, rows.stop).contract(C)
        w = None if weights is None else weights[rows]
        return weighted(G, w)[..., free].double().flatten(1)

    kept = slopes(blocks[0]) if len(blocks) == 1 else None
    H, triangle = Q.new_zeros(Q.shape[1], outputs * q), Q.new_zeros(0, q)
    for rows in blocks:
        H += Q[rows].T @ (slopes(rows) if kept is None else kept)
    for rows in blocks:
        outside = (slopes(rows) if kept is None else kept) - Q[rows] @ H
        outside = outside.unflatten(1, (outputs, q)).flatten(0, 1)
        triangle = torch.linalg.qr(torch.cat([triangle, outside]), mode="r").R
    H = H.unflatten(1, (outputs, q))
    return H.transpose(0, 1) if mix is None else torch.einsum("lb,pbq->lpq", mix.double(), H), triangle


def _pseudo_inverse(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """U (rows, r), V S^-1 (q, r) and an orthonormal basis of the null space (q, q - r)."""
    missing = matrix.shape[1] - matrix.shape[0]
    padded = torch.nn.functional.pad(matrix, (0, 0, 0, missing)) if missing > 0 else matrix
    U, s, Vh = torch.linalg.svd(padded, full_matrices=False)
    r = int((s > tolerance).sum())  # absolute: the columns of G were scaled to length one
    return U[: matrix.shape[0], :r], Vh[:r].T / s[:r], Vh[r:].T


def _coefficient_null(projection: Projection, ranks: Tensor, free: Tensor) -> Tensor | None:
    """Projector on the free changes of C that A maps to zero, output by output, or None where there are none."""
    if projection.regularization > 0 or bool((ranks == free.sum(0)).all()):
        return None
    S = projection.triangle if projection.inner is None else projection.inner.double().T @ projection.triangle
    shared = projection.restriction is None
    kept = free.T[:1] if shared else free.T
    S = S * kept[:, None, :]
    norms = torch.linalg.vector_norm(S, dim=2, keepdim=True)
    _, _, Vh = torch.linalg.svd(S / torch.where(norms > 0, norms, 1.0), full_matrices=False)
    inside = torch.arange(Vh.shape[1], device=Vh.device) < ranks[: len(kept), None]
    V = Vh * inside[:, :, None]
    return torch.diag_embed(kept.to(V.dtype)) - V.mT @ V
