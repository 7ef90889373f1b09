"""The heat equation of a march: quadrature, driving terms, rates in a span against closed forms; what is refused."""

import math
import re

import numpy as np
import pytest
import torch

from grassvp import features
from grassvp.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from grassvp.pde.conditions import Condition, dirichlet, neumann, periodic, robin
from grassvp.pde.datum import Datum
from grassvp.pde.domain import Box
from grassvp.pde.forcing import Forcing
from grassvp.pde.galerkin import Galerkin
from grassvp.pde.heat import Heat
from grassvp.pde.quadrature import quadrature
from grassvp.pde.span import CUT, Span

LINE = Box({"x": (0.0, 1.0)})
SQUARE = Box({"x": (-1.0, 2.0), "y": (0.0, 0.5)})
CUBE = Box({"x": (0.0, 1.0), "y": (0.0, 2.0), "z": (0.0, 1.0)})


def close(found, wanted, rtol=1e-11, atol=1e-11):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(wanted), rtol=rtol, atol=atol)


@pytest.mark.parametrize("box", [LINE, SQUARE, CUBE], ids=repr)
@pytest.mark.parametrize("periodic_columns", [(), (0,)])
def test_quadrature_integrates_and_differentiates(box, periodic_columns):
    grid = quadrature(box, (9, 8, 10)[: box.dimension], periodic_columns, shift=0.3)
    assert float(grid.weights.sum()) == pytest.approx(float(box.lengths.prod()))
    rate = 2 * math.pi / float(box.lengths[0])
    x = grid.points[:, 0]
    if periodic_columns:
        values, slope = torch.sin(rate * x) ** 2, rate * torch.sin(2 * rate * x)
        integral = float(box.lengths.prod()) / 2
    else:
        values, slope = x**5, 5 * x**4
        low, high = float(box.lower[0]), float(box.upper[0])
        integral = (high**6 - low**6) / 6 * float(box.lengths[1:].prod())
    if box.dimension > 1:
        y, values, slope = grid.points[:, 1], values * grid.points[:, 1] ** 3, slope * grid.points[:, 1] ** 3
        across = values / y * 3
        integral *= float(box.upper[1] ** 4) / 4 / float(box.lengths[1])
        close(grid.gradient(values)[1], across, 1e-10, 1e-10)
    assert float(grid.weights @ values) == pytest.approx(integral, rel=1e-12)
    close(grid.gradient(values)[0], slope, 1e-10, 1e-10)
    assert grid.norm(torch.ones_like(x)) == pytest.approx(math.sqrt(float(box.lengths.prod())))


def test_faces_lie_on_the_boundary_and_periodic_ones_are_left_out():
    grid = quadrature(CUBE, (4, 5, 6), (1,))
    assert set(grid.faces) == {("x", "lower"), ("x", "upper"), ("z", "lower"), ("z", "upper")}
    points, weights = grid.faces["x", "upper"]
    assert points.shape == (30, 3) and bool((points[:, 0] == 1.0).all()) and float(weights.sum()) == pytest.approx(2.0)


def test_a_datum_knows_whether_it_needs_the_time():
    assert Datum(3.0, LINE, "f").steady and Datum(0.0, LINE, "f").is_zero
    assert Datum(lambda x: x["x"], LINE, "f").steady
    moving = Datum(lambda x: x["t"] ** 2 * x["x"], LINE, "f")
    assert not moving.steady and not moving.is_zero
    points = torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    close(moving(points, 2.0), torch.tensor([2.0, 4.0], dtype=torch.float64))
    times = torch.tensor([1.0, 3.0], dtype=torch.float64)
    close(moving.rate(lambda t: moving.on(t)(points), times), 2 * times * points[:, 0])
    with pytest.raises(NonFiniteError, match="f is NaN or infinite at 2 points at time 7"):
        Datum(lambda x: x["x"] / (x["t"] - 7), LINE, "f")(points, 7.0)


