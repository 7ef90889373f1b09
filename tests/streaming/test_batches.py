"""Every kind of source of batches, what is asked of it, and what is said of one that cannot be used."""

import re

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from grassvp import Status
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.streaming.batches import BatchStream
from tests.streaming.streams import decay_features, decays, network, run, teacher, whole

BATCHES = decays(2, noise=0.1)


def loader(batches, **options):
    x, y = (torch.from_numpy(np.concatenate(columns)) for columns in zip(*batches, strict=True))
    return DataLoader(TensorDataset(x, y), batch_size=16, **options)


class Again:
    """An iterable that is neither a sequence nor an iterator."""

    def __iter__(self):
        return iter(BATCHES)


SOURCES = {
    "tuple": lambda: tuple(BATCHES),
    "torch tensors": lambda: [tuple(map(torch.from_numpy, batch)) for batch in BATCHES],
    "nested lists": lambda: [[column.tolist() for column in batch] for batch in BATCHES],
    "no weights": lambda: [(*batch, None) for batch in BATCHES],
    "weights of one": lambda: [(*batch, np.ones(16)) for batch in BATCHES],
    "iterable": Again,
    "DataLoader": lambda: loader(BATCHES),
    "function": lambda: lambda epoch: iter(BATCHES),
}


@pytest.mark.parametrize("evaluate", ["epoch", "never"])
@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_what_a_list_gives(name, evaluate):
    expected, found = (run(each, evaluate=evaluate, optimizer="adam") for each in (BATCHES, SOURCES[name]()))
    assert torch.equal(found.parameters, expected.parameters) and torch.equal(found.coefficients, expected.coefficients)
    assert found.value == expected.value and (found.status, found.iterations) == (expected.status, 2)


def test_a_generator_will_do_for_one_epoch_without_evaluation():
    expected, found = (run(each, evaluate="never", epochs=1) for each in (BATCHES, iter(BATCHES)))
    assert torch.equal(found.parameters, expected.parameters) and found.value == expected.value


@pytest.mark.parametrize("options", [{}, {"epochs": 1}, {"epochs": 1, "evaluate": "end"}, {"evaluate": "never"}])
def test_a_generator_is_refused_where_it_would_be_visited_again(options):
    with pytest.raises(ArgumentError, match=r"can be visited only once.*epochs=1 with evaluate='never'"):
        run(iter(BATCHES), **options)


def test_epochs_are_numbered_and_exact_passes_repeat_their_number():
    asked = []
    run(lambda epoch: asked.append(epoch) or BATCHES, epochs=3, tolerance=0.0)
    assert asked == [0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2]  # value and gradient; then steps, value and gradient
    asked.clear()
    run(lambda epoch: asked.append(epoch) or BATCHES, epochs=3, evaluate="end")
    assert asked == [0, 1, 2, 2, 2]


def test_the_order_is_the_callers():
    orders = [BATCHES, BATCHES[::-1]]
    found = run(lambda epoch: orders[epoch])
    assert not torch.equal(found.parameters, run(BATCHES).parameters)
    assert found.value == pytest.approx(whole(decay_features(), BATCHES).value(found.parameters), rel=1e-12)


def test_batches_may_have_any_number_of_rows():
    x, y = (np.concatenate(columns) for columns in zip(*BATCHES, strict=True))
    uneven = list(zip(np.split(x, [1, 3, 40]), np.split(y, [1, 3, 40]), strict=True))
    found = run(uneven, epochs=5)
    assert found.value == pytest.approx(whole(decay_features(), BATCHES).value(found.parameters), rel=1e-12)
    assert found.value < 0.5 * found.history["value"][0]


def test_a_batch_of_weight_zero_changes_only_what_is_forgotten():
    silent = [(*batch, np.ones(16)) for batch in BATCHES]
    silent = [(*BATCHES[-1], np.zeros(16)), *silent]
    found = run(silent, epochs=5, forgetting=1.0)
    assert found.value == pytest.approx(whole(decay_features(), BATCHES).value(found.parameters), rel=1e-12)


def test_the_first_batch_decides_the_floating_type():
    mixed = [tuple(c.astype("f4") for c in BATCHES[0]), *BATCHES[1:]]
    assert run(mixed).parameters.dtype == torch.float32
    mixed = [BATCHES[0], *(tuple(c.astype("f4") for c in batch) for batch in BATCHES[1:])]
    assert run(mixed).parameters.dtype == torch.float64


def test_the_callers_arrays_are_neither_kept_nor_written():
    given = [tuple(c.copy() for c in batch) for batch in BATCHES]
    (first, *_) = BatchStream(decay_features(), given, 2**30).visit(0)
    given[0][0][:] = given[0][1][:] = 7.0
    np.testing.assert_array_equal(first.inputs, BATCHES[0][0])
    np.testing.assert_array_equal(first.targets, BATCHES[0][1])


def test_the_rows_of_the_whole_data_are_those_of_the_last_complete_visit():
    stream = BatchStream(decay_features(), BATCHES, 2**30)
    visit = stream.visit(0)
    assert stream.rows == 0 and (next(visit), next(visit)) and stream.rows == 32
    assert len(list(visit)) == 4 and stream.rows == 96
    next(stream.visit(1))
    assert stream.rows == 96 and stream.passes == 2


def with_batch(number, *columns):
    changed = list(BATCHES)
    changed[number] = columns[0] if len(columns) == 1 else columns
    return changed


