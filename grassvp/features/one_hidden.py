"""One hidden layer, and second-order operators of it: the whole derivative in closed form.

With z_a = w_a . x + b_a and an operator L = c + sum_i c_i d_i + sum_ij c_ij d_i d_j whose coefficients may vary from
row to row, L sigma(z_a) = c sigma + s1_a sigma' + s2_a sigma'' for
s1_a = sum_i c_i w_ai and s2_a = sum_ij c_ij w_ai w_aj.
Parameter j moves the column of its own neuron only, so DPhi is a matrix of m x q slopes and not a tensor:
  d/db_a    = c sigma' + s1_a sigma'' + s2_a sigma''' =: beta_a
  d/dw_ai   = x_i beta_a + c_i sigma' + (d s2_a / d w_ai) sigma''.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import torch
from torch import Tensor

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, sample_weights, weight_units, with_bias
from grassvp.features.operators import DifferentialOperator
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, as_columns

__all__ = ["ColumnSparseDerivatives", "OneHiddenDerivatives", "OneHiddenLayer"]


class ColumnSparseDerivatives(FeatureDerivatives):
    """DPhi where each parameter moves one column: D_j Phi = slopes[:, j] e_{columns[j]}^T."""

    columns: Tensor
    slopes: Tensor

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return torch.zeros_like(self.values).index_add_(1, self.columns, self.slopes * direction)

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return ((left.T @ self.slopes) * right.T[:, self.columns]).sum(0)

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self.slopes[:, None, :] * coefficients.T[:, self.columns]

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return factor[:, None, self.columns] * (weights.T @ self.slopes).to(factor.dtype)

    def gram(self, basis: Tensor, factor: Tensor, weights: Tensor | None) -> Tensor:
        """See `FeatureDerivatives`: an entrywise product of two q x q Gram matrices."""
        S = self.slopes if weights is None else weights[:, None] * self.slopes
        S = S - basis @ (basis.T @ S)
        outer = factor.T @ factor
        return (S.T @ S) * outer[self.columns][:, self.columns].to(S.dtype)


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
    def model(self) -> FeatureMap:
        """The plain features, without the operator."""
        return OneHiddenLayer(self.module, self.initial)

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return OneHiddenDerivatives(self, parameters, inputs).values

    def derivatives(self, parameters: Tensor, inputs: Tensor) -> ColumnSparseDerivatives:
        """See `FeatureMap`."""
        return OneHiddenDerivatives(self, parameters, inputs)

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

    def units(self, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return weight_units(self.module, inputs)

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


class OneHiddenDerivatives(ColumnSparseDerivatives):
    """Values at once; slopes on first use, from the activation's derivatives."""

    def __init__(self, features: OneHiddenLayer, parameters: Tensor, inputs: Tensor) -> None:
        width, d = features.module.shapes[0]
        self._operator, self._inputs = features.operator, inputs
        self._weights, bias = parameters[: width * d].view(width, d), parameters[width * d :]
        z = torch.addmm(bias, inputs, self._weights.T)
        # One derivative more than the values need: the slopes use it, and it costs less than the activation itself.
        order = 0 if features.operator is None else features.operator.order
        self._sigma = activation_derivatives(features.module.activation, z, order + 1)
        hidden, constant = self._hidden()
        self.values = with_bias(hidden, constant) if features.module.bias_feature else hidden

    def block(self, start: int, stop: int) -> "OneHiddenDerivatives":
        """See `FeatureDerivatives`; nothing is evaluated again."""
        part = OneHiddenDerivatives.__new__(OneHiddenDerivatives)
        part._operator = None if self._operator is None else self._operator.block(start, stop)
        part._inputs, part._weights, part.values = self._inputs[start:stop], self._weights, self.values[start:stop]
        part._sigma = [entry[start:stop] for entry in self._sigma]
        return part

    def _hidden(self) -> tuple[Tensor, Tensor | float]:
        operator = self._operator
        if operator is None:
            return self._sigma[0], 1.0
        hidden = operator.value[:, None] * self._sigma[0]
        if operator.order >= 1:
            hidden = hidden + self._first * self._sigma[1]
        if operator.order >= 2:
            hidden = hidden + self._second * self._sigma[2]
        return hidden, operator.value

    @cached_property
    def _first(self) -> Tensor:
        return self._operator.first @ self._weights.T  # pyright: ignore[reportOptionalMemberAccess]

    @cached_property
    def _second(self) -> Tensor:
        i, j = self._operator.pairs  # pyright: ignore[reportOptionalMemberAccess]
        return self._operator.second @ (self._weights[:, i] * self._weights[:, j]).T  # pyright: ignore[reportOptionalMemberAccess]

    @cached_property
    def columns(self) -> Tensor:
        """Column of Phi that each parameter moves, (q,)."""
        width, d = self._weights.shape
        neuron = torch.arange(width, device=self._inputs.device)
        return torch.cat([neuron.repeat_interleave(d), neuron])

    @cached_property
    def slopes(self) -> Tensor:
        """Derivative of that column by that parameter, (m, q)."""
        rows, (width, d) = self._inputs.shape[0], self._weights.shape
        slopes = self._inputs.new_empty(rows, width * (d + 1))
        weight_slopes, bias_slopes = slopes[:, : width * d].view(rows, width, d), slopes[:, width * d :]
        if self._operator is None:
            bias_slopes.copy_(self._sigma[1])
            torch.mul(bias_slopes[:, :, None], self._inputs[:, None, :], out=weight_slopes)
            return slopes
        self._operator_slopes(weight_slopes, bias_slopes)
        return slopes

    def _operator_slopes(self, weight_slopes: Tensor, bias_slopes: Tensor) -> None:
        operator: DifferentialOperator = self._operator  # pyright: ignore[reportAssignmentType]
        sigma = self._sigma
        torch.mul(operator.value[:, None], sigma[1], out=bias_slopes)
        if operator.order >= 1:
            bias_slopes.addcmul_(self._first, sigma[2])
        if operator.order >= 2:
            bias_slopes.addcmul_(self._second, sigma[3])
        torch.mul(bias_slopes[:, :, None], self._inputs[:, None, :], out=weight_slopes)
        if operator.order >= 1:
            weight_slopes.addcmul_(operator.first[:, None, :], sigma[1][:, :, None])
        for p, (i, j) in enumerate(zip(*operator.pairs, strict=True) if operator.order >= 2 else ()):
            bend = operator.second[:, p, None] * sigma[2]
            weight_slopes[:, :, i].addcmul_(bend, self._weights[:, j])
            weight_slopes[:, :, j].addcmul_(bend, self._weights[:, i])
