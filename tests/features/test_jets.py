"""Input derivatives by Taylor propagation and the operators made of them, against mpmath and nested torch.func."""

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import nn
from torch.func import functional_call

from grassvp.errors import ArgumentError
from grassvp.features import as_feature_map, differential_operator, mlp, under_operator
from grassvp.features.jets import function_jet, mlp_jet, module_jet
from tests.oracles import DIGITS, mp_derivative, mp_features, torch_features, torch_operator

PAIRS = [(0, 0), (0, 1), (1, 2), (2, 2)]
INDICES = [(), (0,), (1,), (2,), *PAIRS]
X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 3)))


def network(widths, activation="tanh", bias_feature=True):
    module = mlp(3, widths, activation=activation, bias_feature=bias_feature, seed=6)
    return module, nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "gelu", "erf"])
@pytest.mark.parametrize("widths", [(2,), (3, 2)], ids=str)
def test_jet_against_mpmath(widths, activation):
    module, theta = network(widths, activation)
    jet = mlp_jet(module, dict(module.named_parameters()), X, PAIRS)
    assert list(jet) == INDICES
    with mp.workdps(DIGITS):
        weights, x = [mpf(t) for t in theta.tolist()], [[mpf(v) for v in row] for row in X.tolist()]
        for index in INDICES:
            for column in range(widths[-1] + 1):
                expected = [
                    float(
                        mp_derivative(
                            lambda p, c=column: mp_features(weights, [p], widths, activation)[0][c], row, index
                        )
                    )
                    for row in x[:2]
                ]
                found = jet[index][:2, column].detach().numpy()
                np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14, err_msg=str(index))


@pytest.mark.parametrize("bias_feature", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("widths", [(5,), (4, 5), (3, 4, 2)], ids=str)
def test_jet_against_nested_forward_mode(widths, activation, bias_feature):
    module, theta = network(widths, activation, bias_feature)
    weights = {name: p.detach() for name, p in module.named_parameters()}
    fast = mlp_jet(module, weights, X, PAIRS)
    slow = function_jet(lambda at: functional_call(module, weights, (at,)), X, PAIRS)
    assert list(fast) == list(slow) == INDICES

    def plain(point):
        return torch_features(theta, point, widths, activation, bias_feature)

    for index in INDICES:
        dense = torch_operator(plain, X, {index: 1.0})
        torch.testing.assert_close(fast[index], dense, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(slow[index], dense, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_lower_orders_hold_fewer_entries(order):
    module, _ = network((4,))
    weights = {name: p.detach() for name, p in module.named_parameters()}
    generic = module_jet(nn.Tanh(), {}, X, PAIRS, order=order)
    jet = module_jet(module, weights, X, PAIRS, order=order)
    assert list(jet) == list(generic) == [index for index in INDICES if len(index) <= order]
    full = mlp_jet(module, weights, X, PAIRS)
    assert all(torch.equal(jet[index], full[index]) for index in jet)


S = np.linspace(0.2, 1.0, 4)
OPERATORS = {
    "value": {(): S},
    "first": {(0,): 1.0, (2,): -S},
    "value and first": {(): 2, (1,): S},
    "second": {(1, 1): S},
    "mixed": {(0, 2): 1.0},
    "all": {(): -S, (0,): S**2, (1,): 0.5, (0, 0): 1.0, (0, 1): np.cos(S), (2, 2): -0.25},
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("widths", [(3,), (3, 2)], ids=str)
def test_operators_with_coefficients_that_vary_over_the_rows(widths, name):
    module, theta = network(widths)
    terms = OPERATORS[name]
    expected = torch_operator(lambda p: torch_features(theta, p, widths), X, terms)
    operator = differential_operator(4, 3, terms)
    assert operator.order == max(map(len, terms)) and operator.rows == 4
    jet = mlp_jet(
        module, {n: p.detach() for n, p in module.named_parameters()}, X, list(zip(*operator.pairs, strict=True))
    )
    torch.testing.assert_close(operator.apply(operator.coefficients(), jet), expected, rtol=1e-12, atol=1e-13)
    features = under_operator(module, operator)
    torch.testing.assert_close(features(theta, features.prepare(X)), expected, rtol=1e-12, atol=1e-13)
    plain = features.model
    torch.testing.assert_close(plain(theta, plain.prepare(X)), torch_features(theta, X, widths))


def test_any_module_under_an_operator():
    module = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2), nn.Tanh()).double()
    features = under_operator(module, differential_operator(4, 3, OPERATORS["all"]))
    expected = torch_operator(lambda p: module(p[None])[0], X, OPERATORS["all"]).detach()
    torch.testing.assert_close(features(features.initial, features.prepare(X)), expected, rtol=1e-12, atol=1e-13)


def test_both_orders_of_a_mixed_index_are_one_term():
    split = differential_operator(4, 3, {(0, 2): 1.5, (2, 0): S})
    merged = differential_operator(4, 3, {(0, 2): 1.5 + S})
    assert split.pairs == merged.pairs == ([0], [2])
    torch.testing.assert_close(split.coefficients(), merged.coefficients())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((4, 3, {}), "terms"),
        ((4, 3, {(3,): 1.0}), "terms"),
        ((4, 3, {(-1,): 1.0}), "terms"),
        ((4, 3, {(0, 1, 2): 1.0}), "terms"),
        ((4, 3, {0: 1.0}), "terms"),
        ((4, 3, {(0,): np.ones(5)}), "terms"),
        ((4, 3, {(0,): np.ones((4, 1))}), "terms"),
        ((4, 3, {(0,): np.nan}), "terms"),
        ((4, 3, {(0,): 1j}), "terms"),
        ((0, 3, {(): 1.0}), "rows"),
        ((4, 0, {(): 1.0}), "in_features"),
    ],
    ids=str,
)
def test_bad_operators_are_named(arguments, name):
    with pytest.raises((ValueError, TypeError), match=name):
        differential_operator(*arguments)


def test_rows_of_the_operator_and_of_the_inputs_must_agree():
    features = under_operator(mlp(3, (2,)), differential_operator(5, 3, {(): 1.0}))
    with pytest.raises(ArgumentError, match=r"inputs has 4 rows .* 5"):
        features.prepare(X)
    with pytest.raises(TypeError, match="module"):
        under_operator(as_feature_map(mlp(3, (2,))), differential_operator(4, 3, {(): 1.0}))
