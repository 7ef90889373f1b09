"""Rules that choose lam, as values: give one, or its name, as the `regularization` of a problem.

A rule looks at the spectrum of the weighted features once and takes the lam whose criterion is least: over a grid of
eight candidates a decade first, and between its neighbours by golden sections where the criterion is cheap.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.projection import criteria
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
    "least",
]

TIE = 1e-12  # of the size and the range of the scores: differences below are rounding
REFINEMENTS = 40  # golden sections, each 0.618 of the last: from an eighth of a decade to a rounding
WEIGHT = 1.2  # of the degrees of freedom in `Auto`
SECTION = 1.0 - (math.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True)
class Choice:
    """What a rule chose and why.

    Attributes:
        regularization: lam.
        rule: the name of the rule.
        noise_level: estimated standard deviation of an entry of the weighted targets, sqrt(RSS / (k t)); NaN where
            no degrees of freedom t are left.
        freedom: effective degrees of freedom sum f_i that the fit takes in each output.
        note: what was unusual about it, or "".
    """

    regularization: float
    rule: str
    noise_level: float
    freedom: float
    note: str = ""

    def __str__(self) -> str:
        """One line."""
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.rule}: regularization {self.regularization:.3g}, {self.freedom:.3g} degrees of freedom, noise of "
            f"about {self.noise_level:.2g}{note}"
        )


@dataclass(frozen=True, eq=False)
class Data:
    """What a rule may look at.

    Attributes:
        spectrum: of the weighted features.
        targets: (m, k), weighted.
        weights: (m,), or None for ones.
        noise_level: standard deviation of an entry of the targets, without weights; None where it is not known.
    """

    spectrum: Spectrum
    targets: Tensor
    weights: Tensor | None = None
    noise_level: float | None = None


class Rule(ABC):
    """Chooses lam."""

    name: str
    needs_noise_level = False
    refined = True  # whether the criterion is cheap and smooth enough to be refined between the candidates

    @abstractmethod
    def criterion(self, data: Data) -> Callable[[Tensor], Tensor]:
        """The criterion that is least at the lam to choose, for a tensor of lam."""

    def choose(self, data: Data) -> Choice:
        """The choice; the largest candidate where the targets or the features are zero."""
        spectrum = data.spectrum
        if spectrum.largest == 0.0:
            return Choice(1.0, self.name, float("nan"), 0.0, "the features are zero, and lam makes no difference")
        lams = spectrum.lams()
        if spectrum.outside == 0.0 and not spectrum.coordinates.any():
            return self._choice(data, float(lams[-1]), "the targets are zero, and lam makes no difference")
        lam, best, score = least(self.criterion(data), lams, refined=self.refined)
        note = self._note(best, len(lams) - 1) if math.isfinite(score) else "the criterion is finite for no lam"
        return self._choice(data, lam, note)

    def _choice(self, data: Data, lam: float, note: str) -> Choice:
        spectrum, at = data.spectrum, data.spectrum.coordinates.new_tensor([lam])
        left = float(spectrum.freedom(at)[0])
        spread = float(spectrum.misfit(at)[0]) / (left * spectrum.outputs) if left > 0 else math.nan
        return Choice(lam, self.name, math.sqrt(spread), spectrum.rows - left, note)

    def _note(self, best: int, last: int) -> str:
        if best == 0:
            return "the smallest lam that rounding leaves a difference to: a larger one does no better"
        return "the largest lam tried: the features explain nothing" if best == last else ""


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
class CrossValidation(Rule):
    """The error on rows held back, in turn, from the fit.

    Attributes:
        folds: parts that the rows are divided into, >= 2.
        seed: of the division.
    """

    folds: int = 10
    seed: int = 0
    name = "cross-validation"
    refined = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_count(self.folds, "folds", least=2)
        check_count(self.seed, "seed", least=0)

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
        return lambda lams: criteria.predictive_risk(data.spectrum, lams, sigma, data.weights)


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
class Auto(Rule):
    """The rule that we recommend: GCV of weight 1.2 times the geometric mean of the errors on ten parts held back.

    Either criterion alone can have a false minimum at a tiny lam: GCV where few degrees of freedom are left over, held
    back rows where one part of them is extrapolated, which a geometric mean forgives. Both hardly ever have it at one
    lam. Weight and mean were chosen on 1,000 problems like those of the experiment `choose_lambda`, and other ones.

    Attributes:
        folds: parts that the rows are divided into, >= 2.
        seed: of the division.
    """

    folds: int = 10
    seed: int = 0
    name = "auto"
    refined = False

    def __post_init__(self) -> None:
        """Check the options."""
        check_count(self.folds, "folds", least=2)
        check_count(self.seed, "seed", least=0)

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


def least(criterion: Callable[[Tensor], Tensor], lams: Tensor, *, refined: bool) -> tuple[float, int, float]:
    """The lam of least score, the index of the candidate that is best, and its score; NaN scores count as infinite.

    Of candidates that only rounding tells apart, such as all that are far below every s^2, the smallest is taken.
    """
    scores = torch.nan_to_num(criterion(lams), nan=math.inf, posinf=math.inf, neginf=-math.inf)
    finite = scores[torch.isfinite(scores)]
    best = int(torch.argmin(scores))
    if math.isfinite(float(scores[best])):
        lowest, highest = float(finite.min()), float(finite.max())
        best = int(torch.nonzero(scores <= lowest + TIE * (abs(lowest) + highest - lowest))[0])
    lam = _golden(criterion, lams, best) if refined else float(lams[best])
    return lam, best, float(scores[best])


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


def _golden(criterion: Callable[[Tensor], Tensor], lams: Tensor, best: int) -> float:
    """The least score between the neighbours of the best candidate, by golden sections of log lam."""
    if best in (0, len(lams) - 1):
        return float(lams[best])
    low, high = float(torch.log(lams[best - 1])), float(torch.log(lams[best + 1]))

    def score(x: float) -> float:
        return float(criterion(lams.new_tensor([math.exp(x)]))[0])

    inner, outer = low + SECTION * (high - low), high - SECTION * (high - low)
    left, right = score(inner), score(outer)
    for _ in range(REFINEMENTS):
        if left <= right:
            high, outer, right = outer, inner, left
            inner = low + SECTION * (high - low)
            left = score(inner)
        else:
            low, inner, left = inner, outer, right
            outer = high - SECTION * (high - low)
            right = score(outer)
    return math.exp(0.5 * (low + high))
