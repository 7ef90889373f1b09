"""The experiments critical_points, riemannian_solvers and flow, small, through the lab."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from grassvp import riemannian, theory
from grassvp.lab import Record, experiments, toys
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
TINY = {
    "critical_points": {"rows": 5, "eigenvalues": (3.0, 1.0, 1.0), "starts": 6, "descents": 2, "network_starts": 0},
    "riemannian_solvers": {
        "rows": 8,
        "eigenvalues": (3.0, 2.0, 1.0),
        "small": 2,
        "large": 4,
        "starts": 2,
        "regularized_iterations": 8,
    },
    "flow": {"rows": 6, "n": 2, "eigenvalues": (3.0, 2.0, 1.0), "starts": 2, "times": 9},
}
FIGURES = {
    "critical_points": {"spectra.png", "values.png", "landscape.png", "network.png"},
    "riemannian_solvers": {"small.png", "large.png", "regularized.png"},
    "flow": {"laws.png", "rank.png"},
}
SOLVERS = ("steepest_descent", "conjugate_gradient", "trust_region")


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


@pytest.mark.parametrize("name", TINY)
def test_they_are_found_described_and_finish(name, records):
    loaded, record = records[name]
    assert len(experiments.summary(loaded.path)) > 20 and record.status == "finished"
    assert dataclasses.is_dataclass(loaded.config_type) and loaded.config_type().seed == 0
    assert loaded.config(record.config) == loaded.config_type(**TINY[name])


@pytest.mark.parametrize("name", TINY)
def test_figures_come_from_the_record_alone(name, records, tmp_path, monkeypatch):
    """Drawn from a copy of the files while everything that could compute is broken."""

    def refuse(*_, **__):
        raise AssertionError("a figure computed something")

    loaded, record = records[name]
    shutil.copytree(record.directory, tmp_path / "copy")
    for part in ("toy_targets", "gradient_flow", "solve", "toy_census", "network_census", "sphere", "flow_values"):
        if hasattr(module(loaded), part):
            monkeypatch.setattr(module(loaded), part, refuse)
    for package, part in ((riemannian, "run"), (theory, "find_critical_points"), (theory, "critical_classes")):
        monkeypatch.setattr(package, part, refuse)
    files = draw(loaded, Record.load(tmp_path / "copy"))
    assert {path.name for path in files} == FIGURES[name]
    for path in files:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_every_class_is_found_as_predicted(records):
    _, record = records["critical_points"]
    metrics, census = record.metrics, record.read_arrays("census")
    assert metrics["classes_predicted"] == metrics["classes_found"] == 5
    assert metrics["points_outside_classes"] == 0
    assert metrics["all_indices_agree"] is True and metrics["all_nullities_agree"] is True
    assert metrics["largest_relative_eigenvalue_error"] < 1e-12 and metrics["largest_relative_value_error"] < 1e-13
    assert list(census["multiplicities"]) == [1, 2, 2] and (census["inside"].sum(axis=1) == 2).all()
    counted = (census["measured_spectrum"] < -1e-9).sum(axis=1)
    np.testing.assert_array_equal(census["predicted_index"], counted)
    assert metrics["descents"] == 2 + 4 and metrics["descents_at_minimum"] == 6
    np.testing.assert_allclose(record.read_arrays("descents")["end_value"], 0.5, atol=1e-12)


def test_a_wrong_census_shows_in_the_metrics(records):
    loaded, record = records["critical_points"]
    census = record.read_arrays("census")
    census["measured_spectrum"][2, 0] += 0.3
    census["measured_index"][1] += 1
    census["matches"][3], census["measured_nullity"][3] = 0, -1
    metrics = module(loaded).compared(census)
    assert metrics["largest_relative_eigenvalue_error"] == pytest.approx(0.1)
    assert not metrics["all_indices_agree"] and not metrics["all_nullities_agree"] and metrics["classes_found"] == 4


def test_landscapes(records):
    _, record = records["critical_points"]
    ball, ring = record.read_arrays("sphere"), record.read_arrays("circle")
    np.testing.assert_allclose(ball["frame"] @ ball["frame"].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(ball["line_values"], [1.0, 1.75, 2.25], atol=1e-12)
    assert list(ball["line_indices"]) == [0, 1, 2]
    assert np.nanmin(ball["values"]) >= 1.0 - 1e-12 and np.nanmax(ball["values"]) <= 2.25 + 1e-12
    ends = np.abs(ball["paths"][:, -1] @ ball["lines"][0])
    assert (ends > 0.95).all(), "the flows end at the minimum"
    assert (np.sum(ball["paths"][:, 1:] * ball["paths"][:, :-1], axis=2) > 0.8).all()
    for angle, value in zip(ring["critical_angle"], ring["critical_value"], strict=True):
        assert np.interp(angle, ring["angle"], ring["values"]) == pytest.approx(value, abs=1e-3)
    np.testing.assert_allclose([ring["values"].min(), ring["values"].max()], [0.75, 1.5], atol=1e-3)


def test_network_census(tmp_path):
    _, record = run("critical_points", tmp_path, network_width=1, network_rows=16, network_starts=6)
    network = record.read_arrays("network")
    assert record.metrics["network_critical_points"] == len(network["value"]) >= 1
    assert record.metrics["network_minima"] >= 1 and record.metrics["network_largest_gradient_norm"] < 1e-8
    assert (np.diff(network["value"]) >= 0).all()
    np.testing.assert_array_equal(network["index"], (network["spectrum"] < -1e-8).sum(axis=1))


def test_without_a_network(tmp_path):
    _, record = run("critical_points", tmp_path, network_width=0)
    assert not any(name.startswith("network") for name in [*record.metrics, *record.files])


@pytest.mark.parametrize("problem", ["small", "large"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_reach_the_minimum(records, problem, solver):
    _, record = records["riemannian_solvers"]
    metrics, runs = record.metrics, record.read_arrays(f"{problem}_{solver}")
    assert metrics[f"{problem}_{solver}_success"] == 1.0
    assert metrics[f"{problem}_{solver}_worst_value_error"] < 1e-14
    assert metrics[f"{problem}_{solver}_worst_distance"] < 1e-10
    assert metrics[f"{problem}_{solver}_median_iterations"] == np.median(runs["iterations"])
    lengths = np.isfinite(runs["gap"]).sum(axis=1)
    np.testing.assert_array_equal(lengths, runs["iterations"] + 1)
    total = metrics[f"{problem}_{solver}_median_evaluations"]
    assert total == np.median(runs["evaluations"].sum(axis=1)) > lengths.min()
    assert (runs["distance"][:, 0] > 0.05).all() and (np.nan_to_num(np.diff(runs["seconds"])) >= 0).all()


def test_regularised_problem_heads_for_infinity(records):
    _, record = records["riemannian_solvers"]
    for solver in SOLVERS:
        runs = record.read_arrays(f"regularized_{solver}")
        assert (runs["iterations"] <= 8).all()
        ends = runs["gap"][[0, 1], runs["iterations"]]
        assert (ends > -1e-12).all() and (ends < runs["gap"][:, 0]).all(), "the infimum is 1/2 sum of mu_i, i > n"


def test_all_solvers_start_at_the_same_points(records):
    _, record = records["riemannian_solvers"]
    for problem in ("small", "large", "regularized"):
        starts = [record.read_arrays(f"{problem}_{solver}")["gap"][:, 0] for solver in SOLVERS]
        np.testing.assert_array_equal(starts[0], starts[1])
        np.testing.assert_array_equal(starts[0], starts[2])


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_distance_to_the_nearest_minimiser(lam):
    """Against the angle of a plane turned out of the leading one, and against a tall Phi near infinity."""
    distance, leading = module(experiment("riemannian_solvers")).distance, np.eye(5)[:, :2]
    if lam == 0.0:
        turned = np.stack([np.eye(5)[0], np.cos(0.3) * np.eye(5)[1] + np.sin(0.3) * np.eye(5)[3]], 1)
        assert distance(turned, leading, lam) == pytest.approx(0.3, rel=1e-12)
        assert distance(np.eye(5)[:, :3], leading, lam) == 0.0
    else:
        assert distance(10.0 * leading, leading, lam) == pytest.approx(np.sqrt(2) * np.arctan(np.sqrt(lam) / 10))


def test_flows_agree_with_their_closed_forms(records):
    _, record = records["flow"]
    metrics = record.metrics
    for name in ("logistic_largest_error", "oja_largest_distance", "oja_largest_value_error"):
        assert 0 < metrics[name] < 1e-8
    for name in ("linear_largest_distance", "linear_largest_value_error", "largest_error"):
        assert 0 < metrics[name] < 1e-8
    assert metrics["rank_kept"] is True and metrics["linear_value_left_to_limit"] < 1e-3
    logistic = record.read_arrays("logistic")
    c, t = logistic["measured"], logistic["times"]
    np.testing.assert_allclose(c[:, 0], [1e-6, 0.3], rtol=1e-9)
    np.testing.assert_allclose(np.log(c / (1 - c))[:, 3] - np.log(c / (1 - c))[:, 0], 2 * t[3], rtol=1e-9)
    np.testing.assert_allclose(record.read_arrays("linear")["limits"], [1.5, 0.5], atol=1e-12)


def test_a_lost_rank_shows(records):
    loaded, record = records["flow"]
    linear = record.read_arrays("linear")
    linear["singular"][0, -1, 1] = linear["singular"][0, -1, 0]
    assert (module(loaded).measured_ranks(linear) != linear["ranks"][:, None]).sum() == 1


STOPPED = [("critical_points", "circle", "census.npz"), ("flow", "linear_law", "oja.npz")]


@pytest.mark.parametrize(("name", "part", "kept"), STOPPED)
def test_an_interrupted_run_goes_on_where_it_stopped(name, part, kept, records, tmp_path, monkeypatch):
    loaded = experiment(name)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    config = loaded.config_type(**TINY[name])
    with monkeypatch.context() as patch:
        patch.setattr(module(loaded), part, interrupt)
        execute(loaded, config, Record.create(tmp_path, name, plain_config(config)))
    stopped = Record.load(tmp_path)
    assert stopped.status == "interrupted" and kept in stopped.files
    before = (tmp_path / kept).stat().st_mtime_ns
    draw(loaded, stopped)
    execute(loaded, config, Record.resume(tmp_path))
    assert (tmp_path / kept).stat().st_mtime_ns == before, "what was done is not done again"
    resumed = Record.load(tmp_path)
    assert resumed.status == "finished" and dict(resumed.metrics) == dict(records[name][1].metrics)


def test_a_solver_that_is_interrupted_is_repeated(tmp_path, monkeypatch, records):
    """`riemannian.run` reports Ctrl-C as a status; what it had so far must not pass for a result."""
    loaded = experiment("riemannian_solvers")
    config = loaded.config_type(**TINY["riemannian_solvers"])
    original, calls = riemannian.run, []

    def run_until_ctrl_c(*arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            options["callbacks"] = [interrupt]
        return original(*arguments, **options)

    def interrupt(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(riemannian, "run", run_until_ctrl_c)
        execute(loaded, config, Record.create(tmp_path, "riemannian_solvers", plain_config(config)))
    stopped = Record.load(tmp_path)
    assert stopped.status == "interrupted"
    assert [name for name in stopped.files if name.endswith(".npz")] == [
        "small_steepest_descent.npz",
        "small_conjugate_gradient.npz",
    ]
    assert [path.name for path in draw(loaded, stopped)] == ["small.png"]
    execute(loaded, config, Record.resume(tmp_path))
    assert dict(Record.load(tmp_path).metrics) == dict(records["riemannian_solvers"][1].metrics)


@pytest.mark.parametrize("name", TINY)
def test_the_same_seed_gives_the_same_record(name, records, tmp_path):
    again, other = (run(name, tmp_path / str(seed), seed=seed)[1] for seed in (0, 1))
    assert dict(again.metrics) == dict(records[name][1].metrics) != dict(other.metrics)


REFUSED = [
    *[(name, {"seed": -1}, "seed") for name in TINY],
    ("riemannian_solvers", {"rows": 2}, "eigenvalues"),
    ("critical_points", {"rows": 3, "eigenvalues": (4.0, 3.0, 2.0, 1.0)}, "eigenvalues"),
    *[(name, {"rows": 1}, "rows") for name in TINY],
    *[(name, {"eigenvalues": values}, "eigenvalues") for name in TINY for values in ((), (1.0, -1.0), (0.0,))],
    *[(name, {"eigenvalues": (1.0, float("nan"), 0.5)}, "eigenvalues") for name in TINY],
    *[(name, {"regularization": value}, "regularization") for name in TINY for value in (0.0, -1.0)],
    ("critical_points", {"n": 5}, "n must be less than rows = 5"),
    ("critical_points", {"starts": -1}, "starts"),
    ("critical_points", {"descents": -1}, "descents"),
    ("critical_points", {"landscape": (1.0, 1.0, 2.0)}, "landscape"),
    ("critical_points", {"network_width": -1}, "network_width"),
    ("critical_points", {"network_rows": 1}, "network_rows"),
    ("riemannian_solvers", {"small": 3}, "small"),
    ("riemannian_solvers", {"large": 2}, "large"),
    ("riemannian_solvers", {"large": 8}, "large"),
    ("riemannian_solvers", {"eigenvalues": (3.0, 2.0, 2.0)}, "eigenvalues must have a gap"),
    ("riemannian_solvers", {"eigenvalues": (3.0, 2.0, 0.0)}, "eigenvalues must be > 0"),
    ("riemannian_solvers", {"starts": 0}, "starts"),
    ("riemannian_solvers", {"tolerance": 0.0}, "tolerance"),
    ("riemannian_solvers", {"max_iterations": 0}, "max_iterations"),
    ("flow", {"n": 6}, "n must be less than rows = 6"),
    ("flow", {"eigenvalues": (2.0, 1.0, 1.0)}, "eigenvalues must have a gap"),
    ("flow", {"times": 1}, "times"),
    ("flow", {"tolerance": 1.0}, "tolerance"),
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, name, options, message):
    with pytest.raises(RefusedConfigError, match=message):
        run(name, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_toy_targets_have_the_eigenvalues():
    Y = toys.toy_targets((1.0, 4.0, 0.0, 1.0), 6, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.eigvalsh(Y @ Y.T), [0, 0, 0, 1, 1, 4], atol=1e-14)
