"""Adam and L-BFGS on the reduced and on the joint problem, and the joint problem itself."""

import numpy as np
import pytest
import torch

from grassvp import FirstOrder, ReducedProblem, SeparableProblem, solve
from grassvp.errors import NonFiniteError
from grassvp.features import from_function, mlp
from tests.solvers.problems import double_exponential, gradients, joint_value, tower_problem

VARIANTS = [
    FirstOrder(optimizer, objective, coefficients=coefficients)
    for optimizer in ("adam", "lbfgs")
    for objective, coefficients in (("reduced", "zero"), ("joint", "zero"), ("joint", "projected"))
]
OPTIONS = {"outputs": 3, "weights": np.linspace(0.5, 2.0, 60), "regularization": 0.05}
PROBLEMS = {
    "decays": lambda: double_exponential(0.05, **OPTIONS),
    "deep network": lambda: SeparableProblem(
        mlp(2, (4, 3)),
        np.random.default_rng(0).standard_normal((20, 2)),
        np.random.default_rng(1).standard_normal((20, 3)),
        weights=np.linspace(0.0, 2.0, 20),
        regularization=0.1,
    ),
    "lam = 0, no weights": lambda: double_exponential(0.05),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_joint_point_against_automatic_differentiation(name):
    problem = PROBLEMS[name]()
    joint = ReducedProblem(problem).joint
    q, shape = problem.initial_parameters.numel(), (problem.width, problem.outputs)
    vector = 0.7 * torch.from_numpy(np.random.default_rng(2).standard_normal(q + shape[0] * shape[1]))
    point = joint.linearize(vector)
    theta, C = vector[:q].clone().requires_grad_(), vector[q:].view(shape).clone().requires_grad_()
    value = joint_value(problem, theta, C)
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(value, (theta, C))])
    value = float(value.detach())
    assert point.value == pytest.approx(value, rel=1e-13)
    assert point.value == pytest.approx(0.5 * float((point.residual**2).sum()), rel=1e-13)
    np.testing.assert_allclose(point.gradient, expected, rtol=1e-9, atol=1e-12 * float(expected.norm()))
    assert torch.equal(point.parameters, vector[:q]) and torch.equal(point.coefficients, vector[q:].view(shape))
    direction = torch.from_numpy(np.random.default_rng(3).standard_normal(vector.numel()))
    ahead, behind = (joint.linearize(vector + h * direction).value for h in (1e-6, -1e-6))
    assert (ahead - behind) / 2e-6 == pytest.approx(float(point.gradient @ direction), rel=1e-6)


def test_joint_starts():
    problem = PROBLEMS["decays"]()
    reduced = ReducedProblem(problem)
    theta = problem.initial_parameters
    zero, projected = (reduced.joint.start(theta, zero_coefficients=zero) for zero in (True, False))
    assert torch.equal(zero[:2], theta) and not zero[2:].any() and zero.shape == (2 + 6,)
    assert reduced.joint.linearize(zero).value == pytest.approx(0.5 * float((problem.weighted_targets**2).sum()))
    assert reduced.joint.linearize(projected).value == pytest.approx(reduced.value(theta), rel=1e-12)


def test_a_joint_residual_that_overflows_is_an_error_of_its_own():
    with pytest.raises(NonFiniteError):
        ReducedProblem(tower_problem()).joint.linearize(torch.tensor([1e4, 1.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("method", VARIANTS, ids=repr)
@pytest.mark.parametrize("name", PROBLEMS)
def test_the_value_falls(name, method):
    problem = PROBLEMS[name]()
    solution = solve(problem, method, seed=0, max_iterations=30)
    value = solution.history["value"]
    assert solution.value < value[0] * (1 - 1e-6) and solution.iterations > 3
    assert method.optimizer == "adam" or (np.diff(value) <= 1e-12 * value[0]).all()
    start = ReducedProblem(problem).value(solve(problem, seed=0, max_iterations=0).parameters)
    expected = 0.5 * float((problem.weighted_targets**2).sum())
    joint_from_zero = method.objective == "joint" and method.coefficients == "zero"
    assert value[0] == pytest.approx(expected if joint_from_zero else start, rel=1e-12)
    found = float(joint_value(problem, solution.parameters, solution.coefficients))
    assert solution.value == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("method", VARIANTS[3:], ids=repr)
@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "weights, 3 outputs, lam"])
def test_lbfgs_reaches_the_minimum_of_levenberg_marquardt(method, options):
    problem = double_exponential(0.05, start=(0.4, 2.5), **options)
    expected, solution = solve(problem), solve(problem, method, max_iterations=1000)
    assert solution.value == pytest.approx(expected.value, rel=1e-12)
    np.testing.assert_allclose(solution.parameters, expected.parameters, rtol=1e-6)
    np.testing.assert_allclose(solution.coefficients, expected.coefficients, rtol=1e-6, atol=1e-6)


def test_the_best_iterate_is_returned_and_not_the_last():
    problem = double_exponential(0.05)
    solution = solve(problem, FirstOrder("adam", learning_rate=0.5), max_iterations=40)
    value = solution.history["value"]
    assert (np.diff(value) > 0).any() and value[-1] > value.min()
    assert solution.value == value.min() == ReducedProblem(problem).value(solution.parameters)
    assert solution.iterations == 40 == len(value) - 1
    assert solution.gradient_norm == pytest.approx(float(gradients(problem, solution)[0].norm()))


@pytest.mark.parametrize("objective", ["reduced", "joint"])
def test_adam_takes_the_steps_of_torch(objective):
    """The same steps as a plain training loop over torch's own gradients."""
    problem = PROBLEMS["decays"]()
    theta = problem.initial_parameters.clone().requires_grad_()
    C = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    variables = [theta] if objective == "reduced" else [theta, C]
    optimizer = torch.optim.Adam(variables, lr=0.03)
    for _ in range(6):
        at = C
        if objective == "reduced":
            at = torch.from_numpy(ReducedProblem(problem).linearize(theta.detach()).coefficients.numpy())
        optimizer.zero_grad()
        joint_value(problem, theta, at).backward()
        optimizer.step()
    last = []
    keep = [lambda record: last.append(record.parameters)]
    solution = solve(problem, FirstOrder("adam", objective, learning_rate=0.03), max_iterations=6, callbacks=keep)
    np.testing.assert_allclose(last[-1], theta.detach(), rtol=1e-9)
    assert (solution.history["damping"] == 0.03).all()


def test_evaluations_are_counted_once_each():
    calls = []
    problem = double_exponential(0.05)
    reduced = ReducedProblem(problem)
    original = reduced.linearize
    reduced.linearize = lambda at: calls.append(tuple(at.tolist())) or original(at)
    steps = FirstOrder("lbfgs").iterate(reduced, problem.initial_parameters)
    iterates = [next(steps) for _ in range(8)]
    assert iterates[-1].evaluations == len(calls) == len(set(calls))
    assert iterates[-1].evaluations > 8


@pytest.mark.parametrize("method", [FirstOrder("lbfgs"), FirstOrder("adam", learning_rate=1.0)], ids=repr)
def test_a_step_out_of_the_domain_is_rejected(method):
    """log(p - x) does not exist for p < 1, next to the solution p = 1.001."""
    x = np.linspace(-1.0, 1.0, 60)
    features = from_function(lambda p, t: torch.stack([torch.log(p[0] - t), torch.ones_like(t)], 1), [1.2])
    solution = solve(SeparableProblem(features, x, np.log(1.001 - x) + 0.3), method)
    assert solution.iterations > 0 and solution.value < 0.9 * solution.history["value"][0]
