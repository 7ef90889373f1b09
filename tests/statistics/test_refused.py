"""Arguments that cannot be used: each error names its argument."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, Status, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.statistics import fit_statistics
from tests.solvers.problems import TIMES, double_exponential
from tests.statistics.cases import START, at, exponentials, perceptron


def refused(error, match, *arguments, **options):
    with pytest.raises(error, match=match):
        fit_statistics(*arguments, **options)


def test_arguments_that_cannot_be_used_are_named():
    problem = double_exponential(0.05, start=START)
    solution = solve(problem, max_iterations=0)
    refused(ArgumentTypeError, "problem", "problem", solution)
    refused(ArgumentTypeError, "problem", ReducedProblem(problem), solution)
    refused(ArgumentTypeError, "solution", problem, solution.parameters)
    refused(ArgumentError, "solution belongs to another problem", double_exponential(outputs=3), solution)
    refused(ArgumentError, "solution belongs to another problem", perceptron((4,), 1, 0.0).problem, solution)
    for noise in (0.0, -1.0, np.nan, np.inf):
        refused(ArgumentError, "noise", problem, solution, noise=noise)
    for noise in ("0.1", True, [0.1], 1j):
        refused(ArgumentTypeError, "noise", problem, solution, noise=noise)


def test_a_solution_that_is_not_finite_is_refused():
    problem = double_exponential(0.05, start=(-1e3, 1.0))
    solution = solve(problem)
    assert solution.status is Status.NON_FINITE
    refused(ArgumentError, "solution has no statistics", problem, solution)
    finite = solve(double_exponential(0.05, start=START), max_iterations=0)
    moved = dataclasses.replace(finite, parameters=torch.tensor([-1e3, 1.0], dtype=torch.float64))
    refused(ArgumentError, "solution has no statistics", problem, moved)


def test_levels_inputs_and_functions_that_cannot_be_used_are_named():
    stats = at(exponentials().problem)
    for level in (0, 1, 1.5, -0.5, np.nan):
        with pytest.raises(ArgumentError, match="level"):
            stats.interval(level)
        with pytest.raises(ArgumentError, match="level"):
            stats.band(TIMES, level)
    with pytest.raises(ArgumentTypeError, match="level"):
        stats.interval("0.9")
    network_stats = at(perceptron((4,), 1, 0.0).problem)
    for inputs in (np.ones((3, 5)), np.full((3, 2), np.nan)):
        with pytest.raises(ArgumentError, match="inputs"):
            network_stats.band(inputs)
    functions = [
        (3.0, ArgumentTypeError),
        (lambda theta: theta, ArgumentError),
        (lambda theta, C: 1.0, ArgumentTypeError),
        (lambda theta, C: C > 0, ArgumentTypeError),
        (lambda theta, C: C, ArgumentError),
        (lambda theta, C: C[5], ArgumentError),
        (lambda theta, C: torch.from_numpy(np.sin(theta.numpy())), ArgumentError),
    ]
    for function, error in functions:
        with pytest.raises(error, match="function"):
            stats.derived(function)
