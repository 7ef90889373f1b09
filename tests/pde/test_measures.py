"""Errors and residuals of solutions against what they are defined as, evaluated by automatic differentiation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp import SeparableProblem, pde, solve
from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.pde import PDE, Box
from grassvp.pde.sampling import check_points
from tests.oracles import torch_features, torch_operator

F64 = torch.float64
BOX = Box({"x": (0, 2), "y": (-1, 0)})


def exact(x):
    return torch.sin(x["x"]) * torch.exp(x["y"])


CONDITIONS = [pde.dirichlet([("x", "both"), ("y", "lower")], exact), pde.neumann(("y", "upper"), exact)]
EQUATION = PDE(BOX, lambda u, x: u.laplacian() + x["x"] * u.value, lambda x: x["x"] * exact(x), CONDITIONS, exact=exact)


@pytest.fixture(scope="module")
def solution():
    return solve(EQUATION.collocate(mlp(2, (20,)), interior=80, boundary=40), max_iterations=0, seed=0)


def points_of(count=50):
    return BOX.scaled(torch.rand(count, 2, dtype=F64, generator=torch.Generator().manual_seed(3)))


class TestErrors:
    def test_definitions(self, solution):
        for points in (None, points_of()):
            at = check_points(BOX) if points is None else points
            u, true = solution.predict(at), exact(BOX.columns(at))
            relative = float((u - true).norm() / true.norm())
            assert EQUATION.relative_l2_error(solution, points) == pytest.approx(relative, rel=1e-12)
            assert EQUATION.max_error(solution, points) == pytest.approx(float((u - true).abs().max()), rel=1e-12)
            both = EQUATION.accuracy(solution, points)
            assert (both.relative_l2_error, both.max_error) == (
                EQUATION.relative_l2_error(solution, points),
                EQUATION.max_error(solution, points),
            )

    def test_points_of_any_kind(self, solution):
        points = points_of()
        expected = EQUATION.relative_l2_error(solution, points)
        assert EQUATION.relative_l2_error(solution, points.numpy()) == expected
        assert EQUATION.relative_l2_error(solution, points.tolist()) == expected

    def test_systems_sum_over_the_unknowns(self):
        parts = (exact, lambda x: 100 * x["x"])
        system = PDE(
            BOX,
            lambda u, x: (u["a"].laplacian(), u["b"].laplacian()),
            0.0,
            [pde.dirichlet("boundary", parts[0], of="a"), pde.dirichlet("boundary", parts[1], of="b")],
            exact=parts,
            unknowns=("a", "b"),
        )
        solution = solve(system.collocate(mlp(2, (15,)), interior=60, boundary=40), max_iterations=0, seed=0)
        points = points_of()
        true = torch.stack([part(BOX.columns(points)) for part in parts], 1)
        expected = float((solution.predict(points) - true).norm() / true.norm())
        assert system.relative_l2_error(solution, points) == pytest.approx(expected, rel=1e-12)

    def test_a_wrong_solution_has_a_large_error(self, solution):
        other = PDE(BOX, lambda u, x: u.laplacian(), 0.0, CONDITIONS, exact=lambda x: -exact(x))
        assert other.relative_l2_error(solution) == pytest.approx(2.0, rel=0.1)

    def test_what_is_refused(self, solution):
        unknown = PDE(BOX, lambda u, x: u.laplacian(), 0.0, CONDITIONS)
        with pytest.raises(ArgumentError, match="exact: the PDE was given no exact solution"):
            unknown.relative_l2_error(solution)
        with pytest.raises(ArgumentError, match="points: 1 of 1 points lie outside"):
            EQUATION.max_error(solution, [[3.0, 0.0]])
        zero = PDE(BOX, lambda u, x: u.laplacian(), 0.0, CONDITIONS, exact=0.0)
        with pytest.raises(ArgumentError, match="exact is zero at all points"):
            zero.relative_l2_error(solution)


class TestResiduals:
    def test_of_the_equation(self, solution):
        points = points_of()
        C = solution.coefficients
        terms = {(0, 0): 1.0, (1, 1): 1.0, (): points[:, 0]}
        applied = torch_operator(lambda p: torch_features(solution.parameters, p, (20,)) @ C, points, terms)[:, 0]
        expected = float((applied - points[:, 0] * exact(BOX.columns(points))).square().mean().sqrt())
        found = EQUATION.residuals(solution, points).norms
        assert next(iter(found)) == "equation" and len(found) == 3
        assert found["equation"] == pytest.approx(expected, rel=1e-9)

    def test_of_the_conditions(self, solution):
        """Root mean squares over each condition, against dense points on its faces."""
        side = torch.linspace(0, 1, 4001, dtype=F64)
        unit = [torch.stack([0 * side + e, side], 1) for e in (0, 1)] + [torch.stack([side, 0 * side], 1)]
        walls = BOX.scaled(torch.cat(unit))
        left = solution.predict(walls) - exact(BOX.columns(walls))
        top = BOX.scaled(torch.stack([side, 0 * side + 1], 1))
        h = torch.tensor([0.0, 1e-5])
        slope = (solution.predict(top + h) - solution.predict(top - h)) / 2e-5
        expected = [float(each.square().mean().sqrt()) for each in (left, slope - exact(BOX.columns(top)))]
        found = list(EQUATION.residuals(solution, boundary=8000).norms.values())[1:]
        assert found == pytest.approx(expected, rel=0.05)

    def test_relative_to_the_right_hand_sides(self, solution):
        """For a solution that is zero everywhere it is one."""
        nothing = replace(solution, coefficients=torch.zeros_like(solution.coefficients))
        assert EQUATION.residuals(nothing).relative == pytest.approx(1.0, rel=1e-12)
        assert 0 < EQUATION.residuals(solution).relative < 0.05

    def test_they_do_not_depend_on_units(self, solution):
        scaled = PDE(
            BOX,
            lambda u, x: 1e6 * (u.laplacian() + x["x"] * u.value),
            lambda x: 1e6 * x["x"] * exact(x),
            CONDITIONS,
        )
        other = solve(scaled.collocate(mlp(2, (20,)), interior=80, boundary=40), max_iterations=0, seed=0)
        one, two = EQUATION.residuals(solution), scaled.residuals(other)
        assert two.relative == pytest.approx(one.relative, rel=1e-6)
        assert two.norms["equation"] == pytest.approx(1e6 * one.norms["equation"], rel=1e-6)

    @pytest.mark.parametrize("exactly", [False, True])
    def test_of_periodic_and_exact_conditions(self, exactly):
        strip = PDE(
            BOX,
            lambda u, x: u.value - u.laplacian(),
            lambda x: (1 + math.pi**2) * torch.sin(math.pi * x["x"]),
            [pde.periodic("x", exact=exactly), pde.neumann(("y", "both"))],
            exact=lambda x: torch.sin(math.pi * x["x"]),
        )
        problem = strip.collocate(mlp(3 if exactly else 2, (40,)), interior=150, boundary=80)
        solution = solve(problem, max_iterations=0, seed=0)
        found = strip.residuals(solution)
        names = [] if exactly else ["condition 1 of 2 (on x)", "condition 1 of 2 (on x), derivative 1"]
        assert [name for name in found.norms if "(on x)" in name] == names and found.relative < 0.05
        points = points_of(30)
        C, theta = solution.coefficients, solution.parameters

        def u(p):
            angle = math.pi * p[0]
            inputs = torch.stack([torch.cos(angle), torch.sin(angle), p[1]]) if exactly else p
            return torch_features(theta, inputs, (40,)) @ C

        applied = torch_operator(u, points, {(): 1.0, (0, 0): -1.0, (1, 1): -1.0})[:, 0]
        expected = applied - (1 + math.pi**2) * torch.sin(math.pi * points[:, 0])
        assert strip.residuals(solution, points).norms["equation"] == pytest.approx(
            float(expected.square().mean().sqrt()), rel=1e-8
        )

    def test_of_a_solution_from_elsewhere(self):
        x = np.linspace(0, 1, 20)
        other = solve(SeparableProblem(mlp(1, (3,)), x, np.sin(x)), max_iterations=0, seed=0)
        with pytest.raises(ArgumentError, match=r"solution must come from a problem that PDE.collocate made"):
            EQUATION.residuals(other)
        with pytest.raises(ArgumentError, match="solution must come from"):
            EQUATION.residuals(None)

    def test_points_are_checked(self, solution):
        with pytest.raises(ArgumentError, match="points: 1 of 1 points lie outside"):
            EQUATION.residuals(solution, [[5.0, 0.0]])
        with pytest.raises(ArgumentError, match="boundary must be >= 4"):
            EQUATION.residuals(solution, boundary=1)
