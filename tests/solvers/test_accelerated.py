"""Geodesic acceleration: against its definition, and where it is refused, skipped or impossible."""

import math
from dataclasses import replace
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch

from grassvp import LevenbergMarquardt, ReducedProblem, SeparableProblem, solve
from grassvp.errors import NonFiniteError
from grassvp.features import from_function
from grassvp.solvers.descents import STRONG, GaussNewtonDescent
from grassvp.solvers.searches import Accelerated, Control, GainRatioDamping
from tests.oracles import mp_solve, to_array
from tests.solvers.points import least_squares_model
from tests.solvers.problems import TIMES, Recorder, decays, double_exponential, wave

WEAK, HARD = 1e-9, 1e-2
EPS = float(np.finfo(float).eps)


def toy(theta, *, bend=1.0, rounding=0.0):
    """The model at theta of r(theta) = r0 + J theta + bend theta^T H theta / 2, with r_pp = bend p^T H p exactly."""
    rng = np.random.default_rng(0)
    r0, J0, H = rng.standard_normal(8), rng.standard_normal((8, 3)), rng.standard_normal((8, 3, 3))
    H = bend * (H + H.transpose(0, 2, 1))

    def residual(at):
        return r0 + J0 @ at + 0.5 * np.einsum("iab,a,b->i", H, at, at)

    theta = np.asarray(theta, dtype=float)
    J = J0 + H @ theta
    D = np.array([1.0, 2.0, 5.0])
    model = least_squares_model(J, residual(theta), D)
    model.point.parameters = torch.from_numpy(theta)
    model.point.residual_rounding = rounding
    model.point.residual_at = lambda at: torch.from_numpy(residual(at.numpy()))[:, None]
    return model, J, D, H


@pytest.mark.parametrize("mu", [1e-3, 1.0, 30.0])
def test_the_step_is_bent_by_half_the_damped_answer_to_the_second_derivative(mu):
    model, J, D, H = toy([0.3, -0.2, 0.1], bend=1e-3)
    plain = model.damped(mu)
    p = plain.vector.numpy()
    step, control = Accelerated(GainRatioDamping()).propose(model, Control(mu))
    r_pp = np.einsum("iab,a,b->i", H, p, p)
    a = -np.linalg.solve(J.T @ J + mu * np.diag(D**2), J.T @ r_pp)
    found = 2 * (step.vector.numpy() - p)
    np.testing.assert_allclose(found, a, rtol=1e-6, atol=1e-9 * np.linalg.norm(a))
    assert not step.refused and step.evaluations == 1 and control == Control(mu)
    assert (step.predicted_reduction, step.slope) == (plain.predicted_reduction, plain.slope)


