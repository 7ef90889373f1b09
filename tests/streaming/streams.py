"""Streams of batches with their whole problem beside them, and what the tests ask of a solve again and again."""

import numpy as np
import torch

from grassvp import ReducedProblem, SeparableProblem, solve_stream
from grassvp.features import from_function, mlp

RATES = np.array([0.5, 2.0])
START = (0.2, 4.0)


def decay(p, x):
    """[exp(-p_1 x), exp(-p_2 x), ...]."""
    return torch.exp(-x[:, None] * p)


def decays(outputs=1, *, noise=0.0, rows=96, size=16, dtype="f8", weighted=False):
    """Two decays mixed into some outputs, in batches of rows in random order."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.0, 4.0, rows)
    y = np.exp(-x[:, None] * RATES) @ np.array([[2.0, -1.0, 0.5], [3.0, 1.0, 4.0]])[:, :outputs]
    y = y + noise * rng.standard_normal(y.shape)
    columns = [x, y[:, 0] if outputs == 1 else y, *([rng.uniform(0.5, 2.0, rows)] if weighted else [])]
    return [tuple(c[i : i + size].astype(dtype) for c in columns) for i in range(0, rows, size)]


def decay_features(start=START):
    return from_function(decay, start)


def teacher(outputs=1, *, rows=400, size=50, seed=0, noise=0.0):
    """A tanh network of width 3 in two dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.0, 1.0, (rows, 2))
    y = np.tanh(x @ rng.standard_normal((2, 3)) + rng.standard_normal(3)) @ rng.standard_normal((3, outputs))
    y = y + noise * rng.standard_normal(y.shape)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


def network(width=4, d=2, seed=1):
    return mlp(d, (width,), seed=seed)


def whole(features, batches, lam=0.0):
    """The reduced problem of all rows at once."""
    parts = [np.concatenate(columns) for columns in zip(*batches, strict=True)]
    weights = parts[2] if len(parts) == 3 else None
    return ReducedProblem(SeparableProblem(features, *parts[:2], weights=weights, regularization=lam))


def run(batches, features=None, **options):
    """`solve_stream` with few epochs and lam = 0 unless told otherwise."""
    features = decay_features() if features is None else features
    return solve_stream(features, batches, **({"epochs": 2, "regularization": 0.0} | options))
