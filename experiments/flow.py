"""Gradient flow on the Grassmannian, integrated, beside its closed form: logistic law, Oja's flow, rank kept.

One output: the squared cosine c between targets and subspace follows c' = 2 ||y||^2 c (1 - c). Several outputs: the
flow is span exp(Y Y^T t) U(0). On the regularised Grassmannian it is exp(Y Y^T t) Phi(0) itself: it keeps the rank of
its start, and the value tends to half the sum of the eigenvalues that this rank cannot reach. The integrated side knows
nothing of the exponential; the errors are the differences of the two sides.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.lab.toys import check_eigenvalues, toy_targets
from grassvp.theory.closed_forms import flow_limit, flow_values, logistic_cosines
from grassvp.theory.flows import gradient_flow

SMALLEST_COSINE, LARGEST_COSINE = 1e-6, 0.3  # squared cosines that the logistic starts have
FIRST_RATIO, LAST_RATIO = 1e-4, 200.0  # ||Phi||^2 / lam where the integrated linear flow starts and ends
FAR = 30.0  # mu_1 t up to which the closed form is drawn; beyond it the start's rounding has grown to a higher rank
RANK_LEVEL = 1e-9  # singular values below this times the largest do not count


@dataclass(frozen=True)
class Config:
    """Options of the flow experiment."""

    rows: int = 12
    """rows m of the targets"""
    n: int = 3
    """dimension of the subspaces, and columns of Phi"""
    eigenvalues: tuple[float, ...] = (3.0, 2.5, 2.0, 1.0, 0.4)
    """eigenvalues of Y Y^T for several outputs"""
    regularization: float = 0.1
    """lam of the linear flow, > 0"""
    seed: int = 0
    """seed of the targets and the starts"""
    starts: int = 5
    """starts of the logistic and of Oja's flow"""
    times: int = 81
    """times at which the two sides are compared"""
    tolerance: float = 1e-12
    """relative error of a step of the integration"""


def run(config: Config, record: Record) -> None:
    """Integrate the three flows and store each as it is done."""
    check(config)
    logistic = stages.once(record, "logistic", lambda: logistic_law(config))
    record.metrics["logistic_largest_error"] = float(logistic["errors"].max())
    oja = stages.once(record, "oja", lambda: oja_law(config))
    record.metrics["oja_largest_distance"] = float(oja["distances"].max())
    record.metrics["oja_largest_value_error"] = float(oja["value_errors"].max())
    linear = stages.once(record, "linear", lambda: linear_law(config))
    record.metrics["linear_largest_distance"] = float(linear["distances"].max())
    record.metrics["linear_largest_value_error"] = float(linear["value_errors"].max())
    record.metrics["rank_kept"] = bool(np.all(measured_ranks(linear) == linear["ranks"][:, None]))
    left = (linear["far_values"][:, -1] - linear["limits"]) / linear["far_values"][:, 0]
    record.metrics["linear_value_left_to_limit"] = float(np.abs(left).max())
    record.metrics["largest_error"] = max(
        value for name, value in record.metrics.items() if name.endswith(("_error", "_distance"))
    )


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (("rows", 2), ("n", 1), ("seed", 0), ("starts", 1), ("times", 2)):
        check_count(getattr(config, name), name, least=least)
    if config.n >= config.rows:
        raise ArgumentError(f"n must be less than rows = {config.rows}, got {config.n}")
    mu = check_eigenvalues(config.eigenvalues, config.rows)
    inside, outside = mu[min(config.n, mu.size) - 1], mu[config.n] if config.n < mu.size else 0.0
    if not inside - outside > 1e-2 * mu[0]:
        raise ArgumentError(
            f"eigenvalues must have a gap of 1% behind the largest {min(config.n, mu.size)}, got {inside:g} and "
            f"{outside:g}: the flow would take too long"
        )
    if check_nonnegative(config.regularization, "regularization") == 0:
        raise ArgumentError("regularization must be > 0, got 0")
    if not 0 < check_nonnegative(config.tolerance, "tolerance") < 1:
        raise ArgumentError(f"tolerance must be between 0 and 1, got {config.tolerance}")


def logistic_law(config: Config) -> dict[str, Any]:
    """Squared cosines along the integrated flow and by the logistic law, (starts, times), for ||y|| = 1."""
    rng = np.random.default_rng([config.seed, 0])
    y = toy_targets((1.0,), config.rows, rng)
    cosines = np.geomspace(SMALLEST_COSINE, LARGEST_COSINE, config.starts)
    times = np.linspace(0.0, 0.5 * np.log(1.0 / SMALLEST_COSINE) + 4.0, config.times)
    measured, closed = [], []
    for cosine in cosines:
        start = start_at(y, float(cosine), config.n, rng)
        flow = gradient_flow(y, start, times, tolerance=config.tolerance)
        measured.append(np.sum(np.einsum("tmn,mk->tnk", flow.points, y) ** 2, axis=(1, 2)))
        closed.append(logistic_cosines(y, start, times))
    errors = np.abs(np.array(measured) - np.array(closed))
    return {"times": times, "measured": np.array(measured), "closed": np.array(closed), "errors": errors}


