"""Features with columns multiplied by constants, Phi -> Phi D for a diagonal D.

At lam = 0 the reduced problem is the same; at lam > 0 a column multiplied by s > 1 is penalised less, as if its
coefficient cost lam / s^2. With s = sqrt(r) it stands for r exact copies of itself: Phi D^2 Phi^T is the kernel of the
features with every column repeated.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features.protocol import FeatureDerivatives, FeatureMap
from grassvp.features.wrapping import WrappedFeatures

__all__ = ["ScaledFeatures", "scaled"]


class ScaledDerivatives(FeatureDerivatives):
    """Phi D with products of its derivative, each from one product of the features without D."""

    def __init__(self, inner: FeatureDerivatives, factors: Tensor) -> None:
        self._inner, self._factors = inner, factors
        self.values = inner.values * factors

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.pushforward(direction) * self._factors

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.pullback(left, self._factors[:, None] * right)

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.contract(self._factors[:, None] * coefficients)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.contract_adjoint(weights, factor * self._factors)

    def block(self, start: int, stop: int) -> "ScaledDerivatives":
        """See `FeatureDerivatives`."""
        return ScaledDerivatives(self._inner.block(start, stop), self._factors)

    def gram(self, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.gram(basis, tail, factor * self._factors, weights)

    def gram_entries(self, rows: int, parameters: int) -> int:
        """See `FeatureDerivatives`."""
        return self._inner.gram_entries(rows, parameters)


@dataclass(frozen=True, eq=False)
class ScaledFeatures(WrappedFeatures):
    """Features whose column j is that of `features` times scales[j]; build them with `scaled`.

    Attributes:
        features: the features without the scales.
        scales: (n,) one for each column with a free coefficient; columns of an offset are left alone.
    """

    features: FeatureMap
    scales: Tensor

    @property
    def model(self) -> FeatureMap:
        """The scaled features of the fitted function."""
        return replace(self, features=self.features.model)

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        values = self.features(parameters, inputs)
        free = values.shape[1] - self.features.offset_columns(parameters, inputs)
        if free != len(self.scales):
            raise ArgumentError(f"scales must have one entry for each of {free} features, got {len(self.scales)}")
        return values * self._factors(values)

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        inner = self.features.derivatives(parameters, inputs)
        return ScaledDerivatives(inner, self._factors(inner.values))

    def cast(self, dtype: torch.dtype, device: torch.device) -> "ScaledFeatures":
        """See `FeatureMap`."""
        return ScaledFeatures(self.features.cast(dtype, device), self.scales.to(dtype=dtype, device=device))

    def prepare(self, inputs: Any) -> Any:
        """See `FeatureMap`."""
        return self.features.prepare(inputs)

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """See `FeatureMap`."""
        return self.features.sample(rng, inputs, scale)

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`."""
        return self.features.offset_columns(parameters, inputs)

    def units(self, inputs: Tensor) -> Tensor | None:
        """See `FeatureMap`."""
        return self.features.units(inputs)

    def limited(self, memory_limit: int) -> "ScaledFeatures":
        """See `FeatureMap`."""
        return replace(self, features=self.features.limited(memory_limit))

    def curvature(self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return self.features.curvature(parameters, inputs, left, self._factors(right.T)[:, None] * right)

    def curvature_product(
        self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        scaled_right = self._factors(right.T)[:, None] * right
        return self.features.curvature_product(parameters, inputs, left, scaled_right, direction)

    def _factors(self, values: Tensor) -> Tensor:
        """Diagonal of D for features (m, columns): the scales, and ones for the columns of an offset."""
        fixed = values.shape[1] - len(self.scales)
        return pad(self.scales, (0, fixed), value=1.0) if fixed else self.scales


def scaled(features: FeatureMap, scales: object) -> ScaledFeatures:
    """Features whose column j is multiplied by scales[j].

    Args:
        features: a feature map.
        scales: (n,) finite numbers, one for each column with a free coefficient.

    Raises:
        ArgumentTypeError: `features` is no feature map, or the scales are no real numbers.
        ArgumentError: the scales are not one-dimensional or not finite; another number than the features have is
            refused when those are first evaluated.
    """
    if not isinstance(features, FeatureMap):
        raise ArgumentTypeError(f"features must be a feature map, got {type(features).__name__}")
    factors = to_tensor(scales, "scales", dtype=features.initial.dtype, device=features.initial.device)
    if factors.ndim != 1:
        raise ArgumentError(f"scales must have shape (features,), got {tuple(factors.shape)}")
    return ScaledFeatures(features, factors)
