"""Gradient flows against their closed forms, and those against matrix exponentials in double and multiple precision."""

import mpmath as mp
import numpy as np
import pytest
from scipy.linalg import expm

from grassvp.theory import closed_forms, flows
from grassvp.theory.closed_forms import flow_limit, flow_matrices, flow_spans, flow_values, logistic_cosines
from grassvp.theory.flows import gradient_flow
from grassvp.theory.integration import FlowError, integrate
from manifolds import RegularizedGrassmann, subspace_distance

SHAPES = [(6, 2, 3), (8, 3, 1), (5, 3, 2), (4, 4, 2), (9, 1, 12)]


def draw(m, n, k, seed, scale=0.3):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, k)), scale * rng.standard_normal((m, n))


def mp_span(Y, X, t, digits=400):
    """Orthonormal basis of span exp(Y Y^T t) X in multiple precision, through the eigenvectors of Y Y^T."""
    with mp.workdps(digits):
        Ym = mp.matrix(Y.tolist())
        mu, V = mp.eigsy(Ym * Ym.T)
        Z = V * mp.diag([mp.exp(value * t) for value in mu]) * (V.T * mp.matrix(X.tolist()))
        Q, _ = mp.qr(Z, mode="skinny")
        return np.array(Q.tolist(), dtype=float)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_integrated_flow_is_the_closed_form(shape, lam, seed):
    Y, X = draw(*shape, seed)
    duration = (2.0 if lam else 12.0) / np.linalg.norm(Y, 2) ** 2
    flow = gradient_flow(Y, X, np.linspace(0.0, duration, 4), regularization=lam)
    assert flow.error <= 1e-8
    assert flow.value_error <= 1e-8
    assert (np.diff(flow.values) <= 1e-13).all()
    assert "GradientFlow" in repr(flow)


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_the_matrix_exponential(seed):
    Y, X = draw(6, 2, 3, seed)
    times = np.array([0.0, 0.5, 3.0]) / np.linalg.norm(Y, 2) ** 2
    for t, Phi, U in zip(times, flow_matrices(Y, X, times), flow_spans(Y, X, times), strict=True):
        reference = expm(Y @ Y.T * t) @ X
        assert np.linalg.norm(Phi - reference) <= 1e-12 * np.linalg.norm(reference)
        assert subspace_distance(U, np.linalg.qr(reference)[0]) <= 1e-12
        for lam in (1e-3, 0.7):
            dense = 0.5 * lam * np.trace(Y.T @ np.linalg.solve(reference @ reference.T + lam * np.eye(6), Y))
            assert flow_values(Y, X, [t], regularization=lam)[0] == pytest.approx(dense, rel=1e-10)


@pytest.mark.parametrize("t", [0.5, 7.0, 60.0])
def test_the_span_keeps_its_digits_at_large_times(t):
    """Rows of exp(M t) X differ by up to e^1500; a plain orthonormalisation of it overflows or keeps one direction."""
    Y = np.diag([5.0, 3.0, 2.0, 1.0])[:, :3] + 0.1 * draw(4, 1, 3, 0)[0]
    X = draw(4, 2, 1, 1)[1]
    assert subspace_distance(flow_spans(Y, X, [t])[0], mp_span(Y, X, t, 900)) <= 1e-13
    if t == 7.0:
        plain = np.linalg.qr(expm(Y @ Y.T * t) @ X)[0]
        assert subspace_distance(plain, mp_span(Y, X, t)) > 1e-3


@pytest.mark.parametrize("n", [1, 3])
def test_one_output_follows_the_logistic_law(n):
    Y, X = draw(7, n, 1, 5)
    times = np.linspace(0, 1.5, 6)
    flow = gradient_flow(Y[:, 0], X, times)
    c = logistic_cosines(Y[:, 0], X, times)
    assert np.abs(flow.values - 0.5 * np.sum(Y**2) * (1 - c)).max() <= 1e-10
    with pytest.raises(ValueError, match="targets must be one output"):
        logistic_cosines(np.ones((7, 2)), X, times)


