"""Minibatches at equal wall time: `solve_stream` beside Adam on the joint problem, and all rows at once for reference.

MATLAB's peaks at random points of a square by a tanh network, from exact values. Every method gets the same theta to
start from, the same batches in the same order, drawn anew for each epoch, the same lam and the same seconds; the joint
problem starts from the least-squares coefficients of all rows, which are solved for before its clock starts. Both Adams
are run with several learning rates, a line each. What counts is what they leave: the training loss
1/2 ||Phi C - Y||^2 + lam/2 ||C||^2 of all rows over that of the start, and the relative L2 error at other points; for
joint Adam also with C solved for at its last theta. Medians over the seeds.

    python benchmarks/minibatch.py [--seconds 20] [--seeds 3] [--rows 20000] [--batch 500] [--width 64]
                                   [--rates 1e-3,1e-2] [--regularization 1e-6] [--threads 1] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

import grassvp as gv

sys.path.insert(0, str(Path(__file__).parents[1]))
from experiments.surfaces import peaks

VALIDATION = 5000  # points that no method sees
FOREVER = 10**9


@dataclass(frozen=True)
class Fit:
    """Where a method ended: theta, C, and how often it went through the data."""

    theta: Tensor
    coefficients: Tensor
    epochs: float


class Task:
    """Data, network and start of one seed."""

    def __init__(self, seed: int, options: argparse.Namespace) -> None:
        rng = np.random.default_rng(seed)
        self.inputs, self.unseen = (torch.from_numpy(rng.random((count, 2))) for count in (options.rows, VALIDATION))
        self.targets, self.truth = (torch.from_numpy(peaks(x.numpy()))[:, None] for x in (self.inputs, self.unseen))
        self.network, self.seed, self.batch = gv.features.mlp(2, (options.width,)), seed, options.batch
        self.lam, self.seconds = options.regularization, options.seconds
        self.problem = gv.SeparableProblem(self.network, self.inputs, self.targets, regularization=self.lam)
        self.reduced = gv.ReducedProblem(self.problem)
        self.theta = self.problem.features.sample(rng, self.problem.inputs, 4.0)
        self.start = self.reduced.linearize(self.theta)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, in an order of its own."""
        order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(len(self.inputs)))
        return ((self.inputs[rows], self.targets[rows]) for rows in order.split(self.batch))

    def figures(self, fit: Fit) -> dict[str, float]:
        """Training loss over that at the start, and validation error."""
        features, C = self.problem.features, fit.coefficients
        misfit = features(fit.theta, self.problem.inputs) @ C - self.targets
        loss = 0.5 * float(torch.sum(misfit**2) + self.lam * torch.sum(C**2))
        error = torch.linalg.norm(features(fit.theta, self.unseen) @ C - self.truth) / torch.linalg.norm(self.truth)
        return {"loss": loss / self.start.value, "error": float(error), "epochs": fit.epochs}


def stream(task: Task, **options: Any) -> Fit:
    """One of our optimisers over the batches, evaluated at the end alone."""
    found = gv.solve_stream(
        task.network,
        task.batches,
        initial_parameters=task.theta,
        regularization=task.lam,
        epochs=FOREVER,
        max_time=task.seconds,
        evaluate="end",
        **options,
    )
    return Fit(found.parameters, found.coefficients, found.iterations)


def joint_adam(task: Task, rate: float) -> tuple[Fit, Fit]:
    """Adam on the mean over a batch of the joint loss in (theta, C): with its own last C, and with C solved for."""
    theta, C = task.theta.clone().requires_grad_(), task.start.projection.coefficients.clone().requires_grad_()
    optimizer, features, m = torch.optim.Adam([theta, C], lr=rate), task.problem.features, len(task.inputs)
    begin, epoch = time.perf_counter(), 0
    while time.perf_counter() - begin < task.seconds:
        for x, y in task.batches(epoch):
            optimizer.zero_grad()
            misfit = features(theta, x) @ C - y
            loss = 0.5 * torch.sum(misfit**2) / len(x) + 0.5 * task.lam / m * torch.sum(C**2)
            loss.backward()
            optimizer.step()
            if time.perf_counter() - begin >= task.seconds:
                break
        epoch += 1
    theta, C = theta.detach(), C.detach()
    return Fit(theta, C, epoch), Fit(theta, task.reduced.linearize(theta).projection.coefficients, epoch)


def all_rows(task: Task) -> Fit:
    """The default method on all rows."""
    found = gv.solve(task.problem, initial_parameters=task.theta, max_iterations=FOREVER, max_time=task.seconds)
    return Fit(found.parameters, found.coefficients, found.iterations)


def fits(task: Task, rates: list[float]) -> Iterator[tuple[str, Fit]]:
    """What is compared, by name."""
    yield "solve_stream, gauss-newton", stream(task)
    for rate in rates:
        yield f"solve_stream, adam {rate:g}", stream(task, optimizer="adam", learning_rate=rate)
    for rate in rates:
        joint, solved = joint_adam(task, rate)
        yield f"joint Adam {rate:g}", joint
        yield f"joint Adam {rate:g}, C solved at the end", solved
    yield "solve, all rows", all_rows(task)


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Medians over the seeds by method."""
    figures: dict[str, list[dict[str, float]]] = {}
    for seed in range(options.seeds):
        task = Task(seed, options)
        for name, fit in fits(task, [float(rate) for rate in options.rates.split(",")]):
            figures.setdefault(name, []).append(task.figures(fit))
    return [
        {"method": name} | {key: median(each[key] for each in found) for key in found[0]}
        for name, found in figures.items()
    ]


def show(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'':38} {'loss / start':>12} {'validation error':>17} {'epochs':>8}")
    for row in rows:
        print(f"{row['method']:38} {row['loss']:12.3e} {row['error']:17.3e} {row['epochs']:8g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rates", default="1e-3,1e-2", help="learning rates of Adam")
    parser.add_argument("--regularization", type=float, default=1e-6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sizes = f"{options.rows} rows, batches of {options.batch}, width {options.width}, lam = {options.regularization:g}"
    print(f"peaks, {sizes}, {options.threads} threads, {options.seconds:g} s each, medians of {options.seeds} seeds")
    with threadpool_limits(options.threads):
        found = compare(options)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
