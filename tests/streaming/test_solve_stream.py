"""Solves over batches: what comes out is exact, what was to be found is found, and every way to end is provoked."""

import inspect
import math
import random

import numpy as np
import pytest
import torch
from torch import nn

import grassvp
from grassvp import Status, solve, solve_stream
from grassvp.features import from_function
from grassvp.streaming import evaluation, running
from grassvp.streaming.batches import BatchStream
from tests.laws.reduced import close, norm
from tests.solvers.problems import Recorder, tower
from tests.streaming.streams import decay_features, decays, network, run, teacher, whole

NOISY = decays(2, noise=0.1)


def final_law(features, batches, **options):
    """Value, gradient and C are those of the reduced problem of all rows at the theta that is returned."""
    found = run(batches, features, **options)
    lam = options.get("regularization", 0.0)
    point = whole(features, batches, found.regularization if lam == "sampled" else lam).linearize(found.parameters)
    size = norm(point.problem.weighted_targets)
    tolerance = 1e-12 if point.gradient.dtype == torch.float64 else 1e-5
    assert abs(found.value - point.value) <= tolerance * (point.value + tolerance * size**2)
    gradient = norm(point.gradient)
    assert abs(found.gradient_norm - gradient) <= tolerance * (gradient + norm(point.jacobian()) * size)
    close(found.coefficients, point.projection.coefficients, tolerance * found_condition(point) * size, "C")
    assert found.rank == point.projection.rank and found.coefficients.dtype == found.parameters.dtype
    return found


def found_condition(point):
    return point.projection.condition * norm(point.projection.pseudo_factor)


CASES = {
    "decays": (decay_features, lambda: decays(noise=0.1)),
    "outputs and weights": (decay_features, lambda: decays(3, noise=0.1, weighted=True)),
    "network": (network, lambda: teacher(2)),
    "duplicates": (
        lambda: from_function(lambda p, x: torch.exp(-x[:, None] * p[[0, 1, 1]]), [0.2, 4.0]),
        lambda: NOISY,
    ),
    "single precision": (decay_features, lambda: decays(2, noise=0.1, dtype="f4")),
}


@pytest.mark.parametrize("evaluate", ["epoch", "end"])
@pytest.mark.parametrize("optimizer", ["gauss-newton", "adam"])
@pytest.mark.parametrize("name", CASES)
def test_the_end_is_exact(name, optimizer, evaluate):
    make, batches = CASES[name]
    for lam in (0.0, 1e-3):
        found = final_law(make(), batches(), optimizer=optimizer, evaluate=evaluate, regularization=lam)
        assert found.regularization == lam and found.iterations == 2
    chosen = final_law(make(), batches(), optimizer=optimizer, evaluate=evaluate, regularization="sampled")
    assert chosen.regularization > 0.0


def test_the_regularization_at_the_end_is_that_of_cross_validation_on_all_rows():
    found = run(NOISY, regularization="sampled")
    features, sums = decay_features(), grassvp.projection.StreamingProjection.empty(2, 2)
    for x, y in NOISY:
        sums = sums.updated(features(found.parameters, torch.from_numpy(x)), torch.from_numpy(y))
    assert math.isclose(found.regularization, sums.gcv_regularization(), rel_tol=1e-9)


def test_no_epochs_solve_the_linear_part_alone():
    for evaluate in ("epoch", "end"):
        found = final_law(decay_features(), NOISY, epochs=0, evaluate=evaluate)
        assert found.parameters.tolist() == [0.2, 4.0] and found.iterations == 0
    assert run(NOISY, epochs=0, initial_parameters=[0.5, 2.0]).parameters.tolist() == [0.5, 2.0]


def test_rates_without_noise_are_recovered():
    for lam in (0.0, "sampled"):
        found = run(decays(2), regularization=lam, epochs=20)
        close(found.parameters, [0.5, 2.0], 1e-7, "rates")
        close(found.coefficients, [[2.0, -1.0], [3.0, 1.0]], 1e-6, "C")
    found = run(decays(2, weighted=True), epochs=20, forgetting=0.5)
    close(found.parameters, [0.5, 2.0], 1e-9, "rates")


