"""Numerical derivatives of a function along a curve, with an honest statement of how well they are known.

Central differences at steps 2^-j h are extrapolated to step 0; of the whole tableau the entry with the smallest
estimate of its error counts, where the estimate adds the disagreement with its neighbours to the noise of the
function divided by the step. The noise is not guessed from the type of the numbers alone but measured from
differences of high order, so that a cost which computes in lower precision inside is found out.

Sources: C. Ridders, Accurate computation of F'(x) and F'(x) F''(x), 1982; J. More, S. Wild, Estimating computational
noise, 2011.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["FIRST_STEP", "Estimate", "Samples", "remainder_slope", "sample_along"]

FIRST_STEP = 0.25
LEVELS = 20  # down to 5e-7 for vectors of length 1
SPACING = 2.0**-18  # of the values whose noise is measured: fine for a rough cost, coarse for float32
ORDER = 6  # of the differences that leave noise only


@dataclass(frozen=True)
class Estimate:
    """A number and how far it may be off."""

    value: float
    uncertainty: float


@dataclass(frozen=True)
class Samples:
    """A function on a curve at times -t, 0 and t.

    Attributes:
        steps: t, descending by halves.
        ahead: values at t.
        behind: values at -t.
        here: value at 0.
        noise: standard deviation of the rounding errors of a value.
    """

    steps: np.ndarray
    ahead: np.ndarray
    behind: np.ndarray
    here: float
    noise: float

    @property
    def variation(self) -> float:
        """Largest change of the function within the first step, 0.25."""
        changes = np.abs(np.concatenate([self.ahead, self.behind]) - self.here)
        return float(np.max(changes[np.isfinite(changes)], initial=0.0))

    def first(self) -> Estimate:
        """The first derivative at 0."""
        return extrapolate((self.ahead - self.behind) / (2 * self.steps), self.noise / self.steps)

    def second(self) -> Estimate:
        """The second derivative at 0."""
        quotients = (self.ahead - self.here + (self.behind - self.here)) / self.steps**2
        return extrapolate(quotients, 4 * self.noise / self.steps**2)


def sample_along(function: Callable[[float], float], eps: float) -> Samples:
    """Samples of a function, whose values are rounded to eps at least.

    The first step is halved until the curve exists there, with finite values: a geodesic may leave the domain of a
    chart, or of the function.

    Raises:
        ValueError: the curve exists for no step, or the values are not finite.
    """
    here, step = function(0.0), first_step(function)
    steps = step * 0.5 ** np.arange(LEVELS)
    ahead, behind = (np.array([function(sign * t) for t in steps.tolist()]) for sign in (1.0, -1.0))
    if not np.all(np.isfinite([here, *ahead, *behind])):
        raise ValueError("the values near the point are not finite")
    noise = max(eps * abs(here), noise_level(function, step * SPACING))
    return Samples(steps, ahead, behind, here, noise)


def first_step(function: Callable[[float], float]) -> float:
    """The largest of the steps 0.25, 0.125, ... at which the function can be evaluated on both sides."""
    step = FIRST_STEP
    while True:
        try:
            values = [function(sign * step) for sign in (1.0, -1.0)]
        except ValueError:
            if step < FIRST_STEP * 2.0**-29:
                raise
        else:
            if np.all(np.isfinite(values)):
                return step
            if step < FIRST_STEP * 2.0**-29:
                raise ValueError("the values near the point are not finite")
        step *= 0.5


def noise_level(function: Callable[[float], float], spacing: float) -> float:
    """Standard deviation of the rounding errors, from sixth differences, which leave little of a smooth function."""
    values = np.array([function(spacing * i) for i in range(-6, 7)])
    differences = np.diff(values - values[6], ORDER)
    return float(np.sqrt(np.mean(differences**2) / math.comb(2 * ORDER, ORDER)))


def extrapolate(quotients: np.ndarray, noise: np.ndarray) -> Estimate:
    """Richardson's extrapolation of quotients whose errors are series in t^2, t halved from one to the next."""
    best, previous = Estimate(math.nan, math.inf), [float(quotients[0])]
    for i in range(1, len(quotients)):
        row = [float(quotients[i])]
        for k in range(1, i + 1):
            row.append(row[k - 1] + (row[k - 1] - previous[k - 1]) / (4.0**k - 1))
            disagreement = max(abs(row[k] - row[k - 1]), abs(row[k] - previous[k - 1]))
            uncertainty = disagreement + 2 * float(noise[i])
            if uncertainty < best.uncertainty:
                best = Estimate(row[k], uncertainty)
        previous = row
    return best


def remainder_slope(
    steps: np.ndarray, errors: np.ndarray, floor: np.ndarray, *, points: int = 4, least: int = 3
) -> float:
    """Slope of log error over log step at the smallest steps whose errors stand ten times above the floor.

    Infinite where fewer than `least` errors do: the model is then exact to rounding.
    """
    above = ~(errors <= 10 * floor)
    start = int(np.argmax(above))
    run = above[start:]
    end = start + (len(run) if run.all() else int(np.argmin(run)))
    if end - start < least:
        return math.inf
    chosen = slice(max(start, end - points), end)
    return float(np.polyfit(np.log2(steps[chosen]), np.log2(errors[chosen]), 1)[0])
