"""The experiments heat and regression, small, through the lab; and that the heat equation is in the rows."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import jacfwd, jacrev, vmap

from grassvp import SeparableProblem, Status, features
from grassvp.lab import Record, equations, experiments
from grassvp.lab.cli import main
from grassvp.lab.running import RefusedConfigError, draw, execute, plain_config

ROOT = Path(__file__).parents[2]
HEAT = {
    "width": 12,
    "interior": 100,
    "boundary": 30,
    "sampling": "grid",
    "max_iterations": 20,
    "baseline_seconds": 0.3,
    "free_width": False,
}
REGRESSION = {"width": 8, "rows": 100, "max_iterations": 20}
TINY = {"heat": HEAT, "regression": REGRESSION}


def experiment(name):
    return experiments.load(name, ROOT / "experiments")


def part(name, attribute):
    """A function of an experiment's file."""
    return getattr(sys.modules[experiment(name).run.__module__], attribute)


def run(name, directory, **changes):
    """The stored record of a small run, read back from its directory."""
    loaded = experiment(name)
    config = loaded.config_type(**(TINY[name] | changes))
    execute(loaded, config, Record.create(directory, name, plain_config(config)))
    return loaded, Record.load(directory)


@pytest.fixture(scope="module")
def heat(tmp_path_factory):
    return run("heat", tmp_path_factory.mktemp("heat"))


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    return run("regression", tmp_path_factory.mktemp("regression"))


def test_both_are_found_and_described():
    files = experiments.available(ROOT / "experiments")
    assert {"heat", "regression"} <= set(files)
    for name in TINY:
        loaded, config = experiment(name), experiment(name).config_type()
        assert len(experiments.summary(files[name])) > 20 and loaded.description
        assert dataclasses.is_dataclass(config) and config.seed == 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            config.seed = 1


def test_heat_metrics(heat):
    _, record = heat
    metrics = record.metrics
    assert record.status in {status.name.lower() for status in Status} and record.counts["varpro_evaluations"] > 20
    assert metrics["iterations"] == 20 and record.status == "max_iterations" and metrics["rank"] == 13
    assert 0 < metrics["relative_l2_error"] < 0.1 * metrics["random_features_relative_l2_error"]
    assert metrics["value"] < metrics["random_features_value"]
    for name in ("joint_adam", "joint_lbfgs"):
        assert metrics["relative_l2_error"] < metrics[f"{name}_relative_l2_error"] < 10
        assert record.solutions[name]["iterations"] > 0
    history = record.read_table("varpro")
    assert metrics["distance_moved"] == pytest.approx(history["distance"].sum(), rel=1e-6)
    assert history["value"][0] >= metrics["random_features_value"] * (1 - 1e-9), "no start is better than the best draw"
    assert history["value"][-1] == pytest.approx(metrics["value"], rel=1e-6) and len(history["value"]) == 21


def test_heat_field_is_the_solution_on_a_grid(heat):
    _, record = heat
    field = record.read_arrays("field")
    t, x = np.meshgrid(field["first"], field["second"], indexing="ij")
    truth = np.exp(-(np.pi**2) * t / 4) * np.sin(np.pi * x)
    np.testing.assert_allclose(field["exact"], truth, atol=1e-14)
    error = np.linalg.norm(field["solution"] - truth) / np.linalg.norm(truth)
    assert record.metrics["relative_l2_error"] == pytest.approx(error, rel=1e-9)
    assert record.metrics["max_error"] == pytest.approx(np.abs(field["solution"] - truth).max(), rel=1e-9)
    stored = record.read_arrays("varpro")
    W, b = stored["parameters"][:24].reshape(12, 2), stored["parameters"][24:]
    hidden = np.tanh(np.stack([t, x], -1) @ W.T + b)
    fitted = hidden @ stored["coefficients"][:12, 0] + stored["coefficients"][12, 0]
    np.testing.assert_allclose(fitted, field["solution"], atol=1e-9 * np.abs(stored["coefficients"]).max())


def test_heat_trajectory_ends_where_the_solve_does(heat):
    _, record = heat
    trajectory = record.read_table("trajectory")
    assert trajectory["iteration"][0] == 0 and trajectory["iteration"][-1] == record.metrics["iterations"]
    assert (np.diff(trajectory["iteration"]) > 0).all()
    first, last = trajectory["relative_l2_error"][[0, -1]]
    assert last == pytest.approx(record.metrics["relative_l2_error"], rel=1e-3) and first > 10 * last
    assert trajectory["distance_to_end"][0] > 0.01 > 1e-6 > trajectory["distance_to_end"][-1]


