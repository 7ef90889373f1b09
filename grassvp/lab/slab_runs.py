"""What experiments on an equation in slabs of time do: variable projection, and random features beside it.

Errors are relative L2 errors against a given solution on a fine grid of times and places that no method sees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count
from grassvp.lab import plots
from grassvp.lab.records import Record
from grassvp.pde.slabs import Slabs
from grassvp.solvers import Status

__all__ = ["Options", "compare", "errors_figure", "relative", "solution_figure", "waves"]

SPEED = 0.5  # of waves, root mean square; that of the solutions is at most 1
METHODS = {"varpro": "VarPro", "random_features_equal": "random features", "random_features_free": "random features"}


@dataclass(frozen=True)
class Options:
    """Options of an experiment in slabs of time."""

    width: int = 60
    """neurons in the hidden layer of each slab"""
    free_width: int = 240
    """width of the random features beside those of equal width; 0 leaves them out"""
    slabs: int = 6
    """slabs of time"""
    iterations: int = 100
    """Levenberg-Marquardt iterations in each slab"""
    candidates: int = 1
    """starts that race in each slab: where the one before ended, and fresh ones"""
    interior: int = 1000
    """collocation points of the equation in each slab, half of them gathered around the layers"""
    boundary: int = 240
    """rows of the conditions in each slab"""
    initial_weight: float = 3.0
    """weight of the initial rows of a slab, whose error the slabs after it inherit"""
    seed: int = 0
    """seed of the features and points"""
    bar: float = 1e-5
    """relative L2 error to be reached"""

    def __post_init__(self) -> None:
        """Check what the library would not."""
        for name in ("width", "slabs", "candidates", "interior", "boundary"):
            check_count(getattr(self, name), name)
        for name in ("free_width", "iterations"):
            check_count(getattr(self, name), name, least=0)


def compare(
    record: Record,
    options: Options,
    solve: Callable[..., Slabs],
    times: np.ndarray,
    places: np.ndarray,
    exact: np.ndarray,
) -> Slabs:
    """Solve by variable projection and by random features of both widths, and store what the figures need.

    Args:
        record: of the experiment.
        options: of the experiment.
        solve: the solution from a width, a number of iterations and callbacks.
        times: of the grid on which errors are measured, (times,).
        places: of the grid, (places,).
        exact: the solution there, (times, places).

    Returns:
        What variable projection found.
    """
    with record.progress("variable projection") as show:
        solution = solve(options.width, options.iterations, show)
    record.status = solution.status if solution.status is Status.INTERRUPTED else record.status
    seen, u, truth = _on_grid(solution, times, places, exact)
    error = relative(u, truth)
    record.metrics.update(relative_l2_error=error, max_error=float(np.abs(u - truth).max()))
    record.metrics.update(seconds=solution.elapsed, slabs=len(solution.solutions))
    record.metrics["passed"] = len(solution.solutions) == options.slabs and error <= options.bar
    record.arrays("field", times=seen, places=places, solution=u, exact=truth)
    _store_errors(record, "varpro", seen, u, truth)
    for name, width in (("random_features_equal", options.width), ("random_features_free", options.free_width)):
        if width and solution.status is not Status.INTERRUPTED:
            features = solve(width, 0)
            seen, u, truth = _on_grid(features, times, places, exact)
            record.metrics[f"{name}_width"] = width
            record.metrics[f"{name}_relative_l2_error"] = relative(u, truth)
            record.metrics[f"{name}_seconds"] = features.elapsed
            _store_errors(record, name, seen, u, truth)
    return solution


def waves(places: np.ndarray, steepness: np.ndarray, ends: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Theta of a layer of neurons that are waves: sigma(s (x - place - c (t - time))), (3 neurons,).

    Their speeds c are normal and of the order of the solution's, not of the length of a slab: over a short slab they
    change as little as the solution does. s is the steepness with either sign, and times are drawn from the slab.

    Args:
        places: (neurons,) where each of them is at its time.
        steepness: (neurons,), > 0.
        ends: first and last time of the slab.
        rng: of the times, speeds and signs.
    """
    times = rng.uniform(*ends, len(places))
    by_x = steepness * rng.choice([-1.0, 1.0], len(places))
    by_t = SPEED * rng.standard_normal(len(places)) * by_x
    return np.concatenate([np.stack([by_t, by_x], 1).ravel(), -(by_t * times + by_x * places)])


def relative(u: np.ndarray, exact: np.ndarray) -> float:
    """||u - exact|| / ||exact||."""
    return float(np.linalg.norm(u - exact) / np.linalg.norm(exact))


def solution_figure(record: Record, title: str, moments: str, shown: tuple[int, ...]) -> None:
    """The solution over time and place, at some of the times, and its error."""
    field, error = record.read_arrays("field"), record.metrics["relative_l2_error"]
    t, x, u = field["times"], field["places"], field["solution"]
    figure, axes = plots.figure(1, 3, title=title)
    plots.heatmap(axes[0], t, x, u, "u", title="solution")
    plots.curves(axes[1], x, {f"t = {t[k]:.2f}": u[k] for k in shown if k < len(t)}, xlabel="x", title=moments)
    difference = u - field["exact"]
    plots.heatmap(axes[2], t, x, difference, "u - exact", title=f"error (relative L2 {error:.1e})", diverging=True)
    record.figure("solution", figure)


def errors_figure(ax: Any, record: Record, title: str = "") -> None:
    """Error over time of each method, onto one axis."""
    curves = {}
    for name, label in METHODS.items():
        if f"{name}.csv" in record.files:
            table, width = record.read_table(name), record.metrics.get(f"{name}_width", record.config["width"])
            curves[f"{label}, {width} neurons"] = (table["time"], table["relative_l2_error"])
    plots.convergence(ax, curves, xlabel="t", ylabel="relative L2 error", title=title)


def _on_grid(
    solution: Slabs, times: np.ndarray, places: np.ndarray, exact: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times that the slabs reach, and there the solution and the exact one, (times, places)."""
    reached = times <= solution.times[-1]
    t, x = np.meshgrid(times[reached], places, indexing="ij")
    u = np.asarray(solution.predict(np.stack([t.ravel(), x.ravel()], 1))).reshape(t.shape)
    return times[reached], u, exact[reached]


def _store_errors(record: Record, name: str, times: np.ndarray, u: np.ndarray, exact: np.ndarray) -> None:
    """Relative error at each time."""
    errors = np.linalg.norm(u - exact, axis=1) / np.linalg.norm(exact, axis=1)
    record.table(name, {"time": times, "relative_l2_error": errors})
