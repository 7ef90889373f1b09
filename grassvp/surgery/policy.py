"""When a solve operates on its network, and what it does: a policy as a value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count
from grassvp.errors import ArgumentTypeError
from grassvp.separable import SeparableProblem
from grassvp.surgery.acceptance import Allowance
from grassvp.surgery.networks import Network
from grassvp.surgery.operations import drops, merges, prunings
from grassvp.surgery.removal import check_increase, check_tolerance, outcome
from grassvp.surgery.result import Operation, SurgeryResult
from grassvp.surgery.seeding import POOL, reseeded

__all__ = ["Surgery"]

SWITCHES = ("merge", "drop", "prune", "reseed")


@dataclass(frozen=True)
class Surgery:
    """Operations on the neurons of the last hidden layer of an mlp, between the iterations of a solve.

    What is removed adds nothing to the span of the features where they are now; it says nothing of what a neuron might
    have become. `reseed` keeps the width instead.

    Attributes:
        merge: keep one neuron of every set with parallel columns; see `merge_duplicates`.
        drop: drop neurons that the others span; see `drop_dependent`.
        prune: remove neurons that hardly lower the value, as far as `max_increase` allows; see `prune`.
        reseed: place what would be removed anew instead, where it lowers the residual most; see `reseed`. Only where
            the value falls.
        every: iterations between two operations.
        tolerance: sine of an angle up to which columns are parallel, or a column lies inside a span.
        max_operations: at most so many at a time, the least harmful first; None for no limit.
        max_increase: all operations of one time together may raise the value by this times itself, rounding aside;
            what would raise it further is refused.
    """

    merge: bool = True
    drop: bool = True
    prune: bool = False
    reseed: bool = False
    every: int = 10
    tolerance: float = 1e-8
    max_operations: int | None = None
    max_increase: float = 1e-3

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ArgumentError, ArgumentTypeError: naming the field that cannot be used.
        """
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise ArgumentTypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        check_count(self.every, "every")
        check_tolerance(self.tolerance)
        check_increase(self.max_increase)
        if self.max_operations is not None:
            check_count(self.max_operations, "max_operations")

    def operate(
        self, problem: SeparableProblem, parameters: Any, rng: np.random.Generator | int = 0
    ) -> SurgeryResult | None:
        """Operate on a problem at theta (q,), with candidates from `rng`; None where there is nothing to do.

        Where all there was to do is refused, the result says so and has the problem and theta as they were.

        Raises:
            ArgumentError: the features are no mlp's, or `prune` is asked of a problem with bounds on its coefficients.
            NonFiniteError: the features at theta are not finite.
        """
        start = Network.of(problem, parameters)
        after, operations = self._remove(start)
        if not operations:
            return None
        if self.reseed and after is not start:
            freed = sorted(set(start.neurons) - set(after.neurons))
            after, placed = reseeded(start, freed, np.random.default_rng(rng), POOL)
            if not placed.accepted:
                operations = [each.refused("re-seeding was") if each.accepted else each for each in operations]
            operations.append(placed)
        return outcome(start, after, operations, self.tolerance)

    def _remove(self, start: Network) -> tuple[Network, list[Operation]]:
        """The network after merging, dropping and pruning, within what is allowed of all together."""
        allowance, network, operations = Allowance(start, self.max_increase), start, []
        for kind in (name for name in ("merge", "drop", "prune") if getattr(self, name)):
            left = None if self.max_operations is None else self.max_operations - len(operations)
            network, tried = allowance.apply(network, list(self._found(kind, network, allowance))[:left])
            operations += tried
        return network, operations

    def _found(self, kind: str, network: Network, allowance: Allowance) -> Iterable[Operation]:
        if kind == "prune":
            return prunings(network, allowance.ceiling - network.value)
        return (merges if kind == "merge" else drops)(network, self.tolerance)
