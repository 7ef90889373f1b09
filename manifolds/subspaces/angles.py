"""Principal angles between subspaces and the distances made of them, accurate from 1e-16 to pi/2.

An angle is computed from its sine below pi/4 and from its cosine above, because arccos loses half the digits of a small
angle and arcsin those of one near pi/2.

Source: A. Bjoerck, G. Golub, Numerical methods for computing angles between linear subspaces, 1973.
"""

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace, device

from manifolds.arguments import check_dtype, number, precision, quiet
from manifolds.subspaces.bases import norm, project_out

__all__ = [
    "PrincipalVectors",
    "distance_of_cosines",
    "geodesic_distance",
    "is_aligned",
    "principal_angles",
    "principal_vectors",
    "subspace_distance",
]

METRICS = ("geodesic", "chordal", "projection", "procrustes")
HALF = math.sqrt(0.5)


class PrincipalVectors(NamedTuple):
    """Principal angles, ascending, and the orthonormal vectors of each subspace that enclose them."""

    angles: Any
    first: Any
    second: Any


@quiet
def principal_angles(first: Any, second: Any) -> Any:
    """Principal angles between span(`first`) and span(`second`), ascending, in radians.

    Args:
        first: (m, p) array of full column rank, numpy or torch.
        second: (m, r) array of full column rank of the same kind.

    Returns:
        (min(p, r),) array of angles in [0, pi/2].

    Raises:
        ValueError: the arrays are not matrices with equally many rows, or have more columns than rows.

    Source: A. Bjoerck, G. Golub, Numerical methods for computing angles between linear subspaces, 1973.
    """
    _check_pair(first, second)
    xp = array_namespace(first, second)
    return angles_of_bases(xp.linalg.qr(first)[0], xp.linalg.qr(second)[0])


@quiet
def principal_vectors(first: Any, second: Any) -> PrincipalVectors:
    """Principal angles and vectors: orthonormal F in the first span and G in the second with F^T G = diag(cos angles).

    The pairs come from the SVD of the cosines; those below pi/4, which it cannot tell apart where cosines agree to
    rounding, are then separated by the SVD of their sines, so that (I - F F^T) G has orthogonal columns of length sin
    angles.

    Args:
        first: (m, p) array of full column rank, numpy or torch.
        second: (m, r) array of full column rank of the same kind.

    Returns:
        Angles (min(p, r),), F and G (m, min(p, r)).

    Raises:
        ValueError: the arrays are not matrices with equally many rows, or have more columns than rows.
    """
    _check_pair(first, second)
    xp = array_namespace(first, second)
    U, V = xp.linalg.qr(first)[0], xp.linalg.qr(second)[0]
    left, cosines, right = xp.linalg.svd(U.mT @ V, full_matrices=False)
    F, G = U @ left, V @ right.mT
    near = int(xp.count_nonzero(cosines > HALF))
    angles = xp.acos(cosines.clip(0.0, 1.0))
    if near:
        _, sines, turn = xp.linalg.svd(project_out(U, G[:, :near]), full_matrices=False)
        turn = xp.flip(turn.mT, axis=1)
        small = xp.asin(xp.flip(sines, axis=0).clip(0.0, 1.0))
        angles = xp.concat([small, angles[near:]])
        F = xp.concat([F[:, :near] @ turn, F[:, near:]], axis=1)
        G = xp.concat([G[:, :near] @ turn, G[:, near:]], axis=1)
    return PrincipalVectors(angles, F, G)


@quiet
def subspace_distance(first: Any, second: Any, metric: str = "geodesic") -> Any:
    """Distance of the spans of two matrices with orthonormal columns, from their principal angles theta.

    Args:
        first: (m, p) array with orthonormal columns, numpy or torch.
        second: (m, r) array with orthonormal columns. Where p != r, the min(p, r) angles that exist count.
        metric: "geodesic": sqrt(sum theta^2), in radians; "chordal": sqrt(sum sin^2 theta) = ||P - P'||_F / sqrt(2);
            "projection": max sin theta = ||P - P'||_2; "procrustes": 2 sqrt(sum sin^2(theta / 2)) = min over
            orthogonal Q of ||U - V Q||_F. The two forms in P hold for p = r.

    Returns:
        The distance, a scalar array; exactly 0 for two equal arrays.

    Raises:
        ValueError: wrong shapes, an unknown metric, NaN or infinity.

    Source: A. Edelman, T. Arias, S. Smith, The geometry of algorithms with orthogonality constraints (1998), 4.3.
    """
    _check_pair(first, second)
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(map(repr, METRICS))}, got {metric!r}")
    xp = array_namespace(first, second)
    if min(first.shape[1], second.shape[1]) == 0 or (first.shape == second.shape and bool(xp.all(first == second))):
        return xp.abs(0.0 * xp.sum(first[:1]))
    if metric == "geodesic":
        return geodesic_distance(first, second)
    if metric == "procrustes":
        return 2.0 * norm(xp.sin(0.5 * angles_of_bases(first, second)))
    sines = xp.sin(angles_of_bases(first, second))
    return norm(sines) if metric == "chordal" else xp.max(sines)


