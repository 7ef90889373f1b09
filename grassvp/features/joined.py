"""What feature maps that join several others of the same inputs have in common: parameters, inputs, preparation."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features.protocol import FeatureMap

__all__ = ["JoinedFeatures", "own_parameters"]


@dataclass(frozen=True, eq=False)
class JoinedFeatures(FeatureMap):
    """Several feature maps of the same inputs, with parameters of their own or the same ones.

    Inputs are prepared as [x | extra_1 | ... | extra_U], where part u takes [x | extra_u].
    """

    parts: tuple[FeatureMap, ...]
    shared: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.parts, tuple) or not all(isinstance(part, FeatureMap) for part in self.parts):
            raise ArgumentTypeError(f"parts must be a tuple of feature maps, got {self.parts!r}")
        if not self.parts:
            raise ArgumentError("parts is empty: need at least one feature map")
        if not isinstance(self.shared, bool):
            raise ArgumentTypeError(f"shared must be True or False, got {self.shared!r}")
        if self.shared and len(set(self.sizes)) > 1:
            raise ArgumentError(
                f"shared: parts that read the same parameters must have equally many, got {list(self.sizes)}"
            )

    @cached_property
    def initial(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(q,) parameters of the first part, if they are shared, or of all one after another."""
        return self.parts[0].initial if self.shared else torch.cat([part.initial for part in self.parts])

    @property
    def can_sample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where all parts can be sampled."""
        return all(part.can_sample for part in self.parts)

    @property
    def row_bound(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where it is for any part."""
        return any(part.row_bound for part in self.parts)

    @property
    def appended_columns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of all parts."""
        return sum(part.appended_columns for part in self.parts)

    @property
    def model(self) -> Self:
        """The same of the parts' features of the fitted function."""
        return replace(self, parts=tuple(part.model for part in self.parts))

    def cast(self, dtype: torch.dtype, device: torch.device) -> Self:
        """See `FeatureMap`."""
        return replace(self, parts=tuple(part.cast(dtype, device) for part in self.parts))

    def limited(self, memory_limit: int) -> Self:
        """See `FeatureMap`."""
        return replace(self, parts=tuple(part.limited(memory_limit) for part in self.parts))

    def prepare(self, inputs: Any) -> Any:
        """See `FeatureMap`.

        Raises:
            ArgumentError: the parts take inputs of different shapes.
        """
        prepared = [part.prepare(inputs) for part in self.parts]
        counts = [part.appended_columns for part in self.parts]
        own = [x[:, : x.shape[1] - count] if count else x for x, count in zip(prepared, counts, strict=True)]
        if len({tuple(x.shape) for x in own}) > 1:
            shapes = ", ".join(str(tuple(x.shape)) for x in own)
            raise ArgumentError(f"inputs: the feature maps side by side take them in different shapes, {shapes}")
        extra = [x[:, x.shape[1] - count :] for x, count in zip(prepared, counts, strict=True) if count]
        return torch.cat([own[0], *extra], dim=1) if extra else own[0]

    def sample(self, rng: np.random.Generator, inputs: Any, scale: float) -> Tensor:
        """See `FeatureMap`; one draw of the first part where the parameters are shared."""
        drawn = zip(self.parts[:1] if self.shared else self.parts, self.inputs_of_parts(inputs), strict=False)
        return torch.cat([part.sample(rng, x, scale) for part, x in drawn])

    def units(self, inputs: Any) -> Tensor | None:
        """See `FeatureMap`; None where one part knows none."""
        found = [part.units(x) for part, x in zip(self.parts, self.inputs_of_parts(inputs), strict=True)]
        known = [each for each in found if each is not None]
        if len(known) < len(found):
            return None
        return known[0] if self.shared else torch.cat(known)

    def inputs_of_parts(self, inputs: Any) -> list[Any]:
        """What each part takes of the prepared inputs."""
        counts = [part.appended_columns for part in self.parts]
        if not any(counts):
            return [inputs] * len(self.parts)
        x, *extra = inputs.split([inputs.shape[1] - sum(counts), *counts], dim=1)
        return [torch.cat([x, own], dim=1) if own.shape[1] else x for own in extra]

    def each(self, parameters: Tensor, inputs: Any) -> list[tuple[FeatureMap, Tensor, Any]]:
        """The parts with what each of them is given."""
        thetas = own_parameters(parameters, self.sizes, self.shared)
        return list(zip(self.parts, thetas, self.inputs_of_parts(inputs), strict=True))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many parameters each part has."""
        return tuple(part.initial.numel() for part in self.parts)


def own_parameters(parameters: Tensor, sizes: tuple[int, ...], shared: bool) -> list[Tensor]:
    """What each part has of a vector (q,)."""
    return [parameters] * len(sizes) if shared else list(parameters.split(sizes))
