"""The loop with toy methods: records, rules, successive halving, and what happens to a run that gets stuck."""

import math
import time
from dataclasses import dataclass, field, fields

import numpy as np
import pytest
import torch

from grassvp.solvers import (
    AnyOf,
    GradientTolerance,
    Iterate,
    IterationRecord,
    MaxIterations,
    MaxTime,
    NonFinite,
    Run,
    Status,
    StoppingRule,
    columns,
    minimize,
)


@dataclass(frozen=True)
class Toy:
    """A point that is nothing but numbers; of its gradients the loop may see the projected one alone."""

    value: float
    slope: float = 1.0
    rank: int = 3
    condition: float = 7.0
    value_rounding: float = 0.0
    regularization: float = 0.25

    @property
    def parameters(self):
        return torch.tensor([self.value])

    @property
    def projected_gradient(self):
        return torch.tensor([3.0, 4.0]) * self.slope / 5.0

    def distance(self, other):
        return abs(self.value - other.value)


@dataclass
class Script:
    """A method that plays values; an exception among them is raised, and `end` is what it says at the end."""

    values: list
    end: Status = Status.STALLED
    steps: list = field(default_factory=list)

    def iterate(self, problem, start):
        for number, value in enumerate(self.values):
            if isinstance(value, BaseException):
                raise value
            self.steps.append(number)
            point = value if isinstance(value, Toy) else Toy(value)
            yield Iterate(point, 0.5 * number, 0.1, 2 * number + 1)
        return self.end


NEVER = MaxIterations(10**9)


def runs(*scripts, rule=NEVER):
    return [Run(None, script, torch.zeros(1), rule) for script in scripts]


def falling(base, count=100, end=Status.CONVERGED):
    """base, then ever closer to base / 2."""
    return Script([base * (0.5 + 0.5 / (1 + i)) for i in range(count)], end)


def record(**changes):
    values = dict.fromkeys([f.name for f in fields(IterationRecord)], 1) | changes
    return IterationRecord(**values)


@pytest.mark.parametrize(
    ("rule", "at", "status", "below"),
    [
        (MaxIterations(3), {"iteration": 3}, Status.MAX_ITERATIONS, {"iteration": 2}),
        (MaxTime(2.0), {"seconds": 2.0}, Status.MAX_TIME, {"seconds": 1.99}),
        (GradientTolerance(0.5), {"gradient_norm": 0.5}, Status.CONVERGED, {"gradient_norm": 0.51}),
        (GradientTolerance(0.0), {"gradient_norm": 0.0}, Status.CONVERGED, {"gradient_norm": math.nan}),
        (GradientTolerance(0.5, 0.1), {"gradient_norm": 0.2, "value": 2.0}, Status.CONVERGED, {"gradient_norm": 0.21}),
        (GradientTolerance(0.5, 9.0), {"gradient_norm": 0.5, "value": 2.0}, Status.CONVERGED, {"gradient_norm": 0.51}),
        (NonFinite(), {"value": math.inf}, Status.NON_FINITE, {"value": 1e308}),
        (NonFinite(), {"gradient_norm": math.nan}, Status.NON_FINITE, {"gradient_norm": 1e308}),
        (NonFinite(), {"value": math.nan}, Status.NON_FINITE, {}),
    ],
)
def test_each_rule_at_and_before_its_limit(rule, at, status, below):
    assert rule.check(record(**at)) is status
    assert rule.check(record(**below)) is None


def test_what_converged_means_does_not_depend_on_the_relative_goal():
    rule = MaxIterations(9) | GradientTolerance(0.5, 1e-3)
    small = record(gradient_norm=0.5, value=1e-8, iteration=0)
    assert rule.check(small) is None and rule.converged(small)
    assert not rule.converged(record(gradient_norm=0.51, value=1e-8)) and not MaxIterations(0).converged(small)


def test_rules_combine_and_the_first_is_asked_first():
    rule = NonFinite() | GradientTolerance(1.0) | MaxIterations(2)
    assert isinstance(rule, AnyOf) and isinstance(rule, StoppingRule)
    everything = record(value=math.nan, gradient_norm=0.0, iteration=5)
    assert rule.check(everything) is Status.NON_FINITE
    assert (MaxIterations(2) | rule).check(everything) is Status.MAX_ITERATIONS
    assert rule.check(record(gradient_norm=9.0, iteration=1)) is None
    with pytest.raises(NotImplementedError):
        StoppingRule().check(everything)


def test_columns_are_equally_long_and_without_parameters():
    table = columns([record(iteration=0, value=2.0), record(iteration=1, value=1.0)])
    names = {"iteration", "value", "gradient_norm", "step_norm", "damping", "rank", "condition", "distance"}
    assert set(table) == names | {"seconds", "evaluations", "regularization"}
    assert all(isinstance(column, np.ndarray) and column.shape == (2,) for column in table.values())
    assert table["value"].tolist() == [2.0, 1.0]
    assert set(columns([])) == set(table) and columns([])["value"].size == 0


