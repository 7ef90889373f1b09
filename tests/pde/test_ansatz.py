"""u = g + D N(e(x)): values on faces, and operators on u against automatic differentiation of the whole function.

The reference shares nothing with the library: g by inclusion and exclusion of projections to the faces, D as a product
of distances, e and the network written out, and all derivatives nested through the composed function.
"""

import math
from itertools import chain, combinations, combinations_with_replacement

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.pde import Box, ansatz
from grassvp.pde.ansatz import Ansatz, Embedding, partial
from grassvp.pde.representation import Representation
from tests.oracles import torch_features

BOX = {"t": (0.0, 2.0), "x": (-1.0, 0.5), "y": (3.0, 4.0)}
ROWS = 4


def box_of(d):
    return Box(dict(list(BOX.items())[:d]))


def points_of(box, rows=ROWS, seed=0):
    return box.scaled(torch.from_numpy(np.random.default_rng(seed).random((rows, box.dimension))))


def whole(x):
    """A smooth function of the coordinates by name, whose values the faces are given."""
    return torch.exp(0.3 * x["t"]) * torch.sin(1 + sum((k + 1) * each for k, each in enumerate(x.values())))


def subsets(items):
    return chain.from_iterable(combinations(items, count) for count in range(1, len(items) + 1))


def sides_of(box, faces):
    """column -> its sides with exact values, in any order."""
    return {k: [side for axis, side in faces if axis == name] for k, name in enumerate(box.names)}


def reference_multiplier(box, faces, points):
    """D, (rows,)."""
    D = torch.ones_like(points[:, 0])
    for k, sides in sides_of(box, faces).items():
        unit = (points[:, k] - box.lower[k]) / box.lengths[k]
        for side in sides:
            D = D * (unit if side == "lower" else 1 - unit)
        D = D * (4 if len(sides) == 2 else 1)
    return D


def reference_lift(box, faces, points, function=whole):
    """g, (rows,): the sum over sets S of axes of (-1)^(|S| + 1) P_S h, P_k the interpolation along axis k."""

    def at(moved):
        return function(dict(zip(box.names, moved, strict=True)))

    def projected(axes, moved):
        if not axes:
            return at(moved)
        k, *rest = axes
        unit = (points[:, k] - box.lower[k]) / box.lengths[k]
        sides, total = sides_of(box, faces)[k], 0.0
        for side in sides:
            share = 1.0 if len(sides) == 1 else (1 - unit if side == "lower" else unit)
            end = float((box.lower if side == "lower" else box.upper)[k])
            there = [torch.full_like(each, end) if i == k else each for i, each in enumerate(moved)]
            total = total + share * projected(rest, there)
        return total

    present = [k for k, sides in sides_of(box, faces).items() if sides]
    return sum((-1) ** (len(S) + 1) * projected(list(S), list(points.unbind(1))) for S in subsets(present))


def reference_embedding(box, periodic, points):
    pieces = []
    for k in range(box.dimension):
        angle = 2 * math.pi * (points[:, k] - box.lower[k]) / box.lengths[k]
        pieces += [torch.cos(angle), torch.sin(angle)] if k in periodic else [points[:, k]]
    return torch.stack(pieces, 1)


def reference_operator(function, points, terms):
    """sum_alpha c_alpha D^alpha of a function (rows, d) -> (rows,) of independent rows, by nested reverse mode."""
    x = points.clone().requires_grad_()
    total = torch.zeros(len(points), dtype=torch.float64)
    for index, c in terms.items():
        values = function(x)
        for i in index:
            if not values.requires_grad:
                values = torch.zeros_like(values)
                break
            (slopes,) = torch.autograd.grad(values.sum(), x, create_graph=True, materialize_grads=True)
            values = slopes[:, i]
        total = total + c * values
    return total.detach()


def random_terms(d, order, rng, rows=ROWS):
    """A random operator with coefficients in each row, up to an order."""
    possible = [i for k in range(order + 1) for i in combinations_with_replacement(range(d), k)]
    chosen = rng.choice(len(possible), min(4, len(possible)), replace=False)
    return {possible[k]: torch.from_numpy(rng.standard_normal(rows)) for k in chosen}


def composed(box, faces, periodic, theta, widths, C, function=whole):
    """u, as a function of points (rows, d) to (rows,)."""

    def u(points):
        N = torch_features(theta, reference_embedding(box, periodic, points), widths) @ C
        g = reference_lift(box, faces, points, function) if faces else 0.0
        return reference_multiplier(box, faces, points) * N + g

    return u


