"""Composed features and features with another model: products against one dense tensor, exact conditions, mutations."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import (
    ModuleFeatures,
    as_feature_map,
    differential_operator,
    from_function,
    mlp,
    side_by_side,
    under_operator,
)
from grassvp.features.composed import Composed, ComposedDerivatives, WithModel
from grassvp.features.side_by_side import Unknowns
from tests.cases import dense_reference, exponentials, phase, variable_operator
from tests.laws import reduced as laws
from tests.laws.features import LAWS, curvature_law, gram_law, near, products_law, random_tensors
from tests.oracles import torch_features, torch_operator

F64, ROWS = torch.float64, 9
X = torch.from_numpy(np.random.default_rng(13).uniform(-1.5, 1.5, (ROWS, 2)))
TERMS = variable_operator(ROWS)
L = differential_operator(ROWS, 3, TERMS)


def circle(x):
    return torch.stack([torch.cos(x[:, 0]), torch.sin(x[:, 0]), x[:, 1]], dim=1)


def vanishing(x):
    return x[:, 1] * (1 - x[:, 1])


def boundary(x):
    return 1 + x[:, 0] * x[:, 1]


def cases():
    """(name, features, e, D, g, theta -> Phi(e(x)) in plain operations)."""
    three, two, deep = mlp(3, (4,), seed=1), mlp(2, (3,), seed=2), mlp(3, (3, 2), seed=3)
    y = circle(X)
    at = lambda widths, x: lambda theta: torch_features(theta, x, widths)  # noqa: E731
    under = lambda widths: lambda t: torch_operator(lambda p: torch_features(t, p, widths), y, TERMS)  # noqa: E731
    yield "all", as_feature_map(three), circle, vanishing, boundary, at((4,), y)
    yield "embedding", as_feature_map(three), circle, None, None, at((4,), y)
    yield "multiplier", as_feature_map(two), None, vanishing, None, at((3,), X)
    yield "lift", as_feature_map(two), None, None, boundary, at((3,), X)
    yield "nothing", as_feature_map(two), None, None, None, at((3,), X)
    yield "deep", as_feature_map(deep), circle, vanishing, boundary, at((3, 2), y)
    yield "operator", under_operator(three, L), circle, vanishing, boundary, under((4,))
    yield "deep operator", under_operator(deep, L), circle, vanishing, boundary, under((3, 2))
    function = from_function(lambda p, x: exponentials(p, x[:, 2]), [0.3, 2.0, 2.5])
    yield "function", function, circle, vanishing, boundary, lambda t: exponentials(t, y[:, 2])
    offset = from_function(function.function, function.initial, offset=lambda p, x: phase(p, x[:, 0]))
    both = lambda t: torch.cat([exponentials(t, y[:, 2]), phase(t, y[:, 0])], dim=1)  # noqa: E731
    yield "offset", offset, circle, vanishing, None, both


CASES = {name: rest for name, *rest in cases()}


def case(name):
    """The features, theta, prepared inputs, and theta -> [D Phi | g] in plain operations."""
    inner, e, D, g, plain = CASES[name]
    features = Composed(inner, e, D, g, 2)

    def function(theta):
        Phi = plain(theta)
        Phi = Phi if D is None else D(X)[:, None] * Phi
        return Phi if g is None else torch.cat([Phi, g(X)[:, None]], dim=1)

    return features, features.initial + 0.05, features.prepare(X), function


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("law", LAWS)
def test_feature_laws(name, law):
    law(*case(name))


MUTATIONS = {
    "pushforward": (lambda self, v: self._inner.pushforward(v), products_law),
    "pullback": (lambda self, S, C: self._inner.pullback(S, C[: self._width]), products_law),
    "contract": (lambda self, C: self._inner.contract(C[: self._width]), products_law),
    "contract_adjoint": (lambda self, S, L: self._inner.contract_adjoint(S, L[:, : self._width]), products_law),
    "block": (
        lambda self, a, b: ComposedDerivatives(self._inner.block(a, b), self._multiplier[: b - a], self._lift[a:b]),
        products_law,
    ),
    "gram": (lambda self, B, tail, L, w: self._inner.gram(B, tail, L[:, : self._width], w), gram_law),
}


@pytest.mark.parametrize("method", MUTATIONS)
def test_a_product_that_forgets_the_multiplier_is_noticed(method, monkeypatch):
    wrong, law = MUTATIONS[method]
    monkeypatch.setattr(ComposedDerivatives, method, wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        law(*case("all"))


@pytest.mark.parametrize("method", ["curvature", "curvature_product"])
def test_a_curvature_that_forgets_the_multiplier_is_noticed(method, monkeypatch):
    def wrong(self, theta, inputs, left, right, *direction):
        return getattr(self.features, method)(theta, self._parts(inputs)[0], left, right[:-1], *direction)

    monkeypatch.setattr(Composed, method, wrong)
    with pytest.raises(AssertionError):
        curvature_law(*case("all"))


@pytest.mark.parametrize(("name", "lam"), [("all", 0.0), ("deep", 1e-3), ("operator", 1e-3), ("multiplier", 0.0)])
def test_the_reduced_problem_obeys_its_laws(name, lam):
    features, theta, _, function = case(name)
    lifted = CASES[name][3] is not None
    y, w = random_tensors(1, (ROWS, 1))[0], torch.linspace(0.5, 2, ROWS, dtype=F64)
    problem = SeparableProblem(features, X, y, weights=w, regularization=lam)
    free = (lambda t: function(t)[:, :-1]) if lifted else function
    offset = (lambda t: function(t)[:, -1:]) if lifted else None
    assert problem.width == free(theta).shape[1]
    laws.law_suite(ReducedProblem(problem), theta.numpy(), dense_reference(free, theta, y, w, lam, offset))


def test_a_function_with_exact_values_is_fitted_and_predicted():
    y = torch.sin(X[:, 0]) * X[:, 1] ** 2
    features = Composed(as_feature_map(mlp(3, (2,), seed=1)), circle, vanishing, boundary, 2)
    found = solve(SeparableProblem(features, X, y, regularization=1e-8), seed=0, max_iterations=30)
    edge = torch.tensor([[0.3, 0.0], [-2.0, 1.0], [4.0, 0.0]], dtype=F64)
    near(found.predict(edge), boundary(edge))
    turned = X + torch.tensor([2 * torch.pi, 0.0], dtype=F64)
    near(found.predict(turned) - boundary(turned), found.predict(X) - boundary(X), 1e-10)
    Phi = torch_features(found.parameters, circle(X), (2,))
    near(found.predict(X), vanishing(X) * (Phi @ found.coefficients)[:, 0] + boundary(X))


@pytest.mark.parametrize("name", CASES)
def test_what_is_that_of_the_features(name):
    features, theta, x, _ = case(name)
    inner, e, *_ = CASES[name]
    y = inner.prepare(X if e is None else e(X))
    for attribute in ("cheap_adjoint", "can_sample", "row_by_row", "row_bound", "appended_columns"):
        assert getattr(features, attribute) == getattr(inner, attribute)
    assert features.initial is inner.initial
    assert features.offset_columns(theta, x) == (3 if name == "offset" else int(CASES[name][3] is not None))
    units, expected = features.units(x), inner.units(y)
    assert units is expected is None or torch.equal(units, expected)
    if inner.can_sample:
        one, other = features.sample(np.random.default_rng(0), x, 2.0), inner.sample(np.random.default_rng(0), y, 2.0)
        near(one, other, 1e-15)
    near(features.limited(800)(theta, x), features(theta, x), 1e-15)


def test_the_model_under_an_operator_is_the_function_itself():
    features, theta, _, _ = case("operator")
    near(
        features.model(theta, X),
        torch.cat([vanishing(X)[:, None] * torch_features(theta, circle(X), (4,)), boundary(X)[:, None]], dim=1),
    )


def test_limits_and_types_reach_the_features():
    features, _, x, function = case("deep operator")
    assert features.limited(800).features.memory_limit == 800
    single = features.cast(torch.float32, X.device)
    found = single(single.initial, single.prepare(X.float()))
    assert found.dtype == torch.float32 and x.shape == (ROWS, 2 + len(TERMS))
    torch.testing.assert_close(found.double(), function(features.initial), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": mlp(2, (2,))}, ArgumentTypeError, "features must be a feature map, got MLP"),
        ({"in_features": 0}, ArgumentError, "in_features must be an integer >= 1"),
        ({"lift": 1.0}, ArgumentTypeError, "lift must be callable or None, got 1.0"),
        ({"multiplier": lambda x: x}, ArgumentError, r"multiplier must map \(9, 2\) to \(9,\), got \(9, 2\)"),
        ({"lift": lambda x: 0.0}, ArgumentError, r"lift must map \(9, 2\) to \(9,\), got float"),
        ({"embedding": lambda x: x[:, 0]}, ArgumentError, r"embedding must map \(9, 2\) to \(9, d\), got \(9,\)"),
        ({"embedding": lambda x: x[:, :1]}, ArgumentError, r"inputs must have shape \(rows, 2\)"),
        ({"in_features": 3}, ArgumentError, r"inputs must have shape \(rows, 3\), got \(9, 2\)"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    given = {"features": CASES["nothing"][0], "embedding": None, "multiplier": None, "lift": None, "in_features": 2}
    with pytest.raises(error, match=message):
        SeparableProblem(Composed(**(given | change)), X, X[:, 0])


def test_a_lift_beside_an_offset_is_refused():
    features = Composed(CASES["offset"][0], circle, None, boundary, 2)
    with pytest.raises(ArgumentError, match="lift: the features have an offset already"):
        features(features.initial, X)


# --- features with another model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", ["operator", "deep operator", "function"])
def test_features_with_another_model_are_the_features(name, law):
    features, theta, x, function = case(name)
    law(WithModel(features, Composed(CASES[name][0].model, circle, None, None, 2)), theta, x, function)


def test_everything_but_the_model_is_that_of_the_features():
    features, theta, _, _ = case("lift")
    model = CASES["multiplier"][0]
    other = WithModel(features, model)
    for attribute in ("cheap_adjoint", "can_sample", "row_by_row", "row_bound", "appended_columns"):
        assert getattr(other, attribute) == getattr(features, attribute)
    assert other.model is model and other.initial is features.initial and other.offset_columns(theta, X) == 1
    near(other.units(X), features.units(X), 1e-15)
    near(other.sample(np.random.default_rng(0), X, 1.0), features.sample(np.random.default_rng(0), X, 1.0), 1e-15)
    C = torch.ones(4, 1, dtype=F64)
    near(other.outputs(features(theta, X), C), features(theta, X).sum(1, keepdim=True))
    single = other.cast(torch.float32, X.device).limited(800)
    assert single.features.initial.dtype == single.model.initial.dtype == torch.float32


def test_some_rows_of_features_with_a_model():
    net, index = mlp(3, (4,), seed=1), torch.tensor([5, 0])
    features = WithModel(under_operator(net, L), as_feature_map(net))
    theta, y = features.initial, circle(X)
    near(features.at_rows(index)(theta, y[index]), features(theta, y)[index])


def test_rows_in_embedded_coordinates_and_predictions_in_the_users():
    """u = g + D N(e(x)) for rows that are N itself at e(x), weighted by D."""
    net = mlp(3, (2,), seed=1)
    rows = under_operator(net, differential_operator(ROWS, 3, {(): vanishing(X)}))
    features = WithModel(rows, Composed(as_feature_map(net), circle, vanishing, boundary, 2))
    y = torch.sin(X[:, 0])
    found = solve(
        SeparableProblem(features, circle(X), y - boundary(X), regularization=1e-6), seed=0, max_iterations=20
    )
    Phi = vanishing(X)[:, None] * torch_features(found.parameters, circle(X), (2,))
    near(found.predict(X), boundary(X) + (Phi @ found.coefficients)[:, 0])
    assert found.predict(X[:4]).shape == (4,)
    assert float(((found.predict(X) - y) ** 2).sum()) < 2 * found.value + 1e-12


def test_a_system_with_exact_values_predicts_both_unknowns():
    net = mlp(2, (2,), seed=1)
    rows = side_by_side(
        *[under_operator(net, differential_operator(ROWS, 2, {(i,): 1.0})) for i in (0, 1)], shared=True
    )
    plain = as_feature_map(net)
    model = Unknowns((plain, Composed(plain, None, vanishing, boundary, 2)), True)
    problem = SeparableProblem(WithModel(rows, model), X, X[:, 0], regularization=1e-4)
    found = solve(problem, seed=0, max_iterations=10)
    Phi = torch_features(found.parameters, X, (2,))
    u, v = (Phi @ c for c in found.coefficients.split(3))
    expected = torch.stack([u[:, 0], vanishing(X) * v[:, 0] + boundary(X)], dim=1)
    near(found.predict(X), expected)
    assert found.predict(X.numpy()).shape == (ROWS, 2)


def test_another_number_of_parameters_is_refused():
    with pytest.raises(ArgumentError, match="function must have the 9 parameters of features, got 16"):
        WithModel(CASES["lift"][0], CASES["all"][0])


def test_a_module_that_couples_rows_is_noticed_inside():
    class Coupled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2, dtype=F64)

        def forward(self, x):
            return self.inner(x) - self.inner(x).mean(0)

    with pytest.raises(ArgumentError, match="couples the rows"):
        SeparableProblem(Composed(ModuleFeatures.of(Coupled()), None, vanishing, None, 2), X, X[:, 0])
