"""Functions with a further argument p, the unknown coefficients of an equation, and what they are at some p."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["Bound", "bind", "check_coefficients", "takes_coefficients"]


class Named(dict[str, Tensor]):
    """The coefficients by name, as functions are given them."""

    def __missing__(self, name: Any) -> Tensor:
        """Say which there are."""
        raise ArgumentError(f"coefficients has no {name!r}: there are {', '.join(map(repr, self))}")


@dataclass(frozen=True, eq=False)
class Bound:
    """A function of (..., p) at one p.

    Attributes:
        function: the function.
        coefficients: names and values () of p.
        traced: whether it is called to be differentiated by p, and has been checked before.
    """

    function: Callable[..., Any]
    coefficients: Named
    traced: bool = False

    def __call__(self, *arguments: Any) -> Any:
        """The function at p."""
        return self.function(*arguments, self.coefficients)


def bind(function: Any, arguments: int, names: tuple[str, ...], values: Tensor, *, traced: bool = False) -> Any:
    """A function of so many arguments from one that takes p as well; anything else stays as it is."""
    if not takes_coefficients(function, arguments):
        return function
    return Bound(function, Named(zip(names, values.unbind(), strict=True)), traced)


def takes_coefficients(function: Any, arguments: int) -> bool:
    """Whether it must be given one argument more than so many; those with defaults do not count."""
    if not callable(function):
        return False
    try:
        given = inspect.signature(function).parameters.values()
    except ValueError:  # functions of other languages need not tell
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(each.kind in positional and each.default is each.empty for each in given) == arguments + 1


def check_coefficients(coefficients: Any) -> dict[str, float]:
    """Names and starting values of p, or an exception that names what cannot be used."""
    if not isinstance(coefficients, Mapping):
        raise ArgumentTypeError(f'coefficients must map names to starts, as in {{"kappa": 0.1}}, got {coefficients!r}')
    found = {}
    for name, start in coefficients.items():
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f"coefficients: a coefficient needs a name, got {name!r}")
        value = to_tensor(start, f"coefficients[{name!r}]", dtype=torch.float64)
        if value.ndim:
            raise ArgumentError(f"coefficients[{name!r}] must start from a number, got shape {tuple(value.shape)}")
        found[name] = float(value)
    return found
