"""Subspaces as orthonormal bases: pure functions of numpy arrays or torch tensors, answered in kind."""

from manifolds.subspaces.angles import (
    PrincipalVectors,
    distance_of_cosines,
    geodesic_distance,
    is_aligned,
    principal_angles,
    principal_vectors,
    subspace_distance,
)
from manifolds.subspaces.bases import (
    norm,
    orthonormal_basis,
    polar_factor,
    polish,
    project_onto,
    project_out,
    project_out_once,
)

__all__ = [
    "PrincipalVectors",
    "distance_of_cosines",
    "geodesic_distance",
    "is_aligned",
    "norm",
    "orthonormal_basis",
    "polar_factor",
    "polish",
    "principal_angles",
    "principal_vectors",
    "project_onto",
    "project_out",
    "project_out_once",
    "subspace_distance",
]
