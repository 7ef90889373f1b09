"""The value on Gr(3, 1) and Gr(2, 1), small enough to be drawn whole: half a sphere and a circle."""

from typing import Any

import numpy as np

from grassvp import theory
from grassvp.lab import plots
from grassvp.lab.records import Record
from grassvp.lab.toys import toy_targets
from grassvp.theory.flows import gradient_flow

PIXELS = 201  # points a side of the picture of the sphere
MARKERS = {"minimum": "o", "degenerate": "s", "saddle": "X", "maximum": "^"}


def sphere(eigenvalues: tuple[float, ...], seed: int) -> dict[str, Any]:
    """The value on the visible half of the sphere, every line of R^3 once, with critical lines and gradient flows.

    Axes of the picture: the rows of `frame` point to the right, up and to the viewer.
    """
    Y = toy_targets(eigenvalues, 3, np.random.default_rng([seed, 2]))
    classes = theory.critical_classes(Y, 1)
    lines = np.array([each.representative(0)[:, 0] for each in classes])
    viewer = np.array([0.62, 0.56, 0.55]) @ lines
    up = lines[2] - (lines[2] @ viewer) * viewer / (viewer @ viewer)
    frame = np.array([np.cross(up, viewer), up, viewer])
    frame = frame / np.linalg.norm(frame, axis=1)[:, None]
    axis = np.linspace(-1.0, 1.0, PIXELS)
    right, above = np.meshgrid(axis, axis, indexing="ij")
    depth = np.sqrt(np.maximum(1.0 - right**2 - above**2, 0.0))
    points = np.stack([right, above, depth], -1) @ frame
    values = 0.5 * (np.sum(Y**2) - np.sum((points @ Y) ** 2, -1))
    mu, turns = np.sort(eigenvalues)[::-1], 2 * np.pi * (np.arange(8) + 0.5) / 8
    half = 4.0 / -np.diff(mu).max()  # the time from beside the maximum to the ring where the paths are evenly spread
    middle = np.stack([np.cos(turns), np.sin(turns), np.full(8, 0.6)], 1)
    starts = (middle * np.exp(-(mu - mu[2]) * half)) @ lines
    times = np.linspace(0.0, 2 * half, 160)
    paths = [gradient_flow(Y, start[:, None], times, tolerance=1e-9).points[:, :, 0] for start in starts]
    return {
        "axis": axis,
        "values": np.where(right**2 + above**2 <= 1.0, values, np.nan),
        "frame": frame,
        "lines": lines,
        "line_values": np.array([each.value for each in classes]),
        "line_indices": np.array([each.index for each in classes]),
        "paths": np.array([continuous(path) for path in paths]),
    }


def continuous(path: np.ndarray) -> np.ndarray:
    """Unit vectors (T, 3) along a path of lines, with signs that do not jump."""
    signs = np.cumprod([1.0, *np.where(np.sum(path[1:] * path[:-1], axis=1) < 0, -1.0, 1.0)])
    return signs[:, None] * path


def circle(eigenvalues: tuple[float, ...], seed: int) -> dict[str, Any]:
    """The value against the angle of a line in R^2, [0, pi], its critical lines, and two gradient flows."""
    Y = toy_targets(sorted(eigenvalues)[1:], 2, np.random.default_rng([seed, 3]))
    angle = np.linspace(0.0, np.pi, 361)
    values = 0.5 * (np.sum(Y**2) - np.sum((np.stack([np.cos(angle), np.sin(angle)], 1) @ Y) ** 2, 1))
    classes = theory.critical_classes(Y, 1)
    lines = np.array([each.representative(0)[:, 0] for each in classes])
    times = np.linspace(0.0, 6.0 / np.ptp(sorted(eigenvalues)[1:]), 25)
    paths, path_values = [], []
    for sign in (1.0, -1.0):
        flow = gradient_flow(Y, lines[1] + sign * 0.08 * lines[0], times, tolerance=1e-9)
        paths.append(np.arctan2(flow.points[:, 1, 0], flow.points[:, 0, 0]) % np.pi)
        path_values.append(flow.values)
    return {
        "angle": angle,
        "values": values,
        "critical_angle": np.arctan2(lines[:, 1], lines[:, 0]) % np.pi,
        "critical_value": np.array([each.value for each in classes]),
        "critical_index": np.array([each.index for each in classes]),
        "path_angle": np.array(paths),
        "path_value": np.array(path_values),
    }


def landscape_figure(record: Record) -> None:
    """The stored sphere and circle, side by side."""
    ball, ring = record.read_arrays("sphere"), record.read_arrays("circle")
    figure, axes = plots.figure(
        1, 3, size=(13.0, 4.3), title="Landscapes: f on Gr(3, 1), opposite points one line, and on Gr(2, 1)"
    )
    _draw_sphere(figure, axes[0], ball)
    _draw_circle(figure, axes[1], ring)
    _draw_angle(axes[2], ring)
    handles, labels = axes[0].get_legend_handles_labels()
    labels = [label.replace("maximum, index 2", "maximum, index 2 on the left, 1 on the right") for label in labels]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    record.figure("landscape", figure)