def test_records_of_a_run():
    (run,) = runs(Script([5.0, 3.0, 2.5]))
    assert run.value == math.inf and run.outcome.point is None and run.outcome.status is Status.INTERRUPTED
    run.advance()
    table = columns(run.records)
    assert table["iteration"].tolist() == [0, 1, 2] and table["value"].tolist() == [5.0, 3.0, 2.5]
    assert table["gradient_norm"] == pytest.approx(1.0) and table["distance"].tolist() == [0.0, 2.0, 0.5]
    assert table["step_norm"].tolist() == [0.0, 0.5, 1.0] and table["evaluations"].tolist() == [1, 3, 5]
    assert (table["rank"] == 3).all() and (table["condition"] == 7.0).all() and (np.diff(table["seconds"]) >= 0).all()
    assert (table["regularization"] == 0.25).all()
    assert run.status is Status.STALLED and run.outcome.point == Toy(2.5)


def test_a_run_is_advanced_only_as_far_as_asked():
    script = falling(1.0)
    (run,) = runs(script)
    for iteration in (0, 4, 4, 2):
        run.advance(iteration)
        assert len(script.steps) == len(run.records) == max(iteration, 0 if iteration == 0 else 4) + 1
    assert run.status is None


def test_the_outcome_is_the_best_iterate_unless_the_gradient_test_holds_at_the_last():
    (adam,) = runs(Script([5.0, 1.0, 3.0]))
    assert minimize([adam]).point == Toy(1.0)
    last = Toy(1.5, slope=0.0)
    (converged,) = runs(Script([5.0, 1.0, last, 0.5]), rule=GradientTolerance(0.1))
    outcome = minimize([converged])
    assert outcome.status is Status.CONVERGED and outcome.point is last and len(outcome.records) == 3


GOING_ON = GradientTolerance(0.1, relative=1e-9)
"""A rule whose gradient test holds long before it stops a run."""


@pytest.mark.parametrize("end", [Status.STALLED, Status.DAMPED_OUT, Status.RANK_DEFICIENT])
@pytest.mark.parametrize(("slopes", "converged"), [((1.0, 0.05), True), ((0.05, 1.0), False)])
def test_converged_is_said_where_the_gradient_test_holds_at_the_last_iterate(end, slopes, converged):
    """Whatever ended the run, and of the last iterate although another one has a lower value."""
    first, last = Toy(1.0, slopes[0]), Toy(1.5, slopes[1])
    outcome = minimize(runs(Script([first, last], end), rule=GOING_ON))
    assert outcome.status is (Status.CONVERGED if converged else end)
    assert outcome.point is (last if converged else first)


@pytest.mark.parametrize("rule", [MaxIterations(1), MaxTime(0.0)], ids=type)
def test_converged_is_said_at_a_limit_too(rule):
    (run,) = runs(Script([Toy(1.0, 0.05), Toy(1.5, 0.05)]), rule=GOING_ON | rule)
    assert minimize([run]).status is Status.CONVERGED and len(run.records) == (2 if rule == MaxIterations(1) else 1)
    assert minimize(runs(Script([1.0, 1.5]), rule=GOING_ON | rule)).status is rule.check(run.records[-1])


def test_neither_a_stop_nor_an_overflow_nor_an_interruption_is_called_converged():
    small = [Toy(1.0, 0.05), Toy(0.9, 0.05)]
    assert minimize(runs(Script(small), rule=GOING_ON), [lambda r: True]).status is Status.STOPPED
    assert minimize(runs(Script(small, Status.NON_FINITE), rule=GOING_ON)).status is Status.NON_FINITE
    assert minimize(runs(Script([*small, KeyboardInterrupt()]), rule=GOING_ON)).status is Status.INTERRUPTED


def test_seconds_count_from_the_given_beginning():
    run = Run(None, Script([1.0]), torch.zeros(1), NEVER, time.perf_counter() - 100.0)
    run.advance()
    assert 100.0 <= run.records[0].seconds < 160.0
    (run,) = runs(Script([1.0]))
    run.advance()
    assert 0.0 <= run.records[0].seconds < 60.0


def test_successive_halving_spends_its_iterations_on_the_better_half():
    scripts = [falling(8.0), falling(2.0), falling(6.0), falling(4.0), falling(10.0)]
    outcome = minimize(runs(*scripts), rounds=(2, 5))
    assert [len(script.steps) for script in scripts] == [3, 100, 6, 6, 3]
    assert outcome.status is Status.CONVERGED and len(outcome.records) == 100
    assert outcome.point.value == pytest.approx(1.0, rel=0.02)


def test_a_late_bloomer_wins_the_round():
    late = Script([9.0, 8.0, 0.5, *[0.4] * 50], Status.CONVERGED)
    early = falling(3.0)
    outcome = minimize(runs(early, late), rounds=(3,))
    assert outcome.point == Toy(0.4) and len(early.steps) == 4


