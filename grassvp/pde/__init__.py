"""Partial differential equations: linear ones as separable least-squares problems, others through linearisations."""

from grassvp.pde.conditions import (
    Condition,
    Periodic,
    dirichlet,
    initial,
    initial_velocity,
    neumann,
    periodic,
    robin,
)
from grassvp.pde.continuing import Continued, solve_continued
from grassvp.pde.data import Data
from grassvp.pde.domain import Box
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import Exponential, Gauss, Radau
from grassvp.pde.inverse import Estimates
from grassvp.pde.marching import march
from grassvp.pde.problem import PDE
from grassvp.pde.slabs import Slabs, solve_in_slabs
from grassvp.pde.trajectory import MarchStatus, StepRecord, Trajectory

__all__ = [
    "PDE",
    "Box",
    "Condition",
    "Continued",
    "Data",
    "Estimates",
    "Exponential",
    "Gauss",
    "Heat",
    "MarchStatus",
    "Periodic",
    "Radau",
    "Slabs",
    "StepRecord",
    "Trajectory",
    "dirichlet",
    "initial",
    "initial_velocity",
    "march",
    "neumann",
    "periodic",
    "robin",
    "solve_continued",
    "solve_in_slabs",
]
