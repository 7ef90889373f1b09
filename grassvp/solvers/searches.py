"""Searches: how much of a proposed step is taken, decided by comparing the value with the prediction.

A search is a value; its state is a `Control` that the loop hands from trial to trial.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from grassvp.errors import NonFiniteError
from grassvp.solvers.models import LeastSquaresModel, QuadraticModel, Step

__all__ = ["Accelerated", "Backtracking", "Control", "GainRatioDamping", "Search", "TrustRadius"]

WEAKEST = 1e-14  # damping whose steps are those of Gauss-Newton, to rounding


@dataclass(frozen=True)
class Control:
    """State of a search: the damping mu, radius or step length, how fast it moves after a rejection, and its unit."""

    level: float
    growth: float = 2.0
    unit: float = 1.0


class Search(Protocol):
    """What the loop asks of a search."""

    def start(self) -> Control:
        """Control before the first trial."""
        ...

    def propose(self, model: Any, control: Control) -> tuple[Step, Control]:
        """A step of the model, and the control it was found with."""
        ...

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """Whether a step that lowered the value by `reduction` is accepted, and the control of the next trial."""
        ...

    def exhausted(self, control: Control) -> bool:
        """Whether there is nothing left to try."""
        ...


@dataclass(frozen=True)
class GainRatioDamping:
    """Damping driven by rho = actual / predicted reduction.

    Accepted where rho > 0; then mu <- mu max(1/3, 1 - (2 rho - 1)^3). Rejected: mu <- mu nu, nu <- 2 nu.
    Source: H. B. Nielsen, Damping parameter in Marquardt's method, 1999.
    """

    initial: float = 1e-3
    smallest: float = 1e-20
    largest: float = 1e16

    @property
    def plain(self) -> "GainRatioDamping":
        """The search from next to no damping, which tries every one."""
        return replace(self, initial=min(self.initial, WEAKEST))

    def start(self) -> Control:
        """Control before the first trial."""
        return Control(self.initial)

    def propose(self, model: LeastSquaresModel, control: Control) -> tuple[Step, Control]:
        """The damped step."""
        return model.damped(control.level), control

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """Whether the step is accepted, and the control of the next trial."""
        ratio = reduction / step.predicted_reduction if step.predicted_reduction > 0 else -1.0
        if ratio > 0:
            shrink = max(1.0 / 3.0, 1.0 - (2.0 * min(ratio, 2.0) - 1.0) ** 3)
            return True, Control(max(control.level * shrink, self.smallest))
        return False, Control(max(control.level, self.smallest) * control.growth, 2.0 * control.growth)

    def exhausted(self, control: Control) -> bool:
        """Whether there is nothing left to try."""
        return control.level > self.largest


@dataclass(frozen=True)
class Accelerated:
    """A damped step p bent along its geodesic: p + a/2, with a the damped answer to the residual's second derivative.

    r_pp = d^2/dt^2 r(theta + t p) comes from one more evaluation of the residual, at theta + h p, and
    a = -(J^T J + mu D^2)^-1 J^T r_pp. Where 2 ||D a|| > `ratio` ||D p|| the second order says that the first is not to
    be trusted, and the step is refused.

    Source: M. K. Transtrum, J. P. Sethna, Improvements to the Levenberg-Marquardt algorithm, arXiv:1201.5885.
    """

    inner: GainRatioDamping
    ratio: float = 0.75
    step: float = 0.1
    noise: float = 3.0  # roundings of the residual that its second difference may consist of

    @property
    def plain(self) -> GainRatioDamping:
        """The search for a step that is not bent, from next to no damping."""
        return self.inner.plain

    def start(self) -> Control:
        """See `GainRatioDamping`."""
        return self.inner.start()

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """See `GainRatioDamping`."""
        return self.inner.judge(step, reduction, control)

    def exhausted(self, control: Control) -> bool:
        """See `GainRatioDamping`."""
        return self.inner.exhausted(control)

    def propose(self, model: LeastSquaresModel, control: Control) -> tuple[Step, Control]:
        """The damped step with half its acceleration, or refused."""
        step, control = self.inner.propose(model, control)
        point, p, h, factor = model.point, step.vector, self.step, step.factor
        if factor is None:
            return step, control
        try:
            ahead = point.residual_at(point.parameters + h * p)
        except NonFiniteError:
            return replace(step, refused=True, evaluations=1), control
        step = replace(step, evaluations=1)
        bend = 2.0 / h**2 * (ahead - point.residual - h * point.jacobian_product(p))
        rounding = 2.0 / h**2 * point.residual_rounding * math.sqrt(p.numel() / ahead.numel())
        if self.noise * rounding > math.sqrt(control.level) * self.ratio * step.length:
            return step, control  # ||(J^T J + mu D^2)^-1 J^T|| <= 1 / (2 sqrt(mu)): a may be rounding alone
        a = model.correction(point.jacobian_adjoint_product(bend), factor)
        length = float(torch.linalg.vector_norm(model.scale.weights * a))
        if not 2.0 * length <= self.ratio * step.length:
            return replace(step, refused=True), control
        return replace(step, vector=p + 0.5 * a), control


@dataclass(frozen=True)
class TrustRadius:
    """Steps of length ||D p|| at most a radius, which follows rho = actual / predicted reduction.

    Accepted where rho > `sufficient`. The radius becomes a quarter of the step where rho < 1/4, and doubles where
    rho > 3/4 and the step went to the boundary. Source: A. R. Conn, N. Gould, P. Toint, Trust-Region Methods, 2000.

    Attributes:
        subproblem: "exact", "dogleg" or "steihaug".
        initial: first radius, relative to the length of theta and its units.
        tolerance: relative gradient that conjugate gradients may leave.
        iterations: products that they may take.
    """

    subproblem: str
    initial: float = 1.0
    tolerance: float = 0.1
    iterations: int = 200
    sufficient: float = 1e-4
    smallest: float = 1e-18

    def start(self) -> Control:
        """Control before the first trial; its radius is set when the first model says how long theta is."""
        return Control(math.nan)

    def propose(self, model: LeastSquaresModel | QuadraticModel, control: Control) -> tuple[Step, Control]:
        """The step of the subproblem."""
        if math.isnan(control.level):
            control = Control(self.initial * model.scale.reach(model.point.parameters, model.point.units))
        if self.subproblem == "steihaug":
            return model.steihaug(control.level, self.tolerance, self.iterations), control
        if self.subproblem == "dogleg" and isinstance(model, LeastSquaresModel):
            return model.dogleg(control.level), control
        return model.within(control.level), control

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """Whether the step is accepted, and the control of the next trial."""
        ratio = reduction / step.predicted_reduction if step.predicted_reduction > 0 else -1.0
        radius = control.level
        if not ratio >= 0.25:
            radius = 0.25 * min(step.length, radius)
        elif ratio > 0.75 and step.length >= 0.99 * radius:
            radius = 2.0 * radius
        return ratio > self.sufficient, replace(control, level=radius)

    def exhausted(self, control: Control) -> bool:
        """Whether there is nothing left to try."""
        return control.level < self.smallest


@dataclass(frozen=True)
class Backtracking:
    """Armijo backtracking: the value must fall by `sufficient` of what the slope promises.

    Attributes:
        damping: of the step that is shortened; 0 for the whole Gauss-Newton step.
        longest: above 1, a length that was accepted is doubled for the next step, up to this times the first length,
            at which a line with the slope of the value would be at zero; so lengths go like the data.
        tolerance: relative gradient that conjugate gradients may leave, for models that are not formed.
        iterations: products that they may take.
    """

    damping: float = 0.0
    longest: float = 1.0
    sufficient: float = 1e-4
    factor: float = 0.5
    smallest: float = 1e-12
    tolerance: float = 1e-3
    iterations: int = 200

    def start(self) -> Control:
        """Control before the first trial; a length that may grow is set when the first model says how steep it is."""
        return Control(math.nan if self.longest > 1.0 else 1.0)

    def propose(self, model: LeastSquaresModel | QuadraticModel, control: Control) -> tuple[Step, Control]:
        """The undamped step, or the one in a quadratic model's metric, shortened."""
        if isinstance(model, LeastSquaresModel):
            return model.damped(self.damping).scaled(control.level), control
        step = model.solved(self.damping, self.tolerance, self.iterations)
        if math.isnan(control.level):
            unit = model.point.value / -step.slope if step.slope < 0 else 1.0
            control = replace(control, level=unit, unit=unit)
        t = control.level
        # A metric says nothing about how the value bends: the prediction is the slope alone.
        return Step(t * step.vector, -t * step.slope, t * step.slope, t * step.length), control

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """Whether the step is accepted, and the control of the next trial."""
        if step.slope < 0 and reduction >= -self.sufficient * step.slope:
            level = min(2.0 * control.level, self.longest * control.unit) if self.longest > 1.0 else 1.0
            return True, replace(control, level=level)
        return False, replace(control, level=control.level * self.factor)

    def exhausted(self, control: Control) -> bool:
        """Whether there is nothing left to try."""
        return control.level < self.smallest * control.unit
