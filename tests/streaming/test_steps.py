"""Single steps against Levenberg-Marquardt, torch's optimisers and explicit gradients; what happens on overflow."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from grassvp import Status
from grassvp.features import from_function
from grassvp.solvers.scaling import Scale
from grassvp.streaming import steps
from grassvp.streaming.batches import BatchStream
from grassvp.streaming.memory import Memory
from grassvp.streaming.rows import LinearizedRows
from tests.laws.reduced import close, norm
from tests.solvers import problems
from tests.solvers.problems import Recorder
from tests.streaming.streams import decay_features, decays, network, run, teacher, whole

CASES = {  # name: features, one batch of all the data
    "decays": lambda: (decay_features(), decays(2, noise=0.1, rows=40, size=40)),
    "weights": lambda: (decay_features(), decays(noise=0.1, rows=40, size=40, weighted=True)),
    "network": lambda: (network(), teacher(2, rows=60, size=60)),
}


def recorded(features, batches, **options):
    """Parameters and damping after each epoch, the start first."""
    seen = Recorder()
    start = torch.as_tensor(whole(features, batches).initial_parameters).numpy()
    run(batches, features, evaluate="never", callbacks=[seen], **options)
    return np.vstack([start, seen.parameters]), [record.damping for record in seen.records]


def levenberg_marquardt_law(name="network", lam=1e-3, rate=1.0):
    """Without memory each step is a damped Kaufman step of the reduced problem in the norm of its columns."""
    features, batches = CASES[name]()
    options = {"forgetting": 0.0, "regularization": lam, "learning_rate": rate, "epochs": 4}
    path, damping = recorded(features, batches, **options)
    reduced = whole(features, batches, lam)
    for theta, after, mu in zip(path, path[1:], [1e-3, *damping], strict=False):
        point = reduced.linearize(theta)
        J, r = (tensor.numpy() for tensor in (point.jacobian("kaufman"), point.residual.flatten()))
        D = np.diag(np.linalg.norm(J, axis=0))
        trials = [mu * 2.0 ** (i * (i + 1) / 2) for i in range(8)]
        found = [
            np.linalg.lstsq(np.concatenate([J, mu**0.5 * D]), -np.append(r, 0 * theta), rcond=None)[0] for mu in trials
        ]
        assert norm(after - theta) > 0.0
        error = min(norm(after - theta - rate * p) for p in found)
        assert error <= 1e-8 * norm(after - theta), f"{error:.1e} of {norm(after - theta):.1e}"


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("name", CASES)
def test_without_memory_a_step_is_one_of_levenberg_and_marquardt(name, lam, rate):
    levenberg_marquardt_law(name, lam, rate)


def prediction_law():
    """Where the model is linear in (C, theta) every prediction holds: the damping falls to a third with each batch."""
    push = lambda p, x: torch.stack([p[0] * x + p[1] * x**2, p[2] * torch.sin(x)], dim=1)  # noqa: E731
    features = from_function(lambda p, x: torch.stack([torch.ones_like(x), torch.cos(x)], 1), [9.0, 9, 9], offset=push)
    reductions = []

    class Told(steps.GaussNewtonSteps):
        def _surprise(self, met, batch, step):
            found = super()._surprise(met, batch, step)
            reductions.append(found / float(torch.sum(met.rows.residual(met.solved.coefficients) ** 2)))
            return found

    for gamma in (0.5, 1.0):
        stream = BatchStream(features, decays(2, noise=0.1), 2**30)
        told = Told(stream.problem, stream.problem.initial_parameters, gamma, lambda *_: 0.0)
        for batch in stream.visit(0):
            told.step(batch)
        assert told.damping == pytest.approx(1e-3 / 3**6, rel=1e-6)
    assert len(reductions) == 12 and max(map(abs, reductions)) < 1e-10


def test_predictions_hold_where_the_model_is_linear():
    prediction_law()


def mean_gradient_law(name="network", lam=1e-3):
    """A step of plain gradient descent on one batch is lr / m times the gradient of the reduced problem."""
    features, batches = CASES[name]()
    reduced = whole(features, batches, lam)
    path, rates = recorded(
        features, batches, optimizer="sgd", learning_rate=0.05, forgetting=0.0, regularization=lam, epochs=3
    )
    for theta, after in pairwise(path):
        expected = 0.05 / reduced.problem.rows * reduced.gradient(theta)
        close(theta - after, expected, 1e-11 * norm(expected), "step")
    assert rates == [0.05] * 3


@pytest.mark.parametrize("lam", [0.0, 1e-3])
@pytest.mark.parametrize("name", CASES)
def test_gradient_steps_follow_the_reduced_gradient_of_the_mean(name, lam):
    mean_gradient_law(name, lam)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_learning_rate_does_not_depend_on_the_size_of_a_batch(optimizer):
    batches = teacher(2, rows=120, size=30)
    doubled = [tuple(np.concatenate([c, c]) for c in batch) for batch in batches]
    once, twice = (recorded(network(), each, optimizer=optimizer)[0] for each in (batches, doubled))
    close(twice, once, 1e-12 * norm(once), "theta")


def test_named_optimisers_are_torchs():
    batches, options = teacher(rows=120, size=30), {"regularization": 1e-6}
    named = recorded(network(), batches, optimizer="adam", **options)[0]
    given = recorded(network(), batches, optimizer=lambda v: torch.optim.Adam(v, lr=1e-3), **options)[0]
    np.testing.assert_array_equal(named, given)


FACTORIES = {
    "adam": {"optimizer": "adam", "learning_rate": 0.02},
    "sgd": {"optimizer": "sgd", "learning_rate": 0.5},
    "AdamW": {"optimizer": lambda v: torch.optim.AdamW(v, lr=0.02)},
    "Rprop": {"optimizer": torch.optim.Rprop},
    "LBFGS": {"optimizer": lambda v: torch.optim.LBFGS(v, line_search_fn="strong_wolfe")},
}


@pytest.mark.parametrize("name", FACTORIES)
def test_every_optimiser_goes_down(name):
    batches = teacher(2, rows=200, size=200 if name == "LBFGS" else 20)
    found = run(batches, network(), regularization=1e-8, epochs=10, **FACTORIES[name])
    assert found.status is Status.MAX_ITERATIONS and found.value < 0.5 * found.history["value"][0]
    assert found.value == min(found.history["value"])


def test_gauss_newton_goes_down_sooner_than_gradients_do():
    batches = teacher(2, rows=200, size=20)
    ours, adam, sgd = (
        run(batches, network(), regularization=1e-8, epochs=5, **options).value
        for options in ({}, FACTORIES["adam"], FACTORIES["sgd"])
    )
    assert ours < 0.1 * min(adam, sgd)


def tower(start, stop=3.0):
    """A tower of exponentials that overflows where p x is above 6.57, and a batch with p = 1/2."""
    x = np.linspace(0.0, stop, 12)
    return from_function(problems.tower, [start]), [(x, np.exp(np.exp(0.5 * x)) + 2.0)]


def test_a_gauss_newton_step_that_overflows_on_its_own_batch_is_shortened():
    features, batches = tower(-3.0)
    reduced, theta = whole(features, batches), np.array([-3.0])
    J, r = reduced.jacobian(theta, "kaufman"), reduced.linearize(theta).residual[:, 0].numpy()
    assert reduced.value(theta - np.linalg.lstsq(J, r, rcond=None)[0]) == math.inf, "the Gauss-Newton step overflows"
    found = run(batches, features, forgetting=0.0, epochs=10)
    assert found.status is Status.MAX_ITERATIONS and found.value < 0.8 * found.history["value"][0]


@pytest.mark.parametrize("evaluate", ["epoch", "end", "never"])
def test_a_gauss_newton_step_that_overflows_on_the_next_batch_is_taken_back(evaluate):
    features, batches = tower(0.1)
    alone = run(batches, features, evaluate="never", forgetting=0.0, epochs=1)
    batches.append((np.linspace(0.0, 57.0, 12), np.ones(12)))
    assert float(alone.parameters[0]) > 6.57 / 57.0, "where the second batch overflows"
    found = run(batches, features, evaluate=evaluate, epochs=1, forgetting=0.0)
    assert found.status is not Status.NON_FINITE and math.isfinite(found.value)
    assert float(found.parameters[0]) < 6.57 / 57.0


def test_a_gradient_step_that_overflows_is_taken_back_and_the_rate_halved():
    features, batches = tower(-1.0)
    found = run(batches, features, optimizer="sgd", learning_rate=1e2, epochs=30)
    rates = np.unique(found.history["damping"])
    assert len(rates) > 1 and set(np.log2(rates / 1e2) % 1) == {0.0}
    assert math.isfinite(found.value) and found.value < found.history["value"][0]


def test_a_line_search_that_overflows_is_taken_back():
    features, batches = tower(-1.0)
    found = run(batches, features, optimizer=lambda v: torch.optim.LBFGS(v, lr=1e9), epochs=1, evaluate="end")
    assert found.status is Status.STALLED and found.parameters.tolist() == [-1.0], "ten halvings are not enough"
    found = run(batches, features, optimizer=lambda v: torch.optim.LBFGS(v, lr=100.0), epochs=30)
    assert found.history["damping"][-1] < 100.0 and found.value < found.history["value"][0]


def scaled(owner, name, factor):
    original = getattr(owner, name)
    return owner, name, lambda *args: factor * original(*args)


MUTATIONS = {
    "the slope is dropped from the linearisation": (scaled(LinearizedRows, "slope", 0.0), prediction_law),
    "half of every gradient": (scaled(LinearizedRows, "gradient", 0.5), mean_gradient_law),
    "G is doubled": (scaled(LinearizedRows, "contraction", 2.0), levenberg_marquardt_law),
    "steps in the norm of theta": (
        (steps, "column_scale", lambda norms, *_: Scale(torch.ones_like(norms))),
        levenberg_marquardt_law,
    ),
    "the exact part of the model is dropped": (
        (Memory, "model", lambda self, solved: (self.triangle, self.residual)),
        levenberg_marquardt_law,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    law()
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
