"""Heat equation u_t = u_xx / 4 on [0, 1]^2, solved in space-time by variable projection of a one-hidden-layer network.

Conditions: sin(pi x) at t = 0 and 0 at the two ends. Exact solution: exp(-pi^2 t / 4) sin(pi x). Baselines: random
features of equal width (the same draws, output layer only) and of free width, and Adam and L-BFGS on hidden and output
layers jointly, in a given time. The errors are measured on a fine grid that no method sees.
"""

from dataclasses import dataclass

import grassvp as gv
from grassvp.lab import equations, pde_plots, pde_runs
from grassvp.lab.records import Record


@dataclass(frozen=True)
class Config(pde_runs.Options):
    """Options of the heat experiment."""

    width: int = 64
    """neurons in the hidden layer"""
    interior: int = 900
    """collocation points of the equation; rounded down to a square grid"""
    boundary: int = 180
    """points of the initial and boundary conditions, a third each"""
    sampling: str = "chebyshev"
    """chebyshev, grid, random, latin-hypercube or sobol"""
    activation: str = "tanh"
    """tanh, sin, softplus, gelu or erf"""
    diffusivity: float = 0.25
    """D in u_t = D u_xx"""


def run(config: Config, record: Record) -> None:
    """Solve the problem with variable projection and with the baselines, and store what the figures need."""
    equation = equations.heat(config.diffusivity)
    network = gv.features.mlp(2, (config.width,), activation=config.activation, seed=config.seed)
    problem = equation.collocate(
        network, interior=config.interior, boundary=config.boundary, sampling=config.sampling, seed=config.seed
    )
    pde_runs.compare(record, equation, problem, config)


def figures(record: Record) -> None:
    """The solution beside its error, and the convergence beside the baselines."""
    pde_plots.field_figure(record, "Heat equation, space-time variable projection", ("t", "x"))
    pde_plots.convergence_figure(record)
