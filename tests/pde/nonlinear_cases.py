"""Nonlinear equations with known solutions, and the nonlinear least squares that they are, by autograd and scipy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from grassvp import pde
from grassvp.features import mlp
from tests.oracles import torch_features

PI = torch.pi
LINE = pde.Box({"x": (0, 1)})
SQUARE = pde.Box({"x": (-0.5, 0.5), "y": (-0.5, 0.5)})


@dataclass(frozen=True)
class Case:
    """An equation, its network and how it is collocated."""

    equation: pde.PDE
    widths: tuple[int, ...]
    interior: int
    boundary: int
    goal: float  # relative error to be reached

    @property
    def problem(self):
        network = mlp(self.equation.domain.dimension, self.widths)
        return self.equation.collocate(network, interior=self.interior, boundary=self.boundary)


def wave(x):
    return torch.sin(2 * PI * x["x"]) + x["x"]


def cubic(**options: Any) -> Case:
    """u'' + u^3 = f, u = sin 2 pi x + x."""
    equation = pde.PDE(
        LINE,
        lambda u, x: u.d("x", "x") + u.value**3,
        lambda x: -4 * PI**2 * torch.sin(2 * PI * x["x"]) + wave(x) ** 3,
        [pde.Condition("boundary", wave)],
        exact=wave,
        linear=False,
        **options,
    )
    return Case(equation, (12,), 60, 2, 1e-7)


def front(x):
    return -torch.tanh(2.0 * x["x"])


def steady_burgers() -> Case:
    """u u' = nu u'' with nu = 1/4 on (-1, 1): the front -tanh(x / 2 nu)."""
    equation = pde.PDE(
        pde.Box({"x": (-1, 1)}),
        lambda u, x: u.value * u.d("x") - 0.25 * u.d("x", "x"),
        conditions=[pde.Condition("boundary", front)],
        exact=front,
        linear=False,
    )
    return Case(equation, (8,), 80, 2, 1e-7)


def system() -> Case:
    """u'' + u v = f, v' - u^2 = g, u = sin 2 x, v = exp x; the unknowns read one network."""
    u = lambda x: torch.sin(2 * x["x"])  # noqa: E731
    v = lambda x: torch.exp(x["x"])  # noqa: E731
    equation = pde.PDE(
        LINE,
        lambda w, x: (w["u"].d("x", "x") + w["u"].value * w["v"].value, w["v"].d("x") - w["u"].value ** 2),
        (lambda x: -4 * u(x) + u(x) * v(x), lambda x: v(x) - u(x) ** 2),
        [pde.Condition("boundary", u, of="u"), pde.Condition(("x", "lower"), v, of="v")],
        exact=(u, v),
        linear=False,
        unknowns=("u", "v"),
    )
    return Case(equation, (8,), 40, 3, 1e-7)


def scherk(x):
    return torch.log(torch.cos(x["y"]) / torch.cos(x["x"]))


def minimal_surface() -> Case:
    """(1 + u_y^2) u_xx - 2 u_x u_y u_xy + (1 + u_x^2) u_yy = 0: Scherk's surface u = log(cos y / cos x)."""

    def operator(u, x):
        p, q = u.d("x"), u.d("y")
        return (1 + q**2) * u.d("x", "x") - 2 * p * q * u.d("x", "y") + (1 + p**2) * u.d("y", "y")

    equation = pde.PDE(SQUARE, operator, conditions=[pde.Condition("boundary", scherk)], exact=scherk, linear=False)
    return Case(equation, (16,), 100, 64, 1e-4)


CASES = {"cubic": cubic, "steady Burgers": steady_burgers, "system": system, "minimal surface": minimal_surface}


def cubic_rows(case: Case, problem, theta, C, mix=None):
    """W r of the cubic equation at theta and C, (rows,), written out with torch's own derivatives."""
    x = problem.origin.interior

    def u(at):
        return (torch_features(theta, at, case.widths) @ C)[:, 0] if mix is None else mix(at)

    ones = torch.ones_like(x)
    du = lambda at: torch.func.jvp(u, (at,), (ones,))[1]  # noqa: E731
    bent = torch.func.jvp(du, (x,), (ones,))[1]
    equation = bent + u(x) ** 3 - case.equation.equations.source({"x": x[:, 0]})
    ends = torch.tensor([[0.0], [1.0]]).double()
    return problem.weights * torch.cat([equation, u(ends) - wave({"x": ends[:, 0]})])


def draw(problem, seed=0, scale=2.0):
    return problem.features.sample(np.random.default_rng(seed), problem.inputs, scale)


def coefficients(problem, theta):
    return problem.project(problem.features(theta, problem.inputs)).coefficients
