"""How the unknowns of an equation are written by networks, and what operators on them are on the networks' features.

u_j = g_j + D_j N_j(e(x)), N_j = Phi_j C_j. The unknowns of a system read one network, each with coefficients of its
own, or have a network each; then C is the stack of the C_j and Phi has the columns of all of them side by side.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.features import FeatureMap, OneHiddenLayer, as_feature_map, differential_operator, under_operator
from grassvp.features.composed import Composed, WithModel
from grassvp.features.differences import RowDifferences
from grassvp.features.side_by_side import SideBySide, Unknowns
from grassvp.pde.ansatz import Ansatz, Embedding
from grassvp.pde.domain import Box
from grassvp.pde.operators import Terms

__all__ = ["Representation"]


@dataclass(frozen=True, eq=False)
class Representation:
    """The unknowns as networks.

    Attributes:
        box: the domain.
        networks: one for each unknown, or one for all of them.
        unknowns: how many there are.
        ansatz: D and g by unknown, where conditions hold by construction.
        embedding: e, or None for the identity.
    """

    box: Box
    networks: tuple[Any, ...]
    unknowns: int = 1
    ansatz: dict[int, Ansatz] = field(default_factory=dict)
    embedding: Embedding | None = None

    def inputs(self, points: Tensor) -> Tensor:
        """What the networks are given at points (rows, d)."""
        return points if self.embedding is None else self.embedding(points)

    def on_networks(self, terms: Terms, points: Tensor) -> tuple[list[dict[Any, Tensor]], Tensor]:
        """For each unknown the operator on its network; and what the operator makes of the g_j, (rows,)."""
        fixed, operators = points.new_zeros(len(points)), []
        for j in range(self.unknowns):
            own = {index: c for (unknown, index), c in terms.items() if unknown == j}
            if j in self.ansatz and own:
                own, offset = self.ansatz[j].apply(own, points)
                fixed = fixed + offset
            operators.append(own if self.embedding is None else self.embedding.apply(own, points))
        return operators, fixed

    def rows(self, terms: Terms, points: Tensor) -> tuple[FeatureMap, Tensor]:
        """Features whose rows are an operator on all unknowns, and what it makes of the g_j, (rows,)."""
        operators, fixed = self.on_networks(terms, points)
        width = self.inputs(points[:1]).shape[1]
        maps = [
            _under(network, differential_operator(len(points), width, own or {(): 0.0}))
            for network, own in zip(self._each(), operators, strict=True)
        ]
        return self._joined(maps), fixed

    def differences(
        self, terms: Terms, points: Tensor, opposite_terms: Terms, opposite: Tensor
    ) -> tuple[FeatureMap, Tensor]:
        """As `rows`, with the operator on the last of the points minus that on `opposite`, as many points."""
        first, fixed = self.rows(terms, points)
        second, fixed_there = self.rows(opposite_terms, opposite)
        fixed = torch.cat([fixed[: -len(opposite)], fixed[-len(opposite) :] - fixed_there])
        return RowDifferences(first, second, self.inputs(opposite)), fixed

    def evaluating(self, features: FeatureMap) -> FeatureMap:
        """The features, whose `model` evaluates the unknowns themselves at points of the box."""
        if self.plain:
            return features
        d = self.box.dimension
        maps = []
        for j, network in enumerate(self._each()):
            D, g = None, None
            if j in self.ansatz:
                D, g = self.ansatz[j].multiplier, self.ansatz[j].lift
            plain = as_feature_map(network)
            whole = D is None and self.embedding is None
            maps.append(plain if whole else Composed(plain, self.embedding, D, g, d))
        return WithModel(features, maps[0] if self.unknowns == 1 else Unknowns(tuple(maps), self.shared))

    @property
    def plain(self) -> bool:
        """Whether there is one unknown, which is the network itself."""
        return not self.ansatz and self.embedding is None and self.unknowns == 1

    @property
    def shared(self) -> bool:
        """Whether all unknowns read one network."""
        return len(self.networks) == 1

    def _each(self) -> tuple[Any, ...]:
        return self.networks * self.unknowns if self.shared else self.networks

    def _joined(self, maps: list[FeatureMap]) -> FeatureMap:
        return maps[0] if self.unknowns == 1 else SideBySide(tuple(maps), shared=self.shared)


def _under(network: Any, operator: Any) -> FeatureMap:
    """L Phi for a network, a map of one hidden layer, or several of these side by side."""
    if isinstance(network, SideBySide):
        parts = tuple(_under(part, operator) for part in network.parts)
        return SideBySide(parts, shared=network.shared)
    if isinstance(network, OneHiddenLayer):
        return OneHiddenLayer(network.module, network.initial, operator)
    if isinstance(network, FeatureMap):
        raise ArgumentError(
            "features must be a network (a torch.nn.Module) or several side by side, whose derivatives are known, got "
            f"{type(network).__name__}"
        )
    return under_operator(network, operator)
