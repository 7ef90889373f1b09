"""Steps of torch's optimisers on the envelope gradient of each batch."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentTypeError, NonFiniteError
from grassvp.projection.streaming import StreamingProjection
from grassvp.separable import SeparableProblem
from grassvp.streaming.batches import Batch
from grassvp.streaming.steps import TRIALS, Choice, Met

__all__ = ["OPTIMIZERS", "TorchSteps"]

Factory = Callable[[list[Tensor]], Any]

OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], float]] = {
    "adam": (torch.optim.Adam, 1e-3),
    "sgd": (torch.optim.SGD, 1e-2),
}
"""What makes an optimiser of each name, and its learning rate by default."""


class TorchSteps:
    """Steps of a `torch.optim.Optimizer` that sees one variable of ours and its `.grad`.

    For each batch C_t comes from the projection of the rows so far, and the gradient is that of the mean over the rows
    of the batch, -DPhi^*[W R_t C_t^T] / m_b, so that a learning rate does not depend on the size of the batches.
    Optimisers that evaluate several times a step, such as LBFGS, solve for C each time.

    A step after which the features overflow is taken back, and the optimiser is made anew with half the learning rate;
    likewise one that overflows on its way.
    """

    def __init__(
        self, problem: SeparableProblem, parameters: Tensor, forgetting: float, choose: Choice, make: Factory
    ) -> None:
        """Steps from `parameters` by the optimiser that `make` returns for a list of variables."""
        self._problem, self._forgetting, self._choose, self._make = problem, forgetting, choose, make
        self._variable = parameters.clone().requires_grad_(True)
        self._last, self._halvings = parameters.clone(), 0
        self._optimizer = self._made()
        self.projection = StreamingProjection.empty(problem.width, problem.outputs, device=parameters.device)
        self.regularization, self.solves = math.nan, 0

    @property
    def parameters(self) -> Tensor:
        """See `Steps`."""
        return self._variable.detach().clone()

    @property
    def damping(self) -> float:
        """The optimiser's learning rate, NaN where it has none."""
        return float(self._optimizer.param_groups[0].get("lr", math.nan))

    def step(self, batch: Batch) -> float:
        """See `Steps`."""
        before = self.parameters
        try:
            met = self._stepped(batch)
        except NonFiniteError:
            if torch.equal(before, self._last):
                raise
            before = self._last
            self._retreat(before)
            met = self._stepped(batch)
        self._last, self.projection = before, met.absorption.projection
        self.regularization = met.solved.regularization
        return float(torch.sum(met.rows.residual(met.solved.coefficients) ** 2))

    def _stepped(self, batch: Batch) -> Met:
        """Step, and the batch as it was met before."""
        before, seen = self.parameters, []

        def closure() -> Tensor:
            met = Met.at(self._problem, self.parameters, batch, self.projection, self._forgetting, self._choose)
            self.solves += 1
            C, rows = met.solved.coefficients, batch.targets.shape[0]
            gradient = met.rows.gradient(C) / rows
            if not bool(torch.isfinite(gradient).all()):
                raise NonFiniteError("the gradient of the batch is not finite")
            seen.append(met)
            self._variable.grad = gradient
            return 0.5 * torch.sum(met.rows.residual(C) ** 2) / rows

        for _ in range(TRIALS):
            try:
                self._optimizer.step(closure)  # pyright: ignore[reportArgumentType, reportCallIssue]
                break
            except NonFiniteError:
                if not seen:
                    raise
                self._retreat(before)
        return seen[0]

    def _retreat(self, parameters: Tensor) -> None:
        self._variable.detach().copy_(parameters)
        self._halvings += 1
        self._optimizer = self._made()

    def _made(self) -> torch.optim.Optimizer:
        optimizer = self._make([self._variable])
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise ArgumentTypeError(
                f"optimizer must make a torch.optim.Optimizer of a list of parameters, got {type(optimizer).__name__}"
            )
        for group in optimizer.param_groups:
            if "lr" in group:
                group["lr"] = group["lr"] * 0.5**self._halvings
        return optimizer
