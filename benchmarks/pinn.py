"""Variable projection beside DeepXDE and joint training: Poisson's equation in the plane and the 1+1-D heat equation.

All run in turn in one process, in float64, on the same threads and collocation points: an interior grid of 900 and 240
or 180 rows of conditions, DeepXDE being given those of our problem as `anchors` and `PointSetBC`. It runs as its demos
do: Glorot start, tanh, unit loss weights, Adam at 1e-3, then L-BFGS at its defaults; with one hidden layer as ours,
once more with the loss weights that balance our rows, and with four layers. Joint Adam and L-BFGS have a given time.
Errors are relative L2 errors on a grid that no method sees, medians and worst over the seeds; ratios are medians of
what a method has over what variable projection has with the same seed in the same run. The bar is held with a seed if
DeepXDE ends with an error at least 10,000 times ours, in at least 4 times our time.

    OMP_NUM_THREADS=1 python benchmarks/pinn.py [--seeds 3] [--adam 15000] [--threads 1] [--quick] [--json FILE]

DeepXDE is optional: pip install -c constraints.txt deepxde
"""

import contextlib
import importlib.util
import io
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, Literal, cast

import torch
import tyro
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import grassvp as gv
from grassvp.lab import equations
from grassvp.pde.sampling import check_points

EQUATIONS = {"poisson": (equations.poisson, 240), "heat": (equations.heat, 180)}
INTERIOR = 900
OURS, DEEPXDE = "variable projection", "DeepXDE"
ERRORS, TIMES = 1e4, 4.0  # the bar
DEEP = (50, 50, 50, 50)
MISSING = "DeepXDE is not installed and left out: pip install -c constraints.txt deepxde"


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    seeds: int = 3
    """how many seeds, from 0 on"""
    equations: tuple[Literal["poisson", "heat"], ...] = ("poisson", "heat")
    """which to solve"""
    width: int = 64
    """neurons of the networks with one hidden layer"""
    adam: int = 15_000
    """DeepXDE's iterations of Adam"""
    lbfgs: int = 15_000
    """DeepXDE's iterations of L-BFGS at most; 15,000 is its default"""
    joint_seconds: float = 30.0
    """seconds of our joint Adam, and of our joint L-BFGS"""
    threads: int = 1
    """threads of all methods"""
    only: tuple[str, ...] = ("random", "joint", "DeepXDE")
    """what the names of the methods beside ours contain"""
    quick: bool = False
    """one seed and few iterations of the others, to see that all runs"""
    json: Path | None = None
    """write the figures to this file, anew after each run"""


@dataclass(frozen=True)
class Task:
    """An equation at its points with one seed."""

    name: str
    seed: int
    options: Options

    @property
    def equation(self) -> gv.pde.PDE:
        return EQUATIONS[self.name][0]()

    def problem(self) -> gv.SeparableProblem:
        network = gv.features.mlp(2, (self.options.width,), seed=self.seed)
        return self.equation.collocate(network, interior=INTERIOR, boundary=EQUATIONS[self.name][1])


Found = tuple[float, str]  # relative L2 error, and how the run ended
Run = Callable[[Task], Found]


def ended(task: Task, solution: gv.Solution) -> Found:
    how = f"{solution.status.name}, {solution.iterations} iterations, width {len(solution.coefficients)}"
    return task.equation.relative_l2_error(solution), how


def ours(task: Task, **options: Any) -> Found:
    return ended(task, gv.solve(task.problem(), seed=task.seed, **options))


def joint(task: Task, optimizer: str) -> Found:
    """From the best random features and a zero output layer, as the experiments do it."""
    problem, method = task.problem(), gv.FirstOrder(optimizer, objective="joint")
    start = gv.solve(problem, seed=task.seed, max_iterations=0).parameters
    limits: dict[str, Any] = {"max_iterations": 10**7, "max_time": task.options.joint_seconds, "tolerance": 1e-20}
    return ended(task, gv.solve(problem, method, initial_parameters=start, **limits))


