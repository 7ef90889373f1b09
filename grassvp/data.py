"""Checks of what a separable problem is made of: features that fit the data, weights, noise level, sizes."""

from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import check_nonnegative, safe_norm, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.features import FeatureMap

__all__ = ["check_features", "check_noise_level", "check_size", "check_weights"]

SMALLEST = 1e-130  # norm of the targets whose square, times the square of a rounding error, is still a normal number


def check_features(features: FeatureMap, inputs: Tensor, targets: Tensor) -> int:
    """Width n of Phi; raises unless the features are a matrix with as many rows as the targets.

    Raises:
        ArgumentError, ArgumentTypeError: they fail, have another shape or type, couple rows that they promised to keep
            apart, or cannot be differentiated.
    """
    theta, (rows, outputs) = features.initial, targets.shape
    try:
        with torch.no_grad():
            Phi: Any = features(theta, inputs)
    except GrassvpError:
        raise
    except Exception as error:
        raise ArgumentError(f"features failed on inputs of shape {tuple(inputs.shape)}: {error}") from error
    _check_matrix(Phi, inputs, targets)
    if features.row_by_row and rows > 1:
        _check_independent_rows(features, inputs)
    _check_differentiable(features, inputs, targets)
    fixed = features.offset_columns(theta, inputs)
    if fixed not in (0, outputs):
        raise ArgumentError(
            f"features: the offset must have shape ({rows}, {outputs}), a column for each output of the targets; got "
            f"{fixed} columns"
        )
    return Phi.shape[1] - fixed


def _check_matrix(Phi: Any, inputs: Tensor, targets: Tensor) -> None:
    rows = targets.shape[0]
    if not isinstance(Phi, Tensor):
        raise ArgumentTypeError(f"features must return a torch tensor, got {type(Phi).__name__}")
    if Phi.ndim != 2 or Phi.shape[0] != rows or Phi.shape[1] == 0:
        raise ArgumentError(
            f"features must return shape ({rows}, n), a row for each row of targets; got {tuple(Phi.shape)} "
            f"for inputs of shape {tuple(inputs.shape)}"
        )
    if Phi.dtype != targets.dtype or Phi.device != targets.device:
        raise ArgumentTypeError(
            f"features must return {targets.dtype} on {targets.device}, got {Phi.dtype} on {Phi.device}"
        )


def _check_independent_rows(features: FeatureMap, inputs: Tensor) -> None:
    """Raise where the first or the last row of Phi changes when the other inputs are left out."""
    theta = features.initial
    theta = theta + 0.01 * (1 + theta.abs())  # a coupling may be switched off at the start
    try:
        together = features(theta, inputs)[[0, -1]]
        alone = torch.cat([features(theta, inputs[:1]), features(theta, inputs[-1:])])
        allowed = torch.finfo(together.dtype).eps ** 0.5 * (1 + together.abs())
        coupled = alone.shape != together.shape or bool(((alone - together).abs() > allowed).any())
    except Exception:
        coupled = True
    if coupled:
        raise ArgumentError(
            "features couples the rows, is random or keeps state: a row changes, or fails, when it is evaluated "
            "alone. Give such a model as features.from_function(function, parameters)"
        )


def _check_differentiable(features: FeatureMap, inputs: Tensor, targets: Tensor) -> None:
    """Raise where torch.func cannot differentiate the features, for example because they leave torch."""
    zero, theta, rows = targets.new_zeros, features.initial, targets.shape[0]
    try:
        derivatives = features.derivatives(theta, inputs)
        derivatives.pullback(zero(rows, 1), zero(derivatives.values.shape[1], 1))
        if features.row_by_row:
            features.derivatives(theta, inputs[:2]).contract(zero(derivatives.values.shape[1], 1))
    except Exception as error:
        raise ArgumentError(
            "features cannot be differentiated by torch.func: write them with torch operations that change nothing "
            f"in place and do not branch on values ({error})"
        ) from error


def check_size(values: Tensor, what: str = "targets, times their weights,") -> None:
    """Raise where the square of the norm, which values, gradients and lam go like, overflows or loses digits."""
    size = safe_norm(values)
    if not (size == 0.0 or SMALLEST <= size <= 1.0 / SMALLEST):
        raise ArgumentError(
            f"{what} have norm {size:.3g}, whose square float64 cannot hold to all digits: "
            f"it must be between {SMALLEST:g} and {1.0 / SMALLEST:g}; scale them"
        )


def check_noise_level(value: object) -> float | None:
    """The noise level as a number > 0, or None where it is not known."""
    if value is None:
        return None
    level = check_nonnegative(value, "noise_level")
    if level > 1.0 / SMALLEST:
        raise ArgumentError(f"noise_level must be at most {1.0 / SMALLEST:g}, as large as targets may be, got {level}")
    if level == 0.0:
        raise ArgumentError("noise_level must be > 0, got 0: leave it out for exact targets")
    return level


def check_weights(weights: object, targets: Tensor) -> Tensor | None:
    """(m,) weights >= 0 in the type of the targets, or None for ones."""
    if weights is None:
        return None
    w = to_tensor(weights, "weights", dtype=targets.dtype, device=targets.device)
    if w.shape != targets.shape[:1]:
        raise ArgumentError(f"weights must have shape ({targets.shape[0]},), got {tuple(w.shape)}")
    if bool((w < 0).any()) or not bool((w > 0).any()):
        raise ArgumentError(f"weights must be >= 0 and not all zero, got minimum {float(w.min())}")
    return w
