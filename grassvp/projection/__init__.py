"""The linear solve that eliminates the output layer, from one orthogonal factorisation."""

from grassvp.projection.bounded import bounded_projection
from grassvp.projection.projection import Projection, Restriction, default_rank_tolerance, project
from grassvp.projection.streaming import StreamingProjection

__all__ = [
    "Projection",
    "Restriction",
    "StreamingProjection",
    "bounded_projection",
    "default_rank_tolerance",
    "project",
]