def load_deepxde() -> Any:
    """The package in float64 on the CPU, quietly; None where it is not installed."""
    os.environ["DDE_BACKEND"] = "pytorch"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if importlib.util.find_spec("deepxde") is None:
            return None
        deepxde = importlib.import_module("deepxde")
        deepxde.config.set_default_float("float64")
    torch.set_default_device("cpu")  # it moves torch to a GPU where there is one
    return deepxde


def residual(dde: Any, name: str, x: Any, u: Any) -> Any:
    """Of both equations in DeepXDE's operators; the columns are (x, y) and (t, x), as ours."""
    if name == "heat":
        return dde.grad.jacobian(u, x, i=0, j=0) - 0.25 * dde.grad.hessian(u, x, i=1, j=1)
    source = 2 * math.pi**2 * torch.sin(math.pi * x[:, :1]) * torch.sin(math.pi * x[:, 1:])
    return -dde.grad.hessian(u, x, i=0, j=0) - dde.grad.hessian(u, x, i=1, j=1) - source


def deepxde(dde: Any, layers: Sequence[int], balanced: bool = False) -> Run:
    """Adam, then L-BFGS, on the points of our problem; one loss for the equation and one for each condition."""

    def run(task: Task) -> Found:
        dde.config.set_random_seed(task.seed)
        equation, options, origin = task.equation, task.options, task.problem().origin
        inside, *conditions = cast(Any, origin).blocks()
        data = dde.data.PDE(
            dde.geometry.Rectangle([0, 0], [1, 1]),
            lambda x, u: residual(dde, task.name, x, u),
            [dde.icbc.PointSetBC(each.points.numpy(), each.targets[:, None].numpy()) for each in conditions],
            anchors=inside.points.numpy(),  # and no points of its own, as by default
        )
        weights = [each.size(equation.domain) ** -2 for each in (inside, *conditions)] if balanced else None
        model = dde.Model(data, dde.nn.FNN([2, *layers, 1], "tanh", "Glorot uniform"))
        model.compile("adam", lr=1e-3, loss_weights=weights, verbose=0)
        model.train(iterations=options.adam, verbose=0)
        dde.optimizers.set_LBFGS_options(maxiter=options.lbfgs)
        steps = min(1000, options.lbfgs)  # of one call, as at its import; it does not follow maxiter by itself
        dde.optimizers.config.LBFGS_options.update(iter_per_step=steps, fun_per_step=steps * 5 // 4)
        model.compile("L-BFGS", loss_weights=weights, verbose=0)
        _, state = model.train(verbose=0)
        points = check_points(equation.domain)
        exact = equation.exact(equation.domain.columns(points)).numpy()
        error = float(dde.metrics.l2_relative_error(exact[:, None], model.predict(points.numpy())))
        return error, f"{state.step} iterations, loss {float(sum(state.loss_train)):.1e}"

    return run


def attempt(run: Run, task: Task) -> dict[str, Any]:
    """Error, seconds and how it ended; whatever a method raises is its result."""
    begin, busy = time.perf_counter(), time.process_time()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            error, how = run(task)
        how = how if math.isfinite(error) else f"FAILED: error {error}, {how}"
    except Exception as exception:
        error, how = math.inf, f"FAILED: {type(exception).__name__}: {exception}"
    times = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - busy}
    return {"error": error if math.isfinite(error) else None, **times, "ended": how}


