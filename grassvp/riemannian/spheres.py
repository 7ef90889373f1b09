"""The weights of a network as points on spheres, one sphere a neuron."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymanopt.manifolds import Oblique, Product
from pymanopt.manifolds.manifold import Manifold

from grassvp.errors import ArgumentError

__all__ = ["NeuronSpheres"]


class NeuronSpheres:
    """Hidden layers whose neurons have incoming weights and bias of unit length: |w_a|^2 + b_a^2 = 1.

    A layer with weight W (outside, inside) and bias b is the matrix [W^T; b^T], (inside + 1, outside), with unit
    columns: a point of pymanopt's Oblique manifold. One layer is that matrix, several layers are a list of them on a
    Product. The metric is that of theta.

    Args:
        shapes: (outside, inside) of each layer's weight, in order.

    Attributes:
        manifold: the pymanopt manifold of the points.
    """

    manifold: Manifold

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        self.shapes = tuple(shapes)
        layers = [Oblique(inside + 1, outside) for outside, inside in self.shapes]
        self.manifold = layers[0] if len(layers) == 1 else Product(layers)

    @property
    def size(self) -> int:
        """Number of parameters q."""
        return sum(outside * (inside + 1) for outside, inside in self.shapes)

    def to_parameters(self, point: Any) -> np.ndarray:
        """The vector theta (q,) of a point or tangent vector: of each layer the weight by rows, then the bias."""
        pieces = [[layer[:-1].T.ravel(), layer[-1]] for layer in self._layers(point)]
        return np.concatenate([piece for pair in pieces for piece in pair])

    def matrices(self, parameters: Any) -> Any:
        """The (inside + 1, outside) matrices of a vector (q,): one array, or a list of them. Inverse of
        `to_parameters`.
        """
        theta = np.asarray(parameters, dtype=float)
        if theta.shape != (self.size,):
            raise ArgumentError(f"parameters must have shape ({self.size},), got {theta.shape}")
        layers, start = [], 0
        for outside, inside in self.shapes:
            middle, end = start + outside * inside, start + outside * (inside + 1)
            weight, bias = theta[start:middle].reshape(outside, inside), theta[middle:end]
            layers.append(np.concatenate([weight.T, bias[None]]))
            start = end
        return layers[0] if len(layers) == 1 else layers

    def from_parameters(self, parameters: Any) -> Any:
        """The point whose neurons have the directions of those of theta (q,); their lengths are dropped.

        Raises:
            ArgumentError: wrong shape, or a neuron that has no direction.
        """
        layers = self._layers(self.matrices(parameters))
        lengths = [np.linalg.norm(layer, axis=0) for layer in layers]
        if not all(np.all(np.isfinite(length) & (length > 0)) for length in lengths):
            raise ArgumentError("parameters must be finite and give every neuron a weight or bias other than 0")
        points = [layer / length for layer, length in zip(layers, lengths, strict=True)]
        return points[0] if len(points) == 1 else points

    def _layers(self, point: Any) -> list[np.ndarray]:
        return [point] if len(self.shapes) == 1 else list(point)
