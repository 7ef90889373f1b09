"""Greedy growth: neuron by neuron, the candidate that most reduces the projected residual, and polishing in between.

A candidate column z lowers the value by ||z_perp^T R||^2 / (2 ||z_perp||^2), with z_perp its part outside the span of
the features that are there and R the residual. A thousand random candidates are judged by two matrix products.

Sources: orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad 1993); incremental networks (Barron 1993).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from grassvp.bounds import Box
from grassvp.errors import ArgumentError
from grassvp.features import FeatureMap, OneHiddenLayer
from grassvp.features.composed import Composed, WithModel
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import LevenbergMarquardt, MaxIterations, Run

__all__ = ["Growth", "best_candidate", "can_grow", "grow_parameters", "grow_widths", "narrowed", "without_operator"]

SLOPES = (0.25, 400.0)  # range of the candidates' slopes per half-range of the inputs, log-uniform
DEPENDENT = 1e-12  # part of a squared candidate outside the span below which it counts as inside
MOST_ROWS = 5000  # that candidates are judged on


@dataclass(frozen=True)
class Growth:
    """How a network is grown.

    Attributes:
        pool: candidates for each neuron.
        every: neurons added between two polishings.
        steps: Levenberg-Marquardt iterations of a polishing.
    """

    pool: int = 1000
    every: int = 2
    steps: int = 8


def can_grow(problem: SeparableProblem) -> bool:
    """Whether the features are one hidden layer free of bounds, alone, under an operator or times a known function."""
    free = problem.bounds is None and problem.coefficient_bounds is None
    return free and _layer(problem.features) is not None


def without_operator(problem: SeparableProblem) -> bool:
    """Whether the rows are of one hidden layer itself."""
    layer = _layer(problem.features)
    return layer is not None and layer.operator is None


def narrowed(problem: SeparableProblem, width: int) -> SeparableProblem:
    """The same problem with another number of neurons."""
    features, layer = problem.features, _one_hidden(problem).resized(width)
    if isinstance(features, WithModel) and isinstance(features.function, Composed):
        function = replace(features.function, features=OneHiddenLayer(layer.module, layer.initial))
        return problem.with_features(WithModel(layer, function))
    return problem.with_features(layer)


def grow_parameters(problem: SeparableProblem, rng: np.random.Generator, growth: Growth = Growth()) -> Tensor:
    """Theta of the problem's own width, grown from no neuron at all."""
    return list(grow_widths(problem, rng, growth))[-1]


def grow_widths(problem: SeparableProblem, rng: np.random.Generator, growth: Growth = Growth()) -> Iterator[Tensor]:
    """Theta of width 1, 2, ... up to the problem's own."""
    features = _one_hidden(problem)
    width, d = features.module.shapes[0]
    weights, bias = features.initial.new_empty(0, d), features.initial.new_empty(0)
    for count in range(1, width + 1):
        w, b = best_candidate(problem, weights, bias, rng, growth.pool)
        weights, bias = torch.cat([weights, w[None]]), torch.cat([bias, b[None]])
        if count % growth.every == 0 and count < width:
            theta = _polished(narrowed(problem, count), torch.cat([weights.reshape(-1), bias]), growth.steps)
            weights, bias = theta[: count * d].view(count, d), theta[count * d :]
        yield torch.cat([weights.reshape(-1), bias])


def _polished(problem: SeparableProblem, start: Tensor, steps: int) -> Tensor:
    """Theta after some Levenberg-Marquardt iterations."""
    # Columns as scales: they hold sharp neurons where they were placed, which serves a network that still grows.
    run = Run(ReducedProblem(problem), LevenbergMarquardt(scaling="columns"), start, MaxIterations(steps))
    run.advance()
    point = run.outcome.point
    return start if point is None else point.parameters


