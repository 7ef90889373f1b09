"""What a checked claim is, and the numerical derivatives that claims are measured with."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Claim", "compare", "first_difference", "same", "second_difference"]

FIRST = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
SECOND = (-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560)


@dataclass(frozen=True)
class Claim:
    """A statement of the theory with its two sides, computed by different code.

    Attributes:
        name: begins with the claim's letter and number, "A2 index ...".
        statement: what is claimed, in a line.
        predicted: the number the theory gives.
        measured: the number found by an independent computation.
        error: their difference, relative where the statement has a scale.
        tolerance: largest error that passes.
    """

    name: str
    statement: str
    predicted: float
    measured: float
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """True where the error is at most the tolerance; a NaN does not pass."""
        return bool(self.error <= self.tolerance)


def compare(
    name: str, statement: str, predicted: float, measured: float, tolerance: float, *, scale: float | None = None
) -> Claim:
    """A claim about two numbers; the error is relative to `scale`, by default to the larger of them."""
    size = max(abs(predicted), abs(measured)) if scale is None else scale
    difference = abs(measured - predicted)
    error = difference / size if size > 0 else difference
    return Claim(name, statement, float(predicted), float(measured), float(error), tolerance)


def same(name: str, statement: str, predicted: Any, measured: Any, tolerance: float) -> Claim:
    """A claim about two arrays: their norms are shown, the error is that of the difference over the predicted one."""
    a, b = np.asarray(predicted, dtype=float), np.asarray(measured, dtype=float)
    if a.shape != b.shape:
        return Claim(name, f"{statement} (shapes {a.shape} and {b.shape})", a.size, b.size, math.inf, tolerance)
    size = float(np.linalg.norm(a))
    error = float(np.linalg.norm(b - a)) / (size if size > 0 else 1.0)
    return Claim(name, statement, size, float(np.linalg.norm(b)), error, tolerance)


def first_difference(function: Callable[[float], float | np.ndarray], step: float = 0.02) -> np.ndarray:
    """Derivative at 0 by central differences of order 8; the function's natural scale is 1."""
    terms: Iterable = (c * (function(j * step) - function(-j * step)) for j, c in enumerate(FIRST, start=1))
    return np.asarray(sum(terms)) / step


def second_difference(function: Callable[[float], float | np.ndarray], step: float = 0.03) -> np.ndarray:
    """Second derivative at 0 by central differences of order 8; the function's natural scale is 1."""
    here = function(0.0)
    terms: Iterable = (
        c * ((function(j * step) - here) + (function(-j * step) - here)) for j, c in enumerate(SECOND[1:], start=1)
    )
    return np.asarray(sum(terms)) / step**2
