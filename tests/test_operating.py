"""A solve with a surgeon among its callbacks: pieces of stages, and operations between them."""

import math

import numpy as np
import pytest

import grassvp as gv
from grassvp import operating
from grassvp.errors import ArgumentError
from grassvp.operating import Operated
from grassvp.reduced import ReducedProblem
from grassvp.surgery import Surgery
from tests.solvers.problems import Recorder

WIDTH, EVERY_FOURTH = 12, Surgery(every=4)
REGULARIZATIONS = [0.0, 1e-9, "auto", "gcv", gv.Continuation(1e-2, 1e-9, iterations=3)]


def doubled(regularization=1e-9, width=WIDTH):
    """A problem, and theta of whose neurons three are copies and one is of zeros."""
    x = np.linspace(0.0, 1.0, 80)
    problem = gv.SeparableProblem(gv.features.mlp(1, (width,)), x, np.sin(7 * x), regularization=regularization)
    theta = problem.initial_parameters.numpy().copy()
    for copy, original in ((1, 0), (5, 4), (7, 4)):
        theta[[copy, width + copy]] = theta[[original, width + original]]
    theta[[9, width + 9]] = 0.0
    return problem, theta


def solved(regularization=1e-9, surgeon=EVERY_FOURTH, **options):
    problem, theta = doubled(regularization)
    keep = Recorder()
    settings = {"max_iterations": 18, "tolerance": 0.0} | options
    solution = gv.solve(problem, initial_parameters=theta, callbacks=[keep, surgeon], **settings)
    return problem, solution, keep


def end_law(problem, solution):
    """The end is of the narrower problem: value, gradient, C, prediction."""
    own = solution.problem
    assert own.rule is own.continuation is None and own.regularization == solution.regularization
    now = ReducedProblem(own).linearize(solution.parameters)
    assert math.isclose(now.value, solution.value, rel_tol=1e-12)
    np.testing.assert_allclose(solution.coefficients, now.coefficients, rtol=1e-12)
    assert math.isclose(float(now.gradient.norm()), solution.gradient_norm, rel_tol=1e-9, abs_tol=1e-300)
    assert len(solution.parameters) == 2 * (own.width - 1) and len(solution.coefficients) == own.width
    x = np.array([0.3, 0.9])
    expected = own.features(solution.parameters, own.inputs.new_tensor(x)[:, None]) @ solution.coefficients
    np.testing.assert_allclose(solution.predict(x), expected[:, 0].numpy(), rtol=1e-12)
    assert problem.width == WIDTH + 1, "the problem given is left alone"


def piece_law(solution, keep, every=4):
    """Operations come after so many iterations, and every step is counted and shown once."""
    before = [iterations for iterations, _ in solution.operations]
    apart = np.diff([0, *before])
    assert before and all(apart[:-1] >= every) and (apart[-1] >= every or before[-1] == solution.iterations)
    assert [record.iteration for record in keep.records] == list(range(solution.iterations + 1))
    widths = [result.width_before for _, result in solution.operations]
    after = [result.width_after for _, result in solution.operations]
    assert widths == [WIDTH, *after[:-1]] and after[-1] == solution.problem.width - 1 < WIDTH


def whole_law(regularization=1e-9, **options):
    problem, solution, keep = solved(regularization, **options)
    end_law(problem, solution)
    piece_law(solution, keep)
    return solution


@pytest.mark.parametrize("regularization", REGULARIZATIONS, ids=str)
def test_a_solve_that_loses_neurons(regularization):
    whole_law(regularization)


def test_pieces_by_hand():
    """Four iterations, the operation, four more: the same end as in one solve."""
    problem, theta = doubled()
    surgeon = Surgery(every=4)
    for _ in range(2):
        theta = gv.solve(problem, initial_parameters=theta, max_iterations=4, tolerance=0.0).parameters
        result = surgeon.operate(problem, theta)
        if result is not None and result.changed:
            problem, theta = result.problem, result.parameters
    _, solution, _ = solved(max_iterations=8)
    np.testing.assert_allclose(solution.parameters, theta, rtol=1e-12)


