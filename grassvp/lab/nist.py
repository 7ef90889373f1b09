"""The nonlinear regression sets of NIST's Statistical Reference Datasets (StRD): their files, and their models.

Every model is written as features with coefficients, o(theta; x) + Phi(theta; x) C, in the parameters b that NIST
certifies. All but four are separable as they are given. In Chwirut1 and Chwirut2 the denominator holds the linear
parameter: exp(-b1 x)/(b2 + b3 x) is restated as c exp(-b1 x)/(1 + t x) with b2 = 1/c and b3 = t/c. In Roszman1 one term
has no coefficient and becomes an offset. Nelson's response is log y.

Source: https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml, in the public domain.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.features import from_function
from grassvp.separable import SeparableProblem

__all__ = ["MODELS", "Dataset", "Model", "choose", "read"]

STARTS = 2
PARAMETER = re.compile(r"^\s*b(\d+)\s*=" + r"\s+(\S+)" * (STARTS + 2) + r"\s*$", re.MULTILINE)
FORMULA = re.compile(r"^\s*((?:y|log\[y\])\s*=.*?)\+\s*e\s*Starting values", re.MULTILINE | re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Dataset:
    """One file of StRD.

    Attributes:
        name: its name.
        difficulty: "lower", "average" or "higher", as NIST judges it.
        formula: the model, as the file writes it.
        starts: (2, p) values of b to start from.
        parameters: (p,) certified values of b.
        standard_deviations: (p,) certified standard deviations of b.
        residual_sum_of_squares: certified.
        residual_standard_deviation: certified.
        degrees_of_freedom: rows less parameters, as the file says; Rat43's says 9 and certifies with 15 - 4 = 11.
        inputs: (m,) predictor, or (m, d) where there are several.
        response: (m,) y.
    """

    name: str
    difficulty: str
    formula: str
    starts: np.ndarray
    parameters: np.ndarray
    standard_deviations: np.ndarray
    residual_sum_of_squares: float
    residual_standard_deviation: float
    degrees_of_freedom: int
    inputs: np.ndarray
    response: np.ndarray


def read(path: Path) -> Dataset:
    """Read a ``.dat`` file of StRD.

    Raises:
        ArgumentError: the file is not there, or does not hold what it says it does.
    """
    if not path.is_file():
        raise ArgumentError(f"path must be a file of StRD, there is no {path}")
    try:
        text = path.read_text(encoding="ascii")
        data = _parse(text)
    except (ValueError, IndexError) as error:
        raise ArgumentError(f"path: {path} is not a file of StRD ({error}); restore it from NIST's pages") from error
    declared = [int(_find(rf"(\d+) {what}", text)) for what in ("Observations", "Parameters")]
    found = [len(data.response), len(data.parameters)]
    if found != declared:
        raise ArgumentError(
            f"path: {path} has {found[0]} rows of data and {found[1]} parameters, and says that there are "
            f"{declared[0]} and {declared[1]}; restore it"
        )
    return data


def _parse(text: str) -> Dataset:
    """The parts of a file; a ValueError or IndexError where one is missing."""
    values = np.array([[float(entry) for entry in row[1:]] for row in PARAMETER.findall(text)])
    rows = [line.split() for line in text[text.rindex("Data:") :].splitlines()[1:] if line.strip()]
    table = np.array(rows, dtype=np.float64)
    return Dataset(
        name=_find(r"Dataset Name:\s*(\S+)", text),
        difficulty=_find(r"(Lower|Average|Higher) Level of Difficulty", text).lower(),
        formula=" ".join(_find(FORMULA, text).split()),
        starts=values[:, :STARTS].T,
        parameters=values[:, STARTS],
        standard_deviations=values[:, STARTS + 1],
        residual_sum_of_squares=float(_find(r"Residual Sum of Squares:\s*(\S+)", text)),
        residual_standard_deviation=float(_find(r"Residual Standard Deviation:\s*(\S+)", text)),
        degrees_of_freedom=int(_find(r"Degrees of Freedom:\s*(\d+)", text)),
        inputs=table[:, 1] if table.shape[1] == 2 else table[:, 1:],
        response=table[:, 0],
    )


def _find(pattern: str | re.Pattern[str], text: str) -> str:
    """What the first group of a pattern matches."""
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"nothing matches {pattern}")
    return found.group(1)


@dataclass(frozen=True, eq=False)
class Model:
    """A model as a separable one; parameters b_j are named by j = 1, 2, ... as NIST does.

    Attributes:
        features: Phi(theta, x), (m, n).
        nonlinear: which of b make up theta.
        linear: which of b are the coefficients, one a column of Phi.
        offset: term without a coefficient.
        response: what of y is modelled; y itself by default.
        restated: an involution between b and the parameters in which the model is separable, where these differ.
        terms: parameters of terms that may change places, the same one first in each; b is ordered by it.
        note: what is special.
    """

    features: Callable[[Tensor, Any], Tensor]
    nonlinear: tuple[int, ...]
    linear: tuple[int, ...]
    offset: Callable[[Tensor, Any], Tensor] | None = None
    response: Callable[[np.ndarray], np.ndarray] = np.asarray
    restated: Callable[[Tensor], Tensor] | None = None
    terms: tuple[tuple[int, ...], ...] = ()
    note: str = ""

    def split(self, b: Tensor) -> tuple[Tensor, Tensor]:
        """Theta (q,) and the coefficients (n,) that belong to b (p,)."""
        b = b if self.restated is None else self.restated(b)
        return b[[j - 1 for j in self.nonlinear]], b[[j - 1 for j in self.linear]]

    def join(self, parameters: Tensor, coefficients: Tensor) -> Tensor:
        """The b (p,) that belongs to theta and the coefficients, differentiable."""
        names = [*self.nonlinear, *self.linear]
        b = torch.cat([parameters, coefficients.reshape(-1)])[[names.index(j + 1) for j in range(len(names))]]
        return b if self.restated is None else self.restated(b)

    def predict(self, b: Tensor, inputs: Any) -> Tensor:
        """The model (m,) at b, as joint least squares sees it."""
        theta, C = self.split(b)
        fitted = self.features(theta, inputs) @ C
        return fitted if self.offset is None else fitted + self.offset(theta, inputs)

    def problem(self, data: Dataset, start: int) -> SeparableProblem:
        """The separable problem, whose features start from the certified start 1 or 2."""
        theta, _ = self.split(torch.as_tensor(data.starts[start - 1]))
        features = from_function(self.features, theta, offset=self.offset)
        return SeparableProblem(features, data.inputs, self.response(data.response))

    def order(self, b: np.ndarray, certified: np.ndarray) -> np.ndarray:
        """The permutation (p,) that puts terms which may change places in the order of the certified values."""
        order = np.arange(len(b))
        if self.terms:
            terms = np.array(self.terms) - 1
            order[terms[np.argsort(certified[terms[:, 0]])]] = terms[np.argsort(b[terms[:, 0]])]
        return order


def choose(names: str) -> list[str]:
    """The sets of a list separated by commas, all of them for an empty one, in the order of `MODELS`.

    Raises:
        ArgumentError: there is no set of some name.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in MODELS:
            close = difflib.get_close_matches(name.lower(), [each.lower() for each in MODELS], n=1)
            hint = "".join(f"did you mean {each}? " for each in MODELS if each.lower() in close)
            raise ArgumentError(f"sets: there is no set {name!r}: {hint}There are {', '.join(MODELS)}")
    return [name for name in MODELS if name in wanted or not wanted]


