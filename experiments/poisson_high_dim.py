"""Equations in many dimensions by variable projection of one hidden layer, the points drawn anew between rounds.

  poisson   -laplacian u = f on [0, 1]^5, u = sum cos(pi x_i)
  heat      u_t = 1/4 laplacian u for t and four coordinates in [0, 1], u = exp(-t) sum sin(2 x_i)
  harmonic  laplacian u = 0 on [0, 1]^10, u = x1 x2 + x3 x4 + x5 x6 + x7 x8 + x9 x10
with u given on the boundary. All starts are dense: no neuron knows that the solutions are sums over coordinates. Beside
it random features of equal width, and of a larger one. For eight digits of the first take --width 96 --interior 3400
--boundary 1700 --rounds 30, two and a half minutes on one core.
"""

import time
from dataclasses import dataclass

import numpy as np

import grassvp as gv
from grassvp.arrays import check_choice, check_count
from grassvp.lab import equations, plots
from grassvp.lab.records import Record
from grassvp.pde import PDE

EQUATIONS = {
    "poisson": equations.poisson_in_dimensions,
    "heat": equations.heat_in_dimensions,
    "harmonic": equations.harmonic,
}


@dataclass(frozen=True)
class Config:
    """Options of the experiment."""

    equation: str = "poisson"
    """poisson, heat or harmonic"""
    width: int = 64
    """neurons in the hidden layer"""
    interior: int = 3000
    """points of the equation in each round"""
    boundary: int = 1300
    """points of the conditions in each round"""
    rounds: int = 6
    """how often the points are drawn"""
    max_iterations: int = 25
    """Levenberg-Marquardt iterations of a round"""
    max_seconds: float = 600.0
    """time limit of all rounds"""
    free_width: int = 600
    """width of the wider random features"""
    seed: int = 0
    """seed of points, starts and features"""


def run(config: Config, record: Record) -> None:
    """Solve in rounds, and by random features of both widths."""
    equation = EQUATIONS[check_choice(config.equation, "equation", tuple(EQUATIONS))]()
    network = gv.features.mlp(equation.domain.dimension, (config.width,))
    errors: list[tuple[int, float, float]] = []
    with record.progress("VarPro in rounds", config.rounds * config.max_iterations) as show:
        solution = equation.solve(
            network,
            interior=config.interior,
            boundary=config.boundary,
            rounds=config.rounds,
            max_iterations=config.max_iterations,
            max_time=config.max_seconds,
            seed=config.seed,
            callbacks=[show],
        )
    record.solution("varpro", solution)
    record.status = solution.status
    accuracy = equation.accuracy(solution)
    record.metrics.update(relative_l2_error=accuracy.relative_l2_error, max_error=accuracy.max_error)
    record.metrics.update(seconds=solution.elapsed, iterations=solution.iterations, value=solution.value)
    record.metrics["relative_residual"] = equation.residuals(solution, boundary=config.boundary).relative
    for name, width in (("random_features", config.width), ("free_width", config.free_width)):
        begin = time.perf_counter()
        error = _random_features(equation, width, config)
        record.metrics[f"{name}_relative_l2_error"] = error
        record.metrics[f"{name}_seconds"] = time.perf_counter() - begin
        errors.append((width, error, record.metrics[f"{name}_seconds"]))
    errors.append((config.width, accuracy.relative_l2_error, solution.elapsed))
    record.table("errors", dict(zip(("width", "relative_l2_error", "seconds"), np.array(errors).T, strict=True)))


def _random_features(equation: PDE, width: int, config: Config) -> float:
    """Error of the best random draw of a width, on the points of a round or four rows for each feature."""
    interior = max(config.interior, 4 * check_count(width, "width"))
    problem = equation.collocate(
        gv.features.mlp(equation.domain.dimension, (width,)),
        interior=interior,
        boundary=max(config.boundary, interior // 3),
        sampling="sobol",
        seed=config.seed,
    )
    return equation.relative_l2_error(gv.solve(problem, seed=config.seed, max_iterations=0))


def figures(record: Record) -> None:
    """The objective over the rounds, and error over time of what was compared."""
    history, errors = record.read_table("varpro"), record.read_table("errors")
    figure, axes = plots.figure(1, 2, title=f"{record.config['equation'].capitalize()} in many dimensions")
    curves = {}
    for number in np.unique(history["round"]):
        own = history["round"] == number
        curves[f"round {int(number) + 1}"] = (history["seconds"][own], history["value"][own])
    plots.convergence(axes[0], curves, xlabel="seconds", ylabel="value", title="objective, new points in each round")
    legend = axes[0].get_legend()
    if legend is not None:
        legend.remove()
    labels = ("random features, equal width", "random features, wider", "VarPro")
    points = {
        f"{label} ({int(width)})": (np.array([seconds]), np.array([error]))
        for label, width, error, seconds in zip(
            labels, errors["width"], errors["relative_l2_error"], errors["seconds"], strict=True
        )
    }
    plots.convergence(axes[1], points, xlabel="seconds", ylabel="relative L2 error", title="error and time", log_x=True)
    record.figure("convergence", figure)
