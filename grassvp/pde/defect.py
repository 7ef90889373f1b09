"""The equation that the error of a march solves, in trigonometric functions.

What a span holds, v, leaves a residual r = L v + F - v_t of the equation and h = H - a dv/dn - kappa v of the fluxes.
The error e = u - v then solves the same equation with these in the place of what drives it,
    e_t = L e + r,   a de/dn + kappa e = h,   e = 0 where values are prescribed,
from what the projection to the span has lost. Galerkin's method solves it in products of sines and cosines that fit the
conditions: few functions are enough for two digits of an error, and they are the same for every span.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grassvp.pde.domain import Face
from grassvp.pde.forcing import Forcing
from grassvp.pde.heat import Heat
from grassvp.pde.integrators import phi_functions
from grassvp.pde.quadrature import Quadrature

__all__ = ["Defect"]

MOST = {1: 128, 2: 20, 3: 8}  # functions along a coordinate, by dimension
LARGEST = 700.0  # exponent of a growth factor


class Defect:
    """Errors as coordinates in eigenfunctions of the equation, and how they move on.

    A residual has one entry more than there are functions: the norm of what they leave of it, which is taken to decay
    as fast as the fastest of them.

    Attributes:
        rates: (M + 1,) eigenvalues of the equation, ascending, and the least once more.
    """

    def __init__(self, forcing: Forcing) -> None:
        """Assemble and diagonalise A_kl = -<a grad phi_k, grad phi_l> + c <phi_k, phi_l> - int_flux kappa phi_k phi_l.

        Args:
            forcing: what drives the equation where residuals are measured.
        """
        heat, grid = forcing.heat, forcing.grid
        self._grid = grid
        self._bases = [_Basis.of(heat, i, _count(len(x), len(grid.axes))) for i, x in enumerate(grid.axes)]
        functions, outflow = self._functions(grid.axes), {}
        A = heat.reaction * torch.eye(functions.shape[1], dtype=torch.float64) - self._stiffness(forcing)
        for face, terms in forcing.outflow.items():
            column, (points, weights) = heat.domain.names.index(face[0]), grid.faces[face]
            trace = self._functions([points[:1, i] if i == column else x for i, x in enumerate(grid.axes)])
            outflow[face] = weights[:, None] * trace
            A = A - outflow[face].T @ (terms[()][:, None] * trace)
        rates, self._modes = torch.linalg.eigh(A)
        self.rates = torch.cat([rates, rates[:1]])
        self._analysis = (grid.weights[:, None] * (functions @ self._modes)).T
        self._outflow = {face: (trace @ self._modes).T for face, trace in outflow.items()}
        self._phi: dict[float, list[Tensor]] = {}

    def values(self, grid: Quadrature) -> Tensor:
        """The eigenfunctions at the points of a grid, (rows, M)."""
        return self._functions(grid.axes) @ self._modes

    def analyse(self, residual: Tensor, flux: Mapping[Face, Tensor] | None = None) -> Tensor:
        """A function at the points of the grid, and what drives the flux faces, as (M + 1,) coordinates."""
        found = self._analysis @ residual
        left = self._grid.norm(residual) ** 2 - float(found @ found)
        for face, h in (flux or {}).items():
            found = found + self._outflow[face] @ h
        return torch.cat([found, torch.tensor([math.sqrt(max(left, 0.0))], dtype=torch.float64)])

    def advance(self, error: Tensor, before: Tensor, after: Tensor, step: float) -> Tensor:
        """The error after a step, while the residual moves evenly from what it was before to what it is after."""
        if step not in self._phi:
            self._phi[step] = phi_functions((step * self.rates).clamp(max=LARGEST), 2)
        phi = self._phi[step]
        return phi[0] * error + step * (phi[1] * before + phi[2] * (after - before))

    def made(self, residual: Tensor, time: float) -> float:
        """L2 norm of the error that a residual makes if it stays for some time, int_0^time exp(rates s) ds r."""
        z = (time * self.rates).clamp(max=LARGEST)
        still = z.abs() < 1e-12
        gain = torch.where(still, time, time * torch.expm1(z) / torch.where(still, 1.0, z))
        return float(torch.linalg.vector_norm(gain * residual))

    def _stiffness(self, forcing: Forcing) -> Tensor:
        """<a grad phi_k, grad phi_l>; diagonal where a is a number."""
        if not callable(forcing.heat.diffusivity.given):
            squares = torch.zeros(1, dtype=torch.float64)
            for basis in self._bases:
                squares = (squares[:, None] + basis.frequencies**2).reshape(-1)
            return torch.diag(float(forcing.heat.diffusivity.given) * squares)
        total: Any = 0.0
        for i in range(len(self._bases)):
            slopes = self._functions(self._grid.axes, along=i)
            total = total + slopes.T @ ((self._grid.weights * forcing.operator[i, i])[:, None] * slopes)
        return total

    def _functions(self, axes: Sequence[Tensor], along: int = -1) -> Tensor:
        """All products of the functions of each coordinate at a tensor grid; one coordinate may be differentiated."""
        product = torch.ones(1, 1, dtype=torch.float64)
        for i, (basis, x) in enumerate(zip(self._bases, axes, strict=True)):
            product = torch.kron(product, basis(x, derivative=i == along))
        return product


@dataclass(frozen=True, eq=False)
class _Basis:
    """Orthonormal functions c_k cos(w_k s - p_k) of s, the distance from the lower end of a coordinate."""

    lower: float
    scales: Tensor
    frequencies: Tensor
    phases: Tensor

    @classmethod
    def of(cls, heat: Heat, column: int, count: int) -> "_Basis":
        """So many functions that vanish where values are prescribed, are level at other ends, or are periodic."""
        length, k = float(heat.domain.lengths[column]), torch.arange(count, dtype=torch.float64)
        name, quarter = heat.domain.names[column], torch.full_like(k, math.pi / 2)
        held = tuple((name, end) in heat.values for end in ("lower", "upper"))
        if column in heat.periodic:
            frequencies, phases = 2.0 * torch.ceil(k / 2), quarter * (k % 2)
        else:
            frequencies, phases = k + {0: 0.0, 1: 0.5, 2: 1.0}[sum(held)], quarter * float(held[0])
        scales = torch.sqrt(torch.where(frequencies == 0, 1.0, 2.0) / length)
        return cls(float(heat.domain.lower[column]), scales, math.pi / length * frequencies, phases)

    def __call__(self, x: Tensor, derivative: bool = False) -> Tensor:
        """Values (points, count) of the functions or of their derivatives."""
        angle = (x - self.lower)[:, None] * self.frequencies - self.phases
        return self.scales * (-self.frequencies * torch.sin(angle) if derivative else torch.cos(angle))


def _count(points: int, dimension: int) -> int:
    """How many functions a coordinate takes: as many as its quadrature resolves, an odd number."""
    return min(MOST[dimension], int((2 * points - 6) / math.pi)) // 2 * 2 + 1