def test_the_minimum_of_noisy_data_is_reached_without_forgetting():
    full = solve(whole(decay_features(), NOISY).problem)
    found = run(NOISY, epochs=60, forgetting=1.0)
    assert found.value <= full.value * (1 + 1e-3)


def test_a_teacher_is_learned_like_on_all_rows_at_once():
    for seed in range(2):
        batches, features = teacher(seed=seed, noise=0.05), network()
        problem = whole(features, batches, 1e-6).problem
        full = solve(problem, initial_parameters=problem.initial_parameters)
        found = run(batches, features, regularization=1e-6, epochs=15)
        assert found.value < 1.05 * full.value < 0.1 * found.history["value"][0]


def test_single_precision_stays_single_precision():
    found = run(decays(2, dtype="f4"), epochs=10)
    assert found.parameters.dtype == found.coefficients.dtype == torch.float32
    close(found.parameters, [0.5, 2.0], 1e-3, "rates")
    assert found.predict(torch.tensor([1.0])).dtype == torch.float32


def test_weights_are_rows_scaled_by_hand():
    batches = decays(2, noise=0.1, weighted=True)
    weights = torch.from_numpy(np.concatenate([w for *_, w in batches]))
    found = run(batches)
    features = lambda p, x: torch.exp(-x[:, :1] * p) * x[:, 1:]  # noqa: E731
    scaled = [(np.stack([x, w], axis=1), w[:, None] * y) for x, y, w in batches]
    by_hand = run(scaled, from_function(features, [0.2, 4.0]))
    close(by_hand.parameters, found.parameters, 1e-11, "theta")
    assert math.isclose(by_hand.value, found.value, rel_tol=1e-11) and len(weights) == 96


def test_predictions_have_the_form_of_the_targets():
    flat, wide = run(decays()), run(NOISY)
    x = np.linspace(0.0, 1.0, 5)
    assert flat.predict(x).shape == (5,) and wide.predict(x).shape == (5, 2)
    close(flat.predict(x), np.exp(-x[:, None] * flat.parameters.numpy()) @ flat.coefficients.numpy()[:, 0], 1e-13, "y")


def test_the_history_has_one_record_an_epoch():
    recorder = Recorder()
    found = run(NOISY, epochs=3, callbacks=[recorder])
    assert found.history["iteration"].tolist() == [0, 1, 2, 3] and len(recorder.records) == 4
    assert found.value == found.history["value"].min() and (np.diff(found.history["seconds"]) > 0).all()
    assert found.parameters.tolist() in recorder.parameters.tolist()
    assert np.isnan(found.history["gradient_norm"]).all() and math.isfinite(found.gradient_norm)
    assert (
        found.method == "gauss-newton" and "remembers" in found.choice and repr(found).startswith("Solution(MAX_ITER")
    )
    unseen = run(NOISY, epochs=3, evaluate="never")
    assert unseen.history["iteration"].tolist() == [1, 2, 3] and math.isnan(unseen.gradient_norm)
    exact = run(NOISY, epochs=3, tolerance=0.0).history["gradient_norm"]
    assert len(exact) == 4 and np.isfinite(exact).all()


def test_without_evaluation_the_value_is_the_misfit_as_it_was_met():
    found = run(
        decays(2, noise=0.1, rows=16), evaluate="never", epochs=1, initial_parameters=[0.5, 2.0], optimizer="sgd"
    )
    assert found.history["value"][0] == pytest.approx(
        whole(decay_features(), decays(2, noise=0.1, rows=16)).value([0.5, 2.0])
    )
    assert found.value == found.history["value"][0]


def still(variables):
    return torch.optim.SGD(variables, lr=0.0)


class Stop:
    """A callback that answers, or raises, in some epoch."""

    def __init__(self, answer, at=1):
        self.answer, self.at = answer, at

    def __call__(self, record):
        if record.iteration == self.at:
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer


OVERFLOWING = from_function(tower, [300.0]), [(np.linspace(0.2, 3.0, 8), np.ones(8))]
ENDS = {
    "CONVERGED": {"batches": decays(2), "tolerance": 1e-6, "epochs": 50},
    "MAX_ITERATIONS": {},
    "MAX_TIME": {"max_time": 0.0, "epochs": 50},
    "STALLED": {"optimizer": still, "epochs": 50},
    "NON_FINITE": {"features": OVERFLOWING[0], "batches": OVERFLOWING[1]},
    "INTERRUPTED": {"callbacks": [Stop(KeyboardInterrupt())], "epochs": 50},
    "STOPPED": {"callbacks": [Stop(True)], "epochs": 50},
}


