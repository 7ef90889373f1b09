"""Duplicated neurons: what critical points of a narrow network become in a wider one, as predicted and as measured.

At lam > 0 a critical point of the narrow network whose feature j is multiplied by sqrt(r_j), with neuron j repeated r_j
times, is a critical point of the wide one. Theory gives its Hessian: that of the narrow problem, and for each further
copy a block H_j, so that index(wide) = index(narrow) + sum_j (r_j - 1) index(H_j). A census over random targets, with
one output and with two, sets this beside the wide network's own Hessian. Minima are followed over lam, and a gradient
flow from beside each of them shows whether it stayed a minimum or has become a saddle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import grassvp as gv
from grassvp import theory
from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.features.activations import ACTIVATIONS
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.theory.objectives import as_objective
from grassvp.theory.searches import settle

OUTPUTS = {"one": 1, "two": 2}
GRADIENT_TOLERANCE = 1e-11  # of ||Y||^2: where a branch still counts as critical
NULL = 1e-13  # of the largest eigenvalue: what counts as zero on a branch, where that grows like 1 / lam
GOAL = 1e-16  # gradient norm that a branch is settled to, relative to ||Y||^2, if rounding lets it
JUMP = 0.1  # relative to the parameters: a longer way between two lam is no continuation
BESIDE = 1e-3  # how far from a critical point a flow starts, relative to the size of a parameter
EIGENVALUE_TOLERANCE = 1e-9  # of the largest eigenvalue: how far predicted and measured ones may differ
RETURN_TOLERANCE = 1e-10  # of ||Y||^2: how far from the value of a minimum a flow from beside it may end


@dataclass(frozen=True)
class Config:
    """Options of the experiment with duplicated neurons."""

    neurons: int = 2
    """neurons of the narrow network, which has one input"""
    width: int = 3
    """neurons of the wide network, all of them copies"""
    activation: str = "gelu"
    """with tanh nearly every minimum becomes a saddle; gelu shows both fates"""
    rows: int = 12
    """data points on [-1, 1]"""
    draws: int = 3
    """sets of Gaussian targets for each number of outputs"""
    seed: int = 0
    """seed of the targets and of the searches"""
    regularization: float = 1e-2
    """ridge parameter of the census, > 0"""
    starts: int = 6
    """random starts of each search in the narrow network"""
    branches: int = 6
    """minima that are followed over lam, for each number of outputs"""
    largest: float = 1e-1
    """largest ridge parameter on a branch"""
    smallest: float = 1e-6
    """smallest ridge parameter on a branch"""
    per_decade: int = 4
    """ridge parameters in each decade"""
    iterations: int = 120
    """steps of the integrator of a flow at most"""


def run(config: Config, record: Record) -> None:
    """Take the census, follow branches and escape from saddles, for one output and for two; store each part."""
    check(config)
    passed = []
    for name, outputs in OUTPUTS.items():
        census = stages.once(record, f"census_{name}", lambda k=outputs: take_census(config, k))
        branches = stages.once(record, f"branches_{name}", lambda k=outputs, c=census: follow(config, k, c))
        escapes = stages.once(record, f"escapes_{name}", lambda k=outputs, c=census: escape(config, k, c))
        found = judged(census, branches, escapes)
        record.metrics.update({f"{name}_{key}": value for key, value in found.items()})
        passed.append(found["agrees"])
    record.metrics["passed"] = all(passed)


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    counts = {
        "neurons": 1,
        "rows": 2,
        "draws": 1,
        "seed": 0,
        "starts": 1,
        "branches": 0,
        "per_decade": 1,
        "iterations": 1,
    }
    for name, least in counts.items():
        check_count(getattr(config, name), name, least=least)
    check_count(config.width, "width", least=config.neurons + 1)
    check_choice(config.activation, "activation", tuple(ACTIVATIONS))
    for name in ("regularization", "smallest", "largest"):
        if check_nonnegative(getattr(config, name), name) == 0:
            raise ArgumentError(f"{name} must be > 0, got 0")
    if not config.smallest <= config.regularization <= config.largest:
        raise ArgumentError(
            f"regularization must be between smallest = {config.smallest:g} and largest = {config.largest:g}, got "
            f"{config.regularization:g}"
        )


def narrow_problem(config: Config, outputs: int, draw: int, lam: float) -> gv.ReducedProblem:
    """The narrow network and the targets of one draw."""
    x = np.linspace(-1.0, 1.0, config.rows)[:, None]
    y = np.random.default_rng([config.seed, outputs, draw]).standard_normal((config.rows, outputs))
    network = gv.features.mlp(1, (config.neurons,), activation=config.activation)
    return gv.ReducedProblem(gv.SeparableProblem(network, x, y, regularization=lam))


def take_census(config: Config, outputs: int) -> dict[str, Any]:
    """All embedded critical points that are found, a row each; columns hold predictions and measurements."""
    rows = []
    for draw in range(config.draws):
        problem = narrow_problem(config, outputs, draw, config.regularization)
        for each in theory.embedded_critical_points(problem, config.width, starts=config.starts, seed=config.seed):
            made, narrow, wide = each.embedding, each.narrow, each.wide
            rows.append(
                {
                    "draw": draw,
                    "multiplicities": made.multiplicities,
                    "narrow_parameters": made.narrow_parameters,
                    "value": wide.value,
                    "scale": wide.scale,
                    "gradient_norm": wide.gradient_norm,
                    "narrow_kind": narrow.kind,
                    "narrow_index": narrow.index,
                    "wide_kind": wide.kind,
                    "predicted_index": made.predicted_index,
                    "measured_index": wide.index,
                    "predicted_nullity": made.predicted_nullity,
                    "measured_nullity": wide.nullity,
                    "eigenvalue_error": each.eigenvalue_error,
                }
            )
    return columns(rows)


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """A table of equal rows, column by column."""
    if not rows:
        raise ArgumentError("starts: no critical point was found; take more of them")
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def minima(census: dict[str, np.ndarray]) -> np.ndarray:
    """Numbers of the entries that are minima of the narrow network."""
    return np.flatnonzero(census["narrow_kind"] == "minimum")


def follow(config: Config, outputs: int, census: dict[str, np.ndarray]) -> dict[str, Any]:
    """Index and block eigenvalues of some minima over lam, NaN and -1 where a branch cannot be followed any more.

    Arrays are (branches, lam, ...). The measured eigenvalue beside one of a block is the nearest of the wide Hessian.
    """
    lams = ridge_parameters(config)
    numbers = spread(minima(census), config.branches)
    shape, most = (len(numbers), len(lams)), 2 * config.neurons
    table: dict[str, np.ndarray] = {
        name: np.full(shape, -1)
        for name in ("predicted_index", "measured_index", "predicted_nullity", "measured_nullity")
    }
    table |= {name: np.full((*shape, most), np.nan) for name in ("predicted_blocks", "measured_blocks")}
    table["eigenvalue_error"] = np.full(shape, np.nan)
    middle = int(np.argmin(np.abs(np.log(lams / config.regularization))))
    for branch, number in enumerate(numbers):
        for way in (range(middle, len(lams)), range(middle - 1, -1, -1)):
            for at, made in continued(config, outputs, census, number, lams, way):
                for name, entry in confronted(made, most).items():
                    table[name][branch, at] = entry
    return {"lams": lams, "numbers": numbers, **table}


def confronted(made: theory.Embedding, most: int) -> dict[str, Any]:
    """What is predicted and what the wide network's own Hessian gives; `most` block eigenvalues, perhaps some NaN."""
    report = theory.critical_point_report(made.wide, made.parameters, eigenvalue_tolerance=made.tolerance)
    blocks = [block for block, r in zip(made.blocks, made.multiplicities, strict=True) if r > 1]
    predicted, found = np.concatenate([np.linalg.eigvalsh(block) for block in blocks]), report.hessian_eigenvalues
    nearest = found[np.argmin(np.abs(found[:, None] - predicted), axis=0)]
    largest, filling = np.max(np.abs(made.predicted_eigenvalues)), (0, most - predicted.size)
    return {
        "predicted_index": made.predicted_index,
        "measured_index": report.index,
        "predicted_nullity": made.predicted_nullity,
        "measured_nullity": report.nullity,
        "predicted_blocks": np.pad(predicted, filling, constant_values=np.nan),
        "measured_blocks": np.pad(nearest, filling, constant_values=np.nan),
        "eigenvalue_error": np.max(np.abs(found - made.predicted_eigenvalues)) / largest,
    }


