"""What the projection needs of a feature map: its values, and products with its derivative DPhi(theta).

Shapes: theta (q,), Phi (m, n), C (n, k), S (m, k). D_j Phi is the derivative of Phi by theta_j.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError

__all__ = [
    "FeatureDerivatives",
    "FeatureMap",
    "as_columns",
    "at_rows",
    "automatic_curvature",
    "automatic_curvature_product",
]

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

    @abstractmethod
    def block(self, start: int, stop: int) -> "FeatureDerivatives":
        """The same for the rows start ... stop - 1 alone, so that what is large can be formed piece by piece."""

    def gram(self, basis: Tensor, tail: Tensor | None, factor: Tensor, weights: Tensor | None) -> Tensor:
        """<(I - B B^T) W D_i Phi L^T, W D_j Phi L^T> for all i, j, as (q, q), for L = `factor` (r, n) and W (m,).

        B = `basis` (m, p) is the upper block of a matrix with orthonormal columns, `tail` (n, p) the lower one, None
        where there is none. With the factors of a projection this is the metric of the (regularised) Grassmannian
        pulled back to theta.
        """
        T = self.contract(factor.T.to(self.values.dtype))
        q = T.shape[-1]
        T = (T if weights is None else weights[:, None, None] * T).flatten(1)
        return sum(part.view(-1, q).T @ part.view(-1, q) for part in off_span(T, basis, tail))  # pyright: ignore[reportReturnType]

    def gram_entries(self, rows: int, parameters: int) -> int:
        """Entries of the largest array that `gram` forms, for a factor with so many rows."""
        return self.values.shape[0] * rows * parameters


class FeatureMap(ABC):
    """theta -> Phi(theta; inputs). Instances are immutable; `initial` is the parameter vector to start from.

    Attributes:
        initial: (q,) parameters, laid out as `torch.nn.utils.parameters_to_vector` does.
        cheap_adjoint: True where `contract_adjoint` costs no more than `contract`, so that the full
            Golub-Pereyra Jacobian is as cheap as Kaufman's.
        can_sample: True where `sample` draws random features.
        row_by_row: True where derivatives are taken row by row, so that row i of Phi must depend on input row i only.
        row_bound: True where something that the features hold belongs to the rows, such as the coefficients of an
            operator, so that they cannot be evaluated at some rows of their inputs alone.
        appended_columns: how many columns `prepare` appends to the inputs, for what belongs to the rows.
    """

    initial: Tensor
    cheap_adjoint: bool = False
    can_sample: bool = False
    row_by_row: bool = False
    row_bound: bool = False
    appended_columns: int = 0

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

    def offset_columns(self, parameters: Tensor, inputs: Tensor) -> int:
        """How many columns with fixed coefficients Phi ends with: the model is Phi[:, :n] C + Phi[:, n:]."""
        return 0

    def outputs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """What the fitted function is, (rows, outputs), for its `values` and C: Phi C, and the offset if there is one.

        Here (m, k). The map of several unknowns puts them side by side.
        """
        fixed = values.shape[1] - coefficients.shape[0]
        C = coefficients
        return values @ (torch.cat([C, torch.eye(fixed, dtype=C.dtype, device=C.device)]) if fixed else C)

    def units(self, inputs: Tensor) -> Tensor | None:
        """(q,) natural size of a change of each parameter, given what the inputs range over; None where unknown."""
        return None

    def limited(self, memory_limit: int) -> "FeatureMap":
        """The same features, whose derivatives keep the working memory of one chunk below `memory_limit` bytes."""
        return self

    def curvature(self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Hessian of theta -> <S C^T, Phi(theta)>, (q, q)."""
        return automatic_curvature(self, parameters, inputs, left, right)

    def curvature_product(
        self, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """Hessian of theta -> <S C^T, Phi(theta)> times v, (q,)."""
        return automatic_curvature_product(self, parameters, inputs, left, right, direction)


@torch.no_grad()
def automatic_curvature_product(
    features: FeatureMap, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor, direction: Tensor
) -> Tensor:
    """`FeatureMap.curvature_product` by forward over reverse differentiation, never through a linear solve."""
    gradient = _contracted_gradient(features, inputs, left, right)
    return torch.func.jvp(gradient, (parameters,), (direction,))[1]


@torch.no_grad()
def automatic_curvature(
    features: FeatureMap, parameters: Tensor, inputs: Tensor, left: Tensor, right: Tensor
) -> Tensor:
    """`FeatureMap.curvature` by forward over reverse differentiation, a chunk of columns at a time."""
    gradient = _contracted_gradient(features, inputs, left, right)
    identity = torch.eye(parameters.numel(), dtype=parameters.dtype, device=parameters.device)

    def column(direction: Tensor) -> Tensor:
        return torch.func.jvp(gradient, (parameters,), (direction,))[1]

    return torch.func.vmap(column, chunk_size=HESSIAN_CHUNK)(identity)


def _contracted_gradient(features: FeatureMap, inputs: Tensor, left: Tensor, right: Tensor):
    def contracted(parameters: Tensor) -> Tensor:
        return ((features(parameters, inputs) @ right) * left).sum()

    return torch.func.grad(contracted)


def at_rows(features: FeatureMap, index: Any) -> FeatureMap:
    """Features of some rows of prepared inputs, named by a slice or an index tensor.

    Raises:
        ArgumentError: they are bound to all of their rows.
    """
    choose = getattr(features, "at_rows", None)
    if choose is not None:
        return choose(index)
    if features.row_bound:
        raise ArgumentError(f"features: those of some rows of {type(features).__name__} cannot be had")
    return features


def as_columns(inputs: Tensor, width: int | None) -> Tensor:
    """Inputs as (m, d): one column for 1-D data, checked against the `width` that the network takes."""
    columns = inputs[:, None] if inputs.ndim == 1 and width in (1, None) else inputs
    if columns.ndim < 2 or (width is not None and (columns.ndim != 2 or columns.shape[1] != width)):
        raise ArgumentError(f"inputs must have shape (rows, {width or 'd'}), got {tuple(inputs.shape)}")
    return columns


def off_span(matrix: Tensor, basis: Tensor, tail: Tensor | None) -> list[Tensor]:
    """The blocks of (I - Q Q^T) [T; 0] for T = `matrix` (m, ...) and Q = [basis; tail] with orthonormal columns.

    Their Gram matrix is T^T (I - basis basis^T) T without cancellation; at `tail` not None that is no projection of T.
    """
    inside = basis.T @ matrix
    outside = matrix - basis @ inside
    return [outside] if tail is None else [outside, tail @ inside]
