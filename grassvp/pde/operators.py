"""From the functions that users write to the coefficients of a differential operator.

A linear operator that acts point by point is L u = sum_alpha c_alpha(x) d^alpha u. Its coefficients are its values on
the unit fields (d^alpha u = 1, all other derivatives 0), so that one call with as many "features" as there are
derivatives finds them all. Linearity, and that no point sees another, are tested on random fields. For a nonlinear
operator F(u)(x) = F(x, (d^alpha u)(x)) the coefficients of the linearisation are the derivatives by the entries
d^alpha u, by forward differentiation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.errors import ArgumentError, ArgumentTypeError, GrassvpError
from grassvp.pde.binding import Bound
from grassvp.pde.domain import Box
from grassvp.pde.fields import Field, Index, Normal

__all__ = ["Local", "Terms", "linear_terms", "linearized_terms"]

AGREEMENT = 1e-8  # relative, of an operator with its linear form on random fields

Terms = dict[tuple[int, Index], Tensor]
"""Coefficients c (rows,) by (number of the unknown, derivative)."""


@dataclass(frozen=True, eq=False)
class Local:
    """A user's function (u, x) at some points.

    Attributes:
        function: takes a `Field`, or a mapping of the unknowns' names to fields, and the columns of the points.
        box: the domain.
        points: (rows, d).
        unknowns: names of the unknowns, or () for one without a name.
        where: what it is, for messages.
        normal: outward normal of the face that all points are on, or None.
    """

    function: Callable[[Any, Any], Any]
    box: Box
    points: Tensor
    unknowns: tuple[str, ...]
    where: str
    normal: Normal | None = None

    def __call__(self, look_up: Callable[[int, Index], Tensor]) -> tuple[Tensor, ...]:
        """What the function returns, a tensor for each equation in it, for fields with these derivatives."""
        fields = [
            Field(lambda index, j=j: look_up(j, index), self.box, self.where, self.normal)
            for j in range(max(len(self.unknowns), 1))
        ]
        given: Any = dict(zip(self.unknowns, fields, strict=True)) if self.unknowns else fields[0]
        try:
            result = self.function(given, self.box.columns(self.points))
        except GrassvpError:
            raise
        except Exception as error:
            raise ArgumentError(f"{self.where} failed: {type(error).__name__}: {error}") from error
        results = tuple(result) if isinstance(result, tuple | list) else (result,)
        for each in results:
            if not isinstance(each, Tensor):
                raise ArgumentTypeError(
                    f"{self.where} must return a torch tensor made of u.value, u.d(...), got {type(each).__name__}"
                )
        return results

    def shaped(self, results: Sequence[Tensor], lead: tuple[int, ...]) -> tuple[Tensor, ...]:
        """The results, checked to have the shape (*lead, rows)."""
        wanted = (*lead, len(self.points))
        for each in results:
            if tuple(each.shape) != wanted:
                raise ArgumentError(
                    f"{self.where} must return a tensor as large as u.value, {wanted} here with the rows last, got "
                    f"{tuple(each.shape)}; coefficients must be numbers or have shape ({wanted[-1]},)"
                )
        return tuple(each.to(torch.float64) for each in results)

    def random_fields(self, count: int | None) -> tuple[dict[tuple[int, Index], Tensor], tuple[Tensor, ...]]:
        """Random derivatives, of those that the function asks for, and its results for them.

        With `count` not None it is given so many fields at once, the last of them a combination of the first two.
        """
        rng, rows = np.random.default_rng(0), len(self.points)
        seen: dict[tuple[int, Index], Tensor] = {}

        def look_up(unknown: int, index: Index) -> Tensor:
            if (unknown, index) not in seen:
                lead = () if count is None else (count,)
                draw = torch.from_numpy(rng.standard_normal((*lead, rows)))
                if count is not None:
                    draw[-1] = FACTORS[0] * draw[0] + FACTORS[1] * draw[1]
                seen[unknown, index] = draw
            return seen[unknown, index]

        results = self(look_up)
        if not seen:
            raise ArgumentError(f"{self.where} does not depend on u: it must use u.value or u.d(...)")
        return seen, self.shaped(results, () if count is None else (count,))


FACTORS = (0.7, -1.9)


def linear_terms(local: Local) -> list[Terms]:
    """Coefficients of a linear operator at its points, for each equation that the function returns.

    Raises:
        ArgumentError: it is not linear in u, couples points, is not finite, or returns another shape than u has.
    """
    if _traced(local.function):
        return _traced_terms(local)
    fields, results = local.random_fields(3)
    for each in results:
        _check_finite(each, local)
        size = float(each.abs().max())
        if float((each[2] - FACTORS[0] * each[0] - FACTORS[1] * each[1]).abs().max()) > AGREEMENT * size:
            _raise_not_linear(local)
    keys = list(fields)
    unit = torch.eye(len(keys), dtype=torch.float64)[:, :, None].expand(-1, -1, len(local.points))
    columns = local.shaped(local(lambda j, index: unit[_position(keys, (j, index), local)]), (len(keys),))
    for each, coefficients in zip(results, columns, strict=True):
        _check_finite(coefficients, local)
        linear = sum(coefficients[a] * fields[key][0] for a, key in enumerate(keys))
        if float((linear - each[0]).abs().max()) > AGREEMENT * float(each.abs().max()):
            _raise_coupled(local)
    return [dict(zip(keys, coefficients.unbind(0), strict=True)) for coefficients in columns]


def _traced(function: Any) -> bool:
    """Whether it is differentiated by unknown coefficients now, and was checked before."""
    return isinstance(function, Bound) and function.traced


def _traced_terms(local: Local) -> list[Terms]:
    """`linear_terms` without what looks at numbers."""
    nothing, keys = torch.zeros(len(local.points), dtype=torch.float64), dict[tuple[int, Index], None]()

    def ask(unknown: int, index: Index) -> Tensor:
        keys[unknown, index] = None
        return nothing

    local(ask)
    unit = dict(zip(keys, torch.eye(len(keys), dtype=torch.float64)[:, :, None], strict=True))
    columns = local(lambda j, index: unit[j, index].expand(-1, len(local.points)))
    return [dict(zip(keys, coefficients.unbind(0), strict=True)) for coefficients in columns]


def linearized_terms(local: Local, look_up: Callable[[int, Index], Tensor]) -> list[tuple[Terms, Tensor]]:
    """Derivatives dF / d(d^alpha u) of a pointwise operator F at a field, and F itself, for each equation.

    Args:
        local: the operator F and its points.
        look_up: derivatives (rows,) of each unknown at the field.

    Raises:
        ArgumentError: F couples points, or returns another shape than u has.
    """
    fields, results = local.random_fields(None)
    _check_pointwise(local, fields, results)
    keys = list(fields)
    at = tuple(look_up(*key) for key in keys)

    def values(*derivatives: Tensor) -> tuple[Tensor, ...]:
        return local(lambda j, index: derivatives[_position(keys, (j, index), local)])

    F = local.shaped(values(*at), ())
    columns = []
    for a in range(len(keys)):
        tangents = tuple(torch.ones_like(each) if a == b else torch.zeros_like(each) for b, each in enumerate(at))
        columns.append(torch.func.jvp(values, at, tangents)[1])
    return [(dict(zip(keys, (column[e] for column in columns), strict=True)), F[e]) for e in range(len(F))]


def _position(keys: Sequence[tuple[int, Index]], key: tuple[int, Index], local: Local) -> int:
    if key not in keys:
        raise ArgumentError(f"{local.where} asks for other derivatives at other values of u")
    return list(keys).index(key)


def _check_finite(values: Tensor, local: Local) -> None:
    bad = int((~torch.isfinite(values)).any(0).sum())
    if bad:
        raise ArgumentError(f"{local.where} is NaN or infinite at {bad} of {len(local.points)} points")


def _check_pointwise(local: Local, fields: dict[tuple[int, Index], Tensor], results: Sequence[Tensor]) -> None:
    """Raise where an operator changes in the rows in which the fields stay, when these change in others, at random."""
    changed = torch.from_numpy(np.random.default_rng(1).random(len(local.points)) < 0.5)
    moved = [torch.where(changed, each + 1.0, each) for each in fields.values()]
    others = local(lambda j, index: moved[_position(list(fields), (j, index), local)])
    for one, other in zip(results, others, strict=True):
        allowed = AGREEMENT * float(one.nan_to_num(0.0, 0.0, 0.0).abs().max())
        if not torch.allclose(one[~changed], other[~changed].to(one), rtol=0.0, atol=allowed, equal_nan=True):
            _raise_coupled(local)


def _raise_coupled(local: Local) -> None:
    raise ArgumentError(f"{local.where} couples points: its value at a point may depend on u there only")


def _raise_not_linear(local: Local) -> None:
    rows = len(local.points)
    nothing = local(lambda j, index: torch.zeros(1, rows, dtype=torch.float64))
    size = max(float(each.abs().max()) for each in nothing)
    if size > 0:
        raise ArgumentError(
            f"{local.where} is not linear in u: it is {size:.3g} at u = 0. Move what does not depend on u to "
            "source (of an equation) or equals (of a condition)"
        )
    raise ArgumentError(
        f"{local.where} is not linear in u. For an equation that is nonlinear give PDE(..., linear=False); "
        "conditions must be linear"
    )


def values_of(given: Any, box: Box, points: Tensor, where: str) -> Tensor:
    """A number, or a function of the coordinates, at points, (rows,).

    Raises:
        ArgumentError, ArgumentTypeError: it fails, has another shape, or is not finite.
    """
    function = given
    if callable(given):
        try:
            given = given(box.columns(points))
        except GrassvpError:
            raise
        except Exception as error:
            raise ArgumentError(f"{where} failed: {type(error).__name__}: {error}") from error
    if given.is_complex() if isinstance(given, Tensor) else np.iscomplexobj(given):
        raise ArgumentTypeError(f"{where} must be real, got complex numbers")
    try:
        values = torch.as_tensor(given, dtype=torch.float64, device=points.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentTypeError(f"{where} must be a number or a function of the coordinates: {error}") from error
    if values.ndim > 0 and tuple(values.shape) != (len(points),):
        raise ArgumentError(f"{where} must be a number or have shape ({len(points)},), got {tuple(values.shape)}")
    if _traced(function):
        return values.expand(len(points))
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise ArgumentError(f"{where} is NaN or infinite at {bad} of {len(points)} points")
    return values.detach().expand(len(points))
