"""Exceptions of grassvp: each says what was wrong, with the numbers, and what to do about it."""

__all__ = ["ArgumentError", "ArgumentTypeError", "GrassvpError", "NonFiniteError"]


class GrassvpError(Exception):
    """Base class of every exception that grassvp raises on purpose."""


class ArgumentError(GrassvpError, ValueError):
    """An argument has a value that cannot be used; the message names the argument."""


class ArgumentTypeError(GrassvpError, TypeError):
    """An argument has a type that cannot be used; the message names the argument."""


class NonFiniteError(GrassvpError, ArithmeticError):
    """The features overflowed or became NaN at the given parameters.

    Solvers treat it as a rejected step; at a start it becomes the status ``NON_FINITE``.
    """
