"""`RankMonitor`: a callback that follows the rank of the features and what becomes of single neurons in a solve."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.linearization import Linearization
from grassvp.rank.arguments import check_level, dependence_level, separable_of
from grassvp.rank.events import Levels, RankEvent, State, events_between
from grassvp.rank.measures import ColumnMeasures
from grassvp.rank.neurons import SATURATION_TOLERANCE
from grassvp.rank.numerical import NumericalRank
from grassvp.rank.report import feature_condition, judged_rank
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers.history import IterationRecord

__all__ = ["RankMonitor"]

HYSTERESIS = 10.0
COLUMNS = (
    *("iteration", "run", "regularization", "rank", "gap", "smallest_kept", "smallest", "level", "feature_condition"),
    *("condition", "effective_degrees_of_freedom", "duplicated", "dead", "saturated", "singular_values"),
)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The last record that was looked at."""

    state: State
    measures: ColumnMeasures


class RankMonitor:
    """Follows the rank of W Phi along a solve: `gv.solve(problem, callbacks=[monitor])`.

    At every record it linearises the problem again, at the lam of the record. `events` says what happened. A verdict is
    given at its level and taken back only beyond `hysteresis` times that: the rank falls where singular values come
    down to the level and rises again where they exceed ten times it, columns merge where the sine of their angle falls
    to the level and part where it exceeds ten times it, and so on. `columns` has the counts at the levels alone.

    A record whose number is not higher than that of the last one begins a new run: it is compared with nothing before.
    Records at which the features are not finite are left out. It never stops the solve.

    Attributes:
        events: list of `RankEvent`, in the order in which they happened.
    """

    events: list[RankEvent]

    def __init__(
        self,
        problem: SeparableProblem | ReducedProblem,
        *,
        every: int = 1,
        tolerance: float | None = None,
        saturation_tolerance: float = SATURATION_TOLERANCE,
        hysteresis: float = HYSTERESIS,
    ) -> None:
        """Follow the solves of a problem.

        Args:
            problem: what is solved.
            every: look at records whose number is a multiple of this.
            tolerance: level of the rank, of lengths beside the longest column and of sines, the same for every lam.
                None for the rank tolerance that the problem has at lam = 0.
            saturation_tolerance: see `NeuronReport`.
            hysteresis: factor >= 1 between the level of a verdict and that at which it is taken back.

        Raises:
            ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
        """
        self._problem = separable_of(problem)
        self._every = check_count(every, "every")
        level = dependence_level(self._problem) if tolerance is None else check_level(tolerance, "tolerance")
        factor = check_nonnegative(hysteresis, "hysteresis")
        if factor < 1:
            raise ArgumentError(f"hysteresis must be >= 1, got {factor}")
        self._levels = Levels(level, level, check_level(saturation_tolerance, "saturation_tolerance"), factor)
        self._rows: list[dict[str, Any]] = []
        self._fixed: np.ndarray | None = None
        self._seen: _Seen | None = None
        self._last, self._run = -1, 0
        self.events = []

    def __call__(self, record: IterationRecord) -> None:
        """Look at a record."""
        if record.iteration <= self._last:
            self._run, self._seen = self._run + 1, None
        self._last = record.iteration
        if record.iteration % self._every:
            return
        if record.regularization != self._problem.regularization:
            self._problem = self._problem.with_regularization(record.regularization)
        try:
            now = ReducedProblem(self._problem).linearize(record.parameters)
        except NonFiniteError:
            return
        self._look(now, record.iteration)

    def follow(self, problem: SeparableProblem) -> None:
        """Go on with another lam or another network; `solve` calls it where it changes them.

        What becomes of a neuron is told within one network: where neurons were removed, nothing is compared across it.
        """
        if problem.width != self._problem.width:
            self._fixed = self._seen = None
        self._problem = problem

    def columns(self) -> dict[str, np.ndarray]:
        """What was seen, one entry a record.

        Returns:
            iteration, run, regularization; rank at the level, gap, smallest_kept and smallest singular value, level (in
            the units of those that are judged), feature_condition and condition (without and with lam),
            effective_degrees_of_freedom, duplicated, dead and saturated (counts), all (T,), and singular_values of
            W Phi (T, min(m, n)), descending, with NaN behind those of a narrower network.
        """
        rows = self._rows or [dict.fromkeys(COLUMNS, ())]
        found = {name: np.array([row[name] for row in rows]) for name in COLUMNS[:-1]}
        widest = max(len(row[COLUMNS[-1]]) for row in rows)
        found[COLUMNS[-1]] = np.array([_padded(row[COLUMNS[-1]], widest) for row in rows])
        return found if self._rows else {name: column[0] for name, column in found.items()}

    def event_columns(self) -> dict[str, np.ndarray]:
        """The events as arrays: iteration, kind, before, after, message and run, one entry an event."""
        names = {"iteration": int, "kind": str, "before": int, "after": int, "message": str, "run": int}
        return {name: np.array([getattr(each, name) for each in self.events], kind) for name, kind in names.items()}

    def _look(self, now: Linearization, iteration: int) -> None:
        measures, before = ColumnMeasures.of(now, self._fixed), self._seen
        self._fixed = measures.fixed  # no parameter moves them, so that they are found once
        rank = judged_rank(now, self._levels.rank)[0]
        state = State.of(rank.singular_values, measures, self._levels, before and before.state)
        self._seen = _Seen(state, measures)
        self._rows.append(_row(now, rank, measures, self._levels) | {"iteration": iteration, "run": self._run})
        if before is not None:
            dependent = _dependent(before, self._seen, self._levels.dependence)
            self.events += events_between(before.state, state, measures.fixed, dependent, iteration, self._run)

    def __repr__(self) -> str:
        """What was seen so far, at a glance."""
        ranks = [row["rank"] for row in self._rows]
        seen = f"rank {min(ranks)} to {max(ranks)}, " if ranks else ""
        return f"RankMonitor({len(ranks)} records, {seen}{len(self.events)} events)"


