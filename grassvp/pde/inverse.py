"""What data say about unknown coefficients of an equation: estimates, standard errors, intervals.

With weights 1 / noise the data rows have unit variance, and the rows of the equation and the conditions, which count
far more, act as constraints. Then the covariance of p is its block of (J^T J)^-1 for the Jacobian J of all weighted
rows by (theta, p, C), which is the inverse of the Fisher information of p under the equation as a constraint, as far as
the network represents u(p) and its derivative. `grassvp.statistics` computes it by orthogonal factorisations.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import norm, t
from torch import Tensor

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.pde.collocation import Collocation
from grassvp.pde.data import DataBlock
from grassvp.solvers import Solution
from grassvp.statistics import fit_statistics

__all__ = ["Estimates", "coefficient_estimates"]

DOUBTFUL = 1.0  # violation above which a table of estimates says so


@dataclass(frozen=True, eq=False)
class Estimates:
    """Unknown coefficients of an equation as data determine them, to first order in the errors of the data.

    Attributes:
        values: estimates by name.
        standard_errors: by name; inf where the data do not determine a coefficient, 0 for one that is held at a bound.
        covariance: (s, s) in the order of the names, NaN beside what is not determined.
        noise: standard deviation of the data relative to the given one: 1, or an estimate where none was given.
        noise_known: whether noise was given; intervals use the normal distribution then, and Student's t otherwise.
        misfit: sum of squares of what the fit leaves of the data, in units of the given noise, divided by the degrees
            of freedom: near 1 where model and noise are right, to about sqrt(2 / degrees of freedom).
        degrees_of_freedom: measurements minus coefficients.
        violation: norm of what the fit leaves of the weighted rows of the equation and conditions, in standard
            deviations of the data. Where it is not small beside 1, the network does not represent the solution well
            enough, and estimates may be off by such a part of their standard errors: use a wider one, or solve longer.
    """

    values: Mapping[str, float]
    standard_errors: Mapping[str, float]
    covariance: np.ndarray
    noise: float
    noise_known: bool
    misfit: float
    degrees_of_freedom: int
    violation: float

    def derived(self, function: Callable[[Mapping[str, Tensor]], Tensor]) -> tuple[float, float]:
        """Value and standard error of what follows from the coefficients, by the delta method.

        Args:
            function: maps the coefficients by name, torch numbers, to one number by operations that torch.func can
                differentiate, such as ``lambda p: torch.exp(p["log_kappa"])``.

        Raises:
            ArgumentError: `function` fails or returns something else than one number.
        """
        at = torch.tensor(list(self.values.values()), dtype=torch.float64)

        def of_vector(p: Tensor) -> Tensor:
            return function(dict(zip(self.values, p.unbind(), strict=True)))

        try:
            value, slope = of_vector(at), torch.func.grad(of_vector)(at)
        except Exception as error:
            raise ArgumentError(
                f"function must map the coefficients {', '.join(self.values)} to one torch number: {error}"
            ) from error
        used = np.flatnonzero(slope.numpy())
        g, covariance = slope.numpy()[used], self.covariance[np.ix_(used, used)]
        lost = bool(np.isinf(np.diag(covariance)).any())
        return float(value), math.inf if lost else math.sqrt(max(float(g @ covariance @ g), 0.0))

    def interval(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Confidence intervals (lower, upper) of each coefficient by itself.

        Raises:
            ArgumentError: `level` is not strictly between 0 and 1.
        """
        if not 0 < check_nonnegative(level, "level") < 1:
            raise ArgumentError(f"level must lie strictly between 0 and 1, such as 0.95, got {level}")
        probability = (1 + level) / 2
        quantile = float(norm.ppf(probability) if self.noise_known else t.ppf(probability, self.degrees_of_freedom))
        half = {name: quantile * error if error > 0 else 0.0 for name, error in self.standard_errors.items()}
        return {name: (value - half[name], value + half[name]) for name, value in self.values.items()}

    def __repr__(self) -> str:
        """Values with their errors, and how well the data are fitted."""
        rows = [f"  {name} = {value:.8g} +- {self.standard_errors[name]:.2g}" for name, value in self.values.items()]
        noise = (
            f"data misfit {self.misfit:.3g} per degree of freedom ({self.degrees_of_freedom})"
            if self.noise_known
            else f"noise estimated as {self.noise:.3g} with {self.degrees_of_freedom} degrees of freedom"
        )
        if self.violation > DOUBTFUL:
            rows.append(f"Note: the equation is left at {self.violation:.2g} standard deviations of the data")
        return "\n".join([f"Estimates: {noise}", *rows])


def coefficient_estimates(solution: Solution, collocation: Collocation) -> Estimates:
    """Estimates from a solution of the problem that a collocation made.

    Raises:
        ArgumentError: the equation has no unknown coefficients, or the solution is not finite.
    """
    names = tuple(collocation.equations.coefficients)
    if not names:
        raise ArgumentError("solution has no coefficients to estimate: give PDE(..., coefficients={...})")
    problem = solution.problem
    squares, count, others = _squares(solution, collocation)
    freedom = count - len(names)
    known = collocation.data[0].noise is not None
    misfit = squares / freedom if freedom > 0 else math.nan
    noise = 1.0 if known else math.sqrt(max(misfit, torch.finfo(torch.float64).tiny))
    if not math.isfinite(noise):
        raise ArgumentError(
            f"solution: {count} measurements of unknown noise are too few for {len(names)} coefficients: give noise"
        )
    factors = fit_statistics(problem, solution, noise=noise).factors
    first = len(solution.parameters) - len(names)
    errors = (noise * factors.deviations()[first : len(solution.parameters)]).cpu().numpy()
    values = solution.parameters[first:].double().cpu().numpy()
    return Estimates(
        values=dict(zip(names, values.tolist(), strict=True)),
        standard_errors=dict(zip(names, errors.tolist(), strict=True)),
        covariance=_covariance(factors, first, noise, errors),
        noise=noise,
        noise_known=known,
        misfit=misfit,
        degrees_of_freedom=freedom,
        violation=math.sqrt(others) / noise,
    )


def _covariance(factors: Any, first: int, noise: float, errors: np.ndarray) -> np.ndarray:
    """Block of p; zero where it is held at a bound, NaN off the diagonal and inf on it where it is not determined."""
    X = factors.steps.new_zeros(len(factors.free), factors.steps.shape[1])
    X[factors.free] = factors.steps @ factors.root.T
    covariance = (noise**2 * X[first:] @ X[first:].T).cpu().numpy()
    lost = np.isinf(errors)
    covariance[lost], covariance[:, lost] = np.nan, np.nan
    covariance[lost, lost] = np.inf
    return covariance


def _squares(solution: Solution, collocation: Collocation) -> tuple[float, int, float]:
    """Sum of squares of the weighted residuals of the data, how many there are, and the sum of the other squares."""
    problem, blocks = solution.problem, collocation.blocks()
    with torch.no_grad():
        values = problem.features(solution.parameters, problem.inputs)
        misfit = (problem.fitted(values, solution.coefficients) - problem.targets)[:, 0] * problem.weights
    measured = torch.cat([torch.full((block.rows,), isinstance(block, DataBlock)) for block in blocks])
    squares = misfit.double().cpu() ** 2
    return float(squares[measured].sum()), int(measured.sum()), float(squares[~measured].sum())
