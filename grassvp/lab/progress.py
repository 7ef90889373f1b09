"""How far a solve is: nothing, or one live line on a terminal."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Callback = Callable[[Any], None]


@contextmanager
def silent(label: str, total: int | None = None) -> Iterator[Callback]:
    """A reporter that shows nothing."""
    del label, total
    yield lambda iterate: None


@contextmanager
def live_line(label: str, total: int | None = None) -> Iterator[Callback]:
    """A reporter that keeps one line on standard error's terminal up to date, and leaves its last state there."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    start = time.monotonic()
    with Live(console=Console(stderr=True), refresh_per_second=8, redirect_stdout=False, redirect_stderr=False) as live:

        def show(iterate: Any) -> None:
            line = describe(label, iterate, total, time.monotonic() - start)
            live.update(Text(line, no_wrap=True, overflow="ellipsis"))

        yield show


@contextmanager
def live_status(label: str) -> Iterator[Callback]:
    """A reporter of short texts: the last one stands beside a spinner on standard error's terminal."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(label)) as status:
        yield lambda text: status.update(Text(f"{label}: {text}"))


def describe(label: str, iterate: Any, total: int | None, elapsed: float) -> str:
    """One line about an iterate: iteration, value, gradient norm, rank and elapsed time, those that it has."""
    iteration = getattr(iterate, "iteration", None)
    parts = [f"{label}:", f"iteration {'?' if iteration is None else iteration}" + (f"/{total}" if total else "")]
    for attribute, title in (("value", "value"), ("gradient_norm", "gradient")):
        number = getattr(iterate, attribute, None)
        if number is not None:
            parts.append(f"{title} {float(number):.3e}")
    rank = getattr(iterate, "rank", None)
    if rank is not None and math.isfinite(rank):
        parts.append(f"rank {int(rank)}")
    return "  ".join([*parts, f"{elapsed:.1f} s"])
