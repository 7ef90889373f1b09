"""Geometry of subspaces, for numpy, torch and pymanopt; independent of grassvp.

What needs pymanopt is imported on first use, so that the functions of `manifolds.subspaces` cost nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from manifolds.checking.reports import Check, CheckReport
    from manifolds.checks import check_gradient, check_hessian, check_invariance, check_manifold, check_retraction
    from manifolds.geodesics import CutLocusWarning
    from manifolds.grassmann import Grassmann
    from manifolds.paths import ChartError
    from manifolds.regularized_grassmann import RegularizedGrassmann
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

_HOMES = {
    "ChartError": "paths",
    "Check": "checking.reports",
    "CheckReport": "checking.reports",
    "CutLocusWarning": "geodesics",
    "Grassmann": "grassmann",
    "RegularizedGrassmann": "regularized_grassmann",
    "ValueForms": "value",
    **{f"check_{what}": "checks" for what in ("gradient", "hessian", "invariance", "manifold", "retraction")},
}


def __getattr__(name: str) -> Any:
    """A public name, from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'manifolds' has no attribute {name!r}")
    return getattr(import_module(f"manifolds.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """All public names, also those not yet imported."""
    return sorted({*globals(), *__all__})
