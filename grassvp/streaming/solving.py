"""`solve_stream`: from batches that are visited one at a time to a solution."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from grassvp.arrays import check_choice, check_count, check_nonnegative
from grassvp.callbacks import check_callbacks
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.projection.streaming import StreamingProjection
from grassvp.reduced import ReducedProblem
from grassvp.separable import MEMORY_LIMIT, SeparableProblem
from grassvp.solvers import Callback, Solution
from grassvp.streaming.batches import Batches, BatchStream
from grassvp.streaming.memory import Memory
from grassvp.streaming.rows import LinearizedRows
from grassvp.streaming.running import EVALUATE, Limits, Run
from grassvp.streaming.steps import Choice, GaussNewtonSteps, Steps
from grassvp.streaming.torch_steps import OPTIMIZERS, TorchSteps

__all__ = ["solve_stream"]

WINDOW = 5.0  # batches that are remembered at least
ROWS_PER_UNKNOWN = 4.0  # and equations for each unknown


def solve_stream(
    features: object,
    batches: Batches,
    *,
    optimizer: str | Callable[[list[torch.Tensor]], torch.optim.Optimizer] = "gauss-newton",
    learning_rate: float | None = None,
    epochs: int = 10,
    regularization: str | float = "sampled",
    forgetting: str | float = "auto",
    initial_parameters: Any = None,
    evaluate: str = "epoch",
    max_time: float | None = None,
    tolerance: float | None = None,
    callbacks: Sequence[Callback] = (),
    memory_limit: int = MEMORY_LIMIT,
) -> Solution:
    """Minimise 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 over data of which only one batch is held at a time.

    For each batch C is solved for by least squares over all batches so far, each forgotten by gamma a batch, and theta
    moves by one step; then the batch is dropped. Nothing is drawn at random: the order of the batches is the caller's.
    At the end C, the value and its gradient are those of all rows, from exact passes at a theta that no longer moves.

    Args:
        features: as for `SeparableProblem`; a module is copied and never written. Theta starts from its parameters.
        batches: an iterable of (inputs, targets) or (inputs, targets, weights) that can be visited again, such as a
            list or a torch DataLoader, or a function epoch -> iterable, called with 0, 1, ... (and again with the same
            number for the exact passes). Weights multiply rows. The first batch says in which floating type and on
            which device the work is done.
        optimizer: "gauss-newton" for damped Gauss-Newton steps whose curvature and residuals are those of all batches
            so far, carried along as theta moves (`streaming.memory`); it holds matrices of the size of theta squared.
            "adam", "sgd" or any function that makes a `torch.optim.Optimizer` of a list of parameters: steps on the
            envelope gradient of the mean over the batch; the only ones for large theta.
        learning_rate: length of a Gauss-Newton step in units of itself, 1 by default; or torch's `lr`, by default 1e-3
            (adam) or 1e-2 (sgd). A function sets its own.
        epochs: passes over the data in which theta moves; 0 solves the linear part only.
        regularization: lam >= 0 of the value of all rows (a batch is given its share of it), or "sampled": for each
            batch the one that minimises generalised cross-validation on it, and at the end that of all rows.
        forgetting: gamma, by which earlier batches count less with each one that follows; 1 forgets nothing and 0
            everything. "auto": a memory of 5 batches, or of four equations for each unknown where that is more.
        initial_parameters: (q,) theta to start from instead.
        evaluate: "epoch" for an exact value before the first epoch and after each one, at the cost of one more pass for
            each, and the best is kept; "end" for a single one, of the last theta and of the mean over the last epoch,
            the better being kept; "never" for none: C, the value and no gradient are then what the memory gives, and
            a source that can be visited only once will do for one epoch.
        max_time: seconds at most, from the call on, checked after each step; the exact passes still follow.
        tolerance: CONVERGED where the gradient norm is at most this times ||W Y||_F^2; None for 4 eps of the floating
            type. Where given, and with evaluate="epoch", the gradient is computed after each epoch, in one more pass,
            and the solve stops once it is small enough.
        callbacks: each is called with an `IterationRecord` after each epoch; returning True stops the solve.
        memory_limit: bytes that Gauss-Newton steps may take.

    Returns:
        A `Solution` whose iterations are epochs, and whose history has one record for each (and one before them with
        evaluate="epoch"): with "epoch" the exact value at the better of the last theta and of the mean over the epoch,
        else 1/2 ||W (Y - Phi C)||^2 as it was met batch by batch; `damping` is the damping or learning rate, `distance`
        is NaN, and so are `gradient_norm`, `rank` and `condition` where they are not known. Ctrl-C keeps what was done
        without another pass. STALLED: an epoch ended where it began.

    Raises:
        ArgumentError, ArgumentTypeError: naming the argument that cannot be used, a batch by its number.

    Sources: E. Newman, L. Ruthotto, J. Hart, B. van Bloemen Waanders, Train like a (Var)Pro, arXiv:2007.13171, and
    E. Newman, J. Chung, M. Chung, L. Ruthotto, slimTrain, arXiv:2109.14002. The Gauss-Newton memory is ours.
    """
    begin = time.perf_counter()
    check_count(epochs, "epochs", least=0)
    check_choice(evaluate, "evaluate", EVALUATE)
    lam = _fixed(regularization, "regularization", "sampled")
    gamma = _fixed(forgetting, "forgetting", "auto")
    if gamma is not None and gamma > 1:
        raise ArgumentError(f"forgetting must be between 0 and 1, got {gamma:g}")
    _check_optimizer(optimizer, learning_rate)
    check_callbacks(callbacks)
    limits = Limits(
        epochs,
        None if max_time is None else check_nonnegative(max_time, "max_time"),
        None if tolerance is None else check_nonnegative(tolerance, "tolerance"),
        begin,
    )
    stream = BatchStream(features, batches, memory_limit)
    _check_visits(stream, epochs, evaluate)
    problem = stream.problem
    given = problem.initial_parameters if initial_parameters is None else initial_parameters
    theta = ReducedProblem(problem).vector(given, "initial_parameters")
    gamma = _remembering(problem, optimizer == "gauss-newton") if gamma is None else gamma
    steps = _steps(problem, theta, optimizer, learning_rate, gamma, _choice(lam, stream))
    method = optimizer if isinstance(optimizer, str) else getattr(optimizer, "__name__", "torch.optim")
    return Run(stream, steps, limits, evaluate, lam, tuple(callbacks)).solution(method, f"forgetting {gamma:.3g}")


def _fixed(value: Any, name: str, automatic: str) -> float | None:
    """The number, or None for the name of the automatic choice."""
    if isinstance(value, str):
        check_choice(value, name, (automatic,))
        return None
    return check_nonnegative(value, name)


def _check_optimizer(optimizer: Any, learning_rate: Any) -> None:
    if isinstance(optimizer, str):
        check_choice(optimizer, "optimizer", ("gauss-newton", *OPTIMIZERS))
    elif not callable(optimizer):
        raise ArgumentTypeError(
            "optimizer must be 'gauss-newton', 'adam', 'sgd' or a function that makes a torch.optim.Optimizer of a "
            f"list of parameters, such as torch.optim.Adam; got {type(optimizer).__name__}"
        )
    elif learning_rate is not None:
        raise ArgumentError("learning_rate belongs to an optimizer given by name: a function sets its own")
    if learning_rate is not None and check_nonnegative(learning_rate, "learning_rate") == 0.0:
        raise ArgumentError("learning_rate must be > 0, got 0.0")


def _check_visits(stream: BatchStream, epochs: int, evaluate: str) -> None:
    if evaluate == "never" and epochs == 0:
        raise ArgumentError("epochs must be >= 1 with evaluate='never': nothing would be computed")
    if stream.one_shot and (epochs > 1 or evaluate != "never"):
        raise ArgumentError(
            f"batches is a generator or another iterator that can be visited only once, and epochs={epochs} with "
            f"evaluate={evaluate!r} needs more: give a list, a torch DataLoader, or a function epoch -> iterable; or "
            "epochs=1 with evaluate='never'"
        )


def _remembering(problem: SeparableProblem, linearized: bool) -> float:
    """Gamma for a memory that the unknowns are determined by: 1 - 1 / (batches remembered)."""
    unknowns = problem.width * problem.outputs + (problem.features.initial.numel() if linearized else 0)
    return 1.0 - 1.0 / max(WINDOW, ROWS_PER_UNKNOWN * unknowns / problem.targets.numel())


def _choice(lam: float | None, stream: BatchStream) -> Choice:
    """Lam for a batch: sampled on it, or the share of the given one that the remembered rows have."""

    def sampled(projection: StreamingProjection, rows: LinearizedRows) -> float:
        return projection.sampled_regularization(rows.values, rows.targets)

    def shared(projection: StreamingProjection, rows: LinearizedRows) -> float:
        return lam * projection.rows / stream.rows  # pyright: ignore[reportOptionalOperand]

    return sampled if lam is None else shared


def _steps(
    problem: SeparableProblem, theta: torch.Tensor, optimizer: Any, rate: float | None, gamma: float, choose: Choice
) -> Steps:
    if optimizer == "gauss-newton":
        size = 8 * Memory.entries(problem.width, problem.outputs, theta.numel(), problem.rows)
        if size > problem.memory_limit:
            raise ArgumentError(
                f"optimizer 'gauss-newton' would take about {size / 2**20:.0f} MiB for {theta.numel()} parameters and "
                f"{problem.outputs} outputs, more than memory_limit = {problem.memory_limit / 2**20:.0f} MiB: use "
                "optimizer='adam', smaller batches, or a larger memory_limit"
            )
        return GaussNewtonSteps(problem, theta, gamma, choose, 1.0 if rate is None else rate)
    if not isinstance(optimizer, str):
        return TorchSteps(problem, theta, gamma, choose, optimizer)
    make, default = OPTIMIZERS[optimizer]
    return TorchSteps(problem, theta, gamma, choose, lambda variables: make(variables, lr=rate or default))
