"""Differences of features at two points: every product against one dense tensor, a periodic problem, and mutations."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError
from grassvp.features import as_feature_map, differential_operator, from_function, mlp, side_by_side, under_operator
from grassvp.features.differences import RowDifferences, RowDifferencesDerivatives
from grassvp.features.protocol import at_rows
from tests.cases import dense_reference, exponentials, phase, variable_operator
from tests.laws import reduced as laws
from tests.laws.features import LAWS, curvature_law, near, products_law, random_tensors
from tests.oracles import torch_features, torch_operator

F64, ROWS, LAST = torch.float64, 9, 3
RNG = np.random.default_rng(12)
X, OTHER_X = (torch.from_numpy(RNG.uniform(-1.5, 1.5, (rows, 2))) for rows in (ROWS, LAST))
TERMS, OTHER = variable_operator(ROWS), {(): 1.0, (1,): np.linspace(1.0, 2.0, LAST)}
L, L2 = differential_operator(ROWS, 2, TERMS), differential_operator(LAST, 2, OTHER)


def under(widths, terms, x):
    return lambda theta: torch_operator(lambda p: torch_features(theta, p, widths), x, terms)


def cases():
    """(name, first, second, second inputs, both in plain operations)."""
    net, deep = mlp(2, (3,), seed=1), mlp(2, (3, 2), seed=2)
    at = lambda widths, x: lambda theta: torch_features(theta, x, widths)  # noqa: E731
    plain = as_feature_map(net)
    yield "plain", plain, plain, OTHER_X, at((3,), X), at((3,), OTHER_X)
    yield (
        "operator",
        under_operator(net, L),
        under_operator(net, L2),
        OTHER_X,
        under((3,), TERMS, X),
        under((3,), OTHER, OTHER_X),
    )
    yield "deep", as_feature_map(deep), as_feature_map(deep), OTHER_X, at((3, 2), X), at((3, 2), OTHER_X)
    yield (
        "deep operator",
        under_operator(deep, L),
        under_operator(deep, L2),
        OTHER_X,
        under((3, 2), TERMS, X),
        under((3, 2), OTHER, OTHER_X),
    )
    function = from_function(
        lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5], offset=lambda p, x: phase(p, x[:, 1])
    )
    both = lambda x: lambda t: torch.cat([exponentials(t, x[:, 0]), phase(t, x[:, 1])], dim=1)  # noqa: E731
    yield "function with an offset", function, function, OTHER_X, both(X), both(OTHER_X)
    yield "all rows", plain, plain, X.flip(1), at((3,), X), at((3,), X.flip(1))


CASES = {name: rest for name, *rest in cases()}


def case(name):
    """The features, theta, prepared inputs, and theta -> Phi in plain operations."""
    first, second, x, here, there = CASES[name]
    features = RowDifferences(first, second, x)

    def function(theta):
        rows = [*here(theta)]
        for i, row in enumerate(there(theta)):
            rows[ROWS - len(x) + i] = rows[ROWS - len(x) + i] - row
        return torch.stack(rows)

    return features, features.initial + 0.05, features.prepare(X), function


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("law", LAWS)
def test_feature_laws(name, law):
    law(*case(name))


def test_every_block_of_rows():
    features, theta, x, function = case("operator")
    blocks = [(start, stop) for start in range(ROWS) for stop in range(start + 1, ROWS + 1)]
    products_law(features, theta, x, function, blocks=blocks)


def plain_block(self, start, stop):
    return RowDifferencesDerivatives(self._first.block(start, stop), self._second)


def sign(name):
    method = getattr(RowDifferencesDerivatives, name)
    return lambda self, *args: 2 * getattr(self._first, name)(*args) - method(self, *args)  # adds instead


MUTATIONS = {
    "a block that ends before the last row": ("block", plain_block),
    **{f"{name} adds": (name, sign(name)) for name in ("pushforward", "contract")},
    "contract forgets": ("contract", lambda self, C: self._first.contract(C)),
    "contract_adjoint forgets": ("contract_adjoint", lambda self, S, L: self._first.contract_adjoint(S, L)),
    "pullback forgets": ("pullback", lambda self, S, C: self._first.pullback(S, C)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_product_is_noticed(mutation, monkeypatch):
    monkeypatch.setattr(RowDifferencesDerivatives, *MUTATIONS[mutation])
    with pytest.raises((AssertionError, RuntimeError)):
        products_law(*case("operator"))


@pytest.mark.parametrize("method", ["curvature", "curvature_product"])
def test_a_curvature_without_differences_is_noticed(method, monkeypatch):
    monkeypatch.setattr(RowDifferences, method, lambda self, *args: getattr(self.first, method)(*args))
    with pytest.raises(AssertionError):
        curvature_law(*case("operator"))


@pytest.mark.parametrize(("name", "lam"), [("plain", 0.0), ("operator", 1e-3), ("deep operator", 1e-3)])
def test_the_reduced_problem_obeys_its_laws(name, lam):
    features, theta, _, function = case(name)
    y, w = random_tensors(1, (ROWS, 2))[0], torch.linspace(0.5, 2, ROWS, dtype=F64)
    problem = SeparableProblem(features, X, y, weights=w, regularization=lam)
    laws.law_suite(ReducedProblem(problem), theta.numpy(), dense_reference(function, theta, y, w, lam))


def test_a_periodic_function_from_differences_beside_an_equation():
    """u' = 2 pi cos(2 pi x), u(0) = u(1), u'(0) = u'(1), u(1/4) = 1."""
    inside = torch.linspace(0.0, 1.0, 30, dtype=F64)
    x = torch.cat([inside, inside.new_tensor([0.25, 0.0, 0.0])])[:, None]
    m, one = len(x), torch.ones(2, dtype=F64)
    value, slope = torch.zeros(m, dtype=F64), torch.zeros(m, dtype=F64)
    slope[:30], value[30:32], slope[32] = 1.0, 1.0, 1.0
    net = mlp(1, (12,), seed=0)
    first = under_operator(net, differential_operator(m, 1, {(): value, (0,): slope}))
    second = under_operator(net, differential_operator(2, 1, {(): [1.0, 0.0], (0,): [0.0, 1.0]}))
    features = RowDifferences(first, second, one[:, None])
    y = torch.cat([2 * torch.pi * torch.cos(2 * torch.pi * inside), inside.new_tensor([1.0, 0.0, 0.0])])
    found = solve(SeparableProblem(features, x, y), seed=0, max_iterations=40)
    at = torch.linspace(0, 1, 50, dtype=F64)[:, None]
    u = found.predict(at)
    assert u.shape == (50,) and float((u - torch.sin(2 * torch.pi * at[:, 0])).abs().max()) < 1e-5
    assert abs(float(u[0] - u[-1])) < 1e-6


