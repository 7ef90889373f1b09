"""Local models of the objective and the steps that minimise them.

A least-squares model is 1/2 ||r + J p||^2, kept in coordinates p = D^-1 V s in which D measures the length of a step
and V has orthonormal columns. What remains is a small problem 1/2 ||z + R s||^2 that every damping and every radius is
tried on at a cost free of the number of rows, with ||D p|| = ||s||; how R, z and V are found is a matter of size, see
`compression`. Damped steps come from a QR of [R; sqrt(mu) I]: normal equations would square the condition number.

A quadratic model g^T p + 1/2 p^T B p takes curvature that is not a product J^T J: an exact Hessian, or a metric. It
also serves strongly damped Gauss-Newton steps, where B = J^T J costs half of what a QR of J does and mu keeps its
rounding, eps ||B||, from mattering.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.solvers.compression import Compressed
from grassvp.solvers.protocols import LeastSquaresPoint
from grassvp.solvers.scaling import Scale
from grassvp.solvers.subproblems import damping_at, steihaug, to_boundary

__all__ = ["LeastSquaresModel", "QuadraticModel", "Step"]

POWERS = 8  # power iterations that estimate the norm of a matrix that is not formed


@dataclass(frozen=True, eq=False)
class Step:
    """A proposed step p.

    Attributes:
        vector: p, (q,).
        predicted_reduction: by how much the model says that the value falls.
        slope: g . p.
        length: ||D p||.
        factor: upper triangle S with S^T S = R^T R + mu I that a damped step was solved with.
        refused: the search that proposed it would rather not have it tried.
        evaluations: of the residual, spent on finding it.
    """

    vector: Tensor
    predicted_reduction: float
    slope: float
    length: float = math.nan
    factor: Tensor | None = None
    refused: bool = False
    evaluations: int = 0

    def scaled(self, length: float) -> "Step":
        """The step t p: its predicted reduction -t g.p - t^2/2 p.Bp follows from those of p."""
        curvature = 2.0 * (-self.slope - self.predicted_reduction)
        return Step(
            length * self.vector,
            -length * self.slope - 0.5 * length**2 * curvature,
            length * self.slope,
            length * self.length,
        )


@dataclass(frozen=True, eq=False)
class LeastSquaresModel:
    """1/2 ||r + J p||^2 around one point, compressed.

    Attributes:
        point: the point.
        compressed: R, z and V.
        scale: D, and the entries that a bound holds.
    """

    point: LeastSquaresPoint
    compressed: Compressed
    scale: Scale

    @property
    def finite(self) -> bool:
        """Whether the model can be used."""
        return bool(torch.isfinite(self.compressed.triangle).all())

    def damped(self, damping: float) -> Step:
        """Minimiser of 1/2 ||r + J p||^2 + mu/2 ||D p||^2; of least ||D p|| at mu = 0."""
        if damping == 0.0:
            return self._step(self._within(math.inf))
        R, z = self.compressed.triangle, self.compressed.target
        c = R.shape[1]
        stacked = torch.cat([R, math.sqrt(damping) * torch.eye(c, dtype=R.dtype, device=R.device)])
        right = torch.cat([-z, z.new_zeros(c)])
        S = torch.linalg.qr(torch.cat([stacked, right[:, None]], dim=1), mode="r").R
        s = torch.linalg.solve_triangular(S[:c, :c], S[:c, c:], upper=True)[:, 0]
        return replace(self._step(s), factor=S[:c, :c])

    def within(self, radius: float) -> Step:
        """Minimiser of the model over ||D p|| <= radius, by the singular values of R (More and Sorensen 1983)."""
        return self._step(self._within(radius))

    def dogleg(self, radius: float) -> Step:
        """From the minimiser along -g to the Gauss-Newton step, as far as the radius allows (Powell 1970)."""
        R, z = self.compressed.triangle, self.compressed.target
        g = R.T @ z
        size, image = float(torch.linalg.vector_norm(g)), R @ g
        if size == 0.0:
            return self._step(g)
        cauchy = -((size / float(torch.linalg.vector_norm(image))) ** 2) * g
        if not float(torch.linalg.vector_norm(cauchy)) < radius:
            return self._step(-(radius / size) * g)
        newton = self._within(math.inf)
        if float(torch.linalg.vector_norm(newton)) <= radius:
            return self._step(newton)
        return self._step(cauchy + to_boundary(cauchy, newton - cauchy, radius))

    def steihaug(self, radius: float, tolerance: float, iterations: int) -> Step:
        """Minimiser over ||D p|| <= radius by truncated conjugate gradients on R^T R."""
        R = self.compressed.triangle
        return self._step(
            steihaug(R.T @ self.compressed.target, lambda s: R.T @ (R @ s), radius, tolerance, iterations)
        )

    def correction(self, adjoint: Tensor, factor: Tensor) -> Tensor:
        """-(J^T J + mu D^2)^-1 h, (q,), for h = `adjoint` (q,) and the triangle of a damped step."""
        return self._vector(_solved(factor, -self.compressed.to_coordinates(self.scale.inverse * adjoint)))

    def moved(self, vector: Tensor) -> Step:
        """The step p = `vector`, which need not be one that this model proposed."""
        s = self.compressed.to_coordinates(self.scale.weights * vector)
        return replace(self._step(s), vector=vector)

    def _step(self, s: Tensor) -> Step:
        image = self.compressed.triangle @ s
        slope = float(image @ self.compressed.target)
        reduction = -slope - 0.5 * float(image @ image)
        return Step(self._vector(s), reduction, slope, float(torch.linalg.vector_norm(s)))

    def _vector(self, s: Tensor) -> Tensor:
        return self.scale.inverse * self.compressed.from_coordinates(s)

    @cached_property
    def _singular(self) -> tuple[Tensor, Tensor, Tensor]:
        """(U^T z, singular values, V^T) of R without those at rounding level."""
        U, s, Vh = torch.linalg.svd(self.compressed.triangle, full_matrices=False)
        largest = s.max() if s.numel() else s.sum()
        kept = s > max(self.compressed.triangle.shape) * torch.finfo(s.dtype).eps * largest
        return (U.T @ self.compressed.target)[kept], s[kept], Vh[kept]

    def _within(self, radius: float) -> Tensor:
        c, s, Vh = self._singular

        newton = -c / s
        if float(torch.linalg.vector_norm(newton)) <= radius:
            return Vh.T @ newton
        return Vh.T @ (-c * s / (s * s + damping_at(radius, c * s, s * s, 0.0)))


@dataclass(frozen=True, eq=False)
class QuadraticModel:
    """g^T p + 1/2 p^T B p around one point, in the coordinates s = D p.

    Attributes:
        point: the point.
        gradient: D^-1 g, (q,).
        scale: D, and the entries that a bound holds.
        matrix: D^-1 B D^-1, (q, q); None where only products are to be had.
        product: s -> D^-1 B D^-1 s.
    """

    point: LeastSquaresPoint
    gradient: Tensor
    scale: Scale
    matrix: Tensor | None
    product: Callable[[Tensor], Tensor] = field(repr=False)

    @property
    def finite(self) -> bool:
        """Whether the model can be used."""
        return bool(torch.isfinite(self.gradient).all()) and (
            self.matrix is None or bool(torch.isfinite(self.matrix).all())
        )

    def damped(self, damping: float) -> Step:
        """Minimiser of the model plus mu/2 ||D p||^2, for B + mu I that is safely positive definite, by Cholesky."""
        shifted = self.matrix.clone()  # pyright: ignore[reportOptionalMemberAccess]
        shifted.diagonal().add_(damping)
        S = torch.linalg.cholesky(shifted, upper=True)
        return replace(self._step(_solved(S, -self.gradient)), factor=S)

    def correction(self, adjoint: Tensor, factor: Tensor) -> Tensor:
        """-(B + mu D^2)^-1 h, (q,), for h = `adjoint` (q,) and the triangle of a damped step."""
        return self.scale.inverse * _solved(factor, -self.scale.inverse * adjoint)

    def within(self, radius: float) -> Step:
        """Minimiser over ||D p|| <= radius from the eigenvalues of B, which may be negative (More, Sorensen 1983)."""
        values, vectors = self._eigen
        c, lowest = vectors.T @ self.gradient, float(values[0])
        noise = torch.finfo(values.dtype).eps * float(values.abs().max())
        least = 0.0 if lowest > noise else noise - lowest
        if noise == 0.0:  # no curvature at all
            slope = safe_norm(c)
            return self._step(vectors @ (c * (-radius / slope if slope > 0 else 0.0)))
        s = -c / (values + least)
        if float(torch.linalg.vector_norm(s)) > radius:
            s = -c / (values + damping_at(radius, c, values, least))
        elif lowest < 0:  # the hard case: the gradient has next to no part along the lowest eigenvector
            s = s + to_boundary(s, torch.eye(1, s.numel(), dtype=s.dtype, device=s.device)[0], radius)
        return self._step(vectors @ s)

    def steihaug(self, radius: float, tolerance: float, iterations: int) -> Step:
        """Minimiser over ||D p|| <= radius by truncated conjugate gradients, which need products alone."""
        return self._step(steihaug(self.gradient, self.product, radius, tolerance, iterations))

    def solved(self, damping: float, tolerance: float, iterations: int) -> Step:
        """-(B + mu ||B|| I)^-1 g for a positive semidefinite B, from its eigenvalues or by conjugate gradients."""
        if self.matrix is None:
            shift = damping * self._norm if damping > 0 else 0.0
            s = steihaug(self.gradient, lambda s: self.product(s) + shift * s, math.inf, tolerance, iterations)
            return self._step(s)
        values, vectors = self._eigen
        largest = float(values[-1])
        if largest <= 0.0:
            return self._step(torch.zeros_like(self.gradient))
        return self._step(-(vectors @ ((vectors.T @ self.gradient) / (values.clamp_min(0.0) + damping * largest))))

    def moved(self, vector: Tensor) -> Step:
        """The step p = `vector`, which need not be one that this model proposed."""
        return replace(self._step(self.scale.weights * vector), vector=vector)

    @cached_property
    def _eigen(self) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigh(self.matrix)  # pyright: ignore[reportReturnType]

    @cached_property
    def _norm(self) -> float:
        """||B|| by a few power iterations from the gradient, a little too small."""
        size, v = 0.0, self.gradient
        for _ in range(POWERS):
            length = safe_norm(v)
            if not 0.0 < length < math.inf:
                break
            v = self.product(v / length)
            size = safe_norm(v)
        return size

    def _step(self, s: Tensor) -> Step:
        slope = float(self.gradient @ s)
        reduction = -slope - 0.5 * float(s @ self.product(s))
        return Step(self.scale.inverse * s, reduction, slope, float(torch.linalg.vector_norm(s)))


def _solved(S: Tensor, right: Tensor) -> Tensor:
    """(S^T S)^-1 times a vector, for an upper triangle S."""
    inner = torch.linalg.solve_triangular(S.T, right[:, None], upper=False)
    return torch.linalg.solve_triangular(S, inner, upper=True)[:, 0]
