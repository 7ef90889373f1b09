"""Continuation in a parameter and solving in slabs of time: what they reach, bisection, arguments."""

from typing import Any

import numpy as np
import pytest
import torch

from grassvp import Status, pde, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import mlp
from grassvp.pde import continuing, slabs
from grassvp.pde.continuing import between, relative_residual, solve_continued
from grassvp.pde.slabs import solve_in_slabs

LINE = pde.Box({"x": (-1, 1)})
COUNTS: dict[str, Any] = {"interior": 80, "boundary": 2}


def front(nu):
    """u u' = nu u'' with the ends of -tanh(x / 2 nu)."""
    exact = lambda x: -torch.tanh(x["x"] / (2 * nu))  # noqa: E731
    return pde.PDE(
        LINE,
        lambda u, x: u.value * u.d("x") - nu * u.d("x", "x"),
        conditions=[pde.Condition("boundary", exact)],
        exact=exact,
        linear=False,
    )


def bratu(strength):
    """u'' + strength exp u = 0 with zero ends on (0, 1); solutions up to strength 3.5138."""
    return pde.PDE(
        pde.Box({"x": (0, 1)}),
        lambda u, x: u.d("x", "x") + strength * torch.exp(u.value),
        conditions=[pde.Condition("boundary", 0.0)],
        linear=False,
    )


def lower_branch(strength, x):
    """2 log(cosh(theta / 4) / cosh((x - 1/2) theta / 2)), theta = sqrt(2 strength) cosh(theta / 4), by bisection."""
    low, high = 0.0, 4.7987
    for _ in range(80):
        theta = (low + high) / 2
        low, high = (theta, high) if np.sqrt(2 * strength) * np.cosh(theta / 4) > theta else (low, theta)
    return 2 * np.log(np.cosh(theta / 4) / np.cosh((x - 0.5) * theta / 2))


class TestContinuation:
    def test_each_value_is_solved_from_the_last_one(self):
        path = solve_continued(front, [0.5, 0.4, 0.3], mlp(1, (10,)), **COUNTS, starts=1, max_iterations=60)
        assert path.reached and path.values == (0.5, 0.4, 0.3) and path.failed == ()
        errors = [front(nu).relative_l2_error(one) for nu, one in zip(path.values, path.solutions, strict=True)]
        assert max(errors) < 1e-4 and path.solution is path.solutions[-1]

    @pytest.mark.parametrize("strength", [1.0, 3.0])
    def test_bratu(self, strength):
        path = solve_continued(
            bratu, [0.5, strength], mlp(1, (8,)), interior=40, boundary=2, starts=1, max_iterations=40
        )
        x = np.linspace(0, 1, 41)
        np.testing.assert_allclose(path.solution.predict(x), lower_branch(strength, x), atol=1e-6)

    def test_where_there_is_no_solution_it_ends_before(self):
        path = solve_continued(
            bratu,
            [3.0, 6.0],
            mlp(1, (8,)),
            interior=40,
            boundary=2,
            goal=1e-6,
            bisections=2,
            starts=1,
            max_iterations=40,
        )
        assert not path.reached and 3.0 <= path.values[-1] < 3.5138 and path.failed[0] == 6.0
        assert all(relative_residual(one) <= 1e-6 for one in path.solutions)

    def test_a_step_that_is_too_long_is_halved(self, monkeypatch):
        tried = []

        def only_short(problem, **options):
            tried.append(problem)
            return solve(problem, **options)

        monkeypatch.setattr(continuing, "solve", only_short)
        monkeypatch.setattr(
            continuing, "relative_residual", lambda solution: 1.0 if len(tried) == 2 else relative_residual(solution)
        )
        path = solve_continued(front, [0.5, 0.2], mlp(1, (10,)), **COUNTS, starts=1, max_iterations=40)
        assert path.failed == (0.2,) and path.reached
        np.testing.assert_allclose(path.values, [0.5, np.sqrt(0.1), 0.2])

    def test_the_first_solution_is_there_even_where_it_is_none(self):
        path = solve_continued(bratu, [50.0, 60.0], mlp(1, (6,)), interior=30, boundary=2, starts=1, max_iterations=5)
        assert not path.reached and path.values == (50.0,) and path.failed == (50.0,)
        assert "not reached" in repr(path)

    def test_growing_boxes_of_time(self):
        def until(end):
            return pde.PDE(
                pde.Box({"t": (0, end)}),
                lambda u, x: u.d("t") - u.value * (1 - u.value),
                conditions=[pde.initial(0.1)],
                exact=lambda x: 1 / (1 + 9 * torch.exp(-x["t"])),
                linear=False,
            )

        path = solve_continued(
            until, [1.0, 3.0, 6.0], mlp(1, (12,)), interior=60, boundary=1, starts=1, max_iterations=40
        )
        assert path.reached and until(6.0).relative_l2_error(path.solution) < 1e-4

    def test_means(self):
        assert between(1.0, 0.01) == pytest.approx(0.1) and between(-4.0, -1.0) == pytest.approx(-2.0)
        assert between(-1.0, 3.0) == 1.0 and between(0.0, 2.0) == 1.0

    @pytest.mark.parametrize(
        ("family", "values", "error", "match"),
        [
            (0.5, [1.0], ArgumentTypeError, "family"),
            (lambda value: value, [1.0], ArgumentTypeError, "PDE"),
            (front, [], ArgumentError, "values"),
            (front, [np.nan], ArgumentError, "values"),
        ],
    )
    def test_arguments(self, family, values, error, match):
        with pytest.raises(error, match=match):
            solve_continued(family, values, mlp(1, (4,)), **COUNTS)


