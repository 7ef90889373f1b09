"""The Allen-Cahn equation u_t = D u_xx + 5 (u - u^3) from u = x^2 cos(pi x), in slabs of time.

The box is [0, 1] x [-1, 1] with u = -1 at both ends. u tends to 1 where it begins above zero and to -1 elsewhere,
with layers of width sqrt(2 D / 5) at x = -1/2 and 1/2 between; errors that are made early grow like exp(5 t).
Newton's method around variable projection solves one space-time network after the other; beside it, random features
of the same and of another width. The reference is Chebyshev collocation in space with an implicit Runge-Kutta method
of order five in time, at two resolutions that are compared.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator
from scipy.stats import qmc
from torch import Tensor

import grassvp as gv
from grassvp.arrays import check_count
from grassvp.errors import ArgumentError
from grassvp.lab import plots, slab_runs
from grassvp.lab.records import Record
from grassvp.pde.slabs import Slabs, solve_in_slabs

FINE = (41, 401)  # times and places of the grid on which errors are measured
LAYERS = (-0.5, 0.5)  # where the initial values change their sign
TOLERANCE = 1e-11  # of the reference in time


@dataclass(frozen=True)
class Config(slab_runs.Options):
    """Options of the Allen-Cahn experiment."""

    diffusivity: float = 0.001
    """D"""
    width: int = 80
    """neurons in the hidden layer of each slab"""
    slabs: int = 12
    """slabs of time"""
    free_width: int = 320
    """width of the random features beside those of equal width; 0 leaves them out"""
    modes: int = 380
    """Chebyshev points of the reference in half of the box; it is compared with one of three quarters as many"""
    bar: float = 1e-3
    """relative L2 error to be reached"""

    def __post_init__(self) -> None:
        """Check what the library would not."""
        super().__post_init__()
        if not 0 < self.diffusivity <= 1:
            raise ArgumentError(f"diffusivity must be in (0, 1], got {self.diffusivity}")
        check_count(self.modes, "modes", least=8)


def run(config: Config, record: Record) -> None:
    """Solve by variable projection, by random features and by the reference, and store what the figures need."""
    truth = reference(config.diffusivity, config.modes)
    coarser = reference(config.diffusivity, 3 * config.modes // 4)
    record.metrics["reference_difference"] = slab_runs.relative(coarser, truth)
    slab_runs.compare(record, config, partial(solved, config), *grid(), truth)


def solved(config: Config, width: int, iterations: int, *callbacks: Callable[..., object]) -> Slabs:
    """The solution by slabs of one width."""
    rng = np.random.default_rng(config.seed)
    return solve_in_slabs(
        allen_cahn(config.diffusivity, config.initial_weight),
        config.slabs,
        gv.features.mlp(2, (width,)),
        interior=gathered(config.interior, thickness(config.diffusivity), rng),
        boundary=config.boundary,
        candidates=config.candidates,
        draw=lambda rng, begin, end: layered(width, begin, end, thickness(config.diffusivity), rng),
        seed=rng,
        max_iterations=iterations,
        callbacks=callbacks,
    )


def allen_cahn(diffusivity: float, initial_weight: float = 1.0) -> gv.pde.PDE:
    """The equation with its conditions, linearised first at its initial values."""
    return gv.pde.PDE(
        gv.pde.Box({"t": (0, 1), "x": (-1, 1)}),
        lambda u, x: u.d("t") - diffusivity * u.d("x", "x") - 5 * (u.value - u.value**3),
        conditions=[
            gv.pde.initial(lambda x: x["x"] ** 2 * torch.cos(math.pi * x["x"]), weight=initial_weight),
            gv.pde.dirichlet(("x", "both"), -1.0),
        ],
        linear=False,
        guess=lambda x: x["x"] ** 2 * torch.cos(math.pi * x["x"]),
    )


def reference(diffusivity: float, modes: int) -> np.ndarray:
    """The solution on the grid of times and places, (times, places), by Chebyshev collocation."""
    times, places = grid()
    x, D = chebyshev(2 * modes - 1)
    second = (D @ D)[1:modes]
    second = second[:, :modes] + second[:, : modes - 1 : -1]  # u is even in x: half of the points are unknown
    inner, edge = second[:, 1:], -second[:, 0]

    def rate(t: float, u: np.ndarray) -> np.ndarray:
        return diffusivity * (inner @ u + edge) + 5 * (u - u**3)

    def slope(t: float, u: np.ndarray) -> np.ndarray:
        return diffusivity * inner + np.diag(5 * (1 - 3 * u**2))

    start = (x**2 * np.cos(math.pi * x))[1:modes]
    found = solve_ivp(rate, (0, 1), start, "Radau", times, jac=slope, rtol=TOLERANCE, atol=TOLERANCE)
    half = np.pad(found.y, ((1, 0), (0, 0)), constant_values=-1.0)
    return BarycentricInterpolator(x, np.concatenate([half, half[::-1]]), rng=0)(places).T


def chebyshev(modes: int) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev points cos(pi j / n), (n + 1,), and the matrix of differentiation there.

    Source: L. N. Trefethen, Spectral Methods in MATLAB, 2000.
    """
    x = np.cos(math.pi * np.arange(modes + 1) / modes)
    c = np.where((np.arange(modes + 1) % modes) == 0, 2.0, 1.0) * (-1.0) ** np.arange(modes + 1)
    D = np.outer(c, 1 / c) / (x[:, None] - x + np.eye(modes + 1))
    return x, D - np.diag(D.sum(1))


