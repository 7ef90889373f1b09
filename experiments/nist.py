"""The 27 NIST StRD nonlinear regression sets, each from both certified starts, against the certified values.

One rule holds for all 54 fits: `grassvp.solve` at its defaults, lam = 0, from the certified starting values of the
nonlinear parameters (the linear ones need none), no restarts. Digits are -log10 of the relative error, between 0 and
the 11 that are certified, the least over all parameters b of a set, which NIST also calls by these names. 6 are asked
of the parameters and 4 of their standard deviations. The latter are proportional to the norm of the residual, and that
of Lanczos1, data exact to 14 digits, is no larger than 400 roundings of y: where rounding leaves fewer than 4 digits,
those are asked (`attainable_digits`, from eps ||y|| / ||r||).

What is not taken as it stands: Chwirut1 and Chwirut2 are restated so that the linear parameter leaves the denominator,
Roszman1 has an offset, Nelson's response is log y (`grassvp.lab.nist`; column `note`). Terms that may change places
(MGH17, Lanczos, Gauss, ENSO) are put in the certified order; column `reordered` says where that happened.

For comparison `scipy.optimize.least_squares` (trf, x_scale="jac", Jacobian by automatic differentiation, and every
tolerance at rounding level, as its defaults leave 3 to 6 digits on several sets) fits all of b jointly from the same
starts; `joint_solved_within_scipy_limit` counts what it solves in the 100 evaluations a parameter that are its default.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.optimize import least_squares
from torch.func import jacfwd

import grassvp as gv
from grassvp.arrays import check_choice, check_count
from grassvp.errors import GrassvpError
from grassvp.lab import nist, plots
from grassvp.lab.records import Record
from grassvp.statistics import fit_statistics

DATA = Path(__file__).parent / "data" / "nist"
SOLVERS = {
    "default": None,
    "kaufman": gv.LevenbergMarquardt(jacobian="kaufman"),
    "gauss-newton": gv.GaussNewton(),
    "trust-region": gv.TrustRegion(),
}
CERTIFIED = 11  # digits
PARAMETERS_BAR, DEVIATIONS_BAR = 6, 4  # digits asked for
SCIPY_LIMIT = 100  # evaluations a parameter that scipy allows by default
EPS = float(np.finfo(np.float64).eps)
Row = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """Options of the NIST experiment."""

    sets: str = ""
    """names separated by commas, such as Misra1a,MGH09; empty for all 27"""
    seed: int = 0
    """recorded only: the certified starts leave nothing to chance"""
    solver: str = "default"
    """default (Levenberg-Marquardt), kaufman, gauss-newton or trust-region, for all sets"""
    max_iterations: int = 500
    """iterations of a fit"""
    joint_evaluations: int = 5000
    """evaluations that joint least squares may take for a fit; 0 leaves it out"""


def run(config: Config, record: Record) -> None:
    """Fit every set from both starts, and store a row for each fit and for each of its parameters."""
    names = check(config)
    fits: list[Row] = []
    estimates: list[Row] = []
    with record.progress("fits", nist.STARTS * len(names)) as show:
        for name in names:
            data, model = nist.read(DATA / f"{name}.dat"), nist.MODELS[name]
            for start in range(1, nist.STARTS + 1):
                row, parameters = fit(config, data, model, start)
                joint = joint_fit(data, model, start, config.joint_evaluations) if config.joint_evaluations else {}
                fits.append(row | joint | {"note": model.note})
                estimates += parameters
                show(SimpleNamespace(iteration=len(fits)))
    record.table("fits", columns(fits))
    record.table("parameters", columns(estimates))
    record.metrics.update(summary(columns(fits)))
    for name in ("iterations", "evaluations", "joint_evaluations"):
        if name in fits[0]:
            record.counts[name] = sum(row[name] for row in fits)


def check(config: Config) -> list[str]:
    """The sets to fit; refuse what cannot be used, by the name of its field."""
    for name in ("seed", "max_iterations", "joint_evaluations"):
        check_count(getattr(config, name), name, least=0)
    check_choice(config.solver, "solver", tuple(SOLVERS))
    return nist.choose(config.sets)


def fit(config: Config, data: nist.Dataset, model: nist.Model, start: int) -> tuple[Row, list[Row]]:
    """One fit by variable projection: its row, and a row for each parameter."""
    problem = model.problem(data, start)
    solution = gv.solve(problem, SOLVERS[config.solver], seed=config.seed, max_iterations=config.max_iterations)
    if solution.status is gv.Status.INTERRUPTED:
        raise KeyboardInterrupt
    b, deviations, sigma = estimate(problem, solution, model)
    order = model.order(b, data.parameters)
    b, deviations = b[order], deviations[order]
    row = {
        "set": data.name,
        "start": start,
        "difficulty": data.difficulty,
        "observations": len(data.response),
        "parameters": len(b),
        "digits_parameters": digits(b, data.parameters),
        "digits_standard_deviations": digits(deviations, data.standard_deviations),
        "digits_residual_standard_deviation": digits(sigma, data.residual_standard_deviation),
        "digits_residual_sum_of_squares": digits(2 * solution.value, data.residual_sum_of_squares),
        "attainable_digits": attainable(data, model),
        "reordered": bool((order != np.arange(len(b))).any()),
        "iterations": solution.iterations,
        "evaluations": int(solution.history["evaluations"].max(initial=0)),
        "status": solution.status.name.lower(),
        "seconds": solution.elapsed,
    }
    return row, parameter_rows(data, start, b, deviations)


def estimate(problem: gv.SeparableProblem, solution: gv.Solution, model: nist.Model) -> tuple[Any, Any, float]:
    """NIST's parameters, their standard deviations by the delta method, and the residual standard deviation."""
    b = model.join(solution.parameters, solution.coefficients).numpy()
    try:
        statistics = fit_statistics(problem, solution)
        return b, statistics.derived(model.join)[1], statistics.sigma
    except GrassvpError:  # a fit that failed has none
        return b, np.full(len(b), np.nan), np.nan


