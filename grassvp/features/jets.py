"""Input derivatives of all features at once, by forward Taylor propagation.

A jet carries (h, d_i h, d_i d_j h) through the network. A linear layer maps every entry alike, h -> h W^T (+ b on the
value), so that all entries share one matrix product; an activation acts by the chain rule,
  d_i sigma(z) = sigma' d_i z,   d_i d_j sigma(z) = sigma'' d_i z d_j z + sigma' d_i d_j z.
A Laplacian in d coordinates costs 1 + 2 d forward passes; reverse mode would need two sweeps for each feature.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, is_plain_mlp, with_bias

__all__ = ["function_jet", "mlp_jet"]

Pairs = Sequence[tuple[int, int]]
Jet = dict[tuple[int, ...], Tensor]


def mlp_jet(module: MLP, weights: dict[str, Tensor], x: Tensor, pairs: Pairs, *, order: int = 2) -> Jet:
    """Value, gradient and the second derivatives `pairs` of all features of an MLP at x (m, d).

    Args:
        module: the network; its own weights are not read.
        weights: its parameters by name, as `torch.func.functional_call` takes them.
        x: (m, d) inputs.
        pairs: the second derivatives wanted, (i, j) with i <= j; used at order 2.
        order: 0, 1 or 2.

    Returns:
        {(): (m, n), (0,): (m, n), ..., (i, j): (m, n)}.
    """
    d = x.shape[1]
    pairs = list(pairs) if order >= 2 else []
    state = torch.cat([x[None], _seed(x, d if order >= 1 else 0, len(pairs))])
    for depth in range(len(module.layers)):
        state = state @ weights[f"layers.{depth}.weight"].T
        z = state[0] + weights[f"layers.{depth}.bias"]
        sigma = activation_derivatives(module.activation, z, order)
        parts = [sigma[0][None]]
        if order >= 1:
            first = state[1 : 1 + d]
            parts.append(sigma[1] * first)
        if pairs:
            i, j = zip(*pairs, strict=True)
            parts.append(sigma[2] * first[list(i)] * first[list(j)] + sigma[1] * state[1 + d :])  # pyright: ignore[reportPossiblyUnboundVariable]
        state = torch.cat(parts)
    keys = [(), *([(i,) for i in range(d)] if order >= 1 else []), *pairs]
    return {
        key: with_bias(entry, float(key == ())) if module.bias_feature else entry
        for key, entry in zip(keys, state, strict=True)
    }


def _seed(x: Tensor, firsts: int, seconds: int) -> Tensor:
    """d_i x = e_i and d_i d_j x = 0, as (firsts + seconds, m, d)."""
    m, d = x.shape
    directions = torch.eye(d, dtype=x.dtype, device=x.device)[:firsts, None, :].expand(firsts, m, d)
    return torch.cat([directions, x.new_zeros(seconds, m, d)])


def function_jet(function: Callable[[Tensor], Tensor], x: Tensor, pairs: Pairs, *, order: int = 2) -> Jet:
    """As `mlp_jet`, for any function of independent rows, by nested forward mode: correct for every module, slower."""
    d = x.shape[1]
    directions = torch.eye(d, dtype=x.dtype, device=x.device)[:, None, :].expand(d, *x.shape)

    def along(inner: Callable[[Tensor], Tensor], i: int) -> Callable[[Tensor], Tensor]:
        return lambda at: jvp(inner, (at,), (directions[i],))[1]

    jet: Jet = {(): function(x)}
    if order >= 1:
        jet |= {(i,): along(function, i)(x) for i in range(d)}
    if order >= 2:
        jet |= {(i, j): along(along(function, i), j)(x) for i, j in pairs}
    return jet


def module_jet(module: torch.nn.Module, weights: dict[str, Tensor], x: Tensor, pairs: Pairs, *, order: int = 2) -> Jet:
    """Jet of any module with the given weights: Taylor propagation for an `MLP`, nested forward mode otherwise."""
    if is_plain_mlp(module):
        return mlp_jet(module, weights, x, pairs, order=order)
    return function_jet(lambda at: functional_call(module, weights, (at,)), x, pairs, order=order)
