"""Critical points that a wide network inherits from a narrow one: neurons repeated, and what the Hessian becomes.

Neuron j of a network with one hidden layer, theta_j = (w_j, b_j), is repeated r_j times. At lam > 0 the ridge gives
exact copies equal coefficients, so that on the subspace of such theta the wide reduced problem is a narrow one whose
feature j is multiplied by sqrt(r_j) (the dilated problem: both have the kernel sum_j r_j phi_j phi_j^T). By symmetry
the wide gradient lies in that subspace, and a critical point of the dilated problem is one of the wide problem.

The Hessian of the wide problem commutes with the permutations of the copies. In the subspace it is the dilated one, in
the coordinates sqrt(r_j) theta_j. Moving the copies of neuron j by a_i v with sum_i a_i = 0 and |a| = 1 leaves Phi C as
it is to first order, and Phi a = 0, so that psi'' = L_tt - L_tC L_CC^-1 L_Ct becomes, for all such a alike,

  H_j[v, v] = -<W R c_j^T, D^2 phi_j[v, v]> - ||R^T W Dphi_j v||^2 / lam,     v in R^(d + 1),

with R the weighted residual and c_j (k,) the coefficient of each copy. So, at every theta with copies,

  index(wide) = index(dilated) + sum_j (r_j - 1) index(H_j),   and likewise the nullity and the spectrum.

The gradient is zero where R^T W Dphi_j is orthogonal to c_j. With one output and c_j != 0 it is then zero itself, and
H_j depends on lam through R and c_j alone; with several outputs it need not be, and duplicates are saddles for small
lam. A minimum stays one only where all H_j >= 0.

Sources: K. Fukumizu and S. Amari, Local minima and plateaus in hierarchical structures of multilayer perceptrons, 2000;
B. Simsek et al., Geometry of the loss landscape in overparameterized neural networks, 2021; Y. Zhang et al., Embedding
principle of loss landscape of deep neural networks, 2021 - for the joint problem without a ridge. The reduced problem
with one is this project's own derivation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem
from grassvp.theory.census import find_critical_points
from grassvp.theory.copies import (
    check_multiplicities,
    copy_terms,
    dilated,
    distributions,
    double,
    one_hidden,
    positions,
    repeated,
    widened,
)
from grassvp.theory.inertia import Inertia
from grassvp.theory.reports import EIGENVALUE_TOLERANCE, CriticalPointReport, critical_point_report

__all__ = ["EmbeddedCriticalPoint", "Embedding", "embed", "embedded_critical_points"]


@dataclass(frozen=True, eq=False)
class Embedding:
    """A theta of the narrow network, the theta of the wide one that repeats its neurons, and the Hessian predicted.

    Attributes:
        narrow: the dilated problem, feature j times sqrt(r_j).
        wide: the problem with sum_j r_j neurons, the copies of a neuron next to each other.
        multiplicities: r_j, copies of each neuron.
        narrow_parameters: theta of the dilated problem, (q,).
        parameters: theta of the wide problem, (q_wide,).
        coefficients: C of the wide problem, (n_wide, k): those of the dilated one over sqrt(r_j).
        gradient_norm: predicted norm of the wide gradient.
        symmetric_block: (q, q) Hessian of the wide problem where copies move together, in an orthonormal basis.
        blocks: H_j, (d + 1, d + 1) for each neuron, in the order (w_j, b_j).
        tolerance: eigenvalues up to this times the largest of the wide problem count as zero.
    """

    narrow: ReducedProblem
    wide: ReducedProblem
    multiplicities: tuple[int, ...]
    narrow_parameters: np.ndarray
    parameters: np.ndarray
    coefficients: np.ndarray
    gradient_norm: float
    symmetric_block: np.ndarray
    blocks: tuple[np.ndarray, ...]
    tolerance: float

    @cached_property
    def predicted_eigenvalues(self) -> np.ndarray:
        """Hessian eigenvalues of the wide problem, ascending, (q_wide,)."""
        spectra = [np.linalg.eigvalsh(block) for block in self.blocks]
        copies = [np.tile(values, r - 1) for values, r in zip(spectra, self.multiplicities, strict=True)]
        return np.sort(np.concatenate([np.linalg.eigvalsh(self.symmetric_block), *copies]))

    @cached_property
    def inertias(self) -> tuple[Inertia, ...]:
        """Inertia of the symmetric block, and then of each H_j."""
        threshold = self.tolerance * float(np.max(np.abs(self.predicted_eigenvalues)))
        return tuple(Inertia.of(np.linalg.eigvalsh(each), threshold) for each in (self.symmetric_block, *self.blocks))

    @property
    def predicted_index(self) -> int:
        """Negative Hessian eigenvalues of the wide problem: those of the symmetric block and r_j - 1 times of H_j."""
        counts = zip((1, *(r - 1 for r in self.multiplicities)), self.inertias, strict=True)
        return sum(times * each.negative for times, each in counts)

    @property
    def predicted_nullity(self) -> int:
        """Zero Hessian eigenvalues of the wide problem, likewise."""
        counts = zip((1, *(r - 1 for r in self.multiplicities)), self.inertias, strict=True)
        return sum(times * each.zero for times, each in counts)

    def predicted_hessian(self) -> np.ndarray:
        """The Hessian of the wide problem put together from the blocks, (q_wide, q_wide)."""
        r = np.array(self.multiplicities)
        before, after = (positions(count, self.blocks[0].shape[0] - 1) for count in (len(r), int(r.sum())))
        owner = np.repeat(np.arange(len(r)), r)
        spread = np.zeros((after.size, before.size))
        spread[after, before[owner]] = 1.0 / np.sqrt(r[owner])[:, None]
        H = spread @ self.symmetric_block @ spread.T
        for j, block in enumerate(self.blocks):
            copies = after[owner == j]
            apart = np.kron(np.eye(r[j]) - 1.0 / r[j], block)
            H[np.ix_(copies.ravel(), copies.ravel())] += apart
        return H

    def __repr__(self) -> str:
        """Multiplicities and what is predicted."""
        return (
            f"Embedding(multiplicities {self.multiplicities}, predicted index {self.predicted_index}, nullity "
            f"{self.predicted_nullity} of {self.parameters.size})"
        )


def embed(
    reduced: ReducedProblem,
    parameters: Any,
    multiplicities: Sequence[int],
    *,
    tolerance: float = EIGENVALUE_TOLERANCE,
) -> Embedding:
    """Repeat the neurons of a narrow network, and predict gradient, coefficients and Hessian of the wide one.

    The predictions hold at every theta. A critical point comes out where theta is a critical point of
    `dilated(reduced, multiplicities)`, not of `reduced` itself: more copies of a neuron are penalised less.

    Args:
        reduced: the narrow problem: an mlp with one hidden layer, lam > 0, without bounds.
        parameters: theta of the narrow network, (q,).
        multiplicities: r_j >= 1, the number of copies of each neuron. The constant feature stays single.
        tolerance: eigenvalues up to this times the largest of the wide problem count as zero, the rule of
            `critical_point_report`. With several outputs the largest grows like 1 / lam: lower it for very small lam.

    Raises:
        ArgumentTypeError: `reduced` is no reduced problem, or a multiplicity no integer.
        ArgumentError: other features, lam = 0 (see `embed_joint`), another number of multiplicities, or one below 1.
    """
    r, tolerance = check_multiplicities(reduced, multiplicities), check_nonnegative(tolerance, "tolerance")
    lam = _check_ridge(reduced)
    narrow = dilated(reduced, r)
    now = narrow.linearize(parameters)
    theta, C = double(now.parameters), double(now.coefficients)
    rows = positions(len(r), one_hidden(reduced).module.in_features)
    root = np.ones(theta.size)
    root[rows] = np.sqrt(r)[:, None]
    C = np.concatenate([C[: len(r)] / np.sqrt(r)[:, None], C[len(r) :]])
    terms = copy_terms(reduced, now.parameters, now.projection.residual, C)
    return Embedding(
        narrow=narrow,
        wide=widened(reduced, sum(r)),
        multiplicities=r,
        narrow_parameters=theta,
        parameters=repeated(theta[rows], r),
        coefficients=np.repeat(C, [*r, *[1] * (len(C) - len(r))], axis=0),
        gradient_norm=float(np.linalg.norm(double(now.gradient) / root)),
        symmetric_block=double(now.hessian()) / np.outer(root, root),
        blocks=tuple(bend - slope.T @ slope / lam for bend, slope in zip(*terms, strict=True)),
        tolerance=tolerance,
    )


@dataclass(frozen=True, eq=False)
class EmbeddedCriticalPoint:
    """A critical point of the wide problem made from one of the dilated narrow problem, and both classified.

    Attributes:
        embedding: theta and the predictions.
        narrow: report of the dilated problem.
        wide: report of the wide problem, from its own Hessian.
    """

    embedding: Embedding
    narrow: CriticalPointReport
    wide: CriticalPointReport

    @property
    def eigenvalue_error(self) -> float:
        """Largest difference of measured and predicted eigenvalues, relative to the largest one."""
        predicted = self.embedding.predicted_eigenvalues
        difference = np.max(np.abs(self.wide.hessian_eigenvalues - predicted))
        return float(difference / (np.max(np.abs(predicted)) or 1.0))

    @property
    def agrees(self) -> bool:
        """Whether index and nullity are as predicted."""
        predicted = (self.embedding.predicted_index, self.embedding.predicted_nullity)
        return (self.wide.index, self.wide.nullity) == predicted

    def __repr__(self) -> str:
        """What the narrow point was and what it has become."""
        before, after = (f"{report.kind} of index {report.index}" for report in (self.narrow, self.wide))
        predicted = self.embedding.predicted_index
        return f"EmbeddedCriticalPoint({self.embedding.multiplicities}: {before} -> {after}, predicted {predicted})"


def embedded_critical_points(
    reduced: ReducedProblem,
    width: int,
    *,
    starts: int = 30,
    seed: int = 0,
    initial_points: Sequence[Any] = (),
    tolerance: float = EIGENVALUE_TOLERANCE,
) -> list[EmbeddedCriticalPoint]:
    """Critical points of the network of `width` neurons that are critical points of the narrow one with copies.

    The critical points of the narrow problem are searched for. For every way to distribute the copies they are
    followed to critical points of the dilated problem, embedded, and classified by the wide problem's own derivatives.

    Args:
        reduced: the narrow problem, see `embed`.
        width: neurons of the wide network, at least as many as the narrow one has.
        starts: random starts of the search in the narrow problem.
        seed: of that search.
        initial_points: further starts of it, (q,) each.
        tolerance: of eigenvalues that count as zero, see `embed`; of predictions and reports alike.

    Returns:
        Ascending in value, one entry for what agrees in value and spectrum.

    Raises:
        ArgumentError, ArgumentTypeError: see `embed`.
    """
    count = one_hidden(reduced).module.shapes[0][0]
    check_count(width, "width", least=count)
    _check_ridge(reduced)
    found = find_critical_points(reduced, starts=starts, seed=seed, initial_points=initial_points)
    points = [report.point for report in found for _ in range(3)]  # each of the three walks starts from it
    embedded: list[EmbeddedCriticalPoint] = []
    for r in distributions(width, count):
        for narrow in find_critical_points(dilated(reduced, r), starts=0, seed=seed, initial_points=points):
            made = embed(reduced, narrow.point, r, tolerance=tolerance)
            wide = critical_point_report(made.wide, made.parameters, eigenvalue_tolerance=tolerance)
            new = EmbeddedCriticalPoint(made, narrow, wide)
            if not any(_same(new.wide, other.wide) for other in embedded):
                embedded.append(new)
    return sorted(embedded, key=lambda each: (each.wide.value, each.wide.index))


def _check_ridge(reduced: ReducedProblem) -> float:
    """Lam, which must be > 0."""
    if reduced.problem.regularization == 0.0:
        raise ArgumentError(
            "reduced must have regularization > 0: at lam = 0 its value jumps where neurons coincide; embed_joint "
            "embeds into the joint problem"
        )
    return reduced.problem.regularization


def _same(one: CriticalPointReport, other: CriticalPointReport) -> bool:
    """Whether value and spectrum agree to the digits by which `find_critical_points` tells points apart."""
    if abs(one.value - other.value) > 1e-8 * max(one.scale, abs(one.value)):
        return False
    size = np.max(np.abs(one.hessian_eigenvalues), initial=0.0)
    return bool(np.all(np.abs(one.hessian_eigenvalues - other.hessian_eigenvalues) <= 1e-5 * size))
