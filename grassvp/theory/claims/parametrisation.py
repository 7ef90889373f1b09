"""Claims C1, C2 and C8: derivatives of the reduced problem of a network, and its rank-deficient regimes.

The predicted side is the library's; the measured side differences of the value, of the residual and of the gradient.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch

from grassvp import features
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import LevenbergMarquardt
from grassvp.solving import solve
from grassvp.theory.claims.claim import Claim, compare, first_difference, same

__all__ = ["c1", "c2", "c8"]


def network_problem(
    rng: np.random.Generator, widths: tuple[int, ...], lam: float, *, rows: int = 14, outputs: int = 2, **options
) -> ReducedProblem:
    """A tanh network with random weights, inputs and targets."""
    network = features.mlp(2, widths, seed=int(rng.integers(2**31)), **options)
    inputs, targets = rng.uniform(-1.5, 1.5, (rows, 2)), rng.standard_normal((rows, outputs))
    weights = rng.uniform(0.5, 2.0, rows)
    return ReducedProblem(SeparableProblem(network, inputs, targets, weights=weights, regularization=lam))


def c1(rng: np.random.Generator) -> Iterator[Claim]:
    """The envelope gradient against differences of the value."""
    for name, widths, lam in (("lam = 0", (4,), 0.0), ("lam > 0", (4,), 1e-2), ("two hidden layers", (3, 3), 1e-2)):
        reduced = network_problem(rng, widths, lam)
        p = rng.standard_normal(len(reduced.initial_parameters))
        v = rng.standard_normal(len(p)) / math.sqrt(len(p))
        gradient = np.asarray(reduced.gradient(p))
        slope = first_difference(lambda t, r=reduced, p=p, v=v: r.value(p + t * v), 0.005)
        yield compare(
            f"C1 gradient, {name}",
            "grad psi = -DPhi^*[R C^T]",
            float(gradient @ v),
            float(slope),
            1e-7,
            scale=float(np.linalg.norm(gradient)),
        )


def c2(rng: np.random.Generator) -> Iterator[Claim]:
    """The Jacobians and the Hessian against differences, and what they have in common."""
    for name, lam in (("lam = 0", 0.0), ("lam > 0", 1e-2)):
        reduced = network_problem(rng, (4,), lam)
        p = rng.standard_normal(len(reduced.initial_parameters))
        v = rng.standard_normal(len(p)) / math.sqrt(len(p))

        def residual(t: float, r=reduced, p=p, v=v) -> np.ndarray:
            return r.linearize(torch.as_tensor(p + t * v)).residual.numpy().ravel()

        def gradient(t: float, r=reduced, p=p, v=v) -> np.ndarray:
            return np.asarray(r.gradient(p + t * v))

        exact, approximate = (np.asarray(reduced.jacobian(p, kind=k)) for k in ("golub-pereyra", "kaufman"))
        slope = first_difference(residual, 0.005)
        yield same(f"C2 Golub-Pereyra, {name}", "J_GP is the derivative of the residual", slope, exact @ v, 1e-7)
        r = residual(0.0)
        yield same(f"C2 Kaufman gradient, {name}", "J_K^T r = J_GP^T r", exact.T @ r, approximate.T @ r, 1e-10)
        slope = first_difference(gradient, 0.005)
        yield same(
            f"C2 Hessian, {name}", "the exact Hessian in closed form", slope, np.asarray(reduced.hessian(p)) @ v, 1e-6
        )
        product = np.asarray(reduced.hessian_vector_product(p, v))
        yield same(f"C2 matrix-free, {name}", "one JVP and one VJP give the product", slope, product, 1e-6)


def c8(rng: np.random.Generator) -> Iterator[Claim]:
    """Duplicated neurons, n > m: rank, minimum norm, and critical points that larger networks inherit."""
    x, y = rng.uniform(-1, 1, (20, 1)), rng.standard_normal((20, 1))
    weights = rng.standard_normal((3, 2))
    twice = np.vstack([weights, weights[:1]])
    for lam in (0.0, 1e-3):
        point = tanh_problem(x, y, 4, lam).linearize(torch.as_tensor(layout(twice)))
        C = point.coefficients[:, 0].numpy()
        yield compare(
            f"C8 equal coefficients, lam = {lam:g}", "duplicated neurons share their coefficient", C[0], C[3], 1e-6
        )
        if lam == 0.0:
            value = tanh_problem(x, y, 3, 0.0).value(layout(weights))
            yield compare("C8 rank of duplicates", "counted once at lam = 0", 4, int(point.rank), 0.0)
            yield compare("C8 value of duplicates", "that of the smaller network", value, point.value, 1e-12)
    wide = tanh_problem(x[:3], y[:3], 6, 0.0)
    point = wide.linearize(torch.as_tensor(layout(rng.standard_normal((6, 2)))))
    yield compare("C8 n > m", "interpolation: value 0", 0.0, point.value, 1e-20, scale=float(np.sum(y[:3] ** 2)))
    Phi = point.derivatives.values.numpy()
    yield same("C8 minimum norm", "C = Phi^+ Y", np.linalg.pinv(Phi) @ y[:3], point.coefficients.numpy(), 1e-9)
    yield from inherited(x, rng)


def inherited(x: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
    """A critical point of the smaller network is one of the larger network with a neuron twice (lam = 0)."""
    teacher = np.array([[3.0, 1.0], [2.0, -1.0]]) + 0.3 * rng.standard_normal((2, 2))
    y = np.tanh(x * teacher[:, 0] + teacher[:, 1]) @ np.array([[1.0], [-2.0]]) + 0.05 * rng.standard_normal((len(x), 1))
    small, large = tanh_problem(x, y, 2, 0.0), tanh_problem(x, y, 3, 0.0)
    found = solve(small.problem, LevenbergMarquardt(), initial_parameters=layout(teacher), max_iterations=500)
    size = float(np.sum(y * y))
    weights = np.asarray(found.parameters).reshape(2, 2).T
    copied = layout(np.vstack([weights, weights[:1]]))
    before, after = (float(np.linalg.norm(r.gradient(p))) for r, p in ((small, found.parameters), (large, copied)))
    yield compare("C8 critical point of the smaller network", "found by descent", 0.0, before, 1e-8, scale=size)
    yield compare(
        "C8 critical point of the larger network", "splitting a neuron keeps it critical", 0.0, after, 1e-7, scale=size
    )


def tanh_problem(x: np.ndarray, y: np.ndarray, width: int, lam: float) -> ReducedProblem:
    """tanh(w x + b) for `width` neurons and a constant feature."""
    return ReducedProblem(SeparableProblem(features.mlp(1, (width,)), x, y, regularization=lam))


def layout(neurons: np.ndarray) -> np.ndarray:
    """Rows (w, b) as the flat parameters: all weights, then all biases."""
    return neurons.T.reshape(-1)
