"""Input derivatives by Taylor propagation and the operators made of them, against mpmath and nested torch.func."""

import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import nn
from torch.func import functional_call, jacfwd, jvp

from grassvp.errors import ArgumentError
from grassvp.features import as_feature_map, differential_operator, jets, mlp, under_operator
from grassvp.features.jets import function_jet, mlp_jet, module_jet
from tests.oracles import DIGITS, mp_derivative, mp_features, torch_features, torch_operator

LOW = [(), (0,), (1,), (2,), (0, 0), (0, 1), (1, 2), (2, 2)]
HIGH = [(0, 0, 0), (0, 0, 2), (0, 1, 2), (1, 1, 1, 1), (0, 0, 0, 2), (1, 1, 2, 2), (0, 1, 1, 2)]
X = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (4, 3)))


def network(widths, activation="tanh", bias_feature=True):
    module = mlp(3, widths, activation=activation, bias_feature=bias_feature, seed=6)
    return module, nn.utils.parameters_to_vector(module.parameters()).detach()


def detached(module):
    return {name: p.detach() for name, p in module.named_parameters()}


def check_jet_against_mpmath(widths, activation, indices):
    module, theta = network(widths, activation)
    jet = mlp_jet(module, detached(module), X, indices)
    assert list(jet) == list(indices)
    with mp.workdps(DIGITS):
        weights, point = [mpf(t) for t in theta.tolist()], [mpf(v) for v in X[1].tolist()]
        for index in indices:
            exact = mp_derivative(lambda p: mp.matrix(mp_features(weights, [p], widths, activation)[0]), point, index)
            expected = np.array([float(v) for v in exact])
            found = jet[index][1].numpy()
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13, err_msg=str(index))


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "gelu", "erf"])
@pytest.mark.parametrize("widths", [(2,), (3, 2)], ids=str)
def test_jet_against_mpmath(widths, activation):
    check_jet_against_mpmath(widths, activation, LOW + HIGH)


CHANGES = {
    "uncounted": lambda terms: [(1, blocks) for _, blocks in terms],
    "without the last": lambda terms: terms[: max(1, len(terms) - 1)],
    "without the second": lambda terms: terms[:1] + terms[2:],
}


