"""The critical points of f(U) = 1/2 ||(I - U U^T) Y||^2 on Gr(m, n), all of them, from the spectrum of M = Y Y^T.

A subspace is critical exactly where it is invariant under M. Group the eigenvalues of M by distinct value mu_e with
multiplicity p_e (the kernel is the group mu = 0). A class takes n_e <= p_e dimensions from each group, sum n_e = n: it
is the manifold prod_e Gr(p_e, n_e), on which f is constant and the Hessian has the eigenvalues mu_e - mu_f with
multiplicity n_e (p_f - n_f). Along the class the Hessian is zero and nowhere else (Morse-Bott).

Everything here comes from one singular value decomposition of Y; neither f nor its derivatives are evaluated.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from grassvp.arrays import check_count, check_nonnegative, to_tensor
from grassvp.errors import ArgumentError

__all__ = ["SPECTRAL_TOLERANCE", "CriticalClass", "TargetSpectrum", "critical_classes"]

SPECTRAL_TOLERANCE = 1e-10
"""Eigenvalues of Y Y^T closer than this times the largest are one eigenvalue, smaller ones belong to the kernel."""

MOST_CLASSES = 1_000_000


@dataclass(frozen=True, eq=False)
class TargetSpectrum:
    """The distinct eigenvalues of M = Y Y^T and their eigenspaces.

    Attributes:
        rows: m.
        eigenvalues: the distinct mu_e, largest first; the last one is 0 where M has a kernel.
        multiplicities: p_e, adding up to m.
        bases: an orthonormal basis (m, p_e) of each eigenspace but the kernel's.
    """

    rows: int
    eigenvalues: np.ndarray
    multiplicities: tuple[int, ...]
    bases: tuple[np.ndarray, ...]

    @staticmethod
    def of(targets: Any, tolerance: float = SPECTRAL_TOLERANCE) -> "TargetSpectrum":
        """The spectrum for targets Y, (m,) or (m, k).

        Args:
            targets: Y.
            tolerance: neighbouring eigenvalues of M that differ by at most this times the largest are counted as one
                (their mean); those below it belong to the kernel.
        """
        Y = _columns(targets)
        if check_nonnegative(tolerance, "tolerance") >= 1:
            raise ArgumentError(f"tolerance must be < 1, got {tolerance}")
        U, s, _ = np.linalg.svd(Y, full_matrices=False)
        largest = float(s[0]) * float(s[0])
        if not math.isfinite(largest):
            raise ArgumentError(f"targets are too large: the squares of their singular values, {s[0]:.1e}, overflow")
        relative = (s / s[0]) ** 2 if largest > 0 else np.zeros_like(s)
        rank = int(np.sum(relative > tolerance))
        gaps = np.flatnonzero(relative[: rank - 1] - relative[1:rank] > tolerance) + 1
        parts = np.split(np.arange(rank), gaps) if rank else []
        m, values = Y.shape[0], [largest * float(np.mean(relative[part])) for part in parts]
        sizes = [len(part) for part in parts]
        if rank < m:
            values, sizes = [*values, 0.0], [*sizes, m - rank]
        return TargetSpectrum(m, np.array(values), tuple(sizes), tuple(U[:, part] for part in parts))

    @property
    def has_kernel(self) -> bool:
        """Whether the last group is the kernel of M."""
        return len(self.bases) < len(self.multiplicities)

    @property
    def rank(self) -> int:
        """Rank of Y."""
        return sum(basis.shape[1] for basis in self.bases)

    def occupation(self, point: np.ndarray) -> np.ndarray:
        """tr(P_e U U^T) for each group e: how many dimensions of the subspace lie in that eigenspace.

        Integers, up to rounding, exactly where the subspace is invariant, up to the square of its distance from one.
        """
        shares = [float(np.sum((basis.T @ point) ** 2)) for basis in self.bases]
        return np.array([*shares, point.shape[1] - sum(shares)] if self.has_kernel else shares)

    def sample(self, group: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Orthonormal basis (m, count) of a random subspace of an eigenspace."""
        if group < len(self.bases):
            basis = self.bases[group]
            return basis @ _orthonormal(rng.standard_normal((basis.shape[1], count)))
        range_basis = np.concatenate([np.empty((self.rows, 0)), *self.bases], axis=1)
        draw = rng.standard_normal((self.rows, count))
        for _ in range(2):  # the second pass removes what the first QR amplified
            draw = _orthonormal(draw - range_basis @ (range_basis.T @ draw))
        return draw


