"""The theory of the manifold is for problems that are free in theta and C; others are refused by name."""

import numpy as np
import pytest
import torch

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.theory.inertia import joint_hessian

X = np.linspace(0, 1, 12)


def exponentials(rates, x):
    return torch.exp(-x[:, None] * rates)


def line(rates, x):
    return rates[0] * x


PROBLEMS = {
    "offset": lambda: _problem(offset=line),
    "bounds": lambda: _problem(bounds=(0.0, 10.0)),
    "coefficient_bounds": lambda: _problem(coefficient_bounds=(0.0, None)),
}
ENTRIES = {
    "report": lambda p, theta: gv.theory.critical_point_report(p, theta),
    "census": lambda p, theta: gv.theory.find_critical_points(p, starts=1),
    "inertia": lambda p, theta: gv.theory.compare_inertia(p, theta),
    "joint Hessian": lambda p, theta: joint_hessian(p, theta),
    "natural flow": lambda p, theta: gv.theory.natural_gradient_flow(p, theta, [0.0, 1.0]),
    "two time scales": lambda p, theta: gv.theory.two_time_scales(p, theta, [0.0, 1.0], [0.1, 0.01]),
    "strict minimum": lambda p, theta: gv.theory.strict_minimum(p, theta),
    "linear rate": lambda p, theta: gv.theory.linear_rate(p, theta, "gauss-newton-kaufman"),
    "newton rate": lambda p, theta: gv.theory.newton_rate(p, theta),
    "pymanopt": lambda p, theta: gv.riemannian.parameter_problem(p),
}


def _problem(offset=None, **options):
    features = gv.features.from_function(exponentials, [1.0, 3.0], offset=offset)
    targets = 2 * np.exp(-X) + np.exp(-4 * X)
    return gv.ReducedProblem(gv.SeparableProblem(features, X, targets, regularization=1e-3, **options))


@pytest.mark.parametrize("constraint", PROBLEMS)
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_constrained_problem_is_refused(entry, constraint):
    problem = PROBLEMS[constraint]()
    with pytest.raises(ArgumentError, match=f"problem has {constraint},"):
        ENTRIES[entry](problem, problem.initial_parameters)


@pytest.mark.parametrize("entry", sorted(set(ENTRIES) - {"strict minimum", "linear rate", "newton rate"}))
def test_a_free_problem_is_not(entry):
    problem = _problem()
    ENTRIES[entry](problem, problem.initial_parameters)


def test_all_constraints_are_named():
    problem = _problem(offset=line, bounds=(0.0, 9.0), coefficient_bounds=(0.0, None))
    assert problem.problem.constraints == ("offset", "bounds", "coefficient_bounds")
