"""Advection u_t + c u_x = 0 on [0, 1]^2 by variable projection of a one-hidden-layer network.

The solution sin(2 pi (x - c t)) is given at t = 0 and where it flows in, at x = 0. Baselines: random features of equal
width (the same draws, output layer only) and of free width, and Adam and L-BFGS on hidden and output layers jointly, in
a given time.
"""

from dataclasses import dataclass

from grassvp.lab import equations, pde_plots, pde_runs
from grassvp.lab.records import Record


@dataclass(frozen=True)
class Config(pde_runs.Options):
    """Options of the advection experiment."""

    width: int = 100
    """neurons in the hidden layer"""
    boundary: int = 120
    """rows of the initial and inflow conditions, half each"""
    max_seconds: float = 25.0
    """time limit of the solve"""
    speed: float = 1.0
    """c"""


def run(config: Config, record: Record) -> None:
    """Solve the problem with variable projection and with the baselines, and store what the figures need."""
    pde_runs.compare(record, equations.advection(config.speed), config)


def figures(record: Record) -> None:
    """The solution beside its error, and the convergence beside the baselines."""
    pde_plots.field_figure(record, "Advection, space-time variable projection", ("t", "x"))
    pde_plots.convergence_figure(record)
