"""Solves whose lam a rule chooses along the way: what holds within a stage, where they end, and what they report."""

import itertools
import math

import numpy as np
import pytest
import torch

from grassvp import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    ReducedProblem,
    SeparableProblem,
    Status,
    TrustRegion,
    grow,
    multistart,
    rules,
    schedules,
    scheduling,
    solve,
    solving,
    statistics,
    theory,
)
from grassvp.features import from_function, mlp
from grassvp.projection import RULES
from grassvp.starts import start_at
from tests.cases import exponentials, phase
from tests.laws.reduced import EPS
from tests.oracles import projector
from tests.solvers.problems import Recorder, double_exponential, least_squares_value, weighted

TOLERANCE = 1e-9
METHODS = {
    "default": None,
    "levenberg-marquardt": LevenbergMarquardt(),
    "gauss-newton": GaussNewton(),
    "trust region": TrustRegion(),
    "natural gradient": NaturalGradient(),
    "flow": GradientFlow(),
    "lbfgs": FirstOrder("lbfgs"),
    "adam": FirstOrder("adam", learning_rate=0.05),
}
JOINT = {
    "lbfgs": FirstOrder("lbfgs", objective="joint"),
    "adam": FirstOrder("adam", objective="joint", learning_rate=0.05, coefficients="projected"),
}
X = np.linspace(-1.0, 1.0, 30)[:, None]


def decay(rule="gcv", start=(0.4, 2.5), **options):
    return double_exponential(0.05, start=start, regularization=rule, noise_level=0.05, **options)


def network(rule="gcv", widths=(4,), outputs=1, noise=0.2, **options):
    y = np.sin(3 * X + np.arange(outputs)) + noise * np.random.default_rng(1).standard_normal((30, outputs))
    return SeparableProblem(mlp(1, widths), X, y, regularization=rule, noise_level=noise, **options)


WEIGHTS = np.where(np.arange(30) % 5 == 0, 0.0, np.linspace(0.5, 2.0, 30))
PROBLEMS = {
    "decay": decay,
    "network": network,
    "two layers, two outputs": lambda rule="gcv": network(rule, (3, 3), 2),
    "weights": lambda rule="gcv": network(rule, weights=WEIGHTS),
    "wide": lambda rule="gcv": network(rule, (32,)),
}


def gcv(problem, theta, lam):
    """M RSS / (m - tr H)^2 in numpy, for rows that count."""
    A, Y = (part.numpy() for part in weighted(problem, theta))
    H = projector(A, lam)
    rows = len(A) if problem.weights is None else int((problem.weights != 0).sum())
    return rows * np.sum((Y - H @ Y) ** 2) / (rows - np.trace(H)) ** 2


def turns(trail):
    """How often a sequence changes its direction."""
    signs = np.sign(np.diff(trail))
    return int((np.diff(signs[signs != 0]) != 0).sum())


def stage_law(problem, solution, *, descends=True):
    """Lam is one within a stage, which has 10 iterations or ends, 20, 40 ..., and the value does not rise there."""
    lams, values = solution.history["regularization"], solution.history["value"]
    blocks = [(lam, len(list(group))) for lam, group in itertools.groupby(lams)]
    assert sum(length for _, length in blocks) == len(lams) == solution.iterations + 1
    assert all(problem.rounded(lam) == lam for lam, _ in blocks) and turns([lam for lam, _ in blocks]) <= 2
    same = np.diff(lams) == 0
    rounding = EPS * np.minimum(solution.history["condition"], 1e8) * float((problem.weighted_targets**2).sum())
    rise = np.diff(values)[same] - 1e-12 * values[:-1][same] - rounding[1:][same]
    assert not descends or (rise <= 0).all(), f"the value rose by {rise.max():.2g} within a stage"


