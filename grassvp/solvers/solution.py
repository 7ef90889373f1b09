"""The result of a solve, as a value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from grassvp.arrays import in_kind_of
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.solvers.status import Status

__all__ = ["Solution"]


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a solve ended and how it got there.

    Attributes:
        status: why it ended; CONVERGED only where the gradient test holds.
        parameters: theta, (q,).
        coefficients: C, (n, k).
        value: the objective, 1/2 ||W (Phi C - Y)||^2 + lam/2 ||C||^2.
        gradient_norm: 2-norm of its gradient (of the joint gradient, for a joint method).
        rank: numerical rank of the weighted features; NaN for a joint method.
        iterations: accepted steps.
        elapsed: seconds of the solve, the choice of the start included.
        history: column name -> array with one entry an iterate; see `IterationRecord`.
        regularization: lam.
        method: the solver that was run.
        choice: the linear algebra that it used, and why.
        problem: the problem that these parameters and this lam belong to, without a rule or continuation; its network
            is narrower than the one given where a surgeon removed neurons.
        operations: (iterations before it, result) of every operation of a surgeon.
        regularization_choice: what the rule of the problem says about lam at these parameters; None without a rule.
    """

    status: Status
    parameters: Tensor
    coefficients: Tensor
    value: float
    gradient_norm: float
    rank: float
    iterations: int
    elapsed: float
    history: dict[str, np.ndarray]
    regularization: float
    method: Any
    choice: str
    predictor: Callable[[Tensor, Tensor, Any], Tensor] = field(repr=False)
    problem: Any = field(default=None, repr=False)
    regularization_choice: Any = None
    operations: tuple[tuple[int, Any], ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the gradient test holds."""
        return self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        """The status as a sentence with its numbers."""
        return f"{self.status.value} (value {self.value:.3g}, gradient norm {self.gradient_norm:.3g})"

    def predict(self, inputs: Any) -> Any:
        """Phi(theta; x) C at x (rows, d), (rows,) or (rows, k) as the targets were; numpy or torch like `inputs`.

        For features under a differential operator this is the function itself, not the operator applied to it.
        """
        return in_kind_of(inputs)(self.predictor(self.parameters, self.coefficients, inputs))

    def load_into(self, module: nn.Module) -> None:
        """Write theta into the parameters of `module`, in its own floating type.

        Raises:
            ArgumentError: the module has another number of parameters than theta.
        """
        if not isinstance(module, nn.Module):
            raise ArgumentTypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
        targets = list(module.parameters())
        count = sum(target.numel() for target in targets)
        if count != self.parameters.numel():
            raise ArgumentError(f"module has {count} parameters, the solution has {self.parameters.numel()}")
        pieces = self.parameters.split([target.numel() for target in targets])
        with torch.no_grad():
            for target, piece in zip(targets, pieces, strict=True):
                target.copy_(piece.view(target.shape))

    def __repr__(self) -> str:
        """What one wants to know first."""
        return (
            f"Solution({self.status.name}, value {self.value:.3g}, {self.iterations} iterations, "
            f"rank {self.rank:g}, {self.elapsed:.2g} s)"
        )
