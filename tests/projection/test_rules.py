"""What rules choose, against scipy's minimisers and roots on dense matrices, and what must not change a choice."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from scipy.optimize import brentq, minimize_scalar

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.projection import (
    GCV,
    RULES,
    Auto,
    CrossValidation,
    Data,
    Discrepancy,
    Evidence,
    LCurve,
    PredictiveRisk,
    check_rule,
    choosing,
    criteria,
    folds,
    least,
    rules,
)
from grassvp.projection.criteria import l_curvature
from tests.laws.reduced import norm
from tests.oracles import projector
from tests.projection.test_criteria import log_density
from tests.projection.test_folds import parts, refits
from tests.projection.test_spectrum import spectrum_of, tensor

SMOOTH = [rule for rule in RULES.values() if rule.refined]
SEEDS = range(3)


def noisy(noise=0.2, k=1, seed=0, rows=30, width=9):
    """Powers of x and noisy targets."""
    x, rng = np.linspace(-1, 1, rows), np.random.default_rng(seed)
    y = np.sin(3 * x[:, None] + np.arange(k)) + noise * rng.standard_normal((rows, k))
    return np.vander(x, width), y


def data(A, Y, weights=None, noise=0.2):
    """What a rule sees, for features and targets without weights."""
    w = np.ones(len(A)) if weights is None else np.asarray(weights)
    B, Z = torch.from_numpy(w[:, None] * A), torch.from_numpy(w[:, None] * Y)
    given = None if weights is None else torch.from_numpy(w)
    return Data(spectrum_of(B, Z, rows=int((w != 0).sum())), Z, given, noise)


def chosen(rule, *args, **options):
    return rule.choose(data(*args, **options)).regularization


def refined_law(rule, score, seed=0, k=1):
    """No lam between the ends has a lower score by the dense formula, and scipy finds the same."""
    A, Y = noisy(k=k, seed=seed)
    lam = chosen(rule, A, Y)
    f = lambda x: score(A, Y, math.exp(x))  # noqa: E731
    grid = np.log(np.linalg.norm(A, 2) ** 2 * np.logspace(-9, 1.9, 100))  # as far as dense determinants reach
    values = [f(x) for x in grid]
    best = int(np.argmin(values))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, 99)]
    expected = minimize_scalar(f, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    assert f(math.log(lam)) <= min(expected.fun, *values) + 1e-9 * abs(expected.fun), "another lam is better"
    assert math.isclose(math.log(lam), expected.x, abs_tol=1e-5), (lam, math.exp(expected.x))


def faint_noise_law():
    """Noise of 1e-7: next to no risk separates lam over many decades, and still the least is taken."""
    A, Y = noisy(noise=1e-7, rows=60, width=24)  # more powers than the targets need
    lam = chosen(PredictiveRisk(), A, Y, noise=1e-7)
    risk = lambda lam: dense_risk_of(A, Y, lam, 1e-7)  # noqa: E731
    grid = np.linalg.norm(A, 2) ** 2 * np.logspace(-22, 1, 200)
    assert risk(lam) <= min(map(risk, grid)) * (1 + 1e-4)


def dense_risk_of(A, Y, lam, sigma):
    """RSS + 2 k sigma^2 tr P by singular values."""
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    f = s**2 / (s**2 + lam)
    rest = Y - U @ (U.T @ Y)
    misfit = norm(rest) ** 2 + norm((1 - f)[:, None] * (U.T @ Y)) ** 2
    return misfit + 2 * Y.shape[1] * sigma**2 * f.sum()


def test_faint_noise():
    faint_noise_law()


def dense_gcv(A, Y, lam, weight=1.0):
    H = projector(A, lam)
    return math.log(norm(Y - H @ Y) ** 2) - 2 * math.log(len(A) - weight * np.trace(H))


def dense_evidence(A, Y, lam):
    """-2 log density, its variance eliminated by the sample variance of whitened targets."""
    whole = np.eye(len(A)) + A @ A.T / lam
    return -2 * log_density(A, Y, lam, float(np.sum(Y * np.linalg.solve(whole, Y))) / Y.size)


def dense_risk(A, Y, lam):
    H = projector(A, lam)
    return norm(Y - H @ Y) ** 2 + 2 * Y.shape[1] * 0.04 * np.trace(H)


REFINED = {
    "gcv": (GCV(), dense_gcv),
    "gcv of weight 1.4": (GCV(1.4), lambda A, Y, lam: dense_gcv(A, Y, lam, 1.4)),
    "evidence": (Evidence(), dense_evidence),
    "predictive-risk": (PredictiveRisk(), dense_risk),
}


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", REFINED)
def test_the_lam_of_least_score_is_found_between_the_candidates(name, k):
    for seed in SEEDS:
        refined_law(*REFINED[name], seed, k)


def root_law(k=1, weighted=False, factor=1.0, seed=0):
    """RSS = factor^2 k sigma^2 sum w^2 by scipy's brentq on dense matrices."""
    A, Y = noisy(k=k, seed=seed)
    w = np.random.default_rng(seed).uniform(0.5, 2.0, len(A)) if weighted else np.ones(len(A))
    B, Z, goal = w[:, None] * A, w[:, None] * Y, factor**2 * k * 0.25**2 * float((w**2).sum())
    root = brentq(lambda x: norm(Z - projector(B, math.exp(x)) @ Z) ** 2 - goal, -30, 8, xtol=1e-12)
    found = chosen(Discrepancy(factor), A, Y, weights=w if weighted else None, noise=0.25)
    assert math.isclose(math.log(found), root, abs_tol=1e-6), (found, math.exp(root))


