"""The experiments two_timescales, overparametrised and infinite_width, small, through the lab."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import grassvp as gv
from grassvp import theory
from grassvp.lab import Record, experiments
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
TINY = {
    "two_timescales": {"rows": 6, "epsilons": (1e-2, 1e-3), "time": 0.5, "times": 6, "tolerance": 1e-8},
    "overparametrised": {
        "rows": 4,
        "coordinates": 1,
        "largest_width": 4,
        "starts": 3,
        "max_iterations": 60,
        "flow_time": 1.0,
        "census_starts": 2,
    },
    "infinite_width": {"rows": 4, "widths": (32, 128, 512), "draws": 400},
}
FIGURES = {
    "two_timescales": {"gap.png"},
    "overparametrised": {"success.png", "flows.png", "census.png"},
    "infinite_width": {"width.png"},
}
STAGES = {
    "two_timescales": ("follow",),
    "overparametrised": ("success_over_widths", "natural_flows", "censuses"),
    "infinite_width": ("measure",),
}


def experiment(name):
    return experiments.load(name, ROOT / "experiments")


def module(loaded):
    return sys.modules[loaded.run.__module__]


def run(name, directory, **changes):
    """The stored record of a small run, read back from its directory."""
    loaded = experiment(name)
    config = loaded.config_type(**(TINY[name] | changes))
    execute(loaded, config, Record.create(directory, name, plain_config(config)))
    return loaded, Record.load(directory)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return {name: run(name, tmp_path_factory.mktemp(name)) for name in TINY}


def refuse(*_, **__):
    raise AssertionError("something was computed")


@pytest.mark.parametrize("name", TINY)
def test_they_are_found_described_and_finish(name, records):
    loaded, record = records[name]
    assert len(experiments.summary(loaded.path)) > 20 and record.status == "finished"
    assert dataclasses.is_dataclass(loaded.config_type) and loaded.config_type().seed == 0
    assert loaded.config(record.config) == loaded.config_type(**TINY[name])


@pytest.mark.parametrize("name", TINY)
def test_figures_come_from_the_record_alone(name, records, tmp_path, monkeypatch):
    """Drawn from a copy of the files while everything that could compute is broken."""
    loaded, record = records[name]
    shutil.copytree(record.directory, tmp_path / "copy")
    for part in STAGES[name]:
        monkeypatch.setattr(module(loaded), part, refuse)
    for part in ("find_critical_points", "natural_gradient_flow", "two_time_scales", "width_study"):
        monkeypatch.setattr(theory, part, refuse)
    monkeypatch.setattr(gv, "solve", refuse)
    files = draw(loaded, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES[name]
    assert all(path.stat().st_size > 10_000 for path in files)


@pytest.mark.parametrize("name", TINY)
def test_a_resumed_run_takes_up_what_is_stored(name, records, tmp_path, monkeypatch):
    _, record = records[name]
    shutil.copytree(record.directory, tmp_path / "copy")
    Record.load(tmp_path / "copy").finish("interrupted")
    loaded = experiment(name)
    for part in STAGES[name]:
        monkeypatch.setattr(module(loaded), part, refuse)
    again = Record.resume(tmp_path / "copy")
    execute(loaded, loaded.config(again.config), again)
    assert again.status == "finished" and dict(again.metrics) == dict(record.metrics)


def test_two_timescales(records):
    _, record = records["two_timescales"]
    flows, metrics = record.read_arrays("flows"), record.metrics
    distances = np.linalg.norm(flows["trajectories"] - flows["reduced"], axis=2)
    gaps = distances.max(axis=1)
    assert metrics["largest_gap"] == pytest.approx(gaps[0]) and metrics["smallest_gap"] == pytest.approx(gaps[1])
    slope = np.log(gaps[0] / gaps[1]) / np.log(flows["epsilons"][0] / flows["epsilons"][1])
    assert metrics["order"] == pytest.approx(slope, rel=1e-9) == metrics["lowest_local_order"]
    assert metrics["passed"] is True and abs(metrics["order"] - 1) <= 0.1
    np.testing.assert_array_equal(distances[:, 0], 0.0)
    np.testing.assert_allclose(flows["fitted_gaps"], gaps, rtol=1e-9)


def test_two_timescales_can_fail(tmp_path):
    """Far from the limit the order is another one, and the metric says so."""
    _, record = run("two_timescales", tmp_path, epsilons=(30.0, 10.0))
    assert record.metrics["passed"] is False and record.metrics["order"] < 0.9


def test_success_over_widths(records):
    _, record = records["overparametrised"]
    success = record.read_arrays("success")
    np.testing.assert_array_equal(success["widths"], [1, 2, 3, 4])
    np.testing.assert_array_equal(success["marks"], [2, 4])
    np.testing.assert_array_equal(success["rates"], (success["values"] <= 1e-10).mean(axis=1))
    assert (success["bounds"][0] <= success["rates"]).all() and (success["rates"] <= success["bounds"][1]).all()
    assert record.metrics["rate_narrowest"] == 0 == record.metrics["rate_with_too_few_parameters"]
    assert record.metrics["rate_from_n_equal_m"] == record.metrics["rate_widest"] == 1


def test_natural_flow_follows_the_closed_form(records):
    _, record = records["overparametrised"]
    flows = record.read_arrays("flows")
    assert flows["onto"].all() and record.metrics["natural_flow_largest_error"] <= 1e-6
    assert (np.diff(flows["values"], axis=1) < 0).all() and (
        flows["values"][:, -1] < 0.95 * flows["values"][:, 0]
    ).all()
    errors = np.abs(flows["values"] - flows["closed"]) / flows["closed"][:, :1]
    assert record.metrics["natural_flow_largest_error"] == pytest.approx(errors.max())


def test_no_critical_points_but_the_known_ones_where_onto(records):
    _, record = records["overparametrised"]
    found, metrics = record.read_arrays("census"), record.metrics
    assert metrics["critical_points_onto_not_c4"] == 0 and metrics["passed"] is True
    assert metrics["critical_points_onto"] == found["onto"].sum() >= 1 <= metrics["critical_points_onto_regularized"]
    assert metrics["critical_points_otherwise"] >= 1, "the under-parametrised network has others"
    assert (found["products"][found["onto"]] < 1e-8).all() and (found["ranks"][found["onto"]] == 1).all()
    assert found["products"][found["kinds"] == 2].max() > 1e-3


def test_infinite_width(records):
    _, record = records["infinite_width"]
    for name in ("erf", "relu"):
        study = record.read_arrays(name)
        away = study["values"] - study["limit"]
        np.testing.assert_allclose(study["fluctuation"], np.sqrt((away**2).mean(axis=1)), rtol=1e-12)
        np.testing.assert_allclose(study["bias"], study["corrected"].mean(axis=1), rtol=1e-12)
        for kind, expected in (("fluctuation", -0.5), ("bias", -1.0)):
            slope, low, high = (record.metrics[f"{name}_{kind}_slope{end}"] for end in ("", "_low", "_high"))
            assert low < slope < high and abs(slope - expected) <= 0.1
            line = np.diff(np.log(study[f"{kind}_line"])) / np.diff(np.log(study["widths"]))
            np.testing.assert_allclose(line, slope, rtol=1e-9)
    assert record.metrics["passed"] is True


def test_infinite_width_has_one_panel_for_one_activation(tmp_path):
    loaded, record = run("infinite_width", tmp_path, activations=("relu",), draws=20)
    assert not any(name.startswith("erf") for name in record.metrics) and len(draw(loaded, record)) == 1


REFUSED = [
    ("two_timescales", {"width": 0}, "width"),
    ("two_timescales", {"regularization": 0.0}, "regularization"),
    ("two_timescales", {"epsilons": (1e-2, 1e-2)}, "epsilons"),
    ("two_timescales", {"epsilons": (1e-2, -1.0)}, "epsilons"),
    ("two_timescales", {"time": 0.0}, "time"),
    ("two_timescales", {"tolerance": 1.0}, "tolerance"),
    ("overparametrised", {"rows": 0}, "rows"),
    ("overparametrised", {"largest_width": 0}, "largest_width"),
    ("overparametrised", {"regularization": 0.0}, "regularization"),
    ("overparametrised", {"flow_time": -1.0}, "flow_time"),
    ("overparametrised", {"seed": -1}, "seed"),
    ("infinite_width", {"activations": ("tanh",)}, "activations.*tanh"),
    ("infinite_width", {"activations": ()}, "activations"),
    ("infinite_width", {"widths": (64,)}, "widths"),
    ("infinite_width", {"widths": (64, 0)}, "widths"),
    ("infinite_width", {"draws": 1}, "draws"),
    ("infinite_width", {"regularization": 0.0}, "regularization"),
]


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED)
def test_bad_configurations_name_the_field_and_leave_nothing(name, changes, words, tmp_path):
    with pytest.raises(RefusedConfigError, match=words):
        run(name, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["two_timescales", "infinite_width"])
def test_the_same_seed_gives_the_same_record(name, records, tmp_path):
    same, other = run(name, tmp_path / "same")[1], run(name, tmp_path / "other", seed=1)[1]
    assert dict(same.metrics) == dict(records[name][1].metrics) != dict(other.metrics)
