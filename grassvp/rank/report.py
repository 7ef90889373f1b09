"""`rank_report`: the rank of the features at one theta, why it is what it is, and what that means for the value."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from grassvp.linearization import Linearization
from grassvp.rank.arguments import check_level, dependence_level, linearization_at
from grassvp.rank.differential import Departure, departure, differential_rank
from grassvp.rank.explanation import explained
from grassvp.rank.measures import ColumnMeasures
from grassvp.rank.neurons import SATURATION_TOLERANCE, NeuronReport, neuron_report
from grassvp.rank.numerical import NumericalRank, column_scales, judge
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem

__all__ = ["RankReport", "feature_condition", "judged_rank", "rank_report"]


@dataclass(frozen=True, eq=False)
class RankReport:
    """Rank of W Phi at one theta and what follows from it. What needs DPhi is computed when it is first asked for.

    Attributes:
        rank: the numerical rank of W Phi, judged as the linear solve does (`rank.tolerance`, after scaling the columns
            where the problem says so).
        scaled_rank: judged after scaling the columns to one size. Where the two differ, short columns decide.
        neurons: which columns are dead, saturated, constant, copies of each other or dependent.
        leverage: (m,) diagonal of P_lam, what each weighted row has to say in its own fitted value, in [0, 1]. Bounds
            on the coefficients are left aside.
        condition: of the least-squares matrix [W Phi; sqrt(lam) I], over the singular values that count; 1 where none
            does.
        feature_condition: of W Phi alone, likewise.
        linearization: what it was computed from.
    """

    rank: NumericalRank
    scaled_rank: NumericalRank
    neurons: NeuronReport
    leverage: np.ndarray = field(repr=False)
    condition: float
    feature_condition: float
    linearization: Linearization = field(repr=False)

    @property
    def feature_rank(self) -> int:
        """Numerical rank of W Phi."""
        return self.rank.rank

    @property
    def deficient(self) -> bool:
        """Whether the rank is less than min(m, n)."""
        return self.feature_rank < min(self.linearization.problem.rows, self.linearization.problem.width)

    @property
    def regularization(self) -> float:
        """Lam."""
        return self.linearization.regularization

    @cached_property
    def singular_values(self) -> np.ndarray:
        """Singular values of W Phi, descending, (min(m, n),)."""
        return self.linearization.projection.singular_values.cpu().numpy()

    @property
    def truncation(self) -> float:
        """The level at or below which singular values count as zero, in their own units."""
        return self.rank.level

    @property
    def effective_degrees_of_freedom(self) -> float:
        """Trace of P_lam, sum s_i^2 / (s_i^2 + lam); the rank at lam = 0."""
        return float(self.leverage.sum())

    @cached_property
    def differential_rank(self) -> int | None:
        """Rank of DPhi(theta) as a map to R^(m x n); None where it is too large to compute."""
        return differential_rank(self.linearization)

    @cached_property
    def _departure(self) -> Departure | None:
        size = float(np.linalg.norm(self.neurons.motions))
        return departure(self.linearization, self.feature_rank, self.rank.gap, size)

    @property
    def normal_directions(self) -> int | None:
        """Rank of v -> (I - P) W DPhi[v] (I - P_row): dimension of the directions of theta that leave the matrices of
        this rank to first order. Zero at full rank; an upper bound where the rank has no wide gap; None where it is
        too large to compute.
        """
        return None if self._departure is None else self._departure.rank

    @property
    def differentiable(self) -> bool:
        """Whether the value is smooth here: lam > 0, or full rank, or no direction leaves the rank to first order.

        False also where the last could not be computed. At lam = 0 the value jumps along a direction that does leave.
        """
        return self.regularization > 0 or not self.deficient or self.normal_directions == 0

    @cached_property
    def stratum_gradient(self) -> np.ndarray | None:
        """The gradient (q,) projected on the directions of theta along which the rank stays, to first order.

        Along these -<R C^T, DPhi[v]>, with C of minimum norm, is the derivative of the value at lam = 0 too, as R C^T
        is itself tangent to the matrices of this rank. None where they are too many to compute.
        """
        gradient = self.linearization.gradient.double().cpu().numpy()
        return None if self._departure is None else self._departure.staying(gradient)

    @property
    def explanation(self) -> str:
        """A paragraph with the numbers."""
        return explained(self)

    def __repr__(self) -> str:
        """Rank, gap and the reasons at a glance."""
        neurons, width = self.neurons, self.linearization.problem.width
        return (
            f"RankReport(rank {self.feature_rank} of {width}, gap {self.rank.gap:.2g}, {len(neurons.dead)} dead, "
            f"{neurons.duplicated} duplicated, {len(neurons.circuits)} collinear, {len(neurons.saturated)} saturated, "
            f"condition {self.condition:.2g})"
        )


def rank_report(
    problem: SeparableProblem | ReducedProblem | Linearization,
    parameters: Any = None,
    *,
    tolerance: float | None = None,
    saturation_tolerance: float = SATURATION_TOLERANCE,
) -> RankReport:
    """The rank of W Phi(theta), its causes and its consequences.

    Args:
        problem: a problem, or a linearisation of one.
        parameters: theta, (q,); None for a linearisation.
        tolerance: level relative to the largest singular value, to the longest column, and of sines. None: for the rank
            that of the problem, at which its linear solve cuts; for the columns that of the problem at lam = 0.
        saturation_tolerance: see `NeuronReport`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used; also for theta at which the features
            are not finite.
    """
    now = linearization_at(problem, parameters)
    given = None if tolerance is None else check_level(tolerance, "tolerance")
    saturation = check_level(saturation_tolerance, "saturation_tolerance")
    level = dependence_level(now.problem) if given is None else given
    rank, scaled = judged_rank(now, now.problem.rank_tolerance if given is None else given)
    leverage = now.projection.basis.double().square().sum(dim=1).clamp(max=1.0)
    return RankReport(
        rank=rank,
        scaled_rank=scaled,
        neurons=neuron_report(ColumnMeasures.of(now), level, saturation),
        leverage=leverage.cpu().numpy(),
        condition=now.condition if np.isfinite(now.condition) else 1.0,
        feature_condition=feature_condition(now.projection.singular_values.cpu().numpy(), rank.rank),
        linearization=now,
    )


def judged_rank(now: Linearization, tolerance: float) -> tuple[NumericalRank, NumericalRank]:
    """The rank of W Phi as its problem judges it, and as it is after scaling the columns, at one level."""
    triangle = now.projection.triangle.cpu().numpy()
    scaled = judge(np.linalg.svd(triangle / column_scales(triangle), compute_uv=False), tolerance)
    if now.problem.column_scaling:
        return scaled, scaled
    return judge(now.projection.singular_values.cpu().numpy(), tolerance), scaled


def feature_condition(s: np.ndarray, rank: int) -> float:
    """Largest over smallest of the descending singular values that count and are not zero; 1 where there is none."""
    kept = s[: min(rank, int(np.sum(s > 0)))]
    return float(kept[0] / kept[-1]) if kept.size else 1.0
