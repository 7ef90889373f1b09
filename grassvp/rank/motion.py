"""How far the parameters move each column of the weighted features, and which columns nothing moves.

Lengths of derivatives are compared with lengths of columns, so parameters need a size: their own, or the unit that the
features know for them where that is larger.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from grassvp.features import DeepMLP, OneHiddenLayer
from grassvp.jacobians import weighted
from grassvp.linearization import Linearization
from grassvp.separable import SeparableProblem

__all__ = ["column_motions", "fixed_columns", "parameter_sizes", "separate_directions"]

EXACT_ENTRIES = 2**22  # of DPhi (m, n, q), up to which it is formed
PROBES = 4


def parameter_sizes(now: Linearization) -> Tensor:
    """(q,) size of each parameter: the larger of |theta_j| and its unit; without units |theta_j|, or 1 at zero."""
    size = now.parameters.abs()
    if now.problem.units is not None:
        return torch.maximum(size, now.problem.units)
    return torch.where(size > 0, size, torch.ones_like(size))


def column_motions(now: Linearization) -> np.ndarray:
    """sqrt(sum_j s_j^2 ||W D_j phi_a||^2) for each column phi_a, (n,), with s the sizes of the parameters.

    Exact for a network with one hidden layer and where DPhi is small. Elsewhere DPhi is applied to four vectors of
    random signs, whose mean square has this expectation: right to a factor of about three, and zero where DPhi is.
    """
    entries, q = now.derivatives.values.numel() * now.parameters.numel(), now.parameters.numel()
    sizes, separate = parameter_sizes(now), separate_directions(now)
    if separate is not None:
        return _root_mean_square(now, (sizes * direction for direction in separate), 1)
    if entries <= min(EXACT_ENTRIES, now.problem.memory_limit // 64):
        identity = torch.eye(now.derivatives.values.shape[1], dtype=sizes.dtype, device=sizes.device)
        slopes = weighted(now.derivatives.contract(identity)[:, : now.problem.width], now.problem.weights)
        return torch.linalg.vector_norm(slopes * sizes, dim=(0, 2)).double().cpu().numpy()
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (PROBES, q))
    return _root_mean_square(now, (sizes * torch.from_numpy(each).to(sizes) for each in signs), PROBES)


def _root_mean_square(now: Linearization, directions: Iterator[Tensor], count: int) -> np.ndarray:
    """Lengths of the columns of W DPhi[v], root mean square over directions v."""
    total = np.zeros(now.problem.width)
    for v in directions:
        moved = weighted(now.derivatives.pushforward(v)[:, : now.problem.width], now.problem.weights)
        total = np.hypot(total, torch.linalg.vector_norm(moved.double(), dim=0).cpu().numpy())
    return total / np.sqrt(count)


def separate_directions(now: Linearization) -> Tensor | None:
    """Directions (d + 1, q) that have every parameter once and move each column by one parameter each.

    A network with one hidden layer has them: the weights of one input coordinate, for each of these, and the biases.
    None for other features.
    """
    if not isinstance(now.problem.features, OneHiddenLayer):
        return None
    width, d = now.problem.features.module.shapes[0]
    directions = now.parameters.new_zeros(d + 1, now.parameters.numel())
    for i in range(d):
        directions[i, i : width * d : d] = 1.0
    directions[d, width * d :] = 1.0
    return directions


def fixed_columns(problem: SeparableProblem, still: np.ndarray) -> np.ndarray:
    """Which of the columns marked `still` (n,), having no derivative somewhere, are the same at any parameters, (n,).

    A constant feature is; a neuron so saturated that its derivative is exactly zero is not. Of an `mlp` it is known.
    Other features are evaluated at three places of moderate size, two of them opposite to each other so that no ReLU is
    dead at both.
    """
    if not still.any():
        return still
    if isinstance(problem.features, OneHiddenLayer | DeepMLP):
        return still & (np.arange(problem.width) >= problem.features.module.shapes[-1][0])
    theta = problem.initial_parameters
    units = torch.ones_like(theta) if problem.units is None else problem.units
    count = torch.arange(1, theta.numel() + 1, dtype=theta.dtype, device=theta.device)
    place = 2.0 * units * torch.cos(count)
    columns = [values for at in (place, -place, 0.4 * place) if (values := _columns(problem, at)) is not None]
    fixed = still.copy()
    for other in columns[1:]:
        fixed &= np.all(other == columns[0], axis=0)
    return fixed


def _columns(problem: SeparableProblem, parameters: Tensor) -> np.ndarray | None:
    """W Phi at parameters that no one asked for; None where the features cannot be evaluated there."""
    try:
        with torch.no_grad():
            values = problem.features(parameters, problem.inputs)[:, : problem.width]
    except (RuntimeError, ValueError, ArithmeticError):
        return None
    return weighted(values, problem.weights).cpu().numpy()
