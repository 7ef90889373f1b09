"""Linear differential operators applied to features, row by row: the linear core of a physics-informed network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import check_count, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["DifferentialOperator", "differential_operator"]


@dataclass(frozen=True)
class DifferentialOperator:
    """L u = c u + sum_i c_i d_i u + sum_{i<=j} c_ij d_i d_j u with one set of coefficients for each row.

    Build one with `differential_operator`.

    Attributes:
        value: (rows,) coefficients c.
        first: (rows, d) coefficients c_i.
        second: (rows, pairs) coefficients c_ij.
        pairs: the index pairs of `second` as two equally long lists, i <= j.
        order: highest order with a coefficient that is not zero.
    """

    value: Tensor
    first: Tensor
    second: Tensor
    pairs: tuple[list[int], list[int]]
    order: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.value.shape[0]

    def check_rows(self, rows: int) -> None:
        """Raise ArgumentError unless the operator has coefficients for `rows` rows."""
        if rows != self.rows:
            raise ArgumentError(f"inputs has {rows} rows but the differential operator was given {self.rows}")

    def cast(self, dtype: torch.dtype, device: torch.device) -> "DifferentialOperator":
        """The same operator in another floating type or on another device."""
        value, first, second = (
            tensor.to(dtype=dtype, device=device) for tensor in (self.value, self.first, self.second)
        )
        return DifferentialOperator(value, first, second, self.pairs, self.order)

    def at_rows(self, index: Any) -> "DifferentialOperator":
        """The operator of some rows, named by a slice or an index tensor."""
        return DifferentialOperator(self.value[index], self.first[index], self.second[index], self.pairs, self.order)

    def coefficients(self) -> Tensor:
        """All coefficients side by side, (rows, 1 + d + pairs)."""
        return torch.cat([self.value[:, None], self.first, self.second], dim=1)

    def of_neurons(self, sigma: Sequence[Tensor], weights: Tensor) -> Tensor:
        """L sigma(w_a . x + b_a) for all neurons a, (rows, n), from sigma and its derivatives there and W (n, d)."""
        hidden = self.value[:, None] * sigma[0]
        if self.order >= 1:
            hidden = hidden + self.along(weights) * sigma[1]
        if self.order >= 2:
            hidden = hidden + self.bending(weights) * sigma[2]
        return hidden

    def along(self, weights: Tensor) -> Tensor:
        """sum_i c_i w_ai, (rows, n)."""
        return self.first @ weights.T

    def bending(self, weights: Tensor) -> Tensor:
        """sum_ij c_ij w_ai w_aj, (rows, n)."""
        i, j = self.pairs
        return self.second @ (weights[:, i] * weights[:, j]).T

    def apply(self, coefficients: Tensor, derivatives: Mapping[tuple[int, ...], Tensor]) -> Tensor:
        """sum_alpha c_alpha D^alpha Phi, (m, n), from coefficients (m, 1 + d + pairs) as `coefficients()` has them."""
        d = self.first.shape[1]
        result = coefficients[:, :1] * derivatives[()]
        if self.order >= 1:
            result = result + sum(coefficients[:, 1 + i, None] * derivatives[(i,)] for i in range(d))
        if self.order >= 2:
            pairs = zip(*self.pairs, strict=True)
            result = result + sum(coefficients[:, 1 + d + p, None] * derivatives[ij] for p, ij in enumerate(pairs))
        return result


def differential_operator(rows: int, in_features: int, terms: Mapping[tuple[int, ...], Any]) -> DifferentialOperator:
    """An operator of order up to two from its terms, such as the heat operator d_0 - 1/4 d_1 d_1.

    Args:
        rows: number of collocation rows m.
        in_features: number of coordinates d.
        terms: maps a multi-index - () for the value, (i,) for d_i, (i, j) for d_i d_j - to its coefficient,
            a number or an array (rows,). The heat operator is ``{(0,): 1.0, (1, 1): -0.25}``.

    Raises:
        ArgumentError: an index out of range, an order above two, no terms, or coefficients of another length.
    """
    check_count(rows, "rows")
    check_count(in_features, "in_features")
    if not terms:
        raise ArgumentError("terms is empty: an operator needs at least one, for example {(): 1.0}")
    columns: dict[tuple[int, ...], Tensor] = {}
    for index, coefficient in terms.items():
        if not isinstance(index, tuple) or not all(isinstance(i, int) for i in index):
            raise ArgumentTypeError(f"terms: an index is a tuple of integers such as () or (0, 1), got {index!r}")
        key = tuple(sorted(index))
        if len(key) > 2 or any(not 0 <= i < in_features for i in key):
            raise ArgumentError(f"terms: {index} is not an index of order <= 2 in {in_features} coordinates")
        columns[key] = columns.get(key, 0.0) + _column(coefficient, rows, f"terms[{index}]")
    zero = torch.zeros(rows, dtype=torch.float64)
    pairs = sorted(key for key in columns if len(key) == 2)
    first = torch.stack([columns.get((i,), zero) for i in range(in_features)], dim=1)
    second = torch.stack([columns[pair] for pair in pairs], dim=1) if pairs else zero.new_zeros(rows, 0)
    order = max(len(key) for key in columns)
    return DifferentialOperator(
        columns.get((), zero), first, second, ([i for i, _ in pairs], [j for _, j in pairs]), order
    )


def _column(coefficient: Any, rows: int, name: str) -> Tensor:
    tensor = to_tensor(coefficient, name, dtype=torch.float64)
    if tensor.ndim > 1 or (tensor.ndim == 1 and tensor.shape[0] != rows):
        raise ArgumentError(f"{name} must be a number or have shape ({rows},), got {tuple(tensor.shape)}")
    return tensor.expand(rows)
