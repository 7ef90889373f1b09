"""Slow, obvious references for the manifolds at 50 digits: the textbook formulas, and routes independent of them.

A float array is orthonormal only to rounding, so every reference starts from the span of the given floats: `frame` is
the nearest matrix with exactly orthonormal columns. Results are compared through what does not depend on a basis: a
point X as X X^T, a tangent vector D at X as D X^T.
"""

import mpmath
import numpy as np
from mpmath import mp, mpf
from scipy.integrate import solve_ivp

DIGITS = 50


def high_precision(function):
    """The function at 50 digits."""

    def at_high_precision(*args):
        with mp.workdps(DIGITS):
            return function(*args)

    return at_high_precision


def matrix(A) -> mp.matrix:
    """A float array as an mp matrix; an mp matrix as it is."""
    return A if isinstance(A, mp.matrix) else mp.matrix(np.asarray(A, dtype=float).tolist())


def floats(M) -> np.ndarray:
    return np.array(M.tolist(), dtype=float)


@high_precision
def frame(X):
    """X (X^T X)^(-1/2) by Newton-Schulz, for X orthonormal to rounding: the error squares at each of seven steps."""
    X = matrix(X)
    for _ in range(7):
        X = X * (3 * mp.eye(X.cols) - X.T * X) / 2
    return X


@high_precision
def horizontal(X, D):
    """(I - X X^T) D for an exact frame."""
    D = matrix(D)
    return D - X * (X.T * D)


@high_precision
def projector(X):
    return matrix(X) * matrix(X).T


@high_precision
def product(A, B):
    return matrix(A) * matrix(B)


def svd(A):
    return mpmath.svd_r(A, full_matrices=False)


def diagonal(values, function):
    return mpmath.diag([function(v) for v in values])


# --- Gr(m, n): textbook formulas -------------------------------------------------------------------------------------


@high_precision
def exp(X, D):
    """X V cos S V^T + U sin S V^T with D = U S V^T (Edelman, Arias, Smith 1998, theorem 2.3)."""
    U, s, Vt = svd(horizontal(X, D))
    return (X * Vt.T * diagonal(s, mpmath.cos) + U * diagonal(s, mpmath.sin)) * Vt


@high_precision
def log(X, Y):
    """U atan(S) V^T with (I - X X^T) Y (X^T Y)^-1 = U S V^T; no angle may be exactly pi/2."""
    U, s, Vt = svd(horizontal(X, Y) * mp.inverse(X.T * Y))
    return U * diagonal(s, mpmath.atan) * Vt


@high_precision
def angles(X, Y):
    """Principal angles of two frames, ascending, by the arctangent of sines and cosines."""
    cosines = sorted(mpmath.svd_r(X.T * Y, compute_uv=False), reverse=True)
    sines = sorted(mpmath.svd_r(horizontal(X, Y), compute_uv=False))
    return [mpmath.atan2(s, c) for s, c in zip(sines, cosines, strict=True)]


@high_precision
def distance(X, Y):
    return mpmath.sqrt(mpmath.fsum(angles(X, Y), squared=True))


@high_precision
def tiny_distance(X, Y):
    """Geodesic distance of the spans of nearly equal frames of any size: ||(I - X X^T) Y||_F, off by O(d^3)."""
    return mpmath.mnorm(horizontal(frame(X), frame(Y)), "f")


@high_precision
def parallel_transport(X, D, E):
    """(-X V sin S U^T + U cos S U^T + I - U U^T) E (Edelman, Arias, Smith 1998, theorem 2.4)."""
    U, s, Vt = svd(horizontal(X, D))
    inside = U.T * horizontal(X, E)
    moved = (U * (diagonal(s, mpmath.cos) - mp.eye(len(s))) - X * Vt.T * diagonal(s, mpmath.sin)) * inside
    return horizontal(X, E) + moved


# --- Gr(m, n): the projector representation --------------------------------------------------------------------------


@high_precision
def generator(X, D):
    """W = D X^T - X D^T in so(m)."""
    D = horizontal(X, D)
    return D * X.T - X * D.T


@high_precision
def exp_projector(X, D):
    """exp(W) P exp(-W)."""
    R = mpmath.expm(generator(X, D))
    return R * X * X.T * R.T


@high_precision
def log_generator(X, Y):
    """W = 1/2 log((I - 2 P_Y) (I - 2 P_X)): the geodesic turns one reflection into the other."""
    eye = mp.eye(X.rows)
    W = mpmath.logm((eye - 2 * Y * Y.T) * (eye - 2 * X * X.T)) / 2
    return W.apply(mpmath.re)


@high_precision
def transported_operator(X, D, E):
    """exp(W) E X^T exp(-W): the transported vector times the transpose of the basis that it belongs to."""
    R = mpmath.expm(generator(X, D))
    return R * horizontal(X, E) * X.T * R.T


@high_precision
def curvature(X, u, v):
    """1/2 ||[W_u, W_v]||_F^2 / (|u|^2 |v|^2 - <u, v>^2) in so(m), with <u, v> = tr u^T v = 1/2 tr W_u^T W_v."""
    A, B = generator(X, u), generator(X, v)
    bracket = A * B - B * A
    uu, vv, uv = (inner(P, Q) / 2 for P, Q in ((A, A), (B, B), (A, B)))
    return inner(bracket, bracket) / 2 / (uu * vv - uv**2)


def inner(A, B):
    return mpmath.fdot(list(A), list(B))


# --- the regularised manifold ----------------------------------------------------------------------------------------


@high_precision
def gram(Phi, lam):
    Phi = matrix(Phi)
    return Phi.T * Phi + mpf(lam) * mp.eye(Phi.cols)


