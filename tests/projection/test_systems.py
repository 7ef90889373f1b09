"""What solvers are given instead of the whole Jacobian: row blocks, fewer columns, parts of the Hessian, products."""

import numpy as np
import pytest
import torch

from grassvp import LevenbergMarquardt, ReducedProblem, SeparableProblem, jacobians, solve
from grassvp.features import from_function, mlp
from tests.cases import dense_case
from tests.laws import reduced as laws
from tests.solvers.problems import Recorder, decays

NAMES = ("mlp-4", "mlp-5-5", "module", "function", "offset", "operator-4")
KINDS = ("golub-pereyra", "kaufman")
LAMS = (0.0, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", NAMES)
def test_row_blocks_make_up_the_whole_system(name, lam, kind):
    """With weights and three outputs: in one block, in blocks of a few rows, row by row."""
    case = dense_case(name, lam)
    q, k = case.theta.size, 3
    counts = [
        laws.system_law(case.reduced, case.theta, case.reference, kind, entries)
        for entries in (10**9, 7 * k * q, 3 * k * q + 1, 1)
    ]
    assert counts == [blocks + (lam > 0) for blocks in (1, 5, 10, 30)]


@pytest.mark.parametrize("k", [1, 3, 9])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "offset"])
def test_the_normal_matrix_needs_no_jacobian(name, lam, kind, k):
    case = dense_case(name, lam, k=k)
    for entries in (10**9, 7 * k * case.theta.size):
        laws.normal_matrix_law(case.reduced, case.theta, case.reference, kind, entries)


@pytest.mark.parametrize("kind", KINDS)
def test_nor_does_that_of_an_offset(kind):
    case = dense_case("offset", 1e-3)
    laws.normal_matrix_law(case.reduced, case.theta, case.reference, kind, 10**9)


@pytest.mark.parametrize("what", ["inside", "adjoint", "contraction"])
def test_a_part_that_is_left_out_of_the_normal_matrix_is_noticed(what, monkeypatch):
    case, original = dense_case("mlp-4", 1e-3), getattr(jacobians._Rows, what)
    monkeypatch.setattr(jacobians._Rows, what, lambda self, *a: 0.5 * original(self, *a))
    with pytest.raises(AssertionError):
        laws.normal_matrix_law(case.reduced, case.theta, case.reference, "golub-pereyra", 10**9)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ["mlp-4", "function", "offset"])
def test_one_output(name, weighted):
    case = dense_case(name, 1e-3, k=1, weighted=weighted)
    for kind in KINDS:
        assert laws.system_law(case.reduced, case.theta, case.reference, kind, 10 * case.theta.size) == 4


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function"])
def test_more_outputs_than_features_are_compressed(name, lam):
    """n columns instead of k, and n k rows more for the exact one: the same J^T J and J^T r from fewer rows."""
    case = dense_case(name, lam, k=9)
    point, n = case.reduced.linearize(case.theta), case.reduced.problem.width
    rows = 30 + (n if lam else 0)
    assert point.system_shape("kaufman") == (rows * n, case.theta.size)
    assert point.system_shape("golub-pereyra") == (min(rows * n + n * 9, rows * 9), case.theta.size)
    for kind in KINDS:
        for entries in (10**9, 40 * case.theta.size):
            laws.system_law(case.reduced, case.theta, case.reference, kind, entries)


