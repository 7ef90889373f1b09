"""Time integrators for y' = diag(lambda) y + s(t): y(h) = R(h lambda) y(0) + h sum_j b_j(h lambda) s(c_j h).

A self-adjoint operator in the coordinates of its eigenvectors is diagonal, so that every one-step method is two
functions of z = h lambda and some nodes. They are evaluated once for each length of a step; a step then costs what the
source at the nodes costs.
  - `Exponential`: R = exp(z) and b_j = int_0^1 exp((1 - tau) z) l_j(tau) d tau: exact but for the interpolation of s at
    the nodes (l_j their Lagrange polynomials), so exact for a constant source.
  - `Gauss` and `Radau`: collocation Runge-Kutta methods with the matrix A_ij = int_0^c_i l_j and weights
    w_j = int_0^1 l_j, R = 1 + z w^T (I - z A)^-1 1 and b = (I - z A)^-T w. They are A-stable, Radau IIA also damps
    what is stiff.

Sources: Hochbruck and Ostermann, Acta Numerica 2010; Hairer and Wanner, Solving Ordinary Differential Equations II.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import roots_jacobi
from torch import Tensor

from grassvp.arrays import check_count
from grassvp.errors import ArgumentError, ArgumentTypeError

__all__ = [
    "INTEGRATORS",
    "Exponential",
    "Gauss",
    "Integrator",
    "Propagator",
    "Radau",
    "check_integrator",
    "phi_functions",
]

MOST = 8  # stages: beyond, the monomials of the nodes lose digits
SERIES = 4.0  # |z| up to which the phi functions are summed as series


@dataclass(frozen=True, eq=False)
class Propagator:
    """One method with one length of step for given rates.

    Attributes:
        step: h.
        nodes: (q,) c_j in [0, 1].
        decay: (r,) R(h lambda).
        weights: (r, q) h b_j(h lambda).
    """

    step: float
    nodes: Tensor
    decay: Tensor
    weights: Tensor

    def __call__(self, state: Tensor, sources: Tensor) -> Tensor:
        """The state (r,) after the step, from s at the nodes, (r, q), or (r, 1) where s is constant."""
        return self.decay * state + (self.weights * sources).sum(1)


class Integrator(ABC):
    """A one-step method, named by how it treats rates and sources."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of the error at the end, where the source is smooth and the step resolves the rates."""

    @property
    def exact_if_steady(self) -> bool:
        """Whether a step of any length is exact for a constant source."""
        return False

    @abstractmethod
    def propagator(self, rates: Tensor, step: float) -> Propagator:
        """The method for the rates lambda (r,) and a step."""


@dataclass(frozen=True)
class Exponential(Integrator):
    """Exponential quadrature with the source interpolated at Gauss nodes.

    Attributes:
        nodes: their number q, 1 to 8.
    """

    nodes: int = 4

    def __post_init__(self) -> None:
        """Check the number."""
        _check_stages(self.nodes, "nodes")

    @property
    def order(self) -> int:
        """2 q where the step resolves the rates; q for the others."""
        return 2 * self.nodes

    @property
    def exact_if_steady(self) -> bool:
        """True."""
        return True

    def propagator(self, rates: Tensor, step: float) -> Propagator:
        """See `Integrator`."""
        c = _gauss_nodes(self.nodes)
        z = step * rates
        # int_0^1 exp((1 - tau) z) tau^k d tau = k! phi_{k+1}(z); the Lagrange polynomials are combinations of powers
        phi = phi_functions(z, self.nodes)
        moments = torch.stack([math.factorial(k) * phi[k + 1] for k in range(self.nodes)], 1)
        inverse = torch.from_numpy(np.linalg.inv(np.vander(c, increasing=True)))
        return Propagator(step, torch.from_numpy(c), phi[0], step * (moments @ inverse))