def columns(*parts: Tensor) -> Tensor:
    """Features as the columns of a matrix."""
    return torch.stack(parts, dim=1)


def powers(x: Tensor, degree: int) -> Tensor:
    """1, x, ..., x^degree as columns."""
    return columns(*(x**k for k in range(degree + 1)))


def rational(degree: int) -> Callable[[Tensor, Any], Tensor]:
    """The powers of x over 1 + p_1 x + ... + p_degree x^degree."""
    return lambda p, x: powers(x, degree) / (1 + powers(x, degree)[:, 1:] @ p)[:, None]


def waves(x: Tensor, *periods: Any) -> list[Tensor]:
    """Cosine and sine of each period."""
    return [wave(2 * math.pi * x / period) for period in periods for wave in (torch.cos, torch.sin)]


def bell(x: Tensor, centre: Tensor, width: Tensor) -> Tensor:
    """exp(-(x - centre)^2 / width^2)."""
    return torch.exp(-((x - centre) ** 2) / width**2)


SATURATION = Model(lambda p, x: columns(1 - torch.exp(-p[0] * x)), (2,), (1,))
CHWIRUT = Model(
    lambda p, x: columns(torch.exp(-p[0] * x) / (1 + p[1] * x)),
    (1, 3),
    (2,),
    restated=lambda b: torch.stack([b[0], 1 / b[1], b[2] / b[1]]),
    note="restated as c exp(-b1 x)/(1 + t x) with b2 = 1/c and b3 = t/c",
)
EXPONENTIALS = Model(
    lambda p, x: torch.exp(-x[:, None] * p),
    (2, 4, 6),
    (1, 3, 5),
    terms=((2, 1), (4, 3), (6, 5)),
)
PEAKS = Model(
    lambda p, x: columns(torch.exp(-p[0] * x), bell(x, p[1], p[2]), bell(x, p[3], p[4])),
    (2, 4, 5, 7, 8),
    (1, 3, 6),
    terms=((4, 3, 5), (7, 6, 8)),
)
CUBICS = Model(rational(3), (5, 6, 7), (1, 2, 3, 4))

