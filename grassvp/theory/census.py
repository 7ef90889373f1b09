"""All critical points that many different walks find, minima and saddles, each once."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem
from grassvp.theory.classes import TargetSpectrum, critical_classes
from grassvp.theory.nullspaces import runs_off, saturated
from grassvp.theory.objectives import LocalModel, ManifoldObjective, ReducedObjective, as_objective
from grassvp.theory.reports import GRADIENT_TOLERANCE, CriticalPointReport, critical_point_report
from grassvp.theory.searches import FARTHEST, ascend, descend, settle
from grassvp.theory.spectra import DENSE_LIMIT, HessianSpectrum, spectrum_of
from manifolds import Grassmann, RegularizedGrassmann

__all__ = ["find_critical_points"]

GOAL = 1e-15  # gradient norm at which a walk may stop, relative to the scale; rounding usually stops it before
NEAR = 1e-2  # how far from a known class its own walk starts
LONGEST_NEWTON_STEP = 1e-3  # relative; points at infinity have gradient and curvature fall together
SCALES = (0.5, 1.0, 2.0, 4.0)  # slopes of random networks, per half-range of the inputs

AnyObjective = ReducedObjective | ManifoldObjective


def find_critical_points(
    problem: Any, *, starts: int = 100, seed: int = 0, initial_points: Sequence[Any] = ()
) -> list[CriticalPointReport]:
    """Minima and saddles of a problem, distinct modulo symmetry, ascending in value.

    A third of the random starts walks downhill, a third lowers the norm of the gradient, which leads to points of any
    index, and a third walks uphill in a few directions and downhill in the others. Every walk is finished by damped
    Newton steps on the gradient. From each saddle found, further walks leave along its negative directions. What comes
    out is what was found: for networks nothing proves that there is no more.

    For problems of `riemannian.subspace_problem` the classes are known. Those that the walks from random starts did
    not reach are walked to from points near them, so that every class is reported, from a point where the problem's own
    gradient vanishes and with its own Hessian.

    One entry each: for subspace problems a class (a manifold of critical points); for networks what agrees in value,
    fitted values, index, nullity and, where isolated, Hessian spectrum, which merges permuted and sign-flipped neurons
    and the points of one critical manifold; otherwise what agrees in value and spectrum and, where isolated, position.

    Dropped: points that run to infinity, recognised by their size, by a Newton step that is still long, or by features
    that no longer change, to five digits, when the parameters of a column are doubled (a saturated neuron), when a
    single parameter does (a ReLU that is off everywhere), or far along a null direction on one side only.

    Args:
        problem: a `ReducedProblem` or a `pymanopt.Problem` whose points are arrays.
        starts: number of random starts.
        seed: of everything that is drawn; equal seeds give equal answers.
        initial_points: further starts. Needed for manifolds whose `random_point` takes no `rng`.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used.
    """
    objective = as_objective(problem)
    check_count(starts, "starts", least=0)
    rng = np.random.default_rng(check_count(seed, "seed", least=0))
    scale = objective.scale or 1.0
    given = [objective.point(point) for point in initial_points]
    found = _Findings(objective, scale)
    for number, start in enumerate([*given, *_random_points(objective, starts, rng)]):
        found.add(_walk(objective, start, number % 3, rng, GOAL * scale))
    for start in _known_points(objective, found, rng):
        found.add(settle(objective, start, GOAL * scale))
    _leave_saddles(objective, found, starts, GOAL * scale)
    reports = [critical_point_report(problem, each.model.point) for each in found.distinct]
    return sorted(reports, key=lambda report: (report.value, report.index))


@dataclass(frozen=True, eq=False)
class _Finding:
    """A critical point with what tells it from others."""

    model: LocalModel
    eigenvalues: np.ndarray
    invariant: np.ndarray
    counts: tuple[int, int]


class _Findings:
    """The distinct critical points so far."""

    def __init__(self, objective: AnyObjective, scale: float) -> None:
        self.objective, self.scale, self.distinct = objective, scale, list[_Finding]()
        problem = objective.problem
        self.reduced = problem if isinstance(problem, ReducedProblem) else getattr(problem, "reduced", None)
        targets = getattr(problem, "targets", None)
        self.targets = None if targets is None else TargetSpectrum.of(targets)

    def add(self, model: LocalModel | None) -> bool:
        """Keep the end of a walk if it is a critical point that is new."""
        if model is None or not self._is_critical(model):
            return False
        finding = self._finding(model)
        if finding is None or any(self._same(finding, other) for other in self.distinct):
            return False
        self.distinct.append(finding)
        return True

    def _is_critical(self, model: LocalModel) -> bool:
        if self.objective.scale is None:
            size = float(np.linalg.norm(model.product(np.ones(model.dimension)))) / np.sqrt(max(model.dimension, 1))
            return model.gradient_norm <= GRADIENT_TOLERANCE * (size or 1.0)
        return model.gradient_norm <= GRADIENT_TOLERANCE * self.scale

    def _finding(self, model: LocalModel) -> _Finding | None:
        spectrum = spectrum_of(model, dense_limit=DENSE_LIMIT)
        threshold = spectrum.threshold(GRADIENT_TOLERANCE)
        curved = np.abs(spectrum.eigenvalues) > threshold
        if self.reduced is not None and self._at_infinity(model, spectrum, curved):
            return None
        index = int(np.sum(spectrum.eigenvalues < -threshold))
        return _Finding(model, spectrum.eigenvalues, self._invariant(model), (index, int(np.sum(~curved))))

    def _at_infinity(self, model: LocalModel, spectrum: HessianSpectrum, curved: np.ndarray) -> bool:
        components = spectrum.vectors[:, curved].T @ model.gradient
        step = float(np.linalg.norm(components / spectrum.eigenvalues[curved]))
        if step > LONGEST_NEWTON_STEP * (1.0 + float(np.linalg.norm(model.point))):
            return True
        far = float(np.max(np.abs(model.point))) > FARTHEST
        now = self._linearization(model)
        flat = model.dimension == now.parameters.numel()
        return far or saturated(now) or (flat and runs_off(now, spectrum.vectors[:, ~curved]))

    def _linearization(self, model: LocalModel) -> Any:
        if model.linearization is not None:
            return model.linearization
        problem: Any = self.objective.problem
        return problem.reduced.linearize(problem.to_parameters(model.point))

    def _invariant(self, model: LocalModel) -> np.ndarray:
        """What a symmetry leaves alone: the fitted values, or the dimensions taken from each eigenspace of Y Y^T."""
        if self.reduced is not None:
            now = self._linearization(model)
            return now.problem.fitted(
                now.derivatives.values, now.coefficients
            ).double().cpu().numpy().ravel() / np.sqrt(self.scale)
        manifold = getattr(self.objective.problem, "manifold", None)
        if self.targets is not None and isinstance(manifold, Grassmann) and manifold.k == 1:
            return self.targets.occupation(model.point)
        return np.zeros(0)

    def _same(self, one: _Finding, other: _Finding) -> bool:
        if abs(one.model.value - other.model.value) > 1e-8 * max(self.scale, abs(other.model.value)):
            return False
        if np.any(np.abs(one.invariant - other.invariant) > 1e-5):
            return False
        if one.counts != other.counts:
            return False
        isolated, size = one.counts[1] == 0, float(np.max(np.abs(other.eigenvalues), initial=0.0))
        if self.reduced is not None and not isolated:
            return True
        if np.any(np.abs(one.eigenvalues - other.eigenvalues) > 1e-5 * size):
            return False
        if one.invariant.size or not isolated:
            return True
        manifold: Any = self.objective.problem.manifold  # pyright: ignore[reportAttributeAccessIssue]
        return bool(manifold.dist(one.model.point, other.model.point) <= 1e-5)


def _walk(
    objective: AnyObjective, start: np.ndarray, kind: int, rng: np.random.Generator, goal: float
) -> LocalModel | None:
    """One of the three walks, finished by damped Newton steps on the gradient."""
    if kind == 0:
        model = descend(objective, start, goal)
    elif kind == 1:
        return settle(objective, start, goal)
    else:
        highest = max(1, min(objective.dimension - 1, 6))
        model = ascend(objective, start, int(rng.integers(1, highest + 1)), goal)
    return None if model is None else settle(objective, model.point, goal)


def _leave_saddles(objective: AnyObjective, found: _Findings, most: int, goal: float) -> None:
    """From each saddle, both ways along its negative directions, to a saddle of one index less."""
    launches, done = 0, 0
    while done < len(found.distinct) and launches < most:
        saddle, done = found.distinct[done], done + 1
        model = saddle.model
        if found.targets is not None or model.dense is None:  # the classes of subspace problems are known
            continue
        values, vectors = np.linalg.eigh(model.hessian)
        index = int(np.sum(values < -GRADIENT_TOLERANCE * np.max(np.abs(values))))
        for direction in vectors[:, :index].T:
            for sign in (0.1, -0.1):
                size = 1.0 + float(np.linalg.norm(model.point)) / np.sqrt(model.point.size)
                start = objective.move(model, sign * size * direction)
                end = descend(objective, start, goal) if index == 1 else ascend(objective, start, index - 1, goal)
                found.add(None if end is None else settle(objective, end.point, goal))
                launches += 1


def _random_points(objective: AnyObjective, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    if isinstance(objective, ReducedObjective):
        yield from (_random_parameters(objective.problem, rng, number) for number in range(count))
        return
    problem = objective.problem
    reduced = getattr(problem, "reduced", None)
    for number in range(count):
        if isinstance(reduced, ReducedProblem):
            yield np.asarray(problem.from_parameters(_random_parameters(reduced, rng, number)))
        elif "rng" in inspect.signature(problem.manifold.random_point).parameters:
            yield np.asarray(problem.manifold.random_point(rng=rng))
        else:
            raise ArgumentError(
                f"starts: {problem.manifold} draws points from numpy's global generator, which is not used here: give "
                "initial_points, and starts=0"
            )


def _random_parameters(reduced: ReducedProblem, rng: np.random.Generator, number: int) -> np.ndarray:
    features = reduced.problem.features
    if features.can_sample:
        theta = features.sample(rng, reduced.problem.inputs, SCALES[number // 3 % len(SCALES)])
    else:
        initial = features.initial
        spread = torch.from_numpy(rng.standard_normal(initial.shape)).to(initial)
        theta = initial + spread * (1.0 + initial.abs()) * (number > 0)
    return theta.double().cpu().numpy()


def _known_points(objective: AnyObjective, found: _Findings, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Points near the classes of a subspace problem that are still missing."""
    manifold = getattr(objective.problem, "manifold", None)
    if found.targets is None or objective.dimension == 0:
        if objective.dimension == 0 and isinstance(manifold, Grassmann):
            yield manifold.random_point(rng)
        return
    if isinstance(manifold, RegularizedGrassmann):
        spectrum, draw = found.targets, manifold.random_point(rng)
        for basis in spectrum.bases:
            draw = draw - (1.0 - NEAR) * basis @ (basis.T @ draw)
        yield draw
    elif isinstance(manifold, Grassmann) and manifold.k == 1:
        problem: Any = objective.problem
        for each in critical_classes(problem.targets, manifold.n):
            if not any(each.contains(other.model.point) for other in found.distinct):
                point = each.representative(rng)
                yield manifold.retraction(point, NEAR * manifold.random_tangent_vector(point, rng))
