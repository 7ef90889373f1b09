"""Heat equation u_t = u_xx / 4 on [0, 1]^2, solved in space-time by variable projection of a one-hidden-layer network.

Conditions: sin(pi x) at t = 0 and 0 at the two ends. Exact solution: exp(-pi^2 t / 4) sin(pi x). Baselines: random
features of equal width (the same draws, output layer only) and of free width, and Adam and L-BFGS on hidden and output
layers jointly, in a given time. The errors are measured on a fine grid that no method sees.
"""

from dataclasses import dataclass

from grassvp.lab import equations, pde_plots, pde_runs
from grassvp.lab.records import Record


@dataclass(frozen=True)
class Config(pde_runs.Options):
    """Options of the heat experiment."""

    boundary: int = 180
    """rows of the initial and boundary conditions, a third each"""
    diffusivity: float = 0.25
    """D in u_t = D u_xx"""


def run(config: Config, record: Record) -> None:
    """Solve the problem with variable projection and with the baselines, and store what the figures need."""
    pde_runs.compare(record, equations.heat(config.diffusivity), config)


def figures(record: Record) -> None:
    """The solution beside its error, and the convergence beside the baselines."""
    pde_plots.field_figure(record, "Heat equation, space-time variable projection", ("t", "x"))
    pde_plots.convergence_figure(record)
