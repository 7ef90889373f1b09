"""Which problems a solve minimises one after the other: rules that are scripted, and paths that they end."""

import math
from itertools import groupby

import numpy as np
import pytest
import torch

from grassvp import Continuation, ReducedProblem, SeparableProblem, Status, rules, schedules, solve
from grassvp.features import from_function
from grassvp.projection import Choice, Rule
from grassvp.schedules import Adaptive, Descending, Fixed, schedule_of
from grassvp.solvers import Iterate, Outcome
from tests.solvers.problems import TIMES, Recorder, decays, double_exponential, least_squares_value, wave

START = (0.05, 30.0)


class Scripted(Rule):
    """Chooses one lam after the other, and the last one from then on; the first is for the construction."""

    name = "scripted"

    def __init__(self, *lams):
        self.lams, self.calls = lams, 0

    def criterion(self, data):
        raise AssertionError("the choice is scripted")

    def choose(self, data):
        self.calls += 1
        return Choice(self.lams[min(self.calls, len(self.lams)) - 1], self.name, math.nan, math.nan, math.nan)


def slow(regularization, **options):
    """A problem that a gradient method needs thousands of iterations for."""
    return double_exponential(0.05, start=START, regularization=regularization, **options)


def blocks(values):
    """Runs of equal entries, as (value, length)."""
    return [(float(value), len(list(group))) for value, group in groupby(values)]


class Still:
    """A method whose iterates move by a little for ever, so that only limits end it."""

    handles_bounds = False

    def iterate(self, problem, start):
        step = 0
        while True:
            yield Iterate(problem.linearize(start + 1e-9 * step), 1e-9, 0.0, step + 1)
            step += 1


def staged(lams, iterations, **options):
    """The lam of each record of a solve whose rule is scripted, without the first one."""
    rule = Scripted(lams[0], *lams)
    found = solve(slow(rule), Still(), max_iterations=iterations, tolerance=0.0, **options)
    return blocks(found.history["regularization"][1:]), found, rule


def doubling_law():
    """Lam is chosen at the start and after 10, 20 and 40 further iterations, and constant in between."""
    found = staged([1.0, 0.5, 0.25, 0.125], 100)[0]
    assert found == [(1.0, 10), (0.5, 20), (0.25, 40), (0.125, 30)]


def test_lam_is_chosen_again_after_stages_that_double():
    doubling_law()


def test_a_lam_that_does_not_change_doubles_the_stage_all_the_same():
    found, _, rule = staged([1.0, 1.0, 0.5, 0.5], 200)
    assert found == [(1.0, 30), (0.5, 170)] and rule.calls == 8


def reversal_law():
    """To and fro, twice and no more: then lam stays, whatever the rule says."""
    lams = [1.0, 0.5, 1.0, 0.5, 1.0, 0.5, 1.0]
    found, solution, _ = staged(lams, 200)
    assert found == [(1.0, 10), (0.5, 20), (1.0, 40), (0.5, 130)]
    assert solution.regularization == 0.5 and solution.iterations == 200


def test_lam_that_goes_to_and_fro_stays():
    reversal_law()
    assert [lam for lam, _ in staged([8.0, 4.0, 2.0, 1.0], 200)[0]] == [8.0, 4.0, 2.0, 1.0]


TRAILS = [((), 0), ((1,), 0), ((1, 2, 3), 0), ((1, 2, 1), 1), ((1, 2, 2, 1), 1), ((1, 2, 1, 2), 2), ((3, 1, 2, 0), 2)]


@pytest.mark.parametrize(("trail", "count"), TRAILS)
def test_reversals_are_changes_of_direction(trail, count):
    assert schedules._reversals(trail) == count


@pytest.mark.parametrize("limit", [1, 5, 9, 10, 11, 30, 31])
def test_a_solve_that_runs_out_is_valued_at_what_the_rule_says_then(limit):
    limit_law(limit)


