"""Accurate integration of a flow at given times, and the checks of what a flow is given."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, GrassvpError

__all__ = ["FlowError", "check_times", "integrate", "matrix"]

Field = Callable[[np.ndarray], np.ndarray]


class FlowError(GrassvpError, ArithmeticError):
    """The integrator of a flow could not go on; `time` is where."""

    def __init__(self, message: str, time: float) -> None:
        super().__init__(message)
        self.time = time


def integrate(
    velocity: Field,
    start: np.ndarray,
    times: np.ndarray,
    *,
    relative: float = 1e-12,
    absolute: float = 1e-14,
    method: str = "DOP853",
    jacobian: Field | None = None,
    correct: Field | None = None,
    max_evaluations: int = 50_000,
) -> tuple[np.ndarray, int]:
    """States of x' = velocity(x), x(0) = start, at `times`, and how many velocities that took.

    Every time is the end of a step, because interpolation between steps has a lower order than the steps.

    Args:
        velocity: the field, on arrays of the shape of `start`.
        start: x(0).
        times: ascending, >= 0.
        relative: tolerance of the error of a step, relative to each entry.
        absolute: the same, absolute.
        method: of `scipy.integrate.solve_ivp`; an implicit one, "Radau", for a stiff field.
        jacobian: derivative of the field (size, size), for an implicit method.
        correct: applied to the state at each time before going on, such as the nearest point of a manifold.
        max_evaluations: of the field, at most.

    Raises:
        FlowError: the step became too small, the field was not finite or was evaluated too often.
    """
    states, now, state, evaluations = [], 0.0, np.array(start, dtype=float), 0
    shape = state.shape
    options: dict[str, Any] = {"method": method, "rtol": relative, "atol": absolute}

    def field(time: float, x: np.ndarray) -> np.ndarray:
        nonlocal evaluations
        evaluations += 1
        if evaluations > max_evaluations:
            raise _stopped(time, times[-1], f"{max_evaluations} evaluations")
        return velocity(x.reshape(shape)).reshape(-1)

    if jacobian is not None:
        options["jac"] = lambda _, x: jacobian(x.reshape(shape))
    for time in times:
        if time > now:
            run = solve_ivp(field, (now, time), state.reshape(-1), **options)
            if not run.success or not np.isfinite(run.y[:, -1]).all():
                raise _stopped(float(run.t[-1]), times[-1], run.message)
            state, now = run.y[:, -1].reshape(shape), time
            state = state if correct is None else correct(state)
        states.append(state)
    return np.array(states), evaluations


def _stopped(reached: float, last: float, why: str) -> FlowError:
    return FlowError(
        f"the flow could not be followed beyond time {reached:.6g} of {last:.6g} ({why}): it may leave what the "
        "features can reach there, or be too stiff; take shorter times",
        float(reached),
    )


def check_times(times: Any) -> np.ndarray:
    """`times` as an ascending array (T,) of finite numbers >= 0, or an exception that names them."""
    array = to_tensor(times, "times").double().numpy()
    if array.ndim != 1:
        raise ArgumentError(f"times must be one-dimensional, got shape {array.shape}")
    if array[0] < 0 or (np.diff(array) <= 0).any():
        raise ArgumentError(f"times must be >= 0 and ascending, got {array[0]:g} ... {array[-1]:g}")
    return array


def matrix(value: Any, name: str, rows: int | None = None) -> np.ndarray:
    """`value` as a float64 matrix with that many rows, one column for 1-D data, or an exception that names it."""
    array = to_tensor(value, name).double().cpu().numpy()
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or (rows is not None and array.shape[0] != rows):
        raise ArgumentError(f"{name} must have shape ({rows or 'rows'}, columns), got {array.shape}")
    if not math.isfinite(float(np.linalg.norm(array)) ** 2):
        raise ArgumentError(f"{name} is too large: its squared norm overflows; rescale the problem")
    return array
