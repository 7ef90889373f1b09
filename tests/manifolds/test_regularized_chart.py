"""Geodesics of RegularizedGrassmann that leave the chart: the time is exact, whatever the determinant does there."""

import math

import numpy as np
import pytest

from manifolds import ChartError, RegularizedGrassmann
from tests.manifolds import oracles
from tests.manifolds.samples import both, orthogonal


def rotating(angles, speeds, lam, m, n, seed=0):
    """(Phi, D): singular values sqrt(lam) tan(angle + t speed) in fixed singular directions."""
    r, root = len(angles), math.sqrt(lam)
    left, right = orthogonal(m, seed)[:, :r], orthogonal(n, seed + 1)[:, :r]
    angles, speeds = np.asarray(angles), np.asarray(speeds)
    return (left * root * np.tan(angles)) @ right.T, (left * root * speeds / np.cos(angles) ** 2) @ right.T


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("lam", [1e-6, 1.0, 1e3])
@pytest.mark.parametrize(("angle", "speed"), [(0.0, 2.0), (1.0, 1.0), (-0.5, 3.0), (1.5, -4.0), (0.3, 40.0)])
def test_one_number_rotates_at_constant_speed(angle, speed, lam, kind):
    """m = n = 1: Phi = sqrt(lam) tan(angle + t speed)."""
    root = math.sqrt(lam)
    Phi, D = (both(np.array([[v]]), kind) for v in (root * math.tan(angle), root * speed / math.cos(angle) ** 2))
    M = RegularizedGrassmann(1, 1, lam)
    exact = (math.copysign(math.pi / 2, speed) - angle) / speed
    with pytest.raises(ChartError) as raised:
        M.exp(Phi, D)
    assert raised.value.time == pytest.approx(exact, rel=1e-12)
    assert M.chart_exit_time(Phi, D) == pytest.approx(exact, rel=1e-12)
    before = 0.9 * exact
    expected = root * math.tan(angle + before * speed)
    assert float(M.exp(Phi, before * D)[0, 0]) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("angle", "speed"), [(0.0, 1.5), (1.0, 0.5), (-1.5, 3.0), (0.0, 0.0)])
def test_one_number_that_stays(angle, speed):
    M = RegularizedGrassmann(1, 1, 2.0)
    root = math.sqrt(2.0)
    Phi, D = np.array([[root * math.tan(angle)]]), np.array([[root * speed / math.cos(angle) ** 2]])
    assert M.chart_exit_time(Phi, D) == math.inf
    assert float(M.exp(Phi, D)[0, 0]) == pytest.approx(root * math.tan(angle + speed), rel=1e-10)


CROSSINGS = {
    # name: (angles, speeds, first exit)
    "one of three": ([0.1, 0.2, 0.3], [0.1, 2.0, 0.5], (math.pi / 2 - 0.2) / 2.0),
    "two at different times": ([0.1, 0.2], [3.0, 2.5], (math.pi / 2 - 0.1) / 3.0),
    "two at once": ([0.4, 0.4], [2.0, 2.0], (math.pi / 2 - 0.4) / 2.0),
    "two at once in opposite directions": ([0.4, -0.4], [2.0, -2.0], (math.pi / 2 - 0.4) / 2.0),
    "three at once": ([0.4, 0.4, 0.4], [1.5, 1.5, 1.5], (math.pi / 2 - 0.4) / 1.5),
    "two nearly at once": ([0.4, 0.4 + 1e-7], [2.0, 2.0], (math.pi / 2 - 0.4 - 1e-7) / 2.0),
    "many turns": ([0.0, 0.5], [1.0, 50.0], (math.pi / 2 - 0.5) / 50.0),
    "backward": ([1.2, 0.3], [-3.0, 0.1], (1.2 + math.pi / 2) / 3.0),
}


