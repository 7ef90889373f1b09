"""Input derivatives of all features at once, by forward Taylor propagation.

A jet carries h and its derivatives D^alpha h through the network: for each index wanted all its sub-indices, which are
what the chain rule needs. A linear layer maps every entry alike, h -> h W^T (+ b on the value), so that all entries
share one matrix product; an activation acts by Faa di Bruno's formula,
  D^alpha sigma(z) = sum over the partitions of alpha's positions into blocks B of sigma^(blocks)(z) prod_B D^alpha_B z,
such as d_i d_j sigma(z) = sigma'' d_i z d_j z + sigma' d_i d_j z. A Laplacian in d coordinates costs 1 + 2 d forward
passes; reverse mode would need two sweeps for each feature.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import combinations

import torch
from torch import Tensor
from torch.func import functional_call, jvp

from grassvp.features.activations import activation_derivatives
from grassvp.features.mlp import MLP, is_plain_mlp, with_bias
from grassvp.features.operators import Index

__all__ = ["function_jet", "mlp_jet", "module_jet"]

Jet = dict[Index, Tensor]


def mlp_jet(module: MLP, weights: dict[str, Tensor], x: Tensor, indices: Iterable[Index]) -> Jet:
    """The derivatives D^alpha of all features of an MLP at x (m, d), for the given multi-indices.

    Args:
        module: the network; its own weights are not read.
        weights: its parameters by name, as `torch.func.functional_call` takes them.
        x: (m, d) inputs.
        indices: the derivatives wanted, each a sorted tuple of coordinates of length 0 to 5; () is the value.

    Returns:
        {index: (m, n)}.
    """
    wanted = tuple(indices)
    needed = _sub_indices(wanted)
    z = _first_layer(weights["layers.0.weight"], weights["layers.0.bias"], x)
    for depth in range(1, len(module.layers)):
        hidden = _activate(module.activation, z, needed)
        moved = torch.stack(list(hidden.values())) @ weights[f"layers.{depth}.weight"].T
        z = dict(zip(needed, moved.unbind(0), strict=True))
        z[()] = z[()] + weights[f"layers.{depth}.bias"]
    jet = _activate(module.activation, z, wanted)
    return {
        index: with_bias(entry, float(index == ())) if module.bias_feature else entry for index, entry in jet.items()
    }


def _first_layer(weight: Tensor, bias: Tensor, x: Tensor) -> Jet:
    """W x + b and its slopes d_i z = w_i, (1, n), the same in every row; the entries left out are zero."""
    slopes: Jet = {(i,): column[None] for i, column in enumerate(weight.T)}
    return {(): x @ weight.T + bias, **slopes}


def _activate(activation: str, z: Jet, indices: tuple[Index, ...]) -> Jet:
    """D^alpha sigma(z) for the given indices, by Faa di Bruno's formula; entries that z lacks are zero."""
    sigma = activation_derivatives(activation, z[()], max(map(len, indices)))
    return {index: _chain(sigma, z, index) if index else sigma[0] for index in indices}


def _chain(sigma: Sequence[Tensor], z: Jet, index: Index) -> Tensor:
    (_, singles), *others = _faa_di_bruno(index)
    result = reduce(torch.mul, (z[block] for block in singles)) * sigma[len(singles)]
    for count, blocks in others:
        if all(block in z for block in blocks):
            product = reduce(torch.mul, (z[block] for block in blocks))
            result = torch.addcmul(result, product, sigma[len(blocks)], value=count)
    return result


@lru_cache(maxsize=1024)
def _sub_indices(indices: tuple[Index, ...]) -> tuple[Index, ...]:
    """All sub-multi-indices of `indices`, themselves included, by order and then lexicographically."""
    found = {part for index in indices for size in range(len(index) + 1) for part in combinations(index, size)}
    return tuple(sorted(found | {()}, key=lambda index: (len(index), index)))


@lru_cache(maxsize=1024)
def _faa_di_bruno(index: Index) -> list[tuple[int, tuple[Index, ...]]]:
    """The partitions of the positions of `index` into blocks, with how many are equal; all singletons come first."""
    counts = Counter(tuple(sorted(blocks)) for blocks in _partitions(index))
    return [(count, blocks) for blocks, count in sorted(counts.items(), key=lambda item: -len(item[0]))]


def _partitions(index: Index) -> Iterator[list[Index]]:
    """Every partition of the positions of `index` into blocks: the last position joins a block or stands alone."""
    if not index:
        yield []
        return
    *_, last = index
    for blocks in _partitions(index[:-1]):
        yield [*blocks, (last,)]
        for place, block in enumerate(blocks):
            yield [*blocks[:place], (*block, last), *blocks[place + 1 :]]


def function_jet(function: Callable[[Tensor], Tensor], x: Tensor, indices: Iterable[Index]) -> Jet:
    """As `mlp_jet`, for any function of independent rows, by nested forward mode: correct for every module, slower."""
    directions = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)[:, None, :].expand(-1, *x.shape)

    def along(inner: Callable[[Tensor], Tensor], i: int) -> Callable[[Tensor], Tensor]:
        return lambda at: jvp(inner, (at,), (directions[i],))[1]

    jet: Jet = {}
    for index in indices:
        derivative = function
        for i in index:
            derivative = along(derivative, i)
        jet[index] = derivative(x)
    return jet


def module_jet(module: torch.nn.Module, weights: dict[str, Tensor], x: Tensor, indices: Iterable[Index]) -> Jet:
    """Jet of any module with the given weights: Taylor propagation for an `MLP`, nested forward mode otherwise."""
    if is_plain_mlp(module):
        return mlp_jet(module, weights, x, indices)
    return function_jet(lambda at: functional_call(module, weights, (at,)), x, indices)
