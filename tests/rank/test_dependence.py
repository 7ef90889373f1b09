"""Copies and circuits among columns: planted ones are found, and nothing else."""

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp

from grassvp.errors import ArgumentError
from grassvp.rank import circuits, columns, dependent_columns, duplicate_columns, duplicates
from tests.rank.cases import orthogonal_to, with_circuits, with_copies

PAIRS = ("copies", "circuits")


def wrong(kind, count=1000, start=0):
    """How many matrices give other groups than were planted."""
    found = 0
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        if kind == "copies":
            tolerance = 10.0 ** rng.uniform(-12, -3)
            A, planted = with_copies(rng, tolerance)
            groups = duplicate_columns(A, tolerance)
        else:
            tolerance = 10.0 ** rng.uniform(-12, -5)
            A, planted = with_circuits(rng, tolerance)
            groups = dependent_columns(A, tolerance)
        found += {group.columns for group in groups} != planted or len(groups) != len(planted)
    return found


@pytest.mark.parametrize("kind", PAIRS)
def test_no_miss_and_no_false_alarm_on_a_thousand_matrices(kind):
    assert wrong(kind) == 0


def mp_sine(a, b):
    """Sine of the angle between two float vectors at 50 digits."""
    with mp.workdps(50):
        u, v = mp.matrix(a.tolist()), mp.matrix(b.tolist())
        aa, bb, ab = (u.T * u)[0], (v.T * v)[0], (u.T * v)[0]
        return float(mpmath.sqrt(1 - ab**2 / (aa * bb)))


