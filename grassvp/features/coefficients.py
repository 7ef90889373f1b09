"""Features whose rows are combined with coefficients that depend on further nonlinear parameters.

Phi(theta, p) = sum_t c_t(p) * Phi_t(theta), with one coefficient c_t for each row. The rows of a differential equation
with unknown coefficients p are such features, Phi_t = D^alpha Phi its terms: p moves the c_t and theta the features, so
that first derivatives need the two apart, and second derivatives one mixed product of first ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from grassvp.features.protocol import FeatureDerivatives, FeatureMap
from grassvp.features.side_by_side import SideBySide

__all__ = ["CoefficientDerivatives", "CoefficientFeatures"]


class CoefficientDerivatives(FeatureDerivatives):
    """sum_t c_t Phi_t, and perhaps an offset, with products of its derivative; theta comes first and then p.

    Args:
        parts: Phi_t with products of their derivatives.
        table: c, (m, T), with the offset as a further column if there is one.
        slopes: its derivative by p, (m, T or T + 1, s).
    """

    def __init__(self, parts: tuple[FeatureDerivatives, ...], table: Tensor, slopes: Tensor) -> None:
        self._parts, self._table, self._slopes = parts, table, slopes
        self._width = parts[0].values.shape[1]
        self.values = _combined([part.values for part in parts], table)

    @cached_property
    def by_coefficients(self) -> Tensor:
        """Derivative of Phi by p, (m, n, s), with the offset's as a further column if there is one."""
        values = [part.values for part in self._parts]
        return torch.stack([_combined(values, slope) for slope in self._slopes.unbind(2)], dim=2)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        v, w = self._split(direction)
        moved = self._total([part.pushforward(v) for part in self._parts])
        extra = self.values.shape[1] - self._width
        return torch.nn.functional.pad(moved, (0, extra)) + self.by_coefficients @ w

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        C = right[: self._width]
        theta = sum(part.pullback(self._scaled(left, t), C) for t, part in enumerate(self._parts))
        p = (self._by_coefficients(right) * left[:, :, None]).sum((0, 1))
        return torch.cat([theta, p])  # pyright: ignore[reportCallIssue, reportArgumentType]

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        theta = self._total([part.contract(coefficients[: self._width]) for part in self._parts])
        return torch.cat([theta, self._by_coefficients(coefficients)], dim=2)

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        L = factor[:, : self._width]
        theta = sum(part.contract_adjoint(self._scaled(weights, t), L) for t, part in enumerate(self._parts))
        p = torch.einsum("mns,mk->nks", self.by_coefficients[:, : factor.shape[1]], weights).to(factor.dtype)
        return torch.cat([theta, torch.einsum("pn,nks->pks", factor, p)], dim=2)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def block(self, start: int, stop: int) -> "CoefficientDerivatives":
        """See `FeatureDerivatives`."""
        parts = tuple(part.block(start, stop) for part in self._parts)
        return CoefficientDerivatives(parts, self._table[start:stop], self._slopes[start:stop])

    def _split(self, direction: Tensor) -> tuple[Tensor, Tensor]:
        """A direction's part in theta and in p."""
        count = self._slopes.shape[2]
        return direction[: len(direction) - count], direction[len(direction) - count :]

    def _by_coefficients(self, right: Tensor) -> Tensor:
        """Derivative of Phi C by p, (m, k, s); C may lack the row of the offset."""
        return torch.einsum("mns,nk->mks", self.by_coefficients[:, : len(right)], right)

    def _scaled(self, rows: Tensor, t: int) -> Tensor:
        return self._table[:, t, None] * rows

    def _total(self, pieces: list[Tensor]) -> Tensor:
        """sum_t c_t piece_t over the rows, whatever follows these."""
        return sum(_on_rows(self._table[:, t], piece) for t, piece in enumerate(pieces))  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, eq=False)
