"""Callbacks: functions of the caller that see each record and may ask to stop."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from grassvp.errors import ArgumentTypeError

__all__ = ["check_callbacks", "wants_stop"]


def check_callbacks(callbacks: Any) -> tuple[Callable[[Any], Any], ...]:
    """The callbacks as a tuple.

    Raises:
        ArgumentTypeError: they are no sequence of functions.
    """
    if not isinstance(callbacks, Sequence) or not all(callable(callback) for callback in callbacks):
        raise ArgumentTypeError(f"callbacks must be a sequence of functions, got {callbacks!r}")
    return tuple(callbacks)


def wants_stop(callbacks: Sequence[Callable[[Any], Any]], record: Any) -> bool:
    """Show a record to every callback; whether one of them returned True, a bool of Python, numpy or torch."""
    answers = [callback(record) for callback in callbacks]
    return any(
        answer is True or (getattr(answer, "dtype", None) in (np.dtype(bool), torch.bool) and bool(answer))
        for answer in answers
    )
