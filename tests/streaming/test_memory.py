"""What Gauss-Newton steps remember, against all batches stacked into one linearised problem in numpy."""

import math

import numpy as np
import pytest
import torch

from grassvp.features import from_function
from grassvp.projection.streaming import Rotation
from grassvp.streaming.batches import BatchStream
from grassvp.streaming.memory import Memory
from grassvp.streaming.rows import LinearizedRows
from grassvp.streaming.steps import Met
from tests.laws.reduced import close, norm
from tests.streaming.streams import decay, decays, network, teacher, whole

LAMS = (0.0, 1e-12, 1e-3)


def twice(p, x):
    """Two decays, one of them twice: rank 2 of 3 everywhere."""
    return decay(p[[0, 1, 1]], x)


def offset(p, x):
    return torch.stack([torch.sin(p[0] * x), p[1] ** 2 * x, torch.cos(p[0] * p[1] * x)], dim=1)


CASES = {  # name: features, batches
    "decays": lambda: (from_function(decay, [0.2, 4.0]), decays(noise=0.1)),
    "outputs and weights": lambda: (from_function(decay, [0.2, 4.0]), decays(3, noise=0.1, weighted=True)),
    "duplicates": lambda: (from_function(twice, [0.2, 4.0]), decays(2, noise=0.1)),
    "offset": lambda: (from_function(decay, [0.2, 4.0], offset=offset), decays(3, noise=0.1, weighted=True)),
    "network": lambda: (network(), teacher(2, rows=120, size=20)),
    "few rows": lambda: (network(6), teacher(1, rows=20, size=4)),
    "single precision": lambda: (from_function(decay, [0.2, 4.0]), decays(2, noise=0.1, dtype="f4")),
}


def slopes(problem, theta, batch, C):
    """A_b, Y_b without the offset and G_b = W D(Phi [C; I]) by automatic differentiation, in numpy float64."""
    theta, x = theta.double(), batch.inputs.double()
    features = problem.features.cast(torch.float64, theta.device)
    w = torch.ones(len(x)) if batch.weights is None else batch.weights
    values, n = w[:, None].double() * features(theta, x), problem.width
    full = torch.cat([C.double(), torch.eye(C.shape[1])[: values.shape[1] - n]])
    G = torch.func.jacfwd(lambda at: w[:, None].double() * (features(at, x) @ full))(theta)
    Y = w[:, None].double() * batch.targets.double()
    Y = Y - values[:, n:] if values.shape[1] > n else Y
    return values[:, :n].detach().numpy(), Y.detach().numpy(), G.detach().numpy()


def stacked(met, theta, gamma, lam):
    """Residual and Jacobian of all batches at theta with C eliminated, C as a function of a step, and sizes."""
    n, k = met[0][0].shape[1], met[0][1].shape[1]
    w = [gamma ** ((len(met) - 1 - i) / 2) for i in range(len(met))]
    A = np.concatenate([*(w[i] * A for i, (A, *_) in enumerate(met)), math.sqrt(lam) * np.eye(n)])
    Y = [w[i] * (Y - G @ (theta - at).double().numpy()) for i, (_, Y, G, at) in enumerate(met)]
    G = np.concatenate([*(w[i] * G for i, (_, _, G, _) in enumerate(met)), np.zeros((n, k, len(theta)))])
    Y, pseudo = np.concatenate([*Y, np.zeros((n, k))]), np.linalg.pinv(A, rcond=1e-9)
    outside = np.eye(len(A)) - A @ pseudo
    J = -np.einsum("ij,jkq->ikq", outside, G).reshape(-1, len(theta))
    return (outside @ Y).ravel(), J, lambda p: pseudo @ (Y - G @ p), (norm(Y), norm(G), norm(pseudo))


def memory_law(name="network", lam=1e-3, gamma=0.8, seed=0):
    """T^T T, T^T t and C(p) of the memory are those of the stacked problem, also after moves."""
    rng, (features, batches) = np.random.default_rng(seed), CASES[name]()
    stream = BatchStream(features, batches, 2**30)
    problem, theta, met = stream.problem, stream.problem.initial_parameters, []
    memory = Memory.empty(problem.width, problem.outputs, theta)
    for batch in stream.visit(0):
        at = Met.at(problem, theta, batch, memory.projection, gamma, lambda *_: lam)
        memory = memory.with_rows(at.rows, at.absorption, at.solved.coefficients)
        met.append((*slopes(problem, theta, batch, at.solved.coefficients), theta))
        r, J, best, (size, slope, inverse) = stacked(met, theta, gamma, lam)
        bound = 100 * torch.finfo(theta.dtype).eps * min(at.solved.condition, 1e10)
        T, t = memory.model(at.solved)
        close(T.T @ T, J.T @ J, bound * slope**2, "T^T T")
        close(T.T @ t, J.T @ r, bound * slope * size, "T^T t")
        p = torch.from_numpy(0.05 * rng.standard_normal(len(theta))).to(theta)
        C = best(p.double().numpy())
        close(memory.coefficients(at.solved, p), C, bound * inverse * (size + slope * norm(p)), "C(p)")
        theta, memory = theta + p, memory.moved(p)


