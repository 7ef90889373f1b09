"""Conditions: which faces they name, what their operators are, and what is refused with a message that names it."""

import dataclasses

import numpy as np
import pytest
import torch

from grassvp import pde
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde.conditions import faces_of
from grassvp.pde.rows import condition_blocks, on_faces, unknown_of

BOX = pde.Box({"t": (0, 1), "x": (-1, 2), "y": (3, 5)})
RNG = np.random.default_rng(0)


def block_of(condition, unknowns=(), box=BOX, count=60):
    """The only block of a condition."""
    (places,) = on_faces([condition], box, count, "random", np.random.default_rng(0))
    (block,) = condition_blocks(condition, places, box, unknowns, "it")
    return block


class TestFaces:
    @pytest.mark.parametrize(
        ("on", "faces"),
        [
            (("x", "lower"), [("x", "lower")]),
            (["x", "upper"], [("x", "upper")]),
            (("x", "both"), [("x", "lower"), ("x", "upper")]),
            ([("x", "lower")], [("x", "lower")]),
            ([("x", "lower"), ("y", "both")], [("x", "lower"), ("y", "lower"), ("y", "upper")]),
            ((("x", "lower"), ("y", "upper")), [("x", "lower"), ("y", "upper")]),
            ([("x", "both"), ("x", "lower")], [("x", "lower"), ("x", "upper")]),
            ("boundary", list(BOX.faces)),
        ],
    )
    def test_names(self, on, faces):
        assert list(faces_of(on, BOX)) == faces

    @pytest.mark.parametrize(
        ("on", "error", "message"),
        [
            (("z", "lower"), ArgumentError, "'z' is no coordinate of the box, which has t, x, y"),
            (("x", "left"), ArgumentError, "'lower', 'upper' or 'both', got 'left'"),
            ([("x", "lower"), ("q", "upper")], ArgumentError, "'q' is no coordinate"),
            ("edge", ArgumentTypeError, "on must be"),
            ("x", ArgumentTypeError, "on must be"),
            (("x",), ArgumentTypeError, "on must be"),
            (("x", "lower", "upper"), ArgumentTypeError, "on must be"),
            ([], ArgumentTypeError, "on must be"),
            (None, ArgumentTypeError, "on must be"),
            (3, ArgumentTypeError, "on must be"),
            ([("x", "lower"), 3], ArgumentTypeError, "on must be"),
            (("x", 0), ArgumentTypeError, "on must be"),
        ],
    )
    def test_what_names_no_face_is_refused(self, on, error, message):
        with pytest.raises(error, match=message):
            faces_of(on, BOX)

    def test_numpy_names_are_names(self):
        assert faces_of(np.array(["x", "lower"]).tolist(), BOX) == (("x", "lower"),)


