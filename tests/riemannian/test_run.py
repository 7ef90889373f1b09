"""run: global minima from random starts, statuses, histories and counts that are true, arguments that are refused."""

import math

import numpy as np
import pymanopt
import pytest
from pymanopt.optimizers import ConjugateGradient, ParticleSwarm, SteepestDescent, TrustRegions

from grassvp import Status
from grassvp.errors import NonFiniteError
from grassvp.riemannian import parameter_problem, run, subspace_problem
from manifolds import Grassmann
from tests.riemannian.cases import MU, SOLVERS, exponentials, least_value, network, rosenbrock, targets, toy

SPECTRA = {
    "distinct": [3.0, 1.5, 1.0, 0.4],
    "repeated": [2.0, 2.0, 0.5, 0.5],
    "repeated across the cut": [3.0, 1.0, 1.0, 1.0],
    "zero": [3.0, 1.0, 0.0, 0.0],
    "spread": [1.0, 1e-2, 1e-4, 1e-5],
    "tiny": [3e-10, 1e-10, 3e-11, 1e-11],
    "large": [3e12, 1e12, 5e11, 4e11],
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize(("m", "n"), [(12, 2), (40, 6), (5, 4)])
def test_every_start_reaches_the_global_minimum_and_certifies_it(solver, name, m, n):
    """A3, A5: 1/2 sum_{i > n} mu_i, which is 0 where n >= rank Y."""
    mu = np.array(SPECTRA[name])
    Y = targets(mu, m=m, seed=m)
    problem, least = subspace_problem(Y, n), least_value(mu, n)
    for seed in range(2):
        result = run(problem, solver, rng=seed)
        assert result.converged and result.gradient_norm <= 1e-12 * np.sum(Y**2)
        assert problem.manifold.is_point(result.point)
        if least == 0.0:
            assert result.value <= 1e-20 * np.sum(Y**2)
        else:
            assert result.value == pytest.approx(least, rel=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_the_finish_the_gradient_stalls_or_converges_honestly(solver):
    result = run(toy(2), solver, rng=0, polish=False)
    assert result.converged == (result.gradient_norm <= 1e-12 * result.scale)
    assert result.value == pytest.approx(least_value(MU, 2), rel=1e-12)
    assert not result.history["polish"].any()
    if solver != "trust-region":
        assert result.status is Status.STALLED and result.gradient_norm > 1e-10


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_history_is_that_of_the_iterates(solver):
    problem, records = toy(2), []
    result = run(problem, solver, rng=1, callbacks=[records.append])
    history, manifold = result.history, problem.manifold
    assert len({len(column) for column in history.values()}) == 1
    assert result.iterations == len(records) - 1 == history["iteration"][-1]
    for i, record in enumerate(records):
        assert record.iteration == history["iteration"][i] == i
        assert record.value == problem.cost(record.point) == history["value"][i]
        norm = manifold.norm(record.point, problem.riemannian_gradient(record.point))
        assert record.gradient_norm == norm == history["gradient_norm"][i]
        if i:
            moved = manifold.dist(records[i - 1].point, record.point)
            assert history["distance"][i] == moved > 0.0
    assert np.all(np.diff(history["seconds"]) >= 0) and np.all(np.diff(history["evaluations"]) > 0)
    rounding = 1e-14 * problem.scale
    assert np.all(np.diff(history["value"]) <= rounding)
    assert result.value == history["value"][-1] and result.gradient_norm == history["gradient_norm"][-1]
    np.testing.assert_array_equal(result.point, records[-1].point)


@pytest.mark.parametrize("solver", [*SOLVERS, TrustRegions(verbosity=2), ConjugateGradient(), SteepestDescent()])
def test_counts_are_those_of_an_independent_counter(solver, capsys):
    calls = {"cost": 0, "gradient": 0, "hessian": 0}
    result = run(rosenbrock(calls=calls), solver, initial_point=[-1.2, 1.0])
    assert result.evaluations == calls and min(calls["cost"], calls["gradient"]) > 3
    history = result.history
    total = history["cost_evaluations"] + history["gradient_evaluations"] + history["hessian_evaluations"]
    np.testing.assert_array_equal(history["evaluations"], total)
    assert history["evaluations"][-1] <= sum(calls.values())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("solver", SOLVERS)
def test_points_are_not_evaluated_twice(solver):
    seen = []
    manifold = pymanopt.manifolds.Euclidean(2)
    inner = rosenbrock()

    @pymanopt.function.numpy(manifold)
    def cost(x):
        seen.append(x.tobytes())
        return inner.cost(x)

    problem = pymanopt.Problem(
        manifold,
        cost,
        riemannian_gradient=pymanopt.function.numpy(manifold)(lambda x: inner.riemannian_gradient(x)),
        riemannian_hessian=pymanopt.function.numpy(manifold)(lambda x, v: inner.riemannian_hessian(x, v)),
    )
    result = run(problem, solver, initial_point=[-1.2, 1.0])
    assert result.converged and len(set(seen)) >= 0.9 * len(seen)
    np.testing.assert_allclose(result.point, 1.0, rtol=1e-11)


def test_the_scale_of_a_foreign_problem():
    problem = rosenbrock()
    start = np.array([-1.2, 1.0])
    expected = max(problem.cost(start), np.linalg.norm(problem.riemannian_gradient(start)))
    assert run(problem, initial_point=start).scale == expected
    assert run(problem, initial_point=start, scale=2.0).scale == 2.0
    assert run(problem, initial_point=[1.0, 1.0]).scale == 1.0


# Randomness


@pytest.mark.parametrize("solver", [*SOLVERS, ParticleSwarm(max_iterations=5, population_size=6)])
@pytest.mark.parametrize("problem", [toy(2), rosenbrock()], ids=["subspace", "rosenbrock"])
def test_a_seed_repeats_the_run_and_the_global_generator_is_left_alone(solver, problem):
    state = np.random.get_state()[1].copy()
    first, second, third = (run(problem, solver, rng=seed, max_iterations=6) for seed in (3, 3, 4))
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.testing.assert_array_equal(first.history["value"], second.history["value"])
    assert first.history["value"][0] != third.history["value"][0]
    generator = np.random.default_rng(3)
    again, other = (run(problem, solver, rng=generator, max_iterations=6) for _ in range(2))
    same = run(problem, solver, rng=np.random.default_rng(3), max_iterations=6)
    assert again.history["value"][0] == same.history["value"][0] != other.history["value"][0]


# Statuses


@pytest.mark.parametrize("solver", SOLVERS)
def test_max_iterations(solver):
    for limit in (0, 1, 3):
        result = run(toy(2), solver, rng=0, max_iterations=limit)
        assert result.status is Status.MAX_ITERATIONS and result.iterations == limit
    for limit in range(4, 16):
        result = run(toy(2), solver, rng=0, max_iterations=limit)
        assert result.iterations <= limit and result.converged == (result.gradient_norm <= 1e-12 * result.scale)
    result = run(toy(2), solver, rng=0, max_iterations=3)
    assert "iteration limit" in result.message and "MAX_ITERATIONS" in repr(result)


def test_a_given_optimizer_keeps_its_limits_and_is_not_changed():
    optimizer = SteepestDescent(max_iterations=4, verbosity=2)
    before = dict(vars(optimizer))
    result = run(toy(2), optimizer, rng=0)
    assert result.status is Status.MAX_ITERATIONS and result.iterations <= 4 and "max iterations" in result.detail
    assert vars(optimizer) == before
    assert run(toy(2), TrustRegions(max_time=0.0), rng=0).status is Status.MAX_TIME
    loose = ConjugateGradient(min_gradient_norm=1e-2)
    assert run(toy(2), loose, rng=0, polish=False).status is Status.STALLED
    assert run(toy(2), loose, rng=0).converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_max_time(solver):
    result = run(toy(2), solver, rng=0, max_time=0.0)
    assert result.status is Status.MAX_TIME and result.iterations == 0 and math.isfinite(result.value)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_callback_stops_the_run(solver):
    for answer in (True, np.True_):
        result = run(toy(2), solver, rng=0, callbacks=[lambda record, answer=answer: record.iteration == 2 and answer])
        assert result.status is Status.STOPPED and result.iterations == 2
    assert run(toy(2), solver, rng=0, callbacks=[lambda record: 1]).converged


@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_keeps_the_best_point(solver):
    def interrupt(record):
        if record.iteration == 3:
            raise KeyboardInterrupt

    problem = toy(2)
    result = run(problem, solver, rng=0, callbacks=[interrupt])
    assert result.status is Status.INTERRUPTED and result.iterations == 3
    assert result.value == problem.cost(result.point) == result.history["value"].min()


def spoiled(where, value):
    """Rosenbrock's function that becomes `value` where x[0] > where."""
    manifold, inner = pymanopt.manifolds.Euclidean(2), rosenbrock()

    def spoil(x, result):
        if x[0] > where:
            if isinstance(value, Exception):
                raise value
            return value * np.ones_like(result)
        return result

    numpy = pymanopt.function.numpy(manifold)
    return pymanopt.Problem(
        manifold,
        numpy(lambda x: float(spoil(x, np.float64(inner.cost(x))))),
        riemannian_gradient=numpy(lambda x: spoil(x, inner.riemannian_gradient(x))),
        riemannian_hessian=numpy(lambda x, v: spoil(x, inner.riemannian_hessian(x, v))),
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, NonFiniteError("overflow")], ids=["nan", "inf", "error"])
def test_non_finite(solver, value):
    result = run(spoiled(-2.0, value), solver, initial_point=[-1.2, 1.0])
    assert result.status is Status.NON_FINITE and result.iterations == 0
    np.testing.assert_array_equal(result.point, [-1.2, 1.0])
    # a barrier on the way is backed off from, and never the result
    result = run(spoiled(0.5, value), solver, initial_point=[-1.2, 1.0], max_iterations=200)
    assert math.isfinite(result.value) and result.point[0] <= 0.5 and not result.converged
    assert result.value < 1.0


def test_an_error_of_the_problem_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        run(spoiled(-1.0, ZeroDivisionError("mine")), "conjugate-gradient", initial_point=[-1.2, 1.0])


def test_rank_deficiency():
    problem, _ = exponentials(0.0)
    built = parameter_problem(problem)
    result = run(built, "steepest-descent", initial_point=[1.0, 1.0, 2.0], tolerance=0.0)
    assert result.status is Status.RANK_DEFICIENT and "regularization > 0" in result.message


def test_stalled_at_zero_tolerance_and_converged_at_exactly_zero_gradient():
    assert run(toy(2), rng=0, tolerance=0.0).status in (Status.STALLED, Status.MAX_ITERATIONS)
    result = run(subspace_problem(np.zeros((5, 2)), 2), rng=0, tolerance=0.0)
    assert result.converged and result.iterations == 0 and result.value == 0.0


# The finish


def saddle_point(n=2):
    """The invariant subspace of eigenvalues 2 and 3: a saddle."""
    U, _, _ = np.linalg.svd(targets())
    return U[:, [1, 2]] if n == 2 else U[:, [2]]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("distance", [1e-4, 1e-7, 1e-9, 1e-11])
def test_the_finish_does_not_turn_back_to_a_saddle(solver, distance):
    """From near a saddle, where the gradient is already below what hands over to the finish."""
    problem = toy(2)
    saddle = saddle_point()
    start = problem.manifold.exp(saddle, distance * problem.manifold.random_tangent_vector(saddle, 0))
    result = run(problem, solver, initial_point=start)
    assert result.converged and result.value == pytest.approx(least_value(MU, 2), rel=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_finish_never_raises_the_value_beyond_rounding(solver):
    for n in (2, 4):
        problem = toy(n)
        for seed in range(10, 15):
            history = run(problem, solver, rng=seed, tolerance=1e-13).history
            value, finished = history["value"], history["polish"]
            assert finished.any() or history["gradient_norm"][-1] <= 1e-15 * problem.scale
            for i in np.flatnonzero(finished):
                assert value[i] <= value[i - 1] + 20 * problem.value_rounding(value[i - 1])


def test_a_start_at_a_critical_point_is_converged_at_once():
    result = run(toy(2), initial_point=saddle_point())
    assert result.converged and result.iterations == 0


@pytest.mark.parametrize(("geometry", "widths"), [("euclidean", (3,)), ("spheres", (3,)), ("spheres", (2, 3))])
def test_networks_on_both_geometries(geometry, widths):
    problem = parameter_problem(network(widths), geometry=geometry)
    start = problem.from_parameters(problem.reduced.initial_parameters)
    result = run(problem, initial_point=start, max_iterations=300)
    assert result.converged and result.gradient_norm <= 1e-12 * problem.scale
    assert result.value < 0.9 * problem.cost(start)
    if geometry == "spheres":
        again = problem.from_parameters(problem.to_parameters(result.point))
        np.testing.assert_allclose(problem.to_parameters(again), problem.to_parameters(result.point), rtol=1e-13)


def test_a_large_dimension_is_finished_by_truncated_conjugate_gradients(monkeypatch):
    problem = subspace_problem(targets(MU, m=150), 2)
    assert problem.manifold.dim > 256
    monkeypatch.setattr("grassvp.riemannian.finish._dense", None)
    result = run(problem, "steepest-descent", rng=0)
    assert result.converged and result.history["polish"].any()
    assert result.value == pytest.approx(least_value(MU, 2), rel=1e-12)


def test_a_finish_that_takes_any_smaller_gradient_would_find_the_saddle(monkeypatch):
    """The mutation that the saddle test guards against: Newton steps without a look at the curvature."""
    monkeypatch.setattr("grassvp.riemannian.finish._escapes", lambda recorder, point, model: iter(()))
    monkeypatch.setattr("grassvp.riemannian.finish.CUTOFFS", (-math.inf,))
    problem, saddle = toy(2), saddle_point()
    start = problem.manifold.exp(saddle, 1e-7 * problem.manifold.random_tangent_vector(saddle, 0))
    result = run(problem, "steepest-descent", initial_point=start)
    assert result.value > least_value(MU, 2) + 0.1


def test_a_wrong_hessian_is_not_certified_by_accident():
    """A finish with the Hessian's sign turned cannot lower the gradient, and says STALLED."""
    problem = toy(2)
    hessian = problem.riemannian_hessian
    problem._riemannian_hessian = lambda X, D: -hessian(X, D)
    assert run(problem, "steepest-descent", rng=0).status is Status.STALLED


def test_without_a_hessian_there_is_no_finish():
    result = run(rosenbrock(hessian=False), "conjugate-gradient", initial_point=[-1.2, 1.0])
    assert result.evaluations["hessian"] == 0 and not result.history["polish"].any()
    np.testing.assert_allclose(result.point, 1.0, atol=1e-4)


# Other manifolds and optimizers


@pytest.mark.parametrize("optimizer", [ParticleSwarm(max_iterations=30)])
def test_optimizers_without_gradients_have_a_history_too(optimizer):
    result = run(toy(2), optimizer, rng=0)
    assert result.status is Status.MAX_ITERATIONS and result.iterations > 3
    assert np.all(np.diff(result.history["value"]) < 0) and result.history["value"][-1] == result.value


@pytest.mark.parametrize("solver", SOLVERS)
def test_products_of_grassmannians_and_pymanopts_manifolds(solver):
    sphere = pymanopt.manifolds.Sphere(5)
    A = np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    numpy = pymanopt.function.numpy(sphere)
    problem = pymanopt.Problem(
        sphere,
        numpy(lambda x: float(0.5 * x @ A @ x)),
        euclidean_gradient=numpy(lambda x: A @ x),
        euclidean_hessian=numpy(lambda x, v: A @ v),
    )
    result = run(problem, solver, rng=0)
    assert result.converged and result.value == pytest.approx(0.5, rel=1e-14)
    manifold = Grassmann(8, 2, k=2)
    numpy, Y = pymanopt.function.numpy(manifold), np.stack([targets(), targets()[::-1]])
    M = Y @ Y.transpose(0, 2, 1)
    problem = pymanopt.Problem(
        manifold,
        numpy(lambda X: float(0.5 * np.sum(Y**2) - 0.5 * np.sum(X * (M @ X)))),
        euclidean_gradient=numpy(lambda X: -M @ X),
        euclidean_hessian=numpy(lambda X, D: -M @ D),
    )
    result = run(problem, solver, rng=0)
    assert result.converged and result.value == pytest.approx(2 * least_value(MU, 2), rel=1e-12)


# Arguments


def constant(**options):
    manifold = Grassmann(4, 2)
    cost = pymanopt.function.numpy(manifold)(lambda X: 0.0)
    return pymanopt.Problem(manifold, cost, **options)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"problem": "problem"}, TypeError, "problem must be a pymanopt.Problem"),
        ({"problem": constant()}, ValueError, "problem must have a gradient"),
        ({"problem": rosenbrock(hessian=False)}, ValueError, "problem must have a Hessian"),
        ({"problem": rosenbrock(hessian=False), "solver": TrustRegions()}, ValueError, "problem must have a Hessian"),
        ({"solver": "newton"}, ValueError, "solver must be one of 'trust-region', 'conj"),
        ({"solver": TrustRegions}, TypeError, "solver"),
        ({"solver": None}, TypeError, "solver"),
        ({"initial_point": np.ones((8, 2))}, ValueError, "initial_point is not on the"),
        ({"initial_point": np.eye(8)[:, :3]}, ValueError, "initial_point must have shape"),
        ({"initial_point": np.full((8, 2), np.nan)}, ValueError, "initial_point has NaN"),
        ({"initial_point": [np.eye(8)[:, :2]]}, ValueError, "initial_point must have shape"),
        ({"initial_point": "here"}, TypeError, "initial_point"),
        ({"rng": -1}, ValueError, "rng"),
        ({"rng": "seed"}, ValueError, "rng"),
        ({"max_iterations": -1}, ValueError, "max_iterations"),
        ({"max_iterations": 1.5}, TypeError, "max_iterations"),
        ({"max_time": -1.0}, ValueError, "max_time"),
        ({"tolerance": -1.0}, ValueError, "tolerance"),
        ({"tolerance": "small"}, TypeError, "tolerance"),
        ({"callbacks": print}, TypeError, "callbacks"),
        ({"callbacks": ["stop"]}, TypeError, "callbacks"),
        ({"polish": 1}, TypeError, "polish"),
        ({"scale": -1.0}, ValueError, "scale"),
        ({"solver": ParticleSwarm(), "initial_point": np.eye(8)[:, :2]}, TypeError, "initial_point must be a list"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    arguments = {"problem": toy(2), "rng": 0} | change
    with pytest.raises(error, match=message):
        run(arguments.pop("problem"), **arguments)


def test_points_off_pymanopts_manifolds_are_refused():
    problem = parameter_problem(network((3,)), geometry="spheres")
    point = problem.from_parameters(problem.reduced.initial_parameters)
    with pytest.raises(ValueError, match="initial_point is not on the Oblique"):
        run(problem, initial_point=1.1 * point, max_iterations=0)
    deep = parameter_problem(network((2, 3)), geometry="spheres")
    first, second = deep.from_parameters(deep.reduced.initial_parameters)
    assert run(deep, initial_point=[first, second], max_iterations=0).status is Status.MAX_ITERATIONS
    for wrong in ([first, 2 * second], [first], first):
        with pytest.raises(ValueError, match="initial_point"):
            run(deep, initial_point=wrong, max_iterations=0)


def test_targets_of_the_same_seed_are_not_the_start():
    """default_rng(0) drew the targets; a start that repeats those draws would be the minimiser itself."""
    targets = np.random.default_rng(0).standard_normal((6, 2))
    problem = subspace_problem(targets, 2)
    assert run(problem, "steepest-descent", rng=0, max_iterations=0).value > 1e-3 * np.sum(targets**2)