def limit_law(limit):
    keep = Recorder()
    found, solution, _ = staged([1.0, 0.5, 0.25, 0.125], limit, callbacks=[keep])
    last = 0.5 if limit <= 10 else 0.25 if limit <= 30 else 0.125
    assert solution.status is Status.MAX_ITERATIONS and solution.iterations == limit == sum(count for _, count in found)
    assert solution.regularization == last and solution.history["regularization"][-1] == 2 * last
    assert solution.value == pytest.approx(least_squares_value(slow(last), solution.parameters), rel=1e-10)
    expected = np.linalg.norm(ReducedProblem(slow(last)).gradient(solution.parameters))
    assert solution.gradient_norm == pytest.approx(expected, rel=1e-6)
    assert [record.iteration for record in keep.records] == list(range(limit + 1))
    assert [record.regularization for record in keep.records] == solution.history["regularization"].tolist()


def test_no_iterations_take_the_lam_of_the_start():
    solution = solve(slow(Scripted(3.0, 0.25, 1.0)), max_iterations=0)
    assert solution.regularization == 0.25 and solution.iterations == 0
    assert solution.value == pytest.approx(least_squares_value(slow(0.25), np.array(START)), rel=1e-12)


def end_law():
    """A converged stage is no end where the rule asks for another lam, and an end where it does not."""
    rule = Scripted(1.0, 1.0, 0.1, 0.01, 0.01)
    solution = solve(slow(rule), tolerance=1e-10)
    assert solution.status is Status.CONVERGED and solution.regularization == rule.lams[-1]
    direct = solve(slow(0.01), initial_parameters=solution.parameters, tolerance=1e-10)
    assert direct.iterations == 0 and direct.converged, "the gradient test holds for the last lam"
    lams = [lam for lam, _ in blocks(solution.history["regularization"])]
    assert lams == [1.0, *(float(slow(0.0).rounded(lam)) for lam in (0.1, 0.01))]


def test_a_stage_that_converges_ends_the_solve_only_where_lam_stays():
    with pytest.MonkeyPatch.context() as patch:  # scripts are exact powers of two otherwise
        patch.setattr(SeparableProblem, "rounded", lambda self, lam: lam)
        end_law()


@pytest.mark.parametrize("status", [Status.STOPPED, Status.INTERRUPTED, Status.MAX_TIME])
@pytest.mark.parametrize("at", [0, 3, 10, 17])
def test_a_solve_that_is_ended_is_valued_at_what_the_rule_says_then(status, at):
    def end(record):
        if record.iteration == at and status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return record.iteration == at and status is Status.STOPPED

    time = {"max_time": 0.0} if status is Status.MAX_TIME else {}
    _, solution, _ = staged([1.0, 0.5, 0.25, 0.125], 100, callbacks=[end], **time)
    at = 0 if time else at
    assert solution.status is status and solution.iterations == at
    expected = 0.5 if at <= 10 else 0.25
    assert solution.regularization == expected
    assert solution.value == pytest.approx(least_squares_value(slow(expected), solution.parameters), rel=1e-10)


def test_a_stop_at_an_end_that_converged_says_that_lam_was_another():
    solution = solve(slow(Scripted(1.0, 1.0, 0.5)), tolerance=1e9, callbacks=[lambda record: True])
    assert solution.status is Status.STOPPED and solution.regularization == 0.5
    solution = solve(slow(Scripted(1.0, 1.0, 1.0)), tolerance=1e9, callbacks=[lambda record: True])
    assert solution.status is Status.CONVERGED and solution.regularization == 1.0


def test_the_schedule_is_that_of_the_problem():
    assert isinstance(schedule_of(slow(0.5)), Fixed) and isinstance(schedule_of(slow("gcv")), Adaptive)
    path = schedule_of(slow(Continuation(1.0, 1e-3, until="gcv")))
    assert isinstance(path, Descending) and path.starting.problem.regularization == 1.0
    for regularization in (0.5, "gcv", Continuation(1.0, 1e-3)):
        assert isinstance(schedule_of(slow(regularization), still=True), Fixed)
    still = schedule_of(slow(Scripted(1.0, 0.5)), still=True).first([torch.tensor(START, dtype=torch.float64)])
    assert (
        still.iterations is None and still.reduced.problem.regularization == 0.5 and still.reduced.problem.rule is None
    )
    barely = schedule_of(slow("gcv")).starting.problem
    assert 0 < barely.regularization < 1e-20 and barely.rule == rules.GCV()


