"""Features given as a plain function of the parameters: classical separable models such as sums of exponentials."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features.protocol import FeatureDerivatives, FeatureMap

__all__ = ["DenseDerivatives", "FunctionFeatures", "from_function"]

DENSE_ENTRIES = (
    2**22
)  # 32 MiB of float64: up to here DPhi is kept as one tensor, beyond it products are taken one by one


class DenseDerivatives(FeatureDerivatives):
    """DPhi of a function whose rows may depend on each other: one tensor (m, n, q) while it is small.

    Forward mode, right for few parameters; where the tensor would be large, single products come from `jvp` and `vjp`.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], parameters: Tensor) -> None:
        self._function, self._parameters = function, parameters
        self.values = function(parameters)

    @cached_property
    def tensor(self) -> Tensor:
        """D_j Phi[i, a] at index (i, a, j)."""
        return self._forward(lambda values: values)

    @property
    def _small(self) -> bool:
        return self.values.numel() * self._parameters.numel() <= DENSE_ENTRIES

    def _forward(self, linear: Callable[[Tensor], Tensor]) -> Tensor:
        """The derivative of a linear function of Phi, with the parameters last."""
        theta, chunk = self._parameters, max(1, DENSE_ENTRIES // self.values.numel())

        def column(direction: Tensor) -> Tensor:
            return jvp(lambda at: linear(self._function(at)), (theta,), (direction,))[1]

        with torch.no_grad():  # the function may use tensors of the caller that require gradients
            identity = torch.eye(theta.numel(), dtype=theta.dtype, device=theta.device)
            return vmap(column, out_dims=-1, chunk_size=chunk)(identity)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        if self._small:
            return self.tensor @ direction
        with torch.no_grad():
            return jvp(self._function, (self._parameters,), (direction,))[1]

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        if self._small:
            return torch.einsum("iaj,ia->j", self.tensor, left @ right.T)
        with torch.no_grad():
            return vjp(self._function, self._parameters)[1](left @ right.T)[0]

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        if self._small:
            return torch.einsum("iaj,al->ilj", self.tensor, coefficients)
        return self._forward(lambda values: values @ coefficients)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        if self._small:
            adjoint = torch.einsum("iaj,il->alj", self.tensor, weights)
        else:
            adjoint = self._forward(lambda values: values.T @ weights)
        return torch.einsum("pa,alj->plj", factor, adjoint.to(factor.dtype))

    def block(self, start: int, stop: int) -> "DenseDerivatives":
        """See `FeatureDerivatives`."""
        part = DenseDerivatives.__new__(DenseDerivatives)
        part._function, part._parameters = lambda at: self._function(at)[start:stop], self._parameters
        part.values = self.values[start:stop]
        if self._small:
            part.tensor = self.tensor[start:stop]
        return part


@dataclass(frozen=True)
class FunctionFeatures(FeatureMap):
    """Features Phi = function(parameters, x), and perhaps an offset; build them with `from_function`."""

    function: Callable[[Tensor, Any], Tensor]
    initial: Tensor
    offset: Callable[[Tensor, Any], Tensor] | None = None
    cheap_adjoint = True

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        Phi = self.function(parameters, inputs)
        if self.offset is None:
            return Phi
        fixed = self.offset(parameters, inputs)
        if not isinstance(fixed, Tensor) or fixed.ndim not in (1, 2) or fixed.shape[0] != Phi.shape[0]:
            got = tuple(fixed.shape) if isinstance(fixed, Tensor) else type(fixed).__name__
            raise ArgumentError(
                f"offset must return a tensor ({Phi.shape[0]},) or ({Phi.shape[0]}, outputs), got {got}"
            )
        return torch.cat([Phi, fixed[:, None] if fixed.ndim == 1 else fixed], dim=1)

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`."""
        if self.offset is None:
            return 0
        return self(parameters, inputs).shape[1] - self.function(parameters, inputs).shape[1]

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        return DenseDerivatives(lambda at: self(at, inputs), parameters)

    def prepare(self, inputs: Any) -> Any:
        """The inputs as they are: only the function knows their shape."""
        return inputs

    def cast(self, dtype: torch.dtype, device: torch.device) -> "FunctionFeatures":
        """See `FeatureMap`."""
        return replace(self, initial=self.initial.to(dtype=dtype, device=device))

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """Not possible: nothing is known about the function's parameters."""
        raise ArgumentError("features cannot be sampled: give initial_parameters, or start from those of from_function")


def from_function(
    function: Callable[[Tensor, Any], Tensor],
    parameters: Any,
    *,
    offset: Callable[[Tensor, Any], Tensor] | None = None,
) -> FunctionFeatures:
    """Features Phi(theta) = function(theta, x), for models linear in all but a few parameters.

    Args:
        function: maps theta, a 1-D torch tensor (q,), and the problem's inputs as a torch tensor of their own shape to
            Phi (m, n); written with torch operations that torch.func can differentiate.
        parameters: (q,) starting values, numpy, torch or a list.
        offset: a term of the model with no coefficient in front, o(theta, x) of shape (m,) or (m, k): what is fitted
            is o(theta) + Phi(theta) C.

    Raises:
        ArgumentTypeError: `function` or `offset` cannot be called.
        ArgumentError: `parameters` is not one-dimensional, is empty or is not finite.
    """
    if not callable(function):
        raise ArgumentTypeError(f"function must be callable as function(parameters, x), got {function!r}")
    if offset is not None and not callable(offset):
        raise ArgumentTypeError(f"offset must be callable as offset(parameters, x), got {offset!r}")
    initial = to_tensor(parameters, "parameters", dtype=torch.float64)
    if initial.ndim != 1:
        raise ArgumentError(f"parameters must be one-dimensional, got shape {tuple(initial.shape)}")
    return FunctionFeatures(function, initial.clone(), offset)
