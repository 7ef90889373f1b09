"""Fewer neurons for the same span: merge what repeats, drop what the others span, prune what hardly matters.

Every operation is a removal of neurons: theta keeps the entries of the rest, and the linear solve is made again. At
lam = 0 nothing that leaves the span of W Phi changes the value. At lam > 0 the ridge sees the columns themselves: r
equal columns share a coefficient c at the cost lam c^2 / (2 r), one has it at lam c^2 / 2, so that the value rises, by
1/2 tr C_S^T [((A_lam^T A_lam)^-1)_SS]^-1 C_S for the columns S that go, at most lam/2 (1 - 1/r) c^2 for equal ones.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.separable import SeparableProblem
from grassvp.surgery.acceptance import Allowance
from grassvp.surgery.networks import Network
from grassvp.surgery.operations import drops, merges, prunings
from grassvp.surgery.result import Operation, SurgeryResult
from grassvp.surgery.spans import lost_angle

__all__ = ["check_increase", "check_tolerance", "drop_dependent", "merge_duplicates", "outcome", "prune"]

AMPLIFICATION = 100.0  # by which a tolerance on single columns may grow in the angles of their span


def merge_duplicates(
    problem: SeparableProblem, parameters: Any, *, tolerance: float = 1e-8, max_increase: float = math.inf
) -> SurgeryResult:
    """Keep one neuron of every set whose feature columns are parallel, of either sign and any scale: the longest.

    Args:
        problem: a problem whose features are an mlp.
        parameters: theta (q,), numpy or torch.
        tolerance: largest sine of the angle between a column and the one that is kept; rounding counts as none.
        max_increase: the value may rise by this times itself; what would raise it further is refused.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    check_tolerance(tolerance)
    return _removed(problem, parameters, lambda network: merges(network, tolerance), max_increase, tolerance)


def drop_dependent(
    problem: SeparableProblem, parameters: Any, *, tolerance: float = 1e-8, max_increase: float = math.inf
) -> SurgeryResult:
    """Drop neurons whose columns the others and the constant feature span: dead, saturated and collinear ones.

    Which ones is decided by QR with column pivoting of the columns at length one. A column counts as dead where its
    length beside the longest is at most the problem's rank tolerance (with column scaling: where it is zero). Bounds on
    the coefficients leave dead ones alone to be dropped.

    Args:
        problem: a problem whose features are an mlp.
        parameters: theta (q,), numpy or torch.
        tolerance: part of a column outside the span of others up to which it counts as inside.
        max_increase: the value may rise by this times itself; what would raise it further is refused.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    check_tolerance(tolerance)
    return _removed(problem, parameters, lambda network: drops(network, tolerance), max_increase, tolerance)


def prune(problem: SeparableProblem, parameters: Any, *, max_increase: float = 1e-3) -> SurgeryResult:
    """Remove neurons, always the one that raises the value least, while it rises by at most `max_increase` of itself.

    Directions of the span are lost: the result says by what angle.

    Args:
        problem: a problem whose features are an mlp.
        parameters: theta (q,), numpy or torch.
        max_increase: of the value, relative to it, by all neurons together.

    Raises:
        ArgumentError: the problem has bounds on its coefficients, or an argument cannot be used.
        ArgumentTypeError: an argument has the wrong type.
    """
    increase = check_increase(max_increase)
    return _removed(problem, parameters, lambda network: prunings(network, increase * network.value), increase, 0.0)


def outcome(start: Network, after: Network, operations: Sequence[Operation], tolerance: float) -> SurgeryResult:
    """The result of operations that led from one network to another."""
    level = max(tolerance, start.noise)
    angle = 0.0 if after is start else lost_angle(start.matrix, after.matrix, level, start.noise)
    return SurgeryResult(
        problem=after.problem,
        parameters=after.parameters,
        operations=tuple(operations),
        value_before=start.value,
        value_after=after.value,
        span_angle=angle,
        span_tolerance=AMPLIFICATION * level,
        width_before=len(start.neurons),
        width_after=len(after.neurons),
    )


def check_tolerance(value: Any) -> float:
    """A tolerance on the sine of an angle, or an exception that names it."""
    tolerance = check_nonnegative(value, "tolerance")
    if tolerance >= 1.0:
        raise ArgumentError(f"tolerance is the sine of an angle and must be < 1, got {tolerance}")
    return tolerance


def check_increase(value: Any) -> float:
    """A relative increase, infinity allowed, or an exception that names it."""
    if isinstance(value, float) and value == math.inf:
        return value
    return check_nonnegative(value, "max_increase")


def _removed(
    problem: SeparableProblem,
    parameters: Any,
    find: Callable[[Network], list[Operation]],
    max_increase: float,
    tolerance: float,
) -> SurgeryResult:
    start = Network.of(problem, parameters)
    after, operations = Allowance(start, check_increase(max_increase)).apply(start, find(start))
    return outcome(start, after, operations, tolerance)
