"""The experiment burgers, small, through the lab; its closed form against mpmath and the equation itself."""

import dataclasses
import math
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest

from grassvp.errors import ArgumentError
from grassvp.lab import Record, experiments, slab_runs
from grassvp.lab.running import draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("burgers", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {
    **{"width": 24, "free_width": 60, "slabs": 4, "iterations": 30},
    **{"interior": 300, "boundary": 90, "bar": 1e-2, "nu": 0.1},
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    config = LOADED.config_type(**TINY)
    directory = tmp_path_factory.mktemp("burgers")
    execute(LOADED, config, Record.create(directory, "burgers", plain_config(config)))
    return Record.load(directory)


def test_variable_projection_is_ahead_of_random_features(record):
    metrics = record.metrics
    assert record.status == "finished" and metrics["passed"] is True
    assert metrics["relative_l2_error"] < 1e-3
    assert metrics["relative_l2_error"] < 0.1 * metrics["random_features_equal_relative_l2_error"]
    field = record.read_arrays("field")
    np.testing.assert_allclose(
        slab_runs.relative(field["solution"], field["exact"]), metrics["relative_l2_error"], rtol=1e-12
    )
    table = record.read_table("varpro")
    assert table["time"][-1] == 1.0 and len(table["time"]) == MODULE.FINE[0]
    assert (
        table["relative_l2_error"].max() < 0.1 * record.read_table("random_features_equal")["relative_l2_error"].max()
    )
    newton = record.read_table("newton")
    assert newton["change"][0] > 0.1 and newton["residual"][-1] < 0.1 * newton["residual"][0]


def test_figures_are_drawn_from_the_record(record):
    draw(LOADED, record)
    assert {"solution.png", "convergence.png"} <= {path.name for path in Path(record.directory).rglob("*.png")}


@pytest.mark.parametrize("nu", [0.1 / math.pi, 0.01])
def test_the_exact_solution_is_that_of_cole_and_hopf(nu):
    rng = np.random.default_rng(0)
    t, x = rng.uniform(0.05, 1, 4), np.array([0.003, -0.05, 0.4, -0.9])

    def by_mpmath(time, place):
        with mpmath.workdps(30):
            f = lambda y: mpmath.exp(-mpmath.cos(mpmath.pi * y) / (2 * mpmath.pi * nu))  # noqa: E731
            kernel = lambda e: f(place - e) * mpmath.exp(-(e**2) / (4 * nu * time))  # noqa: E731
            ends = [mpmath.mpf(k) / 4 * mpmath.sqrt(4 * nu * time) * 10 for k in range(-4, 5)]
            above = mpmath.quad(lambda e: mpmath.sin(mpmath.pi * (place - e)) * kernel(e), ends)
            return float(-above / mpmath.quad(kernel, ends))

    wanted = [by_mpmath(float(time), float(place)) for time, place in zip(t, x, strict=True)]
    np.testing.assert_allclose(MODULE.exact(t, x, nu), wanted, rtol=1e-11, atol=1e-13)


def test_the_exact_solution_solves_the_equation():
    nu, h = 0.1 / math.pi, 1e-4
    t, x = np.random.default_rng(1).uniform(0.1, 0.9, (2, 30))
    u = lambda dt, dx: MODULE.exact(t + dt, x + dx, nu)  # noqa: E731
    by_t, by_x = (u(h, 0) - u(-h, 0)) / (2 * h), (u(0, h) - u(0, -h)) / (2 * h)
    bent = (u(0, h) - 2 * u(0, 0) + u(0, -h)) / h**2
    np.testing.assert_allclose(by_t + u(0, 0) * by_x, nu * bent, atol=1e-5)
    np.testing.assert_allclose(
        MODULE.exact(np.zeros(9), np.linspace(-1, 1, 9), nu), -np.sin(np.pi * np.linspace(-1, 1, 9))
    )
    np.testing.assert_allclose(MODULE.exact(np.full(2, 0.7), np.array([-1.0, 1.0]), nu), 0.0, atol=1e-14)


def test_points_and_neurons_gather_where_the_layer_is():
    points = MODULE.gathered(1000, 0.1, np.random.default_rng(0)).numpy()
    assert points.shape == (1000, 2) and (np.abs(points[:, 1]) < 0.1).mean() > 0.15
    assert (points[:, 0] >= 0).all() and (points <= 1).all() and (points[:, 1] >= -1).all()
    by_t, by_x, shift = split(MODULE.layered(400, 0.2, 0.4, 0.01, np.random.default_rng(0)))
    places = -(shift + by_t * 0.3) / by_x
    assert (np.abs(places) < 0.1).mean() > 0.25 and (np.abs(places) < 1.2).all()
    assert np.abs(by_x).max() <= 50 and np.median(np.abs(by_x[np.abs(places) < 0.05])) > 10


def split(theta):
    """Weights by t and x, and shifts, (neurons,) each."""
    weights, shifts = theta[: 2 * len(theta) // 3].reshape(-1, 2).T, theta[2 * len(theta) // 3 :]
    return *weights, shifts


@pytest.mark.parametrize(
    "option",
    [
        *({"nu": 0.0}, {"nu": 2.0}, {"free_width": -1}, {"iterations": -1}),
        *({name: 0} for name in ("width", "slabs", "candidates", "interior", "boundary")),
    ],
)
def test_options_are_checked(option):
    with pytest.raises(ArgumentError, match=next(iter(option))):
        LOADED.config_type(**option)


def test_an_error_over_the_bar_does_not_pass(record, tmp_path):
    config = dataclasses.replace(LOADED.config_type(**TINY), bar=1e-14, iterations=1, slabs=1, free_width=0)
    execute(LOADED, config, Record.create(tmp_path, "burgers", plain_config(config)))
    assert Record.load(tmp_path).metrics["passed"] is False
