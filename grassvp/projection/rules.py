"""Rules that choose lam, as values: give one, or its name, as the `regularization` of a problem."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.projection import criteria
from grassvp.projection.choosing import Choice, Data, Rule
from grassvp.projection.folds import cross_validation, fold_errors
from grassvp.projection.spectrum import Spectrum

__all__ = [
    "GCV",
    "RULES",
    "Auto",
    "Choice",
    "CrossValidation",
    "Data",
    "Discrepancy",
    "Evidence",
    "LCurve",
    "PredictiveRisk",
    "Rule",
    "check_rule",
]

WEIGHT = 1.2  # of the degrees of freedom in `Auto`


@dataclass(frozen=True)
class GCV(Rule):
    """Generalised cross-validation, m RSS / (m - weight sum f)^2; a weight above 1 smooths more.

    Attributes:
        weight: of the degrees of freedom that the fit takes, > 0.
    """

    weight: float = 1.0
    name = "gcv"

    def __post_init__(self) -> None:
        """Check the options."""
        if check_nonnegative(self.weight, "weight") == 0.0:
            raise ArgumentError("weight must be > 0, got 0.0")

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        return lambda lams: torch.log(criteria.gcv(data.spectrum, lams, self.weight))


@dataclass(frozen=True)
class Evidence(Rule):
    """The marginal likelihood of Y for independent normal coefficients and noise, both variances maximising it."""

    name = "evidence"

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        return lambda lams: criteria.evidence(data.spectrum, lams)


@dataclass(frozen=True)
class _Folded(Rule):
    """A rule that divides the rows into parts.

    Attributes:
        folds: how many, >= 2.
        seed: of the division.
    """

    folds: int = 10
    seed: int = 0
    refined = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_count(self.folds, "folds", least=2)
        check_count(self.seed, "seed", least=0)


@dataclass(frozen=True)
class CrossValidation(_Folded):
    """The error on rows held back, in turn, from the fit; options `folds` = 10 and `seed` = 0 of the division."""

    name = "cross-validation"

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        spectrum, targets = _with_weight(data)
        return lambda lams: torch.log(cross_validation(spectrum, targets, lams, self.folds, self.seed))


@dataclass(frozen=True)
class PredictiveRisk(Rule):
    """An unbiased estimate of the error of the fit from the noise level: Mallows' C_p."""

    name = "predictive-risk"
    needs_noise_level = True

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        sigma = _known_noise(data, self.name)
        return lambda lams: torch.log(criteria.predictive_risk(data.spectrum, lams, sigma, data.weights))


@dataclass(frozen=True)
class Discrepancy(Rule):
    """The largest lam that leaves no more misfit than noise of the known level: RSS = factor^2 k sigma^2 sum_i w_i^2.

    Attributes:
        factor: of the noise level, > 0; above 1 for a level that may be underestimated.
    """

    factor: float = 1.0
    name = "discrepancy"
    needs_noise_level = True

    def __post_init__(self) -> None:
        """Check the options."""
        if check_nonnegative(self.factor, "factor") == 0.0:
            raise ArgumentError("factor must be > 0, got 0.0")

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`; negative, falling with lam, up to where the misfit is that of the noise, and positive beyond."""
        sigma, spectrum = self.factor * _known_noise(data, self.name), data.spectrum
        smallest = float(spectrum.lams()[0])

        def score(lams: Tensor) -> Tensor:
            excess = criteria.discrepancy(spectrum, lams, sigma, data.weights)
            return torch.where(excess <= 0, -1.0 - torch.log(lams / smallest), excess / spectrum.misfit(lams))

        return score

    def _note(self, best: int, last: int) -> str:
        if best == 0:
            return "the features cannot fit the targets to the noise level: the smallest lam that makes a difference"
        return "the targets are no larger than the noise: the largest lam tried" if best == last else ""


@dataclass(frozen=True)
class LCurve(Rule):
    """The corner of log ||C|| against log ||A C - Y||, where it bends most."""

    name = "l-curve"

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        return lambda lams: -criteria.l_curvature(data.spectrum, lams)

    def _note(self, best: int, last: int) -> str:
        return "the curve has no corner: it bends most at the end of what was tried" if best in (0, last) else ""


@dataclass(frozen=True)
class Auto(_Folded):
    """The rule that we recommend: GCV of weight 1.2 times the geometric mean of the errors on ten parts held back.

    Either criterion alone can have a false minimum at a tiny lam: GCV where few degrees of freedom are left over, held
    back rows where one part of them is extrapolated, which a geometric mean forgives. Both hardly ever have it at one
    lam. Weight and mean were chosen on 1,000 problems like those of the experiment `choose_lambda`, and other ones.
    Options: `folds` = 10 and `seed` = 0 of the division.
    """

    name = "auto"

    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """See `Rule`."""
        spectrum, targets = _with_weight(data)
        rounding = (torch.finfo(targets.dtype).eps * float(torch.linalg.vector_norm(targets.double()))) ** 2

        def score(lams: Tensor) -> Tensor:
            # an error below rounding tells nothing, and its logarithm would tell most
            parts = fold_errors(spectrum, targets, lams, self.folds, self.seed).clamp_min(rounding)
            return torch.log(criteria.gcv(spectrum, lams, WEIGHT)) + torch.log(parts).mean(1)

        return score


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (Auto(), GCV(), Evidence(), Discrepancy(), PredictiveRisk(), LCurve(), CrossValidation())
}
"""The rules that a string names."""


def check_rule(value: object, noise_level: float | None, name: str = "regularization") -> Rule:
    """The rule that `value` is or names, for the argument called `name`.

    Raises:
        ArgumentError: no rule has that name, or it needs a `noise_level` that is not given.
        ArgumentTypeError: it is neither.
    """
    rule = RULES[check_choice(value, name, tuple(RULES))] if isinstance(value, str) else value
    if not isinstance(rule, Rule):
        raise ArgumentTypeError(f"{name} must be a rule or one of {', '.join(map(repr, RULES))}, got {value!r}")
    if rule.needs_noise_level and noise_level is None:
        raise ArgumentError(
            f"noise_level is missing: {name} {rule.name!r} needs the standard deviation of an entry of the "
            'targets; "auto" does without'
        )
    return rule


def _with_weight(data: Data) -> tuple[Spectrum, Tensor]:
    """The spectrum with the basis of the rows that have a weight, and their targets: the others cannot be held back."""
    if data.weights is None or data.spectrum.left is None:
        return data.spectrum, data.targets
    kept, (Q, inner) = data.weights != 0, data.spectrum.left
    return replace(data.spectrum, left=(Q[kept], inner)), data.targets[kept]


def _known_noise(data: Data, name: str) -> float:
    if data.noise_level is None:
        raise ArgumentError(f"noise_level is missing: the rule {name!r} needs it")
    return data.noise_level