def travelling(x):
    """A front of u_t = u_xx / 10 - u u_x that moves with speed 1/2."""
    return 0.5 - 0.5 * torch.tanh(2.5 * (x["x"] - 0.5 * x["t"]))


def evolution(**options):
    return pde.PDE(
        pde.Box({"t": (0, 1), "x": (-1, 1)}),
        lambda u, x: u.d("t") + u.value * u.d("x") - 0.1 * u.d("x", "x"),
        conditions=[pde.initial(travelling), pde.dirichlet(("x", "both"), travelling)],
        exact=travelling,
        linear=False,
        **options,
    )


SLAB: dict[str, Any] = {"interior": 180, "boundary": 60, "starts": 1}


class TestSlabs:
    def test_a_travelling_front(self):
        solution = solve_in_slabs(evolution(), 3, mlp(2, (14,)), **SLAB, max_iterations=60)
        assert solution.times == pytest.approx((0.0, 1 / 3, 2 / 3, 1.0)) and len(solution.solutions) == 3
        assert evolution().relative_l2_error(solution) < 1e-3
        points = torch.tensor([[0.0, 0.2], [0.5, -0.3], [1.0, 0.9]]).double()
        u = solution.predict(points)
        for k, point in enumerate(points):
            torch.testing.assert_close(u[k : k + 1], solution.solutions[k].predict(point[None]))
        assert solution.predict(points.numpy()).shape == (3,) and "3 up to 1" in repr(solution)

    def test_each_goes_on_from_what_the_last_one_ended_with(self):
        solution = solve_in_slabs(evolution(), [0.0, 0.3, 1.0], mlp(2, (10,)), **SLAB, max_iterations=10)
        first, second = solution.solutions
        initial = second.problem.origin.equations.conditions[-1]
        at = {"t": torch.full((5,), 0.3).double(), "x": torch.linspace(-1, 1, 5).double()}
        torch.testing.assert_close(initial.equals(at), first.predict(torch.stack([at["t"], at["x"]], 1)))
        assert initial.on == ("t", "lower") and len(second.problem.origin.equations.conditions) == 2

    def test_a_network_moved_on_in_time_is_the_same_function_there(self):
        network, rng = mlp(2, (7, 3)), np.random.default_rng(0)
        theta = torch.from_numpy(rng.standard_normal(sum(each.numel() for each in network.parameters())))
        moved = slabs._shifted(network, theta, 0, (0.2, 0.5, 1.1))
        x = torch.from_numpy(rng.uniform(-1, 1, (6, 2)))
        old, new = x.clone(), x.clone()
        unit = torch.linspace(0, 1, 6).double()
        old[:, 0], new[:, 0] = 0.2 + 0.3 * unit, 0.5 + 0.6 * unit
        from grassvp.features import as_feature_map

        features = as_feature_map(network)
        torch.testing.assert_close(features(moved, new), features(theta, old))

    def test_points_are_moved_into_each_slab(self):
        points = torch.tensor([[0.0, 0.1], [0.5, 0.2], [1.0, 0.3]]).double()
        moved = slabs._moved(evolution().domain, points, 0, (0.25, 0.75))
        torch.testing.assert_close(moved, torch.tensor([[0.25, 0.1], [0.5, 0.2], [0.75, 0.3]]).double())

    def test_an_interrupt_keeps_the_slabs_so_far(self):
        """Ctrl-C in the second of three: what it had reached is the end."""
        seen = []

        def interrupt(record):
            seen.append(record.iteration)
            if record.iteration >= 15:
                raise KeyboardInterrupt

        options = {"max_iterations": 10, "callbacks": [interrupt]}
        solution = solve_in_slabs(evolution(), 3, mlp(2, (10,)), **SLAB, **options)
        assert solution.status is Status.INTERRUPTED and solution.times == pytest.approx((0.0, 1 / 3, 2 / 3))
        assert len(solution.solutions) == 2 and seen == list(range(16))
        assert torch.isfinite(solution.predict(torch.tensor([[0.6, 0.1]]).double())).all()
        with pytest.raises(ArgumentError, match=r"times up to 0\.66"):
            solution.predict(torch.tensor([[0.6, 0.1], [0.7, 0.1]]).double())

    def test_candidates_race_on_every_slab(self):
        drawn = []

        def draw(rng, begin, end):
            drawn.append((begin, end))
            return rng.standard_normal(30)

        one, raced = (
            solve_in_slabs(evolution(), 2, mlp(2, (10,)), **SLAB, candidates=k, draw=draw, max_iterations=40)
            for k in (1, 3)
        )
        assert drawn == [(0.0, 0.5), *[(0.0, 0.5)] * 3, *[(0.5, 1.0)] * 2]
        assert raced.solutions[0].value <= one.solutions[0].value and raced.elapsed > 0
        assert all(each.iterations <= 40 for each in raced.solutions)

    @pytest.mark.parametrize(
        ("options", "error", "match"),
        [({"candidates": 0}, ArgumentError, "candidates"), ({"draw": 3}, ArgumentTypeError, "draw")],
    )
    def test_arguments_of_the_race(self, options, error, match):
        with pytest.raises(error, match=match):
            solve_in_slabs(evolution(), 2, mlp(2, (4,)), **SLAB, **options)

    def test_a_system(self):
        """u' = -u v, v' = u v - v: against scipy."""
        from scipy.integrate import solve_ivp

        equation = pde.PDE(
            pde.Box({"t": (0, 4)}),
            lambda w, x: (
                w["u"].d("t") + w["u"].value * w["v"].value,
                w["v"].d("t") - w["u"].value * w["v"].value + w["v"].value,
            ),
            conditions=[pde.initial(2.0, of="u"), pde.initial(0.5, of="v")],
            linear=False,
            unknowns=("u", "v"),
        )
        solution = solve_in_slabs(equation, 4, mlp(1, (8,)), interior=30, boundary=2, starts=1, max_iterations=40)
        t = np.linspace(0, 4, 33)
        exact = solve_ivp(
            lambda _, y: [-y[0] * y[1], y[0] * y[1] - y[1]], (0, 4), [2.0, 0.5], t_eval=t, rtol=1e-11, atol=1e-12
        )
        np.testing.assert_allclose(solution.predict(t[:, None]), exact.y.T, atol=1e-6)

    @pytest.mark.parametrize(
        ("times", "match"), [(0, "times"), (True, "times"), ([0.0, 2.0], "times"), ([0.0, 0.6, 0.4, 1.0], "times")]
    )
    def test_times(self, times, match):
        with pytest.raises(ArgumentError, match=match):
            solve_in_slabs(evolution(), times, mlp(2, (4,)), **SLAB)

    def test_initial_values_are_needed(self):
        equation = pde.PDE(
            pde.Box({"t": (0, 1), "x": (-1, 1)}),
            lambda u, x: u.d("t") - u.d("x", "x"),
            conditions=[pde.dirichlet(("x", "both"))],
        )
        with pytest.raises(ArgumentError, match="lower"):
            solve_in_slabs(equation, 2, mlp(2, (4,)), **SLAB)
        with pytest.raises(ArgumentError, match="axis"):
            solve_in_slabs(evolution(), 2, mlp(2, (4,)), **SLAB, axis="s")