class TestOptions:
    @pytest.mark.parametrize("weight", [0, 0.0])
    def test_no_weight(self, weight):
        with pytest.raises(ArgumentError, match="weight must be > 0"):
            pde.dirichlet("boundary", weight=weight)
        with pytest.raises(ArgumentError, match="weight must be > 0"):
            pde.periodic("x", weight=weight)

    @pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
    def test_bad_weight(self, weight):
        with pytest.raises(ArgumentError, match="weight must be finite"):
            pde.Condition("boundary", weight=weight)

    @pytest.mark.parametrize("weight", ["1", None, True, [1.0]])
    def test_weight_that_is_no_number(self, weight):
        with pytest.raises(ArgumentTypeError, match="weight must be a number"):
            pde.Condition("boundary", weight=weight)

    def test_an_operator_must_be_a_function(self):
        with pytest.raises(ArgumentTypeError, match="operator must be callable"):
            pde.Condition("boundary", operator="u")  # pyright: ignore[reportArgumentType]

    def test_exact_is_for_values(self):
        with pytest.raises(ArgumentError, match="exact is for conditions on the value"):
            pde.neumann("boundary", exact=True)

    def test_of_beside_an_operator(self):
        with pytest.raises(ArgumentError, match="of names the unknown"):
            pde.Condition("boundary", operator=lambda u, x: u["v"].value, of="v")

    @pytest.mark.parametrize("derivatives", [-1, 4, 1.5, "1", None])
    def test_derivatives_of_a_periodic_one(self, derivatives):
        with pytest.raises(ArgumentError, match="derivatives must be"):
            pde.periodic("x", derivatives=derivatives)

    def test_unknown_options_fail(self):
        with pytest.raises(TypeError):
            pde.dirichlet("boundary", wieght=2.0)

    def test_they_cannot_be_changed(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            pde.dirichlet("boundary").weight = 2.0  # pyright: ignore[reportAttributeAccessIssue]

    def test_which_unknown(self):
        assert unknown_of(pde.dirichlet("boundary"), ()) == 0
        assert unknown_of(pde.dirichlet("boundary", of="v"), ("u", "v")) == 1
        for of in (None, "w"):
            with pytest.raises(ArgumentError, match=r"of must name one of the unknowns \('u', 'v'\)"):
                unknown_of(pde.dirichlet("boundary", of=of), ("u", "v"))
        with pytest.raises(ArgumentError, match="of must name"):
            unknown_of(pde.dirichlet("boundary", of="u"), ())


class TestBlocks:
    """The rows of each kind of condition against its definition."""

    def test_dirichlet(self):
        block = block_of(pde.dirichlet([("x", "lower"), ("y", "upper")], lambda x: x["x"] + 10 * x["t"] * x["y"]))
        t, x, y = block.points.T
        assert list(block.terms) == [(0, ())] and torch.equal(block.terms[0, ()], torch.ones(60).double())
        torch.testing.assert_close(block.targets, x + 10 * t * y)
        assert int((x == -1).sum()) == 30 and int((y == 5).sum()) == 30

    @pytest.mark.parametrize("column", [0, 1, 2])
    @pytest.mark.parametrize(("side", "sign"), [("lower", -1.0), ("upper", 1.0)])
    def test_the_normal_points_outwards(self, column, side, sign):
        block = block_of(pde.neumann((BOX.names[column], side)))
        assert list(block.terms) == [(0, (column,))]
        assert torch.equal(block.terms[0, (column,)], torch.full((60,), sign).double())

    def test_neumann_on_all_faces(self):
        """The derivative of |p - centre|^2 / 2 along the normal is the distance of the face from the centre."""
        block = block_of(pde.neumann("boundary"), count=120)
        centre = (BOX.lower + BOX.upper) / 2
        found = sum(c * (block.points - centre)[:, index[0]] for (_, index), c in block.terms.items())
        assert isinstance(found, torch.Tensor)
        expected = torch.cat([torch.full((20,), float(half)) for half in BOX.lengths / 2 for _ in range(2)]).double()
        torch.testing.assert_close(found, expected)

    def test_robin_with_functions(self):
        block = block_of(pde.robin(("y", "lower"), lambda x: x["t"], lambda x: 2 + x["x"], equals=3.0))
        torch.testing.assert_close(block.terms[0, ()], block.points[:, 0])
        torch.testing.assert_close(block.terms[0, (2,)], -(2 + block.points[:, 1]))
        assert block.targets.tolist() == [3.0] * 60

    def test_robin_with_numbers(self):
        block = block_of(pde.robin(("x", "upper"), 2.0, 0.5))
        assert block.terms[0, ()].tolist() == [2.0] * 60 and block.terms[0, (1,)].tolist() == [0.5] * 60

    def test_initial_value_and_velocity(self):
        value, velocity = block_of(pde.initial(lambda x: x["x"])), block_of(pde.initial_velocity(2.0))
        for block in (value, velocity):
            assert block.points[:, 0].tolist() == [0.0] * 60
        assert list(value.terms) == [(0, ())] and list(velocity.terms) == [(0, (0,))]
        assert velocity.terms[0, (0,)].tolist() == [1.0] * 60  # by time itself, not along the normal -t
        assert block_of(pde.initial(axis="y")).points[:, 2].tolist() == [3.0] * 60

    def test_an_operator_with_coefficients(self):
        condition = pde.Condition(("x", "upper"), operator=lambda u, x: x["t"] * u.d("y") + u.value - 2 * u.d("x", "y"))
        block = block_of(condition)
        assert set(block.terms) == {(0, (2,)), (0, ()), (0, (1, 2))}
        torch.testing.assert_close(block.terms[0, (2,)], block.points[:, 0])
        assert block.terms[0, (1, 2)].tolist() == [-2.0] * 60

    @pytest.mark.parametrize("make", [pde.dirichlet, pde.neumann, lambda on, **o: pde.robin(on, 1.0, 1.0, **o)])
    def test_of_an_unknown_of_a_system(self, make):
        block = block_of(make(("x", "lower"), of="v"), unknowns=("u", "v"))
        assert {unknown for unknown, _ in block.terms} == {1}

    @pytest.mark.parametrize("make", [pde.neumann, lambda on, **o: pde.robin(on, 1.0, 1.0, **o)])
    def test_of_what_is_no_unknown(self, make):
        for of in (None, "w"):
            with pytest.raises(ArgumentError, match=r"of must name one of the unknowns \('u', 'v'\), got"):
                block_of(make(("x", "lower"), of=of), unknowns=("u", "v"))
        with pytest.raises(ArgumentError, match="of must name"):
            block_of(make(("x", "lower"), of="u"))

    def test_velocity_of_an_unknown(self):
        assert list(block_of(pde.initial_velocity(of="v"), unknowns=("u", "v")).terms) == [(1, (0,))]

    @pytest.mark.parametrize("derivatives", [0, 1, 3])
    def test_periodic(self, derivatives):
        condition = pde.periodic("x", derivatives=derivatives)
        (places,) = on_faces([condition], BOX, 40, "random", np.random.default_rng(0))
        blocks = condition_blocks(condition, places, BOX, ("u", "v"), "it")
        keys = [key for block in blocks for key in block.terms]
        assert keys == [(j, (1,) * order) for j in range(2) for order in range(derivatives + 1)]
        for block in blocks:
            assert block.opposite is not None and not block.targets.any()
            assert set(block.points[:, 1].tolist()) == {-1.0} and set(block.opposite[:, 1].tolist()) == {2.0}
            assert torch.equal(block.points[:, [0, 2]], block.opposite[:, [0, 2]])

    def test_weights_reach_the_rows(self):
        for condition in (pde.neumann("boundary", weight=3.0), pde.dirichlet("boundary", weight=3.0)):
            assert block_of(condition).weight == 3.0

    def test_each_face_of_each_condition_has_as_many_rows(self):
        conditions = [pde.dirichlet("boundary"), pde.neumann(("x", "both")), pde.periodic("y"), pde.initial()]
        for count in (40, 41, 53):
            places = on_faces(conditions, BOX, count, "random", RNG)
            rows = [len(points) * (2 if k == 2 else 1) for k, each in enumerate(places) for _, points in each]
            assert max(rows) - min(rows) <= 2 and count - 1 <= sum(rows) <= count

    def test_too_few_rows_for_the_faces(self):
        with pytest.raises(ArgumentError, match="boundary must be >= 8, a point on each face of each condition, got 7"):
            on_faces([pde.dirichlet("boundary"), pde.neumann(("x", "both"))], BOX, 7, "grid", RNG)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("equals", "error", "message"),
        [
            (lambda x: x["z"], ArgumentError, "equals of it failed: KeyError"),
            (lambda x: x["x"][:, None], ArgumentError, r"equals of it must be a number or have shape \(60,\), got"),
            (lambda x: x["x"][:5], ArgumentError, r"got \(5,\)"),
            (lambda x: 0 * x["x"] + float("nan"), ArgumentError, "equals of it is NaN or infinite at 60 of 60"),
            (lambda x: 1 / (x["x"] + 1), ArgumentError, "equals of it is NaN or infinite at 60"),
            (float("inf"), ArgumentError, "equals of it is NaN or infinite"),
            (lambda x: "one", ArgumentTypeError, "equals of it must be a number or a function"),
            ("one", ArgumentTypeError, "equals of it must be a number or a function"),
            (lambda x: None, ArgumentTypeError, "equals of it must be a number or a function"),
            (None, ArgumentTypeError, "equals of it must be a number or a function"),
            (lambda x: x["x"] * 1j, ArgumentTypeError, "equals of it must be"),
            (1j, ArgumentTypeError, "equals of it must be"),
        ],
    )
    def test_equals(self, equals, error, message):
        with pytest.raises(error, match=message):
            block_of(pde.dirichlet(("x", "lower"), equals))

    @pytest.mark.parametrize(
        "equals",
        [
            lambda x: np.sin(x["t"].numpy()),
            lambda x: torch.sin(x["t"]).tolist(),
            lambda x: torch.sin(x["t"].clone().requires_grad_()),
        ],
        ids=["numpy", "list", "with gradient"],
    )
    def test_equals_of_any_kind_is_taken(self, equals):
        block = block_of(pde.dirichlet(("x", "lower"), equals))
        torch.testing.assert_close(block.targets, torch.sin(block.points[:, 0]))
        assert block.targets.dtype == torch.float64 and not block.targets.requires_grad

    def test_integers_and_float32_are_taken(self):
        assert block_of(pde.dirichlet("boundary", 2)).targets.tolist() == [2.0] * 60
        targets = block_of(pde.dirichlet("boundary", lambda x: x["x"].float())).targets
        assert targets.dtype == torch.float64

    @pytest.mark.parametrize(
        ("operator", "error", "message"),
        [
            (lambda u, x: u.value + 1, ArgumentError, "operator of it is not linear in u: it is 1 at u = 0.*equals"),
            (lambda u, x: u.value**2, ArgumentError, "operator of it is not linear"),
            (lambda u, x: (u.value, u.normal), ArgumentError, "operator of it must return one tensor, got 2"),
            (lambda u, x: x["x"], ArgumentError, "operator of it does not depend on u"),
            (lambda u, x: 0.0, ArgumentTypeError, "operator of it must return a torch tensor"),
            (lambda u, x: u.d("z"), ArgumentError, "'z' is no coordinate"),
            (lambda u: u.value, ArgumentError, "operator of it failed: TypeError"),
            (lambda u, x: u.value[..., :3], ArgumentError, "operator of it must return a tensor as large as u.value"),
            (lambda u, x: u["v"].value, ArgumentError, "operator of it failed: TypeError"),
        ],
    )
    def test_operators(self, operator, error, message):
        with pytest.raises(error, match=message):
            block_of(pde.Condition(("x", "lower"), operator=operator))
