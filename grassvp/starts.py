"""Where a solve starts: the best of several random-feature draws, judged by the linear solve alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from grassvp.reduced import ReducedProblem

__all__ = ["SCALES", "Draw", "best_draws", "random_feature_draws"]

SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""First-layer slopes per half-range of the inputs that are tried."""


@dataclass(frozen=True)
class Draw:
    """One set of random features: its parameters, slope scale and reduced value."""

    parameters: Tensor
    scale: float
    value: float


def random_feature_draws(
    reduced: ReducedProblem, rng: np.random.Generator, *, draws: int = 3, scales: Sequence[float] = SCALES
) -> list[Draw]:
    """`draws` sets of random features at each of `scales`, each with the value that least squares gives it.

    Fitting only the output layer of random features is an extreme learning machine: variable projection at iteration 0.
    """
    features, inputs = reduced.problem.features, reduced.problem.inputs
    samples = [(features.sample(rng, inputs, scale), scale) for scale in scales for _ in range(draws)]
    return [Draw(parameters, scale, reduced.value(parameters)) for parameters, scale in samples]


def best_draws(draws: Sequence[Draw], count: int) -> list[Draw]:
    """The best draw of each scale, the `count` best of those, best first.

    Small slopes give the lowest value and the worst conditioning, and the solve may get stuck there; different scales
    make the starts differ in kind. The first one is the best of all draws.
    """
    ranked = sorted(draws, key=lambda draw: draw.value)
    of_scale: dict[float, Draw] = {}
    for draw in ranked:
        of_scale.setdefault(draw.scale, draw)
    return list(of_scale.values())[:count]
