"""By how much the value rises when neurons go and the linear solve is made again, in closed form.

With A_lam = [W Phi; sqrt(lam) I] and L = R^-T of its factorisation, (A_lam^T A_lam)^-1 = L^T L. Without the columns S,
  value(S) - value = 1/2 tr C_S^T [(L^T L)_SS]^-1 C_S = 1/2 ||T^-T C_S||^2    with L_S = Q T,
for one column c_j^2 / (2 ||L e_j||^2). To take column j out of the factors is to project the direction of L e_j out of
L: the next column can be judged without another factorisation.

Source: G. Golub, C. Van Loan, Matrix Computations, 6.5 (downdating); leave-one-out formulas of linear regression.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grassvp.errors import ArgumentError
from grassvp.projection import Projection
from grassvp.separable import SeparableProblem
from grassvp.surgery.networks import Network

__all__ = ["check_closed_form", "elimination", "joint_effect", "leave_one_out"]

INSIDE = 1e-8  # 1 - (A^+ A)_jj, above which column j lies inside the span of others: a squared part of a null vector


def leave_one_out(problem: SeparableProblem, parameters: Any) -> Tensor:
    """By how much the value rises without each neuron of the last hidden layer, the others solved for again.

    c_j^2 / (2 [(A_lam^T A_lam)^-1]_jj) with A_lam = [W Phi; sqrt(lam) I]; 0 at lam = 0 for a neuron inside the span of
    others.

    Args:
        problem: a problem whose features are an mlp.
        parameters: theta (q,), numpy or torch.

    Returns:
        (width,) increases of the value, float64.

    Raises:
        ArgumentError: the features are no mlp's, or the coefficients have bounds, with which there is no closed form.
    """
    network = Network.of(problem, parameters)
    check_closed_form(problem)
    projection = network.point.projection
    increases = _effects(projection.pseudo_factor, projection.coefficients.double())
    if problem.regularization == 0.0:
        increases = torch.where(_inside(projection), 0.0, increases)
    return increases[: len(network.neurons)]


def check_closed_form(problem: SeparableProblem) -> None:
    """Raise where bounds on the coefficients leave no closed form."""
    if problem.coefficient_bounds is not None:
        raise ArgumentError(
            "problem has coefficient_bounds, with which what a neuron is worth has no closed form: merge and drop alone"
        )


def joint_effect(projection: Projection, columns: Sequence[int]) -> float:
    """By how much the value rises without some columns together; at lam > 0, or for independent columns."""
    index = list(columns)
    T = torch.linalg.qr(projection.pseudo_factor[:, index], mode="r").R
    lowered = torch.linalg.solve_triangular(T.T, projection.coefficients[index].double(), upper=False)
    return 0.5 * float((lowered**2).sum())


def elimination(projection: Projection, columns: int, budget: float) -> list[tuple[int, float]]:
    """Columns among the first ones to take out one after the other, always the cheapest, within a budget of the value.

    Args:
        projection: a linear solve at lam > 0, or with features of full numerical rank.
        columns: how many columns, from the first on, may go; one of them stays.
        budget: the sum of the increases of the value is at most this.

    Returns:
        (column, increase of the value) in the order in which they go, each beside those that went before.
    """
    L, C = projection.pseudo_factor.clone(), projection.coefficients.double().clone()
    gone = torch.zeros(L.shape[1], dtype=torch.bool, device=L.device)
    gone[columns:] = True
    found: list[tuple[int, float]] = []
    while len(found) < columns - 1:
        increases = torch.where(gone, torch.inf, _effects(L, C))
        column = int(increases.argmin())
        budget -= float(increases[column])
        if not budget >= 0.0:
            break
        found.append((column, float(increases[column])))
        gone[column] = True
        length = torch.linalg.vector_norm(L[:, column])
        u = L[:, column] / length
        along = u @ L
        C = C - torch.outer(along, C[column] / length)
        L = L - torch.outer(u, along)
    return found


def _effects(L: Tensor, C: Tensor) -> Tensor:
    """c_j^2 / (2 ||L e_j||^2) for every column; 0 for what has no coefficient, as a dead column without ridge."""
    squares = (L**2).sum(0)
    return torch.where(squares > 0, 0.5 * (C**2).sum(1) / squares, 0.0)


def _inside(projection: Projection) -> Tensor:
    """Which columns lie inside the span of the others: (A^+ A)_jj is 1 for all that do not."""
    along = projection.inward(projection.triangle.to(projection.orthonormal.dtype)).double()
    return 1.0 - (projection.pseudo_factor * along).sum(0) > INSIDE
