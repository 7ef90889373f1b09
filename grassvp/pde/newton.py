"""Newton's method for nonlinear equations, written for the next field and not for its increment.

F(u) = f is linearised at a field u_k: L_k u = L_k u_k - F(u_k) + f with L_k = F'(u_k), a linear equation for the next
one. A field is only what the rows see of it, the derivatives at the interior points that F asks for and what the
conditions leave, so that two of them can be mixed whether a network represents the mixture or not. That damps the
method: a field that does not lower the norm of the weighted residual of F(u) = f and of the conditions is approached
half way, a quarter, ...

Source: P. Deuflhard, Newton Methods for Nonlinear Problems, 2004, for the affine invariant view; S. Dong, J. Yang 2022
for Newton's method around variable projection, written for the next iterate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grassvp.arrays import safe_norm
from grassvp.pde.assembly import Block
from grassvp.pde.fields import Index
from grassvp.pde.rows import LookUp
from grassvp.separable import SeparableProblem

if TYPE_CHECKING:
    from grassvp.pde.collocation import Collocation

__all__ = ["At", "Newton", "NewtonStep", "misfit_of"]

HALVINGS = 10  # of the way to the next field that are tried
SUFFICIENT = 1e-4  # part of the decrease that a linear residual would have, by Armijo
HOLDS = 1.01  # excess up to which the linearised rows are as good as the rows themselves, and a step is taken whole

At = Callable[[Tensor], LookUp]
"""A field: the derivatives of the unknowns at any points (rows, d)."""


@dataclass(frozen=True)
class NewtonStep:
    """One step from field to field.

    Attributes:
        fraction: of the way to the solution of the linearised problem that was gone; 0 where no part of it helped.
        change: ||W A (u - u_k)|| / ||W Y||, the size of the whole way as the linearised rows see it.
        residual: ||W r|| of the nonlinear rows after the step.
        excess: by which factor the residual at the whole way exceeds what the linearised rows leave there.
    """

    fraction: float
    change: float
    residual: float
    excess: float


@dataclass(frozen=True, eq=False)
class Newton:
    """A nonlinear equation at the field where it is linearised.

    Attributes:
        collocation: the equation and its points.
        derivatives: of the field at the interior points, (rows,), those that the equation asks for.
        misfit: what the conditions leave there, B u - equals, (rows,).
        weights: (rows,) of all rows; they stay while the field changes, so that residuals compare.
        steps: that led to the field.
    """

    collocation: "Collocation"
    derivatives: dict[tuple[int, Index], Tensor]
    misfit: Tensor
    weights: Tensor
    steps: tuple[NewtonStep, ...] = ()

    @property
    def residual(self) -> float:
        """||W r||, over the rows F(u) - f of the equations and B u - equals of the conditions."""
        return safe_norm(self.weighted_misfit)

    @property
    def change(self) -> float:
        """That of the last step; infinite before the first."""
        return self.steps[-1].change if self.steps else math.inf

    @property
    def fraction(self) -> float:
        """That of the last step."""
        return self.steps[-1].fraction if self.steps else 1.0

    @property
    def excess(self) -> float:
        """That of the last step."""
        return self.steps[-1].excess if self.steps else math.inf

    def look_up(self, unknown: int, index: Index) -> Tensor:
        """A derivative of the field."""
        return self.derivatives[unknown, index]

    @cached_property
    def blocks(self) -> list[Block]:
        """The linearised equations."""
        return self.collocation.equations.interior_blocks(self.collocation.interior, self.look_up)

    @cached_property
    def weighted_misfit(self) -> Tensor:
        """W r, (rows,)."""
        parts = [left_by(block, self.look_up) for block in self.blocks]
        return self.weights * torch.cat([*parts, self.misfit])

    def problem(self, like: SeparableProblem) -> SeparableProblem:
        """The least-squares problem linearised here, with the network and the options of another one."""
        collocation = self.collocation.narrowed(like.features)
        features, inputs, targets = collocation.assembled(collocation.blocks(self.look_up))
        problem = like.with_rows(features, inputs, targets, self.weights)
        problem.origin, problem.linearized = collocation, self
        return problem

    def ahead(self, problem: SeparableProblem, parameters: Tensor, coefficients: Tensor) -> "Newton":
        """The field on the way to that of theta and C, which solve the problem linearised here.

        The whole way where the residual falls, or where it is what the linearised rows say; otherwise the longest of
        its halves, quarters, ... that lowers it; none of it where none does.
        """
        with torch.no_grad():
            left = problem.fitted(problem.features(parameters, problem.inputs), coefficients) - problem.targets
        linear, size = self.weights * left[:, 0], safe_norm(problem.weighted_targets)
        moved = safe_norm(linear - self.weighted_misfit)
        change = moved / size if size > 0 else moved
        whole = self.reached(problem, parameters, coefficients, left[len(left) - len(self.misfit) :, 0])
        excess = whole.residual / max(safe_norm(linear), torch.finfo(linear.dtype).tiny)
        taken, fraction = (whole, 1.0) if excess <= HOLDS else self._damped(whole)
        return replace(taken, steps=(*self.steps, NewtonStep(fraction, change, taken.residual, excess)))

    def reached(self, problem: SeparableProblem, parameters: Tensor, coefficients: Tensor, misfit: Tensor) -> "Newton":
        """The field of theta and C."""
        collocation = self.collocation.narrowed(problem.features)
        look_up = collocation.field(collocation.interior, parameters, coefficients)
        return replace(self, derivatives={key: look_up(*key) for key in self.derivatives}, misfit=misfit)

    def mixed(self, other: "Newton", fraction: float) -> "Newton":
        """The field a fraction of the way to another one."""
        derivatives = {key: torch.lerp(own, other.derivatives[key], fraction) for key, own in self.derivatives.items()}
        return replace(self, derivatives=derivatives, misfit=torch.lerp(self.misfit, other.misfit, fraction))

    def rebalanced(self) -> "Newton":
        """The same field with the weights that balance the rows linearised there."""
        return replace(self, weights=self.collocation.weights(self.collocation.blocks(self.look_up)))

    def _damped(self, whole: "Newton") -> tuple["Newton", float]:
        """The field that is gone to, and the fraction of the way."""
        for halvings in range(HALVINGS):
            fraction = 0.5**halvings
            tried = whole if halvings == 0 else self.mixed(whole, fraction)
            if tried.residual <= (1.0 - SUFFICIENT * fraction) * self.residual:
                return tried, fraction
        return self, 0.0


def left_by(block: Block, look_up: LookUp) -> Tensor:
    """What a field leaves of the rows of a block with one side, L u - targets, (rows,)."""
    return sum((c * look_up(*key) for key, c in block.terms.items()), torch.zeros_like(block.targets)) - block.targets


def misfit_of(blocks: Sequence[Block], at: At) -> Tensor:
    """What a field leaves of conditions, those with two sides among them, (rows,) of all blocks together."""
    parts = [torch.zeros(0, dtype=torch.float64)]
    for block in blocks:
        left = left_by(block, at(block.points))
        if block.opposite is not None:
            there = at(block.opposite)
            left = left - sum(c * there(*key) for key, c in block.terms.items())
        parts.append(left)
    return torch.cat(parts)