@dataclass(frozen=True)
class _Collocation(Integrator):
    """A Runge-Kutta method of collocation type.

    Attributes:
        stages: their number s, 1 to 8.
    """

    stages: int = 3

    def __post_init__(self) -> None:
        """Check the number."""
        _check_stages(self.stages, "stages")

    @abstractmethod
    def abscissae(self) -> np.ndarray:
        """The nodes c, (s,)."""

    def propagator(self, rates: Tensor, step: float) -> Propagator:
        """See `Integrator`."""
        c = self.abscissae()
        A, w = _collocation(c)
        z = (step * rates)[:, None, None]
        system = torch.eye(len(c), dtype=torch.float64) - z * torch.from_numpy(A)
        b = torch.linalg.solve(system.mT, torch.from_numpy(w).expand(len(rates), -1))
        return Propagator(step, torch.from_numpy(c), 1.0 + z[:, 0, 0] * b.sum(1), step * b)


@dataclass(frozen=True)
class Gauss(_Collocation):
    """Gauss-Legendre collocation, of order 2 s."""

    @property
    def order(self) -> int:
        """2 s."""
        return 2 * self.stages

    def abscissae(self) -> np.ndarray:
        """The zeros of the Legendre polynomial."""
        return _gauss_nodes(self.stages)


@dataclass(frozen=True)
class Radau(_Collocation):
    """Radau IIA collocation, of order 2 s - 1; stiff parts are damped."""

    @property
    def order(self) -> int:
        """2 s - 1."""
        return 2 * self.stages - 1

    def abscissae(self) -> np.ndarray:
        """The zeros of a Jacobi polynomial, and 1."""
        inner = roots_jacobi(self.stages - 1, 1.0, 0.0)[0] if self.stages > 1 else np.empty(0)
        return np.append((inner + 1.0) / 2.0, 1.0)


def check_integrator(value: object) -> Integrator:
    """The integrator of a name, or the one given.

    Raises:
        ArgumentError, ArgumentTypeError: there is none of that name, or it is no integrator.
    """
    if isinstance(value, str) and value not in INTEGRATORS:
        raise ArgumentError(f"integrator must be one of {', '.join(map(repr, INTEGRATORS))}, got {value!r}")
    if isinstance(value, str):
        return INTEGRATORS[value]
    if not isinstance(value, Integrator):
        raise ArgumentTypeError(f"integrator must be a name or an integrator such as pde.Gauss(3), got {value!r}")
    return value


def phi_functions(z: Tensor, highest: int) -> list[Tensor]:
    """[phi_0(z), ..., phi_highest(z)], with phi_0 = exp and phi_k+1(z) = (phi_k(z) - 1/k!) / z, entry by entry.

    Where |z| is small the recurrence cancels: there the highest one is summed as a series and the recurrence is run
    downwards, phi_k = z phi_k+1 + 1/k!.
    """
    small = z.abs() <= SERIES
    near, far = torch.where(small, z, 0.0), torch.where(small, -1.0, z)
    series, term = torch.zeros_like(z), torch.full_like(z, 1.0 / math.factorial(highest))
    for j in range(1, 40):
        series, term = series + term, term * near / (highest + j)
    downward = [series]
    for k in reversed(range(highest)):
        downward.append(near * downward[-1] + 1.0 / math.factorial(k))
    upward = [torch.exp(far)]
    for k in range(highest):
        upward.append((upward[-1] - 1.0 / math.factorial(k)) / far)
    chosen = [torch.where(small, a, b) for a, b in zip(reversed(downward), upward, strict=True)]
    return [torch.exp(z), *chosen[1:]]


def _check_stages(count: object, name: str) -> None:
    if check_count(count, name) > MOST:
        raise ArgumentError(f"{name} must be at most {MOST}, got {count}")


def _gauss_nodes(count: int) -> np.ndarray:
    return (np.polynomial.legendre.leggauss(count)[0] + 1.0) / 2.0


def _collocation(c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A_ij = int_0^c_i l_j and w_j = int_0^1 l_j for the Lagrange polynomials of the nodes."""
    powers = np.arange(1, len(c) + 1)
    inverse = np.linalg.inv(np.vander(c, increasing=True))
    return (c[:, None] ** powers / powers) @ inverse, (1.0 / powers) @ inverse


INTEGRATORS: dict[str, Integrator] = {"exponential": Exponential(), "gauss": Gauss(), "radau": Radau()}