def test_a_single_run_goes_to_its_end_at_once():
    seen = []
    outcome = minimize(runs(falling(1.0, 5)), [lambda r: seen.append(r.iteration)])
    assert seen == [0, 1, 2, 3, 4] and outcome.status is Status.CONVERGED


@pytest.mark.parametrize("stuck", [Status.STALLED, Status.DAMPED_OUT, Status.RANK_DEFICIENT, Status.NON_FINITE])
def test_where_the_winner_gets_stuck_the_others_get_their_turn(stuck):
    winner, second, third = falling(2.0, 20, stuck), falling(2.1, 200), falling(2.2)
    outcome = minimize(runs(third, winner, second), rounds=(2, 5))
    assert len(winner.steps) == 20 and len(second.steps) == 200 and len(third.steps) < 10
    assert outcome.status is stuck, "the best by value, whatever it ended with"
    deeper = Script([2.2, 2.0, 1.8, 1.7, 1.6, 1.5, 1.4, 0.1], Status.CONVERGED)
    outcome = minimize(runs(deeper, falling(2.0, 20, stuck)), rounds=(2, 5))
    assert outcome.status is Status.CONVERGED and outcome.point == Toy(0.1)


def test_all_stuck_runs_are_tried_best_first():
    order = []

    class Told(Script):
        def iterate(self, problem, start):
            yield from super().iterate(problem, start)
            order.append(self.values[0])
            return Status.STALLED

    scripts = [Told([base] * 10) for base in (3.0, 1.0, 2.0)]
    outcome = minimize(runs(*scripts), rounds=(2, 4))
    assert order == [1.0, 2.0, 3.0] and outcome.point == Toy(1.0) and outcome.status is Status.STALLED


@pytest.mark.parametrize("rule", [MaxIterations(8), GradientTolerance(1.0)], ids=type)
def test_a_run_that_is_not_stuck_is_the_last(rule):
    best, other = falling(1.0), falling(2.0)
    outcome = minimize(runs(best, other, rule=rule), rounds=(3,))
    assert outcome.status in (Status.MAX_ITERATIONS, Status.CONVERGED) and len(other.steps) <= 4
    assert outcome.point.value < 1.1


def test_starts_that_are_not_finite_lose():
    dead = Script([], Status.NON_FINITE)
    assert minimize(runs(dead, falling(1.0), dead)).status is Status.CONVERGED
    outcome = minimize(runs(dead, Script([], Status.NON_FINITE)))
    assert outcome.status is Status.NON_FINITE and outcome.point is None and outcome.records == []


def test_callbacks_see_each_record_of_the_runs_taken_to_their_end():
    seen = []
    winner, loser = falling(1.0, 12), falling(3.0)
    minimize(runs(loser, winner), [lambda r: seen.append((r.iteration, r.value))], rounds=(2, 4))
    assert [iteration for iteration, _ in seen] == list(range(12))
    assert [value for _, value in seen] == winner.values


@pytest.mark.parametrize("where", [0, 1, 4, 30])
def test_ctrl_c_inside_a_step_keeps_the_best_of_all_runs(where):
    values = falling(1.0).values[:where]
    outcome = minimize(runs(falling(3.0, 10), Script([*values, KeyboardInterrupt()])), rounds=(2, 5))
    assert outcome.status is Status.INTERRUPTED
    assert outcome.point.value == min([*values, *falling(3.0, 3).values][: max(where, 3) + 3])
    assert len(outcome.records) >= 1


def test_ctrl_c_before_anything_is_known():
    outcome = minimize(runs(Script([KeyboardInterrupt()])))
    assert outcome.status is Status.INTERRUPTED and outcome.point is None


def test_a_stop_ends_everything_even_where_a_stuck_run_came_before():
    stuck, second, third = falling(1.0, 8), falling(2.0), falling(3.0)
    stuck.end = Status.STALLED
    seen = []
    stop = lambda r: seen.append(r.iteration) or (r.value > 1.0 and r.iteration == 9)  # noqa: E731
    minimize(runs(stuck, second, third), [stop], rounds=(2,))
    assert seen == [*range(8), *range(10)] and len(second.steps) == 10 and len(third.steps) == 3


@pytest.mark.parametrize(("slope", "status"), [(1.0, Status.MAX_ITERATIONS), (math.nan, Status.NON_FINITE)])
def test_a_stop_at_the_last_record_is_remembered(slope, status):
    """Nothing else runs after it, not even where the run got stuck; the status says why the run ended."""
    for rounds in ((), (2,), (9,)):
        seen, both = [], runs(Script([9.0, 8.0, Toy(7.0, slope)]), falling(20.0), rule=NonFinite() | MaxIterations(2))
        outcome = minimize(both, [lambda r, seen=seen: seen.append(r.iteration) or r.iteration == 2], rounds=rounds)
        assert outcome.status is status and outcome.stopped and seen == [0, 1, 2]