def _marker(index: int, last: int) -> dict[str, Any]:
    """Marker and label of a critical point of an index."""
    kind = "minimum" if index == 0 else "maximum" if index == last else "saddle"
    options = {"linestyle": "none", "marker": MARKERS[kind], "color": "white", "markeredgecolor": "black"}
    return options | {"markersize": 10, "markeredgewidth": 1.3, "label": f"{kind}, index {index}"}


def _draw_sphere(figure: Any, ax: Any, ball: dict[str, np.ndarray]) -> None:
    image = ax.pcolormesh(ball["axis"], ball["axis"], ball["values"].T, shading="gouraud", rasterized=True)
    ax.contour(ball["axis"], ball["axis"], ball["values"].T, 9, colors="white", linewidths=0.5, alpha=0.6)
    turn = np.linspace(0.0, 2 * np.pi, 400)
    ax.fill(  # a white frame round the disc hides the teeth of the pixels at its edge
        np.concatenate([np.cos(turn), 1.04 * np.cos(turn[::-1])]),
        np.concatenate([np.sin(turn), 1.04 * np.sin(turn[::-1])]),
        color="white",
        linewidth=0,
    )
    ax.plot(np.cos(turn), np.sin(turn), color="black", linestyle="-", linewidth=1.0)
    for number, path in enumerate(ball["paths"]):
        for sign in (1.0, -1.0):
            seen = sign * path @ ball["frame"].T
            seen = np.where(seen[:, 2:] > 0, seen, np.nan)
            label = "gradient flow" if number == 0 and sign > 0 else None
            ax.plot(seen[:, 0], seen[:, 1], color=plots.PALETTE[1], linestyle="-", linewidth=1.4, label=label)
    for line, index in zip(ball["lines"], ball["line_indices"], strict=True):
        seen = ball["frame"] @ line
        seen = seen if seen[2] >= 0 else -seen
        ax.plot(seen[0], seen[1], **_marker(int(index), 2))
    ax.set(aspect="equal", title="Gr(3, 1): half a sphere", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
    ax.set_axis_off()
    figure.colorbar(image, ax=ax, label="f", shrink=0.8, pad=0.02).outline.set_visible(False)


def _draw_circle(figure: Any, ax: Any, ring: dict[str, np.ndarray]) -> None:
    double = 2 * ring["angle"]
    image = ax.scatter(np.cos(double), np.sin(double), c=ring["values"], s=60)
    for path in ring["path_angle"]:
        x, y = 0.86 * np.cos(2 * path), 0.86 * np.sin(2 * path)
        ax.plot(x, y, color=plots.PALETTE[1], linestyle="-", marker=".", markersize=5, linewidth=1.2)
    for angle, index in zip(ring["critical_angle"], ring["critical_index"], strict=True):
        ax.plot(np.cos(2 * angle), np.sin(2 * angle), **_marker(int(index), 1))
    for quarter, text in enumerate(("0 = π", "π/4", "π/2", "3π/4")):
        ax.text(
            0.62 * np.cos(quarter * np.pi / 2),
            0.62 * np.sin(quarter * np.pi / 2),
            text,
            ha="center",
            va="center",
            fontsize=9,
            color="#444444",
        )
    ax.text(0, 0, "angle of\nthe line", ha="center", va="center", fontsize=9, color="#444444")
    ax.set(aspect="equal", title="Gr(2, 1): a circle", xlim=(-1.15, 1.15), ylim=(-1.15, 1.15))
    ax.set_axis_off()
    figure.colorbar(image, ax=ax, label="f", shrink=0.8, pad=0.02).outline.set_visible(False)


def _draw_angle(ax: Any, ring: dict[str, np.ndarray]) -> None:
    ax.plot(ring["angle"], ring["values"], color=plots.PALETTE[0], linestyle="-")
    for angle, value in zip(ring["path_angle"], ring["path_value"], strict=True):
        ax.plot(angle, value, color=plots.PALETTE[1], linestyle="none", marker=".", markersize=6)
    for angle, value, index in zip(ring["critical_angle"], ring["critical_value"], ring["critical_index"], strict=True):
        ax.plot(angle, value, **_marker(int(index), 1))
    ax.set_xticks(np.linspace(0, np.pi, 5), ["0", "π/4", "π/2", "3π/4", "π"])
    ax.set(xlabel="angle of the line (rad)", ylabel="f", title="Gr(2, 1): f against the angle")
    ax.margins(y=0.12)
    ax.grid(True)