def _row(now: Linearization, rank: NumericalRank, measures: ColumnMeasures, levels: Levels) -> dict[str, Any]:
    s, lam = now.projection.singular_values.cpu().numpy(), now.regularization
    dead = measures.dead(levels.dependence)
    return {
        "regularization": lam,
        "rank": rank.rank,
        "gap": rank.gap,
        "smallest_kept": float(s[rank.rank - 1]) if rank.rank else 0.0,
        "smallest": float(s[-1]),
        "level": rank.level,
        "feature_condition": feature_condition(s, rank.rank),
        "condition": now.condition if np.isfinite(now.condition) else 1.0,
        "effective_degrees_of_freedom": _freedom(s, lam) if lam > 0 else float(now.rank),
        "duplicated": sum(len(group.columns) - 1 for group in measures.groups(levels.dependence, ~dead)),
        "dead": int(dead.sum()),
        "saturated": int(measures.saturated(levels.saturation, ~dead).sum()),
        "singular_values": s,
    }


def _padded(values: Any, length: int) -> np.ndarray:
    return np.pad(np.asarray(values, dtype=float), (0, length - len(values)), constant_values=np.nan)


def _freedom(s: np.ndarray, lam: float) -> float:
    """Sum of s_i^2 / (s_i^2 + lam), without squares that would vanish."""
    return float(np.sum((s / np.hypot(s, np.sqrt(lam))) ** 2))


def _dependent(before: _Seen, after: _Seen, level: float) -> tuple[int, ...]:
    """Columns that became dependent on each other, or no longer are, where the rank changed; maybe none by itself."""
    if before.state.rank == after.state.rank:
        return ()
    old, new = (_in_circuits(seen, level) for seen in (before, after))
    return tuple(sorted(new - old if after.state.rank < before.state.rank else old - new))


def _in_circuits(seen: _Seen, level: float) -> set[int]:
    alive = ~seen.state.dead
    circuits = seen.measures.circuits(level, alive, seen.measures.groups(level, alive))
    return {column for circuit in circuits for column in circuit.columns}
