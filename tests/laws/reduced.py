"""Laws of the projection and of the reduced problem: each raises AssertionError where it does not hold.

The tolerance rule, used by every law. With A the augmented weighted feature matrix, b the augmented targets, kappa the
condition number of A, D = ||D A||_F the size of its derivative, and the sensitivity of the projected residual
    s = D (||C|| + ||A^+|| ||r||),
a backward stable orthogonal factorisation loses one power of kappa on quantities of size
    ||b||  (residual),   ||b||^2  (value),   ||C|| + ||A^+|| ||r||  (C),
    s  (Jacobian),   s ||b||  (gradient),   s^2 + ||H||  (Hessian),
so that every norm of an error must be at most 10 eps kappa times that size. A float64 reference that solves the normal
equations loses kappa^2, and the rule takes the power of the reference (`Reference.digits_lost`).
"""

import numpy as np
import torch

from tests.oracles import Reference, mp_forms_of_value

SAFETY = 10.0
EPS = float(np.finfo(np.float64).eps)


def allowed(reference: Reference, quantity: str, *, eps: float = EPS) -> float:
    """Largest norm of an error of `quantity`, by the rule in the module's docstring."""
    s = np.linalg.svd(reference.features, compute_uv=False)
    kappa, target = s[0] / s[-1], norm(reference.features @ reference.coefficients + reference.residual)
    slope = norm(reference.slopes) * (norm(reference.coefficients) + norm(reference.residual) / s[-1])
    size = {
        "value": target**2,
        "residual": target,
        "coefficients": norm(reference.coefficients) + norm(reference.residual) / s[-1],
        "gradient": slope * target,
        "jacobian": slope,
        "hessian": slope**2 + norm(reference.hessian),
    }[quantity]
    return SAFETY * eps * kappa**reference.digits_lost * size


def norm(array) -> float:
    return float(np.linalg.norm(np.asarray(array).ravel()))


def close(actual, expected, bound: float, what: str) -> None:
    """||actual - expected|| <= bound, of equal shapes."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    error = norm(actual - expected)
    assert error <= bound, f"{what}: error {error:.3e} > {bound:.3e}, size {norm(expected):.3e}"


def value_law(reduced, p, reference: Reference) -> None:
    """The value is the oracle's, and half the squared norm of the augmented residual."""
    point = reduced.linearize(p)
    bound = allowed(reference, "value")
    close(reduced.value(p), reference.value, bound, "value")
    close(point.value, 0.5 * norm(point.residual) ** 2, 1e-14 * point.value, "value against residual")


def residual_law(reduced, p, reference: Reference) -> None:
    """The augmented residual W (Y - Phi C) over -sqrt(lam) C, and the coefficients."""
    point = reduced.linearize(p)
    close(point.residual, reference.residual, allowed(reference, "residual"), "residual")
    close(point.coefficients, reference.coefficients, allowed(reference, "coefficients"), "coefficients")
    orthogonal_residual_law(point.projection, torch.as_tensor(reference.features), reduced.problem.weighted_targets)


def four_forms_law(reduced, p, reference: Reference) -> None:
    """THEORY B1 at lam > 0, each form in mpmath: objective, hat matrix and kernel give the value."""
    point, lam = reduced.linearize(p), reduced.problem.regularization
    assert lam > 0, "the kernel form needs lam > 0"
    bound = allowed(reference, "value")
    w = torch.ones(reduced.problem.rows) if reduced.problem.weights is None else reduced.problem.weights
    Phi = w[:, None] * point.derivatives.values
    for name, value in mp_forms_of_value(Phi, reduced.problem.weighted_targets, point.coefficients, lam).items():
        close(point.value, value, bound, f"value as {name}")


def gradient_law(reduced, p, reference: Reference) -> None:
    """grad psi = -DPhi^*[W R C^T]."""
    close(reduced.gradient(p), reference.gradient, allowed(reference, "gradient"), "gradient")