@pytest.mark.parametrize("activation", ["tanh", "sin"])
def test_heat_rows_are_the_equation_and_its_conditions(activation):
    """Features, targets and weights against nested automatic differentiation of the network and of the exact field."""
    network = features.mlp(2, (12,), activation=activation, seed=3)
    problem = equations.heat().collocate(network, interior=100, boundary=30)
    points, theta = problem.inputs[:, :2], problem.initial_parameters
    t, x = points.T
    condition = (t == 0) | (x == 0) | (x == 1)
    assert isinstance(problem, SeparableProblem) and (int((~condition).sum()), len(points)) == (100, 130)
    assert [int(rows.sum()) for rows in (t == 0, x == 0, x == 1)] == [12, 11, 11], "ten a side, two corners shared"
    assert isinstance(problem.weights, torch.Tensor)
    assert bool(((points >= 0) & (points <= 1)).all())
    sigma = getattr(torch, activation)

    def neurons(point):
        return sigma(theta[:24].view(12, 2) @ point + theta[24:])

    def exact(point):
        return torch.exp(-(torch.pi**2) * point[0] / 4)[None] * torch.sin(torch.pi * point[1])

    for function, found in ((neurons, problem.features(theta, problem.inputs)[:, :12]), (exact, problem.targets)):
        value, first, second = (vmap(f)(points) for f in (function, jacfwd(function), jacfwd(jacrev(function))))
        equation = first[:, :, 0] - 0.25 * second[:, :, 1, 1]
        expected = torch.where(condition[:, None], value, equation)
        np.testing.assert_allclose(found, expected, atol=1e-12)
    constant = problem.features(theta, problem.inputs)[:, 12]
    np.testing.assert_array_equal(constant, condition.double())
    half_wave = torch.pi  # of u, in this box; the equation's rows are of the size of u_t and u_xx / 4 of it
    size = np.hypot(half_wave, 0.25 * half_wave**2)
    balanced = np.where(condition, np.sqrt(130 / 10), np.sqrt(130 / 100) / size)
    np.testing.assert_allclose(problem.weights, balanced, rtol=1e-12)


def test_heat_without_baselines_and_at_free_width(tmp_path):
    loaded, record = run("heat", tmp_path, baseline_seconds=0.0, max_iterations=3, free_width=True)
    assert not any(name.startswith("joint") for name in record.metrics)
    assert record.metrics["free_width_relative_l2_error"] < 1e-12 and record.metrics["free_width"] > 200
    assert [path.name for path in draw(loaded, record)] == ["convergence.png", "solution.png"]


@pytest.mark.parametrize("name", TINY)
def test_figures_are_drawn_from_the_record_alone(name, request):
    loaded, record = request.getfixturevalue(name)
    files = draw(loaded, record)
    assert {path.name for path in files} == {"heat": {"solution.png", "convergence.png"}, "regression": {"fit.png"}}[
        name
    ]
    for path in files:
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


def test_regression_metrics(regression):
    _, record = regression
    metrics, fit = record.metrics, record.read_arrays("fit")
    x = fit["inputs"][:, 0]
    np.testing.assert_allclose(fit["targets"], np.sin(2 * np.pi * x) + 0.5 * np.cos(4 * np.pi * x), atol=1e-14)
    training = np.linspace(0.0, 1.0, 100)
    assert np.abs(x[:, None] - training).min() > 0.004, "errors are measured between the training points"
    for key, name in (("varpro", "relative_l2_error"), ("random", "random_features_relative_l2_error")):
        error = np.linalg.norm(fit[key] - fit["targets"]) / np.linalg.norm(fit["targets"])
        assert metrics[name] == pytest.approx(error, rel=1e-9)
    assert metrics["relative_l2_error"] < metrics["random_features_relative_l2_error"] < 1
    assert metrics["iterations"] == 20 and metrics["training_relative_l2_error"] < 0.1


TARGETS = {
    # left end of the interval, and the function at some points of it
    "smooth": (0.0, {0.25: 0.5, 0.5: 0.5, 0.75: -1.5}),
    "runge": (-1.0, {0.0: 1.0, 0.2: 0.5, -1.0: 1 / 26}),
    "step": (0.0, {0.47: 0.0, 0.0: -1.0, 0.48: np.tanh(1.0)}),
    "three": (0.0, {0.25: 1.7, 0.75: -1.7, 0.5: 0.0}),
}


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_of_regression_is_fitted(target, tmp_path):
    left, values = TARGETS[target]
    found, function = part("regression", "TARGETS")[target]
    assert found == left
    for point, value in values.items():
        assert function(np.float64(point)) == pytest.approx(value, abs=1e-12)
    loaded, record = run("regression", tmp_path, target=target, width=10)
    fit, metrics = record.read_arrays("fit"), record.metrics
    grid = np.linspace(left, 1.0, 100)
    np.testing.assert_allclose(fit["inputs"][:, 0], (grid[1:] + grid[:-1]) / 2, atol=1e-15)
    np.testing.assert_array_equal(fit["targets"], function(fit["inputs"][:, 0]))
    error = np.linalg.norm(fit["varpro"] - fit["targets"]) / np.linalg.norm(fit["targets"])
    assert metrics["relative_l2_error"] == pytest.approx(error, rel=1e-9)
    assert metrics["training_relative_l2_error"] < 0.8 * metrics["random_features_relative_l2_error"]
    assert record.config["target"] == target
    assert left == 0.0 or [path.name for path in draw(loaded, record)] == ["fit.png"], "left of zero too"