@pytest.mark.parametrize("index", [(0, 0, 0), (0, 0, 2), (1, 1, 1, 1), (1, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_a_term_of_the_chain_rule_that_is_wrong_is_noticed(index, change, monkeypatch):
    original = jets._faa_di_bruno
    monkeypatch.setattr(jets, "_faa_di_bruno", lambda at: CHANGES[change](original(at)))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_jet_against_mpmath((3, 2), "tanh", [index])


def test_partitions_are_counted_by_the_bell_and_stirling_numbers():
    for order, bell in enumerate((1, 2, 5, 15, 52), start=1):
        same = jets._faa_di_bruno((0,) * order)
        apart = jets._faa_di_bruno(tuple(range(order)))
        assert sum(count for count, _ in same) == len(apart) == bell and {count for count, _ in apart} == {1}
        assert same[0] == (1, ((0,),) * order) and same[-1] == (1, ((0,) * order,))


@pytest.mark.parametrize("bias_feature", [True, False])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
@pytest.mark.parametrize("widths", [(5,), (4, 5), (3, 4, 2)], ids=str)
def test_jet_against_nested_forward_mode(widths, activation, bias_feature):
    module, theta = network(widths, activation, bias_feature)
    indices = LOW + (HIGH if bias_feature and activation == "tanh" else [(0, 1, 1)])
    fast = mlp_jet(module, detached(module), X, indices)
    slow = function_jet(lambda at: functional_call(module, detached(module), (at,)), X, indices)
    assert list(fast) == list(slow) == indices

    def plain(point):
        return torch_features(theta, point, widths, activation, bias_feature)

    for index in indices:
        torch.testing.assert_close(fast[index], slow[index], rtol=1e-12, atol=1e-12)
    for index in LOW:
        dense = torch_operator(plain, X, {index: 1.0})
        torch.testing.assert_close(fast[index], dense, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("widths", [(4,), (3, 4)], ids=str)
def test_an_entry_does_not_depend_on_what_else_is_wanted_and_only_that_comes_back(widths):
    module, _ = network(widths)
    full = mlp_jet(module, detached(module), X, LOW + HIGH)
    for index in LOW + HIGH:
        alone = module_jet(module, detached(module), X, [index])
        assert list(alone) == [index]
        torch.testing.assert_close(alone[index], full[index], rtol=1e-14, atol=1e-14)
    generic = module_jet(nn.Tanh(), {}, X, [(1,), (1, 1, 1)])
    assert list(generic) == [(1,), (1, 1, 1)] and not generic[(1, 1, 1)][:, [0, 2]].any()


def test_exactly_the_sub_indices_are_propagated():
    assert jets._sub_indices(((0, 0, 2),)) == ((), (0,), (2,), (0, 0), (0, 2), (0, 0, 2))
    assert jets._sub_indices(((1, 1, 1, 1), (0,))) == ((), (0,), (1,), (1, 1), (1, 1, 1), (1, 1, 1, 1))


@pytest.mark.parametrize("widths", [(3,), (3, 2)], ids=str)
def test_jets_are_differentiable_twice_by_the_weights(widths):
    module, theta = network(widths)
    indices, v = HIGH[2:6], torch.from_numpy(np.random.default_rng(1).standard_normal(theta.numel()))

    def entries(jet):
        return lambda at: torch.stack(list(jet(at).values()))

    def weights(at):
        pieces = at.split([p.numel() for p in module.parameters()])
        return {n: piece.view(p.shape) for (n, p), piece in zip(module.named_parameters(), pieces, strict=True)}

    fast = entries(lambda at: mlp_jet(module, weights(at), X, indices))
    slow = entries(lambda at: function_jet(lambda x: torch_features(at, x, widths), X, indices))
    for _ in range(2):
        fast, slow = (lambda at, f=f: jvp(f, (at,), (v,))[1] for f in (fast, slow))
        torch.testing.assert_close(fast(theta), slow(theta), rtol=1e-11, atol=1e-11)


S = np.linspace(0.2, 1.0, 4)
OPERATORS = {
    "value": {(): S},
    "first": {(0,): 1.0, (2,): -S},
    "value and first": {(): 2, (1,): S},
    "second": {(1, 1): S},
    "mixed": {(0, 2): 1.0},
    "third": {(0, 0, 0): 1.0, (0, 1, 2): -S},
    "fourth": {(1, 1, 1, 1): S, (1, 1, 2, 2): 2.0, (0,): 0.5},
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
    jet = mlp_jet(module, detached(module), X, operator.indices)
    torch.testing.assert_close(operator.apply(operator.coefficients(), jet), expected, rtol=1e-12, atol=1e-13)
    features = under_operator(module, operator)
    torch.testing.assert_close(features(theta, features.prepare(X)), expected, rtol=1e-12, atol=1e-13)
    plain = features.model
    torch.testing.assert_close(plain(theta, plain.prepare(X)), torch_features(theta, X, widths))


@pytest.mark.parametrize("name", ["all", "third", "fourth"])
def test_any_module_under_an_operator(name):
    module = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2), nn.Tanh()).double()
    features = under_operator(module, differential_operator(4, 3, OPERATORS[name]))
    theta, x = features.initial, features.prepare(X)

    def function(at):
        W, b, V, c = (at[i:j] for i, j in ((0, 12), (12, 16), (16, 24), (24, 26)))
        return torch_operator(
            lambda p: torch.tanh(nn.functional.silu(p @ W.view(4, 3).T + b) @ V.view(2, 4).T + c), X, OPERATORS[name]
        )

    torch.testing.assert_close(features(theta, x), function(theta), rtol=1e-12, atol=1e-13)
    D, C = jacfwd(function)(theta), torch.tensor([[1.0], [-0.5]], dtype=torch.float64)
    found = features.derivatives(theta, x).contract(C)
    torch.testing.assert_close(found, torch.einsum("iaj,al->ilj", D, C), rtol=1e-11, atol=1e-12)


def test_rows_of_the_operator_and_of_the_inputs_must_agree():
    features = under_operator(mlp(3, (2,)), differential_operator(5, 3, {(): 1.0}))
    with pytest.raises(ArgumentError, match=r"inputs has 4 rows .* 5"):
        features.prepare(X)
    with pytest.raises(TypeError, match="module"):
        under_operator(as_feature_map(mlp(3, (2,))), differential_operator(4, 3, {(): 1.0}))
