"""Neurons placed anew: each the best candidate, the others as they were, the span larger, the value lower."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

import grassvp as gv
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.starts import growth
from grassvp.surgery import Surgery, reseed
from tests import oracles
from tests.surgery.cases import LAMS, SETTINGS, Setting, at, basis_of, value_of, with_copies


def spare(groups):
    """All but one of each set of copies."""
    return sorted(number for group in groups for number in sorted(group)[1:])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("lam", LAMS)
def test_copies_are_placed_where_they_serve(name, lam):
    setting = at(SETTINGS[name], lam)
    theta, groups = with_copies(setting)
    freed, problem = spare(groups), setting.problem()
    result = reseed(problem, theta, freed, rng=0, pool=60)
    assert result.problem is problem and result.width_after == result.width_before == setting.widths[-1]
    kept, moved = [n for n in range(setting.widths[-1]) if n not in freed], result.parameters.numpy()
    np.testing.assert_array_equal(setting.kept(moved, kept), setting.kept(theta, kept))
    size = float((setting.sides**2).sum())
    assert result.changed and result.value_after < result.value_before
    assert result.value_after == pytest.approx(setting.value(moved), rel=1e-7, abs=1e-11 * size)
    old, new = basis_of(setting.matrix(theta)), basis_of(setting.matrix(moved), 1e-13)
    assert new.shape[1] == old.shape[1] + len(freed) and subspace_angles(new, old).max() < 1e-9
    assert result.span_angle < 1e-9 and result.span_preserved


@pytest.mark.parametrize("name", SETTINGS)
def test_each_is_the_candidate_that_lowers_the_residual_most(name):
    setting = SETTINGS[name]
    theta, groups = with_copies(setting)
    freed, problem, rng = spare(groups), setting.problem(), np.random.default_rng(2)
    moved = reseed(problem, theta, freed, rng=2, pool=25).parameters.numpy()
    hidden = torch.from_numpy(setting.inputs)
    if len(setting.widths) > 1:
        at_theta = torch.from_numpy(theta)
        hidden = oracles.torch_features(at_theta, hidden, setting.widths[:-1], setting.activation, False)
    done = theta.copy()
    for position, number in enumerate(freed):
        W, b = growth._random_neurons(hidden, rng, 25, growth._steepest(problem) if setting.operator else 400.0)
        values, waiting = [], freed[position + 1 :]
        for w, c in zip(W.numpy(), b.numpy(), strict=True):
            trial = done.copy()
            weights, biases = setting.last(trial)
            weights[number], biases[number] = w, c
            columns = np.delete(setting.matrix(trial), waiting, axis=1)
            values.append(value_of(columns, setting.sides, 0.0))
        best, (weights, biases) = int(np.argmin(values)), setting.last(done)
        weights[number], biases[number] = W[best].numpy(), b[best].numpy()
    np.testing.assert_allclose(moved, done, rtol=1e-9, atol=1e-12)


def test_the_only_neuron():
    setting = Setting(widths=(1,))
    theta = np.array([0.0, 0.3])
    result = reseed(setting.problem(), theta, [0], rng=1)
    assert result.changed and result.value_after < 0.8 * result.value_before


@pytest.mark.parametrize("widths", [(4,), (3, 4)])
def test_bounds_hold(widths):
    setting = Setting(widths=widths, d=2)
    theta = setting.copied(np.clip(setting.theta(), -1.5, 1.5), 0, 3)
    lower, upper = np.full(theta.size, -2.0), np.full(theta.size, 2.0)
    W, b = setting.last(upper)
    W[3], b[3] = 0.5, 0.1
    result = reseed(setting.problem(bounds=(lower, upper)), theta, [3], rng=0, pool=200)
    moved = result.parameters.numpy()
    assert result.changed and (moved >= lower).all() and (moved <= upper).all()
    free = reseed(setting.problem(), theta, [3], rng=0, pool=200).parameters.numpy()
    assert (free > upper).any() or (free < lower).any(), "the box is felt"


def test_a_place_that_is_no_better_is_refused():
    setting = Setting(widths=(2,))
    problem = setting.problem()
    theta = gv.solve(problem, seed=0).parameters
    result = reseed(problem, theta, [0, 1], rng=0, pool=1)
    assert not result.changed and torch.equal(result.parameters, theta) and result.value_change == 0.0
    (operation,) = result.operations
    assert operation.message.startswith("refused: neurons 0 and 1 re-seeded") and operation.removed == ()


def test_the_rng_decides_and_nothing_else():
    setting = Setting("sin", d=2)
    theta, groups = with_copies(setting)
    freed, problem = spare(groups), setting.problem()
    before = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first, again, other = (
        reseed(problem, theta, freed, rng=rng, pool=20).parameters for rng in (1, np.random.default_rng(1), 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert np.array_equal(np.random.get_state()[1], before[0]) and torch.equal(torch.random.get_rng_state(), before[1])


def test_single_precision():
    setting = Setting(dtype="float32", widths=(6,))
    theta = setting.copied(setting.theta(), 0, 4)
    result = reseed(setting.problem(), theta, [4], rng=0, pool=50)
    assert result.parameters.dtype == torch.float32 and result.changed and result.span_preserved


@pytest.mark.parametrize("name", ["tanh", "two layers", "operator"])
def test_a_solve_goes_on_from_there(name):
    setting = SETTINGS[name]
    theta, _ = with_copies(setting)
    result = Surgery(reseed=True).operate(setting.problem(), theta)
    assert result is not None and result.changed
    solution = gv.solve(result.problem, initial_parameters=result.parameters, max_iterations=10)
    assert solution.value < result.value_after


def test_arguments():
    setting = Setting(widths=(4,))
    problem, theta = setting.problem(), setting.theta()
    for bad in ([], [4], [0, 0]):
        with pytest.raises(ArgumentError, match="neurons must be different numbers below 4"):
            reseed(problem, theta, bad, rng=0)
    with pytest.raises(ArgumentError, match="neurons must be an integer >= 0"):
        reseed(problem, theta, [-1], rng=0)
    for bad in ("12", 3):
        with pytest.raises(ArgumentTypeError, match="neurons must be a sequence"):
            reseed(problem, theta, bad, rng=0)
    with pytest.raises(ArgumentError, match="pool"):
        reseed(problem, theta, [0], rng=0, pool=0)
    with pytest.raises(ArgumentError, match="rng must be"):
        reseed(problem, theta, [0], rng="x")