def end_law(problem, solution):
    """Lam is what the rule says at the end, but where it goes to and fro; value, C and gradient are of that lam."""
    lam, theta = solution.regularization, solution.parameters
    said = ReducedProblem(problem).linearize(theta).chosen(problem.rule)
    trail = [*solution.history["regularization"], problem.rounded(said.regularization)]
    assert lam == (trail[-2] if turns(trail) > 2 else trail[-1]), "not what the rule says here"
    assert solution.regularization_choice.rule == problem.rule.name
    assert math.isclose(solution.regularization_choice.regularization, said.regularization, rel_tol=1e-6)
    fixed = problem.with_regularization(lam)
    reduced = ReducedProblem(fixed).linearize(theta)
    slope = float(torch.linalg.vector_norm(reduced.gradient))
    assert solution.value == pytest.approx(least_squares_value(fixed, theta), rel=1e-7)
    assert solution.gradient_norm == pytest.approx(slope, rel=1e-6, abs=1e-13)
    torch.testing.assert_close(solution.coefficients, reduced.coefficients, rtol=1e-9, atol=0.0)
    if solution.status is Status.CONVERGED:
        assert slope <= TOLERANCE * float((fixed.weighted_targets**2).sum()) * (1 + 1e-6)
    assert solution.problem.regularization == lam


