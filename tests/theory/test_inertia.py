"""Joint and reduced Hessians: the joint one against automatic differentiation, the counts against each other."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.features import mlp
from grassvp.theory import compare_inertia, find_critical_points
from grassvp.theory.inertia import Inertia, joint_hessian


def network(seed=0, *, width=2, outputs=2, lam=1e-2, widths=None):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (12, 2))
    y = np.sin(2 * x @ rng.standard_normal((2, outputs))) + 0.1 * rng.standard_normal((12, outputs))
    module = mlp(2, widths or (width,), seed=seed)
    weights = rng.uniform(0.5, 2.0, 12)
    return ReducedProblem(SeparableProblem(module, x, y, weights=weights, regularization=lam))


def joint_value(reduced, vector):
    problem, q = reduced.problem, reduced.initial_parameters.numel()
    theta, C = vector[:q], vector[q:].reshape(problem.width, problem.outputs)
    rest = problem.weights[:, None] * (problem.features(theta, problem.inputs) @ C - problem.targets)
    return 0.5 * (rest**2).sum() + 0.5 * problem.regularization * (C**2).sum()


@pytest.mark.parametrize("options", [{}, {"widths": (3, 2)}, {"outputs": 1, "lam": 0.0}, {"lam": 1e-6}])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_joint_hessian_is_that_of_automatic_differentiation(options, seed):
    reduced = network(seed, **options)
    theta = 1.3 * reduced.initial_parameters
    vector = torch.cat([theta, reduced.linearize(theta).coefficients.reshape(-1)])
    expected = torch.autograd.functional.hessian(lambda v: joint_value(reduced, v), vector).numpy()
    assert np.allclose(joint_hessian(reduced, theta), expected, atol=1e-11 * np.abs(expected).max())
    q, comparison = theta.numel(), compare_inertia(reduced, theta)
    schur = expected[:q, :q] - expected[:q, q:] @ np.linalg.solve(expected[q:, q:], expected[q:, :q])
    assert np.allclose(schur, reduced.hessian(theta).numpy(), atol=1e-8 * np.abs(schur).max())
    assert comparison.schur_defect < 1e-11 and comparison.agrees
    assert comparison.coefficients.negative == comparison.coefficients.zero == 0


def test_index_and_nullity_agree_at_minima_and_saddles():
    seen = set()
    for seed in range(3):
        reduced = network(seed, width=1 + seed % 2, outputs=1 + seed % 2)
        for report in find_critical_points(reduced, starts=4, seed=seed):
            comparison = compare_inertia(reduced, report.point)
            assert comparison.agrees and comparison.schur_defect < 1e-10
            assert comparison.gradient_norm <= 1e-10 * report.scale
            assert comparison.reduced.negative == report.index
            joint = np.linalg.eigvalsh(joint_hessian(reduced, report.point))
            assert np.sum(joint < -1e-12 * joint[-1]) == report.index
            seen.add(min(report.index, 1))
    assert seen == {0, 1}


def test_coefficients_that_do_not_solve_the_linear_problem_break_the_statement():
    reduced = network()
    theta, q = solve(reduced.problem, seed=0, max_iterations=5).parameters, reduced.initial_parameters.numel()
    C = reduced.linearize(theta).coefficients.reshape(-1) + 0.3
    H = torch.autograd.functional.hessian(lambda v: joint_value(reduced, v), torch.cat([theta, C])).numpy()
    schur = H[:q, :q] - H[:q, q:] @ np.linalg.solve(H[q:, q:], H[q:, :q])
    assert np.linalg.norm(schur - reduced.hessian(theta).numpy()) > 1e-2 * np.linalg.norm(schur)


def test_counts():
    inertia = Inertia.of(np.array([-2.0, -1e-12, 0.0, 1e-12, 1e-3, 5.0]), 1e-10)
    assert (inertia.negative, inertia.zero, inertia.positive) == (1, 3, 2)
    assert inertia.gap == pytest.approx(1e9)
    assert Inertia.of(np.array([1.0]), 0.0).gap == np.inf


def test_what_cannot_be_compared():
    reduced = network(lam=0.0)
    same = reduced.initial_parameters.clone()
    same[2:4], same[5] = same[:2], same[4]
    with pytest.raises(ValueError, match="rank 2 < 3 at lam = 0"):
        compare_inertia(reduced, same)
    with pytest.raises(TypeError, match="problem must be a ReducedProblem"):
        compare_inertia(reduced.problem, same)  # pyright: ignore[reportArgumentType]
    assert "Schur defect" in repr(compare_inertia(network(), same))