def test_as_many_outputs_as_features_and_offsets_are_not_compressed():
    assert dense_case("function", 1e-3).reduced.linearize([0.3, 2.0, 2.5]).preferred_jacobian == "golub-pereyra"
    x, Y = np.linspace(0.0, 3.0, 20), np.ones((20, 3))
    plain, shifted = (
        SeparableProblem(from_function(decays, [1.0, 2.0], offset=offset), x, Y)
        for offset in (None, lambda p, t: (p[0] * t)[:, None].expand(20, 3))
    )
    shapes = [ReducedProblem(each).linearize([1.0, 2.0]).system_shape("kaufman") for each in (plain, shifted)]
    assert shapes == [(40, 2), (60, 2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lam", [0.0, 0.05])
def test_compression_does_not_change_the_path_of_levenberg_marquardt(lam, kind, monkeypatch):
    rng, x = np.random.default_rng(0), np.linspace(0.0, 4.0, 60)
    Y = np.exp(-np.outer(x, [0.5, 2.0])) @ rng.standard_normal((2, 8)) + 0.05 * rng.standard_normal((60, 8))
    weights = np.linspace(0.5, 2.0, 60)
    problem = SeparableProblem(from_function(decays, [0.2, 4.0]), x, Y, weights=weights, regularization=lam)
    compressed, full = Recorder(), Recorder()
    solution = solve(problem, LevenbergMarquardt(kind), tolerance=0.0, max_iterations=12, callbacks=[compressed])
    monkeypatch.setattr(jacobians, "compresses", lambda *_: False)
    other = solve(problem, LevenbergMarquardt(kind), tolerance=0.0, max_iterations=12, callbacks=[full])
    rows = 62 if lam else 60
    assert (
        f"{2 * rows + (16 if kind == 'golub-pereyra' else 0)} x 2" in solution.choice
        and f"{8 * rows} x 2" in other.choice
    )
    np.testing.assert_allclose(compressed.parameters, full.parameters, rtol=1e-9)
    np.testing.assert_allclose(solution.history["value"], other.history["value"], rtol=1e-12)


def test_outputs_that_are_all_alike_are_compressed_too():
    """C of rank one: its QR factor has columns that mean nothing."""
    x = np.linspace(0.0, 3.0, 20)
    Y = np.outer(np.sin(x), np.arange(1.0, 6.0))
    problem = SeparableProblem(from_function(decays, [1.0, 2.0]), x, Y, regularization=1e-3)
    point = ReducedProblem(problem).linearize([1.0, 2.0])
    J = point.jacobian("kaufman")
    found = [torch.cat(parts) for parts in zip(*point.system_blocks("kaufman", 10**9), strict=True)]
    size = laws.norm(J) ** 2
    laws.close(found[0].T @ found[0], J.T @ J, 1e-13 * size, "J^T J")
    laws.close(found[0].T @ found[1], point.gradient, 1e-13 * size, "J^T r")


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("k", [1, 4])
def test_features_that_are_all_zero_have_derivatives_that_are(k, lam):
    """Of rank 0: two dead ReLUs, which no small change brings to life."""
    x = np.linspace(0.0, 1.0, 12)
    features = mlp(1, (2,), activation="relu", bias_feature=False)
    reduced = ReducedProblem(SeparableProblem(features, x, np.ones((12, k)), regularization=lam))
    theta = [1.0, 1.0, -5.0, -6.0]
    point, rows = reduced.linearize(theta), (12 + (2 if lam else 0)) * k
    assert point.rank == 0 and reduced.value(theta) == 6.0 * k
    for kind in KINDS:
        assert not point.jacobian(kind).any() and point.jacobian(kind).shape == (rows, 4)
        assert not sum(J.T @ r for J, r in point.system_blocks(kind, 10)).any()
    assert not point.gradient.any() and not point.hessian().any() and not point.hessian(curvature=False).any()
    assert solve(reduced.problem, initial_parameters=theta).converged


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_corrected_hessian_lacks_the_curvature_term_alone(name, lam):
    case = dense_case(name, lam)
    rng = np.random.default_rng(0)
    laws.corrected_hessian_law(case.reduced, case.theta, case.reference, rng, case.function, case.offset)


@pytest.mark.parametrize("name", ["mlp-4", "mlp-5-5", "function", "offset"])
def test_the_residual_elsewhere(name):
    case = dense_case(name, 1e-3)
    ahead = case.theta + 0.01
    residual = case.reduced.linearize(case.theta).residual_at(torch.from_numpy(ahead))
    assert torch.equal(residual, case.reduced.linearize(ahead).residual)


def test_sizes_of_what_is_formed_on_the_way():
    """hessian_entries and metric_entries are those of the largest arrays that the Hessian and the metric go through."""
    seen = []
    for name in ("mlp-4", "mlp-5-5", "function"):
        case = dense_case(name, 1e-3)
        point = case.reduced.linearize(case.theta)
        q, n, residual = case.theta.size, case.reduced.problem.width, point.residual.numel()
        closed = name == "mlp-4"
        factor = n if name == "mlp-5-5" else 1
        assert point.hessian_entries == residual * q * factor
        assert point.metric_entries == 30 * q * (1 if closed else n)
        seen.append(point.derivatives.gram_entries(n, q))
    assert len(set(seen)) == 3


def test_unknown_kinds_are_named():
    reduced = ReducedProblem(SeparableProblem(mlp(1, (3,)), np.arange(5.0), np.arange(5.0)))
    point = reduced.linearize(reduced.initial_parameters)
    for ask in (point.system_shape, lambda kind: list(point.system_blocks(kind, 10))):
        with pytest.raises(ValueError, match=r"kind.*'kaufman'.*'gauss'"):
            ask("gauss")
