"""Networks with one hidden layer whose features lose rank, and the directions of theta that keep the rank lost.

The parameters of `mlp(d, (n,))` are W (n, d) row by row and b (n,); a last column of ones belongs to the features.
"""

from dataclasses import dataclass

import numpy as np

from grassvp.features import mlp

SLOPE = 1e3  # of saturated neurons


@dataclass(frozen=True)
class Regime:
    """A network at a point where its features lose rank."""

    name: str
    activation: str
    inputs: np.ndarray  # (m, d)
    width: int  # neurons; the features have one column more
    theta: np.ndarray  # (q,)
    along: np.ndarray  # (q, s): theta + along @ t has features of the same rank for small t
    rank: int

    @property
    def module(self):
        return mlp(self.inputs.shape[1], (self.width,), activation=self.activation)


def generic(width, inputs, rng, activation="tanh"):
    """W (n, d) and b (n,) of neurons that bend inside the data, none of them steep."""
    d = inputs.shape[1]
    W = rng.choice([-1.0, 1.0], (width, d)) * rng.uniform(0.7, 2.0, (width, d))
    inside = rng.uniform(inputs.min(0), inputs.max(0), (width, d))
    return W, -np.sum(W * inside, axis=1)


def deficient(kind, width, inputs, rng):
    """(activation, W, b, free, tied) of a network that loses rank.

    free (n, d + 1): which of [W, b] may move alone; tied: directions (n, d + 1) in which several may move together.
    """
    W, b = generic(width, inputs, rng)
    free, tied, activation = np.ones((width, W.shape[1] + 1), dtype=bool), [], "tanh"
    first = np.arange(W.shape[1] + 1)
    if kind in ("duplicates", "opposite"):
        sign = 1.0 if kind == "duplicates" else -1.0
        W[1], b[1], free[:2] = sign * W[0], sign * b[0], False
        tied = [unit(width, [(0, i, 1.0), (1, i, sign)], len(first)) for i in first]
    elif kind == "sines":  # sin(w x + b) with one w and three b lie in a plane
        W[:3] = np.sign(W[0]) * (np.abs(W[0]) + 1.5)  # well apart from what is constant and from each other's phases
        b[:3] = b[0] + np.array([0.0, 1.0, 2.0])
        activation, free[:3, :-1] = "sin", False
        tied = [unit(width, [(j, i, 1.0) for j in range(3)], len(first)) for i in first[:-1]]
    elif kind == "dead relu":
        activation, b[0] = "relu", -1.0 - np.max(inputs @ W[0])
    elif kind == "dead tanh":
        W[0], b[0], free[0] = 0.0, 0.0, False
    elif kind == "constant":
        W[0], b[0], free[0, :-1] = 0.0, rng.uniform(0.5, 1.0), False
    elif kind == "zero weights":
        W[:], b[:], free[:, :-1] = 0.0, rng.uniform(0.5, 1.0, width), False
    elif kind == "saturated":  # two steps in one gap of the data
        direction = np.zeros(W.shape[1])
        direction[0] = 1.0
        at = np.sort(inputs @ direction)
        gap = len(at) // 2 - 2 + int(np.argmax(np.diff(at[len(at) // 2 - 2 : len(at) // 2 + 2])))
        low, high = at[gap], at[gap + 1]
        for j, place in ((0, 0.4), (1, 0.6)):
            W[j], b[j] = SLOPE * direction, -SLOPE * (low + place * (high - low))
    elif kind != "wide":
        raise ValueError(kind)
    return activation, W, b, free, tied


def unit(width, entries, columns):
    """A direction of [W, b] from entries (row, column, value)."""
    direction = np.zeros((width, columns))
    for row, column, value in entries:
        direction[row, column] = value
    return direction


def flat(table):
    """theta of a table [W, b] (n, d + 1)."""
    return np.concatenate([table[:, :-1].ravel(), table[:, -1]])


RANKS = {  # of width 3 and a column of ones
    "duplicates": 3,
    "opposite": 3,
    "sines": 3,
    "dead relu": 3,
    "dead tanh": 3,
    "constant": 3,
    "zero weights": 1,
    "saturated": 3,
    "wide": 3,
}


def regime(kind, *, seed=0):
    """A small network of each kind, on eight points (three where there are to be more features than rows)."""
    rng = np.random.default_rng([seed, 5])
    rows, width = (3, 5) if kind == "wide" else (8, 4 if kind == "sines" else 3)
    inputs = (np.linspace(-1.5, 1.5, rows) + rng.uniform(-0.1, 0.1, rows))[:, None]
    activation, W, b, free, tied = deficient(kind, width, inputs, rng)
    table = np.column_stack([W, b])
    single = [unit(width, [(i, j, 1.0)], table.shape[1]) for i, j in np.argwhere(free)]
    along = np.column_stack([flat(direction) for direction in [*single, *tied]])
    along = along[:, ::3] if kind == "wide" else along  # where everything keeps the rank a few directions will do
    return Regime(kind, activation, inputs, width, flat(table), along, RANKS[kind] + (kind == "sines"))
