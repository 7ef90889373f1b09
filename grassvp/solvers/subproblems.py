"""Parts of the trust-region subproblem: minimise g^T s + 1/2 s^T B s over ||s|| <= radius."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["damping_at", "steihaug", "to_boundary"]

NEWTON_STEPS = 60  # for the damping at which a step has a given length; a handful is usual


def steihaug(
    gradient: Tensor, product: Callable[[Tensor], Tensor], radius: float, tolerance: float, iterations: int
) -> Tensor:
    """Conjugate gradients, stopped at the boundary, at negative curvature or at a relative residual (Steihaug 1983)."""
    s, residual = torch.zeros_like(gradient), gradient.clone()
    direction, size = -residual, float(residual @ residual)
    goal = tolerance**2 * size
    for _ in range(min(iterations, 2 * s.numel())):
        if size <= goal:
            break
        image = product(direction)
        curvature = float(direction @ image)
        ahead = s + (size / curvature) * direction if curvature > 0 else s
        if curvature <= 0 or float(torch.linalg.vector_norm(ahead)) >= radius:
            return s if math.isinf(radius) else s + to_boundary(s, direction, radius)
        s, residual = ahead, residual + (size / curvature) * image
        size, before = float(residual @ residual), size
        direction = -residual + (size / before) * direction
    return s


def to_boundary(start: Tensor, direction: Tensor, radius: float) -> Tensor:
    """T d with ||s + t d|| = radius, t > 0."""
    a, b = float(direction @ direction), float(start @ direction)
    c = float(start @ start) - radius**2
    root = math.sqrt(max(b * b - a * c, 0.0))
    t = -c / (b + root) if b > 0 else (root - b) / a
    return t * direction


def damping_at(radius: float, numerators: Tensor, values: Tensor, least: float) -> float:
    """Mu >= `least` at which s_i = numerators_i / (values_i + mu) has norm `radius`, by safeguarded Newton steps.

    Newton's method for 1/radius - 1/||s||, which is almost linear in mu (Hebden 1973). s(least) must be longer.
    """
    c, e = numerators.double().cpu().numpy(), values.double().cpu().numpy()
    low, high = least, least + float(np.linalg.norm(c)) / radius + float(max(-e.min(), 0.0))
    mu = max(low, 1e-3 * high)
    for _ in range(NEWTON_STEPS):
        s = c / (e + mu)
        norm = float(np.linalg.norm(s))
        if abs(norm - radius) <= 1e-10 * radius:
            break
        low, high = (mu, high) if norm > radius else (low, mu)
        ahead = mu + (norm - radius) / radius * norm**2 / float(np.sum(s * s / (e + mu)))
        inside = low < ahead < high
        mu = ahead if inside else math.sqrt(low * high) if low > 0 else 0.5 * high
    return mu
