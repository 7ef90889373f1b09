"""Criteria as functions of theta: gradients against mpmath and differences, lam and C eliminated as they should be."""

import math

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp import CriterionProblem, ReducedProblem, SeparableProblem, criterion, rules
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError, NonFiniteError
from grassvp.features import from_function, mlp
from grassvp.projection import Spectrum
from tests.cases import exponentials, phase
from tests.laws.reduced import EPS, norm
from tests.oracles import mp_features, projector

CRITERIA = {"gcv": "gcv", "gcv of weight 1.4": rules.GCV(1.4), "evidence": "evidence"}
SHAPES = {  # name: (rows, inputs, widths, outputs, activation, weighted)
    "tall": (9, 2, (3,), 1, "tanh", False),
    "three outputs, weights": (9, 1, (4,), 3, "sin", True),
    "wide": (5, 2, (7,), 2, "tanh", True),
    "deep": (8, 2, (2, 3), 2, "softplus", True),
    "one neuron": (9, 1, (1,), 1, "erf", False),
    "three layers": (8, 2, (2, 3, 2), 1, "gelu", False),
}


def case(name, collinear=None, **options):
    """A problem, theta, and what the oracles need."""
    rows, d, widths, k, activation, weighted = SHAPES[name]
    rng = np.random.default_rng(len(name))
    x, w = rng.uniform(-2, 2, (rows, d)), rng.uniform(0.5, 2.0, rows) if weighted else np.ones(rows)
    y = np.sin(x.sum(1))[:, None] * np.arange(1, k + 1) + 0.3 * rng.standard_normal((rows, k))
    module = mlp(d, widths, activation=activation, seed=3)
    problem = SeparableProblem(module, x, y, weights=w if weighted else None, **options)
    theta = 1.3 * problem.initial_parameters.numpy()
    if collinear is not None:  # the first two neurons of one layer
        width = widths[0]
        theta[d : 2 * d], theta[width * d + 1] = theta[:d] * (1 + collinear), theta[width * d] * (1 - collinear)
    return problem, theta, (x, y, w, widths, activation)


def mp_score(theta, lam, rule, x, y, w, widths, activation):
    """Log GCV or the evidence from the m x m matrix A A^T + lam I, all in mpmath."""
    rows = mp_features(theta, x.tolist(), widths, activation)
    A = mp.matrix([[mpf(float(wi)) * v for v in row] for wi, row in zip(w, rows, strict=True)])
    Y = mp.matrix([[mpf(float(wi)) * mpf(float(v)) for v in row] for wi, row in zip(w, y, strict=True)])
    m, k = Y.rows, Y.cols
    inverse = mp.inverse(A * A.T + lam * mp.eye(m))
    R = lam * (inverse * Y)
    left = lam * mpmath.fsum(inverse[i, i] for i in range(m))
    if isinstance(rule, rules.GCV):
        return mpmath.log(m * sum(v**2 for v in R)) - 2 * mpmath.log(m - mpf(rule.weight) * (m - left))
    q = sum(R[i, j] * Y[i, j] for i in range(m) for j in range(k))
    return m * k * mpmath.log(q / (m * k)) - k * mpmath.log(mp.det(lam * inverse))


def directions(count, q):
    """Random directions: an error of a gradient is orthogonal to none of them."""
    return np.random.default_rng(q).standard_normal((count, q)) / math.sqrt(q)


def gradient_law(shape, name, collinear=None, **options):
    """The derivative at the lam that was found, by differences in mpmath, and that of lam vanishes there."""
    problem, theta, given = case(shape, collinear, **options)
    target, ways = CriterionProblem(problem, CRITERIA[name]), directions(3, len(theta))
    point = target.linearize(theta)
    with mp.workdps(60):
        lam, h, at = mpf(point.regularization), mpf(10) ** -20, [mpf(float(t)) for t in theta]

        def score(step, way=at, by=1):
            return mp_score([t + step * float(v) for t, v in zip(at, way, strict=True)], lam * by, target.rule, *given)

        expected = np.array([float((score(h, way) - score(-h, way)) / (2 * h)) for way in ways])
        ahead, here, behind = (score(0, by=mpmath.exp(t)) for t in (mpf("1e-10"), mpf(0), -mpf("1e-10")))
        slope, bend = float((ahead - behind) / mpf("2e-10")), float((ahead - 2 * here + behind) / mpf("1e-20"))
    found = target.gradient(theta)
    tolerance = max(1e-8, 1e3 * EPS * float(point.spectrum.singular_values[0] / point.spectrum.singular_values[-1]))
    assert math.isclose(point.value, float(here), rel_tol=tolerance, abs_tol=tolerance)
    assert norm(ways @ found - expected) <= tolerance * (norm(found) + 1e-4), (ways @ found, expected)
    if target.lams[0] < point.regularization < target.lams[-1]:
        assert bend > 0 and abs(slope) <= 1e-6 * math.sqrt(bend), "not the lam of least score"


