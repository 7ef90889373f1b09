"""The experiment heat_inverse, small, through the lab; its closed form, and that wrong statistics are noticed."""

import dataclasses
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.lab import Record, experiments
from grassvp.lab.running import draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("heat_inverse", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {"width": 32, "interior": 324, "boundary": 45, "measurements": 30, "draws": 8, "iterations": 60}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    config = LOADED.config_type(**TINY)
    directory = tmp_path_factory.mktemp("inverse")
    execute(LOADED, config, Record.create(directory, "heat_inverse", plain_config(config)))
    return Record.load(directory)


def test_estimates_are_efficient(record):
    metrics, fits = record.metrics, record.read_table("draws")
    assert record.status == "finished" and len(fits["kappa"]) == 8
    assert metrics["error_without_noise"] < 1e-5 and metrics["coverage_3_standard_errors"] == 1.0
    assert metrics["worst_distance_from_efficient"] < 0.05 and metrics["worst_standard_error_ratio"] < 0.05
    assert metrics["worst_distance_over_dominances"] > 0.05, "so narrow a network cannot be held to 1e5"
    low, high = 0.28, 1.87  # 7 degrees of freedom: roots of the 0.1% and 99.9% quantiles of chi^2 / 11
    assert low < metrics["scatter_over_standard_error"] < high
    np.testing.assert_allclose(fits["misfit"].mean(), 1.0, atol=4 * math.sqrt(2 / 29 / 8))


def test_random_features_are_worse_at_equal_width(record):
    metrics, scan = record.metrics, record.read_table("dominance")
    own = np.abs(scan["kappa"] - scan["efficient_kappa"]) / scan["efficient_standard_error"]
    assert metrics["random_features_distance_at_equal_width"] > 10 * own[3]
    assert record.read_table("random_features")["width"].tolist() == [32, 64, 128]


def test_an_equation_that_counts_little_is_not_efficient(record):
    scan = record.read_table("dominance")
    ratio = scan["standard_error"] / scan["efficient_standard_error"]
    assert scan["dominance"][0] == 1.0 and ratio[0] > 1.2 and abs(ratio[3] - 1.0) < 0.01


def test_the_closed_form_solves_the_equation():
    points, h, kappa = np.random.default_rng(0).uniform(0.1, 0.9, (20, 2)), 1e-4, 0.3
    u = lambda dt, dx: MODULE.closed_form(points + np.array([dt, dx]), kappa)  # noqa: E731
    by_time = (u(h, 0) - u(-h, 0)) / (2 * h)
    bent = (u(0, h) - 2 * u(0, 0) + u(0, -h)) / h**2
    np.testing.assert_allclose(by_time, kappa * bent, atol=1e-6)
    ends = MODULE.closed_form(np.array([[0.0, 0.25], [0.5, 1.0]]), kappa)
    np.testing.assert_allclose(ends, [math.sin(math.pi / 4), 0.0], atol=1e-15)


def test_the_efficient_estimate_has_the_error_of_the_information():
    config = LOADED.config_type()
    places = np.random.default_rng(1).uniform(0, 1, (50, 2))
    best, error = MODULE.efficient(config, places, MODULE.closed_form(places, config.kappa))
    slope = -(math.pi**2) * places[:, 0] * MODULE.closed_form(places, config.kappa)
    assert best == pytest.approx(config.kappa, rel=1e-9)
    assert error == pytest.approx(config.noise / math.sqrt(np.sum(slope**2)), rel=1e-6)


def test_figures_are_drawn(record):
    assert sorted(path.name for path in draw(LOADED, record)) == ["dependence.png", "estimates.png"]


# --- the verdict -----------------------------------------------------------------------------------------------------


def tables():
    """What estimates that are as they should be leave."""
    config = LOADED.config_type()
    scores = norm.ppf((np.arange(100) + 0.5) / 100)
    fits = {
        "kappa": config.kappa + 0.002 * scores,
        "standard_error": np.full(100, 0.002),
        "efficient_kappa": config.kappa + 0.002 * scores,
        "efficient_standard_error": np.full(100, 0.002),
        "misfit": np.ones(100),
        "seconds": np.ones(100),
    }
    dominance = np.array(MODULE.DOMINANCES)
    scan = {name: np.full(len(dominance), fits[name][0]) for name in fits} | {"dominance": dominance}
    return config, {"draws": fits, "dominance": scan, "random_features": {"distance": np.ones(3)}}


def verdict(config, stored, error=1e-9):
    record = SimpleNamespace(read_table=lambda name: stored[name])
    equation = SimpleNamespace(relative_l2_error=lambda solution: 1e-9)
    exact = SimpleNamespace(parameters=[config.kappa + error])
    return MODULE.summary(config, record, equation, exact)["passed"]


def test_estimates_that_are_as_they_should_be_pass():
    assert verdict(*tables()) is True


@pytest.mark.parametrize(
    ("table", "column", "change"),
    [
        ("draws", "standard_error", lambda s: 1.3 * s),
        ("draws", "standard_error", lambda s: 0.75 * s),
        ("draws", "kappa", lambda k: k + 1e-3),
        ("draws", "kappa", lambda k: k + 0.02),
        ("draws", "efficient_standard_error", lambda s: 1.1 * s),
        ("dominance", "kappa", lambda k: k + 1e-3 * np.arange(len(k))),
    ],
)
def test_wrong_estimates_fail(table, column, change):
    config, stored = tables()
    stored[table][column] = change(stored[table][column])
    assert verdict(config, stored) is False


def test_a_wrong_estimate_without_noise_fails():
    assert verdict(*tables(), error=2e-8) is False


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        *[({name: 0.0}, ArgumentError) for name in ("kappa", "start", "noise")],
        ({"noise": "much"}, ArgumentTypeError),
        *[({name: 1}, ArgumentError) for name in ("measurements", "draws", "draw_iterations")],
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        MODULE.check(dataclasses.replace(LOADED.config_type(), **changes))
