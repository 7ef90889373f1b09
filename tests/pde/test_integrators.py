"""One-step methods against matrix exponentials, mpmath, known tableaus and their orders."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy.linalg import expm

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde import integrators
from grassvp.pde.integrators import Exponential, Gauss, Radau, check_integrator, phi_functions

METHODS = [Exponential(q) for q in (1, 2, 4, 8)] + [Gauss(s) for s in (1, 2, 3, 5)] + [Radau(s) for s in (1, 2, 3, 5)]
RATES = torch.tensor([-3e4, -40.0, -7.0, -1.0, -1e-3, 0.0, 0.4], dtype=torch.float64)


def phi_reference(k, z):
    """phi_k(z) = int_0^1 exp((1 - s) z) s^(k - 1) / (k - 1)! ds, in fifty digits, from its series."""
    with mpmath.workdps(60 + int(abs(z) / 2)):
        return float(mpmath.nsum(lambda j: mpmath.mpf(z) ** j / mpmath.factorial(j + k), [0, mpmath.inf], method="d"))


@pytest.mark.parametrize("z", [-80.0, -9.0, -4.1, -3.9, -1.0, -1e-3, -1e-9, 0.0, 1e-6, 0.5, 3.0])
def test_phi_functions_are_those_of_mpmath(z):
    found = [float(each) for each in phi_functions(torch.tensor([z], dtype=torch.float64), 8)]
    np.testing.assert_allclose(found, [phi_reference(k, z) for k in range(9)], rtol=2e-12)


def test_phi_functions_of_stiff_rates_follow_their_recurrence():
    z = torch.tensor([-1e3, -1e6, -1e12], dtype=torch.float64)
    phi = phi_functions(z, 4)
    for k in range(4):
        torch.testing.assert_close(z * phi[k + 1], phi[k] - 1.0 / math.factorial(k), rtol=1e-13, atol=0.0)


def augmented(rate, step, coefficients):
    """y(step) of y' = rate y + sum_k coefficients_k t^k / k! from y(0) = 1, by one matrix exponential."""
    size = len(coefficients)
    matrix = np.zeros((size + 1, size + 1))
    matrix[0, 0], matrix[0, 1] = rate, 1.0
    for k in range(size - 1):
        matrix[1 + k, 2 + k] = 1.0
    return (expm(step * matrix) @ np.concatenate([[1.0], coefficients]))[0]


@pytest.mark.parametrize("nodes", [1, 2, 4, 6])
@pytest.mark.parametrize("step", [0.01, 0.7])
def test_exponential_quadrature_is_exact_for_polynomial_sources(nodes, step):
    rng = np.random.default_rng(nodes)
    coefficients = rng.standard_normal(nodes)
    rates = RATES[1:]
    propagator = Exponential(nodes).propagator(rates, step)
    t = step * propagator.nodes
    source = sum(c * t**k / math.factorial(k) for k, c in enumerate(coefficients))
    found = propagator(torch.ones_like(rates), source.expand(len(rates), -1))
    wanted = [augmented(float(rate), step, coefficients) for rate in rates]
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-13)


def test_collocation_has_the_published_tableaus():
    A, w = integrators._collocation(Gauss(2).abscissae())
    r = math.sqrt(3.0) / 6.0
    np.testing.assert_allclose(A, [[0.25, 0.25 - r], [0.25 + r, 0.25]], atol=1e-14)
    np.testing.assert_allclose(w, [0.5, 0.5], atol=1e-14)
    np.testing.assert_allclose(Radau(2).abscissae(), [1.0 / 3.0, 1.0], atol=1e-14)
    A, w = integrators._collocation(Radau(2).abscissae())
    np.testing.assert_allclose(A, [[5 / 12, -1 / 12], [3 / 4, 1 / 4]], atol=1e-14)
    np.testing.assert_allclose(w, [3 / 4, 1 / 4], atol=1e-14)
    s = math.sqrt(6.0)
    np.testing.assert_allclose(Radau(3).abscissae(), [(4 - s) / 10, (4 + s) / 10, 1.0], atol=1e-14)


