"""Heat equation u_t = u_xx / 4 on [0, 1]^2, solved in space-time by variable projection of a one-hidden-layer network.

The rows of the feature matrix are (d_t - 1/4 d_xx) phi at interior points and phi at points of the initial line and of
the two ends; the targets are 0, sin(pi x) and 0. Exact solution: exp(-pi^2 t / 4) sin(pi x). Baselines at equal width:
random features (the same draws, output layer only), and Adam and L-BFGS on hidden and output layers jointly, in a given
time. The errors are measured on a fine grid that no method sees.
"""

import math
from dataclasses import dataclass

import numpy as np

import grassvp as gv
from grassvp.errors import ArgumentError
from grassvp.lab import plots
from grassvp.lab.records import Record
from grassvp.solvers import IterationRecord

FINE = 101  # points a side of the grid on which errors are measured
SNAPSHOTS = 60  # iterates whose error and place on the Grassmannian are looked at afterwards


@dataclass(frozen=True)
class Config:
    """Options of the heat experiment."""

    width: int = 64
    """neurons in the hidden layer"""
    seed: int = 0
    """seed of the random-feature draws"""
    interior: int = 900
    """collocation points of the equation; rounded down to a square grid"""
    boundary: int = 180
    """points of the initial and boundary conditions, a third each"""
    activation: str = "tanh"
    """tanh, sin, softplus, gelu or erf"""
    condition_weight: float = 10.0
    """weight of the initial and boundary rows against those of the equation"""
    regularization: float = 1e-22
    """ridge parameter; far below the squared features, it keeps the network away from rank drops"""
    max_iterations: int = 300
    """Levenberg-Marquardt iterations"""
    max_seconds: float = 12.0
    """time limit of the solve"""
    baseline_seconds: float = 3.0
    """seconds given to Adam and to L-BFGS on the joint problem; 0 leaves them out"""


def run(config: Config, record: Record) -> None:
    """Solve the problem with variable projection and with the baselines, and store what the figures need."""
    if not config.baseline_seconds >= 0:
        raise ArgumentError(f"baseline_seconds must be >= 0, got {config.baseline_seconds}")
    problem = collocate(config)
    with record.progress("heat", config.max_iterations) as show:
        paths: list[list[IterationRecord]] = []
        solution = gv.solve(
            problem,
            seed=config.seed,
            max_iterations=config.max_iterations,
            max_time=config.max_seconds,
            tolerance=1e-20,
            callbacks=[show, lambda iterate: follow(paths, iterate)],
        )
    record.solution("varpro", solution)
    record.status = solution.status
    record.metrics.update(relative_l2_error=error(solution), iterations=solution.iterations, value=solution.value)
    record.metrics.update(rank=solution.rank, distance_moved=float(solution.history["distance"].sum()))
    random_features = gv.solve(problem, seed=config.seed, max_iterations=0)
    record.metrics["random_features_relative_l2_error"] = error(random_features)
    record.metrics["random_features_value"] = random_features.value
    record.counts["varpro_evaluations"] = int(solution.history["evaluations"].max(initial=0))
    store_field(record, solution)
    path = next((path for path in paths if [step.value for step in path] == list(solution.history["value"])), None)
    if path is None:  # interrupted while the starts were still being compared
        return
    store_trajectory(record, problem, [step.parameters.numpy() for step in path])
    if config.baseline_seconds > 0 and solution.status is not gv.Status.INTERRUPTED:
        run_baselines(config, record, problem)


def collocate(config: Config) -> gv.SeparableProblem:
    """The least-squares problem: equation rows on an interior grid, condition rows on three sides."""
    side, edge = math.isqrt(max(config.interior, 0)), config.boundary // 3
    if side < 1 or edge < 2:
        raise ArgumentError(
            f"interior must be >= 1 and boundary >= 6, got interior={config.interior} and boundary={config.boundary}"
        )
    inner = np.arange(1, side + 1) / (side + 1)
    t, x = (axis.ravel() for axis in np.meshgrid(inner, inner, indexing="ij"))
    s, zero = np.linspace(0.0, 1.0, edge), np.zeros(edge)
    points = np.concatenate([np.stack(pair, 1) for pair in ((t, x), (zero, s), (s, zero), (s, zero + 1.0))])
    equation = np.arange(len(points)) < len(t)
    targets = np.concatenate([np.zeros(len(t)), np.sin(np.pi * s), zero, zero])
    terms = {(): ~equation, (0,): equation, (1, 1): -0.25 * equation}
    heat = gv.features.differential_operator(len(points), 2, terms)
    network = gv.features.mlp(2, (config.width,), activation=config.activation, seed=config.seed)
    return gv.SeparableProblem(
        gv.features.under_operator(network, heat),
        points,
        targets,
        weights=np.where(equation, 1.0, config.condition_weight),
        regularization=config.regularization,
    )


def exact(t: np.ndarray, x: np.ndarray) -> np.ndarray:
    """exp(-pi^2 t / 4) sin(pi x)."""
    return np.exp(-(np.pi**2) * t / 4) * np.sin(np.pi * x)


