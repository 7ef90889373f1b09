"""Lengths and small angles of the columns of a matrix, without loss of digits."""

import numpy as np

__all__ = ["direction_sines", "unit_columns"]


def unit_columns(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns (p, n) of length one, zero where they are zero, and their lengths (n,); no square under- or overflows."""
    largest = np.abs(matrix).max(axis=0, initial=0.0)
    safe = np.where(largest > 0, largest, 1.0)
    scaled = matrix / safe
    norms = np.linalg.norm(scaled, axis=0)
    return scaled / np.where(norms > 0, norms, 1.0), norms * largest


def direction_sines(direction: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sines (n,) of the angles between a unit vector (p,) and unit columns (p, n), up to sign, and the cosines.

    The difference of two nearly equal vectors is exact, so that what is left of it off the direction is the sine to
    full relative accuracy, where the arccosine would lose half of the digits.
    """
    cosines = direction @ columns
    difference = columns * np.where(cosines < 0, -1.0, 1.0) - direction[:, None]
    outside = difference - direction[:, None] * (direction @ difference)
    return np.linalg.norm(outside, axis=0), cosines
