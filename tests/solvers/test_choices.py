"""Which linear algebra is taken, why it says so, and that little memory changes the way and not the answer."""

import numpy as np
import pytest
import torch

from grassvp import (
    FirstOrder,
    GaussNewton,
    GradientFlow,
    LevenbergMarquardt,
    NaturalGradient,
    ReducedProblem,
    SeparableProblem,
    TrustRegion,
    solve,
)
from grassvp.features import from_function, mlp
from grassvp.solvers import descents, linear_algebra, methods
from grassvp.solvers.choices import COPIES, NARROW, LinearAlgebra, formed_or_not
from tests.solvers.problems import decays, double_exponential, wave

LEAST = 2**20


@pytest.mark.parametrize(
    ("rows", "columns", "bytes_short", "name", "reason"),
    [
        (1000, 10, 0, "dense", "no more parameters than residuals"),
        (10, 10, 0, "dense", "no more parameters than residuals"),
        (10, 11, 0, "dual", "more parameters than residuals"),
        (1000, 10, 1, "dense", "in row blocks"),
        (10, 11, 1, "matrix-free", "products alone"),
        (10, 10, 1, "matrix-free", "products alone"),
        (10**6, NARROW, 1, "dense", "in row blocks"),
        (10**6, NARROW + 1, 1, "matrix-free", "products alone"),
    ],
)
@pytest.mark.parametrize("itemsize", [4, 8])
def test_thresholds(rows, columns, bytes_short, name, reason, itemsize):
    """A limit of exactly what the copies of the Jacobian take is enough; one byte less is not."""
    choice = linear_algebra(rows, columns, itemsize, COPIES * rows * columns * itemsize - bytes_short)
    assert choice.name == name and reason in choice.reason and f"{rows} x {columns} Jacobian" in choice.reason
    assert ("memory limit" in choice.reason) == bool(bytes_short)


def test_row_blocks_need_room_for_the_triangle():
    assert linear_algebra(10**6, 100, 8, COPIES * 100**2 * 8).name == "dense"
    assert linear_algebra(10**6, 100, 8, COPIES * 100**2 * 8 - 1).name == "matrix-free"


@pytest.mark.parametrize(
    ("size", "text"), [(100, "100 B"), (2048, "2 KiB"), (3 * 2**20, "3 MiB"), (2**31, "2 GiB"), (2**45, "GiB")]
)
def test_sizes_are_said_in_units(size, text):
    assert f"memory limit of {text}" in linear_algebra(10, 10**12, 8, size).reason or text == "GiB"
    assert text in linear_algebra(10, 10**12, 8, size).reason


@pytest.mark.parametrize(
    ("entries", "columns", "bytes_short", "name"),
    [
        (5000, 10, 0, "dense"),
        (5000, 10, 1, "matrix-free"),
        (1, 100, 0, "dense"),
        (1, 100, 1, "matrix-free"),
        (1, NARROW, 0, "dense"),
        (1, NARROW + 1, 0, "matrix-free"),
    ],
)
def test_formed_or_not(entries, columns, bytes_short, name):
    choice = formed_or_not("metric", entries, columns, 8, COPIES * max(entries, columns**2) * 8 - bytes_short)
    assert choice.name == name and choice.reason.startswith("metric ") and f"{columns} parameters" in choice.reason
    assert isinstance(choice, LinearAlgebra)


CHOICES = {
    "LM": (LevenbergMarquardt(), "dense: QR of the stacked system: 67 x 12 Jacobian"),
    "GN": (GaussNewton(), "dense: QR of the stacked system: 67 x 12 Jacobian"),
    "TR": (TrustRegion(), "dense: QR of the stacked system: 67 x 12 Jacobian"),
    "TR exact": (TrustRegion("exact"), "dense: Hessian formed and factored"),
    "TR corrected": (TrustRegion("corrected"), "dense: Hessian formed and factored"),
    "NG": (NaturalGradient(), "dense: metric formed and factored"),
    "given": (LevenbergMarquardt(linear_algebra="dual"), "as given"),
    "first order": (FirstOrder(), "as given"),
    "flow": (GradientFlow(), "as given"),
}


@pytest.mark.parametrize(("method", "text"), CHOICES.values(), ids=CHOICES)
def test_a_solution_says_what_was_chosen(method, text):
    solution = solve(wave(regularization=1e-8), method, seed=0, max_iterations=1)
    assert solution.choice.startswith(text)
    if "linear_algebra" in vars(method) and method.linear_algebra == "auto":
        assert solution.method.linear_algebra == solution.choice.split(":")[0]
    else:
        assert solution.method == method