@pytest.mark.parametrize("lam", [1e-4, 1.0, 100.0])
@pytest.mark.parametrize("shape", [(6, 3), (3, 3), (3, 5)])
@pytest.mark.parametrize("case", CROSSINGS)
def test_crossings_in_several_directions(case, shape, lam):
    """Where two equal singular values cross together, the determinant of the bottom block does not change sign."""
    angles, speeds, exact = CROSSINGS[case]
    M = RegularizedGrassmann(*shape, lam)
    Phi, D = rotating(angles, speeds, lam, *shape)
    # two values 1e-7 apart are told apart to sqrt(eps) at worst where they cross together
    assert M.chart_exit_time(Phi, D) == pytest.approx(exact, rel=1e-7 if "at once" in case else 1e-11)
    with pytest.raises(ChartError) as raised:
        M.exp(Phi, D)
    assert raised.value.time == M.chart_exit_time(Phi, D)
    assert M.chart_exit_time(Phi, 0.99 * exact * D) == math.inf
    assert M.chart_exit_time(Phi, 1.01 * exact * D) == pytest.approx(1 / 1.01, rel=1e-7)
    assert np.all(np.isfinite(M.exp(Phi, 0.99 * exact * D)))


def smallest_bottom_value(Phi, lam, D, time) -> float:
    X = oracles.exp(oracles.lift(Phi, lam), float(time) * oracles.lifted_vector(Phi, lam, D))
    return float(np.linalg.svd(oracles.floats(X)[Phi.shape[0] :], compute_uv=False)[-1])


@pytest.mark.parametrize("seed", range(6))
def test_general_geodesics_against_a_scan(seed):
    """The bottom block of the reference is singular at the time found, and nowhere before on a grid."""
    m, n, lam = [(4, 2, 0.5), (3, 3, 2.0), (2, 3, 1.0)][seed % 3]
    rng = np.random.default_rng(seed)
    M, Phi = RegularizedGrassmann(m, n, lam), rng.standard_normal((m, n))
    D = 6 * M.random_tangent_vector(Phi, rng)
    time = M.chart_exit_time(Phi, D)
    before = [smallest_bottom_value(Phi, lam, D, t) for t in np.linspace(0, min(time, 1.0), 60)[:-1]]
    assert min(before) > 0
    if time <= 1.0:
        assert smallest_bottom_value(Phi, lam, D, time) <= 1e-12
        with pytest.raises(ChartError, match="chart"):
            M.parallel_transport(Phi, D, D)
    else:
        assert smallest_bottom_value(Phi, lam, D, 1.0) > 0


@pytest.mark.parametrize("miss", [1e-2, 1e-6, 1e-9])
def test_a_near_miss_is_not_an_exit(miss):
    """Matrices a I + b J are complex numbers, the chart is the Riemann sphere, and this great circle misses infinity.

    The determinant of the bottom block falls to about miss^2 and rises again; Phi grows to 1 / miss and comes back.
    """
    J, M = np.array([[0.0, -1.0], [1.0, 0.0]]), RegularizedGrassmann(2, 2, 1.0)
    Phi, D = math.tan(0.4) * np.eye(2), 2 / math.cos(0.4) ** 2 * (np.eye(2) + miss * J)
    assert M.chart_exit_time(Phi, D) == math.inf
    expected = oracles.floats(oracles.regularized_exp(Phi, 1.0, D))
    np.testing.assert_allclose(M.exp(Phi, D), expected, rtol=0, atol=1e-13 * np.linalg.norm(expected))


def test_the_error_is_a_value_error_that_says_what_to_do():
    M = RegularizedGrassmann(1, 1, 1.0)
    with pytest.raises(ValueError, match=r"leaves the chart at time 0\.5"):
        M.exp(np.zeros((1, 1)), np.full((1, 1), math.pi))
    with pytest.raises(ChartError):
        M.retraction(np.zeros((1, 1)), np.full((1, 1), math.pi), method="exponential")


def test_the_polar_retraction_leaves_the_chart_too():
    """n = 1: Phi + D / (1 - k), k = G^-1 Phi D: no graph at k = 1, and beyond it the way crossed infinity."""
    M, Phi = RegularizedGrassmann(1, 1, 1.0), np.array([[1.0]])
    for d in (2.0, 2.5, 5.0):
        with pytest.raises(ChartError) as raised:
            M.retraction(Phi, np.array([[d]]), method="polar")
        assert raised.value.time == pytest.approx(2.0 / d)
    expected = math.tan(math.pi / 4 + math.atan(0.5))  # |lift of 1| = d / (1 + Phi^2)
    assert float(M.retraction(Phi, np.array([[1.0]]), method="polar")[0, 0]) == pytest.approx(expected)
