"""The result of a march, as a value."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import in_kind_of, to_tensor
from grassvp.errors import ArgumentError
from grassvp.pde.datum import Datum
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import Integrator
from grassvp.pde.span import Span
from grassvp.pde.spans import Stage

__all__ = ["MarchStatus", "StepRecord", "Trajectory"]

OUTSIDE = 1e-12  # of the interval of time by which a time may lie outside of it


class MarchStatus(Enum):
    """Why a march ended; the value is the sentence that explains it."""

    REACHED = "the end was reached, and the estimated error stayed within the tolerance"
    INACCURATE = "the end was reached, but the estimated error exceeded the tolerance: use more features"
    NON_FINITE = "the source, the conditions or the solution are not finite; what came before is kept"
    INTERRUPTED = "the march was interrupted; the steps so far are kept"
    STOPPED = "a callback asked to stop"


@dataclass(frozen=True)
class StepRecord:
    """One time as callbacks see it.

    Attributes:
        index: number of the step that led here, 0 at the start.
        time: the time.
        step: length of that step.
        norm: L2 norm of u.
        estimate: estimated error in L2, relative to the norm of u.
        error: true error, relative, where an exact solution was given; else NaN.
        residual: L2 norm of what the equation leaves outside of the span.
        rank: dimension of the span.
        span: number of the span, 0 for the first.
        distance: how far the span moved on the Grassmannian before this step, radians; 0 where it was kept.
        seconds: time since the march began.
    """

    index: int
    time: float
    step: float
    norm: float
    estimate: float
    error: float
    residual: float
    rank: int
    span: int
    distance: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """u over time, and the spans of features that it moved through.

    Attributes:
        heat: the equation.
        status: why it ended.
        history: column name -> (steps + 1,) array; see `StepRecord`.
        spans: the spans, in the order of their use.
        span_times: when each was taken up.
        step_seconds: of the steps alone, without the search for spans and the estimates.
        search_seconds: of the search for spans.
        tolerance: that governed it.
        integrator: that took the steps.
    """

    heat: Heat
    status: MarchStatus
    history: dict[str, np.ndarray]
    spans: tuple[Span, ...]
    span_times: np.ndarray
    step_seconds: float
    search_seconds: float
    tolerance: float
    integrator: Integrator
    _stages: Sequence[Stage] = field(repr=False, default=())

    @property
    def times(self) -> np.ndarray:
        """(steps + 1,) times, ascending, the first one 0."""
        return self.history["time"]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1

    @property
    def seconds_per_step(self) -> float:
        """Seconds that a step took, NaN before the first one."""
        return self.step_seconds / self.steps if self.steps else float("nan")

    @property
    def distances(self) -> np.ndarray:
        """(spans - 1,) geodesic distances between successive spans."""
        distances = self.history["distance"]
        return distances[distances > 0]

    @property
    def estimates(self) -> np.ndarray:
        """(steps + 1,) estimated relative errors in L2."""
        return self.history["estimate"]

    @property
    def errors(self) -> np.ndarray:
        """(steps + 1,) true relative errors in L2, NaN where no exact solution was given."""
        return self.history["error"]

    @property
    def message(self) -> str:
        """The status as a sentence with its numbers."""
        return (
            f"{self.status.value} (time {self.times[-1]:.6g}, largest estimate {self.estimates.max():.3g}, tolerance "
            f"{self.tolerance:.3g})"
        )

    def predict(self, t: Any, points: Any) -> Any:
        """U at times and points, of full order between the steps.

        Args:
            t: a time, or times (k,), from 0 to the last one.
            points: (rows, d) in the box.

        Returns:
            (rows,), or (k, rows) for several times; numpy or torch like `points`.

        Raises:
            ArgumentError: a time or a point out of range.
        """
        times = to_tensor(t, "t", dtype=torch.float64)
        if times.ndim > 1:
            raise ArgumentError(f"t must be a number or have shape (times,), got {tuple(times.shape)}")
        last = float(self.times[-1])
        if float(times.min()) < -OUTSIDE * last or float(times.max()) > last * (1.0 + OUTSIDE):
            raise ArgumentError(f"t must lie between 0 and {last:g}, where the trajectory ends; got {times.tolist()}")
        x = self.heat.domain.check_points(points)
        known: dict[int, Tensor] = {}
        rows = [self._field(min(max(float(time), 0.0), last), x, known) for time in times.reshape(-1)]
        return in_kind_of(points)(rows[0] if times.ndim == 0 else torch.stack(rows))

    def error(self, t: float, exact: Any) -> float:
        """Relative L2 error at a time, against a function of place and time or a number."""
        datum = exact if isinstance(exact, Datum) else self.heat.exact(exact)
        grid = self._stages[-1].galerkin.checked.grid
        truth = datum(grid.points, t)
        return grid.norm(self._field(t, grid.points, {}) - truth) / grid.norm(truth)

    def _field(self, time: float, points: Tensor, known: dict[int, Tensor]) -> Tensor:
        """U at a time, from the step before it; `known` keeps the functions of each span at the points."""
        index = int(np.searchsorted(self.times, time, side="right")) - 1
        gap = time - float(self.times[index])
        galerkin, state = self._stages[index].galerkin, self._stages[index].state
        if id(galerkin) not in known:
            known[id(galerkin)] = galerkin.at(points)
        if gap > 0:
            state = galerkin.advance(state, float(self.times[index]), gap, self.integrator)
        return galerkin.field(known[id(galerkin)], state, time, points)

    def __repr__(self) -> str:
        """What one wants to know first."""
        return (
            f"Trajectory({self.status.name}, time {self.times[-1]:.6g}, {self.steps} steps, {len(self.spans)} spans, "
            f"estimated error {self.estimates[-1]:.2g}, {self.history['seconds'][-1]:.2g} s)"
        )


def columns(records: Sequence[StepRecord]) -> dict[str, np.ndarray]:
    """The records as equally long arrays by column name."""
    return {each.name: np.array([getattr(record, each.name) for record in records]) for each in fields(StepRecord)}