def test_more_parameters_than_residuals():
    few = solve(wave(60, rows=30), seed=0, starts=1, max_iterations=1)
    assert few.choice.startswith("dual: QR of the transposed system: 30 x 120 Jacobian")
    wide = solve(wave(500, rows=100, memory_limit=LEAST), seed=0, starts=1, max_iterations=1)
    assert wide.choice.startswith("matrix-free: Golub-Kahan") and "1 MiB" in wide.choice


def test_a_start_that_is_not_finite_decides_nothing():
    features = from_function(lambda p, x: torch.exp(p[0] * x)[:, None], [1e4])
    solution = solve(SeparableProblem(features, np.arange(1.0, 5.0), np.ones(4)))
    assert solution.choice == "none: the start is not finite"


def test_more_outputs_than_features_count_as_many_as_there_are_features():
    """n columns of residuals: 50 x 2 rows instead of 50 x 7, and 2 x 7 more for the exact Jacobian."""
    x = np.linspace(0.0, 2.0, 50)
    problem = SeparableProblem(from_function(decays, [0.5, 2.0]), x, np.ones((50, 7)))
    assert "114 x 2 Jacobian" in solve(problem, max_iterations=1).choice
    assert "100 x 2 Jacobian" in solve(problem, LevenbergMarquardt("kaufman"), max_iterations=1).choice


def many_rows(**options):
    """The noisy decays with so many rows that their Jacobian of two columns takes 1.4 MiB with copies."""
    rng, x = np.random.default_rng(0), np.linspace(0.0, 4.0, 30_000)
    y = 2 * np.exp(-0.5 * x) + 3 * np.exp(-2.0 * x) + 0.05 * rng.standard_normal(x.size)
    return SeparableProblem(from_function(decays, [0.3, 3.0]), x, y, **options)


LITTLE = {
    "LM": (LevenbergMarquardt(), "dense: QR of the stacked system in row blocks"),
    "GN": (GaussNewton(), "dense: QR of the stacked system in row blocks"),
    "TR": (TrustRegion(), "dense: QR of the stacked system in row blocks"),
    "TR exact": (TrustRegion("exact"), "matrix-free: Hessian multiplied with"),
    "TR corrected": (TrustRegion("corrected"), "matrix-free: Hessian multiplied with"),
}


@pytest.mark.parametrize(("method", "text"), LITTLE.values(), ids=LITTLE)
def test_little_memory_gives_the_same_answer(method, text):
    plenty, little = (
        solve(many_rows(), method, tolerance=1e-11),
        solve(many_rows(memory_limit=LEAST), method, tolerance=1e-11),
    )
    assert little.choice.startswith(text) and "memory limit of 1 MiB" in little.choice
    assert not plenty.choice.startswith(text)
    assert plenty.converged and little.converged
    np.testing.assert_allclose(little.parameters, plenty.parameters, rtol=1e-6)
    assert little.value == pytest.approx(plenty.value, rel=1e-10)


def test_little_memory_multiplies_with_the_metric():
    dense, products = (
        solve(many_rows(memory_limit=limit), NaturalGradient(), max_iterations=4) for limit in (2**31, LEAST)
    )
    assert dense.choice.startswith("dense: metric formed") and products.choice.startswith("matrix-free: metric")
    np.testing.assert_allclose(products.history["value"], dense.history["value"], rtol=1e-3)


def test_row_blocks_stay_within_the_memory_limit():
    problem = many_rows(memory_limit=LEAST)
    point = ReducedProblem(problem).linearize(problem.initial_parameters)
    sizes = [COPIES * J.numel() * 8 for J, _ in descents._blocks(point, "golub-pereyra")]
    assert len(sizes) > 1 and max(sizes) <= LEAST


def test_a_method_that_was_not_resolved_chooses_for_itself(monkeypatch):
    problem = many_rows(memory_limit=LEAST)
    asked = []
    original = methods.HessianDescent
    monkeypatch.setattr(methods, "HessianDescent", lambda *a, **o: asked.append(o["dense"]) or original(*a, **o))
    next(TrustRegion("exact").iterate(ReducedProblem(problem), problem.initial_parameters))
    next(TrustRegion("exact").iterate(ReducedProblem(double_exponential()), problem.initial_parameters))
    assert asked == [False, True]


def test_the_memory_limit_of_a_problem_is_checked():
    for bad in (0, 2**20 - 1, 1.5, "1 GiB", True):
        with pytest.raises((ValueError, TypeError), match="memory_limit"):
            SeparableProblem(mlp(1, (3,)), np.arange(4.0), np.arange(4.0), memory_limit=bad)
