"""Fit statistics as text: one row for each parameter and coefficient, then what limits their meaning."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from grassvp.solvers import Status

if TYPE_CHECKING:
    from grassvp.statistics.report import FitStatistics

__all__ = ["table"]

MOST_ROWS = 30
FIRST_ROWS, LAST_ROWS = 20, 9
HEADER = ("", "value", "std. error", "relative")


def table(statistics: "FitStatistics") -> str:
    """The table that a `FitStatistics` prints, of at most `MOST_ROWS` rows."""
    q, (n, k) = statistics.parameters.size, statistics.coefficients.shape
    size = q + n * k
    shown = range(size) if size <= MOST_ROWS else [*range(FIRST_ROWS), *range(size - LAST_ROWS, size)]
    estimates, errors, (lower, upper) = statistics.estimates, statistics.standard_errors, statistics.interval()
    fixed = statistics.fixed
    cells: list[tuple[str, ...]] = [(*HEADER, f"{100 * statistics.level:g}% interval")]
    for i in shown:
        name = f"theta[{i}]" if i < q else f"C[{(i - q) // k}, {(i - q) % k}]"
        cells.append(
            (
                name,
                f"{estimates[i]:.6g}",
                *(("fixed", "", "") if fixed[i] else _error(estimates[i], errors[i], lower[i], upper[i])),
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    if len(shown) < size:
        lines.insert(FIRST_ROWS + 1, f"... {size - len(shown)} more (standard_errors has them all)")
    return "\n".join([_title(statistics), *lines, *_notes(statistics)])


def _error(value: float, error: float, lower: float, upper: float) -> tuple[str, str, str]:
    """Error, relative error and interval as text."""
    relative = f"{100 * error / abs(value):.2g}%" if value != 0 and np.isfinite(error) else ""
    return f"{error:.3g}", relative, f"[{lower:.6g}, {upper:.6g}]"


def _title(statistics: "FitStatistics") -> str:
    known = " (given)" if statistics.noise_known else ""
    return (
        f"FitStatistics: sigma {statistics.sigma:.6g}{known}, {statistics.degrees_of_freedom:.6g} degrees of freedom, "
        f"rank {statistics.rank} of {statistics.free}"
    )


def _notes(statistics: "FitStatistics") -> Iterator[str]:
    """Sentences on what the numbers above cannot say."""
    if np.isnan(statistics.sigma):
        yield (
            "Note: no degree of freedom is left to estimate sigma from: give noise=, use more rows or fewer features, "
            "or regularization > 0."
        )
    lost = int(np.isinf(statistics.standard_errors).sum())
    if lost:
        yield f"Note: {lost} entries are not determined by the data; their standard errors are inf."
    if statistics.status not in (Status.CONVERGED, Status.STALLED):
        yield f"Note: the solve ended as {statistics.status.name}; these errors hold at a minimum."
