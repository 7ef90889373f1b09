"""The heat equation in a span of features, as ordinary differential equations in the coordinates of its eigenvectors.

With q_j the orthonormal functions of the span, v = sum_j z_j q_j and z' = A z + s(t),
    A_ji = <q_j, L q_i> - int_flux q_j (a dq_i/dn + kappa q_i),   s_j = <q_j, F> + int_flux q_j H.
Every term is a test function times what vanishes at the solution, so that A z is as accurate as z is smooth, however
noisy the functions with small singular values are as test functions: their values carry the rounding errors of the
features divided by the singular value. L is self-adjoint and A symmetric up to quadrature and this noise; of A_ij and
A_ji the one is kept whose trial function has the larger singular value, which also makes all rates real.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.errors import NonFiniteError
from grassvp.pde.domain import Face
from grassvp.pde.forcing import Forcing
from grassvp.pde.integrators import Integrator, Propagator
from grassvp.pde.span import VALUE, Span

__all__ = ["Galerkin", "Residual"]


@dataclass(frozen=True, eq=False)
class Residual:
    """What a span leaves of the equation at a state, where no fit has seen it.

    Attributes:
        values: L v + F - v_t, (rows,).
        fluxes: by face, what the flux conditions leave, H - a dv/dn - kappa v.
        norm: L2 norm of the values.
    """

    values: Tensor
    fluxes: dict[Face, Tensor]
    norm: float


class Galerkin:
    """Rates, modes and sources of the equation in a span.

    Attributes:
        span: the span.
        checked: what drives the equation where residuals are measured.
        rates: (r,) eigenvalues lambda of A, ascending.
        coefficients: (n, r) the eigenfunctions in the network's features.
        excess: by how much the largest eigenvalue exceeded what an exact A allows, before it was cut back to that.
        asymmetry: largest |A_ij - A_ji|, relative to the largest |A_ij|, before one of them was kept.
    """

    def __init__(self, span: Span, forcing: Forcing, checked: Forcing) -> None:
        """Assemble and diagonalise.

        Args:
            span: the factored features.
            forcing: what drives the equation, on the quadrature of the span.
            checked: the same on another quadrature, where residuals are measured.

        Raises:
            NonFiniteError: A is not finite.
        """
        self.span, self.checked, self._forcing = span, checked, forcing
        grid, U = forcing.grid, span.basis
        A = U.T @ (grid.roots[:, None] * span.values(grid.points, forcing.operator))
        traces = {}
        for face, terms in forcing.outflow.items():
            points, weights = grid.faces[face]
            traces[face] = weights[:, None] * span.values(points, {VALUE: torch.ones_like(weights)})
            A = A - traces[face].T @ span.values(points, terms)
        if not bool(torch.isfinite(A).all()):
            raise NonFiniteError("the operator applied to the features is not finite")
        self.asymmetry = float((A - A.T).abs().max() / A.abs().max().clamp(min=1e-300))
        rates, modes = torch.linalg.eigh(torch.tril(A))  # eigh reads the lower triangle: smaller j, larger S_j
        limit = forcing.heat.reaction if forcing.absorbing else float("inf")
        self.excess = max(float(rates[-1]) - limit, 0.0)
        self.rates = rates.clamp(max=limit)
        self.modes = modes
        self._analysis = (modes.T @ U.T) * grid.roots
        self._traces = {face: modes.T @ trace.T for face, trace in traces.items()}
        self._propagators: dict[tuple[Integrator, float], Propagator] = {}
        self._source: Tensor | None = None
        self._values = self.at(checked.grid.points)
        self._applied = span.values(checked.grid.points, checked.operator) @ modes
        self._outflow = {
            face: span.values(checked.grid.faces[face][0], terms) @ modes for face, terms in checked.outflow.items()
        }

    @property
    def steady(self) -> bool:
        """Whether nothing that drives the equation depends on time."""
        return self._forcing.steady

    @property
    def rank(self) -> int:
        """Dimension of the span."""
        return len(self.rates)

    def at(self, points: Tensor) -> Tensor:
        """The eigenfunctions at points, (rows, r)."""
        return self.span.values(points, {VALUE: torch.ones_like(points[:, 0])}) @ self.modes

    def field(self, values: Tensor, state: Tensor, time: float, points: Tensor) -> Tensor:
        """U at points (rows, d), (rows,), from `values` = at(points)."""
        return values @ state + self._forcing.lift(time, points)

    def project(self, u: Tensor, time: float) -> Tensor:
        """State (r,) of the L2 projection of u, given at the points of the quadrature."""
        return self.analyse(u - self._forcing.lift(time))

    def analyse(self, values: Tensor) -> Tensor:
        """Coordinates (r,) of the L2 projection of a function, given at the points of the quadrature."""
        return self._analysis @ values

    def sources(self, times: Tensor) -> Tensor:
        """S at times (k,), (r, k), or (r, 1) where nothing depends on time.

        Raises:
            NonFiniteError: what drives the equation is not finite.
        """
        if self._source is not None:
            return self._source
        s = self._analysis @ self._forcing.volume(times)
        for face, H in self._forcing.flux(times).items():
            s = s + self._traces[face] @ H
        if self.steady:
            self._source = s
        return s

    def rate(self, state: Tensor, time: float) -> Tensor:
        """The derivative of the state by time, (r,)."""
        return self.rates * state + self.sources(_one(time))[:, 0]

    def advance(self, state: Tensor, time: float, step: float, integrator: Integrator) -> Tensor:
        """The state at time + step.

        Raises:
            NonFiniteError: it is not finite.
        """
        propagator = self.propagator(integrator, step)
        after = propagator(state, self.sources(time + step * propagator.nodes))
        if not bool(torch.isfinite(after).all()):
            raise NonFiniteError(f"the solution is not finite at time {time + step:g}")
        return after

    def propagator(self, integrator: Integrator, step: float) -> Propagator:
        """The integrator for these rates and a step, prepared once."""
        key = integrator, step
        if key not in self._propagators:
            self._propagators[key] = integrator.propagator(self.rates, step)
        return self._propagators[key]

    def seen(self, state: Tensor, time: float) -> Tensor:
        """U at the points where residuals are measured, (rows,)."""
        return self.field(self._values, state, time, self.checked.grid.points)

    def norm(self, state: Tensor, time: float) -> float:
        """L2 norm of u."""
        return self.checked.grid.norm(self.seen(state, time))

    def missed(self, u: Tensor, state: Tensor, time: float) -> float:
        """L2 norm of the difference to u, given at the points where residuals are measured."""
        return self.checked.grid.norm(u - self.seen(state, time))

    def residual(self, state: Tensor, time: float) -> Residual:
        """What the equation and the flux conditions leave at a state and a time."""
        strong = self._applied @ state + self.checked.volume(_one(time))[:, 0]
        values = strong - self._values @ self.rate(state, time)
        driven = self.checked.flux(_one(time))
        fluxes = {face: H[:, 0] - self._outflow[face] @ state for face, H in driven.items()}
        return Residual(values, fluxes, self.checked.grid.norm(values))


def _one(time: float) -> Tensor:
    return torch.tensor([time], dtype=torch.float64)
