"""The experiment allen_cahn, small, through the lab; its reference against finite differences in space."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from grassvp.errors import ArgumentError
from grassvp.lab import Record, experiments
from grassvp.lab.running import draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("allen_cahn", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {
    **{"diffusivity": 0.01, "width": 40, "free_width": 80, "slabs": 3, "iterations": 30, "modes": 80},
    **{"interior": 300, "boundary": 90, "bar": 5e-2},
}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    config = LOADED.config_type(**TINY)
    directory = tmp_path_factory.mktemp("allen_cahn")
    execute(LOADED, config, Record.create(directory, "allen_cahn", plain_config(config)))
    return Record.load(directory)


def test_variable_projection_is_ahead_of_random_features(record):
    metrics = record.metrics
    assert record.status == "finished" and metrics["passed"] is True
    assert metrics["relative_l2_error"] < 0.3 * metrics["random_features_equal_relative_l2_error"]
    assert metrics["reference_difference"] < 1e-6
    assert len(record.read_table("varpro")["time"]) == MODULE.FINE[0]
    draw(LOADED, record)
    assert {"solution.png", "error.png"} <= {path.name for path in Path(record.directory).rglob("*.png")}


def test_the_reference_is_the_limit_of_finite_differences():
    """Second-order differences, extrapolated from two grids."""
    D, found = 0.02, []
    for count in (200, 400):
        x = np.linspace(-1, 1, count + 1)
        h = x[1] - x[0]

        def rate(t, u, h=h):
            whole = np.concatenate([[-1.0], u, [-1.0]])
            return D * (whole[2:] - 2 * u + whole[:-2]) / h**2 + 5 * (u - u**3)

        start = (x**2 * np.cos(np.pi * x))[1:-1]
        end = solve_ivp(rate, (0, 1), start, "LSODA", rtol=1e-9, atol=1e-10, lband=1, uband=1).y[:, -1]
        found.append(np.concatenate([[-1.0], end, [-1.0]])[:: count // 200])
    extrapolated = (4 * found[1] - found[0]) / 3
    np.testing.assert_allclose(MODULE.reference(D, 60)[-1][::2], extrapolated, atol=2e-6)


def test_the_reference_keeps_the_conditions():
    u = MODULE.reference(0.01, 60)
    x = np.linspace(-1, 1, MODULE.FINE[1])
    np.testing.assert_allclose(u[0], x**2 * np.cos(np.pi * x), atol=1e-10)
    np.testing.assert_allclose(u[:, [0, -1]], -1.0, atol=1e-12)
    np.testing.assert_allclose(u, u[:, ::-1], atol=1e-10)


def test_the_matrix_of_chebyshev_differentiates():
    x, D = MODULE.chebyshev(12)
    np.testing.assert_allclose(D @ x**5, 5 * x**4, atol=1e-11)


def test_points_are_in_the_box_and_gather_at_the_layers():
    points = MODULE.gathered(500, 0.02, np.random.default_rng(0)).numpy()
    assert points.shape == (500, 2) and (np.abs(points[:, 1]) <= 1).all()
    assert (np.abs(np.abs(points[:, 1]) - 0.5) < 0.1).mean() > 0.25


@pytest.mark.parametrize("option", [{"diffusivity": 0.0}, {"free_width": -1}, {"modes": 4}])
def test_options_are_checked(option):
    with pytest.raises(ArgumentError, match=next(iter(option))):
        LOADED.config_type(**option)
