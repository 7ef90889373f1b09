"""Neurons that were planted are named, measures agree with closed forms, and nothing else is reported."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import differential_operator, from_function, mlp, under_operator
from grassvp.rank import examine_neurons, measures, motion
from tests.rank.cases import PLANTED, network, planted

FACTS = {
    # dead, saturated, varying columns that are constant, copies, circuits; column 6 is the constant
    "regular": ((), (), (), (), ()),
    "duplicate": ((), (), (), ((1, 4),), ()),
    "dead": ((2,), (), (), (), ()),
    "saturated": ((), (3,), (3,), ((3, 6),), ()),
    "no inputs": (tuple(range(6)), (), (), (), ()),
    "several outputs": ((), (), (), ((1, 4),), ()),
}


def facts(report):
    varying = tuple(column for column in report.constant if column not in report.fixed)
    groups, spans = (tuple(each.columns for each in kind) for kind in (report.duplicates, report.circuits))
    return report.dead, report.saturated, varying, groups, spans


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", FACTS)
def test_planted_neurons_are_named(name, dtype, weighted):
    problem, theta = planted(name, dtype=dtype, weighted=weighted)
    report = examine_neurons(problem, theta)
    assert facts(report) == FACTS[name] and report.fixed == (6,) and 6 in report.constant
    lost = len(report.dead) + report.duplicated + len(report.circuits)
    assert report.independent == 7 - lost and report.collinear == ()


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_columns_in_the_span_of_others(weighted):
    """Three affine neurons and the constant: any three of the four make the fourth, so two circuits."""
    report = examine_neurons(*planted("collinear", weighted=weighted))
    assert facts(report)[:4] == ((), (), (), ()) and len(report.circuits) == 2 and report.collinear == (0, 1, 2, 6)
    assert all(len(circuit.columns) == 3 and circuit.residual < 1e-14 for circuit in report.circuits)
    assert report.independent == 5 == np.linalg.matrix_rank(report_columns(*planted("collinear")))


def report_columns(problem, theta):
    return problem.features(theta, problem.inputs).numpy()


def test_more_columns_than_rows():
    report = examine_neurons(*planted("wide"))
    assert report.independent == 7 and len(report.circuits) == 13 - 7 and not report.dead


@pytest.mark.parametrize("name", PLANTED)
def test_lengths_and_motions_have_their_closed_form(name):
    """W phi and s W dphi/dtheta by hand, for sizes s = max(|theta|, 1)."""
    problem, theta = planted(name, weighted=True)
    activation = PLANTED[name][0]
    w, b = theta.numpy().reshape(2, -1)
    z = problem.inputs.numpy() * w + b
    value, slope = {
        "tanh": lambda z: (np.tanh(z), np.cosh(z) ** -2.0),
        "relu": lambda z: (np.maximum(z, 0), (z > 0) * 1.0),
        "sin": lambda z: (np.sin(z), np.cos(z)),
    }[activation](z)
    rows = problem.weights.numpy()[:, None]
    sizes = np.maximum(np.abs(theta.numpy().reshape(2, -1)), 1.0)
    motions = np.hypot(
        *(
            np.linalg.norm(rows * slope * x * s, axis=0)
            for x, s in zip((problem.inputs.numpy(), 1.0), sizes, strict=True)
        )
    )
    report = examine_neurons(problem, theta)
    np.testing.assert_allclose(report.norms[:-1], np.linalg.norm(rows * value, axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(report.motions[:-1], motions, rtol=1e-10, atol=1e-15)
    assert report.motions[-1] == 0.0 and report.norms[-1] == pytest.approx(np.linalg.norm(rows))


@pytest.mark.parametrize("bias", [8.0, 9.0, 10.0, 12.0, 400.0])
def test_saturated_means_below_the_stated_level(bias):
    """tanh(2 x + b), whose motion is known: the verdict turns where it crosses 1e-6 of the length."""

    def change(p):
        p[:, 3] = 2.0, bias

    problem, theta = network(change)
    x = problem.inputs[:, 0].numpy()
    ratio = math.sqrt(sum(4 * math.exp(-4 * (2 * t + bias)) * 4 * ((2 * t) ** 2 + bias**2) for t in x) / len(x))
    report = examine_neurons(problem, theta)
    assert report.motions[3] / report.norms[3] == pytest.approx(ratio, rel=1e-3, abs=1e-16)
    assert report.saturated == ((3,) if ratio <= 1e-6 else ())
    assert (3 in examine_neurons(problem, theta, saturation_tolerance=2 * ratio).saturated) is True
    assert (3 in examine_neurons(problem, theta, saturation_tolerance=0.5 * ratio).saturated) is (ratio == 0)


def test_a_step_between_the_data_is_saturated_and_not_constant():
    def change(p):
        p[:, 3] = 4000.0, 0.0  # 40 rows: the two nearest to zero are 0.0256 away

    report = examine_neurons(*network(change))
    assert report.saturated == (3,) and report.constant == (6,) and report.duplicates == ()


@pytest.mark.parametrize(("name", "revivable"), [("no inputs", tuple(range(6))), ("dead", ())])
def test_dead_neurons_that_their_parameters_would_bring_back(name, revivable):
    """tanh(w x + b) is zero at w = b = 0 and moves; a ReLU that is never active does not."""
    report = examine_neurons(*planted(name))
    assert report.revivable == revivable


def test_constant_without_a_constant_column():
    """exp(-p x) at p = 0 is the constant column and moves; no column is fixed."""
    x = np.linspace(0.0, 2.0, 20)
    problem = SeparableProblem(from_function(lambda p, x: torch.exp(-x[:, None] * p), [0.0, 1.0, 0.0]), x, np.cos(x))
    report = examine_neurons(problem, [0.0, 1.0, 0.0])
    assert report.constant == (0, 2) and report.fixed == () and report.saturated == ()
    assert [group.columns for group in report.duplicates] == [(0, 2)]
    assert examine_neurons(problem, [0.0, 1.0, 1e-9]).constant == (0,)


class Deep(nn.Module):
    """Two layers that no closed form knows, and a constant."""

    def __init__(self, width=5):
        super().__init__()
        self.enter, self.leave = nn.Linear(2, 4).double(), nn.Linear(4, width).double()

    def forward(self, x):
        h = torch.tanh(self.leave(torch.nn.functional.silu(self.enter(x))))
        return torch.cat([h, torch.ones_like(h[:, :1])], dim=1)


def deep_problem(module, rows=30):
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    problem = SeparableProblem(module, x, np.sin(x.sum(axis=1)))
    theta = torch.from_numpy(np.random.default_rng(1).standard_normal(problem.initial_parameters.numel()))
    return problem, theta


@pytest.mark.parametrize(
    "make", [Deep, lambda: mlp(2, (4, 5)), lambda: mlp(2, (5,))], ids=["module", "deep", "shallow"]
)
def test_motions_of_every_kind_of_features(make, monkeypatch):
    """Against the dense derivative by automatic differentiation; estimated ones are right to a factor of three."""
    problem, theta = deep_problem(make())
    slopes = torch.func.jacfwd(lambda at: problem.features(at, problem.inputs))(theta)
    units = problem.units if problem.units is not None else torch.ones_like(theta)
    sizes = torch.maximum(theta.abs(), units) if problem.units is not None else theta.abs()
    exact = torch.linalg.vector_norm(slopes * sizes, dim=(0, 2)).numpy()
    np.testing.assert_allclose(examine_neurons(problem, theta).motions, exact, rtol=1e-12, atol=1e-15)
    monkeypatch.setattr(motion, "EXACT_ENTRIES", 0)
    estimated = examine_neurons(problem, theta)
    assert np.all(estimated.motions[:-1] >= exact[:-1] / 3) and np.all(estimated.motions <= 3.0 * exact)
    assert estimated.motions[-1] == 0.0 and estimated.fixed == (5,)


def test_a_saturated_neuron_of_a_deep_network_is_not_fixed():
    problem, theta = deep_problem(mlp(2, (4, 5)))
    theta[12 + 4 * 5 + 2] = 300.0
    report = examine_neurons(problem, theta)
    assert report.saturated == (2,) and report.fixed == (5,) and set(report.constant) == {2, 5}


def test_columns_under_an_operator():
    """u'' - u in half of the rows and u in the others: a saturated neuron copies what the constant feature is there."""
    rows = 12
    second = np.repeat([1.0, 0.0], rows // 2)
    operator = differential_operator(rows, 1, {(): 1.0 - 2.0 * second, (0, 0): second})
    x = np.linspace(0, 1, rows)[:, None]
    problem = SeparableProblem(under_operator(mlp(1, (4,)), operator), x, x[:, 0])
    theta = np.array([1.0, 2.0, -1.5, 2.0, 0.3, -0.7, 0.2, 60.0])
    report = examine_neurons(problem, theta)
    assert report.fixed == (4,) and report.constant == (3, 4) and report.saturated == (3,)
    assert [group.columns for group in report.duplicates] == [(3, 4)]


def test_even_features_and_features_that_fail_elsewhere():
    """cos(p x) is the same at p and -p and yet not fixed; where the features cannot be evaluated, still is fixed."""
    x = np.linspace(0.0, 1.0, 15)
    even = from_function(lambda p, x: torch.stack([torch.cos(p * x[:, None])[:, 0], x], dim=1), [0.0])
    assert examine_neurons(SeparableProblem(even, x, x**2), [0.0]).fixed == (1,)

    def partial(p, x):
        torch.linalg.cholesky(torch.eye(2, dtype=p.dtype) * (0.01 - p[0] ** 2))
        return torch.stack([p[0] ** 2 * x, x**3], dim=1)

    assert examine_neurons(SeparableProblem(from_function(partial, [0.0]), x, x**2), [0.0]).fixed == (0, 1)


def test_an_offset_is_no_column():
    x = np.linspace(0.0, 1.0, 15)
    features = from_function(
        lambda p, x: torch.stack([torch.exp(p[0] * x), torch.exp(p[1] * x)], 1),
        [1.0, 1.0],
        offset=lambda p, x: p[0] * x,
    )
    report = examine_neurons(SeparableProblem(features, x, np.cos(x)), [1.0, 1.0])
    assert len(report.norms) == 2 and [group.columns for group in report.duplicates] == [(0, 1)]


@pytest.mark.parametrize("kind", [np.asarray, lambda t: t, lambda t: t.tolist()], ids=["numpy", "torch", "list"])
def test_the_ways_to_ask(kind):
    problem, theta = planted("duplicate")
    reduced = ReducedProblem(problem)
    for report in (
        examine_neurons(problem, kind(theta)),
        examine_neurons(reduced, kind(theta)),
        examine_neurons(reduced.linearize(theta)),
    ):
        assert facts(report) == FACTS["duplicate"] and report.tolerance == 1e-10
    assert repr(report) == "NeuronReport(6 of 7 columns independent: 0 dead, 1 duplicated, 0 collinear; 0 saturated)"


def test_the_level_is_that_of_the_problem_without_ridge():
    def change(p):
        p[:, 4] = p[:, 1] * (1 + 1e-8)

    for lam in (0.0, 1e-3):
        problem, theta = network(change, lam=lam)
        assert examine_neurons(problem, theta).duplicates == ()
        assert len(examine_neurons(problem, theta, tolerance=1e-6).duplicates) == 1
        problem, theta = network(change, lam=lam, rank_tolerance=1e-6)
        assert len(examine_neurons(problem, theta).duplicates) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, t: examine_neurons(object(), t), ArgumentTypeError, "problem must be a SeparableProblem"),
        (lambda p, t: examine_neurons(p), ArgumentTypeError, "parameters must be given"),
        (lambda p, t: examine_neurons(p, t[:-1]), ArgumentError, "parameters must have shape"),
        (lambda p, t: examine_neurons(p, t * math.nan), ArgumentError, "parameters have no rank"),
        (lambda p, t: examine_neurons(p, t, tolerance=2.0), ArgumentError, "tolerance must be < 1"),
        (lambda p, t: examine_neurons(p, t, saturation_tolerance=-1), ArgumentError, "saturation_tolerance"),
        (lambda p, t: examine_neurons(ReducedProblem(p).linearize(t), t), ArgumentTypeError, "parameters must be None"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(*planted("regular"))


def guards():
    """What must hold of every planted network."""
    for name in FACTS:
        test_planted_neurons_are_named(name, np.float64, True)
        test_lengths_and_motions_have_their_closed_form(name)
    test_dead_neurons_that_their_parameters_would_bring_back("no inputs", tuple(range(6)))
    test_dead_neurons_that_their_parameters_would_bring_back("dead", ())
    test_a_saturated_neuron_of_a_deep_network_is_not_fixed()
    test_constant_without_a_constant_column()


MUTATIONS = {
    "motions vanish": (measures, "column_motions", lambda now: np.zeros(now.problem.width)),
    "sizes are forgotten": (motion, "parameter_sizes", lambda now: torch.ones_like(now.parameters)),
    "every column that is still is fixed": (measures, "fixed_columns", lambda problem, columns: columns),
    "nothing is fixed": (measures, "fixed_columns", lambda problem, columns: columns & False),
    "weights are forgotten": (motion, "weighted", lambda rows, weights: rows),
    "copies are not looked for": (measures, "duplicate_groups", lambda *_: ()),
    "no column is parallel to the constant": (measures, "_sines_to", lambda a, o, units: (a @ units * 0 + 1, 0.0)),
}


def test_the_guards_hold():
    guards()


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    monkeypatch.setattr(*MUTATIONS[name])
    with pytest.raises(AssertionError):
        guards()
