"""Several hidden layers: per-row derivatives of an MLP by one forward and one backward sweep of plain matrix products.

With h_0 = x, z_l = h_{l-1} W_l^T + b_l, h_l = sigma(z_l) and Phi = [h_L, 1], the derivative of a contraction Phi C is
    delta_L = C^T sigma'(z_L),   delta_{l-1} = (delta_l W_l) sigma'(z_{l-1}),
    d(Phi C)[i, j] / d b_l = delta_l[i, j],   d(Phi C)[i, j] / d W_l = delta_l[i, j] h_{l-1}[i]^T,
for all rows i and outputs j at once: what `vmap` of reverse mode computes, without its overhead.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, sample_weights, weight_units, with_bias
from grassvp.features.one_hidden import OneHiddenLayer, layer_index
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, as_columns

__all__ = ["DeepDerivatives", "DeepMLP"]


@dataclass(frozen=True)
class DeepMLP(FeatureMap):
    """Features of an `MLP` with any number of hidden layers.

    Attributes:
        module: the network; only its shapes and activation are used.
        initial: (q,) parameters, layer by layer, weights before biases.
    """

    module: MLP
    initial: Tensor
    can_sample = True

    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        h = self._through(self.layers(parameters), inputs)
        return with_bias(h, 1.0) if self.module.bias_feature else h

    def _through(self, layers: Iterable[tuple[Tensor, Tensor]], h: Tensor) -> Tensor:
        for W, b in layers:
            h = activation_derivatives(self.module.activation, torch.addmm(b, h, W.T), 0)[0]
        return h

    def layers(self, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The weight and the bias of each layer, as views of a vector (q,)."""
        start = 0
        for outside, inside in self.module.shapes:
            middle, stop = start + outside * inside, start + outside * (inside + 1)
            yield vector[start:middle].view(outside, inside), vector[middle:stop]
            start = stop

    def derivatives(self, parameters: Tensor, inputs: Tensor) -> "DeepDerivatives":
        """See `FeatureMap`."""
        return DeepDerivatives(self, parameters, inputs)

    def prepare(self, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return as_columns(inputs, self.module.in_features)

    def cast(self, dtype: torch.dtype, device: torch.device) -> "DeepMLP":
        """See `FeatureMap`."""
        return replace(self, initial=self.initial.to(dtype=dtype, device=device))

    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """See `FeatureMap`."""
        return sample_weights(self.module, rng, inputs, scale).to(self.initial)

    def units(self, inputs: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return weight_units(self.module, inputs)

    def resized(self, width: int, *, bias_feature: bool | None = None) -> "DeepMLP":
        """The same features with another width of the last hidden layer, all weights zero, maybe without constant."""
        constant = self.module.bias_feature if bias_feature is None else bias_feature
        widths = [self.module.in_features, *(outside for outside, _ in self.module.shapes[:-1]), width]
        module = MLP(widths, self.module.activation, constant)
        initial = self.initial.new_zeros(sum(tensor.numel() for tensor in module.parameters()))
        nn.utils.vector_to_parameters(initial.to("cpu", torch.float64), module.parameters())
        return DeepMLP(module.requires_grad_(False), initial)

    def neuron_index(self, neurons: Tensor) -> Tensor:
        """Where theta has what a network with some neurons of the last hidden layer alone needs, in its order."""
        width, d = self.module.shapes[-1]
        start = self.initial.numel() - width * (d + 1)
        last = layer_index((width, d), neurons)
        return torch.cat([torch.arange(start, device=neurons.device), start + last])

    def selected(self, neurons: Tensor) -> "DeepMLP":
        """The same features of some neurons of the last hidden layer alone, `neurons` (count,) their numbers."""
        return replace(self.resized(len(neurons)), initial=self.initial[self.neuron_index(neurons)])

    def last_layer(self, parameters: Tensor, inputs: Tensor) -> tuple[OneHiddenLayer, Tensor]:
        """The last hidden layer at theta as features of its own inputs, and these inputs."""
        *before, (W, b) = self.layers(parameters)
        module = MLP([W.shape[1], W.shape[0]], self.module.activation, self.module.bias_feature)
        initial = torch.cat([W.reshape(-1), b])
        nn.utils.vector_to_parameters(initial.to("cpu", torch.float64), module.parameters())
        return OneHiddenLayer(module.requires_grad_(False), initial), self._through(before, inputs)


class DeepDerivatives(FeatureDerivatives):
    """Activations and their slopes of every layer, kept from the one forward sweep."""

    def __init__(self, features: DeepMLP, parameters: Tensor, inputs: Tensor) -> None:
        self._features, self._parameters = features, parameters
        self._weights = [W for W, _ in features.layers(parameters)]
        self._hidden, self._slopes = [inputs], []
        for W, b in features.layers(parameters):
            z = torch.addmm(b, self._hidden[-1], W.T)
            value, slope = activation_derivatives(features.module.activation, z, 1)
            self._hidden.append(value)
            self._slopes.append(slope)
        self.values = with_bias(value, 1.0) if features.module.bias_feature else value  # pyright: ignore[reportPossiblyUnbound]

    def block(self, start: int, stop: int) -> "DeepDerivatives":
        """See `FeatureDerivatives`; nothing is evaluated again."""
        part = DeepDerivatives.__new__(DeepDerivatives)
        part._features, part._parameters, part._weights = self._features, self._parameters, self._weights
        part._hidden = [h[start:stop] for h in self._hidden]
        part._slopes = [slope[start:stop] for slope in self._slopes]
        part.values = self.values[start:stop]
        return part

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        dh = torch.zeros_like(self._hidden[0])
        steps = zip(self._weights, self._features.layers(direction), self._hidden, self._slopes, strict=False)
        for W, (dW, db), h, slope in steps:
            dh = (torch.addmm(db, h, dW.T) + dh @ W.T) * slope
        return with_bias(dh, 0.0) if self._features.module.bias_feature else dh

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        width = self._slopes[-1].shape[1]
        pieces: list[Tensor] = []
        delta = left @ right[:width].T
        for W, h, slope in zip(reversed(self._weights), self._hidden[-2::-1], reversed(self._slopes), strict=True):
            delta = delta * slope
            pieces += [delta.sum(0), (delta.T @ h).reshape(-1)]
            delta = delta @ W
        return torch.cat(pieces[::-1])

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        m, k, width = self.values.shape[0], coefficients.shape[1], self._slopes[-1].shape[1]
        G = self.values.new_empty(m, k, self._parameters.numel())
        return self._backward(coefficients[:width].T.expand(m, k, width), G)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`: one reverse sweep for each row of the factor and each output."""
        rows = [
            torch.stack([self.pullback(weights[:, j : j + 1], row[:, None]) for j in range(weights.shape[1])])
            for row in factor.to(self.values.dtype)
        ]
        return torch.stack(rows)

    def _backward(self, seed: Tensor, G: Tensor) -> Tensor:
        """Fill G (m, k, q) with the derivatives of a contraction whose derivative by h_L is `seed` (m, k, width)."""
        m, k, _ = G.shape
        ends = np.cumsum([0, *(W.numel() + W.shape[0] for W in self._weights)])
        delta = seed
        for depth in reversed(range(len(self._weights))):
            W, h, (start, stop) = self._weights[depth], self._hidden[depth], list(pairwise(ends))[depth]
            delta = delta * self._slopes[depth][:, None, :]
            middle = start + W.numel()
            torch.mul(delta[:, :, :, None], h[:, None, None, :], out=G[:, :, start:middle].unflatten(2, tuple(W.shape)))
            G[:, :, middle:stop] = delta
            delta = (delta.reshape(m * k, -1) @ W).view(m, k, -1)
        return G
