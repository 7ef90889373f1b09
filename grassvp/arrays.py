"""Arrays at the boundary: numpy or torch in, the same kind out, checked and in float64 unless float32 was given."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["check_choice", "check_count", "check_nonnegative", "in_kind_of", "safe_norm", "to_tensor"]

FLOATS = (torch.float32, torch.float64)


def to_tensor(value: Any, name: str, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
    """A real floating tensor without gradient history that shares no memory with `value`.

    Args:
        value: a numpy array, a torch tensor, a number or a nested list of numbers. Integers become float64.
        name: the argument's name, for the messages.
        dtype: convert to this type; by default float32 and float64 are kept.
        device: move to this device; by default a tensor stays where it is.

    Raises:
        ArgumentTypeError: complex, object, string or half-precision data.
        ArgumentError: empty data, NaN or infinity.
    """
    tensor = value.detach() if isinstance(value, Tensor) else _from_numpy(value, name)
    if tensor.is_complex():
        raise ArgumentTypeError(f"{name} must be real, got {tensor.dtype}: stack real and imaginary parts as rows")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float64)
    if tensor.dtype not in FLOATS:
        raise ArgumentTypeError(f"{name} must be float32 or float64 (or integers), got {tensor.dtype}")
    if tensor.numel() == 0:
        raise ArgumentError(f"{name} is empty: got shape {tuple(tensor.shape)}, need at least one entry")
    bad = int((~torch.isfinite(tensor)).sum())
    if bad:
        raise ArgumentError(f"{name} has {bad} NaN or infinite entries of {tensor.numel()}: remove or repair them")
    return tensor.to(dtype=dtype, device=device, copy=True)


def _from_numpy(value: Any, name: str) -> Tensor:
    if np.ma.is_masked(value):
        raise ArgumentError(f"{name} has masked entries: leave those rows out, or give finite values and weight 0")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError(f"{name} is not a rectangular array: {error}") from error
    if array.dtype.kind not in "fiubc":
        raise ArgumentTypeError(f"{name} must hold numbers, got an array of dtype {array.dtype}")
    if array.dtype.kind in "iub" or array.dtype == np.longdouble:
        array = array.astype(np.float64)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def in_kind_of(reference: Any) -> Callable[[Tensor], Any]:
    """A function that turns a result tensor into the kind of `reference`: torch stays torch, all else becomes numpy."""
    if isinstance(reference, Tensor):
        return lambda tensor: tensor.to(reference.device)
    return lambda tensor: tensor.detach().cpu().numpy()


def safe_norm(vector: Tensor) -> float:
    """2-norm in float64 without the overflow or underflow of the squares."""
    entries = vector.double()
    largest = float(entries.abs().max())
    if not 0 < largest < math.inf:
        return largest
    return largest * float(torch.linalg.vector_norm(entries / largest))


def check_nonnegative(value: Any, name: str) -> float:
    """`value` as a finite float >= 0, or an exception that names the argument."""
    if isinstance(value, bool | str | complex) or not hasattr(value, "__float__") or np.ndim(value) > 0:
        raise ArgumentTypeError(f"{name} must be a number >= 0, got {value!r}")
    try:
        number = float(value)
    except (OverflowError, ValueError) as error:
        raise ArgumentError(f"{name} must be finite and >= 0: {error}") from error
    if not math.isfinite(number) or number < 0:
        raise ArgumentError(f"{name} must be finite and >= 0, got {number}")
    return number


def check_count(value: Any, name: str, *, least: int = 1) -> int:
    """`value` as an integer >= `least`, or an exception that names the argument."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentTypeError(f"{name} must be an integer >= {least}, got {value!r}")
    number = value.__index__()
    if number < least:
        raise ArgumentError(f"{name} must be an integer >= {least}, got {number}")
    return number


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """`value` if it is one of `choices`, or an exception that lists them."""
    if value not in choices:
        raise ArgumentError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