X, Y = BATCHES[0]
BAD_BATCHES = {
    "no batches": ([], ArgumentError, "batches is empty"),
    "no batches from a function": (lambda epoch: [], ArgumentError, "batches is empty"),
    "nothing the second time": (
        (lambda source: lambda epoch: source)(iter(BATCHES)),
        ArgumentError,
        "gave nothing when it was visited again, in epoch 0",
    ),
    "a dict": ({"x": X, "y": Y}, ArgumentTypeError, "batches must be an iterable .* got dict"),
    "a string": ("data.csv", ArgumentTypeError, "got str"),
    "a number": (3, ArgumentTypeError, "got int"),
    "a function of numbers": (lambda epoch: epoch, ArgumentTypeError, "got int"),
    "one batch alone": ((X, Y), ArgumentTypeError, r"batches\[0\] must be .* given as \[\(inputs, targets\)\]"),
    "one column": (with_batch(0, (X,)), ArgumentTypeError, r"batches\[0\] must be .* got tuple of 1"),
    "four columns": (with_batch(3, X, Y, X, X), ArgumentTypeError, r"batches\[3\] must be .* got tuple of 4"),
    "a dict for a batch": (with_batch(2, {"x": X}), ArgumentTypeError, r"batches\[2\] must be .* got dict"),
    "fewer targets": (with_batch(1, X, Y[:5]), ArgumentError, r"batches\[1\] must have as many rows"),
    "three-dimensional targets": (with_batch(0, X, Y[:, :, None]), ArgumentError, r"targets of batches\[0\]"),
    "other width": (with_batch(4, X[:, None], Y), ArgumentError, r"inputs of batches\[4\] must have shape"),
    "other outputs": (with_batch(2, X, Y[:, :1]), ArgumentError, r"targets of batches\[2\] .* \(rows, 2\)"),
    "squeezed targets": (with_batch(2, X, Y[:, 0]), ArgumentError, r"targets of batches\[2\] .* \(rows, 2\)"),
    "NaN inputs": (with_batch(3, X * np.nan, Y), ArgumentError, r"inputs of batches\[3\] has 16 NaN"),
    "infinite targets": (with_batch(5, X, Y + np.inf), ArgumentError, r"targets of batches\[5\] has 32 NaN"),
    "no rows": (with_batch(1, X[:0], Y[:0]), ArgumentError, r"targets of batches\[1\] is empty"),
    "text": (with_batch(1, ["a"] * 16, Y), ArgumentTypeError, r"inputs of batches\[1\]"),
    "negative weights": (with_batch(1, X, Y, -X), ArgumentError, r"weights of batches\[1\] must be >= 0"),
    "fewer weights": (with_batch(1, X, Y, X[:3]), ArgumentError, r"weights of batches\[1\] .* shape \(16,\)"),
    "NaN weights": (with_batch(0, X, Y, X * np.nan), ArgumentError, r"weights of batches\[0\] has 16 NaN"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_batches_that_cannot_be_used_are_named_by_number(name):
    batches, error, message = BAD_BATCHES[name]
    with pytest.raises(error, match=message):
        run(batches)


BAD_ARGUMENTS = [
    ({"optimizer": "newton"}, ArgumentError, "optimizer must be one of 'gauss-newton', 'adam', 'sgd'"),
    ({"optimizer": 3}, ArgumentTypeError, "optimizer must be"),
    ({"optimizer": lambda v: "adam"}, ArgumentTypeError, "optimizer must make a torch.optim.Optimizer .* got str"),
    ({"optimizer": torch.optim.SGD, "learning_rate": 0.1}, ArgumentError, "learning_rate belongs to"),
    ({"learning_rate": 0.0}, ArgumentError, "learning_rate must be > 0"),
    ({"learning_rate": -1.0, "optimizer": "adam"}, ArgumentError, "learning_rate"),
    ({"epochs": -1}, ArgumentError, "epochs"),
    ({"epochs": 1.5}, ArgumentTypeError, "epochs"),
    ({"epochs": 0, "evaluate": "never"}, ArgumentError, "epochs must be >= 1 with evaluate='never'"),
    ({"evaluate": "always"}, ArgumentError, "evaluate must be one of 'epoch', 'end', 'never'"),
    ({"regularization": -1.0}, ArgumentError, "regularization"),
    ({"regularization": "auto"}, ArgumentError, "regularization must be one of 'sampled'"),
    ({"forgetting": 1.1}, ArgumentError, "forgetting must be between 0 and 1"),
    ({"forgetting": "never"}, ArgumentError, "forgetting must be one of 'auto'"),
    ({"initial_parameters": [1.0]}, ArgumentError, "initial_parameters must have shape"),
    ({"max_time": -1.0}, ArgumentError, "max_time"),
    ({"tolerance": "small"}, ArgumentTypeError, "tolerance"),
    ({"callbacks": print}, ArgumentTypeError, "callbacks must be a sequence of functions"),
    ({"callbacks": [3]}, ArgumentTypeError, "callbacks"),
    ({"memory_limit": 10}, ArgumentError, "memory_limit"),
    ({"features": "mlp"}, ArgumentTypeError, "features"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), BAD_ARGUMENTS, ids=lambda o: re.sub(r"\W+|0x\w+", " ", str(o))[:40]
)
def test_arguments_that_cannot_be_used_are_named(options, error, message):
    with pytest.raises(error, match=message):
        run(BATCHES, **options)


def test_gauss_newton_says_how_much_memory_it_would_take():
    batches, limit = teacher(rows=40, size=20), 2**20
    with pytest.raises(ArgumentError, match=r"about \d+ MiB for 600 parameters and 1 outputs, .*optimizer='adam'"):
        run(batches, network(200), memory_limit=limit)
    assert run(batches, network(200), memory_limit=limit, optimizer="adam").status is Status.MAX_ITERATIONS
