"""Lam by a rule as an argument of a problem: what is chosen at the features' own parameters, and what is refused."""

import math
import pickle

import numpy as np
import pytest
import torch

from grassvp import Continuation, ReducedProblem, SeparableProblem, rules, separable, theory
from grassvp.errors import GrassvpError
from grassvp.features import from_function, mlp
from grassvp.projection import RULES, Spectrum
from tests.cases import exponentials, phase
from tests.projection.test_rules import data as seen
from tests.solvers.problems import TIMES, decays, double_exponential

START = (0.4, 2.5)
NAMES = tuple(RULES)


def problem(regularization="gcv", noise_level=0.05, **options):
    return double_exponential(0.05, start=START, regularization=regularization, noise_level=noise_level, **options)


def dense(weights=None, outputs=1, theta=START):
    """What a rule sees of that problem, put together in numpy."""
    Y = problem(0.0, outputs=outputs).targets.numpy()
    return seen(np.exp(-TIMES[:, None] * np.asarray(theta)), Y, weights, noise=0.05)


def rounding(lam, unit=1.0):
    """To quarters of an octave."""
    return unit * 2.0 ** (np.round(4 * np.log2(lam / unit)) / 4)


def choice_law(name, weights=None, outputs=1):
    """At their own parameters, rounded; at any others by `chosen_at`."""
    given = problem(name, weights=weights, outputs=outputs)
    rule = RULES[name]
    unit = 1.0 if weights is None else float((np.asarray(weights) ** 2).sum() / np.count_nonzero(weights))
    expected = rule.choose(dense(weights, outputs)).regularization
    assert given.regularization == pytest.approx(rounding(expected, unit), rel=1e-12)
    assert abs(math.log2(given.regularization / expected)) <= 0.125 + 1e-9
    for theta in (START, (0.5, 2.0), (1.0, 1.0)):
        moved = ReducedProblem(given).chosen_at(theta).problem
        expected = rule.choose(dense(weights, outputs, theta)).regularization
        assert moved.regularization == pytest.approx(rounding(expected, unit), rel=1e-12) and moved.rule is None


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2, 60), np.arange(60) % 4 / 2.0], ids=["1", "w", "0"])
@pytest.mark.parametrize("name", NAMES)
def test_lam_is_that_of_the_rule_to_a_quarter_of_an_octave(name, weights, outputs):
    choice_law(name, weights, outputs)


def rounded_law():
    """Twice is as good as once, halves are far apart, and units of the weights are units of lam."""
    for weights in (None, np.linspace(0.5, 2, 60), 1e3 * np.ones(60)):
        given = problem(weights=weights)
        for lam in np.logspace(-40, 30, 200):
            once = given.rounded(lam)
            assert given.rounded(once) == once and abs(math.log2(once / lam)) <= 0.125 + 1e-9
        assert given.rounded(0.0) == 0.0
    plain, scaled = problem(weights=np.linspace(1, 2, 60)), problem(weights=8 * np.linspace(1, 2, 60))
    assert all(scaled.rounded(64.0 * lam) == 64.0 * plain.rounded(lam) for lam in (1e-9, 0.3, 7.7))


def test_rounding():
    rounded_law()


@pytest.mark.parametrize("name", NAMES)
def test_units_of_the_data_are_exact_units_of_lam(name):
    units_law(name)


def units_law(name):
    x, y = TIMES, problem(0.0).targets.numpy()[:, 0]

    def made(features=1.0, targets=1.0, weights=1.0):
        function = from_function(lambda p, x: features * decays(p, x), START)
        w = weights * np.linspace(0.5, 2, 60)
        return SeparableProblem(function, x, targets * y, weights=w, regularization=name, noise_level=targets * 0.05)

    lam = made().regularization
    assert made(targets=3.7).regularization == made(targets=2.0**-90).regularization == lam
    for size in (2.0**-40, 0.5, 2.0**60):
        assert made(features=size).regularization == made(weights=size).regularization == size**2 * lam


def test_an_offset_is_taken_from_the_targets_first():
    offset_law()


def offset_law():
    x, rng = np.linspace(0.0, 3.0, 30), np.random.default_rng(0)
    theta, w = torch.tensor([0.3, 2.0, 2.5], dtype=torch.float64), rng.uniform(0.5, 2.0, 30)
    at = theta * 1.2
    fixed = 5 * phase(at, torch.from_numpy(x)).numpy()
    y = exponentials(theta, torch.from_numpy(x)).numpy() @ rng.standard_normal((3, 3)) + fixed
    y += 0.1 * rng.standard_normal((30, 3))
    offset = from_function(exponentials, theta, offset=lambda p, x: 5 * phase(p, x))
    reduced = ReducedProblem(SeparableProblem(offset, x, y, weights=w, regularization="gcv"))
    expected = RULES["gcv"].choose(seen(exponentials(at, torch.from_numpy(x)).numpy(), y - fixed, w))
    choice = reduced.linearize(at).chosen(RULES["gcv"])
    assert choice.regularization == pytest.approx(expected.regularization, rel=1e-5)
    assert choice.noise_level == pytest.approx(expected.noise_level, rel=1e-6)


