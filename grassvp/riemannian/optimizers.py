"""pymanopt's optimizers by name, the problem as they get to see it, and what they say translated to a status."""

import copy
import functools
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pymanopt
from pymanopt.optimizers import ConjugateGradient, NelderMead, ParticleSwarm, SteepestDescent, TrustRegions
from pymanopt.optimizers.optimizer import Optimizer

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.riemannian.evaluator import Stop, is_finite
from grassvp.riemannian.recorder import Recorder
from grassvp.solvers.status import Status

__all__ = [
    "SOLVERS",
    "MonitoredProblem",
    "derivative_free",
    "global_generator",
    "optimizer_of",
    "takes_generator",
    "translate",
]

SOLVERS = {
    "trust-region": TrustRegions,
    "conjugate-gradient": ConjugateGradient,
    "steepest-descent": SteepestDescent,
}
PATIENCE = 100  # trial points without a new iterate after which an optimizer counts as stalled
ENDINGS = {
    # a part of pymanopt's sentence: the status
    "max iterations": Status.MAX_ITERATIONS,
    "max cost evals": Status.MAX_ITERATIONS,
    "max time": Status.MAX_TIME,
}


class MonitoredProblem(pymanopt.Problem):
    """A problem whose gradient evaluations are an optimizer's iterates: each is recorded, and may end the run.

    Args:
        recorder: of the run.
        unit: value and derivatives are divided by it, because pymanopt's trust regions and line searches have
            absolute thresholds.
        rng: what the manifold draws from.
        by_cost: iterates are the points of least cost so far, for optimizers that ask for no gradient.
        handover: gradient norm at which the run ends as stalled, for the finish to take over.
    """

    def __init__(
        self,
        recorder: Recorder,
        unit: float,
        rng: np.random.Generator,
        *,
        by_cost: bool = False,
        handover: float = 0.0,
    ) -> None:
        problem = recorder.evaluator.problem
        self.manifold, self.preconditioner = guarded(problem.manifold, rng), problem.preconditioner
        self._recorder, self._evaluator, self._unit = recorder, recorder.evaluator, unit
        self._by_cost, self._handover, self._trials = by_cost, handover, 0

    @property
    def cost(self):
        """The cost in the given unit."""
        return self._monitored_cost

    @property
    def riemannian_gradient(self):
        """The gradient in the given unit, at an iterate."""
        return self._monitored_gradient

    @property
    def riemannian_hessian(self):
        """The Hessian in the given unit."""
        return self._monitored_hessian

    @property
    def euclidean_gradient(self):
        """Not offered: what an optimizer asks for must be counted."""
        raise NotImplementedError("use riemannian_gradient")

    @property
    def euclidean_hessian(self):
        """Not offered: what an optimizer asks for must be counted."""
        raise NotImplementedError("use riemannian_hessian")

    def _monitored_cost(self, point: Any) -> float:
        value = self._evaluator.value(point)
        self._trials += 1
        if self._trials > PATIENCE and not self._by_cost:
            raise Stop(Status.STALLED)
        if self._by_cost and value < self._recorder.best_value:
            self._recorder.visit(point)
        return value / self._unit

    def _monitored_gradient(self, point: Any) -> Any:
        if self._recorder.visit(point):
            self._trials = 0
        if self._evaluator.gradient_norm(point) <= self._handover:
            raise Stop(Status.STALLED)
        return self._evaluator.gradient(point) / self._unit

    def _monitored_hessian(self, point: Any, vector: Any) -> Any:
        return self._evaluator.hessian(point, vector) / self._unit


def optimizer_of(solver: Any) -> Optimizer:
    """A silent optimizer for a name, whose limits are left to the run, or a silent copy of a given one.

    Raises:
        ArgumentError: an unknown name.
        ArgumentTypeError: neither a name nor a pymanopt optimizer.
    """
    if isinstance(solver, str):
        if solver not in SOLVERS:
            raise ArgumentError(
                f"solver must be one of {', '.join(map(repr, SOLVERS))} or a pymanopt optimizer, got {solver!r}"
            )
        limits: dict[str, Any] = {"max_iterations": 10**9, "max_time": math.inf, "max_cost_evaluations": math.inf}
        return SOLVERS[solver](**limits, min_gradient_norm=0.0, verbosity=0)
    if not isinstance(solver, Optimizer):
        raise ArgumentTypeError(
            f"solver must be one of {', '.join(map(repr, SOLVERS))} or an instance of a pymanopt optimizer, "
            f"got {solver!r}"
        )
    silent = copy.copy(solver)
    silent._verbosity = 0
    return silent


def derivative_free(optimizer: Optimizer) -> bool:
    """Whether the optimizer asks for values only."""
    return isinstance(optimizer, NelderMead | ParticleSwarm)


def translate(sentence: str) -> Status:
    """The status for pymanopt's reason to stop; what is neither a limit nor our gradient test is STALLED."""
    return next((status for part, status in ENDINGS.items() if part in sentence), Status.STALLED)


def guarded(manifold: Any, rng: np.random.Generator) -> Any:
    """A copy of the manifold whose retraction ends the run at steps that are not finite, and that draws from `rng`.

    pymanopt's truncated conjugate gradients and beta rules divide by what vanishes where they stall.
    """

    def retraction(point: Any, tangent_vector: Any) -> Any:
        if not is_finite(tangent_vector):
            raise Stop(Status.STALLED)
        return manifold.retraction(point, tangent_vector)

    guard = copy.copy(manifold)
    guard.retraction = retraction
    if takes_generator(manifold):
        guard.random_point = functools.partial(manifold.random_point, rng=rng)
        guard.random_tangent_vector = functools.partial(manifold.random_tangent_vector, rng=rng)
    return guard


def takes_generator(manifold: Any) -> bool:
    """Whether `random_point` has an argument `rng`, as on the manifolds of this project."""
    return "rng" in inspect.signature(manifold.random_point).parameters


@contextmanager
def global_generator(rng: np.random.Generator) -> Iterator[None]:
    """Seed numpy's global generator, which pymanopt draws from, by `rng` for the block, and put it back after it."""
    state = np.random.get_state()
    np.random.set_state(np.random.RandomState(rng.integers(2**32, size=4)).get_state())
    try:
        yield
    finally:
        np.random.set_state(state)
