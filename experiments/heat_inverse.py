"""Diffusivity of u_t = kappa u_xx from noisy measurements of u at scattered places, with standard errors.

u = 0 at both ends of [0, 1] and u(0, x) = sin(pi x), so that u(t, x; kappa) = exp(-kappa pi^2 t) sin(pi x). The network
solves the equation while kappa, one more nonlinear parameter, is fitted to the data; it never sees the closed form.
What is measured against that:
  - data without noise give kappa back;
  - over many draws of the noise, the estimates scatter as their standard errors say, intervals cover kappa as often as
    they should, and each estimate is the efficient one, maximum likelihood with the closed form (`scipy`);
  - estimates do not depend on how much more the equation counts than the data, over decades (`dominance`);
  - random features, whose kappa alone is fitted, at equal and at growing width.
"""

import math
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.optimize import least_squares
from scipy.stats import norm
from torch import Tensor

import grassvp as gv
from grassvp import pde
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots
from grassvp.lab.records import Record
from grassvp.statistics import fit_statistics

FINE = 101  # points a side of the grid that the solution is drawn on
DOMINANCES = tuple(10.0**k for k in range(7))
WIDTHS = (1, 2, 4)  # of random features, in units of the network's
SLOPES = (0.5, 1.0, 2.0, 4.0)  # of random features, per half-range of the box
EXACT_BAR = 1e-8  # error of kappa from data without noise
COVERAGE_BAR, SCATTER_BAR = 0.95, 0.2  # within three standard errors; of scatter over the mean standard error
EFFICIENT_BAR = 0.05  # largest distance from the efficient estimate, in standard errors
STEADY = (1e2, 1e5)  # dominances between which an estimate must stay within EFFICIENT_BAR


@dataclass(frozen=True)
class Config:
    """Options of the inverse heat experiment."""

    kappa: float = 0.13
    """the diffusivity that made the data"""
    start: float = 0.3
    """where the fit begins"""
    noise: float = 0.02
    """standard deviation of a measurement; u reaches 1"""
    measurements: int = 60
    """measurements at random places and times"""
    draws: int = 100
    """draws of the noise"""
    width: int = 56
    """neurons in the hidden layer"""
    seed: int = 0
    """of the places, the noise and the starts"""
    interior: int = 560
    """collocation points of the equation, rounded down to a grid; several for each parameter of the network"""
    boundary: int = 60
    """points of the initial and boundary conditions, a third each"""
    iterations: int = 100
    """iterations of the first fit, to data without noise"""
    draw_iterations: int = 4
    """iterations of each further fit, from where the first ended"""


def run(config: Config, record: Record) -> None:
    """Fit data without noise, then draws of the noise, and store the estimates beside the efficient ones."""
    check(config)
    rng = np.random.default_rng(config.seed)
    places = rng.uniform(0.0, 1.0, (config.measurements, 2))
    clean = closed_form(places, config.kappa)
    equation = heat(config)
    with record.progress("data without noise", config.iterations) as show:
        problem = collocated(config, equation, pde.Data(places, clean))
        exact = gv.solve(problem, seed=config.seed, max_iterations=config.iterations, callbacks=[show])
    record.solution("exact", exact)
    fits = draws(config, record, equation, places, clean, exact.parameters, rng)
    record.table("draws", fits)
    values = clean + config.noise * rng.standard_normal(len(clean))
    record.table("dominance", dominated(config, equation, places, values, exact.parameters))
    record.table("random_features", random_features(config, equation, places, values))
    store_field(config, record, equation, places, values, exact.parameters)
    record.metrics.update(summary(config, record, equation, exact))


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    for name in ("kappa", "start", "noise"):
        if check_nonnegative(getattr(config, name), name) == 0.0:
            raise ArgumentError(f"{name} must be > 0, got 0")
    for name in ("measurements", "draws", "draw_iterations"):
        check_count(getattr(config, name), name, least=2)


def heat(config: Config) -> pde.PDE:
    """The equation with an unknown diffusivity."""
    return pde.PDE(
        pde.Box({"t": (0, 1), "x": (0, 1)}),
        equation=lambda u, x, p: u.d("t") - p["kappa"] * u.d("x", "x"),
        conditions=[
            pde.initial(lambda x: torch.sin(math.pi * x["x"])),
            pde.dirichlet(("x", "both")),
        ],
        coefficients={"kappa": config.start},
        exact=lambda x: torch.from_numpy(closed_form(np.stack([x["t"], x["x"]], axis=1), config.kappa)),
    )


