"""The rank of the features along a solve, along a path past a drop of rank, and along a flow that keeps it.

Everything is drawn from stored arrays, such as those of `RankMonitor.columns` and `RankMonitor.event_columns`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grassvp.errors import ArgumentError
from grassvp.lab.plots import DASHES, PALETTE, style
from grassvp.lab.storage import as_array

__all__ = ["EVENT_STYLE", "kept_ranks", "passing_paths", "rank_trajectory", "shared_legend"]

EVENT_STYLE = {
    # kind: marker, colour; the two ways of one thing have one colour
    "fell": ("v", PALETTE[1]),
    "rose": ("^", PALETTE[1]),
    "merged": (">", PALETTE[3]),
    "parted": ("<", PALETTE[3]),
    "died": ("X", PALETTE[6]),
    "revived": ("P", PALETTE[6]),
    "saturated": ("s", PALETTE[4]),
    "desaturated": ("D", PALETTE[4]),
}
FLOOR = 1e-17  # of the largest singular value, where zeros are drawn
OF_RANK = ("fell", "rose")


def rank_trajectory(
    axes: Sequence[Axes],
    columns: Mapping[str, Any],
    events: Mapping[str, Any] | None = None,
    *,
    run: int | None = None,
    title: str = "",
) -> None:
    """Draw singular values, the level and events over one panel, and the rank over another.

    Values at or below the level have another colour. Events are thin vertical lines in both panels, with a marker for
    each kind on the curve of the rank; its labels are there for a legend, which the caller places.

    Args:
        axes: two panels, for the singular values and for the rank.
        columns: "iteration", "rank", "level" (T,) and "singular_values" (T, p), maybe "run" (T,).
        events: "iteration" and "kind", maybe "run", (E,); None for none.
        run: which run to draw; by default the last one.
        title: title of the upper panel.

    Raises:
        ArgumentError: not two axes, a column is missing, columns differ in length, or a kind of event is unknown.
    """
    if len(axes) != 2:
        raise ArgumentError(f"axes must be two panels, got {len(axes)}")
    found = _checked(columns, ("iteration", "rank", "level", "singular_values"), "columns")
    marks = _checked(events or {"iteration": [], "kind": []}, ("iteration", "kind"), "events")
    unknown = set(marks["kind"].tolist()) - set(EVENT_STYLE)
    if unknown:
        raise ArgumentError(f"events must be of the kinds {', '.join(EVENT_STYLE)}, got {', '.join(sorted(unknown))}")
    last = int(found["run"].max(initial=0)) if run is None else run
    found, marks = (_of_run(each, last) for each in (found, marks))
    with style():
        _singular_values(axes[0], found)
        _rank(axes[1], found, marks)
        for ax in axes:
            for iteration in np.unique(marks["iteration"]):
                ax.axvline(iteration, color="#999999", linewidth=0.6, linestyle=":", zorder=0)
            ax.grid(True, axis="y")
            ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        axes[0].set_title(title)


def _checked(columns: Mapping[str, Any], names: Sequence[str], argument: str) -> dict[str, np.ndarray]:
    """The named columns and "run", as arrays of equal length."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise ArgumentError(f"{argument} must have {', '.join(map(repr, names))}, got no {missing[0]!r}")
    found = {name: as_array(columns[name], f"{argument}[{name!r}]") for name in names}
    length = len(found[names[0]])
    found["run"] = as_array(columns.get("run", np.zeros(length, int)), f"{argument}['run']")
    lengths = {name: len(column) for name, column in found.items()}
    if len(set(lengths.values())) > 1:
        raise ArgumentError(f"{argument} must have equal lengths, got {lengths}")
    return found


def _of_run(columns: Mapping[str, np.ndarray], run: int) -> dict[str, np.ndarray]:
    return {name: column[columns["run"] == run] for name, column in columns.items()}


def _singular_values(ax: Axes, columns: Mapping[str, np.ndarray]) -> None:
    x, s, level = columns["iteration"], columns["singular_values"], columns["level"]
    if not s.size:
        return
    drawn = np.maximum(s, FLOOR * max(float(s.max()), np.finfo(float).tiny))
    unlabelled = True
    for number, values in enumerate(drawn.T):
        label = "singular values" if number == 0 else None
        ax.plot(x, values, color=PALETTE[0], linestyle="-", linewidth=1.2, label=label)
        below = values <= level
        if below.any():
            label, unlabelled = "at or below the level" if unlabelled else None, False
            ax.plot(x, np.where(below, values, np.nan), color=PALETTE[1], linestyle="-", linewidth=1.6, label=label)
            ax.plot(x[below], values[below], color=PALETTE[1], linestyle="none", marker=".", markersize=3.5)
    if (level > 0).any():
        ax.plot(x, np.where(level > 0, level, np.nan), color=PALETTE[6], linestyle="--", linewidth=1.0, label="level")
    ax.set_yscale("log")
    ax.set_ylabel("singular value")


