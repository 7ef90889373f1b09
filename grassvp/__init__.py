"""Variable projection of neural networks on the Grassmannian."""

from grassvp import errors, features
from grassvp.reduced import Linearization, ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import FirstOrder, GaussNewton, LevenbergMarquardt, Solution, Status
from grassvp.solving import solve

__version__ = "0.1.0"

__all__ = [
    "FirstOrder",
    "GaussNewton",
    "LevenbergMarquardt",
    "Linearization",
    "ReducedProblem",
    "SeparableProblem",
    "Solution",
    "Status",
    "errors",
    "features",
    "solve",
]