def closed_form(points: np.ndarray, kappa: float) -> np.ndarray:
    """The solution at points (rows, 2) of (t, x)."""
    t, x = points.T
    return np.exp(-kappa * math.pi**2 * t) * np.sin(math.pi * x)


def collocated(config: Config, equation: pde.PDE, data: pde.Data, **options: Any) -> gv.SeparableProblem:
    """The problem with some data."""
    network = gv.features.mlp(2, (config.width,), seed=config.seed)
    return equation.collocate(network, interior=config.interior, boundary=config.boundary, data=data, **options)


def efficient(config: Config, places: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Maximum likelihood of kappa with the closed form, and its standard error."""
    found = least_squares(
        lambda p: (closed_form(places, p[0]) - values) / config.noise,
        [config.kappa],
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    return float(found.x[0]), 1.0 / float(np.linalg.norm(found.jac))


def draws(
    config: Config,
    record: Record,
    equation: pde.PDE,
    places: np.ndarray,
    clean: np.ndarray,
    start: Tensor,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """A row for each draw of the noise."""
    rows = []
    with record.progress("draws of the noise", config.draws) as show:
        for number in range(config.draws):
            values = clean + config.noise * rng.standard_normal(len(clean))
            begin = time.perf_counter()
            problem = collocated(config, equation, pde.Data(places, values, config.noise))
            solution = gv.solve(
                problem, seed=config.seed, initial_parameters=start, max_iterations=config.draw_iterations
            )
            found = equation.coefficient_estimates(solution)
            rows.append(row_of(config, places, values, found) | {"seconds": time.perf_counter() - begin})
            show(SimpleNamespace(iteration=number + 1))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def row_of(config: Config, places: np.ndarray, values: np.ndarray, found: pde.Estimates) -> dict[str, float]:
    """An estimate beside the efficient one."""
    best, error = efficient(config, places, values)
    return {
        "kappa": found.values["kappa"],
        "standard_error": found.standard_errors["kappa"],
        "efficient_kappa": best,
        "efficient_standard_error": error,
        "misfit": found.misfit,
        "violation": found.violation,
    }


def dominated(
    config: Config, equation: pde.PDE, places: np.ndarray, values: np.ndarray, start: Tensor
) -> dict[str, np.ndarray]:
    """A row for each dominance of the equation over one set of data, each fit from where the one before it ended."""
    rows = []
    for dominance in reversed(DOMINANCES):
        problem = collocated(config, equation, pde.Data(places, values, config.noise), dominance=dominance)
        solution = gv.solve(
            problem, seed=config.seed, initial_parameters=start, max_iterations=5 * config.draw_iterations
        )
        found = row_of(config, places, values, equation.coefficient_estimates(solution))
        rows.append({"dominance": dominance} | found)
    return {name: np.array([row[name] for row in reversed(rows)]) for name in rows[0]}


def random_features(config: Config, equation: pde.PDE, places: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
    """A row for each width, with kappa alone as a parameter; the scale of the draw is that of the least value."""
    rows, data = [], pde.Data(places, values, config.noise)
    best, error = efficient(config, places, values)
    for factor in WIDTHS:
        begin, width = time.perf_counter(), factor * config.width
        network = gv.features.mlp(2, (width,), seed=config.seed)
        interior = max(config.interior, 3 * width)
        problem = equation.collocate(network, interior=interior, boundary=config.boundary, data=data)
        rng = np.random.default_rng(config.seed)
        fits = [only_kappa(config, problem, rng, scale) for scale in SLOPES]
        solution, frozen = min(fits, key=lambda fit: fit[0].value)
        found = fit_statistics(frozen, solution, noise=1.0)
        rows.append(
            {
                "width": width,
                "distance": abs(float(solution.parameters[0]) - best) / error,
                "standard_error_ratio": float(found.parameter_errors[0]) / error,
                "value": solution.value,
                "seconds": time.perf_counter() - begin,
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def only_kappa(
    config: Config, problem: gv.SeparableProblem, rng: np.random.Generator, scale: float
) -> tuple[gv.Solution, gv.SeparableProblem]:
    """The problem with the network held at a random draw, and its solution."""
    features: Any = problem.features
    theta, start = features.split(features.sample(rng, problem.inputs, scale))
    with torch.no_grad():
        parts = [part(at, x) for part, at, x in features.terms.each(theta, problem.inputs)]

    def rows(kappa: Tensor, _: Any) -> Tensor:
        c = features.table(kappa)
        return sum(c[:, t, None] * Phi for t, Phi in enumerate(parts))  # pyright: ignore[reportReturnType]

    frozen = gv.SeparableProblem(
        gv.features.from_function(rows, start),
        problem.inputs,
        problem.targets[:, 0],
        weights=problem.weights,
        regularization=problem.regularization,
    )
    return gv.solve(frozen, seed=config.seed, max_iterations=12), frozen


def store_field(
    config: Config, record: Record, equation: pde.PDE, places: np.ndarray, values: np.ndarray, start: Tensor
) -> None:
    """The solution fitted to the last set of data on a grid, and the data."""
    problem = collocated(config, equation, pde.Data(places, values, config.noise))
    solution = gv.solve(problem, seed=config.seed, initial_parameters=start, max_iterations=5 * config.draw_iterations)
    axis = np.linspace(0.0, 1.0, FINE)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=2).reshape(-1, 2)
    u = np.asarray(solution.predict(grid)).reshape(FINE, FINE)
    truth = closed_form(grid, config.kappa).reshape(FINE, FINE)
    record.arrays("field", axis=axis, u=u, exact=truth, places=places, values=values)


def summary(config: Config, record: Record, equation: pde.PDE, exact: gv.Solution) -> dict[str, Any]:
    """What was measured, and whether it is within the bars."""
    fits, scan, frozen = (record.read_table(name) for name in ("draws", "dominance", "random_features"))
    errors = fits["standard_error"]
    scores = (fits["kappa"] - config.kappa) / errors
    distance = np.abs(fits["kappa"] - fits["efficient_kappa"]) / fits["efficient_standard_error"]
    ratio = errors / fits["efficient_standard_error"]
    scatter = float(fits["kappa"].std(ddof=1) / errors.mean())
    steady = (scan["dominance"] >= STEADY[0]) & (scan["dominance"] <= STEADY[1])
    moved = np.abs(scan["kappa"] - scan["efficient_kappa"])[steady] / scan["efficient_standard_error"][steady]
    metrics = {
        "error_without_noise": abs(float(exact.parameters[-1]) - config.kappa),
        "relative_l2_error_without_noise": equation.relative_l2_error(exact),
        "relative_standard_error": float(errors.mean()) / config.kappa,
        "coverage_3_standard_errors": float(np.mean(np.abs(scores) <= 3.0)),
        "coverage_95_percent_interval": float(np.mean(np.abs(scores) <= norm.ppf(0.975))),
        "scatter_over_standard_error": scatter,
        "worst_distance_from_efficient": float(distance.max()),
        "worst_standard_error_ratio": float(np.abs(ratio - 1.0).max()),
        "worst_distance_over_dominances": float(moved.max()),
        "mean_misfit": float(fits["misfit"].mean()),
        "seconds_per_draw": float(np.median(fits["seconds"])),
        "random_features_distance_at_equal_width": float(frozen["distance"][0]),
        "random_features_distance_at_free_width": float(frozen["distance"][-1]),
    }
    metrics["passed"] = bool(
        metrics["error_without_noise"] <= EXACT_BAR
        and metrics["coverage_3_standard_errors"] >= COVERAGE_BAR
        and abs(scatter - 1.0) <= SCATTER_BAR
        and max(metrics["worst_distance_from_efficient"], metrics["worst_distance_over_dominances"]) <= EFFICIENT_BAR
        and metrics["worst_standard_error_ratio"] <= EFFICIENT_BAR
    )
    return metrics


def figures(record: Record) -> None:
    """The estimates of all draws, and what they depend on."""
    if "draws.csv" in record.files:
        _estimates_figure(record)
    if "field.npz" in record.files:
        _model_figure(record)


def _estimates_figure(record: Record) -> None:
    fits, kappa = record.read_table("draws"), record.config["kappa"]
    order = np.argsort(fits["kappa"])
    figure, axes = plots.figure(1, 3, title=f"Diffusivity from noisy data, {len(order)} draws of the noise")
    ax = axes[0]
    outside = np.abs(fits["kappa"] - kappa) > 3 * fits["standard_error"]
    for chosen, colour, label in (
        (~outside[order], plots.PALETTE[0], "estimate and 3 standard errors"),
        (outside[order], plots.PALETTE[1], "interval without the true value"),
    ):
        if chosen.any():
            at, those = np.flatnonzero(chosen), order[chosen]
            spread = 3 * fits["standard_error"][those]
            ax.errorbar(at, fits["kappa"][those], spread, fmt="o", ms=2, lw=0.7, color=colour, label=label)
    ax.axhline(kappa, color="black", linewidth=1, linestyle="-", label="true value")
    ax.set(xlabel="draw, by estimate", ylabel="kappa", title="intervals of 3 standard errors")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.3 * (high - low))
    ax.legend(loc="upper left")
    scores = (fits["kappa"] - kappa) / fits["standard_error"]
    z = np.linspace(-4.0, 4.0, 201)
    axes[1].hist(scores, bins=np.linspace(-4, 4, 17), density=True, color=plots.PALETTE[5], label="draws")
    axes[1].plot(z, norm.pdf(z), color="black", linestyle="-", label="standard normal")
    axes[1].set(xlabel="(estimate - kappa) / standard error", ylabel="density", title="scores")
    axes[1].set_ylim(0, 1.3 * axes[1].get_ylim()[1])
    axes[1].legend(loc="upper left")
    unit = fits["efficient_standard_error"]
    axes[2].axline((0, 0), slope=1, color="gray", linewidth=0.8, linestyle="-", label="equal")
    best, own = (fits["efficient_kappa"] - kappa) / unit, (fits["kappa"] - kappa) / unit
    axes[2].plot(best, own, "o", color=plots.PALETTE[0], label="draws")
    worst = np.abs(own - best).max()
    axes[2].set(
        xlabel="score of the efficient estimate",
        ylabel="score of this estimate",
        title=f"largest difference {worst:.1g} standard errors",
    )
    axes[2].legend(loc="upper left")
    record.figure("estimates", figure)


def _model_figure(record: Record) -> None:
    field, scan, frozen = (
        record.read_arrays("field"),
        record.read_table("dominance"),
        record.read_table("random_features"),
    )
    figure, axes = plots.figure(1, 3, title="The fitted field, and what an estimate depends on")
    plots.heatmap(axes[0], field["axis"], field["axis"], field["u"], "u", title="u and the places of the data")
    axes[0].plot(*field["places"].T, "o", color="white", mec="black", ms=4)
    unit = scan["efficient_standard_error"]
    curves = {
        "|estimate - efficient| / std. error": (
            scan["dominance"],
            np.abs(scan["kappa"] - scan["efficient_kappa"]) / unit,
        ),
        "|std. error / efficient - 1|": (scan["dominance"], np.abs(scan["standard_error"] / unit - 1.0)),
        "what is left of the equation": (scan["dominance"], scan["violation"]),
    }
    plots.convergence(axes[1], curves, xlabel="dominance of the equation over the data", ylabel="", log_x=True)
    axes[1].axvspan(*STEADY, color="#eeeeee", label="where it must not matter")
    axes[1].legend()
    axes[1].set(title="dependence on the weights")
    low, high = axes[1].get_ylim()
    axes[1].set_ylim(low, high * (high / low) ** 0.55)
    width = int(record.config["width"])
    own = np.abs(scan["kappa"] - scan["efficient_kappa"]) / unit
    chosen = int(np.argmin(np.abs(np.log(scan["dominance"] / 1e3))))
    axes[2].plot(frozen["width"], frozen["distance"], "o-", color=plots.PALETTE[0], label="random features")
    axes[2].plot([width], [own[chosen]], "D", color=plots.PALETTE[1], label="trained network")
    axes[2].set(xscale="log", yscale="log", xlabel="width", title="random features: kappa alone is fitted")
    axes[2].set(ylabel="distance from efficient (std. errors)")
    axes[2].set_xticks(frozen["width"], [f"{int(n)}" for n in frozen["width"]])
    axes[2].minorticks_off()
    axes[2].grid(True)
    axes[2].legend()
    record.figure("dependence", figure)
