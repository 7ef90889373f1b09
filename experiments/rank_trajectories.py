"""Trajectories that pass near a drop of rank, with and without regularisation, on both manifolds.

Training: Levenberg-Marquardt from neurons that are nearly merged, from merged ones, and to a minimum near which two
neurons merge, for lam = 0 and several lam > 0, followed by `RankMonitor`. Singular values and distances are computed a
second time from the parameters, by explicit formulas and by the manifolds.

Paths: Phi(t) = [a, a + t b + d c] with orthonormal a, b, c passes the matrix [a, a] of rank 1 at distance d. Between
-T and T its subspace turns by 2 arctan(T / sqrt(kappa^2 + d^2)), kappa^2 = lam (2 + lam) / (1 + lam). On the
Grassmannian (lam = 0) this tends to a jump of pi, pi/2 on either side of the middle, as d tends to 0; with lam > 0 the
turn takes a time of order kappa. At d = 0 the value jumps for lam = 0 only.

Flow: the gradient flow of the regularised Grassmannian from a start of any rank keeps that rank and follows its closed
form; at lam = 0 a start without full rank has no flow.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

import grassvp as gv
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.rank_plots import kept_ranks, passing_paths, rank_trajectory, shared_legend
from grassvp.lab.records import Record
from grassvp.lab.toys import toy_targets
from grassvp.rank import PassingPath, RankMonitor, numerical_rank
from grassvp.theory.flows import gradient_flow
from manifolds import Grassmann, RegularizedGrassmann, subspace_distance

STARTS = ("near", "merged", "merging")
TITLES = {
    "near": "two neurons nearly merged at the start",
    "merged": "two neurons merged at the start",
    "merging": "two neurons for a target of one",
}
SINGULAR_BAR, DISTANCE_BAR, FLOW_BAR = 1e-12, 1e-5, 1e-8
PATH_BAR = 1e-15  # over the smallest offset: rounding of Phi turns its span by eps / d
ORDER_BAR = 0.02  # of the slope 1/2 of the smallest singular value against lam
EIGENVALUES = (3.0, 2.0, 1.0, 0.5)  # of Y Y^T of the flow
GROWTH = 1e3  # of Phi along the flow
DECADES = np.geomspace(1e-6, 1.0, 61)


@dataclass(frozen=True)
class Config:
    """Options of the rank-trajectories experiment."""

    rows: int = 60
    """number of data points on [-1, 1]"""
    lams: tuple[float, ...] = (1e-6, 1e-4, 1e-2)
    """regularisation of the solves beside lam = 0, and of paths and flow, > 0"""
    separation: float = 1e-7
    """difference of the biases of the two neurons that are nearly merged"""
    iterations: int = 100
    """largest number of iterations of a solve"""
    level: float = 1e-3
    """relative level at which the monitor counts; the solves at lam = 0 cut at 1e-10"""
    offsets: tuple[float, ...] = (1e-1, 1e-2, 1e-4)
    """distances d at which the paths pass the matrix of rank 1, > 0"""
    columns: int = 3
    """columns of Phi in the flow"""
    seed: int = 0
    """seed of the starts, the frames of the paths, and the flow"""


def run(config: Config, record: Record) -> None:
    """Train, follow the paths and the flow, and store each as it is done."""
    check(config)
    passed = []
    for start in STARTS:
        for number in range(len(config.lams) + 1):
            train(config, record, start, number)
    passed.append(training_metrics(config, record))
    paths = stages.once(record, "paths", lambda: follow_paths(config))
    largest = {name: float(paths[f"{name}_errors"].max()) for name in ("length", "value")}
    record.metrics.update(path_length_error=largest["length"], path_value_error=largest["value"])
    record.metrics["path_turn_at_zero"] = float(paths["lengths"][0].max())
    record.metrics["path_gradient_over_bound"] = float(paths["gradient_over_bound"].max())
    passed.append(max(largest.values()) <= PATH_BAR / min(config.offsets))
    passed.append(record.metrics["path_gradient_over_bound"] <= 1.0)
    flow = stages.once(record, "flow", lambda: follow_flow(config))
    record.metrics["flow_distance_error"] = float(flow["distances"].max())
    record.metrics["flow_keeps_rank"] = bool(np.all(flow["measured_ranks"] == flow["ranks"][:, None]))
    record.metrics["flow_undefined_at_zero"] = bool(np.all(flow["undefined"] == (flow["ranks"] < config.columns)))
    passed.append(record.metrics["flow_distance_error"] <= FLOW_BAR)
    passed += [record.metrics["flow_keeps_rank"], record.metrics["flow_undefined_at_zero"]]
    record.metrics["passed"] = bool(all(passed))


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name, least in (("rows", 10), ("iterations", 1), ("columns", 1), ("seed", 0)):
        check_count(getattr(config, name), name, least=least)
    for name in ("lams", "offsets"):
        values = getattr(config, name)
        if not values or not all(check_nonnegative(value, name) > 0 for value in values):
            raise ArgumentError(f"{name} must be at least one number > 0, got {values}")
    if not 0 < check_nonnegative(config.level, "level") < 1:
        raise ArgumentError(f"level must be between 0 and 1, got {config.level}")
    check_nonnegative(config.separation, "separation")
    if config.columns > len(EIGENVALUES):
        raise ArgumentError(f"columns must be at most {len(EIGENVALUES)}, got {config.columns}")


# --- training -------------------------------------------------------------------------------------------------------


def start_of(config: Config, start: str) -> tuple[np.ndarray, np.ndarray]:
    """Targets (rows,) and the slopes and biases (2, width) to start from."""
    x, rng = np.linspace(-1.0, 1.0, config.rows), np.random.default_rng([config.seed, STARTS.index(start)])
    if start == "merging":
        return np.tanh(3.0 * x - 0.6) + 0.5, np.array([[2.0, 4.0], [-0.2, -1.0]]) + 0.05 * rng.standard_normal((2, 2))
    neurons = np.array([[1.5, -2.0, 2.5, 0.0], [0.5, 0.6, -1.2, 0.0]]) + 0.05 * rng.standard_normal((2, 4))
    neurons[:, 3] = neurons[:, 0]
    neurons[1, 3] += config.separation if start == "near" else 0.0
    return np.sin(3.0 * x) - 0.5 * x + 0.3 * np.cos(7.0 * x), neurons


def train(config: Config, record: Record, start: str, number: int) -> dict[str, np.ndarray]:
    """One solve, with lam = 0 for number 0, followed by a monitor."""
    lam = (0.0, *config.lams)[number]
    return stages.once(record, f"{start}_{number}", lambda: _trained(config, record, start, lam))


def _trained(config: Config, record: Record, start: str, lam: float) -> dict[str, Any]:
    x = np.linspace(-1.0, 1.0, config.rows)
    y, neurons = start_of(config, start)
    problem = gv.SeparableProblem(gv.features.mlp(1, (neurons.shape[1],)), x[:, None], y, regularization=lam)
    monitor, thetas = RankMonitor(problem, tolerance=config.level, hysteresis=3.0), []
    with record.progress(f"{TITLES[start]}, lam = {lam:g}", config.iterations) as progress:
        solution = gv.solve(
            problem,
            initial_parameters=neurons.ravel(),
            max_iterations=config.iterations,
            callbacks=[monitor, lambda seen: thetas.append(seen.parameters.numpy()), progress],
        )
    features = [_features(x, theta) for theta in thetas]
    s = np.array([np.linalg.svd(Phi, compute_uv=False) for Phi in features])
    distances = np.array([0.0, *(_distance(a, b, lam) for a, b in pairwise(features))])
    history = {name: solution.history[name] for name in ("value", "gradient_norm", "condition", "distance")}
    seen = monitor.columns()
    return {
        **seen,
        **{f"event_{name}": column for name, column in monitor.event_columns().items()},
        **{f"history_{name}": column for name, column in history.items()},
        "parameters": np.array(thetas),
        "status": solution.status.name,
        "singular_errors": np.abs(seen["singular_values"] - s).max(axis=1) / s[:, 0],
        "distance_errors": np.abs(history["distance"] - distances),
    }


def _features(x: np.ndarray, theta: np.ndarray) -> np.ndarray:
    slopes, biases = theta.reshape(2, -1)
    return np.column_stack([np.tanh(x[:, None] * slopes + biases), np.ones(len(x))])


def _distance(before: np.ndarray, after: np.ndarray, lam: float) -> float:
    """Geodesic distance by the manifolds; at lam = 0 of the spans cut at 1e-10."""
    if lam > 0:
        m, n = before.shape
        return float(RegularizedGrassmann(m, n, lam).dist(before, after))
    bases = []
    for Phi in (before, after):
        U, s, _ = np.linalg.svd(Phi, full_matrices=False)
        bases.append(U[:, s > 1e-10 * s[0]])
    return float(subspace_distance(*bases))


def training_metrics(config: Config, record: Record) -> bool:
    """What the solves show, and whether their diagnostics agree with what was computed a second time."""
    runs = {(start, n): record.read_arrays(f"{start}_{n}") for start in STARTS for n in range(len(config.lams) + 1)}
    over = [
        (runs[start, n]["condition"] / np.hypot(1.0, runs[start, n]["singular_values"][:, 0] / np.sqrt(lam))).max()
        for start in STARTS
        for n, lam in enumerate(config.lams, start=1)
    ]
    record.metrics.update(
        singular_value_error=max(float(run["singular_errors"].max()) for run in runs.values()),
        distance_error=max(float(run["distance_errors"].max()) for run in runs.values()),
        condition_over_bound=float(max(over)),
        near_condition_at_zero=float(runs["near", 0]["condition"][0]),
        near_value_at_zero=float(runs["near", 0]["history_value"][-1]),
        near_value_with_smallest_lam=float(_smallest(config, runs, "near")["history_value"][-1]),
        near_spread_at_zero=_spread(runs["near", 0]),
        near_least_spread_with_lam=min(_spread(runs["near", n]) for n in range(1, len(config.lams) + 1)),
        merged_records_of_lower_rank_at_zero=int(np.sum(runs["merged", 0]["rank"] < runs["merged", 0]["rank"].max())),
        events=sum(len(run["event_iteration"]) for run in runs.values()),
    )
    order = _order(config, runs)
    if order is not None:
        record.metrics["merging_order"] = order
    return (
        record.metrics["singular_value_error"] <= SINGULAR_BAR
        and record.metrics["distance_error"] <= DISTANCE_BAR
        and record.metrics["condition_over_bound"] <= 1.0 + 1e-9
        and (order is None or abs(order - 0.5) <= ORDER_BAR)
    )


def _smallest(config: Config, runs: dict[tuple[str, int], dict[str, np.ndarray]], start: str) -> dict[str, np.ndarray]:
    return runs[start, 1 + int(np.argmin(config.lams))]


def _spread(run: dict[str, np.ndarray]) -> float:
    """Smallest over largest singular value at the end."""
    return float(run["singular_values"][-1, -1] / run["singular_values"][-1, 0])


def _order(config: Config, runs: dict[tuple[str, int], dict[str, np.ndarray]]) -> float | None:
    """Slope of log of the last smallest singular value against log lam, where two neurons share a target of one."""
    small = [(lam, _spread(runs["merging", n])) for n, lam in enumerate(config.lams, start=1) if lam <= 1e-3]
    if len({lam for lam, _ in small}) < 2:
        return None
    logs = np.log(np.array(small))
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


# --- paths ----------------------------------------------------------------------------------------------------------

P, Q = 0.6, 0.8  # the target is P a + Q b


def follow_paths(config: Config) -> dict[str, Any]:
    """Length, value and gradient along the paths for each lam (0 first) and offset, measured and in closed form."""
    frame = np.linalg.qr(np.random.default_rng([config.seed, 10]).standard_normal((config.rows, 3)))[0]
    lams, offsets = np.array([0.0, *sorted(config.lams)]), np.array(sorted(config.offsets, reverse=True))
    y = P * frame[:, 0] + Q * frame[:, 1]
    along = [[_along(PassingPath(frame, d), lam, y) for d in offsets] for lam in lams]
    through = np.concatenate([-DECADES[::-1], [0.0], DECADES])
    exactly = PassingPath(frame, 0.0).matrices(through)
    return {
        "lams": lams,
        "offsets": offsets,
        "bounds": np.array([_bound(lam, y) for lam in lams]),
        **{name: np.array([[path[name] for path in row] for row in along]) for name in along[0][0]},
        "through_times": through,
        "through_values": np.array([[_value(Phi, y, lam)[0] for Phi in exactly] for lam in lams]),
    }


def _along(path: PassingPath, lam: float, y: np.ndarray) -> dict[str, Any]:
    """Lengths by adding geodesic distances, values and gradients by factorisation, and their closed forms."""
    width = path.width(lam)
    turning = np.minimum(width * np.tan(np.linspace(0.0, np.arctan(1.0 / width), 61)), 1.0)
    half = np.sort(np.concatenate([turning, DECADES]))
    t = np.concatenate([-half[:0:-1], half])
    points, (m, n) = path.matrices(t), (len(y), 2)
    manifold = RegularizedGrassmann(m, n, lam) if lam > 0 else Grassmann(m, n)
    places = points if lam > 0 else np.linalg.qr(points)[0]
    lengths = np.array([0.0, *np.cumsum([float(manifold.dist(p, q)) for p, q in pairwise(places)])])
    closed = path.turned(t, lam) - path.turned(t[0], lam)
    values, gradients = (np.array(each) for each in zip(*(_value(Phi, y, lam) for Phi in points), strict=True))
    return {
        "times": t,
        "lengths": lengths,
        "closed_lengths": closed,
        "length_errors": np.abs(lengths - closed),
        "values": values,
        "value_errors": np.abs(values - path.values(t, P, Q, lam)),
        "gradients": gradients,
        "gradient_over_bound": gradients / _bound(lam, y),
    }


def _bound(lam: float, y: np.ndarray) -> float:
    """What the gradient cannot exceed at lam > 0: 3 sqrt(3) / 16 ||y||^2 / sqrt(lam)."""
    return 3.0 * np.sqrt(3.0) / 16.0 * float(y @ y) / np.sqrt(lam) if lam > 0 else np.inf


def _value(Phi: np.ndarray, y: np.ndarray, lam: float) -> tuple[float, float]:
    """f_lam and the norm of its Euclidean gradient -R C^T, from a least-squares solve of the stacked system."""
    stacked = np.concatenate([Phi, np.sqrt(lam) * np.eye(2)])
    C = np.linalg.lstsq(stacked, np.append(y, [0.0, 0.0]), rcond=1e-12)[0]
    R = y - Phi @ C
    return float(0.5 * R @ R + 0.5 * lam * C @ C), float(np.linalg.norm(R) * np.linalg.norm(C))


# --- flow -----------------------------------------------------------------------------------------------------------


def follow_flow(config: Config) -> dict[str, Any]:
    """The flow from a start of each rank, (ranks, T), for the largest lam: integrated, and its distance to exp(M t)."""
    rng, lam = np.random.default_rng([config.seed, 20]), max(config.lams)
    Y = toy_targets(EIGENVALUES, 12, rng)
    times = np.linspace(0.0, np.log(GROWTH) / EIGENVALUES[0], 41)
    ranks = np.arange(1, config.columns + 1)
    flows, undefined = [], []
    for rank in ranks:
        start = rng.standard_normal((12, rank)) @ rng.standard_normal((rank, config.columns))
        start *= np.sqrt(1e-4 * lam) / np.linalg.norm(start, 2)
        flows.append(gradient_flow(Y, start, times, regularization=lam))
        undefined.append(_refused(Y, start, times))
    singular = np.array([np.linalg.svd(flow.points, compute_uv=False) for flow in flows])
    return {
        "times": times,
        "ranks": ranks,
        "singular": singular / np.sqrt(lam),
        "measured_ranks": np.array([[numerical_rank(s, 1e-9).rank for s in each] for each in singular]),
        "values": np.array([flow.values for flow in flows]),
        "closed_values": np.array([flow.closed_values for flow in flows]),
        "distances": np.array([flow.distances for flow in flows]),
        "undefined": np.array(undefined),
    }


def _refused(Y: np.ndarray, start: np.ndarray, times: np.ndarray) -> bool:
    """Whether there is no flow on the Grassmannian from that start."""
    try:
        gradient_flow(Y, start, times[:2])
    except ArgumentError:
        return True
    return False


# --- figures --------------------------------------------------------------------------------------------------------


def figures(record: Record) -> None:
    """One figure for each start, one of all solves, one of the paths and one of the flow, of what is stored."""
    lams = (0.0, *record.config["lams"])
    done = [start for start in STARTS if all(stages.has(record, f"{start}_{n}") for n in range(len(lams)))]
    for start in done:
        _training_figure(record, start, lams)
    if len(done) == len(STARTS):
        _measures_figure(record, lams)
    if stages.has(record, "paths"):
        _paths_figure(record)
    if stages.has(record, "flow"):
        _flow_figure(record)


def _training_figure(record: Record, start: str, lams: tuple[float, ...]) -> None:
    figure, axes = plots.figure(
        2,
        len(lams),
        size=(3.3 * len(lams), 5.6),
        title=f"Singular values and rank along a solve: {TITLES[start]}",
        sharex="col",
        sharey="row",
        squeeze=False,
        height_ratios=(2, 1),
    )
    for number, lam in enumerate(lams):
        run = record.read_arrays(f"{start}_{number}")
        events = {name: run[f"event_{name}"] for name in ("iteration", "kind", "run")}
        rank_trajectory(axes[:, number], run, events, title=_lam(lam))
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    shared_legend(figure)
    record.figure(f"training_{start}", figure)


def _lam(lam: float) -> str:
    return f"λ = {lam:.0e}" if lam else "λ = 0"


def _measures_figure(record: Record, lams: tuple[float, ...]) -> None:
    rows = {"distance": "moved (rad)", "condition": "condition", "gradient_norm": "gradient norm", "value": "value"}
    figure, axes = plots.figure(
        len(rows),
        len(STARTS),
        size=(12.6, 9.6),
        title="Distance moved on the (regularised) Grassmannian, condition, gradient and value along the solves",
        sharex="col",
    )
    for column, start in enumerate(STARTS):
        for number, lam in enumerate(lams):
            run = record.read_arrays(f"{start}_{number}")
            for row, (name, label) in enumerate(rows.items()):
                y = run[f"history_{name}"]
                axes[row, column].plot(
                    run["iteration"],
                    np.where(y > 0, y, np.nan),
                    color=plots.PALETTE[number % 7],
                    linestyle=plots.DASHES[number % 7],
                    label=_lam(lam),
                )
                axes[row, column].set(yscale="log", ylabel=label if column == 0 else "")
                axes[row, column].grid(True)
        axes[0, column].set_title(TITLES[start])
        axes[-1, column].set_xlabel("iteration")
    shared_legend(figure)
    record.figure("measures", figure)


def _paths_figure(record: Record) -> None:
    figure, axes = plots.figure(
        2,
        2,
        size=(10.4, 8.0),
        title="Paths [a, a + t b + d c] past a matrix of rank 1: measured (lines), closed form (dots)",
    )
    passing_paths(list(axes.flat), record.read_arrays("paths"), _lam)
    shared_legend(figure)
    record.figure("paths", figure)


def _flow_figure(record: Record) -> None:
    flow, lam = record.read_arrays("flow"), max(record.config["lams"])
    count = len(flow["ranks"])
    title = f"Gradient flow on the regularised Grassmannian, {_lam(lam)}"
    figure, axes = plots.figure(1, count + 1, size=(3.3 * (count + 1), 3.8), title=title)
    kept_ranks(axes, flow)
    shared_legend(figure)
    record.figure("flow", figure)
