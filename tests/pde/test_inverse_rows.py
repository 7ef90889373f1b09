"""Rows of equations with unknown coefficients: values and derivatives against equations with numbers, and mutations."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, pde
from grassvp.features import mlp
from grassvp.features.coefficients import CoefficientFeatures
from grassvp.pde import coefficients as building
from grassvp.pde import operators, rows
from grassvp.pde.binding import Bound
from tests.pde.inverse_cases import BOX, PI

LAM = 1e-6
POINTS = np.random.default_rng(4).uniform(0, 1, (12, 2))


@dataclass(frozen=True)
class Case:
    """An equation with unknown coefficients, whose `known` version takes numbers where it takes p."""

    make: Any  # (p or None) -> keyword arguments of PDE and of Data
    start: dict[str, float]
    unknowns: tuple[str, ...] = ()
    inputs: int = 2

    def problem(self, p=None):
        """The problem with unknown coefficients, or with known ones."""
        equation, data = self.make(p)
        of = {"coefficients": self.start} if p is None else {}
        network = mlp(self.inputs, (3,), seed=3)
        made = pde.PDE(BOX, unknowns=self.unknowns, **equation, **of)
        values = np.sin(3 * POINTS[:, 0]) + POINTS[:, 1]
        sets = pde.Data(POINTS, values, 0.1, **data)
        return made.collocate(network, interior=20, boundary=12, data=sets, dominance=3.0, regularization=LAM)


def given(function, arguments, p):
    """A function of (..., p) as it is, or with numbers in the place of p."""
    return function if p is None else (lambda u, x: function(u, x, p)) if arguments == 2 else lambda x: function(x, p)


def plain(p):
    equation = given(lambda u, x, p: u.d("t") - p["kappa"] * u.d("x", "x"), 2, p)
    conditions = [pde.initial(lambda x: torch.sin(PI * x["x"])), pde.dirichlet(("x", "both"))]
    return {"equation": equation, "conditions": conditions}, {}


def nonlinear(p):
    """Two coefficients that enter nonlinearly, one of them with a function of the place."""

    def equation(u, x, p):
        return u.d("t") + p["c"] ** 2 * x["x"] * u.d("x") - torch.exp(p["c"] * p["log"]) * u.d("x", "x")

    return {"equation": given(equation, 2, p), "conditions": [pde.initial(1.0), pde.dirichlet(("x", "both"))]}, {}


def everywhere(p):
    """In the source, in a condition's operator and right-hand side, and in what is measured."""
    robin = given(lambda u, x, p: p["a"] * u.value + u.normal, 2, p)
    equals = given(lambda x, p: p["b"] * x["t"], 1, p)
    return {
        "equation": given(lambda u, x, p: u.d("t") - p["a"] * u.laplacian("x"), 2, p),
        "source": given(lambda x, p: p["b"] ** 2 * torch.cos(x["x"]), 1, p),
        "conditions": [pde.initial(0.5), pde.Condition(("x", "both"), equals, operator=robin)],
    }, {"operator": given(lambda u, x, p: -p["a"] * u.d("x") + p["b"] * x["t"] * u.value, 2, p)}


def ansatz(p):
    """Exact values that the operator does not make zero of."""
    equation = given(lambda u, x, p: u.d("t") - p["kappa"] * u.d("x", "x") + p["r"] * u.value, 2, p)
    conditions = [
        pde.initial(lambda x: x["x"] ** 2 + 1.0, exact=True),
        pde.dirichlet(("x", "lower"), 1.0, exact=True),
        pde.neumann(("x", "upper"), 2.0),
    ]
    return {"equation": equation, "conditions": conditions}, {}


def periodic(exact):
    def make(p):
        equation = given(lambda u, x, p: u.d("t") + p["c"] * u.d("x") - p["D"] * u.d("x", "x"), 2, p)
        start = pde.initial(lambda x: torch.sin(2 * PI * x["x"]))
        return {"equation": equation, "conditions": [start, pde.periodic("x", exact=exact)]}, {}

    return make


def system(p):
    def equation(u, x, p):
        return u["u"].d("t") - p["a"] * u["v"].d("x"), u["v"].d("t") - p["a"] * p["b"] * u["u"].d("x")

    conditions = [pde.initial(1.0, of="u"), pde.initial(0.0, of="v"), pde.dirichlet(("x", "both"), of="v")]
    return {"equation": given(equation, 2, p), "conditions": conditions}, {"of": "v"}


