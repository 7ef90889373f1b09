"""Claims C5, C6, C7 and C9: natural-gradient flow, local rates, two time scales, infinite width."""

from collections.abc import Iterator

import numpy as np

from grassvp import features
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import LevenbergMarquardt
from grassvp.solving import solve
from grassvp.theory.claims.claim import Claim, compare, same
from grassvp.theory.claims.networks import small_problem
from grassvp.theory.kernels import width_study
from grassvp.theory.natural import natural_gradient_flow
from grassvp.theory.rates import LINEAR_METHODS, linear_rate, newton_rate, strict_minimum
from grassvp.theory.two_timescales import two_time_scales

__all__ = ["c5", "c6", "c7", "c9"]


def c5(rng: np.random.Generator) -> Iterator[Claim]:
    """Where DPhi is onto, the natural-gradient flow of theta follows the closed form of the flow of Phi."""
    m, n = 4, 2
    for name, lam in (("lam = 0", 0.0), ("lam > 0", 1e-1)):
        network = features.mlp(m, (n,), bias_feature=False)  # as many inputs as rows: every entry of Phi moves freely
        inputs, targets = np.linalg.qr(rng.standard_normal((m, m)))[0], rng.standard_normal((m, 2))
        problem = ReducedProblem(SeparableProblem(network, inputs, targets, regularization=lam))
        theta = 0.2 * rng.standard_normal(len(problem.initial_parameters))
        flow = natural_gradient_flow(problem, theta, np.linspace(0.0, 0.3, 5) / np.linalg.norm(targets, 2) ** 2)
        yield compare(f"C5 onto, {name}", "DPhi stays onto", flow.entries, int(flow.ranks.min()), 0.0)
        yield same(f"C5 loss curve, {name}", "on the closed form", flow.closed_values, flow.values, 1e-6)


def c7(rng: np.random.Generator) -> Iterator[Claim]:
    """The gap of joint training with a fast output layer to variable projection is of order eps."""
    problem, near = small_problem(rng, 1e-1)
    start = near + 0.3 * rng.standard_normal(len(near))
    study = two_time_scales(problem, start, np.linspace(0.0, 2.0, 9), [1e-3, 1e-4, 1e-5])
    yield compare("C7 order", "the gap to the VarPro flow is O(eps)", 1.0, study.order, 0.1)


def c6(rng: np.random.Generator) -> Iterator[Claim]:
    """The observed local rates at a strict minimum are those that its Hessian predicts."""
    problem, near = small_problem(rng, 1e-2)
    found = solve(problem.problem, LevenbergMarquardt(), initial_parameters=near, max_iterations=300)
    minimum = strict_minimum(problem, found.parameters)
    for method in LINEAR_METHODS:
        rate = linear_rate(problem, minimum, method, rng=rng)
        yield compare(
            f"C6 {method}", "linear, with the spectral radius at the minimum", rate.predicted, rate.measured, 0.01
        )
        distance = 1.0 - rate.predicted
        yield compare(f"C6 {method}, distance to 1", "also relative to 1 - rate", distance, 1.0 - rate.measured, 0.01)
    newton = newton_rate(problem, minimum, rng=rng)
    yield compare("C6 Newton order", "quadratic", 2.0, newton.order, 0.01)
    yield compare("C6 Newton constant", "that of the third derivative", newton.predicted, newton.measured, 0.01)


def c9(rng: np.random.Generator) -> Iterator[Claim]:
    """With features scaled by 1 / sqrt(n) the value tends to that of the limit kernel, in mean like 1 / n."""
    x, y = rng.uniform(-1.5, 1.5, (6, 2)), rng.standard_normal((6, 1))
    for activation in ("erf", "relu"):
        study = width_study(
            x, y, regularization=1.0, widths=(128, 256, 512, 1024), activation=activation, draws=300, rng=rng
        )
        order = study.fluctuation_order
        yield compare(
            f"C9 {activation} fluctuation",
            "root mean square of f(K_n) - f(K_inf) is of order n^(-1/2)",
            -0.5,
            order.slope,
            0.1,
            scale=1.0,
        )
        bias = study.bias_order
        yield compare(
            f"C9 {activation} bias",
            "the mean is of order 1 / n, within four standard errors",
            -1.0,
            bias.slope,
            max(0.15, 4 * bias.error),
            scale=1.0,
        )
        noise = float(np.std(study.values[-1])) / study.values.shape[1] ** 0.5
        yield compare(
            f"C9 {activation} limit",
            "the mean at the largest width is near the limit",
            study.limit,
            float(np.mean(study.values[-1])),
            5 * (noise + abs(float(study.biases[-1]))) / abs(study.limit),
            scale=abs(study.limit),
        )
