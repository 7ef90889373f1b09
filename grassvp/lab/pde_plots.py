"""Figures of an experiment on an equation, drawn from what `pde_runs.compare` stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from grassvp.lab import plots
from grassvp.lab.records import Record

__all__ = ["convergence_figure", "field_figure"]

BASELINES = {"joint Adam": "joint_adam", "joint L-BFGS": "joint_lbfgs"}


def field_figure(record: Record, title: str, names: Sequence[str]) -> None:
    """The solution, the exact one and their difference over the plane."""
    field, relative = record.read_arrays("field"), record.metrics["relative_l2_error"]
    axes_of, u, exact = (field["first"], field["second"]), field["solution"], field["exact"]
    labels: dict[str, Any] = {"xlabel": names[0], "ylabel": names[1]}
    figure, axes = plots.figure(1, 3, title=title)
    plots.heatmap(axes[0], *axes_of, u, "u", title="solution", **labels)
    plots.heatmap(axes[1], *axes_of, exact, "u", title="exact", **labels)
    error = f"error (relative L2 {relative:.1e})"
    plots.heatmap(axes[2], *axes_of, u - exact, "u - exact", title=error, diverging=True, **labels)
    record.figure("solution", figure)


def convergence_figure(record: Record) -> None:
    """The objective over time, the error beside those of the baselines, and the way of the feature space."""
    if "trajectory.csv" not in record.files:
        return
    history, trajectory = record.read_table("varpro"), record.read_table("trajectory")
    figure, axes = plots.figure(1, 3, title="Convergence and the trajectory on the Grassmannian")
    _objective(axes[0], record, history)
    _errors(axes[1], record, trajectory)
    iteration = trajectory["iteration"] + 1
    moved = {
        "this step": (history["iteration"] + 1, history["distance"]),
        "left to the end": (iteration[:-1], trajectory["distance_to_end"][:-1]),
    }
    plots.convergence(
        axes[2], moved, xlabel="iteration + 1", ylabel="distance (rad)", title="distance of feature spaces", log_x=True
    )
    record.figure("convergence", figure)


def _objective(ax: plots.Axes, record: Record, history: dict[str, np.ndarray]) -> None:
    curves = {"VarPro": (history["seconds"], history["value"])}
    for label, name in BASELINES.items():
        if f"{name}_relative_l2_error" in record.metrics:
            baseline = record.read_table(name)
            curves[label] = (baseline["seconds"], baseline["value"])
    width = np.array([0.0, max(float(seconds[-1]) for seconds, _ in curves.values())])
    curves["random features"] = (width, np.full(2, record.metrics["random_features_value"]))
    plots.convergence(ax, curves, xlabel="seconds", ylabel="value", title="objective")


def _errors(ax: plots.Axes, record: Record, trajectory: dict[str, np.ndarray]) -> None:
    iteration = trajectory["iteration"] + 1
    curves = {"VarPro": (iteration, trajectory["relative_l2_error"])}
    for label, name in {**BASELINES, "random features": "random_features", "free width": "free_width"}.items():
        key = f"{name}_relative_l2_error"
        if key in record.metrics:
            curves[label] = (iteration, np.full(len(iteration), record.metrics[key]))
    plots.convergence(
        ax, curves, xlabel="iteration + 1", ylabel="relative L2 error", title="error, baselines at end", log_x=True
    )
