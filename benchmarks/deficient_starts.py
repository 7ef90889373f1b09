"""Every solver from 200 starts at which the features lose rank: how it ends, whether that is true, and how low.

Duplicated, opposite, dead, saturated and constant neurons, three sines in a plane, a layer of zeros and more features
than rows take turns. Each solver runs at lam = 0, at the default lam = 1e-14 ||Phi||^2, and at that from a generic
start of the same network; a status is checked by `tests/regimes/statuses.py`, which recomputes all that it says.

    python benchmarks/deficient_starts.py [--starts 200] [--iterations 8] [--only "LM;L-BFGS"] [--json FILE]
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import grassvp as gv

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.regimes.starts import KINDS, SOLVERS, start
from tests.regimes.statuses import untruth

TOLERANCE = 1e-10
SETTINGS = {
    "lam = 0": {"ridge": False},
    "default lam": {},
    "default lam, generic start": {"spoiled": False},
}
SHORT = {
    "CONVERGED": "conv",
    "STALLED": "stall",
    "DAMPED_OUT": "damped",
    "RANK_DEFICIENT": "rank",
    "MAX_ITERATIONS": "limit",
}


def measure(name: str, setting: str, starts: int, iterations: int) -> dict[str, Any]:
    """Statuses, untruths and final values of one solver."""
    statuses, untrue, values, begin = Counter(), [], [], time.perf_counter()
    for seed in range(starts):
        problem, theta = start(seed, **SETTINGS[setting])
        try:
            solution = gv.solve(
                problem, SOLVERS[name], initial_parameters=theta, max_iterations=iterations, tolerance=TOLERANCE
            )
            statuses[solution.status.name] += 1
            values.append(solution.value)
            wrong = untruth(problem, solution, TOLERANCE, iterations)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
            values.append(float("nan"))
        if wrong:
            untrue.append(f"{KINDS[seed % len(KINDS)]}, start {seed}: {wrong}")
    by_kind = {kind: median(values[i :: len(KINDS)]) for i, kind in enumerate(KINDS[:starts])}
    return {
        "solver": name,
        "setting": setting,
        "statuses": dict(statuses),
        "untrue": untrue,
        "median": median(values),
        "median_by_kind": by_kind,
        "seconds": time.perf_counter() - begin,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--only", help="names of solvers, separated by semicolons")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = options.only.split(";") if options.only else list(SOLVERS)
    table, rows, begin = (
        Table(title=f"{options.starts} starts, {options.iterations} iterations"),
        [],
        time.perf_counter(),
    )
    for column in ("solver", *SETTINGS, "how it ends at lam = 0", "at the default lam", "untrue", "s"):
        table.add_column(column, justify="left" if "how" in column or column == "solver" else "right")
    for name in names:
        found = [measure(name, setting, options.starts, options.iterations) for setting in SETTINGS]
        rows += found
        ends = [", ".join(f"{SHORT[s]} {count}" for s, count in sorted(row["statuses"].items())) for row in found]
        untrue = sum(len(row["untrue"]) for row in found)
        seconds = sum(row["seconds"] for row in found)
        table.add_row(name, *(f"{row['median']:.3g}" for row in found), *ends[:2], str(untrue), f"{seconds:.0f}")
    console = Console(width=180)
    console.print(table)
    for row in rows:
        for line in row["untrue"]:
            console.print(f"{row['solver']}, {row['setting']}: {line}")
    console.print(f"{time.perf_counter() - begin:.0f} seconds")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
