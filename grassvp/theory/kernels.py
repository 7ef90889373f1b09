"""Infinite width: random features tend to a kernel, and the reduced value to that of kernel ridge regression.

Features Phi_ia = sigma(w_a . x_i + b_a) / sqrt(n), w_a ~ N(0, w^2 I), b_a ~ N(0, b^2), independent. As n grows,
K_n = Phi Phi^T tends to K_inf(x, y) = E sigma(u) sigma(v) for (u, v) Gaussian with covariances S_xy = w^2 x.y + b^2:
  erf   K = (2 / pi) asin(2 S_xy / sqrt((1 + 2 S_xx)(1 + 2 S_yy)))
  relu  K = sqrt(S_xx S_yy) (sin a + (pi - a) cos a) / (2 pi), cos a = S_xy / sqrt(S_xx S_yy)
and f_lam(K_n) -> f_lam(K_inf), f_lam(K) = lam/2 tr Y^T (K + lam I)^-1 Y. K_n is a mean of n independent terms, so that
the root mean square of f_lam(K_n) - f_lam(K_inf) is of order n^(-1/2), and its mean, positive because f_lam is convex
in K, of order 1/n.

Here the (m, m) kernel is the object itself and m is small; nowhere else is such a matrix formed.

Sources: C. K. I. Williams 1998 (erf); Y. Cho, L. K. Saul 2009 (relu, the arc-cosine kernel of degree 1, halved by
E relu(u)^2 = S/2); R. M. Neal 1996 for the limit.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import erf

from grassvp.arrays import check_choice, check_count, check_nonnegative, to_tensor
from grassvp.errors import ArgumentError
from grassvp.theory.integration import matrix

__all__ = ["KERNELS", "Slope", "WidthStudy", "kernel_value", "limit_kernel", "random_features", "width_study"]

KERNELS = ("erf", "relu")
BATCH_ENTRIES = 2**21


@dataclass(frozen=True)
class Slope:
    """A fitted slope of log against log.

    Attributes:
        slope: the slope.
        error: its standard error, from the scatter over the draws.
    """

    slope: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval."""
        return self.slope - 1.96 * self.error, self.slope + 1.96 * self.error


@dataclass(frozen=True, eq=False)
class WidthStudy:
    """f_lam(K_n) over widths n and random draws.

    Attributes:
        widths: (N,) ascending.
        values: (N, draws) f_lam(K_n).
        limit: f_lam(K_inf).
        corrected: (N, draws) f_lam(K_n) - f_lam(K_inf) minus its part linear in K_n - K_inf, whose mean is exactly
            zero: the same mean as the difference itself at a fraction of its scatter.
    """

    widths: np.ndarray
    values: np.ndarray
    limit: float
    corrected: np.ndarray

    @property
    def fluctuations(self) -> np.ndarray:
        """Root mean square of f_lam(K_n) - f_lam(K_inf), (N,)."""
        return np.sqrt(np.mean((self.values - self.limit) ** 2, axis=1))

    @property
    def biases(self) -> np.ndarray:
        """Mean of f_lam(K_n) - f_lam(K_inf), (N,), by the corrected draws."""
        return self.corrected.mean(axis=1)

    @property
    def fluctuation_order(self) -> Slope:
        """Slope of log fluctuation against log n; -1/2 in theory."""
        squares = (self.values - self.limit) ** 2
        mean = squares.mean(axis=1)
        errors = squares.std(axis=1, ddof=1) / np.sqrt(squares.shape[1]) / (2 * mean)
        return fit_slope(self.widths, np.sqrt(mean), errors)

    @property
    def bias_order(self) -> Slope:
        """Slope of log mean against log n; -1 in theory."""
        errors = self.corrected.std(axis=1, ddof=1) / math.sqrt(self.corrected.shape[1]) / self.biases
        return fit_slope(self.widths, self.biases, errors)

    def __repr__(self) -> str:
        """The two orders with their errors."""
        first, second = self.fluctuation_order, self.bias_order
        return (
            f"WidthStudy(fluctuation n^({first.slope:.3f} +- {1.96 * first.error:.3f}), "
            f"bias n^({second.slope:.3f} +- {1.96 * second.error:.3f}), limit {self.limit:.6g})"
        )


def width_study(
    inputs: Any,
    targets: Any,
    *,
    regularization: float,
    widths: Any = (64, 128, 256, 512, 1024),
    activation: str = "erf",
    weight_scale: float = 1.0,
    bias_scale: float = 1.0,
    draws: int = 400,
    rng: Any = 0,
) -> WidthStudy:
    """f_lam(K_n) for independent draws of random features at each width, beside f_lam(K_inf).

    Args:
        inputs: x, (m,) or (m, d), m small.
        targets: Y, (m,) or (m, k).
        regularization: lam > 0.
        widths: at least two distinct n.
        activation: "erf" or "relu".
        weight_scale: standard deviation w of the weights.
        bias_scale: standard deviation b of the biases.
        draws: independent draws at each width, at least two.
        rng: seed or numpy Generator.
    """
    x = matrix(inputs, "inputs")
    Y = matrix(targets, "targets", x.shape[0])
    lam = _positive(regularization, "regularization")
    sizes = np.unique([check_count(int(n), "widths") for n in np.atleast_1d(to_tensor(widths, "widths").numpy())])
    if sizes.size < 2:
        raise ArgumentError(f"widths must have at least two distinct numbers, got {widths!r}")
    check_count(draws, "draws", least=2)
    K = limit_kernel(x, activation=activation, weight_scale=weight_scale, bias_scale=bias_scale)
    generator = np.random.default_rng(rng)
    scales = (activation, weight_scale, bias_scale)
    kernels = [_draw_kernels(x, int(n), draws, scales, generator) for n in sizes]
    limit = kernel_value(K, Y, lam)
    values = np.array([[kernel_value(K_n, Y, lam) for K_n in of_width] for of_width in kernels])
    Z = cho_solve(cho_factor(K + lam * np.eye(len(K))), Y)
    linear = np.array([[-0.5 * lam * np.sum(Z * ((K_n - K) @ Z)) for K_n in of_width] for of_width in kernels])
    return WidthStudy(sizes, values, limit, values - limit - linear)


