"""Each law of the manifolds can fail: one ingredient is spoiled at a time, and the law that guards it must notice.

An ingredient is a method of the manifold, replaced by one that makes a known mistake: a formula with one factor, sign
or step changed, written out here so that it does not depend on how the library computes the right one.
"""

import numpy as np
import pytest

from manifolds import Grassmann, RegularizedGrassmann
from tests.laws import manifolds as laws
from tests.manifolds.test_laws import grassmann_sample, regularized_sample

GRASSMANN_LAWS = {f.__name__: f for f in (*laws.ALGEBRAIC, *laws.GEODESIC, *laws.DIFFERENCES, laws.connection_law)}
GRASSMANN_LAWS["second_order_law"] = lambda s: laws.retraction_law(s, order=2)
GRASSMANN_LAWS["orthogonal_projection_law"] = laws.orthogonal_projection_law
GRASSMANN_LAWS |= {f.__name__: f for f in (laws.dimension_law, laws.representative_law, laws.curvature_law)}


def svd(D):
    return np.linalg.svd(D, full_matrices=False)


def geodesic(X, D, even, odd):
    U, s, Vt = svd(D)
    return (X @ Vt.T * even(s) + U * odd(s)) @ Vt


def wrong_transport(start, direction, vector, *, back, along):
    U, s, Vt = svd(direction)
    inside = U.T @ vector
    return vector - back * (start @ Vt.T * np.sin(s)) @ inside + along * (U * (np.cos(s) - 1)) @ inside


def textbook_log(X, Y, angle=np.arctan):
    U, s, Vt = svd((Y - X @ (X.T @ Y)) @ np.linalg.inv(X.T @ Y))
    return (U * angle(s)) @ Vt


def scaled(name, factor):
    """The method's result times a factor."""

    def change(manifold, original):
        return lambda *args, **options: factor * original(*args, **options)

    return name, change


def replaced(name, function):
    """The method replaced by function(*args)."""
    return name, lambda manifold, original: function


def hessian(sign=-1.0, project=True):
    def wrong(X, G, H, D):
        found = H + sign * D @ (X.T @ G)
        return found - X @ (X.T @ found) if project else found

    return replaced("euclidean_to_riemannian_hessian", wrong)


def outside(X):
    """A matrix N with X^T N = 0."""
    return np.ones_like(X) - X @ (X.T @ np.ones_like(X))