def on_fine_grid(solution: gv.Solution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The coordinates of the fine grid, the computed and the exact solution there, (FINE, FINE)."""
    axis = np.linspace(0.0, 1.0, FINE)
    t, x = np.meshgrid(axis, axis, indexing="ij")
    u = solution.predict(np.stack([t.ravel(), x.ravel()], 1)).reshape(t.shape)
    return axis, u, exact(t, x)


def error(solution: gv.Solution) -> float:
    """Relative L2 error on the fine grid."""
    _, u, truth = on_fine_grid(solution)
    return float(np.linalg.norm(u - truth) / np.linalg.norm(truth))


def store_field(record: Record, solution: gv.Solution) -> None:
    """Store the solution, the exact solution and their difference on the fine grid."""
    axis, u, truth = on_fine_grid(solution)
    record.arrays("field", axis=axis, solution=u, exact=truth)
    record.metrics["max_error"] = float(np.abs(u - truth).max())


def follow(paths: list[list[IterationRecord]], iterate: IterationRecord) -> None:
    """Keep an iterate with its run: where a run gets stuck, the solve takes up another start from iteration 0."""
    if iterate.iteration == 0:
        paths.append([])
    paths[-1].append(iterate)


def store_trajectory(record: Record, problem: gv.SeparableProblem, snapshots: list[np.ndarray]) -> None:
    """Error and distance to the last feature space of some iterates, spread evenly in the logarithm of their number."""
    reduced = gv.ReducedProblem(problem)
    last = reduced.linearize(snapshots[-1])
    chosen = np.unique(np.geomspace(1, len(snapshots), SNAPSHOTS).astype(int) - 1)
    rows = []
    for iteration in chosen:
        here = gv.solve(problem, initial_parameters=snapshots[iteration], max_iterations=0)
        distance = reduced.linearize(snapshots[iteration]).distance(last)
        rows.append((iteration, error(here), distance))
    columns = np.array(rows).T
    record.table("trajectory", dict(zip(("iteration", "relative_l2_error", "distance_to_end"), columns, strict=True)))


def run_baselines(config: Config, record: Record, problem: gv.SeparableProblem) -> None:
    """Adam and L-BFGS on the joint problem, from the best random features and a zero output layer."""
    start = gv.solve(problem, seed=config.seed, max_iterations=0).parameters
    for optimizer in ("adam", "lbfgs"):
        method = gv.FirstOrder(optimizer, objective="joint")
        gv.solve(problem, method, initial_parameters=start, max_iterations=1)  # loads what is loaded once, untimed
        with record.progress(f"joint {optimizer}") as show:
            baseline = gv.solve(
                problem,
                method,
                initial_parameters=start,
                max_iterations=10**6,
                max_time=config.baseline_seconds,
                tolerance=1e-20,
                callbacks=[show],
            )
        record.solution(f"joint_{optimizer}", baseline)
        record.metrics[f"joint_{optimizer}_relative_l2_error"] = error(baseline)


def figures(record: Record) -> None:
    """The solution beside its error, and the convergence beside the baselines."""
    _field_figure(record)
    if "trajectory.csv" in record.files:
        _convergence_figure(record)


def _field_figure(record: Record) -> None:
    field, relative = record.read_arrays("field"), record.metrics["relative_l2_error"]
    axis, u = field["axis"], field["solution"]
    figure, axes = plots.figure(1, 3, title="Heat equation, space-time variable projection")
    plots.heatmap(axes[0], axis, axis, u, "u", title="solution")
    plots.heatmap(axes[1], axis, axis, field["exact"], "u", title="exact")
    title = f"error (relative L2 {relative:.1e})"
    plots.heatmap(axes[2], axis, axis, u - field["exact"], "u - exact", title=title, diverging=True)
    record.figure("solution", figure)


def _convergence_figure(record: Record) -> None:
    metrics, history, trajectory = record.metrics, record.read_table("varpro"), record.read_table("trajectory")
    figure, axes = plots.figure(1, 3, title="Convergence and the trajectory on the Grassmannian")
    curves = {"VarPro": (history["seconds"], history["value"])}
    for name, label in (("joint_adam", "joint Adam"), ("joint_lbfgs", "joint L-BFGS")):
        if f"{name}_relative_l2_error" in metrics:
            baseline = record.read_table(name)
            curves[label] = (baseline["seconds"], baseline["value"])
    width = (0.0, max(float(seconds[-1]) for seconds, _ in curves.values()))
    curves["random features"] = (np.array(width), np.full(2, metrics["random_features_value"]))
    plots.convergence(axes[0], curves, xlabel="seconds", ylabel="value", title="objective")
    iteration = trajectory["iteration"] + 1
    errors = {"VarPro": (iteration, trajectory["relative_l2_error"])}
    for label, name in (
        ("joint Adam", "joint_adam"),
        ("joint L-BFGS", "joint_lbfgs"),
        ("random features", "random_features"),
    ):
        if f"{name}_relative_l2_error" in metrics:
            errors[label] = (iteration, np.full(len(iteration), metrics[f"{name}_relative_l2_error"]))
    plots.convergence(
        axes[1],
        errors,
        xlabel="iteration + 1",
        ylabel="relative L2 error",
        title="error; baselines at their end",
        log_x=True,
    )
    moved = {
        "this step": (history["iteration"] + 1, history["distance"]),
        "left to the end": (iteration[:-1], trajectory["distance_to_end"][:-1]),
    }
    plots.convergence(
        axes[2], moved, xlabel="iteration + 1", ylabel="distance (rad)", title="distance of feature spaces", log_x=True
    )
    record.figure("convergence", figure)
