"""Equations with known solutions that experiments, benchmarks and tests solve.

The sources of the published figures that they are compared with are in the documentation of the benchmark.
"""

import math

import torch
from torch import Tensor

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError
from grassvp.pde import PDE, Box, Condition, dirichlet, initial

__all__ = [
    "advection",
    "harmonic",
    "heat",
    "heat_in_dimensions",
    "helmholtz",
    "layer",
    "poisson",
    "poisson_in_dimensions",
]

PI = math.pi
Columns = dict[str, Tensor]


def poisson() -> PDE:
    """-(u_xx + u_yy) = f on [0, 1]^2, u = sin(pi x) sin(pi y), zero on the boundary."""
    return PDE(
        Box({"x": (0, 1), "y": (0, 1)}),
        equation=lambda u, x: -u.laplacian(),
        source=lambda x: 2 * PI**2 * _waves(x, 1, 1),
        conditions=[Condition("boundary")],
        exact=lambda x: _waves(x, 1, 1),
    )


def helmholtz(wavenumber: float = 1.0) -> PDE:
    """u_xx + u_yy + k^2 u = f on [0, 1]^2, u = sin(pi x) sin(4 pi y), zero on the boundary."""
    return PDE(
        Box({"x": (0, 1), "y": (0, 1)}),
        equation=lambda u, x: u.laplacian() + wavenumber**2 * u.value,
        source=lambda x: (wavenumber**2 - 17 * PI**2) * _waves(x, 1, 4),
        conditions=[Condition("boundary")],
        exact=lambda x: _waves(x, 1, 4),
    )


def heat(diffusivity: float = 0.25) -> PDE:
    """u_t = D u_xx on [0, 1]^2, u = exp(-D pi^2 t) sin(pi x), zero at the two ends."""
    if not diffusivity > 0:
        raise ArgumentError(f"diffusivity must be > 0, got {diffusivity}")
    return PDE(
        Box({"t": (0, 1), "x": (0, 1)}),
        equation=lambda u, x: u.d("t") - diffusivity * u.d("x", "x"),
        conditions=[
            initial(lambda x: torch.sin(PI * x["x"])),
            dirichlet(("x", "lower")),
            dirichlet(("x", "upper")),
        ],
        exact=lambda x: torch.exp(-diffusivity * PI**2 * x["t"]) * torch.sin(PI * x["x"]),
    )


def advection(speed: float = 1.0) -> PDE:
    """u_t + c u_x = 0 on [0, 1]^2, u = sin(2 pi (x - c t)), given where it flows in, at x = 0 for c > 0."""
    if not speed > 0:
        raise ArgumentError(f"speed must be > 0, got {speed}")

    def exact(x: Columns) -> Tensor:
        return torch.sin(2 * PI * (x["x"] - speed * x["t"]))

    return PDE(
        Box({"t": (0, 1), "x": (0, 1)}),
        equation=lambda u, x: u.d("t") + speed * u.d("x"),
        conditions=[initial(exact), dirichlet(("x", "lower"), exact)],
        exact=exact,
    )


def layer(epsilon: float = 0.01) -> PDE:
    """-eps u'' + u' = 1 on [0, 1], u(0) = u(1) = 0: a layer of width eps at x = 1."""
    if not epsilon > 0:
        raise ArgumentError(f"epsilon must be > 0, got {epsilon}")

    def exact(x: Columns) -> Tensor:
        below = math.exp(-1 / epsilon)
        return x["x"] - (torch.exp((x["x"] - 1) / epsilon) - below) / (1 - below)

    return PDE(
        Box({"x": (0, 1)}),
        equation=lambda u, x: -epsilon * u.d("x", "x") + u.d("x"),
        source=1.0,
        conditions=[Condition("boundary")],
        exact=exact,
    )


def poisson_in_dimensions(dimension: int = 5) -> PDE:
    """-laplacian u = f on [0, 1]^d, u = sum_i cos(pi x_i), given on the boundary."""
    names = _names(dimension)

    def exact(x: Columns) -> Tensor:
        return sum(torch.cos(PI * x[name]) for name in names)  # pyright: ignore[reportReturnType]

    return PDE(
        Box(dict.fromkeys(names, (0, 1))),
        equation=lambda u, x: -u.laplacian(),
        source=lambda x: PI**2 * exact(x),
        conditions=[Condition("boundary", exact)],
        exact=exact,
    )


def heat_in_dimensions(dimension: int = 4) -> PDE:
    """u_t = 1/4 laplacian u for (t, x) in [0, 1]^(1 + d), u = exp(-t) sum_i sin(2 x_i), given on the boundary."""
    names = _names(dimension)

    def exact(x: Columns) -> Tensor:
        return torch.exp(-x["t"]) * sum(torch.sin(2 * x[name]) for name in names)

    return PDE(
        Box({"t": (0, 1)} | dict.fromkeys(names, (0, 1))),
        equation=lambda u, x: u.d("t") - 0.25 * u.laplacian(*names),
        conditions=[initial(exact), Condition([(name, "both") for name in names], exact)],
        exact=exact,
    )


def harmonic(dimension: int = 10) -> PDE:
    """Laplacian u = 0 on [0, 1]^d, d even, u = x_1 x_2 + x_3 x_4 + ..., given on the boundary."""
    if dimension % 2:
        raise ArgumentError(f"dimension must be even, got {dimension}")
    names = _names(dimension)

    def exact(x: Columns) -> Tensor:
        return sum(x[a] * x[b] for a, b in zip(names[::2], names[1::2], strict=True))  # pyright: ignore[reportReturnType]

    return PDE(
        Box(dict.fromkeys(names, (0, 1))),
        equation=lambda u, x: u.laplacian(),
        conditions=[Condition("boundary", exact)],
        exact=exact,
    )


def _waves(x: Columns, first: int, second: int) -> Tensor:
    return torch.sin(first * PI * x["x"]) * torch.sin(second * PI * x["y"])


def _names(dimension: int) -> list[str]:
    return [f"x{i + 1}" for i in range(check_count(dimension, "dimension"))]
