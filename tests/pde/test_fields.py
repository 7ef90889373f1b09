"""Fields: which derivative each way of asking for one looks up, and what is refused."""

from itertools import permutations

import pytest
import torch

from grassvp.errors import ArgumentError
from grassvp.pde import Box
from grassvp.pde.fields import Field, Normal

BOX = Box({"t": (0, 1), "x": (-1, 1), "y": (0, 3)})
ROWS = 5


def recorded(normal=None):
    """A field of random derivatives, and the indices it was asked for."""
    asked = []
    generator = torch.Generator().manual_seed(0)
    known = {}

    def look_up(index):
        asked.append(index)
        return known.setdefault(index, torch.rand(2, ROWS, dtype=torch.float64, generator=generator))

    return Field(look_up, BOX, "the equation", normal), asked, known


def test_nothing_is_looked_up_before_it_is_asked_for():
    _, asked, _ = recorded(Normal(1, -1.0))
    assert asked == []


def test_derivatives_commute():
    u, asked, _ = recorded()
    for names in permutations(("x", "t", "y", "x")):
        u.d(*names)
    assert set(asked) == {(0, 1, 1, 2)}


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda u: u.value, ()),
        (lambda u: u.d("t"), (0,)),
        (lambda u: u.d("y", "x"), (1, 2)),
        (lambda u: u.d("x", "x", "x"), (1, 1, 1)),
        (lambda u: u.d("y", "y", "y", "y"), (2, 2, 2, 2)),
    ],
)
def test_indices(ask, index):
    u, asked, known = recorded()
    assert ask(u) is known[index] and asked == [index]


@pytest.mark.parametrize(("names", "columns"), [((), (0, 1, 2)), (("x", "y"), (1, 2)), (("t",), (0,))])
def test_laplacian(names, columns):
    u, asked, known = recorded()
    found = u.laplacian(*names)
    assert set(asked) == {(c, c) for c in columns}
    torch.testing.assert_close(found, sum(known[c, c] for c in columns))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_normal(column, sign):
    u, asked, known = recorded(Normal(column, sign))
    assert torch.equal(u.normal, sign * known[(column,)]) and asked == [(column,)]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda u: u.d("z"), "the equation, u.d: 'z' is no coordinate of the box, which has t, x, y"),
        (lambda u: u.d("x", "z"), "'z' is no coordinate"),
        (lambda u: u.d(0), "0 is no coordinate"),
        (lambda u: u.d(), "u.d takes 1 to 4 coordinates, got"),
        (lambda u: u.d(*"xxxxx"), "u.d takes 1 to 4 coordinates"),
        (lambda u: u.d("xx"), "'xx' is no coordinate"),
        (lambda u: u.laplacian("z"), "the equation, u.laplacian: 'z' is no coordinate"),
        (lambda u: u.normal, "the equation: u.normal is for the operators of conditions"),
    ],
)
def test_what_is_refused(ask, message):
    u, _, _ = recorded()
    with pytest.raises(ArgumentError, match=message):
        ask(u)
