"""Features of a mapped argument, times a known function, beside a known one: u(x) = g(x) + D(x) N(e(x)).

What holds by construction - periodicity by an embedding e, values on a boundary by D and g - is the same to the
projection as any features: the rows of Phi are multiplied by D, and g is a column with a fixed coefficient.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, as_columns, at_rows
from grassvp.features.wrapping import WrappedFeatures

__all__ = ["Composed", "ComposedDerivatives", "WithModel"]


class ComposedDerivatives(FeatureDerivatives):
    """[D Phi | g] with products of its derivative; D = `multiplier` (m,) and g = `lift` (m,), None for 1 and no g."""

    def __init__(self, inner: FeatureDerivatives, multiplier: Tensor | None, lift: Tensor | None) -> None:
        self._inner, self._multiplier, self._lift = inner, multiplier, lift
        self._width = inner.values.shape[1]
        self.values = _with_lift(self._times(inner.values), lift)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        moved = self._times(self._inner.pushforward(direction))
        return moved if self._lift is None else pad(moved, (0, 1))

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.pullback(self._times(left), right[: self._width])

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._times(self._inner.contract(coefficients[: self._width]))

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._inner.contract_adjoint(self._times(weights), factor[:, : self._width])

    def block(self, start: int, stop: int) -> "ComposedDerivatives":
        """See `FeatureDerivatives`."""
        D = None if self._multiplier is None else self._multiplier[start:stop]
        g = None if self._lift is None else self._lift[start:stop]
        return ComposedDerivatives(self._inner.block(start, stop), D, g)

    def gram(self, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None) -> Tensor:
        """See `FeatureDerivatives`; D acts as further weights."""
        W = self._multiplier if weights is None else self._times(weights)
        return self._inner.gram(basis, tail, factor[:, : self._width], W)

    def gram_entries(self, rows: int, parameters: int) -> int:
        """See `FeatureDerivatives`."""
        return self._inner.gram_entries(rows, parameters)

    def _times(self, rows: Tensor) -> Tensor:
        return _scaled_rows(rows, self._multiplier)


@dataclass(frozen=True, eq=False)
class Composed(WrappedFeatures):
    """Features [D(x) Phi(theta; e(x)) | g(x)] of x (rows, d); the column g has the coefficient 1.

    Attributes:
        features: Phi, of e(x).
        embedding: e, maps (rows, d) to (rows, inputs of Phi); None for the identity.
        multiplier: D, maps (rows, d) to (rows,); None for 1.
        lift: g, maps (rows, d) to (rows,); None for a function without it, whose offset is then that of Phi, if any.
        in_features: d.
    """

    features: FeatureMap
    embedding: Callable[[Tensor], Tensor] | None
    multiplier: Callable[[Tensor], Tensor] | None
    lift: Callable[[Tensor], Tensor] | None
    in_features: int

    def __post_init__(self) -> None:
        if not isinstance(self.features, FeatureMap):
            raise ArgumentTypeError(f"features must be a feature map, got {type(self.features).__name__}")
        check_count(self.in_features, "in_features")
        for name in ("embedding", "multiplier", "lift"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise ArgumentTypeError(f"{name} must be callable or None, got {function!r}")

    @property
    def model(self) -> "Composed":
        """The same of the features of the fitted function."""
        return replace(self, features=self.features.model)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """See `FeatureMap`.

        Raises:
            ArgumentError: a result of `embedding`, `multiplier` or `lift` of another shape, or `lift` beside an offset
                of Phi.
        """
        y, D, g = self._parts(inputs)
        if g is not None and self.features.offset_columns(parameters, y):
            raise ArgumentError("lift: the features have an offset already; add the lift to it")
        return _with_lift(_scaled_rows(self.features(parameters, y), D), g)

    def derivatives(self, parameters: Tensor, inputs: Tensor) -> ComposedDerivatives:
        """See `FeatureMap`."""
        y, D, g = self._parts(inputs)
        return ComposedDerivatives(self.features.derivatives(parameters, y), D, g)

    def prepare(self, inputs: Any) -> Tensor:
        """See `FeatureMap`: x (rows, d), and what Phi appends."""
        x, count = as_columns(inputs, self.in_features), self.appended_columns
        y = self.features.prepare(self._embedded(x))
        return torch.cat([x, y[:, y.shape[1] - count :]], dim=1) if count else x

    def cast(self, dtype: torch.dtype, device: torch.device) -> "Composed":
        """See `FeatureMap`; the functions are given inputs of that type."""
        return replace(self, features=self.features.cast(dtype, device))

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """See `FeatureMap`; slopes in units of e(x)."""
        return self.features.sample(rng, self._inner_inputs(inputs), scale)

    def offset_columns(self, parameters: Tensor, inputs: Tensor) -> int:
        """See `FeatureMap`."""
        return 1 if self.lift is not None else self.features.offset_columns(parameters, self._inner_inputs(inputs))

    def units(self, inputs: Tensor) -> Tensor | None:
        """See `FeatureMap`."""
        return self.features.units(self._inner_inputs(inputs))

    def limited(self, memory_limit: int) -> "Composed":
        """See `FeatureMap`."""
        return replace(self, features=self.features.limited(memory_limit))

    def curvature(self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`."""
        y, D, _ = self._parts(inputs)
        return self.features.curvature(parameters, y, _scaled_rows(left, D), self._free(right))

    def curvature_product(
        self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        y, D, _ = self._parts(inputs)
        return self.features.curvature_product(parameters, y, _scaled_rows(left, D), self._free(right), direction)

    def _parts(self, inputs: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What Phi is given, D and g at prepared inputs."""
        x = inputs[:, : self.in_features]
        return self._inner_inputs(inputs), _of_rows(self.multiplier, x, "multiplier"), _of_rows(self.lift, x, "lift")

    def _inner_inputs(self, inputs: Tensor) -> Tensor:
        y = self._embedded(inputs[:, : self.in_features])
        return torch.cat([y, inputs[:, self.in_features :]], dim=1) if self.appended_columns else y

    def _embedded(self, x: Tensor) -> Tensor:
        if self.embedding is None:
            return x
        y = self.embedding(x)
        if y.ndim != 2 or len(y) != len(x):
            raise ArgumentError(f"embedding must map ({len(x)}, {x.shape[1]}) to ({len(x)}, d), got {tuple(y.shape)}")
        return y

    def _free(self, right: Tensor) -> Tensor:
        """The rows of C that belong to Phi."""
        return right if self.lift is None else right[:-1]


@dataclass(frozen=True, eq=False)
class WithModel(WrappedFeatures):
    """Features whose fitted function is another feature map.

    For rows that are written in other coordinates than `predict` takes, or that are an operator on several unknowns.

    Attributes:
        features: the rows.
        function: the features of the fitted function, of the same parameters and coefficients.
    """

    features: FeatureMap
    function: FeatureMap

    def __post_init__(self) -> None:
        counts = self.features.initial.numel(), self.function.initial.numel()
        if counts[0] != counts[1]:
            raise ArgumentError(f"function must have the {counts[0]} parameters of features, got {counts[1]}")

    @property
    def model(self) -> FeatureMap:
        """The features of the fitted function."""
        return self.function

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        return self.features(parameters, inputs)

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        return self.features.derivatives(parameters, inputs)

    def cast(self, dtype: torch.dtype, device: torch.device) -> "WithModel":
        """See `FeatureMap`."""
        return WithModel(self.features.cast(dtype, device), self.function.cast(dtype, device))

    def prepare(self, inputs: Any) -> Any:
        """See `FeatureMap`."""
        return self.features.prepare(inputs)

    def sample(self, rng: np.random.Generator, inputs: Any, scale: float) -> Tensor:
        """See `FeatureMap`."""
        return self.features.sample(rng, inputs, scale)

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`."""
        return self.features.offset_columns(parameters, inputs)

    def outputs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """See `FeatureMap`; of the rows."""
        return self.features.outputs(values, coefficients)

    def units(self, inputs: Any) -> Tensor | None:
        """See `FeatureMap`."""
        return self.features.units(inputs)

    def limited(self, memory_limit: int) -> "WithModel":
        """See `FeatureMap`."""
        return WithModel(self.features.limited(memory_limit), self.function.limited(memory_limit))

    def at_rows(self, index: Any) -> "WithModel":
        """The features of some rows, named by a slice or an index tensor."""
        return replace(self, features=at_rows(self.features, index))

    def curvature(self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return self.features.curvature(parameters, inputs, left, right)

    def curvature_product(
        self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        return self.features.curvature_product(parameters, inputs, left, right, direction)


def _of_rows(function: Callable[[Tensor], Tensor] | None, x: Tensor, name: str) -> Tensor | None:
    """A function at x (rows, d), checked to be (rows,); None for None."""
    if function is None:
        return None
    values = function(x)
    if not isinstance(values, Tensor) or values.shape != x.shape[:1]:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ArgumentError(f"{name} must map {tuple(x.shape)} to ({len(x)},), got {got}")
    return values.to(x)


def _scaled_rows(rows: Tensor, multiplier: Tensor | None) -> Tensor:
    return rows if multiplier is None else multiplier.view(-1, *[1] * (rows.ndim - 1)) * rows


def _with_lift(values: Tensor, lift: Tensor | None) -> Tensor:
    return values if lift is None else torch.cat([values, lift[:, None]], dim=1)
