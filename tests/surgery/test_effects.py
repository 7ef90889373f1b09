"""What a neuron is worth, against solving again without it."""

from itertools import combinations

import numpy as np
import pytest
import torch

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.surgery import leave_one_out, prune
from grassvp.surgery.effects import elimination, joint_effect
from grassvp.surgery.networks import Network
from tests.surgery.cases import LAMS, SETTINGS, Setting, at, value_of, with_copies
from tests.surgery.laws import narrowed_law


def without(setting, theta, gone):
    """The value without some columns, by other code."""
    A = np.delete(setting.matrix(theta), list(gone), axis=1)
    return value_of(A, setting.sides, setting.lam)


def rises(setting, theta):
    """By how much the value rises without each neuron."""
    return np.array([without(setting, theta, [j]) for j in range(setting.widths[-1])]) - setting.value(theta)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("lam", LAMS)
def test_leave_one_out_is_what_a_new_solve_says(name, lam):
    setting = at(SETTINGS[name], lam)
    theta = setting.theta()
    found, expected = leave_one_out(setting.problem(), theta), rises(setting, theta)
    size = float((setting.sides**2).sum())
    assert found.shape == (setting.widths[-1],) and found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12 * size)
    assert expected.max() > 1e-6 * size


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("lam", LAMS)
def test_copies_and_dead_neurons_are_worth_nothing_without_ridge(name, lam):
    setting = at(SETTINGS[name], lam)
    theta, groups = with_copies(setting)
    found, expected = leave_one_out(setting.problem(), theta), rises(setting, theta)
    size = float((setting.sides**2).sum())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12 * size)
    copies = sorted(set().union(*groups))
    assert lam > 0 or (found[copies] == 0).all()
    assert (np.delete(found.numpy(), copies) > 0).all()


def test_dead_neurons_at_every_lam():
    for lam in LAMS:
        setting = Setting("relu", d=2, lam=lam)
        theta = setting.placed(setting.theta(), 3, 1.0, -9.0)
        found = leave_one_out(setting.problem(), theta)
        assert found[3] < 1e-30 and found.isfinite().all()
        np.testing.assert_allclose(found, rises(setting, theta), rtol=1e-6, atol=1e-12)


def test_scaled_columns_make_no_difference():
    setting = Setting(d=2, widths=(4,))
    theta = setting.placed(setting.theta(), 1, 1e-4, 0.0)
    plain, scaled = (leave_one_out(setting.problem(column_scaling=on), theta) for on in (False, True))
    np.testing.assert_allclose(plain, scaled, rtol=1e-6)


def test_single_precision():
    setting = Setting("sin", d=2, widths=(4,), dtype="float32", lam=1e-2)
    found = leave_one_out(setting.problem(), setting.theta())
    np.testing.assert_allclose(found, rises(setting, setting.theta()), rtol=1e-3)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", ["sin, d = 2, 3 outputs", "two layers"])
def test_several_columns_together(name, lam):
    setting = at(SETTINGS[name], lam)
    theta = setting.theta()
    projection = Network.of(setting.problem(), theta).point.projection
    size = float((setting.sides**2).sum())
    for gone in [*combinations(range(5), 2), (0, 1, 2), (4, 2, 1, 0)]:
        expected = without(setting, theta, gone) - setting.value(theta)
        assert joint_effect(projection, gone) == pytest.approx(expected, rel=1e-6, abs=1e-12 * size)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", SETTINGS)
def test_elimination_is_greedy_and_its_sums_are_rises(name, lam):
    """Each column that goes is the one that a new solve would choose, at the price that it says."""
    setting = at(SETTINGS[name], lam)
    theta, width = setting.theta(), setting.widths[-1]
    found = elimination(Network.of(setting.problem(), theta).point.projection, width, np.inf)
    assert len(found) == width - 1 and len({column for column, _ in found}) == width - 1
    gone, size = [], float((setting.sides**2).sum())
    for column, rise in found:
        now = without(setting, theta, gone)
        left = [j for j in range(width) if j not in gone]
        prices = {j: without(setting, theta, [*gone, j]) - now for j in left}
        assert rise == pytest.approx(prices[column], rel=1e-4, abs=1e-11 * size)
        assert prices[column] <= min(prices.values()) * (1 + 1e-4) + 1e-11 * size
        gone.append(column)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("increase", [1e-4, 0.01, 0.05])
def test_pruning_stays_within_its_allowance_and_takes_all_that_it_may(increase, lam):
    setting = Setting("sin", d=2, outputs=2, lam=lam, rows=80, widths=(10,))
    theta = setting.theta()
    result = prune(setting.problem(), theta, max_increase=increase)
    gone = [each.neurons[0] for each in result.operations]
    kept = [n for n in range(10) if n not in gone]
    narrowed_law(setting, theta, result, kept)
    assert result.value_after <= (1 + increase) * result.value_before
    more = min(without(setting, theta, [*gone, n]) for n in kept)
    assert more > (1 + increase) * result.value_before
    assert not gone or (result.span_angle == pytest.approx(np.pi / 2) and not result.span_preserved)


def test_pruning_takes_something_and_says_at_what_price():
    setting = Setting("sin", rows=80, widths=(10,), lam=1e-6)
    result = prune(setting.problem(), setting.theta(), max_increase=0.2)
    assert 1 <= len(result.operations) <= 8 and result.operations[0].kind == "prune"
    told = [float(each.message.split("rises by ")[1]) for each in result.operations]
    assert sum(told) == pytest.approx(result.value_change, rel=0.05) and told == sorted(told)


def test_pruning_a_deficient_network_begins_with_what_the_others_span():
    setting = Setting("sin", d=2, widths=(9,))
    theta = setting.copied(setting.copied(setting.theta(), 0, 4), 0, 7, shift=1.0)
    theta = setting.copied(theta, 0, 8, shift=2.0)  # four neurons that span two dimensions
    result = prune(setting.problem(), theta, max_increase=0.0)
    gone = {each.neurons[0] for each in result.operations}
    assert len(gone) == 2 and gone < {0, 4, 7, 8} and result.span_preserved
    assert abs(result.value_change) < 1e-9 * result.value_before
    more = prune(setting.problem(), theta, max_increase=1.0)
    assert more.width_after < 7 and more.value_after <= 2.0 * more.value_before


def test_pruning_without_limit_leaves_the_best_neuron():
    setting = Setting("sin", widths=(4,), lam=1e-4)
    result = prune(setting.problem(), setting.theta(), max_increase=np.inf)
    assert result.width_after == 1 and len(result.operations) == 3


def test_there_is_no_closed_form_with_bounds_on_the_coefficients():
    setting = Setting()
    problem = setting.problem(coefficient_bounds=(0.0, None))
    for ask in (leave_one_out, prune):
        with pytest.raises(ArgumentError, match="problem has coefficient_bounds"):
            ask(problem, setting.theta())


def test_a_solve_goes_on_from_there():
    setting = Setting("sin", rows=80, widths=(10,), lam=1e-6)
    result = prune(setting.problem(), setting.theta(), max_increase=0.2)
    solution = gv.solve(result.problem, initial_parameters=result.parameters, max_iterations=5)
    assert solution.value < result.value_after
