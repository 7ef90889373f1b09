"""Products with DPhi: the closed form, the generic path and functions against one dense derivative tensor."""

import re

import numpy as np
import pytest
import torch
from torch.func import hessian, jacfwd

from grassvp.features import (
    DeepMLP,
    ModuleFeatures,
    OneHiddenLayer,
    as_feature_map,
    differential_operator,
    from_function,
    function,
    mlp,
    under_operator,
)
from grassvp.features.mlp import MLP
from tests.cases import exponentials, gated_features, module_under_test, variable_operator
from tests.oracles import TORCH_ACTIVATIONS, torch_features, torch_operator

F64, ROWS = torch.float64, 9
RNG = np.random.default_rng(21)
X = torch.from_numpy(RNG.uniform(-1.5, 1.5, (ROWS, 2)))


def cases():
    """(name, feature map, inputs, the same features written out as a function of theta)."""
    terms = variable_operator(ROWS)
    L = differential_operator(ROWS, 2, terms)

    def plain(widths, activation="tanh"):
        return lambda theta: torch_features(theta, X, widths, activation)

    def under(widths, activation="tanh"):
        return lambda theta: torch_operator(lambda p: torch_features(theta, p, widths, activation), X, terms)

    for name in TORCH_ACTIVATIONS:
        module = mlp(2, (4,), activation=name, seed=1)
        yield f"closed {name}", as_feature_map(module), plain((4,), name)
        yield f"generic {name}", ModuleFeatures.of(module), plain((4,), name)
        yield f"closed operator {name}", under_operator(module, L), under((4,), name)
        yield f"generic operator {name}", ModuleFeatures.of(module, L), under((4,), name)
    yield "deep", as_feature_map(mlp(2, (3, 4), seed=2)), plain((3, 4))
    yield "deeper", as_feature_map(mlp(2, (3, 2, 4), activation="erf", seed=3)), plain((3, 2, 4), "erf")
    yield "generic deep", ModuleFeatures.of(mlp(2, (3, 4), seed=2)), plain((3, 4))
    yield "deep operator", under_operator(mlp(2, (3, 2), seed=2), L), under((3, 2))
    high = {(): 0.5, (0, 0, 1): terms[()], (1, 1, 1, 1): 1.0, (0, 0, 1, 1): terms[(0,)]}
    L4 = differential_operator(ROWS, 2, high)
    for name, features, widths in (
        ("closed operator, fourth order", under_operator(mlp(2, (3,), seed=5), L4), (3,)),
        ("deep operator, fourth order", under_operator(mlp(2, (2, 2), seed=2), L4), (2, 2)),
    ):
        yield name, features, lambda theta, w=widths: torch_operator(lambda p: torch_features(theta, p, w), X, high)
    yield "module", as_feature_map(module_under_test()).cast(F64, X.device), lambda theta: gated_features(theta, X)
    t = X[:, 0]
    yield (
        "function",
        from_function(lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5]),
        lambda p: exponentials(p, t),
    )


CASES = {name: (features, function) for name, features, function in cases()}


@pytest.mark.parametrize("name", CASES)
def test_products_with_the_derivative(name):
    features, function = CASES[name]
    theta, x = features.initial + 0.05, features.prepare(X)
    D = jacfwd(function)(theta)  # (m, n, q)
    m, n, q = D.shape
    found = features.derivatives(theta, x)
    rng = np.random.default_rng(3)
    v, S, C, L = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((q,), (m, 2), (n, 2), (3, n)))
    near = {"rtol": 1e-12, "atol": 1e-12 * (1 + float(D.abs().max()))}
    torch.testing.assert_close(found.values, function(theta), **near)
    torch.testing.assert_close(features(theta, x), function(theta), **near)
    torch.testing.assert_close(found.pushforward(v), D @ v, **near)
    torch.testing.assert_close(found.pullback(S, C), torch.einsum("iaj,il,al->j", D, S, C), **near)
    torch.testing.assert_close(found.contract(C), torch.einsum("iaj,al->ilj", D, C), **near)
    torch.testing.assert_close(found.contract_adjoint(S, L), torch.einsum("pa,iaj,il->plj", L, D, S), **near)
    part = found.block(2, 5)
    torch.testing.assert_close(part.values, function(theta)[2:5], **near)
    torch.testing.assert_close(part.contract(C), torch.einsum("iaj,al->ilj", D[2:5], C), **near)
    torch.testing.assert_close(
        part.contract_adjoint(S[2:5], L), torch.einsum("pa,iaj,il->plj", L, D[2:5], S[2:5]), **near
    )


@pytest.mark.parametrize("split", [False, True], ids=["whole", "upper block"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_gram(name, weighted, split):
    """<(I - B B^T) W D_i L^T, W D_j L^T>, entry by entry; I - B B^T is no projector for a B that is cut off a basis."""
    features, function = CASES[name]
    theta, x = features.initial + 0.05, features.prepare(X)
    D, rng = jacfwd(function)(theta), np.random.default_rng(5)
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((ROWS + 4 * split, 3)))[0])
    B, tail = basis[:ROWS], basis[ROWS:] if split else None
    L, w = torch.from_numpy(rng.standard_normal((2, D.shape[1]))), torch.from_numpy(rng.uniform(0.5, 2, ROWS))
    T = torch.einsum("iaj,pa->ipj", D * w[:, None, None] if weighted else D, L)
    found = features.derivatives(theta, x).gram(B, tail, L, w if weighted else None)
    expected = torch.einsum("ipj,ipl->jl", T - torch.einsum("ir,sr,spj->ipj", B, B, T), T)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * (1 + float(expected.abs().max())))