@high_precision
def kernel(Phi, lam):
    """Phi Phi^T + lam I, (m, m)."""
    return gram(matrix(Phi).T, lam)


@high_precision
def regularized_metric(Phi, lam, D, E):
    """lam <(Phi Phi^T + lam I)^-1 D (Phi^T Phi + lam I)^-1, E>."""
    left = mp.inverse(kernel(Phi, lam)) * matrix(D) * mp.inverse(gram(Phi, lam))
    return mpf(lam) * inner(left, matrix(E))


@high_precision
def lift(Phi, lam):
    """[Phi; sqrt(lam) I] G^(-1/2), through the eigenvectors of G."""
    Phi = matrix(Phi)
    values, V = mpmath.eigsy(gram(Phi, lam))
    root = V * diagonal(values, lambda g: 1 / mpmath.sqrt(g)) * V.T
    stacked = mp.matrix(Phi.tolist() + (mpmath.sqrt(mpf(lam)) * mp.eye(Phi.cols)).tolist())
    return stacked * root


@high_precision
def lifted_vector(Phi, lam, D):
    """(I - X X^T) [D; 0] G^(-1/2): the differential of the lift."""
    X, n = lift(Phi, lam), matrix(Phi).cols
    root = X[X.rows - n :, :] / mpmath.sqrt(mpf(lam))
    return horizontal(X, mp.matrix(matrix(D).tolist() + mp.zeros(n).tolist()) * root)


@high_precision
def chart(X, lam):
    """sqrt(lam) X_top X_bottom^-1."""
    m = X.rows - X.cols
    return mpmath.sqrt(mpf(lam)) * X[:m, :] * mp.inverse(X[m:, :])


@high_precision
def chart_vector(X, lam, D):
    """The differential of `chart`: sqrt(lam) (D_top - X_top X_bottom^-1 D_bottom) X_bottom^-1."""
    m = X.rows - X.cols
    inverse = mp.inverse(X[m:, :])
    return mpmath.sqrt(mpf(lam)) * (D[:m, :] - X[:m, :] * inverse * D[m:, :]) * inverse


@high_precision
def regularized_exp(Phi, lam, D):
    return chart(exp(lift(Phi, lam), lifted_vector(Phi, lam, D)), lam)


@high_precision
def regularized_log(Phi, Psi, lam):
    X = lift(Phi, lam)
    return chart_vector(X, lam, log(X, lift(Psi, lam)))


@high_precision
def regularized_distance(Phi, Psi, lam):
    return distance(lift(Phi, lam), lift(Psi, lam))


@high_precision
def regularized_transport(Phi, lam, D, E):
    X, direction = lift(Phi, lam), lifted_vector(Phi, lam, D)
    return chart_vector(exp(X, direction), lam, parallel_transport(X, direction, lifted_vector(Phi, lam, E)))


def integrated_geodesic(Phi, lam, D, *, rtol=1e-13) -> np.ndarray:
    """Phi(1) of Phi'' = 2 Phi' G^-1 Phi^T Phi', by an eighth-order Runge-Kutta method in float64."""
    shape = Phi.shape

    def slope(_, state):
        Phi, V = state.reshape(2, *shape)
        G = Phi.T @ Phi + lam * np.eye(shape[1])
        return np.concatenate([V.ravel(), (2 * V @ np.linalg.solve(G, Phi.T @ V)).ravel()])

    start = np.concatenate([Phi.ravel(), D.ravel()])
    size = max(float(np.abs(start).max()), 1e-300)
    return (
        solve_ivp(slope, (0, 1), start, method="DOP853", rtol=rtol, atol=rtol * size).y[: Phi.size, -1].reshape(shape)
    )


@high_precision
def dense_projector(Phi, lam):
    """P_lam = Phi G^-1 Phi^T."""
    Phi = matrix(Phi)
    return Phi * mp.inverse(gram(Phi, lam)) * Phi.T


@high_precision
def value_forms(Phi, Y, lam) -> dict[str, float]:
    """THEORY B1: the augmented residual, the objective at its minimiser, the hat matrix and the kernel form."""
    Phi, Y, lam = matrix(Phi), matrix(Y), mpf(lam)
    C = mp.inverse(gram(Phi, lam)) * Phi.T * Y
    R, X = Phi * C - Y, lift(Phi, lam)
    stacked = mp.matrix(Y.tolist() + mp.zeros(Phi.cols, Y.cols).tolist())
    outside = horizontal(X, stacked)
    forms = {
        "augmented": inner(outside, outside) / 2,
        "objective": inner(R, R) / 2 + lam * inner(C, C) / 2,
        "projector": inner(Y, Y - dense_projector(Phi, lam) * Y) / 2,
        "kernel": lam * inner(Y, mp.inverse(kernel(Phi, lam)) * Y) / 2,
    }
    return {name: float(value) for name, value in forms.items()}


# --- comparison ------------------------------------------------------------------------------------------------------


@high_precision
def point_error(Y, expected) -> float:
    """||Y Y^T - Z Z^T||_F of the floats Y against the frame Z."""
    Y = matrix(Y)
    return float(mpmath.mnorm(Y * Y.T - expected * expected.T, "f"))


@high_precision
def vector_error(Y, F, operator) -> float:
    """||F Y^T - operator||_F for a tangent vector F at the basis Y."""
    return float(mpmath.mnorm(matrix(F) * matrix(Y).T - operator, "f"))


@high_precision
def error(A, expected) -> float:
    """||A - expected||_F."""
    return float(mpmath.mnorm(matrix(A) - matrix(expected), "f"))
