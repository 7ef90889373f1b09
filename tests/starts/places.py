"""Problems to start, and what can be said of a start without the library's solves."""

import numpy as np
import torch

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import mlp
from tests.solvers.problems import weighted

X = np.linspace(0.0, 1.0, 80)
STEP = np.tanh(60.0 * (X - 0.3))
OUTPUTS = np.stack([STEP, np.cos(4 * X), X**2], axis=1)
WEIGHTS = np.linspace(0.5, 2.0, 80)


def plane(rows=120, d=3, seed=0):
    """Inputs (rows, d) in a box whose sides differ, and a target that is steep across one plane."""
    x = np.random.default_rng(seed).uniform(-1.0, 1.0, (rows, d)) * np.geomspace(1.0, 100.0, d)
    return x, np.tanh(8.0 * x[:, 0]) + 0.1 * x[:, -1] / 100.0


def problem(x=X, y=STEP, width=6, *, activation="tanh", bias_feature=True, dtype=np.float64, **options):
    """A network with one hidden layer."""
    x, y = (np.asarray(a).astype(dtype) for a in (x, y))
    d = 1 if x.ndim == 1 else x.shape[1]
    return SeparableProblem(mlp(d, (width,), activation=activation, bias_feature=bias_feature), x, y, **options)


def reduced(*arguments, **options):
    return ReducedProblem(problem(*arguments, **options))


def neurons(parameters, d=1):
    """Weights (n, d) and biases (n,) of one hidden layer."""
    theta = np.asarray(parameters, dtype=float)
    count = theta.size // (d + 1)
    return theta[: count * d].reshape(count, d), theta[count * d :]


def pieces(reduced_problem, start):
    """(slopes per half-range (n, d), centres in the units of the box from 0 to 2 along the slope) of a start."""
    x = reduced_problem.problem.inputs.double().numpy()
    low, half = x.min(0), np.ptp(x, axis=0) / 2
    W, b = neurons(start.parameters, x.shape[1])
    slopes = W * half
    return slopes, -(b + W @ low) / np.linalg.norm(slopes, axis=1)


def left_over(problem, theta, rcond=1e-13, *, first=0):
    """||W (Y - Phi C)||^2 for the best C at lam = 0, by numpy's lstsq, with the columns of Phi from `first` on."""
    A, b = (tensor.double().numpy() for tensor in weighted(problem, torch.as_tensor(theta).to(problem.targets)))
    A = A[:, first:]
    best = np.linalg.lstsq(A, b, rcond=rcond)[0] if A.size else np.zeros((0, b.shape[1]))
    return float(np.sum((A @ best - b) ** 2))
