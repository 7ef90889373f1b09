"""Surfaces in two and five variables: variable projection beside joint Adam and L-BFGS at equal wall time.

Peaks, Franke's function (both on [0, 1]^2) and Friedman's function (on [0, 1]^5) are fitted from exact values at random
points, by one hidden layer and by three. Each method gets the same seconds and the same network; joint training starts
from the best random features with their least-squares output layer. Losses are training losses, 1/2 ||Phi C - Y||^2 but
for the ridge; validation errors are relative L2 errors at points that no method sees.
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
JOINT = {"adam": "joint Adam", "lbfgs": "joint L-BFGS"}


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
            ours, joint = float(fits["varpro_value"][-1]), [float(fits[f"{each}_value"].min()) for each in JOINT]
            errors = [float(fits[f"{each}_validation"][0]) for each in JOINT]
            validation = float(fits["varpro_validation"][0])
            record.metrics.update(
                {
                    f"{surface}_{name}_loss": ours,
                    f"{surface}_{name}_loss_ratio": min(joint) / ours,
                    f"{surface}_{name}_validation": validation,
                    f"{surface}_{name}_validation_ratio": min(errors) / validation,
                    f"{surface}_{name}_random_features_loss": float(fits["random_features_value"]),
                }
            )


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name in config.surfaces:
        check_choice(name, "surfaces", tuple(SURFACES))
    for name in ("width", "rows", "validation"):
        check_count(getattr(config, name), name)
    if not config.deep:
        raise ArgumentError("deep must have at least one width, got ()")
    for name in ("seconds", "learning_rate"):
        if check_nonnegative(getattr(config, name), name) == 0.0:
            raise ArgumentError(f"{name} must be > 0, got 0")


def compare(config: Config, record: Record, surface: str, widths: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Losses over the seconds and validation errors of all methods on one surface."""
    function, d = SURFACES[surface]
    rng = np.random.default_rng([config.seed, list(SURFACES).index(surface)])
    x, unseen = rng.uniform(size=(config.rows, d)), rng.uniform(size=(config.validation, d))
    network = gv.features.mlp(d, widths, seed=config.seed)
    problem = gv.SeparableProblem(network, x, function(x), regularization=config.regularization)
    drawn = gv.solve(problem, seed=config.seed, max_iterations=0)
    methods = {"varpro": None} | {
        name: gv.FirstOrder(
            name,
            objective="joint",
            coefficients="projected",
            learning_rate=config.learning_rate if name == "adam" else None,
        )
        for name in JOINT
    }
    stored = {"random_features_value": np.array(drawn.value)}
    for name, method in methods.items():
        with record.progress(f"{surface} {'-'.join(map(str, widths))} {name}") as show:
            solution = gv.solve(
                problem,
                method,
                seed=config.seed,
                initial_parameters=None if method is None else drawn.parameters,
                max_iterations=10**6,
                max_time=config.seconds,
                tolerance=0.0,
                callbacks=[show],
            )
        chosen = np.unique(np.geomspace(1, len(solution.history["value"]), 400).astype(int) - 1)
        stored[f"{name}_seconds"], stored[f"{name}_value"] = (
            solution.history[column][chosen] for column in ("seconds", "value")
        )
        error = np.linalg.norm(solution.predict(unseen) - function(unseen)) / np.linalg.norm(function(unseen))
        stored[f"{name}_validation"] = np.array([error])
    return stored


def figures(record: Record) -> None:
    """Training loss over wall time, one panel for each surface and network."""
    names = [file.removesuffix(".npz") for file in record.files if file.endswith(".npz")]
    surfaces = [surface for surface in SURFACES if any(name.startswith(surface) for name in names)]
    figure, axes = plots.figure(2, len(surfaces), title="Training loss at equal wall time")
    for column, surface in enumerate(surfaces):
        for row, kind in enumerate(("shallow", "deep")):
            fits = record.read_arrays(f"{surface}_{kind}")
            curves = {
                label: (fits[f"{name}_seconds"], np.minimum.accumulate(fits[f"{name}_value"]))
                for name, label in ({"varpro": "VarPro"} | JOINT).items()
            }
            title = f"{surface}, {'one hidden layer' if kind == 'shallow' else 'three hidden layers'}"
            plots.convergence(
                np.reshape(axes, (2, len(surfaces)))[row, column], curves, xlabel="seconds", ylabel="loss", title=title
            )
    record.figure("losses", figure)
