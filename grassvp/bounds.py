"""Boxes lower <= x <= upper for parameters and coefficients: checked once, and what solvers ask of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["Box", "check_box"]


@dataclass(frozen=True, eq=False)
class Box:
    """lower <= x <= upper, entry by entry; -inf and inf where there is no bound."""

    lower: Tensor
    upper: Tensor

    def clip(self, point: Tensor) -> Tensor:
        """The point of the box that is nearest."""
        return torch.clamp(point, self.lower, self.upper)

    def held(self, point: Tensor, gradient: Tensor) -> Tensor:
        """Which entries sit at a bound that the negative gradient points out of."""
        return ((point <= self.lower) & (gradient > 0)) | ((point >= self.upper) & (gradient < 0))

    def projected(self, point: Tensor, gradient: Tensor) -> Tensor:
        """The gradient without the entries that are held: it vanishes at a minimum in the box."""
        return torch.where(self.held(point, gradient), 0.0, gradient)


def check_box(bounds: Any, like: Tensor, name: str) -> Box | None:
    """The box of `bounds` = (lower, upper), each a number or an array that broadcasts to the shape of `like`.

    None for no bounds, on either side or on both.

    Raises:
        ArgumentTypeError, ArgumentError: not a pair of numbers or arrays, of another shape, NaN, or lower >= upper.
    """
    if bounds is None:
        return None
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ArgumentTypeError(f"{name} must be a pair (lower, upper), got {bounds!r}")
    lower, upper = (_side(side, sign, like, name) for side, sign in zip(bounds, (-np.inf, np.inf), strict=True))
    if bool((lower >= upper).any()):
        index = int(torch.argmax((lower >= upper).flatten().to(torch.int8)))
        low, high = float(lower.flatten()[index]), float(upper.flatten()[index])
        raise ArgumentError(f"{name} must have lower < upper in every entry, got {low} and {high} in entry {index}")
    return Box(lower, upper)


def _side(side: Any, missing: float, like: Tensor, name: str) -> Tensor:
    try:
        array = side.detach().cpu().numpy() if isinstance(side, Tensor) else np.array(missing if side is None else side)
        if array.dtype.kind not in "fiu":
            raise TypeError(f"it holds {array.dtype}")
        full = np.broadcast_to(array.astype(float), tuple(like.shape))
    except (TypeError, ValueError) as error:
        shape = tuple(like.shape)
        raise ArgumentTypeError(f"{name} must hold numbers or arrays that broadcast to {shape}: {error}") from error
    if np.isnan(full).any():
        raise ArgumentError(f"{name} has NaN entries: use -inf and inf, or None, where there is no bound")
    return torch.from_numpy(full.copy()).to(like)