def summary(runs: list[dict[str, Any]], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the seeds, beside our runs with the same seeds; a failure counts as an infinite error."""
    errors, least = ([math.inf if each["error"] is None else each["error"] for each in group] for group in (runs, own))
    lower = [a / b if math.isfinite(b) else 0.0 for a, b in zip(errors, least, strict=True)]
    longer, busier = ([a[of] / b[of] for a, b in zip(runs, own, strict=True)] for of in ("seconds", "cpu_seconds"))
    bar = [math.isfinite(e) and a >= ERRORS and b >= TIMES for e, a, b in zip(errors, lower, longer, strict=True)]
    figures = {"median": median(errors), "worst": max(errors), "seconds": median(each["seconds"] for each in runs)}
    figures |= {"error_ratio": median(lower), "time_ratio": median(longer), "cpu_ratio": median(busier)}
    return {key: value if math.isfinite(value) else None for key, value in figures.items()} | {"bar": sum(bar)}


def show(console: Console, name: str, runs: dict[str, list[dict[str, Any]]]) -> None:
    """The table of an equation, and how runs ended that failed."""
    table = Table(title=f"{name}, {INTERIOR} + {EQUATIONS[name][1]} points, {len(runs[OURS])} seeds")
    table.add_column("method")
    for title in ("median error", "worst", "seconds", "error / ours", "time / ours", "bar held"):
        table.add_column(title, justify="right")
    for method, each in runs.items():
        row = {key: math.inf if value is None else value for key, value in summary(each, runs[OURS]).items()}
        held = f"{row['bar']}/{len(each)}" if method.startswith(DEEPXDE) else ""
        texts = [f"{row['median']:.1e}", f"{row['worst']:.1e}", f"{row['seconds']:.2f}"]
        table.add_row(method, *texts, f"{row['error_ratio']:.3g}", f"{row['time_ratio']:.3g}", held)
    console.print(table)
    for method, seed, run in ((method, *pair) for method, each in runs.items() for pair in enumerate(each)):
        if run["error"] is None:
            console.print(f"{method}, seed {seed}: {run['ended']}", markup=False)


def methods_of(options: Options, dde: Any) -> dict[str, Run]:
    """Ours, and what was asked for and is there beside it."""
    methods: dict[str, Run] = {"random features, same width": lambda task: ours(task, max_iterations=0)}
    methods["random features, free width"] = lambda task: ended(task, task.equation.solve(seed=task.seed))
    if dde is not None:
        methods[f"{DEEPXDE}, tanh-{options.width}"] = deepxde(dde, (options.width,))
        methods[f"{DEEPXDE} with our weights, tanh-{options.width}"] = deepxde(dde, (options.width,), balanced=True)
        methods[f"{DEEPXDE}, tanh 4 x 50"] = deepxde(dde, DEEP)
    methods |= {"joint Adam": partial(joint, optimizer="adam"), "joint L-BFGS": partial(joint, optimizer="lbfgs")}
    return {OURS: ours} | {name: run for name, run in methods.items() if any(part in name for part in options.only)}


def main() -> None:
    options = tyro.cli(Options, description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    if options.quick:
        options = replace(options, seeds=1, adam=300, lbfgs=300, joint_seconds=1.0)
    console, dde = Console(width=None if Console().is_terminal else 120), load_deepxde()
    if dde is None:
        console.print(MISSING, markup=False)
    torch.set_num_threads(options.threads)
    methods, found = methods_of(options, dde), {name: {} for name in options.equations}
    with threadpool_limits(options.threads):
        short = replace(options, width=8, adam=2, lbfgs=2, joint_seconds=0.1)
        for run in methods.values():  # loads what is loaded once, untimed
            attempt(run, Task(options.equations[0], 0, short))
        for seed, name, (method, run) in product(range(options.seeds), options.equations, methods.items()):
            found[name].setdefault(method, []).append(last := attempt(run, Task(name, seed, options)))
            console.print(f"{name}, seed {seed}, {method}: {last}", markup=False, soft_wrap=True, highlight=False)
            write(options, dde, found)
    for name, runs in found.items():
        show(console, name, runs)


def write(options: Options, dde: Any, found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """All runs so far, with their summaries."""
    if options.json is None:
        return
    result: dict[str, Any] = {"deepxde": None if dde is None else dde.__version__, "torch": torch.__version__}
    result |= {"threads": options.threads, "adam": options.adam, "lbfgs": options.lbfgs, "equations": {}}
    for name, methods in found.items():
        whole = {method: runs for method, runs in methods.items() if len(runs) == len(methods[OURS])}
        result["equations"][name] = {m: summary(runs, methods[OURS]) | {"runs": runs} for m, runs in whole.items()}
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
