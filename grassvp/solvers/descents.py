"""Descents: what a method takes the objective to be near the current point.

A descent turns a point into a model (`models`); a search then asks the model for steps. What a descent carries from one
point to the next (how D has grown) it reads from the previous model: it holds no state.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from grassvp.solvers.choices import COPIES, linear_algebra
from grassvp.solvers.compression import Compressed, bidiagonalize, dual, tall
from grassvp.solvers.models import LeastSquaresModel, QuadraticModel
from grassvp.solvers.protocols import LeastSquaresPoint
from grassvp.solvers.scaling import Scale, column_scale, parameter_scale

__all__ = ["GaussNewtonDescent", "HessianDescent", "MetricDescent"]

WHOLE, CACHED = 2**23, 2**20  # entries: larger Jacobians than the first are factored in blocks of the second
STRONG = 2.0**26  # roundings: what normal equations lose of a step damped by this much is 1.5e-8 of it
PROBES = 8  # random vectors that estimate the column norms of a Jacobian that is not formed


@dataclass(frozen=True)
class GaussNewtonDescent:
    """The Gauss-Newton model.

    Attributes:
        jacobian: "golub-pereyra", "kaufman", or "auto": what the point prefers.
        scaling: "columns", "parameters", or "auto": parameters where the point knows their units.
        linear_algebra: "dense", "dual", "matrix-free", or "auto", by size.
        inner_tolerance: relative gradient that a matrix-free solve may leave.
        inner_iterations: products with J and with J^T that a matrix-free solve may take.
        damped: whether steps will be damped by at least what the search says, so that strong damping may be used.
    """

    jacobian: str = "auto"
    scaling: str = "auto"
    linear_algebra: str = "auto"
    inner_tolerance: float = 0.1
    inner_iterations: int = 200
    damped: bool = False

    @property
    def plain(self) -> "GaussNewtonDescent":
        """With Kaufman's Jacobian, without what is of size 1 / sigma where features are nearly rank-deficient."""
        return replace(self, jacobian="kaufman")

    def __call__(self, point: LeastSquaresPoint, previous: Any, damping: float) -> LeastSquaresModel | QuadraticModel:
        """The model at `point`, accurate for steps damped by at least `damping`."""
        kind = point.preferred_jacobian if self.jacobian == "auto" else self.jacobian
        way = self.linear_algebra
        if way == "auto":
            way = linear_algebra(*point.system_shape(kind), point.residual.element_size(), point.memory_limit).name
        before, held = None if previous is None else previous.scale, _held(point)
        if way == "matrix-free":
            scale = _scale(self.scaling, point, lambda: estimated_norms(point), held, before)
            return LeastSquaresModel(point, self._krylov(point, scale.inverse, damping if self.damped else 0.0), scale)
        if way == "dual":
            J, r = (torch.cat(parts) for parts in zip(*_blocks(point, kind, whole=True), strict=True))
            scale = _scale(self.scaling, point, lambda: torch.linalg.vector_norm(J, dim=0), held, before)
            return LeastSquaresModel(point, dual(J, r, scale.inverse), scale)
        model, cancelling = self._normal(point, kind, damping, before, held)
        if model is not None:
            return model
        found = tall(_blocks(point, kind))
        norms = torch.linalg.vector_norm(found.triangle, dim=0)
        scale = _scale(self.scaling, point, lambda: norms, held, before)
        scale = replace(scale, largest=scale.size_of(norms**2), cancelling=cancelling)
        return LeastSquaresModel(point, replace(found, triangle=found.triangle * scale.inverse), scale)

    def _normal(
        self, point: LeastSquaresPoint, kind: str, damping: float, before: Scale | None, held: Tensor | None
    ) -> tuple[QuadraticModel | None, float]:
        """The model from J^T J where the damping hides its rounding, and how much cancels when it is made without J."""
        largest, cancelling = (1.0, 1.0) if before is None else (before.largest, 0.5 * before.cancelling)
        if not (self.damped and _is_strong(damping, largest, point)):
            return None, cancelling
        if _is_strong(damping, cancelling, point):
            H, squares = point.normal_matrix(kind, _block_entries(point, kind))
            scale = self._of_normal(point, H, before, held)
            cancelling = scale.size_of(squares)
            if _is_strong(damping, cancelling, point):
                return _dense_model(point, replace(scale, cancelling=cancelling), H), cancelling
        H = sum(J.T @ J for J, _ in _blocks(point, kind))
        scale = self._of_normal(point, H, before, held)  # pyright: ignore[reportArgumentType]
        if not _is_strong(damping, scale.largest, point):
            return None, cancelling
        return _dense_model(point, replace(scale, cancelling=cancelling), H), cancelling  # pyright: ignore[reportArgumentType]

    def _of_normal(self, point: LeastSquaresPoint, H: Tensor, before: Scale | None, held: Tensor | None) -> Scale:
        squares = torch.diagonal(H).clamp_min(0.0)
        scale = _scale(self.scaling, point, lambda: torch.sqrt(squares), held, before)
        return replace(scale, largest=scale.size_of(squares))

    def _krylov(self, point: LeastSquaresPoint, inverse: Tensor, damping: float) -> Compressed:
        shape = point.residual.shape
        room = point.memory_limit // (4 * inverse.numel() * inverse.element_size())
        return bidiagonalize(
            lambda s: point.jacobian_product(inverse * s).reshape(-1),
            lambda u: inverse * point.jacobian_adjoint_product(u.view(shape)),
            point.residual.reshape(-1),
            damping=damping,
            tolerance=self.inner_tolerance,
            limit=max(1, min(self.inner_iterations, room, *point.system_shape("golub-pereyra"))),
        )