CASES = {
    "plain": Case(plain, {"kappa": 0.3}),
    "nonlinear": Case(nonlinear, {"c": 0.7, "log": -1.2}),
    "everywhere": Case(everywhere, {"a": 0.4, "b": 1.3}),
    "ansatz": Case(ansatz, {"kappa": 0.3, "r": -0.4}),
    "exactly periodic": Case(periodic(True), {"c": 0.7, "D": 0.2}, inputs=3),
    "periodic": Case(periodic(False), {"c": 0.7, "D": 0.2}),
    "system": Case(system, {"a": 0.7, "b": 1.5}, unknowns=("u", "v")),
}


def known_value(case, weights, parameters):
    """The reduced value of the equation with numbers for p, by numpy, in the given weights."""
    s = len(case.start)
    p = {name: torch.tensor(value) for name, value in zip(case.start, parameters[-s:], strict=True)}
    problem, W = case.problem(p), weights.numpy()
    Phi = problem.features(torch.from_numpy(parameters[:-s]), problem.inputs).detach().numpy()
    A = np.vstack([W[:, None] * Phi, math.sqrt(LAM) * np.eye(Phi.shape[1])])
    b = np.concatenate([W * problem.targets[:, 0].numpy(), np.zeros(Phi.shape[1])])
    return 0.5 * float(np.sum((b - A @ np.linalg.lstsq(A, b)[0]) ** 2))


def differences(function, at, h=1e-5):
    steps = h * np.eye(len(at))
    return np.array([(function(at + step) - function(at - step)) / (2 * h) for step in steps])


def value_law(case):
    problem = case.problem()
    reduced, theta = ReducedProblem(problem), problem.initial_parameters.numpy()
    for shift in (0.0, 0.11):
        expected = known_value(case, problem.weights, theta + shift)
        assert reduced.value(theta + shift) == pytest.approx(expected, rel=1e-9)


def gradient_law(case):
    problem = case.problem()
    reduced, theta = ReducedProblem(problem), problem.initial_parameters.numpy() + 0.05
    expected = differences(lambda at: known_value(case, problem.weights, at), theta)
    np.testing.assert_allclose(reduced.gradient(theta), expected, rtol=2e-6, atol=2e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_equation_with_numbers(name):
    value_law(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_differences_of_the_equation_with_numbers(name):
    gradient_law(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_jacobian_and_hessian_are_differences(name):
    problem = CASES[name].problem()
    reduced, theta = ReducedProblem(problem), problem.initial_parameters.numpy() + 0.05
    J = differences(lambda at: reduced.linearize(at).residual.numpy().ravel(), theta).T
    np.testing.assert_allclose(reduced.jacobian(theta), J, rtol=1e-6, atol=1e-6 * np.abs(J).max())
    H = differences(reduced.gradient, theta)
    np.testing.assert_allclose(reduced.hessian(theta), H, rtol=1e-5, atol=1e-6 * np.abs(H).max())
    v = np.linspace(-1, 1, len(theta))
    product = reduced.hessian_vector_product(theta, v)
    np.testing.assert_allclose(product, H @ v, rtol=1e-5, atol=1e-6 * np.abs(H @ v).max())


# --- mutations --------------------------------------------------------------------------------------------------------


def still_right_sides(given, *arguments):
    """Right-hand sides that stay where the coefficients start."""
    if isinstance(given, Bound):
        start = {name: torch.tensor(value) for name, value in CASES["everywhere"].start.items()}
        given = Bound(given.function, start, given.traced)
    return operators.values_of(given, *arguments)


def still_offset(*arguments, whole=building._terms):
    parts, fixed = whole(*arguments)
    return parts, 0 * fixed


MUTATIONS = {
    "the coefficients do not move": (CoefficientFeatures, "_table", lambda self, p: self.table(self.start), "plain"),
    "the known part does not move": (building, "_terms", still_offset, "ansatz"),
    "right-hand sides do not move": (rows, "values_of", still_right_sides, "everywhere"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mistake_in_the_rows_is_noticed(name, monkeypatch):
    owner, attribute, wrong, case = MUTATIONS[name]
    monkeypatch.setattr(owner, attribute, wrong)
    for law in (value_law, gradient_law):
        with pytest.raises(AssertionError):
            law(CASES[case])
