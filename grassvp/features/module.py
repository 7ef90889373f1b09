"""Any torch.nn.Module as features, alone or under a differential operator, through torch.func."""

import copy
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from grassvp.errors import ArgumentError
from grassvp.features.jets import module_jet
from grassvp.features.mlp import is_plain_mlp, sample_weights, weight_units
from grassvp.features.operators import DifferentialOperator
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, as_columns

__all__ = ["ModuleFeatures", "RowwiseDerivatives"]

MEMORY_LIMIT = 2**28  # bytes for the widest intermediate of one chunk, unless the problem sets another limit


@dataclass(frozen=True)
class ModuleFeatures(FeatureMap):
    """Features of a module (m, d) -> (m, n) whose rows are independent; called through `torch.func.functional_call`.

    The module is copied and put in evaluation mode, so that a caller's module is never written and dropout or batch
    statistics do not make the features random or couple the rows.

    Attributes:
        module: the copy; its own parameters serve as names and shapes.
        initial: (q,) parameters at the time of the copy.
        buffers: the copy's buffers in the working type.
        operator: coefficients of a differential operator applied to the features, or None.
        memory_limit: bytes that the widest intermediate of one chunk of rows may take.
    """

    module: nn.Module
    initial: Tensor
    buffers: dict[str, Tensor] = field(default_factory=dict)
    operator: DifferentialOperator | None = None
    memory_limit: int = MEMORY_LIMIT
    row_by_row = True

    @staticmethod
    def of(module: nn.Module, operator: DifferentialOperator | None = None) -> "ModuleFeatures":
        """Features of a copy of `module`."""
        frozen = copy.deepcopy(module).eval().requires_grad_(False)
        for part in frozen.modules():
            if getattr(part, "inplace", False):
                vars(part)["inplace"] = False  # torch.func needs pure functions
        parameters = list(frozen.parameters())
        if not parameters:
            raise ArgumentError("features has no parameters: a module needs at least one to be trained")
        initial = nn.utils.parameters_to_vector(parameters).detach().clone()
        return ModuleFeatures(frozen, initial, dict(frozen.named_buffers()), operator)

    @property
    def can_sample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True for an MLP."""
        return is_plain_mlp(self.module)

    @property
    def appended_columns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One for each term of the operator."""
        return 0 if self.operator is None else self.operator.coefficients().shape[1]

    @property
    def model(self) -> FeatureMap:
        """The plain features, without the operator."""
        return ModuleFeatures(self.module, self.initial, self.buffers)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        state = self._unflatten(parameters) | self.buffers
        operator = self.operator
        if operator is None:
            return functional_call(self.module, state, (inputs,))
        d = operator.in_features
        jet = module_jet(self.module, state, inputs[:, :d], operator.indices)
        return operator.apply(inputs[:, d:], jet)

    def _unflatten(self, parameters: Tensor) -> dict[str, Tensor]:
        named = list(self.module.named_parameters())
        pieces = parameters.split([tensor.numel() for _, tensor in named])
        return {name: piece.view(tensor.shape) for (name, tensor), piece in zip(named, pieces, strict=True)}

    def derivatives(self, parameters: Tensor, inputs: Tensor) -> FeatureDerivatives:
        """See `FeatureMap`."""
        return RowwiseDerivatives(self, parameters, inputs)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Columns (m, d); with an operator, its coefficients follow as further columns (they belong to the rows)."""
        columns = as_columns(inputs, self.module.in_features if is_plain_mlp(self.module) else None)
        if self.operator is None:
            return columns
        self.operator.check_rows(columns.shape[0])
        return torch.cat([columns, self.operator.coefficients().to(columns)], dim=1)

    def cast(self, dtype: torch.dtype, device: torch.device) -> "ModuleFeatures":
        """See `FeatureMap`."""
        buffers = {
            name: buffer.to(device=device, dtype=dtype if buffer.is_floating_point() else None)
            for name, buffer in self.buffers.items()
        }
        operator = None if self.operator is None else self.operator.cast(dtype, device)
        initial = self.initial.to(dtype=dtype, device=device)
        return replace(self, initial=initial, buffers=buffers, operator=operator)

    def limited(self, memory_limit: int) -> "ModuleFeatures":
        """See `FeatureMap`."""
        return replace(self, memory_limit=memory_limit)

    def units(self, inputs: Tensor) -> Tensor | None:
        """See `FeatureMap`; known for a plain MLP only."""
        return weight_units(self.module, inputs) if is_plain_mlp(self.module) and self.operator is None else None

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """See `FeatureMap`; an MLP only."""
        if not is_plain_mlp(self.module):
            raise ArgumentError("features cannot be sampled: only features.mlp knows how to draw its weights")
        return sample_weights(self.module, rng, inputs[:, : self.module.in_features], scale).to(self.initial)


class RowwiseDerivatives(FeatureDerivatives):
    """Derivatives of independent rows, batched by vmap: one reverse sweep for each output, all rows together."""

    def __init__(self, features: ModuleFeatures, parameters: Tensor, inputs: Tensor) -> None:
        self._features, self._parameters, self._inputs = features, parameters, inputs
        self.values = features(parameters, inputs)

    def block(self, start: int, stop: int) -> "RowwiseDerivatives":
        """See `FeatureDerivatives`."""
        part = RowwiseDerivatives.__new__(RowwiseDerivatives)
        part._features, part._parameters = self._features, self._parameters
        part._inputs, part.values = self._inputs[start:stop], self.values[start:stop]
        return part

    def _chunk(self, entries: int) -> int:
        """How many slices of so many entries one chunk may have."""
        return max(1, self._features.memory_limit // (max(entries, 1) * self.values.element_size()))

    def _function(self, parameters: Tensor) -> Tensor:
        return self._features(parameters, self._inputs)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return jvp(self._function, (self._parameters,), (direction,))[1]

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return vjp(self._function, self._parameters)[1](left @ right.T)[0]

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        q, k = self._parameters.numel(), coefficients.shape[1]

        def row(parameters: Tensor, x: Tensor) -> Tensor:
            return self._features(parameters, x[None])[0] @ coefficients

        per_row = vmap(jacrev(row), in_dims=(None, 0), chunk_size=self._chunk(q * k))
        return per_row(self._parameters, self._inputs)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        left = factor.to(self.values.dtype)

        def contracted(parameters: Tensor) -> Tensor:
            return left @ (self._function(parameters).T @ weights)

        return jacrev(contracted, chunk_size=self._chunk(self.values.numel()))(self._parameters)  # pyright: ignore[reportReturnType]
