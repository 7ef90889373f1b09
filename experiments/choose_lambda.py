"""Choosing lam: every rule beside the lam that would have been best, for fixed random features and trained networks.

Fixed features: noise from none to 10%, smooth and rough targets, width below, at and above the number of rows, which
lie on a grid or at random. A ratio is the error of the fit with a rule's lam over the least error on a grid of 60 lam,
both against the function without noise at points between the rows; a share is that of the problems whose ratio is at
most 2. Trained networks: `solve` with each rule beside `solve` with fixed lam, and `minimize_criterion`, which takes
theta, C and lam from one criterion. The rules that need the noise level are told it; where there is no noise they are
left out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

import grassvp as gv
from grassvp.arrays import check_count, check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.lab import choice_plots, stages
from grassvp.lab.choice_plots import CURVES, LOOKS, interval, parts, share
from grassvp.lab.records import Record
from grassvp.projection import Data, Projection, Rule, Spectrum

Array = np.ndarray


def franke(x: Array) -> Array:
    """Franke's function (1979) on [0, 1]^2."""
    a, b = 9 * x[:, 0], 9 * x[:, 1]
    near = 0.75 * np.exp(-((a - 2) ** 2 + (b - 2) ** 2) / 4) + 0.75 * np.exp(-((a + 1) ** 2) / 49 - (b + 1) / 10)
    return near + 0.5 * np.exp(-((a - 7) ** 2 + (b - 3) ** 2) / 4) - 0.2 * np.exp(-((a - 4) ** 2) - (b - 7) ** 2)


def waves(x: Array, *terms: tuple[float, int]) -> Array:
    """Sine waves sum a sin(f pi x) over amplitudes a and frequencies f."""
    return np.sum([a * np.sin(f * np.pi * x[:, 0]) for a, f in terms], axis=0)


TARGETS: dict[str, dict[str, Callable[[Array], Array]]] = {
    "smooth": {
        "waves": lambda x: np.sin(2 * np.pi * x[:, 0]) + 0.5 * np.cos(4 * np.pi * x[:, 0]),
        "runge": lambda x: 1.0 / (1.0 + 25.0 * (2 * x[:, 0] - 1) ** 2),
        "growing": lambda x: np.exp(2 * x[:, 0] - 1) * np.sin(3 * (2 * x[:, 0] - 1)),
        "franke": franke,
    },
    "rough": {
        "step": lambda x: np.tanh(50.0 * (x[:, 0] - 0.47)),
        "kink": lambda x: np.abs(x[:, 0] - 0.4),
        "three": lambda x: waves(x, (1.0, 2), (0.5, 10), (0.2, 26)),
        "crease": lambda x: np.abs(x[:, 0] + x[:, 1] - 0.9),
    },
}
"""Functions on [0, 1]^d by their kind."""
FUNCTIONS = {name: function for kind in TARGETS.values() for name, function in kind.items()}
PLANE = ("franke", "crease")  # functions of two variables
SHAPES = ("n < m", "n = m", "n < m", "n > m", "n < m", "n < m")  # in turn
SHAPE_KEYS = {"n < m": "fewer", "n = m": "equal", "n > m": "more"}
WIDTHS = {"n < m": (0.1, 0.8), "n = m": (1.0, 1.0), "n > m": (1.25, 2.0)}  # features over rows, at random between
LAYOUTS = ("grid", "random")
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0)  # slopes per half-range of the inputs
GRID = np.logspace(-26, 1, 60)  # of lam over s_1^2
VISIBLE = 1e-2  # noise from which on the discrepancy is judged: below it the features miss the targets by more
BARS = {"auto": 0.95, "gcv": 0.9, "evidence": 0.85, "discrepancy": 0.95}  # shares asked for
CLAIMED = ("auto", "gcv")  # the rules that `passed` is about
TRAINED = ("waves", "kink", "growing", "three", "runge")  # targets, in turn; a tanh network has the step itself
TRAINED_NOISES = (0.0, 1e-2, 1e-1)
TRAINED_WIDTHS = (12, 16)
TRAINED_GRID = np.logspace(-24, 0, 9)  # of lam over m
CRITERIA = ("gcv", "gcv-weighted", "evidence")  # that are minimised over theta too