def start_at(y: np.ndarray, cosine: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthonormal basis (m, n) whose span has that squared cosine with the unit vector y."""
    draw = rng.standard_normal((len(y), n))
    normal = np.linalg.qr(draw - y @ (y.T @ draw))[0]
    return np.concatenate([np.sqrt(cosine) * y + np.sqrt(1.0 - cosine) * normal[:, :1], normal[:, 1:]], axis=1)


def oja_law(config: Config) -> dict[str, Any]:
    """Values above the minimum and distances to the closed form along Oja's flow, (starts, times)."""
    rng = np.random.default_rng([config.seed, 1])
    Y = toy_targets(config.eigenvalues, config.rows, rng)
    mu = np.append(np.sort(config.eigenvalues)[::-1], 0.0)
    last = min(config.n, mu.size - 1)
    times = np.linspace(0.0, 8.0 / (mu[last - 1] - mu[last]), config.times)
    flows = [
        gradient_flow(Y, rng.standard_normal((config.rows, config.n)), times, tolerance=config.tolerance)
        for _ in range(config.starts)
    ]
    minimum = 0.5 * mu[last:].sum()
    return {
        "times": times,
        "gaps": np.array([flow.values for flow in flows]) - minimum,
        "closed_gaps": np.array([flow.closed_values for flow in flows]) - minimum,
        "distances": np.array([flow.distances for flow in flows]),
        "value_errors": np.array([np.abs(flow.values - flow.closed_values) / flow.closed_values[0] for flow in flows]),
    }


def linear_law(config: Config) -> dict[str, Any]:
    """The linear flow from a start of every rank 1 ... n, (ranks, times), and its value far beyond, in closed form."""
    rng = np.random.default_rng([config.seed, 2])
    Y = toy_targets(config.eigenvalues, config.rows, rng)
    lam, mu = config.regularization, np.append(np.sort(config.eigenvalues)[::-1], 0.0)
    times = np.linspace(0.0, 0.5 * np.log(LAST_RATIO / FIRST_RATIO) / mu[0], config.times)
    ranks = np.arange(1, config.n + 1)
    far = np.linspace(0.0, FAR / mu[0], 2 * config.times)
    flows, far_values, limits, singular = [], [], [], []
    for rank in ranks:
        start = rng.standard_normal((config.rows, rank)) @ rng.standard_normal((rank, config.n))
        start *= np.sqrt(FIRST_RATIO * lam) / np.linalg.norm(start, 2)
        flow = gradient_flow(Y, start, times, regularization=lam, tolerance=config.tolerance)
        flows.append(flow)
        far_values.append(flow_values(Y, start, far, regularization=lam))
        limits.append(flow_limit(Y, start))
        singular.append(np.linalg.svd(flow.points, compute_uv=False))
    return {
        "times": times,
        "ranks": ranks,
        "values": np.array([flow.values for flow in flows]),
        "distances": np.array([flow.distances for flow in flows]),
        "value_errors": np.array([np.abs(flow.values - flow.closed_values) / flow.closed_values[0] for flow in flows]),
        "singular": np.array(singular),
        "far_times": far,
        "far_values": np.array(far_values),
        "limits": np.array(limits),
    }


def measured_ranks(linear: dict[str, np.ndarray]) -> np.ndarray:
    """Numerical rank of the integrated Phi(t), (ranks, times)."""
    singular = linear["singular"]
    return np.sum(singular > RANK_LEVEL * singular[:, :, :1], axis=2)


def figures(record: Record) -> None:
    """The three laws with the errors of the integration below them, and the singular values of the linear flow."""
    if stages.has(record, "linear"):
        _laws_figure(record)
        _rank_figure(record)


def _laws_figure(record: Record) -> None:
    figure, axes = plots.figure(
        2, 3, size=(12.8, 6.6), title="Gradient flows, integrated (lines) and in closed form (dots)"
    )
    logistic, oja, linear = (record.read_arrays(name) for name in ("logistic", "oja", "linear"))
    top = max(record.config["eigenvalues"])
    for number, (measured, closed) in enumerate(zip(logistic["measured"], logistic["closed"], strict=True)):
        color = _shade(number, len(logistic["measured"]))
        axes[0, 0].plot(logistic["times"], measured, color=color, linestyle="-", label=f"c(0) = {closed[0]:.0e}")
        _dots(axes[0, 0], logistic["times"], closed, color)
    axes[0, 0].set(ylabel="squared cosine c", title="one output: logistic law")
    axes[0, 0].legend(loc="lower right")
    noise = 1e-16 * top
    for number, (gap, closed) in enumerate(zip(oja["gaps"], oja["closed_gaps"], strict=True)):
        color = _shade(number, len(oja["gaps"]))
        axes[0, 1].plot(top * oja["times"], np.maximum(gap, noise), color=color, linestyle="-")
        _dots(axes[0, 1], top * oja["times"], np.maximum(closed, noise), color)
    axes[0, 1].set(ylabel="value above the minimum", yscale="log", title="several outputs: Oja's flow")
    for number, rank in enumerate(linear["ranks"]):
        color, dashes = plots.PALETTE[number % 7], plots.DASHES[number % 7]
        x, y = top * linear["times"], linear["values"][number]
        axes[0, 2].plot(x, y, color=color, linestyle="-", linewidth=2.2, label=f"rank {rank}")
        axes[0, 2].plot(top * linear["far_times"], linear["far_values"][number], color=color, linestyle=":")
        axes[0, 2].axhline(linear["limits"][number], color="#999999", linewidth=0.8, linestyle="--")
        axes[1, 2].plot(x[1:], _positive(linear["distances"][number, 1:]), color=color, linestyle=dashes)
    axes[0, 2].plot([], [], color="#555555", linestyle=":", label="closed form")
    axes[0, 2].plot([], [], color="#999999", linewidth=0.8, linestyle="--", label="limit")
    axes[0, 2].set(ylabel="value", title="regularised: linear flow from low rank")
    axes[0, 2].legend(loc="upper right", ncols=2, columnspacing=1.0, handlelength=1.6)
    for number, errors in enumerate(logistic["errors"]):
        color = _shade(number, len(logistic["errors"]))
        axes[1, 0].plot(logistic["times"][1:], _positive(errors[1:]), color=color, linestyle="-")
    for number, errors in enumerate(oja["distances"]):
        color = _shade(number, len(oja["distances"]))
        axes[1, 1].plot(top * oja["times"][1:], _positive(errors[1:]), color=color, linestyle="-")
    times = ("time $\\|y\\|^2 t$", "time $\\mu_1 t$", "time $\\mu_1 t$")
    ylabels = ("error of c", "distance to closed form (rad)", "distance to closed form (rad)")
    for ax, ylabel in zip(axes[1], ylabels, strict=True):
        ax.set(ylabel=ylabel, yscale="log", title="error of the integration")
        _whole_decades(ax)
    for row in axes:
        for ax, xlabel in zip(row, times, strict=True):
            ax.set_xlabel(xlabel)
            ax.grid(True)
    record.figure("laws", figure)


def _rank_figure(record: Record) -> None:
    linear = record.read_arrays("linear")
    ranks, top = linear["ranks"], max(record.config["eigenvalues"])
    figure, axes = plots.figure(
        1,
        len(ranks),
        size=(max(3.4 * len(ranks), 5.0), 3.6),
        title="Singular values of Φ(t) along the linear flow: the rank of the start is kept",
        sharey=True,
        squeeze=False,
    )
    for ax, rank, singular in zip(axes[0], ranks, linear["singular"], strict=True):
        for number, values in enumerate(singular.T):
            beyond = number >= rank
            color, dashes = (plots.PALETTE[1], "--") if beyond else (plots.PALETTE[0], "-")
            sizes = np.maximum(values / np.sqrt(record.config["regularization"]), 1e-20)
            ax.plot(top * linear["times"], sizes, color=color, linestyle=dashes)
        ax.set(xlabel="time $\\mu_1 t$", yscale="log", title=f"start of rank {rank}")
        ax.grid(True)
    axes[0, 0].set_ylabel("singular value / $\\sqrt{\\lambda}$")
    for label, color, dashes in (
        ("within the rank of the start", plots.PALETTE[0], "-"),
        ("beyond it (rounding)", plots.PALETTE[1], "--"),
    ):
        axes[0, 0].plot([], [], color=color, linestyle=dashes, label=label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    record.figure("rank", figure)


def _shade(number: int, count: int) -> Any:
    """The colour of one of several starts."""
    return plots.PALETTE[number] if count <= len(plots.PALETTE) else str(0.1 + 0.6 * number / count)


def _dots(ax: Any, x: np.ndarray, y: np.ndarray, color: Any) -> None:
    every = slice(None, None, max(1, len(x) // 16))
    ax.plot(x[every], y[every], color=color, linestyle="none", marker="o", markersize=3.5)


def _whole_decades(ax: Any) -> None:
    """Limits of a logarithmic y-axis at powers of ten, at least three decades apart."""
    low, high = np.floor(np.log10(ax.get_ylim()[0])), np.ceil(np.log10(ax.get_ylim()[1]))
    ax.set_ylim(10.0 ** min(low, high - 3), 10.0**high)


def _positive(values: np.ndarray) -> np.ndarray:
    """The values, NaN where a logarithm cannot show them."""
    return np.where(values > 0, values, np.nan)
