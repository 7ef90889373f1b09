"""The report of one iterate against dense formulas, finite in every regime, and what it says in words."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import from_function, mlp
from grassvp.rank import rank_report
from grassvp.rank import report as module
from grassvp.rank.explanation import listed
from tests import oracles
from tests.rank.cases import LAMS, PLANTED, network, planted

NAMES = [*PLANTED, "zero"]
RANKS = {"regular": 7, "duplicate": 6, "dead": 6, "saturated": 6, "collinear": 5, "no inputs": 1, "wide": 7, "zero": 0}
RANKS |= {"several outputs": 6}


def numbers(report):
    """Everything in a report that is a number, by name; gaps may be infinite."""
    neurons = report.neurons
    yield from ((name, getattr(report, name)) for name in ("condition", "feature_condition", "truncation", "leverage"))
    yield from (
        (name, getattr(report, name))
        for name in ("singular_values", "effective_degrees_of_freedom", "stratum_gradient", "normal_directions")
    )
    yield from (("norms", neurons.norms), ("motions", neurons.motions), ("differential", report.differential_rank))
    for group in neurons.duplicates:
        yield from (("factors", group.factors), ("sine", group.sine))
    for circuit in neurons.circuits:
        yield from (("coefficients", circuit.coefficients), ("residual", circuit.residual))


def features(problem, theta):
    """W Phi in float64."""
    Phi = problem.features(theta.to(problem.targets.dtype), problem.inputs).double().numpy()
    return Phi if problem.weights is None else problem.weights.double().numpy()[:, None] * Phi


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", NAMES)
def test_all_is_finite_and_agrees_with_dense_formulas(name, lam, weighted, dtype):
    problem, theta = planted(name, lam=lam, weighted=weighted, dtype=dtype)
    report, A = rank_report(problem, theta), features(problem, theta)
    for what, value in numbers(report):
        assert value is not None and np.all(np.isfinite(value)), what
    assert not math.isnan(report.rank.gap) and "nan" not in report.explanation
    eps = float(np.finfo(dtype).eps)
    assert report.feature_rank == report.rank.rank == report.linearization.rank == RANKS[name]
    assert report.deficient == (RANKS[name] < min(A.shape)) and report.differentiable == (
        lam > 0 or not report.deficient or report.normal_directions == 0
    )
    s = np.linalg.svd(A, compute_uv=False)
    np.testing.assert_allclose(report.singular_values, s, atol=20 * eps * (s[0] or 1.0))
    assert report.truncation == pytest.approx(problem.rank_tolerance * s[0], rel=1e-3)
    hat = oracles.projector(A, lam, 1e3 * eps)
    cut = 1e-3 if lam == 1e-14 and dtype == np.float32 else 1e3 * eps  # lam below eps^2: gains are all or nothing
    np.testing.assert_allclose(report.leverage, np.diag(hat), atol=max(cut, 1e-9))
    assert report.leverage.min() >= 0 and report.leverage.max() <= 1
    assert report.effective_degrees_of_freedom == pytest.approx(np.trace(hat), abs=max(cut, 1e-8) * len(A))
    assert report.regularization == lam


@pytest.mark.parametrize("lam", [1e-8, 1e-2])
@pytest.mark.parametrize("name", NAMES)
def test_condition_with_and_without_lam(name, lam):
    problem, theta = planted(name, lam=lam)
    A, report = features(problem, theta), rank_report(problem, theta)
    stacked = np.concatenate([A, math.sqrt(lam) * np.eye(A.shape[1])])
    assert report.condition == pytest.approx(np.linalg.cond(stacked), rel=1e-6)
    s = np.linalg.svd(A, compute_uv=False)[: RANKS[name]]
    assert report.feature_condition == pytest.approx(s[0] / s[-1] if len(s) else 1.0, rel=1e-6)
    bare = rank_report(problem.with_regularization(0.0), theta)
    assert bare.condition == pytest.approx(report.feature_condition, rel=1e-12)


def test_short_columns_count_after_scaling():
    """A feature in other units, 1e-12 as long: the solve leaves it out unless columns are scaled."""
    x = np.linspace(0.0, 1.0, 20)
    function = from_function(lambda p, x: torch.stack([torch.exp(-p[0] * x), 1e-12 * x, 1e-3 * x**2], 1), [1.0])
    for scaling, rank in ((False, 2), (True, 3)):
        report = rank_report(SeparableProblem(function, x, np.sin(x), column_scaling=scaling), [1.0])
        assert report.rank.rank == report.linearization.rank == rank and report.scaled_rank.rank == 3
        assert ("column_scaling=True" in report.explanation) is not scaling
        assert report.deficient is not scaling


def test_the_tolerance_can_be_given():
    def change(p):
        p[:, 4] = p[:, 1] * (1 + 1e-7)

    problem, theta = network(change)
    assert rank_report(problem, theta).rank.rank == 7
    report = rank_report(problem, theta, tolerance=1e-5)
    assert report.rank.rank == 6 and report.rank.tolerance == report.neurons.tolerance == 1e-5
    assert report.neurons.duplicates[0].columns == (1, 4) and report.normal_directions == 2


def test_an_unclear_rank_is_said_to_be_so():
    x = np.linspace(0.0, 1.0, 20)

    def function(p, x):
        small = [2e-11, 1.2e-10, 2.5e-10, 1e-7, 1e-3, 1.0]
        return torch.linalg.qr(x[:, None] ** torch.arange(6.0, dtype=x.dtype))[0] * (
            p[0] * torch.tensor(small, dtype=x.dtype)
        )

    report = rank_report(SeparableProblem(from_function(function, [1.0]), x, x), [1.0])
    assert report.rank.rank == 5 and not report.rank.certain and report.rank.margin == pytest.approx(1.2, rel=1e-6)
    assert "no clear gap (6)" in report.explanation
    assert "gives another rank; the nearest clear gap is at rank 3" in report.explanation


WORDS = {
    "regular": ["features, 40 x 7, have numerical rank 7", "no singular value is below the level 1.0e-10", "condition"],
    "duplicate": ["rank 6", "a clear gap", "Copies of each other up to a factor: columns 1 and 4 (sine", "may jump"],
    "dead": [
        "Dead (zero beside the longest): column 2 and nothing moves them",
        "No direction of theta changes the rank",
    ],
    "saturated": [
        "Saturated (no longer moved by their parameters): column 3",
        "Copies of the constant column: column 3",
    ],
    "collinear": [
        "Each in the span of the others: columns",
        "No direction of theta changes the rank",
        "differentiable",
    ],
    "no inputs": ["of which 6 would move", "Of the 12 directions of theta"],
    "zero": ["all of them are zero", "have numerical rank 0"],
    "wide": ["7 x 13, have numerical rank 7", "more such groups"],
}


@pytest.mark.parametrize("name", WORDS)
def test_the_explanation_has_the_numbers(name):
    report = rank_report(*planted(name))
    for words in WORDS[name]:
        assert words in report.explanation, report.explanation
    assert "\n" not in repr(report) and f"RankReport(rank {RANKS[name]} of" in repr(report)
    smooth = rank_report(*planted(name, lam=1e-3, weighted=True)).explanation
    assert "jump" not in smooth and "without lam" in smooth and smooth.startswith("The weighted features")


def test_the_ridge_keeps_the_value_smooth_in_words():
    assert (
        "With lam = 0.001 the value is smooth all the same." in rank_report(*planted("duplicate", lam=1e-3)).explanation
    )


def test_numbers_of_columns_in_words():
    assert listed([3]) == "column 3" and listed([3, 7], "neuron") == "neurons 3 and 7"
    assert listed([1, 2, 5]) == "columns 1, 2 and 5"
    assert listed(range(20)) == "columns 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"


def test_the_ways_to_ask():
    problem, theta = planted("duplicate")
    now = ReducedProblem(problem).linearize(theta)
    for report in (rank_report(problem, theta.numpy()), rank_report(ReducedProblem(problem), theta), rank_report(now)):
        assert report.rank.rank == 6
    assert report.linearization is now


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, t: rank_report("problem", t), ArgumentTypeError, "problem must be a SeparableProblem"),
        (lambda p, t: rank_report(p), ArgumentTypeError, "parameters must be given"),
        (lambda p, t: rank_report(p, t[1:]), ArgumentError, "parameters must have shape"),
        (lambda p, t: rank_report(p, t / 0.0), ArgumentError, "parameters have no rank"),
        (lambda p, t: rank_report(p, t, tolerance=1.0), ArgumentError, "tolerance must be < 1"),
        (lambda p, t: rank_report(p, t, saturation_tolerance="x"), ArgumentTypeError, "saturation_tolerance"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(*planted("regular"))


def test_a_report_does_not_change():
    report = rank_report(*planted("regular"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.condition = 1.0


def test_what_needs_the_derivative_waits_until_it_is_asked_for(monkeypatch):
    """The report itself costs products of n columns; DPhi is not contracted before a property needs it."""
    problem, theta = network(width=20)
    contracted = []
    kind = type(problem.features.derivatives(theta, problem.inputs))
    original = kind.contract
    monkeypatch.setattr(kind, "contract", lambda self, C: contracted.append(C.shape) or original(self, C))
    report = rank_report(problem, theta)
    assert contracted == []
    assert report.normal_directions == report.normal_directions and len(contracted) <= 2


def test_a_large_problem_keeps_to_its_memory(monkeypatch):
    """400 x 21 with 240 parameters in two layers: no block of DPhi takes more than an eighth of the limit."""
    x = np.linspace(-1, 1, 400)[:, None]
    limit = 2**20
    problem = SeparableProblem(mlp(1, (10, 20)), x, np.sin(3 * x[:, 0]), memory_limit=limit)
    theta = torch.from_numpy(np.random.default_rng(0).standard_normal(problem.initial_parameters.numel()))
    sizes = []
    kind = type(problem.features.derivatives(theta, problem.inputs))
    original = kind.contract

    def recorded(self, C):
        sizes.append(self.values.shape[0] * C.shape[1] * theta.numel() * 8)
        return original(self, C)

    monkeypatch.setattr(kind, "contract", recorded)
    report = rank_report(problem, theta)
    assert report.differential_rank is not None and report.normal_directions is not None
    assert max(sizes) <= limit // 8 and sum(sizes) > 10 * limit


def test_what_is_too_large_is_none(monkeypatch):
    monkeypatch.setattr("grassvp.rank.differential.MOST_WORK", 0.0)
    report = rank_report(*planted("duplicate"))
    assert report.normal_directions is None and report.stratum_gradient is None and not report.differentiable
    assert "too large to compute" in report.explanation
    full = rank_report(*planted("regular"))
    assert full.normal_directions == 0 and full.differentiable, "nothing needs to be computed at full rank"


MUTATIONS = {
    "the rank is one more": ("judge", lambda s, t: dataclasses.replace(original(s, t), rank=original(s, t).rank + 1)),
    "the tolerance is another": ("judge", lambda s, t: original(s, 1e-3 + t)),
    "the condition is squared": ("feature_condition", lambda s, rank: (s[0] / s[max(rank, 1) - 1]) ** 2),
}
original = module.judge


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    monkeypatch.setattr(module, *MUTATIONS[name])
    with pytest.raises(AssertionError):
        test_all_is_finite_and_agrees_with_dense_formulas("duplicate", 0.0, True, np.float64)
        test_condition_with_and_without_lam("duplicate", 1e-2)
