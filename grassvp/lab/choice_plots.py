"""Rules that choose lam beside the lam that would have been best: shares, ratios, criteria, trained networks."""

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from grassvp.lab import plots
from grassvp.lab.plots import PALETTE

__all__ = ["CURVES", "LOOKS", "criteria", "interval", "parts", "ratios", "share", "shares", "trained"]

CLOSE = 2.0  # ratio that counts as close to the best
CURVES = ("auto", "gcv", "cross-validation", "evidence", "predictive-risk")
"""Criteria that estimate an error."""
LOOKS = {
    # rule: (label, colour, marker, line)
    "auto": ("auto", PALETTE[6], "o", "-"),
    "gcv": ("GCV", PALETTE[0], "s", "-"),
    "gcv-weighted": ("weighted GCV", PALETTE[5], "D", "--"),
    "cross-validation": ("10-fold CV", PALETTE[2], "^", "-."),
    "evidence": ("evidence", PALETTE[1], "v", "-"),
    "l-curve": ("L-curve", "#888888", "<", ":"),
    "discrepancy": ("discrepancy, σ known", PALETTE[4], "P", "--"),
    "predictive-risk": ("predictive risk, σ known", PALETTE[3], "X", (0, (5, 1))),
}
"""Label, colour, marker and line of each rule."""


def share(values: np.ndarray) -> float:
    """Fraction of the ratios there are that are close to the best, NaN where there are none."""
    known = values[~np.isnan(values)]
    return float(np.mean(known <= CLOSE)) if len(known) else math.nan


