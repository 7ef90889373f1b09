"""Critical points of variable projection: all of them in closed form, any of them examined, found and counted."""

from grassvp.theory.census import find_critical_points
from grassvp.theory.classes import CriticalClass, TargetSpectrum, critical_classes
from grassvp.theory.inertia import Inertia, InertiaComparison, compare_inertia
from grassvp.theory.reports import CriticalPointReport, critical_point_report
from grassvp.theory.spectra import HessianSpectrum, hessian_matrix, hessian_spectrum

__all__ = [
    "CriticalClass",
    "CriticalPointReport",
    "HessianSpectrum",
    "Inertia",
    "InertiaComparison",
    "TargetSpectrum",
    "compare_inertia",
    "critical_classes",
    "critical_point_report",
    "find_critical_points",
    "hessian_matrix",
    "hessian_spectrum",
]
