"""Solving in rounds: fresh points, points by the residual, one history, limits and callbacks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grassvp import Status, pde, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import mlp
from grassvp.pde import PDE, Box, solving, starts
from tests.oracles import torch_features

BOX = Box({"x": (0, 1), "y": (0, 1)})


def exact(x):
    return torch.tanh(8 * (x["x"] - 0.8)) + x["y"]


def source(x):
    t = torch.tanh(8 * (x["x"] - 0.8))
    return -128 * t * (1 - t**2)


LAYER = PDE(BOX, lambda u, x: u.laplacian(), source, [pde.dirichlet("boundary", exact)], exact=exact)
COUNTS = {"interior": 60, "boundary": 24}
NETWORK = mlp(2, (6,))


def solved(problem=LAYER, network=NETWORK, **options):
    return problem.solve(network, **({"seed": 0, "max_iterations": 3, "rounds": 3, "starts": 2} | COUNTS | options))


@pytest.fixture
def seen(monkeypatch):
    """The problems that are solved, one a round, and how they were started."""
    problems = []

    def spy(problem, *args, **options):
        solution = solve(problem, *args, **options)
        problems.append((problem, options, solution))
        return solution

    monkeypatch.setattr(solving, "solve", spy)
    return problems


@pytest.mark.parametrize("resampling", ["fresh", "residual"])
class TestRounds:
    def test_each_goes_on_from_the_last_one_at_other_points(self, resampling, seen):
        solution = solved(resampling=resampling, sampling="random")
        assert len(seen) == 3
        (first, _, one), (second, options, two), (third, _, _) = seen
        assert torch.equal(options["initial_parameters"], one.parameters)
        assert torch.equal(solution.parameters, seen[-1][2].parameters) and not torch.equal(
            two.parameters, one.parameters
        )
        for problem in (first, second, third):
            assert problem.targets.shape == (84, 1)
            BOX.check_points(problem.inputs)
            assert len(torch.unique(problem.inputs[:60], dim=0)) == 60
        assert not torch.equal(first.inputs, second.inputs) and not torch.equal(second.inputs, third.inputs)
        assert not torch.equal(first.inputs[60:], second.inputs[60:])  # of the conditions too

    def test_one_history(self, resampling, seen):
        solution = solved(resampling=resampling)
        history = solution.history
        assert sorted(set(history["round"])) == [0, 1, 2]
        assert (np.diff(history["round"]) >= 0).all() and (np.diff(history["iteration"]) >= 0).all()
        assert (np.diff(history["seconds"]) >= 0).all()
        assert len({len(column) for column in history.values()}) == 1
        assert solution.iterations == sum(each.iterations for _, _, each in seen) == history["iteration"][-1]
        assert history["seconds"][-1] <= solution.elapsed

    def test_the_seed_decides(self, resampling):
        one, same, other = (solved(resampling=resampling, seed=seed) for seed in (0, 0, 1))
        assert torch.equal(one.parameters, same.parameters) and not torch.equal(one.parameters, other.parameters)

    def test_errors_fall_with_the_rounds(self, resampling):
        one = solved(resampling=resampling, rounds=1, max_iterations=8, sampling="sobol")
        four = solved(resampling=resampling, rounds=4, max_iterations=8, sampling="sobol")
        assert LAYER.relative_l2_error(four) < 0.7 * LAYER.relative_l2_error(one)

    def test_callbacks_see_numbers_that_go_on(self, resampling):
        records = []
        solution = solved(resampling=resampling, callbacks=[records.append])
        numbers = [record.iteration for record in records]
        assert numbers == sorted(set(numbers)) and numbers[-1] == solution.iterations

    def test_a_callback_can_stop_it(self, resampling):
        solution = solved(resampling=resampling, callbacks=[lambda record: record.iteration >= 5])
        assert solution.status is Status.STOPPED and solution.iterations == 5
        assert max(solution.history["round"]) == 1


def test_an_interrupt_among_the_starts_is_the_end_whichever_is_ahead(monkeypatch):
    """The second start is interrupted at once, while the first is far ahead of it."""
    calls = []

    def interrupted(problem, *args, **options):
        calls.append(solve(problem, *args, **options))
        if len(calls) == 2:
            calls[1] = replace(calls[1], status=Status.INTERRUPTED, coefficients=1e3 * calls[1].coefficients)
        return calls[-1]

    monkeypatch.setattr(starts, "solve", interrupted)
    solution = solved(starts=3)
    assert solution.status is Status.INTERRUPTED and len(calls) == 2
    assert torch.equal(solution.parameters, calls[0].parameters)


def test_the_layer_draws_points():
    """Of a residual that is large in one corner more points lie there than of fresh ones."""
    corner = lambda points: float(((points[:, 0] > 0.5) & (points[:, 1] > 0.5)).double().mean())  # noqa: E731
    peaked = PDE(
        BOX,
        lambda u, x: u.laplacian(),
        lambda x: 1e3 * torch.exp(-60 * ((x["x"] - 0.75) ** 2 + (x["y"] - 0.75) ** 2)),
        [pde.dirichlet("boundary")],
    )
    options = {"rounds": 2, "max_iterations": 0, "sampling": "random", "interior": 400}
    shares = {
        kind: corner(solved(peaked, mlp(2, (3,)), resampling=kind, **options).problem.inputs[:400])
        for kind in ("fresh", "residual")
    }
    assert shares["fresh"] < 0.35 and shares["residual"] > shares["fresh"] + 0.1


def test_the_density_is_that_of_the_paper(monkeypatch):
    """|r| / mean |r| + 1, with the residual of the equation by automatic differentiation."""
    densities = []

    class Spy:
        def __init__(self, rng):
            self.rng = rng

        def __getattr__(self, name):
            return getattr(self.rng, name)

        def choice(self, pool, count, **options):
            densities.append(options["p"])
            return self.rng.choice(pool, count, **options)

    rng = np.random.default_rng(0)
    problem = LAYER.collocate(NETWORK, **COUNTS)
    solution = solve(problem, seed=0, max_iterations=0)
    moved = solving._moved(problem.origin, solution, 24, "random", "residual", Spy(rng))
    (density,) = densities
    again = np.random.default_rng(0)
    LAYER.equations.places(24, "random", again)
    pool = solving.interior_points(BOX, 10 * len(moved.interior), "random", again).requires_grad_()
    u = (torch_features(solution.parameters, pool, (6,)) @ solution.coefficients)[:, 0]
    (slopes,) = torch.autograd.grad(u.sum(), pool, create_graph=True)
    lap = sum(torch.autograd.grad(slopes[:, i].sum(), pool, retain_graph=True)[0][:, i] for i in range(2))
    r = (lap - source(BOX.columns(pool))).abs().detach().numpy()
    expected = r / r.mean() + 1
    np.testing.assert_allclose(density, expected / expected.sum(), rtol=1e-9)
    assert len(moved.interior) == len(problem.origin.interior)


def test_nonlinear_equations(seen):
    """u u_x = u_xx + f is linearised anew in each round, where the last one ended."""
    burgers = PDE(
        Box({"x": (0, 1)}),
        lambda u, x: u.value * u.d("x") - u.d("x", "x"),
        lambda x: torch.sin(x["x"]) * (1 + torch.cos(x["x"])),
        [pde.dirichlet("boundary", lambda x: torch.sin(x["x"]))],
        exact=lambda x: torch.sin(x["x"]),
        linear=False,
    )
    for resampling in ("fresh", "residual"):
        solution = solved(burgers, mlp(1, (12,)), resampling=resampling, boundary=4, max_iterations=10)
        assert burgers.relative_l2_error(solution) < 1e-4


def test_systems():
    system = PDE(
        BOX,
        lambda u, x: (u["a"].laplacian() - u["b"].value, u["b"].laplacian()),
        (lambda x: -x["x"], 0.0),
        [pde.dirichlet("boundary", lambda x: x["y"], of="a"), pde.dirichlet("boundary", lambda x: x["x"], of="b")],
        exact=(lambda x: x["y"], lambda x: x["x"]),
        unknowns=("a", "b"),
    )
    solution = solved(system, mlp(2, (12,)), rounds=2, resampling="residual")
    assert system.relative_l2_error(solution) < 1e-2


def test_one_round_is_a_plain_solve():
    plain = solve(
        LAYER.collocate(NETWORK, seed=(rng := np.random.default_rng(7)), sampling="sobol", **COUNTS),
        seed=rng,
        max_iterations=3,
        starts=2,
    )
    found = solved(seed=7, rounds=1, sampling="sobol")
    torch.testing.assert_close(found.parameters, plain.parameters, rtol=0, atol=0)


def test_time_is_shared_by_all_rounds(seen):
    solution = solved(rounds=50, max_time=0.0)
    assert len(seen) == 1 and solution.status is Status.MAX_TIME


def test_a_grid_is_replaced_after_the_first_round(seen):
    solved(sampling="grid", rounds=2)
    first, second = (problem.inputs[:, 0].unique().numel() for problem, _, _ in seen)
    assert first < 20 < 60 <= second


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rounds": 0}, ArgumentError, "rounds must be an integer >= 1"),
        ({"rounds": 1.5}, ArgumentTypeError, "rounds must be an integer"),
        ({"resampling": "adaptive"}, ArgumentError, "resampling must be one of 'fresh', 'residual', got 'adaptive'"),
        ({"sampling": "uniform"}, ArgumentError, "sampling must be one of"),
        ({"interior": 0}, ArgumentError, "interior must be"),
        ({"boundary": 1}, ArgumentError, "boundary must be >= 4"),
        ({"max_iterations": -1}, ArgumentError, "max_iterations must be"),
    ],
)
def test_what_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        solved(**options)
