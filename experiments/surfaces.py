"""Surfaces in two and five variables: variable projection beside joint Adam and L-BFGS at equal wall time.

Peaks, Franke's function (both on [0, 1]^2) and Friedman's function (on [0, 1]^5) are fitted from exact values at random
points, by one hidden layer and by a deep network. Each method gets the same seconds and the same network, and ends
sooner where no step helps any more. Joint training starts from the best random features, which are drawn before its
clock starts, once with their least-squares output layer and once with a zero one. Losses are training losses,
1/2 ||Phi C - Y||^2 and the ridge's part; validation errors are relative L2 errors at points that no method sees. A
ratio is the best joint run's loss or error over that of variable projection: above 1 variable projection is ahead.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import grassvp as gv
from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record


def peaks(x: np.ndarray) -> np.ndarray:
    """The peaks function of MATLAB, on [0, 1]^2 instead of [-3, 3]^2."""
    a, b = 6 * x[:, 0] - 3, 6 * x[:, 1] - 3
    hills = 3 * (1 - a) ** 2 * np.exp(-(a**2) - (b + 1) ** 2) - np.exp(-((a + 1) ** 2) - b**2) / 3
    return hills - 10 * (a / 5 - a**3 - b**5) * np.exp(-(a**2) - b**2)


def franke(x: np.ndarray) -> np.ndarray:
    """Franke's function (1979)."""
    a, b = 9 * x[:, 0], 9 * x[:, 1]
    near = 0.75 * np.exp(-((a - 2) ** 2 + (b - 2) ** 2) / 4) + 0.75 * np.exp(-((a + 1) ** 2) / 49 - (b + 1) / 10)
    return near + 0.5 * np.exp(-((a - 7) ** 2 + (b - 3) ** 2) / 4) - 0.2 * np.exp(-((a - 4) ** 2) - (b - 7) ** 2)


def friedman(x: np.ndarray) -> np.ndarray:
    """Friedman's first function (1991) in its five variables that count."""
    return 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]


SURFACES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], int]] = {
    "peaks": (peaks, 2),
    "franke": (franke, 2),
    "friedman": (friedman, 5),
}
JOINT = {
    # name: (optimiser, output layer at the start)
    "adam": ("adam", "projected"),
    "lbfgs": ("lbfgs", "projected"),
    "adam_zero": ("adam", "zero"),
    "lbfgs_zero": ("lbfgs", "zero"),
}
LABELS = {
    "varpro": "VarPro",
    "adam": "joint Adam",
    "lbfgs": "joint L-BFGS",
    "adam_zero": "joint Adam, from C = 0",
    "lbfgs_zero": "joint L-BFGS, from C = 0",
}


@dataclass(frozen=True)
class Config:
    """Options of the surfaces experiment."""

    surfaces: tuple[str, ...] = ("peaks", "franke", "friedman")
    """of peaks, franke and friedman"""
    width: int = 64
    """neurons of the network with one hidden layer"""
    deep: tuple[int, ...] = (20, 20, 20)
    """widths of the deep network"""
    rows: int = 2000
    """training points"""
    validation: int = 4000
    """validation points"""
    seconds: float = 20.0
    """wall time of each method"""
    regularization: float = 1e-20
    """ridge parameter of all methods"""
    learning_rate: float = 0.01
    """of Adam"""
    seed: int = 0
    """seed of the points and the starts"""


def run(config: Config, record: Record) -> None:
    """Fit every surface with both networks and all methods; each pair is stored as it is done."""
    check(config)
    for surface in config.surfaces:
        for name, widths in (("shallow", (config.width,)), ("deep", config.deep)):
            fits = stages.once(record, f"{surface}_{name}", lambda s=surface, w=widths: compare(config, record, s, w))
            found = summary(fits)
            record.metrics.update({f"{surface}_{name}_{key}": value for key, value in found.items()})
            record.counts.update(
                {f"{surface}_{name}_{method}_iterations": int(fits[f"{method}_iterations"]) for method in LABELS}
            )