def field_law():
    """The first lam is that of the start of least generalised cross-validation."""
    given = slow("gcv")
    adaptive = schedule_of(given)
    field = [torch.tensor(theta, dtype=torch.float64) for theta in ((3.0, 9.0), (0.5, 2.0), (0.05, 30.0), (-1e5, 1.0))]
    expected = ReducedProblem(given).chosen_at(field[1]).problem.regularization
    assert all(ReducedProblem(given).chosen_at(field[i]).problem.regularization != expected for i in (0, 2))
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (1, 3)):
        assert adaptive.first([field[i] for i in order]).reduced.problem.regularization == expected
    only = adaptive.first([field[3]])
    assert math.isfinite(only.reduced.problem.regularization) and only.iterations == 10


def test_the_first_lam_is_that_of_the_best_start():
    field_law()


def test_another_network_keeps_the_rule():
    """A schedule for a problem with other features, from a stage whose lam was fixed."""
    other = slow(0.5)
    for regularization in ("gcv", Continuation(1.0, 1e-3, until="gcv")):
        made = schedule_of(slow(regularization)).regularizing(other)
        assert made.problem.rule == slow(regularization).rule and made.problem.until == slow(regularization).until
        assert type(made) is type(schedule_of(slow(regularization)))
    fixed = schedule_of(slow("gcv"), still=True).regularizing(other)
    assert fixed.starting.problem.rule == rules.GCV()


# --- paths that a rule ends ---------------------------------------------------------------------------------------

LADDER = [1.0, 0.1, 0.01, 1e-3, 1e-4]


def path(until=None, iterations=3):
    return Continuation(1.0, 1e-4, factor=0.1, iterations=iterations, until=until)


@pytest.mark.parametrize(("bite", "last"), [(5.0, 0), (1.0, 0), (0.5, 1), (0.1, 1), (0.02, 2), (2e-4, 4), (1e-9, 4)])
def test_a_path_ends_at_the_first_lam_that_is_no_larger_than_what_the_rule_says(bite, last):
    until_law(bite, last)


def until_law(bite, last):
    solution = solve(slow(path(Scripted(bite))), tolerance=1e-10)
    lams = solution.history["regularization"]
    expected = LADDER[: last + 1]
    np.testing.assert_allclose(list(dict.fromkeys(lams)), expected, rtol=1e-12)
    assert solution.regularization == lams[-1] and solution.status is Status.CONVERGED
    direct = solve(slow(float(lams[-1])), initial_parameters=solution.parameters, tolerance=1e-10)
    assert direct.iterations == 0 and direct.converged


def walked_law(rule, noise=None):
    """Stage by stage by hand, with the rule asked after each."""
    given = slow(path(rule), noise_level=noise)
    theta, ask = torch.tensor(START, dtype=torch.float64), given.until
    for stage, lam in enumerate(given.continuation.stages):
        final = stage == len(LADDER) - 1
        step = solve(
            slow(lam), initial_parameters=theta, max_iterations=500 if final else 3, tolerance=1e-10 if final else 0.0
        )
        theta = step.parameters
        if (
            not final
            and ReducedProblem(slow(lam, noise_level=noise)).linearize(theta).chosen(ask).regularization >= lam
        ):
            step = solve(slow(lam), initial_parameters=theta, tolerance=1e-10)
            break
    found = solve(given, tolerance=1e-10)
    assert found.regularization == step.regularization
    np.testing.assert_allclose(found.parameters, step.parameters, rtol=1e-8)
    assert found.value == pytest.approx(step.value, rel=1e-10)
    return found


@pytest.mark.parametrize("rule", ["auto", "gcv", "evidence", "discrepancy", "predictive-risk", rules.GCV(2.0)], ids=str)
def test_a_path_that_a_rule_ends_is_the_one_walked_by_hand(rule):
    walked_law(rule, 0.05)