def kaufman_law(name="network", lam=1e-3):
    """One batch that is the whole data: Kaufman's J^T J and the gradient of the reduced problem."""
    features, batches = CASES[name]()
    reduced = whole(features, batches, lam)
    problem, theta = reduced.problem, reduced.initial_parameters
    columns = (problem.inputs, problem.targets, problem.weights)
    (batch,) = BatchStream(features, [columns], 2**30).visit(0)
    memory = Memory.empty(problem.width, problem.outputs, theta)
    at = Met.at(problem, theta, batch, memory.projection, 0.0, lambda *_: lam)
    T, t = memory.with_rows(at.rows, at.absorption, at.solved.coefficients).model(at.solved)
    point = reduced.linearize(theta)
    J, bound = point.jacobian("kaufman").double(), 1e-4 if theta.dtype == torch.float32 else 1e-11
    close(T.T @ T, J.T @ J, bound * norm(J) ** 2, "T^T T")
    close(T.T @ t, point.gradient, bound * norm(J) * norm(point.residual), "T^T t")


@pytest.mark.parametrize("gamma", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", CASES)
def test_the_memory_is_the_stacked_linearised_problem(name, lam, gamma):
    memory_law(name, lam, gamma)


@pytest.mark.parametrize("lam", LAMS)
@pytest.mark.parametrize("name", CASES)
def test_one_batch_gives_the_reduced_problems_own_model(name, lam):
    kaufman_law(name, lam)


def kalman_law(seed=0):
    """Where the model is linear in (C, theta), gamma = 1 gives batch least squares, wherever the batches were met."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0.0, 4.0, 60), rng.standard_normal((60, 2))
    push = lambda p, x: torch.stack([p[0] * x + p[1] * x**2, p[2] * torch.sin(x)], dim=1)  # noqa: E731
    features = from_function(lambda p, x: torch.stack([torch.ones_like(x), torch.cos(x)], 1), [9.0, 9, 9], offset=push)
    cuts = np.sort(rng.choice(np.arange(1, 60), 6, replace=False))
    stream = BatchStream(features, list(zip(np.split(x, cuts), np.split(y, cuts), strict=True)), 2**30)
    problem, theta = stream.problem, stream.problem.initial_parameters
    memory = Memory.empty(2, 2, theta)
    for batch in stream.visit(0):
        at = Met.at(problem, theta, batch, memory.projection, 1.0, lambda *_: 0.0)
        memory = memory.with_rows(at.rows, at.absorption, at.solved.coefficients)
        T, t = memory.model(at.solved)
        p = torch.linalg.lstsq(T, -t[:, None], driver="gelsd").solution[:, 0]
        C, theta, memory = memory.coefficients(at.solved, p), theta + p, memory.moved(p)
    A, zero = np.stack([np.ones(60), np.cos(x)], 1), np.zeros((60, 2))
    left = (
        np.concatenate([A, zero, np.stack([x, x**2, 0 * x], 1)], 1),
        np.concatenate([zero, A, np.stack([0 * x, 0 * x, np.sin(x)], 1)], 1),
    )
    best = np.linalg.lstsq(np.concatenate(left), y.T.ravel(), rcond=None)[0]
    close(theta, best[4:], 1e-12 * norm(best), "theta")
    close(C, best[:4].reshape(2, 2).T, 1e-12 * norm(best), "C")


def test_a_linear_model_is_solved_like_all_rows_at_once():
    for seed in range(3):
        kalman_law(seed)


def turned(change):
    apply = Rotation.apply
    return Rotation, "apply", lambda self, *blocks: change(*apply(self, *blocks))


def scaled(owner, name, factor):
    original = getattr(owner, name)
    return owner, name, lambda *args: factor * original(*args)


def without(name):
    """`Memory.moved` that forgets to move one part."""
    moved = Memory.moved

    def partly(self, step):
        after = moved(self, step)
        parts = {key: getattr(after, key) for key in ("projection", "cross", "triangle", "residual")}
        return Memory(**(parts | {name: getattr(self, name)}))

    return Memory, "moved", partly


MUTATIONS = {
    "G has the wrong sign": (scaled(LinearizedRows, "contraction", -1.0), memory_law),
    "G is off by one part in a million": (scaled(LinearizedRows, "contraction", 1.000001), kaufman_law),
    "the part inside the span is dropped": (turned(lambda inside, rest: (0 * inside, rest)), memory_law),
    "the part outside of the span is dropped": (turned(lambda inside, rest: (inside, 0 * rest)), kaufman_law),
    "the residual does not move": (without("residual"), kalman_law),
    "the projected targets do not move": (without("projection"), memory_law),
    "the model ignores the ridge": (
        (Memory, "model", lambda self, solved: (self.triangle, self.residual)),
        kaufman_law,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    law()
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
