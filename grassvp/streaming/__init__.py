"""Variable projection on data that are visited batch by batch and never held whole."""

from grassvp.streaming.solving import solve_stream

__all__ = ["solve_stream"]
