"""Time to the losses at which scipy's joint solver ends, beside scipy, lmfit, pyglotaran and torch's optimisers.

Every solver gets the same problem, the same theta to start from and the same threads; the joint solvers start from
small random coefficients, torch's from the least-squares ones. scipy's trust region runs twice, at its defaults (finite
differences) and with the exact Jacobian, for 20 seconds at most each. Per seed all run in turn, and medians over the
seeds are printed: seconds to the loss L of the first and to the loss L* of the second, or "-" where a solver does not
get there in its time, and how often those are contained in what scipy needed; and the last loss over L*.

    regression   tanh network of width 50, m = 1,000, lam = 1e-6
    outputs      two decays in noise, k = 1, 10, 100, 1,000 right-hand sides; at 1,000 a sparse exact Jacobian alone
    iteration    one Levenberg-Marquardt iteration at (m, q) = (10,000, 300) over its floor

    python benchmarks/solvers.py [--seeds 5] [--only regression,outputs,iteration] [--threads 1] [--json FILE]
"""

import argparse
import json
import math
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers
import torch
from threadpoolctl import threadpool_limits

import grassvp as gv
from grassvp import jacobians
from grassvp.solvers import MaxIterations, Run

SLACK = 1e-8  # relative: two solvers that end in one minimum differ by rounding
LONGEST = 20.0  # seconds that a joint solver may take; where it has not ended by then, its loss at that time counts
OURS = 10.0  # seconds that each of ours may take
ITERATIONS = [(1, 150), (2, 100), (9, 30)]  # (d, n) with (d + 1) n = 300 parameters
DEFAULT, EXACT = "scipy trf, joint", "scipy trf, joint, exact Jacobian"


def compare(
    races: list[peers.Race], ours: dict[str, Any], others: dict[str, Callable], seeds: int, *, differences: bool = True
) -> list[dict[str, Any]]:
    """Median seconds to scipy's last losses, by solver; without `differences` its exact Jacobian says both."""
    traces: dict[str, list[peers.Trace]] = {}
    for seed in range(seeds):
        race = races[seed]
        found = {DEFAULT: peers.scipy_trf(race, seed, LONGEST, exact=False)} if differences else {}
        found |= {EXACT: peers.scipy_trf(race, seed, LONGEST)}
        found |= {name: peers.ours(race, OURS, method) for name, method in ours.items()}
        found |= {name: run(race, seed, LONGEST) for name, run in others.items()}
        for name, trace in found.items():
            if trace is not None and trace.losses:
                traces.setdefault(name, []).append(trace)
    references = {"L": DEFAULT if differences else EXACT, "L*": EXACT}
    levels = {goal: [min(trace.losses) * (1 + SLACK) for trace in traces[name]] for goal, name in references.items()}
    needed = {goal: median(seconds(traces[name], levels[goal])) for goal, name in references.items()}
    rows = []
    for name, runs in traces.items():
        row: dict[str, Any] = {"solver": name, "seeds": seeds}
        for goal, reference in needed.items():
            times = seconds(runs, levels[goal])
            row[goal] = {
                "seconds": median(times),
                "sooner": reference / median(times),
                "reached": sum(map(math.isfinite, times)),
            }
        ratios = [min(trace.losses) / least for trace, least in zip(runs, levels["L*"], strict=True)]
        rows.append(row | {"loss_ratio": median(ratios)})
    return rows


def seconds(runs: list[peers.Trace], levels: list[float]) -> list[float]:
    return [trace.first_at(level) for trace, level in zip(runs, levels, strict=True)]


def show(title: str, rows: list[dict[str, Any]]) -> None:
    goal = f"{'s to {}':>9} {'sooner':>8} {'reached':>8}"
    print(f"\n{title}\n{'':34} {goal.format('L')}  {goal.format('L*')} {'last loss / L*':>15}")
    for row in rows:
        cells = []
        for goal in ("L", "L*"):
            found = row[goal]
            there, reached = math.isfinite(found["seconds"]), f"{found['reached']}/{row['seeds']}"
            first, second = (f"{found['seconds']:9.3f}", f"{found['sooner']:7.1f}x") if there else ("-", "-")
            cells.append(f"{first:>9} {second:>8} {reached:>8}")
        print(f"{row['solver']:34} {'  '.join(cells)} {row['loss_ratio']:15.3g}", flush=True)


def regression(seeds: int) -> list[dict[str, Any]]:
    """The network of width 50."""
    methods = {
        "LevenbergMarquardt, accelerated": None,
        "LevenbergMarquardt, column scales": gv.LevenbergMarquardt(scaling="columns"),
        "TrustRegion, exact Hessian": gv.TrustRegion("exact"),
    }
    others = {
        "torch L-BFGS, joint": lambda race, seed, limit: peers.torch_joint(race, seed, limit, "lbfgs"),
        "torch Adam, joint": lambda race, seed, limit: peers.torch_joint(race, seed, limit, "adam"),
        "lmfit leastsq, joint": peers.lmfit_leastsq,
    }
    rows = compare([peers.tanh_race(seed) for seed in range(seeds)], methods, others, seeds)
    show("tanh width 50, m = 1,000, lam = 1e-6", rows)
    return rows


