"""Marching in time in the span of a network's features, which is factored once and kept while it serves.

In the span the equation is diagonal (`Galerkin`); a one-step method takes the state on (`integrators`). The residual
that the span leaves drives the error, whose own equation is solved alongside (`defect`): that is the estimate. Where
what the residual would make until the end exceeds the tolerance, the step is undone: variable projection trains the
features on the state, its rates and what lies ahead; the state is projected to the new span, another point of the
Grassmannian, with what it is estimated to have lost so far, and the step is taken there.

The estimate knows nothing of the error of the integrator, which `step=None` controls. But for that, errors of 0.3 to
1.1 times the estimate are usual, also after many changes of span.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from grassvp.arrays import check_count, check_nonnegative
from grassvp.callbacks import check_callbacks
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.features import mlp
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import Integrator, check_integrator
from grassvp.pde.span import Span
from grassvp.pde.spans import SpanSearch
from grassvp.pde.stepping import March, Plan
from grassvp.pde.trajectory import Trajectory
from grassvp.solving import generator

__all__ = ["march"]

MOST_STEPS = 10**6
ITERATIONS = 40  # of a training, where their number is left open
TRAINED = 1500  # parameters up to which a network is trained where the number of iterations is left open


def march(
    heat: Heat,
    features: int | nn.Module | Span,
    *,
    until: float,
    step: float | None = None,
    tolerance: float = 1e-10,
    integrator: str | Integrator = "exponential",
    training_iterations: int | None = None,
    seed: int | np.random.Generator = 0,
    exact: Any = None,
    callbacks: Sequence[Any] = (),
) -> Trajectory:
    """Solve a heat equation from time 0 on, as u(t, x) = G(t, x) + D(x) Phi(x) c(t).

    Args:
        heat: the equation.
        features: number of tanh neurons, or a network (rows, k) -> (rows, n) that takes the coordinates, each periodic
            one as its cosine and sine; or a span of an earlier trajectory, which is then taken up as it is.
        until: last time, > 0.
        step: length of the steps, shortened so that a whole number of them fits; None for steps that keep the error of
            the integrator below the tolerance.
        tolerance: relative L2 error that the residual may come to by the end before the features are trained.
        integrator: "exponential", "gauss" (order 6), "radau" (order 5), or an `Exponential`, `Gauss` or `Radau`.
        training_iterations: iterations of a training; 0 stays in the span of random features; None for 40 up to 1,500
            parameters and none above, where random features are as good and training takes long.
        seed: seed or numpy Generator of the random features.
        exact: the solution, a number or a function of place and time; true errors are then recorded.
        callbacks: each is called with the `StepRecord` of every time; returning True stops the march.

    Returns:
        A `Trajectory`; a march that fails on the way says so in its status.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    if not isinstance(heat, Heat):
        raise ArgumentTypeError(f"heat must be a pde.Heat, got {type(heat).__name__}")
    until, tolerance = _positive(until, "until"), _positive(tolerance, "tolerance")
    count = None if step is None else math.ceil(until / _positive(step, "step") * (1.0 - 1e-12))
    if count is not None and count > MOST_STEPS:
        raise ArgumentError(f"step must leave at most {MOST_STEPS} steps until {until:g}, got {step}: {count} steps")
    method, seers = check_integrator(integrator), check_callbacks(callbacks)
    rng = generator(seed)
    network = features.network if isinstance(features, Span) else _network(features, heat)
    iterations = _iterations(training_iterations, network)
    truth = None if exact is None else heat.exact(exact)
    try:
        search = SpanSearch(heat, network, until, rng, features.parameters if isinstance(features, Span) else None)
        for time in (0.0, until):
            search.forcing.check(time)
        run = March(search, Plan(until, count, tolerance, method, iterations, truth, seers))
        run.begin()
    except NonFiniteError as error:
        raise ArgumentError(f"the problem cannot be started: {error}") from error
    return run.finish()


def _positive(value: Any, name: str) -> float:
    number = check_nonnegative(value, name)
    if number == 0.0:
        raise ArgumentError(f"{name} must be > 0, got 0")
    return number


def _network(features: Any, heat: Heat) -> nn.Module:
    if isinstance(features, nn.Module):
        if getattr(features, "activation", None) == "relu":
            raise ArgumentError("features must be twice differentiable, got an activation 'relu'")
        return features
    if isinstance(features, bool) or not hasattr(features, "__index__"):
        raise ArgumentTypeError(f"features must be a number of neurons, a torch.nn.Module or a Span, got {features!r}")
    return mlp(heat.embedding.width, (check_count(features, "features"),))


def _iterations(given: int | None, network: nn.Module) -> int:
    if given is not None:
        return check_count(given, "training_iterations", least=0)
    return ITERATIONS if sum(each.numel() for each in network.parameters()) <= TRAINED else 0
