"""What the library says of one point, all of it, and the scale that each quantity has there."""

import math

import numpy as np
import torch

from grassvp import ReducedProblem, SeparableProblem
from tests import oracles
from tests.laws.reduced import norm
from tests.regimes.regimes import Regime

CASES = ((1, False), (3, True))  # outputs, weighted


def data(regime: Regime, k: int, weighted: bool, seed: int = 0):
    """Targets (m, k) and row weights (m,)."""
    rng, m = np.random.default_rng([seed, k]), len(regime.inputs)
    return rng.standard_normal((m, k)), rng.uniform(0.5, 2.0, m) if weighted else np.ones(m)


def reduced_problem(regime: Regime, k: int, weighted: bool, lam: float, **options) -> ReducedProblem:
    """The problem with those data."""
    Y, w = data(regime, k, weighted)
    weights = {"weights": w} if weighted else {}
    return ReducedProblem(SeparableProblem(regime.module, regime.inputs, Y, regularization=lam, **weights, **options))


def mp_features(regime: Regime):
    """theta -> Phi in mpmath."""
    return lambda theta: oracles.mp_features(theta, regime.inputs.tolist(), (regime.width,), regime.activation)


def everything(reduced: ReducedProblem, theta) -> dict[str, np.ndarray]:
    """Every public quantity at theta by its name."""
    point, rng = reduced.linearize(theta), np.random.default_rng(3)
    v, u = (
        torch.from_numpy(rng.standard_normal(len(theta))),
        torch.from_numpy(rng.standard_normal(point.residual.shape)),
    )
    v, u = v.to(point.parameters), u.to(point.residual)
    found = {
        "value": point.value,
        "value rounding": point.value_rounding,
        "residual": point.residual,
        "coefficients": point.coefficients,
        "gradient": point.gradient,
        "Golub-Pereyra": point.jacobian("golub-pereyra"),
        "Kaufman": point.jacobian("kaufman"),
        "J v": point.jacobian_product(v),
        "J^T u": point.jacobian_adjoint_product(u),
        "Hessian": point.hessian(),
        "corrected Hessian": point.hessian(curvature=False),
        "H v": point.hessian_vector_product(v),
        "metric": point.metric(),
        "G v": point.metric_product(v),
        "condition": point.condition,
        "distance": point.distance(reduced.linearize(np.asarray(theta) + 1e-3)),
        "residual elsewhere": point.residual_at(point.parameters + 1e-3),
        "predictions": reduced.problem.predict(point.parameters, point.coefficients, reduced.problem.inputs),
    }
    for kind in ("golub-pereyra", "kaufman"):
        found |= {f"{kind} block {i}": J for i, (J, _) in enumerate(point.system_blocks(kind, 10 * len(theta)))}
        found[f"{kind} normal matrix"] = point.normal_matrix(kind, 10 * len(theta))[0]
    return {name: np.asarray(value, dtype=float) for name, value in found.items()}


def scales(regime: Regime, Y, w, coefficients, smallest: float) -> dict[str, float]:
    """Natural sizes: with D = ||D(W Phi)|| and s = D (||C|| + ||W Y|| / sigma), sigma the smallest that is kept."""
    x = torch.from_numpy(regime.inputs)
    slopes = torch.func.jacfwd(lambda t: oracles.torch_features(t, x, (regime.width,), regime.activation))
    D = norm(w[:, None, None] * slopes(torch.from_numpy(regime.theta)).numpy())
    target = norm(w[:, None] * Y)
    s = D * (norm(coefficients) + target / smallest)
    return {
        "value": target**2,
        "residual": target,
        "coefficients": norm(coefficients) + target / smallest,
        "gradient": D * norm(coefficients) * target,
        "jacobian": s,
        "hessian": s**2 + norm(coefficients) * target,
        "metric": (D / smallest) ** 2,
    }


def smallest_kept(singular_values, lam: float, cut: float) -> float:
    """The smallest of sqrt(s^2 + lam), or at lam = 0 of the s that are not cut."""
    s = np.asarray(singular_values)
    return math.hypot(s.min(), math.sqrt(lam)) if lam else float(s[s > cut * s.max()].min())
