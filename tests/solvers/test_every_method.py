"""Every method with every combination of its options: the minimum that scipy finds, the way down, and what it says."""

from functools import cache

import numpy as np
import pytest
import torch

from grassvp import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    Status,
    TrustRegion,
    solve,
)
from grassvp.errors import ArgumentError, GrassvpError
from tests.solvers.problems import double_exponential, gradients, joint_minimum

START = (0.4, 2.5)
WAYS = ("dense", "dual", "matrix-free")
PROBLEMS = {
    "plain": {},
    "3 outputs, weights, lam": {"outputs": 3, "weights": np.linspace(0.5, 2.0, 60), "regularization": 0.05},
}


def named(*methods):
    return {repr(method): method for method in methods}


SECOND_ORDER = named(
    *(LevenbergMarquardt(linear_algebra=way, geodesic_acceleration=flag) for way in WAYS for flag in (False, True)),
    *(
        LevenbergMarquardt(kind, scaling=scaling)
        for kind in ("golub-pereyra", "kaufman")
        for scaling in ("columns", "parameters")
    ),
    *(GaussNewton(kind, linear_algebra=way) for kind in ("golub-pereyra", "kaufman") for way in WAYS),
    *(
        TrustRegion("gauss-newton", subproblem, linear_algebra=way)
        for subproblem in ("auto", "exact", "dogleg", "steihaug")
        for way in WAYS
    ),
    *(
        TrustRegion(curvature, subproblem)
        for curvature in ("corrected", "exact")
        for subproblem in ("auto", "exact", "steihaug")
    ),
    *(TrustRegion(c, s, linear_algebra="matrix-free") for c in ("corrected", "exact") for s in ("auto", "steihaug")),
    *(TrustRegion(c, scaling="parameters", initial_radius=0.1) for c in ("gauss-newton", "corrected", "exact")),
)
LINEAR = named(
    NaturalGradient(),
    NaturalGradient(linear_algebra="matrix-free"),
    NaturalGradient(scaling="columns", damping=1e-6),
    GradientFlow(integrator="bdf"),
    GradientFlow(integrator="radau"),
    FirstOrder("lbfgs"),
    FirstOrder("lbfgs", objective="joint"),
    FirstOrder("adam", learning_rate=0.05),
)
FLOWS = named(
    *(GradientFlow(m, i, tolerance=1e-4) for m in ("euclidean", "grassmann") for i in ("rk23", "rk45", "dop853"))
)
MONOTONE = {
    name: method for name, method in (SECOND_ORDER | LINEAR).items() if "adam" not in name and "Flow" not in name
}


@cache
def reference(name):
    """(problem, theta, C, value) with the minimum by scipy on the joint problem."""
    problem = double_exponential(0.05, start=START, **PROBLEMS[name])
    return problem, *joint_minimum(problem, list(START))


def says_the_truth(problem, solution, tolerance):
    """CONVERGED where the gradient, by automatic differentiation of the joint objective, is small enough."""
    by_theta, by_C = gradients(problem, solution)
    joint = getattr(solution.method, "objective", "reduced") == "joint"
    norm = float(
        torch.linalg.vector_norm(torch.cat([g.flatten() for g in ((by_theta, by_C) if joint else (by_theta,))]))
    )
    threshold = tolerance * float((problem.weighted_targets**2).sum())
    assert solution.gradient_norm == pytest.approx(norm, rel=1e-3, abs=1e-12)
    assert solution.converged == (norm <= threshold)
    assert solution.status.value in solution.message


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", SECOND_ORDER.values(), ids=SECOND_ORDER)
def test_second_order_methods_find_the_minimum_of_scipy(method, name):
    problem, theta, C, value = reference(name)
    tolerance = 1e-10
    solution = solve(problem, method, tolerance=tolerance)
    assert solution.status is Status.CONVERGED
    says_the_truth(problem, solution, tolerance)
    np.testing.assert_allclose(solution.parameters, theta, rtol=1e-6)
    np.testing.assert_allclose(solution.coefficients, C, rtol=1e-6, atol=1e-6)
    assert solution.value == pytest.approx(value, rel=1e-11)
    # Kaufman's and the truncated ones converge linearly, the others faster.
    assert solution.iterations <= (60 if "steihaug" in repr(method) or "matrix-free" in repr(method) else 25)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("method", LINEAR.values(), ids=LINEAR)
