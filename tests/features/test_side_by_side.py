"""Feature maps side by side: every product against one dense tensor, problems, unknowns of systems, and mutations."""

import numpy as np
import pytest
import torch

from grassvp import ReducedProblem, SeparableProblem, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import (
    ModuleFeatures,
    SideBySide,
    as_feature_map,
    differential_operator,
    from_function,
    mlp,
    side_by_side,
    under_operator,
)
from grassvp.features.composed import Composed, WithModel
from grassvp.features.protocol import at_rows
from grassvp.features.scaled import scaled
from grassvp.features.side_by_side import SideBySideDerivatives, Unknowns
from grassvp.statistics import fit_statistics
from tests.cases import dense_reference, exponentials, module_under_test, phase, variable_operator
from tests.laws import reduced as laws
from tests.laws.features import LAWS, curvature_law, near, products_law, random_tensors
from tests.oracles import torch_features, torch_operator

F64, ROWS = torch.float64, 9
X = torch.from_numpy(np.random.default_rng(11).uniform(-1.5, 1.5, (ROWS, 2)))
TERMS, OTHER = variable_operator(ROWS), {(): 0.5, (1,): np.linspace(1.0, 2.0, ROWS)}
L, L2 = differential_operator(ROWS, 2, TERMS), differential_operator(ROWS, 2, OTHER)


def plain(widths, activation="tanh", bias=True):
    return lambda theta: torch_features(theta, X, widths, activation, bias)


def under(widths, terms):
    return lambda theta: torch_operator(lambda p: torch_features(theta, p, widths), X, terms)


def decays(theta):
    return exponentials(theta, X[:, 0])


def cases():
    """(name, parts, theta -> the columns of each part, shared)."""
    tanh, deep = mlp(2, (3,), seed=1, bias_feature=False), mlp(2, (3, 2), seed=2)
    function = from_function(lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5])
    mixed = [as_feature_map(tanh), as_feature_map(mlp(2, (4,), activation="sin", seed=3))]
    yield "banks", mixed, [plain((3,), bias=False), plain((4,), "sin")], False
    yield (
        "operators",
        [under_operator(mlp(2, (3,), seed=1), L), under_operator(mlp(2, (2,), seed=4), L2)],
        [
            under((3,), TERMS),
            under((2,), OTHER),
        ],
        False,
    )
    yield (
        "one network",
        [under_operator(mlp(2, (3,), seed=1), L), under_operator(mlp(2, (3,), seed=1), L2)],
        [
            under((3,), TERMS),
            under((3,), OTHER),
        ],
        True,
    )
    yield (
        "one deep network",
        [under_operator(deep, L), as_feature_map(deep), under_operator(deep, L2)],
        [
            under((3, 2), TERMS),
            plain((3, 2)),
            under((3, 2), OTHER),
        ],
        True,
    )
    yield (
        "everything",
        [as_feature_map(deep), function, under_operator(deep, L), mixed[0]],
        [
            plain((3, 2)),
            decays,
            under((3, 2), TERMS),
            plain((3,), bias=False),
        ],
        False,
    )
    inner = SideBySide((under_operator(deep, L), scaled(under_operator(deep, L2), [2.0, 1.0, 1.0])))
    double = torch.tensor([2.0, 1.0, 1.0], dtype=F64)
    yield (
        "nested",
        [inner, as_feature_map(tanh)],
        [
            lambda t: torch.cat([under((3, 2), TERMS)(t[:17]), under((3, 2), OTHER)(t[17:]) * double], dim=1),
            plain((3,), bias=False),
        ],
        False,
    )
    yield "pair", [function, under_operator(deep, L)], [decays, under((3, 2), TERMS)], False
    yield "alone", [function], [decays], True


CASES = {name: rest for name, *rest in cases()}


def case(name):
    """The features, theta, prepared inputs, and theta -> Phi in plain operations."""
    parts, functions, shared = CASES[name]
    features = side_by_side(*parts, shared=shared)
    sizes = [part.initial.numel() for part in parts]

    def function(theta):
        thetas = [theta] * len(sizes) if shared else theta.split(sizes)
        return torch.cat([f(at) for f, at in zip(functions, thetas, strict=True)], dim=1)

    return features, features.initial + 0.05, features.prepare(X), function


