"""Partial differential equations as separable least-squares problems."""

from collections.abc import Callable, Mapping, Sequence, Sized
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import as_feature_map
from grassvp.pde.binding import check_coefficients
from grassvp.pde.checks import check_unknowns, sequence_of_conditions
from grassvp.pde.collocation import Collocation
from grassvp.pde.conditions import Condition, Periodic
from grassvp.pde.data import DOMINANCE, Data, check_data
from grassvp.pde.domain import Box
from grassvp.pde.equations import Equations
from grassvp.pde.free_width import FreeWidth, solve_at_free_width
from grassvp.pde.inverse import Estimates, coefficient_estimates
from grassvp.pde.measures import Accuracy, Residuals, accuracy, collocation_of, exact_values, residuals
from grassvp.pde.representation import Representation
from grassvp.pde.sampling import CHECK_SEED, SAMPLINGS, check_points, interior_points
from grassvp.pde.solving import solve_in_rounds
from grassvp.separable import SeparableProblem
from grassvp.solvers import Solution
from grassvp.solving import generator

__all__ = ["PDE"]


class PDE:
    """An equation on a box with conditions on its faces.

    A linear equation on features, L Phi(theta) C = f, and linear conditions B Phi(theta) C = g at collocation points
    are a separable least-squares problem with the rows [L Phi; B Phi]: `collocate` makes it, `grassvp.solve` solves it.
    A nonlinear one is solved through its Newton linearisations, written for the next iterate.
    """

    def __init__(
        self,
        domain: Box,
        equation: Callable[..., Any],
        source: Any = 0.0,
        conditions: Sequence[Condition | Periodic] = (),
        exact: Any = None,
        linear: bool = True,
        *,
        unknowns: Sequence[str] = (),
        weight: float = 1.0,
        guess: Any = 0.0,
        coefficients: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Check the equation and its conditions at a few points.

        Args:
            domain: the box; time is a coordinate like any other.
            equation: (u, x) -> tensor, of `u.value` and `u.d("x")`, `u.d("x", "x")`, ... up to fourth order, whose last
                axis is the rows; x["t"] is a column (rows,). For a system u["v"] are the unknowns, and it returns a
                tuple with one tensor for each.
            source: the right-hand side, a number or a function of the coordinates; a tuple for a system.
            conditions: what holds on the faces.
            exact: the solution where it is known, a function of the coordinates (a tuple of them for a system), for
                errors only; no solver looks at it.
            linear: whether the equation is linear in u, which is tested.
            unknowns: names of the unknowns of a system.
            weight: of the equation's rows against the conditions', on top of the automatic balance.
            guess: where a nonlinear equation is linearised first, a number or a function of the coordinates, as smooth
                as the equation needs it; a tuple of them for a system.
            coefficients: names of unknown coefficients of a linear equation, and where they start. The equation is then
                called as equation(u, x, p), with torch numbers p["name"]; sources, equals and operators of conditions
                are given p where they take an argument more. `collocate` needs data to determine them.

        Raises:
            ArgumentError, ArgumentTypeError: naming what cannot be used.
        """
        given, names = sequence_of_conditions(conditions), check_unknowns(unknowns)
        starts = check_coefficients(coefficients)
        self.equations = Equations(domain, equation, source, given, names, linear, weight, guess, starts)
        self.exact = exact
        if exact is not None:
            exact_values(exact, domain, interior_points(domain, 16, "random", np.random.default_rng(0)), self.outputs)

    @property
    def domain(self) -> Box:
        """The box."""
        return self.equations.box

    @property
    def outputs(self) -> int:
        """Number of unknowns."""
        return max(len(self.equations.unknowns), 1)

    def collocate(
        self,
        features: Any,
        *,
        interior: Any,
        boundary: int,
        seed: int | np.random.Generator = 0,
        sampling: str = "grid",
        data: Data | Sequence[Data] | None = None,
        dominance: float = DOMINANCE,
        **options: Any,
    ) -> SeparableProblem:
        """The separable least-squares problem of the equation at collocation points.

        Args:
            features: a network that takes the d coordinates (and one input more for each exactly periodic one), or
                several of `features.side_by_side`; a tuple with one for each unknown of a system, or one that all read.
            interior: how many points inside, or the points themselves (rows, d). A grid has at most so many.
            boundary: how many rows the conditions have in all, the same number on each face of each.
            seed: seed or generator of the points that are random.
            sampling: "grid", "chebyshev" (a grid that is finer towards the faces: more accurate where the solution is
                smooth, and necessary for layers), "random", "latin-hypercube" or "sobol".
            data: measurements of u, in rows beside those of the equation. Standard errors need two or three times
                as many points of the equation as the network has parameters; with few of them they come out too large.
            dominance: how much more the equation, and each condition, counts than all data together. Estimates do not
                depend on it where it is large and the network represents the solution to 1 / dominance of the noise.
            options: of `SeparableProblem`, such as regularization; by default that is at rounding level.

        Raises:
            ArgumentError, ArgumentTypeError: naming what cannot be used.
        """
        options |= {"data": data, "dominance": dominance}
        return self._collocation(features, interior, boundary, sampling, generator(seed), options).problem()

    def solve(
        self,
        features: Any = None,
        *,
        interior: Any = None,
        boundary: int | None = None,
        sampling: str | None = None,
        seed: int | np.random.Generator | None = None,
        rounds: int = 1,
        resampling: str = "fresh",
        collocation: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> Solution:
        """Collocate and solve, in rounds on other points if asked; or at free width, where no network is given.

        Args:
            features: as for `collocate`. None: random features of growing width as long as their residual at fresh
                points falls; where it stays above 1e-7 of the right-hand sides, a trained network if that is better.
            interior: as for `collocate`; by default five points for each parameter of a network.
            boundary: as for `collocate`; by default a quarter of that.
            sampling: as for `collocate`; by default "chebyshev" for one round in one or two coordinates, else "sobol".
            seed: of the points, starts and features.
            rounds: how many times to solve, each time on other points from where the last time ended.
            resampling: "fresh" points, or "residual": where the residual is large.
            collocation: further options of `collocate`.
            **options: of `grassvp.solve`, such as max_iterations (of each round) and max_time (of all). At free width
                they are for the network that is trained, if one is.

        Returns:
            The `Solution`; with several rounds its history has a column "round".
        """
        rng = generator(seed)
        if features is None:
            if self.equations.coefficients:
                raise ArgumentError("features=None solves for no nonlinear parameters: coefficients need a network")
            if interior is not None or boundary is not None or rounds != 1 or resampling != "fresh":
                raise ArgumentError(
                    "features=None chooses width and points by itself: leave interior, boundary, rounds, resampling"
                )
            embedding = self.equations.embedding
            width = self.domain.dimension if embedding is None else embedding.width
            points = "sobol" if sampling is None else sampling
            return solve_at_free_width(
                lambda network, inside, edges: self._collocation(
                    network, inside, edges, points, rng, dict(collocation)
                ),
                width,
                4 * self.equations.pieces,
                rng,
                FreeWidth(),
                **options,
            )
        inside, edges = self._default_counts(features, interior, boundary)
        default = "chebyshev" if rounds == 1 and self.domain.dimension <= 2 else "sobol"
        points = default if sampling is None else sampling
        first = self._collocation(features, inside, edges, points, rng, dict(collocation))
        return solve_in_rounds(
            first, boundary=edges, sampling=points, rounds=rounds, resampling=resampling, seed=rng, **options
        )

    def relative_l2_error(self, solution: Solution, points: Any = None) -> float:
        """||u - exact|| / ||exact|| over a fine grid of the box, or 16,384 Sobol points above three coordinates.

        Raises:
            ArgumentError: there is no exact solution, or the points lie outside of the box.
        """
        return self.accuracy(solution, points).relative_l2_error

    def max_error(self, solution: Solution, points: Any = None) -> float:
        """The largest |u - exact| over the same points as for `relative_l2_error`."""
        return self.accuracy(solution, points).max_error

    def accuracy(self, solution: Solution, points: Any = None) -> Accuracy:
        """Errors against the exact solution over points that no solver saw."""
        if self.exact is None:
            raise ArgumentError("exact: the PDE was given no exact solution, so there is no error to measure")
        at = check_points(self.domain) if points is None else self.domain.check_points(points)
        return accuracy(solution, exact_values(self.exact, self.domain, at, self.outputs), at)

    def residuals(self, solution: Any, points: Any = None, *, boundary: int = 2000) -> Residuals:
        """What a solution leaves of the equations and conditions at points that it was not fitted to.

        Args:
            solution: of a problem that `collocate` made.
            points: (rows, d) inside; by default as for `relative_l2_error`.
            boundary: rows of the conditions.
        """
        at = check_points(self.domain) if points is None else self.domain.check_points(points)
        places = self.equations.places(check_count(boundary, "boundary"), "random", np.random.default_rng(CHECK_SEED))
        return residuals(solution, collocation_of(solution).at(at, places))

    def coefficient_estimates(self, solution: Solution) -> Estimates:
        """Estimates of the unknown coefficients from a solution of a problem that `collocate` made with data.

        Raises:
            ArgumentError: there are no unknown coefficients, or the solution is not finite or comes from elsewhere.
        """
        return coefficient_estimates(solution, collocation_of(solution))

    def _collocation(
        self,
        features: Any,
        interior: Any,
        boundary: Any,
        sampling: str,
        rng: np.random.Generator,
        options: dict[str, Any],
    ) -> Collocation:
        check_choice(sampling, "sampling", SAMPLINGS)
        representation = self._representation(features)
        if isinstance(interior, np.ndarray | Tensor | list | tuple):
            points = self.domain.check_points(interior, "interior")
        else:
            points = interior_points(self.domain, check_count(interior, "interior"), sampling, rng)
        places = self.equations.places(check_count(boundary, "boundary", least=0), sampling, rng)
        data = check_data(options.pop("data", None), self.domain)
        if self.equations.coefficients and not data:
            raise ArgumentError(
                f"data must be given, as in data=pde.Data(points, values, noise): without any the coefficients "
                f"{', '.join(self.equations.coefficients)} are not determined"
            )
        dominance = check_nonnegative(options.pop("dominance", DOMINANCE), "dominance")
        if dominance == 0.0:
            raise ArgumentError("dominance must be > 0, got 0")
        return Collocation(self.equations, representation, points, places, options, data, dominance)

    def _default_counts(self, features: Any, interior: Any, boundary: Any) -> tuple[Any, int]:
        networks = features if isinstance(features, tuple | list) else (features,)
        numbers = [as_feature_map(network).initial.numel() for network in networks]
        inside = 5 * max(numbers) if interior is None else interior
        count = len(inside) if isinstance(inside, Sized) else check_count(inside, "interior")
        return inside, max(count // 4, 4 * self.equations.pieces) if boundary is None else boundary

    def _representation(self, features: Any) -> Representation:
        networks = tuple(features) if isinstance(features, tuple | list) else (features,)
        if len(networks) not in (1, self.outputs):
            raise ArgumentError(
                f"features must be one network, or one for each of {self.outputs} unknowns, got {len(networks)}"
            )
        embedding = self.equations.embedding
        width = self.domain.dimension if embedding is None else embedding.width
        names = self.domain.names if embedding is None else embedding.names
        for network in networks:
            _check_inputs(network, width, names)
        return Representation(self.domain, networks, self.outputs, self.equations.ansatz, embedding)

    def __repr__(self) -> str:
        """The domain and what holds."""
        kind = "linear" if self.equations.linear else "nonlinear"
        return f"PDE({kind}, on {self.domain!r}, {len(self.equations.conditions)} conditions)"


def _check_inputs(network: Any, width: int, names: tuple[str, ...]) -> None:
    features = as_feature_map(network)
    probe = torch.zeros(2, width, dtype=features.initial.dtype, device=features.initial.device)
    try:
        with torch.no_grad():
            values: Tensor = features(features.initial, features.prepare(probe))
    except Exception as error:
        raise ArgumentError(f"features must take {width} inputs, {', '.join(names)}: {error}") from error
    if not isinstance(values, Tensor) or values.ndim != 2 or len(values) != 2:
        raise ArgumentTypeError("features must map (rows, d) to (rows, n)")
