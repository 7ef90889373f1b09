"""What kind of point this is: gradient, Hessian spectrum, Morse index, and the reasons, in numbers and in words."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem
from grassvp.theory.anatomy import Anatomy, anatomy
from grassvp.theory.nullspaces import critical_points_continue
from grassvp.theory.objectives import LocalModel, Objective, as_objective
from grassvp.theory.spectra import DENSE_LIMIT, HessianSpectrum, spectrum_of

__all__ = ["EIGENVALUE_TOLERANCE", "GRADIENT_TOLERANCE", "CriticalPointReport", "critical_point_report"]

GRADIENT_TOLERANCE = 1e-10
EIGENVALUE_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class CriticalPointReport:
    """A point of a problem and what its first two derivatives say about it.

    Attributes:
        point: an orthonormal basis, a matrix Phi, or parameters theta, as the problem has it.
        value: the function there.
        gradient_norm: in the problem's metric.
        is_critical: gradient_norm <= tolerance * scale.
        hessian_eigenvalues: ascending, in an orthonormal basis of the metric; all of them unless `spectrum.complete`
            is False, then the lowest and highest.
        index: eigenvalues below -threshold; of an incomplete spectrum those computed, which the explanation says.
        nullity: eigenvalues within the threshold, likewise.
        kind: "regular" (not critical); "minimum" (index 0, every null direction belongs to a manifold of critical
            points); "degenerate" (index 0, and some null direction does not); "maximum" (no positive eigenvalue, and
            index > 0); "saddle".
        rank: numerical rank of the point or of the features, None for other problems.
        differential_rank: rank of DPhi(theta), None for problems without features.
        symmetry: null directions that are known in closed form to belong to a manifold of critical points.
        cause: why the point is critical, in a few words: "invariant subspace", "zero coefficients", "zero residual",
            "kernel of the differential", or "".
        explanation: a paragraph with the numbers.
        newton_step: length of the Newton step, an estimate of the distance to the critical point.
        scale: what the gradient is measured against: ||W Y||^2, or the largest |Hessian eigenvalue| for a problem
            that has no targets.
        tolerance: of the gradient, relative to `scale`.
        threshold: |eigenvalue| up to which a direction counts as null.
        spectrum: the eigenvalues with their eigenvectors and error bounds.
    """

    point: np.ndarray
    value: float
    gradient_norm: float
    is_critical: bool
    hessian_eigenvalues: np.ndarray
    index: int
    nullity: int
    kind: str
    rank: int | None
    differential_rank: int | None
    symmetry: int
    cause: str
    explanation: str
    newton_step: float
    scale: float
    tolerance: float
    threshold: float
    spectrum: HessianSpectrum = field(repr=False)

    def __repr__(self) -> str:
        """Kind and Morse data at a glance."""
        return (
            f"CriticalPointReport({self.kind}, value {self.value:.6g}, gradient norm {self.gradient_norm:.2g}, "
            f"index {self.index}, nullity {self.nullity} of {self.spectrum.dimension})"
        )


def critical_point_report(
    problem: Any,
    point: Any,
    *,
    tolerance: float = GRADIENT_TOLERANCE,
    eigenvalue_tolerance: float = EIGENVALUE_TOLERANCE,
    dense_limit: int = DENSE_LIMIT,
) -> CriticalPointReport:
    """Classify a point.

    Args:
        problem: a `ReducedProblem`, whose points are parameters (q,) and whose rule, if it has one, chooses lam
            there, or a `pymanopt.Problem` whose points are arrays: of `riemannian.subspace_problem`,
            `riemannian.parameter_problem`, or any other.
        point: where. A point of `subspace_problem` is an orthonormal basis, at lam > 0 any matrix Phi.
        tolerance: critical means gradient norm <= tolerance * scale, with scale = ||W Y||^2 where there are targets.
        eigenvalue_tolerance: a direction is null where |eigenvalue| <= this times the largest, or drowns in the error
            with which the Hessian is known.
        dense_limit: above this dimension only both ends of the spectrum are computed, by Lanczos.

    Raises:
        ArgumentError, ArgumentTypeError, ValueError: the point is none, or the function is not finite there.
    """
    problem = problem.chosen_at(point) if isinstance(problem, ReducedProblem) else problem
    objective = as_objective(problem)
    model = objective.at(objective.point(point))
    if model is None:
        raise ArgumentError("point has a value or a gradient that is not finite")
    tolerance = check_nonnegative(tolerance, "tolerance")
    eigenvalue_tolerance = check_nonnegative(eigenvalue_tolerance, "eigenvalue_tolerance")
    spectrum = spectrum_of(model, dense_limit=dense_limit)
    scale = objective.scale
    scale = (spectrum.size or 1.0) if scale is None else scale
    threshold = spectrum.threshold(eigenvalue_tolerance)
    index = int(np.sum(spectrum.eigenvalues < -threshold))
    nullity = int(np.sum(np.abs(spectrum.eigenvalues) <= threshold))
    allowed = tolerance * scale
    critical = model.gradient_norm <= allowed
    facts = anatomy(problem, model, spectrum, nullity, threshold)
    kind = _kind(objective, model, spectrum, facts, threshold, allowed) if critical else "regular"
    step = _newton_step(model, spectrum, threshold)
    return CriticalPointReport(
        point=model.point,
        value=model.value,
        gradient_norm=model.gradient_norm,
        is_critical=critical,
        hessian_eigenvalues=spectrum.eigenvalues,
        index=index,
        nullity=nullity,
        kind=kind,
        rank=facts.rank,
        differential_rank=facts.differential_rank,
        symmetry=facts.symmetry,
        cause=facts.cause if critical else "",
        explanation=_explanation(model, spectrum, facts, kind, index, nullity, allowed, threshold, step),
        newton_step=step,
        scale=scale,
        tolerance=tolerance,
        threshold=threshold,
        spectrum=spectrum,
    )


def _kind(
    objective: Objective,
    model: LocalModel,
    spectrum: HessianSpectrum,
    facts: Anatomy,
    threshold: float,
    allowed: float,
) -> str:
    values = spectrum.eigenvalues
    if np.any(values < -threshold):
        return "saddle" if np.any(values > threshold) else "maximum"
    null = np.abs(values) <= threshold
    if not np.any(null) or facts.explains:
        return "minimum"
    if facts.explains is False or not spectrum.complete:
        return "degenerate"
    return "minimum" if critical_points_continue(objective, model, spectrum, threshold, allowed) else "degenerate"


def _newton_step(model: LocalModel, spectrum: HessianSpectrum, threshold: float) -> float:
    values = spectrum.eigenvalues
    if not spectrum.complete:  # the gradient beyond the computed ends is unknown
        return float("nan")
    curved = np.abs(values) > threshold
    return float(np.linalg.norm((spectrum.vectors[:, curved].T @ model.gradient) / values[curved]))


def _explanation(
    model: LocalModel,
    spectrum: HessianSpectrum,
    facts: Anatomy,
    kind: str,
    index: int,
    nullity: int,
    allowed: float,
    threshold: float,
    step: float,
) -> str:
    gradient = f"the gradient norm is {model.gradient_norm:.3g}, against {allowed:.3g} allowed"
    if kind == "regular":
        return (
            f"Not a critical point: {gradient}. The Newton step there has length {step:.3g}; the Hessian has {index} "
            f"negative eigenvalues of {spectrum.dimension}."
        )
    words = [f"A critical point ({kind}) of value {model.value:.6g}: {gradient}.", *facts.sentences]
    words.append(_counts(spectrum, index, nullity, threshold))
    words.append(_verdict(kind, index, nullity, facts, spectrum))
    return " ".join(words)


def _counts(spectrum: HessianSpectrum, index: int, nullity: int, threshold: float) -> str:
    if not spectrum.eigenvalues.size:
        return "The manifold is a single point there, without tangent directions."
    values, total = spectrum.eigenvalues, spectrum.dimension
    ends = f"from {values[0]:.4g} to {values[-1]:.4g}"
    if not spectrum.complete:
        more = "at least " if index >= spectrum.lowest else ""
        return (
            f"Of {total} Hessian eigenvalues ({ends}) the {len(values)} at both ends were computed: {more}{index} are "
            f"negative, {nullity} within {threshold:.2g} of zero."
        )
    return f"Of {total} Hessian eigenvalues ({ends}) {index} are negative and {nullity} within {threshold:.2g} of zero."


def _verdict(kind: str, index: int, nullity: int, facts: Anatomy, spectrum: HessianSpectrum) -> str:
    if kind in ("saddle", "maximum"):
        steepest = f"the steepest with curvature {spectrum.eigenvalues[0]:.4g}"
        return f"The value falls to second order in {index} independent directions, {steepest}."
    if kind == "degenerate":
        return (
            f"No direction descends to second order, but of the {nullity} null directions only {facts.symmetry} are "
            "explained and critical points do not continue along all of them: higher orders decide."
        )
    if nullity == 0:
        return "No direction descends: a strict local minimum."
    return f"No direction descends, and critical points of the same value continue along the {nullity} null directions."