@pytest.mark.parametrize("name", ["banks", "operators", "one network", "one deep network", "pair", "alone"])
@pytest.mark.parametrize("law", LAWS)
def test_feature_laws(name, law):
    law(*case(name))


@pytest.mark.parametrize("name", ["everything", "nested"])
@pytest.mark.parametrize("law", [products_law, curvature_law])
def test_feature_laws_of_larger_joins(name, law):
    law(*case(name))


@pytest.mark.parametrize(("name", "lam"), [("banks", 0.0), ("banks", 1e-3), ("one network", 1e-3), ("pair", 1e-3)])
def test_the_reduced_problem_obeys_its_laws(name, lam):
    features, theta, _, function = case(name)
    y, w = random_tensors(1, (ROWS, 2))[0], torch.linspace(0.5, 2, ROWS, dtype=F64)
    problem = SeparableProblem(features, X, y, weights=w, regularization=lam)
    reference = dense_reference(function, theta, y, w, lam)
    laws.law_suite(ReducedProblem(problem), theta.numpy(), reference)


def finite_differences_law(reduced, theta):
    """The gradient and the Jacobian against central differences of the value and the residual."""
    h, gradient, J = 1e-5, reduced.gradient(theta), reduced.jacobian(theta)
    for j in range(len(theta)):
        ahead, behind = (reduced.linearize(theta + s * h * torch.eye(len(theta), dtype=F64)[j]) for s in (1, -1))
        slope = (ahead.residual - behind.residual).flatten() / (2 * h)
        torch.testing.assert_close(J[:, j], slope, rtol=1e-6, atol=1e-7 * (1 + float(J.abs().max())))
        assert float(gradient[j]) == pytest.approx((ahead.value - behind.value) / (2 * h), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["banks", "one network", "nested"])
def test_gradient_and_jacobian_against_finite_differences(name):
    features, theta, _, _ = case(name)
    problem = SeparableProblem(features, X, X[:, 0] * torch.sin(X[:, 1]), regularization=1e-2)
    finite_differences_law(ReducedProblem(problem), theta)


def reversed_sum(self, pieces):
    return torch.cat(pieces[::-1], dim=-1) if not self._shared else pieces[0]


@pytest.mark.parametrize("name", ["banks", "one network", "everything"])
def test_parameters_in_the_wrong_place_are_noticed(name, monkeypatch):
    monkeypatch.setattr(SideBySideDerivatives, "_joined", reversed_sum)
    with pytest.raises(AssertionError):
        products_law(*case(name))


