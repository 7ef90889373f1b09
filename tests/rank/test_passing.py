"""The path past a drop of rank: its length by quadrature of the metric and by distances, values by dense formulas."""

import numpy as np
import pytest
from scipy.integrate import quad

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.rank import PassingPath, passing
from manifolds import Grassmann, RegularizedGrassmann


def path(distance, seed=0, rows=7):
    return PassingPath(np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, 3)))[0], distance)


@pytest.mark.parametrize("distance", [0.0, 1e-2, 0.7])
@pytest.mark.parametrize("lam", [1e-6, 1e-2, 1.0])
def test_length_is_the_integral_of_the_speed(lam, distance):
    """The metric lam <(Phi Phi^T + lam I)^-1 D (Phi^T Phi + lam I)^-1, D> for D = Phi'(t), inverses formed."""
    curve, D = path(distance), np.outer(path(distance).frame[:, 1], [0.0, 1.0])

    def speed(t):
        Phi = curve.matrices([t])[0]
        left = np.linalg.solve(Phi @ Phi.T + lam * np.eye(7), D)
        return np.sqrt(lam * np.sum(left * np.linalg.solve(Phi.T @ Phi + lam * np.eye(2), D.T).T))

    width = curve.width(lam)
    for end in (0.3 * width, width, 5 * width):
        assert curve.turned(end, lam) == pytest.approx(quad(speed, 0.0, end, epsrel=1e-9)[0], rel=1e-6)
        assert curve.turned(-end, lam) == -curve.turned(end, lam)


@pytest.mark.parametrize("distance", [1e-8, 1e-2, 0.7])
@pytest.mark.parametrize("lam", [0.0, 1e-6, 1e-2])
def test_length_is_the_distance_as_long_as_it_is_less_than_a_right_angle(lam, distance):
    """The path is a geodesic of Gr(m, 2), or of Gr(m + 2, 2)."""
    curve = path(distance)
    ends = curve.width(lam) * np.array([-0.9, 0.0, 0.3, 1.0])
    manifold = RegularizedGrassmann(7, 2, lam) if lam else Grassmann(7, 2)
    points = curve.matrices(ends) if lam else np.linalg.qr(curve.matrices(ends))[0]
    turned = curve.turned(ends, lam)
    for i, first in enumerate(points):
        for j, second in enumerate(points):
            assert manifold.dist(first, second) == pytest.approx(abs(turned[i] - turned[j]), rel=1e-7, abs=1e-15)


def test_the_turn_tends_to_a_jump_of_pi_at_lam_zero_alone():
    t = np.array([-1e-3, 1e-3])
    jumps = [np.ptp(path(d).turned(t)) for d in (1e-4, 1e-6, 0.0)]
    np.testing.assert_allclose(jumps, np.pi, atol=0.21)
    assert jumps == sorted(jumps) and jumps[-1] == np.pi
    assert np.ptp(path(0.0).turned(t, 1e-2)) == pytest.approx(2e-3 / path(0.0).width(1e-2), rel=1e-3)


@pytest.mark.parametrize("distance", [0.0, 1e-2, 0.7])
@pytest.mark.parametrize("lam", [0.0, 1e-6, 1e-2, 1.0])
def test_values(lam, distance):
    curve, t = path(distance), np.array([-1.0, -0.2, 0.0, 1e-2, 2.0])
    for p, q in ((0.6, 0.8), (-1.0, 2.0)):
        y = curve.frame[:, :2] @ [p, q]
        for Phi, value in zip(curve.matrices(t), curve.values(t, p, q, lam), strict=True):
            stacked = np.concatenate([Phi, np.sqrt(lam) * np.eye(2)])
            C = np.linalg.lstsq(stacked, np.append(y, [0, 0]), rcond=1e-12)[0]
            expected = 0.5 * np.sum((y - Phi @ C) ** 2) + 0.5 * lam * C @ C
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-14)
    if lam == distance == 0:
        assert curve.values(t, 0.6, 0.8).tolist() == [0.0, 0.0, 0.5 * 0.8**2, 0.0, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PassingPath(np.eye(4), 0.1), ArgumentError, "frame must have three orthonormal columns"),
        (lambda: PassingPath(2 * np.eye(4)[:, :3], 0.1), ArgumentError, "frame"),
        (lambda: path(-1.0), ArgumentError, "distance"),
        (lambda: path("far"), ArgumentTypeError, "distance"),
        (lambda: path(0.1).turned([0.0], -1.0), ArgumentError, "regularization"),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_wrong_width_is_noticed(monkeypatch):
    monkeypatch.setattr(passing.PassingPath, "width", lambda self, lam=0.0: np.hypot(np.sqrt(lam), self.distance))
    with pytest.raises(AssertionError):
        test_length_is_the_integral_of_the_speed(1e-2, 0.0)
    with pytest.raises(AssertionError):
        test_length_is_the_distance_as_long_as_it_is_less_than_a_right_angle(1e-2, 1e-2)
