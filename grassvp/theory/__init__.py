"""The theory of variable projection, checked: critical points, flows, rates, limits, each claim as a measurement."""

from grassvp.theory.census import find_critical_points
from grassvp.theory.claims.claim import Claim
from grassvp.theory.classes import CriticalClass, TargetSpectrum, critical_classes
from grassvp.theory.closed_forms import flow_limit, flow_matrices, flow_spans, flow_values, logistic_cosines
from grassvp.theory.copies import dilated
from grassvp.theory.embeddings import EmbeddedCriticalPoint, Embedding, embed, embedded_critical_points
from grassvp.theory.flows import GradientFlow, gradient_flow
from grassvp.theory.inertia import Inertia, InertiaComparison, compare_inertia
from grassvp.theory.integration import FlowError
from grassvp.theory.joint_embeddings import JointEmbedding, embed_joint
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
    "EmbeddedCriticalPoint",
    "Embedding",
    "FlowError",
    "GradientFlow",
    "HessianSpectrum",
    "Inertia",
    "InertiaComparison",
    "JointEmbedding",
    "LocalRate",
    "NaturalFlow",
    "NewtonRate",
    "TargetSpectrum",
    "TimeScaleStudy",
    "WidthStudy",
    "compare_inertia",
    "critical_classes",
    "critical_point_report",
    "dilated",
    "embed",
    "embed_joint",
    "embedded_critical_points",
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
