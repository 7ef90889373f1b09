"""How much of what could be removed is removed: as much as the value bears."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grassvp.surgery.networks import Network
from grassvp.surgery.result import Operation

__all__ = ["Allowance"]


@dataclass(frozen=True, eq=False)
class Allowance:
    """The value may rise to (1 + increase) times what it was at the start, but for rounding.

    Attributes:
        start: the network before any operation.
        increase: relative to the value; infinite where nothing is refused.
    """

    start: Network
    increase: float

    @property
    def ceiling(self) -> float:
        """The highest value allowed, rounding aside."""
        return (1.0 + self.increase) * self.start.value

    def permits(self, after: Network) -> bool:
        """Whether the value after is low enough."""
        if math.isinf(self.increase):
            return True
        rounding = self.start.point.value_rounding + after.point.value_rounding
        return after.value <= self.ceiling + rounding

    def apply(self, network: Network, operations: Sequence[Operation]) -> tuple[Network, list[Operation]]:
        """The network after the first operations, as many as are permitted together, and all of them with a verdict.

        The value rises with every neuron that goes, so that bisection finds how many.
        """
        low, high = 0, len(operations)
        kept, trial = network, _after(network, operations)
        if self.permits(trial):
            return trial, list(operations)
        while high - low > 1:
            middle = (low + high) // 2
            tried = _after(network, operations[:middle])
            if self.permits(tried):
                low, kept = middle, tried
            else:
                high, trial = middle, tried
        return kept, [*operations[:low], *(self._refused(each, trial.value) for each in operations[low:])]

    def _refused(self, operation: Operation, value: float) -> Operation:
        why = f"the value would rise from {self.start.value:.4g} to {value:.4g}, by more than {self.increase:g} of it"
        return operation.refused(why)


def _after(network: Network, operations: Sequence[Operation]) -> Network:
    return network.without(number for operation in operations for number in operation.removed)
