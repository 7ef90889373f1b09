"""Neurons that are of no use where they are, put where they lower the residual: the span grows, the width stays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_count
from grassvp.bounds import Box
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import DeepMLP
from grassvp.separable import SeparableProblem
from grassvp.starts import best_candidate
from grassvp.surgery.networks import Network, mlp_features
from grassvp.surgery.operations import listed
from grassvp.surgery.removal import outcome
from grassvp.surgery.result import Operation, SurgeryResult

__all__ = ["POOL", "reseed", "reseeded"]

POOL = 1000
"""Candidates for each neuron."""


def reseed(
    problem: SeparableProblem,
    parameters: Any,
    neurons: Sequence[int],
    *,
    rng: np.random.Generator | int,
    pool: int = POOL,
    tolerance: float = 1e-8,
) -> SurgeryResult:
    """Place some neurons of the last hidden layer anew, one after the other, each where it lowers the residual most.

    A neuron is the best of `pool` random candidates sigma(w . h + b), beside the neurons that stay and those placed
    before it; h are the inputs, or the outputs of the layer before. Refused unless the value falls: at lam = 0 it
    always does where the neurons were of no use, for the new span holds the old one.

    Args:
        problem: a problem whose features are an mlp.
        parameters: theta (q,), numpy or torch.
        neurons: numbers of the neurons, from 0.
        rng: seed or generator of the candidates.
        pool: candidates for each neuron.
        tolerance: directions of the old span are judged by it.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    start = Network.of(problem, parameters)
    freed = _check_neurons(neurons, len(start.neurons))
    check_count(pool, "pool")
    try:
        generator = np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"rng must be an integer >= 0 or a numpy Generator, got {rng!r}") from error
    after, operation = reseeded(start, freed, generator, pool)
    return outcome(start, after, [operation], tolerance)


def reseeded(start: Network, freed: Sequence[int], rng: np.random.Generator, pool: int) -> tuple[Network, Operation]:
    """The network with some neurons placed anew, itself where that does not lower the value, and what was done."""
    after = Network(start.problem, _placed(start, freed, rng, pool), start.neurons)
    message = f"{listed(tuple(freed))} re-seeded: value {start.value:.4g} -> {after.value:.4g}"
    operation = Operation("reseed", tuple(freed), message)
    return (after, operation) if after.value < start.value else (start, operation.refused("it is no lower"))


def _placed(start: Network, freed: Sequence[int], rng: np.random.Generator, pool: int) -> Tensor:
    """Theta with some neurons placed anew."""
    problem, features = start.problem, mlp_features(start.problem)
    layer, inputs = features.last_layer(start.parameters, problem.inputs)
    judged = problem if not isinstance(features, DeepMLP) else _layer_problem(problem, layer, inputs)
    width, d = layer.module.shapes[0]
    weights, bias = layer.initial[: width * d].view(width, d).clone(), layer.initial[width * d :].clone()
    present = [number for number in range(width) if number not in set(freed)]
    for number in freed:
        box = _neuron_box(problem, number)
        weights[number], bias[number] = best_candidate(judged, weights[present], bias[present], rng, pool, box=box)
        present.append(number)
    return torch.cat([start.parameters[: -layer.initial.numel()], weights.reshape(-1), bias])


def _layer_problem(problem: SeparableProblem, layer: Any, inputs: Tensor) -> SeparableProblem:
    """The last hidden layer as a network of its own: the layers before are held."""
    return SeparableProblem(
        layer,
        inputs,
        problem.targets,
        weights=problem.weights,
        regularization=problem.regularization,
        memory_limit=problem.memory_limit,
    )


def _neuron_box(problem: SeparableProblem, number: int) -> Box | None:
    """Bounds (d + 1,) on the weights and the bias of a neuron."""
    if problem.bounds is None:
        return None
    features = mlp_features(problem)
    index = features.neuron_index(torch.tensor([number], device=problem.bounds.lower.device))
    own = index[-(features.module.shapes[-1][1] + 1) :]
    return Box(problem.bounds.lower[own], problem.bounds.upper[own])


def _check_neurons(neurons: Any, width: int) -> list[int]:
    if isinstance(neurons, str) or not hasattr(neurons, "__iter__"):
        raise ArgumentTypeError(f"neurons must be a sequence of numbers, got {neurons!r}")
    numbers = [check_count(number, "neurons", least=0) for number in neurons]
    if not numbers or len(set(numbers)) < len(numbers) or max(numbers) >= width:
        raise ArgumentError(f"neurons must be different numbers below {width}, at least one, got {numbers}")
    return numbers
