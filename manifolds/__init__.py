"""Geometry of subspaces, for numpy, torch and pymanopt; independent of grassvp."""

from manifolds.checking.reports import Check, CheckReport
from manifolds.checks import check_gradient, check_hessian, check_invariance, check_manifold, check_retraction
from manifolds.geodesics import CutLocusWarning
from manifolds.grassmann import Grassmann
from manifolds.paths import ChartError
from manifolds.regularized_grassmann import RegularizedGrassmann
from manifolds.subspaces import (
    PrincipalVectors,
    orthonormal_basis,
    polar_factor,
    principal_angles,
    principal_vectors,
    project_onto,
    project_out,
    subspace_distance,
)
from manifolds.value import ValueForms

__all__ = [
    "ChartError",
    "Check",
    "CheckReport",
    "CutLocusWarning",
    "Grassmann",
    "PrincipalVectors",
    "RegularizedGrassmann",
    "ValueForms",
    "check_gradient",
    "check_hessian",
    "check_invariance",
    "check_manifold",
    "check_retraction",
    "orthonormal_basis",
    "polar_factor",
    "principal_angles",
    "principal_vectors",
    "project_onto",
    "project_out",
    "subspace_distance",
]
