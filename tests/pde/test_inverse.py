"""Estimates of unknown coefficients against maximum likelihood with the exact solution, and mutations."""

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from grassvp import pde
from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.pde import collocation as collocating
from grassvp.pde.data import DataBlock, weights_beside_data
from tests.pde.inverse_cases import (
    FAR,
    KAPPA,
    NOISE,
    PI,
    PLACES,
    C,
    D,
    advection,
    decay,
    efficient,
    heat,
    measured,
    solved,
    wave,
)


@lru_cache
def noisy():
    """The heat equation with noisy data, solved once for several tests."""
    return solved(heat(), pde.Data(PLACES, measured(0), NOISE))


def test_data_without_noise_recover_the_diffusivity():
    _, found = solved(heat(), pde.Data(PLACES, decay(PLACES, KAPPA)), 56, 60)
    assert abs(found.values["kappa"] - KAPPA) < 1e-8 and found.noise < 1e-7 and not found.noise_known


def test_data_without_noise_recover_two_coefficients():
    _, found = solved(advection(), pde.Data(FAR, wave(FAR, C, D)), 64, 80, dominance=1.0)
    assert abs(found.values["c"] - C) < 1e-7 and abs(found.values["D"] - D) < 1e-7


def efficient_law():
    """Estimate and standard error are those of maximum likelihood with the exact solution."""
    _, found = noisy()
    (best,), covariance = efficient(decay, PLACES, measured(0), [0.3])
    error = math.sqrt(covariance[0, 0])
    assert abs(found.values["kappa"] - best) < 0.02 * error
    assert found.standard_errors["kappa"] == pytest.approx(error, rel=0.01)


def test_estimates_are_efficient():
    efficient_law()
    found = noisy()[1]
    assert found.violation < 0.5 and found.noise == 1.0 and found.degrees_of_freedom == 29
    (best,), _ = efficient(decay, PLACES, measured(0), [0.3])
    misfit = np.sum((decay(PLACES, best) - measured(0)) ** 2) / NOISE**2 / 29
    assert found.misfit == pytest.approx(misfit, rel=1e-3)
    assert found.covariance[0, 0] == pytest.approx(found.standard_errors["kappa"] ** 2)


def test_two_coefficients_and_their_covariance_are_efficient():
    values = measured(2, wave(FAR, C, D))
    _, found = solved(advection(), pde.Data(FAR, values, NOISE), 52, 100)
    best, covariance = efficient(wave, FAR, values, [0.3, 0.2])
    deviations = np.sqrt(np.diag(covariance))
    assert (np.abs(np.array(list(found.values.values())) - best) < 0.02 * deviations).all()
    np.testing.assert_allclose(found.covariance / np.outer(deviations, deviations), covariance / np.outer(
        deviations, deviations), atol=0.02)  # fmt: skip
    assert "c = " in repr(found) and "D = " in repr(found)


def test_estimates_do_not_depend_on_the_dominance_of_the_equation():
    solution, first = noisy()
    for dominance in (1e2, 1e4):
        _, other = solved(
            heat(), pde.Data(PLACES, measured(0), NOISE), iterations=30, start=solution.parameters, dominance=dominance
        )
        assert abs(other.values["kappa"] - first.values["kappa"]) < 0.02 * first.standard_errors["kappa"]
        assert other.standard_errors["kappa"] == pytest.approx(first.standard_errors["kappa"], rel=0.005)


def test_estimates_scatter_as_their_standard_errors_say():
    solution = noisy()[0]
    scores = []
    for seed in range(10):
        _, found = solved(heat(), pde.Data(PLACES, measured(10 + seed), NOISE), iterations=3, start=solution.parameters)
        scores.append((found.values["kappa"] - KAPPA) / found.standard_errors["kappa"])
    low, high = 0.38, 1.73  # 10 draws: the square is chi^2_10 / 10, and these are its 0.1% and 99.9% roots
    assert np.abs(scores).max() < 4 and low < math.sqrt(np.mean(np.square(scores))) < high


@pytest.mark.parametrize("size", [1e-4, 1e5])
def test_units_of_the_data_do_not_matter(size):
    solution, first = noisy()
    data = pde.Data(PLACES, size * measured(0), size * NOISE)
    _, found = solved(heat(size=size), data, iterations=10, start=solution.parameters)
    assert abs(found.values["kappa"] - first.values["kappa"]) < 0.02 * first.standard_errors["kappa"]
    assert found.standard_errors["kappa"] == pytest.approx(first.standard_errors["kappa"], rel=0.01)


def test_noise_that_is_not_known_is_estimated():
    solution, first = noisy()
    _, found = solved(heat(), pde.Data(PLACES, measured(0)), iterations=20, start=solution.parameters)
    sigma = NOISE * math.sqrt(first.misfit)
    assert found.noise == pytest.approx(sigma, rel=1e-2) and not found.noise_known
    assert found.standard_errors["kappa"] == pytest.approx(
        math.sqrt(first.misfit) * first.standard_errors["kappa"], rel=0.02
    )
    low, high = found.interval(0.9)["kappa"]
    assert high - low == pytest.approx(2 * t.ppf(0.95, 29) * found.standard_errors["kappa"])
    assert "noise estimated as" in repr(found)


