"""The linear solve that eliminates the output layer, from one orthogonal factorisation."""

from grassvp.projection.projection import Projection, default_rank_tolerance, project

__all__ = ["Projection", "default_rank_tolerance", "project"]
