"""What a monitor sees along prescribed paths and along solves: rows, events, hysteresis, runs."""

import math

import numpy as np
import pytest
import torch

from grassvp import (
    Continuation,
    FirstOrder,
    ReducedProblem,
    SeparableProblem,
    Status,
    solve,
)
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import from_function, mlp
from grassvp.lab.storage import read_npz, to_npz
from grassvp.rank import RankMonitor, events, rank_report
from grassvp.solvers.history import IterationRecord
from tests.rank.cases import network, planted


def record(iteration, parameters, lam=0.0):
    rest = dict.fromkeys(
        ["value", "gradient_norm", "step_norm", "damping", "rank", "condition", "distance", "seconds"], 1.0
    )
    theta = torch.as_tensor(parameters, dtype=torch.float64)
    return IterationRecord(iteration=iteration, evaluations=1, regularization=lam, parameters=theta, **rest)


def follow(problem, path, *, lams=None, iterations=None, **options):
    """A monitor that was shown a path of parameters."""
    monitor = RankMonitor(problem, **options)
    for i, theta in enumerate(path):
        at = i if iterations is None else iterations[i]
        assert monitor(record(at, theta, 0.0 if lams is None else lams[i])) is None, "it never stops a solve"
    return monitor


def told(monitor):
    return [(event.iteration, event.kind, event.neurons, event.before, event.after) for event in monitor.events]


def moved(change):
    """A network with tanh neurons whose places a function of the step changes: problem and path."""

    def path(steps, activation="tanh"):
        problem, _ = network(activation=activation)
        return problem, [network(lambda p, s=s: change(p, s), activation=activation)[1] for s in steps]

    return path


def apart(p, s):
    p[:, 4] = -p[:, 1] * (1 + s)


def test_copies_merge_and_part():
    problem, path = moved(apart)([1e-1, 1e-6, 0.0, 1e-14, 1e-3, 1e-1])
    monitor = follow(problem, path)
    assert told(monitor) == [
        (2, "merged", (1, 4), 0, 1),
        (2, "fell", (1, 4), 7, 6),
        (4, "parted", (1, 4), 1, 0),
        (4, "rose", (1, 4), 6, 7),
    ]
    assert [event.message for event in monitor.events] == [
        "neurons 1 and 4 merged at iteration 2",
        "rank 7 -> 6 at iteration 2: neurons 1 and 4 merged",
        "neurons 1 and 4 parted at iteration 4",
        "rank 6 -> 7 at iteration 4: neurons 1 and 4 parted",
    ]
    assert monitor.columns()["rank"].tolist() == [7, 7, 6, 6, 7, 7]
    assert monitor.columns()["duplicated"].tolist() == [0, 0, 1, 1, 0, 0]
    assert repr(monitor) == "RankMonitor(6 records, rank 6 to 7, 4 events)"


def test_three_copies_merge_one_after_the_other():
    def change(p, s):
        p[:, 4], p[:, 5] = -p[:, 1] * (1 + s[0]), p[:, 1] * (1 + s[1])

    problem, path = moved(change)([(0.1, 0.2), (0.0, 0.2), (0.0, 0.0), (0.0, 0.2), (0.1, 0.2)])
    merged = [each for each in told(follow(problem, path)) if each[1] in ("merged", "parted")]
    assert merged == [
        (1, "merged", (1, 4), 0, 1),
        (2, "merged", (1, 4, 5), 1, 2),
        (3, "parted", (1, 4, 5), 2, 1),
        (4, "parted", (1, 4), 1, 0),
    ]


def test_a_neuron_dies_and_revives():
    def change(p, s):
        p[:, 2] = 0.5, s

    problem, path = moved(change)([0.1, -3.0, -4.0, 0.1], "relu")
    monitor = follow(problem, path)
    assert told(monitor) == [
        (1, "died", (2,), 0, 1),
        (1, "fell", (2,), 7, 6),
        (3, "revived", (2,), 1, 0),
        (3, "rose", (2,), 6, 7),
    ]
    assert monitor.events[1].message == "rank 7 -> 6 at iteration 1: neuron 2 died"


def test_a_neuron_saturates_and_becomes_a_copy_of_the_constant():
    def change(p, s):
        p[:, 3] = 2.0, s

    problem, path = moved(change)([1.0, 11.0, 60.0, 11.0, 1.0])
    monitor = follow(problem, path)
    kinds = [(event.iteration, event.kind, event.neurons) for event in monitor.events]
    assert kinds == [
        (1, "saturated", (3,)),
        (2, "merged", (3, 6)),
        (2, "fell", (3, 6)),
        (3, "parted", (3, 6)),
        (4, "desaturated", (3,)),
        (4, "rose", (3,)),
    ], "the sine is 300 times the level at iteration 3, the singular value only 5 times"
    assert monitor.events[2].message == "rank 7 -> 6 at iteration 2: neuron 3 and the constant column merged"


