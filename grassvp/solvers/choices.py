"""Which linear algebra a Gauss-Newton step takes, by size and memory, and why."""

from dataclasses import dataclass

__all__ = ["WAYS", "LinearAlgebra", "formed_or_not", "linear_algebra"]

WAYS = ("auto", "dense", "dual", "matrix-free")
COPIES = 3  # of the Jacobian: itself, its copy beside the residual, LAPACK's
NARROW = 4096  # columns up to which a Jacobian that does not fit is factored in row blocks


@dataclass(frozen=True)
class LinearAlgebra:
    """The name of a way and the reason for it in a sentence."""

    name: str
    reason: str


def linear_algebra(rows: int, columns: int, itemsize: int, memory_limit: int) -> LinearAlgebra:
    """Dense QR of the stacked system, its dual form, or products alone, for a Jacobian (rows, columns)."""
    size = COPIES * rows * columns * itemsize
    sizes = f"{rows} x {columns} Jacobian, {_bytes(size)} with copies"
    if size <= memory_limit:
        if columns <= rows:
            return LinearAlgebra("dense", f"QR of the stacked system: {sizes}, no more parameters than residuals")
        return LinearAlgebra("dual", f"QR of the transposed system: {sizes}, more parameters than residuals")
    over = f"{sizes}, above the memory limit of {_bytes(memory_limit)}"
    if columns <= min(rows, NARROW) and COPIES * columns**2 * itemsize <= memory_limit:
        return LinearAlgebra("dense", f"QR of the stacked system in row blocks: {over}, but few parameters")
    return LinearAlgebra("matrix-free", f"Golub-Kahan bidiagonalisation (LSMR's space), from products alone: {over}")


def formed_or_not(what: str, entries: int, columns: int, itemsize: int, memory_limit: int) -> LinearAlgebra:
    """Whether a (columns, columns) matrix is formed, through arrays of so many entries, or only multiplied with."""
    size = COPIES * max(entries, columns**2) * itemsize
    if size <= memory_limit and columns <= NARROW:
        return LinearAlgebra("dense", f"{what} formed and factored: {_bytes(size)} for {columns} parameters")
    limit = f"the memory limit of {_bytes(memory_limit)} or {NARROW} parameters"
    return LinearAlgebra(
        "matrix-free", f"{what} multiplied with: {_bytes(size)} for {columns} parameters, above {limit}"
    )


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
