"""The parts of the checks: numerical derivatives with their uncertainty, slopes, reports."""

import dataclasses
import math

import matplotlib.figure
import numpy as np
import pymanopt.manifolds as pm
import pytest

from manifolds import Grassmann
from manifolds.checking.differences import noise_level, remainder_slope, sample_along
from manifolds.checking.sampling import random_unitary
from manifolds.checks import Check, CheckReport, check_manifold, check_retraction

EPS = 2.0**-52

CURVES = {
    "exp": (math.exp, 1.0, 1.0),
    "fast": (lambda t: math.sin(40 * t) + math.cos(30 * t), 40.0, -900.0),
    "tiny": (lambda t: 1e-12 * math.exp(2 * t), 2e-12, 4e-12),
    "offset": (lambda t: 1e6 + math.sinh(t + 0.3), math.cosh(0.3), math.sinh(0.3)),
    "pole nearby": (lambda t: 1 / (0.3 + t), -1 / 0.09, 2 / 0.027),
    "single precision": (lambda t: float(np.float32(np.exp(np.float32(1.0 + t)))), math.e, math.e),
    "constant": (lambda t: 3.0, 0.0, 0.0),
}


@pytest.mark.parametrize("name", CURVES)
def test_derivatives_are_within_their_uncertainty(name):
    function, first, second = CURVES[name]
    samples = sample_along(function, EPS)
    for estimate, exact in ((samples.first(), first), (samples.second(), second)):
        assert abs(estimate.value - exact) <= 4 * estimate.uncertainty
    if name in ("exp", "fast", "tiny", "pole nearby"):
        assert samples.first().uncertainty < 1e-9 * abs(first)
        assert samples.second().uncertainty < 1e-6 * abs(second)


def test_noise_is_measured():
    rng = np.random.default_rng(0)
    noisy = [noise_level(lambda t: math.exp(t) + 1e-8 * rng.standard_normal(), 1e-6) for _ in range(20)]
    assert 0.5e-8 < np.median(noisy) < 2e-8
    assert noise_level(math.exp, 1e-6) < 1e-15


def test_steps_shrink_into_the_domain():
    samples = sample_along(lambda t: math.sqrt(1e-3 - t), EPS)
    assert samples.steps[0] < 1e-3
    assert abs(samples.first().value + 0.5 / math.sqrt(1e-3)) < 1e-6
    with pytest.raises(ValueError, match="math domain"):
        sample_along(lambda t: math.sqrt(t) if t else 0.0, EPS)


def test_slopes():
    t = 0.25 * 0.5 ** np.arange(20)
    assert remainder_slope(t, 3 * t**2, np.full(20, 1e-15)) == pytest.approx(2)
    assert remainder_slope(t, t**2 + 1e-2 * t, np.full(20, 1e-15)) == pytest.approx(1, abs=0.05)
    assert remainder_slope(t, t**3 + 1e-16, np.full(20, 1e-15)) == pytest.approx(3, abs=0.05)
    assert remainder_slope(t, np.full(20, 1e-16), np.full(20, 1e-15)) == math.inf


@pytest.mark.parametrize("entries", [False, True])
def test_random_unitary_matrices(entries):
    Q = random_unitary((3, 4, 4), np.random.default_rng(0), complex_entries=entries)
    assert np.allclose(Q.conj().swapaxes(-1, -2) @ Q, np.eye(4))
    assert np.iscomplexobj(Q) is entries


def report_with(*passed):
    checks = (
        Check("small", "a = b", 1e-9, 1e-6, passed[0], meaning="They differ."),
        Check("slope", "e = O(t^2)", 1.0, 1.7, passed[1], ">=", "It is steeper.", np.ones(3), np.ones(3)),
    )
    return CheckReport("example", checks)


def test_a_report_is_a_table():
    report = report_with(True, False)
    assert not report.passed and not report
    assert [check.name for check in report.failures] == ["slope"]
    lines = str(report).splitlines()
    assert lines[0] == "example: 1 of 2 checks passed"
    assert "1.0e-09 <= 1.0e-06" in lines[1] and lines[1].endswith("ok")
    assert "1.00 >= 1.70" in lines[2] and lines[2].endswith("FAILED")
    assert lines[3].strip() == "e = O(t^2). It is steeper."
    assert report_with(True, True).passed
    assert not CheckReport("empty", ()).passed
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.name = "other"


def test_nothing_is_printed_and_the_table_is_plain(capsys):
    report = check_manifold(Grassmann(4, 2), rng=0)
    assert capsys.readouterr() == ("", "")
    assert str(report).isascii() and len(str(report).splitlines()) == len(report.checks) + 1


def test_a_report_draws_on_the_axes_it_is_given():
    figure = matplotlib.figure.Figure()
    axes = figure.subplots()
    check_retraction(pm.Stiefel(5, 2), rng=0).plot(axes)
    assert len(axes.lines) == 2 and axes.get_xscale() == axes.get_yscale() == "log"
    assert "slope 2.00" in axes.get_legend().get_texts()[0].get_text()
    empty = figure.add_subplot()
    CheckReport("empty", ()).plot(empty)
    assert not empty.lines
