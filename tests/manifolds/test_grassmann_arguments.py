"""Grassmann: construction, checks of points and vectors, bad input, random numbers."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from manifolds import Grassmann
from tests.manifolds.samples import both, random_point, random_vector

M, X = Grassmann(6, 2), random_point(6, 2)
D = random_vector(X, 1)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((3, 4), {}, ValueError, "n must"),
        ((3, 0), {}, ValueError, "n must"),
        ((0, 1), {}, ValueError, "m must"),
        ((-2, 1), {}, ValueError, "m must"),
        ((3, 1), {"k": 0}, ValueError, "k must"),
        ((3.0, 1), {}, TypeError, "m must"),
        ((3, 1.5), {}, TypeError, "n must"),
        ((3, "1"), {}, TypeError, "n must"),
        ((3, True), {}, TypeError, "n must"),
        ((3, 1), {"k": 2.0}, TypeError, "k must"),
        ((None, 1), {}, TypeError, "m must"),
    ],
)
def test_bad_dimensions(arguments, options, error, message):
    with pytest.raises(error, match=message):
        Grassmann(*arguments, **options)


def test_numpy_integers_are_integers():
    assert Grassmann(np.int64(5), np.int32(2), k=np.int8(3)).dim == 18


def test_what_it_says_about_itself():
    assert (M.dim, M.point_layout, M.num_values) == (8, 1, 1)
    assert M.injectivity_radius == math.pi / 2 and M.typical_dist == pytest.approx(math.sqrt(2))
    assert "Gr(6, 2)" in str(M) or "Gr(6,2)" in str(M)
    assert Grassmann(4, 4).dim == 0


CALLS = {
    "projection": lambda x, v: M.projection(x, v),
    "inner_product": lambda x, v: M.inner_product(x, v, v),
    "norm": lambda x, v: M.norm(x, v),
    "exp": lambda x, v: M.exp(x, v),
    "retraction": lambda x, v: M.retraction(x, v),
    "parallel_transport": lambda x, v: M.parallel_transport(x, v, D),
    "transport": lambda x, v: M.transport(x, x, v),
    "gradient": lambda x, v: M.euclidean_to_riemannian_gradient(x, v),
    "Hessian": lambda x, v: M.euclidean_to_riemannian_hessian(x, v, v, v),
    "sectional_curvature": lambda x, v: M.sectional_curvature(x, v, D),
    "check_tangent_vector": lambda x, v: M.check_tangent_vector(x, v),
}
WRONG = {
    # what: (bad array, error)
    "transposed": (D.T.copy(), ValueError),
    "one row short": (D[:-1], ValueError),
    "one column": (D[:, :1], ValueError),
    "stacked": (D[None], ValueError),
    "flat": (D.ravel(), ValueError),
    "complex": (D + 0j, TypeError),
    "integer": (np.ones((6, 2), dtype=int), TypeError),
    "half precision": (D.astype(np.float16), TypeError),
    "object": (D.astype(object), TypeError),
    "a list": (D.tolist(), TypeError),
    "None": (None, TypeError),
    "a torch integer": (torch.ones(6, 2, dtype=torch.int64), TypeError),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_wrong_arrays_are_refused_by_name(call, wrong):
    bad, error = WRONG[wrong]
    with pytest.raises(error, match=r"vector|direction|gradient|hessian|\bu\b"):
        CALLS[call](X, bad)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_points_are_refused_by_name(wrong):
    bad, error = WRONG[wrong]
    calls = [lambda: M.dist(bad, X), lambda: M.dist(X, bad), lambda: M.log(bad, X), lambda: M.log(X, bad)]
    calls += [lambda: M.inverse_retraction(X, bad), lambda: M.transport(X, bad, D), lambda: M.projection(bad, D)]
    calls += [lambda: M.exp(bad, D), lambda: M.to_projector(bad), lambda: M.check_point(bad)]
    for call in calls:
        with pytest.raises(error, match=r"point|start|end"):
            call()
    assert M.is_point(bad) is False and M.is_tangent(X, bad) is False and M.is_tangent(bad, D) is False


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_pass_silently(value):
    """They are refused where a factorisation would spread or hide them; linear maps hand them on."""
    bad_point, bad_vector = X.copy(), D.copy()
    bad_point[2, 1] = bad_vector[3, 0] = value
    calls = [lambda: M.dist(X, bad_point), lambda: M.dist(bad_point, bad_point), lambda: M.log(X, bad_point)]
    calls += [lambda: M.exp(X, bad_vector), lambda: M.parallel_transport(X, bad_vector, D)]
    calls += [partial(M.retraction, X, bad_vector, m) for m in ("polar", "qr", "cayley", "exponential")]
    calls += [lambda: M.check_point(bad_point), lambda: M.check_tangent_vector(X, bad_vector)]
    calls += [lambda: M.to_projector(bad_point), lambda: M.mean(np.stack([X, bad_point]))]
    calls += [lambda: M.sectional_curvature(X, bad_vector, D)]
    for call in calls:
        with pytest.raises(ValueError, match=r"NaN|finite|inf|nan"):
            call()
    assert not M.is_point(bad_point) and not M.is_tangent(X, bad_vector)


def test_points_must_be_orthonormal_and_vectors_tangent():
    for bad in (2 * X, X + 1e-6, 0 * X, np.ones((6, 2))):
        assert not M.is_point(bad)
        with pytest.raises(ValueError, match="point must have orthonormal columns"):
            M.check_point(bad)
    for bad in (X, D + 1e-6 * X, D + 1e-3):
        assert not M.is_tangent(X, bad)
        with pytest.raises(ValueError, match="tangent_vector must"):
            M.check_tangent_vector(X, bad)
    assert M.is_point(X) is True and M.is_tangent(X, D) is True
    assert M.is_tangent(X, 0 * D) and M.is_tangent(X, 1e-200 * D) and M.is_tangent(X, 1e200 * D)
    for kind in ("numpy", "torch"):
        single, vector = both(X.astype(np.float32), kind), both(D.astype(np.float32), kind)
        assert M.is_point(single) and M.is_tangent(single, vector)
        assert not M.is_point(2 * single) and not M.is_tangent(single, single)


def test_two_array_libraries_do_not_mix():
    with pytest.raises(TypeError):
        M.projection(X, torch.from_numpy(D))
    with pytest.raises(TypeError):
        M.dist(torch.from_numpy(X), X)


@pytest.mark.parametrize("method", ["Polar", "", None, "exp"])
def test_unknown_methods(method):
    for call in (M.retraction, M.inverse_retraction):
        with pytest.raises(ValueError, match="method must be one of"):
            call(X, X, method=method)


def test_bad_projectors():
    P = M.to_projector(X)
    bad = {
        "symmetric": P + np.triu(np.ones((6, 6)), 1) * 1e-3,
        "eigenvalues": 0.5 * P,
        "rank": M.to_projector(X) - np.outer(X[:, 0], X[:, 0]),
        "shape": P[:-1],
        "NaN": P * math.nan,
    }
    for word, matrix in bad.items():
        with pytest.raises(ValueError, match=f"projector.*{word}"):
            M.from_projector(matrix)
    with pytest.raises(TypeError, match="projector"):
        M.from_projector(P + 0j)


def test_bad_stacks_of_points():
    for bad in (X, np.zeros((0, 6, 2)), np.stack([X.T, X.T])):
        with pytest.raises(ValueError, match=r"points(\[0\])? must have shape"):
            M.mean(bad)
    with pytest.raises(ValueError, match=r"points\[1\] must have orthonormal columns"):
        M.mean(np.stack([X, 2 * X]))
    with pytest.raises((TypeError, ValueError), match="points"):
        M.mean([X, X])


def test_inputs_are_not_changed():
    Y = M.exp(X, D)
    before = [A.copy() for A in (X, D, Y)]
    M.retraction(X, D), M.log(X, Y), M.transport(X, Y, D), M.parallel_transport(X, D, D), M.projection(X, Y)
    M.euclidean_to_riemannian_hessian(X, Y, Y, D), M.mean(np.stack([X, Y])), M.dist(X, Y)
    for A, B in zip((X, D, Y), before, strict=True):
        assert np.array_equal(A, B)


# --- random numbers --------------------------------------------------------------------------------------------------


def test_random_points_and_vectors_are_valid_and_reproducible():
    for manifold in (M, Grassmann(5, 5), Grassmann(1, 1), Grassmann(7, 3, k=4)):
        x = manifold.random_point(3)
        v = manifold.random_tangent_vector(x, 4)
        assert manifold.is_point(x) and manifold.is_tangent(x, v)
        assert float(manifold.norm(x, v)) == pytest.approx(1.0 if manifold.dim else 0.0)
        assert np.array_equal(x, manifold.random_point(3))
        assert np.array_equal(v, manifold.random_tangent_vector(x, 4))
        one, two = (manifold.random_point(np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(one, two)
        if manifold.dim:
            assert not np.array_equal(x, manifold.random_point(5))
    rng = np.random.default_rng(0)
    assert not np.array_equal(M.random_point(rng), M.random_point(rng))
    assert not np.array_equal(M.random_point(), M.random_point())


def test_the_global_generators_are_left_alone():
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    M.random_point(), M.random_point(1), M.random_tangent_vector(X), M.random_tangent_vector(X, 2)
    assert np.array_equal(np.random.get_state()[1], numpy_state) and torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_random_vectors_answer_in_kind(dtype):
    x = torch.from_numpy(X).to(dtype)
    v = M.random_tangent_vector(x, 0)
    assert v.dtype == dtype and v.shape == (6, 2) and M.is_tangent(x, v)


def test_random_points_are_uniform():
    """The mean projector is n/m I: with 2,000 draws its entries are off by 0.4 / sqrt(2000) or so, times 5."""
    rng = np.random.default_rng(0)
    mean = sum(M.to_projector(M.random_point(rng)) for _ in range(2000)) / 2000
    np.testing.assert_allclose(mean, np.eye(6) / 3, rtol=0, atol=0.05)