def manufactured():
    """A solution on the square with every kind of condition, and its equation by hand."""
    a = lambda x: 1.5 + torch.sin(x["x"]) * x["y"]  # noqa: E731
    u = lambda x: torch.exp(-x["t"]) * torch.sin(x["x"] + 2 * x["y"]) + x["t"] * x["y"]  # noqa: E731
    ux = lambda x: torch.exp(-x["t"]) * torch.cos(x["x"] + 2 * x["y"])  # noqa: E731
    uy = lambda x: 2 * torch.exp(-x["t"]) * torch.cos(x["x"] + 2 * x["y"]) + x["t"]  # noqa: E731

    def source(x):
        wave = torch.exp(-x["t"]) * torch.sin(x["x"] + 2 * x["y"])
        flow = a(x) * (-5 * wave) + torch.cos(x["x"]) * x["y"] * ux(x) + torch.sin(x["x"]) * uy(x)
        return -wave + x["y"] - flow - 0.3 * u(x)

    conditions = [
        dirichlet(("x", "lower"), u),
        neumann(("x", "upper"), ux),
        dirichlet(("y", "lower"), u),
        robin(("y", "upper"), 2.0, 0.5, lambda x: 2 * u(x) + 0.5 * uy(x)),
    ]
    start = lambda x: u(x | {"t": torch.zeros_like(x["x"])})  # noqa: E731
    heat = Heat(SQUARE, diffusivity=a, reaction=0.3, source=source, conditions=conditions, initial=start)
    return heat, u, ux, uy, a


def test_what_drives_the_equation_is_what_is_left_of_the_exact_solution():
    """v = u - G solves v_t = L v + F and the flux conditions with H, by finite differences of the exact u."""
    heat, u, _, _, a = manufactured()
    forcing, times, h = (
        Forcing(heat, quadrature(SQUARE, (6, 5), ())),
        torch.tensor([0.4, 1.1], dtype=torch.float64),
        1e-3,
    )
    points = forcing.grid.points
    assert not forcing.steady and not forcing.homogeneous and forcing.absorbing

    def v(at, t):
        return u(SQUARE.columns(at) | {"t": torch.full_like(at[:, 0], t)}) - forcing.lift(t, at)

    def shifted(i, size):
        moved = points.clone()
        moved[:, i] += size
        return moved

    for k, t in enumerate(times.tolist()):
        rate = (v(points, t + h) - v(points, t - h)) / (2 * h)
        L = 0.3 * v(points, t)
        for i in range(2):
            up, down = shifted(i, h), shifted(i, -h)
            middle = v(points, t)
            ahead, behind = a(SQUARE.columns(shifted(i, h / 2))), a(SQUARE.columns(shifted(i, -h / 2)))
            L = L + (ahead * (v(up, t) - middle) - behind * (middle - v(down, t))) / h**2
        close(forcing.volume(times)[:, k], rate - L, 1e-4, 1e-4)
        for face, H in forcing.flux(times).items():
            at = forcing.grid.faces[face][0]
            column = SQUARE.names.index(face[0])
            inward = at.clone()
            inward[:, column] -= h
            further = at.clone()
            further[:, column] -= 2 * h
            slope = (3 * v(at, t) - 4 * v(inward, t) + v(further, t)) / (2 * h)
            kappa = 0.0 if face[0] == "x" else 4.0
            scale = a(SQUARE.columns(at))
            close(H[:, k], scale * (slope + kappa * v(at, t)), 1e-4, 1e-4)


def galerkin(heat, width, scale, side, seed=0):
    grid = quadrature(heat.domain, (side,) * heat.domain.dimension, heat.periodic)
    checked = quadrature(heat.domain, (side + 3,) * heat.domain.dimension, heat.periodic, shift=0.3)
    network = features.mlp(heat.embedding.width, (width,))
    drawn = features.as_feature_map(network).sample(np.random.default_rng(seed), heat.embedding(grid.points), scale)
    return Galerkin(Span.of(heat, network, drawn, grid), Forcing(heat, grid), Forcing(heat, checked))


