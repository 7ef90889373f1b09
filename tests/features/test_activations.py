"""Activations and their closed-form derivatives against mpmath, to order 5."""

from functools import lru_cache

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp.errors import ArgumentError
from grassvp.features import activations
from grassvp.features.activations import ACTIVATIONS, activation_derivatives
from tests.oracles import MP_ACTIVATIONS

POINTS = [-30.0, -6.5, -1.7, -0.3, -1e-9, 1e-9, 0.25, 0.9, 3.3, 9.0, 40.0]
HIGHEST = 5


@lru_cache
def mp_values(name, order):
    with mp.workdps(60):
        sigma = MP_ACTIVATIONS[name]
        if name == "relu":  # away from the kink
            return np.array([float((sigma(mpf(z)), mpf(z > 0), 0, 0, 0, 0)[order]) for z in POINTS])
        return np.array([float(mpmath.diff(sigma, mpf(z), order, h=mpf(10) ** -12)) for z in POINTS])


def check_derivatives_against_mpmath(name):
    """Values to a few units in the last place of the largest value of sigma^(k), which is up to 16 for tanh."""
    found = activation_derivatives(name, torch.tensor(POINTS, dtype=torch.float64), HIGHEST)
    assert len(found) == HIGHEST + 1
    for order, actual in enumerate(found):
        expected = mp_values(name, order)
        size = 1.0 if order <= 3 else float(np.abs(expected).max())
        np.testing.assert_allclose(actual.numpy(), expected, rtol=4e-15, atol=2e-15 * size, err_msg=f"order {order}")


@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_derivatives_against_mpmath(name):
    check_derivatives_against_mpmath(name)


@pytest.mark.parametrize("order", range(HIGHEST + 1))
@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_a_wrong_derivative_is_noticed(name, order, monkeypatch):
    original = ACTIVATIONS[name]

    def spoiled(z):
        for k, entry in enumerate(original(z)):
            yield entry + 1e-13 * torch.exp(-z * z) if k == order else entry

    monkeypatch.setitem(activations.ACTIVATIONS, name, spoiled)
    with pytest.raises(AssertionError, match=f"order {order}"):
        check_derivatives_against_mpmath(name)


@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_lower_orders_are_the_same_numbers_and_torch_agrees(name):
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    highest = activation_derivatives(name, z, HIGHEST)
    for order in range(HIGHEST + 1):
        found = activation_derivatives(name, z, order)
        assert len(found) == order + 1
        for a, b in zip(found, highest, strict=False):
            np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16)
    for order in range(HIGHEST):  # torch.func differentiates each of them into the next
        slope = torch.func.jvp(
            lambda at, o=order: activation_derivatives(name, at, HIGHEST)[o], (z,), (torch.ones_like(z),)
        )
        np.testing.assert_allclose(slope[1], highest[order + 1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("order", range(HIGHEST + 1))
@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_no_derivative_is_computed_that_nobody_asks_for(name, order, monkeypatch):
    original, asked = ACTIVATIONS[name], []

    def counting(z):
        for entry in original(z):
            asked.append(entry)
            yield entry

    monkeypatch.setitem(activations.ACTIVATIONS, name, counting)
    activation_derivatives(name, torch.ones(3, dtype=torch.float64), order)
    assert len(asked) == order + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_large_arguments_do_not_overflow(name, dtype):
    z = torch.tensor([-900.0, -100.0, 100.0, 900.0], dtype=dtype)
    values = activation_derivatives(name, z, HIGHEST)
    assert all(v.dtype == dtype and bool(torch.isfinite(v).all()) for v in values)
    if name in ("softplus", "gelu", "relu"):
        np.testing.assert_array_equal(values[0][[0, 2, 3]], [0.0, 100.0, 900.0])


def test_names():
    assert set(ACTIVATIONS) == set(MP_ACTIVATIONS)
    with pytest.raises(ArgumentError, match=r"activation.*tanh.*swish"):
        activation_derivatives("swish", torch.zeros(1), 0)
