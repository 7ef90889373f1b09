"""Features given as a plain function of the parameters: classical separable models such as sums of exponentials."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jacfwd

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features.protocol import FeatureDerivatives, FeatureMap

__all__ = ["DenseDerivatives", "FunctionFeatures", "from_function"]


class DenseDerivatives(FeatureDerivatives):
    """DPhi as one tensor (m, n, q), by forward mode: right for few parameters, and rows may depend on each other."""

    def __init__(self, function: Callable[[Tensor], Tensor], parameters: Tensor) -> None:
        self._function, self._parameters = function, parameters
        self.values = function(parameters)

    @cached_property
    def tensor(self) -> Tensor:
        """D_j Phi[i, a] at index (i, a, j)."""
        with torch.no_grad():  # the function may use tensors of the caller that require gradients
            return jacfwd(self._function)(self._parameters)  # pyright: ignore[reportReturnType]

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self.tensor @ direction

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return torch.einsum("iaj,ia->j", self.tensor, left @ right.T)

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return torch.einsum("iaj,al->ilj", self.tensor, coefficients)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        adjoint = torch.einsum("iaj,il->alj", self.tensor, weights).to(factor.dtype)
        return torch.einsum("pa,alj->plj", factor, adjoint)


@dataclass(frozen=True)
class FunctionFeatures(FeatureMap):
    """Features Phi = function(parameters, x); build them with `from_function`."""

    function: Callable[[Tensor, Any], Tensor]
    initial: Tensor
    cheap_adjoint = True

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        return self.function(parameters, inputs)

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        return DenseDerivatives(lambda at: self.function(at, inputs), parameters)

    def prepare(self, inputs: Any) -> Any:
        """The inputs as they are: only the function knows their shape."""
        return inputs

    def cast(self, dtype: torch.dtype, device: torch.device) -> "FunctionFeatures":
        """See `FeatureMap`."""
        return FunctionFeatures(self.function, self.initial.to(dtype=dtype, device=device))

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """Not possible: nothing is known about the function's parameters."""
        raise ArgumentError("features cannot be sampled: give initial_parameters, or start from those of from_function")


def from_function(function: Callable[[Tensor, Any], Tensor], parameters: Any) -> FunctionFeatures:
    """Features Phi(theta) = function(theta, x), for models linear in all but a few parameters.

    Args:
        function: maps theta, a 1-D torch tensor (q,), and the problem's inputs as a torch tensor of their own shape to
            Phi (m, n); written with torch operations that torch.func can differentiate.
        parameters: (q,) starting values, numpy, torch or a list.

    Raises:
        ArgumentTypeError: `function` cannot be called.
        ArgumentError: `parameters` is not one-dimensional, is empty or is not finite.
    """
    if not callable(function):
        raise ArgumentTypeError(f"function must be callable as function(parameters, x), got {function!r}")
    initial = to_tensor(parameters, "parameters", dtype=torch.float64)
    if initial.ndim != 1:
        raise ArgumentError(f"parameters must be one-dimensional, got shape {tuple(initial.shape)}")
    return FunctionFeatures(function, initial.clone())
