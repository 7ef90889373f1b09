"""Regression in one variable by variable projection: a smooth, a sharp or an oscillating function, or a CSV file.

Without --data the targets are an exact function at 1,000 points and the error is measured halfway between them:
  smooth  sin(2 pi x) + cos(4 pi x) / 2 on [0, 1]      runge  1 / (1 + 25 x^2) on [-1, 1]
  step    tanh(100 (x - 0.47)) on [0, 1]               three  frequencies 2, 10 and 26 pi on [0, 1]
With --data the last column of the file is the target and the others are inputs; every fifth row is held back.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import grassvp as gv
from grassvp.arrays import check_choice
from grassvp.errors import ArgumentError
from grassvp.lab import plots
from grassvp.lab.records import Record

TARGETS = {
    "smooth": (0.0, lambda x: np.sin(2 * np.pi * x) + 0.5 * np.cos(4 * np.pi * x)),
    "runge": (-1.0, lambda x: 1.0 / (1.0 + 25.0 * x**2)),
    "step": (0.0, lambda x: np.tanh(100.0 * (x - 0.47))),
    "three": (0.0, lambda x: sum(a * np.sin(f * np.pi * x) for a, f in ((1.0, 2), (0.5, 10), (0.2, 26)))),
}
"""Left end of the interval, whose right end is 1, and the function."""


@dataclass(frozen=True)
class Config:
    """Options of the regression experiment."""

    target: str = "smooth"
    """smooth, runge, step or three"""

    width: int = 16
    """neurons in the hidden layer"""
    seed: int = 0
    """seed of the random-feature draws"""
    rows: int = 1000
    """number of training points of the built-in function"""
    activation: str = "tanh"
    """tanh, sin, softplus, gelu, erf or relu"""
    regularization: float = 1e-22
    """ridge parameter; raise it for noisy data"""
    max_iterations: int = 1000
    """Levenberg-Marquardt iterations"""
    data: str = ""
    """CSV file: inputs, then the target in the last column; a first line of names is skipped"""


def run(config: Config, record: Record) -> None:
    """Fit, and store the fit on the points held back."""
    train, test = (built_in(config), built_in(config, held_back=True)) if not config.data else from_csv(config.data)
    network = gv.features.mlp(train[0].shape[1], (config.width,), activation=config.activation, seed=config.seed)
    problem = gv.SeparableProblem(network, *train, regularization=config.regularization)
    with record.progress("regression", config.max_iterations) as show:
        solution = gv.solve(
            problem, seed=config.seed, max_iterations=config.max_iterations, tolerance=1e-19, callbacks=[show]
        )
    random_features = gv.solve(problem, seed=config.seed, max_iterations=0)
    record.solution("varpro", solution)
    record.metrics.update(
        relative_l2_error=relative_l2(solution, *test),
        training_relative_l2_error=relative_l2(solution, *train),
        random_features_relative_l2_error=relative_l2(random_features, *test),
        iterations=solution.iterations,
        value=solution.value,
        rank=solution.rank,
    )
    record.counts["varpro_evaluations"] = int(solution.history["evaluations"].max(initial=0))
    record.arrays(
        "fit",
        inputs=test[0],
        targets=test[1],
        varpro=solution.predict(test[0]),
        random=random_features.predict(test[0]),
    )
    record.status = solution.status


def built_in(config: Config, *, held_back: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (rows, 1) and exact targets; the points held back lie halfway between the others."""
    if config.rows < 2:
        raise ArgumentError(f"rows must be >= 2, got {config.rows}")
    left, function = TARGETS[check_choice(config.target, "target", tuple(TARGETS))]
    x = np.linspace(left, 1.0, config.rows)
    x = (x[1:] + x[:-1]) / 2 if held_back else x
    return x[:, None], function(x)


def from_csv(path: str) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Training and held-back (inputs, targets) of a CSV file: every fifth row is held back."""
    if not Path(path).is_file():
        raise ArgumentError(f"data: there is no file {path!r}")
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    try:
        table = np.array([[float(entry) for entry in line.split(",")] for line in lines[has_header(lines) :] if line])
    except ValueError as error:
        raise ArgumentError(
            f"data: {path} must hold rows of numbers separated by commas, after at most one header line: {error}"
        ) from error
    if table.size and not np.isfinite(table).all():
        raise ArgumentError(f"data: {path} has NaN or infinite entries")
    if table.ndim != 2 or table.shape[0] < 5 or table.shape[1] < 2:
        raise ArgumentError(f"data: {path} must have at least 5 rows and 2 columns, got {table.shape}")
    held_back = np.arange(len(table)) % 5 == 4
    return tuple((part[:, :-1], part[:, -1]) for part in (table[~held_back], table[held_back]))  # pyright: ignore[reportReturnType]


def has_header(lines: list[str]) -> bool:
    """Whether the first line holds names and not numbers."""
    try:
        [float(entry) for line in lines[:1] for entry in line.split(",")]
    except ValueError:
        return True
    return False


def relative_l2(solution: gv.Solution, inputs: np.ndarray, targets: np.ndarray) -> float:
    """||prediction - targets|| / ||targets||; the absolute error where the targets are zero."""
    scale = np.linalg.norm(targets) or 1.0
    return float(np.linalg.norm(solution.predict(inputs) - targets) / scale)


def figures(record: Record) -> None:
    """Fit, residual and convergence."""
    fit, history = record.read_arrays("fit"), record.read_table("varpro")
    order = np.argsort(fit["inputs"][:, 0])
    x, y = fit["inputs"][order, 0], fit["targets"][order]
    figure, axes = plots.figure(1, 3, title="Regression by variable projection")
    if fit["inputs"].shape[1] == 1:
        plots.curves(axes[0], x, {"target": y, "VarPro": fit["varpro"][order]}, title="fit", ylabel="y")
    else:
        axes[0].plot(y, fit["varpro"][order], ".")
        axes[0].set(xlabel="target", ylabel="prediction", title="fit")
    residuals = {
        name: (x, np.abs(fit[key][order] - y)) for name, key in (("VarPro", "varpro"), ("random features", "random"))
    }
    plots.convergence(axes[1], residuals, xlabel="x", ylabel="|error|", title="error at points held back")
    curves = {
        "value": (history["iteration"] + 1, history["value"]),
        "distance": (history["iteration"] + 1, history["distance"]),
    }
    plots.convergence(
        axes[2], curves, xlabel="iteration + 1", ylabel="value; distance (rad)", title="convergence", log_x=True
    )
    record.figure("fit", figure)
