"""The experiment rank_trajectories, small, through the lab: what it measures, what it stores, and what it draws."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import grassvp as gv
from grassvp.lab import Record, experiments, plots
from grassvp.lab.cli import main
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config
from grassvp.rank import PassingPath

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("rank_trajectories", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {"rows": 20, "lams": (1e-5, 1e-4), "iterations": 40, "offsets": (1e-1, 1e-3), "columns": 2}
SOLVES = {f"{start}_{n}.npz" for start in MODULE.STARTS for n in range(3)}
FIGURES = {"flow.png", "measures.png", "paths.png", *(f"training_{start}.png" for start in MODULE.STARTS)}


def run(directory, **changes):
    """The stored record of a small run, read back from its directory."""
    config = LOADED.config_type(**(TINY | changes))
    execute(LOADED, config, Record.create(directory, "rank_trajectories", plain_config(config)))
    return Record.load(directory)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(tmp_path_factory.mktemp("ranks"))


def test_it_finishes_and_stores_its_parts(record):
    assert record.status == "finished" and set(record.files) == SOLVES | {"paths.npz", "flow.npz"}
    assert len(experiments.summary(LOADED.path)) > 20


def test_measurements_agree_with_closed_forms(record):
    metrics = record.metrics
    assert metrics["singular_value_error"] < 1e-13 and metrics["distance_error"] < 1e-5
    assert metrics["path_length_error"] < 1e-11 and metrics["path_value_error"] < 1e-12
    assert 0.5 < metrics["path_gradient_over_bound"] <= 1.0 and metrics["condition_over_bound"] <= 1.0 + 1e-9
    assert metrics["path_turn_at_zero"] == pytest.approx(2 * np.arctan(1e3), rel=1e-9), "nearly pi"
    assert metrics["flow_distance_error"] < 1e-9 and metrics["flow_keeps_rank"] and metrics["flow_undefined_at_zero"]
    assert metrics["merging_order"] == pytest.approx(0.5, abs=0.01), "the smallest singular value goes like sqrt(lam)"


def test_the_starts_are_what_they_say(record):
    for n in range(3):
        near, merged = (record.read_arrays(f"{start}_{n}") for start in ("near", "merged"))
        slopes, biases = merged["parameters"][0].reshape(2, 4)
        assert slopes[3] == slopes[0] and biases[3] == biases[0] and merged["rank"][0] == 4 < 5
        assert merged["singular_values"][0, -1] < 1e-14 * merged["singular_values"][0, 0]
        slopes, biases = near["parameters"][0].reshape(2, 4)
        assert slopes[3] == slopes[0] and biases[3] - biases[0] == pytest.approx(1e-7, rel=1e-6)
        assert 1e-10 < near["singular_values"][0, -1] / near["singular_values"][0, 0] < 1e-7
    assert record.metrics["near_condition_at_zero"] > 1e7


def test_condition_and_distances_are_those_of_the_history(record):
    for name in sorted(SOLVES):
        stored = record.read_arrays(name.removesuffix(".npz"))
        np.testing.assert_allclose(stored["condition"], stored["history_condition"], rtol=1e-12)
        assert len(stored["iteration"]) == len(stored["history_value"]) == len(stored["parameters"])
        assert stored["history_distance"][0] == 0.0 and (stored["run"] == 0).all()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("near_0", {"singular_errors": 1e-9}),
        ("near_1", {"condition": 1e9}),
        ("merging_1", {"singular_values": 1.0}),
        ("merged_1", {"distance_errors": 1e-2}),
        ("paths", {"length_errors": 1e-6}),
        ("paths", {"value_errors": 1e-6}),
        ("paths", {"gradient_over_bound": 1.5}),
        ("flow", {"distances": 1e-3}),
        ("flow", {"measured_ranks": 1}),
        ("flow", {"undefined": False}),
    ],
)
def test_what_is_wrong_does_not_pass(record, tmp_path, name, change):
    """One stored array is spoiled and the metrics are computed again from what is stored."""
    assert record.metrics["passed"] is True
    shutil.copytree(record.directory, tmp_path / "copy")
    again = Record.load(tmp_path / "copy")
    arrays = again.read_arrays(name)
    for key, value in change.items():
        arrays[key] = np.full_like(arrays[key], value)
    again.arrays(name, **arrays)
    LOADED.run(LOADED.config_type(**TINY), again)
    assert again.metrics["passed"] is False


def test_results_follow_the_seed(record):
    first, second = (LOADED.config_type(**TINY, seed=seed) for seed in (0, 1))
    for start in MODULE.STARTS:
        assert np.abs(MODULE.start_of(first, start)[1] - MODULE.start_of(second, start)[1]).max() > 1e-3
    assert np.abs(MODULE.follow_flow(second)["values"] - record.read_arrays("flow")["values"]).max() > 1e-6
    paths, other = record.read_arrays("paths"), MODULE.follow_paths(second)
    assert (paths["value_errors"] != other["value_errors"]).any(), "closed forms do not depend on the frame, errors do"
    np.testing.assert_allclose(paths["values"], other["values"], atol=1e-12)


def test_figures_come_from_the_record_alone(record, tmp_path, monkeypatch):
    """Drawn from a copy of the files while everything that could compute is broken."""

    def refuse(*_, **__):
        raise AssertionError("a figure computed something")

    shutil.copytree(record.directory, tmp_path / "copy")
    monkeypatch.setattr(gv, "solve", refuse)
    for part in ("gradient_flow", "RankMonitor", "numerical_rank", "_value", "_distance"):
        monkeypatch.setattr(MODULE, part, refuse)
    monkeypatch.setattr(PassingPath, "matrices", refuse)
    files = draw(LOADED, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 8_000 for path in files)


def test_an_interrupted_run_goes_on_and_draws_what_there_is(tmp_path, monkeypatch):
    original, solved = MODULE._trained, []

    def stop(config, record, start, lam):
        if start == "merged":
            raise KeyboardInterrupt
        return original(config, record, start, lam)

    monkeypatch.setattr(MODULE, "_trained", stop)
    record = run(tmp_path, iterations=3)
    assert record.status == "interrupted" and set(record.files) == {f"near_{n}.npz" for n in range(3)}
    assert {path.name for path in draw(LOADED, record)} == {"training_near.png"}

    def watched(config, record, start, lam):
        solved.append(start)
        return original(config, record, start, lam)

    monkeypatch.setattr(MODULE, "_trained", watched)
    again = Record.resume(tmp_path)
    execute(LOADED, LOADED.config_type(**(TINY | {"iterations": 3})), again)
    assert Record.load(tmp_path).status == "finished" and solved == ["merged"] * 3 + ["merging"] * 3


REFUSED = [
    ({"rows": 5}, "rows must be an integer >= 10"),
    ({"lams": ()}, "lams must be at least one number > 0"),
    ({"lams": (1e-3, 0.0)}, "lams"),
    ({"offsets": (-1.0,)}, "offsets"),
    ({"level": 1.5}, "level must be between 0 and 1"),
    ({"separation": -1.0}, "separation"),
    ({"iterations": 0}, "iterations"),
    ({"columns": 9}, "columns must be at most 4"),
    ({"seed": -1}, "seed"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_runs_it(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(plots, "to_png", lambda figure: b"drawn elsewhere")  # most of what the command would take
    words = ["--rows=12", "--lams", "1e-2", "--offsets", "1e-2", "--iterations=3", "--columns=1", "--level=1e-4"]
    assert main(["run", "rank_trajectories", *words, f"--out={tmp_path}", "--json"]) == 0
    result = json.loads(capfd.readouterr().out, parse_constant=pytest.fail)
    assert result["status"] == "finished" and result["config"]["lams"] == [0.01]
    assert isinstance(result["metrics"]["passed"], bool) and "merging_order" not in result["metrics"]
