"""Activations with their derivatives in closed form, written so that torch.func can differentiate them again.

Each is a generator of sigma, sigma', ..., sigma^(5): a derivative that nobody asks for is not computed. The
higher ones are polynomials in two quantities that are closed under differentiation:
  tanh: t and s = 1 - t^2, where t' = s, s' = -2 t s;
  softplus: p = sigma' and v = p (1 - p), where p' = v, v' = v (1 - 2 p);
  gelu: z and the normal density f, where f' = -z f;
  erf: z and g = erf'(z), where g' = -2 z g.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor

from grassvp.arrays import check_choice

__all__ = ["ACTIVATIONS", "activation_derivatives"]


def activation_derivatives(name: str, z: Tensor, order: int) -> list[Tensor]:
    """[sigma(z), sigma'(z), ..., sigma^(order)(z)] for a named activation, order 0 to 5.

    Raises:
        ArgumentError: unknown activation.
    """
    check_choice(name, "activation", tuple(ACTIVATIONS))
    return list(islice(ACTIVATIONS[name](z), order + 1))


def _tanh(z: Tensor) -> Iterator[Tensor]:
    t = torch.tanh(z)
    yield t
    s = 1.0 - t * t
    yield s
    bend = -2.0 * t * s
    yield bend
    yield s * (4.0 - 6.0 * s)
    yield bend * (4.0 - 12.0 * s)
    yield s * (16.0 + 120.0 * s * (s - 1.0))


def _sin(z: Tensor) -> Iterator[Tensor]:
    s = torch.sin(z)
    yield s
    c = torch.cos(z)
    yield c
    yield -s
    yield -c
    yield s
    yield c


def _softplus(z: Tensor) -> Iterator[Tensor]:
    yield torch.logaddexp(z, torch.zeros_like(z))
    p = torch.sigmoid(z)
    yield p
    v = p * (1.0 - p)
    yield v
    bend = v * (1.0 - 2.0 * p)
    yield bend
    yield v * (1.0 - 6.0 * v)
    yield bend * (1.0 - 12.0 * v)


def _gelu(z: Tensor) -> Iterator[Tensor]:
    cdf = 0.5 * torch.special.erfc(-z * math.sqrt(0.5))
    yield z * cdf
    density = torch.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    yield cdf + z * density
    square = z * z
    yield density * (2.0 - square)
    yield density * z * (square - 4.0)
    yield density * (square * (7.0 - square) - 4.0)
    yield density * z * (square * (square - 11.0) + 18.0)


def _erf(z: Tensor) -> Iterator[Tensor]:
    yield torch.erf(z)
    square = z * z
    slope = torch.exp(-square) * (2.0 / math.sqrt(math.pi))
    yield slope
    yield -2.0 * z * slope
    yield (4.0 * square - 2.0) * slope
    yield z * (12.0 - 8.0 * square) * slope
    yield (square * (16.0 * square - 48.0) + 12.0) * slope


def _relu(z: Tensor) -> Iterator[Tensor]:
    yield torch.relu(z)
    yield (z > 0).to(z.dtype)
    for _ in range(4):
        yield torch.zeros_like(z)


ACTIVATIONS: dict[str, Callable[[Tensor], Iterator[Tensor]]] = {
    "tanh": _tanh,
    "sin": _sin,
    "softplus": _softplus,
    "gelu": _gelu,
    "erf": _erf,
    "relu": _relu,
}
