"""What is chosen on the way: lam of a batch, how much is forgotten, which theta is kept, when it ends."""

import numpy as np
import pytest
import torch

from grassvp import Status
from grassvp.projection import StreamingProjection
from grassvp.streaming import solving
from grassvp.streaming.running import Limits, Run
from tests.laws.reduced import close, norm
from tests.solvers.problems import Recorder
from tests.streaming.streams import decay, decay_features, decays, network, run, teacher, whole

NOISY = decays(2, noise=0.1)


def slow(variables):
    """Steps of 1e-12, so that theta stays where it is and no epoch stalls."""
    return torch.optim.Rprop(variables, lr=1e-12, step_sizes=(1e-12, 1e-12))


def share_law():
    """A batch is given the share of lam that the remembered rows have: the memory's C is that of all rows."""
    for epochs in (1, 2, 5):
        found = run(NOISY, optimizer=slow, epochs=epochs, evaluate="never", forgetting=1.0, regularization=3.0)
        point = whole(decay_features(), NOISY, 3.0).linearize([0.2, 4.0])
        close(found.coefficients, point.projection.coefficients, 1e-9 * norm(found.coefficients), "C")
        assert (
            found.iterations == epochs
            and found.regularization == 3.0
            and found.value == pytest.approx(point.value, rel=0.2)
        )


def sampled_law():
    """The lam of a batch minimises cross-validation on it, and is told in units of all rows."""
    found = run(NOISY, optimizer=slow, epochs=2, evaluate="never", forgetting=0.7, regularization="sampled")
    sums = StreamingProjection.empty(2, 2)
    for x, y in [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in NOISY * 2]:
        values = decay(torch.tensor([0.2, 4.0]).double(), x)
        sums = sums.updated(values, y, forgetting=0.7)
    lam = sums.sampled_regularization(values, y)
    assert found.history["regularization"][-1] == pytest.approx(lam * 96 / sums.rows, rel=1e-6)
    close(found.coefficients, sums.coefficients(lam), 1e-6, "C")


def forgetting_law():
    """The memory is five batches, or four equations for each unknown."""
    assert run(NOISY, epochs=1).choice.endswith("forgetting 0.8")
    batches, unknowns = teacher(2, rows=40, size=5), 11 * 2 + 30
    gamma = 1 - 5 * 2 / (4 * unknowns)
    assert run(batches, network(10), epochs=1).choice.endswith(f"forgetting {gamma:.3g}")
    gamma = 1 - 5 * 2 / (4 * 11 * 2)
    assert run(batches, network(10), epochs=1, optimizer="adam").choice.endswith(f"forgetting {gamma:.3g}")
    assert run(NOISY, epochs=1, forgetting=0.25).choice.endswith("forgetting 0.25")


def mean_law():
    """At the end the mean over the last epoch is kept where it is better than the last theta."""
    recorder, batches = Recorder(), decays(2, noise=0.3, size=4)
    options = {"optimizer": "sgd", "learning_rate": 2.0, "epochs": 20, "callbacks": [recorder]}
    found, reduced = run(batches, evaluate="end", **options), whole(decay_features(), batches)
    assert found.value < reduced.value(recorder.parameters[-1]) * (1 - 1e-3)


def tolerance_law():
    """CONVERGED is a gradient norm of at most the tolerance times ||W Y||^2."""
    found, size = run(NOISY, evaluate="end"), norm(np.concatenate([y for _, y in NOISY]))
    level = found.gradient_norm / size**2
    assert run(NOISY, evaluate="end", tolerance=1.01 * level).status is Status.CONVERGED
    assert run(NOISY, evaluate="end", tolerance=0.99 * level).status is Status.MAX_ITERATIONS


def interrupt_law():
    """An interrupt in the first epoch does not lose what was done since the exact value of the start."""

    def broken():
        yield from NOISY[:5]
        raise KeyboardInterrupt

    visits = iter([NOISY, broken()])
    found = run(lambda epoch: next(visits), epochs=9)
    assert found.status is Status.INTERRUPTED and found.iterations == 0
    reduced = whole(decay_features(), NOISY)
    assert reduced.value(found.parameters) < 0.5 * reduced.value([0.2, 4.0])


LAWS = {
    "share": share_law,
    "sampled": sampled_law,
    "forgetting": forgetting_law,
    "mean": mean_law,
    "tolerance": tolerance_law,
    "interrupt": interrupt_law,
}


@pytest.mark.parametrize("name", LAWS)
def test_what_is_chosen_follows_its_law(name):
    LAWS[name]()


def evaluations_of(found):
    return found.history["evaluations"].tolist()


def test_evaluations_are_linear_solves():
    assert evaluations_of(run(NOISY, optimizer="adam")) == [1, 9, 17]  # 6 batches, and one theta or two exactly
    assert evaluations_of(run(NOISY)) == [1, 9, 17]
    assert evaluations_of(run(NOISY, evaluate="never")) == [6, 12]


def test_seconds_count_from_the_call():
    found = run(NOISY, max_time=1e9)
    assert 0.0 < found.history["seconds"][0] <= found.history["seconds"][-1] <= found.elapsed


MUTATIONS = {
    "each batch is given all of lam": (
        (solving, "_choice", lambda lam, stream: lambda projection, rows: lam),
        share_law,
    ),
    "lam is that of all rows so far": (
        (solving, "_choice", lambda lam, stream: lambda projection, rows: projection.gcv_regularization()),
        sampled_law,
    ),
    "lam is told in units of the memory": (
        (Run, "_whole_regularization", property(lambda self: self._steps.regularization)),
        sampled_law,
    ),
    "five batches whatever they hold": ((solving, "ROWS_PER_UNKNOWN", 0.0), forgetting_law),
    "the last theta alone": (
        (
            Run,
            "_exactly",
            lambda self, candidates, epoch, exactly=Run._exactly: exactly(self, candidates[:1], epoch),
        ),
        mean_law,
    ),
    "relative to the norm": (
        (Limits, "holds", lambda self, point: point.gradient_norm <= (self.tolerance or 0.0) * point.size),
        tolerance_law,
    ),
    "the exact value always": ((Run, "_at_hand", lambda self: self._best), interrupt_law),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    patch, law = MUTATIONS[name]
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError):
        law()
