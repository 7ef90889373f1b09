"""Geodesics of Gr(m + n, n) seen in the chart of graphs, and the time at which they leave it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace, device

from manifolds.arguments import number, precision, quiet
from manifolds.geodesics import parallel_transport, polar_form, turn
from manifolds.graphs import Graph

__all__ = ["ChartError", "Path", "carry", "far_apart", "path", "polar_step"]


class ChartError(ValueError):
    """A curve of subspaces leaves the chart: some direction of it becomes orthogonal to [0; I] and Phi infinite.

    Attributes:
        time: the first time in (0, 1] at which it happens.
    """

    def __init__(self, message: str, time: float):
        super().__init__(message)
        self.time = time


@contextmanager
def far_apart(name: str) -> Iterator[None]:
    """Turns a geodesic that leaves the chart into an error about the points that it was to join."""
    try:
        yield
    except ChartError as error:
        raise ChartError(
            f"{name} are too far apart: the way to their mean leads through infinity", error.time
        ) from error


@dataclass(frozen=True)
class Path:
    """The geodesic of Gr(m + n, n) from the graph of Phi along D.

    Phi(t) = Phi + D V diag(1/rho) B(t) L(t)^-1 diag(rho) V^T, where with lift(D) = Y diag(sigma) W^T
    B = W diag(sin(t sigma) / sigma) W^T and L = W diag(cos(t sigma)) W^T - slope B. The bottom block of the subspace is
    sqrt(lam) V diag(1/rho) L, so that it leaves the chart where L is singular.
    """

    graph: Graph
    D: Any
    slope: Any
    sigma: Any
    W: Any

    def odd(self, time: float) -> Any:
        """B(t)."""
        xp = array_namespace(self.sigma)
        return (self.W * (xp.sin(time * self.sigma) / self.sigma)) @ self.W.mT

    def bottom(self, time: float) -> Any:
        """L(t), the identity at 0."""
        xp = array_namespace(self.sigma)
        return (self.W * xp.cos(time * self.sigma)) @ self.W.mT - self.slope @ self.odd(time)

    def bottom_rate(self, time: float) -> Any:
        """L'(t)."""
        xp = array_namespace(self.sigma)
        rate = (self.W * (self.sigma * xp.sin(time * self.sigma))) @ self.W.mT
        return -rate - self.slope @ ((self.W * xp.cos(time * self.sigma)) @ self.W.mT)

    def at(self, Phi: Any, time: float) -> Any:
        """Phi(t), where L(t) is regular."""
        xp = array_namespace(self.sigma)
        step = xp.linalg.solve(self.bottom(time).mT, (self.graph.inverse_root() @ self.odd(time)).mT).mT
        return Phi + self.D @ ((step * self.graph.rho) @ self.graph.V.mT)

    def exit_time(self) -> float:
        """First time in (0, 1] at which L is singular to rounding, or infinity.

        L(t + h) = L(t) (I + E) with ||E|| <= h (||L^-1|| max sigma + ||L^-1 slope||) is regular while that is below 1,
        so the march from one time to the next steps over no zero. Newton's iteration ends it at a zero that is near.
        """
        time = 0.0
        for _ in range(10_000):
            least, rate, speed, singular = self._state(time)
            if singular:
                return time
            if rate < 0 and -least / rate < min(2.0 / speed, 0.01):
                zero = self._newton(time)
                if zero is not None:  # one at the end to rounding counts
                    return min(zero, 1.0) if zero <= 1.0 + 64 * precision(self.sigma) else math.inf
            time += 1.0 / speed
            if time > 1.0:
                return math.inf
        return time  # as good as singular: no march takes that many steps otherwise

    def _state(self, time: float) -> tuple[float, float, float, bool]:
        """Smallest singular value of L, its derivative u^T L' v, the speed above, and whether L is singular."""
        xp = array_namespace(self.sigma)
        U, values, Vt = xp.linalg.svd(self.bottom(time))
        least, largest = number(values[-1]), number(values[0])
        if least <= 8 * precision(self.sigma) * values.shape[0] * max(largest, 1.0):
            return least, 0.0, math.inf, True
        rate = number(U[:, -1] @ (self.bottom_rate(time) @ Vt[-1, :]))
        tilt = (U.mT @ self.slope) / values[:, None]
        speed = number(xp.max(self.sigma)) / least + number(xp.max(xp.linalg.svdvals(tilt)))
        return least, rate, speed, False

    def _newton(self, time: float) -> float | None:
        for _ in range(20):
            least, rate, _, singular = self._state(time)
            if singular:
                return time
            if rate == 0.0:
                return None
            time -= least / rate
        return None


@quiet
def path(graph: Graph, D: Any) -> Path:
    """The geodesic from `graph` along D.

    Raises:
        ValueError: NaN or infinite entries.
    """
    form = polar_form(graph.lift(D))
    return Path(graph, D, graph.slope(D), form.sigma.clip(1e-18), form.right)


def carry(graph: Graph, direction: Any, vector: Any, end: Any) -> Any:
    """`vector` carried parallel in Gr(m + n, n) along the geodesic from `graph` to the graph of `end`, in the chart."""
    xp, basis, lifted, m = array_namespace(end), graph.basis(), graph.lift(direction), end.shape[0]
    form = polar_form(lifted)
    moved, carried = turn(basis, form, form.sigma), parallel_transport(basis, lifted, graph.lift(vector))
    tangent = carried[:m] - end @ carried[m:] / graph.root
    return graph.root * xp.linalg.solve(moved[m:].mT, tangent.mT).mT


def polar_step(K: Any) -> Any:
    """(I - K)^-1, where span(U + t H) stays in the chart for t up to 1: no real eigenvalue of K is 1 or more."""
    xp = array_namespace(K)
    values = xp.linalg.eigvals(K)
    real = xp.real(values)[xp.abs(xp.imag(values)) <= precision(K) ** 0.5 * xp.abs(values)]  # a double value may split
    largest = number(xp.max(real)) if real.shape[0] else 0.0
    if largest >= 1.0 - 4 * precision(K) * K.shape[0]:
        time = min(1.0, 1.0 / largest)
        raise ChartError(f"the polar retraction leaves the chart at time {time:.6g} of 1: take a shorter vector", time)
    return xp.linalg.inv(xp.eye(K.shape[0], dtype=K.dtype, device=device(K)) - K)
