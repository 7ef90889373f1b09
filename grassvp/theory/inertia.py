"""Joint against reduced: the same critical points with the same index.

At C = C(theta) the Hessian of the joint objective in (theta, C) has the blocks

  A = J^T J - sum_i r_i D^2 (W Phi C)_i,  J_j = W (D_j Phi) C        (q, q)
  B_j = Phi^T W^2 (D_j Phi) C - (D_j Phi)^T W r                      (n k, q)
  D = (Phi^T W^2 Phi + lam I) (x) I_k                                (n k, n k)

and the reduced Hessian is its Schur complement A - B^T D^-1 B. D is positive definite for lam > 0 (and at lam = 0 for
features of full rank), so that by Haynsworth's theorem both Hessians have equally many negative, and equally many
zero, eigenvalues. The joint Hessian is assembled here from first principles, the reduced one has its own formula.

Source: E. Haynsworth, Determination of the inertia of a partitioned Hermitian matrix, 1968.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grassvp.arrays import check_nonnegative
from grassvp.errors import ArgumentError
from grassvp.linearization import Linearization
from grassvp.reduced import ReducedProblem, check_free

__all__ = ["Inertia", "InertiaComparison", "compare_inertia", "joint_hessian"]


@dataclass(frozen=True)
class Inertia:
    """Numbers of negative, zero and positive eigenvalues of a symmetric matrix.

    Attributes:
        negative: eigenvalues below -threshold.
        zero: those within it.
        positive: those above it.
        threshold: the level that was used.
        gap: ratio of the smallest |eigenvalue| above the threshold to the largest within it; infinite if there is none
            within. A large one says that the count does not depend on the threshold.
    """

    negative: int
    zero: int
    positive: int
    threshold: float
    gap: float

    @staticmethod
    def of(values: np.ndarray, threshold: float) -> "Inertia":
        """The inertia of a matrix with these eigenvalues."""
        sizes = np.abs(values)
        within, above = sizes[sizes <= threshold], sizes[sizes > threshold]
        largest = float(np.max(within, initial=0.0))
        gap = float(np.min(above, initial=math.inf)) / largest if largest > 0 else math.inf
        negative = int(np.sum(values < -threshold))
        return Inertia(negative, within.size, int(values.size) - negative - within.size, threshold, gap)


@dataclass(frozen=True, eq=False)
class InertiaComparison:
    """The Hessians of the joint and of the reduced problem at (theta, C(theta)).

    Attributes:
        joint: inertia of the joint Hessian, in (theta, C).
        reduced: inertia of the reduced Hessian, in theta.
        coefficients: inertia of the block of C, which is positive definite for lam > 0.
        schur_defect: ||H_reduced - (A - B^T D^-1 B)||_F / ||H_reduced||_F.
        gradient_norm: of the reduced problem, which is that of the joint one.
    """

    joint: Inertia
    reduced: Inertia
    coefficients: Inertia
    schur_defect: float
    gradient_norm: float

    @property
    def agrees(self) -> bool:
        """Whether index and nullity of the two are equal."""
        return (self.joint.negative, self.joint.zero) == (self.reduced.negative, self.reduced.zero)

    def __repr__(self) -> str:
        """Both inertias and the defect."""
        joint, reduced = (f"({i.negative}, {i.zero}, {i.positive})" for i in (self.joint, self.reduced))
        return f"InertiaComparison(joint {joint}, reduced {reduced}, Schur defect {self.schur_defect:.2g})"


def compare_inertia(problem: ReducedProblem, parameters: Any, *, tolerance: float = 1e-10) -> InertiaComparison:
    """Inertia of the joint and of the reduced Hessian at theta and the C that least squares gives there.

    The counts of the joint problem are taken in coordinates R C, with R the triangle of [W Phi; sqrt(lam) I]: by
    Sylvester's law they are the same, and the block of C becomes the identity, so that small lam is not mistaken for
    degeneracy.

    Args:
        problem: a reduced problem; at lam = 0 its features must have full column rank at theta.
        parameters: theta, (q,); usually a critical point, though the statement holds everywhere.
        tolerance: eigenvalues within this times the largest of the reduced Hessian count as zero in both, or what
            rounding leaves of a zero eigenvalue of the joint one, if that is more.

    Raises:
        ArgumentError: the block of C is singular at theta (lam = 0 and dependent features).
    """
    check_free(problem)
    check_nonnegative(tolerance, "tolerance")
    now = problem.linearize(parameters)
    width, lam = now.problem.width, now.problem.regularization
    if lam == 0.0 and now.rank < width:
        raise ArgumentError(f"parameters give features of rank {now.rank} < {width} at lam = 0: use lam > 0")
    A, B, D = _blocks(now)
    root = np.kron(_triangle(now), np.eye(now.problem.outputs))
    half = np.linalg.solve(root.T, B)
    H = _double(now.hessian())
    balanced = np.block([[A, half.T], [half, np.eye(len(half))]])
    joint, reduced = np.linalg.eigvalsh(balanced), np.linalg.eigvalsh(H)
    rounding = 16 * np.finfo(float).eps * float(np.abs(joint).max())
    threshold = max(tolerance * float(np.abs(reduced).max()), rounding)
    defect = float(np.linalg.norm(H - (A - half.T @ half)) / max(np.linalg.norm(H), 1e-300))
    return InertiaComparison(
        joint=Inertia.of(joint, threshold),
        reduced=Inertia.of(reduced, threshold),
        coefficients=Inertia.of(np.linalg.eigvalsh(D), 0.0),
        schur_defect=defect,
        gradient_norm=float(np.linalg.norm(_double(now.gradient))),
    )


def joint_hessian(problem: ReducedProblem, parameters: Any) -> np.ndarray:
    """Hessian of 1/2 ||W (Phi(theta) C - Y)||^2 + lam/2 ||C||^2 in (theta, C row by row) at C = C(theta), dense."""
    check_free(problem)
    A, B, D = _blocks(problem.linearize(parameters))
    return np.block([[A, B.T], [B, D]])


def _blocks(now: Linearization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    problem, C, q, k = now.problem, now.coefficients, now.parameters.numel(), now.problem.outputs
    w = problem.targets.new_ones(problem.rows) if problem.weights is None else problem.weights
    left = w[:, None] * now.projection.residual
    Phi = w[:, None] * now.derivatives.values
    J = w[:, None, None] * now.derivatives.contract(C)
    identity = torch.eye(problem.width, dtype=Phi.dtype, device=Phi.device)
    adjoint = now.derivatives.contract_adjoint(left, identity)
    bent = problem.features.curvature(now.parameters, problem.inputs, left, C)
    flat = J.reshape(-1, q)
    A = _double(flat.T @ flat - bent)
    B = _double(torch.einsum("ia,ilj->alj", Phi, J) - adjoint).reshape(-1, q)
    D = np.kron(_double(Phi.T @ Phi + problem.regularization * identity), np.eye(k))
    return 0.5 * (A + A.T), B, D


def _triangle(now: Linearization) -> np.ndarray:
    """R with R^T R = Phi^T W^2 Phi + lam I."""
    Phi, weights = _double(now.derivatives.values), now.problem.weights
    Phi = Phi if weights is None else _double(weights)[:, None] * Phi
    ridge = math.sqrt(now.problem.regularization) * np.eye(Phi.shape[1])
    return np.linalg.qr(np.concatenate([Phi, ridge]), mode="r")  # pyright: ignore[reportReturnType]


def _double(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
