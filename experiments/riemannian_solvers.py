"""Riemannian solvers on toy problems: steepest descent, conjugate gradients and trust regions from the same starts.

Three problems share their targets: subspaces too small for them (n < rank), subspaces with room to spare (n >= rank,
where many subspaces fit exactly), and the regularised Grassmannian, whose infimum lies at infinity of the chart, so
that the iterations are bounded. The value above its minimum, the gradient norm and the distance to the nearest
minimiser are stored for every iterate, against iterations and seconds. At lam = 0 pymanopt's iterations are finished by
Newton steps, which the figures mark with dots; at lam > 0 they are not.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from grassvp import Status, riemannian
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.progress import Callback
from grassvp.lab.records import Record
from grassvp.lab.toys import check_eigenvalues, toy_targets
from manifolds import principal_angles

SOLVERS = {
    "steepest_descent": "steepest descent",
    "conjugate_gradient": "conjugate gradients",
    "trust_region": "trust regions",
}
PROBLEMS = {"small": "n < rank", "large": "n >= rank", "regularized": "regularised"}
FLOORS = {"small": 1e-17, "large": 1e-34, "regularized": 1e-17}  # least gap drawn, of the largest eigenvalue
MOMENTS = 120  # times at which medians over the starts are taken


@dataclass(frozen=True)
class Config:
    """Options of the comparison of Riemannian solvers."""

    rows: int = 40
    """rows m of the targets"""
    eigenvalues: tuple[float, ...] = (6.0, 5.0, 4.0, 3.0, 2.0, 1.0)
    """eigenvalues of Y Y^T that are not zero"""
    small: int = 3
    """dimension n of the subspaces of the problem with n < rank, also of the regularised one"""
    large: int = 9
    """dimension n of the subspaces of the problem with n >= rank"""
    regularization: float = 0.1
    """lam of the regularised problem, > 0"""
    seed: int = 0
    """seed of the targets and the starts"""
    starts: int = 9
    """random starts, the same for every solver"""
    max_iterations: int = 300
    """iterations at lam = 0"""
    regularized_iterations: int = 40
    """iterations at lam > 0, where no minimiser exists"""
    tolerance: float = 1e-12
    """gradient norm over ||Y||^2 that counts as success"""


def run(config: Config, record: Record) -> None:
    """Solve every problem with every solver; each pair is stored as it is done."""
    check(config)
    Y = toy_targets(config.eigenvalues, config.rows, np.random.default_rng([config.seed, 0]))
    for problem in PROBLEMS:
        for solver in SOLVERS:
            name = f"{problem}_{solver}"
            with record.progress(name.replace("_", " ")) as show:
                runs = stages.once(record, name, partial(solve, config, Y, problem, solver, show))
            converged, gap = runs["converged"], np.array([last(row) for row in runs["gap"]])
            record.metrics.update(
                {
                    f"{name}_success": float(np.mean(converged)),
                    f"{name}_worst_value_error": float(np.max(np.abs(gap)) / max(config.eigenvalues)),
                    f"{name}_worst_distance": float(max(last(row) for row in runs["distance"])),
                    f"{name}_median_iterations": float(np.median(runs["iterations"])),
                    f"{name}_median_evaluations": float(np.median(runs["evaluations"].sum(axis=1))),
                }
            )
            for what, count in zip(("cost", "gradient", "hessian"), runs["evaluations"].sum(axis=0), strict=True):
                record.counts[f"{name}_{what}_evaluations"] = int(count)


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (
        ("rows", 2),
        ("small", 1),
        ("large", 1),
        ("seed", 0),
        ("starts", 1),
        ("max_iterations", 1),
        ("regularized_iterations", 1),
    ):
        check_count(getattr(config, name), name, least=least)
    mu = check_eigenvalues(config.eigenvalues, config.rows)
    rank = len(mu)
    if mu[-1] == 0:
        raise ArgumentError(f"eigenvalues must be > 0, got {config.eigenvalues}: those that are missing are zero")
    if config.small >= rank:
        raise ArgumentError(f"small must be less than the {rank} eigenvalues, got {config.small}")
    if not rank <= config.large < config.rows:
        raise ArgumentError(
            f"large must be at least the {rank} eigenvalues and less than rows = {config.rows}, got {config.large}"
        )
    if not mu[config.small - 1] - mu[config.small] > 1e-6 * mu[0]:
        raise ArgumentError(
            f"eigenvalues must have a gap behind the largest {config.small} = small, got "
            f"{mu[config.small - 1]:g} and {mu[config.small]:g}: the minimiser is not unique otherwise"
        )
    if check_nonnegative(config.regularization, "regularization") == 0:
        raise ArgumentError("regularization must be > 0, got 0")
    if check_nonnegative(config.tolerance, "tolerance") == 0:
        raise ArgumentError("tolerance must be > 0, got 0")


def solve(config: Config, Y: np.ndarray, name: str, solver: str, show: Callback) -> dict[str, Any]:
    """Histories (starts, iterates) of one solver on one problem, NaN after the end, and what each run came to."""
    n = config.large if name == "large" else config.small
    lam = config.regularization if name == "regularized" else 0.0
    problem = riemannian.subspace_problem(Y, n, regularization=lam)
    manifold: Any = problem.manifold
    leading = np.linalg.svd(Y, full_matrices=False)[0][:, : min(n, Y.shape[1])]
    minimum = 0.5 * float(np.sum(np.sort(config.eigenvalues)[::-1][n:]))
    rng = np.random.default_rng([config.seed, 1, list(PROBLEMS).index(name)])
    results, distances = [], []
    for _ in range(config.starts):
        points: list[np.ndarray] = []
        result = riemannian.run(
            problem,
            solver.replace("_", "-"),
            initial_point=manifold.random_point(rng),
            max_iterations=config.regularized_iterations if lam else config.max_iterations,
            tolerance=config.tolerance,
            callbacks=[show, lambda iterate, points=points: points.append(iterate.point)],
            polish=lam == 0.0,
        )
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        results.append(result)
        distances.append([distance(point, leading, lam) for point in points])
    histories = [result.history for result in results]
    return {
        "gap": padded([history["value"] - minimum for history in histories]),
        "gradient_norm": padded([history["gradient_norm"] for history in histories]),
        "distance": padded(distances),
        "seconds": padded([history["seconds"] for history in histories]),
        "finish": padded([history["polish"] for history in histories]),
        "iterations": np.array([result.iterations for result in results]),
        "evaluations": np.array(
            [[result.evaluations[k] for k in ("cost", "gradient", "hessian")] for result in results]
        ),
        "converged": np.array([result.converged for result in results]),
        "status": np.array([result.status.name.lower() for result in results]),
    }


def distance(point: np.ndarray, leading: np.ndarray, regularization: float) -> float:
    """Geodesic distance to the nearest minimiser, in radians: a subspace that holds the leading eigenvectors.

    At lam > 0 the minimisers lie at infinity of the chart; distances are those of span [Phi; sqrt(lam) I] in
    Gr(m + n, n).
    """
    if regularization:
        n = point.shape[1]
        point = np.concatenate([point, np.sqrt(regularization) * np.eye(n)])
        leading = np.concatenate([leading, np.zeros((n, leading.shape[1]))])
    return float(np.linalg.norm(principal_angles(point, leading)))


def padded(rows: list[Any]) -> np.ndarray:
    """Rows of different lengths as one array with NaN behind their ends."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def last(row: np.ndarray) -> float:
    """The last number of a padded row."""
    return float(row[np.isfinite(row)][-1])