class CoefficientFeatures(FeatureMap):
    """Features sum_t c_t(p) Phi_t(theta) of the parameters (theta, p).

    Attributes:
        terms: the Phi_t side by side, reading the same theta (q,); none with an offset where the whole has one.
        start: (s,) the value of p that a solve begins with.
        table: p -> c, (m, T), by operations that torch.func can differentiate twice; with a column more for an offset.
            None for the coefficient one, and features that do not depend on p.
        offset: whether `table` ends with the column of an offset, which has the coefficient one.
    """

    terms: SideBySide
    start: Tensor
    table: Callable[[Tensor], Tensor] | None = None
    offset: bool = False

    @cached_property
    def initial(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(q + s,) parameters of the terms, and then those of the coefficients."""
        return torch.cat([self.terms.initial, self.start.to(self.terms.initial)])

    @property
    def cheap_adjoint(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the terms have it."""
        return self.terms.cheap_adjoint

    @property
    def can_sample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the terms have it."""
        return self.terms.can_sample

    @property
    def row_bound(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where there are coefficients, which belong to the rows."""
        return self.table is not None or self.terms.row_bound

    @property
    def appended_columns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Those of the terms."""
        return self.terms.appended_columns

    @property
    def model(self) -> "CoefficientFeatures":
        """The features of the fitted function, which do not depend on p."""
        return CoefficientFeatures(SideBySide((self.terms.parts[0].model,), shared=True), self.start)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Theta and p, from (q + s,)."""
        return parameters[: len(parameters) - len(self.start)], parameters[len(parameters) - len(self.start) :]

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`."""
        theta, p = self.split(parameters)
        values = [part(at, x) for part, at, x in self.terms.each(theta, inputs)]
        return _combined(values, self._table(p).to(values[0]))

    def derivatives(self, parameters: Tensor, inputs: Any) -> CoefficientDerivatives:
        """See `FeatureMap`."""
        theta, p = self.split(parameters)
        parts = tuple(part.derivatives(at, x) for part, at, x in self.terms.each(theta, inputs))
        like, rows = parts[0].values, len(parts[0].values)
        table, slopes = self._table(p).to(like), _by_entries(self._table, p).to(like)
        return CoefficientDerivatives(parts, table.expand(rows, -1), slopes.expand(rows, -1, -1))

    def cast(self, dtype: torch.dtype, device: torch.device) -> "CoefficientFeatures":
        """See `FeatureMap`; the coefficients themselves are always computed in float64."""
        return replace(self, terms=self.terms.cast(dtype, device))

    def prepare(self, inputs: Any) -> Any:
        """See `FeatureMap`."""
        return self.terms.prepare(inputs)

    def sample(self, rng: np.random.Generator, inputs: Any, scale: float) -> Tensor:
        """See `FeatureMap`; p is not drawn but begins where it was given."""
        theta = self.terms.sample(rng, inputs, scale)
        return torch.cat([theta, self.start.to(theta)])

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`."""
        if self.offset:
            return 1
        (part, theta, x), *_ = self.terms.each(self.split(parameters)[0], inputs)
        return part.offset_columns(theta, x)

    def outputs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """See `FeatureMap`."""
        return self.terms.parts[0].outputs(values, coefficients)

    def units(self, inputs: Any) -> Tensor | None:
        """See `FeatureMap`; those of p are the sizes that it begins with."""
        units = self.terms.units(inputs)
        sizes = torch.where(self.start != 0, self.start.abs(), 1.0)
        return None if units is None else torch.cat([units, sizes.to(units)])

    def limited(self, memory_limit: int) -> "CoefficientFeatures":
        """See `FeatureMap`."""
        return replace(self, terms=self.terms.limited(memory_limit))

    def curvature(self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`: the block of theta, that of p, and the mixed one from first derivatives."""
        theta, p = self.split(parameters)
        each, c, slopes, bend, C, fits = self._second(theta, p, inputs, left, right)
        first = sum(part.curvature(at, x, c[:, t, None] * left, C) for t, (part, at, x) in enumerate(each))
        parts = [part.derivatives(at, x) for part, at, x in each]
        mixed = [
            sum(part.pullback(slopes[:, t, k, None] * left, C) for t, part in enumerate(parts)) for k in range(len(p))
        ]
        B = torch.stack(mixed, dim=1)  # pyright: ignore[reportArgumentType]
        P = torch.einsum("mtkl,mt->kl", bend, fits)
        return torch.cat([torch.cat([first, B], dim=1), torch.cat([B.T, P], dim=1)])  # pyright: ignore[reportCallIssue, reportArgumentType]

    def curvature_product(
        self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        (theta, p), (v, w) = self.split(parameters), self.split(direction)
        each, c, slopes, bend, C, fits = self._second(theta, p, inputs, left, right)
        along = slopes @ w
        first, moved = torch.zeros_like(v), []
        for t, (part, at, x) in enumerate(each):
            derivatives = part.derivatives(at, x)
            first = first + part.curvature_product(at, x, c[:, t, None] * left, C, v)
            first = first + derivatives.pullback(along[:, t, None] * left, C)
            moved.append(((derivatives.pushforward(v) @ C) * left).sum(1))
        mixed = torch.einsum("mts,mt->s", slopes[:, : len(each)], torch.stack(moved, dim=1))
        return torch.cat([first, mixed + torch.einsum("mtkl,mt,l->k", bend, fits, w)])

    def _second(self, theta: Tensor, p: Tensor, inputs: Any, left: Tensor, right: Tensor) -> tuple[Any, ...]:
        """The terms; c and its derivatives; C without the offset's row; <S C^T, Phi_t> row by row, the offset last."""
        each, m = self.terms.each(theta, inputs), len(left)
        orders = self._table, lambda at: _by_entries(self._table, at)
        tables = [orders[0](p), orders[1](p), _by_entries(orders[1], p)]
        c, slopes, bend = (table.to(left).expand(m, *table.shape[1:]) for table in tables)
        C = right[:-1] if self.offset else right
        with torch.no_grad():
            fits = [((part(at, x) @ C) * left).sum(1) for part, at, x in each]
        fits += [left @ right[-1]] if self.offset else []
        return each, c, slopes, bend, C, torch.stack(fits, dim=1)

    def _table(self, p: Tensor) -> Tensor:
        """The coefficients at p, in float64 where p began."""
        return p.new_ones(1, 1) if self.table is None else self.table(p.to(self.start))


def _combined(values: list[Tensor], table: Tensor) -> Tensor:
    """sum_t c_t Phi_t, (m, n), with a further column of the table behind it."""
    total = sum(_on_rows(table[:, t], Phi) for t, Phi in enumerate(values))
    return torch.cat([total, table[:, len(values) :]], dim=1) if table.shape[1] > len(values) else total  # pyright: ignore[reportReturnType, reportCallIssue, reportArgumentType]


def _on_rows(factor: Tensor, rows: Tensor) -> Tensor:
    return factor.view(-1, *[1] * (rows.ndim - 1)) * rows


def _by_entries(function: Callable[[Tensor], Tensor], p: Tensor) -> Tensor:
    """Derivative by p with the entries of p last, one forward sweep for each: coefficients are few."""
    directions = torch.eye(len(p), dtype=p.dtype, device=p.device)
    return torch.stack([jvp(function, (p,), (direction,))[1] for direction in directions], dim=-1)
