"""The joint problem in (theta, C): what ordinary training minimises, kept as the baseline to compare with."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.features import FeatureDerivatives
from grassvp.jacobians import model_coefficients, weighted
from grassvp.separable import SeparableProblem

__all__ = ["JointPoint", "JointProblem"]


@dataclass(frozen=True, eq=False)
class JointPoint:
    """The joint objective at one (theta, C). There is no linear solve, so that rank, condition and distance are NaN.

    Attributes:
        problem: the problem it belongs to.
        parameters: theta, (q,).
        coefficients: C, (n, k).
        derivatives: Phi(theta) and products with DPhi(theta).
        residual: W (Y - Phi C) on top of -sqrt(lam) C.
    """

    problem: SeparableProblem
    parameters: Tensor
    coefficients: Tensor
    derivatives: FeatureDerivatives
    residual: Tensor
    rank = float("nan")
    condition = float("nan")
    differentiable = True

    @cached_property
    def value(self) -> float:
        """1/2 ||W (Y - Phi C)||^2 + lam/2 ||C||^2."""
        return 0.5 * float(torch.sum(self.residual.double() ** 2))

    @property
    def value_rounding(self) -> float:
        """Size of the rounding error of the value."""
        return self.problem.value_rounding(self.value)

    @property
    def regularization(self) -> float:
        """Lam."""
        return self.problem.regularization

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient in (theta, C), (q + n k,)."""
        weights, C = self.problem.weights, self.coefficients
        R = self.residual[: self.problem.rows]
        left = R if weights is None else weights[:, None] * R
        linear = self.problem.regularization * C - self.derivatives.values[:, : len(C)].T @ left
        model = model_coefficients(self.derivatives.values, C)
        return torch.cat([-self.derivatives.pullback(left, model), linear.reshape(-1)])

    @property
    def projected_gradient(self) -> Tensor:
        """The gradient: the joint problem has no bounds."""
        return self.gradient

    def distance(self, other: "JointPoint") -> float:
        """NaN: the joint problem does not follow a subspace."""
        return float("nan")


class JointProblem:
    """1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 as a function of one vector, theta followed by C row by row."""

    def __init__(self, problem: SeparableProblem) -> None:
        """The joint form of `problem`."""
        self.problem = problem

    def start(self, parameters: Tensor, *, zero_coefficients: bool) -> Tensor:
        """The vector (theta, C) with C zero, or with the C that least squares gives at theta."""
        problem = self.problem
        if zero_coefficients:
            return torch.cat([parameters, parameters.new_zeros(problem.width * problem.outputs)])
        C = problem.project(problem.features(parameters, problem.inputs)).coefficients
        return torch.cat([parameters, C.reshape(-1)])

    def linearize(self, parameters: Tensor) -> JointPoint:
        """The objective at the vector (theta, C).

        Raises:
            NonFiniteError: the residual there is not finite.
        """
        problem = self.problem
        q = parameters.numel() - problem.width * problem.outputs
        theta, C = parameters[:q], parameters[q:].view(problem.width, problem.outputs)
        with torch.no_grad():
            derivatives = problem.features.derivatives(theta, problem.inputs)
        residual = problem.weighted_targets - weighted(problem.fitted(derivatives.values, C), problem.weights)
        if problem.regularization > 0:
            residual = torch.cat([residual, -(problem.regularization**0.5) * C])
        if not bool(torch.isfinite(residual).all()):
            raise NonFiniteError("the residual of the joint problem has NaN or infinite entries")
        return JointPoint(problem, theta.clone(), C.clone(), derivatives, residual)
