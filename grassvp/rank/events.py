"""Changes of rank and of single neurons from one iterate to the next, with hysteresis.

A verdict is given where a measure falls to its level and taken back only where it rises above a multiple of that (ten
times by default), so that a measure that wavers about its level makes one event and not one at each iterate. What lies
in between stays as it was.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from grassvp.rank.explanation import listed
from grassvp.rank.measures import ColumnMeasures

__all__ = ["KINDS", "Levels", "RankEvent", "State", "events_between"]

KINDS = ("fell", "rose", "merged", "parted", "died", "revived", "saturated", "desaturated")


@dataclass(frozen=True)
class RankEvent:
    """Something that happened to the rank or to neurons between two iterates.

    Attributes:
        iteration: number of the iterate at which it is seen.
        kind: "fell", "rose" of the rank; "merged", "parted" of columns that are copies from now on or no longer;
            "died", "revived", "saturated", "desaturated" of single neurons.
        before: the rank before; or how many columns were copies of an earlier one, dead, or saturated.
        after: the same afterwards.
        neurons: the columns concerned; of the rank, those of the other events at this iterate, or those that became
            dependent on each other.
        message: all of it in words.
        run: number of the run, where a solve made several.
    """

    iteration: int
    kind: str
    before: int
    after: int
    neurons: tuple[int, ...]
    message: str
    run: int = 0


@dataclass(frozen=True)
class Levels:
    """Where verdicts are given, and the factor by which a measure must exceed that for them to be taken back."""

    rank: float
    dependence: float
    saturation: float
    hysteresis: float


@dataclass(frozen=True, eq=False)
class State:
    """The verdicts that hold at an iterate.

    Attributes:
        rank: of W Phi.
        dead: (n,).
        saturated: (n,).
        group: (n,) columns with equal numbers are copies; the number is that of the first of them.
    """

    rank: int
    dead: np.ndarray
    saturated: np.ndarray
    group: np.ndarray

    @staticmethod
    def of(s: np.ndarray, measures: ColumnMeasures, levels: Levels, before: "State | None") -> "State":
        """The verdicts on singular values and columns, after those that held `before`."""
        level, raised = levels.dependence, max(levels.dependence, min(levels.dependence * levels.hysteresis, 0.5))
        dead, dead_still = (measures.dead(each) for each in (level, raised))
        dead = dead if before is None else dead | (before.dead & dead_still)
        alive = ~dead
        stuck, stuck_still = (measures.saturated(levels.saturation * f, alive) for f in (1.0, levels.hysteresis))
        copies, copies_still = (_labels(measures, each, alive) for each in (level, raised))
        falls_to, rises_to = (int(np.sum(s > levels.rank * f * s[0])) for f in (1.0, levels.hysteresis))
        if before is None:
            return State(falls_to, dead, stuck, copies)
        return State(
            rank=max(min(before.rank, falls_to), rises_to),
            dead=dead,
            saturated=stuck | (before.saturated & stuck_still),
            group=_joined(copies, before.group, copies_still),
        )

    @property
    def copies(self) -> int:
        """How many columns are copies of an earlier one."""
        return int(np.sum(self.group != np.arange(len(self.group))))

    def together(self) -> list[np.ndarray]:
        """The groups of at least two copies."""
        first, counts = np.unique(self.group, return_counts=True)
        return [np.flatnonzero(self.group == each) for each in first[counts > 1]]


def events_between(
    before: State, after: State, fixed: np.ndarray, dependent: tuple[int, ...], iteration: int, run: int
) -> Iterator[RankEvent]:
    """What happened, the change of rank last; `dependent` are columns to name for it where no neuron changed."""
    causes = list(_neuron_changes(before, after))
    for kind, counts, neurons in causes:
        message = f"{_named(neurons, fixed)} {kind} at iteration {iteration}"
        yield RankEvent(iteration, kind, *counts, neurons, message, run)
    if before.rank != after.rank:
        kind = "fell" if after.rank < before.rank else "rose"
        why = ", ".join(f"{_named(neurons, fixed)} {kind}" for kind, _, neurons in causes)
        neurons = tuple(sorted({column for *_, columns in causes for column in columns})) or dependent
        if not causes:
            how = "became dependent" if kind == "fell" else "became independent"
            why = f"{_named(dependent, fixed)} {how}" if dependent else f"the columns together {how}"
        message = f"rank {before.rank} -> {after.rank} at iteration {iteration}: {why}"
        yield RankEvent(iteration, kind, before.rank, after.rank, neurons, message, run)


Change = tuple[str, tuple[int, int], tuple[int, ...]]


def _neuron_changes(before: State, after: State) -> Iterator[Change]:
    """Kind, counts before and after, and columns of what happened to neurons."""
    pairs = [
        ("died", "revived", before.dead, after.dead),
        ("saturated", "desaturated", before.saturated, after.saturated),
    ]
    counts = before.copies, after.copies
    for group in after.together():
        if len(set(before.group[group])) > 1:
            yield "merged", counts, tuple(group.tolist())
    for group in before.together():
        group = group[~after.dead[group]]
        if len(set(after.group[group])) > 1:
            yield "parted", counts, tuple(group.tolist())
    for given, taken_back, old, new in pairs:
        counts = int(old.sum()), int(new.sum())
        for kind, changed in ((given, new & ~old), (taken_back, old & ~new & ~after.dead)):
            if changed.any():
                yield kind, counts, tuple(np.flatnonzero(changed).tolist())


def _labels(measures: ColumnMeasures, level: float, alive: np.ndarray) -> np.ndarray:
    labels = np.arange(len(alive))
    for group in measures.groups(level, alive):
        labels[list(group.columns)] = group.columns[0]
    return labels


def _joined(copies: np.ndarray, before: np.ndarray, copies_still: np.ndarray) -> np.ndarray:
    """Labels of the finest grouping that keeps together what are copies, and what were and nearly are still."""
    labels = copies.copy()
    for first in np.unique(before):
        members = np.flatnonzero(before == first)
        for still in np.unique(copies_still[members]):
            linked = np.unique(labels[members[copies_still[members] == still]])
            labels[np.isin(labels, linked)] = linked[0]
    return labels


def _named(columns: Sequence[int], fixed: np.ndarray) -> str:
    """Columns in words: "neuron 3", "neurons 3 and 7", "neuron 3 and the constant column"."""
    neurons = [column for column in columns if not fixed[column]]
    if len(neurons) == len(columns):
        return listed(neurons, "neuron")
    others = "the constant column" if len(columns) - len(neurons) == 1 else "the constant columns"
    return f"{listed(neurons, 'neuron')} and {others}" if neurons else others