@dataclass(frozen=True, eq=False)
class CriticalClass:
    """A manifold of critical points, given by how many dimensions it takes from each eigenspace of Y Y^T.

    Attributes:
        value: f on the class, 1/2 sum_e (p_e - n_e) mu_e.
        index: number of negative Hessian eigenvalues, the sum over mu_e < mu_f of n_e (p_f - n_f).
        nullity: dimension of the class, sum_e n_e (p_e - n_e).
        inside: n_e, dimensions taken from each eigenspace, largest eigenvalue first.
        spectrum: the eigenspaces.
    """

    value: float
    index: int
    nullity: int
    inside: tuple[int, ...]
    spectrum: TargetSpectrum

    @property
    def eigenvalues(self) -> np.ndarray:
        """The distinct eigenvalues mu_e of Y Y^T, largest first; the kernel's 0 is last where there is one."""
        return self.spectrum.eigenvalues

    @property
    def multiplicities(self) -> tuple[int, ...]:
        """The dimensions p_e of their eigenspaces."""
        return self.spectrum.multiplicities

    @property
    def dimension(self) -> int:
        """Dimension of the Grassmannian, n (m - n)."""
        n = sum(self.inside)
        return n * (self.spectrum.rows - n)

    @property
    def is_minimum(self) -> bool:
        """Whether the class is the global minimum; no other class has index 0."""
        return self.index == 0

    @cached_property
    def hessian_eigenvalues(self) -> np.ndarray:
        """All n (m - n) eigenvalues of the Riemannian Hessian, ascending."""
        values, counts = _hessian_groups(self.spectrum, self.inside)
        return np.sort(np.repeat(values, counts))

    def representative(self, rng: Any = None) -> np.ndarray:
        """A point of the class, uniformly distributed on it: an orthonormal (m, n) basis, itself turned at random.

        Args:
            rng: numpy Generator, a seed, or None for fresh entropy.
        """
        generator = np.random.default_rng(rng)
        taken = [(e, count) for e, count in enumerate(self.inside) if count]
        basis = np.concatenate([self.spectrum.sample(e, count, generator) for e, count in taken], axis=1)
        return basis @ _orthonormal(generator.standard_normal((basis.shape[1],) * 2))

    def contains(self, point: np.ndarray, tolerance: float = 1e-6) -> bool:
        """Whether a subspace takes these dimensions from the eigenspaces, to `tolerance` in each."""
        shares = self.spectrum.occupation(point)
        return bool(np.all(np.abs(shares - self.inside) <= tolerance))

    def __repr__(self) -> str:
        """Value, Morse data and the dimensions taken."""
        taken = " + ".join(
            f"{n} of {p} at {mu:.4g}"
            for n, p, mu in zip(self.inside, self.multiplicities, self.eigenvalues, strict=True)
            if n
        )
        kind = "minimum" if self.is_minimum else "saddle" if np.any(self.hessian_eigenvalues > 0) else "maximum"
        return f"CriticalClass({kind}, value {self.value:.6g}, index {self.index}, nullity {self.nullity}: {taken})"


def critical_classes(targets: Any, n: int, *, tolerance: float = SPECTRAL_TOLERANCE) -> list[CriticalClass]:
    """Every class of critical points of 1/2 ||(I - U U^T) Y||^2 on Gr(m, n), ascending in value.

    Args:
        targets: Y, (m,) or (m, k), numpy or torch.
        n: dimension of the subspaces, 1 <= n <= m.
        tolerance: neighbouring eigenvalues of Y Y^T that differ by at most this times the largest are counted as one;
            those at or below it belong to the kernel. Values and eigenvalues are as good as that.

    Returns:
        One `CriticalClass` for each choice of dimensions. Exactly one of them, the first, has index 0. With Y = 0 or
        n = m there is a single class, the whole manifold, with index 0 (no Hessian eigenvalues at all for n = m).

    Raises:
        ArgumentError: n > m, bad targets, or more than a million classes; it is a ValueError.
        ArgumentTypeError: an argument of the wrong type.
    """
    spectrum = TargetSpectrum.of(targets, tolerance)
    m = spectrum.rows
    if check_count(n, "n") > m:
        raise ArgumentError(f"n must be at most the number of rows m = {m} of the targets, got {n}")
    count = _count(spectrum.multiplicities, n)
    if count > MOST_CLASSES:
        raise ArgumentError(
            f"n = {n} dimensions from {len(spectrum.multiplicities)} distinct eigenvalues make {count} classes, more "
            f"than {MOST_CLASSES}: take fewer outputs or a smaller n"
        )
    classes = [_critical_class(spectrum, inside) for inside in _choices(spectrum.multiplicities, n)]
    return sorted(classes, key=lambda each: (each.value, each.index))


def _critical_class(spectrum: TargetSpectrum, inside: tuple[int, ...]) -> CriticalClass:
    outside = np.subtract(spectrum.multiplicities, inside)
    value = 0.5 * float(outside @ spectrum.eigenvalues)
    values, counts = _hessian_groups(spectrum, inside)
    return CriticalClass(value, int(counts[values < 0].sum()), int(counts[values == 0].sum()), inside, spectrum)


def _hessian_groups(spectrum: TargetSpectrum, inside: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues mu_e - mu_f and their multiplicities n_e (p_f - n_f), flat over the pairs (e, f)."""
    mu, taken = spectrum.eigenvalues, np.array(inside)
    outside = np.subtract(spectrum.multiplicities, taken)
    return np.subtract.outer(mu, mu).ravel(), np.multiply.outer(taken, outside).ravel()


def _choices(multiplicities: tuple[int, ...], n: int) -> Iterator[tuple[int, ...]]:
    """All (n_e) with 0 <= n_e <= p_e and sum n, most from the first groups first."""
    if len(multiplicities) == 1:
        yield (n,)
        return
    rest = sum(multiplicities[1:])
    for first in range(min(multiplicities[0], n), max(0, n - rest) - 1, -1):
        yield from ((first, *others) for others in _choices(multiplicities[1:], n - first))


def _count(multiplicities: tuple[int, ...], n: int) -> int:
    """Number of such choices: the coefficient of x^n in prod_e (1 + x + ... + x^p_e)."""
    ways = [1] + [0] * n
    for p in multiplicities:
        ways = [sum(ways[max(0, i - p) : i + 1]) for i in range(n + 1)]
    return ways[n]


def _columns(targets: Any) -> np.ndarray:
    tensor = to_tensor(targets, "targets")
    if tensor.ndim not in (1, 2):
        raise ArgumentError(f"targets must have shape (rows,) or (rows, outputs), got {tuple(tensor.shape)}")
    return tensor.reshape(tensor.shape[0], -1).double().cpu().numpy()


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """Q of the QR factorisation with positive diagonal: uniform for Gaussian entries."""
    Q, R = np.linalg.qr(matrix)
    return Q * np.where(np.diagonal(R) < 0, -1.0, 1.0)
