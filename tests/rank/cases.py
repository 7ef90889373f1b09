"""Matrices with planted ranks, copies and dependent columns, and networks with planted neurons."""

import numpy as np
import torch

from grassvp import SeparableProblem
from grassvp.features import from_function, mlp

LAMS = (0.0, 1e-14, 1e-8, 1e-2)


def with_singular_values(rng, m, n, s):
    """A matrix (m, n) with random singular vectors."""
    p = min(m, n)
    U, V = (np.linalg.qr(rng.standard_normal((size, p)))[0] for size in (m, n))
    return U * s @ V.T


def ranked_spectrum(rng, count, rank, tolerance, gap=10.0):
    """Singular values of which `rank` are above the tolerance times the largest, by a factor of the gap in all."""
    place = np.log10(gap) * rng.uniform(0.02, 0.98)
    place = max(place, 0.51) if rank == count else place  # no gap tells: half a decade above the level is needed
    kept = 10.0 ** rng.uniform(np.log10(tolerance) + place, 0.0, rank)
    if rank:
        kept[0] = 1.0
        kept[-1] = 10.0 ** (np.log10(tolerance) + place) if rank > 1 else 1.0
    lost = 10.0 ** rng.uniform(-3.0, 0.0, count - rank) * tolerance * 10.0 ** (place - np.log10(gap))
    return np.concatenate([np.sort(kept)[::-1], np.sort(lost)[::-1]])


def orthogonal_to(rng, u):
    w = rng.standard_normal(len(u))
    w -= u * (u @ w)
    return w / np.linalg.norm(w)


def with_copies(rng, tolerance):
    """A matrix with planted copies, each within the tolerance of the others of its group, and decoys 10 x away."""
    m, n = int(rng.integers(3, 50)), int(rng.integers(2, 40))
    columns, groups = [], []
    while len(columns) < n:
        u = rng.standard_normal(m)
        u /= np.linalg.norm(u)
        sines = np.concatenate([[0.0], rng.uniform(0.0, 0.49, int(rng.integers(0, 3)))]) * tolerance
        groups.append(range(len(columns), len(columns) + len(sines)))
        decoys = rng.uniform(10.5, 30.0, int(rng.integers(0, 2))) * tolerance
        for sine in [*sines, *decoys]:
            v = np.sqrt(1.0 - sine**2) * u + sine * orthogonal_to(rng, u)
            columns.append(v * rng.choice([-1.0, 1.0]) * 10.0 ** rng.uniform(-100, 100))
    order = rng.permutation(len(columns))
    places = np.argsort(order)
    planted = {tuple(sorted(places[list(group)].tolist())) for group in groups if len(group) > 1}
    return np.column_stack(columns)[:, order], planted


def with_circuits(rng, tolerance):
    """A matrix with planted circuits that share no column, in other columns that are well independent."""
    m, free = int(rng.integers(20, 60)), 18
    columns = list(
        (np.linalg.qr(rng.standard_normal((m, free)))[0] @ (np.eye(free) + 0.1 * rng.standard_normal((free, free)))).T
    )
    groups, at = [], 0
    for _ in range(int(rng.integers(0, 4))):
        size = int(rng.integers(2, 5))
        made = sum(rng.choice([-1, 1]) * rng.uniform(0.3, 2.0) * columns[at + i] for i in range(size))
        noise = rng.standard_normal(m)
        groups.append([*range(at, at + size), len(columns)])
        columns.append(made + 0.3 * tolerance * np.linalg.norm(made) * noise / np.linalg.norm(noise))
        at += size
    order = rng.permutation(len(columns))
    places = np.argsort(order)
    planted = {tuple(sorted(places[group].tolist())) for group in groups}
    return np.column_stack(columns)[:, order] * 10.0 ** rng.uniform(-6, 6, len(columns)), planted


def network(
    theta=None, *, width=6, rows=40, activation="tanh", lam=0.0, outputs=1, dtype=np.float64, seed=0, **options
):
    """A problem with one hidden layer on [-1, 1], and parameters as an array (2, width): slopes and biases."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-1.0, 1.0, rows)[:, None].astype(dtype)
    y = np.column_stack([np.sin((3 + j) * x[:, 0]) + 0.3 * x[:, 0] for j in range(outputs)]).astype(dtype)
    problem = SeparableProblem(mlp(1, (width,), activation=activation), x, y, regularization=lam, **options)
    slopes = rng.choice([-1.0, 1.0], width) * np.linspace(1.0, 4.0, width)
    places = np.stack([slopes, -slopes * rng.uniform(-0.8, 0.8, width)])
    if theta is not None:
        theta(places)
    return problem, torch.from_numpy(places.reshape(-1)).to(problem.targets.dtype)


def duplicate(p):
    """Neurons 1 and 4 are the same up to sign."""
    p[:, 4] = -p[:, 1]


def dead(p):
    """Neuron 2 of a ReLU network is never active."""
    p[:, 2] = 0.5, -3.0


def saturated(p):
    """Neuron 3 is at its asymptote everywhere."""
    p[:, 3] = 2.0, 60.0


def collinear(p):
    """ReLU neurons 0, 1 and 2 are active everywhere: three affine functions, and the constant makes a fourth."""
    p[:, :3] = [[1.0, 0.5, -1.0], [2.0, 3.0, 1.5]]


def zero(p):
    """No neuron has any input."""
    p[:] = 0.0


PLANTED = {
    "regular": ("tanh", lambda p: None, {}),
    "duplicate": ("tanh", duplicate, {}),
    "dead": ("relu", dead, {}),
    "saturated": ("tanh", saturated, {}),
    "collinear": ("relu", collinear, {}),
    "no inputs": ("tanh", zero, {}),
    "wide": ("tanh", lambda p: None, {"width": 12, "rows": 7}),
    "several outputs": ("sin", duplicate, {"outputs": 3}),
}


def zero_features(lam=0.0, dtype=np.float64, weights=None):
    """A problem whose features all vanish at theta = 0, and theta."""
    x = np.linspace(0.0, 1.0, 9).astype(dtype)
    features = from_function(lambda p, x: torch.stack([p[0] * x, p[1] * x**2, p[0] * p[1] * x**3], 1), [0.0, 0.0])
    return SeparableProblem(features, x, np.cos(x), regularization=lam, weights=weights), torch.zeros(2)


def planted(name, *, lam=0.0, dtype=np.float64, weighted=False, **options):
    """A planted network by name, or "zero": problem and theta."""
    rng = np.random.default_rng(5)
    if name == "zero":
        return zero_features(lam, dtype, rng.uniform(0.5, 2.0, 9).astype(dtype) if weighted else None)
    activation, change, extra = PLANTED[name]
    rows = extra.get("rows", 40)
    weights = rng.uniform(0.5, 2.0, rows).astype(dtype) if weighted else None
    return network(change, activation=activation, lam=lam, dtype=dtype, weights=weights, **extra, **options)