def outputs(seeds: int) -> list[dict[str, Any]]:
    """Two decays in many right-hand sides."""
    methods = {
        "LevenbergMarquardt": None,
        "LevenbergMarquardt, Kaufman": gv.LevenbergMarquardt("kaufman"),
    }
    found = []
    for k in (1, 10, 100, 1000):
        others: dict[str, Callable] = {
            "torch L-BFGS, joint": lambda race, seed, limit: peers.torch_joint(race, seed, limit, "lbfgs"),
            "pyglotaran": lambda race, seed, limit: peers.glotaran(race, limit),
        }
        if k <= 10:
            others["lmfit leastsq, joint"] = peers.lmfit_leastsq
        rows = compare(
            [peers.decay_race(seed, k) for seed in range(seeds)], methods, others, seeds, differences=k < 1000
        )
        show(f"two decays, k = {k}", rows)
        found += [row | {"k": k} for row in rows]
    times = {f"k = {k}": per_iteration(k) for k in (2, 1000)}
    with unittest.mock.patch.object(jacobians, "compresses", lambda *_: False):
        times["k = 1000, not compressed"] = per_iteration(1000)
    print("\none iteration, ms: " + ", ".join(f"{name} {1e3 * value:.2f}" for name, value in times.items()))
    return [*found, {"solver": "seconds of one iteration", **times}]


def per_iteration(k: int) -> float:
    """Median seconds of a linearisation and a step with so many right-hand sides."""
    race = peers.decay_race(0, k)
    reduced = gv.ReducedProblem(race.problem)
    times = []
    for _ in range(20):
        run = Run(reduced, gv.LevenbergMarquardt(), torch.from_numpy(race.theta), MaxIterations(3))
        run.advance(0)
        begin, before = time.perf_counter(), run.records[-1].evaluations
        run.advance()
        times.append((time.perf_counter() - begin) / (run.records[-1].evaluations - before))
    return median(times)


def iteration(repeats: int) -> list[dict[str, Any]]:
    """One iteration over its floor: features, their QR, and a product of the Jacobian's size and a Cholesky or a QR."""
    print("\none iteration at (m, q) = (10,000, 300), one evaluation each, milliseconds")
    columns = {"features": 9, "qr": 7, "product": 8, "factor": 8, "iteration": 10, "ratio": 6}
    print(f"{'d':>2} {'n':>4} {'damping':>8} " + " ".join(f"{name:>{size}}" for name, size in columns.items()))
    rows = []
    for d, n in ITERATIONS:
        for strong in (True, False):
            row = {"d": d, "n": n, "damping": "strong" if strong else "weak"} | timed_iteration(d, n, strong, repeats)
            rows.append(row)
            figures = " ".join(f"{row[name]:{size}.2f}" for name, size in columns.items())
            print(f"{d:2d} {n:4d} {row['damping']:>8} {figures}")
    return rows


def timed_iteration(d: int, n: int, strong: bool, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (10_000, d))
    y = np.sin(3 * x.sum(1)) + 0.1 * rng.standard_normal(10_000)
    problem = gv.SeparableProblem(gv.features.mlp(d, (n,)), x, y, regularization=1e-10)
    reduced, features = gv.ReducedProblem(problem), problem.features
    theta = torch.from_numpy(np.concatenate([4 * rng.standard_normal(n * d), rng.uniform(-4, 4, n)]))
    Phi, J = features(theta, problem.inputs), reduced.linearize(theta).jacobian()
    H = J.T @ J
    H.diagonal().add_(float(H.diagonal().max()))
    method = gv.LevenbergMarquardt(initial_damping=1e3 if strong else 1e-12)
    parts = {"features": lambda: features(theta, problem.inputs), "qr": lambda: torch.linalg.qr(Phi)}
    if strong:  # what can be damped by the normal equations
        parts |= {"product": lambda: J.T @ J, "factor": lambda: torch.linalg.cholesky(H)}
    else:
        parts |= {"product": lambda: None, "factor": lambda: torch.linalg.qr(J, mode="r")}
    samples: dict[str, list[float]] = {name: [] for name in (*parts, "iteration", "ratio")}
    for _ in range(repeats):
        floor = 0.0
        for name, part in parts.items():
            samples[name].append(elapsed(part))
            floor += samples[name][-1]
        cost = one_iteration(reduced, method, theta)
        samples["iteration"].append(cost)
        samples["ratio"].append(cost / floor)
    return {name: (1.0 if name == "ratio" else 1e3) * median(values) for name, values in samples.items()}


def one_iteration(reduced: gv.ReducedProblem, method: Any, theta: torch.Tensor) -> float:
    """Median seconds of the iterations, among the first eight, whose first trial was accepted."""
    run, times = Run(reduced, method, theta, MaxIterations(8)), []
    run.advance(0)
    for number in range(1, 9):
        before = run.records[-1].evaluations
        cost = elapsed(lambda number=number: run.advance(number))
        times += [cost] if run.records[-1].evaluations == before + 1 else []
    return median(times)


def elapsed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="regression,outputs,iteration")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    sections = {
        "regression": lambda: regression(options.seeds),
        "outputs": lambda: outputs(options.seeds),
        "iteration": lambda: iteration(9),
    }
    print(f"{options.threads} threads, medians of {options.seeds} seeds")
    with threadpool_limits(options.threads):
        found = {name: sections[name]() for name in options.only.split(",")}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