@pytest.mark.parametrize("factor", [1.0, 1.3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 3])
def test_the_discrepancy_vanishes_where_brentq_says(k, weighted, factor):
    for seed in SEEDS:
        root_law(k, weighted, factor, seed)


def corner_law(seed=0):
    """The l-curve bends nowhere more, of a thousand lam."""
    A, Y = noisy(0.05, seed=seed)
    found = chosen(LCurve(), A, Y)
    lams = np.linalg.norm(A, 2) ** 2 * np.logspace(-27, 1.9, 1000)
    spectrum = spectrum_of(A, Y)
    curvature = l_curvature(spectrum, tensor(*lams)).numpy()
    assert float(l_curvature(spectrum, tensor(found))[0]) >= curvature.max() * (1 - 1e-9)


def test_the_corner_of_the_l_curve():
    for seed in SEEDS:
        corner_law(seed)


def folded_law(rule, seed=0, weights=None):
    """The candidate of least score by refits in numpy."""
    A, Y = noisy(seed=seed, k=2)
    w = np.ones(30) if weights is None else weights
    kept = np.flatnonzero(w)
    B, Z = (w[:, None] * A)[kept], (w[:, None] * Y)[kept]
    seen = data(A, Y, weights)
    lams = seen.spectrum.lams().numpy()
    near = lams[(lams > 1e-9) & (lams < 1e3)]
    held = parts(len(kept), rule.folds, rule.seed)
    errors = np.array([refits(B, Z, lam, held) for lam in near])
    scores = np.log(errors.sum(1))
    if isinstance(rule, Auto):
        scores = np.log(errors).mean(1) + [dense_gcv(B, Z, lam, 1.2) for lam in near]
    assert math.isclose(rule.choose(seen).regularization, near[int(np.argmin(scores))], rel_tol=1e-9)


@pytest.mark.parametrize("rule", [Auto(), Auto(5, 3), CrossValidation(), CrossValidation(4, 7)], ids=str)
def test_rows_are_held_back_as_in_refits(rule):
    for seed in SEEDS:
        folded_law(rule, seed)
    folded_law(rule, weights=np.where(np.arange(30) % 3 == 0, 0.0, 1.5))


def test_a_choice_says_what_is_left_of_the_noise():
    A, Y = noisy(0.3, k=2, rows=200)
    for rule in (*RULES.values(), GCV(1.4)):
        choice = rule.choose(data(A, Y, noise=0.3))
        H = projector(A, choice.regularization)
        assert (
            math.isclose(choice.freedom, np.trace(H), rel_tol=1e-9) and choice.note == "" and choice.rule == rule.name
        )
        expected = math.sqrt(norm(Y - H @ Y) ** 2 / (2 * (200 - np.trace(H))))
        assert math.isclose(choice.noise_level, expected, rel_tol=1e-9)
        assert choice.noise_level == pytest.approx(0.3, rel=0.15) or rule.name == "l-curve"
        assert str(choice).startswith(f"{rule.name}: regularization {choice.regularization:.3g}, ")
        assert "\n" not in str(choice) and f"{choice.freedom:.3g} degrees of freedom" in str(choice)
    assert str(replace(choice, note="odd")).endswith("; odd")
    with pytest.raises(FrozenInstanceError):
        choice.regularization = 1.0


def test_scores_that_are_not_finite_are_not_taken():
    lams = torch.logspace(-2, 2, 9, dtype=torch.float64)
    nan = lambda x: torch.where(x > 5, (torch.log(x) - 3) ** 2, torch.nan)  # noqa: E731
    lam, best, score = least(nan, lams, refined=True)
    assert math.isclose(lam, math.exp(3), rel_tol=1e-6) and lams[best] in (10.0, lams[7]) and math.isfinite(score)
    assert least(nan, lams, refined=False)[0] == float(lams[best])
    for refined in (True, False):
        assert least(lambda x: x * math.nan, lams, refined=refined) == (float(lams[0]), 0, math.inf)
        assert least(lambda x: -x, lams, refined=refined)[:2] == (float(lams[-1]), 8)


