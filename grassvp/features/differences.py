"""Rows with the features at other inputs subtracted: differences of a function at two points, as in u(a) - u(b) = 0."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.features.protocol import FeatureDerivatives, FeatureMap

__all__ = ["RowDifferences", "RowDifferencesDerivatives"]


class RowDifferencesDerivatives(FeatureDerivatives):
    """Phi with other features subtracted from its last rows, and products of its derivative."""

    def __init__(self, first: FeatureDerivatives, second: FeatureDerivatives) -> None:
        self._first, self._second = first, second
        self._plain = len(first.values) - len(second.values)  # rows from which nothing is subtracted
        self.values = _less(first.values, second.values)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return _less(self._first.pushforward(direction), self._second.pushforward(direction))

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._first.pullback(left, right) - self._second.pullback(left[self._plain :], right)

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        G = self._first.contract(coefficients)
        G[self._plain :] -= self._second.contract(coefficients)
        return G

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        there = self._second.contract_adjoint(weights[self._plain :], factor)
        return self._first.contract_adjoint(weights, factor) - there

    def block(self, start: int, stop: int) -> FeatureDerivatives:
        """See `FeatureDerivatives`: of a block, too, the rows with differences are the last ones."""
        first = self._first.block(start, stop)
        if stop <= self._plain:
            return first
        return RowDifferencesDerivatives(first, self._second.block(max(start - self._plain, 0), stop - self._plain))


@dataclass(frozen=True, eq=False)
class RowDifferences(FeatureMap):
    """Phi_first(theta; inputs), from whose last p rows the p rows Phi_second(theta; second_inputs) are subtracted.

    Such are the rows of a periodic condition L u(a) - L u(b) = 0 below those of an equation, with the points a as the
    last inputs and the points b as the second ones.

    Attributes:
        first: feature map of the inputs.
        second: feature map with the same parameters and as many columns.
        second_inputs: (p, d) inputs as a user gives them, at most as many rows as the inputs have.
    """

    first: FeatureMap
    second: FeatureMap
    second_inputs: Tensor

    def __post_init__(self) -> None:
        counts = self.first.initial.numel(), self.second.initial.numel()
        if counts[0] != counts[1]:
            raise ArgumentError(f"second must have the {counts[0]} parameters of first, got {counts[1]}")

    @property
    def initial(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(q,) parameters of the first features."""
        return self.first.initial

    @property
    def cheap_adjoint(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where it is for both."""
        return self.first.cheap_adjoint and self.second.cheap_adjoint

    @property
    def can_sample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the first features have it."""
        return self.first.can_sample

    @property
    def row_bound(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True: the last rows belong to the second inputs."""
        return True

    @property
    def appended_columns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the first features."""
        return self.first.appended_columns

    @property
    def model(self) -> FeatureMap:
        """That of the first features, without differences."""
        return self.first.model

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        return self._checked(self.first(parameters, inputs), self.second(parameters, self._there))

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        first, second = self.first.derivatives(parameters, inputs), self.second.derivatives(parameters, self._there)
        return RowDifferencesDerivatives(first, second)

    def cast(self, dtype: torch.dtype, device: torch.device) -> "RowDifferences":
        """See `FeatureMap`."""
        inputs = self.second_inputs.to(dtype=dtype, device=device)
        return RowDifferences(self.first.cast(dtype, device), self.second.cast(dtype, device), inputs)

    def prepare(self, inputs: Any) -> Any:
        """See `FeatureMap`; the second inputs are checked as well."""
        prepared = self.first.prepare(inputs)
        if len(self._there) > len(prepared):
            raise ArgumentError(
                f"second_inputs must have at most as many rows as inputs, {len(prepared)}, got {len(self._there)}"
            )
        return prepared

    def sample(self, rng: np.random.Generator, inputs: Any, scale: float) -> Tensor:
        """See `FeatureMap`; the second inputs are taken to lie where the first ones do."""
        return self.first.sample(rng, inputs, scale)

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`; an offset of the features has differences, too."""
        return self.first.offset_columns(parameters, inputs)

    def outputs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return self.first.outputs(values, coefficients)

    def units(self, inputs: Any) -> Tensor | None:
        """See `FeatureMap`; None where either features know none."""
        return None if self.second.units(self._there) is None else self.first.units(inputs)

    def limited(self, memory_limit: int) -> "RowDifferences":
        """See `FeatureMap`."""
        return replace(self, first=self.first.limited(memory_limit), second=self.second.limited(memory_limit))

    def curvature(self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`."""
        there = self.second.curvature(parameters, self._there, left[-len(self._there) :], right)
        return self.first.curvature(parameters, inputs, left, right) - there

    def curvature_product(
        self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        last = left[-len(self._there) :]
        there = self.second.curvature_product(parameters, self._there, last, right, direction)
        return self.first.curvature_product(parameters, inputs, left, right, direction) - there

    @cached_property
    def _there(self) -> Any:
        """The second inputs as the second features take them."""
        return self.second.prepare(self.second_inputs)

    def _checked(self, here: Tensor, there: Tensor) -> Tensor:
        if here.shape[1] != there.shape[1] or len(here) < len(there):
            raise ArgumentError(
                f"first and second must have equally many columns, and second at most as many rows, got features of "
                f"shape {tuple(here.shape)} and {tuple(there.shape)}"
            )
        return _less(here, there)


def _less(here: Tensor, there: Tensor) -> Tensor:
    """`here` with `there` subtracted from its last rows."""
    plain = len(here) - len(there)
    return torch.cat([here[:plain], here[plain:] - there])