def test_the_checks_can_fail(monkeypatch):
    """Slabs that start from the first initial values, and a network that is not moved, are noticed."""
    monkeypatch.setattr(slabs, "_ended", lambda *_: travelling_at_zero)
    with pytest.raises(AssertionError):
        TestSlabs().test_each_goes_on_from_what_the_last_one_ended_with()
    monkeypatch.setattr(slabs, "_shifted", lambda features, theta, *_: theta)
    with pytest.raises(AssertionError):
        TestSlabs().test_a_network_moved_on_in_time_is_the_same_function_there()


def travelling_at_zero(x):
    return travelling({"t": 0 * x["t"], "x": x["x"]})


def test_a_solution_that_is_not_finite_leaves_infinitely_much():
    class Nothing:
        problem = front(0.5).collocate(mlp(1, (4,)), **COUNTS)
        value = float("nan")

    assert relative_residual(Nothing()) == float("inf") and Status.NON_FINITE  # pyright: ignore[reportArgumentType]


def test_time_is_the_third_input_after_an_exactly_periodic_coordinate(monkeypatch):
    """The network sees cos x, sin x, t: its third column of weights is what moving on in time changes."""
    ring = pde.PDE(
        pde.Box({"x": (0, 2), "t": (0, 1)}),
        lambda u, x: u.d("t") - 0.1 * u.d("x", "x"),
        conditions=[pde.periodic("x", exact=True), pde.initial(lambda x: torch.cos(torch.pi * x["x"]))],
    )
    moves, real = [], slabs._shifted

    def spied(*arguments):
        moves.append((arguments, real(*arguments)))
        return moves[-1][1]

    monkeypatch.setattr(slabs, "_shifted", spied)
    solve_in_slabs(ring, [0.0, 0.4, 1.0], mlp(3, (5,)), interior=30, boundary=8, max_iterations=2)
    (_, theta, column, _), moved = moves[0]
    before, after = theta[:15].view(5, 3), moved[:15].view(5, 3)
    assert column == 2 and torch.equal(before[:, :2], after[:, :2]) and not torch.equal(before[:, 2], after[:, 2])
