"""Changes of the representative of a point that leave the point as it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymanopt.manifolds

from manifolds.checking.sampling import random_unitary
from manifolds.grassmann import Grassmann
from manifolds.regularized_grassmann import RegularizedGrassmann

__all__ = ["Symmetry", "custom_symmetry", "default_symmetries"]

REAL = (
    Grassmann,
    RegularizedGrassmann,
    pymanopt.manifolds.Grassmann,
    pymanopt.manifolds.PSDFixedRank,
    pymanopt.manifolds.Elliptope,
)
COMPLEX = (pymanopt.manifolds.ComplexGrassmann, pymanopt.manifolds.PSDFixedRankComplex)


@dataclass(frozen=True)
class Symmetry:
    """A named random change of representative.

    Attributes:
        name: which one.
        change: from a point and a generator, the map of points, which for `linear` maps tangent vectors too.
        linear: whether it does.
    """

    name: str
    change: Callable[[Any, np.random.Generator], Callable[[Any], Any]]
    linear: bool = True


def default_symmetries(manifold: Any) -> list[Symmetry]:
    """X -> X Q with Q orthogonal of either determinant, or a change of signs, or unitary.

    Raises:
        ValueError: the manifold is not known to store its points up to such a change.
    """
    if isinstance(manifold, REAL):
        rotations = [Symmetry(f"X Q, det Q = {sign:+d}", orthogonal(sign)) for sign in (1, -1)]
        return [*rotations, Symmetry("signs of columns", signs)]
    if isinstance(manifold, COMPLEX):
        return [Symmetry("X U, U unitary", unitary), Symmetry("signs of columns", signs)]
    raise ValueError(
        f"action must be given for {type(manifold).__name__}: a function (point, rng) that returns another "
        "representative of the point"
    )


def custom_symmetry(action: Callable[[Any, np.random.Generator], Any]) -> Symmetry:
    """The caller's action."""
    return Symmetry("the given action", lambda point, rng: lambda x: action(x, rng), linear=False)


def square(point: np.ndarray) -> tuple[int, ...]:
    """The shape of matrices that act on a point from the right, one for each factor."""
    return (*point.shape[:-2], point.shape[-1], point.shape[-1])


def orthogonal(sign: int) -> Callable[[Any, np.random.Generator], Callable[[Any], Any]]:
    """Multiplication by orthogonal matrices of the given determinant."""

    def change(point: Any, rng: np.random.Generator) -> Callable[[Any], Any]:
        Q = random_unitary(square(point), rng)
        Q[..., 0] *= (sign * np.sign(np.linalg.det(Q)))[..., None]
        return lambda x: x @ Q.astype(point.dtype)

    return change


def unitary(point: Any, rng: np.random.Generator) -> Callable[[Any], Any]:
    """Multiplication by unitary matrices."""
    Q = random_unitary(square(point), rng, complex_entries=True)
    return lambda x: x @ Q


def signs(point: Any, rng: np.random.Generator) -> Callable[[Any], Any]:
    """Other signs of some columns, of the first one at least."""
    flips = rng.choice([-1.0, 1.0], point.shape[-1]).astype(point.dtype)
    flips[0] = -1.0
    return lambda x: x * flips
