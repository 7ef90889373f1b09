"""The reduced problem at one point: value, derivatives of first and second order, and what solvers need of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grassvp import jacobians
from grassvp.arrays import check_choice
from grassvp.bounds import Box
from grassvp.features import FeatureDerivatives
from grassvp.projection import Choice, Projection, Rule
from grassvp.separable import SeparableProblem
from manifolds.subspaces import distance_of_cosines, geodesic_distance

__all__ = ["JACOBIAN_KINDS", "Linearization"]

JACOBIAN_KINDS = ("golub-pereyra", "kaufman")
DISTANCE_ROUNDINGS = 1e8
MARGIN = 2.0  # over the level at which singular values are cut
POWERS = 4  # power iterations for a direction that need only be good


@dataclass(frozen=True, eq=False)
class Linearization:
    """Everything that is known of the reduced problem at one theta; what costs more is computed on first use.

    Attributes:
        parameters: theta, (q,).
        problem: the problem it belongs to.
        derivatives: Phi(theta) and products with DPhi(theta).
        projection: the linear solve at theta.
    """

    parameters: Tensor
    problem: SeparableProblem
    derivatives: FeatureDerivatives
    projection: Projection

    @cached_property
    def value(self) -> float:
        """1/2 ||W (Y - Phi C)||^2 + lam/2 ||C||^2."""
        return self.projection.value

    @cached_property
    def residual_rounding(self) -> float:
        """Size of the rounding error of the residual: that of W Y, and that of each feature times its coefficient.

        Large coefficients that cancel make the second part the larger one, by orders of magnitude.
        """
        Y, C, R = self.problem.weighted_targets, self.coefficients.double(), self.projection.triangle
        features = torch.linalg.vector_norm(torch.linalg.vector_norm(R, dim=0) * torch.linalg.vector_norm(C, dim=1))
        return torch.finfo(Y.dtype).eps * math.hypot(float(torch.linalg.vector_norm(Y)), float(features))

    @property
    def value_rounding(self) -> float:
        """Size of the rounding error of the value, whose residual's errors point in random directions."""
        rho, rows = self.residual_rounding, self.problem.targets.numel()
        return rho * math.sqrt(2.0 * self.value) * min(1.0, 4.0 / math.sqrt(rows)) + 0.5 * rho**2

    @cached_property
    def residual(self) -> Tensor:
        """The augmented residual: W (Y - Phi C) on top of -sqrt(lam) C, (m + n, k); (m, k) at lam = 0."""
        return torch.cat(self.projection.residual_parts)

    @property
    def coefficients(self) -> Tensor:
        """C, (n, k)."""
        return self.projection.coefficients

    @property
    def rank(self) -> int:
        """Numerical rank of the weighted features."""
        return self.projection.rank

    @property
    def regularization(self) -> float:
        """Lam."""
        return self.problem.regularization

    def chosen(self, rule: Rule) -> Choice:
        """What a rule chooses for lam at these features, whatever lam was solved for."""
        return self.problem.chosen(self.derivatives.values, self.projection, rule)

    @property
    def cross_validated(self) -> float:
        """Generalised cross-validation of the fit, by which fits with different lam compare."""
        return self.problem.cross_validated(self.projection)

    @property
    def differentiable(self) -> bool:
        """Whether the value is differentiable here for certain: features whose rank is full by a margin, or lam > 0.

        A lam whose root is below the singular values that count as zero does not make up for cutting them off.
        """
        s, cut = self.projection.singular_values, self.problem.rank_tolerance
        margin, ridge = MARGIN * cut * float(s[0]), math.sqrt(self.problem.regularization)
        full = self.rank == min(self.problem.rows, self.problem.width)
        return ridge > margin or (full and (self.problem.column_scaling or float(s[-1]) > margin))

    @property
    def condition(self) -> float:
        """Condition number of the least-squares matrix."""
        return self.projection.condition

    @property
    def preferred_jacobian(self) -> str:
        """The Golub-Pereyra Jacobian where it costs what Kaufman's does, Kaufman's otherwise."""
        return JACOBIAN_KINDS[0] if self.problem.features.cheap_adjoint else JACOBIAN_KINDS[1]

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the value, (q,)."""
        return jacobians.envelope_gradient(*self._factors)

    @property
    def bounds(self) -> Box | None:
        """The box that theta is kept in."""
        return self.problem.bounds

    @property
    def projected_gradient(self) -> Tensor:
        """The gradient without the entries that a bound holds; it vanishes at a minimum in the box."""
        return self.gradient if self.bounds is None else self.bounds.projected(self.parameters, self.gradient)

    @property
    def units(self) -> Tensor | None:
        """(q,) natural sizes of the parameters, where the features know them."""
        return self.problem.units

    @property
    def memory_limit(self) -> int:
        """Bytes that derivatives may take."""
        return self.problem.memory_limit

    def jacobian(self, kind: str = JACOBIAN_KINDS[0]) -> Tensor:
        """Derivative of residual.flatten(), ((m + n) k, q): exact ("golub-pereyra") or Kaufman's approximation."""
        return jacobians.dense_jacobian(*self._factors, _is_exact(kind))

    def system_shape(self, kind: str) -> tuple[int, int]:
        """Shape of J in `system_blocks`, all rows together."""
        columns = self._system_columns(kind)
        extra = _is_exact(kind) and columns < self.problem.outputs
        return jacobians.system_rows(self.projection, columns, extra), self.parameters.numel()

    def system_blocks(self, kind: str, entries: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Row blocks (J, r), of at most so many entries, of a system with the J^T J and J^T r of the Jacobian.

        Where there are enough outputs it has n columns of the residual instead of k.
        """
        size = max(1, entries // (self._system_columns(kind) * self.parameters.numel()))
        return jacobians.system_blocks(*self._factors, _is_exact(kind), size)

    def normal_matrix(self, kind: str, entries: int) -> tuple[Tensor, Tensor]:
        """J^T J, (q, q), cheaper than by J but with the rounding of the second, a diagonal (q,) that is larger.

        It is formed from row blocks of at most so many entries.
        """
        size = max(1, entries // (self._system_columns(kind) * self.parameters.numel()))
        return jacobians.normal_matrix(*self._factors, _is_exact(kind), size)

    def _system_columns(self, kind: str) -> int:
        compressed = jacobians.compresses(self.derivatives, self.projection, _is_exact(kind))
        return self.problem.width if compressed else self.problem.outputs

    def jacobian_product(self, direction: Tensor) -> Tensor:
        """J v, (m + n, k) or (m, k), without forming J, for v (q,)."""
        return jacobians.jacobian_product(*self._factors, direction)

    def jacobian_adjoint_product(self, cotangent: Tensor) -> Tensor:
        """J^T u, (q,), without forming J, for u of the residual's shape."""
        return jacobians.jacobian_adjoint_product(*self._factors, cotangent)

    def hessian(self, *, curvature: bool = True) -> Tensor:
        """The exact Hessian, (q, q); without its term in D^2 Phi, what first derivatives give of it."""
        H = jacobians.hessian_first_order(*self._factors)
        if curvature:
            H = H - self.problem.features.curvature(self.parameters, self.problem.inputs, *self._residual_factors)
        return (H + H.T) / 2

    def hessian_vector_product(self, direction: Tensor, *, curvature: bool = True) -> Tensor:
        """`hessian` times v, (q,): one forward and one reverse product with DPhi, and one with D^2 Phi."""
        g, e, n = jacobians.directional_factors(*self._factors, direction)
        along = g - self.projection.combined(e - n)
        first = jacobians.combined_pullback(*self._factors, along, e - n)
        if not curvature:
            return first
        features, inputs = self.problem.features, self.problem.inputs
        return first - features.curvature_product(self.parameters, inputs, *self._residual_factors, direction)

    @property
    def hessian_entries(self) -> int:
        """Entries of what `hessian` forms on its way; what features without a cheap adjoint take counts n-fold."""
        factor = 1 if self.problem.features.cheap_adjoint else self.problem.width
        return self.residual.numel() * self.parameters.numel() * factor

    @property
    def metric_entries(self) -> int:
        """Entries of what `metric` forms on its way."""
        return self.derivatives.gram_entries(self.projection.pseudo_factor.shape[0], self.parameters.numel())

    def metric(self) -> Tensor:
        """The metric of the (regularised) Grassmannian pulled back to theta, (q, q), positive semidefinite."""
        return jacobians.metric(*self._factors)

    def metric_product(self, direction: Tensor) -> Tensor:
        """`metric` times v, (q,), without forming it."""
        return jacobians.metric_product(*self._factors, direction)

    def spare_gradient(self, sizes: Tensor) -> Tensor | None:
        """The largest gradient DPhi^*[W R (Z B)^T] that coefficients Z B with Phi Z = 0, ||B|| = 1, add, (q,).

        Largest in the norm ||sizes * gradient||, by a few power iterations; None at full rank. Either sign of it is a
        descent direction at lam = 0, where C + t Z B minimises as well as C does.
        """
        if self.rank == min(self.problem.rows, self.problem.width):
            return None
        Z, fixed = self.projection.null_space.to(self.residual), self.derivatives.values.shape[1] - self.problem.width
        Z = torch.nn.functional.pad(Z, (0, 0, 0, fixed))
        left = jacobians.weighted(self.projection.residual, self.problem.weights)
        B, gradient = Z.new_ones(Z.shape[1], left.shape[1]), torch.zeros_like(self.parameters)
        for _ in range(POWERS):
            size = float(torch.linalg.matrix_norm(B))
            if size == 0.0:
                break
            gradient = self.derivatives.pullback(left, Z @ B / size)
            B = Z.T @ (self.derivatives.pushforward(sizes**2 * gradient).T @ left)
        return gradient

    def residual_at(self, parameters: Tensor) -> Tensor:
        """The augmented residual at other parameters, of the same shape as here.

        Raises:
            NonFiniteError: the features there are not finite.
        """
        problem = self.problem
        with torch.no_grad():
            projection = problem.project(problem.features(parameters, problem.inputs))
        return torch.cat(projection.residual_parts)

    def distance(self, other: "Linearization") -> float:
        """Geodesic distance on the (regularised) Grassmannian between the two feature spans, in radians.

        Right to 1e-7 of itself (float64): what is cheaper than the last digits is taken of the bases.
        """
        cosines = self.projection.cosines(other.projection)
        distance = distance_of_cosines(cosines, roundings=DISTANCE_ROUNDINGS)
        if distance is None:
            bases = self.projection.full_basis, other.projection.full_basis
            distance = geodesic_distance(*bases, roundings=DISTANCE_ROUNDINGS)
        return float(distance)

    @property
    def _factors(self) -> tuple[FeatureDerivatives, Projection, Tensor | None]:
        return self.derivatives, self.projection, self.problem.weights

    @property
    def _residual_factors(self) -> tuple[Tensor, Tensor]:
        left = jacobians.weighted(self.projection.residual, self.problem.weights)
        return left, jacobians.model_coefficients(self.derivatives.values, self.coefficients)

    def __repr__(self) -> str:
        """Value and rank at a glance."""
        return f"Linearization(value {self.value:.6g}, rank {self.rank}, {self.parameters.numel()} parameters)"


def _is_exact(kind: str) -> bool:
    return check_choice(kind, "kind", JACOBIAN_KINDS) == JACOBIAN_KINDS[0]
