"""Solvers: protocols, one loop, stopping rules, and methods that are pairs of a descent and a search."""

from grassvp.solvers.choices import LinearAlgebra, linear_algebra
from grassvp.solvers.first_order import FirstOrder
from grassvp.solvers.flow import GradientFlow
from grassvp.solvers.history import IterationRecord, columns
from grassvp.solvers.loop import STUCK, Callback, Outcome, Run, minimize
from grassvp.solvers.methods import GaussNewton, LevenbergMarquardt, NaturalGradient, TrustRegion, resolve
from grassvp.solvers.protocols import Iterate, Method, attempt
from grassvp.solvers.solution import Solution
from grassvp.solvers.status import Status
from grassvp.solvers.stopping import AnyOf, GradientTolerance, MaxIterations, MaxTime, NonFinite, StoppingRule

__all__ = [
    "STUCK",
    "AnyOf",
    "Callback",
    "FirstOrder",
    "GaussNewton",
    "GradientFlow",
    "GradientTolerance",
    "Iterate",
    "IterationRecord",
    "LevenbergMarquardt",
    "LinearAlgebra",
    "MaxIterations",
    "MaxTime",
    "Method",
    "NaturalGradient",
    "NonFinite",
    "Outcome",
    "Run",
    "Solution",
    "Status",
    "StoppingRule",
    "TrustRegion",
    "attempt",
    "columns",
    "linear_algebra",
    "minimize",
    "resolve",
]
