"""Problems with their references, shared by the tests of the reduced problem and by its mutations."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

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
    function: Any = None  # theta -> Phi as a torch function, of dense cases
    offset: Any = None


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


def phase(theta, x):
    """An offset with one column for each of three outputs, nonlinear in two of the parameters."""
    return torch.stack([torch.sin(theta[0] * x), theta[1] ** 2 * x, torch.cos(theta[0] * theta[1] * x)], dim=1)


def variable_operator(rows):
    """Terms of an operator whose coefficients change from row to row, in two coordinates."""
    s = np.linspace(0.0, 1.0, rows)
    return {(): 1.0 + s, (0,): np.cos(s), (1,): -0.3, (1, 1): -0.25 * (1 + s**2), (0, 1): 0.2 * s, (0, 0): 0.1}


def dense_reference(features, theta, targets, weights, lam, offset=None) -> oracles.Reference:
    """`oracles.dense_reference`, for targets from which an offset(theta) is taken first."""
    if offset is None:
        return oracles.dense_reference(features, theta, targets, weights, lam)

    def residual(at):
        return oracles.dense_residual(features(at), targets - offset(at), weights, lam)[0]

    def value(at):
        return 0.5 * (residual(at) ** 2).sum()

    plain = oracles.dense_reference(features, theta, targets - offset(theta), weights, lam)
    return replace(
        plain,
        gradient=torch.func.grad(value)(theta).numpy(),
        jacobian=torch.func.jacfwd(lambda at: residual(at).flatten())(theta).numpy(),
        hessian=torch.func.hessian(value)(theta).numpy(),
    )


@lru_cache
def dense_case(name: str, lam: float, *, k: int = 3, weighted: bool = True) -> Case:
    """A larger problem held to automatic differentiation through the normal equations."""
    rows, d, offset = 30, 1 if name in ("function", "offset") else 2, None
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
    elif name in ("function", "offset"):
        x = np.linspace(0.0, 3.0, rows)
        theta = torch.tensor([0.3, 2.0, 2.5], dtype=torch.float64)
        given = (lambda at, x: phase(at, x)[:, :k]) if name == "offset" else None
        features, function = (
            from_function(exponentials, theta, offset=given),
            lambda at: exponentials(at, torch.from_numpy(x)),
        )
        offset = None if given is None else lambda at: given(at, torch.from_numpy(x))
    else:  # operator-4: a differential operator over a network
        widths = tuple(int(part) for part in name.split("-")[1:])
        module, plain, terms = mlp(d, widths, seed=4), network_features(widths), variable_operator(rows)
        features = under_operator(module, differential_operator(rows, d, terms))
        theta = nn.utils.parameters_to_vector(module.parameters()).detach()
        function = lambda at: oracles.torch_operator(lambda point: plain(at, point), xt, terms)  # noqa: E731
    weights = w if weighted else np.ones(rows)
    problem = SeparableProblem(features, x, y, weights=w if weighted else None, regularization=lam)
    reference = dense_reference(function, theta, torch.from_numpy(y), torch.from_numpy(weights), lam, offset)
    kappa = np.linalg.cond(reference.features)
    assert kappa < 2e3, f"{name}: condition {kappa:.1e} makes the float64 reference too weak"
    return Case(ReducedProblem(problem), theta.numpy(), reference, function, offset)


RESTRICTIONS = {
    "nonnegative": (0.0, None),
    "box": (-0.6, 0.8),
    "arrays": ([[-np.inf, -2.0, -0.1]] * 3, [[0.5, np.inf, 0.5], [np.inf, np.inf, 0.2], [np.inf, 0.7, 0.5]]),
}


@dataclass(frozen=True)
class RestrictedCase:
    """A problem with bounds on its coefficients at a point around which the active set does not change."""

    reduced: ReducedProblem
    theta: np.ndarray
    reference: oracles.Reference  # its features are those without any bound
    kaufman: np.ndarray
    free: np.ndarray  # (n, k)


@lru_cache
def restricted_case(name: str, lam: float) -> RestrictedCase:
    """Three outputs, each with its own active set, held to autodiff of least squares over the free columns alone."""
    x, _, w = data(30, 1, 3, seed=7)
    x, w, rng = np.linspace(0.0, 3.0, 30), torch.from_numpy(w), np.random.default_rng(5)
    theta = torch.tensor([0.3, 2.0, 2.5], dtype=torch.float64)
    Phi = exponentials(theta, torch.from_numpy(x)).numpy()
    Y = Phi @ [[1.5, -1.5, 0.2], [-1.2, 0.4, 1.3], [0.4, 1.6, -1.4]] + 0.1 * rng.standard_normal((30, 3))
    problem = SeparableProblem(
        from_function(exponentials, theta), x, Y, weights=w, regularization=lam, coefficient_bounds=RESTRICTIONS[name]
    )
    box, solution = problem.coefficient_bounds, ReducedProblem(problem).linearize(theta)
    free = (solution.coefficients > box.lower) & (solution.coefficients < box.upper)
    margin = torch.minimum(solution.coefficients - box.lower, box.upper - solution.coefficients)
    assert len({tuple(column) for column in free.T.tolist()}) == 3 and float(margin[free].min()) > 1e-2
    held = torch.where(free, 0.0, solution.coefficients)
    outputs = [
        _Output(torch.from_numpy(x), torch.from_numpy(Y[:, i]), w, lam, free[:, i], held[:, i]) for i in range(3)
    ]

    def residual(at):
        return torch.stack([output.residual(at) for output in outputs], dim=1)

    def value(at):
        return 0.5 * (residual(at) ** 2).sum()

    J = torch.func.jacfwd(residual)(theta)
    reference = oracles.Reference(
        value=float(value(theta)),
        residual=residual(theta).numpy(),
        coefficients=torch.stack([output.coefficients(theta) for output in outputs], dim=1).numpy(),
        gradient=torch.func.grad(value)(theta).numpy(),
        jacobian=J.reshape(-1, 3).numpy(),
        hessian=torch.func.hessian(value)(theta).numpy(),
        features=outputs[0].augmented(theta).numpy(),
        slopes=torch.func.jacfwd(outputs[0].augmented)(theta).numpy(),
        digits_lost=2,
    )
    kaufman = [
        J[:, i].numpy() - oracles.projector(reference.features[:, free[:, i]]) @ J[:, i].numpy() for i in range(3)
    ]
    return RestrictedCase(
        ReducedProblem(problem), theta.numpy(), reference, np.stack(kaufman, axis=1).reshape(-1, 3), free.numpy()
    )


@dataclass(frozen=True)
class _Output:
    """One output of a restricted problem, by the normal equations of its free columns."""

    x: torch.Tensor
    y: torch.Tensor
    weights: torch.Tensor
    lam: float
    free: torch.Tensor
    held: torch.Tensor

    def augmented(self, theta):
        A = self.weights[:, None] * exponentials(theta, self.x)
        return torch.cat([A, self.lam**0.5 * torch.eye(3, dtype=A.dtype)]) if self.lam else A

    def target(self):
        y = self.weights * self.y
        return torch.cat([y, y.new_zeros(3)]) if self.lam else y

    def coefficients(self, theta):
        A = self.augmented(theta)
        F, rest = A[:, self.free], self.target() - A @ self.held
        return self.held.index_put((self.free,), torch.linalg.solve(F.T @ F, F.T @ rest))

    def residual(self, theta):
        return self.target() - self.augmented(theta) @ self.coefficients(theta)
