"""Small problems whose answers are known, and what can be said of them without the library's solvers."""

import math

import numpy as np
import torch
from scipy.optimize import least_squares

from grassvp import SeparableProblem
from grassvp.features import from_function, mlp

TIMES = np.linspace(0.0, 4.0, 60)
RATES = np.array([0.5, 2.0])


def decays(p, x):
    """[exp(-p_1 x), exp(-p_2 x), ...]."""
    return torch.exp(-x[:, None] * p)


def double_exponential(noise=0.0, *, start=(0.2, 4.0), outputs=1, **options):
    """2 exp(-t/2) + 3 exp(-2 t), with further outputs that mix the same two decays, and noise."""
    mix = np.array([[2.0, -1.0, 0.5], [3.0, 1.0, 4.0]])[:, :outputs]
    y = np.exp(-TIMES[:, None] * RATES) @ mix + noise * np.random.default_rng(0).standard_normal((60, outputs))
    return SeparableProblem(from_function(decays, start), TIMES, y[:, 0] if outputs == 1 else y, **options)


def wave(width=6, *, rows=60, squeeze=True, **options):
    """A network with one hidden layer for a sine wave."""
    x = np.linspace(0.0, 1.0, rows)
    y = np.sin(2 * np.pi * x) + 0.1 * x**2
    return SeparableProblem(mlp(1, (width,)), x[:, None], y if squeeze else y[:, None], **options)


def tower(p, x):
    """[exp(exp(p x)), 1]: overflows in float64 where p x is above 6.57."""
    return torch.stack([torch.exp(torch.exp(p[0] * x)), torch.ones_like(x)], dim=1)


def tower_problem(start=-10.0):
    """The tower with p = 1/2 on [0.2, 3]; from the default start the Gauss-Newton step overflows."""
    x = np.linspace(0.2, 3.0, 30)
    return SeparableProblem(from_function(tower, [start]), x, np.exp(np.exp(0.5 * x)) + 2.0)


def weighted(problem, theta):
    """W Phi at theta and W Y, as tensors that know theta's history."""
    w = torch.ones(problem.rows, dtype=problem.targets.dtype) if problem.weights is None else problem.weights
    return w[:, None] * problem.features(theta, problem.inputs), w[:, None] * problem.targets


def joint_value(problem, theta, C):
    """1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2."""
    A, b = weighted(problem, theta)
    return 0.5 * ((A @ C - b) ** 2).sum() + 0.5 * problem.regularization * (C**2).sum()


def least_squares_value(problem, theta):
    """The reduced value by numpy.linalg.lstsq on the augmented system."""
    A, b = (tensor.numpy() for tensor in weighted(problem, torch.as_tensor(theta)))
    n = A.shape[1]
    A = np.concatenate([A, math.sqrt(problem.regularization) * np.eye(n)])
    b = np.concatenate([b, np.zeros((n, b.shape[1]))])
    C = np.linalg.lstsq(A, b, rcond=1e-10)[0]
    return 0.5 * float(np.sum((A @ C - b) ** 2))


def joint_minimum(problem, start):
    """(theta, C) by scipy's trust region on the joint residual with its exact Jacobian."""
    q, shape = len(start), (problem.width, problem.outputs)

    def residual(vector):
        A, b = weighted(problem, vector[:q])
        C = vector[q:].reshape(shape)
        return torch.cat([(A @ C - b).flatten(), problem.regularization**0.5 * vector[q:]])

    tight = {"xtol": 3e-16, "ftol": 3e-16, "gtol": 1e-15, "x_scale": "jac", "max_nfev": 2000}
    begin = np.concatenate([start, np.ones(shape).ravel()])
    found = least_squares(
        lambda v: residual(torch.from_numpy(v)).numpy(),
        begin,
        jac=lambda v: torch.func.jacfwd(residual)(torch.from_numpy(v)).numpy(),
        **tight,
    )
    return found.x[:q], found.x[q:].reshape(shape), found.cost


def gradients(problem, solution):
    """Gradients by theta and by C of the joint value at a solution, by automatic differentiation."""
    theta, C = (tensor.clone().requires_grad_() for tensor in (solution.parameters, solution.coefficients))
    return torch.autograd.grad(joint_value(problem, theta, C), (theta, C))


class Recorder:
    """A callback that keeps every record."""

    def __init__(self):
        self.records = []

    def __call__(self, record):
        self.records.append(record)

    @property
    def parameters(self):
        return np.array([record.parameters.double().numpy() for record in self.records])
