"""Joint training with a fast output layer, theta' = -grad_theta L and eps C' = -grad_C L, against variable projection.

For small eps the coefficients follow the solved ones, C = C(theta) + O(eps), and theta follows the flow
theta' = -grad psi(theta) of the reduced problem with a gap O(eps) on finite times (Tikhonov's theorem on singular
perturbations). The system is stiff with rates (Phi^T Phi + lam I) / eps: it is integrated by Radau's implicit method of
order 5 with the exact Jacobian, and so is the reduced flow, which is stiff where features are nearly collinear.

Sources: A. N. Tikhonov 1952; E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 1996.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from grassvp.arrays import to_tensor
from grassvp.errors import ArgumentError
from grassvp.joint import JointPoint
from grassvp.reduced import ReducedProblem, check_free
from grassvp.theory.integration import check_times, integrate

__all__ = ["TimeScaleStudy", "joint_point_hessian", "two_time_scales"]


@dataclass(frozen=True, eq=False)
class TimeScaleStudy:
    """Trajectories of the joint flow for several eps beside the one of variable projection.

    Attributes:
        epsilons: (E,) descending.
        times: (T,).
        trajectories: theta, (E, T, q).
        reduced_trajectory: theta of variable projection, (T, q).
        gaps: (E,) largest distance over the times, ||theta_eps - theta||.
        evaluations: (E,) velocities that each integration took.
    """

    epsilons: np.ndarray
    times: np.ndarray
    trajectories: np.ndarray
    reduced_trajectory: np.ndarray
    gaps: np.ndarray
    evaluations: np.ndarray

    @property
    def order(self) -> float:
        """Slope of log gap against log eps, by least squares; 1 in theory."""
        return float(np.polyfit(np.log(self.epsilons), np.log(self.gaps), 1)[0])

    @property
    def local_orders(self) -> np.ndarray:
        """Slopes between neighbouring eps, (E - 1,); they tend to 1."""
        return np.diff(np.log(self.gaps)) / np.diff(np.log(self.epsilons))

    def __repr__(self) -> str:
        """The order and the range it was measured on."""
        return f"TimeScaleStudy(order {self.order:.4f} for eps {self.epsilons[0]:g} to {self.epsilons[-1]:g})"


def two_time_scales(
    problem: ReducedProblem, parameters: Any, times: Any, epsilons: Any, *, tolerance: float = 1e-10
) -> TimeScaleStudy:
    """Follow both flows from the same theta, the joint one with C started at the least-squares solution.

    Args:
        problem: a reduced problem with lam > 0 or features of full column rank.
        parameters: theta(0), (q,).
        times: ascending, >= 0, the last one > 0.
        epsilons: at least two distinct numbers > 0.
        tolerance: relative error of a step; gaps below about 100 times this cannot be seen.

    Raises:
        ArgumentError, ArgumentTypeError: an argument that cannot be used, by name.
        FlowError: the integrator could not go on.
    """
    check_free(problem)
    instants = check_times(times)
    if instants[-1] == 0.0:
        raise ArgumentError("times must contain a time > 0: at time 0 both flows are at the start")
    values = np.unique(to_tensor(epsilons, "epsilons").double().numpy())[::-1]
    if values.ndim != 1 or values.size < 2 or values[-1] <= 0:
        raise ArgumentError(f"epsilons must be at least two distinct numbers > 0, got {epsilons!r}")
    if not 0 < tolerance < 1:
        raise ArgumentError(f"tolerance must be between 0 and 1, got {tolerance}")
    start = problem.vector(parameters, "parameters").double().cpu().numpy()
    reduced, _ = integrate(
        lambda theta: -problem.gradient(theta),
        start,
        instants,
        relative=tolerance,
        absolute=tolerance,
        method="Radau",
        jacobian=lambda theta: -problem.hessian(theta),
    )
    runs = [_joint_flow(problem, start, instants, float(eps), tolerance) for eps in values]
    thetas = np.array([states for states, _ in runs])
    return TimeScaleStudy(
        epsilons=values,
        times=instants,
        trajectories=thetas,
        reduced_trajectory=reduced,
        gaps=np.linalg.norm(thetas - reduced, axis=2).max(axis=1),
        evaluations=np.array([count for _, count in runs]),
    )


def joint_point_hessian(point: JointPoint) -> np.ndarray:
    """The Hessian of 1/2 ||W (Phi C - Y)||^2 + lam/2 ||C||^2 in (theta, C row by row), dense.

    With G_j = W D_j Phi C and R = W (Y - Phi C): <G_j, G_l> - <W R C^T, D_jl Phi> for theta;
    (G_j^T W Phi)^T - (W D_j Phi)^T R between theta and C; (Phi^T W^2 Phi + lam I) for each output of C.
    """
    problem, C = point.problem, point.coefficients
    n, k, q = problem.width, problem.outputs, point.parameters.numel()
    w = torch.ones_like(problem.targets[:, 0]) if problem.weights is None else problem.weights
    D = w[:, None, None] * point.derivatives.contract(torch.eye(n, dtype=C.dtype, device=C.device))
    Phi, R = w[:, None] * point.derivatives.values, point.residual[: problem.rows]
    G = torch.einsum("iaj,al->ilj", D, C)
    bend = problem.features.curvature(point.parameters, problem.inputs, w[:, None] * R, C)
    mixed = torch.einsum("ia,ilj->alj", Phi, G) - torch.einsum("iaj,il->alj", D, R)
    gram = Phi.T @ Phi + problem.regularization * torch.eye(n, dtype=C.dtype, device=C.device)
    H = torch.zeros(q + n * k, q + n * k, dtype=C.dtype, device=C.device)
    H[:q, :q] = torch.einsum("ilj,ilp->jp", G, G) - bend
    H[q:, :q] = mixed.reshape(n * k, q)
    H[:q, q:] = H[q:, :q].T
    H[q:, q:] = torch.kron(gram, torch.eye(k, dtype=C.dtype, device=C.device))
    return ((H + H.T) / 2).double().cpu().numpy()


def _joint_flow(
    problem: ReducedProblem, theta: np.ndarray, times: np.ndarray, eps: float, tolerance: float
) -> tuple[np.ndarray, int]:
    """Parameters (T, q) of the joint flow at one eps."""
    joint, q = problem.joint, theta.size
    start = joint.start(problem.vector(theta, "parameters"), zero_coefficients=False).double().cpu().numpy()
    like = problem.problem.features.initial
    speed = np.where(np.arange(start.size) < q, 1.0, 1.0 / eps)

    def at(state: np.ndarray) -> JointPoint:
        return joint.linearize(torch.from_numpy(np.array(state)).to(like))

    states, evaluations = integrate(
        lambda state: -speed * at(state).gradient.double().cpu().numpy(),
        start,
        times,
        relative=tolerance,
        absolute=tolerance * max(1.0, math.sqrt(float(np.mean(start**2)))),
        method="Radau",
        jacobian=lambda state: -speed[:, None] * joint_point_hessian(at(state)),
    )
    return states[:, :q], evaluations