MODELS = {  # in the order of NIST's pages
    "Misra1a": SATURATION,
    "Chwirut2": CHWIRUT,
    "Chwirut1": CHWIRUT,
    "Lanczos3": EXPONENTIALS,
    "Gauss1": PEAKS,
    "Gauss2": PEAKS,
    "DanWood": Model(lambda p, x: columns(x ** p[0]), (2,), (1,)),
    "Misra1b": Model(lambda p, x: columns(1 - (1 + p[0] * x / 2) ** -2), (2,), (1,)),
    "Kirby2": Model(rational(2), (4, 5), (1, 2, 3)),
    "Hahn1": CUBICS,
    "Nelson": Model(
        lambda p, x: columns(torch.ones_like(x[:, 0]), -x[:, 0] * torch.exp(-p[0] * x[:, 1])),
        (3,),
        (1, 2),
        response=np.log,
        note="the response is log y; two predictors",
    ),
    "MGH17": Model(
        lambda p, x: columns(torch.ones_like(x), torch.exp(-p[0] * x), torch.exp(-p[1] * x)),
        (4, 5),
        (1, 2, 3),
        terms=((4, 2), (5, 3)),
    ),
    "Lanczos1": EXPONENTIALS,
    "Lanczos2": EXPONENTIALS,
    "Gauss3": PEAKS,
    "Misra1c": Model(lambda p, x: columns(1 - (1 + 2 * p[0] * x) ** -0.5), (2,), (1,)),
    "Misra1d": Model(
        lambda p, x: columns(p[0] * x / (1 + p[0] * x)),
        (2,),
        (1,),
        note="b2 is a factor too: the feature is b2 x/(1 + b2 x)",
    ),
    "Roszman1": Model(
        lambda p, x: columns(torch.ones_like(x), -x),
        (3, 4),
        (1, 2),
        offset=lambda p, x: -torch.atan(p[0] / (x - p[1])) / math.pi,
        note="arctan(b3/(x - b4))/pi has no coefficient: an offset",
    ),
    "ENSO": Model(
        lambda p, x: columns(torch.ones_like(x), *waves(x, 12, p[0], p[1])),
        (4, 7),
        (1, 2, 3, 5, 6, 8, 9),
        terms=((4, 5, 6), (7, 8, 9)),
    ),
    "MGH09": Model(lambda p, x: columns((x**2 + x * p[0]) / (x**2 + x * p[1] + p[2])), (2, 3, 4), (1,)),
    "Thurber": CUBICS,
    "BoxBOD": SATURATION,
    "Rat42": Model(lambda p, x: columns(1 / (1 + torch.exp(p[0] - p[1] * x))), (2, 3), (1,)),
    "MGH10": Model(lambda p, x: columns(torch.exp(p[0] / (x + p[1]))), (2, 3), (1,)),
    "Eckerle4": Model(lambda p, x: columns(torch.exp(-0.5 * ((x - p[1]) / p[0]) ** 2) / p[0]), (2, 3), (1,)),
    "Rat43": Model(lambda p, x: columns((1 + torch.exp(p[0] - p[1] * x)) ** (-1 / p[2])), (2, 3, 4), (1,)),
    "Bennett5": Model(lambda p, x: columns((p[0] + x) ** (-1 / p[1])), (2, 3), (1,)),
}
