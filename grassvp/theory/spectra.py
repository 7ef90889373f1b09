"""The spectrum of a Riemannian Hessian: all of it where it can be formed, its ends with error bounds where not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError
from grassvp.theory.objectives import LocalModel, as_objective
from manifolds.tangents import TangentChart

__all__ = ["DENSE_LIMIT", "HessianSpectrum", "hessian_matrix", "hessian_spectrum", "spectrum_of"]

DENSE_LIMIT = 1500
"""Largest dimension of which the Hessian is formed: 18 MB, and a second or two for its eigenvalues."""


@dataclass(frozen=True, eq=False)
class HessianSpectrum:
    """Eigenvalues of a Hessian in an orthonormal basis of the tangent space, in the problem's metric.

    Attributes:
        eigenvalues: ascending; all of them if `complete`, otherwise the lowest and the highest.
        vectors: coordinates (dim, count) of orthonormal eigenvectors.
        errors: (count,) bounds: within each of an eigenvalue given here there is one of the Hessian. For a dense
            spectrum the size of rounding, for Lanczos the norm of the residual H v - theta v. Lanczos may miss
            copies of a repeated eigenvalue.
        dimension: of the tangent space.
        complete: whether all eigenvalues are here.
        defect: how far the Hessian as computed was from symmetric, ||H - H^T||_F, before it was made so.
        lowest: how many of `eigenvalues` come from the low end.
        chart: between coordinates and tangent vectors.
    """

    eigenvalues: np.ndarray
    vectors: np.ndarray
    errors: np.ndarray
    dimension: int
    complete: bool
    defect: float
    lowest: int
    chart: TangentChart

    @property
    def size(self) -> float:
        """Largest |eigenvalue|, 0 for a point that is a manifold of its own."""
        return float(np.max(np.abs(self.eigenvalues), initial=0.0))

    def threshold(self, relative: float) -> float:
        """Level below which an eigenvalue counts as zero: `relative` of the largest, or what the defect blurs."""
        return max(relative * self.size, 10.0 * self.defect)

    def tangent_vector(self, index: int) -> np.ndarray:
        """The eigenvector of `eigenvalues[index]`, of length 1 in the metric."""
        return self.chart.tangent_vector(self.vectors[:, index])

    def __repr__(self) -> str:
        """The ends and how many."""
        if not self.eigenvalues.size:
            return "HessianSpectrum(empty)"
        count = f"all {self.dimension}" if self.complete else f"{self.eigenvalues.size} of {self.dimension}"
        low, high = self.eigenvalues[[0, -1]]
        return f"HessianSpectrum({count} eigenvalues, from {low:.4g} to {high:.4g}, error {self.errors.max():.1g})"


def hessian_matrix(problem: Any, point: Any) -> np.ndarray:
    """The Riemannian Hessian at a point as a symmetric matrix (dim, dim), in an orthonormal basis of its metric.

    Args:
        problem: a `ReducedProblem`, whose points are parameters, or a `pymanopt.Problem` whose points are arrays.
        point: where.

    Raises:
        ArgumentError: the function is not finite there, or the point is none.
    """
    return _model(problem, point).hessian


def hessian_spectrum(
    problem: Any, point: Any, *, dense_limit: int = DENSE_LIMIT, count: int = 20, seed: int = 0
) -> HessianSpectrum:
    """Eigenvalues and eigenvectors of the Riemannian Hessian at a point.

    Args:
        problem: a `ReducedProblem`, whose points are parameters, or a `pymanopt.Problem` whose points are arrays.
        point: where.
        dense_limit: up to this dimension the matrix is formed; above it, Lanczos finds the ends of the spectrum.
        count: how many eigenvalues Lanczos finds at each end.
        seed: of the vector that Lanczos starts from.

    Raises:
        ArgumentError: the function is not finite there, or the point is none.
    """
    return spectrum_of(_model(problem, point), dense_limit=dense_limit, count=count, seed=seed)


def spectrum_of(
    model: LocalModel, *, dense_limit: int = DENSE_LIMIT, count: int = 20, seed: int = 0
) -> HessianSpectrum:
    """The spectrum of a local model; see `hessian_spectrum`."""
    check_count(count, "count")
    if model.dimension <= max(check_count(dense_limit, "dense_limit", least=0), 2 * count + 1):
        return _dense(model)
    return _ends(model, count, seed)


def _model(problem: Any, point: Any) -> LocalModel:
    objective = as_objective(problem)
    model = objective.at(objective.point(point))
    if model is None:
        raise ArgumentError("point has a value or a gradient that is not finite")
    return model


def _dense(model: LocalModel) -> HessianSpectrum:
    values, vectors = np.linalg.eigh(model.hessian)
    dim = model.dimension
    rounding = dim * np.finfo(float).eps * float(np.max(np.abs(values), initial=0.0)) + model.hessian_defect
    errors = np.full(dim, rounding)
    return HessianSpectrum(values, vectors, errors, dim, True, model.hessian_defect, dim, model.chart)


def _ends(model: LocalModel, count: int, seed: int) -> HessianSpectrum:
    rng = np.random.default_rng(seed)
    operator = LinearOperator((model.dimension,) * 2, matvec=model.product, dtype=float)  # pyright: ignore[reportCallIssue]
    ends = [_end(operator, count, which, rng.standard_normal(model.dimension)) for which in ("SA", "LA")]
    values, vectors = (np.concatenate(parts, axis=-1) for parts in zip(*ends, strict=True))
    residuals = np.stack([model.product(v) for v in vectors.T], axis=1) - vectors * values
    x, y = rng.standard_normal((2, model.dimension))
    defect = abs(float(x @ model.product(y) - y @ model.product(x))) / float(np.linalg.norm(x))
    errors, lowest = np.linalg.norm(residuals, axis=0), len(ends[0][0])
    return HessianSpectrum(values, vectors, errors, model.dimension, False, defect, lowest, model.chart)


def _end(operator: LinearOperator, count: int, which: str, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
        values, vectors = eigsh(operator, k=count, which=which, v0=start, ncv=max(4 * count, 40), maxiter=1000)
    except ArpackNoConvergence as error:  # what has converged is still right
        values, vectors = error.eigenvalues, error.eigenvectors
    order = np.argsort(values)
    return values[order], vectors[:, order]