def parameter_rows(data: nist.Dataset, start: int, b: np.ndarray, deviations: np.ndarray) -> list[Row]:
    """Each parameter beside its certified value."""
    names = ("value", "certified_value", "standard_deviation", "certified_standard_deviation")
    values = zip(b, data.parameters, deviations, data.standard_deviations, strict=True)
    return [
        {"set": data.name, "start": start, "parameter": f"b{j}"} | dict(zip(names, row, strict=True))
        for j, row in enumerate(values, start=1)
    ]


def digits(found: Any, certified: Any) -> float:
    """-log10 |found - certified| / |certified|, the least of all entries, within 0 and the certified digits."""
    error = np.abs(np.asarray(found) - certified) / np.abs(certified)
    if not np.isfinite(error).all():
        return 0.0
    return float(np.clip(-np.log10(np.maximum(error, 10.0 ** -(CERTIFIED + 1))), 0, CERTIFIED).min())


def attainable(data: nist.Dataset, model: nist.Model) -> float:
    """Digits of the norm of the residual that rounding leaves: of eps ||y|| / ||r||."""
    size = float(np.linalg.norm(model.response(data.response)))
    return float(np.clip(-np.log10(EPS * size / data.residual_sum_of_squares**0.5), 0, CERTIFIED))


def joint_fit(data: nist.Dataset, model: nist.Model, start: int, evaluations: int) -> Row:
    """Least squares in all of b at once; an overflow at the start is a failure."""
    x, y = torch.as_tensor(data.inputs), torch.as_tensor(model.response(data.response))

    def residual(b: np.ndarray) -> np.ndarray:
        return (model.predict(torch.as_tensor(b), x) - y).numpy()

    def jacobian(b: np.ndarray) -> np.ndarray:
        return jacfwd(lambda at: model.predict(at, x))(torch.as_tensor(b)).numpy()

    options: Row = {"jac": jacobian, "x_scale": "jac", "ftol": EPS, "xtol": EPS, "gtol": EPS, "max_nfev": evaluations}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = least_squares(residual, data.starts[start - 1], **options)
    except (ValueError, np.linalg.LinAlgError):  # what scipy raises where the residual or its steps are not finite
        return {"joint_digits_parameters": 0.0, "joint_evaluations": 0}
    b = found.x[model.order(found.x, data.parameters)]
    return {"joint_digits_parameters": digits(b, data.parameters), "joint_evaluations": int(found.nfev)}


