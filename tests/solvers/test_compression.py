"""The three ways from a Jacobian to a small least-squares problem, against dense formulas and scipy's LSMR."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import lsmr

from grassvp.solvers.compression import Compressed, bidiagonalize, dual, tall

EPS = float(np.finfo(float).eps)


def system(rows, columns, *, condition=10.0, rank=None, seed=0):
    """J with singular values from 1 down to 1/condition, and r."""
    rng = np.random.default_rng(seed)
    p = min(rows, columns)
    U, V = (np.linalg.qr(rng.standard_normal((size, p)))[0] for size in (rows, columns))
    s = np.geomspace(1.0, 1.0 / condition, p)
    if rank is not None:
        s[rank:] = 0.0
    return torch.from_numpy(U * s @ V.T), torch.from_numpy(rng.standard_normal(rows))


def blocks(J, r, sizes):
    return zip(J.split(sizes), r.split(sizes), strict=True)


def same_system(found: Compressed, J, r, tolerance=1e-14):
    """R^T R and R^T z in the coordinates V are J^T J and J^T r."""
    V = torch.eye(J.shape[1], dtype=J.dtype) if found.basis is None else found.basis
    R, z = found.triangle, found.target
    size = float(torch.linalg.matrix_norm(J)) ** 2
    assert float((V @ R.T @ R @ V.T - J.T @ J).norm()) <= tolerance * size
    assert float((V @ R.T @ z - J.T @ r).norm()) <= tolerance * math.sqrt(size) * float(r.norm())


SIZES = {
    "one block": [40],
    "equal blocks": [10, 10, 10, 10],
    "short ridge block": [18, 18, 4],
    "short blocks in between": [3, 20, 2, 2, 13],
    "blocks shorter than wide": [4] * 10,
    "rows one by one": [1] * 40,
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_tall(sizes):
    J, r = system(40, 6)
    before = J.clone(), r.clone()
    found = tall(blocks(J, r, sizes))
    assert found.triangle.shape == (6, 6) and found.target.shape == (6,) and found.basis is None
    assert not torch.tril(found.triangle, -1).any()
    same_system(found, J, r)
    assert torch.equal(J, before[0]) and torch.equal(r, before[1])


@pytest.mark.parametrize("sizes", [[40], [13, 13, 14]], ids=str)
def test_tall_keeps_the_digits_that_normal_equations_would_lose(sizes):
    J, r = system(40, 6, condition=1e10)
    found = tall(blocks(J, r, sizes))
    exact = np.geomspace(1.0, 1e-10, 6)
    np.testing.assert_allclose(torch.linalg.svdvals(found.triangle), exact, rtol=1e-4)
    s = torch.linalg.lstsq(found.triangle, -found.target[:, None]).solution[:, 0]
    expected = np.linalg.lstsq(J.numpy(), -r.numpy(), rcond=1e-14)[0]
    assert np.linalg.norm(s.numpy() - expected) < 1e-4 * np.linalg.norm(expected)


def test_tall_of_fewer_rows_than_columns():
    J, r = system(3, 5)
    same_system(tall([(J, r)]), J, r)


def test_only_a_short_block_waits_for_its_neighbour():
    """With blocks of 10 rows the factorisations see 10, then 6 + 10, ..., and the ridge joins the last one."""
    J, r = system(34, 6)
    seen, original = [], torch.linalg.qr
    try:
        torch.linalg.qr = lambda A, mode: seen.append(tuple(A.shape)) or original(A, mode=mode)
        tall(blocks(J, r, [10, 10, 10, 4]))
    finally:
        torch.linalg.qr = original
    assert seen == [(10, 7), (7 + 10, 7), (7 + 10 + 4, 7)]


@pytest.mark.parametrize("shape", [(4, 9), (6, 6), (20, 5)], ids=str)
def test_dual(shape):
    J, r = system(*shape)
    inverse = torch.linspace(0.5, 3.0, shape[1], dtype=J.dtype)
    found, p = dual(J, r, inverse), min(shape)
    assert found.basis.shape == (shape[1], p) and found.triangle.shape == (shape[0], p)
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(p, dtype=J.dtype), rtol=0.0, atol=1e-14)
    torch.testing.assert_close(found.triangle @ found.basis.T, J * inverse, rtol=0.0, atol=1e-14)
    assert torch.equal(found.target, r)
    s = torch.arange(1.0, p + 1.0, dtype=J.dtype)
    torch.testing.assert_close(found.to_coordinates(found.from_coordinates(s)), s, rtol=1e-13, atol=0.0)


# --- Golub-Kahan ----------------------------------------------------------------------------------------------------


def krylov(J, r, *, damping=0.0, tolerance=0.0, limit=10**6):
    return bidiagonalize(lambda s: J @ s, lambda u: J.T @ u, r, damping=damping, tolerance=tolerance, limit=limit)


def solution(found, mu):
    """V s of the damped small problem, by lstsq."""
    B, z = found.triangle.numpy(), found.target.numpy()
    stacked = np.concatenate([B, math.sqrt(mu) * np.eye(B.shape[1])])
    s = np.linalg.lstsq(stacked, np.concatenate([-z, np.zeros(B.shape[1])]), rcond=1e-14)[0]
    return found.from_coordinates(torch.from_numpy(s)).numpy()


def left(J, r, s, mu):
    """Gradient of the damped problem at s, relative to that at zero."""
    J, r = J.numpy(), r.numpy()
    return np.linalg.norm(J.T @ (r + J @ s) + mu * s) / np.linalg.norm(J.T @ r)


@pytest.mark.parametrize("mu", [0.0, 1e-6, 1e-2, 10.0])
@pytest.mark.parametrize("shape", [(60, 12), (12, 60), (20, 20)], ids=str)
def test_bidiagonalisation_run_to_the_end_solves_the_damped_problem(shape, mu):
    J, r = system(*shape, condition=100.0)
    found = krylov(J, r, damping=mu)
    c = found.triangle.shape[1]
    assert c <= min(shape) and found.triangle.shape == (c + 1, c)
    V = found.basis
    torch.testing.assert_close(V.T @ V, torch.eye(c, dtype=J.dtype), rtol=0.0, atol=1e-13)
    stacked = np.concatenate([J.numpy(), math.sqrt(mu) * np.eye(shape[1])])
    expected = np.linalg.lstsq(stacked, np.concatenate([-r.numpy(), np.zeros(shape[1])]), rcond=1e-14)[0]
    np.testing.assert_allclose(solution(found, mu), expected, atol=1e-9 * np.linalg.norm(expected))
    if c == min(shape):
        same_system(found, J, r, 1e-12)


@pytest.mark.parametrize("mu", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_lsmr_minimises_over_the_same_space(steps, mu):
    """After as many steps LSMR's iterate, of which the gradient is least over the space, lies in the span of V."""
    J, r = system(60, 30, condition=1e3)
    found = krylov(J, r, limit=steps)
    theirs = lsmr(J.numpy(), -r.numpy(), damp=math.sqrt(mu), atol=0.0, btol=0.0, conlim=0.0, maxiter=steps)[0]
    V = found.basis.numpy()
    assert V.shape == (30, steps)
    np.testing.assert_allclose(V @ (V.T @ theirs), theirs, atol=1e-10 * np.linalg.norm(theirs))
    ours = solution(found, mu)
    value = [0.5 * np.sum((r.numpy() + J.numpy() @ s) ** 2) + 0.5 * mu * s @ s for s in (ours, theirs)]
    assert value[0] <= value[1] * (1 + 1e-12)


@pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-3, 1e-8])
@pytest.mark.parametrize("mu", [0.0, 1e-4, 1e-1])
def test_it_stops_where_the_stated_gradient_is_left_and_not_much_later(tolerance, mu):
    J, r = system(80, 40, condition=1e3)
    found = krylov(J, r, damping=mu, tolerance=tolerance)
    c = found.triangle.shape[1]
    assert left(J, r, solution(found, mu), mu) <= tolerance * (1 + 1e-6)
    if c > 4:  # it looks every fourth time
        earlier = krylov(J, r, limit=c - 4)
        assert left(J, r, solution(earlier, mu), mu) > tolerance
    for larger in (10 * mu + 1e-3, 1.0):
        assert left(J, r, solution(found, larger), larger) <= tolerance * (1 + 1e-6)


def test_looser_tolerances_and_stronger_damping_need_fewer_products():
    J, r = system(80, 40, condition=1e3)
    by_tolerance = [krylov(J, r, tolerance=tolerance).triangle.shape[1] for tolerance in (0.5, 1e-2, 1e-8)]
    by_damping = [krylov(J, r, damping=mu, tolerance=1e-3).triangle.shape[1] for mu in (1.0, 1e-2, 0.0)]
    assert by_tolerance == sorted(set(by_tolerance)) and by_damping == sorted(set(by_damping))


def test_a_deficient_jacobian_is_exhausted_after_as_many_steps_as_its_rank():
    J, r = system(40, 20, rank=5)
    found = krylov(J, r, tolerance=1e-10)
    assert found.triangle.shape[1] <= 8, "it looks every fourth time"
    expected = np.linalg.pinv(J.numpy(), rcond=1e-12) @ -r.numpy()
    np.testing.assert_allclose(solution(found, 0.0), expected, atol=1e-11 * np.linalg.norm(expected))


def test_vectors_stay_orthonormal_where_rounding_would_bring_converged_ones_back():
    J, r = system(200, 60, condition=1e8)
    V = krylov(J, r).basis
    assert float((V.T @ V - torch.eye(V.shape[1], dtype=J.dtype)).norm()) < 1e-12


@pytest.mark.parametrize("case", ["zero residual", "zero gradient", "zero Jacobian"])
def test_nothing_to_do_gives_one_column_of_zeros(case):
    J, r = system(10, 4)
    if case == "zero residual":
        r = torch.zeros_like(r)
    elif case == "zero gradient":
        J, r = J.clone(), r.clone()
        J[5:], r[:5] = 0.0, 0.0
    else:
        J = torch.zeros_like(J)
    found = krylov(J, r, damping=1e-3)
    assert found.triangle.shape == (1, 1) and not found.triangle.any() and not found.target.any()
    assert found.from_coordinates(torch.ones(1, dtype=J.dtype)).shape == (4,)
    assert not solution(found, 1e-3).any()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_shows(bad):
    J, r = system(10, 4)
    J[3, 2] = bad
    assert not torch.isfinite(krylov(J, r, damping=1e-3).triangle).all()


def test_exact_fit_in_one_step():
    """r an eigenvector of J J^T: one column says it all."""
    J = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    found = krylov(J, torch.tensor([0.0, -4.0, 0.0], dtype=torch.float64))
    assert found.triangle.tolist() == [[2.0], [0.0]] and found.target.tolist() == [4.0, 0.0]
    np.testing.assert_allclose(solution(found, 0.0), [0.0, 2.0, 0.0], atol=4 * EPS)
