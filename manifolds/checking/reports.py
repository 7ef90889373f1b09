"""What a check found: an immutable report, printable as a table, drawable on axes that the caller brings."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

__all__ = ["Check", "CheckReport", "at_least", "at_most", "combined"]


@dataclass(frozen=True)
class Check:
    """One statement held to numbers.

    Attributes:
        name: what is checked, in a few words.
        statement: the formula.
        measured: the relative error, or the slope of a remainder.
        bound: what it is held to.
        passed: whether it holds.
        relation: "<=" if `measured` must not exceed the bound, ">=" if it must reach it.
        meaning: what it means that the check failed, in a sentence.
        steps: steps t of a Taylor remainder or of a retraction, where there is one.
        errors: its errors at these steps.
    """

    name: str
    statement: str
    measured: float
    bound: float
    passed: bool
    relation: str = "<="
    meaning: str = ""
    steps: np.ndarray | None = field(default=None, repr=False, compare=False)
    errors: np.ndarray | None = field(default=None, repr=False, compare=False)

    def failed(self) -> "Check":
        """The same numbers, failed."""
        return replace(self, passed=False)

    def named(self, name: str) -> "Check":
        """The same check under another name."""
        return replace(self, name=name)


def at_most(name: str, statement: str, measured: float, bound: float, meaning: str) -> Check:
    """A check that an error does not exceed a bound; NaN fails."""
    return Check(name, statement, float(measured), float(bound), bool(measured <= bound), "<=", meaning)


def at_least(name: str, statement: str, measured: float, bound: float, meaning: str, steps: Any, errors: Any) -> Check:
    """A check that the slope of a remainder reaches a bound; NaN fails."""
    passed = bool(measured >= bound)
    return Check(name, statement, float(measured), float(bound), passed, ">=", meaning, steps, errors)


@dataclass(frozen=True)
class CheckReport:
    """The outcome of a family of checks; `print(report)` shows a table.

    Attributes:
        name: what was checked.
        checks: one entry a statement.
    """

    name: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether there was something to check and all of it holds."""
        return bool(self.checks) and not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if not check.passed)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{self.name}: {len(self.checks) - len(self.failures)} of {len(self.checks)} checks passed"]
        for check in self.checks:
            lines.append(row(check, width))
            if not check.passed:
                lines.append(f"    {check.statement}. {check.meaning}")
        return "\n".join(lines)

    def plot(self, axes: Any) -> None:
        """Draw the remainders against the step, doubly logarithmic, on matplotlib axes of the caller.

        Args:
            axes: a matplotlib Axes; nothing is shown or saved.
        """
        for check in self.checks:
            if check.steps is None or check.errors is None:
                continue
            positive = check.errors > 0
            label = f"{check.name}: slope {slope_text(check.measured)}"
            axes.loglog(check.steps[positive], check.errors[positive], marker=".", label=label)
        axes.set_xlabel("step t")
        axes.set_ylabel("error")
        axes.set_title(self.name)
        if axes.get_legend_handles_labels()[0]:
            axes.legend()


def combined(name: str, checks: Iterable[Check]) -> CheckReport:
    """The report of an iterable of checks."""
    return CheckReport(name, tuple(checks))


def row(check: Check, width: int) -> str:
    """One line of the table."""
    if check.relation == ">=":
        numbers = f"{slope_text(check.measured):>9} >= {check.bound:<8.2f}"
    else:
        numbers = f"{check.measured:9.1e} <= {check.bound:<8.1e}"
    return f"  {check.name:<{width}}  {numbers}  {'ok' if check.passed else 'FAILED'}"


def slope_text(slope: float) -> str:
    """A slope, or "exact" where the remainder is rounding."""
    return "exact" if math.isinf(slope) else f"{slope:.2f}"
