"""The statistics of a fit as a value: errors, correlations, intervals, bands and what follows from the parameters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, t
from torch import Tensor

from grassvp.arrays import check_nonnegative, in_kind_of, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.jacobians import model_coefficients
from grassvp.linearization import Linearization
from grassvp.solvers import Status
from grassvp.statistics.covariance import ErrorFactors
from grassvp.statistics.factors import row_blocks
from grassvp.statistics.table import table

__all__ = ["FitStatistics"]


@dataclass(frozen=True, eq=False)
class FitStatistics:
    """First-order (delta-method) statistics of theta and C at a fit; vectors are theta followed by C.flatten().

    With J the Jacobian of W (Phi C) by (theta, C) and H = J^T J + lam diag(0, I), the covariance is that of the
    linearised estimator, sigma^2 H^-1 J^T J H^-1; at lam = 0 it is sigma^2 (J^T J)^-1. At lam > 0 it describes the
    scatter of the estimate about its own mean, not the bias of the ridge.

    Entries at a bound are fixed: error 0, correlation NaN. Entries that the data do not determine to working precision
    (a dead or duplicated neuron, more features than rows) have error inf and no covariance with others (NaN). They are
    those that change along a direction whose singular value, with the columns of the Jacobian scaled to length one, is
    below 1e-11 (float64), or that the problem's rank tolerance cuts from the features. The other entries, and every
    band or derived value that does not depend on what is undetermined, keep their finite errors.

    Attributes:
        parameters: theta, (q,).
        coefficients: C, (n, k), the least-squares coefficients at theta.
        degrees_of_freedom: entries of the rows with weight > 0, minus the trace of the hat matrix J H^-1 J^T, which is
            the number of free parameters and coefficients at lam = 0 and full rank.
        sigma: standard deviation of an entry of the weighted residual: the `noise` that was given, or
            ||W (Y - Phi C)||_F / sqrt(degrees_of_freedom); NaN where no degree of freedom is left.
        rank: of the joint Jacobian (with its ridge) over the `free` entries.
        free: how many entries of theta and C are not fixed at a bound.
        noise_known: whether sigma was given; quantiles are then normal instead of Student's t.
        status: of the solve. The statistics mean what they say at a minimum only.
        level: confidence level of intervals and bands where none is asked for.
    """

    parameters: np.ndarray
    coefficients: np.ndarray
    degrees_of_freedom: float
    sigma: float
    rank: int
    free: int
    noise_known: bool
    status: Status
    factors: ErrorFactors = field(repr=False)
    linearization: Linearization = field(repr=False)
    level: float = 0.95

    @property
    def estimates(self) -> np.ndarray:
        """Theta and then C row by row, (q + n k,)."""
        return np.concatenate([self.parameters, self.coefficients.ravel()])

    @cached_property
    def standard_errors(self) -> np.ndarray:
        """Standard errors of theta and C, (q + n k,); without forming the covariance."""
        return self._times_sigma(self.factors.deviations()).cpu().numpy()

    @property
    def parameter_errors(self) -> np.ndarray:
        """Standard errors of theta, (q,)."""
        return self.standard_errors[: self.parameters.size]

    @property
    def coefficient_errors(self) -> np.ndarray:
        """Standard errors of C, (n, k)."""
        return self.standard_errors[self.parameters.size :].reshape(self.coefficients.shape)

    @property
    def fixed(self) -> np.ndarray:
        """Which entries of theta and C sit at a bound, (q + n k,)."""
        return self.factors.fixed.cpu().numpy()

    @cached_property
    def covariance(self) -> np.ndarray:
        """Joint covariance of theta and C, (q + n k, q + n k)."""
        covariance, fixed = self._unit_covariance(), self.fixed
        covariance *= self.sigma**2
        covariance[fixed], covariance[:, fixed] = 0.0, 0.0
        lost = np.flatnonzero(np.isinf(self.standard_errors))
        covariance[lost, lost] = np.inf
        return covariance

    @cached_property
    def correlation(self) -> np.ndarray:
        """Joint correlation of theta and C, with a unit diagonal; NaN beside fixed and undetermined entries."""
        correlation = self._unit_covariance()
        size = np.sqrt(np.diag(correlation))
        size[size == 0] = np.nan
        correlation /= size
        correlation /= size[:, None]
        np.clip(correlation, -1.0, 1.0, out=correlation)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def _unit_covariance(self) -> np.ndarray:
        """The covariance for sigma = 1, with rows and columns of NaN for what is not determined."""
        covariance, lost = self.factors.covariance().cpu().numpy(), np.isinf(self.standard_errors)
        covariance[lost], covariance[:, lost] = np.nan, np.nan
        return covariance

    def interval(self, level: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Confidence intervals (lower, upper) of theta and C, one at a time, each (q + n k,).

        Estimate -/+ quantile * standard error, with Student's t at `degrees_of_freedom`, normal where noise was given;
        at `self.level` by default.
        """
        half, estimates = self._half_widths(torch.from_numpy(self.standard_errors), level).numpy(), self.estimates
        return estimates - half, estimates + half

    def band(self, inputs: Any, level: float | None = None) -> Any:
        """Half-widths of the pointwise confidence band of the model's mean, shaped as `Solution.predict` is.

        quantile * sqrt(g^T cov g), with g the derivative of Phi(theta; x) C, and of the offset, by (theta, C): of the
        function itself where the rows of the fit are a differential operator applied to it. Inf where the fit does not
        determine the model.

        Args:
            inputs: (rows, d) or as `predict` takes them; numpy or torch, and so is the answer.
            level: confidence level, `self.level` by default.
        """
        problem, theta = self.linearization.problem, self.linearization.parameters
        shape = problem.predict(theta, self.linearization.coefficients, inputs).shape
        model, like = problem.features.model, problem.targets
        x = model.prepare(to_tensor(inputs, "inputs", dtype=like.dtype, device=like.device))
        with torch.no_grad():
            derivatives = model.derivatives(theta, x)
        C = model_coefficients(derivatives.values, self.linearization.coefficients)
        rows = row_blocks(len(derivatives.values), C.shape[1] * theta.numel(), problem.memory_limit)
        deviations = [
            self.factors.model_deviations(
                derivatives.block(part.start, part.stop).contract(C).double(),
                derivatives.values[part, : problem.width].double(),
            )
            for part in rows
        ]
        half = self._half_widths(self._times_sigma(torch.cat(deviations)), level)
        return in_kind_of(inputs)(half.reshape(shape))

    def derived(self, function: Callable[[Tensor, Tensor], Tensor]) -> tuple[np.ndarray, np.ndarray]:
        """Value and standard error of what follows from the fit, such as a half-life, by the delta method.

        Args:
            function: maps theta (q,) and C (n, k), torch tensors, to a scalar or a 1-D tensor, by operations that
                torch.func can differentiate.

        Raises:
            ArgumentTypeError, ArgumentError: `function` cannot be called, fails, or returns something else.
        """
        if not callable(function):
            raise ArgumentTypeError(
                f"function must be callable as function(parameters, coefficients), got {function!r}"
            )
        theta, C = (
            tensor.double().clone() for tensor in (self.linearization.parameters, self.linearization.coefficients)
        )
        value = _result(function, theta, C)
        jacobian = torch.func.jacfwd if value.numel() > theta.numel() + C.numel() else torch.func.jacrev
        slopes = jacobian(lambda *at: _result(function, *at).reshape(-1), argnums=(0, 1))(theta, C)
        errors = self.factors.functional_deviations(*(part.detach().double() for part in slopes))
        errors = self._times_sigma(errors).reshape(value.shape)
        return value.detach().cpu().numpy()[()], errors.cpu().numpy()[()]

    def _times_sigma(self, deviations: Tensor) -> Tensor:
        """Sigma times deviations; what is fixed or undetermined stays so whatever sigma is."""
        kept = torch.isinf(deviations) | (deviations == 0)
        return torch.where(kept, deviations, self.sigma * deviations)

    def _half_widths(self, errors: Tensor, level: float | None) -> Tensor:
        level = self.level if level is None else check_nonnegative(level, "level")
        if not 0 < level < 1:
            raise ArgumentError(f"level must lie strictly between 0 and 1, such as 0.95, got {level}")
        probability = (1 + level) / 2
        quantile = norm.ppf(probability) if self.noise_known else t.ppf(probability, self.degrees_of_freedom)
        return torch.where(torch.isinf(errors) | (errors == 0), errors, float(quantile) * errors)

    def __repr__(self) -> str:
        """A table of values, errors and intervals, with what limits them."""
        return table(self)


def _result(function: Callable[[Tensor, Tensor], Tensor], theta: Tensor, C: Tensor) -> Tensor:
    try:
        value = function(theta, C)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ArgumentError(
            f"function failed on tensors of shape {tuple(theta.shape)}, {tuple(C.shape)}: {error}"
        ) from error
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise ArgumentTypeError(f"function must return a real torch tensor, got {type(value).__name__}")
    if value.ndim > 1:
        raise ArgumentError(f"function must return a scalar or a 1-D tensor, got shape {tuple(value.shape)}")
    return value