TURN = np.array([[0.6, 0.8], [-0.8, 0.6]])
GRASSMANN = {
    # name: ((method, change), laws that must notice)
    "the metric forgets a factor 1/2": (scaled("inner_product", 0.5), ("metric_law", "gradient_law", "hessian_law")),
    "the norm is squared": (replaced("norm", lambda X, D: np.sum(D * D)), ("exp_log_law", "geodesic_law")),
    "the norm is the largest entry": (replaced("norm", lambda X, D: np.abs(D).max()), ("metric_law",)),
    "the projection is not subtracted": (replaced("projection", lambda X, Z: Z), ("dimension_law",)),
    "the projection is doubled": (
        replaced("projection", lambda X, Z: Z - 2 * X @ (X.T @ Z)),
        ("projection_law",),
    ),
    "the projection is on the Stiefel tangent space": (
        replaced("projection", lambda X, Z: Z - X @ (X.T @ Z + Z.T @ X) / 2),
        ("dimension_law",),
    ),
    "the projection is oblique": (
        replaced("projection", lambda X, Z: Z - (X + outside(X)) @ (X.T @ Z)),
        ("orthogonal_projection_law",),
    ),
    "the projection leaves a part in ten billion": (
        replaced("projection", lambda X, Z: Z - (1 - 1e-10) * X @ (X.T @ Z)),
        ("projection_law",),
    ),
    "exp with sine and cosine exchanged": (
        replaced("exp", lambda X, D: geodesic(X, D, np.sin, np.cos)),
        ("exp_log_law", "geodesic_law", "retraction_law"),
    ),
    "exp with the tangent": (
        replaced("exp", lambda X, D: np.linalg.qr(X + D)[0]),
        ("exp_log_law", "geodesic_law", "parallel_transport_law"),
    ),
    "exp of the negative": (
        replaced("exp", lambda X, D: geodesic(X, -D, np.cos, np.sin)),
        ("exp_log_law", "retraction_law", "parallel_transport_law"),
    ),
    "exp in another basis than parallel transport speaks of": (
        replaced("exp", lambda X, D: geodesic(X, D, np.cos, np.sin) @ TURN),
        ("parallel_transport_law", "connection_law"),
    ),
    "log by the tangent": (
        replaced("log", lambda X, Y: textbook_log(X, Y, lambda s: s)),
        ("exp_log_law", "geodesic_law", "parallel_transport_law"),
    ),
    "log at the other basis": (replaced("log", lambda X, Y: textbook_log(X, Y) @ TURN), ("exp_log_law",)),
    "log is off by one part in a million": (scaled("log", 1 + 1e-6), ("exp_log_law", "geodesic_law")),
    "dist is chordal": (
        replaced("dist", lambda X, Y: np.linalg.norm(X @ X.T - Y @ Y.T) / np.sqrt(2)),
        ("exp_log_law", "geodesic_law"),
    ),
    "dist by the arccosine alone": (
        replaced("dist", lambda X, Y: np.linalg.norm(np.arccos(np.clip(svd(X.T @ Y)[1], 0, 1)))),
        ("near_law",),
    ),
    "dist is squared": (
        replaced("dist", lambda X, Y: Grassmann(6, 2).dist(X, Y) ** 2),
        ("exp_log_law", "geodesic_law", "near_law"),
    ),
    "the retraction goes twice as far": (
        replaced("retraction", lambda X, D: np.linalg.qr(X + 2 * D)[0]),
        ("retraction_law", "gradient_law"),
    ),
    "the retraction has a second-order error": (
        replaced("retraction", lambda X, D: svd(X + D * (1 + np.linalg.norm(D)))[0]),
        ("second_order_law",),
    ),
    "transport without the second projection": (replaced("transport", lambda X, Y, D: D), ("transport_law",)),
    "transport without the alignment of bases": (
        replaced("transport", lambda X, Y, D: (D - Y @ (Y.T @ D)) @ TURN),
        ("zero_law",),
    ),
    "the curvature is halved": (scaled("sectional_curvature", 0.5), ("curvature_law",)),
    "the curvature is not divided by the area": (
        replaced("sectional_curvature", lambda X, u, v: Grassmann(6, 2).sectional_curvature(X, u, v) * np.vdot(u, v)),
        ("curvature_law",),
    ),
    "parallel transport forgets X": (
        replaced("parallel_transport", lambda *a: wrong_transport(*a, back=0, along=1)),
        ("parallel_transport_law", "connection_law"),
    ),
    "parallel transport has the wrong sign": (
        replaced("parallel_transport", lambda *a: wrong_transport(*a, back=-1, along=1)),
        ("parallel_transport_law",),
    ),
    "parallel transport forgets the cosine": (
        replaced("parallel_transport", lambda *a: wrong_transport(*a, back=1, along=0)),
        ("parallel_transport_law",),
    ),
    "the gradient is not projected": (
        replaced("euclidean_to_riemannian_gradient", lambda X, G: G),
        ("gradient_law",),
    ),
    "the gradient is off by one part in ten thousand": (
        scaled("euclidean_to_riemannian_gradient", 1 + 1e-4),
        ("gradient_law", "connection_law"),
    ),
    "the gradient has the wrong sign": (scaled("euclidean_to_riemannian_gradient", -1.0), ("gradient_law",)),
    "the Hessian's second term has the wrong sign": (hessian(1.0), ("hessian_law", "connection_law")),
    "the Hessian's second term is dropped": (hessian(0.0), ("hessian_law", "connection_law")),
    "the Hessian is not projected": (hessian(-1.0, project=False), ("hessian_law",)),
    "the Hessian is that of the Stiefel manifold": (
        replaced(
            "euclidean_to_riemannian_hessian",
            lambda X, G, H, D: H - X @ (X.T @ H) - D @ (X.T @ G + G.T @ X) / 4,
        ),
        ("hessian_law", "connection_law"),
    ),
}


def gram(Phi, lam):
    return Phi.T @ Phi + lam * np.eye(Phi.shape[1]), Phi @ Phi.T + lam * np.eye(Phi.shape[0])


def chart_metric(lam, left=True, right=True, factor=1.0):
    def wrong(Phi, D, E):
        G, S = gram(Phi, lam)
        D = np.linalg.solve(S, D) if left else D / lam
        return factor * lam * np.sum((np.linalg.solve(G, D.T).T if right else D / lam) * E)

    return wrong