def robin_rates(count):
    """Roots k of k tan(k) = 2: u'(0) = 0 and u'(1) + 2 u(1) = 0."""
    roots = []
    for j in range(count):
        low, high = j * math.pi, j * math.pi + math.pi / 2 - 1e-12
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if middle * math.tan(middle) < 2 else (low, middle)
        roots.append(-(low**2))
    return roots


SPECTRA = {
    "dirichlet": ([dirichlet("boundary")], [-((k * math.pi) ** 2) for k in (1, 2, 3)]),
    "neumann": ([neumann("boundary")], [-((k * math.pi) ** 2) for k in (0, 1, 2)]),
    "mixed": ([dirichlet(("x", "lower")), neumann(("x", "upper"))], [-(((k + 0.5) * math.pi) ** 2) for k in (0, 1, 2)]),
    "robin": ([neumann(("x", "lower")), robin(("x", "upper"), 2.0, 1.0)], robin_rates(3)),
    "periodic": ([periodic("x")], [0.0, -((2 * math.pi) ** 2), -((2 * math.pi) ** 2)]),
}


@pytest.mark.parametrize("name", SPECTRA)
def test_slowest_rates_are_the_eigenvalues_of_the_continuous_problem(name):
    conditions, wanted = SPECTRA[name]
    system = galerkin(Heat(LINE, diffusivity=1.0, conditions=conditions, initial=1.0), 40, 1.5, 80)
    found = system.rates.flip(0)[:3].tolist()
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-8)
    assert system.excess < 1e-8 and bool((system.rates <= 0).all())


def test_reaction_shifts_the_rates_and_variable_diffusivity_solves_sturm_liouville():
    shifted = galerkin(Heat(LINE, reaction=2.5, conditions=[dirichlet("boundary")], initial=1.0), 40, 1.5, 80)
    assert float(shifted.rates[-1]) == pytest.approx(2.5 - math.pi**2, rel=1e-9)
    # a = (1 + x)^2: u = (1 + x)^(-1/2) sin(k log(1 + x)) with k log 2 = j pi and rate -(k^2 + 1/4)
    heat = Heat(LINE, diffusivity=lambda x: (1 + x["x"]) ** 2, conditions=[dirichlet("boundary")], initial=1.0)
    found = galerkin(heat, 40, 1.5, 80).rates.flip(0)[:3].tolist()
    np.testing.assert_allclose(found, [-((j * math.pi / math.log(2)) ** 2 + 0.25) for j in (1, 2, 3)], rtol=1e-8)


def test_the_span_is_orthonormal_and_its_operator_symmetric():
    heat = Heat(SQUARE, diffusivity=0.3, conditions=[neumann("boundary")], initial=1.0)
    system = galerkin(heat, 60, 0.7, 20)
    span = system.span
    close(span.basis.T @ span.basis, torch.eye(span.rank, dtype=torch.float64))
    other = quadrature(SQUARE, (23, 23), ())
    leading = system.at(other.points)[:, -6:]
    close(leading.T @ (other.weights[:, None] * leading), torch.eye(6, dtype=torch.float64), 1e-6, 1e-6)
    assert system.asymmetry < 1e-3 and span.condition <= 1.01 / CUT
    assert span.distance(span) == pytest.approx(0.0, abs=1e-7)
    assert span.distance(galerkin(heat, 60, 0.7, 20, seed=1).span) > 0.1


def test_the_residual_vanishes_for_what_the_span_holds_and_not_otherwise():
    heat = Heat(LINE, conditions=[dirichlet("boundary")], initial=1.0)
    system = galerkin(heat, 40, 1.5, 80)
    points = system.span.grid.points
    smooth, rough = (
        system.residual(system.project(torch.sin(k * math.pi * points[:, 0]), 0.0), 0.0).norm for k in (1, 40)
    )
    assert smooth < 1e-8 < 1e-4 < rough


