"""Joint training with a fast output layer against variable projection: the gap is of order eps.

The joint flow theta' = -grad_theta L, eps C' = -grad_C L of a small tanh network is integrated for several eps beside
the flow theta' = -grad psi(theta) of variable projection, from the same theta. Theory: max_t ||theta_eps - theta|| is
O(eps) on finite times. The order is the slope of log gap against log eps.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import grassvp as gv
from grassvp import theory
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.reduced import ReducedProblem

ORDER = 1.0  # what theory says
ORDER_TOLERANCE = 0.1


@dataclass(frozen=True)
class Config:
    """Options of the two-timescales experiment."""

    width: int = 2
    """neurons in the hidden layer"""
    rows: int = 10
    """number of data points on [-1, 1]"""
    seed: int = 0
    """seed of the targets and of the start"""
    regularization: float = 0.1
    """ridge parameter, > 0"""
    epsilons: tuple[float, ...] = (1e-2, 3.2e-3, 1e-3, 3.2e-4, 1e-4, 3.2e-5, 1e-5)
    """time scales of the output layer, at least two"""
    time: float = 5.0
    """time up to which both flows are followed"""
    times: int = 51
    """times at which they are compared"""
    tolerance: float = 1e-10
    """relative error of a step of the integration; gaps below about 100 times this cannot be seen"""


def run(config: Config, record: Record) -> None:
    """Follow both flows, and store them with the order of the gap."""
    check(config)
    flows = stages.once(record, "flows", lambda: follow(config))
    order, local = float(flows["order"]), flows["local_orders"]
    record.metrics.update(
        order=order,
        lowest_local_order=float(local.min()),
        highest_local_order=float(local.max()),
        local_order_at_smallest_epsilon=float(local[-1]),
        largest_gap=float(flows["gaps"][0]),
        smallest_gap=float(flows["gaps"][-1]),
        passed=bool(abs(order - ORDER) <= ORDER_TOLERANCE),
    )
    record.counts["evaluations"] = int(flows["evaluations"].sum())


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (("width", 1), ("rows", 2), ("seed", 0), ("times", 2)):
        check_count(getattr(config, name), name, least=least)
    for name in ("regularization", "time"):
        if check_nonnegative(getattr(config, name), name) == 0:
            raise ArgumentError(f"{name} must be > 0, got 0")
    if not all(math.isfinite(eps) and eps > 0 for eps in config.epsilons) or len(set(config.epsilons)) < 2:
        raise ArgumentError(f"epsilons must be at least two distinct numbers > 0, got {config.epsilons}")
    if not 0 < check_nonnegative(config.tolerance, "tolerance") < 1:
        raise ArgumentError(f"tolerance must be between 0 and 1, got {config.tolerance}")


def small_network(config: Config) -> tuple[ReducedProblem, np.ndarray]:
    """The noisy function sin(3 x) - x / 2 under a small network, and a random theta to start from."""
    rng = np.random.default_rng(config.seed)
    x = np.linspace(-1.0, 1.0, config.rows)
    y = np.sin(3.0 * x) - 0.5 * x + 0.1 * rng.standard_normal(config.rows)
    network = gv.features.mlp(1, (config.width,), bias_feature=False)
    problem = gv.SeparableProblem(network, x[:, None], y, regularization=config.regularization)
    return ReducedProblem(problem), problem.features.sample(rng, problem.inputs, 2.0).numpy()


def follow(config: Config) -> dict[str, Any]:
    """Both flows at all times, their distances (epsilons, times), and the slopes."""
    problem, start = small_network(config)
    times = np.linspace(0.0, config.time, config.times)
    study = theory.two_time_scales(problem, start, times, config.epsilons, tolerance=config.tolerance)
    logs = np.log(study.epsilons), np.log(study.gaps)
    return {
        "epsilons": study.epsilons,
        "times": study.times,
        "trajectories": study.trajectories,
        "reduced": study.reduced_trajectory,
        "distances": np.linalg.norm(study.trajectories - study.reduced_trajectory, axis=2),
        "gaps": study.gaps,
        "order": study.order,
        "local_orders": study.local_orders,
        "fitted_gaps": np.exp(logs[1].mean() + study.order * (logs[0] - logs[0].mean())),
        "evaluations": study.evaluations,
    }


def figures(record: Record) -> None:
    """Trajectories, distances over time, and the gap against eps."""
    if not stages.has(record, "flows"):
        return
    flows = record.read_arrays("flows")
    figure, axes = plots.figure(
        1, 3, size=(13.4, 3.8), title="Joint training with a fast output layer, eps C' = -∇L, against VarPro"
    )
    _trajectories(axes[0], flows)
    _distances(axes[1], flows)
    _gaps(axes[2], flows)
    record.figure("gap", figure)


def _trajectories(ax: Any, flows: dict[str, np.ndarray]) -> None:
    times, largest = flows["times"], flows["epsilons"][0]
    for number, (reduced, joint) in enumerate(zip(flows["reduced"].T, flows["trajectories"][0].T, strict=True)):
        color = plots.PALETTE[number % len(plots.PALETTE)]
        ax.plot(times, reduced, color=color, linestyle="-", label="VarPro" if number == 0 else None)
        every = slice(None, None, max(1, len(times) // 12))
        label = f"joint, eps = {largest:.1e}" if number == 0 else None
        ax.plot(times[every], joint[every], color=color, linestyle="none", marker="o", markersize=3.5, label=label)
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.25 * (high - low))
    ax.set(xlabel="time", ylabel="parameters θ", title="the same flow to the eye")
    ax.grid(True)
    ax.legend(loc="upper right", ncols=2)


def _distances(ax: Any, flows: dict[str, np.ndarray]) -> None:
    shades = np.linspace(0.0, 0.85, len(flows["epsilons"]))
    for shade, eps, distances in zip(shades, flows["epsilons"], flows["distances"], strict=True):
        shown = distances > 0
        color = plots.matplotlib.colormaps[plots.SEQUENTIAL](shade)
        ax.plot(flows["times"][shown], distances[shown], color=color, linestyle="-", label=f"{eps:.1e}")
    ax.set(xlabel="time", ylabel="$\\|\\theta_{eps} - \\theta\\|$", yscale="log", title="distance to the VarPro flow")
    ax.grid(True)
    ax.legend(title="eps", loc="center left", bbox_to_anchor=(1.0, 0.5))


def _gaps(ax: Any, flows: dict[str, np.ndarray]) -> None:
    eps, gaps = flows["epsilons"], flows["gaps"]
    ax.plot(eps, gaps, color=plots.PALETTE[0], linestyle="none", marker="o", label="measured")
    ax.plot(
        eps,
        flows["fitted_gaps"],
        color=plots.PALETTE[0],
        linestyle="-",
        label=f"fit: slope {float(flows['order']):.3f}",
    )
    ax.plot(eps, 0.5 * gaps[-1] * eps / eps[-1], color=plots.PALETTE[6], linestyle="--", label="slope 1")
    ax.set(
        xlabel="eps", ylabel="largest distance over time", xscale="log", yscale="log", title="the gap is of order eps"
    )
    ax.grid(True)
    ax.legend(loc="upper left")