def chart_gradient(lam, left=True, right=True):
    def wrong(Phi, E):
        G, S = gram(Phi, lam)
        return (S @ E if left else lam * E) @ (G if right else lam * np.eye(len(G))) / lam

    return wrong


def chart_hessian(lam, first=1.0, second=1.0, third=1.0):
    def wrong(Phi, E, H, D):
        G, S = gram(Phi, lam)
        return (first * S @ H @ G + second * Phi @ D.T @ E @ G + third * S @ E @ D.T @ Phi) / lam

    return wrong


LAM = 0.1
GRADIENT, HESSIAN = "euclidean_to_riemannian_gradient", "euclidean_to_riemannian_hessian"
REGULARIZED = {
    "the metric forgets lam": (scaled("inner_product", 1 / LAM), ("metric_law", "gradient_law", "hessian_law")),
    "the metric without its left factor": (
        replaced("inner_product", chart_metric(LAM, left=False)),
        ("metric_law", "gradient_law", "parallel_transport_law"),
    ),
    "the metric without its right factor": (
        replaced("inner_product", chart_metric(LAM, right=False)),
        ("metric_law", "gradient_law", "parallel_transport_law"),
    ),
    "the metric with twice lam": (replaced("inner_product", chart_metric(2 * LAM)), ("metric_law", "gradient_law")),
    "the gradient without its left factor": (replaced(GRADIENT, chart_gradient(LAM, left=False)), ("gradient_law",)),
    "the gradient without its right factor": (replaced(GRADIENT, chart_gradient(LAM, right=False)), ("gradient_law",)),
    "the gradient is the Euclidean one": (replaced(GRADIENT, lambda Phi, E: E), ("gradient_law",)),
    "the Hessian without Christoffel terms": (replaced(HESSIAN, chart_hessian(LAM, 1, 0, 0)), ("hessian_law",)),
    "the Hessian without one Christoffel term": (replaced(HESSIAN, chart_hessian(LAM, 1, 1, 0)), ("hessian_law",)),
    "the Hessian with a wrong sign": (
        replaced(HESSIAN, chart_hessian(LAM, 1, -1, 1)),
        ("hessian_law", "connection_law"),
    ),
    "exp is a straight line": (
        replaced("exp", lambda Phi, D: Phi + D),
        ("exp_log_law", "geodesic_law", "hessian_law", "parallel_transport_law"),
    ),
    "log is a difference": (
        replaced("log", lambda Phi, Psi: Psi - Phi),
        ("exp_log_law", "geodesic_law", "parallel_transport_law"),
    ),
    "dist is Euclidean": (
        replaced("dist", lambda Phi, Psi: np.linalg.norm(Phi - Psi)),
        ("exp_log_law", "geodesic_law"),
    ),
    "dist with twice lam": (
        replaced("dist", lambda Phi, Psi: RegularizedGrassmann(7, 3, 2 * LAM).dist(Phi, Psi)),
        ("exp_log_law", "geodesic_law"),
    ),
    "parallel transport is the identity": (
        replaced("parallel_transport", lambda Phi, D, E: E),
        ("parallel_transport_law", "connection_law"),
    ),
    "the retraction goes twice as far": (
        replaced("retraction", lambda Phi, D: Phi + 2 * D),
        ("retraction_law", "gradient_law"),
    ),
}


def check(sample, mutation, guards, monkeypatch):
    name, change = mutation
    manifold = sample.manifold
    monkeypatch.setattr(manifold, name, change(manifold, getattr(manifold, name)), raising=True)
    for guard in guards:
        with pytest.raises(AssertionError):
            GRASSMANN_LAWS[guard](sample)


def sound(sample) -> None:
    for name, law in GRASSMANN_LAWS.items():
        if sample.linear and name in ("second_order_law", "orthogonal_projection_law", "representative_law"):
            continue
        law(sample)


@pytest.mark.parametrize("mutation", GRASSMANN)
def test_a_mutation_of_grassmann_is_noticed(mutation, monkeypatch):
    sound(grassmann_sample((6, 2, 1)))
    check(grassmann_sample((6, 2, 1)), *GRASSMANN[mutation], monkeypatch)


@pytest.mark.parametrize("mutation", REGULARIZED)
def test_a_mutation_of_the_regularised_manifold_is_noticed(mutation, monkeypatch):
    sound(regularized_sample("full rank", LAM))
    check(regularized_sample("full rank", LAM), *REGULARIZED[mutation], monkeypatch)
