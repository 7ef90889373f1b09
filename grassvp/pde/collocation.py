"""An equation at collocation points: what the separable problem is made from, and made from again."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.features import FeatureMap, as_feature_map
from grassvp.pde.assembly import Block, balanced_weights, joined_terms
from grassvp.pde.coefficients import coefficient_features
from grassvp.pde.data import DOMINANCE, Data, data_blocks, weights_beside_data
from grassvp.pde.equations import Equations
from grassvp.pde.fields import Index
from grassvp.pde.newton import At, Newton, misfit_of
from grassvp.pde.operators import Terms
from grassvp.pde.representation import Representation
from grassvp.pde.rows import LookUp, Places
from grassvp.separable import SeparableProblem

__all__ = ["Collocation"]

RIDGE = 1.5e-28  # lam by feature and squared size of its balanced rows: at rounding level, it holds rank drops off
RELINEARIZED = 1.5e-26  # that of nonlinear equations, where steps end in noise at condition numbers of 1e12 without it


@dataclass(frozen=True, eq=False)
class Collocation:
    """Points, the representation of the unknowns, and the options of the problem.

    Attributes:
        equations: the equations and conditions.
        representation: of the unknowns by networks.
        interior: (rows, d) points of the equations.
        places: points of the soft conditions, by condition and face.
        options: of the `SeparableProblem`.
        data: measurements, if any.
        dominance: how much each block of the equation and conditions counts beside all data together.
    """

    equations: Equations
    representation: Representation
    interior: Tensor
    places: Sequence[Places]
    options: dict[str, Any] = field(default_factory=dict)
    data: tuple[Data, ...] = ()
    dominance: float = DOMINANCE

    def problem(self, look_up: LookUp | None = None) -> SeparableProblem:
        """The least-squares problem; of the linearisation at a field with these derivatives at the interior points.

        By default a nonlinear equation is linearised at its guess, and a solve will linearise it again on its way.
        """
        if look_up is None and not self.equations.linear:
            return self.linearized(self.equations.guessed)
        return self._problem(self.blocks(look_up))

    def linearized(self, at: At) -> SeparableProblem:
        """The least-squares problem of a nonlinear equation from which a solve goes on with Newton's method at a field.

        Raises:
            ArgumentError: the equation is not finite there.
        """
        look_up = at(self.interior)
        blocks = self.blocks(look_up)
        for block in blocks:
            if not all(bool(torch.isfinite(each).all()) for each in (block.targets, *block.terms.values())):
                raise ArgumentError(
                    f"{block.name} is NaN or infinite where it is linearised: give a guess, PDE(..., guess=...), at "
                    "which it is finite"
                )
        problem = self._problem(blocks)
        own = sum(block.points is self.interior for block in blocks)
        derivatives = {key: look_up(*key) for block in blocks[:own] for key in block.terms}
        problem.linearized = Newton(self, derivatives, misfit_of(blocks[own:], at), self.weights(blocks))
        return problem

    def continued(self, solution: Any) -> SeparableProblem:
        """The problem from which a solve goes on at a solution of it, or of a like one at other points.

        A nonlinear equation is linearised there; for a linear one it is the problem itself.
        """
        if self.equations.linear:
            return self.problem()
        theta, C = solution.parameters, solution.coefficients
        return self.linearized(lambda points: self.field(points, theta, C))

    def weights(self, blocks: Sequence[Block]) -> Tensor:
        """(rows,) weights that balance the blocks."""
        if self.data:
            return weights_beside_data(blocks, self.equations.box, self.dominance)
        return balanced_weights(blocks, self.equations.box)

    def _problem(self, blocks: Sequence[Block]) -> SeparableProblem:
        features, inputs, targets = self.assembled(blocks)
        weights = self.weights(blocks)
        problem = SeparableProblem(features, inputs, targets, weights=weights, **self.options)
        if "regularization" not in self.options:
            sizes = torch.cat([torch.full((block.rows,), block.size(self.equations.box)) for block in blocks])
            ridge = RIDGE if self.equations.linear else RELINEARIZED
            problem = problem.with_regularization(ridge * problem.width * float(((weights * sizes) ** 2).sum()))
        problem.origin = self
        return problem

    def blocks(self, look_up: LookUp | None = None) -> list[Block]:
        """The equations' blocks, then the data's and the conditions', those with two sides last."""
        if self.equations.coefficients:
            return self.known(self.equations.start).blocks(look_up)
        own = self.equations.interior_blocks(self.interior, look_up)
        own += data_blocks(self.data, self.equations.box, self.equations.unknowns)
        conditions = self.equations.face_blocks(self.places)
        return [*own, *sorted(conditions, key=lambda block: block.opposite is not None)]

    def assembled(self, blocks: Sequence[Block]) -> tuple[Any, Tensor, Tensor]:
        """Features, inputs and targets of all rows."""
        points = torch.cat([block.points for block in blocks])
        if self.equations.coefficients:
            features, targets = coefficient_features(self, blocks)
            return features, self.representation.inputs(points), targets
        terms = joined_terms([(block.rows, block.terms) for block in blocks])
        two_sided = [block for block in blocks if block.opposite is not None]
        if two_sided:
            opposite = torch.cat([block.opposite for block in two_sided])  # pyright: ignore[reportArgumentType]
            other = joined_terms([(block.rows, block.terms) for block in two_sided])
            features, fixed = self.representation.differences(terms, points, other, opposite)
        else:
            features, fixed = self.representation.rows(terms, points)
        targets = torch.cat([block.targets for block in blocks]) - fixed
        return self.representation.evaluating(features), self.representation.inputs(points), targets

    def applied(self, terms: Terms, points: Tensor, parameters: Tensor, coefficients: Tensor) -> Tensor:
        """An operator on the unknowns at theta and C, (rows,)."""
        features, fixed = self.representation.rows(terms, points)
        with torch.no_grad():
            rows = features(parameters, features.prepare(self.representation.inputs(points)))
            return (rows @ coefficients)[:, 0] + fixed

    def field(self, points: Tensor, parameters: Tensor, coefficients: Tensor) -> LookUp:
        """The derivatives of the unknowns at theta and C; each is computed once."""
        parameters = parameters[: len(parameters) - len(self.equations.coefficients)]
        known: dict[tuple[int, Index], Tensor] = {}

        def look_up(unknown: int, index: Index) -> Tensor:
            key = unknown, index
            if key not in known:
                one = torch.ones(len(points), dtype=torch.float64)
                known[key] = self.applied({key: one}, points, parameters, coefficients)
            return known[key]

        return look_up

    def narrowed(self, features: FeatureMap) -> "Collocation":
        """The same for the network that a solution has, where neurons were taken out of it."""
        network = self.representation.networks[0]
        count = features.initial.numel() - len(self.equations.coefficients)
        if self.representation.plain and as_feature_map(network).initial.numel() != count:
            return replace(self, representation=replace(self.representation, networks=(features.model,)))
        return self

    def known(self, coefficients: Tensor, *, traced: bool = False) -> "Collocation":
        """The same with known coefficients (s,) of the equation, also in the operators of the data."""
        equations, names = self.equations.at(coefficients, traced=traced), tuple(self.equations.coefficients)
        data = tuple(each.bound(names, coefficients, traced) for each in self.data)
        return replace(self, equations=equations, data=data)

    def at(self, interior: Tensor, places: Sequence[Places]) -> "Collocation":
        """The same at other points."""
        return replace(self, interior=interior, places=places)
