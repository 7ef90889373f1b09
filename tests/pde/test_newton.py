"""Newton's method: manufactured solutions, what it converges to, its order, damping, states; how these can fail."""

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares

from grassvp import pde, solve
from grassvp.features import mlp
from grassvp.pde import newton
from grassvp.relinearizing import approached, settled
from tests.pde.nonlinear_cases import CASES, LINE, Case, coefficients, cubic, cubic_rows, draw, wave


def objective(case, problem, theta, C):
    """1/2 ||W r||^2 + lam/2 ||C||^2 of the cubic equation."""
    rows = cubic_rows(case, problem, theta, C)
    return 0.5 * (rows**2).sum() + 0.5 * problem.regularization * (C**2).sum()


def manufactured_law(make, iterations=60):
    case = make()
    solution = solve(case.problem, seed=0, starts=1, max_iterations=iterations)
    assert case.equation.relative_l2_error(solution) < case.goal
    assert case.equation.residuals(solution).relative < 100 * case.goal


@pytest.mark.parametrize("name", CASES)
def test_manufactured_solutions(name):
    manufactured_law(CASES[name])


def critical_law():
    """The gradient of the nonlinear objective by theta and C, by autograd, vanishes where a solve ends."""
    case = dataclasses.replace(cubic(), widths=(3,))
    solution = solve(case.problem, seed=1, starts=1, max_iterations=90)
    problem, theta, C = solution.problem, solution.parameters, solution.coefficients
    assert solution.value > 0.1
    slopes = torch.func.grad(lambda th, c: objective(case, problem, th, c), (0, 1))
    start = solve(case.problem, seed=1, starts=1, max_iterations=0)
    at, before = slopes(theta, C), slopes(start.parameters, start.coefficients)
    assert float(at[0].norm()) < 1e-5 * float(before[0].norm())
    rows = cubic_rows(case, problem, theta, C)
    np.testing.assert_allclose(float(rows.norm()), problem.linearized.residual, rtol=1e-6)
    np.testing.assert_allclose(float(objective(case, problem, theta, C)), solution.value, rtol=1e-6)


def test_a_solve_ends_where_the_nonlinear_objective_is_critical():
    critical_law()


