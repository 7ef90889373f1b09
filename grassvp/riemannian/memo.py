"""A bounded memory of evaluations, keyed by the content of a point."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = ["Memo", "content"]

Result = TypeVar("Result")


class Memo(Generic[Result]):
    """`function(point)`, computed once for equal points.

    Points are compared by their numbers, not by identity: an array that was changed in place is another point. The
    function must not keep a reference to the point it gets.

    Args:
        function: what to remember.
        size: how many points; the one asked for longest ago is forgotten first.
    """

    def __init__(self, function: Callable[[Any], Result], size: int = 4) -> None:
        self._function, self._size = function, size
        self._results: OrderedDict[Hashable, Result] = OrderedDict()

    def __call__(self, point: Any) -> Result:
        """The result at `point`."""
        key = content(point)
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        result = self._results[key] = self._function(point)
        while len(self._results) > self._size:
            self._results.popitem(last=False)
        return result

    def __len__(self) -> int:
        return len(self._results)


def content(point: Any) -> Hashable:
    """The numbers of an array, or of a list or tuple of arrays, with their types and shapes."""
    if isinstance(point, list | tuple):
        return tuple(content(part) for part in point)
    array = np.asarray(point)
    return array.dtype.str, array.shape, array.tobytes()
