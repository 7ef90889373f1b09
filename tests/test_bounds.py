"""Boxes: what they clip, hold and project, and what is accepted as bounds."""

import math

import numpy as np
import pytest
import torch

from grassvp import SeparableProblem
from grassvp.bounds import Box, check_box
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.features import from_function
from tests.solvers.problems import decays

LIKE = torch.zeros(3, dtype=torch.float64)
INF = math.inf


def vector(*entries):
    return torch.tensor(entries, dtype=torch.float64)


def box(lower, upper):
    return Box(vector(*lower), vector(*upper))


def test_clip_is_the_nearest_point():
    b = box([0.0, -INF, -1.0], [1.0, 2.0, INF])
    assert b.clip(vector(-3.0, -9.0, 5.0)).tolist() == [0.0, -9.0, 5.0]
    assert b.clip(vector(3.0, 9.0, -5.0)).tolist() == [1.0, 2.0, -1.0]
    rng = np.random.default_rng(0)
    for point in torch.from_numpy(rng.standard_normal((20, 3)) * 3):
        nearest = b.clip(point)
        others = torch.from_numpy(np.clip(rng.standard_normal((50, 3)) * 3, b.lower.numpy(), b.upper.numpy()))
        assert float((point - nearest).norm()) <= float((others - point).norm(dim=1).min())


@pytest.mark.parametrize(
    ("point", "gradient", "held"),
    [
        (0.0, 1.0, True),
        (0.0, -1.0, False),
        (0.0, 0.0, False),
        (1.0, -1.0, True),
        (1.0, 1.0, False),
        (0.5, 1.0, False),
        (0.5, -1.0, False),
        (-0.1, 1.0, True),
        (1.1, -1.0, True),
    ],
)
def test_held_where_the_negative_gradient_points_out(point, gradient, held):
    b = Box(torch.zeros(1), torch.ones(1))
    assert b.held(torch.tensor([point]), torch.tensor([gradient])).tolist() == [held]
    assert b.projected(torch.tensor([point]), torch.tensor([gradient])).tolist() == [0.0 if held else gradient]


def test_the_projected_gradient_vanishes_exactly_at_minima_in_the_box():
    """Of 1/2 ||x - c||^2, whose minimum is the clipped c."""
    b, rng = box([0.0, -1.0, -INF], [1.0, INF, 0.5]), np.random.default_rng(1)
    for c in torch.from_numpy(rng.standard_normal((20, 3)) * 2):
        best = b.clip(c)
        assert not b.projected(best, best - c).any()
        inside = b.clip(torch.from_numpy(rng.standard_normal(3)))
        assert torch.equal(inside, best) or bool(b.projected(inside, inside - c).any())


@pytest.mark.parametrize(
    ("bounds", "lower", "upper"),
    [
        ((0, None), [0.0] * 3, [INF] * 3),
        ((None, 2), [-INF] * 3, [2.0] * 3),
        ([-1.5, 1.5], [-1.5] * 3, [1.5] * 3),
        (([0, 1, 2], 5.0), [0.0, 1.0, 2.0], [5.0] * 3),
        ((np.array([-INF, 0.0, 1.0]), np.array([INF, INF, 2.0])), [-INF, 0.0, 1.0], [INF, INF, 2.0]),
        ((torch.tensor([0.0, 1.0, 2.0]), torch.tensor(3.0, requires_grad=True)), [0.0, 1.0, 2.0], [3.0] * 3),
        ((np.float32(0.5), np.int64(2)), [0.5] * 3, [2.0] * 3),
        ((-INF, INF), [-INF] * 3, [INF] * 3),
        ((None, None), [-INF] * 3, [INF] * 3),
    ],
    ids=str,
)
def test_numbers_and_arrays_broadcast(bounds, lower, upper):
    found = check_box(bounds, LIKE, "bounds")
    assert found.lower.tolist() == lower and found.upper.tolist() == upper
    assert found.lower.dtype == found.upper.dtype == torch.float64


def test_columns_and_rows_of_a_matrix():
    like = torch.zeros(2, 3, dtype=torch.float32)
    found = check_box(([[0.0], [1.0]], [5.0, 6.0, 7.0]), like, "bounds")
    assert found.lower.tolist() == [[0.0] * 3, [1.0] * 3] and found.upper.tolist() == [[5.0, 6.0, 7.0]] * 2
    assert found.lower.dtype == torch.float32


def test_no_bounds_are_none():
    assert check_box(None, LIKE, "bounds") is None


def test_the_callers_arrays_are_copied():
    lower = np.zeros(3)
    found = check_box((lower, None), LIKE, "bounds")
    lower += 9.0
    assert not found.lower.any()


BAD = [
    (0.0, TypeError, "pair"),
    ("01", TypeError, "pair"),
    ((0.0,), TypeError, "pair"),
    ((0.0, 1.0, 2.0), TypeError, "pair"),
    (np.array([0.0, 1.0]), TypeError, "pair"),
    ({"lower": 0.0}, TypeError, "pair"),
    (("low", 1.0), TypeError, "numbers or arrays"),
    ((0.0, True), TypeError, "numbers or arrays"),
    ((0.0, 1j), TypeError, "numbers or arrays"),
    ((0.0, [1.0, 2.0]), TypeError, r"broadcast to \(3,\)"),
    (([[0.0], [1.0]], None), TypeError, "broadcast"),
    (([0.0, [1.0]], None), TypeError, "numbers or arrays"),
    ((0.0, np.nan), ValueError, "NaN"),
    (([0.0, np.nan, 1.0], None), ValueError, "NaN"),
    ((1.0, 1.0), ValueError, "got 1.0 and 1.0 in entry 0"),
    ((0.0, [1.0, 2.0, -3.0]), ValueError, "got 0.0 and -3.0 in entry 2"),
    ((INF, None), ValueError, "lower < upper"),
    ((None, -INF), ValueError, "lower < upper"),
]


@pytest.mark.parametrize(("bounds", "error", "message"), BAD, ids=lambda value: str(value)[:30])
@pytest.mark.parametrize("name", ["bounds", "coefficient_bounds"])
def test_what_cannot_be_a_box_is_named(bounds, error, message, name):
    with pytest.raises(error, match=f"^{name} .*{message}") as caught:
        check_box(bounds, LIKE, name)
    assert isinstance(caught.value, GrassvpError)


def problem(**options):
    return SeparableProblem(from_function(decays, [1.0, 2.0]), np.arange(6.0), np.ones((6, 3)), **options)


def test_a_problem_has_its_boxes():
    made = problem(bounds=(0, [3.0, 4.0]), coefficient_bounds=(0, None))
    assert made.bounds.upper.tolist() == [3.0, 4.0] and made.bounds.lower.shape == (2,)
    assert made.coefficient_bounds.lower.shape == (2, 3) and made.coefficient_bounds.upper.isinf().all()
    assert problem().bounds is None and problem().coefficient_bounds is None


def test_a_problem_names_them():
    with pytest.raises(ArgumentTypeError, match=r"^bounds .*\(2,\)"):
        problem(bounds=(np.zeros(3), None))
    with pytest.raises(ArgumentTypeError, match=r"^coefficient_bounds .*\(2, 3\)"):
        problem(coefficient_bounds=(np.zeros((3, 2)), None))
    with pytest.raises(ArgumentError, match=r"^coefficient_bounds .*in entry 0"):
        problem(coefficient_bounds=(1.0, 0.0))
