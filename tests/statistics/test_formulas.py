"""Every number against dense formulas, and one ingredient at a time spoiled: the formulas must notice."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

from grassvp import ReducedProblem
from grassvp.statistics import factors, fitting, report
from tests.statistics.cases import CASES, algebra_law, at


@pytest.mark.parametrize("name", CASES)
def test_everything_against_dense_formulas(name):
    algebra_law(CASES[name](), 1e-7 if name == "a module" else 1e-10)


@pytest.mark.parametrize("name", ["3 outputs, weights", "12 outputs of 2 features", "offset", "two hidden layers"])
def test_the_covariance_of_theta_is_that_of_kaufmans_jacobian(name):
    case = CASES[name]()
    stats, q = at(case.problem, case.theta), len(case.theta)
    J = ReducedProblem(case.problem).jacobian(case.theta, "kaufman")
    R = np.linalg.inv(np.linalg.qr(J)[1])
    np.testing.assert_allclose(stats.covariance[:q, :q], stats.sigma**2 * R @ R.T, rtol=1e-9)


def changed(**changes):
    """A patch of the factors: attribute -> function of what was there."""
    original = factors.error_factors

    def patched(*arguments):
        found = original(*arguments)
        return dataclasses.replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})

    return fitting, "error_factors", patched


def triangle(rows):
    """A patch of the triangle of Kaufman's Jacobian: that of rows(linearization, H, N1) instead."""
    original = factors._slopes

    def patched(linearization, free):
        H, N1 = original(linearization, free)
        return H, torch.linalg.qr(rows(linearization, H, N1), mode="r").R

    return factors, "_slopes", patched


def quantile(function):
    return report, "t", type("Distribution", (), {"ppf": staticmethod(function)})


def every_parameter(linearization, free):
    return factors.error_factors(linearization, torch.ones_like(free))


def without_offset(values, solved):
    C = solved.coefficients
    return torch.cat([C, C.new_zeros(values.shape[1] - len(C), C.shape[1])])


PLAIN, RIDGE = "3 outputs, weights", "3 outputs, weights, ridge"
MUTATIONS = {
    # name: (patch, case, what notices)
    "Golub-Pereyra instead of Kaufman": (
        triangle(lambda linearization, H, N1: linearization.jacobian("golub-pereyra")),
        PLAIN,
        "standard errors",
    ),
    "theta without the elimination": (
        triangle(lambda linearization, H, N1: torch.cat([N1, H.flatten(0, 1)])),
        PLAIN,
        "standard errors",
    ),
    "the cross block has the wrong sign": (changed(elimination=torch.neg), PLAIN, "covariance"),
    "coefficients as if theta were known": (changed(elimination=torch.zeros_like), PLAIN, "standard errors"),
    "degrees of freedom without the coefficients": (changed(effective=lambda p: p - 6), PLAIN, "degrees"),
    "degrees of freedom off by one": (changed(effective=lambda p: p - 1), RIDGE, "degrees"),
    "degrees of freedom without the ridge": (changed(effective=lambda p: 8.0), RIDGE, "degrees"),
    "parameters alone know of the ridge": (
        changed(root=lambda P: torch.eye(len(P), dtype=P.dtype)),
        RIDGE,
        "standard errors",
    ),
    "theta and C as if independent of each other": (changed(cross=torch.zeros_like), RIDGE, "standard errors"),
    "outputs exchanged": (changed(elimination=lambda Z: Z.flip(0)), PLAIN, "standard errors"),
    "weights are dropped": ((factors, "weighted", lambda rows, weights: rows), PLAIN, "standard errors"),
    "the offset does not move": ((factors, "model_coefficients", without_offset), "offset", "standard errors"),
    "parameters at a bound move": ((fitting, "error_factors", every_parameter), "a parameter at its bound", "degrees"),
    "a null direction is kept": ((factors, "RANK_EXPONENT", 2.0), "a module", "degrees"),
    "a normal quantile": (quantile(lambda p, freedom: norm.ppf(p)), "two exponentials", "band"),
    "a one-sided quantile": (quantile(lambda p, freedom: t.ppf(2 * p - 1, freedom)), "two exponentials", "band"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_noticed(mutation, monkeypatch):
    patch, name, guard = MUTATIONS[mutation]
    case = CASES[name]()
    monkeypatch.setattr(*patch)
    with pytest.raises(AssertionError, match=guard):
        algebra_law(case)
