"""Gradient and Hessian of a pymanopt problem against numerical derivatives of its cost along curves.

Every error is relative to the size of the gradient or Hessian, or of the change of the cost within a quarter of a
unit step where that is larger, so that the verdict does not depend on the units of the cost. Where both vanish, at a
critical point of a flat cost, what is left is rounding, and only that is allowed for.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifolds.checking.differences import FIRST_STEP, Estimate, Samples, remainder_slope
from manifolds.checking.reports import Check, at_least, at_most
from manifolds.checking.sampling import is_finite
from manifolds.checking.sites import Site
from manifolds.checking.vectors import inner

__all__ = ["gradient_checks", "hessian_checks"]

ALGEBRAIC = 1e-7  # relative, of laws that hold exactly: tangency, linearity, symmetry
FIRST, SECOND = 1e-6, 1e-5  # relative, of derivatives that are compared with numerical ones
FIRST_KNOWN, SECOND_KNOWN = 1e-4, 1e-3  # relative uncertainty above which a numerical derivative decides nothing
SLOPE_SLACK = 0.3
RUN, RUN_OF_RIGHT = 5, 9  # errors that a slope needs, and where the derivative is right
NOISE = 8  # a remainder has several rounding errors, and their size is an estimate

UNMEASURED = "It cannot be measured: the cost is too noisy, or not smooth, along this direction."


def gradient_checks(site: Site) -> Iterator[Check]:
    """That the gradient is tangent, and its products with tangent vectors the derivatives of the cost."""
    unusable = [*finite_checks(site), *finite_check("gradient", site.gradient)]
    if unusable:
        yield from unusable
        return
    gradient, directions = site.gradient, dict(site.directions)
    length = site.length(gradient)
    if directions and length > site.rounding:
        directions["gradient"] = gradient / length
    yield start_check(site, length)
    yield from tangency_check(site, "gradient", gradient)
    for name, vector in directions.items():
        samples, product = site.along(name, vector), inner(site.manifold, site.point, gradient, vector)
        scale = Scale(length, site.variation, site.noise, FIRST, FIRST_KNOWN)
        known = samples.first()
        check = derivative_check(site, f"derivative, {name}", ("<grad f, v>", "d/dt f"), product, known, scale)
        yield check
        errors = np.abs(samples.ahead - samples.here - product * samples.steps)
        floor = NOISE * samples.noise + allowed(check, product, known) * samples.steps
        yield taylor_check(
            f"remainder, {name}", "f({}) - f(x) - t <grad f, v> = O(t^2)", 2, site, samples, errors, floor, check
        )


def hessian_checks(site: Site) -> Iterator[Check]:
    """That the Hessian is a symmetric linear map of tangent vectors and the second derivative of the cost."""
    images = {name: site.hessian(vector) for name, vector in site.directions.items()}
    unusable = [*finite_checks(site), *finite_check("Hessian", list(images.values()))]
    if unusable:
        yield from unusable
        return
    lengths = {name: site.length(image) for name, image in images.items()}
    yield start_check(site, 0.0)
    for name, image in itertools.islice(images.items(), 2):
        yield from tangency_check(site, f"Hessian, {name}", image)
    if images:
        yield linearity_check(site, images)
        yield symmetry_check(site, images)
    for name, vector in site.directions.items():
        samples, product = site.along(name, vector), inner(site.manifold, site.point, images[name], vector)
        scale = Scale(lengths[name], site.variation, site.noise, SECOND, SECOND_KNOWN)
        known = samples.first()
        statement = ("<Hess f[v], v>", "d^2/dt^2 f")
        second = samples.second()
        check = derivative_check(site, f"second derivative, {name}", statement, product, second, scale)
        yield check
        t = samples.steps
        errors = np.abs(samples.ahead - samples.here - known.value * t - 0.5 * product * t**2)
        floor = NOISE * samples.noise + known.uncertainty * t + 0.5 * allowed(check, product, second) * t**2
        model = "f({}) - f(x) - t f' - t^2/2 <Hess f[v], v> = O(t^3)"
        yield taylor_check(f"remainder, {name}", model, 3, site, samples, errors, floor, check)


def finite_checks(site: Site) -> Iterator[Check]:
    """Failures where the cost is NaN or infinite at the point or next to it; nothing where it is finite."""
    here = site.cost(site.point)
    if not math.isfinite(here):
        yield at_most("cost is finite", "|f(x)| < infinity", math.nan, 0.0, f"The cost at x is {here}.")
        return
    for name, vector in site.directions.items():
        step = FIRST_STEP * 2.0**-30
        try:
            values = [site.cost(site.curve[0](site.point, sign * step * vector)) for sign in (1.0, -1.0)]
        except ValueError:
            continue
        if not np.all(np.isfinite(values)):
            meaning = f"The cost is {values[0]} and {values[1]} at t = {step:.2g} and {-step:.2g}: x is at the end of "
            meaning += "its domain, or the cost is not defined along curves."
            statement = f"|f({site.curve[1]}(x, t v))| < infinity"
            yield at_most(f"cost is finite, {name}", statement, math.nan, 0.0, meaning)


def finite_check(name: str, value: Any) -> Iterator[Check]:
    """A failure where a derivative has entries that are NaN or infinite."""
    if not is_finite(value):
        meaning = f"The {name} has entries that are NaN or infinite."
        yield at_most(f"{name} is finite", "all entries are finite", math.nan, 0.0, meaning)


@dataclass(frozen=True)
class Scale:
    """What an error in a derivative is measured by."""

    length: float
    variation: float
    noise: float
    tolerance: float
    known: float

    @property
    def size(self) -> float:
        """Of the derivative, or of the change of the cost."""
        return max(self.length, self.variation)

    def unmeasured(self, estimate: Estimate) -> bool:
        """Whether the numerical derivative is too uncertain to decide; not so where all is noise about a constant."""
        only_noise = estimate.uncertainty <= self.noise and self.length <= 10 * estimate.uncertainty
        return not estimate.uncertainty <= self.known * self.size and not only_noise


def derivative_check(
    site: Site, name: str, sides: tuple[str, str], product: float, estimate: Estimate, scale: Scale
) -> Check:
    """A product with the gradient or Hessian against the numerical derivative, relative to the derivative's length."""
    symbol = site.curve[1]
    statement = f"{sides[0]} = {sides[1]}({symbol}(x, t v))"
    unit = scale.length or scale.size or 1.0
    if scale.unmeasured(estimate):
        return at_most(name, statement, estimate.uncertainty / (scale.size or 1.0), scale.known, UNMEASURED).failed()
    bound = max(scale.tolerance, 100 * site.eps) + 4 * estimate.uncertainty / unit
    meaning = f"The problem says {product:.9g}, the cost {estimate.value:.9g}: {accused(sides[0], symbol)}."
    return at_most(name, statement, abs(product - estimate.value) / unit, bound, meaning)