def coefficients_law(seed=0, width=5):
    """Newton's method for C alone, on features too few to fit, reaches the minimum that scipy finds for the rows."""
    case = dataclasses.replace(cubic(), widths=(width,))
    problem = case.problem
    theta = draw(problem, seed)
    ended = settled(problem, theta)
    C = coefficients(ended, theta)
    rows = lambda c: cubic_rows(case, problem, theta, torch.from_numpy(c)[:, None])  # noqa: E731
    found = least_squares(
        lambda c: rows(c).numpy(),
        C[:, 0].numpy() + 0.1,
        jac=lambda c: torch.func.jacfwd(lambda v: cubic_rows(case, problem, theta, v[:, None]))(
            torch.from_numpy(c)
        ).numpy(),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    assert 0.5 * ended.linearized.residual**2 > 1e-3
    np.testing.assert_allclose(0.5 * ended.linearized.residual**2, found.cost, rtol=1e-6)
    np.testing.assert_allclose(C[:, 0].numpy(), found.x, rtol=1e-3)


def test_coefficients_are_those_of_nonlinear_least_squares():
    coefficients_law()


def order_law(seed):
    """Changes of the field square from step to step where the features can fit the solution."""
    problem = dataclasses.replace(cubic(), widths=(30,)).problem
    steps = settled(problem, draw(problem, seed)).linearized.steps
    changes = [step.change for step in steps if step.change > 1e-9]
    assert len(changes) >= 4
    ratios = [later / earlier**2 for earlier, later in pairwise(changes[1:])]
    assert max(ratios) < 2.0 and all(step.fraction == 1.0 for step in steps)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_newtons_method_converges_quadratically(seed):
    order_law(seed)


def linear(**options) -> Case:
    equation = pde.PDE(
        LINE,
        lambda u, x: u.d("x", "x") + x["x"] * u.value,
        lambda x: -4 * torch.pi**2 * torch.sin(2 * torch.pi * x["x"]) + x["x"] * wave(x),
        [pde.Condition("boundary", wave)],
        exact=wave,
        **options,
    )
    return Case(equation, (14,), 50, 2, 1e-7)


@pytest.mark.parametrize("guess", [0.0, lambda x: torch.cos(3 * x["x"])])
def test_a_linear_equation_takes_one_step(guess):
    plain, other = linear().problem, linear(linear=False, guess=guess).problem
    theta = draw(plain)
    state = other.linearized.ahead(other, theta, coefficients(other, theta))
    assert state.fraction == 1.0 and state.excess == pytest.approx(1.0, rel=1e-6)
    again = state.problem(other)
    torch.testing.assert_close(again.targets, plain.targets, rtol=0, atol=1e-9)
    torch.testing.assert_close(again.weights, plain.weights)
    points = torch.linspace(0, 1, 9).double()[:, None]
    u = [each.predict(theta, coefficients(each, theta), points) for each in (plain, other, again)]
    torch.testing.assert_close(u[1], u[0], rtol=0, atol=1e-7)
    torch.testing.assert_close(u[2], u[0], rtol=0, atol=1e-7)


class TestDamping:
    """u'' + exp(u) = f from far above: the whole step leads out of the range of exp."""

    def far(self, guess=9.0):
        u = lambda x: torch.sin(3 * x["x"])  # noqa: E731
        return pde.PDE(
            LINE,
            lambda w, x: w.d("x", "x") + torch.exp(3 * w.value),
            lambda x: -9 * u(x) + torch.exp(3 * u(x)),
            [pde.Condition("boundary", u)],
            exact=u,
            linear=False,
            guess=guess,
        )

    def solved(self, guess: Any = 9.0):
        equation = self.far(guess)
        problem = equation.collocate(mlp(1, (20,)), interior=60, boundary=2)
        return equation, problem, settled(problem, draw(problem))

    def test_residuals_fall_step_by_step(self):
        _, problem, ended = self.solved(lambda x: 4 * torch.cos(9 * x["x"]))
        steps = ended.linearized.steps
        assert min(step.fraction for step in steps) < 1.0
        residuals = [problem.linearized.residual, *(step.residual for step in steps if step.excess > newton.HOLDS)]
        assert all(later < earlier for earlier, later in pairwise(residuals))

    def test_a_mixture_is_the_mixture_of_derivatives_and_of_what_conditions_leave(self):
        _, problem, ended = self.solved()
        low, high = problem.linearized, ended.linearized
        mixed = low.mixed(high, 0.25)
        for key, values in mixed.derivatives.items():
            torch.testing.assert_close(values, 0.75 * low.derivatives[key] + 0.25 * high.derivatives[key])
        torch.testing.assert_close(mixed.misfit, 0.75 * low.misfit + 0.25 * high.misfit)

    def test_where_nothing_helps_the_field_stays(self, monkeypatch):
        _, problem, _ = self.solved(0.0)
        state, theta = problem.linearized, draw(problem)
        wrong = 1e3 * coefficients(problem, theta)
        stayed = state.ahead(problem, theta, -wrong)
        assert stayed.fraction == 0.0 and stayed.residual == state.residual


class TestStates:
    def test_the_residual_is_that_of_the_rows(self):
        case = cubic(guess=lambda x: torch.exp(x["x"]))
        problem = case.problem
        wanted = cubic_rows(case, problem, None, None, mix=lambda at: torch.exp(at[:, 0]))
        torch.testing.assert_close(problem.linearized.weighted_misfit, wanted)

    def test_a_problem_continued_at_a_solution_is_linearised_there(self):
        case = cubic()
        solution = solve(case.problem, seed=0, starts=1, max_iterations=10)
        other = case.equation.collocate(mlp(1, case.widths), interior=35, boundary=2).origin.continued(solution)
        rows = cubic_rows(case, other, solution.parameters, solution.coefficients)
        torch.testing.assert_close(other.linearized.weighted_misfit, rows, rtol=1e-6, atol=1e-9)

    def test_periodic_conditions_and_exact_ones(self):
        u = lambda x: torch.sin(2 * torch.pi * x["x"]) / 3  # noqa: E731
        for conditions, size in (([pde.periodic("x")], 1), ([pde.periodic("x", exact=True)], 2)):
            equation = pde.PDE(
                LINE,
                lambda w, x: w.d("x", "x") - w.value - w.value**3,
                lambda x: -(4 * torch.pi**2 + 1) * u(x) - u(x) ** 3,
                conditions,
                exact=u,
                linear=False,
            )
            problem = equation.collocate(mlp(size, (16,)), interior=50, boundary=2 * (size == 1))
            assert equation.relative_l2_error(solve(problem, seed=0, starts=1, max_iterations=30)) < 1e-6

    def test_exact_values(self):
        equation = pde.PDE(
            LINE,
            lambda u, x: u.d("x", "x") + u.value**3,
            lambda x: -4 * torch.pi**2 * torch.sin(2 * torch.pi * x["x"]) + wave(x) ** 3,
            [pde.Condition("boundary", wave, exact=True)],
            exact=wave,
            linear=False,
        )
        solution = solve(
            equation.collocate(mlp(1, (16,)), interior=50, boundary=0), seed=0, starts=1, max_iterations=30
        )
        assert equation.relative_l2_error(solution) < 1e-7
        ends = torch.tensor([[0.0], [1.0]]).double()
        torch.testing.assert_close(solution.predict(ends), torch.tensor([0.0, 1.0]).double(), rtol=0, atol=1e-12)


def wrong_target(monkeypatch):
    """The increment's right-hand side taken for that of the next field."""
    original = newton.Newton.problem

    def mutated(self, like):
        problem = original(self, like)
        problem.targets = problem.targets * 0.999
        return problem

    monkeypatch.setattr(newton.Newton, "problem", mutated)


def stale_linearisation(monkeypatch):
    """The derivative of F is never taken again."""
    original = newton.Newton.reached
    monkeypatch.setattr(
        newton.Newton,
        "reached",
        lambda self, *args: dataclasses.replace(
            original(self, *args), derivatives={k: 0.9 * v for k, v in original(self, *args).derivatives.items()}
        ),
    )


def residual_of_one_end(monkeypatch):
    monkeypatch.setattr(
        newton.Newton,
        "weighted_misfit",
        property(
            lambda self: (
                self.weights * torch.cat([*(newton.left_by(b, self.look_up) for b in self.blocks), 0 * self.misfit])
            )
        ),
    )


@pytest.mark.parametrize(
    ("spoil", "law"),
    [
        (wrong_target, lambda: manufactured_law(cubic, 30)),
        (stale_linearisation, lambda: manufactured_law(cubic, 30)),
        (wrong_target, coefficients_law),
        (stale_linearisation, lambda: order_law(0)),
        (residual_of_one_end, critical_law),
    ],
)
def test_the_laws_can_fail(monkeypatch, spoil, law):
    law()
    spoil(monkeypatch)
    with pytest.raises(AssertionError):
        law()


def test_without_damping_the_far_equation_is_not_solved(monkeypatch):
    case = TestDamping()
    monkeypatch.setattr(newton, "HALVINGS", 1)
    with pytest.raises(AssertionError):
        case.test_residuals_fall_step_by_step()


def test_starts_are_approached_from_the_best_field():
    problem = cubic().problem
    near = approached(problem, None, np.random.default_rng(0))
    assert near.linearized.residual < 1e-2 * problem.linearized.residual
    blocks = near.origin.blocks(near.linearized.look_up)
    torch.testing.assert_close(near.weights, near.origin.weights(blocks))
