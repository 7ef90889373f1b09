"""The policy: what it does between iterations, in which order, within what is allowed."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError
from grassvp.surgery import Surgery, drop_dependent, merge_duplicates, prune, reseed
from tests.surgery.cases import LAMS, SETTINGS, Setting, at, with_copies
from tests.surgery.laws import narrowed_law, span_law

FREE = float("inf")


def mixed(setting):
    """Copies, and neurons that are the same everywhere."""
    theta = setting.copied(setting.copied(setting.theta(), 0, 3), 0, 6)
    return setting.placed(setting.placed(theta, 1, 0.0, 0.4), 5, 0.0, -0.8)


@pytest.mark.parametrize("lam", LAMS)
def test_merge_and_then_drop(lam):
    setting = Setting(lam=lam)
    theta = mixed(setting)
    result = Surgery(max_increase=FREE).operate(setting.problem(), theta)
    assert [(each.kind, len(each.neurons)) for each in result.operations[:2]] in (
        [("merge", 3), ("merge", 2)],
        [("merge", 2), ("merge", 3)],
    )
    assert {frozenset(each.neurons) for each in result.operations[:2]} == {frozenset({0, 3, 6}), frozenset({1, 5})}
    (last,) = result.operations[2:]
    assert last.kind == "drop" and last.neurons in ((1,), (5,)), "numbers are those of the network before"
    kept = [0, 2, 4, 7]
    narrowed_law(setting, theta, result, kept)
    span_law(setting, theta, result, kept)
    first = merge_duplicates(setting.problem(), theta)
    second = drop_dependent(first.problem, first.parameters)
    assert torch.equal(second.parameters, result.parameters) and second.value_after == result.value_after


def test_each_kind_alone():
    setting = Setting()
    theta, problem = mixed(setting), setting.problem()
    pairs = (
        (Surgery(drop=False), merge_duplicates(problem, theta)),
        (Surgery(merge=False), drop_dependent(problem, theta)),
        (Surgery(merge=False, drop=False, prune=True, max_increase=0.5), prune(problem, theta, max_increase=0.5)),
    )
    for policy, alone in pairs:
        result = policy.operate(problem, theta)
        assert result.operations == alone.operations and result.operations
        assert torch.equal(result.parameters, alone.parameters)
    assert Surgery(merge=False, drop=False).operate(problem, theta) is None


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_to_do_is_none(name):
    setting = SETTINGS[name]
    assert Surgery().operate(setting.problem(), setting.theta()) is None


@pytest.mark.parametrize("increase", [0.0, 1e-6, 1e-3, 0.1, 1.0])
@pytest.mark.parametrize("policy", [Surgery(), Surgery(prune=True)], ids=["default", "prune"])
def test_the_value_rises_by_no_more_than_is_allowed(increase, policy):
    setting = Setting(lam=1e-3, widths=(9,))
    theta = mixed(setting)
    result = dataclasses.replace(policy, max_increase=increase).operate(setting.problem(), theta)
    assert result.value_after <= (1 + increase) * result.value_before * (1 + 1e-12)
    for each in result.operations:
        assert each.accepted != each.message.startswith("refused: ")
        assert each.accepted or "the value would rise from" in each.message
    gone = {number for each in result.operations if each.accepted for number in each.removed}
    narrowed_law(setting, theta, result, [n for n in range(9) if n not in gone])
    assert result.changed == bool(gone) and result.width_after == 9 - len(gone)


def test_all_kinds_share_what_is_allowed():
    """Merging and dropping would each be allowed; together they are not."""
    setting = Setting(lam=1e-2)
    theta = setting.placed(setting.copied(setting.theta(), 0, 3), 1, 0.0, 0.4)
    problem = setting.problem()
    merged = merge_duplicates(problem, theta)
    both = drop_dependent(merged.problem, merged.parameters)
    first, second = merged.value_change / merged.value_before, both.value_change / merged.value_before
    assert min(first, second) > 1e-6 and both.width_after == 6
    allowed = max(first, second) + 0.5 * min(first, second)
    result = Surgery(max_increase=allowed).operate(problem, theta)
    assert [(each.kind, each.accepted) for each in result.operations] == [("merge", True), ("drop", False)]
    assert result.width_after == 7


def test_what_is_refused_leaves_problem_and_theta():
    setting = Setting(lam=1e-1)
    theta, problem = mixed(setting), setting.problem()
    result = Surgery(max_increase=0.0).operate(problem, theta)
    assert result.problem is problem and not result.changed and result.operations
    np.testing.assert_array_equal(result.parameters, theta)
    assert result.value_change == 0.0 and result.span_angle == 0.0


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_at_most_so_many_operations(count):
    setting = Setting()
    result = Surgery(max_operations=count).operate(setting.problem(), mixed(setting))
    assert len(result.operations) == min(count, 3) and all(each.accepted for each in result.operations)


def test_operating_again_and_again_ends():
    setting, policy = Setting(), Surgery(max_operations=1)
    problem, theta, widths = setting.problem(), mixed(setting), []
    for _ in range(5):
        result = policy.operate(problem, theta)
        if result is not None:
            problem, theta = result.problem, result.parameters
            widths.append(result.width_after)
    assert widths[-1] == 4 and len(widths) == 3


@pytest.mark.parametrize("lam", [0.0, 1e-6])
def test_reseeding_keeps_the_width(lam):
    setting = Setting(lam=lam)
    theta, problem = mixed(setting), setting.problem()
    result = Surgery(reseed=True, max_increase=1.0).operate(problem, theta, np.random.default_rng(4))
    assert result.problem is problem and result.width_after == 8 and result.value_after < result.value_before
    last = result.operations[-1]
    assert last.kind == "reseed" and last.accepted
    freed = sorted(set(range(8)) - {0, 2, 4, 7})
    assert list(last.neurons) == freed
    alone = reseed(problem, theta, freed, rng=4)
    assert torch.equal(alone.parameters, result.parameters)


def test_candidates_follow_the_seed():
    setting = Setting()
    theta, problem = mixed(setting), setting.problem()
    policy = Surgery(reseed=True)
    first, again, other, given = (
        policy.operate(problem, theta, rng).parameters for rng in (1, 1, 2, np.random.default_rng(1))
    )
    assert torch.equal(first, again) and torch.equal(first, given) and not torch.equal(first, other)


def test_a_reseeding_that_does_not_help_undoes_all(monkeypatch):
    """A neuron of zeros is worth less than the copy, which halves the ridge."""
    setting = Setting(lam=1e-3)
    theta, problem = setting.copied(setting.theta(), 0, 3), setting.problem()
    monkeypatch.setattr(
        "grassvp.surgery.seeding.best_candidate",
        lambda *a, **o: (torch.zeros(1, dtype=torch.float64), torch.zeros((), dtype=torch.float64)),
    )
    result = Surgery(reseed=True, max_increase=1.0).operate(problem, theta)
    assert result.problem is problem and not result.changed
    np.testing.assert_array_equal(result.parameters, theta)
    assert [each.kind for each in result.operations] == ["merge", "reseed"]
    assert all(each.message.startswith("refused: ") and not each.accepted for each in result.operations)


@pytest.mark.parametrize("name", ["two layers", "operator, weights, d = 2", "no constant"])
def test_every_kind_of_network(name):
    setting = at(SETTINGS[name], 0.0)
    theta, groups = with_copies(setting)
    result = Surgery().operate(setting.problem(), theta)
    assert {frozenset(each.neurons) for each in result.operations} == {frozenset(group) for group in groups}
    assert "SurgeryResult(width" in repr(result) and "merged" in repr(result)


def test_coefficient_bounds_and_pruning_do_not_go_together():
    setting = Setting()
    problem = setting.problem(coefficient_bounds=(-1.0, 1.0))
    with pytest.raises(ArgumentError, match="coefficient_bounds"):
        Surgery(prune=True).operate(problem, setting.theta())
    result = Surgery(max_increase=FREE).operate(problem, mixed(setting))
    assert {each.kind for each in result.operations} == {"merge"} and result.problem.coefficient_bounds is not None