def test_decays_are_the_pade_approximations():
    z = torch.tensor([-9.0, -0.3, 0.8], dtype=torch.float64)
    torch.testing.assert_close(Gauss(1).propagator(z, 1.0).decay, (1 + z / 2) / (1 - z / 2), rtol=1e-13, atol=0.0)
    four = (1 + z / 2 + z**2 / 12) / (1 - z / 2 + z**2 / 12)
    torch.testing.assert_close(Gauss(2).propagator(z, 1.0).decay, four, rtol=1e-12, atol=0.0)
    three = (1 + z / 3) / (1 - 2 * z / 3 + z**2 / 6)
    torch.testing.assert_close(Radau(2).propagator(z, 1.0).decay, three, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(Exponential(3).propagator(z, 1.0).decay, torch.exp(z))


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_no_decaying_rate_grows_and_constants_are_kept(method):
    for step in (1e-4, 0.3, 50.0):
        propagator = method.propagator(RATES, step)
        assert bool((propagator.decay[RATES <= 0].abs() <= 1.0 + 1e-11).all())
        assert float(propagator.decay[5]) == pytest.approx(1.0, abs=1e-14)
        # the fixed point -s / lambda of a constant source stays where it is
        rates = RATES[RATES != 0]
        fixed = -2.0 / rates
        moved = method.propagator(rates, step)(fixed, torch.full((len(rates), 1), 2.0, dtype=torch.float64))
        if step < 1.0:
            torch.testing.assert_close(moved, fixed, rtol=1e-9, atol=1e-12)


def test_radau_damps_what_is_stiff_and_gauss_does_not():
    stiff = torch.tensor([-1e9], dtype=torch.float64)
    assert abs(float(Radau(3).propagator(stiff, 1.0).decay)) < 1e-6
    assert abs(float(Gauss(3).propagator(stiff, 1.0).decay)) > 0.99


def measured_order(method, counts, rate=-1.3):
    """Slope of the error of y' = rate (y - cos 2t) - 2 sin 2t, whose solution from 1 is cos 2t."""
    rates, errors = torch.tensor([rate], dtype=torch.float64), []
    for count in counts:
        step, y = 1.0 / count, torch.ones(1, dtype=torch.float64)
        propagator = method.propagator(rates, step)
        for i in range(count):
            t = step * (i + propagator.nodes)
            y = propagator(y, (-rate * torch.cos(2 * t) - 2 * torch.sin(2 * t))[None])
        errors.append(abs(float(y) - math.cos(2.0)))
    return math.log(errors[0] / errors[1]) / math.log(counts[1] / counts[0])


@pytest.mark.parametrize(
    ("method", "counts"),
    [
        (Exponential(1), (16, 32)),
        (Exponential(2), (8, 16)),
        (Gauss(1), (16, 32)),
        (Gauss(2), (8, 16)),
        (Gauss(3), (2, 4)),
        (Radau(1), (32, 64)),
        (Radau(2), (8, 16)),
        (Radau(3), (4, 8)),
    ],
    ids=repr,
)
def test_orders(method, counts):
    assert measured_order(method, counts) == pytest.approx(method.order, abs=0.25)


def test_an_order_that_is_wrong_is_noticed(monkeypatch):
    c = Gauss(2).abscissae() + np.array([0.0, 0.02])
    monkeypatch.setattr(Gauss, "abscissae", lambda self: c)
    assert abs(measured_order(Gauss(2), (64, 128)) - 4) > 0.5


def test_only_exponential_is_exact_for_steady_sources():
    assert [check_integrator(name).exact_if_steady for name in ("exponential", "gauss", "radau")] == [
        True,
        False,
        False,
    ]
    assert [check_integrator(name).order for name in ("exponential", "gauss", "radau")] == [8, 6, 5]
    assert check_integrator(Gauss(5)) == Gauss(5)


def test_what_is_refused():
    with pytest.raises(ArgumentError, match="integrator must be one of 'exponential', 'gauss', 'radau', got 'euler'"):
        check_integrator("euler")
    with pytest.raises(ArgumentTypeError, match="integrator"):
        check_integrator(3)
    for method, name in ((Exponential, "nodes"), (Gauss, "stages"), (Radau, "stages")):
        with pytest.raises(ArgumentError, match=f"{name} must be"):
            method(0)
        with pytest.raises(ArgumentError, match=f"{name} must be at most 8, got 9"):
            method(9)
        with pytest.raises(ArgumentTypeError, match=name):
            method(1.5)
