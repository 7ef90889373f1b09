"""Starts that lose rank, generic ones beside them, and the solvers that have to cope."""

from functools import lru_cache

import numpy as np
import torch

from grassvp import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    SeparableProblem,
    TrustRegion,
)
from grassvp.features import mlp
from tests.regimes.regimes import RANKS, deficient, flat, generic

KINDS = tuple(RANKS)
DEFAULT = 1e-14  # lam relative to ||Phi||_F^2 at the start
SOLVERS = {
    "LM": LevenbergMarquardt(),
    "LM, accelerated": LevenbergMarquardt(geodesic_acceleration=True),
    "LM, Kaufman": LevenbergMarquardt("kaufman"),
    "LM, columns": LevenbergMarquardt(scaling="columns"),
    "LM, dual": LevenbergMarquardt(linear_algebra="dual"),
    "LM, matrix-free": LevenbergMarquardt(linear_algebra="matrix-free"),
    "Gauss-Newton": GaussNewton(),
    "trust region": TrustRegion(),
    "trust region, dogleg": TrustRegion(subproblem="dogleg"),
    "trust region, corrected": TrustRegion("corrected"),
    "trust region, exact": TrustRegion("exact"),
    "trust region, Steihaug": TrustRegion("exact", "steihaug"),
    "natural gradient": NaturalGradient(),
    "gradient flow": GradientFlow(tolerance=1e-3),
    "gradient flow, BDF": GradientFlow(integrator="bdf", tolerance=1e-3),
    "natural gradient flow": GradientFlow("grassmann", "rk23", tolerance=0.1),
    "Adam": FirstOrder("adam", learning_rate=0.02),
    "L-BFGS": FirstOrder("lbfgs"),
    "Adam, joint": FirstOrder("adam", "joint", 0.02),
    "L-BFGS, joint": FirstOrder("lbfgs", "joint", coefficients="projected"),
}


@lru_cache(maxsize=1024)
def start(seed: int, *, spoiled: bool = True, ridge: bool = True) -> tuple[SeparableProblem, np.ndarray]:
    """A noisy curve and theta of start number `seed`: of a kind that loses rank, or, not `spoiled`, generic.

    The kinds take turns. Both have the same data and network, and with `ridge` a lam relative to their own features.
    """
    kind, rng = KINDS[seed % len(KINDS)], np.random.default_rng([seed, 7])
    rows, width = (8, 12) if kind == "wide" else (40, 8)
    x = np.sort(rng.uniform(-1.0, 1.0, rows))[:, None]
    y = np.sin(3.0 * x[:, 0]) + 0.3 * np.cos(7.0 * x[:, 0]) + 0.05 * rng.standard_normal(rows)
    activation, W, b, _, _ = deficient(kind, width, x, rng)
    if not spoiled:
        W, b = generic(width, x, np.random.default_rng([seed, 8]))
    network, theta = mlp(1, (width,), activation=activation), flat(np.column_stack([W, b]))
    plain = SeparableProblem(network, x, y)
    if not ridge:
        return plain, theta
    size = float(torch.sum(plain.features(torch.from_numpy(theta), plain.inputs) ** 2))
    return SeparableProblem(network, x, y, regularization=DEFAULT * size), theta
