"""Unknown coefficients and data that cannot be used, and what is said about them."""

import math

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, pde, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import mlp
from tests.pde.inverse_cases import BOX, NOISE, PLACES, collocated, heat, measured, solved

DATA = pde.Data(PLACES, measured(0), NOISE)


def equation_of(name):
    return lambda u, x, p: u.d("t") - p[name] * u.d("x", "x")


@pytest.mark.parametrize(
    ("equation", "coefficients", "error", "message"),
    [
        (equation_of("kapa"), {"kappa": 1.0}, ArgumentError, "coefficients has no 'kapa': there are 'kappa'"),
        (lambda u, x: u.d("t"), {"kappa": 1.0}, ArgumentError, "third argument"),
        (equation_of("kappa"), {}, ArgumentError, "coefficients, of which there are none"),
        (equation_of("kappa"), ["kappa"], ArgumentTypeError, "coefficients must map names"),
        (equation_of("kappa"), {"kappa": "big"}, ArgumentTypeError, "kappa"),
        (equation_of("kappa"), {"kappa": np.nan}, ArgumentError, "kappa"),
        (equation_of("kappa"), {"kappa": [1.0, 2.0]}, ArgumentError, "start from a number"),
        (equation_of("kappa"), {1: 1.0}, ArgumentTypeError, "needs a name"),
    ],
)
def test_equations_that_cannot_be_used(equation, coefficients, error, message):
    with pytest.raises(error, match=message):
        pde.PDE(BOX, equation, conditions=[pde.initial(1.0)], coefficients=coefficients)


def test_what_unknown_coefficients_are_not_for():
    conditions = [pde.initial(lambda x, p: p["kappa"] * x["x"], exact=True)]
    with pytest.raises(ArgumentError, match="exact values cannot depend"):
        pde.PDE(BOX, equation_of("kappa"), conditions=conditions, coefficients={"kappa": 1.0})
    with pytest.raises(ArgumentError, match="linear=True"):
        pde.PDE(BOX, equation_of("k"), conditions=[pde.initial(1.0)], coefficients={"k": 1.0}, linear=False)
    with pytest.raises(ArgumentError, match="coefficients need a network"):
        heat().solve()


@pytest.mark.parametrize(
    ("equation", "start", "message"),
    [
        (lambda u, x, p: u.d("t") - p["a"] * u.d("x", "x"), {"a": 1.0, "b": 1.0}, r"\['b'\] changes nothing"),
        (
            lambda u, x, p: u.d("t") - p["a"] ** 2 * u.d("x", "x"),
            {"a": 0.0},
            r"\['a'\] changes nothing where it starts",
        ),
        (lambda u, x, p: u.d("t") - float(p["a"]) * u.d("x", "x"), {"a": 1.0}, r"\['a'\]: derivatives by it"),
        (lambda u, x, p: u.d("t") - p["a"].detach() * u.d("x", "x"), {"a": 1.0}, r"\['a'\]: derivatives by it"),
    ],
)
def test_coefficients_without_a_derivative_are_refused(equation, start, message):
    made = pde.PDE(BOX, equation, conditions=[pde.initial(1.0)], coefficients=start)
    with pytest.raises(ArgumentError, match=message):
        collocated(made, pde.Data(PLACES, measured(0), NOISE), 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((PLACES, measured(0)[:-1], NOISE), ArgumentError, "points must have a row for each of 29 values"),
        ((PLACES, measured(0)[:, None], NOISE), ArgumentError, r"values must have shape \(rows,\)"),
        ((PLACES, measured(0), 0.0), ArgumentError, "noise must be > 0"),
        ((PLACES, measured(0), -1.0), ArgumentError, "noise must be > 0"),
        ((PLACES, measured(0), np.ones(4)), ArgumentError, "noise must be a number or have shape"),
        ((PLACES, measured(0), np.nan), ArgumentError, "noise"),
        ((PLACES, measured(0) * np.nan, NOISE), ArgumentError, "values"),
        ((PLACES, measured(0), NOISE, "u"), ArgumentTypeError, "operator must be callable"),
        ((PLACES, measured(0), NOISE, lambda u, x: u.value, "u"), ArgumentError, "of names the unknown"),
    ],
)
def test_data_that_cannot_be_used(arguments, error, message):
    with pytest.raises(error, match=message):
        pde.Data(*arguments)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (None, ArgumentError, "data must be given"),
        (PLACES, ArgumentTypeError, "data must be a pde.Data"),
        (pde.Data(PLACES + 1.0, measured(0), NOISE), ArgumentError, "points of data: .* lie outside"),
        (pde.Data(PLACES[:, :1], measured(0), NOISE), ArgumentError, "points of data must have shape"),
        (pde.Data(PLACES, measured(0), NOISE, of="v"), ArgumentError, "of must name one of the unknowns"),
        (
            [pde.Data(PLACES, measured(0), NOISE), pde.Data(PLACES, measured(0))],
            ArgumentError,
            "noise must be given for all sets",
        ),
        (
            pde.Data(PLACES, measured(0), NOISE, lambda u, x: u.value**2),
            ArgumentError,
            "operator of data is not linear",
        ),
        (
            pde.Data(PLACES, measured(0), NOISE, lambda u, x: (u.value, u.value)),
            ArgumentError,
            "must return one tensor",
        ),
    ],
)
def test_data_that_do_not_fit_the_equation(data, error, message):
    with pytest.raises(error, match=message):
        collocated(heat(), data, 5)


def test_the_dominance_must_be_positive():
    for dominance in (0.0, -1.0):
        with pytest.raises(ArgumentError, match="dominance"):
            collocated(heat(), pde.Data(PLACES, measured(0), NOISE), 5, dominance=dominance)


def test_estimates_need_coefficients_and_enough_data():
    known = pde.PDE(BOX, lambda u, x: u.d("t") - 0.1 * u.d("x", "x"), conditions=[pde.initial(1.0)])
    problem = known.collocate(mlp(2, (4,)), interior=30, boundary=9, data=DATA)
    with pytest.raises(ArgumentError, match="no coefficients to estimate"):
        known.coefficient_estimates(solve(problem, seed=0, max_iterations=2))
    few = pde.Data(PLACES[:1], measured(0)[:1])
    with pytest.raises(ArgumentError, match="too few for 1 coefficients"):
        solved(heat(), few, 5, 2)


def test_data_may_stand_in_for_conditions():
    made = pde.PDE(BOX, equation_of("kappa"), coefficients={"kappa": 0.3})
    problem = made.collocate(mlp(2, (5,)), interior=30, boundary=0, data=DATA)
    assert problem.rows == 30 + 30


def test_coefficients_that_overflow_have_an_infinite_value():
    problem = collocated(heat(0.0, name="log", of=lambda p: torch.exp(1e3 * p)), DATA, 5)
    theta = problem.initial_parameters
    theta[-1] = 10.0
    assert ReducedProblem(problem).value(theta) == math.inf
