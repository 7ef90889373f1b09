"""What the projection needs of a feature map: its values, and products with its derivative DPhi(theta).

Shapes: theta (q,), Phi (m, n), C (n, k), S (m, k). D_j Phi is the derivative of Phi by theta_j.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError

__all__ = ["FeatureDerivatives", "FeatureMap", "as_columns", "curvature", "curvature_product"]

HESSIAN_CHUNK = 64  # columns of a Hessian computed at once: bounds memory at 64 evaluations of the features


class FeatureDerivatives(ABC):
    """Phi(theta) with products of its derivative; everything beyond `values` is computed when asked for."""

    values: Tensor

    @abstractmethod
    def pushforward(self, direction: Tensor) -> Tensor:
        """DPhi[v] = sum_j v_j D_j Phi, (m, n), for v (q,)."""

    @abstractmethod
    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """DPhi^*[S C^T], (q,): entry j is <D_j Phi, S C^T>, for S = `left` (m, k) and C = `right` (n, k)."""

    @abstractmethod
    def contract(self, coefficients: Tensor) -> Tensor:
        """G_j = (D_j Phi) C for all j at once, as (m, k, q), for C (n, k)."""

    @abstractmethod
    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """N_j = L (D_j Phi)^T S for all j at once, as (p, k, q), for S = `weights` (m, k) and L = `factor` (p, n)."""


class FeatureMap(ABC):
    """theta -> Phi(theta; inputs). Instances are immutable; `initial` is the parameter vector to start from.

    Attributes:
        initial: (q,) parameters, laid out as `torch.nn.utils.parameters_to_vector` does.
        cheap_adjoint: True where `contract_adjoint` costs no more than `contract`, so that the full
            Golub-Pereyra Jacobian is as cheap as Kaufman's.
        can_sample: True where `sample` draws random features.
        row_by_row: True where derivatives are taken row by row, so that row i of Phi must depend on input row i only.
    """

    initial: Tensor
    cheap_adjoint: bool = False
    can_sample: bool = False
    row_by_row: bool = False

    @property
    def model(self) -> "FeatureMap":
        """The features of the fitted function; differs from self where the rows are an operator applied to it."""
        return self

    @abstractmethod
    def __call__(self, parameters: Tensor, inputs: Tensor) -> Tensor:
        """Phi, (m, n); a pure function that torch.func can differentiate twice."""

    @abstractmethod
    def derivatives(self, parameters: Tensor, inputs: Tensor) -> FeatureDerivatives:
        """Phi and its derivative at `parameters`."""

    @abstractmethod
    def cast(self, dtype: torch.dtype, device: torch.device) -> "FeatureMap":
        """The same features computed in another floating type or on another device; self is left alone."""

    @abstractmethod
    def prepare(self, inputs: Tensor) -> Tensor:
        """`inputs` in the shape that `__call__` takes, or an ArgumentError that says what is needed."""

    @abstractmethod
    def sample(self, rng: np.random.Generator, inputs: Tensor, scale: float) -> Tensor:
        """Random parameters (q,) with first-layer slopes of `scale` per half-range of the inputs."""


@torch.no_grad()
def curvature_product(
    features: FeatureMap, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor, direction: Tensor
) -> Tensor:
    """Hessian of theta -> <S C^T, Phi(theta)> times v, (q,): forward over reverse, never through a linear solve."""
    gradient = _contracted_gradient(features, inputs, left, right)
    return torch.func.jvp(gradient, (parameters,), (direction,))[1]


@torch.no_grad()
def curvature(features: FeatureMap, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Hessian of theta -> <S C^T, Phi(theta)>, (q, q)."""
    gradient = _contracted_gradient(features, inputs, left, right)
    identity = torch.eye(parameters.numel(), dtype=parameters.dtype, device=parameters.device)

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(gradient, (parameters,), (direction,))[1]

    return torch.func.vmap(column, chunk_size=HESSIAN_CHUNK)(identity)


def _contracted_gradient(features: FeatureMap, inputs: Tensor, left: Tensor, right: Tensor):
    def contracted(parameters: Tensor) -> Tensor:
        return ((features(parameters, inputs) @ right) * left).sum()

    return torch.func.grad(contracted)


def as_columns(inputs: Tensor, width: int | None) -> Tensor:
    """Inputs as (m, d): one column for 1-D data, checked against the `width` that the network takes."""
    columns = inputs[:, None] if inputs.ndim == 1 and width in (1, None) else inputs
    if columns.ndim < 2 or (width is not None and (columns.ndim != 2 or columns.shape[1] != width)):
        raise ArgumentError(f"inputs must have shape (rows, {width or 'd'}), got {tuple(inputs.shape)}")
    return columns
