"""Growth of a network to a goal."""

import numpy as np
import pytest
import torch

from grassvp import LevenbergMarquardt, SeparableProblem, grow
from grassvp.features import mlp
from tests.solvers.problems import double_exponential, wave

X = np.linspace(0.0, 1.0, 120)
STEP = np.tanh(40.0 * (X - 0.4))


def problem(y=STEP, width=12, **options):
    return SeparableProblem(mlp(1, (width,)), X, y, regularization=1e-20, **options)


def test_it_ends_at_the_smallest_width_that_reaches_the_goal():
    grown = grow(problem(), goal=1e-4, seed=0)
    assert grown.reached and grown.width == len(grown.residuals) < 12
    assert grown.residuals[-1] <= 1e-4 and (grown.residuals[:-1] > 1e-4).all()
    assert grown.problem.width == grown.width + 1 and grown.solution.parameters.numel() == 2 * grown.width
    error = np.linalg.norm(grown.solution.predict(X) - STEP) / np.linalg.norm(STEP)
    assert error <= 1e-4 and np.sqrt(2 * grown.solution.value) <= grown.residuals[-1] * np.linalg.norm(STEP)
    assert f"width {grown.width}, goal reached" in repr(grown)


def test_every_neuron_lowers_the_residual():
    grown = grow(problem(np.sin(9 * X) + X**2, width=10), goal=0.0, seed=1, max_iterations=2)
    assert grown.width == 10 and not grown.reached and "not reached" in repr(grown)
    assert (np.diff(grown.residuals) < 0).all()


def test_two_outputs_weights_and_a_solver():
    y = np.stack([STEP, np.cos(3 * X)], axis=1)
    grown = grow(problem(y, weights=np.linspace(1, 2, 120)), LevenbergMarquardt(), goal=1e-2, seed=0, max_iterations=7)
    assert grown.reached and grown.solution.iterations <= 7 and grown.solution.coefficients.shape[1] == 2


def test_equal_seeds_grow_alike():
    first, second = (grow(problem(), goal=1e-3, seed=5, pool=50, max_iterations=3) for _ in range(2))
    assert torch.equal(first.solution.parameters, second.solution.parameters)
    assert not np.array_equal(first.residuals, grow(problem(), goal=1e-3, seed=6, pool=50, max_iterations=3).residuals)


@pytest.mark.parametrize(
    ("make", "options", "name"),
    [
        (wave, {"goal": -1.0}, "goal"),
        (wave, {"pool": 0}, "pool"),
        (wave, {"every": 1.5}, "every"),
        (wave, {"steps": 0}, "steps"),
        (wave, {"seed": "no"}, "seed"),
        (wave, {"starts": 3, "initial_parameters": [1.0]}, "initial_parameters"),
        (double_exponential, {}, "problem"),
        (lambda: wave(bounds=(-9, 9)), {}, "problem"),
        (lambda: SeparableProblem(mlp(1, (3, 3)), X, STEP), {}, "problem"),
        (lambda: "problem", {}, "problem"),
    ],
)
def test_bad_arguments_are_named(make, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        grow(make(), **options)