def kernel_value(kernel: Any, targets: Any, regularization: float) -> float:
    """f_lam(K) = lam/2 tr Y^T (K + lam I)^-1 Y by Cholesky, for a positive semidefinite K (m, m).

    Raises:
        ArgumentError: K is not symmetric or K + lam I is not positive definite, wrong shapes, lam <= 0.
    """
    K = matrix(kernel, "kernel")
    Y, lam = matrix(targets, "targets", K.shape[0]), _positive(regularization, "regularization")
    if K.shape[0] != K.shape[1] or np.abs(K - K.T).max() > 1e-10 * np.abs(K).max():
        raise ArgumentError(f"kernel must be a symmetric square matrix, got shape {K.shape}")
    try:
        factor = cho_factor(K + lam * np.eye(K.shape[0]), lower=True)
    except np.linalg.LinAlgError as error:
        raise ArgumentError(f"kernel must be positive semidefinite to rounding: {error}") from error
    return 0.5 * lam * float(np.sum(Y * cho_solve(factor, Y)))


def limit_kernel(
    inputs: Any, *, activation: str = "erf", weight_scale: float = 1.0, bias_scale: float = 1.0
) -> np.ndarray:
    """K_inf (m, m) of erf or relu features with Gaussian weights and biases, in closed form.

    Args:
        inputs: x, (m,) or (m, d).
        activation: "erf" or "relu".
        weight_scale: standard deviation w of the weights.
        bias_scale: standard deviation b of the biases.
    """
    x = matrix(inputs, "inputs")
    check_choice(activation, "activation", KERNELS)
    w, b = check_nonnegative(weight_scale, "weight_scale"), check_nonnegative(bias_scale, "bias_scale")
    S = w**2 * (x @ x.T) + b**2
    variances = np.diag(S)
    if activation == "erf":
        root = np.sqrt(1.0 + 2.0 * variances)
        return 2.0 / math.pi * np.arcsin(np.clip(2.0 * S / np.outer(root, root), -1.0, 1.0))
    lengths = np.sqrt(variances)
    z = np.concatenate([w * x, np.full((len(x), 1), b)], axis=1) / np.where(lengths > 0, lengths, 1.0)[:, None]
    # the angle from the sides of the triangle: arccos would lose half the digits between close inputs
    apart = np.linalg.norm(z[:, None] - z[None], axis=2)
    angles = 2.0 * np.arctan2(apart, np.linalg.norm(z[:, None] + z[None], axis=2))
    return np.outer(lengths, lengths) * (np.sin(angles) + (math.pi - angles) * np.cos(angles)) / (2.0 * math.pi)


def random_features(
    inputs: Any,
    width: int,
    *,
    activation: str = "erf",
    weight_scale: float = 1.0,
    bias_scale: float = 1.0,
    draws: int = 1,
    rng: Any = 0,
) -> np.ndarray:
    """Phi = sigma(x W^T + b) / sqrt(n) for independent draws of Gaussian weights and biases, (draws, m, n).

    Args:
        inputs: x, (m,) or (m, d).
        width: n.
        activation: "erf" or "relu".
        weight_scale: standard deviation of the weights.
        bias_scale: standard deviation of the biases.
        draws: how many.
        rng: seed or numpy Generator.
    """
    x = matrix(inputs, "inputs")
    check_choice(activation, "activation", KERNELS)
    w, b = check_nonnegative(weight_scale, "weight_scale"), check_nonnegative(bias_scale, "bias_scale")
    n, count = check_count(width, "width"), check_count(draws, "draws")
    generator = np.random.default_rng(rng)
    weights = w * generator.standard_normal((count, x.shape[1], n))
    z = x @ weights + b * generator.standard_normal((count, 1, n))
    return (erf(z) if activation == "erf" else np.maximum(z, 0.0)) / math.sqrt(n)


def fit_slope(abscissae: np.ndarray, ordinates: np.ndarray, relative_errors: np.ndarray) -> Slope:
    """Slope of log y against log x by least squares weighted with the relative errors of y, and its standard error."""
    if (ordinates <= 0).any():
        return Slope(float("nan"), float("nan"))
    weights = 1.0 / relative_errors**2
    x, y = np.log(abscissae), np.log(ordinates)
    centred = x - np.average(x, weights=weights)
    spread = float(np.sum(weights * centred**2))
    return Slope(float(np.sum(weights * centred * y)) / spread, 1.0 / math.sqrt(spread))


def _draw_kernels(
    x: np.ndarray, n: int, draws: int, scales: tuple[str, float, float], generator: np.random.Generator
) -> np.ndarray:
    """`draws` kernels K_n, (draws, m, m), in batches of bounded memory."""
    batch, left, kernels = max(1, BATCH_ENTRIES // (n * x.shape[0])), draws, []
    while left > 0:
        Phi = random_features(
            x,
            n,
            activation=scales[0],
            weight_scale=scales[1],
            bias_scale=scales[2],
            draws=min(batch, left),
            rng=generator,
        )
        kernels.append(Phi @ Phi.transpose(0, 2, 1))
        left -= batch
    return np.concatenate(kernels)


def _positive(value: Any, name: str) -> float:
    number = check_nonnegative(value, name)
    if number == 0.0:
        raise ArgumentError(f"{name} must be > 0, got 0: the kernel may be singular")
    return number