def total_law(shape, name, collinear=None):
    """The derivative of the value with lam chosen anew at every theta, by five-point differences."""
    problem, theta, _ = case(shape, collinear)
    target, h = CriterionProblem(problem, CRITERIA[name]), 1e-3
    found = target.gradient(theta)
    for way in directions(3, len(theta)):
        moved = [target.value(theta + step * h * way) for step in (-2, -1, 1, 2)]
        expected = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]) / (12 * h)
        assert abs(way @ found - expected) <= 1e-7 * (norm(found) + 1.0), (way @ found, expected)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_mpmath(shape, name):
    gradient_law(shape, name)


@pytest.mark.parametrize("name", CRITERIA)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_differences_with_lam_chosen_anew(shape, name):
    total_law(shape, name)


@pytest.mark.parametrize("collinear", [0.0, 1e-9, 1e-4])
@pytest.mark.parametrize("name", ["gcv", "evidence"])
@pytest.mark.parametrize("shape", ["tall", "three outputs, weights", "wide"])
def test_gradients_where_neurons_are_alike(shape, name, collinear):
    gradient_law(shape, name, collinear)


@pytest.mark.parametrize("name", CRITERIA)
def test_a_rank_tolerance_of_the_problem_is_refused(name):
    with pytest.raises(ArgumentError, match="rank_tolerance"):
        gradient_law("tall", name, rank_tolerance=1e-3)


def test_lam_is_found_inside_of_its_range():
    inside = 0
    for shape in SHAPES:
        problem, theta, _ = case(shape)
        for name in CRITERIA.values():
            target = CriterionProblem(problem, name)
            inside += float(target.lams[0]) < target.regularization(theta) < float(target.lams[-1])
    assert inside == 18, "the other tests would say little about the choice of lam"