def test_columns_become_dependent_and_no_copies():
    """ReLU neurons 0, 1, 2 become affine: the rank falls by two, and the circuits say which columns."""

    def change(p, s):
        p[:, :3] = [[1.0, 0.5, -1.0], [s, 3.0, 1.5]]

    problem, path = moved(change)([0.5, 2.0, 0.5], "relu")
    monitor = follow(problem, path)
    (fell, rose) = monitor.events
    assert (fell.kind, fell.before, fell.after, rose.kind, rose.before, rose.after) == ("fell", 6, 5, "rose", 5, 6)
    assert 0 in fell.neurons and fell.neurons == rose.neurons and "became dependent" in fell.message
    assert "became independent" in rose.message


def test_dependence_that_no_column_shows_by_itself():
    """A singular value falls below the level as the largest grows; no column becomes dependent."""
    x = np.linspace(0.0, 1.0, 10)
    columns = torch.linalg.qr(torch.from_numpy(x[:, None] ** np.arange(3)))[0]
    problem = SeparableProblem(from_function(lambda p, x: columns * torch.stack([p[0], p[1], p[1]]), [1.0, 1.0]), x, x)
    monitor = follow(problem, [[1.0, 1.0], [1e9, 1.0], [3e9, 1.0]], tolerance=5e-10)
    assert [event.kind for event in monitor.events] == ["died", "fell"], "a column of 3e-10 of the longest is dead"
    scaled = SeparableProblem(problem.features, x, x, column_scaling=True)
    assert follow(scaled, [[1.0, 1.0], [1e9, 1.0]], tolerance=5e-10).columns()["rank"].tolist() == [3, 3]


WAVERING = np.where(np.arange(40) % 2 == 0, 0.5e-10, 2e-10)


@pytest.mark.parametrize(("hysteresis", "events"), [(10.0, 1), (1.0, 39)])
def test_hysteresis(hysteresis, events):
    """The sine of two columns wavers about the level: one event with hysteresis, one at each step without."""
    x = np.linspace(0.0, 1.0, 20)
    basis = torch.linalg.qr(torch.from_numpy(x[:, None] ** np.arange(2)))[0]

    def function(p, x):
        return torch.stack([basis[:, 0], basis[:, 0] + p[0] * basis[:, 1]], 1)

    problem = SeparableProblem(from_function(function, [1.0]), x, x)
    monitor = follow(problem, [[1.0], *WAVERING[:, None]], hysteresis=hysteresis)
    assert sum(event.kind in ("merged", "parted") for event in monitor.events) == events + (hysteresis == 1.0)
    assert monitor.columns()["duplicated"].tolist() == [0, *(WAVERING < 1e-10).astype(int)]


@pytest.mark.parametrize("measure", ["rank", "dead", "saturated"])
def test_hysteresis_of_the_other_verdicts(measure):
    x = np.linspace(0.0, 1.0, 20)
    basis = torch.linalg.qr(torch.from_numpy(x[:, None] ** np.arange(3)))[0]
    functions = {
        "rank": lambda p, x: torch.stack([basis[:, 0], basis[:, 1], basis[:, 0] + basis[:, 1] + p[0] * basis[:, 2]], 1),
        "dead": lambda p, x: torch.stack([basis[:, 0], p[0] * basis[:, 1]], 1),
        "saturated": lambda p, x: torch.stack([basis[:, 0], basis[:, 1] + p[0] * basis[:, 2]], 1),
    }
    problem = SeparableProblem(from_function(functions[measure], [1.0]), x, x)
    size = {"rank": 4.0, "dead": 1.0, "saturated": 1e4}[measure]
    steps = [[1.0], *(size * WAVERING[:, None]), [3e-9 * size], [1.0]]
    kinds = [event.kind for event in follow(problem, steps).events]
    kinds = [kind for kind in kinds if kind in ("fell", "rose")] if measure == "rank" else kinds
    expected = {
        "rank": ["fell", "rose"],
        "dead": ["died", "fell", "revived", "rose"],
        "saturated": ["saturated", "desaturated"],
    }
    assert kinds == expected[measure]


