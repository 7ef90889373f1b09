"""Cost of one linearisation of a one-hidden-layer problem against the sum of its floor.

A linearisation is what a Gauss-Newton step needs: features, factorisation, residual, coefficients and the Jacobian,
m x q with q = (d + 1) n. Its floor is one feature evaluation, one QR of the m x n features and one product of the
Jacobian's size, m x n times n x q. Both sides are timed in turn, and medians and their ratio are printed.

    python benchmarks/linearization.py [--repeats 15] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import grassvp as gv

SIZES = [(m, n) for m in (1_000, 10_000) for n in (50, 200)]


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def measure(m: int, n: int, d: int, regularization: float, kind: str, repeats: int) -> dict[str, float]:
    """Median times in milliseconds of the linearisation and of each part of its floor."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1.0, 1.0, (m, d)), rng.standard_normal(m)
    network = gv.features.mlp(d, (n,), seed=0)
    # Slopes as a start of a solve has them, so that the features have full numerical rank as they do there.
    theta = torch.from_numpy(np.concatenate([8 * rng.standard_normal(n * d), rng.uniform(-8, 8, n)]))
    problem = gv.SeparableProblem(network, x, y, regularization=regularization)
    reduced = gv.ReducedProblem(problem)
    torch.nn.utils.vector_to_parameters(theta, network.parameters())
    network.requires_grad_(False)
    inputs = problem.inputs
    Phi = network(inputs)
    wide = torch.randn(problem.width, theta.numel(), dtype=torch.float64)
    work = {
        "linearization": lambda: reduced.linearize(theta).jacobian(kind),
        "features": lambda: network(inputs),
        "qr": lambda: torch.linalg.qr(Phi),
        "product": lambda: Phi @ wide,
    }
    for part in work.values():
        part()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, part in work.items():
            times[name].append(seconds(part))
    result = {name: 1e3 * median(samples) for name, samples in times.items()}
    floor = [sum(parts) for parts in zip(times["features"], times["qr"], times["product"], strict=True)]
    ratio = median(whole / part for whole, part in zip(times["linearization"], floor, strict=True))
    return result | {"floor": 1e3 * median(floor), "ratio": ratio, "rank": reduced.linearize(theta).rank}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows = []
    columns = ("linearization", "features", "qr", "product", "floor", "ratio")
    print(f"{torch.get_num_threads()} threads; milliseconds, medians of {options.repeats} interleaved runs")
    print(f"{'m':>6} {'n':>4} {'d':>2} {'lam':>6} {'jacobian':>15} " + " ".join(f"{name:>13}" for name in columns))
    for m, n in SIZES:
        for d, lam, kind in (
            (1, 0.0, "golub-pereyra"),
            (1, 1e-6, "golub-pereyra"),
            (2, 0.0, "golub-pereyra"),
            (2, 0.0, "kaufman"),
        ):
            row = measure(m, n, d, lam, kind, options.repeats)
            rows.append(
                {"m": m, "n": n, "d": d, "lam": lam, "jacobian": kind, "threads": torch.get_num_threads()} | row
            )
            figures = " ".join(f"{row[name]:13.2f}" for name in columns)
            print(f"{m:6d} {n:4d} {d:2d} {lam:6.0e} {kind:>15} {figures}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
