"""What is known of a point beyond its Hessian: the class it lies on, ranks, and why it is critical."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.theory.classes import TargetSpectrum
from grassvp.theory.nullspaces import FeatureDifferential, feature_differential, invariant_directions, saturated
from grassvp.theory.objectives import LocalModel
from grassvp.theory.spectra import HessianSpectrum
from manifolds import Grassmann, RegularizedGrassmann

__all__ = ["Anatomy", "anatomy"]


@dataclass(frozen=True)
class Anatomy:
    """Facts about a point.

    Attributes:
        cause: why a critical point is one: "invariant subspace", "zero coefficients", "zero residual", "kernel of the
            differential", or "" where nothing is known.
        sentences: the facts in words, as they hold if the point is critical.
        rank: numerical rank of the point or of the features.
        differential_rank: rank of DPhi(theta), or a lower bound where it is too large to compute.
        symmetry: dimension of the manifold of critical points, or of the symmetries, that is known to pass through.
        explains: whether that is all the null space there is; None where only a search can tell.
    """

    cause: str = ""
    sentences: tuple[str, ...] = ()
    rank: int | None = None
    differential_rank: int | None = None
    symmetry: int = 0
    explains: bool | None = None


def anatomy(problem: Any, model: LocalModel, spectrum: HessianSpectrum, nullity: int, threshold: float) -> Anatomy:
    """The facts for a problem that we know, or none."""
    if model.linearization is not None:
        return _features(model.linearization, spectrum, threshold)
    reduced = getattr(problem, "reduced", None)
    if isinstance(reduced, ReducedProblem):
        parameters = getattr(problem, "to_parameters", lambda point: point)(model.point)
        flat = model.dimension == reduced.initial_parameters.numel()
        return _features(reduced.linearize(parameters), spectrum if flat else None, threshold)
    if getattr(problem, "targets", None) is None:
        return Anatomy()
    manifold, targets = problem.manifold, TargetSpectrum.of(problem.targets)
    if isinstance(manifold, RegularizedGrassmann):
        return _regularized(model.point, targets, nullity, spectrum.complete)
    if isinstance(manifold, Grassmann) and manifold.k == 1:
        return _subspace(model.point, targets, nullity, spectrum.complete)
    return Anatomy()


def _subspace(point: np.ndarray, targets: TargetSpectrum, nullity: int, complete: bool) -> Anatomy:
    n = point.shape[1]
    inside = np.rint(targets.occupation(point)).astype(int)
    dimension = int(inside @ np.subtract(targets.multiplicities, inside))
    taken = ", ".join(
        f"{count} of {p} for mu = {mu:.6g}"
        for count, p, mu in zip(inside, targets.multiplicities, targets.eigenvalues, strict=True)
    )
    sentences = (
        f"It is an invariant subspace of M = Y Y^T; of the dimensions of each eigenspace it takes {taken}.",
        f"The class of such subspaces is a manifold of dimension {dimension}, the nullity that theory predicts.",
    )
    return Anatomy("invariant subspace", sentences, n, None, dimension, _accounts(dimension, nullity, complete))


def _regularized(point: np.ndarray, targets: TargetSpectrum, nullity: int, complete: bool) -> Anatomy:
    s = np.linalg.svd(point, compute_uv=False)
    rank = int(np.sum(s > max(point.shape) * np.finfo(float).eps * s[0])) if s[0] > 0 else 0
    dimension = point.shape[1] * (point.shape[0] - targets.rank)
    sentences = (
        "The coefficients C are zero: Phi is orthogonal to the targets (Phi^T Y = 0), and nothing is fitted.",
        f"Such Phi, of any rank (here {rank}), form a linear space of dimension {dimension}, the nullity that theory "
        "predicts. All of them are global maxima; on the regularised chart there are no other critical points.",
    )
    return Anatomy("zero coefficients", sentences, rank, None, dimension, _accounts(dimension, nullity, complete))


def _accounts(dimension: int, nullity: int, complete: bool) -> bool:
    """Whether the class has as many directions as were found null; of an incomplete spectrum, at least as many."""
    return nullity == dimension if complete else nullity <= dimension


def _features(now: Linearization, spectrum: HessianSpectrum | None, threshold: float) -> Anatomy:
    """C4: R C^T is zero, or it is in the kernel of DPhi^* without being zero."""
    differential, directions = feature_differential(now), invariant_directions(now)
    cause, sentence = _cause(now, differential)
    sentences = [sentence]
    lam, rank, width = now.problem.regularization, now.rank, now.problem.width
    if rank < min(now.problem.rows, width):
        effect = "the value may jump here" if lam == 0.0 else "lam > 0 keeps the value smooth"
        sentences.append(f"The features have rank {rank} of {width} columns; {effect}.")
    if saturated(now):
        sentences.append(
            "Some features no longer change with their parameters (a saturated or dead neuron): to rounding, the "
            "point lies at infinity, and flat directions there are no symmetry."
        )
    symmetry = 0
    if directions is not None and spectrum is not None and directions.shape[1]:
        null = spectrum.vectors[:, np.abs(spectrum.eigenvalues) <= threshold]
        overlap = np.linalg.svd(directions.T @ null, compute_uv=False)
        symmetry = int(np.sum(overlap > 1 - 1e-6))
        if symmetry:
            sentences.append(
                f"{symmetry} null directions leave the value unchanged by symmetry: along them the features keep their "
                f"{'span' if lam == 0.0 else 'kernel Phi Phi^T'}, or a neuron without coefficients moves."
            )
    return Anatomy(cause, tuple(sentences), rank, differential.rank, symmetry)


def _cause(now: Linearization, differential: FeatureDifferential) -> tuple[str, str]:
    residual, C = now.projection.residual, now.coefficients
    left = residual if now.problem.weights is None else now.problem.weights[:, None] * residual
    scale = float(torch.linalg.vector_norm(now.problem.weighted_targets.double())) or 1.0
    size, rest = _norm(left @ C.T), _norm(residual)
    steepest = max(_norm(left) * _norm(C), 1e-300)
    ranks = (
        f"DPhi has rank {differential} of at most {differential.full}; R^(m x n) has dimension {differential.entries}"
    )
    if rest <= 1e-10 * scale:
        return "zero residual", f"The residual is zero to rounding ({rest:.2g}): the features fit the targets; {ranks}."
    if _norm(C) * _norm(now.derivatives.values) <= 1e-10 * scale:
        return "zero coefficients", f"The coefficients C are zero, ||C|| = {_norm(C):.2g}: nothing is fitted; {ranks}."
    if size <= 1e-9 * steepest:
        return (
            "invariant subspace",
            f"R C^T = 0 ({size:.2g}): the span of the features is itself a critical subspace; {ranks}.",
        )
    return (
        "kernel of the differential",
        f"R C^T is not zero (norm {size:.3g}) but lies in the kernel of DPhi(theta)^*: as a subspace the point could "
        f"still be improved, and the parametrisation cannot do it; {ranks}.",
    )


def _norm(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.double()))
