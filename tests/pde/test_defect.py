"""The equation of the error: its rates and functions against closed forms, its error against that of marches."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from grassvp.pde import defect as module
from grassvp.pde.conditions import dirichlet, neumann, periodic, robin
from grassvp.pde.defect import Defect
from grassvp.pde.domain import Box
from grassvp.pde.forcing import Forcing
from grassvp.pde.heat import Heat
from grassvp.pde.quadrature import quadrature

PI = math.pi
LINE = Box({"x": (0.5, 2.5)})
LOWER, UPPER = ("x", "lower"), ("x", "upper")


def defect(heat, side=40):
    grid = quadrature(heat.domain, (side,) * heat.domain.dimension, heat.periodic, shift=0.37)
    return Defect(Forcing(heat, grid)), grid


def line(conditions, **options):
    return defect(Heat(LINE, **({"conditions": conditions, "initial": 0.0, "diffusivity": 0.3} | options)))


# name: (conditions, wavenumbers on a length of 2)
RATES = {
    "values": ([dirichlet("boundary")], [PI / 2, PI, 1.5 * PI]),
    "fluxes": ([neumann("boundary")], [0.0, PI / 2, PI]),
    "value and flux": ([dirichlet(LOWER), neumann(UPPER)], [PI / 4, 0.75 * PI, 1.25 * PI]),
    "flux and value": ([neumann(LOWER), dirichlet(UPPER)], [PI / 4, 0.75 * PI, 1.25 * PI]),
    "periodic": ([periodic("x")], [0.0, PI, PI]),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_are_those_of_the_conditions(name):
    conditions, wavenumbers = RATES[name]
    found = line(conditions, reaction=0.7)[0].rates[:-1].flip(0)[:3]
    np.testing.assert_allclose(found, [0.7 - 0.3 * k**2 for k in wavenumbers], rtol=1e-9, atol=1e-9)


def test_a_robin_condition_has_the_rates_of_its_transcendental_equation():
    """U = sin(w s) with w cos(2 w) = -3 sin(2 w) between a value and u' + 3 u = 0; natural, so to first order in M."""
    found = float(line([dirichlet(LOWER), robin(UPPER, 3.0, 1.0)])[0].rates[-2])
    roots = [w for w in np.linspace(0.8, 1.6, 80001) if abs(w * math.cos(2 * w) + 3 * math.sin(2 * w)) < 1e-4]
    assert found == pytest.approx(-0.3 * np.mean(roots) ** 2, rel=3e-2)


def test_a_variable_diffusivity_has_the_rates_of_sturm_and_liouville():
    """For a = x^2: u = x^(-1/2) sin(k log(x / 0.5)) with k log 5 = j pi and rate -(k^2 + 1/4)."""
    found = line([dirichlet("boundary")], diffusivity=lambda x: x["x"] ** 2)[0].rates[:-1].flip(0)[:3]
    np.testing.assert_allclose(found, [-((j * PI / math.log(5)) ** 2 + 0.25) for j in (1, 2, 3)], rtol=1e-3)


@pytest.mark.parametrize("conditions", [case[0] for case in RATES.values()], ids=RATES)
def test_functions_are_orthonormal_also_on_another_grid(conditions):
    one, grid = line(conditions)
    other = quadrature(LINE, (61,), (0,) if conditions[0] == periodic("x") else ())
    for each in (grid, other):
        B = one.values(each)
        torch.testing.assert_close(
            B.T @ (each.weights[:, None] * B), torch.eye(B.shape[1], dtype=torch.float64), rtol=0, atol=2e-2
        )


def test_parseval_holds_with_what_the_functions_leave():
    one, grid = line([dirichlet("boundary")])
    rng = torch.Generator().manual_seed(0)
    rough = torch.randn(len(grid.points), generator=rng, dtype=torch.float64)
    smooth = torch.sin(PI * (grid.points[:, 0] - 0.5))
    for field, least, most in ((rough, 0.2, 1.0), (smooth, 0.0, 1e-6)):
        found = one.analyse(field)
        assert float(torch.linalg.vector_norm(found)) == pytest.approx(grid.norm(field), rel=1e-9)
        assert least <= float(found[-1]) / grid.norm(field) <= most