def test_a_new_run_is_compared_with_nothing_before():
    problem, path = moved(apart)([1e-1, 0.0])
    monitor = follow(problem, [path[0], path[1], path[0], path[1], path[1]], iterations=[0, 1, 0, 1, 1])
    assert [(event.run, event.iteration, event.kind) for event in monitor.events] == [
        *((0, 1, "merged"), (0, 1, "fell"), (1, 1, "merged"), (1, 1, "fell")),
    ]
    assert monitor.columns()["run"].tolist() == [0, 0, 1, 1, 2]


def test_every():
    problem, path = moved(apart)([1e-1, 1e-1, 0.0, 1e-1, 0.0, 0.0, 0.0])
    monitor = follow(problem, path, every=3)
    assert monitor.columns()["iteration"].tolist() == [0, 3, 6]
    assert [(event.iteration, event.kind) for event in monitor.events] == [(6, "merged"), (6, "fell")]


def test_lam_changes_the_condition_and_not_the_rank():
    problem, path = moved(apart)([1e-1] * 4)
    lams = [1.0, 1e-3, 1e-14, 0.0]
    seen = follow(problem, path, lams=lams).columns()
    assert seen["regularization"].tolist() == lams and seen["rank"].tolist() == [7] * 4
    for i, lam in enumerate(lams):
        report = rank_report(problem.with_regularization(lam), path[0])
        assert seen["condition"][i] == pytest.approx(report.condition)
        assert seen["effective_degrees_of_freedom"][i] == pytest.approx(report.effective_degrees_of_freedom, rel=1e-9)
        assert seen["feature_condition"][i] == pytest.approx(report.feature_condition)


@pytest.mark.parametrize("name", ["duplicate", "dead", "saturated", "collinear", "wide", "zero"])
@pytest.mark.parametrize("lam", [0.0, 1e-2])
def test_rows_agree_with_reports_and_are_finite(name, lam):
    problem, theta = planted(name)
    monitor = follow(problem, [theta], lams=[lam])
    row = {key: column[0] for key, column in monitor.columns().items()}
    report = rank_report(problem.with_regularization(lam), theta, tolerance=1e-10)
    assert row["rank"] == report.rank.rank and row["gap"] == report.rank.gap
    assert row["duplicated"] == report.neurons.duplicated and row["dead"] == len(report.neurons.dead)
    assert row["saturated"] == len(report.neurons.saturated) and row["level"] == report.truncation
    np.testing.assert_array_equal(row["singular_values"], report.singular_values)
    assert row["smallest"] == report.singular_values[-1]
    assert row["smallest_kept"] == (report.singular_values[report.rank.rank - 1] if report.rank.rank else 0.0)
    assert all(np.all(np.isfinite(value)) for key, value in row.items() if key != "gap")


def test_a_column_whose_square_vanishes():
    x = np.linspace(0.0, 1.0, 10)
    features = from_function(lambda p, x: torch.stack([p[0] * x, 1e-200 * torch.exp(p[1] * x)], 1), [1.0, 1.0])
    problem = SeparableProblem(features, x, x)
    monitor = follow(problem, [[1.0, 1.0], [2.0, 2.0]], lams=[0.0, 1e-3])
    for row, lam in enumerate((0.0, 1e-3)):
        report = rank_report(problem.with_regularization(lam), [1.0 + row, 1.0 + row])
        assert report.neurons.dead == (1,) and report.rank.rank == 1 and report.scaled_rank.rank == 2
        freedom = monitor.columns()["effective_degrees_of_freedom"][row]
        assert freedom == pytest.approx(report.effective_degrees_of_freedom)


def test_levels_near_one():
    """Hysteresis cannot ask for a sine above one; the level itself stays what was given."""
    problem, path = moved(apart)([1e-1, 0.0, 1e-1])
    for tolerance in (0.2, 0.7, 0.99):
        monitor = follow(problem, path, tolerance=tolerance)
        assert (
            monitor.columns()["duplicated"][1] == rank_report(problem, path[1], tolerance=tolerance).neurons.duplicated
        )


def test_columns_can_be_stored(tmp_path):
    problem, path = moved(apart)([1e-1, 0.0])
    for monitor in (RankMonitor(problem), follow(problem, path)):
        for stored in (monitor.columns(), monitor.event_columns()):
            path = tmp_path / "file.npz"
            path.write_bytes(to_npz(stored))
            for key, value in read_npz(path).items():
                np.testing.assert_array_equal(value, stored[key])
    assert monitor.event_columns()["message"].tolist() == [event.message for event in monitor.events]
    assert monitor.columns()["singular_values"].shape == (2, 7) and RankMonitor(problem).columns()["rank"].shape == (0,)


