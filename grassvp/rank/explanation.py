"""A rank report in words."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from grassvp.rank.neurons import NeuronReport
from grassvp.rank.numerical import CROWDED, NumericalRank, numerical_rank

if TYPE_CHECKING:
    from grassvp.rank.report import RankReport

__all__ = ["explained", "listed"]

MOST_GROUPS = 3  # spelled out of a kind; the others are counted
MOST_NUMBERS = 8


def explained(report: "RankReport") -> str:
    """The paragraph."""
    parts = [*_rank(report), *_neurons(report.neurons), *_together(report), *_stratum(report), *_solve(report)]
    return " ".join(parts)


def listed(numbers: Sequence[int], noun: str = "column") -> str:
    """Columns by number: "column 3", "columns 3 and 7", "columns 1, 2, 3 and 4 more"."""
    shown = [str(number) for number in numbers[:MOST_NUMBERS]]
    if len(numbers) > MOST_NUMBERS:
        return f"{noun}s {', '.join(shown)} and {len(numbers) - MOST_NUMBERS} more"
    if len(shown) == 1:
        return f"{noun} {shown[0]}"
    return f"{noun}s {', '.join(shown[:-1])} and {shown[-1]}"


def _rank(report: "RankReport") -> Iterator[str]:
    rank, problem = report.rank, report.linearization.problem
    yield (
        f"The {'weighted ' if problem.weights is not None else ''}features, {problem.rows} x {problem.width}, have "
        f"numerical rank {rank.rank}: {_evidence(rank)}."
    )
    if rank.margin < CROWDED:
        other = numerical_rank(rank.singular_values)
        advice = (
            f"; the nearest clear gap is at rank {other.rank}, level {other.tolerance:.1e}" if other.certain else ""
        )
        other_is_new = other.rank != rank.rank
        yield (
            f"A level {rank.margin:.2g} times as large or as small gives another rank{advice if other_is_new else ''}."
        )
    if report.scaled_rank.rank != rank.rank:
        yield (
            f"With its columns scaled to one size it is {report.scaled_rank.rank}: columns differ in length by a "
            f"factor of {_spread(report.neurons):.2g}, and column_scaling=True makes the solve count the short ones."
        )


def _evidence(rank: NumericalRank) -> str:
    s = rank.singular_values
    if s[0] == 0:
        return "all of them are zero"
    level = f"the level {rank.tolerance:.1e} of the largest singular value {s[0]:.3g}"
    if not rank.deficient:
        return f"no singular value is below {level}, the smallest is {s[-1] / s[0]:.2g} of it"
    sure = "a clear gap" if rank.certain else "no clear gap"
    between = f"from {s[rank.rank - 1] / s[0]:.2g} to {s[rank.rank] / s[0]:.2g}"
    return f"at {level} they fall {between} of it, {sure} ({rank.gap:.2g})"


def _spread(neurons: NeuronReport) -> float:
    norms = neurons.norms[neurons.norms > 0]
    return float(norms.max() / norms.min()) if norms.size else 1.0


def _neurons(neurons: NeuronReport) -> Iterator[str]:
    if neurons.dead:
        again = f", of which {len(neurons.revivable)} would move" if neurons.revivable else " and nothing moves them"
        yield f"Dead (zero beside the longest): {listed(neurons.dead)}{again}."
    if neurons.saturated:
        yield f"Saturated (no longer moved by their parameters): {listed(neurons.saturated)}."
    varying = [column for column in neurons.constant if column not in neurons.fixed]
    if varying:
        yield f"Copies of the constant column: {listed(varying)}."
    if neurons.duplicates:
        copies = [f"{listed(group.columns)} (sine of the angle {group.sine:.1g})" for group in neurons.duplicates]
        yield f"Copies of each other up to a factor: {_some(copies)}."
    if neurons.circuits:
        circuits = sorted(neurons.circuits, key=lambda circuit: len(circuit.columns))
        spans = [f"{listed(circuit.columns)} (residual {circuit.residual:.1g})" for circuit in circuits]
        yield f"Each in the span of the others: {_some(spans)}."


def _some(items: Sequence[str]) -> str:
    more = len(items) - MOST_GROUPS
    return "; ".join([*items[:MOST_GROUPS], *([f"and {more} more such groups"] if more > 0 else [])])


def _together(report: "RankReport") -> Iterator[str]:
    """Dependence that is spread over so many columns that no single one is in the span of the others to the level."""
    missing = report.neurons.independent - report.scaled_rank.rank
    if missing > 0 and report.neurons.independent <= report.scaled_rank.singular_values.size:
        yield f"{missing} more dependent directions are spread over many columns, none of which is dependent by itself."


def _stratum(report: "RankReport") -> Iterator[str]:
    q, normal, found = report.linearization.parameters.numel(), report.normal_directions, report.differential_rank
    if found is not None:
        yield f"DPhi(theta) has rank {found} of at most {min(q, report.linearization.derivatives.values.numel())}."
    if not report.deficient:
        return
    if normal is None:
        yield "Which directions of theta change the rank was too large to compute."
    elif normal == 0:
        yield "No direction of theta changes the rank to first order."
    else:
        yield f"Of the {q} directions of theta {normal} change the rank to first order."
    if report.regularization > 0:
        yield f"With lam = {report.regularization:.2g} the value is smooth all the same."
    elif report.differentiable:
        yield "The value is differentiable."
    else:
        yield "At lam = 0 the value may jump there."
    stays = report.stratum_gradient
    if stays is not None and normal:
        whole = float(np.linalg.norm(report.linearization.gradient.double().cpu().numpy()))
        yield f"The gradient has norm {whole:.3g}, along the directions that keep the rank {np.linalg.norm(stays):.3g}."


def _solve(report: "RankReport") -> Iterator[str]:
    lam = report.regularization
    beside = f", without lam {report.feature_condition:.2g}" if lam > 0 else ""
    yield (
        f"The least-squares matrix has condition {report.condition:.2g}{beside}; the fit has "
        f"{report.effective_degrees_of_freedom:.4g} effective degrees of freedom, its largest leverage is "
        f"{report.leverage.max():.2g}."
    )
