"""Where a march gets its spans from: random features of scanned slopes, and variable projection on what must fit.

A span serves at a time t if it holds v = u - G and its rates v', v'' there, and those some way ahead. Random features
are compared by how well they do at the start. To train, these functions become the targets of a separable problem, one
output each: its reduced parameters move the span on the Grassmannian until the linear solve fits them all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from grassvp import features
from grassvp.errors import ArgumentError, NonFiniteError
from grassvp.pde.defect import Defect
from grassvp.pde.forcing import Forcing
from grassvp.pde.galerkin import Galerkin
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import Integrator
from grassvp.pde.quadrature import Quadrature, quadrature
from grassvp.pde.span import VALUE, Span, trial_values
from grassvp.separable import SeparableProblem
from grassvp.solvers import Status
from grassvp.solving import solve

__all__ = ["SCALES", "SpanSearch", "Stage"]

SCALES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""First-layer slopes per half-range of the embedded coordinates that are tried."""

DRAWS = 2  # random networks of each scale
FINALISTS = 2  # random networks whose equations are assembled
ROWS = {1: 3, 2: 4, 3: 10}  # quadrature points for each feature, by dimension
LEAST = {1: 64, 2: 24, 3: 12}  # points along each coordinate
MORE = 3  # points more along each coordinate where residuals are measured
SHIFT = 0.37  # of these points along periodic coordinates, in spacings
SHARE = 0.6  # of the quadrature points along each coordinate that training uses
RIDGE = 1e-24  # of a training problem with targets and weights of size one
EXCESS = 1e-3  # of the fastest rate by which an eigenvalue may exceed what it can be


@dataclass(frozen=True, eq=False)
class Stage:
    """A span with the state in it at a time.

    Attributes:
        galerkin: the equations in the span.
        defect: the equation of the error.
        state: (r,) coordinates of v = u - G.
        time: when.
        error: (M + 1,) estimated error, in the coordinates of `defect`.
        residual: L2 norm of what the equation leaves.
        drive: (M + 1,) this residual and that of the fluxes, in the coordinates of `defect`.
    """

    galerkin: Galerkin
    defect: Defect
    state: Tensor
    time: float
    error: Tensor
    residual: float
    drive: Tensor

    @cached_property
    def norm(self) -> float:
        """L2 norm of u."""
        return self.galerkin.norm(self.state, self.time)

    @property
    def error_norm(self) -> float:
        """L2 norm of the estimated error."""
        return float(torch.linalg.vector_norm(self.error))

    @classmethod
    def of(cls, galerkin: Galerkin, defect: Defect, state: Tensor, time: float, error: Tensor) -> "Stage":
        """Measure the residual."""
        left = galerkin.residual(state, time)
        return cls(galerkin, defect, state, time, error, left.norm, defect.analyse(left.values, left.fluxes))

    def arrived(self, state: Tensor, time: float) -> "Stage":
        """The stage at a later time, when the state has been taken there."""
        after = Stage.of(self.galerkin, self.defect, state, time, self.error)
        return replace(after, error=self.defect.advance(self.error, self.drive, after.drive, time - self.time))

    def advanced(self, time: float, integrator: Integrator) -> "Stage":
        """The stage after a step to a later time."""
        return self.arrived(self.galerkin.advance(self.state, self.time, time - self.time, integrator), time)


