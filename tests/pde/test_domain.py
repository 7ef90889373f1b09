"""Boxes: what they hold, and what they refuse with a message that names it."""

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde import Box

AXES = {"t": (0, 2), "x": (-1.5, 1.0), "y": (10, 11)}


def test_it_holds_the_intervals_in_the_order_given():
    box = Box(AXES)
    assert box.names == ("t", "x", "y") and box.dimension == 3
    assert box.lower.tolist() == [0.0, -1.5, 10.0] and box.upper.tolist() == [2.0, 1.0, 11.0]
    assert box.lengths.tolist() == [2.0, 2.5, 1.0]
    assert box.lower.dtype == box.upper.dtype == torch.float64
    assert Box(dict(reversed(AXES.items()))).names == ("y", "x", "t")


def test_it_has_two_faces_for_each_coordinate():
    box = Box(AXES)
    assert box.faces == tuple((name, side) for name in AXES for side in ("lower", "upper"))
    assert [box.end(face) for face in box.faces] == [0.0, 2.0, -1.5, 1.0, 10.0, 11.0]


@pytest.mark.parametrize(
    "interval",
    [(0, 1), [0, 1], np.array([0, 1]), np.array([0.0, 1.0], dtype=np.float32), torch.tensor([0, 1]), (np.int64(0), 1)],
    ids=["tuple", "list", "int array", "float32 array", "tensor", "mixed"],
)
def test_intervals_of_any_kind_become_float64(interval):
    box = Box({"x": interval})
    assert box.lower.dtype == torch.float64 and (float(box.lower), float(box.upper)) == (0.0, 1.0)


def test_it_shares_no_memory_with_what_it_was_given():
    ends = np.array([0.0, 1.0])
    box = Box({"x": ends})
    ends[:] = 7.0
    assert float(box.upper) == 1.0


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({}, ArgumentTypeError, "axes must map"),
        ([("x", (0, 1))], ArgumentTypeError, "axes must map"),
        ("x", ArgumentTypeError, "axes must map"),
        (None, ArgumentTypeError, "axes must map"),
        ({1: (0, 1)}, ArgumentTypeError, "needs a name"),
        ({"": (0, 1)}, ArgumentTypeError, "needs a name"),
        ({"x": (0, 1), "t": (1, 1)}, ArgumentError, r"axes\['t'\].*lower < upper"),
        ({"x": (1, 0)}, ArgumentError, r"axes\['x'\].*lower < upper"),
        ({"x": (0, 1, 2)}, ArgumentError, r"axes\['x'\]"),
        ({"x": 1.0}, ArgumentError, r"axes\['x'\]"),
        ({"x": ((0, 1), (0, 1))}, ArgumentError, r"axes\['x'\]"),
        ({"x": ()}, ArgumentError, r"axes\['x'\]"),
        ({"x": (0, float("nan"))}, ArgumentError, r"axes\['x'\].*NaN"),
        ({"x": (0, float("inf"))}, ArgumentError, r"axes\['x'\].*infinite"),
        ({"x": ("0", "1")}, ArgumentTypeError, r"axes\['x'\]"),
        ({"x": (0, 1j)}, ArgumentTypeError, r"axes\['x'\].*real"),
        ({"x": None}, ArgumentTypeError, r"axes\['x'\]"),
    ],
)
def test_what_is_no_box_is_refused(axes, error, message):
    with pytest.raises(error, match=message):
        Box(axes)


def test_columns_and_unit_points():
    box = Box(AXES)
    unit = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = box.scaled(unit)
    columns = box.columns(points)
    assert list(columns) == list(AXES)
    for name, ends in AXES.items():
        column = columns[name]
        assert column.shape == (7,)
        torch.testing.assert_close(column, ends[0] + (ends[1] - ends[0]) * unit[:, box.names.index(name)])


def test_an_unknown_coordinate_is_named_with_the_known_ones():
    with pytest.raises(ArgumentError, match=r"there: 'z' is no coordinate of the box, which has t, x, y"):
        Box(AXES).index("z", "there")
    assert [Box(AXES).index(name, "there") for name in AXES] == [0, 1, 2]


class TestPoints:
    def test_points_on_the_faces_and_just_outside_by_rounding_are_inside(self):
        box = Box({"x": (1 / 3, 1e6)})
        points = torch.stack([box.lower, box.upper, box.upper * (1 + 1e-15)])
        assert torch.equal(box.check_points(points), points)

    def test_one_coordinate_takes_a_plain_list(self):
        assert Box({"x": (0, 1)}).check_points([0, 0.5, 1]).tolist() == [[0.0], [0.5], [1.0]]

    def test_any_kind_becomes_float64(self):
        box = Box({"x": (0, 1), "y": (0, 1)})
        for points in ([[0, 1]], np.array([[0, 1]], dtype=np.float32), torch.tensor([[0, 1]])):
            found = box.check_points(points)
            assert found.dtype == torch.float64 and found.tolist() == [[0.0, 1.0]]

    @pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (1, 3, 2)])
    def test_wrong_shapes(self, shape):
        with pytest.raises(ArgumentError, match=r"interior must have shape \(rows, 2\)"):
            Box({"x": (0, 1), "y": (0, 1)}).check_points(torch.zeros(shape), "interior")

    def test_points_outside_are_counted_and_the_first_is_shown(self):
        points = [[0.5, 0.5], [0.5, 1.5], [0.2, 0.2], [-0.1, 0.0]]
        with pytest.raises(ArgumentError, match=r"interior: 2 of 4 points lie outside .* \[0\.5, 1\.5\] in row 1"):
            Box({"x": (0, 1), "y": (0, 1)}).check_points(points, "interior")

    def test_the_margin_is_relative_to_the_length(self):
        small = Box({"x": (0, 1e-9)})
        assert len(small.check_points([1e-9 * (1 + 1e-14)])) == 1
        with pytest.raises(ArgumentError, match="outside"):
            small.check_points([1.001e-9])

    def test_nan_is_not_inside(self):
        with pytest.raises(ArgumentError, match="points has 1 NaN"):
            Box({"x": (0, 1)}).check_points([0.5, float("nan")])


def test_its_text_shows_the_intervals():
    assert repr(Box({"t": (0, 1), "x": (-0.5, 2)})) == "Box(t: [0, 1], x: [-0.5, 2])"
