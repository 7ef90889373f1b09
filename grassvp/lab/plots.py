"""Figures in one style: a colour-blind safe palette, readable type, and nothing global.

Figures are made without pyplot and the style holds only while they are made and written, so that drawing here changes
nothing for the caller.
"""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grassvp.errors import ArgumentError
from grassvp.lab.storage import as_array

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito, 2008
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
SEQUENTIAL = "viridis"
DIVERGING = "RdBu_r"
PANEL = (4.2, 3.2)  # inches, of one panel
DPI = 200
HOUSE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES),
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "image.cmap": SEQUENTIAL,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


GROUPS = {"axes", "figure", "font", "grid", "image", "legend", "lines", "mathtext", "patch", "savefig", "text"}
DEFAULTS: dict[Any, Any] = {
    key: value
    for key, value in matplotlib.rcParamsDefault.items()
    if key.partition(".")[0] in GROUPS | {"xtick", "ytick"}
}


@contextmanager
def style() -> Iterator[None]:
    """The house style over matplotlib's own defaults, as long as the context lasts."""
    with matplotlib.rc_context(DEFAULTS | HOUSE):
        yield


def figure(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float] | None = None, title: str = "", **options: Any
) -> tuple[Figure, Any]:
    """A figure of panels in the house style.

    Args:
        rows: rows of panels.
        columns: columns of panels.
        size: width and height in inches; by default each panel is 4.2 by 3.2.
        title: a title over all panels.
        **options: passed on to `Figure.subplots`, such as ``sharey=True``.

    Returns:
        The figure, and its axes: one, or an array of them as `Figure.subplots` gives it.
    """
    with style():
        made = Figure(figsize=size or (PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        axes = made.subplots(rows, columns, **options)
        if title:
            made.suptitle(title, x=0.01, ha="left", fontsize=12)
    return made, axes


def convergence(
    ax: Axes,
    curves: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str = "iteration",
    ylabel: str = "value",
    title: str = "",
    log_x: bool = False,
) -> None:
    """Draw curves over a logarithmic y-axis, one for each label.

    Entries that a logarithm cannot show (zeros, negative numbers, NaN) are left out.

    Args:
        ax: where to draw.
        curves: label -> (x, y), arrays of equal length.
        xlabel: label of the x-axis.
        ylabel: label of the y-axis.
        title: title of the panel.
        log_x: a logarithmic x-axis too.

    Raises:
        ArgumentError: x and y of a curve differ in length.
    """
    with style():
        ax.set_yscale("log")
        if log_x:
            ax.set_xscale("log")
        elif all(as_array(x, "x").dtype.kind in "iu" for x, _ in curves.values()):
            ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        for label, (x, y) in curves.items():
            x_values, y_values = as_array(x, f"curves[{label!r}] x"), as_array(y, f"curves[{label!r}] y")
            if x_values.shape != y_values.shape or x_values.ndim != 1:
                shapes = f"{x_values.shape} and {y_values.shape}"
                raise ArgumentError(f"curves[{label!r}] must be two 1-D arrays of equal length, got {shapes}")
            shown = np.isfinite(y_values) & (y_values > 0) & ((x_values > 0) | (not log_x))
            ax.plot(x_values[shown], y_values[shown], label=label, marker="o" if shown.sum() < 3 else None)
        _label(ax, xlabel, ylabel, title)
        ax.grid(True, which="major")
        if len(curves) > 1:
            ax.legend()


def heatmap(
    ax: Axes,
    t: Any,
    x: Any,
    values: Any,
    label: str = "",
    *,
    xlabel: str = "t",
    ylabel: str = "x",
    title: str = "",
    diverging: bool = False,
) -> None:
    """Draw a field on a grid, with a colour bar.

    Args:
        ax: where to draw.
        t: coordinates along the horizontal axis, shape (a,).
        x: coordinates along the vertical axis, shape (b,).
        values: the field, shape (a, b).
        label: label of the colour bar.
        xlabel: label of the horizontal axis.
        ylabel: label of the vertical axis.
        title: title of the panel.
        diverging: colours around zero, of the same strength on both sides; for errors.

    Raises:
        ArgumentError: the shape of the values is not (a, b).
    """
    horizontal, vertical, field = as_array(t, "t"), as_array(x, "x"), as_array(values, "values")
    if field.shape != (len(horizontal), len(vertical)):
        raise ArgumentError(f"values must have shape {(len(horizontal), len(vertical))} as t and x, got {field.shape}")
    limits: dict[str, Any] = {}
    if diverging:
        finite = np.abs(field[np.isfinite(field)])
        bound = float(finite.max()) if finite.size and finite.max() > 0 else 1.0
        limits = {"cmap": DIVERGING, "vmin": -bound, "vmax": bound}
    with style():
        mesh = ax.pcolormesh(horizontal, vertical, field.T, shading="gouraud", rasterized=True, **limits)
        _label(ax, xlabel, ylabel, title)
        bar = ax.figure.colorbar(mesh, ax=ax, label=label)
        bar.formatter.set_powerlimits((-2, 3))  # pyright: ignore[reportAttributeAccessIssue]
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]


def curves(
    ax: Axes, x: Any, lines: Mapping[str, Any], *, xlabel: str = "x", ylabel: str = "u", title: str = ""
) -> None:
    """Draw functions of one variable over linear axes; `lines` maps labels to values, shaped as `x`."""
    with style():
        for label, y in lines.items():
            ax.plot(as_array(x, "x"), as_array(y, f"lines[{label!r}]"), label=label)
        _label(ax, xlabel, ylabel, title)
        ax.grid(True)
        ax.legend()


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file, drawn in the house style."""
    stream = io.BytesIO()
    with style():
        figure.savefig(stream, format="png", dpi=DPI)
    return stream.getvalue()


def _label(ax: Axes, xlabel: str, ylabel: str, title: str) -> None:
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.set_title(title)
