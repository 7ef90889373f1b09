"""Solves of nonlinear equations: statuses, starts, callbacks, what goes with them; arguments."""

import numpy as np
import pytest
import torch

from grassvp import Status, pde, relinearizing, solve, surgery
from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.relinearizing import settled
from grassvp.solvers import Outcome
from tests.pde.nonlinear_cases import LINE, cubic, draw, steady_burgers


class TestSolves:
    def test_random_features_are_solved_to_the_end(self):
        problem = cubic().problem
        solution = solve(problem, seed=0, max_iterations=0)
        assert solution.iterations == 0 and solution.status is Status.MAX_ITERATIONS
        assert solution.problem.linearized.change < 1e-6
        again = settled(solution.problem, solution.parameters)
        np.testing.assert_allclose(again.linearized.residual, solution.problem.linearized.residual, rtol=0.05)

    def test_convergence_is_said_where_the_field_stays(self):
        solution = solve(steady_burgers().problem, seed=0, starts=1, max_iterations=200)
        assert solution.status is Status.CONVERGED
        assert solution.problem.linearized.change <= relinearizing.SETTLED

    @pytest.mark.parametrize("iterations", [1, 7])
    def test_a_solve_cut_short_has_not_converged(self, iterations):
        solution = solve(steady_burgers().problem, seed=0, starts=1, max_iterations=iterations)
        assert solution.status is Status.MAX_ITERATIONS and solution.iterations == iterations

    def test_a_field_that_changes_is_no_convergence(self):
        outcome = Outcome(None, Status.CONVERGED, [])
        assert relinearizing._honest(outcome, 1e-3).status is Status.STALLED
        assert relinearizing._honest(outcome, 1e-10).status is Status.CONVERGED

    def test_seeds_repeat_and_training_lowers_the_residual(self):
        problem = cubic().problem
        one, two = (solve(problem, seed=3, starts=2, max_iterations=20) for _ in range(2))
        assert torch.equal(one.parameters, two.parameters) and one.value == two.value
        still = solve(problem, seed=3, max_iterations=0)
        assert one.problem.linearized.residual < 0.1 * still.problem.linearized.residual

    def test_initial_parameters_are_where_it_starts(self):
        problem = cubic().problem
        theta = draw(problem, 5)
        assert torch.equal(solve(problem, initial_parameters=theta, max_iterations=0).parameters, theta)

    def test_callbacks_stop_it(self):
        seen = []
        solution = solve(
            cubic().problem, seed=0, starts=1, callbacks=[lambda record: seen.append(record.iteration) or len(seen) > 9]
        )
        assert solution.status is Status.STOPPED and seen == list(range(10))

    def test_a_rule_for_lam_and_a_surgeon_go_with_it(self):
        case = cubic()
        problem = case.equation.collocate(mlp(1, case.widths), interior=60, boundary=2, regularization="gcv")
        solution = solve(problem, seed=0, starts=1, max_iterations=40)
        assert case.equation.relative_l2_error(solution) < 1e-4 and solution.regularization_choice is not None
        doubled = draw(case.problem)
        doubled[1], doubled[13] = doubled[0], doubled[12]
        operated = solve(
            case.problem, initial_parameters=doubled, max_iterations=30, callbacks=[surgery.Surgery(merge=True)]
        )
        assert case.equation.relative_l2_error(operated) < 1e-3 and operated.problem.linearized is not None

    def test_deep_networks(self):
        case = cubic()
        problem = case.equation.collocate(mlp(1, (6, 10)), interior=40, boundary=2)
        assert case.equation.relative_l2_error(solve(problem, seed=0, starts=1, max_iterations=25)) < 1e-4


class TestArguments:
    def test_an_equation_that_is_not_finite_at_the_guess(self):
        def make(**options):
            return pde.PDE(
                LINE,
                lambda u, x: u.d("x", "x") + torch.log(u.value),
                conditions=[pde.Condition("boundary", 1.0)],
                linear=False,
                **options,
            )

        with pytest.raises(ArgumentError, match="guess"):
            make().collocate(mlp(1, (4,)), interior=10, boundary=2)
        assert make(guess=1.0).collocate(mlp(1, (4,)), interior=10, boundary=2).linearized.residual < 1e-12

    def test_an_operator_that_vanishes_at_zero_needs_a_guess(self):
        """(|u'|^2 u')' = 3 u'^2 u'' is degenerate at u = 0; u = x^2 + x solves 3 u'^2 u'' = 6 (2 x + 1)^2."""
        make = lambda guess: pde.PDE(  # noqa: E731
            LINE,
            lambda u, x: 3 * u.d("x") ** 2 * u.d("x", "x"),
            lambda x: 6 * (2 * x["x"] + 1) ** 2,
            [pde.Condition("boundary", lambda x: x["x"] ** 2 + x["x"])],
            exact=lambda x: x["x"] ** 2 + x["x"],
            linear=False,
            guess=guess,
        )
        with pytest.raises(ArgumentError, match="all zero"):
            make(0.0).collocate(mlp(1, (10,)), interior=40, boundary=2)
        equation = make(lambda x: 2 * x["x"])
        problem = equation.collocate(mlp(1, (10,)), interior=40, boundary=2)
        assert equation.relative_l2_error(solve(problem, seed=0, starts=1, max_iterations=40)) < 1e-8
