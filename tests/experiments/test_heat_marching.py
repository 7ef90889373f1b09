"""The experiment heat_marching, small, through the lab."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.lab import Record, experiments
from grassvp.lab.running import draw, execute, plain_config

ROOT = Path(__file__).parents[2]
TINY = {
    "width": 150,
    "steps": (4, 12),
    "narrow_widths": (25,),
    "training_iterations": 15,
    "order_steps": (4, 8),
    "pulse_width": 30,
    "pulse_steps": 25,
    "bar": 1e-2,
}
STUDIES = ("periodic_study", "width_study", "order_study", "travelling_study")
FIGURES = {"solution.png", "error.png", "order.png", "travelling.png"}


def experiment():
    return experiments.load("heat_marching", ROOT / "experiments")


def run(directory, **changes):
    """The stored record of a small run, read back from its directory."""
    loaded = experiment()
    config = loaded.config_type(**(TINY | changes))
    execute(loaded, config, Record.create(directory, "heat_marching", plain_config(config)))
    return loaded, Record.load(directory)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return run(tmp_path_factory.mktemp("heat_marching"))


def refuse(*_, **__):
    raise AssertionError("something was computed")


def test_it_is_found_described_and_finishes(stored):
    loaded, record = stored
    assert len(experiments.summary(loaded.path)) > 20 and record.status == "finished"
    assert dataclasses.is_dataclass(loaded.config_type) and loaded.config_type().seed == 0
    assert loaded.config(record.config) == loaded.config_type(**TINY)


def test_metrics_are_those_of_the_stored_studies(stored):
    _, record = stored
    metrics, periodic, pulse = record.metrics, record.read_arrays("periodic"), record.read_arrays("travelling")
    for count, times, errors in zip((4, 12), periodic["times"], periodic["errors"], strict=True):
        kept = np.isfinite(times)
        assert kept.sum() == count + 1 and times[kept][-1] == 4.0
        assert metrics[f"relative_l2_error_{count}_steps"] == errors[kept][-1] < 1e-2
        assert metrics[f"seconds_per_step_{count}_steps"] > 0
    assert 1.0 <= metrics["error_growth"] <= 1.01
    assert metrics["trained_25_relative_l2_error"] < 0.5 * metrics["random_features_25_relative_l2_error"]
    orders = record.read_arrays("orders")["errors"]
    np.testing.assert_allclose(metrics["order Gauss, 2 stages"], np.log2(orders[1, 0] / orders[1, 1]))
    assert metrics["order Radau IIA, 3 stages"] == pytest.approx(5, abs=0.4)
    assert metrics["pulse_spans"] == len(pulse["span_times"]) == len(pulse["distances"]) + 1
    assert pulse["field"].shape == (26, 201)


@pytest.mark.parametrize("changes", [{"bar": 1e-14}, {"training_iterations": 1}])
def test_it_can_fail(stored, tmp_path, changes):
    """An error out of reach, or features that are not trained, and the metric says so; the studies are reused."""
    _, record = stored
    shutil.copytree(record.directory, tmp_path / "copy")
    copy = Record.load(tmp_path / "copy")
    loaded = experiment()
    if "training_iterations" in changes:
        widths = copy.read_arrays("widths")
        copy.arrays("widths", **(widths | {"trained": widths["random"]}))
    loaded.run(loaded.config_type(**(TINY | changes)), copy)
    assert copy.metrics["passed"] is False


def test_figures_come_from_the_record_alone(stored, tmp_path, monkeypatch):
    loaded, record = stored
    shutil.copytree(record.directory, tmp_path / "copy")
    module = sys.modules[loaded.run.__module__]
    for part in (*STUDIES, "march"):
        monkeypatch.setattr(module, part, refuse)
    files = draw(loaded, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES
    assert all(path.stat().st_size > 10_000 for path in files)


def test_a_resumed_run_takes_up_what_is_stored(stored, tmp_path, monkeypatch):
    loaded, record = stored
    shutil.copytree(record.directory, tmp_path / "copy")
    Record.load(tmp_path / "copy").finish("interrupted")
    for part in STUDIES:
        monkeypatch.setattr(sys.modules[loaded.run.__module__], part, refuse)
    again = Record.resume(tmp_path / "copy")
    execute(loaded, loaded.config(again.config), again)
    assert again.status == "finished" and dict(again.metrics) == dict(record.metrics)


def test_the_order_is_read_where_rounding_does_not_hide_it(stored):
    loaded, _ = stored
    order = sys.modules[loaded.run.__module__].observed_order
    steps = np.array([4, 8, 16, 32])
    assert order(steps, 0.3 / steps.astype(float) ** 4) == pytest.approx(4.0)
    assert order(steps, np.array([1e-4, 1e-6, 3e-13, 3e-13])) == pytest.approx(np.log2(100))
    assert np.isnan(order(steps, np.full(4, 1e-14)))


@pytest.mark.parametrize(
    ("changes", "message", "kind"),
    [
        ({"width": 0}, "width must be an integer >= 1, got 0", ArgumentError),
        ({"seed": -1}, "seed", ArgumentError),
        ({"steps": ()}, "steps must have at least 1 entries", ArgumentError),
        ({"order_steps": (4,)}, "order_steps must have at least 2", ArgumentError),
        ({"narrow_widths": (1.5,)}, "narrow_widths", ArgumentTypeError),
        ({"bar": 0.0}, "bar must be > 0", ArgumentError),
    ],
)
def test_what_is_refused(changes, message, kind):
    loaded = experiment()
    with pytest.raises(kind, match=message):
        sys.modules[loaded.run.__module__].check(loaded.config_type(**changes))