def allowed(check: Check, product: float, estimate: Estimate) -> float:
    """The error in a derivative that the remainder may show: what a check that passed has let pass."""
    return estimate.uncertainty + (abs(product - estimate.value) if check.passed else 0.0)


def accused(side: str, symbol: str) -> str:
    """What is wrong where a derivative disagrees."""
    if "grad" in side:
        return "the gradient is wrong, or not for the metric of the manifold"
    if symbol == "exp":
        return "the Hessian is wrong, or not for the connection of the manifold"
    return "the Hessian is wrong, or the retraction (the manifold has no exp) is not of second order"


def taylor_check(
    name: str,
    model: str,
    order: int,
    site: Site,
    samples: Samples,
    errors: np.ndarray,
    floor: np.ndarray,
    known: Check,
) -> Check:
    """The slope of a Taylor remainder where it stands above what rounding and the tolerances explain.

    Where the derivative itself is right, a short run of errors is no evidence: at single precision, terms of higher
    order bend all that stands above the noise.
    """
    least = RUN_OF_RIGHT if known.passed else RUN
    # at the smallest steps the leading term is alone, but a remainder may change its sign there: hence also over all
    runs = (4, len(errors))
    slope = max(remainder_slope(samples.steps, errors, floor, points=points, least=least) for points in runs)
    meaning = f"The remainder shrinks like t^{slope:.2f}: the model of order {order - 1} is not that of the cost."
    statement = model.format(f"{site.curve[1]}(x, t v)")
    return at_least(name, statement, slope, order - SLOPE_SLACK, meaning, samples.steps, errors)


