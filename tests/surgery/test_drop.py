"""Dead, saturated and collinear neurons: as many go as the span allows, which stays, and so does the value."""

import numpy as np
import pytest

import grassvp as gv
from grassvp.surgery import drop_dependent
from tests.surgery.cases import LAMS, SETTINGS, Setting, at, basis_of, with_copies
from tests.surgery.laws import narrowed_law, span_law, value_law


def dead(setting):
    """Relu neurons that no row wakes."""
    theta = setting.theta()
    for neuron in (1, 5):
        theta = setting.placed(theta, neuron, 0.5, -9.0)
    return theta, {1, 5}


def saturated(setting):
    """The same everywhere: at the end of tanh, and with no slope at all."""
    theta = setting.placed(setting.placed(setting.theta(), 2, 1.0, 40.0), 6, 0.0, 0.3)
    return theta, {2, 6}


def phases(setting):
    """Three sines of one frequency are two."""
    theta = setting.theta()
    for neuron, shift in ((1, 0.7), (4, 2.0)):
        theta = setting.copied(theta, 0, neuron, shift=shift)
    return theta, None


def lines(setting):
    """Relu neurons that all rows are on the active side of: linear functions."""
    theta = setting.theta()
    for neuron, slope in enumerate((1.0, 0.5, -0.7)):
        theta = setting.placed(theta, neuron, slope, 9.0)
    return theta, None


PLANTED = {
    "dead": (dead, Setting("relu", d=2), 2),
    "saturated": (saturated, Setting("tanh"), 2),
    "saturated, weights": (saturated, Setting("tanh", weighted=True, d=2, outputs=2), 2),
    "saturated, operator": (saturated, Setting("tanh", operator=True), 2),
    "one frequency": (phases, Setting("sin", d=2), 1),
    "lines": (lines, Setting("relu"), 2),
    "lines without constant": (lines, Setting("relu", bias_feature=False), 1),
    "dead, two layers": (dead, Setting("relu", widths=(5, 8), d=2, weighted=True), 4),
    "more neurons than rows": (lambda s: (s.theta(), None), Setting("relu", widths=(20,), rows=9, d=2), 12),
}


def dropped(result):
    return {number for operation in result.operations for number in operation.removed if operation.accepted}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("lam", LAMS)
def test_what_the_others_span_is_dropped(name, lam):
    plant, setting, count = PLANTED[name]
    setting = at(setting, lam)
    theta, expected = plant(setting)
    spare = setting.widths[-1] + setting.bias_feature - basis_of(setting.matrix(theta)).shape[1]
    assert spare == count, "the case is what it says"
    result = drop_dependent(setting.problem(), theta)
    gone = dropped(result)
    assert len(gone) == count and (expected is None or expected <= gone)
    kept = [n for n in range(setting.widths[-1]) if n not in gone]
    narrowed_law(setting, theta, result, kept)
    span_law(setting, theta, result, kept, angle=1e-8)
    if lam == 0.0:
        value_law(setting, result, relative=1e-6)
    else:
        assert result.value_change >= -1e-12 * result.value_before


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("lam", LAMS)
def test_copies_are_collinear(name, lam):
    setting = at(SETTINGS[name], lam)
    theta, groups = with_copies(setting)
    result = drop_dependent(setting.problem(), theta)
    gone = dropped(result)
    assert all(len(group & gone) == len(group) - 1 for group in groups)
    assert len(gone) == sum(len(group) - 1 for group in groups)
    kept = [n for n in range(setting.widths[-1]) if n not in gone]
    narrowed_law(setting, theta, result, kept)
    span_law(setting, theta, result, kept)
    if lam == 0.0:
        value_law(setting, result)


def test_the_reasons_are_told():
    setting = Setting("relu", d=2)
    theta = setting.placed(setting.placed(setting.copied(setting.theta(), 0, 7, factor=2.0), 1, 0.5, -9.0), 4, 0.0, 2.0)
    messages = {each.neurons[0]: each.message for each in drop_dependent(setting.problem(), theta).operations}
    assert messages[1] == "neuron 1 dropped: dead (0 of the longest column)"
    assert "constant" in messages[4] and "inside the span of the others" in (messages.get(0) or messages.get(7))
    assert len(messages) == 3


