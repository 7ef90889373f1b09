"""A problem at a point as the neurons of its last hidden layer, and what is left of both without some of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from grassvp.bounds import Box
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import DeepMLP, OneHiddenLayer
from grassvp.jacobians import weighted
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem

__all__ = ["Network", "mlp_features", "with_neurons"]


def mlp_features(problem: SeparableProblem) -> OneHiddenLayer | DeepMLP:
    """The features of the problem.

    Raises:
        ArgumentError, ArgumentTypeError: they are not those of an mlp, or `problem` is no problem.
    """
    if not isinstance(problem, SeparableProblem):
        raise ArgumentTypeError(f"problem must be a SeparableProblem, got {type(problem).__name__}")
    if not isinstance(problem.features, OneHiddenLayer | DeepMLP):
        raise ArgumentError(
            "features must be an mlp (with one hidden layer under a differential operator) for surgery on its neurons, "
            f"got {type(problem.features).__name__}"
        )
    return problem.features


def with_neurons(
    problem: SeparableProblem, parameters: Tensor, neurons: Sequence[int]
) -> tuple[SeparableProblem, Tensor]:
    """The problem and theta with some neurons of the last hidden layer alone, and with their part of every bound."""
    features, device = mlp_features(problem), parameters.device
    width = features.module.shapes[-1][0]
    kept = torch.tensor(neurons, dtype=torch.long, device=device)
    index = features.neuron_index(kept)
    narrow = problem.with_features(features.selected(kept))
    if problem.bounds is not None:
        narrow.bounds = Box(problem.bounds.lower[index], problem.bounds.upper[index])
    if problem.coefficient_bounds is not None:
        rows = torch.cat([kept, torch.arange(width, problem.width, device=device)])
        box = problem.coefficient_bounds
        narrow.coefficient_bounds = Box(box.lower[rows], box.upper[rows])
    return narrow, parameters[index]


@dataclass(frozen=True, eq=False)
class Network:
    """A problem at theta, whose neurons are called by their numbers in the network that one began with.

    Attributes:
        problem: with as many neurons as there are left.
        parameters: theta, (q,).
        neurons: numbers of the neurons of its last hidden layer, ascending.
    """

    problem: SeparableProblem
    parameters: Tensor
    neurons: tuple[int, ...]

    @staticmethod
    def of(problem: SeparableProblem, parameters: Any) -> "Network":
        """All neurons of a problem at theta, numpy or torch.

        Raises:
            ArgumentError, ArgumentTypeError: the features are no mlp's, or theta has the wrong shape.
        """
        width = mlp_features(problem).module.shapes[-1][0]
        theta = ReducedProblem(problem).vector(parameters, "parameters").clone()
        return Network(problem, theta, tuple(range(width)))

    def without(self, removed: Iterable[int]) -> "Network":
        """The network without some neurons; itself where there are none."""
        gone = set(removed)
        if not gone:
            return self
        places = [place for place, number in enumerate(self.neurons) if number not in gone]
        problem, theta = with_neurons(self.problem, self.parameters, places)
        return Network(problem, theta, tuple(self.neurons[place] for place in places))

    def places(self, numbers: Iterable[int]) -> list[int]:
        """The columns of some neurons."""
        return [self.neurons.index(number) for number in numbers]

    @cached_property
    def point(self) -> Linearization:
        """The linear solve at theta."""
        return ReducedProblem(self.problem).linearize(self.parameters)

    @property
    def value(self) -> float:
        """The reduced value."""
        return self.point.value

    @cached_property
    def matrix(self) -> Tensor:
        """W Phi, (m, n), in float64: the neurons' columns and then the constant, if any."""
        return weighted(self.point.derivatives.values, self.problem.weights).double()

    @property
    def columns(self) -> Tensor:
        """The neurons' columns of W Phi, (m, width)."""
        return self.matrix[:, : len(self.neurons)]

    @property
    def constant(self) -> Tensor:
        """The column of W Phi that belongs to no neuron, (m, 1), or (m, 0) without."""
        return self.matrix[:, len(self.neurons) :]

    @property
    def noise(self) -> float:
        """Size of the rounding errors of a column of Phi of length one, those of its products with others included."""
        return self.matrix.shape[1] * torch.finfo(self.problem.targets.dtype).eps