@pytest.mark.parametrize(("share", "refused"), [(0.99, False), (1.01, True)])
def test_the_step_is_refused_where_the_second_order_is_too_large(share, refused):
    model, J, D, H = toy([0.3, -0.2, 0.1])
    mu = 1.0
    p = model.damped(mu).vector.numpy()
    a = -np.linalg.solve(J.T @ J + mu * np.diag(D**2), J.T @ np.einsum("iab,a,b->i", H, p, p))
    ratio = 2 * np.linalg.norm(D * a) / np.linalg.norm(D * p)
    step, _ = Accelerated(GainRatioDamping(), ratio=ratio / share).propose(model, Control(mu))
    assert step.refused is refused and step.evaluations == 1
    moved = np.linalg.norm(step.vector.numpy() - p)
    assert (moved == 0.0) if refused else moved == pytest.approx(np.linalg.norm(a) / 2, rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_bend_is_left_out_where_it_may_be_rounding(factor):
    """noise x rounding of the second difference against sqrt(mu) ratio ||D p||, which is what it can move the step."""
    model, _, D, _ = toy([0.3, -0.2, 0.1], bend=1e-3)
    mu, search = 1e-2, Accelerated(GainRatioDamping())
    p = model.damped(mu).vector.numpy()
    limit = math.sqrt(mu) * search.ratio * np.linalg.norm(D * p)
    model.point.residual_rounding = factor * limit / search.noise / (2.0 / search.step**2 * math.sqrt(3 / 8))
    step, _ = search.propose(model, Control(mu))
    skipped = bool((step.vector.numpy() == p).all())
    assert skipped is (factor > 1) and not step.refused and step.evaluations == 1


def test_where_the_residual_ahead_is_not_finite_the_step_is_refused():
    model, *_ = toy([0.3, -0.2, 0.1])

    def overflow(at):
        raise NonFiniteError("no")

    model.point.residual_at = overflow
    step, _ = Accelerated(GainRatioDamping()).propose(model, Control(1.0))
    assert step.refused and step.evaluations == 1 and torch.equal(step.vector, model.damped(1.0).vector)


def test_an_undamped_step_is_not_bent():
    model, *_ = toy([0.3, -0.2, 0.1])
    step, _ = Accelerated(GainRatioDamping()).propose(model, Control(0.0))
    assert step.evaluations == 0 and torch.equal(step.vector, model.damped(0.0).vector)


def second_derivative(problem, theta, p):
    """d^2/dt^2 of the augmented residual at theta + t p, by differences of mpmath solutions at 60 digits."""
    with mpmath.mp.workdps(60):
        x, Y = (np.asarray(a).tolist() for a in (problem.inputs, problem.targets))
        w = [mpmath.mpf(1)] * len(x) if problem.weights is None else [mpmath.mpf(v) for v in problem.weights.tolist()]

        def residual(t):
            at = [mpmath.mpf(float(a)) + t * mpmath.mpf(float(b)) for a, b in zip(theta, p, strict=True)]
            rows = [[mpmath.exp(-rate * mpmath.mpf(point)) for rate in at] for point in x]
            data = [[mpmath.mpf(v) for v in row] for row in Y]
            return to_array(mp_solve(rows, data, w, mpmath.mpf(problem.regularization))[2])

        h = mpmath.mpf(10) ** -15
        return ((residual(h) - 2 * residual(mpmath.mpf(0)) + residual(-h)) / h**2).astype(float)


@pytest.mark.parametrize("mu", [HARD, WEAK], ids=["normal equations", "QR"])
@pytest.mark.parametrize("options", [{}, {"outputs": 3, "weights": np.linspace(0.5, 2, 60), "regularization": 0.05}])
def test_the_acceleration_of_a_reduced_problem_against_mpmath(options, mu):
    """h = 0.1 is a finite difference of first order in h: its error is that of the third derivative."""
    problem, theta = double_exponential(0.05, **options), np.array([0.55, 2.1])
    point = ReducedProblem(problem).linearize(theta)
    model = GaussNewtonDescent("golub-pereyra", linear_algebra="dense", damped=True)(point, None, mu)
    assert (mu >= STRONG * EPS) == (mu == HARD)
    p = model.damped(mu).vector.numpy()
    J, D = point.jacobian().numpy(), model.scale.weights.numpy()
    r_pp = second_derivative(problem, theta, p).ravel()
    a = -np.linalg.solve(J.T @ J + mu * np.diag(D**2), J.T @ r_pp)
    found = []
    for h in (1e-2, 1e-3):
        search = Accelerated(GainRatioDamping(), ratio=1e9, step=h)
        found.append(2 * (search.propose(model, Control(mu))[0].vector.numpy() - p))
    errors = [np.linalg.norm(bend - a) / np.linalg.norm(a) for bend in found]
    assert errors[1] < 2e-3 and errors[1] < 0.2 * errors[0]


def test_a_rejected_bend_costs_an_evaluation_and_no_trial():
    """The counted evaluations of a run are the linear solves that it asked for."""
    problem = double_exponential(0.05, start=(3.0, 3.2))
    reduced, calls = ReducedProblem(problem), []

    class Counted:
        def linearize(self, at):
            calls.append("linearize")
            point = reduced.linearize(at)
            proxy = SimpleNamespace(**{n: getattr(point, n) for n in dir(point) if not n.startswith("_")})
            proxy.residual_at = lambda at: calls.append("residual") or point.residual_at(at)
            return proxy

    method = LevenbergMarquardt(geodesic_acceleration=True, linear_algebra="dense")
    steps = method.iterate(Counted(), problem.initial_parameters)
    iterates = [next(steps) for _ in range(9)]
    assert iterates[-1].evaluations == len(calls)
    assert calls.count("residual") > calls.count("linearize") - 1, "some steps were refused before they were tried"


def test_fewer_iterations_to_the_same_minimum():
    """Three decays whose rates are hard to tell apart: a narrow curved valley."""
    y = np.exp(-0.4 * TIMES) + 2 * np.exp(-1.1 * TIMES) + 3 * np.exp(-3 * TIMES)
    iterations = {False: 0, True: 0}
    for seed in range(4):
        start = np.sort(np.random.default_rng(seed).uniform(0.1, 8, 3))
        for flag in iterations:
            problem = SeparableProblem(from_function(decays, start), TIMES, y)
            solution = solve(problem, LevenbergMarquardt(geodesic_acceleration=flag), tolerance=1e-13)
            np.testing.assert_allclose(np.sort(solution.parameters), [0.4, 1.1, 3.0], rtol=1e-4)
            iterations[flag] += solution.iterations
    assert iterations[True] < 0.95 * iterations[False]


def test_the_default_solver_is_accelerated_where_units_are_known():
    assert solve(wave(), seed=0, max_iterations=0).method == replace(
        LevenbergMarquardt(geodesic_acceleration=True), linear_algebra="dense"
    )
    assert not solve(double_exponential(), max_iterations=0).method.geodesic_acceleration


def test_the_units_of_a_step_are_those_of_its_history():
    keep = Recorder()
    solve(double_exponential(0.05), LevenbergMarquardt(geodesic_acceleration=True), callbacks=[keep])
    steps = np.linalg.norm(np.diff(keep.parameters, axis=0), axis=1)
    np.testing.assert_allclose([record.step_norm for record in keep.records[1:]], steps, rtol=1e-9, atol=1e-15)