@quiet
def geodesic_distance(U: Any, V: Any, *, roundings: float = 2.0) -> Any:
    """sqrt(sum theta^2) over all principal angles of orthonormal bases (..., m, p), (..., m, r), with few flops.

    The sum forgives what single angles do not: theta^2 is a smooth function of cos theta, so cosines right to eps
    give it to 2 eps each, enough unless the sum is small: `roundings` is the relative error in eps that is accepted of
    them. It is a smooth function of sin^2 theta below pi/4, so there the sines give it to full relative accuracy.
    """
    if V.shape[-1] > U.shape[-1]:
        U, V = V, U
    cosines = U.mT @ V
    distance = distance_of_cosines(cosines, roundings=roundings)
    if distance is not None:
        return distance
    if _squared_chord(cosines) <= 0.5:
        return _near_distance(U, V, cosines)
    xp = array_namespace(U, V)
    sines, values = _squared_sines(V - U @ cosines), xp.linalg.svdvals(cosines).clip(0.0, 1.0)
    return norm(xp.where(sines <= 0.5, xp.asin(xp.sqrt(sines)), xp.acos(values)))


def distance_of_cosines(cosines: Any, *, roundings: float = 2.0) -> Any:
    """`geodesic_distance` from U^T V (..., p, r) alone; None where more than `roundings` would be lost of it.

    Raises:
        ValueError: the cosines are not finite.
    """
    chord, count = _squared_chord(cosines), _angles(cosines)
    if not math.isfinite(chord):
        raise ValueError("a point has NaN or infinite entries: there is no distance")
    if chord <= 0.5 and count > roundings * chord:  # chord^2 is the distance^2 but for terms of fourth order
        return None
    xp = array_namespace(cosines)
    distance = norm(xp.acos(xp.linalg.svdvals(cosines).clip(0.0, 1.0)))
    return distance if count <= roundings * number(distance) ** 2 else None


def _angles(cosines: Any) -> int:
    """How many principal angles there are."""
    return math.prod(cosines.shape[:-2]) * min(cosines.shape[-2:])


def _squared_chord(cosines: Any) -> float:
    """The sum of sin^2 theta; where it is at most 1/2, every angle is below pi/4."""
    return _angles(cosines) - number(norm(cosines)) ** 2


def _near_distance(U: Any, V: Any, cosines: Any) -> Any:
    """The distance where every angle is below pi/4.

    The sines are the singular values of V - U U^T V. Their squared norm is the sum of theta^2 but for
    theta^2 - sin^2 theta, of fourth order, for which sin^2 theta from the cosines, right to eps, is enough. Where V is
    aligned with U, U^T V = V^T U > 0, the same holds of V - U, which needs no projection, and 2 sin(theta / 2). Below
    sqrt(eps) theta = sin theta to rounding.
    """
    xp = array_namespace(U, V)
    aligned = U.shape == V.shape and is_aligned(cosines)
    outside = V - U if aligned else V - U @ cosines
    total = norm(outside)
    if number(total) ** 2 <= precision(total):
        same = U.shape == V.shape and bool(xp.all(U == V))
        return 0.0 * total if same else norm(project_out(U, outside))
    identity = xp.eye(cosines.shape[-1], dtype=cosines.dtype, device=device(cosines))
    gram = 2.0 * identity - cosines - cosines.mT if aligned else identity - cosines.mT @ cosines
    squares = xp.linalg.eigvalsh(gram).clip(0.0, 1.0)
    angles = 2.0 * xp.asin(0.5 * xp.sqrt(squares)) if aligned else xp.asin(xp.sqrt(squares))
    return xp.sqrt(total**2 + xp.sum(angles**2 - squares))


def is_aligned(cosines: Any) -> bool:
    """True where X^T Y is symmetric to rounding and positive definite, so that Y is its span's basis nearest to X."""
    skew = cosines - cosines.mT
    if number(norm(skew)) > 8 * precision(cosines) * cosines.shape[-1]:
        return False
    xp = array_namespace(cosines)
    try:
        xp.linalg.cholesky(cosines)
    except (ValueError, RuntimeError):  # numpy's and torch's LinAlgError
        return False
    return True


def _squared_sines(outside: Any) -> Any:
    """Eigenvalues of E^T E, ascending."""
    xp = array_namespace(outside)
    return xp.linalg.eigvalsh(outside.mT @ outside).clip(0.0, 1.0)


def angles_of_bases(U: Any, V: Any) -> Any:
    """All principal angles of orthonormal bases (m, p), (m, r), each to full accuracy, ascending."""
    xp = array_namespace(U, V)
    if V.shape[-1] > U.shape[-1]:
        U, V = V, U
    if V.shape[-1] == 0:
        return U[0, :0]
    sines = xp.flip(xp.linalg.svdvals(project_out(U, V)), axis=-1)
    small = xp.asin(sines.clip(0.0, 1.0))
    if number(sines.max()) <= HALF:
        return small
    large = xp.acos(xp.linalg.svdvals(U.mT @ V).clip(0.0, 1.0))
    return xp.where(sines <= HALF, small, large)


def _check_pair(first: Any, second: Any) -> None:
    for name, basis in (("first", first), ("second", second)):
        check_dtype(basis, name)
        if basis.ndim != 2 or basis.shape[1] > basis.shape[0]:
            raise ValueError(f"{name} must be (m, p) with p <= m, got shape {tuple(basis.shape)}")
        if not bool(array_namespace(basis).all(array_namespace(basis).isfinite(basis))):
            raise ValueError(f"{name} has NaN or infinite entries")
    if first.shape[0] != second.shape[0]:
        raise ValueError(f"first and second must have equally many rows, got {first.shape[0]} and {second.shape[0]}")
