"""Several feature maps of the same inputs, with the columns of all of them: Phi = [Phi_1 | ... | Phi_U].

With parameters of their own, theta = (theta_1, ..., theta_U), these are banks of different neurons under one output
layer, Phi C = sum_u Phi_u C_u. With shared parameters they are the rows of a linear system, sum_u L_u (Phi C_u), for
several unknowns that read one network Phi, each under an operator L_u of its own.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from grassvp.errors import ArgumentError
from grassvp.features.function import DenseDerivatives
from grassvp.features.joined import JoinedFeatures, own_parameters
from grassvp.features.protocol import FeatureDerivatives, FeatureMap, at_rows

__all__ = ["SideBySide", "SideBySideDerivatives", "Unknowns"]


class SideBySideDerivatives(FeatureDerivatives):
    """[Phi_1 | ... | Phi_U] with products of its derivative, each from those of the parts."""

    def __init__(self, parts: tuple[FeatureDerivatives, ...], sizes: tuple[int, ...], shared: bool) -> None:
        self._parts, self._sizes, self._shared = parts, sizes, shared
        self._widths = [part.values.shape[1] for part in parts]

    @cached_property
    def values(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Phi, (m, n)."""
        return torch.cat([part.values for part in self._parts], dim=1)

    def pushforward(self, direction: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        directions = own_parameters(direction, self._sizes, self._shared)
        return torch.cat([part.pushforward(v) for part, v in zip(self._parts, directions, strict=True)], dim=1)

    def pullback(self, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        rights = right.split(self._widths)
        return self._joined([part.pullback(left, C) for part, C in zip(self._parts, rights, strict=True)])

    def contract(self, coefficients: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        return self._joined(
            [part.contract(C) for part, C in zip(self._parts, coefficients.split(self._widths), strict=True)]
        )

    def contract_adjoint(self, weights: Tensor, factor: Tensor) -> Tensor:
        """See `FeatureDerivatives`."""
        factors = factor.split(self._widths, dim=1)
        return self._joined([part.contract_adjoint(weights, L) for part, L in zip(self._parts, factors, strict=True)])

    def block(self, start: int, stop: int) -> "SideBySideDerivatives":
        """See `FeatureDerivatives`."""
        return SideBySideDerivatives(tuple(part.block(start, stop) for part in self._parts), self._sizes, self._shared)

    def _joined(self, pieces: list[Tensor]) -> Tensor:
        """What the parts contribute to an array that has the parameters last."""
        if not self._shared:
            return torch.cat(pieces, dim=-1)
        total, *others = pieces
        for piece in others:
            total = total + piece
        return total


@dataclass(frozen=True, eq=False)
class SideBySide(JoinedFeatures):
    """Features [Phi_1 | ... | Phi_U]; build them with `features.side_by_side`.

    Attributes:
        parts: feature maps of the same inputs, none with an offset.
        shared: whether all of them read the same theta (q,); else theta is (theta_1, ..., theta_U).
    """

    @property
    def cheap_adjoint(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where it is for all parts."""
        return all(part.cheap_adjoint for part in self.parts)

    @property
    def row_by_row(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True where it is for any part, unless another is bound to its rows and cannot be evaluated at some alone."""
        return any(part.row_by_row for part in self.parts) and not self.row_bound

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See `FeatureMap`.

        Raises:
            ArgumentError: a part has an offset.
        """
        each = self.each(parameters, inputs)
        for number, (part, theta, x) in enumerate(each):
            if part.offset_columns(theta, x):
                raise ArgumentError(
                    f"features: part {number} of several side by side has an offset, a column without a coefficient: "
                    "take it from the targets, or write the parts as one function with an offset"
                )
        return torch.cat([part(theta, x) for part, theta, x in each], dim=1)

    def derivatives(self, parameters: Tensor, inputs: Any) -> SideBySideDerivatives:
        """See `FeatureMap`."""
        parts = tuple(part.derivatives(theta, x) for part, theta, x in self.each(parameters, inputs))
        return SideBySideDerivatives(parts, self.sizes, self.shared)

    def at_rows(self, index: Any) -> "SideBySide":
        """The features of some rows, named by a slice or an index tensor.

        Raises:
            ArgumentError: a part cannot give them.
        """
        return replace(self, parts=tuple(at_rows(part, index) for part in self.parts))

    def curvature(self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor) -> Tensor:
        """See `FeatureMap`: a block for each part, or the sum of them where theta is shared."""
        blocks = [part.curvature(theta, x, left, C) for part, theta, x, C in self._bent(parameters, inputs, right)]
        return torch.stack(blocks).sum(0) if self.shared else torch.block_diag(*blocks)

    def curvature_product(
        self, parameters: Tensor, inputs: Any, left: Tensor, right: Tensor, direction: Tensor
    ) -> Tensor:
        """See `FeatureMap`."""
        directions = own_parameters(direction, self.sizes, self.shared)
        products = [
            part.curvature_product(theta, x, left, C, v)
            for (part, theta, x, C), v in zip(self._bent(parameters, inputs, right), directions, strict=True)
        ]
        return torch.stack(products).sum(0) if self.shared else torch.cat(products)

    def _bent(self, parameters: Tensor, inputs: Any, right: Tensor) -> list[tuple[FeatureMap, Tensor, Any, Tensor]]:
        """The parts with what each is given, and its rows of C."""
        each = self.each(parameters, inputs)
        with torch.no_grad():
            widths = [part(theta, x).shape[1] for part, theta, x in each[:-1]]
        coefficients = right.tensor_split(list(accumulate(widths)))
        return [(*given, C) for given, C in zip(each, coefficients, strict=True)]


@dataclass(frozen=True, eq=False)
class Unknowns(JoinedFeatures):
    """The function x -> (u_1, ..., u_U), u_j = Phi_j C_j + o_j, of a system solved for C = [C_1; ...; C_U], (n, 1).

    The feature matrix (m U, n) has a row for every u_j(x_i): row i U + j holds row i of Phi_j in the columns of C_j and
    zeros elsewhere. `outputs` makes (m, U) of its product with C.

    Attributes:
        parts: the features Phi_j of each unknown, each with at most one column of an offset o_j.
        shared: whether all of them read the same theta.
    """

    cheap_adjoint = True

    def __call__(self, parameters: Tensor, inputs: Any) -> Tensor:
        """See the class: (m U, n), or (m U, n + 1) with an offset."""
        each = self.each(parameters, inputs)
        values = [part(theta, x) for part, theta, x in each]
        fixed = [part.offset_columns(theta, x) for part, theta, x in each]
        if max(fixed) > 1:
            raise ArgumentError(f"features: an unknown has one column of an offset at most, got {max(fixed)}")
        free = [Phi.shape[1] - count for Phi, count in zip(values, fixed, strict=True)]
        stops, n = list(accumulate(free)), sum(free)
        rows = [
            pad(Phi[:, :width], (stop - width, n - stop)) for Phi, width, stop in zip(values, free, stops, strict=True)
        ]
        stacked = torch.stack(rows, dim=1).flatten(0, 1)
        if not any(fixed):
            return stacked
        offsets = [Phi[:, -1] if count else Phi.new_zeros(len(Phi)) for Phi, count in zip(values, fixed, strict=True)]
        return torch.cat([stacked, torch.stack(offsets, dim=1).reshape(-1, 1)], dim=1)

    def offset_columns(self, parameters: Tensor, inputs: Any) -> int:
        """See `FeatureMap`."""
        return max(part.offset_columns(theta, x) for part, theta, x in self.each(parameters, inputs))

    def outputs(self, values: Tensor, coefficients: Tensor) -> Tensor:
        """The unknowns (m, U) for feature values (m U, n) and C (n, 1).

        Raises:
            ArgumentError: C has several columns.
        """
        if coefficients.shape[1] != 1:
            raise ArgumentError(
                f"targets of a system must have shape (rows,), as its unknowns share them, got {coefficients.shape[1]} "
                "columns"
            )
        return super().outputs(values, coefficients).view(-1, len(self.parts))

    def derivatives(self, parameters: Tensor, inputs: Any) -> FeatureDerivatives:
        """See `FeatureMap`."""
        return DenseDerivatives(lambda at: self(at, inputs), parameters)
