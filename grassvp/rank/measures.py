"""Lengths, directions and motions of the columns of W Phi at one theta; what they mean needs levels beside them.

Everything but the motions is read off the triangle R of W Phi = Q R: the columns of R have the lengths and angles of
those of W Phi, and QR has changed each of them by no more than rounding of its own length.
"""

from dataclasses import dataclass

import numpy as np

from grassvp.linearization import Linearization
from grassvp.rank.circuits import Circuit, column_circuits
from grassvp.rank.columns import direction_sines, unit_columns
from grassvp.rank.duplicates import DuplicateGroup, duplicate_groups
from grassvp.rank.motion import column_motions, fixed_columns

__all__ = ["ColumnMeasures"]


@dataclass(frozen=True, eq=False)
class ColumnMeasures:
    """Lengths, directions and motions of the columns of W Phi at one theta; verdicts need levels beside them.

    Attributes:
        units: (p, n) columns of the triangle, of length one.
        norms: (n,) lengths of the columns.
        motions: (n,) how far a change of each parameter by its size moves them.
        fixed: (n,) columns that no parameter moves anywhere.
        aligned: (n,) sine of the angle to the constant column W 1.
    """

    units: np.ndarray
    norms: np.ndarray
    motions: np.ndarray
    fixed: np.ndarray
    aligned: np.ndarray

    @staticmethod
    def of(now: Linearization, fixed: np.ndarray | None = None) -> "ColumnMeasures":
        """The measures at a linearisation; `fixed` where it is known already."""
        R, Q = now.projection.triangle.cpu().numpy(), now.projection.orthonormal
        units, norms = unit_columns(R)
        motions = column_motions(now)
        fixed = fixed_columns(now.problem, motions == 0) if fixed is None else fixed
        ones = Q.new_ones(len(Q)) if now.problem.weights is None else now.problem.weights
        size = float(ones.double().norm())
        inside = (Q.T @ ones).double().cpu().numpy() / size
        outside = float((ones - Q @ (Q.T @ ones)).double().norm()) / size
        aligned = np.hypot(*_sines_to(inside, outside, units))
        return ColumnMeasures(units, norms, motions, fixed, np.where(norms > 0, aligned, 1.0))

    @property
    def relative_norms(self) -> np.ndarray:
        """(n,) lengths over the largest; zeros where all are."""
        return self.norms / (self.norms.max() or 1.0)

    def dead(self, level: float) -> np.ndarray:
        """(n,) columns that are zero beside the longest."""
        return (self.relative_norms <= level) | (self.norms == 0)

    def saturated(self, level: float, alive: np.ndarray) -> np.ndarray:
        """(n,) columns that could move, and do not."""
        return alive & ~self.fixed & (self.motions <= level * self.norms)

    def groups(self, level: float, alive: np.ndarray) -> tuple[DuplicateGroup, ...]:
        """Copies among the columns that are alive."""
        return duplicate_groups(self.units, np.where(alive, self.norms, 0.0), level)

    def circuits(self, level: float, alive: np.ndarray, groups: tuple[DuplicateGroup, ...]) -> tuple[Circuit, ...]:
        """Dependent columns among those that are alive, of each group of copies the first alone."""
        kept = alive.copy()
        for group in groups:
            kept[list(group.columns[1:])] = False
        return column_circuits(self.units, np.flatnonzero(kept), level)

    def constant(self, level: float, alive: np.ndarray) -> np.ndarray:
        """(n,) columns that are parallel to W 1, or to a column that nothing moves."""
        found = alive & (self.aligned <= level)
        for column in np.flatnonzero(self.fixed & alive):
            found |= alive & (direction_sines(self.units[:, column], self.units)[0] <= level)
        return found


def _sines_to(inside: np.ndarray, outside: float, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two legs of the sines between the unit vector Q `inside` + what is off Q, and the columns Q `units`."""
    cosines = inside @ units
    signs = np.where(cosines < 0, -1.0, 1.0)
    difference = units * signs - inside[:, None]
    along = inside @ difference - outside**2  # of the difference, in the direction of the vector
    return np.linalg.norm(difference - inside[:, None] * along, axis=0), outside * (1.0 + along)
