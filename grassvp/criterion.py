"""The criteria for lam as functions of theta, lam being eliminated as C is, with their exact gradients.

With A = W Phi = U diag(s) V^T, f_i = s_i^2 / (s_i^2 + lam), g = 1 - f, Z = U^T W Y, R = W (Y - Phi C), t = m - w sum f,
P = U diag(f) U^T, B = V diag(f / s) U^T, q = ||R||^2 + lam ||C||^2, and the lam that minimises the criterion, so that
its derivative by lam drops out (the envelope theorem), the derivatives by A are
  log GCV  = log(m ||R||^2 / t^2):  -2 / ||R||^2 ((I - P) R C^T + R (B R)^T) + (4 w / t) U diag(f g / s) V^T,
  evidence = m k log q - k sum log g:  -2 (m k / q) R C^T + 2 k U diag(f / s) V^T.
Nothing is differentiated through a solve, and lam is sought in a range that does not move with theta.

Sources: G. Golub, V. Pereyra (1973) for the derivative of the projector; D. MacKay (1992) for the evidence; the
gradients are ours.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from grassvp.arrays import in_kind_of
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.jacobians import weighted
from grassvp.linearization import Linearization
from grassvp.projection import GCV, RULES, Data, Evidence, Rule, Spectrum, least
from grassvp.reduced import ReducedProblem, check_free

__all__ = ["CriterionPoint", "CriterionProblem"]

SPAN = 4.0  # decades that the range of lam reaches beyond what the spectrum at the features' own parameters asks for


@dataclass(frozen=True, eq=False)
class CriterionPoint:
    """A criterion at one theta, as solvers know points.

    Attributes:
        value: the criterion, for the lam that minimises it.
        regularization: that lam.
        linearization: the reduced problem with that lam.
    """

    value: float
    regularization: float
    linearization: Linearization
    spectrum: Spectrum
    rule: Rule
    differentiable = True
    bounds = None

    @property
    def parameters(self) -> Tensor:
        """Theta, (q,)."""
        return self.linearization.parameters

    @property
    def coefficients(self) -> Tensor:
        """C, (n, k)."""
        return self.linearization.coefficients

    @property
    def rank(self) -> int:
        """Numerical rank of the weighted features."""
        return self.linearization.rank

    @property
    def condition(self) -> float:
        """Condition number of the linear solve."""
        return self.linearization.condition

    @property
    def units(self) -> Tensor | None:
        """Natural sizes of the parameters, (q,), or None."""
        return self.linearization.units

    @property
    def value_rounding(self) -> float:
        """Size of the rounding error of the value, a sum of logarithms."""
        logarithms = self.spectrum.rows * self.spectrum.outputs if isinstance(self.rule, Evidence) else 1.0
        return torch.finfo(self.parameters.dtype).eps * (logarithms + abs(self.value))

    def spare_gradient(self, sizes: Tensor) -> None:
        """None: with lam > 0 no other C does as well."""

    def distance(self, other: "CriterionPoint") -> float:
        """Distance on the (regularised) Grassmannian, each span with its own lam."""
        return self.linearization.distance(other.linearization)

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of the criterion, (q,)."""
        rule = self.rule
        left, right = _gcv_factors(self, rule.weight) if isinstance(rule, GCV) else _evidence_factors(self)
        now = self.linearization
        left = weighted(left.to(now.residual.dtype), now.problem.weights)
        return now.derivatives.pullback(left, right.to(left.dtype))

    @property
    def projected_gradient(self) -> Tensor:
        """The gradient: there are no bounds."""
        return self.gradient


