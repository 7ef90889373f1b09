"""Rows of a collocated equation: blocks of points with their operators, and how blocks are balanced.

Each block - an equation, or a condition on its faces - is a set of rows sum_j L_j u_j = targets. A block is divided by
the size that its operator has on a half wave over the box, and by the root of its share of the rows, so that neither
the units of an equation nor the number of its points decide how much it counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.pde.domain import Box
from grassvp.pde.operators import Terms

__all__ = ["Block", "balanced_weights", "joined_terms"]

SLOPE = math.pi / 2  # of a half wave over the box, whose size under an operator balances its rows


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one equation or one condition.

    Attributes:
        name: what they are, for reports.
        points: (rows, d).
        terms: coefficients (rows,) by unknown and derivative.
        targets: (rows,).
        weight: the user's, on top of the balance.
        opposite: points (rows, d) where the same operator is applied and subtracted, for periodic conditions; or None.
    """

    name: str
    points: Tensor
    terms: Terms
    targets: Tensor
    weight: float = 1.0
    opposite: Tensor | None = None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.points)

    def size(self, box: Box) -> float:
        """Root mean square of the operator on sigma(w . x + b) with |w_i| = SLOPE / half-range, term by term."""
        half = box.lengths / 2
        total = torch.zeros(self.rows, dtype=torch.float64)
        for (_, index), c in self.terms.items():
            total += (c * math.prod(SLOPE / float(half[i]) for i in index)) ** 2
        return math.sqrt(float(total.mean()))


def balanced_weights(blocks: Sequence[Block], box: Box) -> Tensor:
    """(rows,) weights of all rows; every block has the same size times its own weight.

    Raises:
        ArgumentError: an operator whose coefficients are all zero.
    """
    total = sum(block.rows for block in blocks)
    weights = []
    for block in blocks:
        size = block.size(box)
        if not 0 < size < math.inf:
            raise ArgumentError(f"{block.name}: the coefficients of the operator are all zero, or too large")
        weight = block.weight * math.sqrt(total / block.rows) / size
        weights.append(torch.full((block.rows,), weight, dtype=torch.float64))
    return torch.cat(weights)


def joined_terms(parts: Sequence[tuple[int, Terms]]) -> Terms:
    """Terms of all rows from the numbers of rows and the terms of each part; a term that a part lacks is zero there."""
    keys = sorted({key for _, terms in parts for key in terms})
    nothing = [torch.zeros(rows, dtype=torch.float64) for rows, _ in parts]
    return {
        key: torch.cat([terms.get(key, zero) for (_, terms), zero in zip(parts, nothing, strict=True)]) for key in keys
    }
