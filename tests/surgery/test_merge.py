"""Duplicates: one of each is kept, the span stays, and the value changes by what the ridge says."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

import grassvp as gv
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import from_function
from grassvp.surgery import merge_duplicates
from tests.surgery.cases import LAMS, SETTINGS, Setting, at, basis_of, value_of, with_copies
from tests.surgery.laws import narrowed_law, span_law, value_law

every_setting = pytest.mark.parametrize("name", SETTINGS)


def sets(result):
    return [set(each.neurons) for each in result.operations]


def rest(setting, groups):
    """Of every group the first."""
    return [n for n in range(setting.widths[-1]) if all(n not in group or n == min(group) for group in groups)]


@every_setting
@pytest.mark.parametrize("lam", LAMS)
def test_exact_copies_are_merged(name, lam):
    setting = at(SETTINGS[name], lam)
    theta, groups = with_copies(setting)
    result = merge_duplicates(setting.problem(), theta)
    assert sorted(map(min, sets(result))) == sorted(map(min, groups))
    assert all(each in sets(result) for each in groups)
    kept = rest(setting, groups)
    narrowed_law(setting, theta, result, kept)
    span_law(setting, theta, result, kept)
    if lam == 0.0:
        value_law(setting, result)


@every_setting
@pytest.mark.parametrize("lam", LAMS[1:])
def test_the_ridge_pays_for_every_copy_that_is_missing(name, lam):
    """r copies of a column a are one column sqrt(r) a, whose removal by rank-one updates has a closed form."""
    setting = at(SETTINGS[name], lam)
    theta = setting.copied(setting.copied(setting.theta(), 0, 2), 0, 3)
    result = merge_duplicates(setting.problem(), theta)
    A, Y = setting.matrix(theta), setting.sides
    K = A @ A.T + lam * np.eye(len(A))
    C = A.T @ np.linalg.solve(K, Y)
    a, missing = A[:, 0], 2
    rise = 0.5 * lam * missing * (C[0] ** 2).sum() / (1 - missing * a @ np.linalg.solve(K, a))
    assert rise > 1e-9 * result.value_before
    value_law(setting, result, rise, relative=1e-5)
    assert 0 < result.value_change <= 0.5 * lam * (1 - 1 / 3) * 9 * (C[0] ** 2).sum() * (1 + 1e-6)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("slopes", [(1.0, 3.0, 0.5), (2.0, 1.0, 5.0)])
def test_multiples_are_merged_into_the_longest(lam, slopes):
    """sigma(s z) = s sigma(z) for relu."""
    setting = Setting("relu", lam=lam, d=2)
    theta = setting.theta()
    for neuron, slope in zip((1, 4, 6), slopes, strict=True):
        theta = setting.copied(theta, 5, neuron, factor=slope)
    result = merge_duplicates(setting.problem(), theta)
    longest = (1, 4, 6)[int(np.argmax(slopes))]
    (operation,) = result.operations
    assert operation.neurons[0] == longest and set(operation.neurons) == {1, 4, 5, 6}
    kept = [n for n in range(8) if n not in (1, 4, 5, 6) or n == longest]
    narrowed_law(setting, theta, result, kept)
    span_law(setting, theta, result, kept)


@pytest.mark.parametrize("shift", [1e-12, 1e-9, 1e-5, 1e-3])
@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_approximate_copies_by_their_angle(shift, lam):
    """Merged where the sine of the angle is within the tolerance; the change of the value is that of a new solve."""
    setting = Setting(lam=lam, widths=(5,))
    theta = setting.copied(setting.theta(), 0, 3, shift=shift)
    A = setting.matrix(theta)
    first, other = A[:, 0] / np.linalg.norm(A[:, 0]), A[:, 3]
    sine = np.linalg.norm(other - first * (first @ other)) / np.linalg.norm(other)
    for tolerance in (sine / 2, 2 * sine):
        result = merge_duplicates(setting.problem(), theta, tolerance=tolerance)
        if tolerance < sine:
            assert result.operations == () and not result.changed and result.width_after == 5
            continue
        (operation,) = result.operations
        told = float(operation.message.split("angle ")[1].rstrip(")"))
        assert told == pytest.approx(sine, rel=0.5, abs=1e-14)
        gone = ({0, 3} - {operation.neurons[0]}).pop()
        kept = [n for n in range(5) if n != gone]
        narrowed_law(setting, theta, result, kept)
        value_law(setting, result, setting.value(setting.kept(theta, kept), 4) - setting.value(theta), relative=1e-6)
        old, new = basis_of(A, tolerance), basis_of(setting.matrix(setting.kept(theta, kept), 4), 1e-13)
        expected = subspace_angles(old, new).max()
        assert result.span_angle == pytest.approx(expected, rel=1e-3, abs=1e-13) and result.span_angle < 10 * sine


@pytest.mark.parametrize("lam", [0.0, 1e-3])
def test_single_precision(lam):
    setting = Setting(lam=lam, dtype="float32", widths=(6,))
    theta = setting.copied(setting.theta(), 0, 4, factor=-1.0)
    result = merge_duplicates(setting.problem(), theta)
    assert sets(result) == [{0, 4}] and result.parameters.dtype == torch.float32
    narrowed_law(setting, theta, result, [0, 1, 2, 3, 5])
    assert result.span_angle < 1e-4 and result.span_preserved
    if lam == 0.0:
        assert abs(result.value_change) < 1e-5 * result.value_before


def test_all_neurons_the_same_leave_one():
    setting = Setting(widths=(5,))
    theta = setting.theta()
    for neuron in range(1, 5):
        theta = setting.copied(theta, 0, neuron, factor=(-1.0) ** neuron)
    result = merge_duplicates(setting.problem(), theta)
    assert [each.neurons for each in result.operations] == [(0, 1, 2, 3, 4)]
    narrowed_law(setting, theta, result, [0])


def test_nothing_to_merge_leaves_everything():
    setting = Setting()
    problem = setting.problem()
    result = merge_duplicates(problem, setting.theta())
    assert result.problem is problem and result.operations == () and result.span_angle == 0.0
    assert result.value_change == 0.0 and "nothing to do" in repr(result)


def test_a_rise_that_is_not_allowed_is_refused():
    setting = Setting(lam=1e-2)
    theta = setting.copied(setting.theta(), 0, 3)
    free = merge_duplicates(setting.problem(), theta)
    relative = free.value_change / free.value_before
    for allowed in (relative / 2, 2 * relative):
        result = merge_duplicates(setting.problem(), theta, max_increase=allowed)
        assert result.changed == (allowed > relative) and result.operations[0].accepted == result.changed
        assert result.value_after <= (1 + allowed) * result.value_before
    refused = merge_duplicates(setting.problem(), theta, max_increase=0.0)
    assert refused.operations[0].message.startswith("refused: neurons 0 and 3 merged") and refused.width_after == 8


def test_of_many_those_that_the_value_bears_are_merged():
    """The ridge makes one merge cheap and another one dear."""
    setting = Setting(lam=1e-2, widths=(6,))
    theta = setting.placed(setting.theta(), 1, 0.01, 0.0)  # an odd neuron: hardly any column, hardly any effect
    theta = setting.copied(setting.copied(theta, 0, 4), 1, 5)
    changes = {}
    for kept in ([0, 1, 2, 3, 5], [0, 1, 2, 3, 4], [0, 1, 2, 3]):
        changes[len(kept), kept[-1]] = setting.value(setting.kept(theta, kept), len(kept)) / setting.value(theta) - 1
    cheap, dear = sorted([changes[5, 5], changes[5, 4]])
    assert 2 * cheap < dear
    result = merge_duplicates(setting.problem(), theta, max_increase=(cheap + dear) / 2)
    assert [each.accepted for each in result.operations] == [True, False] and result.width_after == 5
    assert result.value_change / result.value_before == pytest.approx(cheap, rel=1e-6)


def test_bounds_of_theta_and_of_the_coefficients_go_along():
    setting = Setting("tanh", widths=(5,), d=2, outputs=2)
    theta = setting.copied(setting.theta(), 1, 3)
    lower, upper = np.arange(15.0) - 30, np.arange(15.0) + 30
    low, high = -5.0 - np.arange(12.0).reshape(6, 2), 5.0 + np.arange(12.0).reshape(6, 2)
    problem = setting.problem(bounds=(lower, upper), coefficient_bounds=(low, high))
    result = merge_duplicates(problem, theta)
    kept = [0, 1, 2, 4]
    box, coefficients = result.problem.bounds, result.problem.coefficient_bounds
    np.testing.assert_array_equal(box.lower, setting.kept(lower, kept))
    np.testing.assert_array_equal(box.upper, setting.kept(upper, kept))
    np.testing.assert_array_equal(coefficients.lower, low[[*kept, 5]])
    np.testing.assert_array_equal(coefficients.upper, high[[*kept, 5]])
    assert problem.bounds.lower.shape == (15,) and problem.coefficient_bounds.lower.shape == (6, 2)


def test_with_bounds_on_the_coefficients_opposite_columns_are_not_the_same():
    setting = Setting(widths=(5,))
    opposite, same = (setting.copied(setting.theta(), 1, 3, factor=sign) for sign in (-1.0, 1.0))
    problem = setting.problem(coefficient_bounds=(0.0, None))
    assert merge_duplicates(problem, opposite).operations == ()
    result = merge_duplicates(problem, same)
    assert sets(result) == [{1, 3}] and abs(result.value_change) < 1e-12 * result.value_before


def test_what_belongs_to_the_problem_stays():
    setting = Setting(weighted=True, lam=1e-8, d=2)
    problem = setting.problem(rank_tolerance=1e-9, column_scaling=True, memory_limit=2**22)
    result = merge_duplicates(problem, setting.copied(setting.theta(), 0, 3))
    made = result.problem
    assert (made.regularization, made.rank_tolerance, made.column_scaling) == (1e-8, 1e-9, True)
    assert made.memory_limit == 2**22 and made.weights is problem.weights and made.inputs is problem.inputs
    assert made.units.shape == result.parameters.shape and made.constraints == ()
    np.testing.assert_array_equal(
        made.initial_parameters, setting.kept(problem.initial_parameters.numpy(), rest(setting, [{0, 3}]))
    )


@pytest.mark.parametrize("name", ["tanh", "two layers", "operator, weights, d = 2"])
@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_a_solve_goes_on_from_there(name, lam):
    setting = at(SETTINGS[name], lam)
    theta, groups = with_copies(setting)
    result = merge_duplicates(setting.problem(), theta)
    solution = gv.solve(result.problem, initial_parameters=result.parameters, max_iterations=15)
    assert solution.value < result.value_after and solution.parameters.shape == result.parameters.shape
    width = len(rest(setting, groups))
    A, size = setting.matrix(solution.parameters.numpy(), width), float((setting.sides**2).sum())
    assert solution.value == pytest.approx(value_of(A, setting.sides, lam), rel=1e-6, abs=1e-10 * size)
    assert solution.predict(setting.inputs).shape == setting.targets.shape


def test_theta_is_numpy_or_torch_and_left_alone():
    setting = Setting()
    theta = setting.copied(setting.theta(), 0, 3)
    given = torch.from_numpy(theta.copy())
    first, second = merge_duplicates(setting.problem(), theta), merge_duplicates(setting.problem(), given)
    assert torch.equal(first.parameters, second.parameters) and np.array_equal(given.numpy(), theta)


def test_arguments():
    setting = Setting()
    problem, theta = setting.problem(), setting.theta()
    model = gv.SeparableProblem(from_function(lambda p, x: x[:, None] ** p, [1.0, 2.0]), np.arange(1.0, 9), np.ones(8))
    with pytest.raises(ArgumentError, match=r"features must be an mlp .* got FunctionFeatures"):
        merge_duplicates(model, [1.0, 2.0])
    with pytest.raises(ArgumentTypeError, match="problem must be a SeparableProblem"):
        merge_duplicates(gv.ReducedProblem(problem), theta)
    with pytest.raises(ArgumentError, match="parameters must have shape"):
        merge_duplicates(problem, theta[:-1])
    for bad in (1.0, -1e-3, np.nan):
        with pytest.raises(ArgumentError, match="tolerance"):
            merge_duplicates(problem, theta, tolerance=bad)
    with pytest.raises(ArgumentError, match="max_increase"):
        merge_duplicates(problem, theta, max_increase=-1.0)
