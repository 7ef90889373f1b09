"""Differential operators up to order four: their algebra, and one hidden layer under them against torch.func."""

from functools import lru_cache
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from torch.func import jacfwd

from grassvp.errors import ArgumentError
from grassvp.features import OneHiddenLayer, differential_operator, mlp, operators, under_operator
from grassvp.features.operators import HomogeneousPart, joined
from tests.oracles import torch_features, torch_operator

F64, ROWS, WIDTH = torch.float64, 5, 2
S = np.linspace(0.2, 1.0, ROWS)


def every_index(d, order):
    return list(combinations_with_replacement(range(d), order))


def varying(indices):
    """Every index with a coefficient of its own that changes from row to row."""
    return {index: np.cos(S * (1 + place) + place) for place, index in enumerate(indices)}


KDV = {(0,): 1.0, (1,): 6.0 * S, (1, 1, 1): 1.0}
BIHARMONIC = {(0,) * 4: 1.0, (0, 0, 1, 1): 2.0, (1,) * 4: 1.0}
CASES = {  # (coordinates, terms)
    **{f"all of order {k} in {d}": (d, varying(every_index(d, k))) for d in (1, 2, 3) for k in range(5)},
    "1-D, every order": (1, varying([(0,) * k for k in range(5)])),
    "2-D, every order": (2, varying([index for k in range(5) for index in every_index(2, k)])),
    "3-D, mixed": (3, varying([(), (0, 1), (2, 2), (0, 1, 2), (0, 2, 2), (1, 1, 2, 2), (0, 0, 0, 2)])),
    "first and fourth": (2, varying([(1,), (0, 0, 1, 1)])),
    "KdV": (2, KDV),
    "biharmonic": (2, BIHARMONIC),
}


def points(d):
    return torch.from_numpy(np.random.default_rng(d).uniform(-1, 1, (ROWS, d)))


@lru_cache
def reference(name, activation):
    """theta -> Phi and its derivative (m, n, q), by nested automatic differentiation."""
    d, terms = CASES[name]
    theta = torch.nn.utils.parameters_to_vector(mlp(d, (WIDTH,), seed=d).parameters()).detach()

    def function(at):
        return torch_operator(lambda p: torch_features(at, p, (WIDTH,), activation), points(d), terms)

    return function(theta), jacfwd(function)(theta)


def check_products(name, activation="tanh"):
    """The values, and every product with the derivative, of one hidden layer under an operator."""
    d, terms = CASES[name]
    x = points(d)
    features = under_operator(mlp(d, (WIDTH,), activation=activation, seed=d), differential_operator(ROWS, d, terms))
    assert isinstance(features, OneHiddenLayer)
    theta, (Phi, D) = features.initial, reference(name, activation)
    m, n, q = D.shape
    rng = np.random.default_rng(7)
    v, A, C, L = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((q,), (m, 2), (n, 2), (3, n)))
    near = {"rtol": 1e-12, "atol": 1e-12 * (1 + float(D.abs().max()))}
    found = features.derivatives(theta, features.prepare(x))
    torch.testing.assert_close(features(theta, x), Phi, **near)
    torch.testing.assert_close(found.values, Phi, **near)
    torch.testing.assert_close(found.pushforward(v), D @ v, **near)
    torch.testing.assert_close(found.pullback(A, C), torch.einsum("iaj,il,al->j", D, A, C), **near)
    torch.testing.assert_close(found.contract(C), torch.einsum("iaj,al->ilj", D, C), **near)
    torch.testing.assert_close(found.contract_adjoint(A, L), torch.einsum("pa,iaj,il->plj", L, D, A), **near)
    torch.testing.assert_close(found.block(1, 4).contract(C), torch.einsum("iaj,al->ilj", D[1:4], C), **near)


@pytest.mark.parametrize("name", CASES)
def test_one_hidden_layer_under_an_operator(name):
    check_products(name)


@pytest.mark.parametrize("activation", ["sin", "softplus", "gelu", "erf", "relu"])
def test_every_activation_under_an_operator_of_every_order(activation):
    check_products("1-D, every order", activation)


def grown(what):
    """The same function with results that are off by 1e-9, relatively."""
    return lambda *args: what(*args) * (1 + 1e-9)


