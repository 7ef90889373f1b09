"""Directions of theta that leave the matrices of one rank: how many, what they do, the gradient along the others."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import from_function, mlp
from grassvp.rank import differential, rank_report
from grassvp.theory.nullspaces import feature_differential
from tests.rank.cases import PLANTED, network, planted
from tests.rank.test_neurons import Deep, deep_problem

NORMAL = {"regular": 0, "duplicate": 2, "dead": 0, "saturated": 0, "collinear": 0, "wide": 0}


def dense(problem, theta):
    """W Phi (m, n) and W DPhi (m, n, q) by automatic differentiation of the features themselves."""
    Phi = problem.features(theta, problem.inputs)
    slopes = torch.func.jacfwd(lambda at: problem.features(at, problem.inputs))(theta)
    w = torch.ones(len(Phi)) if problem.weights is None else problem.weights
    return (w[:, None] * Phi).numpy(), (w[:, None, None] * slopes).numpy()


def normal_map(problem, theta, rank):
    """v -> (I - P) W DPhi[v] (I - P_row) as a matrix, from projectors that are formed."""
    A, D = dense(problem, theta)
    U, _, Vt = np.linalg.svd(A)
    left, right = np.eye(len(A)) - U[:, :rank] @ U[:, :rank].T, np.eye(A.shape[1]) - Vt[:rank].T @ Vt[:rank]
    return np.einsum("ia,abj,bc->icj", left, D, right).reshape(-1, theta.numel())


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", PLANTED)
def test_against_projectors_that_are_formed(name, weighted):
    problem, theta = planted(name, weighted=weighted)
    report = rank_report(problem, theta)
    M = normal_map(problem, theta, report.feature_rank)
    _, s, Vt = np.linalg.svd(M)
    rank = int(np.sum(s > 1e-8 * np.linalg.norm(dense(problem, theta)[1])))
    assert report.normal_directions == rank == NORMAL.get(name, rank)
    gradient = ReducedProblem(problem).gradient(theta.numpy())
    expected = Vt[rank:].T @ (Vt[rank:] @ gradient)
    np.testing.assert_allclose(report.stratum_gradient, expected, atol=1e-9 * (1 + np.linalg.norm(gradient)))


@pytest.mark.parametrize("name", [*PLANTED, "zero"])
def test_the_rank_of_the_differential_is_that_of_the_theory(name):
    problem, theta = planted(name)
    now = ReducedProblem(problem).linearize(theta)
    assert rank_report(now).differential_rank == feature_differential(now).rank


@pytest.mark.parametrize("make", [Deep, lambda: mlp(2, (4, 5)), lambda: mlp(2, (30,))], ids=["module", "deep", "onto"])
def test_the_rank_of_the_differential_of_every_kind_of_features(make):
    for rows in (3, 30):
        problem, theta = deep_problem(make(), rows)
        now = ReducedProblem(problem).linearize(theta)
        A = dense(problem, theta)[1].reshape(-1, theta.numel())
        assert rank_report(now).differential_rank == feature_differential(now).rank == np.linalg.matrix_rank(A)


def next_singular_value(problem, theta, rank):
    return np.linalg.svd(dense(problem, theta)[0], compute_uv=False)[rank]


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("name", ["duplicate", "several outputs", "no inputs"])
def test_leaving_directions_raise_the_next_singular_value_linearly(name, weighted):
    """Along them s_(r+1) grows like t, along those that stay like t^2."""
    problem, theta = planted(name, weighted=weighted)
    report = rank_report(problem, theta)
    rank, leave = (
        report.feature_rank,
        differential.departure(
            report.linearization, report.feature_rank, report.rank.gap, float(np.linalg.norm(report.neurons.motions))
        ),
    )
    assert leave is not None and leave.rank == report.normal_directions > 0
    rng = np.random.default_rng(0)
    for draw in rng.standard_normal((3, theta.numel())):
        stay = leave.staying(draw)
        away = draw - stay
        slow, fast = (
            [next_singular_value(problem, theta + t * torch.from_numpy(v), rank) for t in (1e-3, 1e-4)]
            for v in (stay, away / np.linalg.norm(away))
        )
        assert fast[0] / fast[1] == pytest.approx(10.0, rel=0.3) and fast[1] > 1e-7
        assert slow[1] < 1e-2 * fast[1] and (slow[1] < 1e-13 or slow[0] / slow[1] > 50)


def test_along_the_stratum_the_gradient_is_the_derivative_of_the_value():
    """Both copies move together, so that the rank stays: central differences of the value at lam = 0."""
    problem, theta = planted("duplicate", weighted=True)
    report, reduced = rank_report(problem, theta), ReducedProblem(problem)
    assert report.regularization == 0 and not report.differentiable
    rng = np.random.default_rng(1)
    for draw in rng.standard_normal((4, 2, 6)):
        draw[:, 4] = -draw[:, 1]
        v = torch.from_numpy(draw.reshape(-1))
        slope = (reduced.value(theta + 1e-5 * v) - reduced.value(theta - 1e-5 * v)) / 2e-5
        assert report.stratum_gradient @ v.numpy() == pytest.approx(slope, rel=1e-6)


def test_off_the_stratum_the_value_jumps_at_zero_and_not_with_a_ridge():
    for lam, jumps in ((0.0, True), (1e-4, False)):
        problem, theta = planted("duplicate", lam=lam)
        report = rank_report(problem, theta)
        away = torch.zeros(12, dtype=torch.float64)
        away[1] = 1e-7
        change = abs(ReducedProblem(problem).value(theta + away) - ReducedProblem(problem).value(theta))
        assert (change > 1e-4 * report.linearization.value) is jumps and report.differentiable is not jumps


def test_a_dead_neuron_does_not_break_differentiability():
    """Nothing moves it, so that the rank is constant around: central differences in every direction."""
    problem, theta = planted("dead")
    report, reduced = rank_report(problem, theta), ReducedProblem(problem)
    assert report.deficient and report.differentiable and report.normal_directions == 0
    v = torch.from_numpy(np.random.default_rng(0).standard_normal(12))
    slope = (reduced.value(theta + 1e-7 * v) - reduced.value(theta - 1e-7 * v)) / 2e-7
    assert report.stratum_gradient @ v.numpy() == pytest.approx(slope, rel=1e-4)


def test_units_of_parameters_do_not_matter():
    """The same features with each parameter in another unit."""
    x = np.linspace(0.0, 1.0, 15)
    unit = torch.tensor([1e-6, 1e6, 1.0], dtype=torch.float64)
    counts = []
    for scale in (torch.ones(3, dtype=torch.float64), unit):
        function = from_function(lambda p, x, u=scale: torch.exp(-x[:, None] * (p * u)), 1.0 / scale)
        report = rank_report(SeparableProblem(function, x, np.cos(x)), (1.0 / scale).numpy())
        counts.append((report.feature_rank, report.normal_directions, report.neurons.saturated))
    assert counts[0] == counts[1] == (1, 2, ())


@pytest.mark.parametrize("sine", [1e-15, 1e-13, 1e-11])
def test_copies_that_are_not_quite_equal(sine):
    """Within the tolerance, what was cut turns the spaces a little: the count stays that of exact copies."""

    def change(p):
        p[:, 4] = -p[:, 1] * (1 + sine)

    assert rank_report(*network(change)).normal_directions == 2


def test_without_a_wide_gap_leaving_is_not_ruled_out():
    """A smooth family of columns whose singular values decay through the level: some direction changes the rank."""
    x = np.linspace(-1.0, 1.0, 100)[:, None]
    problem = SeparableProblem(mlp(1, (40,), bias_feature=False), x, np.sin(x[:, 0]))
    theta = problem.features.sample(np.random.default_rng(0), problem.inputs, 2.0)
    report = rank_report(problem, theta)
    assert report.deficient and report.rank.gap < 1e5
    assert report.normal_directions > 0 and not report.differentiable


def test_column_scaling_has_the_stratum_of_the_scaled_matrix():
    x = np.linspace(0.0, 1.0, 20)

    def function(p, x):
        return torch.stack([torch.exp(-p[0] * x), 1e-12 * torch.exp(-p[1] * x), torch.exp(-p[2] * x)], 1)

    for scaling, rank, normal in ((True, 2, 1), (False, 1, 1)):
        problem = SeparableProblem(from_function(function, [1.0, 2.0, 1.0]), x, np.cos(x), column_scaling=scaling)
        report = rank_report(problem, [1.0, 2.0, 1.0])
        assert (report.feature_rank, report.normal_directions) == (rank, normal)


def test_a_derivative_that_is_a_feature_already_does_not_leave():
    """exp(p x) twice beside x exp(x): what parts the copies lies in the span, to first order."""
    x = np.linspace(0.0, 1.0, 20)

    def function(p, x):
        return torch.stack([torch.exp(p[0] * x), torch.exp(p[1] * x), x * torch.exp(x)], 1)

    for weights in (None, np.linspace(0.5, 2.0, 20)):
        problem = SeparableProblem(from_function(function, [1.0, 1.0]), x, np.cos(x), weights=weights)
        report = rank_report(problem, [1.0, 1.0])
        assert report.feature_rank == 2 and report.normal_directions == 0 and report.differentiable
        np.testing.assert_allclose(report.stratum_gradient, report.linearization.gradient, atol=1e-15)


MUTATIONS = {
    "the row space is not taken out": (
        "_spaces",
        lambda now, rank: (original(now, rank)[0], torch.eye(now.problem.width).double()),
    ),
    "the column space is not taken out": (
        "_spaces",
        lambda now, rank: (0 * original(now, rank)[0], original(now, rank)[1]),
    ),
    "weights are forgotten": ("weighted", lambda rows, weights: rows),
    "the level is far too high": ("RANK_LEVEL", 0.1),
}
original = differential._spaces


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    monkeypatch.setattr(differential, *MUTATIONS[name])
    with pytest.raises(AssertionError):
        for case in ("duplicate", "several outputs", "dead"):
            test_against_projectors_that_are_formed(case, True)
        test_leaving_directions_raise_the_next_singular_value_linearly("duplicate", True)
        test_a_derivative_that_is_a_feature_already_does_not_leave()
