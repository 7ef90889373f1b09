"""Repeated neurons: the theta of a wide network that has each neuron of a narrow one several times.

Only for networks with one hidden layer, whose neuron j has parameters theta_j = (w_j, b_j) and feature phi_j of its
own. The constant feature, where there is one, stays single.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import OneHiddenLayer
from grassvp.features.scaled import scaled
from grassvp.reduced import ReducedProblem, check_free

__all__ = [
    "check_multiplicities",
    "copy_terms",
    "dilated",
    "distributions",
    "double",
    "one_hidden",
    "positions",
    "repeated",
    "widened",
]


def dilated(reduced: ReducedProblem, multiplicities: Sequence[int]) -> ReducedProblem:
    """The narrow problem whose feature j is multiplied by sqrt(r_j), as if neuron j were there r_j times.

    Raises:
        ArgumentError, ArgumentTypeError: see `embed`.
    """
    r = check_multiplicities(reduced, multiplicities)
    features = reduced.problem.features
    scales = np.ones(reduced.problem.width)
    scales[: len(r)] = np.sqrt(r)
    return _with_features(reduced, scaled(features, scales))


def distributions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All (r_1, ..., r_parts) of integers >= 1 with the given sum, in lexicographic order."""
    for cuts in combinations(range(1, total), parts - 1):
        yield tuple(np.diff([0, *cuts, total]).tolist())


def check_multiplicities(reduced: ReducedProblem, multiplicities: Sequence[int]) -> tuple[int, ...]:
    """The multiplicities as integers, for a narrow problem that can be embedded."""
    width = one_hidden(reduced).module.shapes[0][0]
    if isinstance(multiplicities, str) or not hasattr(multiplicities, "__iter__"):
        raise ArgumentTypeError(f"multiplicities must be a sequence of integers >= 1, got {multiplicities!r}")
    r = tuple(check_count(each, "multiplicities") for each in multiplicities)
    if len(r) != width:
        raise ArgumentError(f"multiplicities must have one entry for each of {width} neurons, got {len(r)}")
    return r


def one_hidden(reduced: ReducedProblem) -> OneHiddenLayer:
    """The features of a free reduced problem of a network with one hidden layer."""
    check_free(reduced)
    features = reduced.problem.features
    if not isinstance(features, OneHiddenLayer):
        raise ArgumentError(
            f"reduced must have the features of an mlp with one hidden layer, got {type(features).__name__}"
        )
    return features


def copy_terms(
    reduced: ReducedProblem, parameters: Tensor, residual: Tensor, coefficients: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """For each neuron -<W R c_j^T, D^2 phi_j>, (d + 1, d + 1), and R^T W Dphi_j, (k, d + 1).

    Args:
        reduced: the narrow problem, whose features phi_j are those of a copy.
        parameters: theta, (q,).
        residual: R = W (Y - Phi C), (m, k).
        coefficients: c_j, (n, k).
    """
    problem, features = reduced.problem, one_hidden(reduced)
    left = residual if problem.weights is None else problem.weights[:, None] * residual
    C = torch.from_numpy(coefficients).to(left)
    bend = -double(features.curvature(parameters, problem.inputs, left, C))
    identity = torch.eye(problem.width, dtype=left.dtype, device=left.device)
    slopes = double(features.derivatives(parameters, problem.inputs).contract_adjoint(left, identity))
    rows = positions(*features.module.shapes[0])
    return [bend[np.ix_(row, row)] for row in rows], [slopes[j][:, row] for j, row in enumerate(rows)]


def widened(reduced: ReducedProblem, width: int) -> ReducedProblem:
    """The same problem with another number of neurons."""
    return _with_features(reduced, one_hidden(reduced).resized(width))


def positions(width: int, d: int) -> np.ndarray:
    """Where (w_j, b_j) of each neuron stands in theta, (width, d + 1)."""
    neuron = np.arange(width)[:, None]
    return np.concatenate([neuron * d + np.arange(d), width * d + neuron], axis=1)


def repeated(neurons: np.ndarray, multiplicities: Sequence[int]) -> np.ndarray:
    """Theta of the network in which row j of (w_j, b_j) appears r_j times."""
    rows = np.repeat(neurons, multiplicities, axis=0)
    return np.concatenate([rows[:, :-1].ravel(), rows[:, -1]])


def double(tensor: Tensor) -> np.ndarray:
    """A tensor as a float64 array."""
    return tensor.detach().cpu().double().numpy()


def _with_features(reduced: ReducedProblem, features: Any) -> ReducedProblem:
    """The same data; the rank tolerance, which depends on the width, is set again."""
    problem = reduced.problem
    return ReducedProblem(problem.with_features(features).with_regularization(problem.regularization))
