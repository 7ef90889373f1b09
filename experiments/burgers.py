"""Burgers' equation u_t + u u_x = nu u_xx from u = -sin(pi x) on [0, 1] x [-1, 1], zero at both ends, in slabs of time.

Around t = 1 / pi a layer forms at x = 0 whose width is of the order of nu. Newton's method around variable projection
solves one space-time network after the other; beside it, random features of the same and of another width (the same
draws, output layer only, by Newton's method too). The exact solution is the quotient of integrals by Cole and Hopf,
evaluated by Gauss-Hermite quadrature. The errors are measured on a fine grid that no method sees.

The default takes half a minute. --width 160 --slabs 32 --iterations 80 --candidates 2 --boundary 600 with --interior
2000 --bar 1e-8 came to 4.7e-10 (median of five seeds; worst 1.3e-9), and for the sharper layer with --nu 0.01
--interior 2400 --bar 1e-6 to 7.8e-8 (worst 2.0e-6), in six minutes each on two cores, eight to ten on one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.lab import plots, slab_runs
from grassvp.lab.records import Record
from grassvp.pde.slabs import Slabs, solve_in_slabs

NODES = 200  # of the Gauss-Hermite quadrature
FINE = (101, 401)  # times and places of the grid on which errors are measured; as many places again in the layer


@dataclass(frozen=True)
class Config(slab_runs.Options):
    """Options of the Burgers experiment."""

    nu: float = 0.1 / math.pi
    """viscosity"""
    slabs: int = 12
    """slabs of time"""
    interior: int = 800
    """collocation points of the equation in each slab, half of them gathered around x = 0"""

    def __post_init__(self) -> None:
        """Check what the library would not."""
        super().__post_init__()
        if not 0 < self.nu <= 1:
            raise ArgumentError(f"nu must be in (0, 1], got {self.nu}")


def run(config: Config, record: Record) -> None:
    """Solve by variable projection and by random features, and store what the figures need."""
    times, places = np.linspace(0.0, 1.0, FINE[0]), grid_places(config.nu)
    t, x = np.meshgrid(times, places, indexing="ij")
    store_newton(
        record, slab_runs.compare(record, config, partial(solved, config), times, places, exact(t, x, config.nu))
    )


def solved(config: Config, width: int, iterations: int, *callbacks: Callable[..., object]) -> Slabs:
    """The solution by slabs of one width."""
    rng = np.random.default_rng(config.seed)
    return solve_in_slabs(
        burgers(config.nu, config.initial_weight),
        config.slabs,
        gv.features.mlp(2, (width,)),
        interior=gathered(config.interior, spread(config.nu), rng),
        boundary=config.boundary,
        candidates=config.candidates,
        draw=lambda rng, begin, end: layered(width, begin, end, config.nu, rng),
        seed=rng,
        max_iterations=iterations,
        callbacks=callbacks,
    )


def burgers(nu: float, initial_weight: float = 1.0) -> gv.pde.PDE:
    """The equation with its conditions."""
    return gv.pde.PDE(
        gv.pde.Box({"t": (0, 1), "x": (-1, 1)}),
        lambda u, x: u.d("t") + u.value * u.d("x") - nu * u.d("x", "x"),
        conditions=[
            gv.pde.initial(lambda x: -torch.sin(math.pi * x["x"]), weight=initial_weight),
            gv.pde.dirichlet(("x", "both")),
        ],
        linear=False,
    )


def exact(t: np.ndarray, x: np.ndarray, nu: float) -> np.ndarray:
    """The solution by Cole and Hopf, at t >= 0.

    u = -E[sin(pi y) f(y)] / E[f(y)], y = x - sqrt(4 nu t) z, f(y) = exp(-cos(pi y) / (2 pi nu)), z with the weight
    exp(-z^2).
    """
    z, weights = np.polynomial.hermite.hermgauss(NODES)
    y = x[..., None] - np.sqrt(4 * nu * t)[..., None] * z
    exponent = -np.cos(math.pi * y) / (2 * math.pi * nu)
    f = weights * np.exp(exponent - exponent.max(-1, keepdims=True))
    return -(np.sin(math.pi * y) * f).sum(-1) / f.sum(-1)


def spread(nu: float) -> float:
    """How far from x = 0 points and neurons gather evenly; beyond that they thin out like 1 / |x|."""
    return min(10 * nu, 1.0)


def gathered(count: int, width: float, rng: np.random.Generator) -> Tensor:
    """Points (count, 2) of the box, every other one with a place that is drawn to x = 0."""
    unit = qmc.Sobol(2, rng=rng).random_base2(math.ceil(math.log2(count)))[:count]
    places = 2 * unit[:, 1] - 1
    drawn = width * np.sinh(math.asinh(1 / width) * places)
    return torch.from_numpy(np.stack([unit[:, 0], np.where(np.arange(count) % 2, drawn, places)], 1))


def layered(width: int, begin: float, end: float, nu: float, rng: np.random.Generator) -> np.ndarray:
    """Theta of neurons for times in an interval, the steeper the closer they are to x = 0."""
    scale = spread(nu)
    places = scale * np.sinh(math.asinh(1 / scale) * rng.uniform(-1, 1, width))
    steepness = np.exp(rng.uniform(0, math.log(4), width)) / np.hypot(scale, places)
    return slab_runs.waves(places, np.clip(steepness, 2.0, max(0.5 / nu, 3.0)), (begin, end), rng)


def grid_places(nu: float) -> np.ndarray:
    """Places at which errors are measured: evenly in the box, and evenly in the layer."""
    return np.unique(np.concatenate([np.linspace(-1.0, 1.0, FINE[1]), spread(nu) * np.linspace(-0.5, 0.5, FINE[1])]))


def store_newton(record: Record, solution: Slabs) -> None:
    """Change of the field and residual in each Newton step of the first slab."""
    steps = solution.solutions[0].problem.linearized.steps
    columns = {name: np.array([getattr(step, name) for step in steps]) for name in ("change", "residual", "fraction")}
    record.table("newton", {"step": np.arange(1, len(steps) + 1), **columns})


def figures(record: Record) -> None:
    """The solution with its error, and Newton's method beside the errors over time."""
    slab_runs.solution_figure(
        record, "Burgers' equation, variable projection in slabs of time", "the layer forms", (0, 25, 40, 100)
    )
    figure, axes = plots.figure(1, 2, title="Newton's method around variable projection")
    newton = record.read_table("newton")
    lines = {"change of the field, relative": newton["change"], "residual": newton["residual"]}
    plots.convergence(
        axes[0],
        {label: (newton["step"], y) for label, y in lines.items()},
        xlabel="Newton step, after the race where there was one",
        ylabel="",
        title="first slab, C alone between stages of training",
    )
    slab_runs.errors_figure(axes[1], record, "error over time")
    record.figure("convergence", figure)