@pytest.mark.parametrize("evaluate", ["epoch", "end", "never"])
@pytest.mark.parametrize("status", ENDS)
def test_every_way_to_end_is_told(status, evaluate):
    found = run(**({"batches": NOISY, "evaluate": evaluate} | ENDS[status]))
    if status == "CONVERGED" and evaluate == "never":
        assert found.status is Status.STALLED, "no gradient, no convergence"
    else:
        assert found.status is Status[status]
    assert status == "NON_FINITE" or (math.isfinite(found.value) and torch.isfinite(found.coefficients).all())
    if status in ("MAX_TIME", "STALLED", "INTERRUPTED", "STOPPED"):
        assert found.iterations == 1 and found.history["iteration"][-1] == 1
    if status == "CONVERGED" and evaluate == "epoch":
        assert 1 < found.iterations < 50


@pytest.mark.parametrize("optimizer", ["gauss-newton", "adam"])
def test_features_that_overflow_at_the_start_leave_a_solution(optimizer):
    found = run(OVERFLOWING[1], OVERFLOWING[0], optimizer=optimizer, regularization="sampled", evaluate="never")
    assert found.status is Status.NON_FINITE and found.parameters.tolist() == [300.0] and math.isnan(found.value)


@pytest.mark.parametrize(
    ("answer", "stops"),
    [(np.bool_(True), True), (torch.tensor(True), True), (1, False), (torch.tensor(0.3), False), (np.ones(2), False)],
)
def test_only_true_stops(answer, stops):
    found = run(NOISY, callbacks=[Stop(answer)])
    assert (found.status is Status.STOPPED) == stops


def test_an_interrupt_among_the_batches_keeps_what_was_done():
    def source(epoch):
        if epoch == 3:
            yield from NOISY[:2]
            raise KeyboardInterrupt
        yield from NOISY

    for evaluate in ("epoch", "never"):
        found = run(source, epochs=9, evaluate=evaluate)
        assert (found.status, found.iterations) == (Status.INTERRUPTED, 3) and math.isfinite(found.value)
        close(found.parameters, run(NOISY, epochs=3).parameters, 0.2, "theta")


def test_modules_are_not_written_and_no_generator_is_touched():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 3)
            self.register_buffer("shift", torch.ones(3))

        def forward(self, x):
            return torch.tanh(self.inner(x) + self.shift)

    module, batches = Net(), teacher(rows=60, size=20)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for optimizer in ("gauss-newton", "adam", torch.optim.LBFGS):
        found = run(batches, module, optimizer=optimizer, regularization="sampled")
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[2]
    assert np.random.get_state()[1].tolist() == states[1]
    found.load_into(module)
    assert torch.equal(nn.utils.parameters_to_vector(module.parameters()).detach(), found.parameters.float())


def test_the_public_signature():
    names = list(inspect.signature(solve_stream).parameters)
    assert names[:2] == ["features", "batches"] and grassvp.solve_stream is solve_stream


def shifted(owner, name, change):
    original = getattr(owner, name)
    return owner, name, lambda *args: change(original(*args))


MUTATIONS = {
    "the exact pass forgets": (evaluation, "weighted_rows", lambda *args: tuple(0.9 * t for t in rows_of(*args))),
    "lam is doubled at the end": (running, "best_of", lambda p, c, b, lam: evaluation.best_of(p, c, b, 2 * lam)),
    "the gradient of another theta": shifted(evaluation.LinearizedRows, "gradient", lambda g: g * (1 + 1e-9)),
    "half of the batches": shifted(
        BatchStream, "visit", lambda visit: (batch for i, batch in enumerate(visit) if i % 2)
    ),
}
rows_of = evaluation.weighted_rows


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    final_law(decay_features(), NOISY, regularization=1e-3)
    monkeypatch.setattr(*MUTATIONS[name])
    with pytest.raises(AssertionError):
        final_law(decay_features(), NOISY, regularization=1e-3)