def check_rows(box, faces, periodic, *, order=2, widths=(5,), seed=0):
    """The rows of the representation times C, and what comes from g, against the operator on the composed function."""
    rng = np.random.default_rng(seed)
    points = points_of(box, seed=seed)
    terms = random_terms(box.dimension, order, rng)
    own = {0: Ansatz(box, dict.fromkeys(faces, whole))} if faces else {}
    embedding = Embedding(box, periodic) if periodic else None
    module = mlp(box.dimension + len(periodic), widths, seed=seed)
    representation = Representation(box, (module,), 1, own, embedding)
    features, fixed = representation.rows({(0, index): c for index, c in terms.items()}, points)
    theta = features.initial
    C = torch.from_numpy(rng.standard_normal(widths[-1] + 1))
    found = features(theta, features.prepare(representation.inputs(points))) @ C + fixed
    expected = reference_operator(composed(box, faces, periodic, theta, widths, C), points, terms)
    scale = float(expected.abs().max()) + sum(float(c.abs().max()) for c in terms.values())
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11 * scale)
    model = representation.evaluating(features).model
    values = model.outputs(model(theta, model.prepare(points)), C[:, None])[:, 0]
    u = composed(box, faces, periodic, theta, widths, C)(points)
    torch.testing.assert_close(values, u, rtol=1e-13, atol=1e-13)


class TestRows:
    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_sets_of_exact_faces(self, d):
        box = box_of(d)
        for number, faces in enumerate(subsets(box.faces)):
            if number % (1, 2, 8)[d - 1] == 0:
                check_rows(box, faces, (), seed=number)

    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_every_set_of_periodic_coordinates(self, d):
        for number, periodic in enumerate(subsets(range(d))):
            for seed in range(3):
                check_rows(box_of(d), (), periodic, seed=10 * number + seed)

    @pytest.mark.parametrize(
        ("faces", "periodic"),
        [
            ((("t", "lower"),), (1,)),
            ((("t", "lower"), ("y", "both")), (1,)),
            ((("y", "lower"),), (0, 1)),
            ((("x", "lower"), ("x", "upper")), (2,)),
        ],
    )
    @pytest.mark.parametrize("seed", [0, 1])
    def test_both(self, faces, periodic, seed):
        faces = tuple(
            (name, each) for name, side in faces for each in (("lower", "upper") if side == "both" else (side,))
        )
        check_rows(box_of(3), faces, periodic, seed=seed)

    def test_neither(self):
        for seed in range(3):
            check_rows(box_of(2), (), (), order=4, seed=seed)

    def test_the_order_of_the_faces_does_not_matter(self):
        for faces in ((("x", "upper"), ("t", "lower"), ("x", "lower")), (("x", "lower"), ("t", "lower"))):
            check_rows(box_of(2), faces, ())

    def test_higher_orders_on_exact_faces(self):
        check_rows(box_of(2), (("x", "lower"), ("x", "upper")), (), order=4)

    def test_deep_networks(self):
        check_rows(box_of(2), (("x", "lower"), ("t", "upper")), (), widths=(4, 3))
        check_rows(box_of(2), (("t", "lower"),), (1,), widths=(4, 3))

    @pytest.mark.parametrize("shared", [True, False])
    def test_systems(self, shared):
        """u with exact values on one face, v without, w with a number on all; an operator on all three at once."""
        box, rng, widths = box_of(2), np.random.default_rng(4), (5,)
        points, names = points_of(box), (("x", "lower"),)
        own = {0: Ansatz(box, dict.fromkeys(names, whole)), 2: Ansatz(box, dict.fromkeys(box.faces, 1.5))}
        networks = tuple(mlp(2, widths, seed=seed) for seed in ((3,) if shared else (3, 4, 5)))
        representation = Representation(box, networks, 3, own, None)
        parts = [random_terms(2, 2, rng) for _ in range(3)]
        terms = {(j, index): c for j, part in enumerate(parts) for index, c in part.items()}
        features, fixed = representation.rows(terms, points)
        theta = features.initial
        C = torch.from_numpy(rng.standard_normal((3 * (widths[0] + 1), 1)))
        found = (features(theta, features.prepare(points)) @ C)[:, 0] + fixed
        functions = [
            composed(
                box,
                faces,
                (),
                theta if shared else theta.split(len(theta) // 3)[j],
                widths,
                C[:, 0].split(widths[0] + 1)[j],
                function,
            )
            for j, (faces, function) in enumerate(
                [(names, whole), ((), whole), (box.faces, lambda x: 1.5 * torch.ones_like(x["t"]))]
            )
        ]
        expected = sum(
            reference_operator(function, points, part) for function, part in zip(functions, parts, strict=True)
        )
        assert isinstance(expected, torch.Tensor)
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)
        model = representation.evaluating(features).model
        values = model.outputs(model(theta, model.prepare(points)), C)
        u = torch.stack([function(points) for function in functions], 1)
        torch.testing.assert_close(values, u, rtol=1e-13, atol=1e-13)

    def test_an_unknown_that_the_operator_does_not_have(self):
        box = box_of(1)
        representation = Representation(box, (mlp(1, (3,)),), 2, {1: Ansatz(box, {("t", "lower"): 7.0})}, None)
        features, fixed = representation.rows({(0, (0,)): torch.ones(ROWS).double()}, points_of(box))
        values = features(features.initial, features.prepare(points_of(box)))
        assert values.shape == (ROWS, 8) and not values[:, 4:].any() and not fixed.any()

    def test_differences_between_opposite_faces(self):
        """Rows of a soft periodic condition where other values are exact: L u there minus L u on the other side."""
        box, rng, faces = box_of(2), np.random.default_rng(2), (("t", "lower"),)
        representation = Representation(box, (mlp(2, (5,)),), 1, {0: Ansatz(box, dict.fromkeys(faces, whole))}, None)
        points = points_of(box, 7)
        here, opposite = points.clone(), points[-3:].clone()
        here[-3:, 1], opposite[:, 1] = box.lower[1], box.upper[1]
        terms = random_terms(2, 2, rng, 7)
        other = {(0, index): c[-3:] for index, c in terms.items()}
        features, fixed = representation.differences({(0, i): c for i, c in terms.items()}, here, other, opposite)
        theta, C = features.initial, torch.from_numpy(rng.standard_normal(6))
        found = features(theta, features.prepare(here)) @ C + fixed
        u = composed(box, faces, (), theta, (5,), C)
        expected = reference_operator(u, here, terms)
        expected[-3:] -= reference_operator(u, opposite, {index: c for (_, index), c in other.items()})
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


