"""What the functions of this room are given: a problem of either kind, perhaps already linearised, and levels."""

from typing import Any

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem

__all__ = ["check_level", "dependence_level", "linearization_at", "separable_of"]


def linearization_at(problem: Any, parameters: Any) -> Linearization:
    """The linearisation that a problem has at theta, or itself.

    Raises:
        ArgumentError, ArgumentTypeError: naming what cannot be used.
    """
    if isinstance(problem, Linearization):
        if parameters is not None:
            raise ArgumentTypeError("parameters must be None where problem is a linearisation, which has its own")
        return problem
    if parameters is None:
        raise ArgumentTypeError("parameters must be given where problem is no linearisation, got None")
    try:
        return ReducedProblem(separable_of(problem)).linearize(parameters)
    except NonFiniteError as error:
        raise ArgumentError(f"parameters have no rank: {error}") from error


def separable_of(problem: Any) -> SeparableProblem:
    """The separable problem that was given, perhaps as a reduced one."""
    if isinstance(problem, ReducedProblem):
        return problem.problem
    if isinstance(problem, SeparableProblem):
        return problem
    raise ArgumentTypeError(f"problem must be a SeparableProblem or a ReducedProblem, got {type(problem).__name__}")


def dependence_level(problem: SeparableProblem) -> float:
    """The rank tolerance that the problem has at lam = 0: at lam > 0 only rounding is cut by default."""
    return problem.with_regularization(0.0).rank_tolerance


def check_level(value: Any, name: str) -> float:
    """`value` as a number in [0, 1), or an exception that names it."""
    level = check_nonnegative(value, name)
    if level >= 1:
        raise ArgumentError(f"{name} must be < 1, as it is relative to the largest, got {level}")
    return level