def thickness(diffusivity: float) -> float:
    """Width of the layers between -1 and 1, tanh(x / thickness)."""
    return math.sqrt(2 * diffusivity / 5)


def gathered(count: int, width: float, rng: np.random.Generator) -> Tensor:
    """Points (count, 2) of the box, every other one with a place that is drawn to a layer."""
    unit = qmc.Sobol(2, rng=rng).random_base2(math.ceil(math.log2(count)))[:count]
    drawn = drawn_to_layers(unit[:, 1], 5 * width)
    return torch.from_numpy(np.stack([unit[:, 0], np.where(np.arange(count) % 2, drawn, 2 * unit[:, 1] - 1)], 1))


def drawn_to_layers(unit: np.ndarray, width: float) -> np.ndarray:
    """Places from numbers in the unit interval: half of them around each layer, evenly within `width` of it."""
    right = unit >= 0.5
    within = 2 * np.where(right, 2 * unit - 1, 2 * unit) - 1
    return np.where(right, LAYERS[1], LAYERS[0]) + width * np.sinh(math.asinh(0.5 / width) * within)


def layered(width: int, begin: float, end: float, thin: float, rng: np.random.Generator) -> np.ndarray:
    """Theta of neurons for times in an interval, the steeper the closer they are to a layer."""
    places = drawn_to_layers(rng.uniform(0, 1, width), 2 * thin)
    steepness = np.exp(rng.uniform(0, math.log(4), width)) / np.hypot(2 * thin, np.abs(places) - LAYERS[1])
    return slab_runs.waves(places, np.clip(steepness, 2.0, max(1 / thin, 3.0)), (begin, end), rng)


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Times and places at which errors are measured."""
    return np.linspace(0.0, 1.0, FINE[0]), np.linspace(-1.0, 1.0, FINE[1])


def figures(record: Record) -> None:
    """The solution with its error, and the error over time."""
    title = "Allen-Cahn equation, variable projection in slabs of time"
    slab_runs.solution_figure(record, title, "layers form", (0, 10, 20, 40))
    figure, ax = plots.figure(1, 1, size=(5.4, 3.6), title="Error over time")
    slab_runs.errors_figure(ax, record)
    record.figure("error", figure)
