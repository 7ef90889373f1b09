"""Collapse of the rank: value and gradient along [a, a + eps b] for eps = 1 ... 1e-16, with and without regularisation.

With orthonormal a, b and y = alpha a + beta b + gamma c everything has a closed form without cancellation. For
D = eps^2 (1 + lam) + lam (2 + lam), u = alpha eps - beta, and C and the part of R = y - Phi C in the plane of a and b,
  value   1/2 gamma^2 + lam (u^2 + lam alpha^2 + (1 + lam) beta^2) / (2 D),
  C       (eps u + lam alpha, lam alpha + (1 + lam) eps beta) / D,
  R       lam (eps u + lam alpha, (2 + lam) beta - alpha eps) / D,
and at lam = 0 the value jumps from gamma^2 / 2 to (beta^2 + gamma^2) / 2 at eps = 0, while ||grad|| = |gamma| ||C||
grows like 1 / eps. With lam > 0 the value is smooth and ||grad f||_F = ||R|| ||C|| is at most
(3 sqrt 3 / 16) ||y||^2 / sqrt(lam), which [s a, 0] attains for y along a and s^2 = lam / 3.

The same happens to a network whose second neuron comes close to its first; there the gradient in theta is bounded by
the largest singular value of DPhi times that bound.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import grassvp as gv
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import plots, stages
from grassvp.lab.records import Record
from grassvp.projection import default_rank_tolerance, project
from grassvp.theory.natural import differential_matrix

BOUND = 3.0 * np.sqrt(3.0) / 16.0
ROUNDINGS = 50.0  # of the natural scale, by which values and gradients may miss the closed form
EPS = float(np.finfo(float).eps)


@dataclass(frozen=True)
class Config:
    """Options of the rank-collapse experiment."""

    rows: int = 40
    """rows of the features"""
    lams: tuple[float, ...] = (1e-2, 1e-5, 1e-8, 1e-11, 1e-14)
    """regularisation, > 0; lam = 0 is always there"""
    smallest: float = 1e-16
    """smallest distance eps of the second column from the first"""
    points: int = 65
    """distances between 1 and the smallest, evenly spaced in their logarithm"""
    seed: int = 0
    """seed of the orthonormal columns, the targets and the network"""


def run(config: Config, record: Record) -> None:
    """Both paths and the matrix that attains the bound, beside what theory says of them."""
    check(config)
    path = stages.once(record, "path", lambda: matrix_path(config))
    network = stages.once(record, "network", lambda: network_path(config))
    attained = stages.once(record, "attained", lambda: attained_bound(config))
    positive = path["lams"] > 0
    size, kept = float(path["size"]), path["eps"] > 4.0 * path["cut"]
    metrics = record.metrics
    metrics["largest_value_error"] = float(path["value_errors"][positive].max())
    metrics["largest_gradient_error"] = float(path["gradient_errors"][positive].max())
    metrics["largest_value_error_at_zero"] = float(path["value_errors"][~positive].max())
    jump = path["values"][~positive][0, -1] - path["values"][~positive][0, kept][-1]
    metrics["jump"], metrics["jump_predicted"] = float(jump / size), float(path["jump"] / size)
    metrics.update(limits(path, kept))
    metrics["largest_share_of_bound"] = float((path["gradients"] / path["bounds"][:, None])[positive].max())
    metrics["largest_share_of_bound_theta"] = float((network["gradients"] / network["bounds"])[positive].max())
    metrics["attained_share_of_bound"] = float(attained["shares"].min())
    metrics["all_finite"] = all(bool(np.isfinite(part["gradients"]).all()) for part in (path, network))
    metrics["passed"] = bool(
        metrics["all_finite"]
        and max(metrics["largest_value_error"], metrics["largest_gradient_error"]) <= ROUNDINGS
        and metrics["largest_value_error_at_zero"] <= ROUNDINGS
        and abs(metrics["jump"] - metrics["jump_predicted"]) <= 1e-5
        and not abs(metrics["least_distance_somewhere"] - 1.0) > 0.1
        and not abs(metrics["order_in_lam"] - 1.0) > 0.1
        and max(metrics["largest_share_of_bound"], metrics["largest_share_of_bound_theta"]) <= 1.0 + 1e-9
        and abs(metrics["attained_share_of_bound"] - 1.0) <= 0.01
    )


def limits(path: dict[str, np.ndarray], kept: np.ndarray) -> dict[str, float]:
    """Why f_lam -> f_0 is pointwise and not uniform.

    Over all eps > 0 that are kept at lam = 0, |f_lam - f_0| comes to the whole jump however small lam is (its least
    maximum over lam, relative to the jump, among those lam that the smallest eps kept sees); at one eps it falls like
    lam (the slope of its logarithm at eps = 1, over lam from 1e-12 to 1e-3). NaN where there are too few lam to tell.
    """
    lams, apart = path["lams"][1:], np.abs(path["values"][1:] - path["values"][:1])
    seen = lams >= 100.0 * path["eps"][kept].min() ** 2
    somewhere = apart[seen][:, kept].max(axis=1) / path["jump"]
    small = (lams >= 1e-12) & (lams <= 1e-3) & (apart[:, 0] > 0)
    order = np.polyfit(np.log(lams[small]), np.log(apart[small, 0]), 1)[0] if small.sum() > 1 else np.nan
    least = somewhere.min() if somewhere.size else np.nan
    return {"least_distance_somewhere": float(least), "order_in_lam": float(order)}


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    check_count(config.rows, "rows", least=4)
    check_count(config.points, "points", least=2)
    check_count(config.seed, "seed", least=0)
    for lam in config.lams:
        if check_nonnegative(lam, "lams") == 0:
            raise ArgumentError("lams must be > 0, got 0: lam = 0 is always there")
    if not config.lams or not 0 < check_nonnegative(config.smallest, "smallest") < 1:
        raise ArgumentError(f"lams must not be empty and smallest be between 0 and 1, got {config.smallest}")


def distances(config: Config) -> np.ndarray:
    """The distances eps from 1 to the smallest, and 0 at the end."""
    return np.append(np.geomspace(1.0, config.smallest, config.points), 0.0)


def matrix_path(config: Config) -> dict[str, Any]:
    """Values and gradient norms for each lam and eps, (lams, eps), beside their closed forms."""
    rng = np.random.default_rng([config.seed, 0])
    frame = np.linalg.qr(rng.standard_normal((config.rows, 3)))[0]
    weights = rng.uniform(0.5, 1.5, 3)
    eps, lams = distances(config), np.array([0.0, *config.lams])
    y = frame @ weights
    values, gradients = (np.array(each) for each in zip(*(_row(frame, y, eps, lam) for lam in lams), strict=True))
    exact_values, exact_gradients = closed_forms(weights, eps[None, :], lams[:, None])
    size = float(y @ y)
    bounds = np.append(np.inf, BOUND * size / np.sqrt(lams[1:]))
    # what a rounding of Phi, of norm sqrt(2), does: the gradient times it, and a Hessian of size ||y||^2 / lam times it
    rounding, cut = EPS * np.sqrt(2.0), 2.0 * default_rank_tolerance(config.rows, 2, 0.0, torch.float64)
    slopes = np.where(lams[:, None] > 0, bounds[:, None], exact_gradients)
    ignored = np.where((lams[:, None] == 0) & (eps <= cut), eps, 0.0)  # what is cut off at lam = 0
    value_errors = np.abs(values - exact_values) / ((rounding + ignored) * slopes + EPS * size)
    bends = size / np.maximum(lams, lams[1:].min())
    gradient_errors = np.abs(gradients - exact_gradients) / (rounding * bends + EPS * size)[:, None]
    return {
        "eps": eps,
        "lams": lams,
        "values": values,
        "gradients": gradients,
        "exact_values": exact_values,
        "exact_gradients": exact_gradients,
        "value_errors": value_errors,
        "gradient_errors": gradient_errors,
        "bounds": bounds,
        "size": np.array(size),
        "jump": np.array(0.5 * weights[1] ** 2),
        "cut": np.array(cut),  # singular values near 0 are sqrt(2), eps / sqrt(2)
    }


def _row(frame: np.ndarray, y: np.ndarray, eps: np.ndarray, lam: float) -> tuple[list[float], list[float]]:
    values, gradients, targets = [], [], torch.from_numpy(y[:, None])
    for distance in eps:
        Phi = torch.from_numpy(np.stack([frame[:, 0], frame[:, 0] + distance * frame[:, 1]], axis=1))
        found = project(Phi, targets, float(lam))
        values.append(found.value)
        gradients.append(float(torch.linalg.norm(found.residual) * torch.linalg.norm(found.coefficients)))
    return values, gradients


def closed_forms(weights: np.ndarray, eps: np.ndarray, lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value and ||grad|| = ||R|| ||C||; at lam = 0 of rank 1 where eps is below what is cut off, else of rank 2."""
    alpha, beta, gamma = weights
    cut = 2.0 * default_rank_tolerance(4, 2, 0.0, torch.float64)
    D = eps**2 * (1.0 + lam) + lam * (2.0 + lam)
    u, two = alpha * eps - beta, (lam > 0) | (eps > cut)
    D = np.where(two & (D > 0), D, 1.0)
    value = 0.5 * gamma**2 + lam * (u**2 + lam * alpha**2 + (1.0 + lam) * beta**2) / (2.0 * D)
    C = np.hypot(eps * u + lam * alpha, lam * alpha + (1.0 + lam) * eps * beta) / D
    R = np.hypot(np.hypot(eps * u + lam * alpha, (2.0 + lam) * beta - alpha * eps) * lam / D, gamma)
    one = np.hypot(beta, gamma)  # rank 1: C = (alpha / 2, alpha / 2) and R = beta b + gamma c
    return np.where(two, value, 0.5 * one**2), np.where(two, R * C, one * abs(alpha) / np.sqrt(2.0))