def test_the_lam_of_the_solve_does_not_matter_to_a_choice():
    reduced = [ReducedProblem(problem(lam)) for lam in (0.0, 1e-9, 3.0, "gcv")]
    choices = [each.linearize((0.6, 1.7)).chosen(rules.Evidence()) for each in reduced]
    assert {choice.regularization for choice in choices} == {choices[0].regularization}
    assert choices[0].rule == "evidence" and reduced[0].chosen_at((0.6, 1.7)) is reduced[0], "no rule, no other lam"


def test_chosen_at_takes_parameters_of_any_kind_and_points():
    reduced = ReducedProblem(problem())
    theta = np.array([0.6, 1.7])
    lams = [
        reduced.chosen_at(each).problem.regularization
        for each in (theta, list(theta), torch.from_numpy(theta), reduced.linearize(theta))
    ]
    assert len(set(lams)) == 1 and reduced.problem.rule is not None, "the problem itself has kept its rule"
    assert reduced.chosen_at([-1e5, 1.0]).problem.regularization == reduced.problem.regularization
    with pytest.raises(ValueError, match="parameters must have shape"):
        reduced.chosen_at([1.0])


def test_what_a_problem_says_and_keeps():
    given = problem(rules.GCV(1.4))
    assert given.rule == rules.GCV(1.4) and given.continuation is None and given.until is None
    assert f"regularization {given.regularization:g} by gcv" in repr(given) and " by " not in repr(problem(0.5))
    fixed = given.with_regularization(0.5)
    assert fixed.rule is None and fixed.regularization == 0.5 and given.rule is not None
    back = fixed.regularized_like(given)
    assert back.rule is given.rule and back.regularization == given.regularization
    barely = given.barely_regularized()
    assert 0.0 < barely.regularization < 1e-20 and barely.rule is given.rule
    again = pickle.loads(pickle.dumps(rules.Auto(5, 1)))
    assert again == rules.Auto(5, 1) and hash(again) == hash(rules.Auto(5, 1))
    assert problem(Continuation(1.0, 1e-3, until="gcv")).until == rules.GCV()
    assert given.rank_tolerance == fixed.rank_tolerance < problem(0.0).rank_tolerance, "that of lam > 0"
    assert problem("gcv", rank_tolerance=1e-4).rank_tolerance == 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_problems_of_every_shape_and_kind_have_a_lam(name):
    x = np.linspace(-1, 1, 40)[:, None]
    y = np.sin(3 * x[:, 0])
    cases = [
        *((mlp(1, (4,)), x[:rows], y[:rows]) for rows in (1, 2, 3, 7, 40)),
        (mlp(1, (60,)), x, y),
        (mlp(1, (4, 3)), x, np.stack([y, y], 1)),
        (mlp(1, (4,)), x.astype(np.float32), y.astype(np.float32)),
        (mlp(1, (4,)), x, 0 * y),
        (from_function(lambda p, x: 0 * x * p, [1.0]), x, y),
        (from_function(lambda p, x: torch.cat([x * p, x * p], 1), [1.0]), x, y),
    ]
    for features, inputs, targets in cases:
        given = SeparableProblem(features, inputs, targets, regularization=name, noise_level=0.1)
        assert math.isfinite(given.regularization) and given.regularization > 0.0, given
        assert math.isfinite(ReducedProblem(given).value(given.initial_parameters))


def test_features_that_are_not_finite_leave_lam_to_the_solve():
    function = from_function(lambda p, x: torch.exp(p * x[:, None]), [1e4])
    given = SeparableProblem(function, TIMES, TIMES, regularization="gcv")
    assert given.regularization == 0.0 and given.rule == rules.GCV()
    assert ReducedProblem(given).chosen_at([0.3]).problem.regularization > 0.0


def counted_law():
    """Weights of zero are no rows, in the choice of a problem and of its points."""
    y = problem(0.0).targets.numpy()[:, 0]
    times, targets = np.concatenate([TIMES, TIMES + 9]), np.concatenate([y, 7 - y])
    w = np.concatenate([np.ones(60), np.zeros(60)])
    padded = SeparableProblem(from_function(decays, START), times, targets, weights=w, regularization="gcv")
    assert padded.counted_rows == 60 and problem().counted_rows == 60
    assert padded.regularization == pytest.approx(problem().regularization, rel=1e-9)


def test_rows_without_weight_do_not_count():
    counted_law()


def report_law(name):
    """The kind of a point is that with the lam that is chosen there."""
    reduced, theta = ReducedProblem(problem(name)), (0.9, 1.1)
    report = theory.critical_point_report(reduced, theta)
    expected = theory.critical_point_report(reduced.chosen_at(theta), theta)
    assert reduced.chosen_at(theta).problem.regularization != reduced.problem.regularization
    assert report.value == expected.value and report.gradient_norm == expected.gradient_norm
    np.testing.assert_array_equal(report.hessian_eigenvalues, expected.hessian_eigenvalues)
    assert (report.kind, report.rank, report.explanation) == (expected.kind, expected.rank, expected.explanation)


