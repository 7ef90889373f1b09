"""What a hostile reading found, and must not come back: aliases, extreme scales, far points, odd arrays and seeds."""

import numpy as np
import pytest
import torch

from manifolds import ChartError, Grassmann, RegularizedGrassmann, polar_factor, principal_angles, subspace_distance

X, Y = (Grassmann(6, 2).random_point(seed) for seed in (0, 1))
M, R = Grassmann(6, 2), RegularizedGrassmann(6, 2, 0.1)


@pytest.mark.parametrize("kind", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_no_result_is_an_alias_of_an_argument(kind):
    def arrays():
        return kind(X), kind(np.ones((6, 2)))

    operations = {
        "projection": lambda x, v: R.projection(x, v),
        "to_tangent_space": lambda x, v: R.to_tangent_space(x, v),
        "transport": lambda x, v: R.transport(x, x, v),
        "mean": lambda x, v: M.mean(x[None]),
        "regularised mean": lambda x, v: R.mean(x[None]),
        "retraction": lambda x, v: R.retraction(x, 0 * v),
    }
    for name, operation in operations.items():
        x, v = arrays()
        operation(x, v)[:] = 7.0
        assert np.array_equal(np.asarray(x), X) and np.array_equal(np.asarray(v), np.ones((6, 2))), name


@pytest.mark.parametrize("lam", [1e-300, 1e-200, 1e200, 1e300])
def test_conversions_at_extreme_regularisation(lam):
    """g(grad, D) = <E, D> and a symmetric Hessian, whatever the unit of Phi."""
    manifold = RegularizedGrassmann(6, 2, lam)
    Phi, rng = manifold.random_point(0), np.random.default_rng(1)
    D, E = manifold.random_tangent_vector(Phi, 1), rng.standard_normal((6, 2)) / np.sqrt(lam)
    gradient = manifold.euclidean_to_riemannian_gradient(Phi, E)
    assert float(manifold.inner_product(Phi, gradient, D)) == pytest.approx(float(np.sum(E * D)), rel=1e-12)
    F = manifold.random_tangent_vector(Phi, 2)
    zero = np.zeros((6, 2))
    left, right = (
        float(manifold.inner_product(Phi, manifold.euclidean_to_riemannian_hessian(Phi, E, zero, a), b))
        for a, b in ((D, F), (F, D))
    )
    assert left == pytest.approx(right, rel=1e-9)


def test_points_too_far_apart_for_a_mean_in_the_chart():
    for call, name in (
        (lambda: R.pair_mean(X, Y), "point_a and point_b"),
        (lambda: R.mean(np.stack([X, Y])), "points"),
    ):
        with pytest.raises(ChartError, match=f"{name} are too far apart") as raised:
            call()
        assert 0 < raised.value.time <= 1


def test_odd_arguments_are_refused_by_name():
    cases = [
        (lambda: R.apply_projector(X, np.ones(6)), "vectors"),
        (lambda: R.value_forms(X, [1.0] * 6), "targets"),
        (lambda: principal_angles(X, X * np.nan), "second"),
        (lambda: principal_angles([[1.0]], X), "first"),
        (lambda: polar_factor(None), "matrix"),
        (lambda: RegularizedGrassmann(3, 2, 10**400), "regularization"),
        (lambda: M.random_point(True), "rng"),
        (lambda: M.random_tangent_vector(X, np.random.RandomState(0)), "rng"),
        (lambda: M.dist(np.ma.masked_array(X), np.ma.masked_array(Y)), "point_a"),
        (
            lambda: M.retraction(X, 1e18 * np.outer(M.projection(X, np.eye(6)[:, :2])[:, 0], [1.0, 0.0])),
            "tangent_vector",
        ),
    ]
    for call, name in cases:
        with pytest.raises((TypeError, ValueError), match=name):
            call()


def test_the_distance_to_itself_has_no_sign():
    assert not np.signbit(subspace_distance(-abs(X), -abs(X)))