def test_a_constant_neuron_is_needed_where_there_is_no_constant_feature():
    setting = Setting(bias_feature=False)
    one = setting.placed(setting.theta(), 2, 0.0, 1.0)
    assert dropped(drop_dependent(setting.problem(), one)) == set()
    two = setting.placed(one, 6, 0.0, -0.2)
    result = drop_dependent(setting.problem(), two)
    assert len(dropped(result)) == 1 and dropped(result) <= {2, 6}
    assert abs(result.value_change) < 1e-9 * result.value_before


@pytest.mark.parametrize("slope", [1e-5, 1e-8])
def test_a_small_column_is_not_dead_while_the_linear_solve_sees_it(slope):
    """tanh(s x) is s x: small, and far from the span of the others."""
    setting = Setting(widths=(3,), bias_feature=False)
    theta = setting.placed(setting.theta(), 1, slope, 0.0)
    for options in ({}, {"column_scaling": True}, {"rank_tolerance": 1e-6}):
        result = drop_dependent(setting.problem(**options), theta)
        assert dropped(result) == ({1} if options.get("rank_tolerance") and slope == 1e-8 else set())
        assert abs(result.value_change) < 1e-9 * result.value_before


@pytest.mark.parametrize("lam", [0.0, 1e-4])
def test_one_neuron_stays(lam):
    setting = Setting(widths=(4,), lam=lam)
    theta = np.concatenate([np.zeros(4), np.linspace(0.2, 1.0, 4)])
    result = drop_dependent(setting.problem(), theta)
    assert result.width_after == 1 and len(result.operations) == 3
    assert gv.solve(result.problem, initial_parameters=result.parameters, max_iterations=2).value <= result.value_after


def test_with_bounds_on_the_coefficients_only_the_dead_go():
    setting = Setting("relu", d=2)
    theta = setting.placed(setting.placed(setting.copied(setting.theta(), 0, 7), 1, 0.5, -9.0), 4, 0.0, 2.0)
    bounded = drop_dependent(setting.problem(coefficient_bounds=(-3.0, 3.0)), theta)
    assert dropped(bounded) == {1} and abs(bounded.value_change) < 1e-9 * bounded.value_before
    assert bounded.problem.coefficient_bounds.lower.shape == (8, 1)


@pytest.mark.parametrize("power", [-140, -20, 20])
def test_the_units_of_data_and_weights_do_not_matter(power):
    """At lam = 0, where the solution is the same in any units."""
    setting = Setting("sin", d=2)
    theta, _ = phases(setting)
    x, y = setting.inputs, setting.targets
    plain, scaled = (
        drop_dependent(gv.SeparableProblem(setting.problem().features, x, f * y, weights=w), theta)
        for f, w in ((1.0, None), (2.0 ** (power / 2), np.full(60, 2.0 ** (power / 2))))
    )
    assert dropped(plain) == dropped(scaled) and len(dropped(plain)) == 1
    assert scaled.span_angle == pytest.approx(plain.span_angle, abs=1e-12)


def test_single_precision():
    setting = Setting(dtype="float32")
    theta = setting.placed(setting.copied(setting.theta(), 0, 7), 2, 1.0, 40.0)
    result = drop_dependent(setting.problem(), theta)
    assert 2 in dropped(result) and dropped(result) & {0, 7}
    assert result.width_after >= basis_of(setting.matrix(theta), 1e-5).shape[1] - 1
    assert abs(result.value_change) < 1e-6 * (setting.sides**2).sum()


@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_a_solve_goes_on_from_there(lam):
    setting = Setting("tanh", lam=lam)
    theta, _ = saturated(setting)
    result = drop_dependent(setting.problem(), theta)
    solution = gv.solve(result.problem, initial_parameters=result.parameters, max_iterations=10)
    assert solution.value < result.value_after