@pytest.mark.parametrize("name", TINY)
def test_the_same_seed_gives_the_same_record(name, tmp_path):
    options = {"max_iterations": 4} | ({"baseline_seconds": 0.0} if name == "heat" else {})
    first, second, other = (run(name, tmp_path / str(i), seed=seed, **options)[1] for i, seed in enumerate((3, 3, 4)))
    first, second, other = (
        {key: value for key, value in record.metrics.items() if "seconds" not in key}
        for record in (first, second, other)
    )
    assert first == second != other


def write_csv(path, columns, rows=60):
    """Points of 2 + a - 3 b (or 2 + a), with a header."""
    table = np.random.default_rng(0).uniform(-1, 1, (rows, columns))
    y = 2 + table[:, 0] - 3 * (table[:, 1] if columns > 1 else 0)
    names = ",".join([f"x{i}" for i in range(columns)] + ["y"])
    np.savetxt(path, np.column_stack([table, y]), delimiter=",", header=names, comments="")
    return np.column_stack([table, y])


@pytest.mark.parametrize("columns", [1, 2])
def test_regression_on_a_csv_file(tmp_path, columns):
    table = write_csv(tmp_path / "points.csv", columns)
    loaded, record = run("regression", tmp_path / "out", data=str(tmp_path / "points.csv"), regularization=1e-14)
    fit = record.read_arrays("fit")
    np.testing.assert_allclose(fit["inputs"], table[4::5, :-1])
    np.testing.assert_allclose(fit["targets"], table[4::5, -1])
    assert record.metrics["relative_l2_error"] < 1e-3
    assert [path.name for path in draw(loaded, record)] == ["fit.png"]


FILES = {
    "text.csv": "x,y\n" + "a,b\n" * 6,
    "short.csv": "x,y\n1,2\n3,4\n",
    "column.csv": "y\n" + "1\n" * 9,
    "gap.csv": "x,y\n" + "1,nan\n" * 9,
}
REFUSED = [
    ("heat", {"width": 0}, "width"),
    ("heat", {"activation": "cosh"}, "activation.*cosh"),
    ("heat", {"interior": 0}, "interior"),
    ("heat", {"boundary": 2}, "boundary"),
    ("heat", {"sampling": "even"}, "sampling"),
    ("heat", {"diffusivity": 0.0}, "diffusivity"),
    ("heat", {"max_seconds": 0.0}, "max_seconds"),
    ("heat", {"max_iterations": -1}, "max_iterations"),
    ("heat", {"seed": -1}, "seed"),
    ("heat", {"baseline_seconds": -1.0}, "baseline_seconds"),
    ("regression", {"width": 0}, "width"),
    ("regression", {"rows": 1}, "rows"),
    ("regression", {"target": "sharp"}, "target must be one of 'smooth', 'runge', 'step', 'three', got 'sharp'"),
    ("regression", {"target": ""}, "target"),
    ("regression", {"regularization": -1.0}, "regularization"),
    ("regression", {"max_iterations": -1}, "max_iterations"),
    ("regression", {"activation": ""}, "activation"),
    ("regression", {"seed": -1}, "seed"),
    ("regression", {"data": "nowhere.csv"}, "data: there is no file 'nowhere.csv'"),
    *[("regression", {"data": name}, "data|targets") for name in FILES],
]


@pytest.mark.parametrize(("name", "options", "message"), REFUSED, ids=str)
def test_bad_options_are_named_and_nothing_is_written(tmp_path, monkeypatch, name, options, message):
    monkeypatch.chdir(tmp_path)
    for file, text in FILES.items():
        Path(file).write_text(text)
    with pytest.raises(RefusedConfigError, match=message):
        run(name, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_one_object(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = [f"--{key.replace('_', '-')}={value}" for key, value in HEAT.items() if key != "free_width"]
    assert (
        main(
            [
                "run",
                "heat",
                *words,
                "--no-free-width",
                "--baseline-seconds=0",
                f"--out={tmp_path}",
                "--no-figures",
                "--json",
            ]
        )
        == 0
    )
    out, _ = capfd.readouterr()
    result = json.loads(out, parse_constant=pytest.fail)
    assert set(result) == {"experiment", "config", "status", "metrics", "seconds", "directory"}
    assert {"relative_l2_error", "random_features_relative_l2_error", "iterations"} <= set(result["metrics"])
    assert result["config"]["width"] == 12 and (tmp_path / "varpro.csv").is_file()
