"""Poisson's equation in the plane, or Helmholtz', by variable projection of a one-hidden-layer network.

  poisson    -(u_xx + u_yy) = f, u = sin(pi x) sin(pi y)
  helmholtz  u_xx + u_yy + u = f, u = sin(pi x) sin(4 pi y)
on [0, 1]^2, zero on the boundary. Baselines: random features of equal width (the same draws, output layer only) and of
free width, and Adam and L-BFGS on hidden and output layers jointly, in a given time.
"""

from dataclasses import dataclass

from grassvp.arrays import check_choice
from grassvp.lab import equations, pde_plots, pde_runs
from grassvp.lab.records import Record

EQUATIONS = {"poisson": equations.poisson, "helmholtz": equations.helmholtz}


@dataclass(frozen=True)
class Config(pde_runs.Options):
    """Options of the experiment."""

    equation: str = "poisson"
    """poisson or helmholtz"""


def run(config: Config, record: Record) -> None:
    """Solve the problem with variable projection and with the baselines, and store what the figures need."""
    equation = EQUATIONS[check_choice(config.equation, "equation", tuple(EQUATIONS))]()
    pde_runs.compare(record, equation, config)


def figures(record: Record) -> None:
    """The solution beside its error, and the convergence beside the baselines."""
    title = f"{record.config['equation'].capitalize()}'s equation, variable projection"
    pde_plots.field_figure(record, title, ("x", "y"))
    pde_plots.convergence_figure(record)