def network_path(config: Config) -> dict[str, Any]:
    """Values, gradient norms in theta and their bounds for a network whose second neuron comes close to its first."""
    rng = np.random.default_rng([config.seed, 1])
    x = np.linspace(-1.0, 1.0, config.rows)
    y = np.sin(3.0 * x) + 0.3 * rng.standard_normal(config.rows)
    eps, lams = distances(config), np.array([0.0, *config.lams])
    features = gv.features.mlp(1, (2,), bias_feature=False)
    values, gradients, bounds = (np.empty((len(lams), len(eps))) for _ in range(3))
    for i, lam in enumerate(lams):
        reduced = gv.ReducedProblem(gv.SeparableProblem(features, x, y, regularization=float(lam)))
        for j, distance in enumerate(eps):
            now = reduced.linearize([1.5, 1.5 + distance, 0.4, 0.4])
            slope = np.linalg.norm(differential_matrix(now), 2)
            values[i, j], gradients[i, j] = now.value, float(torch.linalg.norm(now.gradient))
            bounds[i, j] = np.inf if lam == 0 else slope * BOUND * float(y @ y) / np.sqrt(lam)
    return {"eps": eps, "lams": lams, "values": values, "gradients": gradients, "bounds": bounds}


def attained_bound(config: Config) -> dict[str, Any]:
    """||grad|| over its bound for Phi = [s a, 0], y along a, as a function of s^2 / lam; the largest for each lam."""
    rng = np.random.default_rng([config.seed, 2])
    a = np.linalg.qr(rng.standard_normal((config.rows, 2)))[0]
    y, ratios = 2.0 * a[:, 0], np.geomspace(1e-3, 1e3, 61) / 3.0
    shares = np.empty((len(config.lams), len(ratios)))
    for i, lam in enumerate(config.lams):
        for j, ratio in enumerate(ratios):
            Phi = torch.from_numpy(np.stack([np.sqrt(lam * ratio) * a[:, 0], np.zeros(config.rows)], axis=1))
            found = project(Phi, torch.from_numpy(y[:, None]), lam)
            gradient = float(torch.linalg.norm(found.residual) * torch.linalg.norm(found.coefficients))
            shares[i, j] = gradient / (BOUND * float(y @ y) / np.sqrt(lam))
    return {"ratios": ratios, "curves": shares, "shares": shares.max(axis=1)}


