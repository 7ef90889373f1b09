"""Reproducible random points, vectors and matrices."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from manifolds.checking.vectors import as_tangent, leaves, mapped, norm

__all__ = [
    "ambient_vector",
    "as_generator",
    "gaussian",
    "is_finite",
    "perturbed",
    "random_point",
    "random_unitary",
    "unit_vector",
]


def as_generator(rng: Any) -> np.random.Generator:
    """A Generator from a Generator, a seed, or None for fresh entropy.

    Raises:
        TypeError: anything else.
    """
    if rng is None or (isinstance(rng, np.random.Generator | int | np.integer) and not isinstance(rng, bool)):
        return np.random.default_rng(rng)
    raise TypeError(f"rng must be a numpy Generator, an integer seed or None, got {type(rng).__name__}")


@contextmanager
def seeded_numpy(rng: np.random.Generator) -> Iterator[None]:
    """Numpy's global generator seeded from `rng`, and as it was afterwards.

    pymanopt's random_point and random_tangent_vector take no generator and draw from the global one: this is the only
    way to have from them a point that depends on `rng` alone and leaves the caller's random numbers as they are.
    """
    saved = np.random.get_state()
    np.random.set_state(np.random.RandomState(int(rng.integers(2**32))).get_state())
    try:
        yield
    finally:
        np.random.set_state(saved)


def draw(method: Callable[..., Any], rng: np.random.Generator, *arguments: Any) -> Any:
    """Call a sampling method, with `rng` where its signature has one."""
    if "rng" in inspect.signature(method).parameters:
        return method(*arguments, rng=rng)
    with seeded_numpy(rng):
        return method(*arguments)


def random_point(manifold: Any, rng: np.random.Generator) -> Any:
    """A random point; of a product, factor by factor, because a factor may take a generator."""
    if hasattr(manifold, "manifolds"):
        return [random_point(factor, rng) for factor in manifold.manifolds]
    return draw(manifold.random_point, rng)


def random_tangent_vector(manifold: Any, point: Any, rng: np.random.Generator) -> Any:
    """A random tangent vector of any length; zero where the manifold is of dimension zero."""
    if manifold.dim == 0:
        return manifold.zero_vector(point)
    if hasattr(manifold, "manifolds"):
        factors = zip(manifold.manifolds, point, strict=True)
        return as_tangent(manifold, point, [random_tangent_vector(factor, part, rng) for factor, part in factors])
    return draw(manifold.random_tangent_vector, rng, point)


def unit_vector(manifold: Any, point: Any, rng: np.random.Generator) -> Any:
    """A random tangent vector of length 1; zero where the manifold is of dimension zero."""
    vector = random_tangent_vector(manifold, point, rng)
    length = norm(manifold, point, vector)
    return vector / length if length > 0 else vector


def gaussian(like: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A Gaussian array of the shape and type, complex if it is."""
    array = rng.standard_normal(like.shape)
    if np.iscomplexobj(like):
        array = array + 1j * rng.standard_normal(like.shape)
    return array.astype(like.dtype)


def ambient_vector(point: Any, rng: np.random.Generator) -> Any:
    """A Gaussian vector of the point's layout, not tangent."""
    return mapped(lambda leaf: gaussian(leaf, rng), point)


def random_unitary(shape: tuple[int, ...], rng: np.random.Generator, *, complex_entries: bool = False) -> np.ndarray:
    """Orthogonal or unitary matrices (..., n, n), uniform in the sense of Haar.

    Source: F. Mezzadri, How to generate random matrices from the classical compact groups, 2007.
    """
    like = np.zeros(shape, dtype=complex if complex_entries else float)
    Q, R = np.linalg.qr(gaussian(like, rng))
    diagonal = np.diagonal(R, axis1=-2, axis2=-1)
    return Q * (diagonal / np.abs(diagonal))[..., None, :]


def perturbed(point: Any, rng: np.random.Generator) -> Any:
    """The point with a relative error of a few units of rounding in each entry."""
    return mapped(lambda leaf: leaf * (1 + 4 * np.finfo(leaf.dtype).eps * rng.standard_normal(leaf.shape)), point)


def is_finite(value: Any) -> bool:
    """Whether every entry is finite."""
    return all(bool(np.all(np.isfinite(leaf))) for leaf in leaves(value))