def test_a_sign_of_the_flux_term_that_is_wrong_is_noticed(monkeypatch):
    exact = Forcing.__init__

    def mutated(self, heat, grid):
        exact(self, heat, grid)
        self.outflow = {face: {i: -c for i, c in terms.items()} for face, terms in self.outflow.items()}

    monkeypatch.setattr(Forcing, "__init__", mutated)
    with pytest.raises(AssertionError):
        test_slowest_rates_are_the_eigenvalues_of_the_continuous_problem("robin")


REFUSED = {
    "domain must be a pde.Box": (lambda: Heat({"x": (0, 1)}, initial=1.0), ArgumentTypeError),
    "none of them called 't'": (lambda: Heat(Box({"t": (0, 1)}), initial=1.0), ArgumentError),
    "1 to 3 coordinates": (lambda: Heat(Box(dict.fromkeys("abcd", (0, 1))), initial=1.0), ArgumentError),
    "initial must be the value of u at time 0": (lambda: Heat(LINE, conditions=[neumann("boundary")]), ArgumentError),
    "diffusivity must be > 0 everywhere, got -1": (lambda: heat_with(diffusivity=-1.0), ArgumentError),
    "diffusivity must be > 0 everywhere, got 0": (lambda: heat_with(diffusivity=0.0), ArgumentError),
    "diffusivity must not depend on time": (lambda: heat_with(diffusivity=lambda x: 1 + x["t"]), ArgumentError),
    "initial must not depend on time": (lambda: heat_with(initial=lambda x: 1 + x["t"]), ArgumentError),
    "initial must be a number or have shape": (lambda: heat_with(initial=lambda x: torch.ones(2)), ArgumentError),
    "source is NaN or infinite": (lambda: heat_with(source=lambda x: x["x"] / 0.0), ArgumentError),
    "source failed: KeyError": (lambda: heat_with(source=lambda x: x["q"]), ArgumentError),
    "conditions: there is none on": (lambda: heat_with(conditions=[dirichlet(("x", "lower"))]), ArgumentError),
    "there is more than one on": (
        lambda: heat_with(conditions=[dirichlet("boundary"), neumann(("x", "upper"))]),
        ArgumentError,
    ),
    "there is more than one on ('x', 'lower')": (
        lambda: heat_with(conditions=[periodic("x"), dirichlet(("x", "lower"))]),
        ArgumentError,
    ),
    "'q' is no coordinate": (lambda: heat_with(conditions=[periodic("q")]), ArgumentError),
    "is periodic twice": (lambda: heat_with(conditions=[periodic("x"), periodic("x")]), ArgumentError),
    "conditions must be a list": (lambda: heat_with(conditions=["x"]), ArgumentTypeError),
    "takes no weights": (lambda: heat_with(conditions=[dirichlet("boundary", weight=2.0)]), ArgumentError),
    "without an operator": (
        lambda: heat_with(conditions=[Condition("boundary", operator=lambda u, x: 2 * u.value)]),
        ArgumentError,
    ),
    "a combination of u.value and u.normal": (
        lambda: heat_with(conditions=[Condition("boundary", operator=lambda u, x: u.d("x", "x"))]),
        ArgumentError,
    ),
    "reaction": (lambda: heat_with(reaction="fast"), ArgumentTypeError),
}


def heat_with(**changes):
    return Heat(LINE, **({"conditions": [neumann("boundary")], "initial": 1.0} | changes))


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message):
    build, kind = REFUSED[message]
    with pytest.raises(kind, match=re.escape(message)):
        build()


def test_boundary_means_the_faces_that_are_not_periodic():
    heat = Heat(SQUARE, conditions=[periodic("x"), dirichlet("boundary", 0.0)], initial=0.0)
    assert set(heat.values) == {("y", "lower"), ("y", "upper")} and heat.periodic == (0,)
    assert "periodic in x" in repr(heat) and "values on 2 faces" in repr(heat)
