"""Torch's Adam and L-BFGS on the reduced or on the joint problem: the baselines of the reduced methods."""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_nonnegative
from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.solvers.last_resort import downhill
from grassvp.solvers.protocols import (
    Iterate,
    LeastSquaresPoint,
    LeastSquaresProblem,
    SeparableLeastSquaresProblem,
    attempt,
)
from grassvp.solvers.status import Status

__all__ = ["FirstOrder"]

LEARNING_RATES = {"adam": 1e-3, "lbfgs": 1.0}


@dataclass(frozen=True)
class FirstOrder:
    """Adam, or L-BFGS with a strong Wolfe line search, as torch has them.

    Attributes:
        optimizer: "adam" or "lbfgs".
        objective: "reduced" optimises theta, C being eliminated; "joint" optimises (theta, C), as is usual.
        learning_rate: torch's `lr`; None for 1e-3 (Adam) or 1 (L-BFGS).
        coefficients: start of C in the joint problem: "zero", or "projected" for the least-squares C at the start.

    The solution is the iterate of lowest value, Adam not being a descent method.
    """

    optimizer: str = "adam"
    objective: str = "reduced"
    learning_rate: float | None = None
    coefficients: str = "zero"
    handles_bounds = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice(self.optimizer, "optimizer", tuple(LEARNING_RATES))
        check_choice(self.objective, "objective", ("reduced", "joint"))
        check_choice(self.coefficients, "coefficients", ("zero", "projected"))
        if self.learning_rate is not None and check_nonnegative(self.learning_rate, "learning_rate") == 0.0:
            raise ArgumentError("learning_rate must be > 0, got 0.0")

    def iterate(self, problem: SeparableLeastSquaresProblem, start: Tensor) -> Generator[Iterate, None, Status]:
        """See `Method`."""
        objective: LeastSquaresProblem = problem
        if self.objective == "joint":
            objective = problem.joint
            try:
                start = objective.start(start, zero_coefficients=self.coefficients == "zero")
            except NonFiniteError:
                return _not_finite()
        rate = LEARNING_RATES[self.optimizer] if self.learning_rate is None else self.learning_rate
        variable = start.clone().requires_grad_(True)
        # Built here and not at the first step: torch takes a second to load its optimisers.
        return self._steps(objective, variable, self._build(variable, rate), rate)

    def _steps(
        self, problem: LeastSquaresProblem, variable: Tensor, optimizer: torch.optim.Optimizer, rate: float
    ) -> Generator[Iterate, None, Status]:
        evaluate, smallest, afresh = _Evaluator(problem, variable), 1e-12 * rate, False
        try:
            yield Iterate(evaluate.point(), 0.0, rate, evaluate.count)
        except NonFiniteError:
            return Status.NON_FINITE
        while True:
            before = variable.detach().clone()
            try:
                optimizer.step(evaluate)  # pyright: ignore[reportArgumentType, reportCallIssue]
                point = evaluate.point()
            except NonFiniteError:  # the step is rejected, not the run: start again from here with half the rate
                rate /= 2
                if rate < smallest:
                    return Status.STALLED
                variable.detach().copy_(before)
                optimizer = self._build(variable, rate)
                continue
            moved = float(torch.linalg.vector_norm(variable.detach() - before))
            if moved == 0.0 and not afresh:  # what the optimiser remembers of steps far away is no reason to stop
                optimizer, afresh = self._build(variable, rate), True
                continue
            if moved == 0.0:
                ahead = None if self.objective == "joint" else downhill(problem, point)[0]
                if ahead is None:
                    return Status.STALLED if point.differentiable else Status.RANK_DEFICIENT
                moved, point = float(torch.linalg.vector_norm(ahead.parameters - before)), ahead
                variable.detach().copy_(ahead.parameters)
                optimizer = self._build(variable, rate)
            afresh = False
            yield Iterate(point, moved, rate, evaluate.count)

    def _build(self, variable: Tensor, rate: float) -> torch.optim.Optimizer:
        if self.optimizer == "adam":
            return torch.optim.Adam([variable], lr=rate)
        # The loop decides when to stop, so that torch's own tests are off; by default max_eval leaves no line search.
        return torch.optim.LBFGS(
            [variable],
            lr=rate,
            max_iter=1,
            max_eval=25,
            history_size=50,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )


def _not_finite() -> Generator[Iterate, None, Status]:
    """No iterate at all."""
    yield from ()
    return Status.NON_FINITE


class _Evaluator:
    """The closure that torch's optimisers call; a point already seen in this step is not evaluated again."""

    def __init__(self, problem: LeastSquaresProblem, variable: Tensor) -> None:
        self._problem, self._variable = problem, variable
        self._seen: list[tuple[Tensor, LeastSquaresPoint]] = []
        self.count = 0

    def point(self) -> LeastSquaresPoint:
        """The problem at the variable's present value, forgetting the others."""
        self._seen = [(self._variable.detach().clone(), self._look_up())]
        return self._seen[0][1]

    def __call__(self) -> Tensor:
        """Value at the present variable, its gradient left in `.grad`.

        Where a line search tries a point that is not finite it sees a flat wall, ten times as high as where it began,
        from which it turns back; an infinite value would make its interpolation NaN.
        """
        try:
            point = self._look_up()
        except NonFiniteError:
            self._variable.grad = torch.zeros_like(self._variable)
            began = self._seen[0][1].value
            return self._variable.new_tensor(began + 9.0 * abs(began))
        self._seen.append((self._variable.detach().clone(), point))
        self._variable.grad = point.gradient.clone()
        return self._variable.new_tensor(point.value)

    def _look_up(self) -> LeastSquaresPoint:
        vector = self._variable.detach()
        for seen, point in self._seen:
            if torch.equal(seen, vector):
                return point
        self.count += 1
        point = attempt(self._problem, vector.clone())
        if point is None or not bool(torch.isfinite(point.gradient).all()):
            raise NonFiniteError("the objective or its gradient is not finite")
        return point
