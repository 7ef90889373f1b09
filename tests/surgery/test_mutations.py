"""Each law of surgery can fail: one ingredient is spoiled at a time, and the test that guards it must notice."""

import dataclasses
import math

import pytest
import torch

from grassvp.bounds import Box
from grassvp.features import DeepMLP, OneHiddenLayer
from grassvp.surgery import acceptance, detection, effects, networks, operations, removal, seeding, spans
from grassvp.surgery.acceptance import Allowance
from grassvp.surgery.networks import Network
from grassvp.surgery.result import Operation
from tests.surgery import test_detection as finding
from tests.surgery import test_drop as dropping
from tests.surgery import test_effects as worth
from tests.surgery import test_merge as merging
from tests.surgery import test_networks as shapes
from tests.surgery import test_policy as policies
from tests.surgery import test_reseed as seeds


def changed(owner, name, change):
    """A patch of owner.name whose result passes through `change`."""
    original = getattr(owner, name)
    return owner, name, lambda *args, **kwargs: change(original(*args, **kwargs))


def given(owner, name, change):
    """A patch of owner.name whose arguments pass through `change`."""
    original = getattr(owner, name)
    return owner, name, lambda *args, **kwargs: original(*change(*args), **kwargs)


def rotated(index):
    return torch.cat([index[:-2], index[-2:].flip(0)])


def forgetful(self):
    """A network whose columns are not weighted."""
    return self.point.derivatives.values.double()


def unprojected(projection, columns, budget):
    """Elimination that never takes what is gone out of the factors."""
    found = effects._effects(projection.pseudo_factor, projection.coefficients.double())[:columns]
    order = torch.argsort(found)[: columns - 1].tolist()
    rises = torch.cumsum(found[order], 0)
    return [(j, float(found[j])) for j, total in zip(order, rises, strict=True) if total <= budget]


def by_arccosine(columns, tolerance):
    """Pairs of columns whose angle by the arccosine of the cosine is small enough."""
    unit = detection.unit_columns(columns)[0]
    angles = torch.arccos((unit.T @ unit).abs().clamp(max=1.0)).triu(1)
    pairs = [(i, j) for i in range(len(angles)) for j in range(i) if float(angles[j, i]) <= math.asin(tolerance)]
    return [detection.Duplicates(j, (i,), float(angles[j, i])) for i, j in pairs]


def kept_anyway(start, freed, rng, pool):
    after = Network(start.problem, seeding._placed(start, freed, rng, pool), start.neurons)
    return after, Operation("reseed", tuple(freed), "re-seeded")


def renumbered(network):
    return dataclasses.replace(network, neurons=tuple(range(len(network.neurons))))


