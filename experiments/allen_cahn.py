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

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.interpolate import BarycentricInterpolator
from scipy.stats import qmc
from torch import Tensor

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.lab import plots
from grassvp.lab.records import Record
from grassvp.pde.slabs import Slabs, solve_in_slabs

FINE = (41, 401)  # times and places of the grid on which errors are measured
LAYERS = (-0.5, 0.5)  # where the initial values change their sign
TOLERANCE = 1e-11  # of the reference in time


@dataclass(frozen=True)
class Config:
    """Options of the Allen-Cahn experiment."""

    diffusivity: float = 0.001
    """D"""
    width: int = 80
    """neurons in the hidden layer of each slab"""
    free_width: int = 320
    """width of the random features beside those of equal width; 0 leaves them out"""
    slabs: int = 6
    """slabs of time, of one length"""
    iterations: int = 100
    """Levenberg-Marquardt iterations in each slab"""
    interior: int = 1000
    """collocation points of the equation in each slab, half of them gathered around the layers"""
    boundary: int = 240
    """rows of the conditions in each slab"""
    initial_weight: float = 3.0
    """weight of the initial rows of a slab, whose error the slabs after it inherit"""
    modes: int = 380
    """Chebyshev points of the reference in half of the box; it is compared with one of three quarters as many"""
    seed: int = 0
    """seed of the features and points"""
    bar: float = 3e-3
    """relative L2 error to be reached"""

    def __post_init__(self) -> None:
        """Check what the library would not."""
        if not 0 < self.diffusivity <= 1:
            raise ArgumentError(f"diffusivity must be in (0, 1], got {self.diffusivity}")
        if self.free_width < 0 or self.modes < 8:
            raise ArgumentError(f"free_width must be >= 0 and modes >= 8, got {self.free_width} and {self.modes}")


def run(config: Config, record: Record) -> None:
    """Solve by variable projection, by random features and by the reference, and store what the figures need."""
    truth = reference(config.diffusivity, config.modes)
    record.metrics["reference_difference"] = relative(reference(config.diffusivity, 3 * config.modes // 4), truth)
    with record.progress("variable projection", config.slabs * config.iterations) as show:
        solution = solved(config, config.width, config.iterations, show)
    u = on_grid(solution)
    record.metrics.update(relative_l2_error=relative(u, truth), max_error=float(np.abs(u - truth).max()))
    record.metrics.update(seconds=solution.elapsed, passed=relative(u, truth) <= config.bar)
    times, places = grid()
    record.arrays("field", times=times, places=places, solution=u, reference=truth)
    store_errors(record, "varpro", u, truth)
    for name, width in (("equal", config.width), ("free", config.free_width)):
        if width:
            features = solved(config, width, 0)
            values = on_grid(features)
            record.metrics[f"random_features_{name}_relative_l2_error"] = relative(values, truth)
            record.metrics[f"random_features_{name}_seconds"] = features.elapsed
            store_errors(record, f"random_features_{name}", values, truth)


def solved(config: Config, width: int, iterations: int, *callbacks: Callable[..., object]) -> Slabs:
    """The solution by slabs of one width."""
    rng = np.random.default_rng(config.seed)
    return solve_in_slabs(
        allen_cahn(config.diffusivity, config.initial_weight),
        config.slabs,
        gv.features.mlp(2, (width,)),
        interior=gathered(config.interior, thickness(config.diffusivity), rng),
        boundary=config.boundary,
        seed=rng,
        initial_parameters=layered(width, 1 / config.slabs, thickness(config.diffusivity), rng),
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


def layered(width: int, end: float, thin: float, rng: np.random.Generator) -> np.ndarray:
    """Theta of neurons for times up to `end`, the steeper the closer they are to a layer."""
    scale = 2 * thin
    places, times = drawn_to_layers(rng.uniform(0, 1, width), scale), rng.uniform(0, 1, width)
    away = np.abs(np.abs(places) - LAYERS[1])
    by_x = np.clip(np.exp(rng.uniform(0, math.log(4), width)) / np.hypot(scale, away), 2.0, max(1 / thin, 3.0))
    by_t = 0.5 * rng.standard_normal(width) * np.minimum(by_x, 8.0)
    by_x *= rng.choice([-1.0, 1.0], width)
    return np.concatenate([np.stack([by_t / end, by_x], 1).ravel(), -(by_t * times + by_x * places)])


def grid() -> tuple[np.ndarray, np.ndarray]:
    """Times and places at which errors are measured."""
    return np.linspace(0.0, 1.0, FINE[0]), np.linspace(-1.0, 1.0, FINE[1])


def on_grid(solution: Slabs) -> np.ndarray:
    """The solution there, (times, places)."""
    t, x = np.meshgrid(*grid(), indexing="ij")
    return np.asarray(solution.predict(np.stack([t.ravel(), x.ravel()], 1))).reshape(t.shape)


def relative(u: np.ndarray, truth: np.ndarray) -> float:
    """||u - truth|| / ||truth||."""
    return float(np.linalg.norm(u - truth) / np.linalg.norm(truth))


def store_errors(record: Record, name: str, u: np.ndarray, truth: np.ndarray) -> None:
    """Relative error at each time."""
    errors = np.linalg.norm(u - truth, axis=1) / np.linalg.norm(truth, axis=1)
    record.table(name, {"time": grid()[0], "relative_l2_error": errors})


def figures(record: Record) -> None:
    """The solution with its error, and the error over time."""
    field = record.read_arrays("field")
    t, x, u, truth = field["times"], field["places"], field["solution"], field["reference"]
    figure, axes = plots.figure(1, 3, title="Allen-Cahn equation, variable projection in slabs of time")
    plots.heatmap(axes[0], t, x, u, "u", title="solution")
    moments = {f"t = {t[k]:.2f}": u[k] for k in (0, 10, 20, 40)}
    plots.curves(axes[1], x, moments, xlabel="x", title="layers form")
    title = f"error (relative L2 {record.metrics['relative_l2_error']:.1e})"
    plots.heatmap(axes[2], t, x, u - truth, "u - reference", title=title, diverging=True)
    record.figure("solution", figure)
    figure, ax = plots.figure(1, 1, size=(5.4, 3.6), title="Error over time")
    curves = {}
    for name, label in (
        ("varpro", f"VarPro, {record.config['width']} neurons"),
        ("random_features_equal", f"random features, {record.config['width']}"),
        ("random_features_free", f"random features, {record.config['free_width']}"),
    ):
        if f"{name}.csv" in record.files:
            table = record.read_table(name)
            curves[label] = (table["time"], table["relative_l2_error"])
    plots.convergence(ax, curves, xlabel="t", ylabel="relative L2 error")
    record.figure("error", figure)