@pytest.mark.parametrize("name", ["auto", "gcv", "evidence", "discrepancy"])
def test_reports_are_of_the_lam_chosen_at_the_point(name):
    report_law(name)


MISSING, CHOSEN = "noise_level is missing", "regularization must be "
BAD = [
    *(({"regularization": rule, "noise_level": None}, MISSING) for rule in ("discrepancy", "predictive-risk")),
    ({"regularization": rules.Discrepancy(), "noise_level": None}, MISSING),
    ({"regularization": Continuation(1.0, until="discrepancy"), "noise_level": None}, f"{MISSING}: until"),
    *(({"noise_level": bad}, "noise_level must be") for bad in (0, 0.0, -1.0, math.nan, math.inf, 1e200)),
    *(({"noise_level": bad}, "noise_level must be") for bad in (True, "1", [0.1], 1j)),
    *(({"regularization": bad}, CHOSEN + "one of 'auto'") for bad in ("nonsense", "", "GCV", "l_curve")),
    *(({"regularization": bad}, CHOSEN + "finite") for bad in (math.nan, math.inf, -1.0, -1e-300)),
    *(({"regularization": bad}, CHOSEN + "a number") for bad in (True, None, rules.GCV, [1.0], 1j, b"gcv", np.ones(2))),
    *(({"regularization": Continuation(1.0, until=bad)}, "until must be one of") for bad in ("nonsense", "")),
    *(({"regularization": Continuation(1.0, until=bad)}, "until must be a rule") for bad in (1.0, True, rules.GCV)),
    ({"coefficient_bounds": (0, None)}, "regularization.*coefficient_bounds"),
    ({"regularization": Continuation(1.0, until="gcv"), "coefficient_bounds": (0, None)}, "coefficient_bounds"),
]


@pytest.mark.parametrize(("options", "name"), BAD, ids=str)
def test_what_cannot_be_used_is_named_at_construction(options, name):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        problem(**options)
    assert isinstance(caught.value, GrassvpError)


@pytest.mark.parametrize("size", [1e-300, 1e-140, 1e140, 1e300])
def test_features_that_give_lam_no_unit_are_refused(size):
    function = from_function(lambda p, x: size * decays(p, x), START)
    with pytest.raises(ValueError, match=r"features, times the weights, for which a rule chooses lam, have norm"):
        SeparableProblem(function, TIMES, TIMES, regularization="gcv")
    assert SeparableProblem(function, TIMES, TIMES).regularization == 0.0
    for fine in (1e-120, 1e120):
        function = from_function(lambda p, x: fine * decays(p, x), START)  # noqa: B023
        assert SeparableProblem(function, TIMES, TIMES, regularization="gcv").regularization > 0.0


def no_offset(projection, targets, *rest):
    """As if the offset were part of the targets."""
    return OF(projection, targets + 1.0, *rest)


OF = Spectrum.of
MUTATIONS = {
    "lam is not rounded": ((SeparableProblem, "rounded", lambda self, lam: lam), lambda: choice_law("gcv")),
    "lam is rounded to octaves": (
        (SeparableProblem, "rounded", lambda self, lam: 2.0 ** round(math.log2(lam))),
        rounded_law,
    ),
    "rounding has no unit": (
        (SeparableProblem, "rounded", lambda self, lam: 3.0 * 2.0 ** (round(4 * math.log2(lam / 3.0)) / 4)),
        lambda: choice_law("gcv"),
    ),
    "units of weights are forgotten": (
        (SeparableProblem, "rounded", lambda self, lam: 2.0 ** (round(3 * math.log2(lam)) / 3)),
        lambda: choice_law("gcv", np.linspace(0.5, 2, 60)),
    ),
    "the offset stays": (
        (separable, "Spectrum", type("Spectrum", (), {"of": staticmethod(no_offset)})),
        offset_law,
    ),
    "rows without weight count": (
        (Spectrum, "of", staticmethod(lambda projection, targets, *rest: OF(projection, targets))),
        counted_law,
    ),
    "reports take the lam of the problem": (
        (ReducedProblem, "chosen_at", lambda self, at: self),
        lambda: report_law("gcv"),
    ),
    "the noise level is dropped": (
        (separable, "Data", lambda spectrum, targets, weights, noise: DATA(spectrum, targets, weights, 2 * noise)),
        lambda: choice_law("discrepancy"),
    ),
    "the weights are dropped": (
        (separable, "Data", lambda spectrum, targets, weights, noise: DATA(spectrum, targets, None, noise)),
        lambda: choice_law("discrepancy", np.linspace(0.5, 2, 60)),
    ),
}
DATA = separable.Data


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