@pytest.mark.parametrize("name", CASES)
def test_what_is_that_of_the_first_features(name):
    features, theta, x, _ = case(name)
    first = CASES[name][0]
    for attribute in ("cheap_adjoint", "can_sample", "appended_columns"):
        assert getattr(features, attribute) == getattr(first, attribute)
    assert features.row_bound and not features.row_by_row and features.initial is first.initial
    assert features.offset_columns(theta, x) == 3 * ("offset" in name)
    units = features.units(x)
    assert (units is None) == ("operator" in name or "function" in name)
    if units is not None:
        near(units, first.units(x))
    near(features.model(theta, X), first.model(theta, X), 1e-15)
    near(features.limited(800)(theta, x), features(theta, x), 1e-15)
    if first.can_sample:
        one, other = (f.sample(np.random.default_rng(0), x, 2.0) for f in (features, first))
        near(one, other, 1e-15)
    near(features.outputs(torch.ones(4, 3, dtype=F64), torch.ones(3, 2, dtype=F64)), 3 * torch.ones(4, 2, dtype=F64))


def test_limits_and_types_reach_both():
    features, _, x, function = case("deep operator")
    limited = features.limited(800)
    assert limited.first.memory_limit == limited.second.memory_limit == 800
    C = torch.ones(3, 1, dtype=F64)
    near(*(f.derivatives(f.initial, x).contract(C) for f in (limited, features)), 1e-14)
    single = features.cast(torch.float32, X.device)
    found = single(single.initial, single.prepare(X.float()))
    assert found.dtype == torch.float32 and features.second_inputs.dtype == F64
    torch.testing.assert_close(found.double(), function(features.initial), rtol=1e-4, atol=1e-4)


def test_differences_beside_other_features():
    """Systems have periodic rows, too: joined maps inside of differences, and differences inside of joined maps."""
    plain, theta = CASES["plain"][0], torch.cat([CASES["plain"][0].initial] * 2)
    pair = side_by_side(plain, plain)
    outside, inside = RowDifferences(pair, pair, OTHER_X), side_by_side(*[RowDifferences(plain, plain, OTHER_X)] * 2)
    near(outside(theta, X), inside(theta, X), 1e-15)
    C = torch.linspace(-1, 1, 8, dtype=F64)[:, None]
    near(outside.derivatives(theta, X).block(4, 8).contract(C), inside.derivatives(theta, X).contract(C)[4:8])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RowDifferences(CASES["plain"][0], CASES["deep"][0], OTHER_X), "second must have the 9 parameters"),
        (lambda: case("plain")[0].prepare(X[:2]), "second_inputs must have at most as many rows as inputs, 2, got 3"),
        (lambda: case("plain")[0](torch.ones(9, dtype=F64), X[:2]), "at most as many rows"),
        (lambda: RowDifferences(*CASES["operator"][:2], X).prepare(X), "9 rows"),
        (lambda: RowDifferences(*CASES["plain"][:2], X[:, :1]).prepare(X), "inputs must have shape"),
        (lambda: at_rows(case("plain")[0], slice(0, 2)), "some rows of RowDifferences cannot be had"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


def test_another_number_of_columns_is_refused():
    wide = from_function(lambda p, x: exponentials(p, x[:, 0]), [1.0, 2.0, 3.0])
    narrow = from_function(lambda p, x: x[:, :1] * p[0], [1.0, 2.0, 3.0])
    with pytest.raises(ArgumentError, match=r"equally many columns.*\(9, 3\) and \(3, 1\)"):
        RowDifferences(wide, narrow, OTHER_X)(wide.initial, X)