def _rank(ax: Axes, columns: Mapping[str, np.ndarray], events: Mapping[str, np.ndarray]) -> None:
    x, rank = columns["iteration"], columns["rank"]
    ax.step(x, rank, where="post", color=PALETTE[2], linestyle="-", linewidth=1.6, label="rank")
    at = dict(zip(x.tolist(), rank.tolist(), strict=True))
    for kind in dict.fromkeys(events["kind"].tolist()):
        marker, color = EVENT_STYLE[kind]
        when = [iteration for iteration in events["iteration"][events["kind"] == kind].tolist() if iteration in at]
        label = f"rank {kind}" if kind in OF_RANK else f"neurons {kind}"
        heights = [at[iteration] for iteration in when]
        ax.plot(when, heights, color=color, linestyle="none", marker=marker, markersize=6, label=label, clip_on=False)
    if rank.size:
        width = columns["singular_values"].shape[1]
        ax.set_ylim(min(float(rank.min()), width - 2.0) - 0.5, width + 0.5)
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set(xlabel="iteration", ylabel="rank")


def passing_paths(axes: Sequence[Axes], paths: Mapping[str, np.ndarray], label: Callable[[float], str]) -> None:
    """Draw paths past a drop of rank: distance travelled when passing near and far, gradient, and value through it.

    Args:
        axes: four panels.
        paths: "lams" (L,), "offsets" (D,) descending, "bounds" (L,) of the gradient; (L, D, T) arrays "times",
            "lengths", "closed_lengths" and "gradients"; "through_times" (T,) with zero in the middle, "through_values"
            (L, T).
        label: of a lam, for the legend.
    """
    near, far, gradient, through = axes
    with style():
        for number, lam in enumerate(paths["lams"]):
            line = {"color": PALETTE[number % 7], "linestyle": DASHES[number % 7]}
            dots = {"color": line["color"], "linestyle": "none", "marker": "o", "markersize": 3.5}
            for ax, which in ((near, -1), (far, 0)):
                t, shown = paths["times"][number, which], slice(None, None, 9)
                ax.plot(t, paths["lengths"][number, which], label=label(float(lam)), **line)
                ax.plot(t[shown], paths["closed_lengths"][number, which][shown], **dots)
            gradient.plot(paths["times"][number, -1], paths["gradients"][number, -1], **line)
            if lam > 0:
                gradient.axhline(paths["bounds"][number], linewidth=0.8, color=line["color"], linestyle=(0, (1, 3)))
            _value_through(through, paths["through_times"], paths["through_values"][number], lam == 0, line)
        for ax, which in ((near, -1), (far, 0)):
            ax.set_yticks([0.0, np.pi / 2, np.pi], ["0", "π/2", "π"])
            ax.set_ylim(-0.15, np.pi + 0.15)
            ax.set(ylabel="distance travelled (rad)", title=f"passing at d = {paths['offsets'][which]:.0e}")
        title = f"gradient at d = {paths['offsets'][-1]:.0e}, dotted: bounds"
        gradient.set(ylabel="$\\|\\nabla f\\|$", yscale="log", title=title)
        through.set(ylabel="value", title="value through rank 1, d = 0")
        for ax in axes:
            ax.set_xscale("asinh", linear_width=1e-4)
            ax.set_xticks([-1.0, -1e-2, 0.0, 1e-2, 1.0], ["−1", "−0.01", "0", "0.01", "1"])
            ax.minorticks_off()
            ax.set_xlabel("t")
            ax.grid(True)


def _value_through(ax: Axes, t: np.ndarray, values: np.ndarray, jumps: bool, line: Mapping[str, Any]) -> None:
    """The value against time; where it jumps at the middle, that is a point beside the line."""
    if jumps:
        ax.plot(0.0, values[len(t) // 2], color=line["color"], linestyle="none", marker="o", markersize=6)
        values = np.where(np.arange(len(t)) == len(t) // 2, np.nan, values)
    ax.plot(t, values, **line)


def kept_ranks(axes: Sequence[Axes], flow: Mapping[str, np.ndarray]) -> None:
    """Draw singular values along flows from starts of each rank, a panel each, and the values of all in the last one.

    Args:
        axes: one panel for each rank, and one.
        flow: "times" (T,), "ranks" (R,), "singular" (R, T, n), "values" and "closed_values" (R, T).
    """
    times = flow["times"]
    with style():
        for number, (ax, rank) in enumerate(zip(axes, flow["ranks"], strict=False)):
            for index, values in enumerate(flow["singular"][number].T):
                inside = index < rank
                label = "within the rank of the start" if inside else "beyond it (rounding)"
                line: dict[str, Any] = {
                    "color": PALETTE[0 if inside else 1],
                    "linestyle": "-" if inside else "--",
                    "label": label,
                }
                ax.plot(times, np.maximum(values, 1e-20), **line)
            ax.set(yscale="log", ylim=(1e-21, 1e3), xlabel="time", title=f"start of rank {rank}")
            color, label = PALETTE[(2 + number) % 7], f"value, rank {rank}"
            axes[-1].plot(times, flow["values"][number], color=color, linestyle=DASHES[number % 7], label=label)
            dots = {"color": color, "linestyle": "none", "marker": "o", "markersize": 3.5}
            axes[-1].plot(times[::5], flow["closed_values"][number][::5], **dots)
        axes[0].set_ylabel("singular value / $\\sqrt{\\lambda}$")
        axes[-1].set(xlabel="time", ylabel="value", title="lines: integrated, dots: closed form")
        for ax in axes:
            ax.grid(True)


def shared_legend(figure: Figure) -> None:
    """One legend below a figure, of every label that any of its panels has."""
    known: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    with style():
        figure.legend(list(known.values()), list(known), loc="outside lower center", ncols=8)
