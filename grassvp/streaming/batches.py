"""Batches as they come: opened once for each pass, checked one by one, and never kept."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.separable import SeparableProblem

__all__ = ["Batch", "BatchStream", "Batches"]

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]

AGAIN = "give a list, a torch DataLoader, or a function epoch -> iterable"


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of the data, checked, in the working type and on the working device.

    Attributes:
        inputs: as the features take them.
        targets: (m_b, k).
        weights: (m_b,), or None.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None


class BatchStream:
    """A source of batches that can be visited several times, and the problem that its first batch makes.

    Attributes:
        problem: features, shapes, types and `predict`, with the first batch as its data, unweighted. It decides
            whether the computation is in float32 or float64, and on which device.
        one_shot: whether the source is spent after one visit.
        passes: visits that were begun.
    """

    def __init__(self, features: object, batches: Any, memory_limit: int) -> None:
        """Read the first batch; `memory_limit` goes to `SeparableProblem`.

        Raises:
            ArgumentError, ArgumentTypeError: `batches` is empty or of the wrong kind, or its first batch or the
                features cannot be used.
        """
        self._batches = batches
        self.one_shot = isinstance(batches, Iterator)
        self.passes = self._complete = self._seen = 0
        self._open = self._visit(0)
        first = next(self._open, None)
        if first is None:
            raise ArgumentError(f"batches is empty: {AGAIN} of at least one (inputs, targets)")
        inputs, targets, _ = _parts(first, 0)
        self.problem = SeparableProblem(features, inputs, targets, memory_limit=memory_limit)
        self._shape, self._ndim = inputs.shape[1:], targets.ndim
        self._open = chain([first], self._open)

    @property
    def rows(self) -> int:
        """Rows of the whole data: of the last complete pass, or as many as were seen before there is one."""
        return self._complete or self._seen

    def visit(self, epoch: int) -> Iterator[Batch]:
        """The batches of one pass, in the caller's order.

        Raises:
            ArgumentError, ArgumentTypeError: naming the batch by its number, or there are none.
        """
        source, self._open = (self._visit(epoch) if self._open is None else self._open), None
        self.passes += 1
        self._seen = 0
        for number, raw in enumerate(source):
            batch = self._batch(raw, number)
            self._seen += batch.targets.shape[0]
            yield batch
        if self._seen == 0:
            raise ArgumentError(f"batches gave nothing when it was visited again, in epoch {epoch}: {AGAIN}")
        self._complete = self._seen

    def _visit(self, epoch: int) -> Iterator[Any]:
        batches = self._batches
        if callable(batches) and not hasattr(batches, "__iter__"):
            batches = batches(epoch)
        if not isinstance(batches, Iterable) or isinstance(batches, str | bytes | dict):
            raise ArgumentTypeError(
                f"batches must be an iterable of (inputs, targets) or a function epoch -> iterable, got "
                f"{type(batches).__name__}"
            )
        return iter(batches)

    def _batch(self, raw: Any, number: int) -> Batch:
        problem, like = self.problem, self.problem.targets
        inputs, targets, weights = _parts(raw, number)
        if inputs.shape[1:] != self._shape:
            raise ArgumentError(
                f"inputs of batches[{number}] must have shape (rows, *{tuple(self._shape)}) like the first batch, got "
                f"{tuple(inputs.shape)}"
            )
        Y = targets.reshape(targets.shape[0], -1).to(like)
        if targets.ndim != self._ndim or Y.shape[1] != problem.outputs:
            expected = "(rows,)" if self._ndim == 1 else f"(rows, {problem.outputs})"
            raise ArgumentError(
                f"targets of batches[{number}] must have shape {expected} like the first batch, got "
                f"{tuple(targets.shape)}"
            )
        return Batch(problem.features.prepare(inputs.to(like)), Y, None if weights is None else weights.to(like))


def _parts(raw: Any, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and weights of one batch as tensors, on the device of the targets."""
    where = f"batches[{number}]"
    if not isinstance(raw, tuple | list) or len(raw) not in (2, 3):
        size = f" of {len(raw)}" if isinstance(raw, tuple | list) else ""
        raise ArgumentTypeError(
            f"{where} must be (inputs, targets) or (inputs, targets, weights), got {type(raw).__name__}{size}; "
            "a single batch is given as [(inputs, targets)]"
        )
    y = to_tensor(raw[1], f"targets of {where}")
    x = to_tensor(raw[0], f"inputs of {where}", device=y.device)
    if x.ndim == 0 or y.ndim not in (1, 2) or x.shape[0] != y.shape[0]:
        raise ArgumentError(
            f"inputs and targets of {where} must have as many rows, and targets the shape (rows,) or (rows, outputs); "
            f"got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    return x, y, None if len(raw) == 2 or raw[2] is None else _weights(raw[2], y, where)


def _weights(weights: Any, targets: Tensor, where: str) -> Tensor:
    w = to_tensor(weights, f"weights of {where}", dtype=targets.dtype, device=targets.device)
    if w.shape != targets.shape[:1] or bool((w < 0).any()):
        raise ArgumentError(
            f"weights of {where} must be >= 0 and have shape ({targets.shape[0]},), got shape {tuple(w.shape)} and "
            f"minimum {float(torch.min(w)):g}"
        )
    return w
