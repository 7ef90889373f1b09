"""Two neurons eps apart: what float64 can know of the value and the gradient, and that the library knows it.

Rounding moves the features by u = eps ||Phi||, and with them the gradient, by up to u ||Y||^2 / lam: beside the bound
B5 on the gradient a part u / sqrt(lam), below 1e-7 down to lam = 1e-14. No float64 method can do better in every
direction, so that B5 is the scale. Relative to the gradient itself the error is below 1e-7 where eps is at least
sqrt(lam), and where the neurons are equal.
"""

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp import jacobians
from tests import oracles
from tests.laws import reduced as laws
from tests.laws.reduced import EPS, norm
from tests.regimes.quantities import data, everything, mp_features, reduced_problem
from tests.regimes.regimes import regime
from tests.regimes.truncated import mp_truncated

POWERS = range(1, 17)
BOUND = 3 * math.sqrt(3) / 16  # B5
CUT = 1e-10


def near(power):
    """Theta with the second neuron 10^-power beside the first."""
    theta = regime("duplicates").theta.copy()
    theta[1] += 10.0**-power
    return theta


@lru_cache
def reference(power, k, lam):
    """(value, gradient, C, residual, A) at 90 digits."""
    each = regime("duplicates")
    Y, w = data(each, k, True)
    with mp.workdps(oracles.DIGITS):
        point, h = [mpf(float(t)) for t in near(power)], mpf(10) ** -25
        sides = [[mpf(v) for v in row] for row in Y.tolist()]

        def solve(j=0, step=0):
            moved = [t + step * (i == j) for i, t in enumerate(point)]
            return oracles.mp_solve(mp_features(each)(moved), sides, [mpf(float(v)) for v in w], mpf(lam))

        slopes = [oracles.half_square(solve(j, h)[2]) - oracles.half_square(solve(j, -h)[2]) for j in range(len(point))]
        A, C, r = solve()
        parts = [oracles.to_array(part).astype(float) for part in (C, r, A)]
        return float(oracles.half_square(r)), np.array([float(s / (2 * h)) for s in slopes]), *parts


def sizes(k):
    """||W Y||^2, ||W Phi||_2 and ||D(W Phi)|| at the duplicates."""
    each = regime("duplicates")
    Y, w = data(each, k, True)
    x, theta = torch.from_numpy(each.inputs), torch.from_numpy(each.theta)
    A = w[:, None] * oracles.torch_features(theta, x, (each.width,)).numpy()
    slopes = torch.func.jacfwd(lambda t: oracles.torch_features(t, x, (each.width,)))(theta).numpy()
    return norm(w[:, None] * Y) ** 2, np.linalg.norm(A, 2), norm(w[:, None, None] * slopes)


def ridge_law(power, k, lam):
    value, gradient, *_ = reference(power, k, lam)
    point = reduced_problem(regime("duplicates"), k, True, lam).linearize(near(power))
    target, size, slope = sizes(k)
    unit = slope * BOUND * target / math.sqrt(lam)
    rounding = 20 * EPS * size / math.sqrt(lam)
    laws.close(point.gradient, gradient, min(rounding, 1e-7) * unit, "gradient beside B5")
    assert norm(gradient) <= unit and norm(point.gradient.numpy()) <= unit
    assert abs(point.value - value) <= min(rounding, 1e-9) * target
    if 10.0**-power >= 0.99 * math.sqrt(lam) or power == 16:
        laws.close(point.gradient, gradient, 1e-7 * norm(gradient), "gradient")


@pytest.mark.parametrize(("power", "k"), [*((power, 3) for power in POWERS), *((power, 1) for power in POWERS[1::4])])
@pytest.mark.parametrize("lam", [1e-14, 1e-8, 1e-2])
def test_with_a_ridge(power, lam, k):
    ridge_law(power, k, lam)


def is_kept(theta):
    """Whether no singular value is cut, by 90 digits."""
    each = regime("duplicates")
    with mp.workdps(60):
        rows = mp_features(each)([mpf(float(t)) for t in theta])
        s = oracles.mp_singular_values(np.diag(data(each, 3, True)[1]) @ oracles.to_array(rows))
    return s[-1] > CUT * s[0]


@pytest.mark.parametrize("power", POWERS)
def test_at_zero_regularization(power):
    """Above the cut the problem, to the rounding of its condition; below it the truncated one.

    The derivative of the truncated value is compared in every direction: what the gap to the cut does to it is
    s_small / s_kept, below 1e-9.
    """
    each, k = regime("duplicates"), 3
    reduced, theta = reduced_problem(each, k, True, 0.0), near(power)
    point = reduced.linearize(theta)
    assert all(np.isfinite(found).all() for found in everything(reduced, theta).values())
    target, _, slope = sizes(k)
    assert norm(point.coefficients) <= math.sqrt(target) / (CUT * float(point.projection.singular_values[0]))
    if is_kept(theta):
        value, gradient, C, r, A = reference(power, k, 0.0)
        s = np.linalg.svd(A, compute_uv=False)
        kappa, natural = s[0] / s[-1], slope * (norm(C) + norm(r) / s[-1])
        assert point.rank == 4 and point.differentiable
        assert abs(point.value - value) <= 10 * EPS * kappa * target
        laws.close(point.gradient, gradient, 10 * EPS * kappa * natural * math.sqrt(target), "gradient")
        return
    truncated = mp_truncated(mp_features(each), theta, np.eye(len(theta)), *data(each, k, True), CUT)
    assert point.rank == truncated.rank == 3 and not point.differentiable
    laws.close(point.coefficients, truncated.coefficients, 1e-8 * norm(truncated.coefficients), "C")
    assert abs(point.value - truncated.value) <= 1e-13 * target
    laws.close(point.gradient, truncated.gradient, 1e-7 * norm(truncated.gradient), "gradient")


def test_both_sides_of_the_cut_are_tested():
    kept = [is_kept(near(power)) for power in POWERS]
    assert kept == sorted(kept, reverse=True) and 6 <= sum(kept) <= 10


@pytest.mark.parametrize("power", [3, 9, 16])
def test_a_gradient_wrong_by_a_part_of_the_bound_is_noticed(power, monkeypatch):
    target, _, slope = sizes(3)
    wrong = 1e-5 * slope * BOUND * target / 1e-7
    right = jacobians.envelope_gradient
    monkeypatch.setattr(jacobians, "envelope_gradient", lambda *args: right(*args) + wrong)
    with pytest.raises(AssertionError, match="gradient"):
        ridge_law(power, 3, 1e-14)