@pytest.mark.parametrize("lam", [0.0, 0.1])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_limit_is_what_the_rank_of_the_start_leaves(rank, lam):
    Y, X = draw(8, rank, 5, rank)
    X = X if lam == 0 else X @ np.random.default_rng(1).standard_normal((rank, 4))
    mu = np.sort(np.linalg.svd(Y, compute_uv=False) ** 2)[::-1]
    assert flow_limit(Y, X) == pytest.approx(0.5 * mu[rank:].sum(), rel=1e-12)
    assert flow_values(Y, X, [0, 1e4], regularization=lam)[1] == pytest.approx(flow_limit(Y, X), rel=1e-9)


def test_a_start_without_the_leading_direction_tends_to_a_saddle():
    Y = np.diag([3.0, 2.0, 1.0, 0.5])
    X = np.eye(4)[:, [1, 2]] + 0.0
    assert flow_limit(Y, X) == pytest.approx(0.5 * (9 + 0.25))
    assert flow_values(Y, X, [50.0])[0] == pytest.approx(0.5 * (9 + 0.25), rel=1e-12)
    assert flow_limit(Y[:, 0], np.ones((4, 1))) == 0.0


MUTATIONS = {
    "a gradient that is not tangent": (flows, "_subspace_velocity", lambda M, Y, U: 1.001 * Y @ (Y.T @ U), 0.0),
    "a velocity wrong by 1e-6": (
        flows,
        "_subspace_velocity",
        lambda M, Y, U: -(1 + 1e-6) * M.euclidean_to_riemannian_gradient(U, -Y @ (Y.T @ U)),
        0.0,
    ),
    "a closed form with eigenvalues wrong by 1e-6": (closed_forms, "_eigenpairs", None, 0.0),
    "the Euclidean gradient instead of the Riemannian one": (
        RegularizedGrassmann,
        "euclidean_to_riemannian_gradient",
        lambda self, point, gradient: gradient,
        0.5,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    owner, attribute, wrong, lam = MUTATIONS[name]
    if attribute == "_eigenpairs":
        right = closed_forms._eigenpairs
        wrong = lambda Y: (right(Y)[0], right(Y)[1] * (1 + 1e-6))  # noqa: E731
    Y, X = draw(6, 2, 3, 0)
    monkeypatch.setattr(owner, attribute, wrong)
    assert gradient_flow(Y, X, [0.0, 0.1, 0.3], regularization=lam).error > 1e-8


def test_bad_arguments_are_named():
    Y, X = draw(6, 2, 3, 0)
    for arguments, name in [
        ((Y, X, [0.2, 0.1]), "times"),
        ((Y, X, [-1.0]), "times"),
        ((Y, X[:4], [0.1]), "start"),
        ((Y, np.ones((6, 2)), [0.1]), "start"),
        ((Y * np.nan, X, [0.1]), "targets"),
    ]:
        with pytest.raises(ValueError, match=name):
            gradient_flow(*arguments)
    with pytest.raises(ValueError, match="regularization"):
        gradient_flow(Y, X, [0.1], regularization=-1.0)
    with pytest.raises(ValueError, match="tolerance"):
        gradient_flow(Y, X, [0.1], tolerance=0.0)
    with pytest.raises(ValueError, match="times lead to"):
        gradient_flow(Y, X, [3.0], regularization=1e-3)
    with pytest.raises(ValueError, match="times up to"):
        flow_matrices(Y, X, [1e4])


def test_an_explosion_is_an_error_that_carries_the_time():
    with pytest.raises(FlowError, match="beyond time") as caught:
        integrate(lambda x: x**2, np.ones(1), np.array([2.0]), max_evaluations=5000)
    assert caught.value.time == pytest.approx(1.0, abs=1e-3)
