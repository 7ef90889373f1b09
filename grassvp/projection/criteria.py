"""Criteria for lam as functions of the spectrum: each is a number for each lam, least (or zero) at the lam it chooses.

With m rows, k outputs, filters f_i = s_i^2 / (s_i^2 + lam), RSS = ||A C - Y||^2 and t = m - sum f_i:
  GCV          m RSS / t^2, whose weighted form has t = m - w sum f_i (w > 1 smooths more)
  evidence     m k log(q / (m k)) + k sum log(1 + s_i^2 / lam), with q = RSS + lam ||C||^2: -2 log of the marginal
               likelihood of Y ~ N(0, sigma^2 (I + A A^T / lam)), with sigma^2 = q / (m k) maximising it
  risk         RSS + 2 k sigma^2 sum f_i: up to a constant an unbiased estimate of ||A C - truth||^2 (Mallows' C_p)
  discrepancy  RSS - m k sigma^2, zero where the misfit is that of the noise (Morozov)
  L-curve      minus the curvature of log ||C|| against log sqrt(RSS)
With row weights w_i the noise of row i has deviation w_i sigma: then the last two traces are weighted sums. GCV and the
evidence take the weighted rows to be equally noisy.

Sources: G. Golub, M. Heath, G. Wahba, Technometrics 21 (1979); J. Chung, J. Nagy, D. O'Leary, ETNA 28 (2008), weighted
GCV; D. MacKay, Neural Computation 4 (1992), evidence; C. Mallows, Technometrics 15 (1973); V. Morozov 1966; P. Hansen,
D. O'Leary, SIAM J. Sci. Comput. 14 (1993), L-curve.
"""

import math

import torch
from torch import Tensor

from grassvp.projection.spectrum import Spectrum

__all__ = ["discrepancy", "evidence", "gcv", "generalized", "l_curvature", "predictive_risk"]

SATURATED = 1e-8  # of the rows: fewer degrees of freedom left over tell nothing about lam


def gcv(spectrum: Spectrum, lams: Tensor, weight: float = 1.0) -> Tensor:
    """The score m RSS / (m - w sum f)^2; infinite where next to nothing is left over to judge by."""
    left = spectrum.freedom(lams)
    if weight != 1.0:
        left = spectrum.rows - weight * (spectrum.rows - left)
    return generalized(spectrum.rows, spectrum.misfit(lams), left)


def generalized(rows: float, misfit: Tensor, left: Tensor) -> Tensor:
    """The score m RSS / t^2 for t = `left` degrees of freedom, infinite for next to none."""
    return torch.where(left > SATURATED * rows, rows * misfit / left**2, math.inf)


def evidence(spectrum: Spectrum, lams: Tensor) -> Tensor:
    """-2 log marginal likelihood, without constants, with the noise variance eliminated."""
    _, g = spectrum.filters(lams)
    entries = spectrum.rows * spectrum.outputs
    q = spectrum.outside + g @ spectrum.squares
    # 1 - f = g, so that log(1 + s^2 / lam) = -log g; q is zero only where the targets are
    return entries * torch.log(q / entries) - spectrum.outputs * torch.log(g).sum(1)


def predictive_risk(spectrum: Spectrum, lams: Tensor, noise_level: float, weights: Tensor | None = None) -> Tensor:
    """RSS + 2 k sigma^2 sum_i f_i, or with row weights sum_i f_i (sum_j w_j^2 U_ji^2)."""
    f, _ = spectrum.filters(lams)
    trace = f.sum(1) if weights is None else f @ ((spectrum.basis**2).T @ weights.double() ** 2)
    return spectrum.misfit(lams) + 2.0 * spectrum.outputs * noise_level * noise_level * trace


def discrepancy(spectrum: Spectrum, lams: Tensor, noise_level: float, weights: Tensor | None = None) -> Tensor:
    """RSS - k sigma^2 m, or with row weights k sigma^2 sum_j w_j^2; it grows with lam."""
    squares = spectrum.rows if weights is None else float(torch.sum(weights.double() ** 2))
    return spectrum.misfit(lams) - spectrum.outputs * noise_level * noise_level * squares


def l_curvature(spectrum: Spectrum, lams: Tensor) -> Tensor:
    """Curvature of (log sqrt(RSS), log ||C||) as a curve in log lam; largest at its corner.

    With x = RSS, y = sum c_i^2 and ' = d/d log lam: f' = -f g and g' = f g for g = 1 - f, so that
    y' = -2 sum g c_i^2, y'' = sum (4 g^2 - 2 f g) c_i^2, x' = -lam y' and x'' = -lam (y' + y'').
    """
    f, g = spectrum.filters(lams)
    c2 = (f / spectrum.singular_values) ** 2 * spectrum.squares
    x, y = spectrum.misfit(lams), c2.sum(1)
    dy = -2.0 * (g * c2).sum(1)
    dx = -lams * dy
    ddy = (c2 * (4.0 * g**2 - 2.0 * g * f)).sum(1)
    ddx = -lams * (dy + ddy)
    du, dv = 0.5 * dx / x, 0.5 * dy / y
    ddu, ddv = 0.5 * (ddx / x - (dx / x) ** 2), 0.5 * (ddy / y - (dy / y) ** 2)
    return (du * ddv - ddu * dv) / (du**2 + dv**2) ** 1.5
