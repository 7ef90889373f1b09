"""Parts of a run, stored as they are done, so that an attempt that is taken up again does not repeat them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from grassvp.lab.records import Record

__all__ = ["has", "once"]


def has(record: Record, name: str) -> bool:
    """Whether the arrays of that name are stored, by this attempt or the one that it continues."""
    return f"{name}.npz" in record.files


def once(record: Record, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """The arrays stored as ``NAME.npz``, computed and stored first where they are not there yet."""
    if not has(record, name):
        record.arrays(name, **compute())
    return record.read_arrays(name)