MUTATIONS = {
    # name: (patch, the tests that must notice)
    "weights and biases of a layer are out of step": (
        changed(OneHiddenLayer, "neuron_index", rotated),
        [
            lambda: shapes.test_selected_features_are_some_of_the_columns(1, (4,), True, [1, 3]),
            lambda: merging.test_exact_copies_are_merged("tanh", 0.0),
        ],
    ),
    "the last layer of a deep network is out of step": (
        changed(DeepMLP, "neuron_index", rotated),
        [
            lambda: shapes.test_selected_features_are_some_of_the_columns(2, (3, 4), True, [1, 3]),
            lambda: merging.test_exact_copies_are_merged("two layers", 0.0),
        ],
    ),
    "the inputs of the last layer are those of the network": (
        (
            DeepMLP,
            "_through",
            lambda self, layers, h, through=DeepMLP._through: through(self, list(layers)[1:], h),
        ),
        [lambda: shapes.test_the_last_layer_of_its_own_inputs_is_the_network(2, (2, 2, 3), True)],
    ),
    "bounds of theta do not go along": (
        (networks, "Box", lambda lower, upper: Box(lower.flip(0), upper)),
        [merging.test_bounds_of_theta_and_of_the_coefficients_go_along],
    ),
    "the weights of the rows are forgotten": (
        (Network, "matrix", property(forgetful)),
        [lambda: shapes.test_columns_of_a_network_are_those_of_plain_operations("weights, some zero")],
    ),
    "copies of the other sign are not seen": (
        (operations, "duplicate_columns", lambda A, t, same_sign: detection.duplicate_columns(A, t, same_sign=True)),
        [lambda: merging.test_exact_copies_are_merged("tanh", 0.0)],
    ),
    "opposite signs count under bounds": (
        (operations, "duplicate_columns", lambda A, t, same_sign: detection.duplicate_columns(A, t)),
        [merging.test_with_bounds_on_the_coefficients_opposite_columns_are_not_the_same],
    ),
    "the shortest is kept": (
        changed(
            operations,
            "duplicate_columns",
            lambda found: [
                dataclasses.replace(each, kept=each.others[-1], others=(each.kept, *each.others[:-1])) for each in found
            ],
        ),
        [lambda: merging.test_multiples_are_merged_into_the_longest(0.0, (1.0, 0.7, 0.5))],
    ),
    "angles by arccosine": (
        (finding, "duplicate_columns", by_arccosine),
        [lambda: finding.test_an_angle_is_found_to_all_its_digits(3e-9, 1.0)],
    ),
    "the tolerance of merging is ten times as large": (
        given(operations, "duplicate_columns", lambda A, tolerance: (A, 10 * tolerance)),
        [lambda: merging.test_approximate_copies_by_their_angle(1e-5, 0.0)],
    ),
    "one dependent column too many": (
        given(operations, "dependent_columns", lambda A, c, tolerance, dead: (A, c, 0.5, dead)),
        [lambda: dropping.test_what_the_others_span_is_dropped("saturated", 0.0)],
    ),
    "one dependent column too few": (
        changed(operations, "dependent_columns", lambda found: found[1:]),
        [
            lambda: dropping.test_what_the_others_span_is_dropped("one frequency", 0.0),
            lambda: dropping.test_copies_are_collinear("two layers", 1e-6),
        ],
    ),
    "the constant does not count": (
        given(operations, "dependent_columns", lambda A, c, tolerance, dead: (A, c[:, :0], tolerance, dead)),
        [lambda: dropping.test_what_the_others_span_is_dropped("saturated", 0.0)],
    ),
    "small columns are dead": (
        given(operations, "dependent_columns", lambda A, c, tolerance, dead: (A, c, tolerance, 1e-4)),
        [lambda: dropping.test_a_small_column_is_not_dead_while_the_linear_solve_sees_it(1e-5)],
    ),
    "effects are doubled": (
        changed(effects, "_effects", lambda found: 2 * found),
        [lambda: worth.test_leave_one_out_is_what_a_new_solve_says("tanh", 1e-2)],
    ),
    "effects are those of coefficients alone": (
        (effects, "_effects", lambda L, C: 0.5 * (C**2).sum(1)),
        [lambda: worth.test_leave_one_out_is_what_a_new_solve_says("tanh", 0.0)],
    ),
    "copies count without ridge": (
        (effects, "INSIDE", 2.0),
        [lambda: worth.test_copies_and_dead_neurons_are_worth_nothing_without_ridge("tanh", 0.0)],
    ),
    "what is gone stays in the factors": (
        (worth, "elimination", unprojected),
        [lambda: worth.test_elimination_is_greedy_and_its_sums_are_rises("sin, d = 2, 3 outputs", 0.0)],
    ),
    "several effects add up": (
        (
            worth,
            "joint_effect",
            lambda projection, columns: float(
                effects._effects(projection.pseudo_factor, projection.coefficients.double())[list(columns)].sum()
            ),
        ),
        [lambda: worth.test_several_columns_together("two layers", 1e-6)],
    ),
    "everything is permitted": (
        (Allowance, "permits", lambda self, after: True),
        [
            merging.test_a_rise_that_is_not_allowed_is_refused,
            lambda: policies.test_the_value_rises_by_no_more_than_is_allowed(1e-6, policies.Surgery()),
        ],
    ),
    "all or nothing": (
        (
            Allowance,
            "apply",
            lambda self, network, found, apply=Allowance.apply: (
                apply(self, network, found)
                if self.permits(acceptance._after(network, found))
                else (network, [self._refused(each, math.inf) for each in found])
            ),
        ),
        [merging.test_of_many_those_that_the_value_bears_are_merged],
    ),
    "the least harmful are not tried first": (
        (
            operations,
            "joint_effect",
            lambda projection, columns, joint=effects.joint_effect: -joint(projection, columns),
        ),
        [merging.test_of_many_those_that_the_value_bears_are_merged],
    ),
    "the angle of the span is always zero": (
        (removal, "lost_angle", lambda *args: 0.0),
        [
            lambda: worth.test_pruning_stays_within_its_allowance_and_takes_all_that_it_may(0.05, 0.0),
            lambda: merging.test_approximate_copies_by_their_angle(1e-3, 0.0),
        ],
    ),
    "the angle goes the other way": (
        (finding, "lost_angle", lambda A, B, t, n: spans.lost_angle(B, A, t, n)),
        [lambda: finding.test_the_angle_of_a_span(0.01)],
    ),
    "the first candidate is taken": (
        given(seeding, "best_candidate", lambda p, W, b, rng, pool: (p, W, b, rng, 1)),
        [lambda: seeds.test_each_is_the_candidate_that_lowers_the_residual_most("tanh")],
    ),
    "candidates are judged beside nothing": (
        given(seeding, "best_candidate", lambda p, W, b, rng, pool: (p, W[:0], b[:0], rng, pool)),
        [lambda: seeds.test_each_is_the_candidate_that_lowers_the_residual_most("two layers")],
    ),
    "candidates know no bounds": (
        changed(seeding, "_neuron_box", lambda box: None),
        [lambda: seeds.test_bounds_hold((4,))],
    ),
    "a place that is worse is taken": (
        (seeding, "reseeded", kept_anyway),
        [seeds.test_a_place_that_is_no_better_is_refused],
    ),
    "numbers are those of the narrowed network": (
        (Network, "without", lambda self, gone, without=Network.without: renumbered(without(self, gone))),
        [lambda: policies.test_merge_and_then_drop(0.0)],
    ),
    "the allowance is anew for every kind": (
        (
            Allowance,
            "apply",
            lambda self, network, found, apply=Allowance.apply: apply(
                Allowance(network, self.increase), network, found
            ),
        ),
        [policies.test_all_kinds_share_what_is_allowed],
    ),
}


GUARDS = [(name, guard) for name, (_, guards) in MUTATIONS.items() for guard in guards]


@pytest.mark.parametrize(("name", "guard"), GUARDS, ids=[name for name, _ in GUARDS])
def test_a_mutation_is_noticed(name, guard, monkeypatch):
    guard()
    monkeypatch.setattr(*MUTATIONS[name][0])
    with pytest.raises(AssertionError):
        guard()


def test_dropping_every_neuron_is_noticed(monkeypatch):
    """What is found is cut short so that one stays; here the cut does nothing."""

    class Whole(list):
        def __getitem__(self, index):
            return list(self) if isinstance(index, slice) else super().__getitem__(index)

    monkeypatch.setattr(*changed(operations, "dependent_columns", Whole))
    with pytest.raises((AssertionError, RuntimeError, IndexError, ValueError, UserWarning)):
        dropping.test_one_neuron_stays(0.0)