@pytest.mark.parametrize("name", ["banks", "one network"])
@pytest.mark.parametrize(
    ("owner", "method", "wrong"),
    [
        (SideBySideDerivatives, "block", lambda self, start, stop: self),
        (SideBySideDerivatives, "pushforward", lambda self, v: torch.cat([p.values for p in self._parts], dim=1)),
    ],
    ids=["block", "pushforward"],
)
def test_a_wrong_product_is_noticed(owner, method, wrong, name, monkeypatch):
    monkeypatch.setattr(owner, method, wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        products_law(*case(name))


@pytest.mark.parametrize("name", ["banks", "one network", "one deep network"])
def test_a_curvature_that_gives_parts_each_others_coefficients_is_noticed(name, monkeypatch):
    bent = SideBySide._bent

    def wrong(self, parameters, inputs, right):
        return bent(self, parameters, inputs, right.flip(0))

    monkeypatch.setattr(SideBySide, "_bent", wrong)
    with pytest.raises(AssertionError):
        curvature_law(*case(name))


@pytest.mark.parametrize("name", CASES)
def test_abilities(name):
    features, _, x, _ = case(name)
    parts, _, shared = CASES[name]
    assert features.shared == shared and features.parts == tuple(parts)
    assert features.cheap_adjoint == all(part.cheap_adjoint for part in parts)
    assert (
        features.can_sample == all(part.can_sample for part in parts) == (name not in ("everything", "pair", "alone"))
    )
    assert features.row_bound == (name in ("operators", "one network"))
    assert features.row_by_row == (name in ("one deep network", "everything", "nested", "pair"))
    assert (features.units(x) is None) == (name != "banks")
    assert features.limited(800)(features.initial, x).shape == features(features.initial, x).shape


def test_limits_reach_the_parts():
    features, theta, x, _ = case("one deep network")
    limited = features.limited(800)
    C = torch.ones(features(theta, x).shape[1], 2, dtype=F64)
    assert [part.memory_limit for part in (limited.parts[0], limited.parts[2])] == [800, 800]
    near(limited.derivatives(theta, x).contract(C), features.derivatives(theta, x).contract(C), 1e-14)


def test_units_and_samples_are_those_of_the_parts():
    features, _, x, _ = case("banks")
    near(features.units(x), torch.cat([part.units(x) for part in features.parts]))
    rng, other = (np.random.default_rng(0) for _ in range(2))
    drawn = torch.cat([part.sample(other, x, 2.0) for part in features.parts])
    near(features.sample(rng, x, 2.0), drawn, 1e-15)
    assert drawn.shape == features.initial.shape
    shared, _, x, _ = case("one deep network")
    rng, other = (np.random.default_rng(0) for _ in range(2))
    near(shared.sample(rng, x, 2.0), as_feature_map(mlp(2, (3, 2))).sample(other, X, 2.0), 1e-15)
    both = side_by_side(*[mlp(2, (3,), seed=s) for s in (1, 2)], shared=True)
    near(both.units(X), both.parts[0].units(X), 1e-15)


def test_cast():
    features, _, _, function = case("one deep network")
    single = features.cast(torch.float32, X.device)
    found = single(single.initial, single.prepare(X.float()))
    assert found.dtype == torch.float32 and features.initial.dtype == F64
    torch.testing.assert_close(found.double(), function(features.initial), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("index", [slice(2, 6), torch.tensor([7, 0, 3])], ids=["slice", "index"])
@pytest.mark.parametrize("name", ["operators", "one deep network", "banks"])
def test_some_rows(name, index):
    features, theta, x, function = case(name)
    near(features.at_rows(index)(theta, x[index]), function(theta)[index])


def test_the_model_is_without_operators():
    features = case("operators")[0]
    theta, model = features.initial, features.model
    near(model(theta, X), torch.cat([plain((3,))(theta[:9]), plain((2,))(theta[9:])], dim=1))
    assert not model.row_bound


def test_a_bank_of_two_activations_fits_and_predicts():
    y = torch.tanh(2 * X[:, 0]) + torch.sin(3 * X[:, 1])
    banks = side_by_side(mlp(2, (1,), bias_feature=False), mlp(2, (1,), activation="sin"))
    found = solve(SeparableProblem(banks, X, y), seed=0, max_iterations=60)
    Phi = torch.cat(
        [
            torch_features(found.parameters[:3], X, (1,), "tanh", False),
            torch_features(found.parameters[3:], X, (1,), "sin"),
        ],
        dim=1,
    )
    assert found.value < 1e-20 and found.predict(X).shape == (ROWS,)
    near(found.predict(X), (Phi @ found.coefficients)[:, 0])
    assert found.predict(X.numpy()).shape == (ROWS,)


def test_a_coupling_module_is_noticed_beside_others():
    class Coupled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 2, dtype=F64)

        def forward(self, x):
            return self.inner(x) - self.inner(x).mean(0)

    with pytest.raises(ArgumentError, match="couples the rows"):
        SeparableProblem(side_by_side(mlp(2, (2,)), Coupled()), X, X[:, 0])
    SeparableProblem(side_by_side(mlp(2, (2,)), module_under_test()), X, X[:, 0])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: side_by_side(), ArgumentError, "parts is empty"),
        (lambda: side_by_side(1.0), ArgumentTypeError, "features must be a torch.nn.Module"),
        (lambda: side_by_side(mlp(2, (2,)), shared="yes"), ArgumentTypeError, "shared must be True or False"),
        (lambda: side_by_side(mlp(2, (2,)), mlp(2, (3,)), shared=True), ArgumentError, r"equally many, got \[6, 9\]"),
        (lambda: SideBySide([as_feature_map(mlp(2, (2,)))]), ArgumentTypeError, "parts must be a tuple"),
        (lambda: side_by_side(mlp(2, (2,)), mlp(1, (2,))).prepare(X), ArgumentError, "inputs must have shape"),
        (lambda: case("one network")[0].prepare(X[:3]), ArgumentError, "3 rows"),
    ],
)
def test_bad_arguments_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_inputs_in_two_shapes_are_refused():
    flat = from_function(lambda p, x: torch.exp(-p * x[:, None]), [1.0])
    with pytest.raises(ArgumentError, match=r"different shapes, \(9,\), \(9, 1\)"):
        SeparableProblem(side_by_side(flat, mlp(1, (2,))), X[:, 0], X[:, 1])


