"""Scaled features: every product against one dense tensor, the reduced problem's laws against mpmath, and mutations."""

import dataclasses

import numpy as np
import pytest
import torch
from mpmath import mpf
from torch.func import hessian, jacfwd

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import ModuleFeatures, as_feature_map, differential_operator, from_function, mlp, under_operator
from grassvp.features.scaled import ScaledDerivatives, ScaledFeatures, scaled
from tests.cases import exponentials, phase, variable_operator
from tests.laws import reduced as laws
from tests.oracles import mp_features, mp_reference, torch_features, torch_operator

F64, ROWS = torch.float64, 9
RNG = np.random.default_rng(8)
X = torch.from_numpy(RNG.uniform(-1.5, 1.5, (ROWS, 2)))
TERMS = variable_operator(ROWS)
SCALES = (1.5, -0.25, 2.0, 1.0, 3.0)


def cases():
    """(name, features, their scales, the unscaled features written out)."""
    L = differential_operator(ROWS, 2, TERMS)
    closed, t = mlp(2, (4,), seed=1), X[:, 0]
    plain = lambda theta: torch_features(theta, X, (4,))  # noqa: E731
    yield "closed", as_feature_map(closed), SCALES, plain
    yield "generic", ModuleFeatures.of(closed), SCALES, plain
    operated = lambda theta: torch_operator(lambda p: torch_features(theta, p, (4,)), X, TERMS)  # noqa: E731
    yield "operator", under_operator(closed, L), SCALES, operated
    yield "deep", as_feature_map(mlp(2, (3, 4), seed=2)), SCALES, lambda theta: torch_features(theta, X, (3, 4))
    function = from_function(lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5])
    yield "function", function, SCALES[:3], lambda theta: exponentials(theta, t)
    offset = dataclasses.replace(function, offset=lambda p, x: phase(p, x[:, 0]))
    both = lambda theta: torch.cat([exponentials(theta, t), phase(theta, t)], dim=1)  # noqa: E731
    yield "offset", offset, SCALES[:3], both


CASES = {name: rest for name, *rest in cases()}


def scaled_case(name):
    """The scaled features, and theta -> Phi D in plain operations; an offset keeps its columns."""
    features, scales, plain = CASES[name]
    count = plain(features.initial).shape[1]
    D = torch.tensor([*scales, *[1.0] * (count - len(scales))], dtype=F64)
    return scaled(features, scales), lambda theta: plain(theta) * D


def products_law(name):
    """Values and all products, each beside the dense derivative tensor."""
    features, function = scaled_case(name)
    theta, x = features.initial + 0.05, features.prepare(X)
    D = jacfwd(function)(theta)
    (m, n, q), rng, found = D.shape, np.random.default_rng(3), features.derivatives(theta, x)
    v, S, C, L = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((q,), (m, 2), (n, 2), (3, n)))
    near = {"rtol": 1e-12, "atol": 1e-12 * (1 + float(D.abs().max()))}
    torch.testing.assert_close(features(theta, x), function(theta), **near)
    for part, rows in ((found, slice(None)), (found.block(2, 5), slice(2, 5))):
        torch.testing.assert_close(part.values, function(theta)[rows], **near)
        torch.testing.assert_close(part.pushforward(v), D[rows] @ v, **near)
        torch.testing.assert_close(part.pullback(S[rows], C), torch.einsum("iaj,il,al->j", D[rows], S[rows], C), **near)
        torch.testing.assert_close(part.contract(C), torch.einsum("iaj,al->ilj", D[rows], C), **near)
        adjoint = torch.einsum("pa,iaj,il->plj", L, D[rows], S[rows])
        torch.testing.assert_close(part.contract_adjoint(S[rows], L), adjoint, **near)


def gram_law(name):
    """<(I - B B^T) W D_i L^T, W D_j L^T>, entry by entry, without a tail and with one."""
    features, function = scaled_case(name)
    theta, x, rng = features.initial + 0.05, features.prepare(X), np.random.default_rng(5)
    D = jacfwd(function)(theta)
    L, w = torch.from_numpy(rng.standard_normal((2, D.shape[1]))), torch.from_numpy(rng.uniform(0.5, 2, ROWS))
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((ROWS + 4, 3)))[0])
    for B, tail in ((torch.linalg.qr(basis[:ROWS]).Q, None), (basis[:ROWS], basis[ROWS:])):
        T = torch.einsum("iaj,pa,i->ipj", D, L, w)
        expected = torch.einsum("ipj,ipl->jl", T - torch.einsum("ir,sr,spj->ipj", B, B, T), T)
        found = features.derivatives(theta, x)
        torch.testing.assert_close(found.gram(B, tail, L, w), expected, rtol=1e-12, atol=1e-12)
    assert found.gram_entries(2, 7) == CASES[name][0].derivatives(theta, x).gram_entries(2, 7)