class TestFaces:
    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_exact_values_hold_to_rounding_whatever_the_network(self, d):
        box = box_of(d)
        for faces in subsets(box.faces):
            own = Ansatz(box, dict.fromkeys(faces, whole))
            for name, side in faces:
                points = points_of(box, 20)
                points[:, box.names.index(name)] = box.end((name, side))
                assert not own.multiplier(points).any()
                torch.testing.assert_close(own.lift(points), whole(box.columns(points)), rtol=1e-14, atol=1e-14)

    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_the_multiplier_is_of_size_one_and_vanishes_nowhere_else(self, d):
        box = box_of(d)
        for faces in subsets(box.faces):
            D = Ansatz(box, dict.fromkeys(faces, 0.0)).multiplier(points_of(box, 200))
            assert float(D.min()) > 0 and float(D.max()) <= 1
            expected = reference_multiplier(box, faces, points_of(box, 5))
            torch.testing.assert_close(Ansatz(box, dict.fromkeys(faces, 0.0)).multiplier(points_of(box, 5)), expected)

    def test_different_values_on_different_faces(self):
        box = box_of(2)
        values = {
            ("t", "lower"): lambda x: torch.sin(x["x"]),
            ("x", "lower"): lambda x: torch.sin(-torch.ones_like(x["t"])) * (1 + x["t"] ** 2),
            ("x", "upper"): lambda x: math.sin(0.5) * torch.exp(x["t"]),
        }
        own = Ansatz(box, values)
        own.check(points_of(box, 16))
        for (name, side), value in values.items():
            points = points_of(box, 20, seed=3)
            points[:, box.names.index(name)] = box.end((name, side))
            torch.testing.assert_close(own.lift(points), value(box.columns(points)), rtol=1e-14, atol=1e-14)

    def test_a_function_that_is_linear_along_each_axis_is_its_own_interpolation(self):
        box = box_of(3)
        own = Ansatz(box, dict.fromkeys(box.faces, lambda x: (1 + 2 * x["t"]) * (x["x"] - 3) * x["y"]))
        points = points_of(box, 20)
        t, x, y = points.T
        torch.testing.assert_close(own.lift(points), (1 + 2 * t) * (x - 3) * y, rtol=1e-13, atol=1e-13)

    @pytest.mark.parametrize(
        "values",
        [
            {("t", "lower"): 0.0, ("x", "lower"): 1.0},
            {("t", "lower"): 0.0, ("x", "lower"): 1e-6},
            {("t", "lower"): lambda x: x["x"], ("x", "upper"): lambda x: 0.5 + x["t"], ("x", "lower"): 0.0},
            {("t", "upper"): lambda x: 1e9 + 0 * x["x"], ("x", "lower"): lambda x: 1e9 + x["t"]},
            {("t", "lower"): 1e-9, ("x", "lower"): 0.0},
        ],
    )
    def test_values_that_disagree_where_faces_meet_are_refused(self, values):
        with pytest.raises(ArgumentError, match=r"conditions: the exact values on .* disagree where they meet"):
            Ansatz(box_of(2), values).check(points_of(box_of(2), 16))

    def test_opposite_faces_never_disagree(self):
        Ansatz(box_of(2), {("x", "lower"): 0.0, ("x", "upper"): 1.0}).check(points_of(box_of(2), 16))

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (lambda x: x["t"][:, None], r"equals of the exact condition on \('x', 'lower'\) must be"),
            (lambda x: x["t"] * float("nan"), r"equals of the exact condition on \('x', 'lower'\) is NaN or infinite"),
            (lambda x: x["z"], r"equals of the exact condition on \('x', 'lower'\) failed: KeyError"),
        ],
    )
    def test_values_that_cannot_be_used(self, value, message):
        with pytest.raises(ArgumentError, match=message):
            Ansatz(box_of(2), {("x", "lower"): value}).check(points_of(box_of(2), 16))

    def test_values_that_cannot_be_differentiated(self):
        own = Ansatz(box_of(2), {("x", "lower"): lambda x: torch.from_numpy(np.sin(x["t"].numpy()))})
        own.check(points_of(box_of(2), 16))
        one = torch.ones(ROWS).double()
        assert torch.isfinite(own.apply({(): one}, points_of(box_of(2)))[1]).all()
        with pytest.raises(ArgumentError, match="write their equals with torch operations"):
            own.apply({(0, 0): one}, points_of(box_of(2)))

    def test_integers_and_numpy_numbers(self):
        for value in (2, np.float32(2.0), torch.tensor(2)):
            own = Ansatz(box_of(1), {("t", "lower"): value})
            own.check(points_of(box_of(1)))
            assert own.lift(points_of(box_of(1))).tolist() == [2.0] * ROWS


