"""Parallel and dependent columns of matrices that are made to have them."""

import numpy as np
import pytest
import torch

from grassvp.surgery.detection import dependent_columns, duplicate_columns, unit_columns, unit_triangle
from grassvp.surgery.spans import lost_angle

NO_CONSTANT = torch.zeros(30, 0, dtype=torch.float64)
ONES = torch.ones(30, 1, dtype=torch.float64)


def random(columns, seed=0, rows=30):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, columns)))


def tilted(a, b, angle):
    """A vector at an angle to a, towards b."""
    u = a / a.norm()
    v = b - u * (u @ b)
    return np.cos(angle) * u + np.sin(angle) * v / v.norm()


@pytest.mark.parametrize("angle", [0.0, 1e-15, 1e-12, 3e-9, 1e-6, 1e-3, 0.3])
@pytest.mark.parametrize("factor", [1.0, -1.0, 1e-3, -1e200, 1e-200])
def test_an_angle_is_found_to_all_its_digits(angle, factor):
    A = random(5)
    A[:, 3] = factor * tilted(A[:, 1], A[:, 0], angle)
    (found,) = duplicate_columns(A, max(1.001 * np.sin(angle), 1e-14))
    assert {found.kept, *found.others} == {1, 3} and found.angle == pytest.approx(angle, rel=1e-3, abs=2e-15)
    assert found.kept == (1 if abs(factor) < 2 else 3)
    assert duplicate_columns(A, 0.999 * np.sin(angle)) == [] or angle < 1e-14


def test_members_are_near_the_one_that_is_kept_and_not_only_near_each_other():
    """A fan of columns, each within the tolerance of the next: neighbours of the longest go, the others stay."""
    A = random(6)
    for j in range(1, 5):
        A[:, j] = tilted(A[:, 0], A[:, 5], 0.01 * j) * A[:, 0].norm() * (1 - 0.01 * j)
    found = duplicate_columns(A, np.sin(0.0201))
    assert [(each.kept, each.others) for each in found] == [(0, (1, 2)), (3, (4,))]


def test_several_sets_zero_columns_and_signs():
    A = random(9)
    A[:, 4], A[:, 7], A[:, 2] = 2 * A[:, 1], -A[:, 1], 0.0
    A[:, 8], A[:, 6] = A[:, 0], 0.0
    found = {each.kept: each.others for each in duplicate_columns(A, 1e-8)}
    assert found == {4: (1, 7), 0: (8,)}
    same = {each.kept: each.others for each in duplicate_columns(A, 1e-8, same_sign=True)}
    assert same == {4: (1,), 0: (8,)}
    assert duplicate_columns(random(4), 1e-8) == [] and duplicate_columns(random(1), 1e-8) == []


def test_more_columns_than_rows():
    A = random(40)
    A[:, 35] = -3 * A[:, 2]
    assert [(each.kept, each.others) for each in duplicate_columns(A, 1e-8)] == [(35, (2,))]
    found = dependent_columns(A, ONES, 1e-8, 0.0)
    kept = [j for j in range(40) if j not in {each.column for each in found}]
    assert len(found) == 11
    assert np.linalg.matrix_rank(np.c_[np.ones(30), A[:, kept]]) == 30


@pytest.mark.parametrize("constant", [NO_CONSTANT, ONES])
@pytest.mark.parametrize("level", [1e-12, 1e-6])
def test_dependent_columns_leave_a_basis(constant, level):
    A, noise = random(7), random(7, seed=1)
    A[:, 2] = A[:, 0] - 3 * A[:, 5] + level * noise[:, 2]
    A[:, 4] = 1e-5 * (A[:, 1] + A[:, 3] + level * noise[:, 4])
    A[:, 6] = 2.0 if constant.shape[1] else A[:, 0] + A[:, 1]
    found = dependent_columns(A, constant, 10 * level, 1e-10)
    gone = {each.column for each in found}
    assert len(gone) == 3 and all(each.remainder <= 10 * level for each in found)
    assert [each.remainder for each in found] == sorted(each.remainder for each in found)
    assert {each.reason for each in found} == ({"collinear", "constant"} if constant.shape[1] else {"collinear"})
    kept = [j for j in range(7) if j not in gone]
    basis = torch.cat([constant, A[:, kept]], dim=1)
    assert np.linalg.matrix_rank(basis / basis.norm(dim=0), tol=1e-3) == basis.shape[1]
    if level == 1e-6:
        assert [each.column for each in dependent_columns(A, constant, level / 100, 1e-10)] == [6]


def test_a_given_rank_decides():
    A = random(6)
    for rank in (2, 5, 7):
        assert len(dependent_columns(A, ONES, 0.0, 0.0, rank=rank)) == 7 - rank
    assert len(dependent_columns(A, 0 * ONES, 0.0, 0.0, rank=3)) == 3
    assert len(dependent_columns(A, NO_CONSTANT, 0.0, 0.0, rank=0)) == 6


def test_dead_columns_by_their_length_beside_the_longest():
    A = random(5)
    A[:, 1], A[:, 3] = 0.0, A[:, 3] * 1e-12
    assert [(e.column, e.reason) for e in dependent_columns(A, ONES, 1e-8, 1e-10)] == [(1, "dead"), (3, "dead")]
    assert [e.column for e in dependent_columns(A, ONES, 1e-8, 0.0)] == [1]
    assert [e.column for e in dependent_columns(1e-150 * A, 1e-150 * ONES, 1e-8, 1e-10)] == [1, 3]
    assert [e.reason for e in dependent_columns(0 * A, 0 * ONES, 1e-8, 1e-10)] == ["dead"] * 5


def test_unit_columns_at_the_ends_of_the_range():
    A = random(4) * torch.tensor([1e-200, 1.0, 1e200, 0.0], dtype=torch.float64)
    unit, lengths = unit_columns(A)
    np.testing.assert_allclose(unit.norm(dim=0), [1, 1, 1, 0], rtol=1e-14)
    np.testing.assert_allclose(unit * lengths, A, rtol=1e-13)
    R, same = unit_triangle(A)
    assert torch.equal(lengths, same)
    np.testing.assert_allclose(R.T @ R, unit.T @ unit, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.01, 1.2])
def test_the_angle_of_a_span(angle):
    Q = torch.linalg.qr(random(5, seed=3)).Q
    A, B = Q[:, :3], torch.stack([Q[:, 0], tilted(Q[:, 1], Q[:, 4], angle), Q[:, 2]], dim=1)
    mix = random(3, seed=4, rows=3)
    assert lost_angle(A @ mix, B, 1e-8, 1e-14) == pytest.approx(angle, abs=1e-13)
    assert lost_angle(A, torch.cat([B, Q[:, 3:4]], dim=1), 1e-8, 1e-14) == pytest.approx(angle, abs=1e-13)
    assert lost_angle(A, B[:, 1:], 1e-8, 1e-14) == np.pi / 2
    assert lost_angle(0 * A, B, 1e-8, 1e-14) == 0.0


def test_what_the_tolerance_calls_no_direction_is_not_missed():
    A = random(3)
    near = A[:, 0] + 1e-9 * random(1, seed=2)[:, 0]
    wide = torch.cat([A, near[:, None]], dim=1)
    assert lost_angle(wide, A, 1e-8, 1e-14) < 1e-8
    assert lost_angle(wide, A, 1e-12, 1e-14) == np.pi / 2
