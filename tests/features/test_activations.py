"""Activations and their closed-form derivatives against mpmath, to order 3."""

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from grassvp.errors import ArgumentError
from grassvp.features.activations import ACTIVATIONS, activation_derivatives
from tests.oracles import MP_ACTIVATIONS

POINTS = [-30.0, -6.5, -1.7, -0.3, -1e-9, 1e-9, 0.25, 0.9, 3.3, 9.0, 40.0]


def mp_values(name, points, order):
    with mp.workdps(60):
        sigma = MP_ACTIVATIONS[name]
        if name == "relu":  # away from the kink
            return [float((sigma(mpf(z)), mpf(z > 0), 0, 0)[order]) for z in points]
        return [float(mpmath.diff(sigma, mpf(z), order, h=mpf(10) ** -12)) for z in points]


@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_derivatives_against_mpmath(name):
    z = torch.tensor(POINTS, dtype=torch.float64)
    values = activation_derivatives(name, z, 3)
    for order, actual in enumerate(values):
        expected = np.array(mp_values(name, POINTS, order))
        np.testing.assert_allclose(actual.numpy(), expected, rtol=4e-15, atol=2e-15, err_msg=f"order {order}")


@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_lower_orders_are_the_same_numbers_and_torch_agrees(name):
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    highest = activation_derivatives(name, z, 3)
    for order in range(4):
        found = activation_derivatives(name, z, order)
        assert len(found) == order + 1
        for a, b in zip(found, highest, strict=False):
            np.testing.assert_allclose(a, b, rtol=1e-15, atol=1e-16)
    for order in range(3):  # torch.func differentiates each of them into the next
        slope = torch.func.jvp(lambda at, o=order: activation_derivatives(name, at, 3)[o], (z,), (torch.ones_like(z),))
        np.testing.assert_allclose(slope[1], highest[order + 1], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MP_ACTIVATIONS)
def test_large_arguments_do_not_overflow(name, dtype):
    z = torch.tensor([-900.0, -100.0, 100.0, 900.0], dtype=dtype)
    values = activation_derivatives(name, z, 3)
    assert all(v.dtype == dtype and bool(torch.isfinite(v).all()) for v in values)
    if name in ("softplus", "gelu", "relu"):
        np.testing.assert_array_equal(values[0][[0, 2, 3]], [0.0, 100.0, 900.0])


def test_names():
    assert set(ACTIVATIONS) == set(MP_ACTIVATIONS)
    with pytest.raises(ArgumentError, match=r"activation.*tanh.*swish"):
        activation_derivatives("swish", torch.zeros(1), 0)
