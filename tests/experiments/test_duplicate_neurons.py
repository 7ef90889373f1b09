"""The experiment duplicate_neurons, small, through the lab."""

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
NAME = "duplicate_neurons"
TINY = {"neurons": 1, "width": 3, "rows": 8, "draws": 1, "starts": 3, "branches": 2, "per_decade": 1, "iterations": 60}
FIGURES = {"census.png", "index.png", "blocks.png", "escapes.png"}
STAGES = ("take_census", "follow", "escape")


def module():
    loaded = experiments.load(NAME, ROOT / "experiments")
    return loaded, sys.modules[loaded.run.__module__]


def run(directory, **changes):
    """The stored record of a small run, read back from its directory."""
    loaded = module()[0]
    config = loaded.config_type(**(TINY | changes))
    execute(loaded, config, Record.create(directory, NAME, plain_config(config)))
    return loaded, Record.load(directory)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp(NAME))


def tables(record, name):
    return [record.read_arrays(f"{part}_{name}") for part in ("census", "branches", "escapes")]


def test_it_is_found_described_and_passes(finished):
    loaded, record = finished
    assert len(experiments.summary(loaded.path)) > 20 and record.status == "finished"
    assert dataclasses.is_dataclass(loaded.config_type) and loaded.config_type().seed == 0
    assert loaded.config(record.config) == loaded.config_type(**TINY)
    assert record.metrics["passed"] is True
    assert record.metrics["one_disagreements"] == record.metrics["two_disagreements"] == 0


@pytest.mark.parametrize("name", ["one", "two"])
def test_census_counts(name, finished):
    """Three copies of one neuron: the index grows by an even number, as both further copies have the same block."""
    _, record = finished
    census, _, escapes = tables(record, name)
    metrics = record.metrics
    assert metrics[f"{name}_critical_points"] == len(census["value"]) >= 1
    assert (census["multiplicities"] == 3).all() and census["eigenvalue_error"].max() < 1e-10
    assert set((census["measured_index"] - census["narrow_index"]).tolist()) <= {0, 2, 4}
    minima = np.flatnonzero(census["narrow_kind"] == "minimum")
    np.testing.assert_array_equal(escapes["numbers"], minima)
    np.testing.assert_array_equal(escapes["saddle"], census["measured_index"][minima] > 0)
    np.testing.assert_array_equal(escapes["curvature"] < 0, escapes["saddle"])
    assert metrics[f"{name}_minima"] == len(minima) == metrics[f"{name}_minima_kept"] + escapes["saddle"].sum()
    drops = (escapes["before"] - escapes["after"]) / escapes["scale"]
    assert (drops[escapes["saddle"]] > 1e-9).all() and (np.abs(drops[~escapes["saddle"]]) < 1e-10).all()


@pytest.mark.parametrize("name", ["one", "two"])
def test_branches_run_through_the_census_and_keep_to_the_prediction(name, finished):
    _, record = finished
    census, branches, _ = tables(record, name)
    lams = branches["lams"]
    np.testing.assert_allclose(lams, 10.0 ** np.arange(-1.0, -7.0, -1.0), rtol=1e-12)
    there = branches["measured_index"] >= 0
    np.testing.assert_array_equal(branches["measured_index"][:, 1], census["measured_index"][branches["numbers"]])
    np.testing.assert_array_equal(branches["measured_index"], branches["predicted_index"])
    np.testing.assert_array_equal(np.isfinite(branches["predicted_blocks"]).all(axis=2), there)
    size = np.abs(branches["predicted_blocks"][there]).max(axis=1, keepdims=True)
    assert (np.abs(branches["predicted_blocks"] - branches["measured_blocks"])[there] <= 1e-8 * (1 + size)).all()
    assert record.metrics[f"{name}_largest_eigenvalue_error"] >= branches["eigenvalue_error"][there].max()
    assert record.metrics[f"{name}_branch_points"] == there.sum() >= 1


SPOILED = {
    "an index of the census": lambda census, branches, escapes: census["measured_index"].__iadd__(1),
    "a nullity of the census": lambda census, branches, escapes: census["predicted_nullity"].__iadd__(1),
    "an eigenvalue": lambda census, branches, escapes: census["eigenvalue_error"].__iadd__(1e-6),
    "an index of a branch": lambda census, branches, escapes: branches["predicted_index"].__iadd__(1),
    "an eigenvalue of a branch": lambda census, branches, escapes: branches["eigenvalue_error"].__iadd__(1e-6),
    "nothing escapes": lambda census, branches, escapes: escapes.update(after=escapes["before"] + 0.0),
    "a minimum is left": lambda census, branches, escapes: escapes.update(
        after=escapes["before"] - 0.1, saddle=np.zeros_like(escapes["saddle"])
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_does_not_agree_is_seen(what, finished):
    _, record = finished
    parts = tables(record, "two")
    assert module()[1].judged(*parts)["agrees"] is True
    SPOILED[what](*parts)
    assert module()[1].judged(*parts)["agrees"] is False


def refuse(*_, **__):
    raise AssertionError("something was computed")


def test_figures_come_from_the_record_alone(finished, tmp_path, monkeypatch):
    loaded, record = finished
    shutil.copytree(record.directory, tmp_path / "copy")
    for part in STAGES:
        monkeypatch.setattr(module()[1], part, refuse)
    for owner, part in ((theory, "embedded_critical_points"), (theory, "embed"), (gv, "solve")):
        monkeypatch.setattr(owner, part, refuse)
    files = draw(loaded, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES and all(path.stat().st_size > 10_000 for path in files)


def test_a_resumed_run_takes_up_what_is_stored(finished, tmp_path, monkeypatch):
    loaded, record = finished
    shutil.copytree(record.directory, tmp_path / "copy")
    Record.load(tmp_path / "copy").finish("interrupted")
    for part in STAGES:
        monkeypatch.setattr(module()[1], part, refuse)
    again = Record.resume(tmp_path / "copy")
    execute(loaded, loaded.config(again.config), again)
    assert again.status == "finished" and dict(again.metrics) == dict(record.metrics)


def test_ridge_parameters():
    loaded, code = module()
    lams = code.ridge_parameters(loaded.config_type(regularization=2e-3, smallest=1e-5, largest=1.0, per_decade=3))
    assert 2e-3 in lams and lams[0] <= 1.0 and lams[-1] >= 1e-5
    np.testing.assert_allclose(lams[1:] / lams[:-1], 10 ** (-1 / 3), rtol=1e-12)


def test_spread():
    code = module()[1]
    assert list(code.spread(np.arange(10, 15), 3)) == [10, 12, 14]
    assert list(code.spread(np.arange(2), 6)) == [0, 1] and not len(code.spread(np.arange(3), 0))


def test_the_same_seed_gives_the_same_record(finished, tmp_path):
    options = {"starts": 1, "branches": 0, "iterations": 5, "rows": 6}
    first, again, other = (
        dict(run(tmp_path / str(number), seed=seed, **options)[1].metrics) for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


REFUSED = [
    ({"neurons": 0}, "neurons"),
    ({"width": 1}, "width must be an integer >= 2, got 1"),
    ({"activation": "step"}, "activation"),
    ({"rows": 1}, "rows"),
    ({"draws": 0}, "draws"),
    ({"starts": 0}, "starts"),
    ({"branches": -1}, "branches"),
    ({"seed": -1}, "seed"),
    ({"regularization": 0.0}, "regularization must be > 0"),
    ({"smallest": 0.0}, "smallest"),
    ({"largest": 1e-3}, "regularization must be between"),
    ({"per_decade": 0}, "per_decade"),
    ({"iterations": 0}, "iterations"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
