"""Curves of subspaces: geodesics, retractions and their inverses, parallel transport.

With D = U diag(sigma) V^T (thin SVD, U^T X = 0) every curve here turns X V toward U, by an angle a(sigma) a plane:

    Y = X V cos(a) V^T + U sin(a) V^T,    a = sigma (exponential),  arctan sigma (polar),  2 arctan(sigma / 2) (Cayley).

So X^T Y = V cos(a) V^T is symmetric: Y is the representative of its subspace that is aligned with X, the one nearest
to X while a < pi/2. The inverse takes angles to sigma. cos(a) and sin(a)/sigma are smooth functions of sigma^2, the
eigenvalues of D^T D: for vectors of moderate length the Gram matrix gives Y to rounding, long ones take QR and SVD.

Sources: A. Edelman, T. Arias, S. Smith, The geometry of algorithms with orthogonality constraints, 1998;
T. Bendokat, R. Zimmermann, P.-A. Absil, A Grassmann manifold handbook, 2024.
All arrays may carry leading batch axes: X, Y, D (..., m, n).
"""

import math
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from manifolds.arguments import number, precision, quiet, warn_caller
from manifolds.spectral import orthogonal_factor, singular_function
from manifolds.subspaces import is_aligned, norm, orthonormal_basis, polar_factor, polish, project_out_once

__all__ = ["METHODS", "CutLocusWarning", "advance", "invert", "parallel_transport", "projection_transport"]

METHODS = ("polar", "qr", "cayley", "exponential")
LONGEST = 10.0  # largest sigma^2 that the Gram matrix is trusted with, about pi^2


class CutLocusWarning(RuntimeWarning):
    """Two subspaces have a right angle between them, so that more than one shortest geodesic joins them."""


@dataclass(frozen=True)
class Polar:
    """Singular vectors and values of D: `basis` @ `left` / `scale` are the left, `right` the right vectors."""

    basis: Any
    left: Any
    scale: Any
    sigma: Any
    right: Any

    def even(self, values: Any) -> Any:
        """V diag(values) V^T."""
        return (self.right * values[..., None, :]) @ self.right.mT

    def odd(self, values: Any) -> Any:
        """The (n, n) matrix S for which `basis` @ S = U diag(values) V^T."""
        return (self.left * (values / self.scale)[..., None, :]) @ self.right.mT


def polar_form(vector: Any) -> Polar:
    """Singular values and vectors of D, from D^T D where sigma^2 <= LONGEST, else from QR and the SVD of R.

    Raises:
        ValueError: NaN or infinite entries.
    """
    xp = array_namespace(vector)
    gram = vector.mT @ vector
    if math.isfinite(number(xp.sum(gram))):
        squares, V = xp.linalg.eigh(gram)
        if number(xp.max(squares)) <= LONGEST:
            sigma = xp.sqrt(squares.clip(1e-36))  # no division by 0, and no square of it that underflows
            return Polar(vector, V, sigma, sigma, V)
    if not bool(xp.all(xp.isfinite(vector))):
        raise ValueError("tangent_vector has NaN or infinite entries: there is no curve in its direction")
    Q, R = xp.linalg.qr(vector)
    left, sigma, Vt = xp.linalg.svd(R, full_matrices=False)
    return Polar(Q, left, xp.ones_like(sigma), sigma, Vt.mT)


@quiet
def advance(point: Any, vector: Any, method: str) -> Any:
    """The point reached from X along D by the exponential map or a retraction.

    Args:
        point: X with orthonormal columns.
        vector: D with X^T D = 0.
        method: one of METHODS. "qr" is the subspace of "polar", span(X + D), with another representative: the Q of a QR
            factorisation with positive diagonal.

    Raises:
        ValueError: an unknown method, NaN or infinite entries, or a vector so long that X + D has no full rank.
    """
    check_method(method)
    if method in ("polar", "qr"):
        factor = polar_factor if method == "polar" else orthonormal_basis
        try:
            return factor(point + vector)
        except ValueError as error:
            raise ValueError(f"point + tangent_vector cannot be retracted by {method!r}: {error}") from error
    xp, form = array_namespace(point, vector), polar_form(vector)
    angle = form.sigma if method == "exponential" else 2.0 * xp.atan(0.5 * form.sigma)
    return turn(point, form, angle)