def best_candidate(
    problem: SeparableProblem,
    weights: Tensor,
    bias: Tensor,
    rng: np.random.Generator,
    pool: int,
    *,
    box: Box | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights (d,) and bias () of the random neuron that reduces the residual most, beside those that are there.

    Args:
        problem: with one hidden layer; its own width does not matter.
        weights: (count, d) of the neurons that are there, perhaps none.
        bias: (count,) of these.
        rng: of the candidates, and of the rows they are judged on where there are many.
        pool: how many candidates are drawn.
        box: bounds (d + 1,) on the weights and the bias, which the candidates are moved into; None for none.
    """
    features, inputs, w, targets = _judged_rows(problem, rng)
    W, b = _random_neurons(inputs, rng, pool, _steepest(problem))
    if box is not None:
        moved = box.clip(torch.cat([W, b[:, None]], dim=1))
        W, b = moved[:, :-1], moved[:, -1]
    scale = 1.0 if w is None else w[:, None]
    present = features.resized(max(len(bias), 1))
    theta = torch.cat([weights.reshape(-1), bias]) if len(bias) else present.initial
    Q = _orthonormal(scale * present(theta, inputs)[:, 0 if len(bias) else 1 :])
    R = targets - Q @ (Q.T @ targets)
    best, chosen = -1.0, 0
    size = max(1, problem.memory_limit // (64 * inputs.shape[0]))
    for start in range(0, pool, size):
        part = slice(start, min(start + size, pool))
        wide = features.resized(len(b[part]), bias_feature=False)
        gain = _gains(scale * wide(torch.cat([W[part].reshape(-1), b[part]]), inputs), Q, R)
        index = int(gain.argmax())
        if float(gain[index]) > best:
            best, chosen = float(gain[index]), start + index
    return W[chosen], b[chosen]


def _orthonormal(Phi: Tensor) -> Tensor:
    """Orthonormal basis of the span of the columns; dead and repeated neurons add nothing to it."""
    Q, R = torch.linalg.qr(Phi)
    tolerance = max(Phi.shape) * torch.finfo(Phi.dtype).eps
    size = torch.linalg.vector_norm(R, dim=0)
    if R.shape[0] == R.shape[1] and bool((R.diagonal().abs() > tolerance * size).all()):
        return Q
    U, s, _ = torch.linalg.svd(R / torch.where(size > 0, size, 1.0), full_matrices=False)
    return Q @ U[:, s > tolerance * s.amax()]


def _gains(Z: Tensor, Q: Tensor, R: Tensor) -> Tensor:
    """||z_perp^T R||^2 / ||z_perp||^2 for each column z of Z, by how much it lowers ||R||^2; 0 inside the span of Q."""
    whole = (Z * Z).sum(0)
    outside = whole - ((Q.T @ Z) ** 2).sum(0)
    apart = outside > max(DEPENDENT, 10 * torch.finfo(Z.dtype).eps) * whole
    gain = torch.where(apart, ((R.T @ Z) ** 2).sum(0) / outside, 0.0)
    return torch.where(torch.isfinite(gain), gain, 0.0)


def _judged_rows(
    problem: SeparableProblem, rng: np.random.Generator
) -> tuple[OneHiddenLayer, Tensor, Tensor | None, Tensor]:
    """Features, inputs, weights and weighted targets of the rows that candidates are judged on."""
    features, m = _one_hidden(problem), problem.rows
    if m <= MOST_ROWS:
        return features, problem.inputs, problem.weights, problem.weighted_targets
    index = torch.from_numpy(rng.choice(m, MOST_ROWS, replace=False)).to(problem.targets.device)
    w = None if problem.weights is None else problem.weights[index]
    return features.at_rows(index), problem.inputs[index], w, problem.weighted_targets[index]


def _steepest(problem: SeparableProblem) -> float:
    """Steepest slope of a candidate.

    Under an operator a neuron sharper than the points are dense satisfies the equation at the points alone, so that it
    must be seen by a few of them.
    """
    if _one_hidden(problem).operator is None:
        return SLOPES[1]
    return min(SLOPES[1], max(2.0, problem.rows ** (1.0 / problem.inputs.shape[1]) / 4.0))


def _random_neurons(inputs: Tensor, rng: np.random.Generator, count: int, steepest: float) -> tuple[Tensor, Tensor]:
    """Weights (count, d) and biases (count,): slopes log-uniform, directions and centres uniform in the box."""
    low, high = inputs.amin(0).double().cpu().numpy(), inputs.amax(0).double().cpu().numpy()
    half = np.where(high > low, (high - low) / 2, 1.0)
    slopes = np.exp(rng.uniform(np.log(SLOPES[0]), np.log(steepest), count))
    directions = rng.standard_normal((count, len(low)))
    W = (slopes / np.linalg.norm(directions, axis=1))[:, None] * directions / half
    b = -np.sum(W * rng.uniform(low, high, W.shape), axis=1)
    return torch.from_numpy(W).to(inputs), torch.from_numpy(b).to(inputs)


def _layer(features: FeatureMap) -> OneHiddenLayer | None:
    """The one hidden layer that the rows are of."""
    if isinstance(features, WithModel) and isinstance(features.function, Composed):
        features = features.features  # D and g of the fitted function are in the operator and in the targets
    return features if isinstance(features, OneHiddenLayer) else None


def _one_hidden(problem: SeparableProblem) -> OneHiddenLayer:
    layer = _layer(problem.features)
    if layer is None:
        raise ArgumentError("features must be an mlp with one hidden layer to be grown neuron by neuron")
    return layer
