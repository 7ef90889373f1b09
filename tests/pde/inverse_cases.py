"""Equations with unknown coefficients whose solutions are known, data, and estimates; shared by the tests of these."""

import math

import numpy as np
import torch
from scipy.optimize import least_squares

from grassvp import pde, solve
from grassvp.features import mlp

PI = math.pi
BOX = pde.Box({"t": (0, 1), "x": (0, 1)})


def decay(points, kappa):
    return np.exp(-kappa * PI**2 * points[:, 0]) * np.sin(PI * points[:, 1])


def wave(points, c, D):
    return np.exp(-D * PI**2 * points[:, 0]) * np.sin(PI * (points[:, 1] - c * points[:, 0]))


def heat(start=0.3, size=1.0, name="kappa", of=lambda p: p):
    equation = lambda u, x, p: u.d("t") - of(p[name]) * u.d("x", "x")  # noqa: E731
    conditions = [pde.initial(lambda x: size * torch.sin(PI * x["x"])), pde.dirichlet(("x", "both"))]
    return pde.PDE(BOX, equation, conditions=conditions, coefficients={name: start})


def advection():
    equation = lambda u, x, p: u.d("t") + p["c"] * u.d("x") - p["D"] * u.d("x", "x")  # noqa: E731
    conditions = [pde.initial(lambda x: torch.sin(PI * x["x"])), pde.periodic("x")]
    box = pde.Box({"t": (0, 1), "x": (-1, 1)})
    return pde.PDE(box, equation, conditions=conditions, coefficients={"c": 0.3, "D": 0.2})


KAPPA, C, D = 0.13, 0.7, 0.05
PLACES = np.random.default_rng(0).uniform(0, 1, (30, 2))
FAR = np.random.default_rng(1).uniform((0, -1), (1, 1), (40, 2))
NOISE = 0.02


def measured(seed, clean=None):
    clean = decay(PLACES, KAPPA) if clean is None else clean
    return clean + NOISE * np.random.default_rng(seed).standard_normal(len(clean))


def collocated(equation, data, width=44, **options):
    return equation.collocate(mlp(2, (width,)), interior=10 * width, boundary=60, data=data, **options)


def solved(equation, data, width=44, iterations=50, start=None, **options):
    """Solution and estimates."""
    problem = collocated(equation, data, width, **options)
    solution = solve(problem, seed=0, starts=2, max_iterations=iterations, initial_parameters=start)
    return solution, equation.coefficient_estimates(solution)


def efficient(function, points, values, start):
    """Maximum likelihood with the exact solution: estimates and their covariance."""
    found = least_squares(lambda p: (function(points, *p) - values) / NOISE, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    return found.x, np.linalg.inv(found.jac.T @ found.jac)