def turn(point: Any, form: Polar, angle: Any) -> Any:
    """X V cos(a) V^T + U sin(a) V^T, polished so that defects of X do not add up over many steps."""
    xp = array_namespace(point)
    moved = point @ form.even(xp.cos(angle))
    moved += form.basis @ form.odd(xp.sin(angle))
    return polish(moved)


@quiet
def invert(start: Any, end: Any, method: str) -> Any:
    """The tangent vector D at `start` whose curve of the given method arrives at the subspace of `end`.

    With start^T end = U diag(cos theta) W^T the part of end W outside start has columns of length sin theta, so
    D = (I - X X^T) Y W diag(sigma(theta) / sin theta) U^T, sigma = theta, tan theta (polar and QR) or
    2 tan(theta / 2) (Cayley). The factors are smooth functions of the cosines: clustered angles need no separating.

    Raises:
        ValueError: an unknown method, NaN or infinite entries, or a right angle that the polar retraction cannot reach.
    """
    check_method(method)
    cosines = start.mT @ end
    if not math.isfinite(number(norm(cosines))):
        raise ValueError("start or end has NaN or infinite entries: no tangent vector leads from one to the other")
    outside = project_out_once(start, end - start @ cosines)
    return outside @ invert_stretch(cosines, method)


def invert_stretch(cosines: Any, method: str) -> Any:
    """W diag(sigma(theta) / sin theta) U^T for start^T end = U diag(cos theta) W^T.

    Warns of the cut locus, or raises where no vector of finite length leads to a right angle.
    """
    xp = array_namespace(cosines)
    U, c, Wt = xp.linalg.svd(cosines, full_matrices=False)
    c = c.clip(0.0, 1.0)
    if number(xp.min(c)) <= precision(c) * c.shape[-1]:
        _at_right_angle(method)
    return singular_function(cosines, (U, c, Wt), *_stretch(c, method)).mT


def _stretch(c: Any, method: str) -> tuple[Any, Any]:
    """sigma(theta) / sin theta as a function of c = cos theta, and its derivative."""
    if method in ("polar", "qr"):
        return 1.0 / c, -1.0 / (c * c)
    if method == "cayley":
        return 2.0 / (1.0 + c), -2.0 / (1.0 + c) ** 2
    xp = array_namespace(c)
    squares = (1.0 - c) * (1.0 + c)
    s = xp.sqrt(xp.where(squares > 0, squares, 1.0))
    stretch = xp.where(squares > 0, xp.atan2(s, c) / s, 1.0)
    return stretch, xp.where(squares > 1e-4, (c * stretch - 1.0) / (s * s), -1.0 / 3.0)


def _at_right_angle(method: str) -> None:
    if method in ("polar", "qr"):
        raise ValueError(
            f"end is at a right angle to start: no vector of finite length reaches it by method {method!r}"
        )
    warn_caller(
        "start and end have a right angle between them (cut locus): one of several shortest geodesics is returned",
        CutLocusWarning,
    )


def check_method(method: str) -> None:
    """Raise ValueError unless `method` is one of METHODS."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, got {method!r}")


@quiet
def parallel_transport(start: Any, direction: Any, vector: Any) -> Any:
    """H carried parallel along exp(start, t D), t from 0 to 1, to the representative that `advance` returns.

    With D = U diag(sigma) V^T:  H + U (cos sigma - 1) U^T H - X V sin(sigma) U^T H.

    Source: Edelman, Arias, Smith (1998), theorem 2.4.
    """
    xp, form = array_namespace(start, direction, vector), polar_form(direction)
    inside = form.left.mT @ (form.basis.mT @ vector)  # U^T H times the scale
    half = xp.sin(0.5 * form.sigma) / form.scale
    towards = (form.left * (-2.0 * half * half)[..., None, :]) @ inside
    back = (form.right * (xp.sin(form.sigma) / form.scale)[..., None, :]) @ inside
    return vector + form.basis @ towards - start @ back


def projection_transport(start: Any, end: Any, vector: Any) -> Any:
    """(I - Y Y^T) H M with M the orthogonal polar factor of X^T Y, which turns H to the representative `end`.

    X M is the representative of span(X) nearest to Y, and H M the same tangent vector there. For a retraction's
    aligned representative X^T Y is symmetric positive definite, M = I, and nothing is turned.
    """
    overlap = start.mT @ end
    if not is_aligned(overlap):
        vector = vector @ orthogonal_factor(overlap)
    return project_out_once(end, vector)
