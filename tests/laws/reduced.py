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


def kaufman_jacobian(reference: Reference) -> np.ndarray:
    """J_K = J_GP + Q N of a reference."""
    U, s, Vt = np.linalg.svd(reference.features, full_matrices=False)
    T = np.einsum("iaj,il->alj", reference.slopes, reference.residual)  # (D_j A)^T r
    QN = U @ ((Vt @ T.reshape(T.shape[0], -1)) / s[:, None])  # Q R^-T T = (A^+)^T T
    return reference.jacobian + QN.reshape(reference.jacobian.shape)


def kaufman_law(reduced, p, reference: Reference) -> None:
    """J_K = J_GP + Q N, that is (I - Q Q^T) J_GP; J_K^T r is the gradient; J_K is orthogonal to Q."""
    J = np.asarray(reduced.jacobian(p, kind="kaufman"))
    k, q = reference.residual.shape[1], J.shape[1]
    bound = allowed(reference, "jacobian")
    close(J, kaufman_jacobian(reference), bound, "J_K = J_GP + Q N")
    close(J.T @ reference.residual.ravel(), reference.gradient, allowed(reference, "gradient"), "J_K^T r")
    U = np.linalg.svd(reference.features, full_matrices=False)[0]
    inside = U.T @ J.reshape(-1, k * q)
    close(inside, np.zeros_like(inside), bound, "Q^T J_K")


def system_law(reduced, p, reference: Reference, kind: str, entries: int) -> int:
    """Row blocks of a system with the J^T J and J^T r of the Jacobian, the blocks counted; their rows add up."""
    point, full = reduced.linearize(p), reference.jacobian if kind == "golub-pereyra" else kaufman_jacobian(reference)
    q, n, k = full.shape[1], reduced.problem.width, reduced.problem.outputs
    rows = len(reference.residual)
    compressed = wide(reference) and (kind == "kaufman" or rows * n + n * k < rows * k)
    columns = reduced.problem.width if compressed else reduced.problem.outputs
    blocks = list(point.system_blocks(kind, entries))
    of_rows = blocks[: len(blocks) - (reduced.problem.regularization > 0)]
    assert all(J.numel() <= max(entries, columns * q) for J, _ in of_rows)
    assert point.system_shape(kind) == (sum(len(r) for _, r in blocks), q)
    assert all(J.shape == (len(r), q) for J, r in blocks)
    square, right = sum(J.T @ J for J, _ in blocks), sum(J.T @ r for J, r in blocks)
    bound = allowed(reference, "jacobian")
    close(square, full.T @ full, 2 * bound * norm(full), "J^T J")
    close(right, reference.gradient, allowed(reference, "gradient"), "J^T r")
    return len(blocks)


def normal_matrix_law(reduced, p, reference: Reference, kind: str, entries: int) -> None:
    """J^T J without J, and the squared columns of G that say how much cancels in it."""
    point, J = reduced.linearize(p), reference.jacobian if kind == "golub-pereyra" else kaufman_jacobian(reference)
    H, squares = point.normal_matrix(kind, entries)
    close(H, J.T @ J, 2 * allowed(reference, "jacobian") * norm(J) + 100 * EPS * float(squares.max()), "J^T J")
    least = np.sum(kaufman_jacobian(reference) ** 2, axis=0)
    assert (squares.numpy() >= (1 - 1e-9) * least).all()


def wide(reference: Reference) -> bool:
    """More outputs than features."""
    return reference.residual.shape[1] > reference.features.shape[1]


def metric_law(reduced, p, reference: Reference, rng=None) -> None:
    """<(I - Q Q^T) D_i A R^-1, D_j A R^-1> of the augmented matrix, formed or, with `rng`, multiplied with."""
    point = reduced.linearize(p)
    Q, R = np.linalg.qr(reference.features)
    T = np.einsum("iaj,ab->ibj", reference.slopes, np.linalg.inv(R))
    T = T - np.einsum("ip,pbj->ibj", Q, np.einsum("ip,ibj->pbj", Q, T))
    G = np.einsum("ibj,ibk->jk", T, T)
    s = np.linalg.svd(reference.features, compute_uv=False)
    bound = SAFETY * EPS * s[0] / s[-1] * (norm(reference.slopes) / s[-1]) ** 2
    if rng is None:
        close(point.metric(), G, bound, "metric")
        return
    v = rng.standard_normal(G.shape[1])
    close(point.metric_product(torch.as_tensor(v)), G @ v, norm(v) * bound, "metric v")


def corrected_hessian_law(reduced, p, reference: Reference, rng, function, offset=None) -> None:
    """The Hessian without -sum_i r_i D^2 (W (Phi C + offset))_i is the exact one with that term taken away."""
    point, rows = reduced.linearize(p), reduced.problem.rows
    w = torch.ones(rows, dtype=torch.float64) if reduced.problem.weights is None else reduced.problem.weights
    r, C = torch.as_tensor(reference.residual[:rows]), torch.as_tensor(reference.coefficients)

    def bent(theta):
        model = function(theta) @ C + (0.0 if offset is None else offset(theta))
        return (r * w[:, None] * model).sum()

    expected = reference.hessian + torch.func.hessian(bent)(torch.as_tensor(p)).numpy()
    assert norm(expected - reference.hessian) > 1e-6 * norm(expected), "there is a term to leave out"
    bound, v = allowed(reference, "hessian"), rng.standard_normal(len(p))
    close(point.hessian(curvature=False), expected, bound, "corrected Hessian")
    product = point.hessian_vector_product(torch.as_tensor(v), curvature=False)
    close(product, expected @ v, norm(v) * bound, "corrected Hessian v")


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


def restricted_law(case, rng) -> None:
    """Everything of a `RestrictedCase`: value, residual, C, gradient, both Jacobians, the Hessian and all products."""
    reduced, p, reference = case.reduced, case.theta, case.reference
    point, J, H = reduced.linearize(p), reference.jacobian, reference.hessian
    sizes = {name: allowed(reference, name) for name in ("residual", "coefficients", "gradient", "jacobian", "hessian")}
    value_law(reduced, p, reference)
    close(point.coefficients, reference.coefficients, sizes["coefficients"], "C")
    close(point.residual, reference.residual, sizes["residual"], "residual")
    gradient_law(reduced, p, reference)
    jacobian_law(reduced, p, reference)
    close(point.jacobian("kaufman"), case.kaufman, sizes["jacobian"], "J_K")
    close(case.kaufman.T @ reference.residual.ravel(), reference.gradient, sizes["gradient"], "J_K^T r")
    matrix_free_law(reduced, p, reference, rng)
    hessian_law(reduced, p, reference)
    hessian_product_law(reduced, p, reference, rng)
    for kind, full in (("golub-pereyra", J), ("kaufman", case.kaufman)):
        for entries in (10**9, 10 * J.shape[1]):
            parts = list(point.system_blocks(kind, entries))
            close(sum(K.T @ K for K, _ in parts), full.T @ full, 2 * sizes["jacobian"] * norm(full), f"{kind}: J^T J")
            close(sum(K.T @ r for K, r in parts), reference.gradient, sizes["gradient"], f"{kind}: J^T r")
    assert norm(H) > 0 and norm(J - case.kaufman) > 1e-3 * norm(J), "there is something to be wrong"


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