LOWERED, AT_ROWS = operators._lowered, operators.DifferentialOperator.at_rows
MUTATIONS = {  # name: (patch, cases that must notice)
    "symbol": ((HomogeneousPart, "symbol", grown(HomogeneousPart.symbol)), CASES),
    "slope of the symbol": (
        (HomogeneousPart, "symbol_slope", grown(HomogeneousPart.symbol_slope)),
        [name for name in CASES if "order 0" not in name],
    ),
    "powers": (
        (
            operators,
            "_lowered",
            lambda indices, i: (LOWERED(indices, i)[0], [1.0] * len(LOWERED(indices, i)[0]), LOWERED(indices, i)[2]),
        ),
        ("all of order 2 in 1", "KdV", "biharmonic"),
    ),
    "lowered indices": (
        (operators, "_lowered", lambda indices, i: (*LOWERED(indices, i)[:2], [x[1:] for x in indices if i in x])),
        ("all of order 2 in 2", "biharmonic", "3-D, mixed"),
    ),
    "rows of a block": (
        (operators.DifferentialOperator, "at_rows", lambda self, rows: AT_ROWS(self, slice(0, rows.stop - rows.start))),
        ("KdV", "1-D, every order"),
    ),
    "coordinates": (
        (HomogeneousPart, "coordinates", property(lambda part: [0][: part.order])),
        ("all of order 1 in 2", "biharmonic", "3-D, mixed"),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_ingredient_is_noticed(mutation, monkeypatch):
    patch, guards = MUTATIONS[mutation]
    monkeypatch.setattr(*patch)
    for name in guards:
        with pytest.raises(AssertionError):
            check_products(name)


@pytest.mark.parametrize("name", CASES)
def test_terms_make_the_same_operator_again(name):
    d, terms = CASES[name]
    operator = differential_operator(ROWS, d, {index[::-1]: c for index, c in reversed(terms.items())})
    assert operator.rows == ROWS and operator.in_features == d and operator.order == max(map(len, terms))
    assert list(operator.terms) == operator.indices == sorted(terms, key=lambda index: (len(index), index))
    assert [part.order for part in operator.parts] == sorted({len(index) for index in terms})
    for index, column in operator.terms.items():
        torch.testing.assert_close(column, torch.as_tensor(terms[index], dtype=F64).expand(ROWS))
    torch.testing.assert_close(operator.value, torch.as_tensor(terms.get((), 0.0), dtype=F64).expand(ROWS))
    again = differential_operator(ROWS, d, operator.terms)
    assert again.indices == operator.indices and torch.equal(again.coefficients(), operator.coefficients())
    some = torch.tensor([3, 0])
    torch.testing.assert_close(operator.at_rows(some).coefficients(), operator.coefficients()[some])
    single = operator.cast(torch.float32, torch.device("cpu"))
    assert single.indices == operator.indices and {c.dtype for c in single.terms.values()} == {torch.float32}


def test_orders_of_an_index_are_one_term():
    split = differential_operator(ROWS, 3, {(0, 2): 1.5, (2, 0): S, (2, 0, 1): 1.0, (1, 2, 0): S})
    merged = differential_operator(ROWS, 3, {(0, 2): 1.5 + S, (0, 1, 2): 1.0 + S})
    assert split.indices == merged.indices == [(0, 2), (0, 1, 2)]
    torch.testing.assert_close(split.coefficients(), merged.coefficients())


def plane_wave(operator, x, wave):
    """L sin(w . x), (rows,), with the derivatives of the sine written out."""
    z = x @ wave
    sigma = [torch.sin(z), torch.cos(z), -torch.sin(z), -torch.cos(z), torch.sin(z)]
    return sum(c * sigma[len(index)] * wave[list(index)].prod() for index, c in operator.terms.items())


@pytest.mark.parametrize(("terms", "wave"), [(KDV, (0.7, -1.3)), (BIHARMONIC, (2.0, 0.5))], ids=["KdV", "biharmonic"])
def test_a_plane_wave(terms, wave):
    x, w = points(2), torch.tensor(wave, dtype=F64)
    operator = differential_operator(ROWS, 2, terms)
    features = under_operator(mlp(2, (1,), activation="sin", bias_feature=False), operator)
    found = features(torch.cat([w, w.new_zeros(1)]), x)[:, 0]
    torch.testing.assert_close(found, plane_wave(operator, x, w), rtol=1e-13, atol=1e-13)
    if terms is BIHARMONIC:  # (|w|^2)^2 sin
        torch.testing.assert_close(found, (w @ w) ** 2 * torch.sin(x @ w), rtol=1e-13, atol=1e-13)


def check_joined(join):
    """The rows of the joined operator are those of its parts, for features and for coefficients."""
    parts = [differential_operator(ROWS, 2, terms) for terms in (KDV, {(): 1.0}, BIHARMONIC, {(0, 1): S, (1,): 2.0})]
    whole, module, x = join(parts), mlp(2, (3,), seed=4), points(2)
    assert whole.rows == 4 * ROWS and set(whole.indices) == {index for part in parts for index in part.indices}
    features = under_operator(module, whole)
    found = features(features.initial, features.prepare(x.repeat(4, 1)))
    expected = [under_operator(module, part)(features.initial, x) for part in parts]
    torch.testing.assert_close(found, torch.cat(expected), rtol=1e-13, atol=1e-13)
    for place, part in enumerate(parts):
        own = whole.at_rows(slice(place * ROWS, (place + 1) * ROWS)).terms
        for index, column in own.items():
            assert torch.equal(column, part.terms.get(index, torch.zeros(ROWS, dtype=F64)))


def test_joined():
    check_joined(joined)
    one = differential_operator(ROWS, 2, KDV)
    assert torch.equal(joined([one]).coefficients(), one.coefficients())


@pytest.mark.parametrize(
    "change", [lambda parts: parts[::-1], lambda parts: [*parts[:3], parts[2]]], ids=["order", "copy"]
)
def test_rows_joined_wrongly_are_noticed(change):
    with pytest.raises(AssertionError):
        check_joined(lambda parts: joined(change(parts)))


def test_joined_names_what_is_wrong():
    with pytest.raises(ArgumentError, match="operators is empty"):
        joined([])
    with pytest.raises(ArgumentError, match=r"operators.*same coordinates.*2 and 3"):
        joined([differential_operator(ROWS, d, {(): 1.0}) for d in (2, 2, 3)])


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((4, 3, {}), "terms"),
        ((4, 3, {(3,): 1.0}), "terms"),
        ((4, 3, {(-1,): 1.0}), "terms"),
        ((4, 3, {(0, 1, 2, 1, 0): 1.0}), "terms.*order <= 4"),
        ((4, 3, {(0, 1, 3): 1.0}), "terms.*3 coordinates"),
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
