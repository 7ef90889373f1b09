"""The field of starts: which kinds there are, in which turns, and what a solve makes of them."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError
from grassvp.features import differential_operator, from_function, mlp, under_operator
from grassvp.starts import INITIALIZATIONS, SCALES, best_of_each_scale, field_of_starts, random_starts
from tests.solvers.problems import least_squares_value
from tests.starts.places import OUTPUTS, STEP, WEIGHTS, X, plane, problem, reduced

MAKES = {
    "shallow": lambda: reduced(regularization=1e-8),
    "deep": lambda: ReducedProblem(SeparableProblem(mlp(1, (4, 3)), X, STEP, regularization=1e-8)),
    "bounds": lambda: reduced(regularization=1e-8, bounds=(-30.0, 30.0)),
    "operator": lambda: ReducedProblem(
        SeparableProblem(
            under_operator(mlp(1, (4,)), differential_operator(80, 1, {(): 1.0, (0,): 0.1})), X[:, None], STEP
        )
    ),
}
TURNS = {
    # initialization -> (features, the kinds of seven starts)
    "auto": [
        ("shallow", "random data growth data random data growth"),
        ("deep", "random random random random random random random"),
        ("bounds", "random data data random data random random"),
        ("operator", "random random random random random random random"),
    ],
    "random": [(name, "random random random random random random random") for name in MAKES],
    "data": [
        ("shallow", "random data data data"),
        ("bounds", "random data data data"),
    ],
    "growth": [
        ("shallow", "random growth growth growth growth growth growth"),
        ("operator", "random growth growth growth growth growth growth"),
    ],
}
CASES = [(kind, name, origins) for kind, cases in TURNS.items() for name, origins in cases]


def field(name, count, kind, seed=0):
    return field_of_starts(MAKES[name](), np.random.default_rng(seed), count, kind)


@pytest.mark.parametrize(("kind", "name", "origins"), CASES, ids=[f"{kind}, {name}" for kind, name, _ in CASES])
def test_kinds_and_turns(kind, name, origins):
    starts = field(name, 7, kind)
    assert " ".join(start.origin for start in starts) == origins
    made = MAKES[name]()
    best = best_of_each_scale(random_starts(made, np.random.default_rng(0)))[0]
    assert torch.equal(starts[0].parameters, best.parameters), "the best random draw comes first, whatever the kind"
    assert len({tuple(start.parameters.tolist()) for start in starts}) == len(starts)
    for start in starts:
        expected = made.value(start.parameters)
        assert start.value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", INITIALIZATIONS)
def test_a_larger_field_begins_with_the_smaller_one(kind):
    large = field("shallow", 4, kind)
    for count in (1, 2, 3):
        small = field("shallow", count, kind)
        assert len(small) == count
        assert all(torch.equal(a.parameters, b.parameters) for a, b in zip(small, large, strict=False))


def test_there_are_no_more_random_starts_than_scales():
    assert len(field("shallow", 99, "random")) == len(SCALES)
    assert len(field("deep", 99, "auto")) == len(SCALES)


@pytest.mark.parametrize("kind", INITIALIZATIONS)
def test_the_seed_decides_and_nothing_global_is_touched(kind):
    def state():
        return torch.get_rng_state().tolist(), [np.asarray(part).tolist() for part in np.random.get_state()[1:]]

    before = state()
    first, again, other = (field("shallow", 3, kind, seed) for seed in (5, 5, 6))
    assert state() == before
    assert all(torch.equal(a.parameters, b.parameters) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a.parameters, b.parameters) for a, b in zip(first, other, strict=True))


# --- through solve --------------------------------------------------------------------------------------------------

PROBLEMS = {
    "step": lambda: problem(regularization=1e-10),
    "3 outputs, weights": lambda: problem(y=OUTPUTS, weights=WEIGHTS, regularization=1e-10),
    "d = 3": lambda: problem(*plane(60), regularization=1e-10),
}


@pytest.mark.parametrize("kind", INITIALIZATIONS)
@pytest.mark.parametrize("make", PROBLEMS.values(), ids=PROBLEMS)
def test_a_solve_from_each_kind_is_no_worse_than_random_features(make, kind):
    made = make()
    options = {"seed": 1, "initialization": kind}
    drawn = solve(made, max_iterations=0, **options)
    assert drawn.value == solve(made, seed=1, max_iterations=0).value, "at no iteration there is the best draw alone"
    first, again = (solve(made, max_iterations=6, starts=2, **options) for _ in range(2))
    assert first.value < 0.9 * drawn.value and torch.equal(first.parameters, again.parameters)
    assert first.value == pytest.approx(least_squares_value(made, first.parameters), rel=1e-6)


@pytest.mark.parametrize("kind", ["data", "growth", "auto"])
def test_steps_that_random_slopes_miss_are_found(kind):
    """Three steps are three neurons: starts that look at the data find them in a few iterations, random ones do not."""
    x = np.linspace(0, 1, 150)
    y = sum(sign * np.tanh(300.0 * (x - c)) for c, sign in ((0.13, 1), (0.42, -1), (0.77, 1)))
    made = problem(x, y, regularization=1e-12)
    found, drawn = (solve(made, seed=0, initialization=each, max_iterations=8) for each in (kind, "random"))
    assert found.value < 0.05 < 1.0 < drawn.value


def test_unknown_kinds_are_named():
    for kind in ("best", "", None, 3, "Random"):
        with pytest.raises(ArgumentError, match="initialization must be one of 'auto', 'random', 'data', 'growth'"):
            solve(problem(), initialization=kind)


@pytest.mark.parametrize("initialization", ["data", "growth"])
def test_a_kind_that_there_is_none_of_is_refused(initialization):
    deep = SeparableProblem(mlp(1, (4, 3)), X, STEP, regularization=1e-6)
    with pytest.raises(ArgumentError, match=f"initialization '{initialization}' is for"):
        solve(deep, initialization=initialization, seed=0, max_iterations=2)
    assert solve(deep, initialization="random", seed=0, max_iterations=2).iterations == 2


def test_a_kind_is_refused_where_the_start_is_given():
    x = np.linspace(0, 1, 30)
    network = SeparableProblem(mlp(1, (4,)), x, np.sin(3 * x), regularization=1e-6)
    decays = SeparableProblem(from_function(lambda p, t: torch.exp(-t[:, None] * p), [1.0, 2.0]), x, np.sin(3 * x))
    with pytest.raises(ArgumentError, match=r"initialization 'growth' .* initial_parameters say where"):
        solve(network, initialization="growth", initial_parameters=network.initial_parameters)
    with pytest.raises(ArgumentError, match=r"initialization 'random' .* the features have none"):
        solve(decays, initialization="random")
