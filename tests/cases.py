"""Problems with their references, shared by the tests of the reduced problem and by its mutations."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from grassvp import ReducedProblem, SeparableProblem
from grassvp.features import differential_operator, from_function, mlp, under_operator
from tests import oracles

LAMS = (0.0, 1e-12, 1e-3)
ACTIVATION_NAMES = tuple(oracles.MP_ACTIVATIONS)


@dataclass(frozen=True)
class Case:
    """A reduced problem, a point, and what must come out."""

    reduced: ReducedProblem
    theta: np.ndarray
    reference: oracles.Reference


def data(rows, d, k, seed):
    """Inputs (rows, d) spread evenly enough for well-conditioned features, targets (rows, k), weights (rows,)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-2, 2, (rows, d)), rng.standard_normal((rows, k)), rng.uniform(0.5, 2.0, rows)


@lru_cache
def mp_case(widths, activation="tanh", lam=0.0, *, k=3, d=1, rows=8, seed=0, collinear=None) -> Case:
    """A small network held to mpmath; `collinear` makes the first two neurons equal up to that much."""
    x, y, w = data(rows, d, k, seed)
    module = mlp(d, widths, activation=activation, seed=seed + 1)
    theta = nn.utils.parameters_to_vector(module.parameters()).detach().numpy() * 1.5
    if collinear is not None:
        assert len(widths) == 1 and d == 1
        theta[1], theta[widths[0] + 1] = theta[0] + collinear, theta[widths[0]] - collinear
    reduced = ReducedProblem(SeparableProblem(module, x, y, weights=w, regularization=lam))
    features = lambda at: oracles.mp_features(at, x.tolist(), widths, activation)  # noqa: E731
    return Case(reduced, theta, oracles.mp_reference(features, theta, y, w, lam))


def network_features(widths, activation="tanh"):
    return lambda theta, x: oracles.torch_features(theta, x, widths, activation)


def module_under_test() -> nn.Module:
    """A module that no closed form knows: normalisation, a gate, repeated weights and a buffer, in float32."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.norm, self.mix = nn.Linear(2, 5), nn.LayerNorm(5), nn.Linear(5, 5, bias=False)
            self.register_buffer("shift", torch.linspace(-1, 1, 5))

        def forward(self, x):
            h = torch.nn.functional.silu(self.norm(self.enter(x)) + self.shift)
            return torch.tanh(self.mix(self.mix(h))) * (1 + self.shift**2) + h

    module, rng = Gated(), np.random.default_rng(3)
    for tensor in module.parameters():
        tensor.data = torch.from_numpy(rng.standard_normal(tensor.shape)).float()
    return module


def gated_features(theta, x):
    """The same function written out."""
    W, b, scale, offset = theta[:10].reshape(5, 2), theta[10:15], theta[15:20], theta[20:25]
    M, shift = theta[25:].reshape(5, 5), torch.linspace(-1, 1, 5).double()
    z = x @ W.T + b
    centred = z - z.mean(-1, keepdim=True)
    z = centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + 1e-5) * scale + offset + shift
    h = z / (1 + torch.exp(-z))
    return torch.tanh(h @ M.T @ M.T) * (1 + shift**2) + h


def exponentials(theta, x):
    """[exp(-theta_1 x), exp(-theta_2 x), cos(theta_3 x)], a classical separable model."""
    return torch.stack([torch.exp(-theta[0] * x), torch.exp(-theta[1] * x), torch.cos(theta[2] * x)], dim=1)


def variable_operator(rows):
    """Terms of an operator whose coefficients change from row to row, in two coordinates."""
    s = np.linspace(0.0, 1.0, rows)
    return {(): 1.0 + s, (0,): np.cos(s), (1,): -0.3, (1, 1): -0.25 * (1 + s**2), (0, 1): 0.2 * s, (0, 0): 0.1}


@lru_cache
def dense_case(name: str, lam: float, *, k: int = 3, weighted: bool = True) -> Case:
    """A larger problem held to automatic differentiation through the normal equations."""
    rows, d = 30, 1 if name == "function" else 2
    x, y, w = data(rows, d, k, seed=7)
    xt = torch.from_numpy(x)
    if name.startswith("mlp"):  # mlp-5-5: two hidden layers
        widths = tuple(int(part) for part in name.split("-")[1:])
        module, plain = mlp(d, widths, seed=2), network_features(widths)
        features, theta = module, nn.utils.parameters_to_vector(module.parameters()).detach() * 1.3
        function = lambda at: plain(at, xt)  # noqa: E731
    elif name == "module":
        features = module_under_test()
        theta = nn.utils.parameters_to_vector(features.parameters()).detach().double()
        function = lambda at: gated_features(at, xt)  # noqa: E731
    elif name == "function":
        x = np.linspace(0.0, 3.0, rows)
        theta = torch.tensor([0.3, 2.0, 2.5], dtype=torch.float64)
        features, function = from_function(exponentials, theta), lambda at: exponentials(at, torch.from_numpy(x))
    else:  # operator-4: a differential operator over a network
        widths = tuple(int(part) for part in name.split("-")[1:])
        module, plain, terms = mlp(d, widths, seed=4), network_features(widths), variable_operator(rows)
        features = under_operator(module, differential_operator(rows, d, terms))
        theta = nn.utils.parameters_to_vector(module.parameters()).detach()
        function = lambda at: oracles.torch_operator(lambda point: plain(at, point), xt, terms)  # noqa: E731
    weights = w if weighted else np.ones(rows)
    problem = SeparableProblem(features, x, y, weights=w if weighted else None, regularization=lam)
    reference = oracles.dense_reference(function, theta, torch.from_numpy(y), torch.from_numpy(weights), lam)
    kappa = np.linalg.cond(reference.features)
    assert kappa < 2e3, f"{name}: condition {kappa:.1e} makes the float64 reference too weak"
    return Case(ReducedProblem(problem), theta.numpy(), reference)
