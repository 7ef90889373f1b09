"""Starts from the data: neurons placed where the target is steep, along its gradient, with slopes judged by the solve.

Neuron a of one hidden layer becomes sigma(s g_a . (x - x_a)): its centre x_a is a data point drawn with a density that
grows like a power of the local slope of the target (power 0: evenly), g_a is the direction of steepest change there,
and the slope s is scanned by the value of the linear solve.
"""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from grassvp.features import OneHiddenLayer
from grassvp.reduced import ReducedProblem
from grassvp.starts.start import Start, start_at

__all__ = ["SLOPES", "data_starts", "local_gradients"]

SLOPES = tuple(np.geomspace(1.0, 400.0, 13))
"""Slopes per half-range of the inputs that are scanned, a factor 1.65 apart."""
POWERS = (0.0, 0.5, 1.0)
MOST_ROWS = 5000  # of the data that are looked at


def data_starts(
    reduced: ReducedProblem, rng: np.random.Generator, *, powers: Sequence[float] = POWERS, steeper: int = 2
) -> list[Start]:
    """One start for each power of the local slope, `steeper` scanned slopes above the best of the scan.

    The slope of the lowest value is the worst conditioned, and a solve that starts there tends to get stuck.
    Empty where the features are not one plain hidden layer, whose targets are values of the function itself.
    """
    problem = reduced.problem
    features = problem.features
    if not isinstance(features, OneHiddenLayer) or features.operator is not None:
        return []
    x, y = _rows(problem.inputs, problem.targets, rng)
    low, half = x.min(0), np.ptp(x, axis=0) / 2
    half = np.where(half > 0, half, 1.0)
    unit = (x - low) / half
    gradients = local_gradients(unit, y)
    found = []
    for power in powers:
        neurons = _neurons(unit, gradients, power, features.module.shapes[0][0], rng)
        starts = [
            start_at(reduced, _parameters(*neurons, slope, low, half).to(features.initial), "data", slope)
            for slope in SLOPES
        ]
        best = int(np.argmin([start.value for start in starts]))
        found.append(starts[min(best + steeper, len(starts) - 1)])
    return found


def local_gradients(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradients (m, k, d) of y (m, k) at the points x (m, d), by least squares over the nearest neighbours."""
    m, d = x.shape
    count = min(m, 2 * d + 2)
    neighbours = np.atleast_2d(KDTree(x).query(x, k=count)[1].reshape(m, -1))
    steps, changes = x[neighbours] - x[:, None], y[neighbours] - y[:, None]
    return np.einsum("mdc,mck->mkd", np.linalg.pinv(steps, rcond=1e-8), changes)


def _rows(inputs: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x, y = inputs.double().cpu().numpy(), targets.double().cpu().numpy()
    if len(x) <= MOST_ROWS:
        return x, y
    chosen = rng.choice(len(x), MOST_ROWS, replace=False)
    return x[chosen], y[chosen]


def _neurons(
    x: np.ndarray, gradients: np.ndarray, power: float, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres and unit directions (count, d), in units of the half-ranges."""
    size = np.linalg.norm(gradients, axis=(1, 2))
    density = (size / (size.max() or 1.0) + 1e-3) ** power
    if x.shape[1] == 1:  # in one dimension the density also makes up for how the data are spread
        centres = _equidistributed(x[:, 0], density, count, rng)[:, None]
        return centres, np.ones_like(centres)
    chosen = rng.choice(len(x), count, replace=count > len(x), p=density / density.sum())
    directions = np.linalg.svd(gradients[chosen], full_matrices=False)[2][:, 0]
    flat = ~(np.linalg.norm(directions, axis=1) > 0.5)
    directions[flat] = rng.standard_normal((int(flat.sum()), x.shape[1]))
    return x[chosen], directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _equidistributed(x: np.ndarray, density: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` points that divide the integral of the density evenly, each moved by up to a tenth of its share."""
    order = np.argsort(x, kind="stable")
    x, density = x[order], density[order]
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(x))])
    if mass[-1] <= 0:
        return rng.uniform(0.0, 2.0, count)
    shares = (np.arange(count) + 0.5 + rng.uniform(-0.1, 0.1, count)) / count
    return np.interp(shares, mass / mass[-1], x)


def _parameters(centres: np.ndarray, directions: np.ndarray, slope: float, low: np.ndarray, half: np.ndarray) -> Tensor:
    """Theta of the neurons sigma(slope g . (u - c)) with u = (x - low) / half."""
    weights = slope * directions / half
    bias = -np.sum(weights * low, axis=1) - slope * np.sum(directions * centres, axis=1)
    return torch.from_numpy(np.concatenate([weights.ravel(), bias]))
