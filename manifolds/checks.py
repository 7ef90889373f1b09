"""Numerical checks of manifolds, retractions, gradients, Hessians and symmetries, for any pymanopt manifold or problem.

Each check returns a `CheckReport`: `report.passed` for programs, `print(report)` for people, `report.plot(axes)` for a
look at the remainders. They take the place of `pymanopt.tools.diagnostics`, which prints and plots and leaves the
verdict to the eye. The verdict here is a comparison with extrapolated numerical derivatives that know their own
uncertainty (manifolds.checking.differences), in relative terms throughout.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pymanopt import Problem
from pymanopt.manifolds.manifold import Manifold

from manifolds.checking.curves import Curve
from manifolds.checking.derivatives import gradient_checks, hessian_checks
from manifolds.checking.invariance import invariance_checks
from manifolds.checking.laws import law_checks
from manifolds.checking.places import Place
from manifolds.checking.reports import Check, CheckReport, combined
from manifolds.checking.retractions import Arc, retraction_checks
from manifolds.checking.sampling import as_generator, random_point, unit_vector
from manifolds.checking.sites import Site
from manifolds.checking.symmetries import custom_symmetry, default_symmetries
from manifolds.checking.trial import trial_problem
from manifolds.checking.vectors import as_tangent, norm, precision, same_layout

__all__ = ["Check", "CheckReport", "check_gradient", "check_hessian", "check_invariance", "check_manifold"]
__all__ += ["check_retraction"]

PLACES = 2  # random places at which a manifold is looked at
TANGENT = 1e-6  # relative, of the part of a caller's tangent vector that is not tangent


def check_manifold(manifold: Any, *, rng: Any = None) -> CheckReport:
    """Whether a manifold keeps the laws of Riemannian geometry, as far as it implements them.

    Metric, projection, zero vector; exp, log and distance (lengths, constant speed, inverses, triangle inequality);
    midpoints; transports; the retraction to first order; and the conversion of gradients and Hessians, on a quadratic
    cost that is the same for all representatives of a point.

    Args:
        manifold: a pymanopt manifold.
        rng: numpy Generator, a seed, or None for fresh entropy.

    Raises:
        TypeError: not a manifold, or not a generator.

    Source: N. Boumal, An introduction to optimization on smooth manifolds, 2023.
    """
    require(manifold, Manifold, "manifold")
    rng = as_generator(rng)
    places = [Place.random(manifold, rng) for _ in range(PLACES)]

    def checks() -> Iterator[Check]:
        yield from law_checks(places)
        yield from attempt("retraction", lambda: retraction_checks(Arc(manifold, manifold.retraction, p.x, p.u, rng)))
        site = Site(trial_problem(manifold, p.x, rng), p.x, rng)
        yield from attempt("gradient", lambda: gradient_checks(site))
        if same_layout(p.x, manifold.embedding(p.x, p.u)):
            yield from attempt("Hessian", lambda: hessian_checks(site))

    p = places[0]
    return combined(f"check_manifold on {manifold}", checks())


def check_retraction(manifold: Any, *, rng: Any = None, retraction: Curve | None = None) -> CheckReport:
    """Whether a retraction is one: R(x, 0) = x, and R(x, t v) leaves x with velocity v.

    The measure is e(t) = dist(exp(x, t v), R(x, t v)), which shrinks like t^2 for a retraction and like t^3 for one of
    second order; at the noise of the distance for all t, R is the exponential map. Without a distance the arrays are
    compared, and without an exponential map R(x, t v) with x + t v. That R(x, v) is on the manifold is asked of
    `is_point`, or seen from the projection at R(x, v) being one.

    Args:
        manifold: a pymanopt manifold.
        rng: numpy Generator, a seed, or None for fresh entropy.
        retraction: a function (point, tangent_vector) -> point to be checked instead of `manifold.retraction`.

    Raises:
        TypeError: not a manifold, a generator or a function.

    Source: P.-A. Absil, R. Mahony, R. Sepulchre, Optimization algorithms on matrix manifolds, 2008, section 4.1.
    """
    require(manifold, Manifold, "manifold")
    curve, rng = function_or(retraction, manifold.retraction, "retraction"), as_generator(rng)

    def checks() -> Iterator[Check]:
        for i in range(PLACES):
            point = random_point(manifold, rng)
            yield from retraction_checks(
                Arc(manifold, curve, point, unit_vector(manifold, point, rng), rng), f" {i + 1}"
            )

    return combined(f"check_retraction on {manifold}", checks())


def check_gradient(problem: Any, *, point: Any = None, tangent_vector: Any = None, rng: Any = None) -> CheckReport:
    """Whether the Riemannian gradient is that of the cost: tangent, and <grad f, v> = d/dt f(exp(x, t v)) at t = 0.

    The derivative is extrapolated from central differences, in the direction of the gradient and in random ones; an
    error of 1e-6 of the gradient's length, plus what rounding explains, is let pass. The remainder f(exp(x, t v)) -
    f(x) - t <grad f, v> has to shrink like t^2. Without an exponential map the retraction takes its place.

    Args:
        problem: a pymanopt Problem with a gradient.
        point: where; random if not given.
        tangent_vector: a further direction at `point`.
        rng: numpy Generator, a seed, or None for fresh entropy.

    Raises:
        TypeError: not a problem, or not a generator.
        ValueError: no gradient, or a tangent vector that is zero, not tangent or has no point.

    Source: N. Boumal, An introduction to optimization on smooth manifolds, 2023, section 4.8.
    """
    site = site_of(problem, point, tangent_vector, rng)
    return combined(f"check_gradient on {problem.manifold}", gradient_checks(site))


def check_hessian(problem: Any, *, point: Any = None, tangent_vector: Any = None, rng: Any = None) -> CheckReport:
    """Whether the Riemannian Hessian is that of the cost: <Hess f[v], v> = d^2/dt^2 f(exp(x, t v)) at t = 0.

    It has to be tangent, linear and symmetric besides, and the remainder of the quadratic model to shrink like t^3. An
    error of 1e-5 of |Hess f[v]|, plus what rounding explains, is let pass. Without an exponential map the retraction
    takes its place, which is right if it is of second order.

    Args:
        problem: a pymanopt Problem with a Hessian.
        point: where; random if not given.
        tangent_vector: a further direction at `point`.
        rng: numpy Generator, a seed, or None for fresh entropy.

    Raises:
        TypeError: not a problem, or not a generator.
        ValueError: no Hessian, or a tangent vector that is zero, not tangent or has no point.

    Source: N. Boumal, An introduction to optimization on smooth manifolds, 2023, section 6.8.
    """
    site = site_of(problem, point, tangent_vector, rng)
    return combined(f"check_hessian on {problem.manifold}", hessian_checks(site))


def check_invariance(
    problem: Any, *, action: Callable[[Any, np.random.Generator], Any] | None = None, point: Any = None, rng: Any = None
) -> CheckReport:
    """Whether the cost is a function of the point and not of its representative: f(X Q) = f(X).

    By default Q runs through random orthogonal matrices of both determinants and changes of sign, on manifolds that
    store a subspace or a matrix X X^T by X, and through unitary ones in the complex case; the gradient then has to
    turn with the point, grad f(X Q) = grad f(X) Q. An error of 1e-10 of the spread of the cost over random points,
    plus its noise, is let pass.

    Args:
        problem: a pymanopt Problem.
        action: a function (point, rng) that returns another representative of the point.
        point: one of the points to look at; random if not given.
        rng: numpy Generator, a seed, or None for fresh entropy.

    Raises:
        TypeError: not a problem, a generator or a function.
        ValueError: no action is given, and none is known for the manifold.

    Source: N. Boumal, An introduction to optimization on smooth manifolds, 2023, chapter 9.
    """
    require(problem, Problem, "problem")
    rng = as_generator(rng)
    if action is None:
        symmetries = default_symmetries(problem.manifold)
    else:
        symmetries = [custom_symmetry(function_or(action, None, "action"))]
    return combined(f"check_invariance on {problem.manifold}", invariance_checks(problem, symmetries, point, rng))


def site_of(problem: Any, point: Any, tangent_vector: Any, rng: Any) -> Site:
    """The place of a derivative check, its arguments checked."""
    require(problem, Problem, "problem")
    rng = as_generator(rng)
    if tangent_vector is not None:
        if point is None:
            raise ValueError("tangent_vector needs the point that it is tangent at: give point too")
        length = norm(problem.manifold, point, tangent_vector)
        if not (np.isfinite(length) and length > 0):
            raise ValueError(f"tangent_vector must have a finite length > 0, got {length}")
        require_tangent(problem.manifold, point, tangent_vector, rng)
    return Site(problem, random_point(problem.manifold, rng) if point is None else point, rng, tangent_vector)


def require_tangent(manifold: Any, point: Any, vector: Any, rng: np.random.Generator) -> None:
    """Raise ValueError where to_tangent_space changes the vector, unless it changes random tangent vectors too."""

    def defect(tangent: Any) -> float:
        tangent = as_tangent(manifold, point, tangent)
        projected = as_tangent(manifold, point, manifold.to_tangent_space(point, tangent))
        return norm(manifold, point, projected - tangent) / norm(manifold, point, tangent)

    bound = max(TANGENT, 1e3 * precision(point, vector))
    try:
        if manifold.dim > 0 and defect(unit_vector(manifold, point, rng)) <= bound < (error := defect(vector)):
            raise ValueError(f"tangent_vector must be tangent at the point: {error:.2g} of its length is not")
    except NotImplementedError:
        return


def attempt(name: str, checks: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """The checks under a prefix; none where the manifold lacks a method, a failure where it raises."""
    try:
        for check in checks():
            yield check.named(f"{name}: {check.name}")
    except NotImplementedError:
        return
    except Exception as error:  # a checker reports what a manifold raises, whatever it is
        if not isinstance(error.__cause__, NotImplementedError):
            yield Check(name, "can be evaluated", np.nan, 0.0, False, meaning=f"{type(error).__name__}: {error}.")


def require(value: Any, kind: type, name: str) -> None:
    """Raise TypeError unless `value` is of the kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a pymanopt {kind.__name__}, got {type(value).__name__}")


def function_or(value: Any, default: Any, name: str) -> Any:
    """`value`, which has to be a function, or the default for None."""
    if value is None:
        return default
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value).__name__}")
    return value
