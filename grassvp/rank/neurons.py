"""What the columns of the feature matrix are to each other: dead, saturated, constant, copies, or dependent."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from grassvp.linearization import Linearization
from grassvp.rank.arguments import check_level, dependence_level, linearization_at
from grassvp.rank.circuits import Circuit
from grassvp.rank.duplicates import DuplicateGroup
from grassvp.rank.measures import ColumnMeasures
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem

__all__ = ["SATURATION_TOLERANCE", "NeuronReport", "examine_neurons", "neuron_report"]

SATURATION_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class NeuronReport:
    """The columns of W Phi at one theta, by number.

    Attributes:
        dead: columns that are zero to `tolerance` beside the longest, such as a ReLU that is never active.
        revivable: those of them that a change of their parameters by the size of these would bring back.
        saturated: columns, not dead, that their parameters no longer move: changing each parameter by its own size (or
            its unit, if larger) would move them by at most `saturation_tolerance` of their length, to first order.
        constant: columns parallel to the constant column W 1 or to a column that nothing moves, those among them.
        fixed: columns that no parameter moves anywhere, such as that of a bias feature.
        duplicates: groups of columns that are copies up to a factor.
        circuits: groups in which each column lies in the span of the others, though it is no copy of one; of a group of
            copies only the first takes part.
        norms: (n,) lengths of the columns.
        motions: (n,) how far those changes of the parameters move them, sqrt(sum_j s_j^2 ||W D_j phi||^2) for sizes s.
        tolerance: of lengths beside the longest, and of sines.
        saturation_tolerance: of the motions.
    """

    dead: tuple[int, ...]
    revivable: tuple[int, ...]
    saturated: tuple[int, ...]
    constant: tuple[int, ...]
    fixed: tuple[int, ...]
    duplicates: tuple[DuplicateGroup, ...]
    circuits: tuple[Circuit, ...]
    tolerance: float
    saturation_tolerance: float
    norms: np.ndarray = field(repr=False)
    motions: np.ndarray = field(repr=False)

    @cached_property
    def collinear(self) -> tuple[int, ...]:
        """Columns that are in a circuit."""
        return tuple(sorted({column for circuit in self.circuits for column in circuit.columns}))

    @property
    def duplicated(self) -> int:
        """How many columns are copies of an earlier one."""
        return sum(len(group.columns) - 1 for group in self.duplicates)

    @property
    def independent(self) -> int:
        """Columns that are left without the dead ones, the copies, and one column of each circuit.

        The rank can be less: many columns may be nearly dependent together though none is within `tolerance` of the
        span of the others.
        """
        return len(self.norms) - len(self.dead) - self.duplicated - len(self.circuits)

    def __repr__(self) -> str:
        """The counts at a glance."""
        return (
            f"NeuronReport({self.independent} of {len(self.norms)} columns independent: {len(self.dead)} dead, "
            f"{self.duplicated} duplicated, {len(self.circuits)} collinear; {len(self.saturated)} saturated)"
        )


def examine_neurons(
    problem: SeparableProblem | ReducedProblem | Linearization,
    parameters: Any = None,
    *,
    tolerance: float | None = None,
    saturation_tolerance: float = SATURATION_TOLERANCE,
) -> NeuronReport:
    """Which columns of W Phi(theta) are dead, saturated, constant, copies of each other, or dependent, and on which.

    Args:
        problem: a problem, or a linearisation of one.
        parameters: theta, (q,); None for a linearisation.
        tolerance: level of lengths and sines; None for the rank tolerance that the problem has at lam = 0.
        saturation_tolerance: level of the motion of a column, see `NeuronReport`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used; also for theta at which the features
            are not finite.
    """
    now = linearization_at(problem, parameters)
    level = dependence_level(now.problem) if tolerance is None else check_level(tolerance, "tolerance")
    return neuron_report(ColumnMeasures.of(now), level, check_level(saturation_tolerance, "saturation_tolerance"))


def neuron_report(measures: ColumnMeasures, level: float, saturation: float) -> NeuronReport:
    """The verdicts on columns at given levels."""
    dead = measures.dead(level)
    groups = measures.groups(level, ~dead)
    return NeuronReport(
        dead=_numbers(dead),
        revivable=_numbers(dead & (measures.motions > level * measures.norms.max())),
        saturated=_numbers(measures.saturated(saturation, ~dead)),
        constant=_numbers(measures.constant(level, ~dead)),
        fixed=_numbers(measures.fixed),
        duplicates=groups,
        circuits=measures.circuits(level, ~dead, groups),
        tolerance=level,
        saturation_tolerance=saturation,
        norms=measures.norms,
        motions=measures.motions,
    )


def _numbers(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())