def test_the_names_are_those_of_the_rules():
    names = {"auto", "gcv", "evidence", "discrepancy", "predictive-risk", "l-curve", "cross-validation"}
    assert set(RULES) == names and all(RULES[name].name == name for name in names)
    assert {name for name in names if RULES[name].needs_noise_level} == {"discrepancy", "predictive-risk"}
    assert check_rule("gcv", None) is RULES["gcv"] and check_rule(GCV(2.0), None) == GCV(2.0)
    assert check_rule("discrepancy", 0.1) == Discrepancy()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GCV(0.0), ArgumentError, "weight must be > 0"),
        (lambda: GCV(-1.0), ArgumentError, "weight"),
        (lambda: GCV(math.nan), ArgumentError, "weight"),
        (lambda: GCV(math.inf), ArgumentError, "weight"),
        (lambda: GCV("1"), ArgumentTypeError, "weight"),
        (lambda: GCV(True), ArgumentTypeError, "weight"),
        (lambda: Discrepancy(0), ArgumentError, "factor must be > 0"),
        (lambda: Discrepancy(-0.1), ArgumentError, "factor"),
        (lambda: Discrepancy(None), ArgumentTypeError, "factor"),
        *((lambda rule=rule: rule(folds=1), ArgumentError, "folds") for rule in (Auto, CrossValidation)),
        *((lambda rule=rule: rule(folds=2.5), ArgumentTypeError, "folds") for rule in (Auto, CrossValidation)),
        *((lambda rule=rule: rule(folds=True), ArgumentTypeError, "folds") for rule in (Auto, CrossValidation)),
        *((lambda rule=rule: rule(seed=-1), ArgumentError, "seed") for rule in (Auto, CrossValidation)),
        *((lambda rule=rule: rule(seed=None), ArgumentTypeError, "seed") for rule in (Auto, CrossValidation)),
        (lambda: check_rule("GCV", None), ArgumentError, "regularization must be one of 'auto'.*got 'GCV'"),
        (lambda: check_rule("no", None, "until"), ArgumentError, "until must be one of"),
        (lambda: check_rule(GCV, None, "until"), ArgumentTypeError, "until must be a rule"),
        (lambda: check_rule(3.0, None), ArgumentTypeError, "regularization must be a rule or one of"),
        (lambda: check_rule("discrepancy", None), ArgumentError, "noise_level is missing.*'discrepancy'"),
        (lambda: check_rule(PredictiveRisk(), None), ArgumentError, "noise_level is missing.*'predictive-risk'"),
        (lambda: Discrepancy().choose(data(*noisy(), noise=None)), ArgumentError, "noise_level is missing"),
        (lambda: PredictiveRisk().choose(data(*noisy(), noise=None)), ArgumentError, "noise_level is missing"),
    ],
)
def test_what_cannot_be_used_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def result(owner, name, change):
    original = getattr(owner, name)
    return owner, name, lambda *args, **kwargs: change(original(*args, **kwargs))


MUTATIONS = {
    "no refinement": (
        (choosing, "_golden", lambda f, lams, best: float(lams[best])),
        lambda: refined_law(*REFINED["gcv"]),
    ),
    "refined to the wrong side": (
        result(choosing, "_golden", lambda lam: lam * 1.01),
        lambda: refined_law(*REFINED["evidence"]),
    ),
    "too few refinements": ((choosing, "REFINEMENTS", 8), root_law),
    "the weight of gcv is dropped": (
        (GCV, "criterion", lambda self, seen: lambda lams: torch.log(criteria.gcv(seen.spectrum, lams))),
        lambda: refined_law(*REFINED["gcv of weight 1.4"]),
    ),
    "the factor of the discrepancy is dropped": (
        (Discrepancy, "__post_init__", lambda self: object.__setattr__(self, "factor", 1.0)),
        lambda: root_law(factor=1.3),
    ),
    "the risk is compared by its size": (
        (
            PredictiveRisk,
            "criterion",
            lambda self, seen: lambda lams: criteria.predictive_risk(seen.spectrum, lams, seen.noise_level),
        ),
        faint_noise_law,
    ),
    "the corner is where the curve is straight": (result(criteria, "l_curvature", torch.reciprocal), corner_law),
    "parts are added": (
        (rules, "fold_errors", lambda *args: folds.fold_errors(*args).sum(1, keepdim=True)),
        lambda: [folded_law(Auto(), seed) for seed in SEEDS],
    ),
    "auto has the weight of gcv": ((rules, "WEIGHT", 3.0), lambda: [folded_law(Auto(), seed) for seed in SEEDS]),
    "weightless rows are held back": (
        (rules, "_with_weight", lambda seen: (seen.spectrum, seen.targets)),
        lambda: folded_law(Auto(), weights=np.where(np.arange(30) % 3 == 0, 0.0, 1.5)),
    ),
    "noise of all outputs": (
        result(rules.Rule, "_choice", lambda c: replace(c, noise_level=c.noise_level * 2)),
        test_a_choice_says_what_is_left_of_the_noise,
    ),
    "NaN is least": (
        (torch, "nan_to_num", lambda values, **options: values),
        test_scores_that_are_not_finite_are_not_taken,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