@dataclass(frozen=True)
class HessianDescent:
    """A quadratic model, from the Hessian or from a part of it.

    Attributes:
        curvature: "exact", "corrected" (all but the term in the features' second derivatives) or, by products alone,
            "gauss-newton".
        scaling: as for `GaussNewtonDescent`.
        dense: whether the Hessian is formed, or only multiplied with.
    """

    curvature: str
    scaling: str = "auto"
    dense: bool = True

    @property
    def plain(self) -> GaussNewtonDescent:
        """The Gauss-Newton model with Kaufman's Jacobian, which has no curvature that could be wrong."""
        return GaussNewtonDescent("kaufman", self.scaling, "auto" if self.dense else "matrix-free")

    def __call__(self, point: LeastSquaresPoint, previous: Any, damping: float) -> QuadraticModel:
        """The model at `point`."""
        before, held = None if previous is None else previous.scale, _held(point)
        scale = _scale(self.scaling, point, lambda: estimated_norms(point), held, before)
        exact, inverse = self.curvature == "exact", scale.inverse
        if self.dense:
            return _dense_model(point, scale, point.hessian(curvature=exact))

        def product(s: Tensor) -> Tensor:
            if self.curvature == "gauss-newton":
                return inverse * point.jacobian_adjoint_product(point.jacobian_product(inverse * s))
            return inverse * point.hessian_vector_product(inverse * s, curvature=exact)

        return QuadraticModel(point, inverse * point.gradient, scale, None, product)


@dataclass(frozen=True)
class MetricDescent:
    """The gradient in the metric of the (regularised) Grassmannian pulled back through the features.

    Attributes:
        scaling: as for `GaussNewtonDescent`; decides what little damping holds back.
        dense: whether the metric is formed, or only multiplied with.
    """

    scaling: str = "auto"
    dense: bool = True

    def __call__(self, point: LeastSquaresPoint, previous: Any, damping: float) -> QuadraticModel:
        """The model at `point`."""
        before, held = None if previous is None else previous.scale, _held(point)
        scale = _scale(self.scaling, point, lambda: estimated_norms(point), held, before)
        inverse = scale.inverse
        if self.dense:
            return _dense_model(point, scale, point.metric())
        return QuadraticModel(
            point, inverse * point.gradient, scale, None, lambda s: inverse * point.metric_product(inverse * s)
        )


def estimated_norms(point: LeastSquaresPoint) -> Tensor:
    """Norms of the columns of J from products alone: E (J^T u)_j^2 = ||J_j||^2 for random signs u."""
    generator = torch.Generator(device=point.residual.device).manual_seed(0)
    total = torch.zeros_like(point.parameters)
    for _ in range(PROBES):
        bits = torch.randint(0, 2, point.residual.shape, generator=generator, device=point.residual.device)
        total += point.jacobian_adjoint_product((2.0 * bits - 1.0).to(total.dtype)) ** 2
    return torch.sqrt(total / PROBES)


def _blocks(point: LeastSquaresPoint, kind: str, *, whole: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of the Gauss-Newton system: in one block, or in blocks that fit in cache where that is not asked for."""
    return point.system_blocks(kind, math.prod(point.system_shape(kind)) if whole else _block_entries(point, kind))


def _block_entries(point: LeastSquaresPoint, kind: str) -> int:
    """Entries of a row block: all there are, or what fits in cache; neither above the memory limit."""
    size, room = math.prod(point.system_shape(kind)), point.memory_limit // (COPIES * point.residual.element_size())
    return size if size <= min(WHOLE, room) else max(1, min(CACHED, room))


def _is_strong(damping: float, largest: float, point: LeastSquaresPoint) -> bool:
    """Whether mu is so far above the rounding of J^T J, which goes like `largest`, that it may be formed."""
    return damping >= STRONG * torch.finfo(point.residual.dtype).eps * largest


def _dense_model(point: LeastSquaresPoint, scale: Scale, B: Tensor) -> QuadraticModel:
    inverse = scale.inverse
    scaled = inverse[:, None] * B * inverse
    return QuadraticModel(point, inverse * point.gradient, scale, scaled, lambda s: scaled @ s)


def _held(point: LeastSquaresPoint) -> Tensor | None:
    return None if point.bounds is None else point.bounds.held(point.parameters, point.gradient)


def _scale(
    kind: str, point: LeastSquaresPoint, norms: Callable[[], Tensor], held: Tensor | None, previous: Scale | None
) -> Scale:
    by_parameters = kind == "parameters" or (kind == "auto" and point.units is not None)
    if not by_parameters:
        return column_scale(norms(), held, previous)
    columns = norms() if previous is None else point.parameters
    return parameter_scale(point.parameters, point.units, columns, held, previous)
