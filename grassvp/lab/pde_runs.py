"""What experiments on an equation do: variable projection, and random features and joint training beside it.

Errors are relative L2 errors against the exact solution on a fine grid that no method sees.
"""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch

from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.lab.records import Record
from grassvp.pde import PDE
from grassvp.reduced import ReducedProblem
from grassvp.separable import SeparableProblem
from grassvp.solvers import FirstOrder, IterationRecord, Solution, Status
from grassvp.solving import solve

__all__ = ["Options", "compare", "error_of", "store_plane", "train"]

FINE = 101  # points a side of the grid that fields are drawn on
SNAPSHOTS = 60  # iterates whose error and place on the Grassmannian are looked at afterwards


@dataclass(frozen=True)
class Options:
    """Options of an experiment on an equation."""

    width: int = 64
    """neurons in the hidden layer"""
    activation: str = "tanh"
    """tanh, sin, softplus, gelu or erf"""
    interior: int = 900
    """collocation points of the equation; rounded down to a grid"""
    boundary: int = 240
    """rows of the conditions, the same number on each face of each"""
    sampling: str = "chebyshev"
    """chebyshev, grid, random, latin-hypercube or sobol"""
    seed: int = 0
    """seed of the starts and of the random features"""
    max_iterations: int = 300
    """Levenberg-Marquardt iterations"""
    max_seconds: float = 30.0
    """time limit of the solve"""
    baseline_seconds: float = 3.0
    """seconds given to Adam and to L-BFGS on the joint problem; 0 leaves them out"""
    free_width: bool = True
    """solve with random features of free width too"""


def compare(record: Record, equation: PDE, options: Options) -> None:
    """Variable projection and what it is compared with; all measures go to the record."""
    if not options.baseline_seconds >= 0:
        raise ArgumentError(f"baseline_seconds must be >= 0, got {options.baseline_seconds}")
    if not options.max_seconds > 0:
        raise ArgumentError(f"max_seconds must be > 0, got {options.max_seconds}")
    network = mlp(equation.domain.dimension, (options.width,), activation=options.activation, seed=options.seed)
    problem = equation.collocate(
        network, interior=options.interior, boundary=options.boundary, sampling=options.sampling, seed=options.seed
    )
    solution, paths = train(record, equation, problem, options)
    store_plane(record, equation, solution)
    _random_features(record, equation, problem, options)
    path = next((path for path in paths if [step.value for step in path] == list(solution.history["value"])), None)
    if path is None:  # interrupted while the starts were still being compared
        return
    _store_trajectory(record, equation, problem, [step.parameters.numpy() for step in path])
    if options.baseline_seconds > 0 and solution.status is not Status.INTERRUPTED:
        _joint_training(record, equation, problem, options)


def train(
    record: Record, equation: PDE, problem: SeparableProblem, options: Options
) -> tuple[Solution, list[list[IterationRecord]]]:
    """Variable projection, and the iterates of each run that it consisted of."""
    paths: list[list[IterationRecord]] = []

    def follow(iterate: IterationRecord) -> None:
        if iterate.iteration == 0:  # where a run gets stuck, the solve takes up another start from iteration 0
            paths.append([])
        paths[-1].append(iterate)

    with record.progress("VarPro", options.max_iterations) as show:
        solution = solve(
            problem,
            seed=options.seed,
            max_iterations=options.max_iterations,
            max_time=options.max_seconds,
            tolerance=1e-20,
            callbacks=[show, follow],
        )
    record.solution("varpro", solution)
    record.status = solution.status
    accuracy = equation.accuracy(solution)
    record.metrics.update(relative_l2_error=accuracy.relative_l2_error, max_error=accuracy.max_error)
    record.metrics.update(iterations=solution.iterations, value=solution.value, rank=solution.rank)
    record.metrics.update(seconds=solution.elapsed, distance_moved=float(solution.history["distance"].sum()))
    record.counts["varpro_evaluations"] = int(solution.history["evaluations"].max(initial=0))
    return solution, paths


def error_of(equation: PDE, solution: Solution) -> float:
    """Relative L2 error; inf where there is none because the solve failed at its start."""
    return equation.relative_l2_error(solution) if math.isfinite(solution.value) else math.inf


def store_plane(record: Record, equation: PDE, solution: Solution) -> None:
    """The solution and the exact one on a grid of a box in the plane, as FIELD.npz."""
    box = equation.domain
    if box.dimension != 2 or equation.exact is None:
        return
    unit = torch.linspace(0.0, 1.0, FINE, dtype=torch.float64)
    axes = [low + unit * length for low, length in zip(box.lower, box.lengths, strict=True)]
    points = torch.cartesian_prod(*axes)
    u = solution.predict(points).view(FINE, FINE)
    exact = equation.exact(box.columns(points)).view(FINE, FINE)
    record.arrays("field", first=axes[0], second=axes[1], solution=u, exact=exact)


def _random_features(record: Record, equation: PDE, problem: SeparableProblem, options: Options) -> None:
    """The best random draw of the same width, and of free width."""
    begin = time.perf_counter()
    equal = solve(problem, seed=options.seed, max_iterations=0)
    record.metrics["random_features_seconds"] = time.perf_counter() - begin
    record.metrics["random_features_relative_l2_error"] = error_of(equation, equal)
    record.metrics["random_features_value"] = equal.value
    if options.free_width:
        with record.progress("free width"):
            free = equation.solve(seed=options.seed, max_time=options.max_seconds)
        record.metrics["free_width_relative_l2_error"] = error_of(equation, free)
        record.metrics["free_width_seconds"] = free.elapsed
        record.metrics["free_width"] = len(free.coefficients)


def _store_trajectory(record: Record, equation: PDE, problem: SeparableProblem, snapshots: list[np.ndarray]) -> None:
    """Error and distance to the last feature space of some iterates, spread evenly in the logarithm of their number."""
    reduced = ReducedProblem(problem)
    last = reduced.linearize(snapshots[-1])
    chosen = np.unique(np.geomspace(1, len(snapshots), SNAPSHOTS).astype(int) - 1)
    rows = []
    for iteration in chosen:
        here = solve(problem, initial_parameters=snapshots[iteration], max_iterations=0)
        distance = reduced.linearize(snapshots[iteration]).distance(last)
        rows.append((iteration, error_of(equation, here), distance))
    columns = np.array(rows).T
    record.table("trajectory", dict(zip(("iteration", "relative_l2_error", "distance_to_end"), columns, strict=True)))


def _joint_training(record: Record, equation: PDE, problem: SeparableProblem, options: Options) -> None:
    """Adam and L-BFGS on the joint problem, from the best random features and a zero output layer."""
    start = solve(problem, seed=options.seed, max_iterations=0).parameters
    for optimizer in ("adam", "lbfgs"):
        method = FirstOrder(optimizer, objective="joint")
        solve(problem, method, initial_parameters=start, max_iterations=1)  # loads what is loaded once, untimed
        with record.progress(f"joint {optimizer}") as show:
            baseline = solve(
                problem,
                method,
                initial_parameters=start,
                max_iterations=10**6,
                max_time=options.baseline_seconds,
                tolerance=1e-20,
                callbacks=[show],
            )
        record.solution(f"joint_{optimizer}", baseline)
        record.metrics[f"joint_{optimizer}_relative_l2_error"] = error_of(equation, baseline)
