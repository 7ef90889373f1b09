"""Over-parametrised networks: success against width, natural-gradient flow in closed form, no spurious critical points.

Success is the fraction of random starts of a one-hidden-layer network from which the solver fits arbitrary targets: it
rises from none, where parameters are fewer than targets, to all, where features are as many as rows. Where DPhi is
onto, the natural-gradient flow must follow the closed form, and only C = 0 (lam > 0) or the classes of the
Grassmannian (lam = 0, Phi of full rank) may be critical; a census counts the critical points that are neither.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import grassvp as gv
from grassvp import theory
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.reduced import ReducedProblem
from grassvp.theory.natural import differential_matrix

FITTED = 1e-10  # value over ||Y||^2 at which a start counts as a success
CURVE_ERROR = 1e-6  # largest difference of the loss curves, relative to the start, that passes
FLOW_SHAPE, CENSUS_SHAPE = (5, 16, 2), (3, 8, 2)  # rows, hidden neurons, features
SMALL_START = 0.02  # factor on the last layer: the linear flow is followed from Phi^2 below lam to far above
ONTO = 1e-6  # singular values of DPhi that count; at points that run to infinity all but vanish and hide R C^T
KINDS = ("lam = 0", "lam > 0", "under-parametrised")  # of the census
STRAY = 1e-8  # relative distance from what theory allows beyond which a critical point is another one


@dataclass(frozen=True)
class Config:
    """Options of the overparametrised experiment."""

    rows: int = 10
    """rows m that are to be fitted"""
    coordinates: int = 2
    """input coordinates"""
    largest_width: int = 12
    """networks of 1 to this many neurons are tried"""
    starts: int = 16
    """random starts at each width"""
    seed: int = 0
    """seed of data, targets and starts"""
    max_iterations: int = 200
    """Levenberg-Marquardt iterations of each start"""
    regularization: float = 1e-14
    """ridge of the fits; lam/2 ||C||^2 counts in the value, which must fall to 1e-10 ||Y||^2"""
    flow_regularization: float = 1e-3
    """ridge of the second natural-gradient flow, > 0"""
    flow_time: float = 3.0
    """time, over the inverse of the largest eigenvalue of Y Y^T, up to which the flows are followed"""
    census_regularization: float = 0.1
    """ridge of the second and third census, > 0"""
    census_starts: int = 24
    """random starts of each census"""


def run(config: Config, record: Record) -> None:
    """Success over widths, both flows, and the censuses; each is stored as it is done."""
    check(config)
    success = stages.once(record, "success", lambda: success_over_widths(config))
    rates, widths = success["rates"], success["widths"]
    record.metrics.update(rate_narrowest=float(rates[0]), rate_widest=float(rates[-1]))
    if config.largest_width >= config.rows:
        record.metrics["rate_from_n_equal_m"] = float(rates[widths >= config.rows].mean())
    record.metrics["first_width_with_all"] = int(next((n for n, r in zip(widths, rates, strict=True) if r == 1), 0))
    record.metrics["rate_with_too_few_parameters"] = float(rates[widths < enough_parameters(config)].max(initial=0.0))
    flows = stages.once(record, "flows", lambda: natural_flows(config))
    record.metrics["natural_flow_onto"] = bool(flows["onto"].all())
    record.metrics["natural_flow_largest_error"] = float(flows["errors"].max())
    found = stages.once(record, "census", lambda: censuses(config))
    onto = found["onto"]
    record.metrics["critical_points"], record.metrics["critical_points_onto"] = len(onto), int(onto.sum())
    record.metrics["critical_points_onto_regularized"] = int((onto & (found["kinds"] == 1)).sum())
    record.metrics["critical_points_onto_not_c4"] = int(found["strays"][onto].sum())
    record.metrics["critical_points_otherwise"] = int((~onto & found["strays"]).sum())
    record.metrics["passed"] = bool(
        flows["onto"].all() and flows["errors"].max() <= CURVE_ERROR and onto.any() and not found["strays"][onto].any()
    )


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    counts = ("rows", "coordinates", "largest_width", "starts", "max_iterations", "census_starts")
    for name, least in (*((name, 1) for name in counts), ("seed", 0)):
        check_count(getattr(config, name), name, least=least)
    for name in ("regularization", "flow_regularization", "flow_time", "census_regularization"):
        if check_nonnegative(getattr(config, name), name) == 0:
            raise ArgumentError(f"{name} must be > 0, got 0")


def enough_parameters(config: Config) -> int:
    """The least width at which theta and C have as many entries as there are targets."""
    return -(-config.rows // (config.coordinates + 2))


def success_over_widths(config: Config) -> dict[str, Any]:
    """Final values over ||Y||^2, (widths, starts), and the fractions that fit, with 95% intervals (Wilson 1927)."""
    rng = np.random.default_rng([config.seed, 0])
    x, y = rng.uniform(-1.0, 1.0, (config.rows, config.coordinates)), rng.standard_normal(config.rows)
    goal = FITTED * float(y @ y)
    widths = np.arange(1, config.largest_width + 1)
    values = np.empty((len(widths), config.starts))
    for width in range(1, config.largest_width + 1):
        network = gv.features.mlp(config.coordinates, (width,), bias_feature=False)
        problem = gv.SeparableProblem(network, x, y, regularization=config.regularization)
        for start in range(config.starts):
            draw = np.random.default_rng([config.seed, 1, width, start])
            values[width - 1, start] = gv.solve(
                problem,
                initial_parameters=problem.features.sample(draw, problem.inputs, 1.0),
                max_iterations=config.max_iterations,
                callbacks=[lambda iterate: iterate.value <= goal],
            ).value
    rates, z2, N = (values <= goal).mean(axis=1), 1.96**2, config.starts
    centre = (rates + z2 / (2 * N)) / (1 + z2 / N)
    half = np.sqrt(z2 * (rates * (1 - rates) / N + z2 / (4 * N**2))) / (1 + z2 / N)
    bounds = np.stack([np.minimum(centre - half, rates), np.maximum(centre + half, rates)])
    marks = np.array([enough_parameters(config), config.rows])
    return {"widths": widths, "values": values / float(y @ y), "rates": rates, "bounds": bounds, "marks": marks}


def natural_flows(config: Config) -> dict[str, Any]:
    """Loss along the natural-gradient flow and along the closed form at lam = 0 and lam > 0, (2, times)."""
    (m, hidden, n), rng = FLOW_SHAPE, np.random.default_rng([config.seed, 2])
    x, y = rng.uniform(-1.0, 1.0, (m, 2)), rng.standard_normal((m, 2))
    network, flows = gv.features.mlp(2, (hidden, n), bias_feature=False), []
    times = np.linspace(0.0, config.flow_time, 61)
    for lam in (0.0, config.flow_regularization):
        problem = ReducedProblem(gv.SeparableProblem(network, x, y / np.linalg.norm(y, 2), regularization=lam))
        features = problem.problem.features
        start = features.sample(np.random.default_rng([config.seed, 3]), problem.problem.inputs, 1.0).numpy()
        start[3 * hidden :] *= SMALL_START
        flows.append(theory.natural_gradient_flow(problem, start, times))
    values, closed = np.array([flow.values for flow in flows]), np.array([flow.closed_values for flow in flows])
    return {
        "times": times,
        "regularizations": np.array([0.0, config.flow_regularization]),
        "values": values,
        "closed": closed,
        "errors": np.abs(values - closed) / closed[:, :1],
        "onto": np.array([flow.onto for flow in flows]),
    }


def censuses(config: Config) -> dict[str, Any]:
    """Critical points found for each of `KINDS`: what DPhi is there, ||R C^T||, and whether C4 does not allow it.

    At lam = 0 the outputs are as many as the rows, so that each class has a value of its own. At lam > 0 the one
    output is orthogonal to the features at some theta, so that points with C = 0 exist, and walks start near one.
    """
    (m, hidden, n), rng = CENSUS_SHAPE, np.random.default_rng([config.seed, 4])
    wide, inputs = gv.features.mlp(2, (hidden, n), bias_feature=False), rng.uniform(-1.0, 1.0, (m, 2))
    free = ReducedProblem(gv.SeparableProblem(wide, inputs, rng.standard_normal((m, m))))
    theta = free.problem.features.sample(rng, free.problem.inputs, 1.0).numpy()
    Q = np.linalg.qr(free.linearize(theta).derivatives.values.numpy(), mode="complete")[0]
    lam, line = config.census_regularization, np.linspace(-1.0, 1.0, 10)
    ridge = ReducedProblem(gv.SeparableProblem(wide, inputs, Q[:, n:], regularization=lam))
    noisy = np.sin(3.0 * line) + 0.1 * rng.standard_normal(10)
    narrow = gv.features.mlp(1, (2,), bias_feature=False)
    small = ReducedProblem(gv.SeparableProblem(narrow, line[:, None], noisy, regularization=0.1 * lam))
    near = [theta + 0.01 * rng.standard_normal(theta.size) for _ in range(3)]
    classes = np.array([each.value for each in theory.critical_classes(free.problem.targets.numpy(), n)])
    rows: list[tuple[float, ...]] = []
    for kind, (problem, initial) in enumerate(((free, []), (ridge, near), (small, []))):
        scale = float(np.sum(problem.problem.targets.numpy() ** 2))
        starts = {"starts": config.census_starts, "seed": config.seed, "initial_points": initial}
        for report in theory.find_critical_points(problem, **starts):
            now = problem.linearize(report.point)
            C, R = now.coefficients.numpy(), now.projection.residual.numpy()
            product = float(np.linalg.norm(R @ C.T)) / scale
            sizes = np.linalg.svd(differential_matrix(now), compute_uv=False)
            full = float(np.sum(sizes > ONTO * sizes[0])) / now.derivatives.values.numel()
            onto = full == 1 and (kind > 0 or report.rank == n)
            away = float(np.abs(classes - report.value).min()) / scale if kind == 0 else float(np.linalg.norm(C))
            rows.append((kind, report.value / scale, full, product, onto, away > STRAY))
    table = np.array(rows, dtype=float).reshape(-1, 6).T
    stored = dict(zip(("kinds", "values", "ranks", "products"), table[:4], strict=True))
    size = float(np.sum(free.problem.targets.numpy() ** 2))
    return stored | {"onto": table[4] == 1, "strays": table[5] == 1, "classes": classes / size}


def figures(record: Record) -> None:
    """Success over the width, the natural flow beside the closed form, and the critical points."""
    for name, draw in (("success", _success), ("flows", _flows), ("census", _census)):
        if stages.has(record, name):
            record.figure(name, draw(record.read_arrays(name)))


def _success(found: dict[str, np.ndarray]) -> Any:
    figure, axes = plots.figure(1, 2, size=(10.4, 3.8), title="Random starts that fit arbitrary targets")
    widths, rates = found["widths"], found["rates"]
    around = np.abs(found["bounds"] - rates)
    axes[0].errorbar(widths, rates, yerr=around, marker="o", capsize=3, label="measured, 95%")
    values = np.maximum(found["values"], 1e-20)
    spread = np.linspace(-0.25, 0.25, values.shape[1])
    axes[1].plot(widths[:, None] + spread, values, color=plots.PALETTE[0], linestyle="none", marker=".")
    axes[1].axhline(FITTED, color=plots.PALETTE[1], linestyle="--", label="counts as fitted, stops")
    for ax in axes:
        ax.axvline(found["marks"][0] - 0.5, color=plots.PALETTE[2], linestyle=":", label="θ and C reach m numbers")
        ax.axvline(found["marks"][1] - 0.5, color=plots.PALETTE[3], linestyle="-.", label="n reaches m")
        ax.set(xlabel="width n")
        ax.grid(True)
    axes[0].set(ylabel="fraction of starts", ylim=(-0.05, 1.05), title="success rate")
    axes[1].set(ylabel="final value / $\\|Y\\|^2$", yscale="log", title="where each start ends")
    handles, labels = axes[0].get_legend_handles_labels()
    more = axes[1].get_legend_handles_labels()
    figure.legend([*handles, more[0][0]], [*labels, more[1][0]], loc="outside lower center", ncols=4)
    return figure


def _flows(found: dict[str, np.ndarray]) -> Any:
    figure, axes = plots.figure(1, 2, size=(10.4, 3.8), title="Natural-gradient flow where DΦ is onto")
    for number, lam in enumerate(found["regularizations"]):
        color, label = plots.PALETTE[number], f"λ = {lam:g}"
        axes[0].plot(found["times"], found["values"][number], color=color, linestyle="-", label=f"θ flow, {label}")
        dots = {"linestyle": "none", "marker": "o", "markersize": 3.5}
        x, y = found["times"][::4], found["closed"][number][::4]
        axes[0].plot(x, y, color=color, label=f"closed form, {label}", **dots)
        shown = found["errors"][number] > 0
        axes[1].plot(found["times"][shown], found["errors"][number][shown], color=color, linestyle="-", label=label)
    axes[1].axhline(CURVE_ERROR, color=plots.PALETTE[6], linestyle="--", label="allowed")
    axes[0].set(ylabel="value", title="loss")
    axes[1].set(ylabel="difference / value at the start", yscale="log", title="difference of the two")
    for ax in axes:
        ax.set_xlabel("time $\\mu_1 t$")
        ax.grid(True)
        ax.legend()
    return figure


def _census(found: dict[str, np.ndarray]) -> Any:
    figure, axes = plots.figure(
        1, 2, size=(10.4, 3.8), title="Critical points that searches find, and the rank of DΦ there"
    )
    for number, value in enumerate(found["classes"]):
        label = "classes of the Grassmannian" if number == 0 else None
        axes[0].axhline(value, color="#999999", linestyle="--", linewidth=0.8, label=label)
    for kind, label in enumerate(KINDS):
        of = found["kinds"] == kind
        style = {"color": plots.PALETTE[kind], "linestyle": "none", "marker": "osD"[kind], "label": label}
        axes[0].plot(found["ranks"][of], found["values"][of], **style)
        axes[1].plot(found["ranks"][of], np.maximum(found["products"][of], 1e-18), **style)
    axes[0].set(ylabel="value / $\\|Y\\|^2$", title="value")
    axes[1].set(ylabel="$\\|R\\,C^T\\|$ / $\\|Y\\|^2$", yscale="log", title="zero where DΦ is onto")
    for ax in axes:
        ax.set(xlabel="rank of DΦ / (m n)", xlim=(0, 1.05))
        ax.grid(True)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
