"""Infinite width: the value of random features tends to that of kernel ridge regression, and at what rate in n.

Features sigma(w . x + b) / sqrt(n) with Gaussian w and b have kernels K_n = Phi Phi^T that tend to K_inf, known in
closed form for erf and relu. Theory: f_lam(K_n) - f_lam(K_inf) has root mean square of order n^(-1/2) and a positive
mean of order 1 / n. Both slopes are fitted over many draws, with 95% intervals.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from grassvp import theory
from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.theory.kernels import KERNELS, Slope

THEORY = {"fluctuation": -0.5, "bias": -1.0}
SLOPE_TOLERANCE = 0.1
CONFIDENCE = 1.96  # standard errors on either side of a 95% interval


@dataclass(frozen=True)
class Config:
    """Options of the infinite-width experiment."""

    activations: tuple[str, ...] = ("erf", "relu")
    """erf, relu or both"""
    rows: int = 6
    """number of data points"""
    coordinates: int = 2
    """input coordinates, each uniform on [-1.5, 1.5]"""
    outputs: int = 1
    """columns of the Gaussian targets"""
    seed: int = 0
    """seed of the data and of the draws"""
    regularization: float = 1.0
    """ridge parameter, > 0"""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096)
    """widths n, at least two"""
    draws: int = 1000
    """independent draws at each width"""


def run(config: Config, record: Record) -> None:
    """Measure each activation, and store each as it is done."""
    check(config)
    within = []
    for activation in config.activations:
        study = stages.once(record, activation, lambda name=activation: measure(config, name))
        record.metrics[f"{activation}_limit"] = float(study["limit"])
        for kind, expected in THEORY.items():
            slope, low, high = (float(value) for value in study[f"{kind}_slope"])
            record.metrics[f"{activation}_{kind}_slope"] = slope
            record.metrics[f"{activation}_{kind}_slope_low"] = low
            record.metrics[f"{activation}_{kind}_slope_high"] = high
            within.append(abs(slope - expected) <= SLOPE_TOLERANCE)
    record.metrics["passed"] = bool(all(within))


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (("rows", 1), ("coordinates", 1), ("outputs", 1), ("seed", 0), ("draws", 2)):
        check_count(getattr(config, name), name, least=least)
    for activation in config.activations:
        check_choice(activation, "activations", KERNELS)
    if not config.activations or len(set(config.activations)) < len(config.activations):
        raise ArgumentError(f"activations must be one or more, each once, got {config.activations}")
    for width in config.widths:
        check_count(width, "widths")
    if len(set(config.widths)) < 2:
        raise ArgumentError(f"widths must have at least two distinct numbers, got {config.widths}")
    if check_nonnegative(config.regularization, "regularization") == 0:
        raise ArgumentError("regularization must be > 0, got 0: the kernel may be singular")


def measure(config: Config, activation: str) -> dict[str, Any]:
    """Errors over the widths with their standard errors, the fitted slopes and lines, and all values."""
    rng = np.random.default_rng([config.seed, 0])
    x = rng.uniform(-1.5, 1.5, (config.rows, config.coordinates))
    y = rng.standard_normal((config.rows, config.outputs))
    study = theory.width_study(
        x,
        y,
        regularization=config.regularization,
        widths=config.widths,
        activation=activation,
        draws=config.draws,
        rng=np.random.default_rng([config.seed, 1, KERNELS.index(activation)]),
    )
    root = np.sqrt(config.draws)
    squares = (study.values - study.limit) ** 2
    fluctuation_errors = squares.std(axis=1, ddof=1) / root / (2.0 * study.fluctuations)
    bias_errors = study.corrected.std(axis=1, ddof=1) / root
    return {
        "widths": study.widths,
        "values": study.values,
        "corrected": study.corrected,
        "limit": study.limit,
        **errors("fluctuation", study.widths, study.fluctuations, fluctuation_errors, study.fluctuation_order),
        **errors("bias", study.widths, study.biases, bias_errors, study.bias_order),
    }


def errors(
    kind: str, widths: np.ndarray, sizes: np.ndarray, standard_errors: np.ndarray, order: Slope
) -> dict[str, Any]:
    """What is stored of one kind of error: sizes, standard errors, slope with its interval, and the fitted line."""
    x, y, weights = np.log(widths), np.log(np.where(sizes > 0, sizes, np.nan)), (sizes / standard_errors) ** 2
    line = np.average(y, weights=weights) + order.slope * (x - np.average(x, weights=weights))
    return {
        kind: sizes,
        f"{kind}_error": standard_errors,
        f"{kind}_slope": np.array([order.slope, *order.interval]),
        f"{kind}_line": np.exp(line),
    }


def figures(record: Record) -> None:
    """Root mean square and mean of the error against the width, one panel an activation."""
    names = [name for name in record.config["activations"] if stages.has(record, name)]
    if not names:
        return
    figure, axes = plots.figure(
        1,
        len(names),
        size=(max(5.2 * len(names), 6.4), 4.0),
        title="Value of n random features against that of the limit kernel",
        squeeze=False,
        sharey=True,
    )
    for ax, name in zip(axes[0], names, strict=True):
        _panel(ax, record.read_arrays(name), name)
    axes[0, 0].set_ylabel("$f_n - f_\\infty$")
    record.figure("width", figure)


def _panel(ax: Any, study: dict[str, np.ndarray], name: str) -> None:
    widths, dashes = study["widths"], {"fluctuation": "--", "bias": ":"}
    words = {"fluctuation": "root mean square", "bias": "mean"}
    for color, (kind, expected) in zip(plots.PALETTE, THEORY.items(), strict=False):
        slope, low, high = study[f"{kind}_slope"]
        ax.errorbar(
            widths,
            study[kind],
            yerr=CONFIDENCE * study[f"{kind}_error"],
            color=color,
            linestyle="none",
            marker="o",
            capsize=2.5,
            label=f"{words[kind]}, 95%",
        )
        label = f"fit: slope {slope:.3f} [{low:.3f}, {high:.3f}]"
        ax.plot(widths, study[f"{kind}_line"], color=color, linestyle="-", label=label)
        reference = 0.5 * study[kind][-1] * (widths / widths[-1]) ** expected
        ax.plot(widths, reference, color=plots.PALETTE[6], linestyle=dashes[kind], label=f"slope {expected:g}")
    ax.set_xscale("log", base=2)
    ax.set(xlabel="width n", yscale="log", title=f"{name} features")
    ax.grid(True)
    entries = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    # each kind of error in a column of its own: its bars, its fit, its reference
    order = [label for slope in THEORY.values() for label in entries if label == f"slope {slope:g}"]
    fits = [label for label in entries if label.startswith("fit")]
    bars = [label for label in entries if label.endswith("%")]
    labels = [label for column in zip(bars, fits, order, strict=True) for label in column]
    ax.legend([entries[label] for label in labels], labels, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