def figures(record: Record) -> None:
    """A figure a problem: three measures against iterations and seconds, starts thin and their median thick."""
    for problem, title in PROBLEMS.items():
        solvers = [solver for solver in SOLVERS if stages.has(record, f"{problem}_{solver}")]
        if solvers:
            _problem_figure(record, problem, _title(record.config, problem, title), solvers)


def _title(config: dict[str, Any], problem: str, title: str) -> str:
    n = config["large" if problem == "large" else "small"]
    rank, rows = len(config["eigenvalues"]), config["rows"]
    if problem == "regularized":
        return f"Regularised Grassmannian, n = {n}, m = {rows}, λ = {config['regularization']:g}: infimum at infinity"
    return f"Gr({rows}, {n}), rank {rank}: {title.replace('>=', '≥')}, minimum {'> 0' if problem == 'small' else '= 0'}"


def _problem_figure(record: Record, problem: str, title: str, solvers: list[str]) -> None:
    figure, axes = plots.figure(2, 3, size=(12.6, 6.9), title=title)
    unit = max(record.config["eigenvalues"])
    above = "infimum" if problem == "regularized" else "minimum"
    labels = (
        ("gap", f"value above the {above}"),
        ("gradient_norm", "gradient norm"),
        ("distance", "distance to a minimiser (rad)"),
    )
    for solver in solvers:
        runs = record.read_arrays(f"{problem}_{solver}")
        color = plots.PALETTE[list(SOLVERS).index(solver)]
        dashes = plots.DASHES[list(SOLVERS).index(solver)]
        for column, (name, _) in enumerate(labels):
            values = np.maximum(runs[name], FLOORS[problem] * unit) if name == "gap" else runs[name]
            iterations = np.broadcast_to(np.arange(values.shape[1]), values.shape)
            for row, abscissae in enumerate((iterations, 1e3 * runs["seconds"])):
                ax = axes[row, column]
                for x, y, finish in zip(abscissae, values, runs["finish"] == 1, strict=True):
                    ax.plot(x, y, color=color, linestyle="-", linewidth=0.6, alpha=0.35)
                    ax.plot(x[finish], y[finish], color=color, linestyle="none", marker=".", markersize=3, alpha=0.5)
                x, y = median(abscissae, values)
                ax.plot(x, y, color=color, linestyle=dashes, linewidth=2.2, label=SOLVERS[solver])
    for row, xlabel in enumerate(("iteration", "time (ms)")):
        for column, (_, ylabel) in enumerate(labels):
            axes[row, column].set(xlabel=xlabel, ylabel=ylabel, yscale="log")
            axes[row, column].grid(True)
            if row == 0:
                axes[row, column].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    handles, names = axes[0, 0].get_legend_handles_labels()
    handles += axes[0, 0].plot([], [], color="#777777", linestyle="-", linewidth=0.6)
    names.append("single starts (medians thick)")
    if problem != "regularized":
        handles += axes[0, 0].plot([], [], color="#777777", linestyle="none", marker=".", markersize=4)
        names.append("Newton steps of the finish")
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    record.figure(problem, figure)


def median(abscissae: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over the starts at common places; a run that has ended keeps its last value."""
    end = float(np.nanmax(abscissae))
    places = np.arange(values.shape[1]) if end == values.shape[1] - 1 else np.linspace(0.0, end, MOMENTS)
    rows = []
    for x, y in zip(abscissae, values, strict=True):
        known = np.isfinite(x) & np.isfinite(y)
        reached = np.searchsorted(x[known], places, side="right") - 1
        rows.append(y[known][np.maximum(reached, 0)])
    return places, np.median(rows, axis=0)