def record_law(problem, keep, solution):
    """Callbacks saw every record once, numbered through, with the values that numpy finds."""
    assert [record.iteration for record in keep.records] == list(range(solution.iterations + 1))
    for name in ("value", "regularization", "evaluations", "gradient_norm"):
        assert [getattr(record, name) for record in keep.records] == solution.history[name].tolist()
    assert (np.diff(solution.history["evaluations"]) > 0).all() and (np.diff(solution.history["seconds"]) >= 0).all()
    for record in keep.records[:: max(1, len(keep.records) // 5)]:
        fixed = problem.with_regularization(record.regularization)
        assert record.value == pytest.approx(least_squares_value(fixed, record.parameters), rel=1e-6)


def solved(problem, method=None, **options):
    keep, options = Recorder(), {"seed": 0, "max_iterations": 45, "starts": 2, "tolerance": TOLERANCE} | options
    solution = solve(problem, method, callbacks=[keep], **options)
    return solution, keep


def whole_law(problem, method=None, **options):
    solution, keep = solved(problem, method, **options)
    stage_law(problem, solution, descends=method != METHODS["adam"])
    end_law(problem, solution)
    record_law(problem, keep, solution)
    return solution


@pytest.mark.parametrize("rule", ["auto", "evidence"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_rules(method, rule):
    whole_law(decay(rule), METHODS[method], max_iterations=25)


@pytest.mark.parametrize("rule", [*RULES, rules.GCV(1.4)], ids=str)
@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "wide"])
def test_every_problem_with_rules(name, rule):
    whole_law(PROBLEMS[name](rule), max_iterations=33)


@pytest.mark.parametrize("rule", ["auto", "evidence"])
def test_more_features_than_rows(rule):
    whole_law(PROBLEMS["wide"](rule), max_iterations=25)


@pytest.mark.parametrize("rule", ["auto", "gcv", "evidence", "discrepancy"])
def test_solves_from_near_the_minimum_converge(rule):
    solution = whole_law(decay(rule))
    assert solution.status is Status.CONVERGED and len(set(solution.history["regularization"])) >= 1


def test_single_precision():
    given = SeparableProblem(mlp(1, (4,)), X.astype(np.float32), np.sin(3 * X).astype(np.float32), regularization="gcv")
    solution = solve(given, seed=0, max_iterations=30)
    assert solution.parameters.dtype == torch.float32 and math.isfinite(solution.value)
    said = ReducedProblem(given).linearize(solution.parameters).chosen(given.rule)
    assert solution.regularization == given.rounded(said.regularization)


def test_an_offset():
    x, theta = np.linspace(0.0, 3.0, 30), [0.35, 1.8, 2.4]
    y = 5.0 + np.random.default_rng(0).standard_normal((30, 3))
    given = SeparableProblem(from_function(exponentials, theta, offset=phase), x, y, regularization="gcv")
    solution = solve(given, max_iterations=50)
    said = ReducedProblem(given).linearize(solution.parameters).chosen(given.rule)
    assert solution.regularization == given.rounded(said.regularization)


def test_bounds():
    given = decay(bounds=(0.0, 1.5))
    solution = solve(given, initial_parameters=[0.4, 1.2], max_iterations=60)
    assert float(solution.parameters.max()) <= 1.5 and solution.regularization > 0.0


@pytest.mark.parametrize("name", JOINT)
def test_joint_methods_keep_the_lam_of_their_start(name):
    joint_law(name)


def joint_law(name):
    for given, options in ((decay("evidence"), {}), (network("gcv"), {"seed": 0})):
        solution = solve(given, JOINT[name], max_iterations=5, **options)
        start = solve(given, JOINT[name], max_iterations=0, **options)
        lams = solution.history["regularization"]
        assert set(lams) == {solution.regularization} == {start.regularization}
        assert solution.regularization == ReducedProblem(given).chosen_at(start.parameters).problem.regularization
        assert (np.diff(solution.history["value"]) <= 0).all() or name == "adam"


def test_no_iterations_solve_the_output_layer_of_the_best_draw():
    given = network("evidence")
    solution = solve(given, seed=4, max_iterations=0)
    end_law(given, solution)
    assert solution.iterations == 0 and len(solution.history["value"]) == 1


def test_equal_seeds_agree_and_no_global_state_is_touched():
    before = np.random.get_state()[1].tolist(), torch.random.get_rng_state()
    given = network("auto")
    lam = given.regularization
    options = {"max_iterations": 12, "restarts": 1, "starts": 2}
    first, again, other = (solve(given, seed=seed, **options) for seed in (5, 5, 6))
    assert torch.equal(first.parameters, again.parameters) and first.regularization == again.regularization
    assert not torch.equal(first.parameters, other.parameters)
    np.testing.assert_array_equal(first.history["regularization"], again.history["regularization"])
    assert np.random.get_state()[1].tolist() == before[0] and torch.equal(torch.random.get_rng_state(), before[1])
    assert given.regularization == lam and given.rule == rules.Auto(), "the problem is as it was"


@pytest.mark.parametrize("at", [0, 4, 12])
@pytest.mark.parametrize("status", [Status.STOPPED, Status.INTERRUPTED])
def test_a_callback_ends_a_solve_with_many_starts(status, at):
    seen = []

    def end(record):
        seen.append(record.iteration)
        if record.iteration == at and status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        return record.iteration == at

    given = network("gcv", (6,))
    solution = solve(given, seed=0, callbacks=[end], tolerance=0.0)
    assert solution.status is status and seen == list(range(at + 1))
    end_law(given, solution)


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_time(seconds):
    given = network("auto", (12,))
    solution = solve(given, seed=0, max_time=seconds, max_iterations=10**6, tolerance=0.0)
    assert solution.status in (Status.MAX_TIME, Status.STALLED, Status.DAMPED_OUT) and solution.elapsed < 30.0
    end_law(given, solution)


def restart_law():
    """Of a run and its restarts the one with the least generalised cross-validation is kept."""
    given, keep = network("gcv", (6,)), Recorder()
    options = {"seed": 0, "starts": 1, "max_iterations": 8, "tolerance": 0.0}
    solution = solve(given, restarts=3, callbacks=[keep], **options)
    firsts = [i for i, record in enumerate(keep.records) if record.iteration == 0]
    runs = [keep.records[i:j] for i, j in zip(firsts, [*firsts[1:], len(keep.records)], strict=True)]
    assert len(runs) == 4 and all([r.iteration for r in run] == list(range(len(run))) for run in runs)
    lasts = [run[-1].parameters for run in runs]
    scores = [gcv(given, theta, ReducedProblem(given).chosen_at(theta).problem.regularization) for theta in lasts]
    values = [ReducedProblem(given).chosen_at(theta).value(theta) for theta in lasts]
    assert np.argmin(scores) != np.argmin(values), "the value would do as well"
    assert gcv(given, solution.parameters, solution.regularization) <= min(scores) * (1 + 1e-6)


def test_restarts_are_compared_by_cross_validation():
    restart_law()


def start_law():
    """A start is judged by cross-validation where a rule chooses lam, and by the value where none does."""
    given = network("gcv", (6,))
    theta = given.initial_parameters
    assert start_at(ReducedProblem(given), theta, "x").value == pytest.approx(
        gcv(given, theta, given.regularization), rel=1e-9
    )
    fixed = given.with_regularization(0.1)
    assert start_at(ReducedProblem(fixed), theta, "x").value == pytest.approx(
        least_squares_value(fixed, theta), rel=1e-9
    )


def test_starts_are_judged_by_cross_validation():
    start_law()
    endless = SeparableProblem(
        from_function(lambda p, x: torch.exp(p * x[:, None]), [1.0]), X[:, 0], X[:, 0], regularization="gcv"
    )
    assert start_at(ReducedProblem(endless), torch.tensor([1e5]).double(), "x").value == math.inf


def test_multistart_with_a_rule():
    given = network("gcv")
    many, again = (multistart(given, starts=3, seed=0, max_iterations=12) for _ in range(2))
    assert len(many.solutions) == 3 and np.array_equal(many.values, again.values)
    for solution in many.solutions:
        end_law(given, solution)
    assert many.best in many.solutions and "3 starts" in repr(many)


def test_growth_with_a_rule():
    given = network("evidence", (6,))
    grown = grow(given, goal=0.0, seed=0, max_iterations=10)
    assert grown.width == 6 and not grown.reached and grown.problem.rule == rules.Evidence()
    assert grown.solution.regularization_choice.rule == "evidence"
    end_law(grown.problem, grown.solution)


@pytest.mark.parametrize("name", ["decay", "network", "weights"])
def test_statistics_are_of_the_lam_that_was_chosen(name):
    given = PROBLEMS[name]("gcv")
    solution, _ = solved(given)
    fit = statistics.fit_statistics(given, solution)
    fixed = statistics.fit_statistics(given.with_regularization(solution.regularization), solution)
    assert fit.sigma == fixed.sigma and fit.degrees_of_freedom == fixed.degrees_of_freedom > 0
    assert fit.linearization.regularization == solution.regularization
    np.testing.assert_array_equal(fit.coefficients, fixed.coefficients)


@pytest.mark.parametrize("rule", ["gcv", "evidence"])
def test_reports_of_solutions_are_of_the_lam_that_was_chosen(rule):
    report_law(rule)


def report_law(rule):
    given = decay(rule)
    solution, _ = solved(given)
    assert solution.regularization != given.regularization, "chosen again on the way"
    report = theory.critical_point_report(ReducedProblem(given), solution.parameters, tolerance=TOLERANCE)
    assert report.value == solution.value and report.is_critical and report.kind == "minimum"
    assert report.gradient_norm == pytest.approx(solution.gradient_norm, rel=1e-6)


def test_predictions_and_words():
    given = network("auto")
    solution = solve(given, seed=0, max_iterations=20)
    A = given.features(solution.parameters, given.inputs).numpy()
    np.testing.assert_allclose(solution.predict(X), A @ solution.coefficients.numpy(), rtol=1e-12)
    assert "auto: regularization" in str(solution.regularization_choice)
    assert solve(given.with_regularization(0.1), seed=0, max_iterations=2).regularization_choice is None


def unasked(self, stage, outcome, final):
    """The rule is asked at the start alone."""
    return stage.ended, outcome


def unvalued(reduced, outcome):
    return schedules.Stage(reduced, over=True), outcome


def seen_twice(callback, iterations, evaluations):
    """The start of a stage is shown as well."""
    return lambda record: callback(scheduling._shift(record, iterations, evaluations))


def mixed(ending):
    """The value of runs that a limit ended, cross-validation of others."""
    outcome = ending[0]
    return outcome.point.value if outcome.status is Status.MAX_ITERATIONS else outcome.point.cross_validated


def cut(limit):
    given = decay()
    end_law(given, solved(given, max_iterations=limit)[0])


MUTATIONS = {
    "the rule is asked once": ((schedules.Adaptive, "after", unasked), lambda: cut(60)),
    "the end is not valued again": ((schedules, "_valued", unvalued), lambda: cut(5)),
    "the start of a stage is shown twice": ((scheduling, "_shifted", seen_twice), lambda: whole_law(decay())),
    "records are not numbered through": (
        (scheduling, "_shift", lambda record, iterations, evaluations: record),
        lambda: whole_law(decay()),
    ),
    "runs are compared by value": ((solving, "merit", lambda ending: ending[0].point.value), restart_law),
    "starts are compared by value": (
        (SeparableProblem, "cross_validated", lambda self, projection: projection.value),
        start_law,
    ),
    "joint methods keep the lam of the features' own parameters": (
        (schedules.Fixed, "first", lambda self, field: schedules.Stage(self.starting)),
        lambda: joint_law("lbfgs"),
    ),
    "reports take the lam of the problem": (
        (ReducedProblem, "chosen_at", lambda self, at: self),
        lambda: report_law("gcv"),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