def test_an_error_moves_as_the_heat_equation_says():
    """A mode of the square under a residual that grows evenly, against a stiff integrator."""
    square = Box({"x": (0.0, 1.0), "y": (0.0, 2.0)})
    heat = Heat(square, diffusivity=0.2, conditions=[dirichlet(("x", "both")), neumann(("y", "both"))], initial=0.0)
    one, grid = defect(heat, 24)
    mode = torch.sin(PI * grid.points[:, 0]) * torch.cos(PI * grid.points[:, 1])
    rate = -0.4 * PI**2
    before, after, start = 2.0 * one.analyse(mode), 5.0 * one.analyse(mode), -0.5 * one.analyse(mode)
    found = one.advance(start, before, after, 0.3)
    wanted = solve_ivp(lambda t, e: rate * e + 2.0 + 10.0 * t, (0, 0.3), [-0.5], rtol=1e-11, atol=1e-12).y[0, -1]
    torch.testing.assert_close(one.values(grid) @ found[:-1], wanted * mode, rtol=1e-6, atol=1e-6)
    made = one.made(before, 0.3)
    assert made == pytest.approx(grid.norm(mode) * 2.0 * math.expm1(rate * 0.3) / rate, rel=1e-6)


def test_what_stays_in_a_mode_that_does_not_decay_adds_up():
    one, grid = line([neumann("boundary")])
    assert one.made(one.analyse(torch.ones_like(grid.weights)), 4.0) == pytest.approx(4.0 * math.sqrt(2.0), rel=1e-6)


def test_a_flux_drives_the_error_through_its_face():
    """Steady: 0.3 e'' = 0 with e = 0 below and 0.3 e' = h above is e = h (x - 0.5) / 0.3."""
    one, grid = line([dirichlet(LOWER), neumann(UPPER)])
    drive = one.analyse(torch.zeros_like(grid.weights), {UPPER: torch.tensor([0.6], dtype=torch.float64)})
    found = one.advance(torch.zeros_like(drive), drive, drive, 200.0)
    x = grid.points[:, 0] - 0.5
    assert grid.norm(one.values(grid) @ found[:-1] - 2.0 * x) < 2e-2 * grid.norm(2.0 * x)


def test_growth_beyond_the_range_of_numbers_is_infinite_and_no_exception():
    one, grid = line([neumann("boundary")], reaction=1e4)
    error = one.analyse(torch.ones_like(grid.weights))
    assert float(one.advance(error, error, error, 1.0).max()) > 1e300 and one.made(error, 1.0) > 1e290


@pytest.mark.parametrize(
    ("name", "mutated"),
    [
        ("phi_functions", lambda z, n: [torch.exp(z), torch.ones_like(z), torch.ones_like(z)]),
        ("phi_functions", lambda z, n: [each.flip(0) for each in module.phi(z, n)]),
    ],
    ids=["no decay of what drives", "rates of other modes"],
)
def test_a_wrong_step_is_noticed(monkeypatch, name, mutated):
    monkeypatch.setattr(module, "phi", module.phi_functions, raising=False)
    monkeypatch.setattr(module, name, mutated)
    with pytest.raises(AssertionError):
        test_an_error_moves_as_the_heat_equation_says()


def test_a_boundary_term_that_is_left_out_is_noticed(monkeypatch):
    exact = Forcing.__init__

    def without(self, heat, grid):
        exact(self, heat, grid)
        self.outflow = {face: terms | {(): 0.0 * terms[()]} for face, terms in self.outflow.items()}

    monkeypatch.setattr(Forcing, "__init__", without)
    with pytest.raises(AssertionError):
        test_a_robin_condition_has_the_rates_of_its_transcendental_equation()
