"""The multi-layer perceptron whose output layer is left to the projection."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from grassvp.arrays import check_choice, check_count
from grassvp.errors import ArgumentError
from grassvp.features.activations import ACTIVATIONS, activation_derivatives

__all__ = ["MLP", "is_plain_mlp", "mlp", "sample_weights", "weight_units", "with_bias"]


class MLP(nn.Module):
    """Hidden layers of a network: x (m, d) -> Phi (m, n), n = last width (+ 1 constant column).

    h_0 = x, h_l = sigma(h_{l-1} W_l^T + b_l), Phi = [h_L, 1]. Build one with `mlp`.

    Attributes:
        layers: the `torch.nn.Linear` layers W_l, b_l in order.
        activation: name of sigma.
        bias_feature: whether Phi ends with a column of ones.
    """

    def __init__(self, widths: Sequence[int], activation: str, bias_feature: bool) -> None:
        super().__init__()
        self.activation = activation
        self.bias_feature = bias_feature
        # skip_init leaves the weights unset: the default initialisation would draw from torch's global generator.
        self.layers = nn.ModuleList(
            nn.utils.skip_init(nn.Linear, inside, outside, dtype=torch.float64) for inside, outside in pairwise(widths)
        )

    @property
    def in_features(self) -> int:
        """Number of input coordinates d."""
        return self.shapes[0][1]

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape (outside, inside) of each layer's weight."""
        return [(weight.shape[0], weight.shape[1]) for weight in self.parameters() if weight.ndim == 2]

    def forward(self, x: Tensor) -> Tensor:
        """Phi (m, n) at x (m, d)."""
        for layer in self.layers:
            x = activation_derivatives(self.activation, layer(x), 0)[0]
        return with_bias(x, 1.0) if self.bias_feature else x

    def extra_repr(self) -> str:
        """Activation and bias, for the module's repr."""
        return f"activation={self.activation}, bias_feature={self.bias_feature}"


def mlp(
    in_features: int,
    widths: Sequence[int],
    *,
    activation: str = "tanh",
    bias_feature: bool = True,
    seed: int = 0,
) -> MLP:
    """Hidden layers of a fully connected network, float64, with weights drawn from `seed`.

    Args:
        in_features: number of input coordinates d.
        widths: width of each hidden layer; the last one is the number of features, before the constant column.
        activation: "tanh", "sin", "softplus", "gelu", "erf" or "relu".
        bias_feature: append a column of ones, so that the output layer has a bias.
        seed: seed of the initial weights; torch's global generator is left alone.

    Raises:
        ArgumentError, ArgumentTypeError: a size below 1, no width, or an unknown activation.
    """
    check_count(in_features, "in_features")
    check_choice(activation, "activation", tuple(ACTIVATIONS))
    if not isinstance(widths, Sequence) or isinstance(widths, str) or not widths:
        raise ArgumentError(f"widths must be a non-empty sequence such as (64,), got {widths!r}")
    for width in widths:
        check_count(width, "widths")
    module = MLP([in_features, *widths], activation, bias_feature)
    rng = np.random.default_rng(check_count(seed, "seed", least=0))
    box = torch.tensor([[-1.0], [1.0]], dtype=torch.float64).expand(2, in_features)
    nn.utils.vector_to_parameters(sample_weights(module, rng, box, 1.0), module.parameters())
    return module


def is_plain_mlp(module: nn.Module) -> TypeGuard[MLP]:
    """Whether closed forms describe the module: an `MLP` itself, with its own linear layers and without hooks."""
    return (
        type(module) is MLP
        and all(type(layer) is nn.Linear for layer in module.layers)
        and not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    )


def sample_weights(module: MLP, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
    """Random parameters (q,) of an MLP, independent of the units of the inputs.

    First layer: w ~ N(0, (scale / half-range)^2) per coordinate, b = -w . x0 with x0 uniform in the box of the
    inputs, so that every neuron bends inside the data. Deeper layers: w ~ N(0, 1 / fan-in), b ~ U(-1, 1).
    """
    low, high = inputs.amin(0).cpu().double().numpy(), inputs.amax(0).cpu().double().numpy()
    half = (high - low) / 2
    half = np.where(half > 0, half, 1.0)
    pieces: list[np.ndarray] = []
    for depth, (rows, columns) in enumerate(module.shapes):
        if depth == 0:
            weight = rng.standard_normal((rows, columns)) * (scale / half)
            bias = -np.sum(weight * rng.uniform(low, high, (rows, columns)), axis=1)
        else:
            weight = rng.standard_normal((rows, columns)) / math.sqrt(columns)
            bias = rng.uniform(-1.0, 1.0, rows)
        pieces += [weight.ravel(), bias]
    return torch.from_numpy(np.concatenate(pieces)).to(inputs)


def weight_units(module: MLP, inputs: Tensor) -> Tensor:
    """(q,) natural units of an MLP's parameters: one over the half-range of an input for its weights, else 1."""
    half = (inputs.amax(0) - inputs.amin(0)) / 2
    half = torch.where(half > 0, half, 1.0)
    width, d = module.shapes[0]
    first = (1.0 / half).expand(width, d).reshape(-1)
    return torch.cat([first, first.new_ones(sum(tensor.numel() for tensor in module.parameters()) - first.numel())])


def with_bias(features: Tensor, constant: Tensor | float) -> Tensor:
    """`features` (m, n) with a last column holding `constant`, a number or (m,)."""
    column = torch.as_tensor(constant, dtype=features.dtype, device=features.device).expand(features.shape[0])
    return torch.cat([features, column[:, None]], dim=1)
