"""`fit_statistics`: from a problem and its solution to the statistics of the fit."""

import math
from typing import Any

import torch

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution, Status
from grassvp.statistics.factors import error_factors
from grassvp.statistics.report import FitStatistics

__all__ = ["fit_statistics"]

NO_FREEDOM = 1e-8  # degrees of freedom below this share of the entries are rounding of a trace


def fit_statistics(problem: SeparableProblem, solution: Solution, *, noise: float | None = None) -> FitStatistics:
    """Standard errors, correlations and confidence bands of a fit, to first order in the errors of the data.

    The entries of W (Y - Phi C - offset) are taken as independent with one standard deviation sigma, so weights are
    inverse standard deviations up to a factor. Everything follows from orthogonal factors of the linear solve and of
    Kaufman's Jacobian; see `grassvp.statistics.covariance`.

    Args:
        problem: what was solved.
        solution: where; its theta and its lam are used, and C is solved for again.
        noise: sigma, if it is known; by default it is estimated from the residual.

    Raises:
        ArgumentTypeError, ArgumentError: naming `problem`, `solution` or `noise`; also for a solution that is not
            finite or belongs to another problem.
    """
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    sigma = None if noise is None else check_nonnegative(noise, "noise")
    if sigma == 0:
        raise ArgumentError("noise must be > 0, got 0.0: leave it out to estimate it from the residual")
    linearization = _linearization(problem, solution)
    free = torch.ones_like(linearization.parameters, dtype=torch.bool)
    if problem.bounds is not None:
        free = (linearization.parameters > problem.bounds.lower) & (linearization.parameters < problem.bounds.upper)
    factors = error_factors(linearization, free)
    rows = problem.rows if problem.weights is None else int((problem.weights != 0).sum())
    freedom = rows * problem.outputs - factors.effective
    if sigma is None:
        residual = float(torch.linalg.vector_norm(linearization.projection.residual.double()))
        enough = freedom > NO_FREEDOM * rows * problem.outputs
        sigma = residual / math.sqrt(freedom) if enough else math.nan
    return FitStatistics(
        parameters=linearization.parameters.double().cpu().numpy(),
        coefficients=linearization.coefficients.double().cpu().numpy(),
        degrees_of_freedom=freedom,
        sigma=sigma,
        rank=factors.rank,
        free=int(free.sum() + factors.free_coefficients.sum()),
        noise_known=noise is not None,
        status=solution.status,
        factors=factors,
        linearization=linearization,
    )


def _linearization(problem: SeparableProblem, solution: Any) -> Linearization:
    """The linear solve at the solution, with the lam that it was found for."""
    if not isinstance(solution, Solution):
        raise ArgumentTypeError(f"solution must be a Solution, got {type(solution).__name__}")
    if solution.status is Status.NON_FINITE:
        raise ArgumentError(f"solution has no statistics: {solution.message}")
    expected = problem.features.initial.shape, (problem.width, problem.outputs)
    found = solution.parameters.shape, solution.coefficients.shape
    if tuple(map(tuple, expected)) != tuple(map(tuple, found)):
        raise ArgumentError(
            f"solution belongs to another problem: theta and C have shapes {tuple(found[0])} and {tuple(found[1])}, "
            f"and {tuple(expected[0])} and {expected[1]} are needed"
        )
    if solution.regularization != problem.regularization:
        problem = problem.with_regularization(solution.regularization)
    try:
        return ReducedProblem(problem).linearize(solution.parameters)
    except NonFiniteError as error:
        raise ArgumentError(f"solution has no statistics: {error}") from error
