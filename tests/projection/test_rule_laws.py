"""What must not change a choice, and what is chosen where there is little to choose by."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp.projection import (
    GCV,
    RULES,
    CrossValidation,
    Data,
    Discrepancy,
    Evidence,
    LCurve,
    PredictiveRisk,
    Spectrum,
    choosing,
    criteria,
    rules,
)
from tests.laws.reduced import norm
from tests.oracles import projector
from tests.projection.test_rules import chosen, data, noisy, result
from tests.projection.test_spectrum import spectrum_of

SMOOTH = [rule for rule in RULES.values() if rule.refined]


def weightless_law(rule):
    """Rows of weight zero, whatever they hold, are no rows."""
    A, Y = noisy(k=2)
    rng = np.random.default_rng(4)
    w, more = rng.uniform(0.5, 2.0, 30), 25
    padded = np.vstack([A, rng.standard_normal((more, 9))]), np.vstack([Y, rng.standard_normal((more, 2))])
    plain, other = rule.choose(data(A, Y, w)), rule.choose(data(*padded, np.concatenate([w, np.zeros(more)])))
    near = 1e-5 if rule.refined else 0.4  # the candidates follow the size of the matrix
    assert math.isclose(math.log(plain.regularization), math.log(other.regularization), abs_tol=near)
    assert math.isclose(plain.noise_level, other.noise_level, rel_tol=0.05) and plain.note == other.note


@pytest.mark.parametrize("name", RULES)
def test_rows_without_weight_are_no_rows(name):
    weightless_law(RULES[name])


def same(plain, other, lam=1.0, noise=1.0):
    """A choice but for the units of lam and of the noise."""
    assert math.isclose(other.regularization, lam * plain.regularization, rel_tol=1e-5), (plain, other)
    assert math.isclose(other.freedom, plain.freedom, rel_tol=1e-6) and other.note == plain.note
    assert math.isclose(other.noise_level, noise * plain.noise_level, rel_tol=1e-6) and other.rule == plain.rule


def target_law(rule, size):
    A, Y = noisy(k=2)
    same(rule.choose(data(A, Y)), rule.choose(data(A, size * Y, noise=size * 0.2)), noise=size)


def feature_law(rule, size):
    A, Y = noisy(k=2)
    same(rule.choose(data(A, Y)), rule.choose(data(size * A, Y)), lam=size**2)


def weight_law(rule, size):
    """Weights are relative: for the noise of the rows they multiply it."""
    A, Y = noisy(k=2)
    w = np.linspace(0.5, 2.0, 30)
    same(rule.choose(data(A, Y, w)), rule.choose(data(A, Y, size * w)), lam=size**2, noise=size)


def rotation_law(rule):
    A, Y = noisy(k=3)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    V = np.linalg.qr(np.random.default_rng(1).standard_normal((9, 9)))[0]
    same(rule.choose(data(A, Y)), rule.choose(data(A @ V, Y @ Q)))


def copies_law(rule):
    A, Y = noisy()
    same(rule.choose(data(A, Y)), rule.choose(data(A, np.repeat(Y, 4, axis=1))))


def permutation_law(rule):
    A, Y = noisy(k=2)
    order = np.random.default_rng(2).permutation(30)
    w = np.linspace(0.5, 2.0, 30)
    same(rule.choose(data(A, Y, w)), rule.choose(data(A[order], Y[order], w[order])))


@pytest.mark.parametrize("size", [2.0**-80, 3.7, 1e12])
@pytest.mark.parametrize("name", RULES)
def test_units_do_not_matter(name, size):
    target_law(RULES[name], size)
    feature_law(RULES[name], size)
    weight_law(RULES[name], size)


@pytest.mark.parametrize("name", RULES)
def test_rotations_and_copies_do_not_matter(name):
    rotation_law(RULES[name])
    copies_law(RULES[name])


@pytest.mark.parametrize("rule", SMOOTH, ids=str)
def test_the_order_of_the_rows_does_not_matter(rule):
    permutation_law(rule)


@pytest.mark.parametrize("name", RULES)
def test_single_precision_chooses_much_alike(name):
    A, Y = (part.astype(np.float32) for part in noisy())
    found = RULES[name].choose(Data(spectrum_of(A, Y), torch.from_numpy(Y), None, 0.2))
    assert math.isclose(math.log(found.regularization), math.log(chosen(RULES[name], *noisy())), abs_tol=0.35)


def edge(name):
    """(features, targets) with which something is unusual."""
    A, Y = noisy()
    outside = Y - projector(A) @ Y
    return {
        "zero targets": (A, 0 * Y),
        "zero features": (0 * A, Y),
        "one row": (A[:1], Y[:1]),
        "two rows": (A[:2], Y[:2]),
        "fewer rows than parts": (A[:7], Y[:7]),
        "square": (A[:9], Y[:9]),
        "duplicates": (np.hstack([A, A]), Y),
        "exact": (A, A @ np.ones((9, 1))),
        "nothing explained": (A, outside - projector(A) @ outside),
        "constant": (np.ones((10, 1)), np.ones((10, 1))),
        "tiny features": (1e-160 * A, Y),
        "huge features": (1e160 * A, Y),
        "tiny targets": (A, 1e-125 * Y),
        "huge targets": (A, 1e125 * Y),
        "one zero row each": (A * (np.arange(30) % 2)[:, None], Y * (np.arange(30) % 2)[:, None]),
    }[name]


EDGES = (
    *("zero targets", "zero features", "one row", "two rows", "fewer rows than parts", "square", "duplicates", "exact"),
    *("nothing explained", "constant", "tiny features", "huge features", "tiny targets", "huge targets"),
    "one zero row each",
)


def finite_law(rule, name):
    """A choice is a number > 0 whatever there is to choose by, and is never NaN."""
    choice = rule.choose(data(*edge(name), noise=0.1))
    assert math.isfinite(choice.regularization) and choice.regularization > 0.0, choice
    assert -1e-9 <= choice.freedom <= 18 + 1e-9 and (choice.noise_level >= 0.0 or name == "zero features"), choice
    return choice


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", RULES)
def test_there_is_always_a_choice(name, edge):
    finite_law(RULES[name], edge)


def note_law(rule, name, words, noise=0.1):
    assert words in rule.choose(data(*edge(name), noise=noise)).note, rule.choose(data(*edge(name), noise=noise))


NOTES = [
    *((name, "zero targets", "the targets are zero") for name in RULES),
    *((name, "zero features", "the features are zero") for name in RULES),
    *((name, "exact", "a larger one does no better") for name in ("gcv", "evidence")),
    *((n, "nothing explained", "explain nothing") for n in RULES if n not in ("discrepancy", "l-curve")),
    *((name, "one row", "finite for no lam") for name in ("auto", "cross-validation")),
    ("discrepancy", "tiny targets", "no larger than the noise"),
    ("discrepancy", "huge targets", "cannot fit the targets to the noise level"),
]


@pytest.mark.parametrize(("name", "edge", "words"), NOTES)
def test_a_note_says_what_was_unusual(name, edge, words):
    note_law(RULES[name], edge, words)


def larger_noise_law():
    """Where all lam are fits within the noise, even if rounding tells none from another, the largest is taken."""
    for size in (0.9, 1e-3, 1e-9, 1e-12):
        A, Y = noisy()
        found = Discrepancy().choose(data(A, size * Y / norm(Y), noise=1 / math.sqrt(30)))
        assert found.regularization == float(data(A, Y).spectrum.lams()[-1]) and "no larger" in found.note
    assert "no larger" in Discrepancy().choose(data(*edge("nothing explained"), noise=9.0)).note


def test_noise_that_is_larger_than_the_targets():
    larger_noise_law()


def plateau_law(rule):
    """Where all small lam do as well but for rounding, rounding does not decide: however the data are turned."""
    rng = np.random.default_rng(3)
    A, Y = np.linalg.qr(rng.standard_normal((30, 3)))[0] * [3.0, 2.0, 1.0], rng.standard_normal((30, 1))
    Y += A @ np.ones((3, 1)) * 30.0
    plain = rule.choose(data(A, Y, noise=1e-3))
    for seed in range(8):
        turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((30, 30)))[0]
        mix = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))[0]
        turned = rule.choose(data(turn @ A @ mix, turn @ Y * 3.7**seed, noise=1e-3 * 3.7**seed))
        assert math.isclose(turned.regularization, plain.regularization, rel_tol=1e-4) and turned.note == plain.note
    return plain


@pytest.mark.parametrize("rule", SMOOTH, ids=str)
def test_rounding_does_not_choose(rule):
    plateau_law(rule)


def test_a_curve_without_a_corner():
    assert "no corner" in plateau_law(LCurve()).note
    note_law(RULES["l-curve"], "exact", "no corner")


def test_zero_targets_are_regularised_most():
    for rule in RULES.values():
        seen = data(*edge("zero targets"))
        assert rule.choose(seen).regularization == float(seen.spectrum.lams()[-1])


def magnitude(self, seen):
    """The discrepancy without its sign."""
    return lambda lams: criteria.discrepancy(seen.spectrum, lams, seen.noise_level, seen.weights).abs()


def unscaled(self, decades=8):
    """Candidates that do not follow the features."""
    return torch.logspace(-20, 3, 185, dtype=torch.float64)


def unpadded(projection, targets, rows=None):
    return ORIGINAL(projection, targets)


def mutated(name, change):
    original = getattr(rules.Rule, name)
    return rules.Rule, name, lambda self, *args: change(original(self, *args))


ORIGINAL, ORIGINAL_RISK = Spectrum.of, criteria.predictive_risk
MUTATIONS = {
    "the discrepancy has no sign": ((Discrepancy, "criterion", magnitude), larger_noise_law),
    "lam has the units of s": (
        result(choosing, "least", lambda found: (math.sqrt(found[0]), *found[1:])),
        lambda: feature_law(GCV(), 3.7),
    ),
    "candidates do not follow the features": ((Spectrum, "lams", unscaled), lambda: feature_law(GCV(), 1e12)),
    "weightless rows count": ((Spectrum, "of", staticmethod(unpadded)), lambda: weightless_law(GCV())),
    "weightless rows are held back": (
        (rules, "_with_weight", lambda seen: (seen.spectrum, seen.targets)),
        lambda: weightless_law(CrossValidation()),
    ),
    "the noise is not scaled by weights": (
        (criteria, "predictive_risk", lambda s, x, sigma, w=None: ORIGINAL_RISK(s, x, sigma)),
        lambda: weight_law(PredictiveRisk(), 3.7),
    ),
    "noise without the sizes of the targets": (
        mutated("_choice", lambda choice: replace(choice, noise_level=1.0)),
        lambda: target_law(Evidence(), 3.7),
    ),
    "outputs are taken one by one": (
        (Spectrum, "squares", property(lambda self: self.coordinates[:, 0] ** 2)),
        lambda: rotation_law(GCV()),
    ),
    "the outputs are not counted": ((Spectrum, "outputs", 1), lambda: copies_law(Evidence())),
    "the basis is that of sorted rows": (
        (Spectrum, "basis", property(lambda self: torch.sort(self.left[0] @ self.left[1], dim=0).values)),
        lambda: permutation_law(PredictiveRisk()),
    ),
    "rounding chooses": ((choosing, "TIE", 0.0), lambda: plateau_law(LCurve())),
    "no note": (mutated("_note", lambda note: ""), lambda: note_law(GCV(), "exact", "a larger one does no better")),
    "features that are zero are not seen": (
        (Spectrum, "largest", 1.0),
        lambda: note_law(GCV(), "zero features", "are zero"),
    ),
    "choices are NaN": (
        result(choosing, "least", lambda found: (math.nan, *found[1:])),
        lambda: finite_law(GCV(), "square"),
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
