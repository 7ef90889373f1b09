"""Time to the loss at which scipy's joint solver ends, beside scipy, lmfit, pyglotaran and torch's optimisers.

Every solver gets the same problem, the same theta to start from and the same threads; the joint solvers start from
small random coefficients, torch's from the least-squares ones. Per seed all of them run in turn, and medians over the
seeds are printed: seconds to the loss L at which scipy's trust region (its defaults, exact Jacobian) ends, after half a
minute at most, or "-" where a solver does not get there in scipy's time, and its last loss over L.

    regression   tanh network of width 50, m = 1,000, lam = 1e-6
    outputs      two decays in noise, k = 1, 10, 100, 1,000 right-hand sides; above 100 scipy gets a sparse Jacobian
    iteration    one Levenberg-Marquardt iteration at (m, q) = (10,000, 300) over its floor

    python benchmarks/solvers.py [--seeds 5] [--only regression,outputs,iteration] [--threads 1] [--json FILE]
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import peers
import torch
from threadpoolctl import threadpool_limits

import grassvp as gv
from grassvp.solvers import MaxIterations, Run

SLACK = 1e-8  # relative: two solvers that end in one minimum differ by rounding
LONGEST = 30.0  # seconds that the joint solver may take; where it has not ended by then, its loss at that time counts
LEAST = 10.0  # seconds that ours may take; the others have those of the joint solver where these are more
ITERATIONS = [(1, 150), (2, 100), (9, 30)]  # (d, n) with (d + 1) n = 300 parameters


def compare(
    races: list[peers.Race], ours: dict[str, Any], others: dict[str, Callable], seeds: int
) -> list[dict[str, Any]]:
    """Median seconds to the joint solver's last loss, by solver."""
    times: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for seed in range(seeds):
        joint = peers.scipy_trf(races[seed], seed, LONGEST)
        level = min(joint.losses) * (1 + SLACK)
        limit = max(LEAST, joint.seconds[-1])
        traces = {"scipy trf, joint": joint}
        traces |= {name: peers.ours(races[seed], LEAST, method) for name, method in ours.items()}
        traces |= {name: run(races[seed], seed, limit) for name, run in others.items()}
        for name, trace in traces.items():
            if trace is not None and trace.losses:
                times.setdefault(name, []).append(trace.first_at(level))
                losses.setdefault(name, []).append(min(trace.losses) / min(joint.losses))
    reference = median(times["scipy trf, joint"])
    return [
        {
            "solver": name,
            "seconds": median(found),
            "times_sooner": reference / median(found),
            "reached": sum(map(math.isfinite, found)),
            "seeds": seeds,
            "loss_ratio": median(losses[name]),
        }
        for name, found in times.items()
    ]


def show(title: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{title}\n{'':34} {'seconds':>9} {'sooner':>8} {'reached':>8} {'last loss / L':>14}")
    for row in rows:
        reached = f"{row['reached']}/{row['seeds']}"
        there = math.isfinite(row["seconds"])
        seconds, sooner = (f"{row['seconds']:9.3f}", f"{row['times_sooner']:7.1f}x") if there else ("-", "-")
        print(f"{row['solver']:34} {seconds:>9} {sooner:>8} {reached:>8} {row['loss_ratio']:14.3g}", flush=True)


def regression(seeds: int) -> list[dict[str, Any]]:
    """The network of width 50."""
    methods = {
        "LevenbergMarquardt, accelerated": None,
        "LevenbergMarquardt": gv.LevenbergMarquardt(),
        "LevenbergMarquardt, column scales": gv.LevenbergMarquardt(scaling="columns"),
        "TrustRegion": gv.TrustRegion(),
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
        "LevenbergMarquardt, Golub-Pereyra": gv.LevenbergMarquardt("golub-pereyra"),
    }
    found = []
    for k in (1, 10, 100, 1000):
        others: dict[str, Callable] = {
            "torch L-BFGS, joint": lambda race, seed, limit: peers.torch_joint(race, seed, limit, "lbfgs"),
            "pyglotaran": lambda race, seed, limit: peers.glotaran(race, limit),
        }
        if k <= 10:
            others["lmfit leastsq, joint"] = peers.lmfit_leastsq
        rows = compare([peers.decay_race(seed, k) for seed in range(seeds)], methods, others, seeds)
        show(f"two decays, k = {k}", rows)
        found += [row | {"k": k} for row in rows]
    compressed, whole = per_iteration(1000, None), per_iteration(1000, gv.LevenbergMarquardt("golub-pereyra"))
    narrow = per_iteration(2, None)
    print(f"\none iteration: k = 1,000 {1e3 * compressed:.2f} ms, without compression {1e3 * whole:.2f} ms ")
    print(f"({whole / compressed:.1f}x), k = n = 2 {1e3 * narrow:.2f} ms ({compressed / narrow:.1f}x less)")
    ratios = {"compressed": compressed, "uncompressed": whole, "k = n": narrow}
    return [*found, {"solver": "seconds of one iteration", **ratios}]


def per_iteration(k: int, method: Any) -> float:
    """Median seconds of a linearisation and a step with so many right-hand sides."""
    race = peers.decay_race(0, k)
    reduced = gv.ReducedProblem(race.problem)
    method = gv.LevenbergMarquardt() if method is None else method
    times = []
    for _ in range(20):
        run = Run(reduced, method, torch.from_numpy(race.theta), MaxIterations(3))
        run.advance(0)
        begin, before = time.perf_counter(), run.records[-1].evaluations
        run.advance()
        times.append((time.perf_counter() - begin) / (run.records[-1].evaluations - before))
    return median(times)


def iteration(repeats: int) -> list[dict[str, Any]]:
    """One iteration over its floor: features, one QR of them, one product of the Jacobian's size, one Cholesky."""
    print("\none iteration at (m, q) = (10,000, 300), one evaluation each, milliseconds")
    columns = {"features": 9, "qr": 7, "product": 8, "cholesky": 9, "iteration": 10, "ratio": 6}
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
    parts = {
        "features": lambda: features(theta, problem.inputs),
        "qr": lambda: torch.linalg.qr(Phi),
        "product": lambda: J.T @ J,
        "cholesky": lambda: torch.linalg.cholesky(H),
    }
    samples: dict[str, list[float]] = {name: [] for name in (*parts, "iteration", "ratio")}
    for _ in range(repeats):
        floor = 0.0
        for name, part in parts.items():
            samples[name].append(elapsed(part))
            floor += samples[name][-1]
        run = Run(reduced, method, theta, MaxIterations(10))
        run.advance(0)
        before = run.records[-1].evaluations
        seconds = elapsed(lambda run=run: run.advance(1)) / max(1, run.records[-1].evaluations - before)
        samples["iteration"].append(seconds)
        samples["ratio"].append(seconds / floor)
    return {name: (1.0 if name == "ratio" else 1e3) * median(values) for name, values in samples.items()}


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