# --- in a solve -----------------------------------------------------------------------------------------------------


def wave(lam=0.0, **options):
    x = np.linspace(-1.0, 1.0, 40)
    return SeparableProblem(mlp(1, (4,)), x[:, None], np.sin(4 * x), regularization=lam, **options)


def test_a_solve_is_the_same_with_and_without():
    problem = wave(1e-4)
    monitor = RankMonitor(problem)
    plain, watched = (solve(problem, seed=0, max_iterations=25, callbacks=c) for c in ((), (monitor,)))
    assert plain.value == watched.value and torch.equal(plain.parameters, watched.parameters)
    seen = monitor.columns()
    np.testing.assert_array_equal(seen["iteration"], watched.history["iteration"])
    np.testing.assert_allclose(seen["condition"], watched.history["condition"])
    assert watched.status is not Status.STOPPED


def test_the_rank_is_that_of_the_history():
    def change(p):
        p[:, 4] = -p[:, 1]

    problem, theta = network(change, rows=30)
    monitor = RankMonitor(problem)
    solution = solve(problem, initial_parameters=theta, max_iterations=15, callbacks=[monitor])
    np.testing.assert_array_equal(monitor.columns()["rank"], solution.history["rank"])


def test_restarts_are_runs_and_stages_are_not():
    problem = wave()
    monitor = RankMonitor(problem, every=2)
    solve(problem, seed=1, starts=1, restarts=2, max_iterations=6, callbacks=[monitor])
    seen = monitor.columns()
    assert seen["run"].tolist() == [0] * 4 + [1] * 4 + [2] * 4 and set(seen["iteration"]) == {0, 2, 4, 6}
    stages = wave(Continuation(1.0, 1e-2, iterations=3))
    monitor = RankMonitor(stages)
    solution = solve(stages, seed=1, starts=1, max_iterations=12, callbacks=[monitor])
    seen = monitor.columns()
    assert set(seen["run"]) == {0} and len(set(seen["regularization"])) == 3
    np.testing.assert_array_equal(seen["iteration"], solution.history["iteration"])


def test_joint_training_is_followed_too():
    problem = wave(1e-3)
    monitor = RankMonitor(ReducedProblem(problem), every=5)
    solution = solve(problem, FirstOrder("adam", objective="joint"), seed=0, max_iterations=10, callbacks=[monitor])
    assert monitor.columns()["iteration"].tolist() == [0, 5, 10] and np.isnan(solution.history["rank"]).all()
    assert (monitor.columns()["rank"] == 5).all()


def test_records_that_are_not_finite_are_left_out():
    problem, path = moved(apart)([0.1, 0.1, 0.0])
    monitor = follow(problem, [path[0], path[1] * math.nan, path[2]])
    assert monitor.columns()["iteration"].tolist() == [0, 2]
    assert [event.kind for event in monitor.events] == ["merged", "fell"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ArgumentError, "every must be an integer >= 1"),
        ({"every": 1.5}, ArgumentTypeError, "every"),
        ({"tolerance": 1.0}, ArgumentError, "tolerance must be < 1"),
        ({"saturation_tolerance": -1.0}, ArgumentError, "saturation_tolerance"),
        ({"hysteresis": 0.5}, ArgumentError, "hysteresis must be >= 1"),
    ],
)
def test_refused(options, error, message):
    with pytest.raises(error, match=message):
        RankMonitor(wave(), **options)
    with pytest.raises(ArgumentTypeError, match="problem must be a SeparableProblem"):
        RankMonitor(None)


MUTATIONS = {
    "what nearly were copies still are parted": ("_joined", lambda copies, before, still: copies),
    "copies of copies are forgotten": ("_joined", lambda copies, before, still: before),
    "no neuron is named": ("_neuron_changes", lambda before, after: iter(())),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    monkeypatch.setattr(events, *MUTATIONS[name])
    with pytest.raises(AssertionError):
        test_copies_merge_and_part()
        test_three_copies_merge_one_after_the_other()
        test_hysteresis(10.0, 1)


def test_a_monitor_that_forgets_to_start_anew_is_noticed(monkeypatch):
    original = RankMonitor.__call__

    def forgetful(self, record):
        self._last = -1
        return original(self, record)

    monkeypatch.setattr(RankMonitor, "__call__", forgetful)
    with pytest.raises(AssertionError):
        test_a_new_run_is_compared_with_nothing_before()