def test_an_offset_is_refused():
    function = from_function(lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5], offset=lambda p, x: p[0] * x[:, 0])
    with pytest.raises(ArgumentError, match="part 1 of several side by side has an offset"):
        SeparableProblem(side_by_side(mlp(2, (2,)), function), X, X[:, 0])


def test_rows_that_cannot_be_chosen_are_refused():
    class Bound(type(as_feature_map(mlp(2, (2, 2))))):
        row_bound = True

    bound = Bound(**vars(as_feature_map(mlp(2, (2, 2)))))
    with pytest.raises(ArgumentError, match="some rows of Bound cannot be had"):
        at_rows(side_by_side(mlp(2, (2,)), bound), slice(0, 2))


# --- unknowns of a system -------------------------------------------------------------------------------------------

g = lambda x: x[:, 0] ** 2  # noqa: E731
D = lambda x: x[:, 1] - 2.0  # noqa: E731


def unknowns(name):
    """The map, and theta -> the features and the offset of each unknown, in plain operations."""
    net, wide = as_feature_map(mlp(2, (3,), seed=1)), as_feature_map(mlp(2, (2, 4), seed=2))
    first = lambda theta: plain((3,))(theta)  # noqa: E731
    zero = torch.zeros(ROWS, dtype=F64)
    lifted = Composed(net, None, D, g, 2)
    return {
        "shared": (Unknowns((net, net), True), lambda t: [(first(t), zero), (first(t), zero)]),
        "separate": (
            Unknowns((net, wide, net)),
            lambda t: [(first(t[:9]), zero), (plain((2, 4))(t[9:27]), zero), (first(t[27:]), zero)],
        ),
        "lifted": (
            Unknowns((net, lifted), True),
            lambda t: [(first(t), zero), (D(X)[:, None] * first(t), g(X))],
        ),
    }[name]


def stacked(parts):
    """Row i U + j: row i of Phi_j in its own columns, written entry by entry; an offset behind all."""
    n, U = sum(Phi.shape[1] for Phi, _ in parts), len(parts)
    rows, start = {}, 0
    for j, (Phi, o) in enumerate(parts):
        for i in range(ROWS):
            left, right = Phi.new_zeros(start), Phi.new_zeros(n - start - Phi.shape[1])
            rows[i * U + j] = torch.cat([left, Phi[i], right, o[i : i + 1]])
        start += Phi.shape[1]
    whole = torch.stack([rows[r] for r in range(ROWS * U)])
    return whole if any(bool(o.any()) for _, o in parts) else whole[:, :-1]


UNKNOWNS = ("shared", "separate", "lifted")


@pytest.mark.parametrize("name", UNKNOWNS)
@pytest.mark.parametrize("law", LAWS)
def test_feature_laws_of_unknowns(name, law):
    features, function = unknowns(name)
    law(features, features.initial + 0.05, features.prepare(X), lambda theta: stacked(function(theta)))