def start_check(site: Site, length: float) -> Check:
    """The cost at the start of a curve is that at the point."""
    symbol = site.curve[1]
    here, noise = site.cost(site.point), 0.0
    starts = []
    for name, vector in itertools.islice(site.directions.items(), 2):
        samples = site.along(name, vector)
        starts.append(abs(samples.here - here))
        noise = max(noise, samples.noise)
    change = max(length, site.variation)
    unit = max(change, abs(here)) or 1.0
    meaning = f"The cost changes from x to {symbol}(x, 0): {symbol} is wrong (check_manifold), or the cost is not one "
    meaning += "of the point but of its representative (check_invariance)."
    bound = (1e-9 * change + 1e3 * site.eps * abs(here) + 10 * noise) / unit
    return at_most("start of the curve", f"f({symbol}(x, 0)) = f(x)", max(starts, default=0.0) / unit, bound, meaning)


def tangency_check(site: Site, name: str, vector: Any) -> Iterator[Check]:
    """The vector is its own projection; nothing where the manifold cannot project tangent vectors."""
    try:
        projected = site.manifold.to_tangent_space(site.point, vector)
    except NotImplementedError:
        return
    unit = max(site.length(vector), site.variation) or 1.0
    error = site.length(vector - site.tangent(projected)) / unit
    bound = max(ALGEBRAIC, 100 * site.eps) + site.rounding / unit
    meaning = f"The {name.split(',')[0]} has a part that is not in the tangent space at x."
    yield at_most(f"{name} is tangent", "proj(x, w) = w", error, bound, meaning)


def linearity_check(site: Site, images: dict[str, Any]) -> Check:
    """Hess[a u + b v] = a Hess[u] + b Hess[v]."""
    (u, v), (Hu, Hv) = list(site.directions.values())[:2], list(images.values())[:2]
    a, b = site.rng.uniform(0.5, 2.0, 2).tolist()
    unit = max(a * site.length(Hu) + b * site.length(Hv), site.variation) or 1.0
    error = site.length(site.hessian(a * u - b * v) - (a * Hu - b * Hv)) / unit
    bound = max(ALGEBRAIC, 100 * site.eps) + site.rounding / unit
    return at_most(
        "Hessian is linear", "Hess f[a u + b v] = a Hess f[u] + b Hess f[v]", error, bound, "It is not linear."
    )


def symmetry_check(site: Site, images: dict[str, Any]) -> Check:
    """<Hess[u], v> = <u, Hess[v]> for all pairs of directions."""
    unit = max(*(site.length(image) for image in images.values()), site.variation) or 1.0
    errors = [
        abs(inner(site.manifold, site.point, images[i], v) - inner(site.manifold, site.point, images[j], u)) / unit
        for (i, u), (j, v) in itertools.combinations(site.directions.items(), 2)
    ]
    bound = max(ALGEBRAIC, 100 * site.eps) + site.rounding / unit
    meaning = "It is not symmetric in the metric of the manifold."
    return at_most(
        "Hessian is symmetric", "<Hess f[u], v> = <u, Hess f[v]>", max(errors, default=math.nan), bound, meaning
    )