def test_reseeding_keeps_the_width_and_follows_the_seed():
    ends = [solved(surgeon=Surgery(every=4, reseed=True), seed=seed)[1] for seed in (0, 0, 1)]
    assert all(end.operations and end.problem.width == WIDTH + 1 for end in ends)
    assert np.array_equal(ends[0].parameters, ends[1].parameters)
    assert not np.array_equal(ends[0].parameters, ends[2].parameters)


def test_a_solve_that_would_end_goes_on_with_the_network_that_is_left():
    """The start is the end of a solve of the smaller network: nothing moves before the copy goes."""
    x = np.linspace(0.0, 1.0, 60)
    small = gv.SeparableProblem(gv.features.mlp(1, (3,)), x, np.sin(7 * x), regularization=1e-3)
    found = gv.solve(small, seed=0, max_iterations=300, tolerance=1e-10)
    assert found.converged
    w, b = found.parameters.numpy().reshape(2, 3)
    theta = np.concatenate([w, [0.0], b, [0.0]])  # a neuron of zeros beside them
    large = gv.SeparableProblem(gv.features.mlp(1, (4,)), x, np.sin(7 * x), regularization=1e-3)
    end = gv.solve(large, initial_parameters=theta, callbacks=[Surgery(every=50)], tolerance=1e-10)
    assert end.problem.width == 4 and end.converged and math.isclose(end.value, found.value, rel_tol=1e-9)


def test_a_callback_that_stops_is_obeyed_before_any_operation():
    problem, theta = doubled()
    stop = lambda record: record.iteration == 2  # noqa: E731
    end = gv.solve(problem, initial_parameters=theta, callbacks=[stop, Surgery(every=1, max_increase=0.0)])
    assert end.status is gv.Status.STOPPED and end.iterations == 2


def test_ctrl_c_in_an_operation_keeps_the_iterate():
    class Interrupted(Surgery):
        def operate(self, problem, parameters, rng=0):
            raise KeyboardInterrupt

    _, solution, _ = solved(surgeon=Interrupted(every=4))
    assert solution.status is gv.Status.INTERRUPTED and solution.iterations == 4
    assert np.isfinite(solution.value) and solution.operations == ()


@pytest.mark.parametrize(
    ("solver", "surgeons"),
    [(gv.FirstOrder("adam", objective="joint"), [Surgery()]), (None, [Surgery(), Surgery(every=3)])],
)
def test_what_cannot_be_operated_is_refused(solver, surgeons):
    problem, theta = doubled()
    with pytest.raises(ArgumentError, match="surgeon"):
        gv.solve(problem, solver, initial_parameters=theta, callbacks=surgeons)


def test_features_without_neurons_are_refused():
    decay = gv.features.from_function(lambda p, t: np.e ** (-t[:, None] * p), [0.5, 2.0])
    t = np.linspace(0.0, 3.0, 20)
    with pytest.raises(ArgumentError, match="features must be an mlp"):
        gv.solve(gv.SeparableProblem(decay, t, np.exp(-t)), callbacks=[Surgery(every=1)])


original_after, original_piece = Operated.after, Operated._piece


def forgetful(self, stage, outcome, final):
    """The schedule goes on with the problem of before."""
    following, outcome = original_after(self, stage, outcome, final)
    return operating.replace(following, reduced=stage.reduced), outcome


def uncut(self, now, whole, left, count):
    return operating.replace(original_piece(self, now, whole, left, count), iterations=left, rest=0)


MUTATIONS = {
    "the network is not handed on": ((Operated, "after", forgetful), whole_law),
    "stages are not cut": ((Operated, "_piece", uncut), test_pieces_by_hand),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    law()
    with monkeypatch.context() as patched:
        patched.setattr(*patch)
        with pytest.raises(Exception):  # noqa: B017 - shapes that do not fit raise too
            law()
