"""Variable projection of neural networks on the Grassmannian."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from grassvp import errors, features
from grassvp.continuation import Continuation
from grassvp.criterion import CriterionProblem
from grassvp.growing import grow
from grassvp.linearization import Linearization
from grassvp.multistarts import multistart
from grassvp.projection import rules
from grassvp.reduced import ReducedProblem
from grassvp.selecting import minimize_criterion
from grassvp.separable import SeparableProblem
from grassvp.solvers import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    Solution,
    Status,
    TrustRegion,
)
from grassvp.solving import solve
from grassvp.streaming import solve_stream

if TYPE_CHECKING:
    from grassvp import pde, rank, riemannian, statistics, surgery, theory

__version__ = "0.1.0"

__all__ = [
    "Continuation",
    "CriterionProblem",
    "FirstOrder",
    "GaussNewton",
    "GradientFlow",
    "LevenbergMarquardt",
    "Linearization",
    "NaturalGradient",
    "ReducedProblem",
    "SeparableProblem",
    "Solution",
    "Status",
    "TrustRegion",
    "errors",
    "features",
    "grow",
    "minimize_criterion",
    "multistart",
    "pde",
    "rank",
    "riemannian",
    "rules",
    "solve",
    "solve_stream",
    "statistics",
    "surgery",
    "theory",
]


def __getattr__(name: str) -> Any:
    """Rooms on first use: some bring pymanopt and parts of scipy along."""
    if name in ("pde", "rank", "riemannian", "statistics", "surgery", "theory"):
        return import_module(f"grassvp.{name}")
    raise AttributeError(f"module 'grassvp' has no attribute {name!r}")
