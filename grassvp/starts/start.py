"""One place to start from."""

from dataclasses import dataclass

from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.reduced import ReducedProblem

__all__ = ["Start", "start_at"]


@dataclass(frozen=True, eq=False)
class Start:
    """Parameters to start from.

    Attributes:
        parameters: theta, (q,).
        value: the reduced value there; where a rule chooses lam, the generalised cross-validation, which does not
            prefer what follows the noise. Infinite where the features are not finite.
        origin: where they come from, such as "random" or "growth".
        scale: slopes per half-range of the inputs, where there is one.
    """

    parameters: Tensor
    value: float
    origin: str
    scale: float = float("nan")


def start_at(reduced: ReducedProblem, parameters: Tensor, origin: str, scale: float = float("nan")) -> Start:
    """The start at theta, moved into the bounds, with the value that least squares gives it."""
    bounds, problem = reduced.problem.bounds, reduced.problem
    theta = parameters if bounds is None else bounds.clip(parameters)
    try:
        projection = problem.project(problem.features(theta, problem.inputs))
        value = projection.value if problem.rule is None else problem.cross_validated(projection)
    except NonFiniteError:
        value = float("inf")
    return Start(theta, value, origin, scale)
