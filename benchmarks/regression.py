"""Regression in one variable: relative L2 errors of variable projection beside random features of the same width.

Each row is a target of `experiments/regression.py` and a width, over seeds: median and worst error at points halfway
between the 1,000 of the training, how many seeds reach the bar, and how many are worse than the best of 21 draws of
random features of the same width. What runs is `solve` with its own choice of everything.

    python benchmarks/regression.py [--seeds 10] [--max-iterations 1000] [--jobs 2] [--json FILE]
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed

import grassvp as gv

sys.path.insert(0, str(Path(__file__).parents[1]))
from experiments.regression import Config, built_in, relative_l2

BARS = [("smooth", 16, 1e-10), ("runge", 16, 1e-6), ("runge", 32, 1e-9), ("step", 16, 1e-8), ("three", 32, 1e-6)]
RIDGE = 1e-22


def fit(target: str, width: int, seed: int, iterations: int) -> dict[str, float]:
    """Errors of the fit and of random features, and seconds of the fit, on one thread."""
    torch.set_num_threads(1)
    config = Config(target=target, width=width, seed=seed)
    train, test = built_in(config), built_in(config, held_back=True)
    problem = gv.SeparableProblem(gv.features.mlp(1, (width,), seed=seed), *train, regularization=RIDGE)
    begin = time.perf_counter()
    solution = gv.solve(problem, seed=seed, max_iterations=iterations)
    seconds = time.perf_counter() - begin
    drawn = gv.solve(problem, seed=seed, max_iterations=0)
    return {
        "error": relative_l2(solution, *test),
        "random_features": relative_l2(drawn, *test),
        "seconds": seconds,
        "iterations": solution.iterations,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--max-iterations", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    print(f"relative L2 errors, {options.seeds} seeds, one thread each")
    titles = [("width", 5), ("random", 9), ("median", 9), ("worst", 9), ("bar", 7), ("reach it", 8), ("worse", 5)]
    print(f"{'target':8} " + " ".join(f"{title:>{size}}" for title, size in [*titles, ("s", 6)]))
    rows = []
    for target, width, bar in BARS:
        jobs = (delayed(fit)(target, width, seed, options.max_iterations) for seed in range(options.seeds))
        fits = Parallel(n_jobs=options.jobs)(jobs)
        columns = {name: np.array([each[name] for each in fits]) for name in fits[0]}
        error, drawn, seconds = columns["error"], columns["random_features"], columns["seconds"]
        row = {
            "target": target,
            "width": width,
            "bar": bar,
            "random_features": float(np.median(drawn)),
            "median": float(np.median(error)),
            "worst": float(error.max()),
            "reached": int((error <= bar).sum()),
            "worse_than_random_features": int((error > drawn).sum()),
            "seconds": float(np.median(seconds)),
            "errors": error.tolist(),
        }
        rows.append(row)
        print(
            f"{target:8} {width:5d} {row['random_features']:9.1e} {row['median']:9.1e} {row['worst']:9.1e} {bar:7.0e} "
            f"{row['reached']:8d} {row['worse_than_random_features']:5d} {row['seconds']:6.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
