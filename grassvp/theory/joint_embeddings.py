"""Critical points of the joint problem at lam = 0 that a wide network inherits: neurons split with any weights.

Without a ridge the output weights c_j of a neuron may be shared among its copies in any way, c_ji = mu_ji c_j with
sum_i mu_ji = 1: the network function stays, and a critical point (theta, C) stays critical. Negative shares are
allowed, and a share of zero adds a dead copy. Write the changes of the copies of neuron j as v_i (parameters) and g_i
(output weights). What moves the fit is V = sum_i mu_i v_i and G = sum_i g_i; with v_i = V + v_i', g_i = mu_i G + g_i'
the second derivative of 1/2 ||W (Phi C - Y)||^2 is that of the narrow joint problem in (V, G), plus for each neuron

  sum_i mu_i S_j[v_i', v_i'] - 2 g_i'^T U_j v_i',     S_j = -<W R c_j^T, D^2 phi_j>,  U_j = R^T W Dphi_j,

on sum_i mu_i v_i' = 0 = sum_i g_i'. In a basis that is orthogonal for diag(mu) these are r_j - 1 saddle-point forms
m S_j[v, v] - 2 g^T U_j v, where as many m are positive, zero and negative as there are shares mu_i, less one positive.
Each has index rank U_j + index of m S_j on ker U_j, and nullity k - rank U_j + nullity of m S_j on ker U_j. With one
output and c_j != 0, U_j = 0, and the shares fill a manifold of critical points. Two copies of a strict minimum then
make minima for shares in (0, 1) and saddles beyond if S_j is positive definite, the other way round if it is negative
definite, and only saddles if it is indefinite.

Sources: K. Fukumizu and S. Amari 2000 for one output and two copies; B. Simsek et al. 2021, Y. Zhang et al. 2021. The
count for any number of copies and outputs is this project's own derivation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.jacobians import weighted
from grassvp.joint import JointProblem
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem
from grassvp.theory.copies import check_multiplicities, copy_terms, double, one_hidden, positions, repeated, widened
from grassvp.theory.inertia import Inertia, compare_inertia
from grassvp.theory.reports import EIGENVALUE_TOLERANCE

__all__ = ["JointEmbedding", "embed_joint"]

RANK_TOLERANCE = 1e-8  # of ||W R|| ||Dphi_j||: where U_j is no more than what a converged gradient leaves
SUM_TOLERANCE = 1e-12


@dataclass(frozen=True, eq=False)
class JointEmbedding:
    """A point (theta, C) of the wide joint problem at lam = 0 with neurons split, and its Morse data predicted.

    Attributes:
        wide: the joint problem of the wide network.
        multiplicities: r_j, copies of each neuron.
        splits: mu_j, (r_j,) for each neuron, each of sum 1.
        parameters: theta of the wide network, (q_wide,).
        coefficients: C of the wide network, (n_wide, k).
        narrow: inertia of the joint Hessian of the narrow network.
        copies: inertia of what the copies of each neuron add.
        tolerance: eigenvalues within this times the largest count as zero.
    """

    wide: JointProblem
    multiplicities: tuple[int, ...]
    splits: tuple[np.ndarray, ...]
    parameters: np.ndarray
    coefficients: np.ndarray
    narrow: tuple[int, int]
    copies: tuple[tuple[int, int], ...]
    tolerance: float

    @property
    def predicted_index(self) -> int:
        """Negative eigenvalues of the joint Hessian, if the narrow point is critical."""
        return self.narrow[0] + sum(index for index, _ in self.copies)

    @property
    def predicted_nullity(self) -> int:
        """Zero eigenvalues of the joint Hessian, likewise."""
        return self.narrow[1] + sum(nullity for _, nullity in self.copies)

    @property
    def point(self) -> Tensor:
        """The vector (theta, C row by row) that the joint problem takes."""
        like = self.wide.problem.targets
        return torch.from_numpy(np.concatenate([self.parameters, self.coefficients.ravel()])).to(like)

    @property
    def gradient_norm(self) -> float:
        """Norm of the gradient of the joint problem there, from its own derivatives."""
        return float(np.linalg.norm(double(self.wide.linearize(self.point).gradient)))

    def hessian(self) -> np.ndarray:
        """The joint Hessian in (theta, C row by row), by automatic differentiation of the objective."""
        problem = self.wide.problem

        def value(point: Tensor) -> Tensor:
            theta, C = point[: self.parameters.size], point[self.parameters.size :].view(self.coefficients.shape)
            fit = problem.features(theta, problem.inputs) @ C
            return 0.5 * ((problem.weighted_targets - weighted(fit, problem.weights)) ** 2).sum()

        H = double(torch.func.jacrev(torch.func.grad(value))(self.point))
        return 0.5 * (H + H.T)

    @cached_property
    def inertia(self) -> Inertia:
        """Inertia of the joint Hessian as measured."""
        values = np.linalg.eigvalsh(self.hessian())
        return Inertia.of(values, self.tolerance * float(np.max(np.abs(values))))

    def __repr__(self) -> str:
        """Multiplicities and what is predicted."""
        return (
            f"JointEmbedding(multiplicities {self.multiplicities}, predicted index {self.predicted_index}, nullity "
            f"{self.predicted_nullity} of {self.point.numel()})"
        )


def embed_joint(
    reduced: ReducedProblem,
    parameters: Any,
    multiplicities: Sequence[int],
    splits: Sequence[Any] | None = None,
    *,
    tolerance: float = EIGENVALUE_TOLERANCE,
) -> JointEmbedding:
    """Repeat neurons of a narrow network at lam = 0, sharing their output weights, and predict index and nullity.

    The point is critical for the wide joint problem where theta is critical for the narrow reduced one. The reduced
    value of the wide network is not differentiable there: any step that tells the copies apart raises the rank.

    Args:
        reduced: the narrow problem: an mlp with one hidden layer, lam = 0, features of full rank at theta, no bounds.
        parameters: theta, (q,), a critical point of it.
        multiplicities: r_j >= 1, the number of copies of each neuron.
        splits: for each neuron the shares (r_j,) of its copies, of sum 1; equal ones by default.
        tolerance: eigenvalues within this times the largest count as zero.

    Raises:
        ArgumentTypeError: an argument of another type.
        ArgumentError: other features, lam > 0 (where only equal shares are critical: `embed`), dependent features,
            multiplicities or splits that do not fit.
    """
    r = check_multiplicities(reduced, multiplicities)
    if reduced.problem.regularization > 0.0:
        raise ArgumentError(
            f"reduced must have regularization 0, got {reduced.problem.regularization:g}: a ridge leaves no choice of "
            "the shares, which must be equal; use embed"
        )
    shares = _check_splits(splits, r)
    now = reduced.linearize(parameters)
    joint = compare_inertia(reduced, parameters, tolerance=tolerance).joint
    C, d = double(now.coefficients), one_hidden(reduced).module.in_features
    split = [np.outer(mu, c) for mu, c in zip(shares, C, strict=False)]
    return JointEmbedding(
        wide=widened(reduced, sum(r)).joint,
        multiplicities=r,
        splits=shares,
        parameters=repeated(double(now.parameters)[positions(len(r), d)], r),
        coefficients=np.concatenate([*split, C[len(r) :]]),
        narrow=(joint.negative, joint.zero),
        copies=tuple(_copies(reduced, now, shares, tolerance)),
        tolerance=tolerance,
    )


def _copies(
    reduced: ReducedProblem, now: Linearization, shares: Sequence[np.ndarray], tolerance: float
) -> list[tuple[int, int]]:
    """(index, nullity) of the forms m S_j[v, v] - 2 g^T U_j v of each neuron, all its copies together."""
    residual, q = now.projection.residual, now.parameters.numel()
    terms = copy_terms(reduced, now.parameters, residual, double(now.coefficients))
    slopes = double(now.derivatives.contract(torch.eye(now.problem.width).to(residual))).reshape(-1, q)
    sizes = np.linalg.norm(slopes, axis=0)[positions(len(shares), terms[0][0].shape[0] - 1)]
    left = float(torch.linalg.vector_norm(weighted(residual, now.problem.weights).double()))
    counts = []
    for mu, S, U, size in zip(shares, *terms, sizes, strict=True):
        _, s, Vt = np.linalg.svd(U)
        rank = int(np.sum(s > RANK_TOLERANCE * left * np.linalg.norm(size)))
        values = np.linalg.eigvalsh(Vt[rank:] @ S @ Vt[rank:].T)
        inside = Inertia.of(values, tolerance * float(np.max(np.abs(S))))
        positive, zero, negative = int(np.sum(mu > 0)) - 1, int(np.sum(mu == 0)), int(np.sum(mu < 0))
        index = (len(mu) - 1) * rank + positive * inside.negative + negative * inside.positive
        nullity = (len(mu) - 1) * (len(U) - rank) + (positive + negative) * inside.zero + zero * len(values)
        counts.append((index, nullity))
    return counts


def _check_splits(splits: Sequence[Any] | None, multiplicities: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    if splits is None:
        return tuple(np.full(r, 1.0 / r) for r in multiplicities)
    if isinstance(splits, str) or not hasattr(splits, "__len__"):
        raise ArgumentTypeError(f"splits must be a sequence with the shares of each neuron, got {splits!r}")
    if len(splits) != len(multiplicities):
        raise ArgumentError(f"splits must have one entry for each of {len(multiplicities)} neurons, got {len(splits)}")
    shares = tuple(double(to_tensor(each, "splits")) for each in splits)
    for mu, r in zip(shares, multiplicities, strict=True):
        if mu.shape != (r,):
            raise ArgumentError(f"splits must give {r} shares to a neuron of {r} copies, got shape {mu.shape}")
        if abs(mu.sum() - 1.0) > SUM_TOLERANCE * np.abs(mu).sum():
            raise ArgumentError(f"splits must have sum 1 for each neuron, got {mu.sum():.17g}")
    return shares