@dataclass(frozen=True)
class Config:
    """Options of the choose_lambda experiment."""

    problems: int = 400
    """problems with fixed features; 24 times the number of noise levels are a full round of the design"""
    noises: tuple[float, ...] = (0.0, 1e-6, 1e-2, 1e-1)
    """standard deviations of the noise over that of the targets"""
    rows: tuple[int, int] = (40, 160)
    """least and largest number of rows of the fixed features"""
    unseen: int = 2000
    """points at which errors are measured"""
    weight: float = 1.4
    """of the degrees of freedom in weighted GCV"""
    trained: int = 8
    """trained networks"""
    trained_rows: int = 200
    """rows that they are trained on"""
    iterations: int = 60
    """Levenberg-Marquardt iterations of each"""
    starts: int = 2
    """starts of each solve"""
    criterion_iterations: int = 40
    """L-BFGS iterations of each criterion, from where the solve with "auto" ended"""
    repeats: int = 3
    """how often the time of a solve is taken, each with a rule and with a fixed lam in turn"""
    seed: int = 0
    """seed of the problems"""


@dataclass(frozen=True)
class Case:
    """What a problem is drawn from."""

    target: str
    noise: float
    layout: str
    rows: int
    shape: str
    scale: float


EXAMPLES = (
    Case("waves", 1e-2, "random", 100, "n < m", 4.0),
    Case("kink", 0.0, "grid", 100, "n < m", 4.0),
    Case("step", 1e-1, "random", 100, "n = m", 8.0),
    Case("three", 1e-2, "random", 100, "n > m", 8.0),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows, noisy targets, and the function at points between the rows."""

    x: Array
    y: Array
    noise_level: float | None
    unseen: Array
    truth: Array

    def error(self, predictions: Array) -> Array:
        """Relative L2 error of predictions (unseen,) or of each column of (unseen, count)."""
        truth = self.truth.reshape(-1, *[1] * (predictions.ndim - 1))
        return np.linalg.norm(predictions - truth, axis=0) / np.linalg.norm(truth)


@dataclass(frozen=True, eq=False)
class Fit:
    """Fixed features of a sample: what rules choose from, and the error with any lam."""

    problem: gv.SeparableProblem
    sample: Sample
    values: torch.Tensor
    elsewhere: torch.Tensor

    @cached_property
    def projection(self) -> Projection:
        """The linear solve at lam = 0."""
        return self.problem.project(self.values)

    @cached_property
    def data(self) -> Data:
        """What rules look at."""
        targets = self.problem.weighted_targets
        return Data(Spectrum.of(self.projection, targets), targets, None, self.problem.noise_level)

    def lams(self) -> Array:
        """The grid of lam."""
        return GRID * self.data.spectrum.largest**2

    def chosen(self, rule: Rule) -> float:
        """The lam that a solve would take, NaN where the rule needs a noise level and there is none."""
        if rule.needs_noise_level and self.problem.noise_level is None:
            return math.nan
        return self.problem.rounded(self.problem.chosen(self.values, self.projection, rule).regularization)

    def errors(self, lams: Array) -> Array:
        """Error of the fit with each lam, NaN for NaN."""
        known = np.isfinite(lams)
        fits = [self.problem.with_regularization(float(lam)).project(self.values) for lam in lams[known]]
        found = np.full(len(lams), np.nan)
        predictions = self.elsewhere @ torch.cat([fit.coefficients for fit in fits], dim=1)
        found[known] = self.sample.error(predictions.numpy())
        return found


def run(config: Config, record: Record) -> None:
    """Fixed features, four examples, trained networks and the time of a solve; each is stored as it is done."""
    check(config)
    record.metrics.update(summary(stages.once(record, "fixed", lambda: fixed_features(config))))
    stages.once(record, "examples", lambda: examples(config))
    trained = stages.once(record, "trained", lambda: trained_networks(config))
    record.metrics.update(trained_summary(trained))


def check(config: Config) -> None:
    """Refuse what cannot be used, by the name of its field."""
    counts = (
        "problems",
        "unseen",
        "trained",
        "trained_rows",
        "starts",
        "iterations",
        "criterion_iterations",
        "repeats",
    )
    for name, least in (*((name, 1) for name in counts), ("seed", 0)):
        check_count(getattr(config, name), name, least=least)
    if not config.noises or len(set(config.noises)) < len(config.noises):
        raise ArgumentError(f"noises must be one or more, each once, got {config.noises}")
    for noise in config.noises:
        check_nonnegative(noise, "noises")
    for rows in config.rows:
        check_count(rows, "rows", least=10)
    if config.rows[0] > config.rows[1]:
        raise ArgumentError(f"rows must be the least and the largest number, got {config.rows}")
    if check_nonnegative(config.weight, "weight") == 0:
        raise ArgumentError("weight must be > 0, got 0")


def all_rules(config: Config) -> dict[str, Rule]:
    """The rules by their names, in the order of the figures."""
    rules = gv.rules.RULES | {"gcv-weighted": gv.rules.GCV(weight=config.weight)}
    return {name: rules[name] for name in LOOKS}


def design(config: Config) -> list[Case]:
    """The problems: noise, shape, kind and layout in turn, everything else at random."""
    found = []
    for number in range(config.problems):
        rest, noise = divmod(number, len(config.noises))
        rest, shape = divmod(rest, len(SHAPES))
        rest, kind = divmod(rest, len(TARGETS))
        rng = np.random.default_rng([config.seed, 0, number])
        found.append(
            Case(
                target=str(rng.choice(list(list(TARGETS.values())[kind]))),
                noise=config.noises[noise],
                layout=LAYOUTS[rest % 2],
                rows=round(math.exp(rng.uniform(*np.log(config.rows)))),
                shape=SHAPES[shape],
                scale=float(rng.choice(SCALES)),
            )
        )
    return found


def draw(case: Case, unseen: int, rng: np.random.Generator) -> Sample:
    """Rows in [0, 1]^d, a square number of them on a grid of a plane, and points at random in the box of the rows."""
    d, function = 2 if case.target in PLANE else 1, FUNCTIONS[case.target]
    if case.layout == "grid":
        axis = np.linspace(0.0, 1.0, round(case.rows ** (1 / d)))
        x = np.stack([part.ravel() for part in np.meshgrid(*[axis] * d)], axis=1)
    else:
        x = rng.uniform(size=(case.rows, d))
    between = rng.uniform(x.min(0), x.max(0), (unseen, d))
    exact = function(x)
    level = case.noise * float(exact.std())
    return Sample(x, exact + level * rng.standard_normal(len(x)), level or None, between, function(between))


def fit_of(case: Case, unseen: int, rng: np.random.Generator) -> Fit:
    """A sample with random tanh features and a constant, n of them in all."""
    sample = draw(case, unseen, rng)
    m, d = sample.x.shape
    width = max(1, round(m * rng.uniform(*WIDTHS[case.shape])) - 1)
    problem = gv.SeparableProblem(gv.features.mlp(d, (width,)), sample.x, sample.y, noise_level=sample.noise_level)
    theta = problem.features.sample(rng, problem.inputs, case.scale)
    with torch.no_grad():
        values = problem.features(theta, problem.inputs)
        elsewhere = problem.features(theta, torch.from_numpy(sample.unseen))
    return Fit(problem, sample, values, elsewhere)


def fixed_features(config: Config) -> dict[str, Any]:
    """Lam over s_1^2, (problems, rules), the ratios, the least errors, and what each problem is."""
    rules, cases, rows = all_rules(config), design(config), []
    for number, case in enumerate(cases):
        fit = fit_of(case, config.unseen, np.random.default_rng([config.seed, 1, number]))
        chosen = np.array([fit.chosen(rule) for rule in rules.values()])
        best, size = fit.errors(fit.lams()).min(), fit.data.spectrum.largest**2
        rows.append((chosen / size, fit.errors(chosen) / best, best, fit.problem.rows, fit.problem.width))
    names = ("lams", "ratios", "best", "m", "n")
    found = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    described = ("target", "noise", "layout", "shape", "scale")
    found |= {f"{name}s": np.array([getattr(case, name) for case in cases]) for name in described}
    return found | {"rules": np.array(list(rules))}


def summary(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Shares of each rule in all, with their 95% interval, and by noise and shape, worst ratios, and the bars."""
    metrics: dict[str, Any] = {}
    for name, ratios in zip(found["rules"].tolist(), found["ratios"].T, strict=True):
        key, known = name.replace("-", "_"), ratios[~np.isnan(ratios)]
        low, high = interval(share(ratios), len(known))
        metrics |= {f"{key}_share": share(ratios), f"{key}_share_low": low, f"{key}_share_high": high}
        metrics[f"{key}_worst"] = float(known.max()) if len(known) else math.nan
        metrics[f"{key}_quantile_99"] = float(np.quantile(known, 0.99)) if len(known) else math.nan
        metrics |= {f"{key}_share_noise_{noise:g}": share(ratios[of]) for noise, of in parts(found["noises"])}
        metrics |= {f"{key}_share_{SHAPE_KEYS[shape]}": share(ratios[of]) for shape, of in parts(found["shapes"])}
        if name in BARS:
            judged = ratios[found["noises"] >= VISIBLE] if name == "discrepancy" else ratios
            metrics[f"{key}_share_judged"] = share(judged)
            metrics[f"{key}_passed"] = bool(share(judged) >= BARS[name])
    metrics["passed"] = all(metrics[f"{name}_passed"] for name in CLAIMED)
    return metrics


def examples(config: Config) -> dict[str, Any]:
    """Of each example the errors and criteria over the grid, (examples, ..., lams), and what each rule chooses."""
    rules, stored = all_rules(config), []
    for number, case in enumerate(EXAMPLES):
        fit = fit_of(case, config.unseen, np.random.default_rng([config.seed, 2, number]))
        lams, size = fit.lams(), fit.data.spectrum.largest**2
        chosen = np.array([fit.chosen(rule) for rule in rules.values()])
        curves = [estimate(name, rules[name], fit, lams) for name in CURVES]
        shape = np.array([fit.problem.rows, fit.problem.width])
        stored.append((fit.errors(lams), np.array(curves), chosen / size, fit.errors(chosen), shape))
    names = ("errors", "curves", "chosen", "chosen_errors", "shapes")
    columns = dict(zip(names, (np.array(part) for part in zip(*stored, strict=True)), strict=True))
    named = {"targets": [case.target for case in EXAMPLES], "noises": [case.noise for case in EXAMPLES]}
    return columns | {"rules": np.array(list(rules)), "grid": GRID} | {k: np.array(v) for k, v in named.items()}


def estimate(name: str, rule: Rule, fit: Fit, lams: Array) -> Array:
    """A criterion over its least value, as an error is over the least error; NaN where it is not finite."""
    if rule.needs_noise_level and fit.problem.noise_level is None:
        return np.full(len(lams), np.nan)
    scores = rule.criterion(fit.data)(torch.from_numpy(lams)).numpy()
    scores = np.where(np.isfinite(scores), scores, np.nan)
    return np.exp((scores - np.nanmin(scores)) / {"auto": 4.0, "evidence": 2.0 * fit.problem.rows}.get(name, 2.0))


@dataclass(frozen=True, eq=False)
class Training:
    """A network of one width, trained on a sample."""

    sample: Sample
    width: int
    config: Config

    def solve(
        self, regularization: float | Rule, start: torch.Tensor | None = None, tolerance: float | None = None
    ) -> gv.Solution:
        """The solution with a fixed lam or by a rule, from a given theta or from starts of the one seed."""
        return finished(
            gv.solve(
                self.problem(regularization),
                initial_parameters=start,
                seed=self.config.seed,
                starts=self.config.starts,
                max_iterations=self.config.iterations,
                tolerance=tolerance,
            )
        )

    def minimize(self, rule: Rule, start: torch.Tensor) -> gv.Solution:
        """Theta, C and lam by one criterion, from a given theta."""
        iterations = self.config.criterion_iterations
        found = gv.minimize_criterion(self.problem(0.0), rule, initial_parameters=start, max_iterations=iterations)
        return finished(found)

    def outcome(self, solution: gv.Solution) -> tuple[float, float]:
        """Lam over m and the error."""
        m, predictions = len(self.sample.x), np.asarray(solution.predict(self.sample.unseen))
        return solution.regularization / m, float(self.sample.error(predictions))

    def time_ratios(self, rule: Rule, rng: np.random.Generator) -> Array:
        """Seconds an iteration by a rule over those with its lam fixed, from one theta, each pair in turn."""
        problem = self.problem(0.0)
        start = problem.features.sample(rng, problem.inputs, 4.0)
        lam, found = self.solve(rule, start, 0.0).regularization, []
        for _ in range(self.config.repeats):
            pair = [self.solve(how, start, 0.0) for how in (rule, lam)]
            pace = [each.elapsed / max(each.iterations, 1) for each in pair]
            found.append(pace[0] / pace[1])
        return np.array(found)

    def problem(self, regularization: float | Rule) -> gv.SeparableProblem:
        """The network and its rows."""
        network, sample = gv.features.mlp(1, (self.width,)), self.sample
        return gv.SeparableProblem(
            network, sample.x, sample.y, regularization=regularization, noise_level=sample.noise_level
        )


def finished(solution: gv.Solution) -> gv.Solution:
    """The solution, unless the keyboard ended it."""
    if solution.status is gv.Status.INTERRUPTED:
        raise KeyboardInterrupt
    return solution


def trained_networks(config: Config) -> dict[str, Any]:
    """Lam over m and errors of solves by rule, by criterion and with fixed lam, (problems, ...), and time ratios."""
    rules, stored = all_rules(config), []
    targets = [TRAINED[number % len(TRAINED)] for number in range(config.trained)]
    noises = [TRAINED_NOISES[number % len(TRAINED_NOISES)] for number in range(config.trained)]
    for number, (target, noise) in enumerate(zip(targets, noises, strict=True)):
        rng = np.random.default_rng([config.seed, 3, number])
        case = Case(target, noise, LAYOUTS[number % len(LAYOUTS)], config.trained_rows, "n < m", math.nan)
        training = Training(draw(case, config.unseen, rng), int(rng.integers(*TRAINED_WIDTHS, endpoint=True)), config)
        usable = [name for name, rule in rules.items() if noise > 0 or not rule.needs_noise_level]
        solutions = {name: training.solve(rules[name]) for name in usable}
        start = solutions["auto"].parameters
        by_rule = [training.outcome(solutions[name]) if name in usable else (math.nan, math.nan) for name in rules]
        minimised = [training.outcome(training.minimize(rules[name], start)) for name in CRITERIA]
        fixed = [training.outcome(training.solve(float(lam))) for lam in config.trained_rows * TRAINED_GRID]
        stored.append((by_rule, minimised, fixed, training.time_ratios(rules["auto"], rng)))
    by_rule, minimised, fixed, times = (np.array(part) for part in zip(*stored, strict=True))
    return {
        "rules": np.array(list(rules)),
        "criteria": np.array(CRITERIA),
        "noises": np.array(noises),
        "targets": np.array(targets),
        "by_rule": by_rule,
        "by_criterion": minimised,
        "fixed": fixed,
        "time_ratios": times,
    }


def trained_summary(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Median and worst ratio of each rule, and of each criterion, to the best fixed lam, and the time of auto."""
    best = np.nanmin(found["fixed"][:, :, 1], axis=1, keepdims=True)
    metrics: dict[str, Any] = {"trained_auto_time_ratio": float(np.median(found["time_ratios"]))}
    for kind, names, word in (("by_rule", "rules", "trained"), ("by_criterion", "criteria", "minimized")):
        for name, ratios in zip(found[names].tolist(), (found[kind][:, :, 1] / best).T, strict=True):
            key, known = f"{word}_{name.replace('-', '_')}", ratios[~np.isnan(ratios)]
            metrics[f"{key}_median"] = float(np.median(known)) if len(known) else math.nan
            metrics[f"{key}_worst"] = float(np.max(known)) if len(known) else math.nan
            metrics[f"{key}_share"] = share(ratios)
    return metrics


def figures(record: Record) -> None:
    """Shares, ratios, criteria and trained networks, of what is stored."""
    fixed = {
        "shares": lambda found: choice_plots.shares(found, list(SHAPE_KEYS)),
        "ratios": lambda found: choice_plots.ratios(found, VISIBLE),
    }
    drawings = {
        "fixed": fixed,
        "examples": {"criteria": choice_plots.criteria},
        "trained": {"trained": choice_plots.trained},
    }
    for stage, drawn in drawings.items():
        if stages.has(record, stage):
            for name, draw_it in drawn.items():
                record.figure(name, draw_it(record.read_arrays(stage)))
