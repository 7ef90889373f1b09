"""The experiment rank_collapse through the lab, its closed forms against mpmath, and what must make it fail."""

import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp.errors import ArgumentError
from grassvp.lab import Record, experiments
from grassvp.lab.running import draw, execute, plain_config

ROOT = Path(__file__).parents[2]
LOADED = experiments.load("rank_collapse", ROOT / "experiments")
MODULE = sys.modules[LOADED.run.__module__]
TINY = {"rows": 12, "lams": (1e-2, 1e-5, 1e-8, 1e-14), "points": 17}
original_project = MODULE.project


def run(directory, **changes):
    config = LOADED.config_type(**(TINY | changes))
    execute(LOADED, config, Record.create(directory, "rank_collapse", plain_config(config)))
    return Record.load(directory)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return run(tmp_path_factory.mktemp("collapse"))


def by_mpmath(weights, eps, lam):
    """Value and gradient norm of [a, a + eps b] in the frame of a, b, c, by normal equations at 80 digits."""
    with mp.workdps(80):
        Phi = mp.matrix([[1, 1], [0, mpf(eps)], [0, 0]])
        y = mp.matrix([mpf(float(weight)) for weight in weights])
        C = mp.lu_solve(Phi.T * Phi + mpf(lam) * mp.eye(2), Phi.T * y)
        R = y - Phi * C
        square, size = mpmath.fdot(R, R), mpmath.fdot(C, C)
        return float((square + mpf(lam) * size) / 2), float(mp.sqrt(square * size))


@pytest.mark.parametrize(
    ("lam", "eps"),
    [(lam, eps) for lam in (1e-2, 1e-8, 1e-14) for eps in (1.0, 1e-3, 1e-7, 1e-9, 1e-12, 1e-16)]
    + [(0.0, eps) for eps in (1.0, 1e-3, 1e-7, 1e-9)],
)
def test_the_closed_forms_are_those_of_mpmath(lam, eps):
    weights = np.array([0.7, 1.3, 0.6])
    value, gradient = MODULE.closed_forms(weights, np.array([eps]), np.array([lam]))
    np.testing.assert_allclose([value[0], gradient[0]], by_mpmath(weights, eps, lam), rtol=1e-12)


def test_what_is_cut_off_at_lam_zero_is_the_limit_of_rank_one():
    weights = np.array([0.7, 1.3, 0.6])
    found = MODULE.closed_forms(weights, np.array([1e-12, 0.0]), np.array([0.0]))
    expected = [(1.3**2 + 0.6**2) / 2, np.hypot(1.3, 0.6) * 0.7 / np.sqrt(2)]
    np.testing.assert_allclose(np.array(found), np.array([expected, expected]).T, rtol=1e-14)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_it_passes(tmp_path, seed):
    record = run(tmp_path, seed=seed)
    metrics = record.metrics
    assert record.status == "finished" and metrics["passed"] is True and metrics["all_finite"]
    assert metrics["attained_share_of_bound"] == pytest.approx(1.0, abs=1e-6)
    assert abs(metrics["order_in_lam"] - 1.0) <= 0.01 and metrics["least_distance_somewhere"] >= 0.97
    assert metrics["largest_share_of_bound"] <= 1.0 and metrics["largest_share_of_bound_theta"] <= 1.0


def test_what_is_stored_is_what_the_figure_needs(record):
    path = record.read_arrays("path")
    assert path["values"].shape == (5, 18) and path["eps"][-1] == 0.0 and path["lams"][0] == 0.0
    jump = np.diff(path["values"][0]).max()
    assert jump == pytest.approx(float(path["jump"]), rel=1e-4), "all of the fall at once"
    smooth = np.diff(path["values"][1]).max()
    assert smooth < float(path["jump"])
    assert np.isfinite(record.read_arrays("network")["gradients"]).all()


def test_the_figure_is_drawn(record):
    assert [path.name for path in draw(LOADED, record)] == ["collapse.png"]


def without_ridge(matrix, targets, lam):
    return original_project(matrix, targets, 0.0)


def rounded(matrix, targets, lam):
    return original_project(matrix.float().double(), targets, lam)


def uncut(matrix, targets, lam):
    return original_project(matrix, targets, lam, 1e-16)


@pytest.mark.parametrize("spoiled", [without_ridge, rounded, uncut])
def test_a_wrong_linear_solve_is_noticed(tmp_path, monkeypatch, spoiled):
    monkeypatch.setattr(MODULE, "project", spoiled)
    try:
        assert run(tmp_path).metrics["passed"] is False
    except RuntimeError:  # nothing finite to judge by
        assert spoiled is uncut


def test_a_uniform_limit_would_be_noticed(record):
    path = record.read_arrays("path")
    kept, even = path["eps"] > 4.0 * path["cut"], dict(path)
    even["values"] = path["values"][:1] + np.append(0.0, np.sqrt(path["lams"][1:]))[:, None]
    found = MODULE.limits(even, kept)
    assert found["least_distance_somewhere"] < 0.5 and abs(found["order_in_lam"] - 0.5) < 0.01


def test_a_smaller_bound_is_exceeded(tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "BOUND", 0.98 * MODULE.BOUND)
    assert run(tmp_path).metrics["passed"] is False


@pytest.mark.parametrize(
    "changes",
    [
        *({"rows": 3}, {"lams": ()}, {"lams": (0.0,)}, {"lams": (-1.0,)}),
        *({"smallest": 0.0}, {"smallest": 2.0}, {"points": 1}, {"seed": -1}),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused(changes):
    with pytest.raises(ArgumentError, match=next(iter(changes))):
        MODULE.check(LOADED.config_type(**changes))


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(Exception, match="NaN or infinite"):
        original_project(torch.full((4, 2), torch.nan, dtype=torch.float64), torch.ones(4, 1, dtype=torch.float64), 1.0)
