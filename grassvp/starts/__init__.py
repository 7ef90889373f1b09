"""Where a solve starts: random features, the data, greedy growth."""

from collections.abc import Iterator
from itertools import cycle

import numpy as np

from grassvp.errors import ArgumentError
from grassvp.reduced import ReducedProblem
from grassvp.starts.data import data_starts
from grassvp.starts.growth import (
    Growth,
    best_candidate,
    can_grow,
    grow_parameters,
    grow_widths,
    narrowed,
    without_operator,
)
from grassvp.starts.random import SCALES, best_of_each_scale, perturbed, random_starts
from grassvp.starts.start import Start, start_at

__all__ = [
    "INITIALIZATIONS",
    "SCALES",
    "Growth",
    "Start",
    "best_candidate",
    "best_of_each_scale",
    "can_grow",
    "data_starts",
    "field_of_starts",
    "grow_parameters",
    "grow_widths",
    "narrowed",
    "perturbed",
    "random_starts",
    "start_at",
]

INITIALIZATIONS = ("auto", "random", "data", "growth")
TURNS = ("data", "growth", "data", "random")


def field_of_starts(
    reduced: ReducedProblem, rng: np.random.Generator, count: int, initialization: str = "auto"
) -> list[Start]:
    """Up to `count` starts that differ in kind; the best random features come first, whatever the initialization.

    "auto" takes its turns from the data, growth and random features, as far as the features allow each of them; under a
    differential operator, which growth by residuals alone can be misled by, from random features.

    Raises:
        ArgumentError: there are no starts of the kind that was asked for.
    """
    automatic, plain = initialization == "auto", without_operator(reduced.problem)
    sources = {
        "random": iter(best_of_each_scale(random_starts(reduced, rng))),
        "data": iter(data_starts(reduced, rng)) if automatic or initialization == "data" else iter(()),
        "growth": _grown(reduced, rng) if initialization == "growth" or (automatic and plain) else iter(()),
    }
    starts = [next(sources["random"])]
    turns = cycle(TURNS if automatic else (initialization,))
    exhausted: set[str] = set()
    while len(starts) < count and len(exhausted) < len(sources):
        name = next(turns)
        start = next(sources[name], None)
        if start is not None:
            starts.append(start)
        elif not automatic and len(starts) == 1:
            raise ArgumentError(
                f"initialization {initialization!r} is for networks with one hidden layer, in equations for one "
                "unknown without rows that compare two points, and for problems without bounds: use 'auto' or 'random'"
            )
        else:
            exhausted |= {name} if automatic else set(sources)
    return starts


def _grown(reduced: ReducedProblem, rng: np.random.Generator) -> Iterator[Start]:
    while can_grow(reduced.problem):
        yield start_at(reduced, grow_parameters(reduced.problem, rng), "growth")
