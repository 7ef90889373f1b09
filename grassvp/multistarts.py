"""Many starts, each run to its end, in parallel: the best of them and how far they spread."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from scipy.stats import qmc
from torch import Tensor

from grassvp.arrays import check_choice, check_count
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import Method, Solution, Status
from grassvp.solving import generator, solve
from grassvp.starts import INITIALIZATIONS, field_of_starts, perturbed

__all__ = ["Multistart", "multistart"]


@dataclass(frozen=True, eq=False)
class Multistart:
    """Solutions from many starts.

    Attributes:
        solutions: in the order of the starts.
    """

    solutions: tuple[Solution, ...]

    @property
    def best(self) -> Solution:
        """The solution of lowest value; where a rule chose lam for each, of least generalised cross-validation."""
        merits = np.array([_merit(solution) for solution in self.solutions])
        return self.solutions[int(np.argmin(np.where(np.isnan(merits), np.inf, merits)))]

    @property
    def values(self) -> np.ndarray:
        """The value that each start led to; NaN where it was not finite."""
        return np.array([solution.value for solution in self.solutions])

    @property
    def spread(self) -> tuple[float, float, float]:
        """Lowest, median and highest value."""
        finite = self.values[np.isfinite(self.values)]
        if not finite.size:
            return float("nan"), float("nan"), float("nan")
        return float(finite.min()), float(np.median(finite)), float(finite.max())

    def agreeing(self, tolerance: float = 1e-6) -> int:
        """How many starts led to the best value but for `tolerance` times the spread of the values, or of itself."""
        low, _, high = self.spread
        return int(np.sum(self.values <= low + tolerance * max(high - low, abs(low))))

    def __repr__(self) -> str:
        """How many, how they ended, and the spread."""
        low, middle, high = self.spread
        names = [solution.status.name for solution in self.solutions]
        ends = ", ".join(f"{names.count(status.name)} {status.name}" for status in Status if status.name in names)
        return (
            f"Multistart({len(self.solutions)} starts: {ends}; values {low:.3g} ... {middle:.3g} ... {high:.3g}, "
            f"{self.agreeing()} agree with the best)"
        )


def multistart(
    problem: SeparableProblem,
    solver: Method | None = None,
    *,
    starts: int = 8,
    jobs: int = 1,
    seed: int | np.random.Generator | None = None,
    initialization: str = "auto",
    spread: float = 0.5,
    **options: Any,
) -> Multistart:
    """Solve from `starts` places, each run to its own end.

    Features that can be sampled start as in `solve`: from random features, the data and growth. Others start from their
    own parameters and then from points of the box of the problem, where that is bounded on all sides (a Latin
    hypercube), or from random changes of their own parameters by about `spread` of their sizes.

    Args:
        problem: the separable problem.
        solver: as for `solve`.
        starts: how many.
        jobs: processes at once, as joblib counts them (-1 for all cores). Each has its share of the threads.
        seed: of the starts; the result does not depend on `jobs`.
        initialization: as for `solve`.
        spread: relative size of the changes for features that cannot be sampled.
        **options: of `solve`: `max_iterations`, `max_time`, `tolerance`, `restarts`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    known = {"max_iterations", "max_time", "tolerance", "restarts"}
    if not set(options) <= known:
        raise ArgumentTypeError(
            f"multistart takes {', '.join(sorted(known))} for solve, got {', '.join(sorted(set(options) - known))}"
        )
    check_count(starts, "starts")
    check_choice(initialization, "initialization", INITIALIZATIONS)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs == 0:
        raise ArgumentTypeError(f"jobs must be an integer other than 0, got {jobs!r}")
    if not (isinstance(spread, int | float) and 0 < spread < np.inf):
        raise ArgumentError(f"spread must be a number > 0, got {spread!r}")
    rng = generator(seed)
    places = _places(ReducedProblem(problem), rng, starts, initialization, spread)
    seeds = rng.spawn(len(places))
    work = (delayed(_run)(problem, solver, place, own, options) for place, own in zip(places, seeds, strict=True))
    found = Parallel(n_jobs=jobs)(work)
    return Multistart(tuple(_given_back(problem, solution) for solution in found))  # pyright: ignore[reportArgumentType]


def _run(
    problem: SeparableProblem, solver: Method | None, start: Tensor, seed: np.random.Generator, options: dict[str, Any]
) -> Solution:
    """One solve, without what would bring the data back from another process."""
    solution = solve(problem, solver, initial_parameters=start, seed=seed, **options)
    return replace(solution, predictor=_nothing, problem=None)


def _given_back(problem: SeparableProblem, solution: Solution) -> Solution:
    own = problem.with_regularization(solution.regularization)
    return replace(solution, predictor=problem.predict, problem=own)


def _merit(solution: Solution) -> float:
    choice = solution.regularization_choice
    return solution.value if choice is None else choice.gcv


def _nothing(parameters: Tensor, coefficients: Tensor, inputs: Any) -> Tensor:
    raise NotImplementedError("the solution came from another process and has not been given its problem yet")


def _places(
    reduced: ReducedProblem, rng: np.random.Generator, count: int, initialization: str, spread: float
) -> Sequence[Tensor]:
    problem = reduced.problem
    if problem.features.can_sample:
        places = [start.parameters for start in field_of_starts(reduced, rng, count, initialization)]
        return [*places, *(perturbed(reduced, places[0], rng, spread) for _ in range(count - len(places)))]
    own, box = reduced.initial_parameters, problem.bounds
    own = own if box is None else box.clip(own)
    if box is not None and bool(torch.isfinite(box.lower).all() and torch.isfinite(box.upper).all()):
        unit = torch.from_numpy(qmc.LatinHypercube(own.numel(), rng=rng).random(count - 1)).to(own)
        return [own, *(box.lower + (box.upper - box.lower) * unit)]
    return [own, *(perturbed(reduced, own, rng, spread) for _ in range(count - 1))]
