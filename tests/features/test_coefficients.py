"""Coefficients as parameters: every product against one dense tensor, problems against autodiff, and mutations."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError
from grassvp.features import SideBySide, differential_operator, from_function, mlp, under_operator
from grassvp.features.coefficients import CoefficientDerivatives, CoefficientFeatures
from grassvp.features.composed import Composed
from grassvp.features.protocol import at_rows
from grassvp.features.side_by_side import Unknowns
from tests.cases import dense_reference, exponentials, variable_operator
from tests.laws import reduced as laws
from tests.laws.features import LAWS, curvature_law, differentiable_law, products_law, random_tensors, values_law
from tests.oracles import torch_features, torch_operator

F64, ROWS = torch.float64, 9
X = torch.from_numpy(np.random.default_rng(11).uniform(-1.5, 1.5, (ROWS, 2)))
S = torch.linspace(0.0, 1.0, ROWS, dtype=F64)
START = torch.tensor([0.4, -0.7], dtype=F64)
TERMS = {(): {(): 1.0}, "first": {(0,): 1.0}, "second": {(1, 1): 1.0}}


def table(p):
    """Coefficients of three terms, nonlinear in both parameters."""
    one = torch.ones_like(S)
    return torch.stack([one - S, p[0] * p[1] * S + torch.exp(p[1]) * one, -(p[0] ** 2) * torch.cos(S)], dim=1)


def with_offset(p):
    return torch.cat([table(p), (torch.sin(p[0] * S) * p[1])[:, None]], dim=1)


def under(widths, terms):
    return lambda theta: torch_operator(lambda at: torch_features(theta, at, widths), X, terms)


def combined(functions, table, theta):
    """sum_t c_t Phi_t and the offset, written out."""
    c = table(theta[-2:])
    total = sum(c[:, t, None] * f(theta[:-2]) for t, f in enumerate(functions))
    return torch.cat([total, c[:, len(functions) :]], dim=1)


def cases():
    """(name, features, theta -> Phi in plain operations)."""
    for name, widths in (("one layer", (4,)), ("deep", (3, 2))):
        network = mlp(2, widths, seed=1)
        parts = tuple(under_operator(network, differential_operator(ROWS, 2, terms)) for terms in TERMS.values())
        functions = [under(widths, terms) for terms in TERMS.values()]
        for offset, of in ((False, table), (True, with_offset)):
            features = CoefficientFeatures(SideBySide(parts, shared=True), START, of, offset)
            yield f"{name}{', offset' * offset}", features, lambda at, f=functions, c=of: combined(f, c, at)
    function = from_function(lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5])
    features = CoefficientFeatures(SideBySide((function,) * 3, shared=True), START, with_offset, True)
    yield "function", features, lambda at: combined([lambda t: exponentials(t, X[:, 0])] * 3, with_offset, at)
    yield "model", CASE_OF_MODEL.model, lambda at: torch_features(at[:-2], X, (4,))
    lifted = Composed(function, None, lambda x: x[:, 1], lambda x: x[:, 0], 2)
    without = CoefficientFeatures(SideBySide((lifted,), shared=True), START)
    yield (
        "ansatz",
        without,
        lambda at: torch.cat([X[:, 1:] * exponentials(at[:-2], X[:, 0]), X[:, :1]], dim=1),
    )


CASE_OF_MODEL = CoefficientFeatures(
    SideBySide((under_operator(mlp(2, (4,), seed=1), differential_operator(ROWS, 2, {(0,): 1.0})),), shared=True),
    START,
    lambda p: (p[0] + S * p[1])[:, None],
)
CASES = {name: rest for name, *rest in cases()}


def case(name):
    features, function = CASES[name]
    return features, features.initial + 0.05, features.prepare(X), function


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("law", LAWS)
def test_feature_laws(name, law):
    law(*case(name))


@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("name", ["one layer", "deep"])
def test_the_reduced_problem_obeys_its_laws(name, lam):
    features, theta, _, function = case(name)
    y, w = random_tensors(1, (ROWS, 1))[0], torch.linspace(0.5, 2, ROWS, dtype=F64)
    problem = SeparableProblem(features, X, y, weights=w, regularization=lam)
    laws.law_suite(ReducedProblem(problem), theta.numpy(), dense_reference(function, theta, y, w, lam))


def test_a_problem_with_an_offset_agrees_with_automatic_differentiation():
    features, theta, _, function = case("function")
    y, w, lam = random_tensors(1, (ROWS, 1))[0], torch.linspace(0.5, 2, ROWS, dtype=F64), 1e-2
    problem = SeparableProblem(features, X, y, weights=w, regularization=lam)
    reference = dense_reference(lambda at: function(at)[:, :3], theta, y, w, lam, lambda at: function(at)[:, 3:])
    reduced = ReducedProblem(problem)
    assert problem.constraints == ("offset",) and problem.width == 3
    np.testing.assert_allclose(reduced.gradient(theta.numpy()), reference.gradient, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(reduced.jacobian(theta.numpy()), reference.jacobian, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(reduced.hessian(theta.numpy()), reference.hessian, rtol=1e-9, atol=1e-10)


def test_coefficients_begin_where_they_were_given_and_are_not_drawn():
    features = CASES["one layer"][0]
    x, terms = features.prepare(X), features.terms
    drawn = [features.sample(np.random.default_rng(seed), x, 2.0) for seed in (0, 1)]
    assert all(torch.equal(theta[-2:], START) for theta in drawn) and not torch.equal(*drawn)
    torch.testing.assert_close(drawn[0][:-2], terms.sample(np.random.default_rng(0), x, 2.0))
    assert torch.equal(features.initial, torch.cat([terms.initial, START]))
    assert features.can_sample and features.cheap_adjoint and features.row_bound and features.units(x) is None


def test_a_model_of_plain_features_knows_its_units():
    model = CASE_OF_MODEL.model
    x = model.prepare(X)
    torch.testing.assert_close(model.units(x), torch.cat([model.terms.units(x), START.abs()]))
    zero = dataclasses.replace(model, start=torch.zeros(2, dtype=F64))
    assert zero.units(x)[-2:].tolist() == [1.0, 1.0] and not model.row_bound


def test_the_fitted_function_does_not_depend_on_the_coefficients():
    features, theta = CASE_OF_MODEL, CASE_OF_MODEL.initial
    problem = SeparableProblem(features, X, torch.sin(X[:, 0]))
    C = torch.ones(5, 1, dtype=F64)
    torch.testing.assert_close(problem.predict(theta, C, X), torch_features(theta[:-2], X, (4,)) @ C[:, 0])
    moved = theta + torch.cat([torch.zeros(len(theta) - 2, dtype=F64), torch.ones(2, dtype=F64)])
    torch.testing.assert_close(problem.predict(moved, C, X), problem.predict(theta, C, X))


def test_the_unknowns_of_a_system_are_side_by_side():
    parts = from_function(exponentials, [0.3, 2.0, 2.5]), from_function(exponentials, [1.0, 0.1, 0.2])
    features = CoefficientFeatures(SideBySide((Unknowns(parts),), shared=True), START)
    C = torch.arange(6, dtype=F64)[:, None]
    values = features(features.initial, X[:, 0])
    torch.testing.assert_close(features.outputs(values, C), Unknowns(parts).outputs(values, C))
    assert features.outputs(values, C).shape == (ROWS, 2)


def test_appended_columns_of_a_deep_network_are_kept_apart():
    features, theta, x, function = case("deep")
    assert x.shape == (ROWS, 5) and features.appended_columns == 3
    limited = features.limited(800)
    C = torch.ones(3, 1, dtype=F64)
    found, expected = (f.derivatives(theta, x).contract(C) for f in (limited, features))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(limited(theta, x), function(theta))


@pytest.mark.parametrize("name", ["one layer, offset", "deep"])
def test_cast(name):
    features, theta, _, function = case(name)
    single = features.cast(torch.float32, X.device)
    found = single(theta.float(), single.prepare(X.float()))
    assert found.dtype == torch.float32 == single.initial.dtype and features.initial.dtype == F64
    torch.testing.assert_close(found.double(), function(theta), rtol=1e-4, atol=1e-4)
    at = single.derivatives(theta.float(), single.prepare(X.float()))
    n = function(theta).shape[1]
    assert at.contract(torch.ones(n, 1)).dtype == torch.float32
    assert at.contract_adjoint(torch.ones(ROWS, 1), torch.ones(2, n, dtype=F64)).dtype == F64


def test_rows_cannot_be_had_alone():
    with pytest.raises(ArgumentError, match="those of some rows of CoefficientFeatures"):
        at_rows(CASES["one layer"][0], slice(0, 2))


def original(name):
    return getattr(CoefficientDerivatives, name)


def without_slopes(name):
    """A product that forgets how the coefficients move."""
    whole = original(name)

    def wrong(self, *arguments):
        still = CoefficientDerivatives(self._parts, self._table, 0 * self._slopes)
        return whole(still, *arguments)

    return wrong


def without_table(name):
    """A product whose terms have the coefficient one."""
    whole = original(name)

    def wrong(self, *arguments):
        ones = torch.ones_like(self._table)
        return whole(CoefficientDerivatives(self._parts, ones, self._slopes), *arguments)

    return wrong


PRODUCTS = ("pushforward", "pullback", "contract", "contract_adjoint")


@pytest.mark.parametrize("spoil", [without_slopes, without_table])
@pytest.mark.parametrize("method", PRODUCTS)
def test_a_wrong_product_is_noticed(method, spoil, monkeypatch):
    monkeypatch.setattr(CoefficientDerivatives, method, spoil(method))
    with pytest.raises(AssertionError):
        products_law(*case("one layer, offset"))


def scaled_second(part):
    """Second derivatives with one of their parts doubled: c, its slopes or its bend."""
    whole = CoefficientFeatures._second

    def wrong(self, *arguments):
        found = list(whole(self, *arguments))
        found[part] = 2 * found[part]
        return tuple(found)

    return wrong


@pytest.mark.parametrize("part", [1, 2, 3, 5])
def test_a_wrong_second_derivative_is_noticed(part, monkeypatch):
    monkeypatch.setattr(CoefficientFeatures, "_second", scaled_second(part))
    with pytest.raises(AssertionError):
        curvature_law(*case("one layer, offset"))


def test_a_table_that_cannot_be_differentiated_is_noticed():
    features, theta, x, function = case("one layer")
    still = dataclasses.replace(features, table=lambda p: table(p.detach()))
    values_law(still, theta, x, function)
    for law in (products_law, differentiable_law):
        with pytest.raises(AssertionError):
            law(still, theta, x, function)


def test_terms_under_a_variable_operator():
    """The same rows as one operator whose coefficients are those of the table."""
    terms = variable_operator(ROWS)
    network, keys = mlp(2, (4,), seed=1), list(terms)
    parts = tuple(under_operator(network, differential_operator(ROWS, 2, {key: 1.0})) for key in keys)
    fixed = torch.stack([torch.as_tensor(terms[key], dtype=F64).expand(ROWS) for key in keys], dim=1)
    features = CoefficientFeatures(SideBySide(parts, shared=True), START[:1], lambda p: fixed * p)
    whole = under_operator(network, differential_operator(ROWS, 2, terms))
    theta = torch.cat([whole.initial, torch.tensor([1.7], dtype=F64)])
    torch.testing.assert_close(features(theta, X), 1.7 * whole(whole.initial, X), rtol=1e-13, atol=1e-13)
