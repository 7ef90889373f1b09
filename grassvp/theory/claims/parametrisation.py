"""Claims C1, C2 and C8: derivatives of the reduced problem of a network, and its rank-deficient regimes.

The predicted side is the library's; the measured side differences of the value, of the residual and of the gradient.
Of duplicated neurons the predicted side is made of blocks of the narrow network, the measured side the wide network's.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch

from grassvp import features
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.theory.claims.claim import Claim, compare, first_difference, same
from grassvp.theory.embeddings import embed
from grassvp.theory.joint_embeddings import embed_joint
from grassvp.theory.reports import critical_point_report

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
            yield compare("C8 value of duplicates", "that of the smaller network", value, point.value, 1e-9)
    wide = tanh_problem(x[:3], y[:3], 6, 0.0)
    point = wide.linearize(torch.as_tensor(layout(rng.standard_normal((6, 2)))))
    yield compare("C8 n > m", "interpolation: value 0", 0.0, point.value, 1e-20, scale=float(np.sum(y[:3] ** 2)))
    Phi = point.derivatives.values.numpy()
    yield same("C8 minimum norm", "C = Phi^+ Y", np.linalg.pinv(Phi) @ y[:3], point.coefficients.numpy(), 1e-9)
    yield from inherited(rng)
    for outputs, name in ((1, "one output"), (2, "two outputs")):
        yield from blocks(outputs, name, rng)
        yield from small_ridge(outputs, name, rng)
        yield from shared(outputs, name, rng)


def inherited(rng: np.random.Generator) -> Iterator[Claim]:
    """A critical point of the smaller network is one of the larger network with a neuron twice (lam = 0)."""
    small, neurons, size = critical_problem(rng, 1, 0.0, (1, 1))
    large = tanh_problem(small.problem.inputs.numpy(), small.problem.targets.numpy(), 3, 0.0)
    copied = layout(np.vstack([neurons, neurons[:1]]))
    before, after = (float(np.linalg.norm(r.gradient(p))) for r, p in ((small, layout(neurons)), (large, copied)))
    yield compare("C8 critical point of the smaller network", "by its targets", 0.0, before, 1e-8, scale=size)
    yield compare(
        "C8 critical point of the larger network", "splitting a neuron keeps it critical", 0.0, after, 1e-7, scale=size
    )


def blocks(outputs: int, name: str, rng: np.random.Generator) -> Iterator[Claim]:
    """The Hessian of a network with copies from the blocks of the narrow one, at lam > 0."""
    statement = "the dilated Hessian, and H_j = -<R c_j^T, D^2 phi_j> - ||R^T Dphi_j||^2 / lam for each further copy"
    problem, neurons, _ = critical_problem(rng, outputs, 1e-2, (3, 1))
    made = embed(problem, layout(neurons + 0.3 * rng.standard_normal((2, 2))), (3, 1))
    v = rng.standard_normal(8) / math.sqrt(8)
    slope = first_difference(lambda t: np.asarray(made.wide.gradient(made.parameters + t * v)), 0.002)
    yield same(f"C8 Hessian of copies, {name}", statement, slope, made.predicted_hessian() @ v, 1e-6)
    predicted, measured, gradients, spectra = [], [], [], []
    for r in ((2, 1), (1, 2), (2, 2), (1, 3)):
        problem, neurons, size = critical_problem(rng, outputs, 1e-2, r)
        made = embed(problem, layout(neurons), r)
        report = critical_point_report(made.wide, made.parameters)
        gradients.append(report.gradient_norm / size)
        predicted.append((made.predicted_index, made.predicted_nullity))
        measured.append((report.index, report.nullity))
        spectra.append((made.predicted_eigenvalues, report.hessian_eigenvalues))
    yield compare(f"C8 copies, {name}", "critical as in the dilated problem", 0.0, max(gradients), 1e-10, scale=1.0)
    indices = sum(index for index, _ in predicted), sum(index for index, _ in measured)
    yield compare(f"C8 index, {name}", "index(dilated) + sum (r_j - 1) index(H_j), all summed", *indices, 0.0)
    wrong = sum(one != other for one, other in zip(predicted, measured, strict=True))
    yield compare(f"C8 disagreements, {name}", "index and nullity agree at all four points", 0, wrong, 0.0)
    spectrum, found = (np.concatenate(each) for each in zip(*spectra, strict=True))
    yield same(f"C8 spectrum, {name}", "and so do all eigenvalues", spectrum, found, 1e-10)


def small_ridge(outputs: int, name: str, rng: np.random.Generator) -> Iterator[Claim]:
    """What moving copies apart does as lam -> 0: nothing new for one output, eigenvalues like -1 / lam for several."""
    lam = 1e-10
    problem, neurons, _ = critical_problem(rng, outputs, lam, (2, 1))
    made = embed(problem, layout(neurons), (2, 1))
    H, x = np.asarray(made.wide.hessian(made.parameters)), np.asarray(problem.problem.inputs)
    R, c = made.wide.linearize(torch.as_tensor(made.parameters)).projection.residual.numpy(), made.coefficients[0]
    t, rows = np.tanh(x[:, 0] * neurons[0, 0] + neurons[0, 1]), np.hstack([x, np.ones_like(x)])
    if outputs == 1:
        bend = -(rows.T * ((R @ c) * -2.0 * t * (1.0 - t * t))) @ rows
        apart = H[np.ix_([0, 3], [0, 3])] - H[np.ix_([0, 3], [1, 4])]
        yield same(f"C8 small ridge, {name}", "H_j = -<R c_j^T, D^2 phi_j>, without 1 / lam", bend, apart, 1e-6)
        return
    steepest = float(np.linalg.norm((R.T * (1.0 - t * t)) @ rows, 2)) ** 2
    lowest = lam * float(np.linalg.eigvalsh(H)[0])
    yield compare(f"C8 small ridge, {name}", "the lowest is -||R^T Dphi_j||^2 / lam", -steepest, lowest, 1e-3)


def shared(outputs: int, name: str, rng: np.random.Generator) -> Iterator[Claim]:
    """At lam = 0 output weights shared in any way among copies keep a critical point of the joint problem one."""
    problem, neurons, size = critical_problem(rng, outputs, 0.0, (1, 1))
    made = embed_joint(problem, layout(neurons), (2, 3), ([0.3, 0.7], [0.5, 1.4, -0.9]))
    yield compare(f"C8 shared, {name}", "critical for the joint problem", 0.0, made.gradient_norm, 1e-10, scale=size)
    measured = made.inertia
    yield compare(f"C8 index when shared, {name}", "in closed form", made.predicted_index, measured.negative, 0.0)
    yield compare(f"C8 nullity when shared, {name}", "likewise", made.predicted_nullity, measured.zero, 0.0)


def critical_problem(
    rng: np.random.Generator, outputs: int, lam: float, multiplicities: tuple[int, int]
) -> tuple[ReducedProblem, np.ndarray, float]:
    """Two tanh neurons (w, b) with targets that make them critical once neuron j is there r_j times; ||Y||^2 too.

    Y = Phi C + R for random C and a random R that is projected on Phi^T R = lam C and Dphi_j^T R c_j = 0, where Phi and
    C are those of the dilated problem.
    """
    x, C = (
        np.linspace(-1.5, 1.5, 16)[:, None],
        rng.choice([-1.0, 1.0], (3, outputs)) * rng.uniform(0.5, 2.0, (3, outputs)),
    )
    neurons = np.array([[2.0, 1.0], [1.5, -1.0]]) + 0.4 * rng.uniform(-1, 1, (2, 2))
    hidden, scales = np.tanh(x * neurons[:, 0] + neurons[:, 1]), np.sqrt(multiplicities)
    Phi, rows = np.hstack([hidden * scales, np.ones_like(x)]), np.hstack([x, np.ones_like(x)])
    slopes = [np.kron((1.0 - hidden[:, [j]] ** 2) * rows, C[j][:, None]).T for j in range(2)]
    constraints = np.vstack([np.kron(Phi.T, np.eye(outputs)), *slopes])
    sides = np.concatenate([lam * C.ravel(), np.zeros(4)])
    R = 0.5 * rng.standard_normal(16 * outputs)
    R = R - np.linalg.lstsq(constraints, constraints @ R - sides)[0]
    y = Phi @ C + R.reshape(16, outputs)
    return tanh_problem(x, y, 2, lam), neurons, float(np.sum(y * y))


def tanh_problem(x: np.ndarray, y: np.ndarray, width: int, lam: float) -> ReducedProblem:
    """tanh(w x + b) for `width` neurons and a constant feature."""
    return ReducedProblem(SeparableProblem(features.mlp(1, (width,)), x, y, regularization=lam))


def layout(neurons: np.ndarray) -> np.ndarray:
    """Rows (w, b) as the flat parameters: all weights, then all biases."""
    return neurons.T.reshape(-1)
