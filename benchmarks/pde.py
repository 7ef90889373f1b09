"""Equations with known solutions: relative L2 errors of variable projection beside random features.

Each row is an equation of `grassvp.lab.equations` and a width, over seeds: median and worst error on a fine grid that
no method sees, the best random features of the same width (of random starts, in many dimensions), and
`PDE.solve()`, which chooses its width by itself. What is not said in a row is the library's default.

    python benchmarks/pde.py [--seeds 5] [--only poisson-64 ...] [--jobs 2] [--max-time 600] [--json FILE]
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed

import grassvp as gv
from grassvp.lab import equations
from grassvp.pde import PDE


@dataclass(frozen=True)
class Row:
    """An equation, a network and the options of its solve."""

    equation: Callable[[], PDE]
    width: int
    interior: int
    boundary: int
    bar: float
    options: dict[str, Any] = field(default_factory=lambda: {"max_iterations": 600})


def rounds(count: int) -> dict[str, Any]:
    """Options in many dimensions."""
    return {"rounds": count, "max_iterations": 25}


GROWTH = {"max_iterations": 600, "initialization": "growth", "starts": 6}
ROWS = {
    "poisson-64": Row(equations.poisson, 64, 900, 240, 2e-9),
    "poisson-100": Row(equations.poisson, 100, 900, 240, 1e-11),
    "heat-64": Row(equations.heat, 64, 900, 180, 5e-9),
    "heat-100": Row(equations.heat, 100, 900, 180, 5e-10),
    "advection-100": Row(equations.advection, 100, 900, 120, 1e-8),
    "helmholtz-300": Row(equations.helmholtz, 300, 1600, 320, 1e-7, {"max_iterations": 150, "starts": 1}),
    "layer-20": Row(equations.layer, 20, 400, 2, 1e-7, GROWTH),
    "poisson-5d": Row(equations.poisson_in_dimensions, 96, 3400, 1700, 3e-8, rounds(30)),
    "heat-4d": Row(equations.heat_in_dimensions, 96, 3400, 1700, 1e-7, rounds(48)),
    "harmonic-10d": Row(equations.harmonic, 48, 2900, 1450, 1e-6, rounds(16)),
}


def fit(name: str, seed: int, max_time: float) -> dict[str, float]:
    """Errors and seconds of the three ways, on one thread."""
    torch.set_num_threads(1)
    row, equation = ROWS[name], ROWS[name].equation()
    points = {"interior": row.interior, "boundary": row.boundary}
    network = gv.features.mlp(equation.domain.dimension, (row.width,))
    begin = time.perf_counter()
    solution = equation.solve(network, **points, seed=seed, max_time=max_time, **row.options)
    seconds = time.perf_counter() - begin
    drawn = equation.solve(network, **points, seed=seed, max_iterations=0)
    begin = time.perf_counter()
    free = equation.solve(seed=seed, max_time=max_time)
    return {
        "error": equation.relative_l2_error(solution),
        "seconds": seconds,
        "random_features": equation.relative_l2_error(drawn),
        "free_width": equation.relative_l2_error(free),
        "free_width_seconds": time.perf_counter() - begin,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--max-time", type=float, default=600.0, help="seconds of a solve")
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each row")
    options = parser.parse_args()
    print(f"relative L2 errors, seeds 0 to {options.seeds - 1}, one thread each")
    titles = [("median", 8), ("worst", 8), ("bar", 6), ("s", 6), ("random", 8), ("free", 8), ("worst", 8), ("s", 6)]
    print(f"{'equation':14} " + " ".join(f"{title:>{size}}" for title, size in titles))
    rows = []
    for name in options.only:
        jobs = (delayed(fit)(name, seed, options.max_time) for seed in range(options.seeds))
        fits = Parallel(n_jobs=options.jobs)(jobs)
        columns = {key: [each[key] for each in fits] for key in fits[0]}
        middle = {key: float(np.median(values)) for key, values in columns.items()}
        rows.append({"equation": name, "bar": ROWS[name].bar, "medians": middle} | columns)
        print(
            f"{name:14} {middle['error']:8.1e} {max(columns['error']):8.1e} {ROWS[name].bar:6.0e} "
            f"{middle['seconds']:6.1f} {middle['random_features']:8.1e} {middle['free_width']:8.1e} "
            f"{max(columns['free_width'], default=math.nan):8.1e} {middle['free_width_seconds']:6.1f}",
            flush=True,
        )
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