def summary(fits: dict[str, np.ndarray]) -> dict[str, float]:
    """Loss and validation error of variable projection, and the better joint method's over it."""
    found = {"random_features_loss": float(fits["random_features_loss"])}
    for name in ("loss", "validation"):
        ours, joint = fits[f"varpro_{name}"], min(fits[f"{method}_{name}"] for method in JOINT)
        with np.errstate(divide="ignore", invalid="ignore"):
            found |= {name: float(ours), f"{name}_ratio": float(np.divide(joint, ours))}
    return found


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name in ("surfaces", "deep"):
        if not getattr(config, name):
            raise ArgumentError(f"{name} must have at least one entry, got ()")
    for name in config.surfaces:
        check_choice(name, "surfaces", tuple(SURFACES))
    for name in ("width", "rows", "validation"):
        check_count(getattr(config, name), name)
    for width in config.deep:
        check_count(width, "deep")
    check_count(config.seed, "seed", least=0)
    check_nonnegative(config.regularization, "regularization")
    for name in ("seconds", "learning_rate"):
        if check_nonnegative(getattr(config, name), name) == 0.0:
            raise ArgumentError(f"{name} must be > 0, got 0")


def compare(config: Config, record: Record, surface: str, widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Losses over the seconds, final losses, iterations and validation errors of all methods on one surface."""
    function, d = SURFACES[surface]
    rng = np.random.default_rng([config.seed, list(SURFACES).index(surface)])
    x, unseen = rng.uniform(size=(config.rows, d)), rng.uniform(size=(config.validation, d))
    network = gv.features.mlp(d, widths, seed=config.seed)
    problem = gv.SeparableProblem(network, x, function(x), regularization=config.regularization)
    drawn = gv.solve(problem, seed=config.seed, max_iterations=0)
    methods = {"varpro": None} | {
        name: gv.FirstOrder(
            optimizer,
            objective="joint",
            coefficients=coefficients,
            learning_rate=config.learning_rate if optimizer == "adam" else None,
        )
        for name, (optimizer, coefficients) in JOINT.items()
    }
    stored = {"random_features_loss": np.array(drawn.value)}
    for name, method in methods.items():
        start = None if method is None else drawn.parameters
        # What is loaded once is loaded before the clock starts.
        gv.solve(problem, method, initial_parameters=drawn.parameters, max_iterations=1)
        with record.progress(f"{surface} {'-'.join(map(str, widths))} {name}") as show:
            solution = gv.solve(
                problem,
                method,
                seed=config.seed,
                initial_parameters=start,
                max_iterations=10**6,
                max_time=config.seconds,
                tolerance=0.0,
                callbacks=[show],
            )
        if solution.status is gv.Status.INTERRUPTED:
            raise KeyboardInterrupt
        stored |= {f"{name}_{key}": value for key, value in outcome(solution, unseen, function(unseen)).items()}
    return stored


def outcome(solution: gv.Solution, unseen: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The lowest loss so far at up to 400 iterations, and where the solve ended."""
    history = solution.history
    kept = np.unique(np.geomspace(1, len(history["value"]), 400).round().astype(int)) - 1
    return {
        "seconds": history["seconds"][kept],
        "value": np.minimum.accumulate(history["value"])[kept],
        "loss": np.array(solution.value),
        "iterations": np.array(solution.iterations),
        "validation": np.array(np.linalg.norm(solution.predict(unseen) - truth) / np.linalg.norm(truth)),
    }


def figures(record: Record) -> None:
    """Training loss over wall time, of what is stored: a column for each surface, a row for each network."""
    surfaces = [
        name for name in SURFACES if stages.has(record, f"{name}_shallow") or stages.has(record, f"{name}_deep")
    ]
    if not surfaces:
        return
    titles = {
        "shallow": f"one layer, {record.config['width']}",
        "deep": f"layers {'-'.join(map(str, record.config['deep']))}",
    }
    figure, axes = plots.figure(2, len(surfaces), squeeze=False, title="Training loss at equal wall time")
    for column, surface in enumerate(surfaces):
        for row, (kind, network) in enumerate(titles.items()):
            if not stages.has(record, f"{surface}_{kind}"):
                axes[row, column].set_visible(False)
                continue
            fits = record.read_arrays(f"{surface}_{kind}")
            curves = {label: (fits[f"{name}_seconds"], fits[f"{name}_value"]) for name, label in LABELS.items()}
            plots.convergence(axes[row, column], curves, xlabel="seconds", ylabel="loss", title=f"{surface}, {network}")
            axes[row, column].get_legend().remove()
            handles = axes[row, column].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(LABELS))
    record.figure("losses", figure)
