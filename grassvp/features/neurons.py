"""Derivatives of one hidden layer, in closed form: parameter j moves the column of its own neuron only.

DPhi is thus a matrix of m x q slopes and not a tensor, D_j Phi = slopes[:, j] e_{columns[j]}^T. With
z_a = w_a . x + b_a the slopes of sigma(z_a) are sigma'(z_a) [x; 1], which most products never need to form. Under an
operator L = sum_alpha c_alpha D^alpha whose coefficients may vary from row to row,
L sigma(z_a) = sum_k p_k sigma^(k) for the symbols p_k = sum_{|alpha| = k} c_alpha w_a^alpha of each order k, and
  d/db_a    = sum_k p_k sigma^(k+1) =: beta_a, that is L sigma'(z_a),
  d/dw_ai   = x_i beta_a + sum_k (d p_k / d w_ai) sigma^(k).
"""

from functools import cached_property

import torch
from torch import Tensor

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, with_bias
from grassvp.features.operators import DifferentialOperator
from grassvp.features.protocol import FeatureDerivatives, off_span

__all__ = ["OperatorNeurons", "PlainNeurons"]


class PlainNeurons(FeatureDerivatives):
    """Neurons sigma(W x + b): values and sigma' at once, everything else from these two."""

    def __init__(self, module: MLP, parameters: Tensor, inputs: Tensor) -> None:
        width, d = module.shapes[0]
        self._inputs = inputs
        z = torch.addmm(parameters[width * d :], inputs, parameters[: width * d].view(width, d).T)
        hidden, self._slope = activation_derivatives(module.activation, z, 1)
        self.values = with_bias(hidden, 1.0) if module.bias_feature else hidden

    def block(self, start: int, stop: int) -> "PlainNeurons":
        """See `FeatureDerivatives`; nothing is evaluated again."""
        part = PlainNeurons.__new__(PlainNeurons)
        part._inputs, part._slope = self._inputs[start:stop], self._slope[start:stop]
        part.values = self.values[start:stop]
        return part

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        width, d = self._slope.shape[1], self._inputs.shape[1]
        moved = torch.addmm(direction[width * d :], self._inputs, direction[: width * d].view(width, d).T)
        moved = moved.mul_(self._slope)
        return with_bias(moved, 0.0) if self.values.shape[1] > width else moved

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        delta = (left @ right[: self._slope.shape[1]].T).mul_(self._slope)
        return torch.cat([(delta.T @ self._inputs).reshape(-1), delta.sum(0)])

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        (m, width), d, k = self._slope.shape, self._inputs.shape[1], coefficients.shape[1]
        G = self._slope.new_empty(m, k, width * (d + 1))
        delta = G[:, :, width * d :]
        torch.mul(self._slope[:, None, :], coefficients[:width].T, out=delta)
        out = G[:, :, : width * d].unflatten(2, (width, d))
        torch.mul(delta[:, :, :, None], self._inputs[:, None, None, :], out=out)
        return G

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        (m, width), d, k = self._slope.shape, self._inputs.shape[1], weights.shape[1]
        extended = with_bias(self._inputs, 1.0)
        moments = (weights[:, :, None] * extended[:, None, :]).view(m, k * (d + 1)).T @ self._slope
        moments = moments.view(k, d + 1, width)
        columns = torch.cat([moments[:, :d].transpose(1, 2).reshape(k, width * d), moments[:, d]], dim=1)
        return factor[:, None, _columns(width, d, factor)] * columns.to(factor.dtype)

    def gram(self, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None) -> Tensor:
        """See `FeatureDerivatives`."""
        width, d = self._slope.shape[1], self._inputs.shape[1]
        slopes = torch.cat([(self._slope[:, :, None] * self._inputs[:, None, :]).flatten(1), self._slope], dim=1)
        return _gram(slopes, _columns(width, d, factor), basis, tail, factor, weights)

    def gram_entries(self, rows: int, parameters: int) -> int:
        """See `FeatureDerivatives`."""
        return self.values.shape[0] * parameters


class OperatorNeurons(FeatureDerivatives):
    """Neurons under a differential operator: values at once, slopes on first use."""

    def __init__(self, module: MLP, parameters: Tensor, inputs: Tensor, operator: DifferentialOperator) -> None:
        width, d = module.shapes[0]
        self._operator, self._inputs = operator, inputs
        self._weights = parameters[: width * d].view(width, d)
        z = torch.addmm(parameters[width * d :], inputs, self._weights.T)
        # One derivative more than the values need: the slopes use it, and it costs less than the activation itself.
        self._sigma = activation_derivatives(module.activation, z, operator.order + 1)
        hidden = operator.of_neurons(self._sigma, self._weights)
        self.values = with_bias(hidden, operator.value) if module.bias_feature else hidden

    def block(self, start: int, stop: int) -> "OperatorNeurons":
        """See `FeatureDerivatives`; nothing is evaluated again."""
        part = OperatorNeurons.__new__(OperatorNeurons)
        part._operator, part._weights = self._operator.at_rows(slice(start, stop)), self._weights
        part._inputs, part.values = self._inputs[start:stop], self.values[start:stop]
        part._sigma = [entry[start:stop] for entry in self._sigma]
        return part

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

    def gram(self, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None) -> Tensor:
        """See `FeatureDerivatives`."""
        return _gram(self.slopes, self.columns, basis, tail, factor, weights)

    def gram_entries(self, rows: int, parameters: int) -> int:
        """See `FeatureDerivatives`."""
        return self.values.shape[0] * parameters

    @cached_property
    def columns(self) -> Tensor:
        """Column of Phi that each parameter moves, (q,)."""
        return _columns(self._weights.shape[0], self._weights.shape[1], self._inputs)

    @cached_property
    def slopes(self) -> Tensor:
        """Derivative of that column by that parameter, (m, q)."""
        operator, sigma, (width, d) = self._operator, self._sigma, self._weights.shape
        slopes = self._inputs.new_empty(self._inputs.shape[0], width * (d + 1))
        weight_slopes, bias_slopes = slopes[:, : width * d].unflatten(1, (width, d)), slopes[:, width * d :]
        operator.of_neurons(sigma[1:], self._weights, out=bias_slopes)
        column = torch.empty_like(sigma[0])  # the slopes of one coordinate lie d entries apart: gather, then scatter
        for i in range(d):
            torch.mul(bias_slopes, self._inputs[:, i, None], out=column)
            for part in operator.parts:
                if i in part.coordinates:
                    column.addcmul_(part.symbol_slope(self._weights, i), sigma[part.order])
            weight_slopes[:, :, i] = column
        return slopes


def _columns(width: int, d: int, like: Tensor) -> Tensor:
    """Column of Phi that each parameter moves, (q,): weights neuron by neuron, then the biases."""
    neuron = torch.arange(width, device=like.device)
    return torch.cat([neuron.repeat_interleave(d), neuron])


def _gram(
    slopes: Tensor, columns: Tensor, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None
) -> Tensor:
    """`FeatureDerivatives.gram` as the entrywise product of two q x q Gram matrices."""
    S = slopes if weights is None else weights[:, None] * slopes
    inner = sum(part.T @ part for part in off_span(S, basis, tail))
    outer = factor.T @ factor
    return inner * outer[columns][:, columns].to(S.dtype)