class TestEmbedding:
    def test_it_closes_the_circle_with_all_derivatives(self):
        box = box_of(3)
        embedding = Embedding(box, (1,))
        lower, upper = points_of(box), points_of(box)
        lower[:, 1], upper[:, 1] = box.lower[1], box.upper[1]
        assert embedding.width == 4 and embedding.names == ("t", "cos(x)", "sin(x)", "y")
        torch.testing.assert_close(embedding(lower), embedding(upper), rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(embedding(points_of(box)), reference_embedding(box, (1,), points_of(box)))

    def test_periods_are_not_shorter_than_the_box(self):
        """Different points of the box have different images, so that nothing is lost."""
        images = Embedding(box_of(1), (0,))(torch.linspace(0, 2, 101).double()[:-1, None])
        assert float(torch.pdist(images).min()) > 0.06

    @pytest.mark.parametrize("index", [(1, 1, 1), (0, 1, 1), (0, 0, 1, 1)])
    def test_higher_derivatives_by_a_periodic_coordinate_are_refused(self, index):
        with pytest.raises(ArgumentError, match=r"exact periodic conditions: .* may have order 1 or 2, got u.d"):
            Embedding(box_of(2), (1,)).apply({index: torch.ones(ROWS).double()}, points_of(box_of(2)))

    def test_higher_derivatives_by_others_are_not(self):
        found = Embedding(box_of(2), (1,)).apply({(0, 0, 0, 0): torch.ones(ROWS).double()}, points_of(box_of(2)))
        assert {index for index, c in found.items() if c.any()} == {(0, 0, 0, 0)}


def test_partial_derivatives():
    points = points_of(box_of(2))
    t, x = points.T
    f = lambda at: torch.sin(at[:, 0]) * at[:, 1] ** 3  # noqa: E731
    for index, expected in {
        (): torch.sin(t) * x**3,
        (0,): torch.cos(t) * x**3,
        (1, 1): 6 * torch.sin(t) * x,
        (0, 0, 1): -torch.sin(t) * 3 * x**2,
        (1, 1, 1, 1): 0 * t,
    }.items():
        torch.testing.assert_close(partial(f, points, index), expected)


MUTATIONS = {
    "g is dropped": (Ansatz, "_lifted", lambda original: lambda *a: 0 * original(*a)),
    "D is one": (Ansatz, "multiplier", lambda original: lambda self, points: 1 + 0 * original(self, points)),
    "derivatives of D are dropped": (
        ansatz,
        "partial",
        lambda original: lambda f, points, index: original(f, points, index) * (len(index) == 0),
    ),
    "the circle runs backwards": (Embedding, "_rate", lambda original: lambda *a: -original(*a)),
    "slopes are dropped": (
        Embedding,
        "_slopes",
        lambda original: lambda *a: {k: 0 * slope for k, slope in original(*a).items()},
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations_are_noticed(name, monkeypatch):
    owner, attribute, change = MUTATIONS[name]
    for module in (owner,):
        monkeypatch.setattr(module, attribute, change(getattr(module, attribute)))
    with pytest.raises(AssertionError):
        for seed in range(4):
            check_rows(box_of(2), (("t", "lower"),), (1,), seed=seed)