def test_first_order_methods_find_it_to_a_looser_tolerance(method, name):
    problem, theta, _, value = reference(name)
    tolerance = 1e-6
    solution = solve(problem, method, tolerance=tolerance, max_iterations=2000)
    assert solution.status is Status.CONVERGED
    says_the_truth(problem, solution, tolerance)
    np.testing.assert_allclose(solution.parameters, theta, rtol=1e-2)
    assert value * (1 - 1e-10) <= solution.value <= value * (1 + 1e-5)


@pytest.mark.parametrize("method", FLOWS.values(), ids=FLOWS)
def test_explicit_flows_come_close(method):
    problem, theta, _, value = reference("3 outputs, weights, lam")
    solution = solve(problem, method, tolerance=1e-12, max_iterations=40)
    assert solution.status is Status.MAX_ITERATIONS
    says_the_truth(problem, solution, 1e-12)
    np.testing.assert_allclose(solution.parameters, theta, rtol=0.05)
    assert value < solution.value < value * 1.005
    assert (np.diff(solution.history["value"]) < 1e-3 * value).all()


@pytest.mark.parametrize("method", MONOTONE.values(), ids=MONOTONE)
def test_the_value_falls_at_every_step_from_far_away(method):
    """Of values that rounding can tell apart; the gradient test may ask for more steps after those."""
    problem = double_exponential(0.05, start=(0.1, 6.0), **PROBLEMS["3 outputs, weights, lam"])
    history = solve(problem, method, max_iterations=25, tolerance=1e-8).history
    falls = np.diff(history["value"])
    assert len(falls) >= 5 and (falls <= 1e-14 * history["value"][0]).all()
    assert history["value"][-1] < 0.9 * history["value"][0]


@pytest.mark.parametrize("curvature", ["corrected", "exact"])
def test_an_exact_subproblem_without_a_matrix_is_refused_or_solved(curvature):
    try:
        solution = solve(reference("plain")[0], TrustRegion(curvature, "exact", linear_algebra="matrix-free"))
    except ArgumentError as error:
        assert "subproblem" in str(error)
    else:
        assert solution.converged


def bad(kind, **options):
    return [(kind, {name: value}) for name, values in options.items() for value in values]


NUMBERS = [-1.0, float("nan"), float("inf"), "small", None, True, [1.0]]
SHARED = {
    "scaling": ["rows", None, 3],
    "linear_algebra": ["qr", None, True],
    "inner_tolerance": [1.0, *NUMBERS],
    "inner_iterations": [0, -1, 1.5, None, True],
}
REFUSED = [
    *bad(
        LevenbergMarquardt,
        jacobian=["exact", None],
        initial_damping=NUMBERS,
        geodesic_acceleration=[1, "yes", None],
        **SHARED,
    ),
    *bad(GaussNewton, jacobian=["exact"], **SHARED),
    *bad(
        TrustRegion,
        curvature=["newton", None],
        subproblem=["cg", None],
        jacobian=["exact"],
        initial_radius=[0.0, *NUMBERS],
        **SHARED,
    ),
    *bad(NaturalGradient, damping=NUMBERS, longest=[0.5, *NUMBERS], **SHARED),
    (NaturalGradient, {"linear_algebra": "dual"}),
    (TrustRegion, {"subproblem": "dogleg", "curvature": "exact"}),
    (TrustRegion, {"subproblem": "dogleg", "curvature": "corrected"}),
    (TrustRegion, {"linear_algebra": "dual", "curvature": "exact"}),
    *bad(
        GradientFlow,
        metric=["natural", None],
        integrator=["euler", None],
        damping=NUMBERS,
        tolerance=[1e-14, 1.0, *NUMBERS],
    ),
    (GradientFlow, {"integrator": "bdf", "metric": "grassmann"}),
    (GradientFlow, {"integrator": "radau", "metric": "grassmann"}),
]


@pytest.mark.parametrize(("method", "options"), REFUSED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_options_that_cannot_be_used_are_named(method, options):
    with pytest.raises((ValueError, TypeError), match=next(iter(options))) as caught:
        method(**options)
    assert isinstance(caught.value, GrassvpError)
