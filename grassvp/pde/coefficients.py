"""Features of an equation with unknown coefficients p, which are nonlinear parameters beside those of the network.

The rows are sum_alpha c_alpha(x; p) D^alpha u, with features D^alpha Phi that do not depend on p. The c_alpha and the
right-hand sides are computed as they are for an equation whose coefficients are known, and differentiated through that
computation.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import jvp

from grassvp.errors import ArgumentError, GrassvpError
from grassvp.features.coefficients import CoefficientFeatures
from grassvp.features.side_by_side import SideBySide
from grassvp.pde.assembly import Block, joined_terms

if TYPE_CHECKING:
    from grassvp.pde.collocation import Collocation

__all__ = ["coefficient_features"]

STEP = 1e-6  # of the differences that derivatives by p are held against, relative to p
AGREEMENT = 1e-3  # of the two, relative to their size; what is missing is a whole term


def coefficient_features(collocation: "Collocation", blocks: Sequence[Block]) -> tuple[CoefficientFeatures, Tensor]:
    """Features (theta, p) -> rows of a collocation, and targets; `blocks` are its rows where p starts.

    Raises:
        ArgumentError: a coefficient that nothing depends on, or a function that torch.func cannot differentiate.
    """
    names, start = tuple(collocation.equations.coefficients), collocation.equations.start
    keys = list(joined_terms([(block.rows, block.terms) for block in blocks]))
    parts, fixed = _terms(collocation, blocks, keys)
    offset = bool((fixed != 0).any()) or collocation.equations.moving_targets
    targets = torch.cat([block.targets for block in blocks])

    def columns(p: Tensor) -> Tensor:
        """The c_alpha, and how far the known part L g - f is from where it began."""
        now = collocation.known(p, traced=True).blocks()
        terms = joined_terms([(block.rows, block.terms) for block in now])
        c = torch.stack([terms[key] for key in keys], dim=1)
        if not offset:
            return c
        known = (c * fixed).sum(1) - torch.cat([block.targets for block in now])
        return torch.cat([c, (known - began)[:, None]], dim=1)

    c = torch.stack([joined_terms([(b.rows, b.terms) for b in blocks])[key] for key in keys], dim=1)
    began = (c * fixed).sum(1) - targets
    _check(columns, names, start)
    return CoefficientFeatures(SideBySide(parts, shared=True), start, columns, offset), -began


def _terms(
    collocation: "Collocation", blocks: Sequence[Block], keys: Sequence[tuple[int, tuple[int, ...]]]
) -> tuple[tuple, Tensor]:
    """Features D^alpha u of all rows for each derivative, and (rows, terms) what it makes of what is known of u."""
    representation, points = collocation.representation, torch.cat([block.points for block in blocks])
    two_sided = [block.opposite for block in blocks if block.opposite is not None]
    one, parts, fixed = torch.ones(len(points), dtype=torch.float64), [], []
    for key in keys:
        if two_sided:
            there = torch.cat(two_sided)
            features, known = representation.differences({key: one}, points, {key: one[: len(there)]}, there)
        else:
            features, known = representation.rows({key: one}, points)
        parts.append(representation.evaluating(features))
        fixed.append(known)
    return tuple(parts), torch.stack(fixed, dim=1)


def _check(columns: Callable[[Tensor], Tensor], names: tuple[str, ...], start: Tensor) -> None:
    """Raise ArgumentError unless every coefficient has an effect, whose derivative is that of differences."""
    for k, name in enumerate(names):
        direction = torch.zeros_like(start)
        direction[k] = 1.0
        try:
            values, slope = jvp(columns, (start,), (direction,))[:2]
        except GrassvpError:
            raise
        except Exception as error:
            raise ArgumentError(
                f"coefficients[{name!r}]: the functions of p could not be differentiated; write them with torch "
                f"operations such as torch.exp: {error}"
            ) from error
        step = STEP * (float(start[k].abs()) or 1.0)
        ahead, behind = columns(start + step * direction), columns(start - step * direction)
        difference = (ahead - behind) / (2 * step)
        size = torch.maximum(difference.abs().amax(0), slope.abs().amax(0))
        if not bool((size > 0).any()):
            raise ArgumentError(
                f"coefficients[{name!r}] changes nothing where it starts, at {float(start[k]):g}: use it as "
                f"p[{name!r}], or start from another value"
            )
        rounding = 10 * torch.finfo(values.dtype).eps * values.abs().amax(0) / step
        if not bool(((difference - slope).abs().amax(0) <= AGREEMENT * size + rounding).all()):
            raise ArgumentError(
                f"coefficients[{name!r}]: derivatives by it do not agree with differences; write the functions of p "
                "with torch operations, without float(), numpy or math"
            )