@pytest.mark.parametrize("sine", [1e-15, 1e-12, 1e-9, 1e-5, 1e-2, 0.7, 1.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_sines_keep_their_digits(sine, sign):
    rng = np.random.default_rng(1)
    a = rng.standard_normal(30)
    a /= np.linalg.norm(a)
    b = sign * 3.7 * (np.sqrt(1 - sine**2) * a + sine * orthogonal_to(rng, a))
    units, norms = columns.unit_columns(np.column_stack([a, b]))
    found, cosine = columns.direction_sines(units[:, 0], units[:, 1:])
    assert abs(found[0] - mp_sine(a, b)) <= 4e-16 + 1e-13 * sine
    assert norms[1] == pytest.approx(3.7, rel=1e-14) and cosine[0] * sign >= -1e-15


def test_a_group_has_factors_and_its_largest_sine():
    rng = np.random.default_rng(2)
    a, other = rng.standard_normal((2, 20))
    near = a + 1e-11 * np.linalg.norm(a) * orthogonal_to(rng, a / np.linalg.norm(a))
    (group,) = duplicate_columns(np.column_stack([other, -2.0 * a, near, 0.5 * a]))
    assert group.columns == (1, 2, 3) and group.factors == pytest.approx((1.0, -0.5, -0.25), rel=1e-14)
    assert group.sine == pytest.approx(1e-11, rel=1e-4)


def test_copies_are_grouped_transitively():
    """A chain whose ends are 1.8 tolerances apart is one group; two chains 12 tolerances apart are two."""
    angles = np.array([0.0, 0.6, 1.2, 1.8, 13.8, 14.4]) * 1e-6
    A = np.stack([np.cos(angles), np.sin(angles)])[:, [3, 4, 0, 2, 5, 1]]
    assert [group.columns for group in duplicate_columns(A, 1e-6)] == [(0, 2, 3, 5), (1, 4)]


@pytest.mark.parametrize("count", [30, 300])
def test_many_columns_that_are_near_and_no_copies(count):
    """Directions 1e-7 apart, which their cosines cannot tell: the finer sieve keeps the copies among them."""
    rng = np.random.default_rng(count)
    direction = rng.standard_normal(40)
    A = (direction[:, None] + 1e-7 * rng.standard_normal((40, count))) * rng.choice([-1.0, 1.0], count)
    A[:, [7, 20]] = A[:, [3]] * [-2.0, 1.0]
    assert [group.columns for group in duplicate_columns(A)] == [(3, 7, 20)]
    assert len(duplicate_columns(np.tile(direction[:, None], count))[0].columns) == count


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_zeros_scales_and_kinds(kind):
    A = kind(np.array([[1.0, 0.0, 1e-200, 1.0], [2.0, 0.0, 2e-200, 2.0], [0.0, 0.0, 0.0, 1e-3]]))
    assert [group.columns for group in duplicate_columns(A)] == [(0, 2)]
    assert [group.columns for group in duplicate_columns(A, 0.1)] == [(0, 2, 3)]
    assert duplicate_columns(kind(np.zeros((3, 2)))) == () == dependent_columns(kind(np.zeros((3, 2))))
    assert dependent_columns(kind(np.eye(3))) == ()


def test_a_circuit_has_a_null_vector():
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((3, 15))
    (circuit,) = dependent_columns(np.column_stack([a, c, 2.0 * a - 0.5 * c, b]))
    units = np.column_stack([a, c, 2.0 * a - 0.5 * c]) / [np.linalg.norm(v) for v in (a, c, 2.0 * a - 0.5 * c)]
    assert circuit.columns == (0, 1, 2) and max(map(abs, circuit.coefficients)) == 1.0
    assert np.linalg.norm(units @ circuit.coefficients) <= 1e-15 and circuit.residual <= 1e-15


@pytest.mark.parametrize("shape", [(30, 12), (12, 12), (9, 14)])
@pytest.mark.parametrize("seed", range(5))
def test_circuits_span_the_null_space_and_have_no_spare_member(shape, seed):
    """Random dependent columns that share members: as many circuits as nullity, each of them minimal."""
    rng = np.random.default_rng(seed)
    A, rank = rng.standard_normal(shape), min(shape) - 3
    for column in range(rank, shape[1]):
        members = rng.choice(rank, 4, replace=False)
        A[:, column] = A[:, members] @ rng.uniform(0.5, 2.0, 4)
    A = A[:, rng.permutation(shape[1])]
    units, found = A / np.linalg.norm(A, axis=0), dependent_columns(A)
    assert len(found) == shape[1] - rank
    null = np.zeros((shape[1], len(found)))
    for i, circuit in enumerate(found):
        null[list(circuit.columns), i] = circuit.coefficients
        s = np.linalg.svd(units[:, list(circuit.columns)], compute_uv=False)
        assert (s[-1] if len(s) == len(circuit.columns) else 0.0) < 1e-14, "dependent"
        for spared in circuit.columns:
            rest = units[:, [column for column in circuit.columns if column != spared]]
            assert np.linalg.svd(rest, compute_uv=False)[-1] > 1e-8, "no member can be spared"
    assert np.linalg.norm(units @ null) < 1e-13 and np.linalg.matrix_rank(null) == len(found)


@pytest.mark.parametrize("sine", [1e-4, 1e-6, 1e-8])
def test_pivots_that_are_nearly_dependent_do_not_join_a_circuit(sine):
    """Two columns at a small angle have coefficients of rounding noise magnified by 1 / sine in every combination."""
    rng = np.random.default_rng(3)
    A = rng.standard_normal((25, 8))
    A[:, 7] = A[:, 6] + sine * rng.standard_normal(25)
    made = A[:, 0] - 2.0 * A[:, 1] + 0.3 * A[:, 2] + 3e-11 * rng.standard_normal(25)
    (circuit,) = dependent_columns(np.column_stack([A, made]))
    assert circuit.columns == (0, 1, 2, 8)


def test_members_that_stand_in_for_each_other():
    """A column in the span of two that are 3 tolerances apart: either will do, one of them is named."""
    rng = np.random.default_rng(4)
    u = rng.standard_normal(20)
    u /= np.linalg.norm(u)
    a, b = rng.standard_normal((2, 20))
    A = np.column_stack([u, u + 3e-10 * orthogonal_to(rng, u), a, b, u + a])
    (circuit,) = dependent_columns(A)
    assert circuit.columns in {(0, 2, 4), (1, 2, 4)}


def test_a_smooth_family_of_columns():
    """tanh features of one input: residuals stay within twice the tolerance, and the rest is independent to it."""
    rng, x = np.random.default_rng(0), np.linspace(-1, 1, 200)
    A = np.tanh(x[:, None] * 2.0 * rng.standard_normal(60) + rng.standard_normal(60))
    found = dependent_columns(A)
    assert 20 < len(found) < 50 and all(circuit.residual <= 2e-10 for circuit in found)
    units = A / np.linalg.norm(A, axis=0)
    for circuit in found:
        assert np.linalg.norm(units[:, list(circuit.columns)] @ circuit.coefficients) <= 2e-10 + 1e-14


def test_work_beyond_the_limit_names_all_pivots(monkeypatch):
    rng = np.random.default_rng(4)
    u = rng.standard_normal(20)
    u /= np.linalg.norm(u)
    A = np.column_stack([u, u + 3e-10 * orthogonal_to(rng, u), u + rng.standard_normal(20)])
    A = np.column_stack([A, A[:, 0] + A[:, 2]])
    monkeypatch.setattr(circuits, "MOST_WORK", 0.0)
    (circuit,) = dependent_columns(A)
    assert len(circuit.columns) == 4 and circuit.residual <= 1e-10


@pytest.mark.parametrize("function", [duplicate_columns, dependent_columns])
def test_refused(function):
    for matrix, tolerance, message in [
        ([1.0], 1e-3, r"matrix must have shape \(rows, columns\)"),
        ([[np.nan]], 1e-3, "matrix has 1 NaN"),
        ([[1.0]], 1.0, "tolerance must be < 1"),
        ([[1.0]], -1.0, "tolerance"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            function(matrix, tolerance)


MUTATIONS = {
    # name: (module, attribute, replacement, kind that must notice)
    "angles come from the arccosine": (
        duplicates,
        "direction_sines",
        lambda u, V: (np.sin(np.arccos(np.clip(np.abs(u @ V), 0, 1))), u @ V),
        "copies",
    ),
    "signs are not seen": (
        duplicates,
        "direction_sines",
        lambda u, V: (np.linalg.norm(V - u[:, None], axis=0), u @ V),
        "copies",
    ),
    "the cosine decides": (duplicates, "direction_sines", lambda u, V: (0.0 * (u @ V), u @ V), "copies"),
    "columns are not scaled": (duplicates, "unit_columns", lambda A: (A, np.ones(A.shape[1])), "copies"),
    "small coefficients decide": (
        circuits,
        "_coefficients",
        lambda T, B, outside, tolerance: (np.linalg.solve(T, B), outside),
        "circuits",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_noticed(name, monkeypatch):
    module, attribute, replacement, kind = MUTATIONS[name]
    monkeypatch.setattr(module, attribute, replacement)
    with np.errstate(all="ignore"):
        assert wrong(kind, 60) > 0
