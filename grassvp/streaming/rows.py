"""One batch at one theta: the weighted rows of the linear solve, and the derivatives that a step needs of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from grassvp.features import FeatureDerivatives
from grassvp.jacobians import model_coefficients, weighted
from grassvp.separable import SeparableProblem
from grassvp.streaming.batches import Batch

__all__ = ["LinearizedRows", "weighted_rows"]


@dataclass(frozen=True, eq=False)
class LinearizedRows:
    """Rows of W Phi and W Y with the derivative DPhi.

    Attributes:
        derivatives: Phi(theta) at the rows and products with its derivative.
        weights: (m_b,) row weights, or None.
        values: W Phi, (m_b, n), float64.
        targets: W Y, (m_b, k), float64, less what an offset of the model gives.
    """

    derivatives: FeatureDerivatives
    weights: Tensor | None
    values: Tensor
    targets: Tensor

    @staticmethod
    @torch.no_grad()
    def at(problem: SeparableProblem, parameters: Tensor, batch: Batch) -> "LinearizedRows":
        """The rows of `batch` at theta."""
        derivatives = problem.features.derivatives(parameters, batch.inputs)
        return LinearizedRows(derivatives, batch.weights, *_split(problem, derivatives.values, batch))

    def residual(self, coefficients: Tensor) -> Tensor:
        """W (Y - Phi C), (m_b, k), float64."""
        return self.targets - self.values @ coefficients

    @torch.no_grad()
    def gradient(self, coefficients: Tensor) -> Tensor:
        """-DPhi^*[W R C^T], (q,): the gradient of 1/2 ||W (Y - Phi C)||^2 with C held (envelope theorem)."""
        C = model_coefficients(self.derivatives.values, coefficients.to(self.derivatives.values.dtype))
        return -self.derivatives.pullback(weighted(self.residual(coefficients).to(C.dtype), self.weights), C)

    @torch.no_grad()
    def slope(self, direction: Tensor, coefficients: Tensor) -> Tensor:
        """W DPhi[v] C, (m_b, k), float64, for v (q,)."""
        C = model_coefficients(self.derivatives.values, coefficients.to(self.derivatives.values.dtype))
        return weighted(self.derivatives.pushforward(direction) @ C, self.weights).double()

    @torch.no_grad()
    def contraction(self, coefficients: Tensor) -> Tensor:
        """G_j = W (D_j Phi) C for all j at once, (m_b, k, q), float64."""
        C = model_coefficients(self.derivatives.values, coefficients.to(self.derivatives.values.dtype))
        return weighted(self.derivatives.contract(C), self.weights).double()


@torch.no_grad()
def weighted_rows(problem: SeparableProblem, parameters: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """(W Phi, W Y) of a batch at theta, (m_b, n) and (m_b, k), in float64."""
    return _split(problem, problem.features(parameters, batch.inputs), batch)


def _split(problem: SeparableProblem, Phi: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """W Phi and W Y without the columns of Phi that have fixed coefficients, which are an offset of the targets."""
    values = weighted(Phi, batch.weights).double()
    fixed, targets = values[:, problem.width :], weighted(batch.targets, batch.weights).double()
    return values[:, : problem.width], targets - fixed if fixed.shape[1] else targets