def test_a_function_with_many_parameters_is_differentiated_product_by_product(monkeypatch):
    features, plain = CASES["function"]
    theta, x = features.initial, features.prepare(X)
    dense = features.derivatives(theta, x)
    monkeypatch.setattr(function, "DENSE_ENTRIES", 0)
    found, rng = features.derivatives(theta, x), np.random.default_rng(6)
    v, S, C, L = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((3,), (ROWS, 2), (3, 2), (2, 3)))
    for of in (lambda d: d.pushforward(v), lambda d: d.pullback(S, C), lambda d: d.contract(C)):
        torch.testing.assert_close(of(found), of(dense), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.contract_adjoint(S, L), dense.contract_adjoint(S, L), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found.block(1, 4).contract(C), dense.contract(C)[1:4], rtol=1e-13, atol=1e-13)
    assert "tensor" not in vars(found) and plain(theta).shape == found.values.shape


@pytest.mark.parametrize("name", CASES)
def test_units_are_the_inverse_half_ranges_of_the_inputs(name):
    features, _ = CASES[name]
    x = features.prepare(X)
    units = features.units(x)
    if name in ("module", "function") or "operator" in name:
        assert units is None
        return
    half = (X.amax(0) - X.amin(0)) / 2
    width, d = features.module.shapes[0]
    torch.testing.assert_close(units[: width * d].view(width, d), (1 / half).expand(width, d))
    assert units.shape == features.initial.shape and bool((units[width * d :] == 1).all())


@pytest.mark.parametrize("name", ["generic deep", "deep operator", "module"])
def test_chunks_change_nothing(name):
    features, _ = CASES[name]
    theta, x = features.initial, features.prepare(X)
    found = features.derivatives(theta, x)
    S, C = torch.ones(ROWS, 2, dtype=F64), torch.ones(found.values.shape[1], 2, dtype=F64)
    L = torch.ones(3, len(C), dtype=F64)
    whole = found.contract(C), found.contract_adjoint(S, L)
    found = features.limited(800).derivatives(theta, x)  # one to two rows at once
    for part, expected in zip((found.contract(C), found.contract_adjoint(S, L)), whole, strict=True):
        torch.testing.assert_close(part, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_curvature(name):
    features, function = CASES[name]
    theta, x = features.initial, features.prepare(X)
    Phi = function(theta)
    rng = np.random.default_rng(4)
    S, C, v = (torch.from_numpy(rng.standard_normal(s)) for s in ((ROWS, 2), (Phi.shape[1], 2), (theta.numel(),)))
    expected = hessian(lambda at: ((function(at) @ C) * S).sum())(theta)
    near = {"rtol": 1e-11, "atol": 1e-11 * (1 + float(expected.abs().max()))}
    torch.testing.assert_close(features.curvature(theta, x, S, C), expected, **near)
    torch.testing.assert_close(features.curvature_product(theta, x, S, C, v), expected @ v, **near)


def test_curvature_of_more_parameters_than_one_chunk():
    features = ModuleFeatures.of(mlp(2, (30,), seed=1))
    S, C = torch.ones(ROWS, 1, dtype=F64), torch.ones(31, 1, dtype=F64)
    expected = hessian(lambda at: torch_features(at, X, (30,)).sum())(features.initial)
    torch.testing.assert_close(features.curvature(features.initial, X, S, C), expected)


def test_the_right_path_is_chosen():
    assert isinstance(as_feature_map(mlp(2, (3,))), OneHiddenLayer)
    assert isinstance(as_feature_map(mlp(2, (3, 3))), DeepMLP)
    deep = under_operator(mlp(2, (3, 3)), differential_operator(4, 2, {(0,): 1.0}))
    assert isinstance(deep, ModuleFeatures) and isinstance(as_feature_map(torch.nn.Linear(2, 3)), ModuleFeatures)
    features = from_function(lambda p, x: x, [1.0])
    assert as_feature_map(features) is features
    operator = under_operator(mlp(2, (3,)), differential_operator(4, 2, {(0,): 1.0}))
    assert isinstance(operator, OneHiddenLayer) and operator.model.operator is None
    assert isinstance(operator.module, MLP)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("name", ["closed operator tanh", "deep operator", "module"])
def test_cast(name, dtype):
    features, function = CASES[name]
    cast = features.cast(dtype, X.device)
    found = cast(cast.initial, cast.prepare(X.to(dtype)))
    assert found.dtype == dtype == cast.initial.dtype and features.initial.dtype == F64
    eps = float(torch.finfo(dtype).eps)
    torch.testing.assert_close(found.double(), function(features.initial), rtol=100 * eps, atol=1000 * eps)


@pytest.mark.parametrize(
    ("function", "parameters", "name"),
    [
        ("not callable", [1.0], "function"),
        (exponentials, [], "parameters"),
        (exponentials, [[1.0]], "parameters"),
        (exponentials, [np.nan], "parameters"),
        (exponentials, [1j], "parameters"),
        (exponentials, [object()], "parameters"),
    ],
    ids=lambda value: getattr(value, "__name__", re.sub(" at 0x.*", ">]", repr(value))),
)
def test_from_function_names_bad_arguments(function, parameters, name):
    with pytest.raises((ValueError, TypeError), match=name):
        from_function(function, parameters)


def test_from_function_hands_over_a_vector_and_the_inputs_unchanged():
    seen = []

    def function(p, x):
        seen.append((p.shape, x.shape))
        return p[0] * x[0] + p[1] * x[1]

    given = np.array([1, 2])
    features = from_function(function, given)
    given[0] = 100  # the start is a copy
    x = torch.ones(2, 5, 3, dtype=F64)
    assert features.initial.tolist() == [1.0, 2.0] and features.prepare(x) is x
    torch.testing.assert_close(features(features.initial, x), torch.full((5, 3), 3.0, dtype=F64))
    assert seen[-1] == ((2,), (2, 5, 3))
