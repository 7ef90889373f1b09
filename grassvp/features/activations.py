"""Activations with their derivatives in closed form, written so that torch.func can differentiate them again."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from grassvp.arrays import check_choice

__all__ = ["ACTIVATIONS", "activation_derivatives"]

MAX_ORDER = 3


def activation_derivatives(name: str, z: Tensor, order: int) -> list[Tensor]:
    """[sigma(z), sigma'(z), ..., sigma^(order)(z)] for a named activation, order 0 to 3.

    Raises:
        ArgumentError: unknown activation.
    """
    check_choice(name, "activation", tuple(ACTIVATIONS))
    return ACTIVATIONS[name](z, order)


def _tanh(z: Tensor, order: int) -> list[Tensor]:
    t = torch.tanh(z)
    if order == 0:
        return [t]
    s = 1.0 - t * t
    higher = [s]
    if order >= 2:
        higher.append(-2.0 * t * s)
    if order >= 3:
        higher.append(s * (4.0 - 6.0 * s))
    return [t, *higher]


def _sin(z: Tensor, order: int) -> list[Tensor]:
    s = torch.sin(z)
    if order == 0:
        return [s]
    c = torch.cos(z)
    return [s, c, -s, -c][: order + 1]


def _softplus(z: Tensor, order: int) -> list[Tensor]:
    value = torch.logaddexp(z, torch.zeros_like(z))
    if order == 0:
        return [value]
    p = torch.sigmoid(z)
    slope = p * (1.0 - p)
    return [value, p, slope, slope * (1.0 - 2.0 * p)][: order + 1]


def _gelu(z: Tensor, order: int) -> list[Tensor]:
    cdf = 0.5 * torch.special.erfc(-z * math.sqrt(0.5))
    if order == 0:
        return [z * cdf]
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    return [z * cdf, cdf + z * density, density * (2.0 - z * z), density * z * (z * z - 4.0)][: order + 1]


def _erf(z: Tensor, order: int) -> list[Tensor]:
    value = torch.erf(z)
    if order == 0:
        return [value]
    slope = torch.exp(-z * z) * (2.0 / math.sqrt(math.pi))
    return [value, slope, -2.0 * z * slope, (4.0 * z * z - 2.0) * slope][: order + 1]


def _relu(z: Tensor, order: int) -> list[Tensor]:
    step = (z > 0).to(z.dtype)
    return [torch.relu(z), step, torch.zeros_like(z), torch.zeros_like(z)][: order + 1]


ACTIVATIONS: dict[str, Callable[[Tensor, int], list[Tensor]]] = {
    "tanh": _tanh,
    "sin": _sin,
    "softplus": _softplus,
    "gelu": _gelu,
    "erf": _erf,
    "relu": _relu,
}