def value_law(name):
    """No lam of a dense grid has a lower value, by hat matrices; the lam of the problem does not matter."""
    problem, theta, (_, y, w, *_) = case("three outputs, weights")
    target = CriterionProblem(problem, CRITERIA[name])
    A = w[:, None] * problem.features(torch.as_tensor(theta), problem.inputs).numpy()
    Y, weight = w[:, None] * y, getattr(target.rule, "weight", 1.0)

    def score(lam):
        H = projector(A, lam)
        R = Y - H @ Y
        if name != "evidence":
            return math.log(9 * norm(R) ** 2) - 2 * math.log(9 - weight * np.trace(H))
        q = float((R * Y).sum())
        return 27 * math.log(q / 27) - 3 * np.linalg.slogdet(np.eye(9) - H)[1]

    found = target.linearize(theta)
    assert math.isclose(found.value, score(found.regularization), rel_tol=1e-8, abs_tol=1e-8)
    assert found.value <= min(map(score, np.logspace(-6, 4, 300))) + 1e-8
    for lam in (1e-3, 10.0, "auto"):
        other = CriterionProblem(
            SeparableProblem(problem.features, problem.inputs, y, weights=w, regularization=lam), target.rule
        )
        assert math.isclose(other.value(theta), found.value, rel_tol=1e-12)
        np.testing.assert_allclose(other.gradient(theta), target.gradient(theta), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_value_is_the_least_over_lam(name):
    value_law(name)


def point_law():
    """A point carries the solve for its lam."""
    problem, theta, _ = case("tall")
    target = CriterionProblem(problem)
    point = target.linearize(theta)
    fixed = ReducedProblem(problem.with_regularization(point.regularization)).linearize(theta)
    assert torch.equal(point.coefficients, fixed.coefficients) and point.rank == fixed.rank == 4
    assert point.condition == fixed.condition and torch.equal(point.parameters, torch.as_tensor(theta))
    assert point.distance(point) == 0.0 and point.distance(target.linearize(1.1 * theta)) > 0.0
    assert target.regularization(theta) == point.regularization and target.rule == rules.GCV()
    assert torch.equal(point.gradient, point.projected_gradient) and point.bounds is None
    assert torch.equal(target.initial_parameters, problem.initial_parameters)


def test_a_point_has_the_solve_that_goes_with_it():
    point_law()


@pytest.mark.parametrize("name", CRITERIA)
def test_a_point_knows_the_rounding_of_its_value(name):
    """Rows in another order round otherwise, by no more than it says and by more than a thousandth of that."""
    problem, theta, (x, y, w, widths, activation) = case("three outputs, weights")
    point, errors = CriterionProblem(problem, CRITERIA[name]).linearize(theta), []
    for seed in range(8):
        order = np.random.default_rng(seed).permutation(len(x))
        module = mlp(1, widths, activation=activation, seed=3)
        other = SeparableProblem(module, x[order], y[order], weights=w[order])
        errors.append(abs(CriterionProblem(other, CRITERIA[name]).value(theta) - point.value))
    assert 1e-3 * point.value_rounding <= max(errors) <= 10 * point.value_rounding
    assert torch.equal(point.units, problem.units) and point.spare_gradient(problem.units) is None


def test_what_is_given_is_what_is_answered():
    problem, theta, _ = case("tall")
    target = CriterionProblem(ReducedProblem(problem), rules.Evidence())
    assert isinstance(target.gradient(theta), np.ndarray) and isinstance(target.gradient(list(theta)), np.ndarray)
    found = target.gradient(torch.as_tensor(theta))
    assert isinstance(found, torch.Tensor) and np.array_equal(found.numpy(), target.gradient(theta))
    assert isinstance(target.value(theta), float) and isinstance(target.regularization(theta), float)


def invariance_law(name):
    """Units of targets and weights shift the value; rotated outputs and rows without weight change nothing."""
    problem, theta, (x, y, w, *_) = case("three outputs, weights")
    plain, module, rule = (
        CriterionProblem(problem, CRITERIA[name]),
        mlp(1, (4,), activation="sin", seed=3),
        CRITERIA[name],
    )
    slope, entries = plain.gradient(theta), 1 if name != "evidence" else 27

    def other(x, y, w):
        return CriterionProblem(SeparableProblem(module, x, y, weights=w), rule)

    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    more = np.concatenate([x, x[:5] + 9.0]), np.concatenate([y, y[:5] - 5.0]), np.concatenate([w, np.zeros(5)])
    changes = [
        (other(x, 8.0 * y, w), 2 * entries * math.log(8.0)),
        (other(x, y, 4.0 * w), 2 * entries * math.log(4.0)),
        (other(x, y @ Q, w), 0.0),
        (other(x[::-1].copy(), y[::-1].copy(), w[::-1].copy()), 0.0),
        (other(*more), 0.0),
    ]
    for target, shift in changes:
        assert math.isclose(target.value(theta), plain.value(theta) + shift, rel_tol=1e-10)
        np.testing.assert_allclose(target.gradient(theta), slope, rtol=1e-5, atol=1e-7 * norm(slope))


@pytest.mark.parametrize("name", CRITERIA)
def test_units_rotations_and_rows_without_weight(name):
    invariance_law(name)


def test_single_precision_features():
    problem, theta, (x, y, *_) = case("tall")
    single = SeparableProblem(mlp(2, (3,), seed=3), x.astype(np.float32), y.astype(np.float32))
    for name in CRITERIA.values():
        wide, narrow = CriterionProblem(problem, name).gradient(theta), CriterionProblem(single, name).gradient(theta)
        assert narrow.dtype == np.float32 and norm(narrow - wide) < 1e-3 * norm(wide)


def overflowing(start):
    x = np.linspace(0.0, 1.0, 12)
    return SeparableProblem(from_function(lambda p, x: torch.exp(p * x[:, None]), [start]), x, 1.0 + np.cos(5 * x))


@pytest.mark.parametrize("name", ["gcv", "evidence"])
def test_where_features_overflow_the_value_is_infinite(name):
    target = CriterionProblem(overflowing(1.0), name)
    assert target.value([1e4]) == math.inf and math.isfinite(target.value([2.0]))
    for call in (target.gradient, target.linearize, target.regularization):
        with pytest.raises(NonFiniteError):
            call([1e4])


@pytest.mark.parametrize("name", ["gcv", "evidence"])
def test_zero_targets_have_no_criterion(name):
    problem = SeparableProblem(mlp(1, (3,), seed=0), np.linspace(0, 1, 9)[:, None], np.zeros(9))
    target = CriterionProblem(problem, name)
    assert target.value(problem.initial_parameters) == math.inf
    with pytest.raises(NonFiniteError, match="targets are zero"):
        target.gradient(problem.initial_parameters)


def scaled(p, x):
    return p[0] * torch.stack([torch.ones_like(x), x], dim=1)


def test_features_that_vanish():
    x = np.linspace(0, 1, 9)
    with pytest.raises(ArgumentError, match="problem: the features at their own parameters are zero"):
        CriterionProblem(SeparableProblem(from_function(scaled, [0.0]), x, x))
    target = CriterionProblem(SeparableProblem(from_function(scaled, [1.0]), x, np.cos(x)))
    assert target.value([0.0]) == math.inf and math.isclose(target.value([1.0]), target.value([2.0]), rel_tol=1e-9)


X = np.linspace(0.0, 3.0, 30)
BAD = {
    "offset": lambda: SeparableProblem(from_function(exponentials, [0.3, 2.0, 2.5], offset=phase), X, np.ones((30, 3))),
    "bounds": lambda: SeparableProblem(mlp(1, (3,)), X, X, bounds=(-9, 9)),
    "coefficient_bounds": lambda: SeparableProblem(mlp(1, (3,)), X, X, coefficient_bounds=(0, None)),
}


@pytest.mark.parametrize("name", BAD)
def test_problems_with_constraints_are_refused(name):
    with pytest.raises(ArgumentError, match=f"problem has {name}"):
        CriterionProblem(BAD[name]())


@pytest.mark.parametrize(
    "bad",
    ["nonsense", "auto", "", "GCV", 3.0, None, True, rules.GCV, rules.LCurve(), rules.Discrepancy(), ["gcv"]],
    ids=str,
)
def test_criteria_that_cannot_be_used_are_named(bad):
    with pytest.raises((ValueError, TypeError), match="criterion must be 'gcv', 'evidence' or a rule") as caught:
        CriterionProblem(case("tall")[0], bad)
    assert isinstance(caught.value, GrassvpError)


@pytest.mark.parametrize("bad", [None, 3, "problem"])
def test_problems_that_are_none_are_named(bad):
    with pytest.raises(ArgumentTypeError, match="problem must be"):
        CriterionProblem(bad)


def factors(name, change):
    original = getattr(criterion, name)
    return criterion, name, lambda *args: change(*original(*args))


def filtered(change):
    original = criterion._filtered
    return criterion, "_filtered", lambda point: change(*original(point))


FILTERED, LEAST, OF = criterion._filtered, criterion.least, Spectrum.of
MUTATIONS = {
    "the trace is not differentiated": (
        factors("_gcv_factors", lambda left, right: (left[:, :2], right[:, :2])),
        lambda: gradient_law("tall", "gcv"),
    ),
    "the projector is not differentiated twice": (
        factors("_gcv_factors", lambda left, right: (left[:, [0, *range(2, 6)]], right[:, [0, *range(2, 6)]])),
        lambda: gradient_law("tall", "gcv"),
    ),
    "the determinant is not differentiated": (
        factors("_evidence_factors", lambda left, right: (left[:, :1], right[:, :1])),
        lambda: gradient_law("tall", "evidence"),
    ),
    "the weight of gcv is dropped": (
        (criterion, "_gcv_factors", lambda point, weight, was=criterion._gcv_factors: was(point, 1.0)),
        lambda: gradient_law("tall", "gcv of weight 1.4"),
    ),
    "a part in a million": (
        factors("_gcv_factors", lambda left, right: (left * (1 + 1e-6), right)),
        lambda: gradient_law("tall", "gcv"),
    ),
    "row weights are dropped": (
        (criterion, "weighted", lambda left, weights: left),
        lambda: gradient_law("three outputs, weights", "evidence"),
    ),
    "the filters are exchanged": (
        filtered(lambda f, g, *rest: (g, f, *rest)),
        lambda: gradient_law("tall", "evidence"),
    ),
    "lam is not refined": (
        (criterion, "least", lambda score, lams, refined: LEAST(score, lams, refined=False)),
        lambda: gradient_law("three outputs, weights", "gcv"),
    ),
    "the worst lam": (
        (
            criterion,
            "least",
            lambda score, lams, refined, was=criterion.least: was(lambda x: -score(x), lams, refined=True),
        ),
        lambda: value_law("gcv"),
    ),
    "rows without weight count": (
        (Spectrum, "of", staticmethod(lambda projection, targets, *rest: OF(projection, targets))),
        lambda: invariance_law("gcv"),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