def curvature_law(name):
    """Hessian of <S C^T, Phi D>, and its product with a vector."""
    features, function = scaled_case(name)
    theta, x, rng = features.initial, features.prepare(X), np.random.default_rng(4)
    n = function(theta).shape[1]
    S, C, v = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((ROWS, 2), (n, 2), (theta.numel(),)))
    expected = hessian(lambda at: ((function(at) @ C) * S).sum())(theta)
    near = {"rtol": 1e-11, "atol": 1e-11 * (1 + float(expected.abs().max()))}
    torch.testing.assert_close(features.curvature(theta, x, S, C), expected, **near)
    torch.testing.assert_close(features.curvature_product(theta, x, S, C, v), expected @ v, **near)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("law", [products_law, gram_law, curvature_law])
def test_products(name, law):
    law(name)


MUTATIONS = {
    "pushforward": (ScaledDerivatives, lambda self, v: self._inner.pushforward(v), products_law),
    "pullback": (ScaledDerivatives, lambda self, S, C: self._inner.pullback(S, C), products_law),
    "contract": (ScaledDerivatives, lambda self, C: self._inner.contract(C), products_law),
    "contract_adjoint": (ScaledDerivatives, lambda self, S, L: self._inner.contract_adjoint(S, L), products_law),
    "block": (ScaledDerivatives, lambda self, start, stop: self._inner.block(start, stop), products_law),
    "gram": (ScaledDerivatives, lambda self, B, tail, L, w: self._inner.gram(B, tail, L, w), gram_law),
    "curvature": (ScaledFeatures, lambda self, *args: self.features.curvature(*args), curvature_law),
    "curvature_product": (ScaledFeatures, lambda self, *args: self.features.curvature_product(*args), curvature_law),
}


@pytest.mark.parametrize("name", ["closed", "function"])
@pytest.mark.parametrize("method", MUTATIONS)
def test_a_product_that_forgets_the_scales_is_noticed(method, name, monkeypatch):
    owner, wrong, law = MUTATIONS[method]
    monkeypatch.setattr(owner, method, wrong)
    with pytest.raises(AssertionError):
        law(name)


@pytest.mark.parametrize("lam", [0.0, 1e-12, 1e-3])
def test_the_reduced_problem_obeys_its_laws_against_mpmath(lam):
    rng, scales = np.random.default_rng(2), [2.0**0.5, 1.0, 1.5, 1.0]
    x, y, w = rng.uniform(-2, 2, (8, 1)), rng.standard_normal((8, 2)), rng.uniform(0.5, 2.0, 8)
    features = scaled(as_feature_map(mlp(1, (3,), seed=1)), scales)
    theta = 1.5 * features.initial.numpy()
    reduced = ReducedProblem(SeparableProblem(features, x, y, weights=w, regularization=lam))

    def rows(at):
        return [
            [mpf(s) * v for s, v in zip(scales, row, strict=True)] for row in mp_features(at, x.tolist(), (3,), "tanh")
        ]

    laws.law_suite(reduced, theta, mp_reference(rows, theta, y, w, lam))