def test_some_rule_ends_the_path_early():
    assert walked_law("gcv").regularization > 1e-4


@pytest.mark.parametrize("limit", [0, 1, 5, 500])
def test_a_rule_that_never_bites_changes_nothing(limit):
    plain, until = (solve(slow(path(rule)), max_iterations=limit, tolerance=1e-10) for rule in (None, Scripted(1e-30)))
    assert torch.equal(plain.parameters, until.parameters) and plain.value == until.value
    assert plain.status is until.status and plain.regularization == until.regularization == 1e-4
    for name in ("value", "regularization", "iteration", "evaluations"):
        np.testing.assert_array_equal(plain.history[name], until.history[name])


@pytest.mark.parametrize(("limit", "bite", "lam"), [(2, 5.0, 1.0), (2, 0.5, 1e-4), (4, 0.5, 0.1), (4, 0.05, 1e-4)])
def test_a_path_that_is_cut_short_is_valued_where_it_would_have_ended(limit, bite, lam):
    solution = solve(slow(path(Scripted(bite))), max_iterations=limit, tolerance=0.0)
    assert solution.status is Status.MAX_ITERATIONS and solution.regularization == pytest.approx(lam)
    assert solution.value == pytest.approx(
        least_squares_value(slow(solution.regularization), solution.parameters), rel=1e-9
    )


def test_a_network_on_a_path_that_a_rule_ends():
    found = wave(regularization=Continuation(1.0, 1e-10, factor=0.1, iterations=4, until="gcv"))
    first, again = (solve(found, seed=0, max_iterations=60) for _ in range(2))
    assert torch.equal(first.parameters, again.parameters) and first.regularization == again.regularization
    assert (np.diff(first.history["regularization"]) <= 0).all()


def test_a_rule_that_ends_a_path_is_no_rule_of_the_problem():
    given = slow(path("gcv"))
    solution = solve(given, max_iterations=5)
    assert given.rule is None and solution.regularization_choice is None
    assert ReducedProblem(given).chosen_at(START).problem is given


def test_a_start_that_is_not_finite_is_a_status():
    function = from_function(decays, [-1e5, 1.0])
    for regularization in ("gcv", "auto", path("gcv")):
        solution = solve(SeparableProblem(function, TIMES, TIMES, regularization=regularization))
        assert solution.status is Status.NON_FINITE and math.isnan(solution.value) and solution.iterations == 0


def patched(name, value):
    return schedules, name, value


def always(self, stage, outcome: Outcome, final):
    """A stage that converges ends the solve."""
    return stage.ended, outcome


def unvalued(reduced, outcome):
    return schedules.Stage(reduced, over=True), outcome


def first_start(self, field):
    reduced = self.starting.chosen_at(field[0])
    return schedules.Stage(reduced, 10, trail=(reduced.problem.regularization,))


def late(self, stage, outcome, final):
    """The path ends at the first lam that is less than a tenth of what the rule chooses."""
    lam = stage.reduced.problem.regularization
    bites = stage.iterations is not None and outcome.point.chosen(self.problem.until).regularization > 10 * lam
    return (schedules.Stage(stage.reduced), outcome) if bites else endless(self, stage, outcome, final)


def endless(self, stage, outcome, final):
    """The path goes on to its end."""
    return AFTER(Descending(slow(path()), self.path), stage, outcome, final)


AFTER = Descending.after
MUTATIONS = {
    "stages do not double": (patched("FIRST_STAGE", 20), doubling_law),
    "lam never stays": (patched("REVERSALS", 99), reversal_law),
    "the first stage that converges ends it": ((Adaptive, "after", always), end_law),
    "the end is not valued again": (patched("_valued", unvalued), lambda: limit_law(9)),
    "the first start decides": ((Adaptive, "first", first_start), field_law),
    "the path ends late": ((Descending, "after", late), lambda: until_law(0.5, 1)),
    "the path does not end": ((Descending, "after", endless), lambda: until_law(0.02, 2)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
