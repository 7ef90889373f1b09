"""One view of the two kinds of problem: value, gradient and Hessian at a point, in orthonormal tangent coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem, check_free
from manifolds import Grassmann, RegularizedGrassmann
from manifolds.tangents import FlatChart, TangentChart, tangent_chart

__all__ = ["LocalModel", "Objective", "as_objective"]


@dataclass(frozen=True, eq=False)
class LocalModel:
    """A function around one point, in coordinates z of the tangent space that are orthonormal in its metric.

    Attributes:
        point: where, in the shape of the problem's points.
        value: the function there.
        gradient: (dim,).
        chart: the isometry between coordinates and tangent vectors.
        product: z -> Hessian z, (dim,).
        dense: computes the Hessian (dim, dim) at once where there is a better way than its columns.
        linearization: the linear solve, for a reduced problem.
    """

    point: np.ndarray
    value: float
    gradient: np.ndarray
    chart: TangentChart
    product: Callable[[np.ndarray], np.ndarray]
    dense: Callable[[], np.ndarray] | None = None
    linearization: Linearization | None = None

    @property
    def dimension(self) -> int:
        """Dimension of the tangent space."""
        return self.chart.dimension

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient in the metric."""
        return float(np.linalg.norm(self.gradient))

    @cached_property
    def _matrix(self) -> np.ndarray:
        """The Hessian as computed."""
        if self.dense is not None:
            return self.dense()
        H = np.zeros((self.dimension, self.dimension))
        for i, z in enumerate(np.eye(self.dimension)):
            H[:, i] = self.product(z)
        return H

    @property
    def hessian(self) -> np.ndarray:
        """The Hessian as a symmetric matrix, (dim, dim)."""
        return 0.5 * (self._matrix + self._matrix.T)

    @cached_property
    def hessian_defect(self) -> float:
        """||H - H^T||_F; where the Hessian comes from a formula, how far products with it are from the matrix."""
        H = self._matrix
        if self.dense is None:
            return float(np.linalg.norm(H - H.T))
        probe = np.random.default_rng(0).standard_normal((self.dimension, 2))
        columns = np.stack([self.product(z) for z in probe.T], axis=1)
        return float(np.linalg.norm(H @ probe - columns) / np.linalg.norm(probe))


class Objective(Protocol):
    """A function on a manifold."""

    @property
    def dimension(self) -> int:
        """Dimension of the manifold."""
        ...

    @property
    def scale(self) -> float | None:
        """What a gradient norm is measured against: ||W Y||^2, or None for a function we know nothing of."""
        ...

    def point(self, value: Any) -> np.ndarray:
        """`value` as a point, checked."""
        ...

    def at(self, point: np.ndarray) -> LocalModel | None:
        """The function around a point; None where it is not finite."""
        ...

    def move(self, model: LocalModel, coordinates: np.ndarray) -> np.ndarray:
        """The point that the retraction reaches along a tangent vector."""
        ...


def as_objective(problem: Any) -> "ReducedObjective | ManifoldObjective":
    """The common view of a `ReducedProblem` or of anything with the interface of a `pymanopt.Problem`.

    Raises:
        ArgumentTypeError: neither of them.
        ArgumentError: a reduced problem with an offset or bounds.
    """
    if isinstance(problem, ReducedProblem):
        check_free(problem)
        return ReducedObjective(problem)
    if all(hasattr(problem, name) for name in ("manifold", "cost", "riemannian_gradient", "riemannian_hessian")):
        return ManifoldObjective(problem)
    raise ArgumentTypeError(f"problem must be a ReducedProblem or a pymanopt.Problem, got {type(problem).__name__}")


@dataclass(frozen=True, eq=False)
class ReducedObjective:
    """psi(theta), with the Euclidean metric of theta."""

    problem: ReducedProblem

    @property
    def dimension(self) -> int:
        """Number of parameters q."""
        return self.problem.initial_parameters.numel()

    @property
    def scale(self) -> float:
        """||W Y||_F^2."""
        return safe_norm(self.problem.problem.weighted_targets) ** 2

    def point(self, value: Any) -> np.ndarray:
        """The parameters theta (q,), in the working precision."""
        theta = _array(self.problem.vector(value, "point"))
        if not np.all(np.isfinite(theta)):
            raise ArgumentError(f"point has {np.sum(~np.isfinite(theta))} NaN or infinite entries of {theta.size}")
        return theta

    def at(self, point: np.ndarray) -> LocalModel | None:
        """See `Objective`."""
        try:
            now = self.problem.linearize(point)
        except NonFiniteError:
            return None
        gradient, kind = _array(now.gradient), now.parameters

        def product(z: np.ndarray) -> np.ndarray:
            return _array(now.hessian_vector_product(torch.from_numpy(z).to(kind)))

        if not np.all(np.isfinite(gradient)):
            return None
        chart = FlatChart(point.shape)
        return LocalModel(point, now.value, gradient, chart, product, lambda: _array(now.hessian()), now)

    def move(self, model: LocalModel, coordinates: np.ndarray) -> np.ndarray:
        """The sum theta + z."""
        return model.point + coordinates


@dataclass(frozen=True, eq=False)
class ManifoldObjective:
    """The cost of a pymanopt.Problem, used through its interface alone."""

    problem: Any

    @property
    def dimension(self) -> int:
        """Dimension of the manifold."""
        return int(self.problem.manifold.dim)

    @property
    def scale(self) -> float | None:
        """||Y||_F^2 of a subspace problem, ||W Y||_F^2 of a parameter problem, otherwise None."""
        targets, reduced = getattr(self.problem, "targets", None), getattr(self.problem, "reduced", None)
        if isinstance(reduced, ReducedProblem):
            return ReducedObjective(reduced).scale
        return None if targets is None else float(np.linalg.norm(np.asarray(targets))) ** 2

    def point(self, value: Any) -> np.ndarray:
        """A real floating array; on our manifolds, checked to be a point."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        try:
            point = np.array(value, dtype=float)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"point must be one real array: {error}") from error
        manifold = self.problem.manifold
        if isinstance(manifold, Grassmann | RegularizedGrassmann):
            manifold.check_point(point)
        if not np.all(np.isfinite(point)):
            raise ArgumentError(f"point has {np.sum(~np.isfinite(point))} NaN or infinite entries of {point.size}")
        return point

    def at(self, point: np.ndarray) -> LocalModel | None:
        """See `Objective`."""
        problem = self.problem
        chart = tangent_chart(problem.manifold, point)
        value, gradient = float(problem.cost(point)), chart.coordinates(_numpy(problem.riemannian_gradient(point)))

        def product(z: np.ndarray) -> np.ndarray:
            try:
                return chart.coordinates(_numpy(problem.riemannian_hessian(point, chart.tangent_vector(z))))
            except NotImplementedError as error:
                raise ArgumentError(f"problem must have a Hessian: {error}") from error

        return LocalModel(point, value, gradient, chart, product) if np.all(np.isfinite(gradient)) else None

    def move(self, model: LocalModel, coordinates: np.ndarray) -> np.ndarray:
        """The manifold's retraction."""
        return _numpy(self.problem.manifold.retraction(model.point, model.chart.tangent_vector(coordinates)))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _numpy(value: Any) -> np.ndarray:
    return _array(value) if isinstance(value, Tensor) else np.asarray(value, dtype=float)
