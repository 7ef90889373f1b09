"""Geometry of subspaces, for numpy and torch; independent of grassvp."""

from manifolds.subspaces import principal_angles, subspace_distance

__all__ = ["principal_angles", "subspace_distance"]
