"""Why a solve ended."""

from enum import Enum

__all__ = ["Status"]


class Status(Enum):
    """Why a solve ended; the value is the sentence that explains it."""

    CONVERGED = "the gradient norm fell below the tolerance"
    STALLED = (
        "no step of the method decreases the value any further at working precision, though the gradient test does not "
        "hold"
    )
    DAMPED_OUT = (
        "no step of the method, however short, does what the derivatives promise: the derivatives do not describe the "
        "value here"
    )
    MAX_ITERATIONS = "the iteration limit was reached"
    MAX_TIME = "the time limit was reached"
    NON_FINITE = "the features, the value or the gradient are not finite"
    RANK_DEFICIENT = (
        "no step of the method decreases the value, and the features are rank-deficient, or at the edge of it, at a "
        "regularization of zero or too small to matter, where the value need not be differentiable: use "
        "regularization > 0 (a larger one) or fewer features"
    )
    INTERRUPTED = "the solve was interrupted; the best iterate so far is kept"
    STOPPED = "a callback asked to stop"
