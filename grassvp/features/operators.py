"""Linear differential operators applied to features, row by row: the linear core of a physics-informed network.

L u = sum_alpha c_alpha(x) D^alpha u, |alpha| <= 4, split into its homogeneous parts of order k. On a neuron each of
them acts through its symbol, p_k(x, w) = sum_{|alpha| = k} c_alpha(x) w^alpha:
  L sigma(w . x + b) = sum_k p_k(x, w) sigma^(k)(w . x + b),
for all rows and neurons one matrix product of (rows, terms) coefficients with (terms, n) monomials for each order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby, pairwise
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import check_count, to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = ["DifferentialOperator", "HomogeneousPart", "Index", "differential_operator", "joined"]

MAX_ORDER = 4

Index = tuple[int, ...]


@dataclass(frozen=True)
class HomogeneousPart:
    """The terms of one order k, sum_{|alpha| = k} c_alpha(x) D^alpha.

    Attributes:
        indices: the multi-indices, each a sorted tuple of k coordinates.
        coefficients: (rows, terms) coefficients c_alpha.
    """

    indices: tuple[Index, ...]
    coefficients: Tensor

    @property
    def order(self) -> int:
        """The order k."""
        return len(self.indices[0])

    @property
    def coordinates(self) -> list[int]:
        """The coordinates that some term differentiates by, ascending."""
        return sorted({i for index in self.indices for i in index})

    def symbol(self, weights: Tensor) -> Tensor:
        """sum_alpha c_alpha w_a^alpha for the rows of `weights` (n, d), as (rows, n), or as (rows, 1) at order 0."""
        return self.coefficients @ _monomials(self.indices, weights) if self.order else self.coefficients

    def symbol_slope(self, weights: Tensor, i: int) -> Tensor:
        """Derivative of the symbol by w_ai, (rows, n), or (rows, 1) at order 1; i is one of the `coordinates`."""
        places, powers, lowered = _lowered(self.indices, i)
        coefficients = self.coefficients[:, places]
        if self.order == 1:
            return coefficients
        monomials = _monomials(lowered, weights)
        return coefficients @ (monomials * monomials.new_tensor(powers)[:, None])


def _monomials(indices: Sequence[Index], weights: Tensor) -> Tensor:
    """w_a^alpha, (terms, n), for indices of one order >= 1."""
    first, *others = (weights.T[list(coordinates)] for coordinates in zip(*indices, strict=True))
    for factor in others:
        first = first * factor
    return first


@lru_cache(maxsize=1024)
def _lowered(indices: tuple[Index, ...], i: int) -> tuple[list[int], list[float], list[Index]]:
    """For d w^alpha / d w_i = alpha_i w^(alpha - e_i): the places with alpha_i > 0, these alpha_i, and alpha - e_i."""
    places = [place for place, index in enumerate(indices) if i in index]
    powers = [float(indices[place].count(i)) for place in places]
    at = [indices[place].index(i) for place in places]
    lowered = [indices[place][:p] + indices[place][p + 1 :] for place, p in zip(places, at, strict=True)]
    return places, powers, lowered


@dataclass(frozen=True)
class DifferentialOperator:
    """L u = sum_alpha c_alpha D^alpha u with one set of coefficients for each row.

    Build one with `differential_operator`.

    Attributes:
        in_features: number of coordinates d.
        parts: its terms order by order, ascending; an order without terms has no part.
    """

    in_features: int
    parts: tuple[HomogeneousPart, ...]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.parts[0].coefficients.shape[0]

    @property
    def order(self) -> int:
        """Highest order of a term."""
        return self.parts[-1].order

    @property
    def indices(self) -> list[Index]:
        """The multi-indices of all terms, each sorted, by order and then lexicographically."""
        return [index for part in self.parts for index in part.indices]

    @property
    def terms(self) -> dict[Index, Tensor]:
        """Multi-index, sorted -> its coefficients (rows,); `differential_operator` makes the same operator of it."""
        return dict(zip(self.indices, self.coefficients().unbind(1), strict=True))

    @property
    def value(self) -> Tensor:
        """L 1, the coefficients (rows,) of u itself."""
        first = self.parts[0]
        return first.coefficients[:, 0] if first.order == 0 else first.coefficients.new_zeros(self.rows)

    def check_rows(self, rows: int) -> None:
        """Raise ArgumentError unless the operator has coefficients for `rows` rows."""
        if rows != self.rows:
            raise ArgumentError(f"inputs has {rows} rows but the differential operator was given {self.rows}")

    def cast(self, dtype: torch.dtype, device: torch.device) -> "DifferentialOperator":
        """The same operator in another floating type or on another device."""
        return self._with(part.coefficients.to(dtype=dtype, device=device) for part in self.parts)

    def at_rows(self, index: Any) -> "DifferentialOperator":
        """The operator of some rows, named by a slice or an index tensor."""
        return self._with(part.coefficients[index] for part in self.parts)

    def _with(self, coefficients: Iterator[Tensor]) -> "DifferentialOperator":
        pairs = zip(self.parts, coefficients, strict=True)
        return replace(self, parts=tuple(replace(part, coefficients=tensor) for part, tensor in pairs))

    def coefficients(self) -> Tensor:
        """All coefficients side by side, (rows, terms), in the order of `indices`."""
        return torch.cat([part.coefficients for part in self.parts], dim=1)

    def of_neurons(self, sigma: Sequence[Tensor], weights: Tensor, *, out: Tensor | None = None) -> Tensor:
        """L sigma(w_a . x + b_a) for all neurons a, (rows, n), from sigma and its derivatives there and W (n, d)."""
        first, *others = self.parts
        result = torch.mul(first.symbol(weights), sigma[first.order], out=out)
        for part in others:
            result = torch.addcmul(result, part.symbol(weights), sigma[part.order], out=out)
        return result

    def apply(self, coefficients: Tensor, derivatives: Mapping[Index, Tensor]) -> Tensor:
        """sum_alpha c_alpha D^alpha Phi, (m, n), from coefficients (m, terms) as `coefficients()` has them."""
        first, *others = (derivatives[index] for index in self.indices)
        result = coefficients[:, :1] * first
        for column, derivative in enumerate(others, start=1):
            result = torch.addcmul(result, coefficients[:, column, None], derivative)
        return result


def differential_operator(rows: int, in_features: int, terms: Mapping[Index, Any]) -> DifferentialOperator:
    """An operator of order up to four from its terms, such as the heat operator d_0 - 1/4 d_1 d_1.

    Args:
        rows: number of collocation rows m.
        in_features: number of coordinates d.
        terms: maps a multi-index - () for the value, (i,) for d_i, (i, j) for d_i d_j, (i, i, i) for d_i^3 - to its
            coefficient, a number or an array (rows,). The heat operator is ``{(0,): 1.0, (1, 1): -0.25}``, the
            biharmonic one ``{(0, 0, 0, 0): 1.0, (0, 0, 1, 1): 2.0, (1, 1, 1, 1): 1.0}``. Derivatives commute:
            what is given for (0, 1) and (1, 0) is added.

    Raises:
        ArgumentError: an index out of range, an order above four, no terms, or coefficients of another length.
    """
    check_count(rows, "rows")
    check_count(in_features, "in_features")
    if not terms:
        raise ArgumentError("terms is empty: an operator needs at least one, for example {(): 1.0}")
    columns: dict[Index, Tensor] = {}
    for index, coefficient in terms.items():
        if not isinstance(index, tuple) or not all(isinstance(i, int) for i in index):
            raise ArgumentTypeError(f"terms: an index is a tuple of integers such as () or (0, 1), got {index!r}")
        key = tuple(sorted(index))
        if len(key) > MAX_ORDER or any(not 0 <= i < in_features for i in key):
            raise ArgumentError(f"terms: {index} is not an index of order <= {MAX_ORDER} in {in_features} coordinates")
        columns[key] = columns.get(key, 0.0) + _column(coefficient, rows, f"terms[{index}]")
    return _from_columns(in_features, columns)


def joined(operators: Sequence[DifferentialOperator]) -> DifferentialOperator:
    """One operator with the rows of several, one below the other; a term that one of them lacks is zero in its rows.

    Raises:
        ArgumentError: no operators, or operators in different numbers of coordinates.
    """
    if not operators:
        raise ArgumentError("operators is empty: joined needs at least one differential operator")
    for one, other in pairwise(operators):
        if one.in_features != other.in_features:
            raise ArgumentError(
                f"operators must act in the same coordinates, got {one.in_features} and {other.in_features} of them"
            )
    terms = [(operator.terms, operator.value.new_zeros(operator.rows)) for operator in operators]
    columns = {index: torch.cat([own.get(index, zero) for own, zero in terms]) for own, _ in terms for index in own}
    return _from_columns(operators[0].in_features, columns)


def _from_columns(in_features: int, columns: Mapping[Index, Tensor]) -> DifferentialOperator:
    """The operator with these coefficients, for sorted indices."""
    groups = [tuple(group) for _, group in groupby(sorted(columns, key=lambda index: (len(index), index)), len)]
    parts = (HomogeneousPart(group, torch.stack([columns[index] for index in group], dim=1)) for group in groups)
    return DifferentialOperator(in_features, tuple(parts))


def _column(coefficient: Any, rows: int, name: str) -> Tensor:
    tensor = to_tensor(coefficient, name, dtype=torch.float64)
    if tensor.ndim > 1 or (tensor.ndim == 1 and tensor.shape[0] != rows):
        raise ArgumentError(f"{name} must be a number or have shape ({rows},), got {tuple(tensor.shape)}")
    return tensor.expand(rows)
