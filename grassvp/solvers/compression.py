"""From a Jacobian to a small least-squares problem: J D^-1 = (orthonormal) R V^T, in one of three ways.

dense        q <= rows: one QR of [J r], in row blocks where J is large; V = I
dual         q > rows: one QR of (J D^-1)^T = V L; the problem has as many unknowns as J has rows
matrix-free  Golub-Kahan bidiagonalisation of J D^-1 from r, which needs products alone (Paige and Saunders 1982;
for damped problems LSMR's iterates, Fong and Saunders 2011, minimise over the same space)
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Compressed", "bidiagonalize", "dual", "tall"]


@dataclass(frozen=True, eq=False)
class Compressed:
    """1/2 ||r + J p||^2 = 1/2 ||z + R s||^2 + constant for p = D^-1 V s.

    Attributes:
        triangle: R, (rows, c).
        target: z, (rows,).
        basis: V, (q, c) with orthonormal columns; None for the identity.
    """

    triangle: Tensor
    target: Tensor
    basis: Tensor | None = None

    def from_coordinates(self, s: Tensor) -> Tensor:
        """V s."""
        return s if self.basis is None else self.basis @ s

    def to_coordinates(self, vector: Tensor) -> Tensor:
        """V^T times a vector."""
        return vector if self.basis is None else self.basis.T @ vector


def tall(blocks: Iterable[tuple[Tensor, Tensor]]) -> Compressed:
    """R and z of J = Q R, z = Q^T r, for blocks (J, r) of rows that come one after the other; D is left out."""
    R: Tensor | None = None
    waiting: list[tuple[Tensor, Tensor]] = []
    for J, r in blocks:
        if waiting and r.shape[0] >= J.shape[1]:  # a short last block, such as a ridge, joins the one before it
            R, waiting = _triangle(R, waiting), []
        waiting.append((J, r))
    R = _triangle(R, waiting)
    q = R.shape[1] - 1
    return Compressed(R[:q, :q], R[:q, q])


def _triangle(R: Tensor | None, blocks: list[tuple[Tensor, Tensor]]) -> Tensor:
    """R of the QR of all the rows of [J r] below those of `R`, which are copied once."""
    above, q = 0 if R is None else R.shape[0], blocks[0][0].shape[1]
    stacked = blocks[0][0].new_empty(above + sum(len(r) for _, r in blocks), q + 1)
    if R is not None:
        stacked[:above] = R
    for J, r in blocks:
        stacked[above : above + len(r), :q], stacked[above : above + len(r), q] = J, r
        above += len(r)
    return torch.linalg.qr(stacked, mode="r").R


def dual(J: Tensor, r: Tensor, inverse: Tensor) -> Compressed:
    """R, z and V for J with more columns than rows: z = r."""
    V, L = torch.linalg.qr((J * inverse).T)
    return Compressed(L.T, r, V)


def bidiagonalize(
    product: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    residual: Tensor,
    *,
    damping: float,
    tolerance: float,
    limit: int,
) -> Compressed:
    """Golub-Kahan bidiagonalisation of A = J D^-1 from r, until the damped problem is solved to a tolerance.

    After c steps A V = U B with B (c + 1, c) lower bidiagonal and U e_1 = r / ||r||. The minimiser s of
    ||  ||r|| e_1 + B s ||^2 + mu ||s||^2 leaves the gradient beta alpha |s_c| along one further vector, which is
    compared with that at s = 0. V is kept orthonormal by a second pass; U is not kept at all.

    Args:
        product: A s.
        adjoint: A^T u.
        residual: r.
        damping: mu; larger ones are then solved as well.
        tolerance: relative size of the gradient that is left.
        limit: columns at most.
    """
    beta = float(torch.linalg.vector_norm(residual))
    u = residual / beta if beta > 0 else residual
    v = adjoint(u)
    alpha = float(torch.linalg.vector_norm(v))
    if not (0 < alpha < math.inf and beta > 0):
        empty = residual.new_zeros(1, 1) if alpha < math.inf else residual.new_full((1, 1), math.nan)
        return Compressed(empty, residual.new_zeros(1), v.new_zeros(v.numel(), 1))
    start, first = beta, alpha
    vectors, diagonal, below = [v / alpha], [alpha], []
    while True:
        u = product(vectors[-1]) - diagonal[-1] * u
        beta = float(torch.linalg.vector_norm(u))
        below.append(beta)
        if beta <= torch.finfo(u.dtype).eps * first or len(vectors) >= limit:
            break
        u = u / beta
        v = adjoint(u) - beta * vectors[-1]
        basis = torch.stack(vectors, dim=1)
        for _ in range(2):
            v = v - basis @ (basis.T @ v)
        alpha = float(torch.linalg.vector_norm(v))
        if alpha <= torch.finfo(v.dtype).eps * first:
            break
        if len(vectors) % 4 == 0:
            left = alpha * beta * abs(float(_damped(diagonal, below, start, damping, u)[-1]))
            if left <= tolerance * first * start:
                break
        vectors.append(v / alpha)
        diagonal.append(alpha)
    B = _bidiagonal(diagonal, below, u)
    target = B.new_zeros(B.shape[0])
    target[0] = start
    return Compressed(B, target, torch.stack(vectors, dim=1))


def _bidiagonal(diagonal: list[float], below: list[float], like: Tensor) -> Tensor:
    c = len(diagonal)
    B = like.new_zeros(c + 1, c)
    B.diagonal().copy_(like.new_tensor(diagonal))
    B.diagonal(-1).copy_(like.new_tensor(below))
    return B


def _damped(diagonal: list[float], below: list[float], start: float, damping: float, like: Tensor) -> Tensor:
    """Minimiser of || start e_1 + B s ||^2 + mu ||s||^2."""
    B = _bidiagonal(diagonal, below, like)
    c = B.shape[1]
    stacked = torch.cat([B, math.sqrt(damping) * torch.eye(c, dtype=B.dtype, device=B.device)])
    right = stacked.new_zeros(stacked.shape[0], 1)
    right[0] = -start
    Q, R = torch.linalg.qr(stacked)
    return torch.linalg.solve_triangular(R, Q.T @ right, upper=True)[:, 0]
