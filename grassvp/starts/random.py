"""Random features, judged by the linear solve alone: variable projection at iteration 0."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from grassvp.reduced import ReducedProblem
from grassvp.starts.start import Start, start_at

__all__ = ["SCALES", "best_of_each_scale", "perturbed", "random_starts"]

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""First-layer slopes per half-range of the inputs that are tried."""


def random_starts(
    reduced: ReducedProblem, rng: np.random.Generator, *, draws: int = 3, scales: Sequence[float] = SCALES
) -> list[Start]:
    """`draws` sets of random features at each of `scales`.

    Fitting only the output layer of random features is an extreme learning machine: variable projection at iteration 0.
    """
    features, inputs = reduced.problem.features, reduced.problem.inputs
    samples = [(features.sample(rng, inputs, scale), scale) for scale in scales for _ in range(draws)]
    return [start_at(reduced, parameters, "random", scale) for parameters, scale in samples]


def best_of_each_scale(starts: Sequence[Start]) -> list[Start]:
    """The best start of each scale, best first.

    Small slopes give the lowest value and the worst conditioning, and the solve may get stuck there; different scales
    make the starts differ in kind. The first one is the best of all.
    """
    of_scale: dict[float, Start] = {}
    for start in sorted(starts, key=lambda start: start.value):
        of_scale.setdefault(start.scale, start)
    return list(of_scale.values())


def perturbed(reduced: ReducedProblem, parameters: Tensor, rng: np.random.Generator, size: float = 0.1) -> Tensor:
    """Theta moved at random by about `size` of itself and its units, within the bounds."""
    problem = reduced.problem
    units = torch.where(parameters != 0, 0.0, 1.0) if problem.units is None else problem.units
    noise = torch.from_numpy(rng.standard_normal(parameters.numel())).to(parameters)
    theta = parameters + size * (parameters.abs() + units) * noise
    return theta if problem.bounds is None else problem.bounds.clip(theta)