def jacobian_law(reduced, p, reference: Reference) -> None:
    """J_GP is the derivative of residual.flatten(), row-major, and J_GP^T r is the gradient."""
    J = np.asarray(reduced.jacobian(p))
    close(J, reference.jacobian, allowed(reference, "jacobian"), "J_GP")
    close(J.T @ reference.residual.ravel(), reference.gradient, allowed(reference, "gradient"), "J_GP^T r")


def kaufman_law(reduced, p, reference: Reference) -> None:
    """J_K = J_GP + Q N, that is (I - Q Q^T) J_GP; J_K^T r is the gradient; J_K is orthogonal to Q."""
    J = np.asarray(reduced.jacobian(p, kind="kaufman"))
    k, q = reference.residual.shape[1], J.shape[1]
    bound = allowed(reference, "jacobian")
    U, s, Vt = np.linalg.svd(reference.features, full_matrices=False)
    T = np.einsum("iaj,il->alj", reference.slopes, reference.residual)  # (D_j A)^T r
    QN = U @ ((Vt @ T.reshape(T.shape[0], -1)) / s[:, None])  # Q R^-T T = (A^+)^T T
    close(J, reference.jacobian + QN.reshape(-1, q), bound, "J_K = J_GP + Q N")
    close(J.T @ reference.residual.ravel(), reference.gradient, allowed(reference, "gradient"), "J_K^T r")
    inside = U.T @ J.reshape(-1, k * q)
    close(inside, np.zeros_like(inside), bound, "Q^T J_K")


def hessian_law(reduced, p, reference: Reference) -> None:
    """The exact Hessian: symmetric and equal to the oracle's."""
    H = np.asarray(reduced.hessian(p))
    close(H, H.T, 0.0, "symmetry")
    close(H, reference.hessian, allowed(reference, "hessian"), "Hessian")


def hessian_product_law(reduced, p, reference: Reference, rng) -> None:
    """The Hessian times a vector, without the Hessian."""
    v = rng.standard_normal(len(p))
    product = reduced.hessian_vector_product(p, v)
    close(product, reference.hessian @ v, norm(v) * allowed(reference, "hessian"), "Hessian v")


def matrix_free_law(reduced, p, reference: Reference, rng) -> None:
    """J v and J^T u of the linearisation."""
    point, J = reduced.linearize(p), reference.jacobian
    v, u = rng.standard_normal(J.shape[1]), rng.standard_normal(reference.residual.shape)
    bound = allowed(reference, "jacobian")
    Jv = point.jacobian_product(torch.as_tensor(v))
    close(Jv, (J @ v).reshape(reference.residual.shape), norm(v) * bound, "J v")
    close(point.jacobian_adjoint_product(torch.as_tensor(u)), J.T @ u.ravel(), norm(u) * bound, "J^T u")


def orthonormal_basis_law(projection) -> None:
    """Q^T Q = I, and Q has one column for each direction that counts."""
    Q = projection.full_basis.double()
    eps = float(torch.finfo(projection.basis.dtype).eps)
    close(Q.T @ Q, torch.eye(Q.shape[1], dtype=Q.dtype), 20 * eps * max(Q.shape), "orthonormality")


def orthogonal_residual_law(projection, augmented, targets) -> None:
    """A^T r vanishes at rounding level: 20 eps sqrt(size) ||A|| ||Y||, without the condition number."""
    r = torch.cat(projection.residual_parts).double()
    A = augmented.double()
    inside = A.T @ r
    eps = float(torch.finfo(projection.basis.dtype).eps)
    bound = 20 * eps * np.sqrt(A.numel()) * norm(A) * norm(targets)
    close(inside, torch.zeros_like(inside), bound, "A^T r")


def law_suite(reduced, p, reference: Reference, seed: int = 0) -> None:
    """Every law at one point."""
    rng = np.random.default_rng(seed)
    for law in (value_law, residual_law, gradient_law, jacobian_law, kaufman_law, hessian_law):
        law(reduced, p, reference)
    hessian_product_law(reduced, p, reference, rng)
    matrix_free_law(reduced, p, reference, rng)
    orthonormal_basis_law(reduced.linearize(p).projection)
