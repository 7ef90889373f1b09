"""How a rule chooses lam: what it may look at, what it says, and the search for the least score.

A rule looks at the spectrum of the weighted features once and takes the lam whose criterion is least: over a grid of
eight candidates a decade first, and between its neighbours by golden sections where the criterion is cheap.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.projection.criteria import gcv
from grassvp.projection.spectrum import Spectrum

__all__ = ["Choice", "Data", "Rule", "least"]

TIE = 1e-12  # of the size and the range of the scores: differences below are rounding
REFINEMENTS = 40  # golden sections, each 0.618 of the last: from an eighth of a decade to a rounding
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
        gcv: generalised cross-validation of the fit, by which fits with different lam compare.
        note: what was unusual about it, or "".
    """

    regularization: float
    rule: str
    noise_level: float
    freedom: float
    gcv: float
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
            return Choice(1.0, self.name, math.nan, 0.0, math.nan, "the features are zero, and lam makes no difference")
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
        score = float(gcv(spectrum, at)[0])
        return Choice(lam, self.name, math.sqrt(spread), spectrum.rows - left, score, note)

    def _note(self, best: int, last: int) -> str:
        if best == 0:
            return "the smallest lam that rounding leaves a difference to: a larger one does no better"
        return "the largest lam tried: the features explain nothing" if best == last else ""


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
