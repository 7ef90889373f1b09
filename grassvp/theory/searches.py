"""Walks that end at critical points: downhill to minima, down the gradient norm or partly uphill to saddles.

All steps are taken in the eigenvectors v_i of the Hessian, with eigenvalues l_i and components g_i of the gradient:

  descend  -g_i / |l_i|                     a Newton step that falls in every direction, with backtracking on the value
  ascend   +g_i / |l_i| for the j lowest l_i, -g_i / |l_i| for the others: saddles of index j attract
  settle   -l_i g_i / (l_i^2 + mu)          Levenberg-Marquardt on |grad|^2: critical points of any index attract

Sources: Y. Dauphin et al. 2014 for the first, C. Cerjan and W. Miller 1981 for the second, J. More 1978 for the third.
"""

from collections.abc import Callable

import numpy as np

from grassvp.theory.objectives import LocalModel, Objective

__all__ = ["ascend", "descend", "settle"]

KRYLOV = 40  # above this dimension the eigenvectors are Ritz vectors of a Krylov space that holds the gradient
FLOOR = 1e-6  # of the largest |eigenvalue|: flatter directions are walked as if they curved that much
FARTHEST = 1e3  # where a coordinate of the point is beyond this the walk has run off to infinity
ARMIJO = 1e-4

Modes = tuple[np.ndarray, np.ndarray, np.ndarray]


def descend(objective: Objective, start: np.ndarray, goal: float, iterations: int = 60) -> LocalModel | None:
    """Walk downhill until the gradient norm is at most `goal` or nothing improves; None where it left for infinity."""
    model = objective.at(start)
    for _ in range(iterations):
        if model is None or model.gradient_norm <= goal or _far(model):
            break
        values, vectors, g = _modes(model)
        weights = 1.0 / _floored(values)
        step = _shortened(vectors @ (-weights * g), _radius(model))
        slope = float(step @ model.gradient)
        trial = _backtrack(objective, model, step, lambda at, t, m=model, s=slope: at.value <= m.value + ARMIJO * t * s)
        if trial is None:
            break
        model = trial
    return model


def ascend(objective: Objective, start: np.ndarray, index: int, goal: float, iterations: int = 40) -> LocalModel | None:
    """Walk uphill in the `index` lowest modes and downhill in the others, with steps of bounded length."""
    model = objective.at(start)
    for _ in range(iterations):
        if model is None or model.gradient_norm <= goal or _far(model):
            break
        values, vectors, g = _modes(model)
        signs = np.where(np.arange(values.size) < index, 1.0, -1.0)
        step = _shortened(vectors @ (signs * g / _floored(values)), _radius(model))
        trial = objective.at(objective.move(model, step))
        model = trial if trial is not None else None
    return model


def settle(objective: Objective, start: np.ndarray, goal: float, iterations: int = 60) -> LocalModel | None:
    """Minimise the norm of the gradient until it is at most `goal` or nothing improves; None where it is not finite."""
    model, mu = objective.at(start), None
    for _ in range(iterations):
        if model is None or model.gradient_norm <= goal or _far(model):
            return model
        modes = _modes(model)
        size = float(np.max(modes[0] ** 2, initial=0.0))
        if size == 0.0:
            return model
        largest = (
            1e-8 * size if model.gradient_norm <= 1e4 * goal else 1e4 * size
        )  # near the end rounding is in the way
        trial, mu = _damped(objective, model, modes, 1e-3 * size if mu is None else min(mu, largest), largest)
        if trial is None:
            return model
        model = trial
    return model


def _damped(
    objective: Objective, model: LocalModel, modes: Modes, mu: float, largest: float
) -> tuple[LocalModel | None, float]:
    """The first damping from mu to `largest` whose step lowers the gradient norm, and the damping to go on with."""
    values, vectors, g = modes
    while mu <= largest:
        damped = values**2 + mu
        step = -vectors @ (values * g / damped)
        predicted = float(g @ g - np.sum((mu * g / damped) ** 2))
        trial = objective.at(objective.move(model, step))
        if trial is not None and trial.gradient_norm < model.gradient_norm:
            gain = (model.gradient_norm**2 - trial.gradient_norm**2) / max(predicted, 1e-300)
            return trial, mu * (0.02 if gain > 0.75 else 0.3 if gain > 0.25 else 2.0)
        mu = max(30.0 * mu, 1e-12 * largest)
    return None, mu


def _backtrack(
    objective: Objective, model: LocalModel, step: np.ndarray, accept: Callable[[LocalModel, float], bool]
) -> LocalModel | None:
    for t in 0.5 ** np.arange(12):
        trial = objective.at(objective.move(model, t * step))
        if trial is not None and accept(trial, float(t)):
            return trial
    return None


def _modes(model: LocalModel) -> Modes:
    """Eigenvalues ascending, eigenvectors, and the gradient's components; in high dimension those of a Krylov space."""
    if model.dense is not None or model.dimension <= KRYLOV:
        values, vectors = np.linalg.eigh(model.hessian)
        return values, vectors, vectors.T @ model.gradient
    basis = _krylov(model)
    images = np.stack([model.product(v) for v in basis.T], axis=1)
    T = basis.T @ images
    values, inner = np.linalg.eigh(0.5 * (T + T.T))
    vectors = basis @ inner
    return values, vectors, vectors.T @ model.gradient


def _krylov(model: LocalModel) -> np.ndarray:
    """Orthonormal basis of span(g, H g, H^2 g, ...), orthogonalised in full; shorter where that is invariant."""
    basis = np.zeros((model.dimension, KRYLOV))
    vector = model.gradient
    for j in range(KRYLOV):
        before = float(np.linalg.norm(vector))
        for _ in range(2):
            vector = vector - basis[:, :j] @ (basis[:, :j].T @ vector)
        length = float(np.linalg.norm(vector))
        if length <= 1e-12 * before or length == 0.0:
            return basis[:, :j]
        basis[:, j] = vector / length
        vector = model.product(basis[:, j])
    return basis


def _floored(values: np.ndarray) -> np.ndarray:
    sizes = np.abs(values)
    return np.maximum(sizes, max(FLOOR * float(np.max(sizes, initial=0.0)), 1e-300))


def _radius(model: LocalModel) -> float:
    """Longest step: a third of the size of the point, and at least a third of a unit."""
    return 0.3 * (1.0 + float(np.linalg.norm(model.point)) / np.sqrt(max(model.point.size, 1)))


def _shortened(step: np.ndarray, radius: float) -> np.ndarray:
    length = float(np.linalg.norm(step))
    return step if length <= radius else step * (radius / length)


def _far(model: LocalModel) -> bool:
    return float(np.max(np.abs(model.point), initial=0.0)) > FARTHEST