def test_noise_may_differ_from_row_to_row():
    """Measurements counted twice are measurements with the noise divided by the root of two."""
    solution, _ = noisy()
    values, half = measured(0), np.where(np.arange(30) < 10, NOISE / math.sqrt(2), NOISE)
    double = pde.Data(np.vstack([PLACES, PLACES[:10]]), np.append(values, values[:10]), NOISE)
    parts = [pde.Data(PLACES[:10], values[:10], half[:10]), pde.Data(PLACES[10:], values[10:], NOISE)]
    found = [
        solved(heat(), data, iterations=10, start=solution.parameters)[1]
        for data in (double, pde.Data(PLACES, values, half), parts)
    ]
    for each in found[1:]:
        assert each.values["kappa"] == pytest.approx(found[0].values["kappa"], rel=1e-6)
        assert each.standard_errors["kappa"] == pytest.approx(found[0].standard_errors["kappa"], rel=1e-3)


def test_positive_coefficients_by_their_logarithm():
    positive, (solution, first) = heat(math.log(0.3), name="log", of=torch.exp), noisy()
    start = torch.cat([solution.parameters[:-1], torch.tensor([math.log(0.3)])])
    _, found = solved(positive, pde.Data(PLACES, measured(0), NOISE), iterations=30, start=start)
    value, error = found.derived(lambda p: torch.exp(p["log"]))
    assert abs(value - first.values["kappa"]) < 0.02 * first.standard_errors["kappa"]
    assert error == pytest.approx(first.standard_errors["kappa"], rel=0.01)
    for wrong in (lambda p: p["kappa"], lambda p: 1.0, lambda p: torch.ones(2) * p["log"]):
        with pytest.raises(ArgumentError, match="function must map the coefficients log"):
            found.derived(wrong)


def test_a_coefficient_at_a_bound_is_fixed():
    lower = np.full(3 * 44 + 1, -np.inf)
    lower[-1] = 0.2
    solution, found = solved(heat(), pde.Data(PLACES, measured(0), NOISE), iterations=40, bounds=(lower, None))
    assert found.values["kappa"] == 0.2 and found.standard_errors["kappa"] == 0.0
    assert found.interval()["kappa"] == (0.2, 0.2) and found.covariance[0, 0] == 0.0 and found.misfit > 2
    assert solution.parameters[-1] == 0.2


def test_a_coefficient_that_the_data_do_not_see_is_not_determined():
    """Where u is measured at the start of time alone, nothing says how fast it will decay."""
    places = np.column_stack([np.zeros(20), np.linspace(0.1, 0.9, 20)])
    values = measured(3, np.sin(PI * places[:, 1]))
    _, found = solved(heat(), pde.Data(places, values, NOISE), iterations=20)
    assert found.standard_errors["kappa"] > 1e2


def test_intervals():
    found = noisy()[1]
    low, high = found.interval(0.99)["kappa"]
    assert (low + high) / 2 == pytest.approx(found.values["kappa"])
    assert high - low == pytest.approx(2 * norm.ppf(0.995) * found.standard_errors["kappa"])
    for level in (0.0, 1.0):
        with pytest.raises(ArgumentError, match="level"):
            found.interval(level)


def test_predictions_and_residuals_are_those_of_the_network():
    solution, found = noisy()
    grid = np.random.default_rng(5).uniform(0, 1, (50, 2))
    assert np.abs(solution.predict(grid) - decay(grid, found.values["kappa"])).max() < 1e-3
    names = heat().residuals(solution).norms
    assert names["equation"] < 1e-2 and names["data"] == pytest.approx(NOISE, rel=0.5)


def test_rounds_at_fresh_points():
    equation = heat()
    data = pde.Data(PLACES, measured(0), NOISE)
    found = equation.solve(
        mlp(2, (40,)),
        interior=240,
        boundary=60,
        seed=0,
        starts=1,
        rounds=2,
        max_iterations=25,
        collocation={"data": data},
    )
    assert abs(equation.coefficient_estimates(found).values["kappa"] - KAPPA) < 0.02


@pytest.mark.parametrize("spoil", ["variances for deviations", "an equation that counts like the data"])
def test_a_mistake_in_the_weights_is_noticed(spoil, monkeypatch):
    def weights(blocks, box, dominance):
        if spoil == "an equation that counts like the data":
            return weights_beside_data(blocks, box, 1.0)
        W = weights_beside_data(blocks, box, dominance)
        data = torch.cat([torch.full((block.rows,), isinstance(block, DataBlock)) for block in blocks])
        return torch.where(data, W**2, W)

    noisy.cache_clear()
    monkeypatch.setattr(collocating, "weights_beside_data", weights)
    try:
        with pytest.raises(AssertionError):
            efficient_law()
    finally:
        noisy.cache_clear()
