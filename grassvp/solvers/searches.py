"""Searches: how much of a proposed step is taken, decided by comparing the value with the prediction.

A search is a value; its state is a `Control` that the loop hands from trial to trial.
"""

from dataclasses import dataclass, replace

from grassvp.solvers.descents import GaussNewtonModel, Step

__all__ = ["Backtracking", "Control", "GainRatioDamping"]


@dataclass(frozen=True)
class Control:
    """State of a search: the damping mu or the step length t, and how fast it moves after a rejection."""

    level: float
    growth: float = 2.0


@dataclass(frozen=True)
class GainRatioDamping:
    """Damping driven by rho = actual / predicted reduction.

    Accepted where rho > 0; then mu <- mu max(1/3, 1 - (2 rho - 1)^3). Rejected: mu <- mu nu, nu <- 2 nu.
    Source: H. B. Nielsen, Damping parameter in Marquardt's method, 1999.
    """

    initial: float = 1e-3
    smallest: float = 1e-20
    largest: float = 1e16

    def start(self) -> Control:
        """Control before the first trial."""
        return Control(self.initial)

    def propose(self, model: GaussNewtonModel, control: Control) -> Step:
        """The damped step."""
        return model.step(control.level)

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
class Backtracking:
    """Armijo backtracking on the undamped step: the value must fall by `sufficient` of what the slope promises."""

    sufficient: float = 1e-4
    factor: float = 0.5
    smallest: float = 1e-12

    def start(self) -> Control:
        """Control before the first trial."""
        return Control(1.0)

    def propose(self, model: GaussNewtonModel, control: Control) -> Step:
        """The Gauss-Newton step, shortened."""
        return model.step(0.0).scaled(control.level)

    def judge(self, step: Step, reduction: float, control: Control) -> tuple[bool, Control]:
        """Whether the step is accepted, and the control of the next trial."""
        if step.slope < 0 and reduction >= -self.sufficient * step.slope:
            return True, self.start()
        return False, replace(control, level=control.level * self.factor)

    def exhausted(self, control: Control) -> bool:
        """Whether there is nothing left to try."""
        return control.level < self.smallest
