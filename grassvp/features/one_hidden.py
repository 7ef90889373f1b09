"""One hidden layer, alone or under a differential operator, with closed-form derivatives."""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, sample_weights, weight_units, with_bias
from grassvp.features.neurons import OperatorNeurons, PlainNeurons
from grassvp.features.operators import DifferentialOperator
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, as_columns

__all__ = ["OneHiddenLayer", "layer_index"]


@dataclass(frozen=True)
class OneHiddenLayer(FeatureMap):
    """Features (L sigma)(x W^T + b) of a one-hidden-layer `MLP`, L the identity unless an operator is given.

    Attributes:
        module: the network; only its shape and activation are used.
        initial: (q,) parameters, all weights row by row and then the biases.
        operator: coefficients of L, one set for each row of the inputs, or None.
    """

    module: MLP
    initial: Tensor
    operator: DifferentialOperator | None = None
    cheap_adjoint = True
    can_sample = True

    @property
    def row_bound(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True under an operator."""
        return self.operator is not None

    @property
    def model(self) -> FeatureMap:
        """The plain features, without the operator."""
        return OneHiddenLayer(self.module, self.initial)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        width, d = self.module.shapes[0]
        weights = parameters[: width * d].view(width, d)
        z = torch.addmm(parameters[width * d :], inputs, weights.T)
        if self.operator is None:
            hidden, constant = activation_derivatives(self.module.activation, z, 0)[0], 1.0
        else:
            sigma = activation_derivatives(self.module.activation, z, self.operator.order)
            hidden, constant = self.operator.of_neurons(sigma, weights), self.operator.value
        return with_bias(hidden, constant) if self.module.bias_feature else hidden

    def derivatives(self, parameters: Tensor, inputs: Tensor) -> FeatureDerivatives:
        """See `FeatureMap`."""
        if self.operator is None:
            return PlainNeurons(self.module, parameters, inputs)
        return OperatorNeurons(self.module, parameters, inputs, self.operator)

    def prepare(self, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        columns = as_columns(inputs, self.module.in_features)
        if self.operator is not None:
            self.operator.check_rows(columns.shape[0])
        return columns

    def cast(self, dtype: torch.dtype, device: torch.device) -> "OneHiddenLayer":
        """See `FeatureMap`."""
        operator = None if self.operator is None else self.operator.cast(dtype, device)
        return OneHiddenLayer(self.module, self.initial.to(dtype=dtype, device=device), operator)

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """See `FeatureMap`."""
        return sample_weights(self.module, rng, inputs, scale).to(self.initial)

    def resized(self, width: int, *, bias_feature: bool | None = None) -> "OneHiddenLayer":
        """The same features with another number of neurons, all weights zero, and perhaps without the constant."""
        constant = self.module.bias_feature if bias_feature is None else bias_feature
        module = MLP([self.module.in_features, width], self.module.activation, constant)
        initial = self.initial.new_zeros(width * (self.module.in_features + 1))
        nn.utils.vector_to_parameters(initial.to("cpu", torch.float64), module.parameters())
        return OneHiddenLayer(module.requires_grad_(False), initial, self.operator)

    def neuron_index(self, neurons: Tensor) -> Tensor:
        """Where theta has the parameters of some neurons, in the order of a network that has these alone."""
        return layer_index(self.module.shapes[0], neurons)

    def selected(self, neurons: Tensor) -> "OneHiddenLayer":
        """The same features of some neurons alone, `neurons` (count,) their numbers."""
        return replace(self.resized(len(neurons)), initial=self.initial[self.neuron_index(neurons)])

    def last_layer(self, parameters: Tensor, inputs: Tensor) -> tuple["OneHiddenLayer", Tensor]:
        """The last hidden layer at theta as features of its own inputs, and these inputs."""
        return replace(self, initial=parameters), inputs

    def at_rows(self, index: Any) -> "OneHiddenLayer":
        """The features of some rows, named by a slice or an index tensor: an operator's coefficients belong to rows."""
        return replace(self, operator=None if self.operator is None else self.operator.at_rows(index))

    def units(self, inputs: Tensor) -> Tensor | None:
        """See `FeatureMap`; None under an operator, where a weight's size says little about what changing it does."""
        return weight_units(self.module, inputs) if self.operator is None else None

    def curvature(self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`: without an operator, one (d + 1) x (d + 1) block for each neuron, in closed form."""
        if self.operator is not None:
            return super().curvature(parameters, inputs, left, right)
        bend, (width, d) = self._bend(parameters, inputs, left, right), self.module.shapes[0]
        H = inputs.new_zeros(width * (d + 1), width * (d + 1))
        neuron = torch.arange(width, device=inputs.device)
        extended = with_bias(inputs, 1.0)
        index = [neuron * d + i for i in range(d)] + [width * d + neuron]
        for i, j in product(range(d + 1), repeat=2):
            H[index[i], index[j]] = (extended[:, i] * extended[:, j]) @ bend
        return H

    def curvature_product(
        self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        if self.operator is not None:
            return super().curvature_product(parameters, inputs, left, right, direction)
        width, d = self.module.shapes[0]
        weights, bias = direction[: width * d].view(width, d), direction[width * d :]
        bent = self._bend(parameters, inputs, left, right) * torch.addmm(bias, inputs, weights.T)
        return torch.cat([(bent.T @ inputs).reshape(-1), bent.sum(0)])

    def _bend(self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """(S C^T) sigma''(z), entry by entry, (m, width)."""
        width, d = self.module.shapes[0]
        z = torch.addmm(parameters[width * d :], inputs, parameters[: width * d].view(width, d).T)
        return activation_derivatives(self.module.activation, z, 2)[2].mul_(left @ right[:width].T)


def layer_index(shape: tuple[int, int], neurons: Tensor) -> Tensor:
    """Where the parameters of a layer, `shape` (outside, inside), has those of some neurons: weights, then biases."""
    width, d = shape
    weights = neurons[:, None] * d + torch.arange(d, device=neurons.device)
    return torch.cat([weights.reshape(-1), width * d + neurons])
