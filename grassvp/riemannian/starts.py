"""Where a run starts: a random point, or a given one that is checked."""

from typing import Any

import numpy as np

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.riemannian.evaluator import is_finite
from grassvp.riemannian.optimizers import global_generator, takes_generator

__all__ = ["check_point", "generator_of", "random_point"]

OFF_MANIFOLD = 1e-6  # relative change by a retraction of the zero vector that tells a point off the manifold


def generator_of(rng: Any) -> np.random.Generator:
    """A Generator from a Generator, a seed or None.

    A seed gives a stream of its own: targets that a caller drew from the same seed must not be the starting point.
    """
    try:
        if isinstance(rng, int | np.integer) and not isinstance(rng, bool):
            return np.random.default_rng(np.random.SeedSequence(int(rng), spawn_key=(2,)))
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"rng must be an integer >= 0, a numpy Generator or None, got {rng!r}") from error


def random_point(manifold: Any, rng: np.random.Generator) -> Any:
    """`manifold.random_point(rng)` where it takes a generator, pymanopt's own otherwise."""
    if takes_generator(manifold):
        return manifold.random_point(rng)
    with global_generator(rng):
        return manifold.random_point()


def check_point(manifold: Any, point: Any) -> Any:
    """A copy of `point` in float64, checked to lie on the manifold.

    Raises:
        ArgumentError: another layout or shape than the manifold's points, NaN, or a point off the manifold.
        ArgumentTypeError: not numbers.
    """
    point = _numbers(point)
    expected = random_point(manifold, np.random.default_rng(0))
    if _shapes(point) != _shapes(expected):
        raise ArgumentError(f"initial_point must have shape {_shapes(expected)}, got {_shapes(point)}")
    if not is_finite(point):
        raise ArgumentError("initial_point has NaN or infinite entries")
    try:
        if hasattr(manifold, "check_point"):
            manifold.check_point(point)
        else:
            _check_retraction(manifold, point)
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"initial_point is not on the {manifold}: {error}") from error
    return point


def _numbers(value: Any) -> Any:
    """Arrays of float64 (or complex) numbers in the same nesting of lists and tuples."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, list | tuple) and any(np.ndim(part) > 0 for part in value):
        parts = [_numbers(part) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    try:
        array = np.array(value)
    except ValueError as error:
        raise ArgumentTypeError(f"initial_point must be an array or a list of arrays: {error}") from error
    if array.dtype.kind not in "fiuc":
        raise ArgumentTypeError(f"initial_point must hold numbers, got an array of dtype {array.dtype}")
    return array if array.dtype.kind == "c" else array.astype(np.float64)


def _shapes(point: Any) -> Any:
    return [_shapes(part) for part in point] if isinstance(point, list | tuple) else np.shape(point)


def _check_retraction(manifold: Any, point: Any) -> None:
    """Raise ValueError where retracting the zero vector moves the point: then it was not on the manifold."""
    if not isinstance(point, np.ndarray):
        if isinstance(point, list) and hasattr(manifold, "manifolds"):
            for factor, part in zip(manifold.manifolds, point, strict=True):
                _check_retraction(factor, part)
        return
    try:
        again = manifold.retraction(point, manifold.zero_vector(point))
    except NotImplementedError:
        return
    moved = float(np.linalg.norm(again - point))
    if moved > OFF_MANIFOLD * (1.0 + float(np.linalg.norm(point))) and not _same_subspace(again, point):
        raise ValueError(f"a retraction of the zero vector moves it by {moved:.3g}")


def _same_subspace(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two points differ by an orthogonal change of basis only, which is no change on quotient manifolds."""
    if first.ndim < 2:
        return False
    difference = first @ np.swapaxes(first, -1, -2).conj() - second @ np.swapaxes(second, -1, -2).conj()
    return float(np.linalg.norm(difference)) <= OFF_MANIFOLD * (1.0 + float(np.linalg.norm(second)) ** 2)