def columns(rows: list[Row]) -> dict[str, np.ndarray]:
    """The rows as columns."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def summary(fits: dict[str, np.ndarray]) -> Row:
    """How many fits are solved, and the worst of them."""
    found, deviations = fits["digits_parameters"], fits["digits_standard_deviations"]
    enough = deviations >= np.minimum(DEVIATIONS_BAR, np.floor(fits["attainable_digits"]))
    solved = found >= PARAMETERS_BAR
    names = [f"{name}, start {start}" for name, start in zip(fits["set"], fits["start"], strict=True)]
    metrics = {
        "fits": len(found),
        "solved": int(solved.sum()),
        "standard_deviations_solved": int(enough.sum()),
        "worst_digits": float(found.min()),
        "worst_set": names[int(found.argmin())],
        "worst_digits_of_standard_deviations": float(deviations.min()),
        "worst_set_of_standard_deviations": names[int(deviations.argmin())],
        "worst_digits_of_residual_sum_of_squares": float(fits["digits_residual_sum_of_squares"].min()),
        "reordered": int(fits["reordered"].sum()),
        "median_evaluations": float(np.median(fits["evaluations"])),
        "passed": bool(solved.all() and enough.all()),
    }
    if "joint_evaluations" in fits:
        joint, evaluations = fits["joint_digits_parameters"], fits["joint_evaluations"]
        solved = joint >= PARAMETERS_BAR
        metrics |= {
            "joint_solved": int(solved.sum()),
            "joint_solved_within_scipy_limit": int((solved & (evaluations <= SCIPY_LIMIT * fits["parameters"])).sum()),
            "joint_worst_digits": float(joint.min()),
            "joint_worst_set": names[int(joint.argmin())],
            "joint_median_evaluations": float(np.median(evaluations)),
        }
    return metrics


def figures(record: Record) -> None:
    """Digits of parameters and of standard deviations, and evaluations, a line for each set."""
    if "fits.csv" not in record.files:
        return
    fits = record.read_table("fits")
    names = list(dict.fromkeys(fits["set"]))
    lines = np.array([names.index(name) for name in fits["set"]])
    solved = int((fits["digits_parameters"] >= PARAMETERS_BAR).sum())
    title = f"NIST StRD: {solved} of {len(lines)} fits solved by variable projection"
    figure, axes = plots.figure(1, 3, size=(11.5, 1.9 + 0.25 * len(names)), title=title, sharey=True)
    draw(axes[0], fits, lines, "digits_parameters", "joint_digits_parameters")
    draw(axes[1], fits, lines, "digits_standard_deviations")
    draw(axes[2], fits, lines, "evaluations", "joint_evaluations")
    few = fits["attainable_digits"] < CERTIFIED
    axes[1].plot(fits["attainable_digits"][few], lines[few], "k|", markersize=9, label="digits that rounding leaves")
    for ax, bar, what in zip(
        axes, (PARAMETERS_BAR, DEVIATIONS_BAR), ("parameters", "standard deviations"), strict=False
    ):
        ax.axvline(bar, color="black", linewidth=1, linestyle="-", label="bar")
        ax.set(xlim=(-0.4, CERTIFIED + 0.4), xticks=range(0, CERTIFIED + 1, 2), xlabel=f"digits of {what}")
    axes[2].set(xscale="log", xlabel="evaluations", ylim=(len(names) - 0.4, -0.6))
    axes[0].set_yticks(range(len(names)), names)
    mark_difficulties(axes, fits, lines)
    shown = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower left", ncols=6)
    record.figure("digits", figure)


def draw(ax: Axes, fits: dict[str, np.ndarray], lines: np.ndarray, key: str, joint: str = "") -> None:
    """Both starts as two markers, and joint least squares hollow."""
    for start, marker, colour in ((1, "o", plots.PALETTE[0]), (2, "D", plots.PALETTE[1])):
        chosen = fits["start"] == start
        height = lines[chosen] + 0.16 * (2 * start - 3)
        if joint in fits:
            ax.plot(fits[joint][chosen], height, marker, mfc="none", mec="gray", label=f"joint, start {start}")
        ax.plot(fits[key][chosen], height, marker, color=colour, label=f"VarPro, start {start}")
    ax.grid(True, axis="both")


def mark_difficulties(axes: Any, fits: dict[str, np.ndarray], lines: np.ndarray) -> None:
    """Name the difficulties, and draw lines between them."""
    for difficulty in dict.fromkeys(fits["difficulty"]):
        first = lines[fits["difficulty"] == difficulty].min()
        axes[0].text(-0.2, first, f"{difficulty} difficulty", color="gray", va="center", fontsize=9)
        for ax in axes:
            ax.axhline(first - 0.5, color="gray", linewidth=0.8, linestyle="-")