@pytest.mark.parametrize("name", UNKNOWNS)
def test_outputs_are_the_unknowns_side_by_side(name):
    features, function = unknowns(name)
    theta = features.initial
    parts = function(theta)
    C = torch.linspace(-1, 2, sum(Phi.shape[1] for Phi, _ in parts), dtype=F64)[:, None]
    pieces = C.split([Phi.shape[1] for Phi, _ in parts])
    expected = torch.stack([(Phi @ c)[:, 0] + o for (Phi, o), c in zip(parts, pieces, strict=True)], dim=1)
    assert features.offset_columns(theta, X) == (name == "lifted")
    near(features.outputs(features(theta, X), C), expected)
    with pytest.raises(AssertionError):
        near(features.outputs(features(theta, X), C.flip(0)), expected)
    with pytest.raises(ArgumentError, match=r"targets of a system must have shape \(rows,\).*2 columns"):
        features.outputs(features(theta, X), C.expand(-1, 2))


def test_an_unknown_with_two_offset_columns_is_refused():
    function = from_function(
        lambda p, x: exponentials(p, x[:, 0]), [0.3, 2.0, 2.5], offset=lambda p, x: phase(p, x[:, 0])
    )
    with pytest.raises(ArgumentError, match="one column of an offset at most, got 3"):
        Unknowns((function, function), True)(function.initial, X)


def system(shared=True):
    """Rows of d_0 u + v and of u / 10 + d_1 v, with the targets of u = x_0 x_1^2 and v = sin x_1."""
    points, one = torch.cat([X, X]), np.repeat([1.0, 0.0], ROWS)
    u_rows = differential_operator(2 * ROWS, 2, {(0,): one, (): 0.1 * (1 - one)})
    v_rows = differential_operator(2 * ROWS, 2, {(): one, (1,): 1 - one})
    net, other = mlp(2, (2,), seed=3), mlp(2, (2,), seed=3 if shared else 5)
    rows = side_by_side(under_operator(net, u_rows), under_operator(other, v_rows), shared=shared)
    model = Unknowns((as_feature_map(net), as_feature_map(other)), shared)
    x0, x1 = X.T
    targets = torch.cat([x1**2 + torch.sin(x1), 0.1 * x0 * x1**2 + torch.cos(x1)])
    return WithModel(rows, model), points, targets


@pytest.mark.parametrize("shared", [True, False])
def test_a_system_is_solved_for_two_unknowns_and_predicts_both(shared):
    features, points, targets = system(shared)
    problem = SeparableProblem(features, points, targets, regularization=1e-6)
    finite_differences_law(ReducedProblem(problem), features.initial)
    found = solve(problem, seed=0, max_iterations=30)
    theta, C = found.parameters, found.coefficients
    thetas = [theta, theta] if shared else theta.split(6)
    nets = [torch_features(at, X, (2,)) for at in thetas]
    expected = torch.stack([(Phi @ c)[:, 0] for Phi, c in zip(nets, C.split(3), strict=True)], dim=1)
    assert C.shape == (6, 1) and found.predict(X).shape == (ROWS, 2)
    near(found.predict(X), expected)
    u_x = torch_operator(lambda p: torch_features(thetas[0], p, (2,)), X, {(0,): 1.0}) @ C[:3]
    near(problem.fitted(problem.features(theta, problem.inputs), C)[:ROWS], u_x + nets[1] @ C[3:])
    assert 2 * found.value < float(targets @ targets)


def test_the_confidence_band_of_a_system_has_its_shape():
    features, points, targets = system(shared=False)
    problem = SeparableProblem(features, points, targets, regularization=1e-3)
    report = fit_statistics(problem, solve(problem, seed=0, max_iterations=15))
    band, model = report.band(X), features.model

    def both(theta, C):
        return model.outputs(model(theta, X), C).reshape(-1)

    assert band.shape == (ROWS, 2)
    ratio = band.numpy().reshape(-1) / report.derived(both)[1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-8)


def test_a_generic_module_serves_as_a_part_of_unknowns():
    module = ModuleFeatures.of(module_under_test()).cast(F64, X.device)
    features = Unknowns((module, module), True)
    C = torch.ones(10, 1, dtype=F64)
    out = features.outputs(features(features.initial, X), C)
    near(out[:, 0], module(module.initial, X).sum(1))