class CriterionProblem:
    """Theta -> min over lam of a criterion; `minimize_criterion` minimises it."""

    def __init__(self, problem: Any, criterion: Any = "gcv") -> None:
        """The criterion of a problem.

        Args:
            problem: a `SeparableProblem` without bounds, offset or a rank tolerance of its own, or its
                `ReducedProblem`; its own lam is not used.
            criterion: "gcv", "evidence", or a rule `GCV(weight)` or `Evidence()`.

        Raises:
            ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
        """
        self.reduced = problem if isinstance(problem, ReducedProblem) else ReducedProblem(problem)
        check_free(self.reduced)
        if self.reduced.problem.cuts:
            raise ArgumentError(
                "problem has a rank_tolerance, and a criterion of features that are cut has jumps: build it without"
            )
        rule = RULES.get(criterion, criterion) if isinstance(criterion, str) else criterion
        if not isinstance(rule, GCV | Evidence):
            error = ArgumentError if isinstance(criterion, str | Rule) else ArgumentTypeError
            raise error(f"criterion must be 'gcv', 'evidence' or a rule GCV(weight) or Evidence(), got {criterion!r}")
        self.rule = rule
        self.lams = self._range()

    @property
    def initial_parameters(self) -> Tensor:
        """(q,) parameters that the features came with."""
        return self.reduced.initial_parameters

    def linearize(self, parameters: Any) -> CriterionPoint:
        """The criterion at theta.

        Raises:
            NonFiniteError: the features at theta are not finite, or the criterion has no minimum there.
        """
        now = self.reduced.linearize(parameters)
        targets, spectrum = now.problem.weighted_targets, self._spectrum(now)
        if spectrum.largest == 0.0:
            raise NonFiniteError("the features are zero: no lam is better than another")
        score = self.rule.criterion(Data(spectrum, targets))
        lam, _, _ = least(score, self.lams, refined=True)
        value = float(score(self.lams.new_tensor([lam]))[0])
        if not math.isfinite(value):
            raise NonFiniteError(f"the criterion is {value}: the targets are zero, or no degrees of freedom are left")
        problem = now.problem.with_regularization(lam)
        at = Linearization(now.parameters, problem, now.derivatives, problem.project(now.derivatives.values))
        return CriterionPoint(value, lam, at, spectrum, self.rule)

    def value(self, parameters: Any) -> float:
        """The criterion at theta; infinite where the features are not finite."""
        try:
            return self.linearize(parameters).value
        except NonFiniteError:
            return float("inf")

    def gradient(self, parameters: Any) -> Any:
        """Its gradient, (q,)."""
        return in_kind_of(parameters)(self.linearize(parameters).gradient)

    def regularization(self, parameters: Any) -> float:
        """The lam that minimises the criterion at theta."""
        return self.linearize(parameters).regularization

    def _range(self) -> Tensor:
        """Candidates that do not move with theta, eight a decade."""
        spectrum = self._spectrum(self.reduced.linearize(self.initial_parameters))
        if spectrum.largest == 0.0:
            raise ArgumentError("problem: the features at their own parameters are zero, which gives lam no scale")
        return spectrum.lams(decades=SPAN)

    @staticmethod
    def _spectrum(now: Linearization) -> Spectrum:
        return now.problem.spectrum(now.projection, now.problem.weighted_targets)


def _gcv_factors(point: CriterionPoint, weight: float) -> tuple[Tensor, Tensor]:
    """S (m, ...) and T (n, ...) with the gradient <D_j A, S T^T> of log GCV."""
    f, g, U, V, R, C = _filtered(point)
    s, Z = point.spectrum.singular_values, point.spectrum.coordinates
    misfit = torch.sum(R**2)
    again = R - U @ (f[:, None] * g[:, None] * Z)  # (I - P) R, with U^T R = g Z
    inner = V @ ((f / s * g)[:, None] * Z)  # B R
    left = point.spectrum.rows - weight * f.sum() if weight != 1.0 else point.spectrum.freedom(_lam(point))[0]
    parts = (again, -2.0 / misfit * C), (R, -2.0 / misfit * inner), (U, 4.0 * weight / left * V * (f * g / s))
    return _joined(parts)


def _evidence_factors(point: CriterionPoint) -> tuple[Tensor, Tensor]:
    """S (m, ...) and T (n, ...) with the gradient <D_j A, S T^T> of the evidence."""
    f, g, U, V, R, C = _filtered(point)
    spectrum = point.spectrum
    q = spectrum.outside + g @ spectrum.squares
    scale = spectrum.rows * spectrum.outputs / q
    return _joined(((R, -2.0 * scale * C), (U, 2.0 * spectrum.outputs * V * (f / spectrum.singular_values))))


def _filtered(point: CriterionPoint) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Filters f and 1 - f, U, V, the weighted residual and C, all float64 and of the spectrum that the value is of.

    A triangular factor of [A; sqrt(lam) I] would have to tell sqrt(lam) from a rounding of A for as good a residual.
    """
    spectrum, U = point.spectrum, point.spectrum.basis
    f, g = (part[0] for part in spectrum.filters(_lam(point)))
    V, Z = cast(Tensor, spectrum.right), spectrum.coordinates
    rest = point.linearization.problem.weighted_targets.double()
    for _ in range(2):
        rest = torch.addmm(rest, U, U.T @ rest, alpha=-1.0)
    R, C = torch.addmm(rest, U, g[:, None] * Z), V @ ((f / spectrum.singular_values)[:, None] * Z)
    return f, g, U, V, R, C


def _lam(point: CriterionPoint) -> Tensor:
    return point.spectrum.coordinates.new_tensor([point.regularization])


def _joined(parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    lefts, rights = zip(*parts, strict=True)
    return torch.cat(lefts, dim=1), torch.cat(rights, dim=1)