def figures(record: Record) -> None:
    """Value and gradient of the matrix and of the network, errors, and the bound."""
    path, network, attained = (record.read_arrays(name) for name in ("path", "network", "attained"))
    figure, axes = plots.figure(2, 3, title="Collapse of the rank along [a, a + eps b]")
    eps = np.where(path["eps"] > 0, path["eps"], path["eps"][-2] / 10.0)  # eps = 0 at the left edge
    for row, (part, what) in enumerate(((path, "matrix"), (network, "network"))):
        gradient = r"$\|\nabla_\Phi f\|$" if row == 0 else r"$\|\nabla_\theta \psi\|$"
        for i, lam in enumerate(part["lams"]):
            color, dash = plots.PALETTE[i % len(plots.PALETTE)], plots.DASHES[i % len(plots.DASHES)]
            label = "λ = 0" if lam == 0 else f"λ = {lam:.0e}"
            axes[row][0].semilogx(eps, part["values"][i], color=color, linestyle=dash, label=label)
            axes[row][1].loglog(eps, part["gradients"][i], color=color, linestyle=dash)
            if lam > 0:
                bound = np.broadcast_to(part["bounds"][i], eps.shape)
                axes[row][1].loglog(eps, bound, color=color, linestyle=":", linewidth=0.9)
        axes[row][0].set(xlabel=r"$\varepsilon$", ylabel="value", title=f"{what}: value")
        axes[row][1].set(xlabel=r"$\varepsilon$", ylabel=gradient, title=f"{what}: gradient, bound B5 dotted")
    _errors(axes[0][2], path, eps)
    for i in range(len(attained["curves"])):
        axes[1][2].semilogx(attained["ratios"], attained["curves"][i], color=plots.PALETTE[i + 1])
    axes[1][2].axvline(1.0 / 3.0, color="#888888", linewidth=0.8)
    axes[1][2].set(xlabel=r"$s^2 / \lambda$", ylabel="gradient / bound", title="[s a, 0]: the bound is attained")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    record.figure("collapse", figure)


def _errors(ax: Any, path: dict[str, np.ndarray], eps: np.ndarray) -> None:
    floor = 1e-3
    for i, lam in enumerate(path["lams"]):
        if lam > 0:
            color = plots.PALETTE[i % len(plots.PALETTE)]
            ax.loglog(eps, np.maximum(path["value_errors"][i], floor), color=color)
            ax.loglog(eps, np.maximum(path["gradient_errors"][i], floor), color=color, linestyle=":")
    ax.axhline(ROUNDINGS, color="#888888", linewidth=0.8)
    title = "matrix: errors over their scale (gradient dotted)"
    ax.set(xlabel=r"$\varepsilon$", ylabel="error / rounding of its size", title=title)