class SpanSearch:
    """Spans for one equation and one network.

    Attributes:
        heat: the equation.
        network: whose features span.
        until: last time of the march.
        checked: what drives the equation where residuals are measured.
        defect: the equation of the error.
    """

    def __init__(
        self, heat: Heat, network: nn.Module, until: float, rng: np.random.Generator, parameters: Tensor | None = None
    ) -> None:
        """Prepare the points; `parameters` are where to begin instead of at random draws."""
        self.heat, self.network, self.until, self._rng, self._given = heat, network, until, rng, parameters
        self.map = features.as_feature_map(network)
        d = heat.domain.dimension
        width = self._width()
        side = max(LEAST[d], math.ceil((ROWS[d] * width) ** (1.0 / d)))
        self.forcing = Forcing(heat, self._grid(side, 0.0))
        self.checked = Forcing(heat, self._grid(side + MORE, SHIFT))
        self.training = Forcing(heat, self._grid(max(math.ceil(SHARE * side), LEAST[d] // 2), SHIFT / 2))
        self.defect = Defect(self.checked)

    @cached_property
    def _errors(self) -> Tensor:
        """The functions of errors on the training points."""
        return self.defect.values(self.training.grid)

    def random(self) -> Stage:
        """The best of random features of several slopes; the network as it is where it cannot be drawn or was given.

        Raises:
            ArgumentError: no draw has finite features that the quadrature resolves.
        """
        candidates = [self.map.initial if self._given is None else self._given]
        if self._given is None and self.map.can_sample:
            inputs = self.heat.embedding(self.forcing.grid.points)
            drawn = [self.map.sample(self._rng, inputs, scale) for scale in SCALES for _ in range(DRAWS)]
            targets = _normalised(self._initial_targets(), self.training.grid)
            candidates = sorted(drawn, key=lambda parameters: self._misfit(parameters, targets))[:FINALISTS]
        stages = [stage for stage in map(self.initial_stage, candidates) if stage is not None]
        if not stages:
            raise ArgumentError(
                "features: the equation in their span is not finite or not dissipative, as the "
                f"{len(self.forcing.grid.weights)} quadrature points do not resolve them; give smoother features"
            )
        return min(stages, key=lambda stage: self.prospect(stage) + stage.error_norm)

    def initial_stage(self, parameters: Tensor) -> Stage | None:
        """The initial value in the span of some parameters."""
        u, seen = (self.heat.initial(forcing.grid.points, 0.0) for forcing in (self.forcing, self.checked))
        return self._stage(parameters, u, seen, 0.0)

    def prospect(self, stage: Stage) -> float:
        """L2 norm of the error that the residual of a stage makes if it stays until the end."""
        return self.defect.made(stage.drive, self.until - stage.time)

    def trained(self, stage: Stage, ahead: Sequence[float], integrator: Integrator, steps: int) -> Stage | None:
        """The state in a span that was trained from the stage's own, or None where that fails.

        Args:
            stage: the state and the span to start from.
            ahead: later times at which the solution, as far as the present span knows it, is to fit too.
            integrator: that takes the state there.
            steps: iterations of the solve.

        Raises:
            KeyboardInterrupt: the solve was interrupted.
        """
        targets = _normalised(self._targets(stage, ahead, integrator), self.training.grid)
        points = self.training.grid.points
        D = self.heat.multiplier.multiplier(points)
        problem = SeparableProblem(
            self.network,
            self.heat.embedding(points),
            targets / D[:, None],
            weights=self.training.grid.roots * D,
            regularization=RIDGE,
        )
        start = stage.galerkin.span.parameters
        solution = solve(problem, initial_parameters=start, max_iterations=steps, tolerance=1e-26)
        if solution.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        if stage.time == 0.0:
            return self.initial_stage(solution.parameters)
        galerkin, points, time = stage.galerkin, self.forcing.grid.points, stage.time
        u = galerkin.field(galerkin.at(points), stage.state, time, points)
        u = u + self.defect.values(self.forcing.grid) @ stage.error[:-1]  # what the old span lost, as estimated
        moved = self._stage(solution.parameters, u, galerkin.seen(stage.state, time), time)
        return None if moved is None else replace(moved, error=moved.error + stage.error)

    def _stage(self, parameters: Tensor, u: Tensor, seen: Tensor, time: float) -> Stage | None:
        try:
            span = Span.of(self.heat, self.network, parameters, self.forcing.grid)
            galerkin = Galerkin(span, self.forcing, self.checked)
            if not galerkin.excess <= EXCESS * float(galerkin.rates.abs().max()):
                return None
            state = galerkin.project(u, time)
        except NonFiniteError:
            return None
        lost = self.defect.analyse(seen - galerkin.seen(state, time))
        return Stage.of(galerkin, self.defect, state, time, lost)

    def _width(self) -> int:
        """Number of features; raises ArgumentError unless the network takes the embedded coordinates."""
        embedding = self.heat.embedding
        middle = 0.5 * (self.heat.domain.lower + self.heat.domain.upper)
        try:
            with torch.no_grad():
                shape = tuple(self.map(self.map.initial, self.map.prepare(embedding(middle[None]))).shape)
        except (ArgumentError, RuntimeError) as error:
            wanted = f"{embedding.width} inputs, ({', '.join(embedding.names)})"
            raise ArgumentError(f"features must take {wanted}, and fail on these: {error}") from error
        if len(shape) != 2 or shape[0] != 1:
            raise ArgumentError(f"features must map (rows, {embedding.width}) to (rows, n), got {shape} for one row")
        return shape[1]

    def _grid(self, side: int, shift: float) -> Quadrature:
        domain = self.heat.domain
        return quadrature(domain, (side,) * domain.dimension, self.heat.periodic, shift=shift)

    def _misfit(self, parameters: Tensor, targets: Tensor) -> float:
        """How much of the targets is left outside of a span."""
        grid = self.training.grid
        ones = {VALUE: torch.ones_like(grid.weights)}
        Phi = grid.roots[:, None] * trial_values(self.heat, self.network, parameters, grid.points, ones)
        if not bool(torch.isfinite(Phi).all()):
            return float("inf")
        Q = torch.linalg.qr(Phi)[0]
        Y = grid.roots[:, None] * targets
        return float(torch.linalg.norm(Y - Q @ (Q.T @ Y)))

    def _initial_targets(self) -> list[Tensor]:
        """V, v' and, where nothing drives v but the source, v'' at the start, on the training points."""
        forcing, points = self.training, self.training.grid.points
        initial, start = self.heat.initial.on(0.0), torch.zeros(1, dtype=torch.float64)

        def value(at: Tensor) -> Tensor:
            return initial(at) - forcing.lift(0.0, at)

        try:
            targets = [value(points), self.heat.applied(value)(points) + forcing.volume(start)[:, 0]]
            if forcing.steady and forcing.homogeneous:
                source, operator = self.heat.source.on(0.0), self.heat.applied(value)
                targets.append(self.heat.applied(lambda at: operator(at) + source(at))(points))
        except RuntimeError as error:
            raise ArgumentError(
                f"initial must be made of torch operations that can be differentiated: {error}"
            ) from error
        return targets

    def _targets(self, stage: Stage, ahead: Sequence[float], integrator: Integrator) -> list[Tensor]:
        """What a span trained at a stage is to hold: value and rates now, value and rate at later times.

        The estimated error is added to the state: it is the solution that the span is to hold.
        """
        galerkin, forcing = stage.galerkin, self.training
        values, now = galerkin.at(forcing.grid.points), stage.time
        targets = self._initial_targets() if now == 0.0 else []
        if now > 0.0 and forcing.steady:
            applied = galerkin.span.values(forcing.grid.points, forcing.operator) @ galerkin.modes
            targets.append(applied @ galerkin.rate(stage.state, now))
        for later in ahead if now == 0.0 else [now, *ahead]:
            stage = stage.advanced(later, integrator) if later > stage.time else stage
            rate = (self.defect.rates * stage.error + stage.drive)[:-1]
            targets.append(values @ stage.state + self._errors @ stage.error[:-1])
            targets.append(values @ galerkin.rate(stage.state, later) + self._errors @ rate)
        return targets


def _normalised(targets: list[Tensor], grid: Quadrature) -> Tensor:
    """The targets that are not zero, each divided by its norm, side by side."""
    norms = [grid.norm(target) for target in targets]
    kept = [target / norm for target, norm in zip(targets, norms, strict=True) if norm > 0]
    return torch.stack(kept or targets[:1], 1)