def ridge_parameters(config: Config) -> np.ndarray:
    """Ridge parameters of the branches, descending; that of the census is one of them."""
    ratio = 10.0 ** (1.0 / config.per_decade)
    up = int(np.log(config.largest / config.regularization) / np.log(ratio) + 1e-9)
    down = int(np.log(config.regularization / config.smallest) / np.log(ratio) + 1e-9)
    return config.regularization * ratio ** np.arange(up, -down - 1, -1.0)


def copies(census: dict[str, np.ndarray], number: int) -> tuple[int, ...]:
    """The multiplicities of an entry."""
    return tuple(int(each) for each in census["multiplicities"][number])


def spread(numbers: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the numbers, evenly taken."""
    return numbers[np.unique(np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int))]


def continued(
    config: Config, outputs: int, census: dict[str, np.ndarray], number: int, lams: np.ndarray, way: range
) -> Iterator[tuple[int, theory.Embedding]]:
    """The embeddings of a critical point of the dilated problem that moves with lam, as far as it can be followed."""
    point, r = census["narrow_parameters"][number], copies(census, number)
    for at in way:
        problem = narrow_problem(config, outputs, int(census["draw"][number]), lams[at])
        objective = as_objective(theory.dilated(problem, r))
        scale = objective.scale or 1.0
        model = settle(objective, point, GOAL * scale)
        size = 1.0 + float(np.linalg.norm(point))
        if (
            model is None
            or model.gradient_norm > GRADIENT_TOLERANCE * scale
            or np.linalg.norm(model.point - point) > JUMP * size
        ):
            return
        point, made = model.point, theory.embed(problem, model.point, r, tolerance=NULL)
        if made.inertias[0].negative:
            return
        yield at, made


def escape(config: Config, outputs: int, census: dict[str, np.ndarray]) -> dict[str, Any]:
    """Gradient flows from beside each embedded minimum, off along the lowest eigenvector of the wide Hessian.

    A flow and no faster method: one with long steps leaves flat minima too.
    """
    numbers = minima(census)
    ends, curvatures, statuses = [], [], []
    for number in numbers:
        problem = narrow_problem(config, outputs, int(census["draw"][number]), config.regularization)
        made = theory.embed(problem, census["narrow_parameters"][number], copies(census, number))
        report = theory.critical_point_report(made.wide, made.parameters)
        away = BESIDE * (1.0 + np.linalg.norm(made.parameters) / made.parameters.size**0.5)
        start = made.parameters + away * report.spectrum.tangent_vector(0)
        end = gv.solve(
            made.wide.problem,
            gv.GradientFlow(integrator="bdf"),
            initial_parameters=start,
            max_iterations=config.iterations,
        )
        if end.status is gv.Status.INTERRUPTED:
            raise KeyboardInterrupt
        ends.append(end.value)
        curvatures.append(report.hessian_eigenvalues[0])
        statuses.append(end.status.name.lower())
    return {
        "numbers": numbers,
        "before": census["value"][numbers],
        "after": np.array(ends),
        "curvature": np.array(curvatures),
        "saddle": census["measured_index"][numbers] > 0,
        "scale": census["scale"][numbers],
        "status": np.array(statuses, dtype=str),
    }


def judged(
    census: dict[str, np.ndarray], branches: dict[str, np.ndarray], escapes: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What came out, and whether every prediction equals its measurement."""
    there = branches["measured_index"] >= 0
    wrong = sum(
        int(np.sum(table[f"predicted_{what}"] != table[f"measured_{what}"]))
        for table in (census, branches)
        for what in ("index", "nullity")
    )
    error = max(
        float(np.max(census["eigenvalue_error"])), float(np.max(branches["eigenvalue_error"][there], initial=0))
    )
    drops = (escapes["before"] - escapes["after"]) / escapes["scale"]
    saddle = escapes["saddle"]
    kept, total = int(np.sum(~saddle)), len(saddle)
    escaped = int(np.sum(drops[saddle] > RETURN_TOLERANCE))
    returned = int(np.sum(np.abs(drops[~saddle]) <= RETURN_TOLERANCE))
    return {
        "critical_points": len(census["value"]),
        "minima": total,
        "minima_kept": kept,
        "fraction_kept": kept / total if total else 0.0,
        "saddles_escaped": escaped,
        "minima_returned_to": returned,
        "smallest_relative_drop": float(np.min(drops[saddle])) if saddle.any() else 0.0,
        "largest_relative_drop": float(np.max(drops[saddle])) if saddle.any() else 0.0,
        "branch_points": int(np.sum(there)),
        "disagreements": wrong,
        "largest_eigenvalue_error": error,
        "largest_gradient_norm": float(np.max(census["gradient_norm"] / census["scale"])),
        "agrees": bool(
            wrong == 0 and error <= EIGENVALUE_TOLERANCE and escaped == total - kept and returned == kept and total > 0
        ),
    }


def figures(record: Record) -> None:
    """The census, index and block eigenvalues over lam, and the values before and after the flows."""
    names = [name for name in OUTPUTS if stages.has(record, f"escapes_{name}")]
    if not names:
        return
    for figure, title, panel in (
        ("census", "Critical points of the wide network that come from the narrow one", _census_panel),
        ("index", "Index of embedded minima over the ridge parameter, one colour a minimum", _index_panel),
        ("blocks", "Curvature where the copies of a neuron move apart, one colour a minimum", _blocks_panel),
        ("escapes", "Gradient flows from beside embedded minima", _escapes_panel),
    ):
        made, axes = plots.figure(1, len(names), size=(5.4 * len(names), 4.0), title=title, squeeze=False)
        for ax, name in zip(axes[0], names, strict=True):
            panel(ax, record, name)
            outputs = f"{name} output{'s' * (OUTPUTS[name] > 1)}"
            ax.set_title(f"{outputs}: {ax.get_title(loc='left')}", loc="left")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        made.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        record.figure(figure, made)


def _census_panel(ax: Any, record: Record, name: str) -> None:
    census = record.read_arrays(f"census_{name}")
    order = np.argsort(census["value"], kind="stable")
    numbers = 1 + np.arange(len(order))
    looks = {
        "narrow_index": ("narrow network", plots.PALETTE[6], "_", 7, "none"),
        "predicted_index": ("wide network, predicted", plots.PALETTE[0], "o", 9, "none"),
        "measured_index": ("wide network, measured", plots.PALETTE[1], ".", 6, "full"),
    }
    for column, (label, color, marker, size, fill) in looks.items():
        options = {"marker": marker, "markersize": size, "fillstyle": fill, "markeredgewidth": 1.4, "label": label}
        ax.plot(numbers, census[column][order], color=color, linestyle="none", **options)
    agree = int(np.sum(census["predicted_index"] == census["measured_index"]))
    ax.set(xlabel="critical point, by value", ylabel="index (negative Hessian eigenvalues)")
    ax.set_title(f"{agree} of {len(order)} indices as predicted", loc="left")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.margins(0.03, 0.1)
    ax.grid(True, axis="y")


def _index_panel(ax: Any, record: Record, name: str) -> None:
    branches = record.read_arrays(f"branches_{name}")
    count, lams = len(branches["numbers"]), branches["lams"]
    for number, (predicted, measured) in enumerate(
        zip(branches["predicted_index"], branches["measured_index"], strict=True)
    ):
        aside, there = 0.07 * (number - (count - 1) / 2), measured >= 0
        color = plots.PALETTE[number % len(plots.PALETTE)]
        line = np.where(there, predicted + aside, np.nan)
        ax.plot(lams, line, color=color, linestyle="-", linewidth=1.2, drawstyle="steps-mid")
        ax.plot(lams[there], measured[there] + aside, color=color, linestyle="none", marker="o", markersize=3.5)
    _line_and_marker(ax)
    highest = int(np.max(branches["measured_index"], initial=1))
    ax.set(xlabel="ridge parameter λ", ylabel="index; lines are set apart to be seen", xscale="log")
    ax.set(yticks=range(highest + 1), ylim=(-0.4, highest + 0.4))
    ax.set_title(f"{count} minima, as far as they can be followed", loc="left")
    ax.grid(True)


def _blocks_panel(ax: Any, record: Record, name: str) -> None:
    branches, threshold = record.read_arrays(f"branches_{name}"), 1e-3
    lams, lowest = branches["lams"], []
    for number, (predicted, measured) in enumerate(
        zip(branches["predicted_blocks"], branches["measured_blocks"], strict=True)
    ):
        color = plots.PALETTE[number % len(plots.PALETTE)]
        for line, marks in zip(predicted.T, measured.T, strict=True):
            ax.plot(lams, line, color=color, linestyle="-", linewidth=1.2)
            ax.plot(lams, marks, color=color, linestyle="none", marker="o", markersize=3.5)
            lowest.append(np.nanmin(line, initial=0.0))
    _line_and_marker(ax)
    ax.set_yscale("symlog", linthresh=threshold)
    ax.set(xlabel="ridge parameter λ", ylabel="eigenvalues of the blocks $H_j$", xscale="log")
    ax.axhline(0.0, color="#888888", linewidth=0.8)
    slope = "like −1/λ as λ falls" if min(lowest, default=0.0) < -1e2 else "bounded as λ falls"
    ax.set_title(slope, loc="left")
    ax.grid(True)


def _line_and_marker(ax: Any) -> None:
    """What lines and markers of all colours mean."""
    ax.plot([], [], color=plots.PALETTE[6], linestyle="-", linewidth=1.2, label="predicted")
    ax.plot([], [], color=plots.PALETTE[6], linestyle="none", marker="o", markersize=3.5, label="measured")


def _escapes_panel(ax: Any, record: Record, name: str) -> None:
    escapes = record.read_arrays(f"escapes_{name}")
    order = np.argsort(escapes["before"] / escapes["scale"], kind="stable")
    numbers, saddle = 1 + np.arange(len(order)), escapes["saddle"][order]
    before, after = (escapes[key][order] / escapes["scale"][order] for key in ("before", "after"))
    ax.vlines(numbers, after, before, color="#999999", linewidth=1.0)
    for label, shown, values, color, marker, fill in (
        ("a saddle now", saddle, before, plots.PALETTE[1], "o", "none"),
        ("still a minimum", ~saddle, before, plots.PALETTE[0], "s", "none"),
        ("where the flow ends", saddle | ~saddle, after, plots.PALETTE[6], ".", "full"),
    ):
        options = {"marker": marker, "markersize": 5 if fill == "full" else 8, "fillstyle": fill, "label": label}
        ax.plot(numbers[shown], values[shown], color=color, linestyle="none", **options)
    ax.set(xlabel="minimum of the narrow network", ylabel="value / ‖Y‖²")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_title(f"{int(np.sum(~saddle))} of {len(order)} stay minima", loc="left")
    ax.grid(True, axis="y")
