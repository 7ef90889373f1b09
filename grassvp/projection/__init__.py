"""The linear solve that eliminates the output layer, from one orthogonal factorisation."""

from grassvp.projection.bounded import bounded_projection
from grassvp.projection.choosing import Choice, Data, Rule, least
from grassvp.projection.criteria import generalized
from grassvp.projection.projection import Projection, default_rank_tolerance, project
from grassvp.projection.restriction import Restriction
from grassvp.projection.rules import (
    GCV,
    RULES,
    Auto,
    CrossValidation,
    Discrepancy,
    Evidence,
    LCurve,
    PredictiveRisk,
    check_rule,
)
from grassvp.projection.spectrum import Spectrum
from grassvp.projection.streaming import StreamingProjection

__all__ = [
    "GCV",
    "RULES",
    "Auto",
    "Choice",
    "CrossValidation",
    "Data",
    "Discrepancy",
    "Evidence",
    "LCurve",
    "PredictiveRisk",
    "Projection",
    "Restriction",
    "Rule",
    "Spectrum",
    "StreamingProjection",
    "bounded_projection",
    "check_rule",
    "default_rank_tolerance",
    "generalized",
    "least",
    "project",
]
