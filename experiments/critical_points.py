"""Critical points on the Grassmannian and of a small network: what theory predicts beside what searches find.

Targets with prescribed eigenvalues of Y Y^T make a toy problem whose critical classes are known in closed form. A
census finds them by searching; value, index, nullity and all Hessian eigenvalues are set side by side. Descents from
random points and from beside every other class show where one ends. Gr(3, 1) and Gr(2, 1) are drawn whole, as a sphere
and a circle. For a small regularised network the census is what it finds, without a theory of what there is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import grassvp as gv
from grassvp import riemannian, theory
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.landscapes import MARKERS, circle, landscape_figure, sphere
from grassvp.lab.records import Record
from grassvp.lab.toys import check_eigenvalues, toy_targets

BESIDE = 1e-3  # how far from a saddle a descent starts, in radians
MOST_PANELS = 12  # classes whose spectra are drawn
KINDS = ("minimum", "degenerate", "saddle", "maximum")


@dataclass(frozen=True)
class Config:
    """Options of the census of critical points."""

    rows: int = 6
    """rows m of the targets of the toy problem"""
    n: int = 2
    """dimension of the subspaces"""
    eigenvalues: tuple[float, ...] = (4.0, 2.0, 2.0, 1.0, 0.0)
    """eigenvalues of Y Y^T; repeated and zero ones make classes of positive dimension, missing ones are zero"""
    seed: int = 0
    """seed of the targets, the starts and the searches"""
    starts: int = 60
    """random starts of the census of the toy problem"""
    descents: int = 6
    """steepest descents from random points, beside those that start near the saddles"""
    landscape: tuple[float, float, float] = (3.0, 1.5, 0.5)
    """eigenvalues of Y Y^T on Gr(3, 1), all different; Gr(2, 1) takes the first two"""
    network_width: int = 2
    """neurons of the network of the last census; 0 leaves it out"""
    network_rows: int = 20
    """training points of the network"""
    network_starts: int = 60
    """random starts of the census of the network"""
    regularization: float = 1e-2
    """ridge parameter of the network, > 0"""


def run(config: Config, record: Record) -> None:
    """Take the censuses and store them part by part; an interrupted run is taken up after its last whole part."""
    check(config)
    Y = toy_targets(config.eigenvalues, config.rows, np.random.default_rng([config.seed, 0]))
    census = stages.once(record, "census", lambda: toy_census(config, Y))
    record.metrics.update(compared(census))
    descents = stages.once(record, "descents", lambda: toy_descents(config, Y))
    record.metrics["descents"] = len(descents["end_class"])
    record.metrics["descents_at_minimum"] = int(np.sum(descents["end_class"] == 0))
    stages.once(record, "sphere", lambda: sphere(config.landscape, config.seed))
    stages.once(record, "circle", lambda: circle(config.landscape, config.seed))
    if config.network_width:
        network = stages.once(record, "network", lambda: network_census(config))
        record.metrics["network_critical_points"] = len(network["value"])
        record.metrics["network_minima"] = int(np.sum(network["kind"] == "minimum"))
        record.metrics["network_saddles"] = int(np.sum(network["kind"] == "saddle"))
        record.metrics["network_largest_gradient_norm"] = float(network["gradient_norm"].max(initial=0.0))


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (
        ("rows", 2),
        ("n", 1),
        ("seed", 0),
        ("starts", 0),
        ("descents", 0),
        ("network_width", 0),
        ("network_rows", 2),
        ("network_starts", 0),
    ):
        check_count(getattr(config, name), name, least=least)
    if config.n >= config.rows:
        raise ArgumentError(f"n must be less than rows = {config.rows}, got {config.n}")
    check_eigenvalues(config.eigenvalues, config.rows)
    gaps = np.diff(np.sort(config.landscape))
    if not (np.isfinite(config.landscape).all() and min(config.landscape) >= 0 and gaps.min() > 1e-3):
        raise ArgumentError(f"landscape must be three different numbers >= 0, got {config.landscape}")
    if check_nonnegative(config.regularization, "regularization") == 0:
        raise ArgumentError("regularization must be > 0, got 0: without it the network's value jumps at rank drops")


def toy_census(config: Config, Y: np.ndarray) -> dict[str, Any]:
    """Predicted and measured value, index, nullity and Hessian eigenvalues, a row a class; NaN and -1: not found."""
    classes = theory.critical_classes(Y, config.n)
    problem = riemannian.subspace_problem(Y, config.n)
    reports = theory.find_critical_points(problem, starts=config.starts, seed=config.seed)
    matches = [[report for report in reports if each.contains(report.point)] for each in classes]
    spectra = np.full((len(classes), classes[0].dimension), np.nan)
    for row, match in zip(spectra, matches, strict=True):
        row[:] = match[0].hessian_eigenvalues if match else np.nan
    return {
        "mu": classes[0].eigenvalues,
        "multiplicities": np.array(classes[0].multiplicities),
        "inside": np.array([each.inside for each in classes]),
        "reports": np.array(len(reports)),
        "matches": np.array([len(match) for match in matches]),
        "predicted_value": np.array([each.value for each in classes]),
        "predicted_index": np.array([each.index for each in classes]),
        "predicted_nullity": np.array([each.nullity for each in classes]),
        "predicted_spectrum": np.array([each.hessian_eigenvalues for each in classes]),
        "measured_value": np.array([match[0].value if match else np.nan for match in matches]),
        "measured_index": np.array([match[0].index if match else -1 for match in matches]),
        "measured_nullity": np.array([match[0].nullity if match else -1 for match in matches]),
        "measured_spectrum": spectra,
    }


def compared(census: dict[str, np.ndarray]) -> dict[str, Any]:
    """How well prediction and census agree; errors are relative to the largest eigenvalue of Y Y^T."""
    found, unit = census["matches"] > 0, census["mu"][0]
    error = {
        what: float(np.max(np.abs(census[f"measured_{what}"] - census[f"predicted_{what}"])[found], initial=0.0) / unit)
        for what in ("value", "spectrum")
    }
    return {
        "classes_predicted": len(found),
        "classes_found": int(found.sum()),
        "points_outside_classes": int(census["reports"] - census["matches"].sum()),
        "largest_relative_eigenvalue_error": error["spectrum"],
        "largest_relative_value_error": error["value"],
        "all_indices_agree": bool(np.all(census["measured_index"] == census["predicted_index"])),
        "all_nullities_agree": bool(np.all(census["measured_nullity"] == census["predicted_nullity"])),
    }


def toy_descents(config: Config, Y: np.ndarray) -> dict[str, Any]:
    """Values along steepest descents from random points (start class -1) and from beside every other class."""
    problem, classes = riemannian.subspace_problem(Y, config.n), theory.critical_classes(Y, config.n)
    manifold: Any = problem.manifold
    rng = np.random.default_rng([config.seed, 1])
    starts = [(-1, manifold.random_point(rng)) for _ in range(config.descents)]
    for number, each in enumerate(classes):
        if each.index:
            point = each.representative(rng)
            away = BESIDE * manifold.random_tangent_vector(point, rng)
            starts.append((number, manifold.retraction(point, away)))
    histories, ends = [], []
    for _, start in starts:
        result = riemannian.run(problem, "steepest-descent", initial_point=start)
        if result.status is gv.Status.INTERRUPTED:
            raise KeyboardInterrupt
        histories.append(result.history["value"])
        ends.append(next((i for i, each in enumerate(classes) if each.contains(result.point)), -1))
    values = np.full((len(starts), max(map(len, histories), default=0)), np.nan)
    for row, history in zip(values, histories, strict=True):
        row[: len(history)] = history
    return {
        "start_class": np.array([number for number, _ in starts], dtype=int),
        "end_class": np.array(ends, dtype=int),
        "end_value": np.array([history[-1] for history in histories]),
        "values": values,
    }


def network_census(config: Config) -> dict[str, Any]:
    """The critical points that a search finds for a tanh network fitted to sin(3 x) + 0.3 cos(5 x)."""
    x = np.linspace(-1.0, 1.0, config.network_rows)
    y = np.sin(3 * x) + 0.3 * np.cos(5 * x)
    network = gv.features.mlp(1, (config.network_width,), seed=config.seed)
    reduced = gv.ReducedProblem(gv.SeparableProblem(network, x[:, None], y, regularization=config.regularization))
    reports = theory.find_critical_points(reduced, starts=config.network_starts, seed=config.seed)
    grid = np.linspace(-1.0, 1.0, 201)
    fits = [
        gv.solve(reduced.problem, initial_parameters=report.point, max_iterations=0).predict(grid[:, None])
        for report in reports
    ]
    return {
        "inputs": x,
        "targets": y,
        "grid": grid,
        "fits": np.array(fits).reshape(len(reports), len(grid)),
        "value": np.array([report.value for report in reports]),
        "index": np.array([report.index for report in reports], dtype=int),
        "nullity": np.array([report.nullity for report in reports], dtype=int),
        "gradient_norm": np.array([report.gradient_norm for report in reports]),
        "kind": np.array([report.kind for report in reports], dtype=str),
        "spectrum": np.array([report.hessian_eigenvalues for report in reports]).reshape(
            len(reports), reduced.initial_parameters.numel()
        ),
    }


def figures(record: Record) -> None:
    """Spectra and values of the classes, the two landscapes, and the network's critical points; what is stored."""
    if stages.has(record, "census"):
        _spectra_figure(record)
    if stages.has(record, "descents"):
        _values_figure(record)
    if stages.has(record, "circle"):
        landscape_figure(record)
    if stages.has(record, "network"):
        _network_figure(record)


def _spectra_figure(record: Record) -> None:
    census = record.read_arrays("census")
    count = min(len(census["inside"]), MOST_PANELS)
    columns = min(4, count)
    rows = -(-count // columns)
    what = "every class" if count == len(census["inside"]) else f"the {count} lowest of {len(census['inside'])} classes"
    figure, axes = plots.figure(
        rows,
        columns,
        size=(max(2.9 * columns, 5.0), 2.5 * rows + 0.9),
        title=f"Hessian eigenvalues of {what} of critical points",
        sharey=True,
        squeeze=False,
    )
    for number, ax in enumerate(axes.flat):
        if number >= count:
            ax.set_visible(False)
            continue
        order = 1 + np.arange(census["predicted_spectrum"].shape[1])
        ax.axhline(0.0, color="#888888", linewidth=0.8)
        ring = {"linestyle": "none", "marker": "o", "fillstyle": "none", "markersize": 9, "markeredgewidth": 1.5}
        ax.plot(order, census["predicted_spectrum"][number], color=plots.PALETTE[0], label="predicted", **ring)
        dots = {"linestyle": "none", "marker": ".", "markersize": 6, "label": "measured"}
        ax.plot(order, census["measured_spectrum"][number], color=plots.PALETTE[1], **dots)
        taken = ", ".join(
            f"{inside} of {p} at {mu:.3g}"
            for inside, p, mu in zip(census["inside"][number], census["multiplicities"], census["mu"], strict=True)
            if inside
        )
        data = [f"{what} {census[f'predicted_{what}'][number]}" for what in ("index", "nullity")]
        ax.set_title(f"{taken}\nf = {census['predicted_value'][number]:.4g}, {', '.join(data)}", fontsize=9)
        ax.grid(True, axis="y")
        ax.margins(y=0.12)
    for ax in axes[-1]:
        ax.set_xlabel("number, ascending")
    for ax in axes[:, 0]:
        ax.set_ylabel("Hessian eigenvalue")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    record.figure("spectra", figure)


def _values_figure(record: Record) -> None:
    census, descents = record.read_arrays("census"), record.read_arrays("descents")
    figure, axes = plots.figure(1, 2, size=(9.6, 3.8), title="Values of the classes, and what descents end at")
    index, value = census["predicted_index"], census["predicted_value"]
    ring = {"linestyle": "none", "marker": "o", "fillstyle": "none", "markersize": 10, "markeredgewidth": 1.5}
    axes[0].plot(index, value, color=plots.PALETTE[0], label="class, predicted", **ring)
    found = {"linestyle": "none", "marker": ".", "markersize": 7, "label": "class, found"}
    axes[0].plot(census["measured_index"], census["measured_value"], color=plots.PALETTE[1], **found)
    axes[0].annotate(
        f"{np.sum(descents['end_class'] == 0)} of {len(descents['end_class'])} descents end here",
        (index[0], value[0]),
        xytext=(0.42, 0.06),
        textcoords="axes fraction",
        fontsize=9,
        va="center",
        arrowprops={"arrowstyle": "->", "color": "#555555", "shrinkB": 7},
    )
    axes[0].set(xlabel="index (negative Hessian eigenvalues)", ylabel="value f", title="all classes")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[0].margins(0.1, 0.12)
    axes[0].legend(loc="upper left")
    axes[0].grid(True)
    for level in np.unique(np.round(value, 12)):
        axes[1].axhline(level, color="#999999", linewidth=0.8, linestyle=":")
    for start, row in zip(descents["start_class"], descents["values"], strict=True):
        color, style = (plots.PALETTE[0], "-") if start >= 0 else (plots.PALETTE[1], "--")
        axes[1].plot(np.arange(row.size), row, color=color, linestyle=style, linewidth=1.2)
    for label, color, style in (
        ("from beside another class", plots.PALETTE[0], "-"),
        ("from a random point", plots.PALETTE[1], "--"),
        ("value of a class", "#999999", ":"),
    ):
        axes[1].plot([], [], color=color, linestyle=style, label=label)
    axes[1].set(xlabel="iteration", ylabel="value f", title="steepest descents")
    axes[1].xaxis.get_major_locator().set_params(integer=True)
    axes[1].legend(loc="upper right", frameon=True, framealpha=1.0, edgecolor="none")
    record.figure("values", figure)


def _network_figure(record: Record) -> None:
    network = record.read_arrays("network")
    figure, axes = plots.figure(
        1, 3, size=(13.0, 3.8), title="Critical points found for a regularised network, numbered by value"
    )
    colors: dict[str, str] = dict(
        zip(KINDS, (plots.PALETTE[2], plots.PALETTE[4], plots.PALETTE[1], plots.PALETTE[0]), strict=True)
    )
    numbers = 1 + np.arange(len(network["value"]))
    for kind in KINDS:
        here = network["kind"] == kind
        if here.any():
            options = {"linestyle": "none", "marker": MARKERS[kind], "markersize": 8, "color": colors[kind]}
            axes[0].plot(numbers[here], network["value"][here], label=kind, **options)
    for number, value, index in zip(numbers, network["value"], network["index"], strict=True):
        axes[0].annotate(
            str(index), (number, value), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    axes[0].set_yscale("log")
    axes[0].set(xlabel="critical point", ylabel="value", title="values; above each its index")
    axes[0].margins(y=0.15)
    if len(numbers):
        axes[0].legend(loc="upper left")
    axes[0].grid(True)
    for row, (number, kind) in enumerate(zip(numbers, network["kind"], strict=True)):
        order = np.sort(network["spectrum"][row])
        options = {"linestyle": "none", "marker": "_", "markersize": 12, "markeredgewidth": 2, "color": colors[kind]}
        axes[1].plot(np.full(order.size, number), order, **options)
    size = np.abs(network["spectrum"])
    least = size[size > 1e-9 * size.max(initial=1.0)].min(initial=1.0)
    axes[1].set_yscale("symlog", linthresh=max(10.0 ** np.floor(np.log10(least)), 1e-6), linscale=1.0)
    axes[1].axhline(0.0, color="#888888", linewidth=0.8)
    axes[1].set(xlabel="critical point", ylabel="Hessian eigenvalue", title="spectra")
    axes[1].grid(True, axis="y")
    axes[2].plot(network["inputs"], network["targets"], "k.", label="targets")
    lowest = np.flatnonzero(network["kind"] == "minimum")[:2]
    saddles = np.flatnonzero(network["kind"] == "saddle")[:2]
    for row, style in zip([*lowest, *saddles], ("-", "--", "-.", ":")[: len(lowest) + len(saddles)], strict=True):
        kind = str(network["kind"][row])
        label = f"{numbers[row]}, {kind}"
        axes[2].plot(network["grid"], network["fits"][row], color=colors[kind], linestyle=style, label=label)
    axes[2].set(xlabel="x", ylabel="y", title="fits of the lowest", xticks=np.linspace(-1, 1, 5))
    axes[2].grid(True)
    axes[2].legend()
    for ax in axes[:2]:
        ax.set_xlim(0.4, max(len(numbers), 1) + 0.6)
        ax.xaxis.get_major_locator().set_params(integer=True)
    record.figure("network", figure)