def interval(rate: float, count: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927), NaN of none."""
    if count == 0:
        return math.nan, math.nan
    z2 = 1.96**2
    centre, half = rate + z2 / (2 * count), math.sqrt(z2 * (rate * (1 - rate) / count + z2 / (4 * count**2)))
    low, high = ((centre + sign * half) / (1 + z2 / count) for sign in (-1, 1))
    return min(low, rate), max(high, rate)


def parts(labels: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """Each label with the mask of where it stands."""
    return [(label, labels == label) for label in np.unique(labels).tolist()]


def shares(found: dict[str, np.ndarray], shapes: list[str]) -> Figure:
    """Share of the problems whose ratio is close to the best, of each rule, by noise and by shape."""
    figure, axes = plots.figure(
        1, 2, size=(11.0, 4.3), sharey=True, title="Problems whose test error is within twice the best of any λ"
    )
    noises = [(f"{noise:g}" if noise else "none", mask) for noise, mask in parts(found["noises"])]
    by_shape = [(shape, found["shapes"] == shape) for shape in shapes if (found["shapes"] == shape).any()]
    for ax, groups, xlabel in zip(
        axes, (noises, by_shape), ("noise over the targets' standard deviation", "features n and rows m"), strict=True
    ):
        for number, name in enumerate(found["rules"].tolist()):
            label, color, marker, _ = LOOKS[name]
            place = np.arange(len(groups)) + 0.09 * (number - (len(LOOKS) - 1) / 2)
            rates = np.array([share(found["ratios"][mask, number]) for _, mask in groups])
            counts = [np.isfinite(found["ratios"][mask, number]).sum() for _, mask in groups]
            bars = np.abs(np.array([interval(p, N) for p, N in zip(rates, counts, strict=True)]).T - rates)
            style = {"color": color, "marker": marker, "linestyle": "none", "elinewidth": 0.8}
            ax.errorbar(place, rates, yerr=bars, label=label, **style)
        ax.set_xticks(range(len(groups)), [f"{label}\n{int(mask.sum())} problems" for label, mask in groups])
        for edge in range(1, len(groups)):
            ax.axvline(edge - 0.5, color="#dddddd", linewidth=0.8)
        ax.set(xlabel=xlabel, ylim=(-0.02, 1.03))
        ax.grid(True, axis="y")
    axes[0].set_ylabel("share, 95% interval")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def ratios(found: dict[str, np.ndarray], visible: float) -> Figure:
    """Share of the problems with a larger ratio, for noise below and from `visible` on."""
    loud = found["noises"] >= visible
    panels = {f"noise below {visible:g}": ~loud, f"noise of {visible:g} and more": loud}
    panels = {title: mask for title, mask in panels.items() if mask.any()}
    figure, axes = plots.figure(
        1,
        len(panels),
        size=(11.0, 4.3),
        sharey=True,
        squeeze=False,
        title="Problems that a rule misses, and by how much",
    )
    for ax, (title, mask) in zip(axes[0], panels.items(), strict=True):
        for name, values in zip(found["rules"].tolist(), found["ratios"][mask].T, strict=True):
            label, color, _, line = LOOKS[name]
            known = np.sort(values[np.isfinite(values)])[::-1]
            if len(known):
                missed = np.arange(len(known) + 1) / len(known)
                ratio = np.maximum(np.append(known, known[-1]), 1.0)
                ax.step(ratio, np.maximum(missed, 0.5 / len(known)), where="pre", label=label, color=color, ls=line)
        ax.axvline(CLOSE, color="#bbbbbb", linestyle="-", zorder=0, label="twice the best")
        ax.set(xlabel="ratio of the test error to the best", xscale="log", yscale="log", title=title, xlim=(1, 300))
        ax.grid(True)
    axes[0, 0].set_ylabel("share of problems with a larger ratio")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def criteria(found: dict[str, np.ndarray]) -> Figure:
    """Criteria and test error over lam for each example, and what the rules choose there."""
    heights = {"height_ratios": (3.0, 1.7) * 2}
    title = "Criteria and test error against λ, each over its least, and what the rules choose"
    figure, axes = plots.figure(4, 2, size=(11.0, 10.5), sharex=True, gridspec_kw=heights, title=title)
    for number, (target, level) in enumerate(zip(found["targets"].tolist(), found["noises"].tolist(), strict=True)):
        row, column = divmod(number, 2)
        above, below = axes[2 * row : 2 * row + 2, column]
        m, n = found["shapes"][number].tolist()
        noise = f"noise {level:g}" if level else "no noise"
        _curves(above, found, number)
        above.set_title(f"{target}, {noise}, {n} features, {m} rows")
        _choices(below, found, number)
        below.set_xlabel("λ / $s_1^2$")
        below.tick_params(labelbottom=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _curves(ax: Any, found: dict[str, np.ndarray], number: int) -> None:
    errors, grid = found["errors"][number], found["grid"]
    ax.plot(grid, errors / errors.min(), color="#cccccc", linestyle="-", linewidth=5, label="test error")
    for name, curve in zip(CURVES, found["curves"][number], strict=True):
        label, color, _, line = LOOKS[name]
        ax.plot(grid, curve, color=color, linestyle=line, linewidth=1.2, label=label)
    ax.set(xscale="log", yscale="log", ylim=(0.7, 1e3), xlim=(1e-29, 1e2), ylabel="over its least")
    ax.grid(True)


def _choices(ax: Any, found: dict[str, np.ndarray], number: int) -> None:
    """A row for each rule, with its lam and its ratio."""
    best, names = found["errors"][number].min(), found["rules"].tolist()
    for place, name in enumerate(names):
        _, color, marker, _ = LOOKS[name]
        lam, ratio = found["chosen"][number, place], found["chosen_errors"][number, place] / best
        if np.isfinite(ratio):
            ax.plot(lam, place, color=color, marker=marker, linestyle="none")
            ax.annotate(f"{ratio:#.3g}", (lam, place), (7, 0), textcoords="offset points", va="center", fontsize=7.5)
        else:
            ax.annotate("without a noise level", (1e-28, place), va="center", fontsize=7.5, color="#888888")
    ax.set_yticks(range(len(names)), [LOOKS[name][0].removesuffix(", σ known") for name in names], fontsize=7.5)
    ax.set(ylim=(len(names) - 0.5, -0.5))
    ax.grid(True, axis="x")


def trained(found: dict[str, np.ndarray]) -> Figure:
    """Test error of each trained network by rule and by criterion beside those with fixed lam."""
    count, columns = len(found["targets"]), min(4, len(found["targets"]))
    rows = -(-count // columns)
    size = (max(3.0 * columns, 8.0), 2.7 * rows + 1.0)
    title = "Trained networks: test error of solves by rule, by criterion and with fixed λ"
    figure, axes = plots.figure(rows, columns, size=size, squeeze=False, sharex=True, title=title)
    known, handles = {"rules": "by_rule", "criteria": "by_criterion"}, {}
    for number, ax in enumerate(axes.flat[:count]):
        ax.plot(*found["fixed"][number].T, color="#bbbbbb", linestyle="-", marker=".", label="fixed λ")
        for names, results in known.items():
            for name, (lam, error) in zip(found[names].tolist(), found[results][number], strict=True):
                label, color, marker, _ = LOOKS[name]
                solid = names == "rules"
                style = {"markerfacecolor": color if solid else "none", "markersize": 6.5 if solid else 9}
                label = label if solid else f"{label} over θ too"
                ax.plot(lam, error, color=color, marker=marker, label=label, linestyle="none", zorder=3, **style)
        noise = f"noise {found['noises'][number]:g}" if found["noises"][number] else "no noise"
        ax.set(xscale="log", yscale="log", title=f"{found['targets'][number]}, {noise}")
        ax.set_ylim(bottom=10.0 ** np.floor(np.log10(ax.get_ylim()[0])))
        ax.yaxis.set_minor_formatter("")
        ax.grid(True)
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("λ / m")
    for ax in axes[:, 0]:
        ax.set_ylabel("test error")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure
