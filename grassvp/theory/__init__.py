"""The theory of variable projection, checked: critical points, flows, rates, limits, each claim as a measurement."""

from grassvp.theory.census import find_critical_points
from grassvp.theory.claims.claim import Claim
from grassvp.theory.classes import CriticalClass, TargetSpectrum, critical_classes
from grassvp.theory.closed_forms import flow_limit, flow_matrices, flow_spans, flow_values, logistic_cosines
from grassvp.theory.flows import GradientFlow, gradient_flow
from grassvp.theory.inertia import Inertia, InertiaComparison, compare_inertia
from grassvp.theory.integration import FlowError
from grassvp.theory.kernels import WidthStudy, limit_kernel, width_study
from grassvp.theory.natural import NaturalFlow, natural_gradient_flow
from grassvp.theory.rates import LocalRate, NewtonRate, linear_rate, newton_rate, strict_minimum
from grassvp.theory.reports import CriticalPointReport, critical_point_report
from grassvp.theory.spectra import HessianSpectrum, hessian_matrix, hessian_spectrum
from grassvp.theory.two_timescales import TimeScaleStudy, two_time_scales
from grassvp.theory.verification import verify

__all__ = [
    "Claim",
    "CriticalClass",
    "CriticalPointReport",
    "FlowError",
    "GradientFlow",
    "HessianSpectrum",
    "Inertia",
    "InertiaComparison",
    "LocalRate",
    "NaturalFlow",
    "NewtonRate",
    "TargetSpectrum",
    "TimeScaleStudy",
    "WidthStudy",
    "compare_inertia",
    "critical_classes",
    "critical_point_report",
    "find_critical_points",
    "flow_limit",
    "flow_matrices",
    "flow_spans",
    "flow_values",
    "gradient_flow",
    "hessian_matrix",
    "hessian_spectrum",
    "limit_kernel",
    "linear_rate",
    "logistic_cosines",
    "natural_gradient_flow",
    "newton_rate",
    "strict_minimum",
    "two_time_scales",
    "verify",
    "width_study",
]
