"""Continuation in the regularisation: problems from a large lam to a small one, each from where the last one ended."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError

__all__ = ["Continuation"]


@dataclass(frozen=True)
class Continuation:
    """lam falls from `start` to `stop`, by `factor` a stage; give it as the `regularization` of a `SeparableProblem`.

    A large lam smooths the reduced landscape and keeps the coefficients small; the problem is the one at `stop`, and
    the earlier stages only say where its solve starts. A solve that ends on the way is valued at `stop` all the same.
    With `until` the path may end earlier, and the problem is the one at the lam where it does.

    Attributes:
        start: the first lam.
        stop: the last lam, that of the problem; 0 is allowed.
        factor: from one lam to the next, > 0 and < 1.
        iterations: of each stage but the last, which has what `max_iterations` leaves.
        smallest: last lam > 0 where `stop` is 0, relative to `start`.
        until: a rule or its name; the path then ends at the first lam that is no larger than what it chooses there.
    """

    start: float
    stop: float = 0.0
    factor: float = 0.1
    iterations: int = 20
    smallest: float = 1e-12
    until: Any = None

    def __post_init__(self) -> None:
        """Check the options."""
        start, stop = check_nonnegative(self.start, "start"), check_nonnegative(self.stop, "stop")
        if not start > stop:
            raise ArgumentError(f"start must be above stop, got start={start} and stop={stop}")
        for name in ("factor", "smallest"):
            if not 0.0 < check_nonnegative(getattr(self, name), name) < 1.0:
                raise ArgumentError(f"{name} must be > 0 and < 1, got {getattr(self, name)}")
        check_count(self.iterations, "iterations")

    @property
    def stages(self) -> list[float]:
        """Every lam in turn, the last one being `stop`."""
        lowest = self.stop or self.smallest * self.start
        count = int(np.ceil(np.log(lowest / self.start) / np.log(self.factor) - 1e-9))
        lams = [self.start * self.factor**stage for stage in range(count)]
        return [*lams, *([lowest] if self.stop == 0.0 else []), self.stop]
