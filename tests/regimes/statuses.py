"""Whether the status of a solve is true, from recomputations that share nothing with the library but the features."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from grassvp import FirstOrder, SeparableProblem, Solution, Status
from tests.laws.reduced import EPS, norm

LENGTHS = np.logspace(-14, -3, 23)  # of sampled steps, beside the size of the parameters
DAMPINGS = (1e-14, 1e-8, 1e-3, 1.0)  # of sampled Gauss-Newton steps, relative to ||J||^2
SLACK = 20.0  # roundings


@dataclass(frozen=True)
class Reference:
    """The reduced problem at one theta by a singular value decomposition in numpy and slopes by automatic ones."""

    problem: SeparableProblem
    theta: np.ndarray

    @cached_property
    def values(self) -> np.ndarray:
        with torch.no_grad():
            return self.problem.features(torch.from_numpy(self.theta), self.problem.inputs).numpy()

    @cached_property
    def decomposition(self):
        """U, s, V^T of Phi without what the documented tolerance cuts."""
        U, s, Vt = np.linalg.svd(self.values, full_matrices=False)
        kept = s > self.cut * s[0]
        return U[:, kept], s[kept], Vt[kept]

    @property
    def lam(self) -> float:
        return self.problem.regularization

    @property
    def cut(self) -> float:
        return max(self.values.shape) * EPS if self.lam else 1e-10

    @property
    def targets(self) -> np.ndarray:
        return self.problem.targets.numpy()

    @cached_property
    def coefficients(self) -> np.ndarray:
        U, s, Vt = self.decomposition
        return Vt.T @ ((s / (s**2 + self.lam))[:, None] * (U.T @ self.targets))

    @cached_property
    def residual(self) -> np.ndarray:
        return self.targets - self.values @ self.coefficients

    @cached_property
    def value(self) -> float:
        return 0.5 * norm(self.residual) ** 2 + 0.5 * self.lam * norm(self.coefficients) ** 2

    @cached_property
    def slopes(self) -> np.ndarray:
        """D Phi, (m, n, q)."""
        features, x = self.problem.features, self.problem.inputs
        return torch.func.jacfwd(lambda t: features(t, x))(torch.from_numpy(self.theta)).numpy()

    @cached_property
    def gradient(self) -> np.ndarray:
        return -np.einsum("inq,ik,nk->q", self.slopes, self.residual, self.coefficients)

    @property
    def value_rounding(self) -> float:
        error = EPS * math.hypot(norm(self.targets), norm(np.abs(self.values) @ np.abs(self.coefficients)))
        return error * math.sqrt(2.0 * self.value) + error**2

    @property
    def at_the_edge(self) -> bool:
        """Whether rounding decides if a singular value is cut."""
        s = np.linalg.svd(self.values, compute_uv=False)
        return bool((np.abs(s / (self.cut * s[0]) - 1.0) < 1e-4).any()) or s[0] * self.cut > self.lam**0.5 > 0

    @property
    def value_error(self) -> float:
        """What the value here may be wrong by: the rounding of a normwise backward stable decomposition."""
        target = norm(self.targets)
        return SLACK * EPS * norm(self.values) * norm(self.coefficients) * target + 1e-12 * target**2

    @property
    def gradient_rounding(self) -> float:
        s = self.decomposition[1]
        smallest = math.hypot(s[-1], math.sqrt(self.lam))
        error = norm(self.values) * norm(self.coefficients) + norm(self.targets)
        return 10 * EPS * norm(self.slopes) * error * (norm(self.coefficients) + norm(self.residual) / smallest)

    def jacobian(self, exact: bool) -> tuple[np.ndarray, np.ndarray]:
        """J and the augmented residual: -(I - Q Q^T) (D A) C, and for the exact one less Q L (D A)^T r."""
        m, n, q = self.slopes.shape
        U, s, Vt = np.linalg.svd(np.vstack([self.values, math.sqrt(self.lam) * np.eye(n)]), full_matrices=False)
        U, s, Vt = (part[..., : np.sum(s > self.cut * s[0])] for part in (U, s, Vt.T))
        G = np.concatenate([np.einsum("inq,nk->ikq", self.slopes, self.coefficients), np.zeros((n, 1, q))])[:, 0]
        r = np.concatenate([self.residual, -math.sqrt(self.lam) * self.coefficients])[:, 0]
        N = (Vt.T @ np.einsum("inq,i->nq", self.slopes, r[:m])) / s[:, None]
        J = -(G - U @ (U.T @ G)) - (U @ N if exact else 0.0)
        return J, r

    def at(self, theta: np.ndarray) -> "Reference":
        return Reference(self.problem, theta)


def downhill(point: Reference, units: np.ndarray) -> dict[str, np.ndarray]:
    """Directions that ought to lower the value: the gradient in two scales, and damped Gauss-Newton steps."""
    sizes = units + np.abs(point.theta)
    found = {"-g": -(units**2) * point.gradient, "-g by sizes": -(sizes**2) * point.gradient}
    for exact in (False, True):
        J, r = point.jacobian(exact)
        U, s, Vt = np.linalg.svd(J * units, full_matrices=False)
        for damping in DAMPINGS if s[0] > 0 else ():
            found[f"{exact} {damping}"] = -units * (Vt.T @ (s / (s**2 + damping * s[0] ** 2) * (U.T @ r)))
    return {name: p for name, p in found.items() if 0 < norm(p) < math.inf}


def falls(point: Reference, only: tuple[str, ...] = (), least: float = 1e-8) -> str:
    """The first sampled direction along which the value begins by falling, by more than rounding; else nothing.

    A fall of less than `least` of the value does not count: it is the way to a kink or to the edge of a cliff. At the
    edge itself the value is what rounding makes of it.
    """
    if point.at_the_edge:
        return ""
    units = point.problem.units
    units = np.ones_like(point.theta) if units is None else units.numpy()
    reach = 1.0 + norm(point.theta / units)
    for name, p in downhill(point, units).items():
        if only and name not in only:
            continue
        for length in LENGTHS:
            ahead = point.at(point.theta + length * reach / norm(p / units) * p)
            change = ahead.value - point.value
            if abs(change) > SLACK * (point.value_rounding + ahead.value_rounding) + least * point.value:
                if change < 0:
                    return f"along {name} the value falls by {-change:.1e} of {point.value:.1e} at length {length:.0e}"
                break
    return ""


def joint_gradient(problem: SeparableProblem, solution: Solution) -> float:
    """Norm of the gradient in theta and C at a solution, by automatic differentiation."""
    theta, C = (tensor.clone().requires_grad_() for tensor in (solution.parameters, solution.coefficients))
    residual = problem.targets - problem.features(theta, problem.inputs) @ C
    value = 0.5 * (residual**2).sum() + 0.5 * problem.regularization * (C**2).sum()
    return norm(torch.cat([part.flatten() for part in torch.autograd.grad(value, (theta, C))]))


def untruth(problem: SeparableProblem, solution: Solution, tolerance: float, limit: int) -> str:
    """What is wrong with a solution and its status; nothing where all of it is true."""
    joint = getattr(solution.method, "objective", "reduced") == "joint"
    point = Reference(problem, solution.parameters.numpy())
    threshold = tolerance * norm(problem.targets) ** 2
    numbers = [solution.value, solution.gradient_norm, *solution.parameters, *solution.coefficients.flatten()]
    history = [solution.history[name] for name in ("value", "gradient_norm", "step_norm", "seconds")]
    if not (np.isfinite(numbers).all() and all(np.isfinite(column).all() for column in history)):
        return "not finite"
    if solution.value > solution.history["value"][0] * (1 + 1e-12):
        return f"it ended above its start, {solution.value:.3e} > {solution.history['value'][0]:.3e}"
    if not (joint or point.at_the_edge or abs(solution.value - point.value) <= point.value_error):
        return f"the value is {point.value:.6e}, not {solution.value:.6e}"
    status = solution.status
    if status is Status.CONVERGED:
        found = joint_gradient(problem, solution) if joint else norm(point.gradient)
        slack = 1e-6 * threshold + (0.0 if joint else point.gradient_rounding)
        return "" if found <= threshold + slack else f"the gradient is {found:.2e} > {threshold:.2e}"
    if status is Status.MAX_ITERATIONS:
        return "" if solution.iterations == limit else f"{solution.iterations} iterations, not {limit}"
    if status is Status.RANK_DEFICIENT and not joint:
        s, ridge = np.linalg.svd(point.values, compute_uv=False), math.sqrt(problem.regularization)
        if s[-1] > 2.1 * point.cut * s[0] or ridge > 2.1 * point.cut * s[0]:
            return f"full rank, {s[-1] / s[0]:.1e}, or a ridge that matters"
        return falls(point, ("-g", "-g by sizes"), least=1e-4)
    if status is Status.STALLED:
        gradient_only = isinstance(solution.method, FirstOrder)
        return "" if joint else falls(point, ("-g", "-g by sizes") if gradient_only else ())
    if status is Status.DAMPED_OUT and not joint:
        return "" if has_a_kink(point) else "the gradient describes the value"
    return f"unexpected {status}"


def has_a_kink(point: Reference) -> bool:
    """Whether the gradient changes by a tenth within 1e-7 of the size of theta, along itself."""
    step = 1e-7 * (1.0 + norm(point.theta)) / norm(point.gradient) * point.gradient
    return norm(point.at(point.theta - step).gradient - point.gradient) > 0.1 * norm(point.gradient)