def test_a_problem_with_an_offset_obeys_the_laws():
    t = np.linspace(0.0, 3.0, 30)
    y, D = np.random.default_rng(1).standard_normal((30, 3)), torch.tensor([2.0, 0.5, -1.0], dtype=F64)
    features = scaled(from_function(exponentials, [0.3, 2.0, 2.5], offset=phase), D)
    reduced, theta = ReducedProblem(SeparableProblem(features, t, y, regularization=1e-2)), features.initial
    tt, yt = torch.from_numpy(t), torch.from_numpy(y)

    def value(at):
        shifted = yt - phase(at, tt)
        Phi = exponentials(at, tt) * D
        C = torch.linalg.solve(Phi.T @ Phi + 1e-2 * torch.eye(3, dtype=F64), Phi.T @ shifted)
        return 0.5 * ((shifted - Phi @ C) ** 2).sum() + 0.5e-2 * (C**2).sum()

    assert reduced.problem.width == 3
    assert reduced.value(theta) == pytest.approx(float(value(theta)), rel=1e-13)
    torch.testing.assert_close(reduced.gradient(theta), torch.func.grad(value)(theta), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(reduced.hessian(theta), hessian(value)(theta), rtol=1e-10, atol=1e-10)


def test_scales_are_irrelevant_without_regularization_and_act_as_another_penalty_with_it():
    features = as_feature_map(mlp(2, (4,), seed=1))
    theta, y, D = features.initial, X[:, 0] ** 2, torch.tensor(SCALES, dtype=F64)
    plain, other = (ReducedProblem(SeparableProblem(f, X, y)) for f in (features, scaled(features, D)))
    assert other.value(theta) == pytest.approx(plain.value(theta), rel=1e-10)
    C = ReducedProblem(SeparableProblem(scaled(features, D), X, y, regularization=0.1)).linearize(theta).coefficients
    Phi = torch_features(theta, X, (4,))
    expected = torch.linalg.solve(Phi.T @ Phi + 0.1 * torch.diag(D**-2), Phi.T @ y[:, None])
    torch.testing.assert_close(D[:, None] * C, expected, rtol=1e-11, atol=1e-12)


def test_repeated_columns_have_the_kernel_of_scaled_ones():
    """r exact copies and one column times sqrt(r) give the same value."""
    x, y = X[:, :1], X[:, 1]
    narrow, wide = as_feature_map(mlp(1, (2,), seed=1)), as_feature_map(mlp(1, (4,), seed=1))
    w, b = narrow.initial.view(2, 2)
    theta = torch.cat([w[[0, 0, 0, 1]], b[[0, 0, 0, 1]]])
    short = ReducedProblem(SeparableProblem(scaled(narrow, [3**0.5, 1.0, 1.0]), x, y, regularization=1e-2))
    long = ReducedProblem(SeparableProblem(wide, x, y, regularization=1e-2))
    assert short.value(narrow.initial) == pytest.approx(long.value(theta), rel=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_scaled_is_that_of_the_features(name):
    inner = CASES[name][0]
    features = scaled(inner, CASES[name][1])
    x, rng = features.prepare(X), [np.random.default_rng(0) for _ in range(2)]
    for attribute in ("cheap_adjoint", "can_sample", "row_by_row"):
        assert getattr(features, attribute) == getattr(inner, attribute)
    assert features.initial is inner.initial and features.offset_columns(inner.initial, x) == 3 * (name == "offset")
    assert (features.units(x) is None) == (inner.units(x) is None)
    if inner.can_sample:
        torch.testing.assert_close(features.sample(rng[0], x, 2.0), inner.sample(rng[1], x, 2.0))
    limited = features.limited(800)
    C = torch.ones(features(features.initial, x).shape[1], 2, dtype=F64)
    found, expected = (f.derivatives(f.initial, x).contract(C) for f in (limited, features))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_the_model_under_an_operator_is_scaled_too():
    plain = torch_features(scaled_case("operator")[0].initial, X, (4,)) * torch.tensor(SCALES, dtype=F64)
    for name in ("operator", "closed"):
        model = scaled_case(name)[0].model
        torch.testing.assert_close(model(model.initial, X), plain)


def test_predictions_of_a_solution_use_the_scales():
    y = torch.sin(2 * X[:, 0])
    problem = SeparableProblem(scaled(as_feature_map(mlp(2, (4,), seed=1)), SCALES), X, y, regularization=1e-6)
    found = solve(problem, seed=0, max_iterations=20)
    Phi = torch_features(found.parameters, X, (4,)) * torch.tensor(SCALES, dtype=F64)
    torch.testing.assert_close(found.predict(X), (Phi @ found.coefficients).reshape(-1), rtol=1e-11, atol=1e-11)


def test_cast():
    features, function = scaled_case("closed")
    single = features.cast(torch.float32, X.device)
    found = single(single.initial, X.float())
    assert found.dtype == torch.float32 and features.scales.dtype == F64
    torch.testing.assert_close(found.double(), function(features.initial), rtol=1e-5, atol=1e-5)
    L, S = torch.ones(2, 5, dtype=F64), torch.ones(ROWS, 1)
    assert single.derivatives(single.initial, X.float()).contract_adjoint(S, L).dtype == F64


@pytest.mark.parametrize(
    ("scales", "error"),
    [([[1.0]], ArgumentError), ([1.0, np.nan], ArgumentError), ([], ArgumentError), ([1j], ArgumentTypeError)],
    ids=str,
)
def test_bad_scales_are_named(scales, error):
    with pytest.raises(error, match="scales"):
        scaled(as_feature_map(mlp(1, (1,))), scales)


@pytest.mark.parametrize("count", [2, 4])
def test_another_number_of_scales_is_refused(count):
    with pytest.raises(ArgumentError, match=f"scales must have one entry for each of 3 features, got {count}"):
        SeparableProblem(scaled(as_feature_map(mlp(1, (2,))), np.ones(count)), X[:, :1], X[:, 1])


def test_only_feature_maps_are_scaled():
    with pytest.raises(ArgumentTypeError, match="features must be a feature map, got MLP"):
        scaled(mlp(1, (2,)), [1.0, 1.0, 1.0])
