"""Checks of arguments: cheap ones on shape and type for every call, named so that the message says what to change."""

import math
import operator
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace

__all__ = [
    "check_array",
    "check_arrays",
    "check_dtype",
    "check_finite",
    "check_integer",
    "check_positive",
    "check_stack",
    "generator",
    "number",
    "passes",
    "precision",
    "quiet",
    "warn_caller",
]

FLOATS = ("float32", "float64")

quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
"""Decorates functions that look at what comes out of an overflow or of NaN themselves."""


def check_array(value: Any, shape: tuple[int, ...], name: str) -> None:
    """Raise unless `value` is a real floating array of the given shape; NaN is not looked for.

    Raises:
        TypeError: not an array, complex, integer or of another precision.
        ValueError: another shape.
    """
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(value).__name__}")
    if isinstance(value, np.matrix | np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain numpy array or a torch tensor, got {type(value).__name__}")
    if value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {tuple(value.shape)}")
    check_dtype(value, name)


def check_arrays(shape: tuple[int, ...], names: str, *arrays: Any) -> None:
    """`check_array` for each, quick where all is well, and TypeError where numpy and torch are mixed."""
    kind = type(arrays[0])
    plain = kind is np.ndarray or not issubclass(kind, np.ndarray)
    for array in arrays:
        if (
            not plain
            or type(array) is not kind
            or getattr(array, "shape", None) != shape
            or kind_of(array.dtype) not in FLOATS
        ):
            break
    else:
        return
    for name, array in zip(names.split(), arrays, strict=True):
        check_array(array, shape, name)
    array_namespace(*arrays)


def check_dtype(value: Any, name: str) -> None:
    """Raise TypeError unless the array holds float32 or float64 numbers."""
    if not hasattr(value, "dtype"):
        raise TypeError(f"{name} must be a numpy array or a torch tensor, got {type(value).__name__}")
    kind = kind_of(value.dtype)
    if kind in FLOATS:
        return
    if "complex" in kind:
        raise TypeError(f"{name} must be real, got {kind}: complex subspaces are pymanopt's ComplexGrassmann")
    raise TypeError(f"{name} must be float32 or float64, got {kind}: convert it first")


def check_integer(value: Any, name: str, *, least: int = 1) -> int:
    """`value` as an integer >= `least`.

    Raises:
        TypeError: not an integer.
        ValueError: too small.
    """
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer >= {least}, got {value!r}") from None
    if number < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {number}")
    return number


def precision(array: Any) -> float:
    """Unit of rounding eps of the array's type."""
    return 2.0**-52 if kind_of(array.dtype) == "float64" else 2.0**-23


@cache
def kind_of(dtype: Any) -> str:
    """Name of a numpy or torch dtype: "float64", "complex64", ..."""
    return str(dtype).removeprefix("torch.")


def check_positive(value: Any, name: str) -> float:
    """`value` as a float, finite and > 0.

    Raises:
        TypeError: not a number.
        ValueError: not finite or not positive.
    """
    if isinstance(value, bool | str | complex) or not hasattr(value, "__float__") or np.ndim(value) > 0:
        raise TypeError(f"{name} must be a number > 0, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be finite and > 0, got {number}")
    return number


def check_finite(value: Any, shape: tuple[int, ...], name: str) -> None:
    """`check_array`, and ValueError where entries are NaN or infinite."""
    check_array(value, shape, name)
    xp = array_namespace(value)
    bad = int(xp.count_nonzero(~xp.isfinite(value)))
    if bad:
        raise ValueError(f"{name} has {bad} NaN or infinite entries of {math.prod(shape)}")


def check_stack(points: Any, shape: tuple[int, ...]) -> None:
    """Raise ValueError unless `points` is a stack of at least one array of the given shape."""
    found: tuple[int, ...] = tuple(getattr(points, "shape", ()))
    if len(found) != len(shape) + 1 or found[1:] != shape or 0 in found:
        raise ValueError(f"points must have shape (count, {', '.join(map(str, shape))}) with count >= 1, got {found}")


def passes(check: Callable[..., None], *arguments: Any) -> bool:
    """True where `check` raises neither TypeError nor ValueError."""
    try:
        check(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def generator(rng: Any, stream: int) -> np.random.Generator:
    """A Generator as it is, or a new one; a seed gives independent streams: a vector is not its point."""
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise TypeError(f"rng must be a numpy Generator, a seed >= 0 or None, got {rng!r}")
    return np.random.default_rng(np.random.SeedSequence(rng, spawn_key=(stream,)))


def number(scalar: Any) -> float:
    """A scalar array as a float, also where torch tracks its gradient."""
    return float(scalar.detach() if hasattr(scalar, "detach") else scalar)


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line that called this package, however deep inside it the reason was found."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("manifolds", "numpy"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
